//! What a deploy would do, as `deploy --plan` says it. Made on the host, completed by the runner with the differences of
//! texts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImageHow, ServiceChange};
use crate::model::{Before, Finding, HookKind, OnError, Severity};

/// Answer of `deploy --plan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAnswer {
    /// Whether no finding is an error.
    pub passed: bool,
    /// Everything that was looked at before.
    pub findings: Vec<Finding>,
    /// The plan; absent where a finding refuses the deployment.
    pub plan: Option<Plan>,
    /// What the host says of texts that would change, by path, secrets redacted; only on its way to the runner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, Texts>,
}

/// One text in two releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// As it is now.
    pub before: String,
    /// As it would be.
    pub after: String,
}

impl PlanAnswer {
    /// Returns the answer that these findings and this plan make.
    pub fn of(findings: Vec<Finding>, plan: Option<Plan>) -> Self {
        let passed = findings.iter().all(|finding| finding.severity != Severity::Error);
        Self { passed, findings, plan, texts: BTreeMap::new() }
    }
}

/// What a deploy would change, without having changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Whether a deploy would change anything.
    pub changes: bool,
    /// Label of what would be deployed.
    pub version: String,
    /// Label of what runs; absent where nothing of ours does.
    pub previous_version: Option<String>,
    /// The release that runs.
    pub previous_release: Option<String>,
    /// Every service of now and then, by name.
    pub services: Vec<PlannedService>,
    /// Images that would be pulled or built.
    pub images: Vec<PlannedImage>,
    /// Files of the project that are otherwise than in the release that runs.
    pub files: PlannedFiles,
    /// The backup that would be taken.
    pub backup: PlannedBackup,
    /// What becomes of the deploy when what runs is not healthy (`health.before`), which is asked before it.
    #[serde(default)]
    pub health_before: Before,
    /// Health checks that would be asked.
    pub checks: Vec<PlannedCheck>,
    /// The tests that would be run before anything else; absent: none.
    #[serde(default)]
    pub test: Option<PlannedTest>,
    /// Hooks that would run, in the order in which they can come.
    #[serde(default)]
    pub hooks: Vec<PlannedHook>,
    /// What else one should know.
    pub notes: Vec<String>,
}

/// What would become of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedService {
    /// Its name.
    pub service: String,
    /// What would happen to its containers.
    pub change: ServiceChange,
    /// Why; empty where nothing ran before, or nothing changes.
    pub reasons: Vec<Reason>,
    /// Only if a build gives another image than the one that runs: what it gives is known when it has run.
    pub if_image_differs: bool,
}

/// One reason for which a service's containers are made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Its kind.
    pub why: Why,
    /// What it is about: names of variables (never their values), keys of the compose file, files, services, images.
    pub names: Vec<String>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Another image.
    Image,
    /// Variables of its environment.
    Environment,
    /// Keys of its definition.
    Config,
    /// Mounted files with another content.
    Files,
    /// Compose makes services anew with those that they depend on.
    DependsOn,
    /// Somebody changed its containers on the host.
    Drift,
    /// It is not well, and everything else is as it should be.
    Unhealthy,
    /// It ran before this program took it over.
    Adopted,
    /// Compose says so, and no difference is known: another version of Compose made the containers.
    Compose,
}

/// An image that would be pulled or built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedImage {
    /// What the compose file says, or the name that Compose gives to what it builds.
    pub image: String,
    /// Services that use it, or whose build starts from it.
    pub services: Vec<String>,
    /// How it would come.
    pub how: ImageHow,
    /// Whether a build starts from it, and no container.
    pub is_base: bool,
    /// Id that it has there, where its registry tells.
    pub image_id: Option<String>,
    /// Bytes of its layers as its registry has them, which is the most that is downloaded; absent: unknown.
    pub size_bytes: Option<u64>,
    /// Why its size is not known, or where it is built.
    pub note: Option<String>,
}

/// Files of two releases, compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedFiles {
    /// How many would come.
    pub added_count: u64,
    /// How many would have another content.
    pub changed_count: u64,
    /// How many would go.
    pub removed_count: u64,
    /// Those that come; at most 100 are named.
    pub added: Vec<String>,
    /// Those that change; at most 100 are named.
    pub changed: Vec<PlannedFile>,
    /// Those that go; at most 100 are named.
    pub removed: Vec<String>,
}

/// A file with another content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedFile {
    /// Its path in the project.
    pub path: String,
    /// The difference in unified form, secrets redacted; absent where `note` says why.
    pub diff: Option<String>,
    /// Why no difference is shown.
    pub note: Option<String>,
}

/// The backup that would be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedBackup {
    /// Directory on the host; absent: none would be taken.
    pub directory: Option<String>,
    /// Paths and volumes that would be in it.
    pub includes: Vec<String>,
    /// Why none would be taken.
    pub reason: Option<String>,
}

/// A health check that would be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedCheck {
    /// Its name.
    pub check: String,
    /// What would be asked.
    pub asked: String,
    /// Whether a failure only degrades.
    pub optional: bool,
    /// Why it would not be asked.
    pub skipped: Option<String>,
}

/// The tests that would be run on the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Longest time.
    pub timeout_ms: u64,
}

/// A hook that would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedHook {
    /// Its name.
    pub hook: String,
    /// When it would run.
    pub kind: HookKind,
    /// Where: `host`, `runner`, or `service NAME`.
    pub place: String,
    /// Program and arguments, secrets redacted; empty where the service's own command would run.
    pub command: Vec<String>,
    /// Longest time.
    pub timeout_ms: u64,
    /// What its failure would mean; only of `post_deploy`.
    pub on_error: Option<OnError>,
    /// Under which condition, in words; absent: in any case.
    pub only_if: Option<String>,
}

impl Plan {
    /// Returns how many services would change in a way.
    pub fn count(&self, change: ServiceChange) -> usize {
        self.services.iter().filter(|service| service.change == change).count()
    }
}
