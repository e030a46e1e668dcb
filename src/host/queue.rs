//! Who waits for a lease, in the order in which they came: a file a waiter, locked as long as it waits.
//!
//! A lock ends with its process, so nobody waits behind the dead. The lease alone decides who may change anything.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};

use super::atomic::{self, WriteError};

/// A place in the queue; it is given up with this value, or with the process.
#[derive(Debug)]
pub struct Ticket {
    path: PathBuf,
    _file: File,
}

impl Ticket {
    /// Takes the last place.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn draw(queue: &Path) -> Result<Self, WriteError> {
        atomic::make_directory(queue, 0o700)?;
        let now = clock_gettime(ClockId::Boottime);
        let name = format!("{:012}.{:09}-{}", now.tv_sec, now.tv_nsec, std::process::id());
        // Nobody sees it before it is locked: it would be taken for that of a dead process.
        let (unseen, path) = (queue.join(format!(".{name}")), queue.join(&name));
        let how = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).to_owned();
        let file = atomic::open(&unseen, &how).map_err(WriteError::at(&unseen))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| WriteError::at(&unseen)(error.into()))?;
        atomic::rename(&unseen, &path).map_err(WriteError::at(&path))?;
        Ok(Self { path, _file: file })
    }

    /// Returns whether everybody who came before is gone.
    pub fn is_first(&self) -> bool {
        let mut before = waiting(self.path.parent().unwrap_or(&self.path));
        before.retain(|path| *path < self.path);
        !before.iter().any(|path| is_held(path))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // One that cannot be removed counts as a dead one's.
        atomic::remove_file(&self.path).ok();
    }
}

/// Takes away what processes left that were killed while they waited.
pub fn sweep(queue: &Path) {
    waiting(queue).iter().for_each(|path| {
        is_held(path);
    });
}

/// Returns whether anybody waits.
pub fn is_waited(queue: &Path) -> bool {
    waiting(queue).iter().any(|path| is_held(path))
}

fn waiting(queue: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(queue).into_iter().flatten().flatten();
    let seen = listing.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    seen.map(|entry| entry.path()).collect()
}

/// Whether a living process waits there; what a dead one left is removed.
fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
    if !held {
        atomic::remove_file(path).ok();
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_is_first_and_the_dead_are_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let queue = directory.path().join("queue");
        assert!(!is_waited(&queue));
        let first = Ticket::draw(&queue).unwrap();
        let second = Ticket::draw(&queue).unwrap();
        let third = Ticket::draw(&queue).unwrap();
        fs::write(queue.join("000000000000.000000001-1"), "").unwrap();
        assert!(first.is_first() && !second.is_first() && !third.is_first() && is_waited(&queue));
        assert_eq!(fs::read_dir(&queue).unwrap().count(), 3, "what a dead one left is gone");
        drop(second);
        assert!(!third.is_first());
        drop(first);
        assert!(third.is_first());
        drop(third);
        fs::write(queue.join("000000000000.000000001-1"), "").unwrap();
        sweep(&queue);
        assert!(!is_waited(&queue) && fs::read_dir(&queue).unwrap().count() == 0);
    }
}
