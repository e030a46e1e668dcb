//! Which app and which environment, and what there is to choose from.

use std::path::{Path, PathBuf};

use crate::model::{AppName, EnvironmentName, ListAnswer, ListedApp};

use super::app::TYPES;
use super::compose;
use super::files::{self, File, Files};
use super::git;
use super::problem::{ConfigError, Problem};
use super::reader::{Problems, Section, did_you_mean};
use super::target::spellings;
use super::yaml::{Entry, Node, Value};
use super::{Inputs, Verb};

/// Returns all apps, of every type. Reads name, type and path only.
///
/// # Errors
/// Broken YAML, an app without `type` or of a type that nobody knows; no configuration and no compose file.
pub fn list(inputs: &Inputs) -> Result<ListAnswer, ConfigError> {
    let mut problems = Problems::default();
    let project = Project::load(inputs, &mut problems)?;
    let environments: Vec<String> = project.environments().iter().map(|entry| entry.key.clone()).collect();
    let apps = match project.files.deployments.name {
        Some(_) => project.apps().iter().map(|entry| listed(entry, &environments)).collect(),
        None if !compose::is_there(&project.root) => return Err(compose::absent("docker-compose.yml")),
        None => vec![ListedApp {
            name: default_name(&project.root),
            kind: "docker-compose".to_owned(),
            path: ".".to_owned(),
            environments,
        }],
    };
    project.check_shape(&mut problems);
    if problems.0.is_empty() { Ok(ListAnswer { apps }) } else { Err(ConfigError::invalid(problems.0)) }
}

fn listed(entry: &Entry, environments: &[String]) -> ListedApp {
    let text = |key: &str| entry.node.get(key).and_then(Node::text);
    ListedApp {
        name: entry.key.clone(),
        kind: text("type").unwrap_or_default().to_owned(),
        path: text("path").unwrap_or(".").to_owned(),
        environments: environments.to_vec(),
    }
}

/// The project's root and its two files.
pub(super) struct Project {
    pub(super) root: PathBuf,
    pub(super) files: Files,
}

impl Project {
    pub(super) fn load(inputs: &Inputs, problems: &mut Problems) -> Result<Self, ConfigError> {
        let root = inputs.project_root.canonicalize().ok().filter(|root| root.is_dir());
        let Some(root) = root else {
            let problem = Problem::of("--project-root", "is not a directory");
            let found = inputs.project_root.display().to_string();
            return Err(ConfigError::Invalid(vec![problem.found(found)]));
        };
        let config_dir = inputs.config_dir.clone().or_else(|| inputs.said("CONFIG_DIR").map(PathBuf::from));
        let config_dir = config_dir.map(|directory| root.join(directory));
        let files = files::load(&root, config_dir.as_deref(), problems);
        Ok(Self { root, files })
    }

    pub(super) fn apps(&self) -> &[Entry] {
        entries(&self.files.deployments, "deployments")
    }

    pub(super) fn environments(&self) -> &[Entry] {
        entries(&self.files.environments, "environments")
    }

    /// Checks the top level of both files: what must be right whichever app is selected.
    pub(super) fn check_shape(&self, problems: &mut Problems) {
        let known = ["deployments", "ledger", "notify", "registries"];
        check_top(&self.files.deployments, &known, &[], problems);
        let later = ["notify", "ledger"];
        check_top(&self.files.environments, &["environments"], &later, problems);
        for app in self.apps() {
            check_app(app, problems);
        }
        for environment in self.environments() {
            let key = format!("environments.{}", environment.key);
            if let Err(error) = environment.key.parse::<EnvironmentName>() {
                problems.add(Problem::at(&environment.place, &key, error.to_string()));
            }
            let _shape = Section::of(&environment.node, &key, problems);
        }
    }

    /// Chooses the app: the one that is named, or the only one. `None` when there is no file for apps.
    pub(super) fn choose_app(&self, inputs: &Inputs, problems: &mut Problems) -> Option<&Entry> {
        let names: Vec<&str> = self.apps().iter().map(|entry| entry.key.as_str()).collect();
        let named = inputs.app.clone().or_else(|| inputs.said("APP"));
        let file = self.files.deployments.name.as_deref()?;
        match (named, self.apps()) {
            (None, [only]) => Some(only),
            (None, []) => None,
            (None, _) => {
                problems.add(
                    Problem::of("--app", "is missing, and there are several").accepted(names.join(", ")),
                );
                None
            }
            (Some(name), apps) => {
                let found = apps.iter().find(|entry| entry.key == name);
                if found.is_none() && self.files.deployments.root.is_some() {
                    let problem = Problem::of("--app", format!("names `{name}`, which {file} does not have"));
                    problems.add(did_you_mean(problem.accepted(names.join(", ")), &name, &names));
                }
                found
            }
        }
    }

