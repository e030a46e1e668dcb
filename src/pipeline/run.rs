//! One run of the pipeline: what every part of it needs, how a stage is told, and the result in the making.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::book::Book;
use super::deadline::Deadline;
use super::journal::{self, Entry, Phase};
use super::settle::in_order;
use super::stop::{Cancel, Stop};
use crate::event::{Cleaner, DeploymentResult, Emitter, EventKind, ServiceChange, Span, SpanStatus};
use crate::executor::compose::ComposeExecutor;
use crate::here;
use crate::history;
use crate::host::ballast;
use crate::host::clock::wall;
use crate::host::layout::Layout;
use crate::model::{
    Action, CheckResult, FailureReport, HealthReport, HistoryRecord, Job, Outcome, Release, ReleaseId,
    Severity, Stage, StageOutcome,
};

/// What one run needs. Recovery makes one, too, from the journal.
pub struct Run {
    /// The order.
    pub job: Job,
    /// Where things lie.
    pub layout: Layout,
    /// What applies releases.
    pub executor: ComposeExecutor,
    /// Where things are told.
    pub emitter: Emitter,
    /// The wish to stop.
    pub cancel: Cancel,
    /// When it began.
    pub started_at: Timestamp,
    /// When it has to have ended.
    pub deadline: Deadline,
    /// Its journal.
    pub book: Book,
    /// Whether it ends what another one began.
    pub recovers: bool,
}

/// What a stage did.
pub enum Done<T> {
    /// Its work.
    Did(T),
    /// Nothing, for this reason.
    Skipped(T, String),
}

