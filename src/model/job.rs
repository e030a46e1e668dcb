//! What the runner asks of the agent: everything that the host needs, and nothing of how it was reached.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{App, ComposeFile, CorrelationId, DeploymentId, Environment, Mark, RegistryLogin, ReleaseId};

/// One order to the agent. Holds secrets: it travels on pipes only, and is never written to disk or printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    /// Id of this run.
    pub deployment_id: DeploymentId,
    /// Groups what belongs to one workflow run.
    pub correlation_id: CorrelationId,
    /// What to do.
    pub action: Action,
    /// With what.
    pub app: App,
    /// What is in its compose files, as the runner has them.
    #[serde(default)]
    pub compose_files: Vec<ComposeFile>,
    /// Where findings belong in the project's files.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Where, and under which rules.
    pub environment: Environment,
    /// Rules that do not count here, by id, with the reason.
    #[serde(default)]
    pub silenced: BTreeMap<String, String>,
    /// Which version it is called.
    pub version: Version,
    /// Variables of the app, by layer.
    pub variables: Variables,
    /// Who may pull, by registry; empty for actions that pull nothing. For a rollback only those whose passwords the job
    /// has.
    #[serde(default)]
    pub registries: Vec<RegistryLogin>,
    /// Images that the runner has built and pushed, `repository@sha256:…` by service.
    #[serde(default)]
    pub built: BTreeMap<String, String>,
    /// Files of the bundle; empty for actions that bring none.
    pub bundle: Manifest,
    /// Switches of the command line.
    pub options: Options,
    /// Who asks.
    pub requester: Requester,
    /// By how many seconds the host's clock is ahead of the runner's; the host finds it out.
    #[serde(default)]
    pub clock_ahead_s: i64,
}

impl Drop for Variables {
    fn drop(&mut self) {
        let values = [&mut self.below_host, &mut self.above_host, &mut self.env_files];
        values.into_iter().flat_map(BTreeMap::values_mut).for_each(Zeroize::zeroize);
    }
}

impl Variables {
    /// Returns the values of the secrets among them, of every layer.
    pub fn secret_values(&self) -> impl Iterator<Item = &str> {
        let layers = self.below_host.iter().chain(&self.above_host);
        layers.filter(|(name, _)| self.secret_names.contains(*name)).map(|(_, value)| value.as_str())
    }
}

impl Job {
    /// Returns every secret that it carries.
    pub fn secret_values(&self) -> impl Iterator<Item = &str> {
        let passwords = self.registries.iter().map(|login| login.password.as_str());
        self.variables.secret_values().chain(passwords)
    }

    /// Returns the job as it may rest on disk: without variables, passwords and its bundle.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let (variables, registries) = (Variables::default(), Vec::new());
        Self { variables, registries, bundle: Manifest::default(), ..self.clone() }
    }
}

/// What an order is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Bring the bundle's release live.
    Deploy,
    /// Put an earlier release back.
    Rollback {
        /// Which one; absent: the last successful one before the current.
        to: Option<ReleaseId>,
        /// Why, for the history.
        reason: Option<String>,
    },
    /// Start: in place a deploy without backup; on a root the current release (DESIGN section 5).
    Up,
    /// Stop; keep volumes and releases.
    Down,
    /// Stop, then start, verified.
    Restart,
    /// Stop, remove volumes and local images (R003-34).
    Clean,
    /// Make the host ready for a first deploy; start nothing.
    Setup,
    /// Build the images, start nothing.
    Build,
    /// Take a backup now.
    Backup,
    /// End an unfinished deployment.
    Recover,
    /// Every preflight check, nothing touched.
    Validate,
    /// What a deploy would change, nothing touched.
    Plan,
    /// Containers, health, the last deployment.
    Status,
    /// The events of what runs now, to its end.
    Follow,
    /// Ask every health check once.
    Health,
    /// Records of earlier deployments.
    History,
    /// Archives of this app and environment.
    BackupList,
    /// Take away what is older than it is kept: releases, their images and files, and what attempts left.
    Prune,
    /// Take away archives that are older than they are kept.
    BackupPrune,
    /// Log lines of the services.
    Logs(LogQuery),
}

