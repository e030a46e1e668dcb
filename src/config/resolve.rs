//! Puts the parts together: files, selection, filling, readers, variables, compose files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::model::{
    App, AppName, CheckProbe, ComposeFile, Environment, EnvironmentName, Mark, Placement, Profile,
    RegistryLogin, Version,
};
use crate::text::Secret;

use super::app::WrittenApp;
use super::compose::{self, Choice};
use super::environment::{self, WrittenEnvironment};
use super::git::{self, Git};
use super::hooks;
use super::interpolate::{fill, fill_address};
use super::literals;
use super::overrides::read_app;
use super::problem::{ConfigError, Problem};
use super::reader::Problems;
use super::select::{Project, default_name};
use super::target::{Above, EnvironmentVars, Target, not_said, spellings};
use super::variables::{Layers, Sources, secrets_of};
use super::yaml::{Entry, Node, Value};
use super::{Inputs, Resolved, Verb, bundle, ledger, marks, notices, notify, outside, registries};

/// Returns the app, the environment and everything that goes with them, checked.
///
/// # Errors
/// [`ConfigError::Invalid`] with all problems at once; [`ConfigError::Refused`] when nobody says where the
/// environment is (`local.not-said`) or a compose file is absent (`compose.file`).
pub fn resolve(inputs: &Inputs) -> Result<Resolved, ConfigError> {
    let mut problems = Problems::default();
    let project = Project::load(inputs, &mut problems)?;
    project.check_shape(&mut problems);
    for file in [&project.files.deployments, &project.files.environments] {
        if let Some(root) = &file.root {
            literals::refuse(root, "", &mut problems);
        }
    }
    let slack = notify::read(project.files.deployments.root.as_ref(), &inputs.job, &mut problems);
    let ledger = ledger::read(project.files.deployments.root.as_ref(), &inputs.job, &mut problems);
    let chosen = project.choose_environment(inputs, &mut problems);
    let app = project.choose_app(inputs, &mut problems);
    let place = chosen.map(|(name, entry)| read_place(inputs, name, entry, &mut problems));
    let name = app_name(inputs, &project, app, &mut problems);
    let environment = place.as_ref().and_then(|place| place.entry);
    let written = read_app(inputs, &project, app, environment, name.as_ref(), &mut problems);
    let version = read_version(inputs, &project.root, &mut problems);
    let node = project.files.deployments.root.as_ref().and_then(|root| root.get("registries"));
    let needed = matches!(inputs.verb, Verb::Changes | Verb::Validates);
    let registries = registries::read(node, &inputs.job, needed, &mut problems);
    let (Some(name), Some(place), Some(mut written)) = (name, place, written) else {
        return Err(ConfigError::invalid(not_empty(problems)));
    };
    let app_dir = app_directory(&project.root, &name, &written, &mut problems);
    let app_dir = app_dir.unwrap_or_else(|| project.root.clone());
    let parts = Parts { inputs, name, place, version, registries, project_root: &project.root, app_dir };
    let mut resolved = parts.finish(&mut written, problems)?;
    resolved.secrets.extend(slack.iter().flat_map(notify::Slack::secrets));
    resolved.secrets.extend(ledger::secrets(ledger.as_ref()));
    resolved.secrets = dedup(resolved.secrets);
    Ok(resolved)
}

/// Every path here has added a problem; should one forget to, an honest word is better than an empty list.
fn not_empty(mut problems: Problems) -> Vec<Problem> {
    if problems.0.is_empty() {
        problems.add(Problem::of("--app", "or ENVIRONMENT could not be chosen"));
    }
    problems.0
}

/// What is known of the place that a release goes to.
struct Place<'a> {
    name: EnvironmentName,
    entry: Option<&'a Entry>,
    written: WrittenEnvironment,
    profile: Profile,
    target: Option<Target>,
}

