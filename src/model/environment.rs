//! Where a release goes, and the rules there.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EnvironmentName;

/// Built-in sets of rules (C02); the name of an environment decides unless `profile:` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// `dev`, `development`: lenient, optional services are skipped.
    Dev,
    /// `staging`.
    Staging,
    /// `production`, `prod`, and every other name: strict, asks for `--yes`, takes a backup.
    Production,
    /// `testing`, `test`.
    Testing,
}

impl Profile {
    /// Returns the profile that a name stands for (C02), production when it stands for none.
    pub fn of_name(name: &str) -> Self {
        match name {
            "dev" | "development" => Self::Dev,
            "staging" => Self::Staging,
            "testing" | "test" => Self::Testing,
            _ => Self::Production,
        }
    }

    /// Returns the word used in configuration and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Testing => "testing",
        }
    }
}

/// Where state and releases of an app and environment live on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A root of ours: `<base>/<app>/<environment>`; no base: the default ones in turn (DESIGN section 6).
    Root {
        /// `root:` of the environment; absolute.
        base: Option<PathBuf>,
    },
    /// The project is deployed where it lies.
    InPlace {
        /// The app's directory, absolute.
        path: PathBuf,
    },
}

/// What the host needs to know of an environment. How to reach it stays on the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Its rules.
    pub profile: Profile,
    /// Where things live.
    pub placement: Placement,
    /// Whether a backup is taken before the switch (C33).
    pub backup: bool,
    /// Whether the root may be on NFS, CIFS, 9p or FUSE.
    pub allow_network_root: bool,
    /// Whether a unit is installed that ends an unfinished deployment at boot.
    #[serde(default = "default_recover_at_boot")]
    pub recover_at_boot: bool,
    /// Longest time of a whole deployment, on the host; 1 s to 24 h, default 30 min. What undoes it comes on top.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// What becomes of a deployment whose runner has not been heard of for 60 s.
    #[serde(default)]
    pub on_lost: OnLost,
}

/// What becomes of a deployment whose runner is lost (DESIGN section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// It goes on; its own health checks decide.
    #[default]
    Continue,
    /// It goes back, as if it had been cancelled, unless it is too late for that.
    Rollback,
}

/// Longest time of a deployment unless `timeout` or `--timeout` says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30 * 60);

fn default_recover_at_boot() -> bool {
    true
}

fn default_timeout() -> Duration {
    TIMEOUT
}
