//! What the runner tells: its own events and the host's, to every reporter.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::args::{LogArgs, Output};
use super::github::{Front, Github};
use super::surroundings::Surroundings;
use crate::event::{
    Context, DeploymentResult, Emitter, Event, EventKind, Level, Origin, Sink, Span, SpanStatus,
};
use crate::here;
use crate::host::clock::wall;
use crate::model::{
    Action, AppName, CorrelationId, DeploymentId, EnvironmentName, FailureReport, HookResult, Outcome,
    Profile, Requester, Stage, StageOutcome,
};
use crate::report::diagnostics::{self, DiagnosticsSettings};
use crate::report::{
    Console, ConsoleSettings, EventLog, Hub, Notified, ReportError, Reporter, Setting, Story, event_log,
};
use crate::text::Redactor;

/// How often reporters are told that time passes.
const TICK: Duration = Duration::from_secs(1);

/// The hub, shared by the runner's emitter and by what follows the host. Events that come before the log files can be
/// opened, for their names need the environment, are kept for them.
#[derive(Clone, Default)]
struct Shared {
    hub: Arc<Mutex<Hub>>,
    early: Arc<Mutex<Option<Vec<Event>>>>,
}

impl Shared {
    fn publish(&self, event: &Event) {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner).publish(event);
        if let Some(early) = self.early.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            early.push(event.clone());
        }
    }
}

impl Sink for Shared {
    fn take(&mut self, event: &Event) {
        self.publish(event);
    }
}

/// Everything that is told of one run.
pub(super) struct Telling {
    shared: Shared,
    /// The runner's own events.
    pub emitter: Emitter,
    /// Id of the run.
    pub deployment_id: DeploymentId,
    /// Groups everything of one workflow run.
    pub correlation_id: CorrelationId,
    verb: String,
    level: Level,
    log_dir: Option<PathBuf>,
    /// Where the event log is.
    pub event_log: PathBuf,
    started_at: Timestamp,
    stage_began: Option<Instant>,
    ticking: tokio::task::JoinHandle<()>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

impl Telling {
    /// Opens the reporters. `profile` is what the environment's name stands for: it decides the default level (C14).
    /// `github` is the job of GitHub that runs this, when one does.
    ///
    /// # Errors
    /// A file that was asked for cannot be made.
    pub(super) fn open(
        log: &LogArgs,
        surroundings: &Surroundings,
        verb: &str,
        profile: Profile,
        deployment_id: DeploymentId,
        github: Option<&Github>,
    ) -> Result<Self, ReportError> {
        let correlation_id = log.correlation_id.clone().unwrap_or_else(|| surroundings.correlation_id());
        let shared = Shared::default();
        *shared.early.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        let place = log
            .event_log
            .clone()
            .unwrap_or_else(|| event_log::default_place(|name| surroundings.get(name), &deployment_id));
        let level = level(log, surroundings, profile);
        {
            let mut hub = shared.hub.lock().unwrap_or_else(PoisonError::into_inner);
            hub.add(EventLog::create(&place)?);
            if let Some(file) = &log.log_file {
                hub.add(Console::log_file(file, level)?);
            }
            if let Some(github) = github {
                github.add_reporters(&mut hub);
            }
            let front = github.map_or(Front::Stderr, Github::front);
            // Whoever follows with `--output json` wants the events themselves, and no other document.
            let is_document = verb == Action::Follow.verb() && log.output == Output::Json;
            hub.add(if is_document { document() } else { console(log, level, surroundings, front) });
            let Requester { who, run_url } = surroundings.requester();
            let event_log = Some(place.display().to_string());
            *hub.setting() = Setting { who: Some(who), run_url, event_log, ..Setting::default() };
        }
        let context = Context {
            origin: Origin::Runner,
            deployment_id: deployment_id.clone(),
            correlation_id: correlation_id.clone(),
            app: None,
            environment: None,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let emitter = Emitter::new(context, 0, Stage::Initializing, Box::new(shared.clone()));
        let ticking = tokio::spawn(tick(Arc::clone(&shared.hub)));
        Ok(Self {
            shared,
            emitter,
            deployment_id,
            correlation_id,
            verb: verb.to_owned(),
            level,
            log_dir: log.log_dir.clone(),
            event_log: place,
            started_at: wall(),
            stage_began: None,
            ticking,
        })
    }

    /// Opens the log files, now that the environment and the secrets are known, and tells them what was before.
    ///
    /// # Errors
    /// A file cannot be made.
    pub(super) fn keep_logs(
        &self,
        environment: &EnvironmentName,
        redactor: Redactor,
    ) -> Result<(), ReportError> {
        let Some(early) = self.shared.early.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        self.emitter.redact_with(redactor.clone());
        let Some(directory) = &self.log_dir else { return Ok(()) };
        let settings = DiagnosticsSettings {
            environment: environment.clone(),
            level: self.level,
            deployment_id: self.deployment_id.clone(),
            correlation_id: self.correlation_id.clone(),
            redactor,
        };
        let mut files = diagnostics::start(directory, &settings)?;
        for event in &early {
            files.on_event(event)?;
        }
        self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner).add_first(files);
        Ok(())
    }

    /// Adds a reporter before the others, which so far have heard nothing.
    pub(super) fn add_first(&self, reporter: impl Reporter + 'static) {
        self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner).add_first(reporter);
    }