fn read_place<'a>(
    inputs: &Inputs,
    name: EnvironmentName,
    entry: Option<&'a Entry>,
    problems: &mut Problems,
) -> Place<'a> {
    let above = Above {
        host: inputs.host.as_deref(),
        host_key: inputs.host_key.as_deref(),
        vars: EnvironmentVars::new(name.as_str(), &inputs.job),
        job: &inputs.job,
    };
    let key = format!("environments.{name}");
    let written = match entry {
        Some(entry) => {
            let mut node = without(&entry.node, &above.overruled());
            fill(&mut node, &key, &inputs.job, problems);
            environment::read(&restore_overrides(node, &entry.node), &key, problems)
                .in_project(&inputs.project_root)
        }
        None => WrittenEnvironment::default(),
    };
    let profile = written.profile.unwrap_or_else(|| Profile::of_name(name.as_str()));
    let target = above.target(&written, problems);
    Place { name, entry, written, profile, target }
}

/// The entry without keys that something above it decides, and without the apps' overrides.
fn without(node: &Node, overruled: &[&str]) -> Node {
    let mut node = node.clone();
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| entry.key != "overrides" && !overruled.contains(&entry.key.as_str()));
    }
    node
}

/// `overrides` is a known key; what stands below it is read with the app.
fn restore_overrides(mut node: Node, written: &Node) -> Node {
    let overrides = written.entries().iter().find(|entry| entry.key == "overrides");
    if let (Value::Map(entries), Some(overrides)) = (&mut node.value, overrides) {
        entries.push(overrides.clone());
    }
    node
}

fn app_name(
    inputs: &Inputs,
    project: &Project,
    app: Option<&Entry>,
    problems: &mut Problems,
) -> Option<AppName> {
    let name = match (app, &project.files.deployments.name) {
        (Some(entry), _) => entry.key.clone(),
        (None, Some(_)) => return None,
        (None, None) => {
            inputs.app.clone().or_else(|| inputs.said("APP")).unwrap_or_else(|| default_name(&project.root))
        }
    };
    match name.parse() {
        Ok(name) => Some(name),
        Err(error) if app.is_none() => {
            problems.add(Problem::of("--app", format!("is no name: {error}")));
            None
        }
        // The file's problem was reported with its place.
        Err(_) => None,
    }
}

fn read_version(inputs: &Inputs, root: &Path, problems: &mut Problems) -> Version {
    match inputs.version.clone().or_else(|| inputs.said("VERSION")) {
        Some(label) => {
            let is_label = (1..=128).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic());
            if !is_label {
                let accepted = "1 to 128 printable ASCII characters without spaces";
                problems.add(Problem::of("--version", "is no version").accepted(accepted));
            }
            Version { label, given: true }
        }
        None => {
            let label = git::describe(root).unwrap_or_else(|| "unversioned".to_owned());
            Version { label, given: false }
        }
    }
}

fn app_directory(
    root: &Path,
    name: &AppName,
    written: &WrittenApp,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let Some((path, place)) = &written.path else { return Some(root.to_owned()) };
    let directory = root.join(path).canonicalize().ok().filter(|directory| directory.is_dir());
    if directory.is_none() {
        let problem = Problem::at(place, &format!("deployments.{name}.path"), "is not a directory")
            .found(format!("`{path}`"));
        problems.add(problem.accepted("a directory, relative to the project root"));
    }
    directory
}

/// Everything that is known once both files were read.
struct Parts<'a> {
    inputs: &'a Inputs,
    name: AppName,
    place: Place<'a>,
    version: Version,
    registries: Vec<RegistryLogin>,
    project_root: &'a Path,
    app_dir: PathBuf,
}

