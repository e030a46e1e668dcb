//! The end of a deployment in one value: what the last event, `--output json` and the outputs say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServiceChange;
use crate::model::{
    AppName, CheckResult, DeploymentId, EnvironmentName, FailureReport, HealthReport, HookResult, Outcome,
    Stage, Status,
};

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
    pub services: BTreeMap<String, ServiceChange>,
    /// Hooks that ran, in order, and those that should have.
    #[serde(default)]
    pub hooks: Vec<HookResult>,
    /// Addresses people can open.
    pub urls: BTreeMap<String, String>,
    /// Everything that went wrong, root cause first (R000-67).
    pub errors: Vec<FailureReport>,
    /// What to do next, when somebody must.
    pub next_step: Option<String>,
}
