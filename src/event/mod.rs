//! What happened, past tense, as one stream: the live type is what gets serialised (DESIGN section 9).
//!
//! [`Emitter`] numbers events and stamps them with their context; a [`Sink`] takes them. Knows nothing of
//! readers: those are in `report`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod words;

use crate::model::{
    AppName, CheckResult, CorrelationId, DeploymentId, EnvironmentName, FailureReport, Finding, HealthReport,
    Outcome, Severity, Stage, StageOutcome, Status, Verdict,
};

/// Version of the event format; every line says it.
pub const SCHEMA: u32 = 1;

/// One line of the event log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version of the format; 1.
    pub schema: u32,
    /// Which half saw it.
    pub origin: Origin,
    /// Gapless per origin, from 1.
    pub seq: u64,
    /// UTC, RFC 3339, milliseconds.
    pub timestamp: String,
    /// Weight as a word (C14).
    pub level: Level,
    /// Which part of the product speaks.
    pub logger: Cow<'static, str>,
    /// The event in one sentence for people.
    pub message: String,
    /// Module of the source that said it.
    pub module: Cow<'static, str>,
    /// Function of the source that said it.
    pub function: Cow<'static, str>,
    /// Line of the source that said it.
    pub line: u32,
    /// Id of the deployment.
    pub deployment_id: DeploymentId,
    /// Groups everything of one workflow run.
    pub correlation_id: CorrelationId,
    /// The app; absent before the configuration is read.
    pub app: Option<AppName>,
    /// The environment; absent before the arguments are read.
    pub environment: Option<EnvironmentName>,
    /// Stage in which it happened.
    pub stage: Stage,
    /// Name of the machine that saw it.
    pub host: String,
    /// One trace a deployment, 32 hex digits (W3C Trace Context).
    pub trace_id: String,
    /// One span a stage, 16 hex digits.
    pub span_id: String,
    /// What happened, with its own fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Which half saw an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The job.
    Runner,
    /// The host's half.
    Agent,
}

/// Weight of an event (C14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// For developers.
    Debug,
    /// Normal progress.
    Info,
    /// Recoverable.
    Warning,
    /// Needs attention.
    Error,
    /// The deployment ended badly.
    Critical,
}

