//! Which compose files a release has (C03), and the little that the runner reads of them: their name, names of services
//! and their `env_file`. What they mean is for Compose on the host to say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{ComposeFile, EnvFileRef, ErrorKind, FailureReport, Mark, Profile};

use super::files::read_text;
use super::interpolate::{Vars, fill_text};
use super::marks::Marks;
use super::paths;
use super::problem::{ConfigError, Problem};
use super::target::spellings;
use super::yaml::{self, Node, Place, Tags, Value};

const BASE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDE: [&str; 4] = [
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
    "compose.override.yml",
    "compose.override.yaml",
];

/// What decides on the files.
pub(super) struct Choice<'a> {
    pub(super) app_dir: &'a Path,
    pub(super) environment: &'a str,
    pub(super) profile: Profile,
    /// `compose_file` of the app and where it stands.
    pub(super) written: Option<&'a (Vec<String>, Place)>,
    /// `COMPOSE_FILE` of the app's variables.
    pub(super) variable: Option<&'a str>,
}

impl Choice<'_> {
    /// Returns the compose files, in order; each exists.
    pub(super) fn files(&self) -> Result<Vec<String>, ConfigError> {
        if let Some((files, _)) = self.written {
            return self.all_there(files.clone());
        }
        if let Some(list) = self.variable.filter(|list| !list.is_empty()) {
            let files: Vec<String> = list.split(':').map(paths::normal).collect();
            if let Some(bad) = files.iter().find(|file| !paths::is_relative(file)) {
                let problem = Problem::of("COMPOSE_FILE", "names a file outside the app's directory");
                return Err(ConfigError::Invalid(vec![problem.found(bad).accepted(paths::RELATIVE)]));
            }
            return self.all_there(files);
        }
        match (self.specific(), self.first(&BASE)) {
            (Some(specific), base) => self.alone(specific, base),
            (None, Some(base)) if self.profile == Profile::Dev => {
                Ok(std::iter::once(base).chain(self.first(&OVERRIDE)).collect())
            }
            (None, Some(base)) => Ok(vec![base]),
            (None, None) => Err(absent("docker-compose.yml")),
        }
    }

    fn all_there(&self, files: Vec<String>) -> Result<Vec<String>, ConfigError> {
        match files.iter().find(|file| !self.app_dir.join(file).is_file()) {
            Some(missing) => Err(absent(missing)),
            None => Ok(files),
        }
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find(|name| self.app_dir.join(name).is_file()).map(|name| (*name).to_owned())
    }

    /// The environment's own file; staging falls back to production's.
    fn specific(&self) -> Option<String> {
        let mut names = spellings(self.environment);
        if self.profile == Profile::Staging {
            names.extend(["production", "prod"]);
        }
        names.into_iter().find_map(|name| {
            let candidates = ["docker-compose", "compose"]
                .into_iter()
                .flat_map(|stem| ["yml", "yaml"].map(|ending| format!("{stem}.{name}.{ending}")));
            candidates.into_iter().find(|file| self.app_dir.join(file).is_file())
        })
    }

    /// The environment's file stands by itself; in staging and production only if it is no overlay.
    fn alone(&self, specific: String, base: Option<String>) -> Result<Vec<String>, ConfigError> {
        let strict = matches!(self.profile, Profile::Staging | Profile::Production);
        let (Some(base), true) = (base, strict) else { return Ok(vec![specific]) };
        let services = |file: &str| service_names(&self.app_dir.join(file));
        let (Some(all), Some(some)) = (services(&base), services(&specific)) else {
            return Ok(vec![specific]);
        };
        let missing: Vec<String> = all.difference(&some).cloned().collect();
        if missing.is_empty() {
            return Ok(vec![specific]);
        }
        let message = format!("lacks services of `{base}`: {}; it looks like an overlay", missing.join(", "));
        let problem = Problem::in_file(&specific, message).suggest(format!(
            "write `compose_file: [{base}, {specific}]` to use both, or `compose_file: {specific}` for it alone"
        ));
        Err(ConfigError::Invalid(vec![problem]))
    }
}

