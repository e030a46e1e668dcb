//! The lifecycle of a deployment in the ledger's words (R004-09), and what a CI job reports of its own.
//!
//! A job sends a [`Report`] by `PUT /api/v1/reports/{uuid}`: at its start with status `deploying`, as often as it likes
//! in between, and at its end. The UUID is the key of the deployment in the ledger: the deployment's id says its first
//! eight digits (C01). Sending the same report again changes nothing, and one whose `sequence` is not greater than that
//! of the one before is answered and dropped, so that neither a repeated nor a late request does harm.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppName, CheckResult, DeploymentId, EnvironmentName, FailureReport, Stage, StageOutcome};

/// Version of the format of a [`Report`]; every report says it.
pub const REPORT_SCHEMA: u32 = 1;
/// Most lines that one report may carry.
pub const REPORT_LINES: usize = 500;
/// Highest number of a line: what a deployment says beyond it stays in the job's own log.
pub const LAST_LINE: u32 = 100_000;
/// Longest text of a line, in characters.
pub const LINE_LENGTH: usize = 4096;

/// Where a deployment stands (R004-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "ledger", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeploymentStatus {
    /// Asked for; nothing has begun.
    Pending,
    /// Under way.
    Deploying,
    /// What runs: at most one of an entity and environment.
    Active,
    /// Ran, and was superseded.
    Inactive,
    /// Never ran: it failed before.
    Failed,
    /// Was taken back.
    RolledBack,
}

impl DeploymentStatus {
    /// All of them, in the order of a deployment's life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Deploying, Self::Active, Self::Inactive, Self::Failed, Self::RolledBack];

    /// Returns the document's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deploying => "deploying",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl fmt::Display for DeploymentStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A word that is no status.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no status of a deployment")]
pub struct NoStatus(String);

impl FromStr for DeploymentStatus {
    type Err = NoStatus;

    fn from_str(word: &str) -> Result<Self, NoStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| NoStatus(word.to_owned()))
    }
}

/// What a CI job tells the ledger of its deployment: the body of `PUT /api/v1/reports/{uuid}`. Holds no secret; keys that
/// the ledger does not know are ignored, so that a newer job can tell an older ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this format; 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// Rises with each report of one deployment, by any step: a report that is not above the one before is dropped.
    pub sequence: u32,
    /// The app: the ledger's entity of that name, made when there is none.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Version that the deployment brings; for a rollback, the one that it goes back to.
    #[schemars(length(min = 1, max = 255), extend("pattern" = r"^[^\u0000]*$"))]
    pub version: String,
    /// Id of the deployment, as in the job's events.
    pub deployment_id: DeploymentId,
    /// What was asked for.
    pub action: ReportAction,
    /// Where the deployment stands.
    pub status: ReportStatus,
    /// When it began; UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// When it ended; nothing while it is under way. UTC.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished_at: Option<Timestamp>,
    /// Who asked for it.
    #[schemars(length(min = 1, max = 255), extend("pattern" = r"^[^\u0000]*$"))]
    pub deployed_by: String,
    /// How it was deployed: `ci`.
    #[serde(default = "ci")]
    #[schemars(length(min = 1, max = 50), extend("pattern" = r"^[^\u0000]*$"))]
    pub method: String,
    /// Commit of the release.
    #[serde(default)]
    pub commit: Option<String>,
    /// When that commit was made: what the lead time is counted from (DORA). UTC.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub committed_at: Option<Timestamp>,
    /// Address of the workflow's run; https or http.
    #[serde(default)]
    pub ci_url: Option<String>,
    /// The app as it is configured, without secrets.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Version that ran before, when one did.
    #[serde(default)]
    pub previous_version: Option<String>,
    /// What the preflight found, by rule.
    #[serde(default)]
    pub validation: Option<ReportValidation>,
    /// Results of the health checks.
    #[serde(default)]
    pub health_checks: Vec<CheckResult>,
    /// Everything that went wrong, root cause first.
    #[serde(default)]
    pub errors: Vec<FailureReport>,
    /// Last lines of what failed, redacted; at most 64 KiB.
    #[serde(default)]
    pub error_logs: Option<String>,
    /// The backup that was taken.
    #[serde(default)]
    pub backup: Option<ReportBackup>,
    /// The stages so far, in order.
    #[serde(default)]
    pub stages: Vec<ReportStage>,
    /// Why and where it went back, when it did.
    #[serde(default)]
    pub rollback: Option<ReportRollback>,
    /// Lines of the log since those of the reports before, in order. The ledger keeps each number once, so that sending
    /// a line again is harmless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = REPORT_LINES))]
    pub lines: Vec<ReportLine>,
}

fn ci() -> String {
    "ci".to_owned()
}

/// What a reported deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportAction {
    /// A release goes live.
    Deploy,
    /// Somebody asked for an earlier release: what was active becomes `rolled_back`, this one `active`.
    Rollback,
}

/// Where a reported deployment stands; the ledger adds `pending` before it and `inactive` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    /// Under way.
    Deploying,
    /// Verified and current.
    Active,
    /// It did not come to run; what ran before still does, or somebody must look.
    Failed,
    /// It failed after the switch, and what ran before is back.
    RolledBack,
}

/// What the checks before a deployment found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportValidation {
    /// Whether nothing stood against it.
    pub passed: bool,
    /// What was found, by the rule's id.
    #[serde(default)]
    pub checks: serde_json::Map<String, serde_json::Value>,
    /// What stood against it.
    #[serde(default)]
    pub errors: Vec<String>,
    /// What did not.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A backup that a deployment took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportBackup {
    /// Name of the archive.
    pub name: String,
    /// Its size in bytes.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Its digest, in hex.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// One stage of a reported deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportStage {
    /// Which one.
    pub stage: Stage,
    /// How it ended; nothing while it is under way.
    #[serde(default)]
    pub outcome: Option<StageOutcome>,
    /// When it began; UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// How long it took; nothing while it is under way.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Why it was skipped or failed.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One line of a deployment's log, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportLine {
    /// Its place in the log, from 1.
    #[schemars(range(min = 1, max = LAST_LINE))]
    pub number: u32,
    /// When it was said; UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The stage that it was said in.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// What it says.
    #[schemars(length(max = LINE_LENGTH))]
    pub text: String,
}

/// A way back: one that was asked for, or one that followed a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportRollback {
    /// Why.
    pub reason: String,
    /// Id of the deployment whose release runs again, as in the job's events.
    #[serde(default)]
    pub target_deployment_id: Option<DeploymentId>,
    /// Its version.
    #[serde(default)]
    pub target_version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for status in DeploymentStatus::ALL {
            assert_eq!(status.as_str().parse::<DeploymentStatus>().unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!("running".parse::<DeploymentStatus>().is_err());
    }

    #[test]
    fn a_short_report_is_enough() {
        let report: Report = serde_json::from_value(serde_json::json!({
            "schema": 1, "sequence": 1, "app": "shop", "environment": "staging", "version": "1.0.0",
            "deployment_id": "deploy-20260101000000-0123abcd", "action": "deploy", "status": "deploying",
            "started_at": "2026-01-01T00:00:00Z", "finished_at": null, "deployed_by": "ada", "later": true,
        }))
        .unwrap();
        assert_eq!((report.status, report.method.as_str()), (ReportStatus::Deploying, "ci"));
    }
}
