//! What happened, past tense, as one stream: the live type is what gets serialised (DESIGN section 9).
//!
//! [`Emitter`] numbers events and stamps them with their context; a [`Sink`] takes them. Knows nothing of
//! readers: those are in `report`.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{AppName, CorrelationId, DeploymentId, EnvironmentName, Stage};

mod clean;
mod emitter;
#[cfg(test)]
pub(crate) mod examples;
mod foreign;
mod kind;
mod plan;
mod result;
mod schema;
mod words;

pub use clean::Cleaner;
pub use emitter::{Context, Emitter, Here, Sink};
pub use foreign::{ForeignEventError, LONGEST_FOREIGN_LINE};
pub use kind::{EventKind, FileChanges, ImageChange, ImageHow, ImageName, ServiceChange, Span, SpanStatus};
pub use plan::{
    Plan, PlanAnswer, PlannedBackup, PlannedCheck, PlannedFile, PlannedFiles, PlannedHook, PlannedImage,
    PlannedService, PlannedTest, Reason, Texts, Why,
};
pub use result::DeploymentResult;
pub use schema::schema;
pub use words::level_of;

/// Version of the event format; every line says it.
pub const SCHEMA: u32 = 1;

/// One line of the event log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version of the format; 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Which half saw it.
    pub origin: Origin,
    /// Gapless per origin, from 1.
    #[schemars(range(min = 1))]
    pub seq: u64,
    /// UTC, RFC 3339, milliseconds.
    #[schemars(extend("pattern" = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))]
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
    #[schemars(extend("pattern" = "^[0-9a-f]{32}$"))]
    pub trace_id: String,
    /// One span a stage, 16 hex digits.
    #[schemars(extend("pattern" = "^[0-9a-f]{16}$"))]
    pub span_id: String,
    /// What happened, with its own fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// Returns the event as a line of JSON without its line break, harmless on the output of a CI job.
    ///
    /// # Errors
    /// Never for events that this program makes: they hold nothing that JSON cannot say.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| crate::text::harmless_json(&line).into_owned())
    }
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

/// Why a word is not a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a level; write DEBUG, INFO, WARNING, ERROR or CRITICAL")]
pub struct LevelError {
    found: String,
}

impl std::str::FromStr for Level {
    type Err = LevelError;
    /// Takes the documents' words in any case, and `WARN` (C14).
    fn from_str(word: &str) -> Result<Self, LevelError> {
        match word.to_ascii_uppercase().as_str() {
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            "CRITICAL" => Ok(Self::Critical),
            _ => Err(LevelError { found: crate::text::harmless(word).chars().take(80).collect() }),
        }
    }
}

/// Returns a time as events write it: UTC, RFC 3339, milliseconds.
pub fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
