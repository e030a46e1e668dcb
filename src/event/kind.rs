//! The kinds of events and their own fields.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeploymentResult, Plan};
use crate::model::{
    ErrorKind, FailureReport, Finding, HookKind, HookResult, Outcome, Particular, Place, Severity, Silenced,
    StageOutcome, Verdict,
};

/// What happened. Never a request, never a rendered sentence.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A job began.
    DeploymentStarted {
        /// Verb of the command line.
        verb: String,
        /// Version that it brings; nothing for verbs that bring none, such as `down`.
        version: Option<String>,
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
    /// A stage ended. `Failed` in `verifying` is what starts the rollback.
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
        #[serde(flatten, with = "FindingFields")]
        #[schemars(with = "FindingFields")]
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
    /// A release was compared with the one that it replaces, before the switch.
    ReleaseCompared {
        /// The one that comes.
        release: String,
        /// The one that goes; absent when nothing ran.
        previous_release: Option<String>,
        /// Services whose image is another one now, or that come or go.
        images: Vec<ImageChange>,
        /// Files of the project that are otherwise.
        files: FileChanges,
    },
    /// It was found out what a deploy would change; nothing was touched.
    PlanMade {
        /// All of it.
        plan: Box<Plan>,
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
        /// Its digest in a registry (`sha256:…`), when one has it.
        #[serde(default)]
        digest: Option<String>,
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
    /// Old releases, what only they needed, or old backups were taken away. What is not told here stayed.
    Pruned {
        /// Ids of the releases.
        releases: Vec<String>,
        /// Tags of images, ours and those that a pull or a build for the release made.
        images: Vec<String>,
        /// Paths of the archives.
        backups: Vec<String>,
        /// How many of the release files that containers mount.
        files: u64,
        /// How many kept agents.
        agents: u64,
        /// Bytes of all these files on disk.
        freed_bytes: u64,
        /// Sizes of the images that went with their last tag; layers that other images share are counted, too.
        freed_image_bytes: u64,
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
    /// A hook was begun.
    HookStarted {
        /// Its name.
        hook: String,
        /// Which moment it is of.
        kind: HookKind,
        /// Where it runs: `host`, `runner`, or `service NAME`.
        place: String,
        /// How long it may take.
        timeout_ms: u64,
    },
    /// A hook ended, or did not run although it was its turn.
    HookFinished {
        /// What became of it.
        #[serde(flatten)]
        result: HookResult,
    },
    /// A line of a tool, a container, a hook or the tests.
    LogLine {
        /// Who said it: `docker compose up`, `container backend`, `hook migrate`, `test`, …
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
        #[serde(flatten, with = "FailureFields")]
        #[schemars(with = "FailureFields")]
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

/// The keys of a finding on an event's line, where `message` is the event's own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Finding")]
struct FindingFields {
    /// Stable id of the rule, such as `docker.running`.
    rule: String,
    /// Whether it stops nothing: its severity is no error (R000-49).
    #[serde(default)]
    passed: bool,
    /// How much it weighs.
    severity: Severity,
    /// What was found and what is wanted.
    #[serde(rename = "found")]
    message: String,
    /// What to do; absent when passed.
    hint: Option<String>,
    /// The specific issues, by name (R000-67).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, String>,
    /// Where it is written, when it is about something in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    /// Why it does not count, when the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silenced: Option<Silenced>,
}

/// The keys of a failure on an event's line, where `message` is the event's own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "FailureReport")]
struct FailureFields {
    /// The documents' name for it.
    error_kind: ErrorKind,
    /// Stable code, such as `lease.busy` or `compose.file`.
    code: String,
    /// What happened, and what was not touched; one paragraph.
    #[serde(rename = "problem")]
    message: String,
    /// What to do next: an order the reader can carry out.
    hint: Option<String>,
    /// The single things that it is about, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    particulars: Vec<Particular>,
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

/// Another image of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageChange {
    /// The service.
    pub service: String,
    /// What it had; absent when it is new.
    pub before: Option<ImageName>,
    /// What it gets; absent when it goes.
    pub after: Option<ImageName>,
}

/// An image, by its name and by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageName {
    /// What the compose file says.
    pub image: String,
    /// Its id (`sha256:…`).
    pub image_id: String,
    /// Digest in its registry, when it came from one.
    pub digest: Option<String>,
}

/// Files of two releases, compared; their names, at most 100 of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileChanges {
    /// How many came.
    pub added_count: u64,
    /// How many have another content.
    pub changed_count: u64,
    /// How many went.
    pub removed_count: u64,
    /// Those that came.
    pub added: Vec<String>,
    /// Those that have another content.
    pub changed: Vec<String>,
    /// Those that went.
    pub removed: Vec<String>,
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
