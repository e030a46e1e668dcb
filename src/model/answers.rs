//! What the verbs that look bring home: the agent fills these, `--output json` prints them as they are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AppName, ArchiveFormat, ContainerState, DeploymentId, EnvironmentName, Finding, HealthReport,
    HealthState, HookResult, Outcome, Overall, ReleaseId, Severity, Stage, Verdict,
};

/// Answer of `status`: what runs, since when, and whether somebody is at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Compose project name.
    pub project: String,
    /// Root on the host, or the project's state directory in place.
    pub root: String,
    /// What `current` names; absent before the first success.
    pub current: Option<CurrentRelease>,
    /// The newest record of the history.
    pub last_deployment: Option<LastDeployment>,
    /// A deployment that did not end, and that nobody is working on.
    pub unfinished: Option<Unfinished>,
    /// Whether `down` stopped it.
    pub stopped: bool,
    /// Its containers, by service.
    pub containers: Vec<ContainerStatus>,
    /// Health checks asked once; absent when nothing is deployed.
    pub health: Option<HealthReport>,
    /// Whether all is well: something is current, healthy or degraded, and not stopped.
    pub overall: bool,
    /// Names of its volumes (R001-35).
    pub volumes: Vec<String>,
    /// Addresses people can open, by service (R001-17).
    pub urls: BTreeMap<String, String>,
    /// What somebody changed on the host that a rollback would miss.
    #[serde(default)]
    pub warnings: Vec<Finding>,
    /// Who holds the lease now.
    pub lease: Option<LeaseHolder>,
}

/// Answer of `recover`: what was unfinished, and how it ended now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverAnswer {
    /// Absent when nothing was unfinished.
    pub recovered: Option<RecoveredDeployment>,
}

/// A deployment that was ended by a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredDeployment {
    /// Its id.
    pub deployment_id: DeploymentId,
    /// How it ended.
    pub outcome: Outcome,
}

/// Answer of `status --follow` when there is nothing to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowAnswer {
    /// The newest record of the history.
    pub last_deployment: Option<LastDeployment>,
}

/// The release that `current` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRelease {
    /// Its id.
    pub id: ReleaseId,
    /// Its label.
    pub version: String,
    /// When it went live.
    pub deployed_at: Timestamp,
}

/// How the last deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDeployment {
    /// Its id.
    pub deployment_id: DeploymentId,
    /// Verb of the command line.
    pub verb: String,
    /// What it was to bring.
    pub version: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Hooks that ran, with how they ended.
    #[serde(default)]
    pub hooks: Vec<HookResult>,
}

/// A deployment that did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Its id.
    pub deployment_id: DeploymentId,
    /// How far it came.
    pub stage: Stage,
    /// When it began.
    pub since: Timestamp,
}

/// One container as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// What it does.
    pub state: ContainerState,
    /// What its healthcheck says.
    pub health: HealthState,
    /// What the compose file calls its image.
    pub image: String,
    /// When it started, as Docker says it (RFC 3339); absent when it never did.
    pub started_at: Option<String>,
}

/// Who holds the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// The deployment that is under way.
    pub deployment_id: DeploymentId,
    /// Who asked for it.
    pub who: String,
    /// Address of the workflow's run, when there is one.
    pub run_url: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// How far it is.
    pub stage: Stage,
}

/// Answer of `health` (DESIGN section 9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthAnswer {
    /// Whether the release may stay: healthy or degraded.
    pub overall: bool,
    /// What the checks mean together.
    pub status: Overall,
    /// Each check, by name.
    pub checks: BTreeMap<String, CheckAnswer>,
}

/// One check of [`HealthAnswer`] (R003-20).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Whether it did not fail.
    pub healthy: bool,
    /// The answer.
    pub verdict: Verdict,
    /// Whether a failure only degrades.
    pub optional: bool,
    /// How long the answer took; 0 when nothing was asked (C21).
    pub latency_ms: u64,
    /// What was asked.
    pub asked: String,
    /// The answer in words.
    pub detail: String,
    /// The same, only when it failed.
    pub error: Option<String>,
}

impl From<&HealthReport> for HealthAnswer {
    fn from(report: &HealthReport) -> Self {
        let checks =
            report.checks.iter().map(|check| (check.name.clone(), CheckAnswer::from(check))).collect();
        Self { overall: report.is_acceptable(), status: report.overall, checks }
    }
}

impl From<&super::CheckResult> for CheckAnswer {
    fn from(check: &super::CheckResult) -> Self {
        let failed = check.verdict == Verdict::Failed;
        Self {
            healthy: !failed,
            verdict: check.verdict,
            optional: check.optional,
            latency_ms: check.latency_ms,
            asked: check.asked.clone(),
            detail: check.detail.clone(),
            error: failed.then(|| check.detail.clone()),
        }
    }
}

/// Answer of `validate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateAnswer {
    /// Whether no finding is an error.
    pub passed: bool,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

impl ValidateAnswer {
    /// Returns the answer that these findings make.
    pub fn of(findings: Vec<Finding>) -> Self {
        Self { passed: findings.iter().all(|finding| finding.severity != Severity::Error), findings }
    }
}

/// Answer of `list`: what the configuration knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAnswer {
    /// The apps, in the order of the file.
    pub apps: Vec<ListedApp>,
}

/// One app of [`ListAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedApp {
    /// Its name.
    pub name: String,
    /// Its `type`, also one that is not built yet.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its directory, relative to the project root.
    pub path: String,
    /// Environments that it can go to; empty when there is no file: any name is valid then.
    pub environments: Vec<String>,
}

/// Answer of `list --ledger`: what runs where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAnswer {
    /// Each app and environment in which something runs, in the order of their names.
    pub running: Vec<ListedRunning>,
}

/// One line of [`RunningAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRunning {
    /// Name of the app: of the ledger's entity.
    pub app: String,
    /// Where it runs.
    pub environment: String,
    /// What runs there.
    pub version: String,
    /// Since when; UTC.
    pub deployed_at: Timestamp,
    /// Who brought it.
    pub deployed_by: String,
    /// Its key in the ledger.
    pub deployment_id: DeploymentId,
}

/// One archive of `backup list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupListed {
    /// File name.
    pub name: String,
    /// Path on the host.
    pub path: String,
    /// When it was taken, as its manifest or its name says it.
    pub created_at: Option<Timestamp>,
    /// Its size.
    pub size_bytes: u64,
    /// Its compression.
    pub format: ArchiveFormat,
    /// What is in it, as its manifest says it.
    pub includes: Vec<String>,
    /// What is wrong with it, such as a missing manifest.
    pub problem: Option<String>,
}
