//! Ends a deployment that nobody ended: finish when its checks had passed, undo otherwise.
//!
//! Needs no job, no registry and no secret that the host has not got: the journal says how far it came, and the
//! releases' directories hold the rest. Whoever dies here is recovered in the same way.

use std::time::Duration;

use super::back::Back;
use super::hooks;
use super::journal::{Entry, Phase};
use super::run::{Done, Ending, Run};
use super::settle::Side;
use super::stop::Stop;
use crate::backup;
use crate::event::EventKind;
use crate::executor::compose::Site;
use crate::here;
use crate::history;
use crate::host::children;
use crate::model::{Action, ErrorKind, FailureReport, HistoryRecord, Outcome, Severity, Stage};

/// How long children of the dead worker get to be gone.
const CHILDREN: Duration = Duration::from_secs(30);

/// What is done about a deployment that nobody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It had ended: only its last word is missing.
    Tell,
    /// Nothing was switched.
    Discard,
    /// Its checks had passed, or what it wanted is what runs anyway.
    Finish(&'static str),
    /// Everything is stopped, as asked: that cannot be undone, and is known to be wanted.
    TakeDown,
    /// The release before comes back.
    Undo,
}

impl Decision {
    fn of(entry: &Entry, is_recorded: bool) -> Self {
        match entry.phase {
            _ if is_recorded => Self::Tell,
            Phase::Preparing | Phase::Placed | Phase::Ready | Phase::BackedUp => Self::Discard,
            Phase::Switching | Phase::Verifying if entry.before.is_some() && entry.before == entry.after => {
                Self::Finish("finish: the release that is current is started again")
            }
            Phase::Verified if hooks::wants_undoing(entry) => Self::Undo,
            Phase::Verified => Self::Finish("finish: its checks had passed"),
            Phase::Switching | Phase::Verifying | Phase::Undoing => Self::Undo,
            Phase::Committing | Phase::Committed => Self::Finish("finish: its checks had passed"),
            Phase::TakingDown => Self::TakeDown,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Tell => "tell: it had ended, only its last word was missing",
            Self::Discard => "discard: nothing was switched",
            Self::Finish(words) => words,
            Self::TakeDown => "finish: everything is stopped, as asked",
            Self::Undo => "undo",
        }
    }
}

impl Run {
    /// Ends the deployment that the journal names.
    pub async fn recover(&self, entry: &Entry) -> Ending {
        let record = self.recorded();
        let decision = Decision::of(entry, record.is_some());
        let unfinished = entry.job.deployment_id.to_string();
        let started = EventKind::RecoveryStarted {
            unfinished: unfinished.clone(),
            reached: entry.phase.as_str().to_owned(),
            decision: decision.words().to_owned(),
        };
        self.emitter.emit(here!(), started);
        if let Err(stop) = self.alone(entry, decision).await {
            return Ending { unended: true, errors: vec![stop.failure()], ..Ending::of(Outcome::Failed) };
        }
        self.tell_interrupted(entry);
        let discards = decision == Decision::Discard;
        let ending = match (decision, record) {
            (Decision::Tell, Some(record)) => self.told_again(record),
            (Decision::Tell | Decision::Discard, _) => self.discard_unfinished(entry).await,
            (Decision::Finish(_), _) => self.finish_unfinished(entry).await,
            (Decision::TakeDown, _) => self.take_down_again(entry).await,
            (Decision::Undo, _) => self.undo_unfinished(entry, died(entry)).await,
        };
        let ending = self.named(entry, ending);
        if decision != Decision::Tell {
            self.after_the_end(&ending).await;
        }
        if discards && !ending.unended {
            // Only now: hooks after the end are files of what is given up.
            self.discard_after(entry);
            self.drop_strays(&entry.project).await;
        }
        if !ending.unended {
            let outcome = ending.outcome.unwrap_or(Outcome::Failed);
            self.emitter.emit(here!(), EventKind::RecoveryFinished { unfinished, outcome });
        }
        ending
    }

