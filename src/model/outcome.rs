//! How a deployment ends, and the exit code that says so (DESIGN section 5). The only place that knows the numbers.

use std::fmt;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Place;

/// How a deployment ended; each has its own [`Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new release is verified and current, or already ran.
    Succeeded,
    /// Bad arguments, inputs or configuration; nothing was touched.
    Invalid,
    /// A preflight check failed or a confirmation is missing; nothing was touched.
    Refused,
    /// The new release failed; the previous one is back and verified.
    RolledBack,
    /// The new release failed and could not be rolled back: someone must look.
    Failed,
    /// Another deployment of this app and environment holds the lease.
    Busy,
    /// No connection, or no authentication; nothing was touched.
    Unreachable,
    /// Cancelled; the host has acknowledged and goes back by itself.
    Cancelled,
    /// Stopped before the switch; the running release was not touched.
    Aborted,
    /// A plan with changes; nothing was applied.
    Planned,
    /// Contact was lost after the start; the host goes on by itself.
    Lost,
}

/// The word of the documents for an [`Outcome`] (DESIGN section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Succeeded or planned.
    Success,
    /// Cancelled.
    Cancelled,
    /// Everything else.
    Failure,
}

impl Status {
    /// Returns the word used in events and outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Failure => "failure",
        }
    }
}

impl Outcome {
    /// Returns the exit code that is this outcome's public promise.
    pub fn exit(self) -> Exit {
        match self {
            Self::Succeeded => Exit::Done,
            Self::Invalid => Exit::Invalid,
            Self::Refused => Exit::Refused,
            Self::RolledBack => Exit::RolledBack,
            Self::Failed => Exit::Failed,
            Self::Busy => Exit::Busy,
            Self::Unreachable => Exit::Unreachable,
            Self::Cancelled => Exit::Cancelled,
            Self::Aborted => Exit::Aborted,
            Self::Planned => Exit::Planned,
            Self::Lost => Exit::Lost,
        }
    }

    /// Returns the word of the documents.
    pub fn status(self) -> Status {
        match self {
            Self::Succeeded | Self::Planned => Status::Success,
            Self::Cancelled => Status::Cancelled,
            _ => Status::Failure,
        }
    }

    /// Returns the word used in events and outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::Planned => "planned",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Exit codes of the program: a public promise, in `docs/exit-codes.md` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done; for a deployment: succeeded.
    Done = 0,
    /// 1: a defect of this program.
    Internal = 1,
    /// 2: bad arguments, inputs or configuration; nothing was touched.
    Invalid = 2,
    /// 3: a check failed or a confirmation is missing; nothing was touched.
    Refused = 3,
    /// 4: failed, and the previous release is back.
    RolledBack = 4,
    /// 5: failed, someone must look; for `health`: unhealthy.
    Failed = 5,
    /// 6: the lease is held by another deployment.
    Busy = 6,
    /// 7: the target cannot be reached.
    Unreachable = 7,
    /// 8: cancelled and acknowledged.
    Cancelled = 8,
    /// 9: stopped before the switch.
    Aborted = 9,
    /// 10: a plan with changes.
    Planned = 10,
    /// 11: contact was lost after the start.
    Lost = 11,
    /// 75: between the agent's own processes only: the lease is taken.
    LeaseTaken = 75,
}

impl Exit {
    /// Returns the number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The documents' names for what went wrong (R000-66, R002-31 to R002-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ErrorKind {
    /// A file, key or value of the configuration.
    ConfigurationError,
    /// A check before anything was touched.
    ValidationError,
    /// Docker or Compose refused or failed.
    DockerError,
    /// The release is not healthy.
    HealthCheckError,
    /// Anything else that stopped a deployment.
    DeploymentError,
}

/// A failure as people and programs read it: the cause, its kind, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureReport {
    /// The documents' name for it.
    pub error_kind: ErrorKind,
    /// Stable code, such as `lease.busy` or `compose.file`.
    pub code: String,
    /// What happened, and what was not touched; one paragraph.
    pub message: String,
    /// What to do next: an order the reader can carry out.
    pub hint: Option<String>,
    /// The single things that it is about, each with its place; empty when the message is all there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub particulars: Vec<Particular>,
}

/// One of the things that a failure is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Particular {
    /// What is wrong, without its place.
    pub message: String,
    /// Where it is written, when it is in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl FailureReport {
    /// Returns a report without a next step; add one with [`FailureReport::hint`].
    pub fn new(error_kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self {
            error_kind,
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            particulars: Vec::new(),
        }
    }

    /// Returns the report with the next step added.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the report with the single things that it is about.
    #[must_use]
    pub fn about(mut self, particulars: impl IntoIterator<Item = Particular>) -> Self {
        self.particulars.extend(particulars);
        self
    }
}

impl fmt::Display for FailureReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for FailureReport {}