/// What an environment is deployed with when no file is written, as a directory has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByItself {
    /// The files, in order; none where there is none for this environment.
    pub files: Vec<String>,
    /// The environment's file lies over the base file, so that both have to be written.
    pub is_overlay: bool,
}

/// Returns which files an environment would be deployed with, looking at names of files and services only.
pub fn by_itself(app_dir: &Path, environment: &str, profile: Profile) -> ByItself {
    let choice = Choice { app_dir, environment, profile, written: None, variable: None };
    let (Some(specific), Some(base)) = (choice.specific(), choice.first(&BASE)) else {
        return ByItself { files: choice.files().unwrap_or_default(), is_overlay: false };
    };
    let has_all = |base: &BTreeSet<String>| {
        service_names(&app_dir.join(&specific)).is_none_or(|some| base.is_subset(&some))
    };
    let whole = service_names(&app_dir.join(&base)).is_none_or(|base| has_all(&base))
        && stands_alone(&app_dir.join(&specific));
    match whole {
        true => ByItself { files: vec![specific], is_overlay: false },
        false => ByItself { files: vec![base, specific], is_overlay: true },
    }
}

/// Whether every service of a file says what it runs; what cannot be read here is for Compose to say.
fn stands_alone(path: &Path) -> bool {
    let Some(root) = load(path) else { return true };
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    services.iter().all(|entry| ["image", "build", "extends"].iter().any(|key| entry.node.get(key).is_some()))
}

/// Returns the base files of a directory, the one that is read first.
pub fn base_files(directory: &Path) -> Vec<String> {
    BASE.iter().filter(|name| directory.join(name).is_file()).map(|name| (*name).to_owned()).collect()
}

/// Returns whether a directory has a compose file of any environment.
pub fn is_there(directory: &Path) -> bool {
    let is_compose = |name: &str| {
        (name.starts_with("compose.") || name.starts_with("docker-compose."))
            && (name.ends_with(".yml") || name.ends_with(".yaml"))
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_compose))
}

/// The refusal that REQUIREMENTS A3-01 words.
pub(super) fn absent(name: &str) -> ConfigError {
    let report = FailureReport::new(
        ErrorKind::ValidationError,
        "compose.file",
        format!("Compose file not found: {name}"),
    );
    ConfigError::Refused(
        report.hint("add the file, or name another under `compose_file` in deployments.yaml"),
    )
}

pub(super) fn load(path: &Path) -> Option<Node> {
    let text = read_text(path, yaml::LARGEST).ok()?;
    let parsed = yaml::parse(&text, "", Tags::Ignored);
    parsed.root.filter(|_| parsed.problems.is_empty())
}

/// Names of the services of a file; `None` when it cannot be read here, or takes services from elsewhere.
fn service_names(path: &Path) -> Option<BTreeSet<String>> {
    let root = load(path)?;
    if root.get("include").is_some() {
        return None;
    }
    Some(root.get("services")?.entries().iter().map(|entry| entry.key.clone()).collect())
}

/// Reads what is to be known of the files, and marks what findings can be about.
pub(super) fn read_all(app_dir: &Path, files: Vec<String>) -> (Vec<ComposeFile>, Vec<Mark>) {
    let (files, marks): (Vec<_>, Vec<_>) = files.into_iter().map(|path| read(app_dir, path)).unzip();
    (files, marks.concat())
}

/// A file that is too large to be read here is left to Compose.
fn read(app_dir: &Path, path: String) -> (ComposeFile, Vec<Mark>) {
    let text = read_text(&app_dir.join(&path), yaml::LARGEST).unwrap_or_default();
    let parsed = yaml::parse(&text, &path, Tags::Ignored);
    let broken_at = parsed.problems.first().and_then(|problem| problem.line.zip(problem.column));
    let Some(root) = parsed.root else {
        return (ComposeFile { path, broken_at, ..ComposeFile::default() }, Vec::new());
    };
    let name = root.get("name").and_then(Node::text).filter(|name| !name.contains('$')).map(str::to_owned);
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    let places = services.iter().map(|entry| (entry.key.clone(), (entry.place.line, entry.place.column)));
    let places = places.collect();
    let named = services.iter().filter_map(|service| Some((service, service.node.get("env_file")?)));
    let env_files = named.flat_map(|(service, node)| references(&service.key, node)).collect();
    (ComposeFile { path, name, env_files, services: places, broken_at }, Marks::of_compose(&root))
}

