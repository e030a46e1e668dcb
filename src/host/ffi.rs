//! The one call into the C library that Rust has no name for. Enter by [`crate::host::startup::prepare`].

#![expect(unsafe_code, reason = "glibc's name service has no safe interface; nothing else here is unsafe")]

use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
}

/// Makes the name service of this process ask `services` for `database`, whatever nsswitch.conf says.
pub(super) fn configure_lookup(database: &CStr, services: &CStr) {
    // SAFETY: both are C strings that outlive the call, and glibc copies what it keeps.
    let status = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    debug_assert_eq!(status, 0, "glibc knows {database:?}");
}
