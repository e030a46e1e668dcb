//! What is deployed, checked: the values cannot be wrong any more, and hold no secret.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppName, Hook, Profile};

/// One entry of `deployments.yaml`, merged with the environment's overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// How it is deployed.
    pub kind: AppKind,
    /// Compose files in order, relative to the app's directory (C03); never empty.
    pub compose_files: Vec<String>,
    /// Active Compose profiles.
    pub profiles: Vec<String>,
    /// `project:` of the environment's overrides, when written.
    pub project: Option<String>,
    /// Files that must exist (`required_files`, R000-55, R000-56), relative to the app's directory.
    pub required_files: Vec<String>,
    /// Variables that some layer must have.
    pub required_vars: BTreeSet<String>,
    /// Services that the model must have (C20).
    pub required_services: Vec<String>,
    /// Services that run once and exit 0.
    pub one_shot: Vec<String>,
    /// Who builds images.
    pub build: BuildMode,
    /// Relative sources that live in `shared/` although git may track them.
    pub shared: Vec<String>,
    /// What is made before the first start.
    pub setup: SetupSpec,
    /// Room that the host must have.
    pub requirements: Requirements,
    /// What is saved before the switch.
    pub backup: BackupSpec,
    /// What is asked after it.
    pub health: HealthSpec,
    /// Whether a failed release is rolled back without being asked (C08); default true.
    pub automatic_rollback: bool,
    /// Releases that are kept, the current one among them; 1 to 1000, default 5 (DESIGN section 7).
    #[serde(default = "default_keep")]
    pub keep_releases: u32,
    /// Address shown to people at the end.
    pub url: Option<String>,
    /// Programs that run at fixed moments, in the order in which they run; the environment's are among them.
    #[serde(default)]
    pub hooks: Vec<Hook>,
}

/// Releases that are kept unless `keep_releases` says otherwise.
pub const KEEP_RELEASES: u32 = 5;

fn default_keep() -> u32 {
    KEEP_RELEASES
}

/// How an app is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppKind {
    /// With `docker compose`.
    DockerCompose,
}

impl AppKind {
    /// Returns the word of `type:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DockerCompose => "docker-compose",
        }
    }
}

/// Who builds the images of services with `build:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildMode {
    /// The host.
    #[default]
    Host,
    /// The runner, which pushes them to their registry; the host pulls them by digest.
    Runner,
    /// Nobody: the images must be there, or a registry has them.
    Never,
}

/// What is made on the host before the first start (R000-37, R001-09, R001-11).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupSpec {
    /// Directories, relative to the app's directory (in place) or to `shared/` (on a root).
    pub directories: Vec<SetupDirectory>,
    /// Empty SQLite database files to make when they are missing; never touched when they exist.
    pub databases: Vec<String>,
}

/// One directory of [`SetupSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupDirectory {
    /// Relative path.
    pub path: String,
    /// Permission bits, when written.
    pub mode: Option<u32>,
}

/// Room that the host must have: an error below what is written, a warning below the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requirements {
    /// Free disk at the root in decimal GB (R000-58: 20).
    pub disk_gb: Option<f64>,
    /// Memory of the host in decimal GB of MemTotal (R000-59: 4).
    pub memory_gb: Option<f64>,
}

/// What is saved before the switch (R001-56).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSpec {
    /// Paths relative to the app's directory or `shared/`; absent: the defaults of DESIGN section 7.
    pub paths: Option<Vec<String>>,
    /// Named volumes, as the compose file calls them; absent: all of them on a root, none in place.
    pub volumes: Option<Vec<String>>,
    /// Format that is written, when the configuration says; else the stage writes zstd, the verb gzip (R001-55).
    pub format: Option<ArchiveFormat>,
    /// How long archives are kept.
    #[serde(default)]
    pub retention: Retention,
}

/// How long archives are kept: those older than `days` go, but never the youngest `keep_last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Days; 1 to 3650, default 7 (R001-57).
    pub days: u32,
    /// Archives that stay however old they are; 1 to 1000, default 3.
    pub keep_last: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { days: 7, keep_last: 3 }
    }
}

/// Compression of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveFormat {
    /// `.tar.zst`
    Zstd,
    /// `.tar.gz`
    Gzip,
}

/// What is asked after the switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// Longest wait for all checks together, counted from the first attempt; 1 s to 1 h, default 120 s (R000-29).
    pub timeout: Duration,
    /// Written checks, in order.
    pub checks: Vec<CheckSpec>,
    /// What the health of what runs means for a deployment that would replace it (R002-09).
    #[serde(default)]
    pub before: Before,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(120), checks: Vec::new(), before: Before::Skip }
    }
}

/// What becomes of a deployment when what it would replace is not healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// It goes on, with a warning.
    Warn,
    /// It is refused.
    Require,
    /// Nobody asks: a deployment is what mends an app that is not healthy.
    #[default]
    Skip,
}

/// One written check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSpec {
    /// Its name; a check named as a service speaks for that service.
    pub name: String,
    /// What is asked.
    pub probe: CheckProbe,
    /// Longest wait for this check; 1 s to 1 h, default 60 s (R000-28).
    pub timeout: Duration,
    /// Longest wait for one answer; 100 ms to 5 min, default 10 s (R000-23).
    pub request_timeout: Duration,
    /// A failure only degrades.
    pub optional: bool,
    /// Profiles and environments in which it is not asked at all (C25).
    pub optional_in: Vec<String>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckProbe {
    /// GET this URL; 2xx passes, or just `status` when it is named (C29).
    Http {
        /// May hold `${VAR}` of the release's variables.
        url: String,
        /// 100 to 599.
        status: Option<u16>,
    },
    /// Connect to `host:port`; may hold `${VAR}` of the release's variables.
    Tcp {
        /// Address.
        address: String,
    },
    /// Run this on the host in the app's directory; exit 0 passes.
    Command {
        /// Program and arguments; never a shell line.
        argv: Vec<String>,
    },
    /// One of the documents' services (R000-24, R000-25).
    Preset(Preset),
}

/// The documents' services: name, container ports, path (R000-24, R000-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Port 8000, `/health`.
    Backend,
    /// Port 80, `/`.
    Frontend,
    /// Port 9090, `/-/healthy`; skipped in dev.
    Prometheus,
    /// Port 3000 or 3001, `/api/health`; skipped in dev.
    Grafana,
}

impl Preset {
    /// All of them, in the documents' order.
    pub const ALL: [Self; 4] = [Self::Backend, Self::Frontend, Self::Prometheus, Self::Grafana];

    /// Returns the name of the service it speaks for.
    pub fn service(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Frontend => "frontend",
            Self::Prometheus => "prometheus",
            Self::Grafana => "grafana",
        }
    }

    /// Returns the container ports that it is found on, first match wins.
    pub fn container_ports(self) -> &'static [u16] {
        match self {
            Self::Backend => &[8000],
            Self::Frontend => &[80],
            Self::Prometheus => &[9090],
            Self::Grafana => &[3001, 3000],
        }
    }

    /// Returns the path that is asked.
    pub fn path(self) -> &'static str {
        match self {
            Self::Backend => "/health",
            Self::Frontend => "/",
            Self::Prometheus => "/-/healthy",
            Self::Grafana => "/api/health",
        }
    }

    /// Returns whether it is left out in this profile (R000-63, C25).
    pub fn is_skipped_in(self, profile: Profile) -> bool {
        matches!(self, Self::Prometheus | Self::Grafana) && profile == Profile::Dev
    }
}
