//! The stages of the pipeline (DESIGN section 5).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of the pipeline, in the order in which they come (R000-33, and the two of a rollback).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Configuration is read, the target is reached.
    Initializing,
    /// Preflight checks; nothing is touched.
    Validating,
    /// The release's files and directories are put in place on the host.
    Setup,
    /// Images are pulled.
    Pulling,
    /// Images are built.
    Building,
    /// The backup that a rollback may need is taken and read back.
    BackingUp,
    /// The services are switched to the new release.
    Deploying,
    /// The new release is asked whether it is healthy.
    Verifying,
    /// The release is current.
    Complete,
    /// The previous release is being put back.
    RollingBack,
    /// The previous release is back and healthy.
    RolledBack,
    /// The deployment ended without a healthy release.
    Failed,
}

impl Stage {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Validating => "validating",
            Self::Setup => "setup",
            Self::Pulling => "pulling",
            Self::Building => "building",
            Self::BackingUp => "backing_up",
            Self::Deploying => "deploying",
            Self::Verifying => "verifying",
            Self::Complete => "complete",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageOutcome {
    /// It did what it is for.
    Succeeded,
    /// It could not; `reason` says why.
    Failed,
    /// There was nothing to do; `reason` says why.
    Skipped,
}
