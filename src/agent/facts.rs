//! What this host is called, and who we are on it.

use super::protocol::HostFacts;

/// Returns the facts that the greeting carries.
pub(super) fn host() -> HostFacts {
    let uname = rustix::system::uname();
    HostFacts {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        user: std::env::var("USER").unwrap_or_else(|_| rustix::process::geteuid().as_raw().to_string()),
        architecture: uname.machine().to_string_lossy().into_owned(),
    }
}