impl Run {
    /// Runs one stage: told at its start and its end, and ended at once when somebody wants to stop, or when it takes
    /// too long.
    ///
    /// # Errors
    /// The stage failed, was cancelled, or took too long.
    pub async fn stage<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<Done<T>, Stop>>,
    ) -> Result<T, Stop> {
        let work = async {
            tokio::select! {
                biased;
                () = self.cancel.raised() => Err(Stop::Cancelled),
                done = work => done,
                late = self.deadline.passes(stage) => Err(late),
            }
        };
        self.stage_to_its_end(stage, work).await
    }

    /// Runs one stage that a cancel does not end: what puts things right again.
    ///
    /// # Errors
    /// The stage failed.
    pub async fn stage_to_its_end<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<Done<T>, Stop>>,
    ) -> Result<T, Stop> {
        self.emitter.enter(stage);
        self.emitter.emit(here!(), EventKind::StageStarted {});
        let began = Instant::now();
        let done = work.await;
        let (outcome, reason) = match &done {
            Ok(Done::Did(_)) => (StageOutcome::Succeeded, None),
            Ok(Done::Skipped(_, reason)) => (StageOutcome::Skipped, Some(reason.clone())),
            Err(stop) => (StageOutcome::Failed, Some(stop.reason())),
        };
        self.emitter.emit(here!(), stage_finished(stage, outcome, reason, began));
        match done {
            Ok(Done::Did(value) | Done::Skipped(value, _)) => Ok(value),
            Err(stop) => Err(stop),
        }
    }

    /// Tells a stage that has nothing to do.
    pub fn skip(&self, stage: Stage, reason: &str) {
        self.emitter.enter(stage);
        let began = Instant::now();
        self.emitter.emit(here!(), EventKind::StageStarted {});
        self.emitter
            .emit(here!(), stage_finished(stage, StageOutcome::Skipped, Some(reason.to_owned()), began));
    }

    /// Writes the journal's first word: what this run is about. In recovery it is there already.
    ///
    /// # Errors
    /// It cannot be written; nothing must be changed.
    pub async fn begin_journal(
        &self,
        before: Option<&Release>,
        after: Option<&ReleaseId>,
        project: &str,
    ) -> Result<(), Stop> {
        let running = in_order(&self.containers(project).await?);
        let entry = Entry {
            schema: 0,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            agent: self.layout.agent_of_this_process(),
            root: String::new(),
            boot: String::new(),
            job: self.job.without_secrets(),
            started_at: self.started_at,
            phase: Phase::Preparing,
            project: project.to_owned(),
            before: before.map(|release| release.id.clone()),
            after: after.cloned(),
            keep: BTreeMap::new(),
            start: running,
            remove: Vec::new(),
            children: BTreeMap::new(),
            backup: None,
            why: None,
            hooks: Vec::new(),
        };
        Ok(self.book.begin(entry)?)
    }

    /// Writes how far it has come, before the next change.
    ///
    /// # Errors
    /// It cannot be written; the change must not be made.
    pub fn reached(&self, phase: Phase) -> Result<(), Stop> {
        Ok(self.book.change(|entry| entry.phase = phase)?)
    }

    /// Reads the release that is current.
    ///
    /// # Errors
    /// It is named, and not whole.
    pub fn current(&self) -> Result<Option<Release>, Stop> {
        let id = self.layout.current_release();
        Ok(id.map(|id| self.executor.load(&id)).transpose()?)
    }

    /// Reads the release that is current, for a job that replaces it. One that is not whole is told and left behind.
    pub fn current_to_replace(&self) -> Option<Release> {
        self.current().unwrap_or_else(|stop| {
            let notice = format!("{}; this deployment has nothing to go back to", stop.reason());
            let hint = Some("its containers are replaced; look who changed files below the root".to_owned());
            let (code, severity) = ("release.damaged".to_owned(), Severity::Warning);
            self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity });
            None
        })
    }

    /// Ends the run: the history knows, the last word is said, and then nothing is left to recover. In this order, so
    /// that whoever dies in between leaves something that says how it ended.
    pub fn finish(&self, ending: Ending) -> DeploymentResult {
        let target = ending.target.clone();
        ballast::give_up_if_scarce(&self.layout.ballast());
        let mut result = ending.into_result(&self.job, &self.emitter, self.started_at);
        result.hooks = self.book.entry().map(|entry| entry.hooks).unwrap_or_default();
        // Checks and errors quote what programs said, and the record of it stays.
        Cleaner::new(&self.executor.redactor).result(&mut result);
        if self.job.action.is_recorded()
            && self.recorded().is_none()
            && let Err(error) = history::write(&self.layout.history(), &self.record(&result, target))
        {
            let failure = error.report();
            self.emitter.emit(here!(), EventKind::Failed { failure: failure.clone() });
            result.errors.push(failure);
        }
        say_last_word(&self.emitter, &result);
        if let Err(error) = journal::clear(&self.layout.journal()) {
            // Goes to guard.log. The next attach finds the journal of a deployment that has ended, and tries again.
            eprintln!("ffe-agent: {}", Stop::from(error).failure().message);
        }
        result
    }

    fn record(&self, result: &DeploymentResult, target: Option<ReleaseId>) -> HistoryRecord {
        let id = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let ended = (result.outcome, result.start_time, result.end_time);
        let environment = self.job.environment.name.clone();
        let deployment_id = self.job.deployment_id.clone();
        let new = HistoryRecord::new(&self.job.app, environment, deployment_id, ended, &self.job.requester);
        let reason = match &self.job.action {
            Action::Rollback { reason, .. } => {
                reason.as_ref().map(|reason| self.executor.redactor.redact(reason).into_owned())
            }
            _ => None,
        };
        let brought = target.as_ref().and_then(|id| self.executor.load(id).ok());
        let commit = brought.and_then(|release| release.commit);
        HistoryRecord {
            commit,
            version: result.version.clone().unwrap_or_default(),
            verb: result.verb.clone(),
            release: target,
            previous_release: id(&result.previous_release),
            rolled_back_to: id(&result.rolled_back_to),
            reason,
            backup: result.backup.clone(),
            checks: result.checks.clone(),
            hooks: result.hooks.clone(),
            errors: result.errors.clone(),
            ..new
        }
    }
}

