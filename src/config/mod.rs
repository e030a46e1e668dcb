//! From flags, variables and two YAML files to checked values: what is deployed, where, and with which variables.
//!
//! Enter by [`resolve`] for one app and environment, by [`list`] for what there is, and by [`bundle::scan`] for the
//! files of a release. All problems are reported at once, each with its place. Reads files and asks git; knows
//! nothing of hosts, Docker or SSH.

mod app;
pub mod bundle;
mod checks;
mod compose;
mod duration;
mod effective;
pub mod envfile;
mod environment;
mod excerpt;
mod files;
mod git;
mod hooks;
mod interpolate;
mod job_values;
mod ledger;
mod literals;
mod marks;
mod notices;
mod notify;
mod outside;
mod overrides;
mod paths;
mod problem;
pub mod project_rules;
#[cfg(test)]
mod properties;
mod reader;
mod registries;
mod resolve;
mod rules;
pub mod schema;
mod secret_names;
mod secret_sources;
mod select;
mod target;
mod templates;
#[cfg(test)]
mod tests;
mod variables;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{App, ComposeFile, Environment, Finding, Mark, RegistryLogin, Variables, Version};
use crate::text::Secret;

pub use compose::{ByItself, base_files, by_itself, is_there as has_compose_file};
pub use duration::timeout;
pub use effective::effective;
pub use git::{HARDENED, describe};
pub use hooks::TestSpec;
pub use job_values::{LARGEST_SECRET, job_secret};
pub use ledger::{Ledger, LedgerFound};
pub use notify::{Audience, Slack, audience};
pub use problem::{ConfigError, Problem};
pub use resolve::resolve;
pub use secret_names::{holds_secret, looks_secret, names_secret};
pub use secret_sources::{Fetched, SecretCommand, Unfetched, commands as secret_commands};
pub use select::list;
pub use target::{Jump, SshTarget, Target};
pub use templates::is_template;

/// The environment of the job, injected: nothing here reads the process's own.
pub type JobEnv = BTreeMap<String, String>;

/// What the command line says, before any file is read.
#[derive(Clone, Default)]
pub struct Inputs {
    /// First positional; else `FFE_DEPLOY_ENVIRONMENT`.
    pub environment: Option<String>,
    /// `--app`; else `FFE_DEPLOY_APP`.
    pub app: Option<String>,
    /// `--project-root`; made absolute here.
    pub project_root: PathBuf,
    /// `--config-dir`, from the project root; else `FFE_DEPLOY_CONFIG_DIR`, else `deploy/` and the project root.
    pub config_dir: Option<PathBuf>,
    /// `--host [USER@]HOST[:PORT]`, or `local`; else `FFE_DEPLOY_HOST`. Empty is an error, not "absent".
    pub host: Option<String>,
    /// `--host-key`; else `FFE_DEPLOY_HOST_KEY`.
    pub host_key: Option<String>,
    /// `--version`; else `FFE_DEPLOY_VERSION`.
    pub version: Option<String>,
    /// `--profile`, Compose profiles; else `FFE_DEPLOY_PROFILE`, separated by commas.
    pub profiles: Vec<String>,
    /// What is going to be done with the answer.
    pub verb: Verb,
    /// The environment of the job.
    pub job: JobEnv,
    /// What the programs of [`secret_commands`] said.
    pub fetched: Fetched,
}

/// What a verb does, as far as the configuration cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// Looks at what is there (`status`, `logs`, …): the environment defaults to `dev`, secrets may be missing.
    Looks,
    /// Looks at what would be deployed (`validate`, `setup`): the default is `dev`, secrets must be there.
    Validates,
    /// Brings something live (`deploy`, `up`, `build`): the environment must be said, secrets must be there.
    #[default]
    Changes,
    /// Acts on what is there (`rollback`, `down`, `restart`, `recover`, …): the environment must be said, secrets may
    /// be missing, because releases carry their own.
    Operates,
}

/// One app and one environment, checked.
pub struct Resolved {
    /// What is deployed.
    pub app: App,
    /// What is in its compose files.
    pub compose_files: Vec<ComposeFile>,
    /// Where in them and in deployments.yaml findings belong, from the app's directory.
    pub marks: Vec<Mark>,
    /// Where it lives on its host, and under which rules.
    pub environment: Environment,
    /// The machine.
    pub target: Target,
    /// Variables of the app, by layer.
    pub variables: Variables,
    /// Where each of them came from, in words: of those with one name, the one that counts.
    pub origins: BTreeMap<String, String>,
    /// Who may pull, by registry; only what the job has passwords for.
    pub registries: Vec<RegistryLogin>,
    /// What the version is called.
    pub version: Version,
    /// Whether verbs that change need `--yes` (C12).
    pub requires_confirmation: bool,
    /// The app's directory on the runner, absolute.
    pub app_dir: PathBuf,
    /// Globs for [`bundle::scan`], beyond what git tracks; the compose files are among them.
    pub bundle: Vec<String>,
    /// Globs for [`bundle::scan`] that win over all others.
    pub bundle_exclude: Vec<String>,
    /// Rules that do not count here, by id, with the reason: of the environment, and above them those of the app.
    pub silenced: BTreeMap<String, String>,
    /// Worth knowing, stops nothing.
    pub notices: Vec<Finding>,
    /// What is run on the runner before anything is deployed (C23).
    pub test: Option<TestSpec>,
    /// Every secret value, keys and passphrases too, for redaction.
    pub secrets: Vec<Secret>,
}

/// Reads a text as each kind of file of the configuration, for those who feed it with anything.
#[cfg(test)]
pub(crate) fn read_anything(text: &str) -> Vec<Problem> {
    let parsed = yaml::parse(text, "any.yaml", yaml::Tags::Refused);
    let mut problems = reader::Problems(parsed.problems);
    if let Some(mut root) = parsed.root {
        literals::refuse(&root, "", &mut problems);
        interpolate::fill(&mut root, "any", &JobEnv::new(), &mut problems);
        let _read = (app::read(&root, "any", &mut problems), environment::read(&root, "any", &mut problems));
        for entry in root.entries().iter().flat_map(|entry| entry.node.entries()) {
            let _read = app::read(&entry.node, "any", &mut problems);
            let _read = environment::read(&entry.node, "any", &mut problems);
        }
    }
    // Each must be able to say what it is about.
    problems.0.iter().take(20).for_each(|problem| assert!(!problem.shown().is_empty()));
    problems.0
}

/// Reads a text as a compose file, for those who feed it with anything.
#[cfg(test)]
pub(crate) fn read_any_compose(text: &str) -> String {
    let parsed = yaml::parse(text, "", yaml::Tags::Ignored);
    let services =
        parsed.root.as_ref().and_then(|root| root.get("services")).map_or(0, |node| node.entries().len());
    format!("{} services, broken: {}", services.min(3), !parsed.problems.is_empty())
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Resolved").field("app", &self.app.name).finish_non_exhaustive()
    }
}
