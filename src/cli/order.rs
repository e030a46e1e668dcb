//! What the command line wishes, and the job that it becomes with the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use std::time::Duration;

use super::args::{
    AcceptArgs, BuildArgs, DeployArgs, HistoryArgs, OperateArgs, ReachArgs, TargetArgs, ValidateArgs,
};
use super::fetch::fetch;
use super::surroundings::Surroundings;
use crate::config::{self, ConfigError, Inputs, Resolved};
use crate::model::{
    Action, CorrelationId, DeploymentId, Environment, ErrorKind, FailureReport, Job, Manifest, Options,
    Placement,
};
use crate::text::{harmless, shell_word};

/// What the command line wishes.
#[derive(Clone)]
pub(super) struct Wish {
    /// What to do.
    pub action: Action,
    /// Name of the environment.
    pub environment: Option<String>,
    /// How it is reached, and where the configuration is.
    pub reach: ReachArgs,
    /// Version, when given.
    pub version: Option<String>,
    /// Whether it is confirmed.
    pub yes: bool,
    /// Id of the run, when given.
    pub deployment_id: Option<DeploymentId>,
    /// Longest time of the whole, when given.
    pub timeout: Option<Duration>,
    /// Whether an older commit may replace a newer one.
    pub allow_older: bool,
    /// File for what is found, as SARIF.
    pub sarif: Option<PathBuf>,
    /// Whether the tests are left out.
    pub skip_tests: bool,
    /// Switches for the host.
    pub options: Options,
}

/// Options of a job that waits so long for others.
fn waiting(wait_for_lease: Option<Duration>) -> Options {
    Options { wait_for_lease, ..Options::default() }
}

impl Wish {
    /// A wish that only names its target.
    pub(super) fn look(args: &TargetArgs, action: Action) -> Self {
        Self {
            action,
            environment: args.environment.clone(),
            reach: args.reach.clone(),
            version: None,
            yes: false,
            deployment_id: None,
            timeout: None,
            allow_older: false,
            sarif: None,
            skip_tests: false,
            options: Options::default(),
        }
    }

    /// The wish of `history`.
    pub(super) fn history(args: &HistoryArgs) -> Self {
        let options = Options { stats: args.stats, ..Options::default() };
        Self { options, ..Self::look(&args.target, Action::History) }
    }

    /// A wish of an operator's verb.
    pub(super) fn operate(args: &OperateArgs, action: Action) -> Self {
        let deployment_id = args.deployment_id.clone();
        let timeout = args.timeout;
        let options = waiting(args.wait.wait_for_lease);
        Self { yes: args.yes, deployment_id, timeout, options, ..Self::look(&args.target, action) }
    }

    /// The wish of `deploy`.
    pub(super) fn deploy(args: &DeployArgs) -> Self {
        let adopt = args.adopt.map(Into::into);
        let AcceptArgs { allow_older, accept_drift } = args.accept;
        let (no_cache, skip_backup) = (args.no_cache, args.skip_backup);
        let waiting = waiting(args.operate.wait.wait_for_lease);
        let options = Options { no_cache, skip_backup, adopt, accept_drift, ..waiting };
        let (version, skip_tests) = (args.version.clone(), args.skip_tests);
        let action = if args.plan { Action::Plan } else { Action::Deploy };
        Self { version, allow_older, skip_tests, options, ..Self::operate(&args.operate, action) }
    }

    /// The wish of `validate`.
    pub(super) fn validate(args: &ValidateArgs) -> Self {
        let AcceptArgs { allow_older, accept_drift } = args.accept;
        let options = Options { accept_drift, ..Options::default() };
        let (version, sarif) = (args.version.clone(), args.sarif.clone());
        Self { version, allow_older, sarif, options, ..Self::look(&args.target, Action::Validate) }
    }

    /// The wish of `build`.
    pub(super) fn build(args: &BuildArgs) -> Self {
        let options = Options { no_cache: args.no_cache, ..waiting(args.wait.wait_for_lease) };
        Self { version: args.version.clone(), options, ..Self::look(&args.target, Action::Build) }
    }

    /// Reads the configuration, and asks programs for the secrets that they keep.
    ///
    /// # Errors
    /// All that is wrong with it, at once.
    pub(super) async fn resolve(&self, surroundings: &Surroundings) -> Result<Resolved, ConfigError> {
        let mut inputs = self.inputs(surroundings);
        inputs.fetched = fetch(config::secret_commands(&inputs), &inputs.job).await;
        config::resolve(&inputs)
    }

    /// Returns what the command line and the job say to the configuration.
    pub(super) fn inputs(&self, surroundings: &Surroundings) -> Inputs {
        Inputs {
            environment: self.environment.clone(),
            app: self.reach.config.app.clone(),
            project_root: self.reach.config.project_root.clone(),
            config_dir: self.reach.config.config_dir.clone(),
            host: self.reach.host.clone(),
            host_key: self.reach.host_key.clone(),
            version: self.version.clone(),
            profiles: self.reach.profiles.clone(),
            verb: self.kind(),
            job: surroundings.variables.clone(),
            fetched: config::Fetched::new(),
        }
    }

