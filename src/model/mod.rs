//! The words of the house as plain data: apps, environments, jobs, releases, stages, outcomes, ids.
//!
//! Everything here serialises as it is, because it travels: from the runner to the agent as a
//! [`Job`], and to the next deployment as a [`Release`]. Knows nothing of files, Docker or SSH.

mod answers;
mod app;
mod build;
pub mod compose;
mod compose_file;
mod docker;
pub mod dockerfile;
mod environment;
mod history;
mod hook;
mod ids;
mod job;
pub mod labels;
pub mod lifecycle;
mod notify;
mod outcome;
pub mod reference;
mod registry;
mod release;
pub mod reported;
pub mod rules;
mod shown;
mod stage;
mod stats;
mod verdict;
mod wall;

pub use answers::{
    BackupListed, CheckAnswer, ContainerStatus, CurrentRelease, FollowAnswer, HealthAnswer, LastDeployment,
    LeaseHolder, ListAnswer, ListedApp, ListedRunning, RecoverAnswer, RecoveredDeployment, RunningAnswer,
    StatusAnswer, Unfinished, ValidateAnswer,
};
pub use app::{
    App, AppKind, ArchiveFormat, BackupSpec, Before, BuildMode, CheckProbe, CheckSpec, HealthSpec,
    KEEP_RELEASES, Preset, Requirements, Retention, SetupDirectory, SetupSpec,
};
pub use build::{BuildOrder, BuildOrders, BuildSecret};
pub use compose_file::{ComposeFile, EnvFileRef, Mark};
pub use docker::{ContainerFacts, ContainerState, HealthState, ImageFacts};
pub use environment::{Environment, OnLost, Placement, Profile, TIMEOUT};
pub use history::{HISTORY_SCHEMA, HistoryEntry, HistoryRecord, HistoryStatus, history_schema};
pub use hook::{HOOK_TIMEOUT, Hook, HookKind, HookOutcome, HookPlace, HookResult, OnError};
pub use ids::{AppName, CorrelationId, DeploymentId, EnvironmentName, NameError, ReleaseId};
#[cfg(test)]
pub(crate) use job::example_job;
pub use job::{
    Action, Adopt, BundleEntry, EntryKind, Job, LogQuery, Manifest, Options, Requester, Variables, Version,
};
pub use notify::NotifyOn;
pub use outcome::{ErrorKind, Exit, FailureReport, Outcome, Particular, Status};
pub use registry::RegistryLogin;
pub use release::{Adopted, PinnedImage, Release, ReleaseSource};
pub use shown::{ConfigAnswer, ShownOrigin, ShownSetting, ShownVariable};
pub use stage::{Stage, StageOutcome};
pub use stats::{CheckStats, Durations, HistoryStats, MOST_COUNTED, Rollbacks};
pub use verdict::{CheckResult, Finding, HealthReport, Overall, Place, Severity, Silenced, Verdict};
pub use wall::wall;