impl Parts<'_> {
    fn finish(self, written: &mut WrittenApp, mut problems: Problems) -> Result<Resolved, ConfigError> {
        let git = git::look(&self.app_dir);
        let mut layers = self.layers(written, git, &mut problems);
        let files = self.compose_files(written, &layers);
        let files = files.map(|files| compose::read_all(&self.app_dir, files));
        if let Ok((files, _)) = &files {
            self.add_env_files(files, git, &mut layers, &mut problems);
        }
        if let Err(ConfigError::Invalid(more)) = &files {
            problems.0.extend(more.iter().cloned());
        }
        if !problems.0.is_empty() {
            return Err(ConfigError::invalid(problems.0));
        }
        let files = files?;
        let requires_confirmation =
            self.place.written.require_confirmation.unwrap_or(self.place.profile == Profile::Production);
        let target = self.target(requires_confirmation)?;
        self.fill_addresses(written, &layers);
        Ok(self.resolved(written, layers, files, target, requires_confirmation, git))
    }

    fn layers(&self, written: &WrittenApp, git: Git, problems: &mut Problems) -> Layers {
        let is_tracked = || !git::tracked(&self.app_dir, &[".env"]).is_empty();
        let sources = Sources {
            app_dir: &self.app_dir,
            environment: self.place.name.as_str(),
            profile: self.place.profile,
            app: written,
            version: &self.version,
            job: &self.inputs.job,
            fetched: &self.inputs.fetched,
            git,
            has_env: git != Git::Repository || is_tracked(),
            needs_values: matches!(self.inputs.verb, Verb::Changes | Verb::Validates),
        };
        sources.layers(problems)
    }

    fn compose_files(&self, written: &WrittenApp, layers: &Layers) -> Result<Vec<String>, ConfigError> {
        let choice = Choice {
            app_dir: &self.app_dir,
            environment: self.place.name.as_str(),
            profile: self.place.profile,
            written: written.compose_file.as_ref(),
            variable: layers.compose_file.as_deref(),
        };
        choice.files()
    }

    fn add_env_files(&self, files: &[ComposeFile], git: Git, layers: &mut Layers, problems: &mut Problems) {
        let mut known = layers.variables.below_host.clone();
        known.extend(layers.variables.above_host.clone());
        let mut paths = compose::env_files(files, &known);
        paths.insert(".env".to_owned());
        paths.extend(spellings(self.place.name.as_str()).into_iter().map(|name| format!(".env.{name}")));
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        let tracked: BTreeSet<String> = match git {
            Git::Repository => git::tracked(&self.app_dir, &names).into_iter().collect(),
            Git::NoRepository | Git::Missing => BTreeSet::new(),
        };
        let (contents, more) = compose::read_env_files(&self.app_dir, paths, &tracked);
        layers.variables.env_files = contents;
        problems.0.extend(more);
    }

    /// Absent means this machine, except where that could be the wrong one.
    fn target(&self, requires_confirmation: bool) -> Result<Target, ConfigError> {
        if let Some(target) = &self.place.target {
            return Ok(target.clone());
        }
        let why = match self.inputs.job.get("RUNNER_ENVIRONMENT").map(String::as_str) {
            _ if requires_confirmation => "it is an environment that asks for confirmation",
            Some("github-hosted") => "this machine is a runner that is thrown away",
            Some("self-hosted") if self.place.entry.is_none() => {
                "this machine is a runner, which no file says is meant"
            }
            _ => return Ok(Target::Local),
        };
        Err(not_said(self.place.name.as_str(), why))
    }

    fn fill_addresses(&self, written: &mut WrittenApp, layers: &Layers) {
        let variables = &layers.variables;
        let has =
            |name: &str| variables.below_host.contains_key(name) || variables.above_host.contains_key(name);
        for check in &mut written.health.checks {
            if let CheckProbe::Http { url: address, .. } | CheckProbe::Tcp { address } = &mut check.probe {
                *address = fill_address(address, has, &self.inputs.job);
            }
        }
    }

    fn resolved(
        self,
        written: &mut WrittenApp,
        layers: Layers,
        (compose_files, mut marks): (Vec<ComposeFile>, Vec<Mark>),
        target: Target,
        requires_confirmation: bool,
        git: Git,
    ) -> Resolved {
        let mut secrets = secrets_of(&layers.variables, written, &self.inputs.job);
        if let Target::Ssh(ssh) = &target {
            secrets.extend([&ssh.key, &ssh.passphrase].into_iter().flatten().cloned());
        }
        secrets.extend(self.registries.iter().map(|login| Secret::new(login.password.as_str())));
        let mut written = std::mem::take(written);
        let of_app = std::mem::take(&mut written.marks);
        marks.extend(marks::from_app(of_app, self.project_root, &self.app_dir));
        let mut bundle_globs = written.bundle.clone();
        let files: Vec<String> = compose_files.iter().map(|file| file.path.clone()).collect();
        bundle_globs.extend(files.iter().map(|file| bundle::escaped(file)));
        let exclude = self.excluded(&written, git);
        let environment = self.environment(&target);
        let mut silenced = self.place.written.silenced.clone();
        silenced.extend(written.silenced.clone());
        let test = written.test.clone();
        let mut notices = layers.notices;
        let is_checked = matches!(self.inputs.verb, Verb::Changes | Verb::Validates);
        notices.extend(notices::of(&self.app_dir, git, &environment.placement, &self.inputs.job, is_checked));
        if is_checked {
            let mut known = layers.variables.below_host.clone();
            known.extend(layers.variables.above_host.clone());
            notices.extend(outside::check(&self.app_dir, &files, &known, &environment.placement));
        }
        let notices = notices.into_iter().map(|notice| notice.silenced_by(&silenced)).collect();
        Resolved {
            environment,
            app: self.app(written, files, layers.compose_profiles),
            compose_files,
            marks,
            target,
            variables: layers.variables,
            origins: layers.origins,
            registries: self.registries,
            version: self.version,
            requires_confirmation,
            app_dir: self.app_dir,
            bundle: bundle_globs,
            bundle_exclude: exclude,
            silenced,
            notices,
            test,
            secrets,
        }
    }

    /// Without git nothing says that data is not part of the project, so what the configuration calls data is left out.
    fn excluded(&self, written: &WrittenApp, git: Git) -> Vec<String> {
        let mut exclude = written.bundle_exclude.clone();
        if git != Git::Repository {
            let data = written.setup.directories.iter().map(|directory| &directory.path);
            let data = data.chain(&written.setup.databases).chain(&written.shared);
            exclude.extend(data.map(|path| bundle::escaped(path)));
            exclude.push("backups".to_owned());
        }
        exclude
    }

    fn environment(&self, target: &Target) -> Environment {
        let written = &self.place.written;
        let placement = match (target, &written.root) {
            (Target::Local, None) => Placement::InPlace { path: self.app_dir.clone() },
            (_, base) => Placement::Root { base: base.clone() },
        };
        Environment {
            name: self.place.name.clone(),
            profile: self.place.profile,
            placement,
            backup: written.backup.unwrap_or(self.place.profile == Profile::Production),
            allow_network_root: written.allow_network_root,
            recover_at_boot: written.recover_at_boot.unwrap_or(true),
            timeout: written.timeout.unwrap_or(crate::model::TIMEOUT),
            on_lost: written.on_lost,
        }
    }

    fn app(&self, written: WrittenApp, compose_files: Vec<String>, from_variable: Option<String>) -> App {
        let split = |list: &str| {
            list.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let given = match &self.inputs.profiles[..] {
            [] => self.inputs.said("PROFILE").map(|list| split(&list)),
            given => Some(given.to_vec()),
        };
        let mut required_files = written.required_files;
        let documents = ["config.yaml", "config/config.yaml", "Dockerfile"];
        for path in git::tracked(&self.app_dir, &documents) {
            if !required_files.contains(&path) {
                required_files.push(path);
            }
        }
        App {
            name: self.name.clone(),
            kind: written.kind.unwrap_or(crate::model::AppKind::DockerCompose),
            compose_files,
            profiles: given
                .or(written.profiles)
                .or_else(|| from_variable.map(|list| split(&list)))
                .unwrap_or_default(),
            project: written.project,
            required_files,
            required_vars: written.required_vars,
            required_services: written.required_services,
            one_shot: written.one_shot,
            build: written.build,
            shared: written.shared,
            setup: written.setup,
            requirements: written.requirements,
            backup: written.backup,
            health: written.health,
            automatic_rollback: written.automatic_rollback.unwrap_or(true),
            keep_releases: written.keep_releases.unwrap_or(crate::model::KEEP_RELEASES),
            url: written.url,
            hooks: hooks::around(self.place.written.hooks.clone(), written.hooks),
        }
    }
}

fn dedup(secrets: Vec<Secret>) -> Vec<Secret> {
    let mut seen = BTreeSet::new();
    secrets.into_iter().filter(|secret| seen.insert(secret.reveal().to_owned())).collect()
}
