//! One record of the history, and how a deployment that ended is told in it (R002-15).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    App, AppName, CheckResult, DeploymentId, EnvironmentName, FailureReport, HookResult, Outcome, ReleaseId,
    Requester,
};

/// Version of the record's format; every record says it.
pub const HISTORY_SCHEMA: u32 = 1;

/// What is remembered of one deployment: R002-15's keys first, then ours. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryRecord {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub env: EnvironmentName,
    /// Version that it was to bring.
    pub version: String,
    /// When it ended; UTC.
    #[schemars(with = "String")]
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
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Seconds from start to end, with milliseconds.
    pub duration_seconds: f64,
    /// Path of the backup on the host.
    pub backup: Option<String>,
    /// Results of the checks of the release that was asked for.
    pub checks: Vec<CheckResult>,
    /// Hooks that ran, and those that were left to the runner (`not_run` here: the host does not see it).
    #[serde(default)]
    pub hooks: Vec<HookResult>,
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
            hooks: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// How a deployment ended, in the history's words (DESIGN section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Returns the JSON Schema (2020-12) of a record (`schemas/history.schema.json`).
pub fn history_schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<HistoryRecord>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_of_a_record_is_the_one_the_code_makes() {
        let path = format!("{}/schemas/history.schema.json", env!("CARGO_MANIFEST_DIR"));
        let made = serde_json::to_string_pretty(&history_schema()).unwrap() + "\n";
        if std::env::var_os("FFE_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == made, "{path} is not what the code makes; FFE_BLESS=1 cargo test writes it");
    }

    #[test]
    fn a_record_of_before_hooks_were_recorded_has_none() {
        let schema = history_schema();
        let id = "deploy-20261121064000-1b9d6bcd";
        let old = serde_json::json!({
            "app": "shop", "env": "production", "version": "1.0.0", "timestamp": "2026-11-21T06:40:00Z",
            "status": "succeeded", "config": {}, "schema": 1, "deployment_id": id, "verb": "deploy",
            "outcome": "succeeded", "release": id, "previous_release": null, "rolled_back_to": null, "reason": null,
            "who": "ada", "run_url": null, "started_at": "2026-11-21T06:39:58Z", "duration_seconds": 2.0,
            "backup": null, "checks": [], "errors": []
        });
        let record: HistoryRecord = serde_json::from_value(old).unwrap();
        assert!(record.hooks.is_empty());
        let written = serde_json::to_value(&record).unwrap();
        assert!(jsonschema::draft202012::new(&schema).unwrap().is_valid(&written), "{written}");
    }
}
