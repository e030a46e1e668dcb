//! The journal of one run: what it says now, and how it comes to say more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::{self, Entry};
use crate::host::atomic::WriteError;
use crate::host::layout::Layout;
use crate::host::{ballast, children};

/// The journal of one run. Cheap to clone.
#[derive(Clone)]
pub struct Book(Arc<Inner>);

struct Inner {
    journal: PathBuf,
    ballast: PathBuf,
    entry: Mutex<Option<Entry>>,
}

impl Book {
    /// Returns the book of a run at this layout: empty, or with what an unfinished deployment wrote.
    pub fn of(layout: &Layout, entry: Option<Entry>) -> Self {
        let (journal, ballast) = (layout.journal(), layout.ballast());
        Self(Arc::new(Inner { journal, ballast, entry: Mutex::new(entry) }))
    }

    /// Returns what the journal says; nothing before the first word.
    pub fn entry(&self) -> Option<Entry> {
        self.page().clone()
    }

    /// Writes the first word.
    ///
    /// # Errors
    /// It cannot be written; the change must not be made.
    pub fn begin(&self, entry: Entry) -> Result<(), WriteError> {
        let mut page = self.page();
        self.write(&entry)?;
        *page = Some(entry);
        Ok(())
    }

    /// Changes what the journal says; when this returns, it is on disk. Without a first word nothing is written.
    ///
    /// # Errors
    /// It cannot be written, and says what it said before; the change must not be made.
    pub fn change(&self, change: impl FnOnce(&mut Entry)) -> Result<(), WriteError> {
        let mut page = self.page();
        let Some(mut entry) = page.clone() else { return Ok(()) };
        change(&mut entry);
        self.write(&entry)?;
        *page = Some(entry);
        Ok(())
    }

    /// Adds a program that is about to change something; those that have ended are dropped.
    ///
    /// Best effort: it is also found by the deployment that its environment names.
    pub fn add_child(&self, pid: u32) {
        let boot = children::boot();
        let added = self.change(|entry| {
            let same_boot = std::mem::replace(&mut entry.boot, boot.clone()) == boot;
            entry.children.retain(|pid, start| same_boot && children::start_of(*pid) == Some(*start));
            entry.children.extend(children::start_of(pid).map(|start| (pid, start)));
        });
        if let Err(error) = added {
            // Goes to guard.log.
            eprintln!("ffe-agent: {error}: {}", error.source);
        }
    }

    fn write(&self, entry: &Entry) -> Result<(), WriteError> {
        match journal::write(&self.0.journal, entry) {
            Err(error) if error.is_full() && ballast::give_up(&self.0.ballast) => {
                journal::write(&self.0.journal, entry)
            }
            written => written,
        }
    }

    fn page(&self) -> MutexGuard<'_, Option<Entry>> {
        self.0.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