impl Level {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// What happened. Never a request, never a rendered sentence.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A job began.
    DeploymentStarted {
        /// Verb of the command line.
        verb: String,
        /// Version that it brings.
        version: String,
        /// Where it goes: `local`, or `user@host:port`.
        target: String,
        /// Version of this program.
        tool_version: String,
    },
    /// The host took the job over: from here on it goes on by itself.
    HostTookOver {
        /// Release that runs now.
        previous_release: Option<String>,
        /// Root of the app and environment on the host.
        root: String,
        /// Process id of the worker.
        pid: u32,
    },
    /// A stage began.
    StageStarted {},
    /// A stage ended. `Failed` in [`Stage::Verifying`] is what starts the rollback.
    StageFinished {
        /// How it ended.
        outcome: StageOutcome,
        /// How long it took.
        took_ms: u64,
        /// Why it was skipped or failed.
        reason: Option<String>,
        /// The same as a span (R000-47).
        span: Span,
    },
    /// A preflight check found something, or that all is well.
    FindingReported {
        /// What it found.
        #[serde(flatten)]
        finding: Finding,
    },
    /// One attempt of a health check was answered.
    HealthAttempted {
        /// Name of the check.
        check: String,
        /// From 1.
        attempt: u32,
        /// How long the answer took.
        latency_ms: u64,
        /// The answer in words.
        detail: String,
    },
    /// A health check reached its verdict, `waited_ms` after its first attempt.
    CheckFinished {
        /// Name of the check.
        check: String,
        /// The answer.
        verdict: Verdict,
        /// How long the last attempt took.
        latency_ms: u64,
        /// From the first attempt to the verdict.
        waited_ms: u64,
        /// How often it was asked.
        attempts: u32,
        /// What was asked.
        asked: String,
        /// The last answer in words.
        detail: String,
        /// Whether a failure only degrades.
        optional: bool,
    },
    /// The bundle is on the host.
    BundleReceived {
        /// Files in all.
        files: u64,
        /// Files that had to travel.
        sent_files: u64,
        /// Bytes of those.
        sent_bytes: u64,
    },
    /// An image is there, pulled or built.
    ImageReady {
        /// Service that uses it.
        service: String,
        /// What the compose file says.
        image: String,
        /// Its id.
        image_id: String,
        /// Its size on disk.
        size_bytes: u64,
        /// How it came.
        how: ImageHow,
    },
    /// The backup is on disk and was read back.
    BackupCreated {
        /// Path on the host.
        path: String,
        /// Its size.
        size_bytes: u64,
        /// SHA-256 of the archive, re-read from disk.
        sha256: String,
        /// What is in it.
        includes: Vec<String>,
        /// How long it is kept.
        retention_days: u32,
    },
    /// A service's container changed.
    ServiceChanged {
        /// Its name.
        service: String,
        /// What happened to it.
        change: ServiceChange,
    },
    /// The release is the one that `current` names.
    ReleaseCommitted {
        /// Its id.
        release: String,
        /// The one before.
        previous_release: Option<String>,
    },
    /// An unfinished deployment of before is being ended.
    RecoveryStarted {
        /// Its id.
        unfinished: String,
        /// How far it had come.
        reached: String,
        /// What will be done about it: `finish` or `undo`.
        decision: String,
    },
    /// An unfinished deployment of before was ended.
    RecoveryFinished {
        /// Its id.
        unfinished: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// The previous release is being put back.
    RollbackStarted {
        /// The one that failed.
        from_release: Option<String>,
        /// The one that comes back.
        to_release: String,
        /// Why.
        reason: String,
    },
    /// The job asked to stop, and the host knows it.
    CancelRequested {
        /// What happens now.
        effect: String,
    },
    /// A line of a tool, a container or a hook.
    LogLine {
        /// Who said it: `docker compose up`, `container backend`, …
        source: String,
        /// What it said, harmless and redacted.
        text: String,
    },
    /// The last lines of a service that failed (R000-42).
    LogsCollected {
        /// Its name.
        service: String,
        /// Name of its container.
        container: String,
        /// Its state in words: `running, unhealthy`, `exited with 1`.
        state: String,
        /// At most 50 lines.
        lines: Vec<String>,
    },
    /// Something people should know that stops nothing.
    Noticed {
        /// Stable code.
        code: String,
        /// What.
        notice: String,
        /// What to do about it.
        hint: Option<String>,
        /// Notice or warning.
        severity: Severity,
    },
    /// Something failed.
    Failed {
        /// What, why, and the next step.
        #[serde(flatten)]
        failure: FailureReport,
    },
    /// The end. With `final: false` the host goes on, and has the last word in its own log.
    DeploymentFinished {
        /// Whether this is the last word.
        #[serde(rename = "final")]
        is_final: bool,
        /// All there is to say.
        result: Box<DeploymentResult>,
    },
}

/// A stage as a span (R000-47).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Name of the stage.
    pub name: String,
    /// How long it took.
    pub duration_ms: u64,
    /// `ok` or `error`.
    pub status: SpanStatus,
}

/// Status of a [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanStatus {
    /// Done or skipped.
    Ok,
    /// Failed.
    Error,
}

/// How an image came to be on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageHow {
    /// From a registry.
    Pulled,
    /// Built on the host.
    Built,
    /// It was there.
    Present,
}

/// What happened to a service's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceChange {
    /// There was none.
    Created,
    /// Replaced by a new one.
    Recreated,
    /// It was there, stopped.
    Started,
    /// Stopped.
    Stopped,
    /// Taken away.
    Removed,
    /// The same container goes on.
    Unchanged,
}

/// The end of a deployment: R000-44's keys and more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentResult {
    /// Id of the deployment.
    pub deployment_id: DeploymentId,
    /// Where it went.
    pub environment: Option<EnvironmentName>,
    /// What was deployed.
    pub app: Option<AppName>,
    /// Verb of the command line.
    pub verb: String,
    /// Last stage that was reached.
    pub stage: Stage,
    /// UTC, RFC 3339.
    #[schemars(with = "String")]
    pub start_time: Timestamp,
    /// UTC, RFC 3339.
    #[schemars(with = "String")]
    pub end_time: Timestamp,
    /// Seconds from start to end, with milliseconds.
    pub duration_seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// The word of the documents.
    pub status: Status,
    /// Exit code of the job.
    pub exit_code: u8,
    /// Whether anything was changed.
    pub changed: bool,
    /// Version that was asked for.
    pub version: Option<String>,
    /// Version that ran before.
    pub previous_version: Option<String>,
    /// Release that runs now, when one does.
    pub release: Option<String>,
    /// Release that ran before.
    pub previous_release: Option<String>,
    /// Release that was put back, after a failure.
    pub rolled_back_to: Option<String>,
    /// Path of the backup on the host.
    pub backup: Option<String>,
    /// Health of what runs now.
    pub health: Option<HealthReport>,
    /// Results of the checks of the release that was asked for.
    pub checks: Vec<CheckResult>,
    /// Services whose containers changed, and how.
    pub services: std::collections::BTreeMap<String, ServiceChange>,
    /// Addresses people can open.
    pub urls: std::collections::BTreeMap<String, String>,
    /// Everything that went wrong, root cause first (R000-67).
    pub errors: Vec<FailureReport>,
    /// What to do next, when somebody must.
    pub next_step: Option<String>,
}

