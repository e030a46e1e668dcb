//! How far a backup is, and whether somebody still wants it: shared by the waiting and the working half.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts bytes, and carries the wish to stop from the future to its threads.
#[derive(Debug, Default)]
pub(super) struct Meter {
    done: AtomicU64,
    called_off: AtomicBool,
    wake: Notify,
}

impl Meter {
    /// Counts bytes that were read.
    pub(super) fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Starts again at 0, for the next phase.
    pub(super) fn restart(&self) {
        self.done.store(0, Ordering::Relaxed);
    }

    /// Returns the bytes so far.
    pub(super) fn done_bytes(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Returns an error once the backup was called off.
    pub(super) fn check(&self) -> std::io::Result<()> {
        if self.called_off.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("called off"));
        }
        Ok(())
    }

    /// Returns whether the backup was called off.
    pub(super) fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Relaxed)
    }

    /// Waits until the backup is called off.
    pub(super) async fn called_off(&self) {
        while !self.is_called_off() {
            self.wake.notified().await;
        }
    }
}

/// Calls the backup off when it is dropped: a future that nobody waits for any more ends its threads.
#[derive(Debug)]
pub(super) struct CallOff(pub(super) Arc<Meter>);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.called_off.store(true, Ordering::Relaxed);
        self.0.wake.notify_one();
    }
}