impl Action {
    /// Returns whether it changes the host, and so needs the lease.
    pub fn changes(&self) -> bool {
        match self {
            Self::Deploy
            | Self::Rollback { .. }
            | Self::Up
            | Self::Down
            | Self::Restart
            | Self::Clean
            | Self::Setup
            | Self::Build
            | Self::Backup
            | Self::Prune
            | Self::BackupPrune
            | Self::Recover => true,
            Self::Validate
            | Self::Plan
            | Self::Status
            | Self::Follow
            | Self::Health
            | Self::History
            | Self::BackupList
            | Self::Logs(_) => false,
        }
    }

    /// Returns whether somebody asks by it that something else runs than before; recovery only ends what was asked.
    pub fn changes_what_runs(&self) -> bool {
        match self {
            Self::Deploy | Self::Rollback { .. } | Self::Up | Self::Down | Self::Restart | Self::Clean => {
                true
            }
            Self::Setup
            | Self::Build
            | Self::Backup
            | Self::Prune
            | Self::BackupPrune
            | Self::Recover
            | Self::Validate
            | Self::Plan
            | Self::Status
            | Self::Follow
            | Self::Health
            | Self::History
            | Self::BackupList
            | Self::Logs(_) => false,
        }
    }

    /// Returns whether it is looked at as a deployment would be, and nothing is begun.
    pub fn only_checks(&self) -> bool {
        matches!(self, Self::Validate | Self::Plan)
    }

    /// Returns whether the history keeps a record of it: what brings another release live, or tries to.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Deploy | Self::Rollback { .. } | Self::Up | Self::Restart)
    }

    /// Returns whether it brings the project's files along; `up` does so only in place (DESIGN section 5).
    pub fn brings_bundle(&self, in_place: bool) -> bool {
        match self {
            Self::Deploy | Self::Setup | Self::Build | Self::Validate | Self::Plan => true,
            Self::Up => in_place,
            _ => false,
        }
    }

    /// Returns the verb of the command line.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback { .. } => "rollback",
            Self::Up => "up",
            Self::Down => "down",
            Self::Restart => "restart",
            Self::Clean => "clean",
            Self::Setup => "setup",
            Self::Build => "build",
            Self::Backup => "backup",
            Self::Recover => "recover",
            Self::Validate => "validate",
            Self::Plan => "deploy --plan",
            Self::Status | Self::Follow => "status",
            Self::Health => "health",
            Self::History => "history",
            Self::BackupList => "backup list",
            Self::Prune => "prune",
            Self::BackupPrune => "backup prune",
            Self::Logs(_) => "logs",
        }
    }
}

/// Which log lines are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// One service; absent: all.
    pub service: Option<String>,
    /// Last lines of each service; 0 to 100,000, default 50 (R000-22).
    pub tail: u32,
    /// Whether to go on as lines come.
    pub follow: bool,
}

/// What a version is called, and whether the job said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// `--version`, else `git describe --always --dirty`, else `unversioned`.
    pub label: String,
    /// Whether it was given: only then `VERSION` and `IMAGE_TAG` are variables (DESIGN section 6).
    pub given: bool,
}

/// Variables of the app by layer, lowest first (DESIGN section 6). The host's own file
/// `shared/.env.<environment>` comes between [`Variables::below_host`] and [`Variables::above_host`].
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Variables {
    /// Tracked `.env` (in dev any), then `env_vars`.
    pub below_host: BTreeMap<String, String>,
    /// `.env.<environment>`, then `<ENV>_ENV_FILE`, then `secrets` and `required_vars` from the job.
    pub above_host: BTreeMap<String, String>,
    /// Names that are secrets: named in `secrets`, or looking like one.
    pub secret_names: BTreeSet<String>,
    /// Untracked env files of the project by their path, for services' `env_file` (DESIGN section 6).
    pub env_files: BTreeMap<String, String>,
}

