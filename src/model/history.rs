//! One record of the history, and how a deployment that ended is told in it (R002-15).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    App, AppName, CheckResult, DeploymentId, EnvironmentName, FailureReport, Outcome, ReleaseId, Requester,
};

/// Version of the record's format; every record says it.
pub const HISTORY_SCHEMA: u32 = 1;

/// What is remembered of one deployment: R002-15's keys first, then ours. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub env: EnvironmentName,
    /// Version that it was to bring.
    pub version: String,
    /// When it ended; UTC.
    pub timestamp: Timestamp,
    /// The documents' word.
    pub status: HistoryStatus,
    /// The app as it was configured; no secrets, as JSON, so that any version can read any record.
    pub config: serde_json::Value,
    /// Version of this format; 1.
    pub schema: u32,
    /// Id of the deployment.
    pub deployment_id: DeploymentId,
    /// Verb of the command line.
    pub verb: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Release that it was to bring live, whether or not it did.
    pub release: Option<ReleaseId>,
    /// Commit of that release, when it is known.
    #[serde(default)]
    pub commit: Option<String>,
    /// Release that ran before.
    pub previous_release: Option<ReleaseId>,
    /// Release that was put back after a failure.
    pub rolled_back_to: Option<ReleaseId>,
    /// Why it was asked for (`rollback --reason`).
    pub reason: Option<String>,
    /// Who asked for it.
    pub who: String,
    /// Address of the workflow's run, when there is one.
    pub run_url: Option<String>,
    /// When it began; UTC.
    pub started_at: Timestamp,
    /// Seconds from start to end, with milliseconds.
    pub duration_seconds: f64,
    /// Path of the backup on the host.
    pub backup: Option<String>,
    /// Results of the checks of the release that was asked for.
    pub checks: Vec<CheckResult>,
    /// Everything that went wrong, root cause first.
    pub errors: Vec<FailureReport>,
}

impl HistoryRecord {
    /// Returns a record that knows who, what, when and how it ended; the rest is added by the caller.
    pub fn new(
        app: &App,
        env: EnvironmentName,
        deployment_id: DeploymentId,
        ended: (Outcome, Timestamp, Timestamp),
        requester: &Requester,
    ) -> Self {
        let (outcome, started_at, timestamp) = ended;
        let seconds = timestamp.duration_since(started_at).as_millis() as f64 / 1000.0;
        Self {
            app: app.name.clone(),
            env,
            version: String::new(),
            timestamp,
            status: outcome.into(),
            config: serde_json::to_value(app).unwrap_or_default(),
            schema: HISTORY_SCHEMA,
            deployment_id,
            verb: String::new(),
            outcome,
            release: None,
            commit: None,
            previous_release: None,
            rolled_back_to: None,
            reason: None,
            who: requester.who.clone(),
            run_url: requester.run_url.clone(),
            started_at,
            duration_seconds: seconds.max(0.0),
            backup: None,
            checks: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// How a deployment ended, in the history's words (DESIGN section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryStatus {
    /// The release is verified and current.
    Succeeded,
    /// It is not; `rolled_back_to` says what is.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl HistoryStatus {
    /// Returns the word used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<Outcome> for HistoryStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded | Outcome::Planned => Self::Succeeded,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Invalid
            | Outcome::Refused
            | Outcome::RolledBack
            | Outcome::Failed
            | Outcome::Busy
            | Outcome::Unreachable
            | Outcome::Aborted
            | Outcome::Lost => Self::Failed,
        }
    }
}

/// One file of the history: a record, or the name of a file that is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HistoryEntry {
    /// A record.
    Record(Box<HistoryRecord>),
    /// A file that could not be read as one; the others still count.
    Unreadable {
        /// Its path.
        file: String,
        /// Why.
        unreadable: String,
    },
}

impl HistoryEntry {
    /// Returns the record, when it is one.
    pub fn record(&self) -> Option<&HistoryRecord> {
        match self {
            Self::Record(record) => Some(record),
            Self::Unreadable { .. } => None,
        }
    }
}