/// Where in the source something was said (R000-30).
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// `module_path!()`.
    pub module: &'static str,
    /// Name of the function.
    pub function: &'static str,
    /// `line!()`.
    pub line: u32,
}

/// Returns the place in the source where it stands, as [`crate::event::Here`].
#[macro_export]
macro_rules! here {
    () => {{
        fn place() {}
        fn name_of<T>(_: T) -> &'static str {
            std::any::type_name::<T>()
        }
        let path = name_of(place).trim_end_matches("::place").trim_end_matches("::{{closure}}");
        $crate::event::Here {
            module: module_path!(),
            function: path.rsplit("::").next().unwrap_or(path),
            line: line!(),
        }
    }};
}

/// Takes events where they are wanted. Called in order, from one thread at a time.
pub trait Sink: Send {
    /// Takes one event.
    fn take(&mut self, event: &Event);
}

/// What every event of a run has in common.
#[derive(Clone, Debug)]
pub struct Context {
    /// Which half speaks.
    pub origin: Origin,
    /// Id of the run.
    pub deployment_id: DeploymentId,
    /// Groups everything of one workflow run.
    pub correlation_id: CorrelationId,
    /// The app, once it is known.
    pub app: Option<AppName>,
    /// The environment, once it is known.
    pub environment: Option<EnvironmentName>,
    /// Name of this machine.
    pub host: String,
}

/// Numbers events, stamps them, and hands them to the sink. Cheap to clone; clones share the numbering.
#[derive(Clone)]
pub struct Emitter(Arc<Mutex<EmitterState>>);

struct EmitterState {
    context: Context,
    seq: u64,
    stage: Stage,
    sink: Box<dyn Sink>,
}

impl Emitter {
    /// Returns an emitter whose next event has number `last_seq + 1`.
    pub fn new(context: Context, last_seq: u64, stage: Stage, sink: Box<dyn Sink>) -> Self {
        Self(Arc::new(Mutex::new(EmitterState { context, seq: last_seq, stage, sink })))
    }

    /// Says that something happened.
    pub fn emit(&self, here: Here, kind: EventKind) {
        let mut state = self.lock();
        state.seq += 1;
        let event = state.event(here, kind);
        state.sink.take(&event);
    }

    /// Says in which stage the following events happen.
    pub fn enter(&self, stage: Stage) {
        self.lock().stage = stage;
    }

    /// Returns the stage in which events happen now.
    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Returns the number of the last event.
    pub fn last_seq(&self) -> u64 {
        self.lock().seq
    }

    /// Names the app and the environment, once they are known.
    pub fn identify(&self, app: Option<AppName>, environment: Option<EnvironmentName>) {
        let mut state = self.lock();
        state.context.app = app;
        state.context.environment = environment;
    }

    /// A panic of another holder cannot leave the state half changed: it is counters and a sink.
    fn lock(&self) -> std::sync::MutexGuard<'_, EmitterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmitterState {
    fn event(&self, here: Here, kind: EventKind) -> Event {
        let context = &self.context;
        let trace = trace_id(&context.deployment_id);
        Event {
            schema: SCHEMA,
            origin: context.origin,
            seq: self.seq,
            timestamp: timestamp(Timestamp::now()),
            level: kind.level(),
            logger: Cow::Borrowed("ffe_deploy"),
            message: kind.to_string(),
            module: Cow::Borrowed(here.module),
            function: Cow::Borrowed(here.function),
            line: here.line,
            deployment_id: context.deployment_id.clone(),
            correlation_id: context.correlation_id.clone(),
            app: context.app.clone(),
            environment: context.environment.clone(),
            stage: self.stage,
            host: context.host.clone(),
            span_id: span_id(&trace, self.stage),
            trace_id: trace,
            kind,
        }
    }
}

/// Returns a time as events write it: UTC, RFC 3339, milliseconds.
pub fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Returns the trace of a deployment: a UUIDv5 of its id, so that both halves agree without talking.
fn trace_id(id: &DeploymentId) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, id.as_str().as_bytes()).simple().to_string()
}

fn span_id(trace: &str, stage: Stage) -> String {
    let name = format!("{trace}/{stage}");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string()[..16].to_owned()
}