/// `env_file` in its forms: text, a list, and items with `path` and `required`.
fn references(service: &str, node: &Node) -> Vec<EnvFileRef> {
    let reference = |path: &str, required| {
        vec![EnvFileRef { service: service.to_owned(), path: path.to_owned(), required }]
    };
    match &node.value {
        Value::Scalar(scalar) => reference(&scalar.text, true),
        Value::List(items) => items.iter().flat_map(|item| references(service, item)).collect(),
        Value::Map(_) => {
            let required = node.get("required").and_then(Node::text) != Some("false");
            node.get("path").and_then(Node::text).map(|path| reference(path, required)).unwrap_or_default()
        }
        Value::Null | Value::Broken => Vec::new(),
    }
}

/// Returns the env files that services name, relative to the app's directory; those that leave it are left out.
pub(super) fn env_files(files: &[ComposeFile], variables: &Vars) -> BTreeSet<String> {
    // Compose resolves paths from the directory of the first file.
    let first = files.first().and_then(|file| file.path.rsplit_once('/'));
    let base = first.map_or("", |(directory, _)| directory);
    let named = files.iter().flat_map(|file| &file.env_files);
    let filled = named.filter_map(|reference| fill_text(&reference.path, variables).ok());
    filled.filter_map(|path| paths::join(base, &path)).collect()
}

/// Contents of the env files that exist and that git does not track.
pub(super) fn read_env_files(
    app_dir: &Path,
    paths: BTreeSet<String>,
    tracked: &BTreeSet<String>,
) -> (BTreeMap<String, String>, Vec<Problem>) {
    let mut contents = BTreeMap::new();
    let mut problems = Vec::new();
    for path in paths.into_iter().filter(|path| !tracked.contains(path)) {
        match read_text(&app_dir.join(&path), super::variables::LARGEST) {
            Ok(text) => drop(contents.insert(path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.push(Problem::in_file(&path, format!("could not be read: {error}"))),
        }
    }
    (contents, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text_as_file(text: &str) -> ComposeFile {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("compose.yml"), text).unwrap();
        read(directory.path(), "compose.yml".to_owned()).0
    }

    #[test]
    fn env_files_are_found_in_every_form() {
        let text = "
name: shop
x-base: &base
  env_file: [.env.production]
services:
  a: { <<: *base, image: x }
  b: { env_file: one.env }
  c:
    env_file: [{ path: two.env, required: false }, 'three ${X:-y}.env']
    ports: !reset []
  d:
  e: { image: x, environment: !override { A: b } }
";
        let file = read_text_as_file(text);
        let listed: Vec<_> =
            file.env_files.iter().map(|f| (f.service.as_str(), f.path.as_str(), f.required)).collect();
        assert_eq!(
            listed,
            [
                ("a", ".env.production", true),
                ("b", "one.env", true),
                ("c", "two.env", false),
                ("c", "three ${X:-y}.env", true)
            ]
        );
        assert_eq!((file.name.as_deref(), file.broken_at), (Some("shop"), None));
        assert_eq!((file.services["b"], file.services.len()), ((7, 3), 5));
    }

    #[test]
    fn a_broken_or_exploding_file_has_the_place_and_nothing_more() {
        let deep = "[".repeat(100_000);
        for text in
            ["services:\n  a: {x: hunter2\n b: 3", "services:\n  a:\n    image: x\n   b: 3\n", deep.as_str()]
        {
            let file = read_text_as_file(text);
            assert!(file.broken_at.is_some() && file.name.is_none(), "{file:?}");
        }
        let path = "compose.yml".to_owned();
        assert_eq!(read_text_as_file(""), ComposeFile { path, ..ComposeFile::default() });
        assert_eq!(read_text_as_file("name: shop-${TIER}").name, None);
    }
}