    /// Takes in where the app is, and how to go back from what this run does.
    pub(super) fn know(&self, app_dir: PathBuf, rollback: String) {
        let mut hub = self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner);
        (hub.setting().app_dir, hub.setting().rollback) = (Some(app_dir), Some(rollback));
    }

    /// Tells an event of the host.
    pub(super) fn relay(&self, event: &Event) {
        self.shared.publish(event);
    }

    /// Begins a stage of the runner.
    pub(super) fn begin(&mut self, stage: Stage) {
        self.begin_at(stage, Instant::now());
    }

    /// As [`Telling::begin`], for a stage that began before it could be told.
    pub(super) fn begin_at(&mut self, stage: Stage, began: Instant) {
        self.stage_began = Some(began);
        self.emitter.enter(stage);
        self.emitter.emit(here!(), EventKind::StageStarted {});
    }

    /// Ends the stage of the runner that was begun, if it has not ended.
    pub(super) fn end(&mut self, outcome: StageOutcome, reason: Option<String>) {
        let Some(began) = self.stage_began.take() else { return };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = if outcome == StageOutcome::Failed { SpanStatus::Error } else { SpanStatus::Ok };
        let span = Span { name: self.emitter.stage().as_str().to_owned(), duration_ms: took_ms, status };
        self.emitter.emit(here!(), EventKind::StageFinished { outcome, took_ms, reason, span });
    }

    /// Returns the facts of the run so far.
    pub(super) fn story(&self) -> Story {
        self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner).story().clone()
    }

    /// Tells whether an audience got its message, after the last word.
    pub(super) fn notified(&self, audience: &str, problem: Option<String>) {
        let notified = Notified { audience: audience.to_owned(), problem };
        self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner).notified(notified);
    }

    /// Has the last word, when the host has none, and returns it as it was told.
    pub(super) fn finish(&self, target: &Named, ending: OwnEnding) -> DeploymentResult {
        for failure in &ending.errors {
            self.emitter.emit(here!(), EventKind::Failed { failure: failure.clone() });
        }
        let result = self.result(target, &ending);
        let mut last_word =
            EventKind::DeploymentFinished { is_final: ending.is_final, result: Box::new(result.clone()) };
        self.emitter.clean(&mut last_word);
        self.emitter.emit(here!(), last_word.clone());
        if let EventKind::DeploymentFinished { result, .. } = last_word { *result } else { result }
    }

    fn result(&self, target: &Named, ending: &OwnEnding) -> DeploymentResult {
        let OwnEnding { outcome, changed, is_final: _, errors, hooks: _, next_step } = ending.clone();
        let end_time = wall();
        let seconds = end_time.duration_since(self.started_at).as_secs_f64().max(0.0);
        DeploymentResult {
            deployment_id: self.deployment_id.clone(),
            environment: target.environment.clone(),
            app: target.app.clone(),
            verb: self.verb.clone(),
            stage: self.emitter.stage(),
            start_time: self.started_at,
            end_time,
            duration_seconds: (seconds * 1000.0).round() / 1000.0,
            outcome,
            status: outcome.status(),
            exit_code: outcome.exit().code(),
            changed,
            version: target.version.clone(),
            previous_version: None,
            release: None,
            previous_release: None,
            rolled_back_to: None,
            backup: None,
            health: None,
            checks: Vec::new(),
            services: std::collections::BTreeMap::new(),
            hooks: ending.hooks.clone(),
            urls: std::collections::BTreeMap::new(),
            errors,
            next_step,
        }
    }
}

/// What is known of the target when the runner has the last word.
#[derive(Clone, Default)]
pub(super) struct Named {
    /// The app.
    pub app: Option<AppName>,
    /// The environment.
    pub environment: Option<EnvironmentName>,
    /// The version.
    pub version: Option<String>,
}

/// An end that the runner tells.
#[derive(Clone)]
pub(super) struct OwnEnding {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether anything was changed.
    pub changed: bool,
    /// Whether this is the last word: not where the host goes on.
    pub is_final: bool,
    /// What went wrong.
    pub errors: Vec<FailureReport>,
    /// Hooks that this machine ran.
    pub hooks: Vec<HookResult>,
    /// What to do next.
    pub next_step: Option<String>,
}

impl OwnEnding {
    /// An end that nothing follows.
    pub(super) fn last(outcome: Outcome, errors: Vec<FailureReport>) -> Self {
        let next_step = errors.first().and_then(|failure| failure.hint.clone());
        Self { outcome, changed: false, is_final: true, errors, hooks: Vec::new(), next_step }
    }
}

fn level(log: &LogArgs, surroundings: &Surroundings, profile: Profile) -> Level {
    let usual = if profile == Profile::Dev { Level::Debug } else { Level::Info };
    log.log_level.or_else(|| surroundings.get("LOG_LEVEL")?.parse().ok()).unwrap_or(usual)
}

/// The events as they are on stdout, all of them.
fn document() -> Console<Box<dyn Write + Send>> {
    let settings = ConsoleSettings { for_people: false, level: Level::Debug, colours: false, groups: false };
    Console::new(Front::Stdout.stream().0, settings)
}

/// On GitHub lines for people stand where commands do, so that a group holds what belongs to it.
fn console(
    log: &LogArgs,
    level: Level,
    surroundings: &Surroundings,
    front: Front,
) -> Console<Box<dyn Write + Send>> {
    let (stream, terminal) = front.stream();
    let settings = ConsoleSettings::fitting(log.log_format, level, terminal, |name| surroundings.get(name));
    if settings.for_people {
        Console::new(stream, settings)
    } else {
        Console::new(Front::Stderr.stream().0, settings)
    }
}

async fn tick(hub: Arc<Mutex<Hub>>) {
    loop {
        tokio::time::sleep(TICK).await;
        hub.lock().unwrap_or_else(PoisonError::into_inner).tick(Instant::now());
    }
}