/// Ends a job that never became a run: its last word, and nothing in the history.
pub fn last_word(job: &Job, emitter: &Emitter, started_at: Timestamp, ending: Ending) {
    emitter.enter(Stage::Failed);
    say_last_word(emitter, &ending.into_result(job, emitter, started_at));
}

fn say_last_word(emitter: &Emitter, result: &DeploymentResult) {
    let last_word = EventKind::DeploymentFinished { is_final: true, result: Box::new(result.clone()) };
    emitter.emit(here!(), last_word);
}

/// Returns the event of a stage's end.
pub(super) fn stage_finished(
    stage: Stage,
    outcome: StageOutcome,
    reason: Option<String>,
    began: Instant,
) -> EventKind {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = if outcome == StageOutcome::Failed { SpanStatus::Error } else { SpanStatus::Ok };
    let span = Span { name: stage.as_str().to_owned(), duration_ms: took_ms, status };
    EventKind::StageFinished { outcome, took_ms, reason, span }
}

/// How a run ends, in the making.
#[derive(Default)]
pub struct Ending {
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whether anything was changed.
    pub changed: bool,
    /// Release that was to be brought live.
    pub target: Option<ReleaseId>,
    /// Version of the release that the verb is about, where the job does not bring its own.
    pub version: Option<String>,
    /// Release that runs now.
    pub release: Option<Release>,
    /// Release that ran before.
    pub before: Option<Release>,
    /// Release that was put back.
    pub rolled_back_to: Option<ReleaseId>,
    /// The backup.
    pub backup: Option<String>,
    /// Health of what runs now.
    pub health: Option<HealthReport>,
    /// Checks of the release that was asked for.
    pub checks: Vec<CheckResult>,
    /// What happened to services.
    pub services: BTreeMap<String, ServiceChange>,
    /// Addresses people can open.
    pub urls: BTreeMap<String, String>,
    /// What went wrong, root cause first.
    pub errors: Vec<FailureReport>,
    /// What to do next.
    pub next_step: Option<String>,
    /// It could not be ended: the journal stays, and whoever comes next tries again.
    pub unended: bool,
}

impl Ending {
    /// Returns an ending with this outcome.
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..Self::default() }
    }

    fn into_result(self, job: &Job, emitter: &Emitter, started_at: Timestamp) -> DeploymentResult {
        let outcome = self.outcome.unwrap_or(Outcome::Failed);
        let end_time = wall();
        // Only verbs that bring the project have a version of their own; the others act on releases.
        let own = matches!(job.action, Action::Deploy | Action::Build) || self.version.is_none();
        let version = if own { job.version.label.clone() } else { self.version.unwrap_or_default() };
        let seconds = end_time.duration_since(started_at).as_secs_f64().max(0.0);
        DeploymentResult {
            deployment_id: job.deployment_id.clone(),
            environment: Some(job.environment.name.clone()),
            app: Some(job.app.name.clone()),
            verb: job.action.verb().to_owned(),
            stage: emitter.stage(),
            start_time: started_at,
            end_time,
            duration_seconds: (seconds * 1000.0).round() / 1000.0,
            outcome,
            status: outcome.status(),
            exit_code: outcome.exit().code(),
            changed: self.changed,
            version: Some(version),
            previous_version: self.before.as_ref().map(|release| release.version.clone()),
            release: self.release.map(|release| release.id.to_string()),
            previous_release: self.before.map(|release| release.id.to_string()),
            rolled_back_to: self.rolled_back_to.map(|id| id.to_string()),
            backup: self.backup,
            health: self.health,
            checks: self.checks,
            services: self.services,
            hooks: Vec::new(),
            urls: self.urls,
            errors: self.errors,
            next_step: self.next_step,
        }
    }
}
