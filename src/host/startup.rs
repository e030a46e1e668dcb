//! What each program does first, before any thread: makes a static binary safe on a host with another glibc.

/// Keeps glibc from loading name service modules of the host, which crash a static program built with another glibc
/// (`resolve`, `myhostname` and `systemd` are the defaults of many distributions).
///
/// The first statement of `main`: it is not safe to call once other threads look up names.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (database, services) in
        [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files"), (c"services", c"files")]
    {
        super::ffi::configure_lookup(database, services);
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    #[test]
    fn names_still_resolve_afterwards() {
        super::prepare();
        assert!(("localhost", 1).to_socket_addrs().unwrap().next().is_some());
    }
}
