//! Keeps old releases and old backups from filling the disk: who is protected, when it is done, and how it is told.
//!
//! What cannot be taken away is a warning. It never stops a deployment; only the verbs that ask for nothing else fail.

use std::collections::BTreeSet;
use std::time::Duration;

use super::journal;
use super::run::{Done, Ending, Run};
use super::stop::Stop;
use jiff::{SignedDuration, Timestamp};

use crate::backup;
use crate::event::EventKind;
use crate::executor::compose::project;
use crate::executor::prune::{Choice, Facts, Pruned};
use crate::executor::variables::Resolved;
use crate::here;
use crate::history;
use crate::host::ballast;
use crate::host::clock::Moment;
use crate::model::{ErrorKind, FailureReport, HistoryEntry, Outcome, Release, ReleaseId, Severity, Stage};

/// Longest time for taking away what is old, before a deployment goes on without.
const LONGEST_CLEARING: Duration = Duration::from_secs(300);
/// Longest time for the tags of an attempt that was given up: whoever waits for its end waits for this, too.
const LONGEST_UNTAGGING: Duration = Duration::from_secs(60);

impl Run {
    /// Takes away what is old, and makes the reserve for a full disk where there is room. Ends when it takes too long, or
    /// when somebody wants to stop: the next stage says so.
    pub(super) async fn make_room(&self, project: &str) {
        let clearing = async {
            self.prune_releases(project).await;
            ballast::make(&self.layout.ballast());
        };
        tokio::select! {
            () = self.cancel.raised() => {}
            () = Moment::now().after(LONGEST_CLEARING).comes() => {}
            () = clearing => {}
        }
    }

    /// Takes away the releases beyond the number that is kept, what only they needed, and what attempts left.
    pub(super) async fn prune_releases(&self, project: &str) {
        match self.clear(project).await {
            Ok(failed) => failed.iter().for_each(|failure| self.warn_of_room(failure)),
            Err(stop) => self.warn_of_room(&stop.reason()),
        }
    }

    /// Takes away the tags of an attempt that never became a release.
    pub(super) async fn drop_strays(&self, project: &str) {
        if project.is_empty() {
            return;
        }
        let dropping = async {
            // The next deployment tries again, and what ended this one is told.
            let Ok(facts) = self.facts(project).await else { return };
            self.tell_pruned(self.executor.untag_strays(&Choice::of(&facts)).await);
        };
        tokio::select! {
            () = Moment::now().after(LONGEST_UNTAGGING).comes() => {}
            () = dropping => {}
        }
    }

    /// The verb `prune`.
    pub async fn prune_now(&self) -> Ending {
        let done =
            self.stage(Stage::Setup, async { Ok(Done::Did(self.clear(&self.project()?).await?)) }).await;
        let hint = "look at what holds it (`docker ps -a`), then run `ffe-deploy prune` again";
        self.pruned_now(done, ErrorKind::DockerError, hint)
    }

    /// The verb `backup prune`.
    pub async fn prune_backups_now(&self) -> Ending {
        let done = self.stage(Stage::Setup, async { Ok(Done::Did(self.clear_backups()?)) }).await;
        let hint =
            "make the directory writable for the user that deploys, then run `ffe-deploy backup prune` again";
        self.pruned_now(done, ErrorKind::DeploymentError, hint)
    }

    fn pruned_now(&self, done: Result<Vec<String>, Stop>, kind: ErrorKind, hint: &str) -> Ending {
        let failed = match done {
            Ok(failed) => failed,
            Err(stop) => return self.aborted(&stop),
        };
        let release = self.current().ok().flatten();
        let version = release.as_ref().map(|release| release.version.clone());
        let ending = Ending { version, release: release.clone(), before: release, ..Ending::default() };
        if failed.is_empty() {
            self.emitter.enter(Stage::Complete);
            return Ending { outcome: Some(Outcome::Succeeded), ..ending };
        }
        self.emitter.enter(Stage::Failed);
        let message = format!("not everything could be taken away: {}", failed.join("; "));
        let failure = FailureReport::new(kind, "room.prune", message).hint(hint);
        Ending { outcome: Some(Outcome::Aborted), errors: vec![failure], ..ending }
    }

    /// The project's name: that of the release that is current, else what a deploy would call it.
    fn project(&self) -> Result<String, Stop> {
        let current = self.current().ok().flatten();
        if let Some(Release { project, .. }) = current {
            return Ok(project);
        }
        let host_file = self.layout.host_env_file(&self.job.environment.name);
        let host_file = self.layout.in_place().is_none().then_some(host_file.as_path());
        let variables = Resolved::of(&self.job.variables, host_file).map_err(|error| error.report())?;
        Ok(project::name(&self.job, &variables))
    }

    /// Takes away what is old, tells it, and returns what could not be taken away.
    async fn clear(&self, project: &str) -> Result<Vec<String>, Stop> {
        let choice = Choice::of(&self.facts(project).await?);
        let mut pruned = self.executor.prune(&choice).await;
        let failed = std::mem::take(&mut pruned.failed);
        self.tell_pruned(pruned);
        Ok(failed)
    }

    fn tell_pruned(&self, pruned: Pruned) {
        if !pruned.is_empty() {
            self.emitter.emit(here!(), told(pruned));
        }
    }

    async fn facts(&self, project: &str) -> Result<Facts, Stop> {
        let entries = self.entries();
        let found = self.executor.old_things(project, |id| history::knows(&entries, id)).await?;
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
        match self.clear_backups() {
            Ok(failed) => failed.iter().for_each(|failure| self.warn_of_room(failure)),
            Err(stop) => self.warn_of_room(&stop.reason()),
        }
    }

    fn clear_backups(&self) -> Result<Vec<String>, Stop> {
        let directory = self.layout.backups();
        let listed = backup::list(&directory, &self.job.app.name, &self.job.environment.name)?;
        let retention = self.job.app.backup.retention;
        let pruned = backup::prune(&backup::surplus(&listed, retention, self.earlier_clock()));
        if !pruned.archives.is_empty() {
            self.emitter.emit(here!(), told_of_backups(&pruned));
        }
        let failed = pruned.failed.iter();
        Ok(failed.map(|error| format!("{}: {}", error.path.display(), error.source)).collect())
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