    /// Returns when nothing acts any more for the dead worker, and there is somebody to ask what is.
    async fn alone(&self, entry: &Entry, decision: Decision) -> Result<(), Stop> {
        // Process ids of before the machine's last start are others' now.
        let known = Some(&entry.children).filter(|_| entry.boot == children::boot());
        let known = known.cloned().unwrap_or_default();
        let ended = children::end_all(&entry.job.deployment_id, &known, CHILDREN).await;
        ended.map_err(|lasting| {
            let message = format!("a program of {} {lasting}; nothing was changed", entry.job.deployment_id);
            FailureReport::new(ErrorKind::DeploymentError, "recovery.children", message)
                .hint("end it on the host, then run `ffe-deploy recover`")
        })?;
        self.end_hook_containers(entry).await?;
        match decision {
            Decision::Tell | Decision::Discard => Ok(()),
            Decision::Finish(_) | Decision::TakeDown | Decision::Undo => self.wait_for_daemon().await,
        }
    }

    /// Adds what the journal knows of a deployment, whatever became of it.
    fn named(&self, entry: &Entry, ending: Ending) -> Ending {
        let after = entry.after.as_ref().and_then(|id| self.executor.load(id).ok());
        Ending {
            target: ending.target.or_else(|| entry.after.clone()),
            version: ending.version.or_else(|| after.map(|release| release.version)),
            backup: ending.backup.or_else(|| entry.backup.clone()),
            ..ending
        }
    }

    /// The history knows it: its worker died between its record and its last word.
    fn told_again(&self, record: HistoryRecord) -> Ending {
        let stage = match record.outcome {
            Outcome::Succeeded => Stage::Complete,
            Outcome::RolledBack => Stage::RolledBack,
            _ => Stage::Failed,
        };
        self.emitter.enter(stage);
        let load = |id: Option<&_>| id.and_then(|id| self.executor.load(id).ok());
        Ending {
            changed: record.outcome != Outcome::Aborted,
            target: record.release.clone(),
            version: Some(record.version),
            release: self.current().ok().flatten(),
            before: load(record.previous_release.as_ref()),
            rolled_back_to: record.rolled_back_to,
            backup: record.backup,
            checks: record.checks,
            errors: record.errors,
            ..Ending::of(record.outcome)
        }
    }

    /// Takes away what never went live.
    fn discard_after(&self, entry: &Entry) {
        if let Some(after) =
            entry.after.as_ref().filter(|after| after.as_str() == entry.job.deployment_id.as_str())
        {
            self.discard(after);
        }
    }

    async fn discard_unfinished(&self, entry: &Entry) -> Ending {
        if entry.job.options.adopt.is_some() {
            self.discard_half_adopted();
        }
        backup::sweep(&self.executor.docker, &entry.project, &self.layout.backups()).await;
        self.emitter.enter(Stage::Failed);
        // What killed the worker may have ended the daemon, too, and with it what ran.
        if !entry.start.is_empty()
            && let Err(stop) = self.wake(&entry.project).await
        {
            let unended = stop.is_no_daemon();
            return Ending {
                unended,
                errors: vec![died(entry), stop.failure()],
                ..Ending::of(Outcome::Aborted)
            };
        }
        let before = self.current().ok().flatten();
        Ending {
            errors: vec![died(entry)],
            release: before.clone(),
            before,
            next_step: Some(match hooks::shown(&entry.hooks) {
                Some(hooks) => format!("nothing was changed; hooks that ran: {hooks}; deploy again"),
                None => "nothing was changed; deploy again".to_owned(),
            }),
            ..Ending::of(Outcome::Aborted)
        }
    }

