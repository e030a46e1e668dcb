//! Keeps old releases and old backups from filling the disk: who is protected, when it is done, and how it is told.
//!
//! What cannot be taken away is a warning. It never stops a deployment.

use std::collections::BTreeSet;

use super::journal;
use super::run::Run;
use super::stop::Stop;
use jiff::{SignedDuration, Timestamp};

use crate::backup;
use crate::event::EventKind;
use crate::executor::prune::{Choice, Facts, Pruned};
use crate::here;
use crate::history;
use crate::host::ballast;
use crate::model::{HistoryEntry, ReleaseId, Severity};

impl Run {
    /// Takes away what is old, and makes the reserve for a full disk where there is room.
    pub(super) async fn make_room(&self) {
        self.prune_releases().await;
        ballast::make(&self.layout.ballast());
    }

    /// Takes away the releases beyond the number that is kept, and what only they needed.
    pub(super) async fn prune_releases(&self) {
        let facts = match self.facts().await {
            Ok(facts) => facts,
            Err(stop) => return self.warn_of_room(&stop.reason()),
        };
        let choice = Choice::of(&facts);
        if choice.is_empty() {
            return;
        }
        let pruned = self.executor.prune(&choice).await;
        pruned.failed.iter().for_each(|failure| self.warn_of_room(failure));
        if !pruned.is_empty() {
            self.emitter.emit(here!(), told(pruned));
        }
    }

    async fn facts(&self) -> Result<Facts, Stop> {
        let entries = self.entries();
        let found = self.executor.old_things(|id| history::knows(&entries, id)).await?;
        let keep = usize::try_from(self.job.app.keep_releases).unwrap_or(usize::MAX);
        Ok(Facts {
            protected: self.protected(&entries),
            good: history::good_releases(&entries),
            keep,
            ..found
        })
    }

    /// Returns the releases that stay whatever happens.
    fn protected(&self, entries: &[HistoryEntry]) -> BTreeSet<ReleaseId> {
        let current = self.layout.current_release();
        let previous = history::rollback_candidate(entries, current.as_ref())
            .or_else(|| self.adopted_before(current.as_ref()));
        // Unreadable, it stops the deployment anyway.
        let unfinished = journal::read(&self.layout.journal()).ok().flatten();
        let unfinished = unfinished.into_iter().flat_map(|entry| [entry.before, entry.after]).flatten();
        let left = history::left_running(entries);
        [current, previous, left].into_iter().flatten().chain(unfinished).collect()
    }

    fn entries(&self) -> Vec<HistoryEntry> {
        history::read_all(&self.layout.history(), &self.job.app.name, &self.job.environment.name)
    }

    /// Takes away archives of this app and environment that are older than they are kept.
    pub(super) fn prune_backups(&self) {
        let directory = self.layout.backups();
        let listed = match backup::list(&directory, &self.job.app.name, &self.job.environment.name) {
            Ok(listed) => listed,
            Err(error) => return self.warn_of_room(&error.report().message),
        };
        let retention = self.job.app.backup.retention;
        let pruned = backup::prune(&backup::surplus(&listed, retention, self.earlier_clock()));
        for error in &pruned.failed {
            self.warn_of_room(&format!("{}: {}", error.path.display(), error.source));
        }
        if !pruned.archives.is_empty() {
            self.emitter.emit(here!(), told_of_backups(&pruned));
        }
    }

    /// The clock of this host, or the runner's when that is behind: one that jumped years ahead would make all backups old.
    fn earlier_clock(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.job.clock_ahead_s.max(0));
        crate::host::clock::wall().checked_sub(ahead).unwrap_or(Timestamp::MIN)
    }

    fn warn_of_room(&self, what: &str) {
        let notice = format!("could not take away what is old: {what}");
        let hint = Some("nothing depends on it; the next deployment tries again".to_owned());
        let (code, severity) = ("room.prune".to_owned(), Severity::Warning);
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity });
    }
}

fn told(pruned: Pruned) -> EventKind {
    EventKind::Pruned {
        releases: pruned.releases.iter().map(ToString::to_string).collect(),
        images: pruned.tags,
        backups: Vec::new(),
        files: pruned.files,
        agents: pruned.agents,
        freed_bytes: pruned.bytes,
        freed_image_bytes: pruned.image_bytes,
    }
}

fn told_of_backups(pruned: &backup::Pruned) -> EventKind {
    EventKind::Pruned {
        releases: Vec::new(),
        images: Vec::new(),
        backups: pruned.archives.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        files: 0,
        agents: 0,
        freed_bytes: pruned.bytes,
        freed_image_bytes: 0,
    }
}
