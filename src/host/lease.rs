//! The right to change an app and environment: a kernel lock that cannot outlive its holder.
//!
//! The file's content only says who; the lock alone decides. Its descriptor is close-on-exec, so no child holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::atomic::{self, WriteError};
use super::seam;
use crate::model::{DeploymentId, Requester};

/// Shortest wait for somebody who only asks. The simulation has none of them, and thousands who find a lease taken.
const LOOK: Duration = if cfg!(test) { Duration::from_micros(10) } else { Duration::from_millis(10) };
/// Its size is a multiple of this, which is what file systems give at a time.
const BLOCK: usize = 4096;

/// Who holds a lease, as its file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// Verb of the command line.
    pub verb: String,
    /// Who asked, and for which run.
    pub requester: Requester,
    /// Process id of the worker.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A lease that is held; it ends with this value, or with the process.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

/// What became of the wish for a lease.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Held(Lease),
    /// It is somebody else's; who, if the file says so.
    Taken(Option<Box<Holder>>),
}

/// Takes the lease if it is free, and writes who holds it.
///
/// # Errors
/// The file cannot be opened or written.
pub fn acquire(path: &Path, holder: &Holder) -> Result<Acquired, WriteError> {
    let mut file = open(path).map_err(WriteError::at(path))?;
    if !lock(&file) {
        return Ok(Acquired::Taken(read(&mut file)));
    }
    let mut text = serde_json::to_vec_pretty(holder).unwrap_or_default();
    // Always the same room, written over: a disk that is full in the meantime must not stop a recovery.
    text.resize(text.len().next_multiple_of(BLOCK), b' ');
    seam::about_to("write the lease");
    let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&text));
    let written = written.and_then(|()| file.set_len(text.len() as u64));
    written.map_err(WriteError::at(path))?;
    Ok(Acquired::Held(Lease { _file: file }))
}

/// Returns who holds the lease, or nothing when it is free.
pub fn holder(path: &Path) -> Option<Box<Holder>> {
    let mut file = OpenOptions::new().read(true).open(path).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    read(&mut file)
}

/// Returns whether nobody holds the lease.
pub fn is_free(path: &Path) -> bool {
    OpenOptions::new()
        .read(true)
        .open(path)
        .map_or(true, |file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
}

/// Locks the file. Somebody who only asks whether it is free holds it for microseconds: that is waited out.
fn lock(file: &File) -> bool {
    (0..5).any(|attempt| {
        std::thread::sleep(attempt * LOOK);
        flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    atomic::open(path, &options)
}

fn read(file: &mut File) -> Option<Box<Holder>> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody(id: &str) -> Holder {
        let requester = Requester { who: "alice".into(), run_url: None };
        Holder {
            deployment_id: id.parse().unwrap(),
            verb: "deploy".into(),
            requester,
            pid: 1,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_second_wish_is_told_who_holds_it_and_a_dropped_lease_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lease");
        assert!(is_free(&path));
        let Acquired::Held(lease) = acquire(&path, &somebody("one")).unwrap() else { panic!("it was free") };
        let Acquired::Taken(Some(other)) = acquire(&path, &somebody("two")).unwrap() else {
            panic!("it was held")
        };
        assert_eq!(other.deployment_id.as_str(), "one");
        assert_eq!(holder(&path).unwrap().requester.who, "alice");
        drop(lease);
        assert!(is_free(&path) && holder(&path).is_none());
        assert!(matches!(acquire(&path, &somebody("two")).unwrap(), Acquired::Held(_)));
    }
}
