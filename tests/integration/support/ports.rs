//! Ports that no other test takes, in this process or another.
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

// Below the range from which the kernel takes ports for outgoing connections.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

static TAKEN: Mutex<(u16, Vec<File>)> = Mutex::new((0, Vec::new()));

/// Returns a port on which nothing listens; it is ours until this process ends.
pub(crate) fn free_port() -> u16 {
    let dir = std::env::temp_dir().join("ffe-test-ports");
    if std::fs::create_dir(&dir).is_ok() {
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o1777))
            .expect("share the port locks");
    }
    let mut taken = TAKEN.lock().expect("no test panics here");
    let (next, files) = &mut *taken;
    if *next == 0 {
        let spread = std::process::id().wrapping_mul(97) % u32::from(LAST - FIRST);
        *next = FIRST + u16::try_from(spread).expect("smaller than the range");
    }
    for _ in FIRST..=LAST {
        let port = *next;
        *next = if port == LAST { FIRST } else { port + 1 };
        let options = File::options().create(true).truncate(false).write(true).to_owned();
        let Ok(file) = options.open(dir.join(port.to_string())) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            files.push(file);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}")
}