    /// What had passed its checks may have stopped since, with the machine: it is started, asked again, and recorded.
    async fn finish_unfinished(&self, entry: &Entry) -> Ending {
        let before = entry.before.as_ref().and_then(|id| self.executor.load(id).ok());
        // Of a release that ran before, the containers of before are the better ones: they have their names.
        let side = if entry.before == entry.after { Side::Before } else { Side::After };
        let finished = async {
            let after = entry.after.as_ref().ok_or_else(|| died(entry))?;
            let ready = self.ready(self.executor.load(after)?).await?;
            let verified = self.stage_to_its_end(Stage::Verifying, async {
                Ok(Done::Did(self.establish(&ready, side, true).await?))
            });
            let report = verified.await?;
            self.conclude(&ready, before.as_ref(), report).await
        };
        match finished.await {
            Ok(ending) => {
                self.tell_finished(entry);
                Ending { changed: true, before, ..ending }
            }
            Err(stop) if stop.is_no_daemon() => {
                Ending { unended: true, errors: vec![stop.failure()], ..Ending::of(Outcome::Failed) }
            }
            Err(stop) if entry.before == entry.after => {
                self.emitter.enter(Stage::Failed);
                Ending {
                    errors: vec![stop.failure(), died(entry)],
                    changed: true,
                    release: before.clone(),
                    before,
                    ..Ending::of(Outcome::Failed)
                }
            }
            Err(stop) => self.undo_unfinished(entry, stop.failure()).await,
        }
    }

    async fn take_down_again(&self, entry: &Entry) -> Ending {
        let release = self.current().ok().flatten();
        let bare = || Site {
            project: entry.project.clone(),
            project_dir: self.layout.root().to_owned(),
            files: Vec::new(),
            env_file: "/dev/null".into(),
            profiles: Vec::new(),
        };
        let site = release.map_or_else(bare, |release| Site::of_release(&self.layout, &release));
        let more: &[&str] = if entry.job.action == Action::Clean { &super::CLEAN } else { &[] };
        let ending = self.take_down(&site, more).await;
        if ending.outcome == Some(Outcome::Succeeded) {
            self.tell_finished(entry);
        }
        ending
    }

    /// A success has no errors: that its worker died is told beside it.
    fn tell_finished(&self, entry: &Entry) {
        let (code, notice) =
            ("recovery.finished".to_owned(), format!("{}; it was finished", died(entry).message));
        self.emitter
            .emit(here!(), EventKind::Noticed { code, notice, hint: None, severity: Severity::Warning });
    }

    async fn undo_unfinished(&self, entry: &Entry, cause: FailureReport) -> Ending {
        // Why it was being undone comes first: it is the root cause.
        let stop = match &entry.why {
            Some(why) if why.code == Stop::CANCELLED => Stop::Cancelled,
            Some(why) => Stop::from(why.clone()),
            None => Stop::from(cause.clone()),
        };
        let mut errors = vec![stop.failure()];
        errors.extend(Some(cause).filter(|cause| *cause != errors[0]));
        let mut ending = Ending { errors, changed: true, ..Ending::of(Outcome::Failed) };
        match entry.before.as_ref().map(|id| self.executor.load(id)) {
            Some(Ok(before)) => {
                let back = Back { to: &before, from: entry.after.as_ref(), interrupted: true };
                self.roll_back_to(&back, &stop, &mut ending).await;
                if ending.outcome == Some(Outcome::RolledBack) {
                    ending.next_step = Some("the release before runs and is healthy; deploy again".into());
                }
                ending.before = Some(before);
            }
            Some(Err(error)) => {
                ending.errors.push(error.report());
                ending.next_step = Some("look at the host: the release before cannot be put back".into());
            }
            None => self.stop_first(&entry.project, &stop, &mut ending).await,
        }
        if ending.outcome == Some(Outcome::Failed) {
            self.emitter.enter(Stage::Failed);
        }
        ending
    }

    /// Returns what the history knows of this deployment.
    pub(super) fn recorded(&self) -> Option<HistoryRecord> {
        let job = &self.job;
        history::record_of(&self.layout.history(), &job.app.name, &job.environment.name, &job.deployment_id)
    }
}

fn died(entry: &Entry) -> FailureReport {
    let message = format!(
        "{} ended without a result while {}: its process was killed, or the host restarted",
        entry.job.deployment_id,
        entry.phase.doing()
    );
    FailureReport::new(ErrorKind::DeploymentError, "deployment.died", message).hint("deploy again")
}
