//! Programs of the app's own that run at fixed moments of a deployment.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest time of a hook unless `timeout` says otherwise.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Before images are built.
    PreBuild,
    /// Between the backup and the switch: containers still run the release before.
    PreDeploy,
    /// When the checks of the new release have passed, before it is recorded as current.
    PostDeploy,
    /// At the end of a deployment whose status is `failure`.
    OnFailure,
    /// When a release of before was put back, by itself or by `rollback`.
    OnRollback,
    /// At every end, last of all.
    Finally,
}

impl HookKind {
    /// All of them, in the order in which they can come.
    pub const ALL: [Self; 6] =
        [Self::PreBuild, Self::PreDeploy, Self::PostDeploy, Self::OnFailure, Self::OnRollback, Self::Finally];

    /// Returns the word used in configuration and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreBuild => "pre_build",
            Self::PreDeploy => "pre_deploy",
            Self::PostDeploy => "post_deploy",
            Self::OnFailure => "on_failure",
            Self::OnRollback => "on_rollback",
            Self::Finally => "finally",
        }
    }

    /// Returns whether it comes when the outcome is decided, and so cannot change it.
    pub fn is_after_the_end(self) -> bool {
        matches!(self, Self::OnFailure | Self::OnRollback | Self::Finally)
    }

    /// Returns whether the runner may run it (DESIGN section 5): before the start, and after the end.
    pub fn may_run_on_runner(self) -> bool {
        self == Self::PreBuild || self.is_after_the_end()
    }

    /// Returns whether a container of the release can run it: where its images are there.
    pub fn may_run_in_service(self) -> bool {
        matches!(self, Self::PreDeploy | Self::PostDeploy | Self::OnRollback)
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Where a hook runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookPlace {
    /// On the host, in the app's directory of the release.
    #[default]
    Host,
    /// On the runner, in the app's directory there.
    Runner,
    /// In a container of this service, made for the hook and removed after it.
    Service(String),
}

/// What becomes of a deployment whose `post_deploy` hook fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It succeeds, with a warning.
    Warn,
    /// The new release stays, and the job fails (exit 5).
    #[default]
    Fail,
    /// The release before is put back (exit 4).
    Rollback,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub kind: HookKind,
    /// Name people see; several may have the same.
    pub name: String,
    /// Where it runs.
    pub place: HookPlace,
    /// Program and arguments; empty only for a service, whose own command is then meant.
    pub argv: Vec<String>,
    /// Longest time; 1 s to 2 h, default 5 min.
    pub timeout: Duration,
    /// What its failure means; only of [`HookKind::PostDeploy`].
    #[serde(default)]
    pub on_error: OnError,
}

/// How a hook ended, or that it did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookOutcome {
    /// It exited with 0.
    Succeeded,
    /// It exited with something else, was killed, or could not be started.
    Failed,
    /// It did not end in time, and was ended with all that it had started.
    TimedOut,
    /// It was ended because the deployment was cancelled.
    Cancelled,
    /// The process that watched it died meanwhile: how far it came is not known, and it is not run again.
    Interrupted,
    /// It was its turn, and it was not run.
    NotRun,
}

impl HookOutcome {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::NotRun => "not_run",
        }
    }

    /// Returns the words used in sentences.
    pub fn words(self) -> &'static str {
        match self {
            Self::TimedOut => "timed out",
            Self::Cancelled => "was cancelled",
            Self::Interrupted => "was interrupted",
            Self::NotRun => "was not run",
            Self::Succeeded | Self::Failed => self.as_str(),
        }
    }
}

/// What became of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookResult {
    /// Its name.
    pub hook: String,
    /// When it ran.
    pub kind: HookKind,
    /// Where: `host`, `runner`, or `service NAME`.
    pub place: String,
    /// How it ended.
    pub outcome: HookOutcome,
    /// Its exit code, when it ended by itself.
    pub exit_code: Option<i32>,
    /// How long it took.
    pub took_ms: u64,
    /// Why it failed or did not run, in words.
    pub detail: Option<String>,
}

impl HookPlace {
    /// Returns the words used in events.
    pub fn shown(&self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::Runner => "runner".to_owned(),
            Self::Service(name) => format!("service {name}"),
        }
    }
}

impl Hook {
    /// Returns what became of it.
    pub fn result(&self, outcome: HookOutcome, detail: Option<String>) -> HookResult {
        let (hook, kind, place) = (self.name.clone(), self.kind, self.place.shown());
        HookResult { hook, kind, place, outcome, exit_code: None, took_ms: 0, detail }
    }
}

impl HookResult {
    /// Returns whether it ran and did not do its work.
    pub fn has_failed(&self) -> bool {
        !matches!(self.outcome, HookOutcome::Succeeded | HookOutcome::NotRun)
    }
}