    /// Chooses the environment (DESIGN section 8), and its entry when a file has it.
    pub(super) fn choose_environment(
        &self,
        inputs: &Inputs,
        problems: &mut Problems,
    ) -> Option<(EnvironmentName, Option<&Entry>)> {
        let names: Vec<&str> = self.environments().iter().map(|entry| entry.key.as_str()).collect();
        let named = inputs.environment.clone().or_else(|| inputs.said("ENVIRONMENT"));
        let name = match (named, &names[..]) {
            (Some(name), _) => name,
            (None, [only]) => (*only).to_owned(),
            (None, _) if matches!(inputs.verb, Verb::Looks | Verb::Validates) => "dev".to_owned(),
            (None, _) => {
                let accepted =
                    if names.is_empty() { "dev, staging, production".to_owned() } else { names.join(", ") };
                problems.add(Problem::of("ENVIRONMENT", "is missing").accepted(accepted));
                return None;
            }
        };
        let entry = spellings(&name)
            .into_iter()
            .find_map(|spelling| self.environments().iter().find(|entry| entry.key == spelling));
        let name = entry.map_or(name, |entry| entry.key.clone());
        if let (None, Some(file)) = (entry, &self.files.environments.name) {
            if self.files.environments.root.is_some() {
                let problem = Problem::of("ENVIRONMENT", format!("is `{name}`, which {file} does not have"));
                problems.add(did_you_mean(problem.accepted(names.join(", ")), &name, &names));
            }
            return None;
        }
        match name.parse() {
            Ok(name) => Some((name, entry)),
            Err(error) => {
                problems.add(Problem::of("ENVIRONMENT", format!("is no name: {error}")));
                None
            }
        }
    }
}

fn entries<'a>(file: &'a File, key: &str) -> &'a [Entry] {
    file.root.as_ref().and_then(|root| root.get(key)).map(Node::entries).unwrap_or_default()
}

/// Checks the keys of a file; the first one is the map that it must have.
fn check_top(file: &File, keys: &[&'static str], later: &[&str], problems: &mut Problems) {
    let (Some(root), Some(name)) = (&file.root, &file.name) else { return };
    let Some(section) = Section::of(root, "", problems) else { return };
    let other = ["deployments", "environments"].into_iter().find(|other| {
        !keys.contains(other) && keys.iter().all(|key| root.get(key).is_none()) && root.get(other).is_some()
    });
    if let Some(other) = other {
        let problem = Problem::in_file(name, format!("is a file for `{other}`"));
        problems.add(problem.suggest(format!("call it {other}.yaml")));
        return;
    }
    section.only_or_extensions(keys, later, problems);
    let Some(&key) = keys.first() else { return };
    match root.get(key).map(|node| &node.value) {
        Some(Value::Map(entries)) if !entries.is_empty() => {}
        Some(Value::Map(_) | Value::Null) | None => {
            problems.add(
                Problem::in_file(name, format!("has no `{key}`"))
                    .accepted(format!("a map `{key}:` with names")),
            );
        }
        Some(_) => {
            let _wrong: Option<()> = section.get(key).and_then(|field| field.wrong("a map", problems));
        }
    }
}

/// What every app must have, also one that is not selected: a name, a map, a type.
fn check_app(entry: &Entry, problems: &mut Problems) {
    let key = format!("deployments.{}", entry.key);
    if let Err(error) = entry.key.parse::<AppName>() {
        problems.add(Problem::at(&entry.place, &key, error.to_string()));
    }
    let Some(section) = Section::of(&entry.node, &key, problems) else { return };
    match section.get("type") {
        None => {
            let problem = Problem::at(&entry.place, &format!("{key}.type"), "is missing");
            problems.add(problem.accepted("docker-compose").suggest("`type: docker-compose`"));
        }
        Some(field) => {
            let _known = field.word(&TYPES.map(|name| (name, ())), &[], problems);
        }
    }
}

/// Name of the app that no file names: the repository's in `origin`, else the directory's, as Compose spells it.
pub(super) fn default_name(root: &Path) -> String {
    let directory = || root.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = git::origin_name(root).or_else(directory).unwrap_or_default().to_lowercase();
    let is_allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let name: String = name.chars().filter(is_allowed).collect();
    let name: String = name.trim_start_matches(['-', '_']).chars().take(63).collect();
    if name.is_empty() { "app".to_owned() } else { name }
}

impl Inputs {
    /// Returns the value of `FFE_DEPLOY_<flag>` when it is not empty.
    pub(super) fn said(&self, flag: &str) -> Option<String> {
        self.job.get(&format!("FFE_DEPLOY_{flag}")).filter(|value| !value.is_empty()).cloned()
    }
}
