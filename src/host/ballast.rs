//! A file that is given up when the disk is full, so that undoing a deployment has room for its journal, its events and
//! its record (DESIGN section 6, `state/ballast`).
//!
//! A reserve, not a condition: where there is no room for it, nothing fails.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::atomic;

/// Its size.
const SIZE: u64 = 16 << 20;
/// What must be free besides, for it to be made: it must not be what fills the disk.
const PLENTY: u64 = 48 << 20;
/// What must be free for it to be kept while something is undone.
const SCARCE: u64 = 4 << 20;

/// Makes the file where it is missing and there is room; returns whether it is there.
pub fn make(path: &Path) -> bool {
    if path.metadata().is_ok_and(|meta| meta.len() == SIZE) {
        return true;
    }
    if free(path).is_none_or(|free| free < SIZE + PLENTY) {
        return false;
    }
    let made = reserve(path).is_ok();
    if !made {
        give_up(path);
    }
    made
}

/// Returns whether so little is free that the file would not be made.
pub fn is_needed(path: &Path) -> bool {
    free(path).is_none_or(|free| free < PLENTY)
}

/// Gives the file up when hardly anything else is free; returns whether it did.
pub fn give_up_if_scarce(path: &Path) -> bool {
    free(path).is_some_and(|free| free < SCARCE) && give_up(path)
}

/// Gives the file up; returns whether there was one.
pub fn give_up(path: &Path) -> bool {
    atomic::remove_file(path).is_ok()
}

/// Bytes that this user may still write beside the file.
fn free(path: &Path) -> Option<u64> {
    let room = statvfs(path.parent()?).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}

fn reserve(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = atomic::open(path, &options)?;
    if fallocate(&file, FallocateFlags::empty(), 0, SIZE).is_ok() {
        return Ok(());
    }
    // Not every file system can reserve; all can be written to.
    let block = vec![0; 1 << 20];
    (0..SIZE >> 20).try_for_each(|_| file.write_all(&block))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_takes_its_room_for_real_and_is_given_up_only_when_there_is_need() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ballast");
        assert!(make(&path) && make(&path));
        assert_eq!(path.metadata().unwrap().blocks() * 512, SIZE);
        assert!(!give_up_if_scarce(&path), "this disk has room");
        assert!(give_up(&path) && !give_up(&path));
        assert!(!make(Path::new("/proc/ballast")), "where it cannot be made nothing fails");
    }
}