/// The files of a release as the runner has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// By path relative to the app's directory, `/`-separated, without `.` and `..`.
    pub entries: BTreeMap<String, BundleEntry>,
    /// Whether git said what belongs to it; else `.gitignore` and `.dockerignore` did.
    pub from_git: bool,
    /// Whether tracked files differ from the commit.
    pub dirty: bool,
    /// The commit, when there is one.
    pub commit: Option<String>,
}

/// One file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleEntry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits of the file, 0644 or 0755 as in git.
    pub mode: u32,
    /// Size; 0 for a symlink.
    pub size_bytes: u64,
    /// Whether git tracks it (or no git says otherwise).
    pub tracked: bool,
}

/// Content of one bundle entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A file: SHA-256 of its bytes, lower-case hex.
    File(String),
    /// A symlink and its target, which stays inside the bundle.
    Symlink(String),
}

/// Switches of the command line that the host needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Build without cache (R000-06).
    pub no_cache: bool,
    /// Take no backup.
    pub skip_backup: bool,
    /// Take over a running app.
    pub adopt: Option<Adopt>,
    /// Go on although somebody changed the host.
    #[serde(default)]
    pub accept_drift: bool,
    /// The run of a workflow that asks, and for which commit: `github-<run_id>/<commit>`. A run that comes again follows
    /// what it has begun.
    #[serde(default)]
    pub run_key: Option<String>,
    /// Answer with the figures of the whole history, not with its youngest records.
    #[serde(default)]
    pub stats: bool,
    /// How long to wait for whoever holds the lease; absent: not at all.
    #[serde(default)]
    pub wait_for_lease: Option<Duration>,
}

/// What `--adopt` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adopt {
    /// Record what runs as a release to return to.
    WithRollback,
    /// Its files are gone: there will be nothing to return to.
    NoRollback,
}

/// Who asks for a deployment, as the lease and the history name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requester {
    /// `GITHUB_ACTOR`, else `USER`@host.
    pub who: String,
    /// Address of the workflow's run, when there is one.
    pub run_url: Option<String>,
}

/// A job for tests.
#[cfg(test)]
pub(crate) fn example_job() -> Job {
    let app = serde_json::json!({
        "name": "shop", "kind": "docker-compose", "compose_files": ["compose.yml"], "profiles": [], "project": null,
        "required_files": [], "required_vars": [], "required_services": [], "one_shot": [], "build": "host", "shared": [],
        "setup": { "directories": [], "databases": [] }, "requirements": { "disk_gb": null, "memory_gb": null },
        "backup": { "paths": null, "volumes": null, "format": null },
        "health": { "timeout": { "secs": 120, "nanos": 0 }, "checks": [] }, "automatic_rollback": true, "url": null,
    });
    let environment = serde_json::json!({
        "name": "staging", "profile": "staging", "placement": { "root": { "base": "/srv" } }, "backup": false,
        "allow_network_root": false,
    });
    Job {
        compose_files: Vec::new(),
        marks: Vec::new(),
        silenced: BTreeMap::new(),
        deployment_id: "deploy-1".parse().unwrap(),
        correlation_id: "c".parse().unwrap(),
        action: Action::Deploy,
        app: serde_json::from_value(app).unwrap(),
        environment: serde_json::from_value(environment).unwrap(),
        version: Version { label: "1.0.0".into(), given: true },
        variables: Variables::default(),
        registries: Vec::new(),
        built: BTreeMap::new(),
        bundle: Manifest::default(),
        options: Options::default(),
        requester: Requester::default(),
        clock_ahead_s: 0,
    }
}