    fn kind(&self) -> config::Verb {
        match self.action {
            Action::Deploy | Action::Plan | Action::Up | Action::Build => config::Verb::Changes,
            Action::Validate | Action::Setup => config::Verb::Validates,
            Action::Rollback { .. }
            | Action::Down
            | Action::Restart
            | Action::Clean
            | Action::Prune
            | Action::Recover => config::Verb::Operates,
            Action::Backup
            | Action::BackupPrune
            | Action::Status
            | Action::Follow
            | Action::Health
            | Action::History
            | Action::BackupList
            | Action::Logs(_) => config::Verb::Looks,
        }
    }

    /// Returns whether this verb asks for `--yes` where the environment wants a confirmation (C12).
    fn wants_confirmation(&self) -> bool {
        self.action.changes_what_runs() || self.action == Action::Prune
    }

    /// Refuses what is not confirmed; never asks.
    ///
    /// # Errors
    /// The confirmation is missing.
    pub(super) fn confirmed(&self, resolved: &Resolved) -> Result<(), FailureReport> {
        if self.yes || !resolved.requires_confirmation || !self.wants_confirmation() {
            return Ok(());
        }
        let (verb, environment) = (self.action.verb(), &resolved.environment.name);
        let message = format!("`{verb}` in `{environment}` must be confirmed; nothing was touched");
        let hint = format!("confirm it: `ffe-deploy {verb} {environment} --yes`, or FFE_DEPLOY_YES=true");
        Err(FailureReport::new(ErrorKind::ValidationError, "confirmation.missing", message).hint(hint))
    }

    /// Returns the words of another verb in the same place, a rollback up to its release: what this command was told by
    /// flags or by their variables, and is not in the configuration.
    pub(super) fn words_of(&self, verb: &str, resolved: &Resolved, surroundings: &Surroundings) -> String {
        let config = &self.reach.config;
        let path = |path: &Path| Some(path.display().to_string());
        let root = Some(&config.project_root).filter(|root| *root != Path::new("."));
        let said = |flag: &str| surroundings.get(&format!("FFE_DEPLOY_{flag}"));
        // User and port may have been said apart.
        let host = self.reach.host.clone().or_else(|| said("HOST"));
        let flags = [
            ("--app", config.app.clone().or_else(|| said("APP"))),
            ("--project-root", root.and_then(|root| path(root))),
            ("--config-dir", config.config_dir.as_deref().and_then(path).or_else(|| said("CONFIG_DIR"))),
            ("--host", host.map(|_| resolved.target.to_string())),
            ("--host-key", self.reach.host_key.clone().or_else(|| said("HOST_KEY"))),
        ];
        let start = format!("ffe-deploy {verb} {}", resolved.environment.name);
        let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        flags.fold(start, |words, (flag, value)| format!("{words} {flag} {}", shell_word(&harmless(&value))))
    }

    /// Returns the words that send what the ledger has not got, with the same configuration.
    pub(super) fn sync_words(&self) -> String {
        let config = &self.reach.config;
        let root = Some(&config.project_root).filter(|root| *root != Path::new("."));
        let flags = [("--project-root", root), ("--config-dir", config.config_dir.as_ref())];
        let flags = flags.into_iter().filter_map(|(flag, path)| Some((flag, path?.display().to_string())));
        let start = "ffe-deploy ledger sync".to_owned();
        flags.fold(start, |words, (flag, path)| format!("{words} {flag} {}", shell_word(&harmless(&path))))
    }

    /// Returns the job for the agent, without its bundle.
    pub(super) fn job(
        &self,
        resolved: &Resolved,
        ids: (DeploymentId, CorrelationId),
        surroundings: &Surroundings,
    ) -> Job {
        // Only what brings a project pulls or pushes, and a rollback whose images somebody removed; nothing else has use
        // for a password.
        let in_place = matches!(resolved.environment.placement, Placement::InPlace { .. });
        let pulls = self.action.brings_bundle(in_place) || matches!(self.action, Action::Rollback { .. });
        let registries = if pulls { resolved.registries.clone() } else { Vec::new() };
        Job {
            deployment_id: ids.0,
            correlation_id: ids.1,
            action: self.action.clone(),
            app: resolved.app.clone(),
            compose_files: resolved.compose_files.clone(),
            marks: resolved.marks.clone(),
            environment: Environment {
                timeout: self.timeout.unwrap_or(resolved.environment.timeout),
                ..resolved.environment.clone()
            },
            silenced: resolved.silenced.clone(),
            version: resolved.version.clone(),
            variables: resolved.variables.clone(),
            registries,
            built: BTreeMap::new(),
            bundle: Manifest::default(),
            options: self.options.clone(),
            requester: surroundings.requester(),
            clock_ahead_s: 0,
        }
    }
}
