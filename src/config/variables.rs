//! The variables of the app, layer upon layer (DESIGN section 6): never the job at large.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{Finding, Profile, Variables, Version};
use crate::text::{SHORTEST_SECRET, Secret, password_in};

use super::app::WrittenApp;
use super::envfile;
use super::files::read_text;
use super::interpolate::Vars;
use super::problem::Problem;
use super::reader::Problems;
use super::secret_names::looks_secret;
use super::target::{EnvironmentVars, spellings};
use super::yaml::Place;

/// Largest env file in bytes.
pub(super) const LARGEST: usize = 1024 * 1024;

/// Shortest value of `<ENV>_ENV_FILE` that is kept out of texts whatever its name is, in characters.
const LONG: usize = 12;

/// What the layers are made from.
pub(super) struct Sources<'a> {
    pub(super) app_dir: &'a Path,
    pub(super) environment: &'a str,
    pub(super) profile: Profile,
    pub(super) app: &'a WrittenApp,
    pub(super) version: &'a Version,
    pub(super) job: &'a Vars,
    /// Whether `.env` counts as part of the project: tracked, or no repository says otherwise.
    pub(super) has_env: bool,
    /// Whether values that the job must bring are needed for what is asked.
    pub(super) needs_values: bool,
}

/// The layers, and what was learned while making them.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) variables: Variables,
    pub(super) notices: Vec<Finding>,
    /// `COMPOSE_FILE` and `COMPOSE_PROFILES`: defaults of our keys.
    pub(super) compose_file: Option<String>,
    pub(super) compose_profiles: Option<String>,
}

/// A value and where it was said, for messages.
struct Said {
    value: String,
    origin: Origin,
}

enum Origin {
    File { path: String, line: u32 },
    Key(Place, String),
    Job,
}

type Layer = BTreeMap<String, Said>;

impl Sources<'_> {
    /// Makes all layers; problems are added to the others.
    pub(super) fn layers(&self, problems: &mut Problems) -> Layers {
        let mut layers = Layers::default();
        let mut below = self.below_host(problems);
        let mut above = self.above_host(&below, problems, &mut layers.notices);
        for layer in [&mut below, &mut above] {
            take_reserved(layer, &mut layers, problems);
        }
        let names = below.keys().chain(above.keys());
        let is_secret = |name: &&String| self.app.secrets.contains(*name) || looks_secret(name);
        layers.variables.secret_names = names.filter(is_secret).cloned().collect();
        layers.variables.secret_names.extend(self.app.secrets.iter().cloned());
        let made_of_secrets = self.app.secret_values.iter().map(|(_, name)| name.clone());
        layers.variables.secret_names.extend(made_of_secrets);
        layers.variables.secret_names.extend(self.secret_by_value(&below, &above));
        layers.variables.below_host = values(below);
        layers.variables.above_host = values(above);
        layers
    }

    /// Names that look like no secret, but whose values are some: addresses with a password, and what only
    /// `<ENV>_ENV_FILE` says, which is one secret as a whole. Its short values are words that logs need.
    fn secret_by_value(&self, below: &Layer, above: &Layer) -> BTreeSet<String> {
        let public: BTreeSet<&str> = below.values().map(|said| said.value.as_str()).collect();
        let file = EnvironmentVars::new(self.environment, self.job).get("ENV_FILE").map(|(name, _)| name);
        let is_of_file =
            |said: &Said| matches!(&said.origin, Origin::File { path, .. } if Some(path) == file.as_ref());
        let is_secret = |said: &Said| {
            let is_long = said.value.chars().count() >= LONG && !public.contains(said.value.as_str());
            password_in(&said.value).is_some() || (is_of_file(said) && is_long)
        };
        let layers = below.iter().chain(above);
        layers.filter(|(_, said)| is_secret(said)).map(|(name, _)| name.clone()).collect()
    }

    fn below_host(&self, problems: &mut Problems) -> Layer {
        let mut layer = Layer::new();
        if self.has_env || self.profile == Profile::Dev {
            self.add_file(".env", &mut layer, &Vars::new(), problems);
        }
        for (name, value) in &self.app.env_vars {
            let origin = match self.app.places.get(name) {
                Some((place, key)) => Origin::Key(place.clone(), key.clone()),
                None => Origin::Job,
            };
            layer.insert(name.clone(), Said { value: value.clone(), origin });
        }
        layer
    }

    fn above_host(&self, below: &Layer, problems: &mut Problems, notices: &mut Vec<Finding>) -> Layer {
        let known: Vars = below.iter().map(|(name, said)| (name.clone(), said.value.clone())).collect();
        let mut layer = Layer::new();
        let files = spellings(self.environment).into_iter().map(|name| format!(".env.{name}"));
        if let Some(file) = files.into_iter().find(|file| self.app_dir.join(file).is_file()) {
            self.add_file(&file, &mut layer, &known, problems);
        }
        if let Some((name, text)) = EnvironmentVars::new(self.environment, self.job).get("ENV_FILE") {
            add_text(&name, text, &mut layer, &known, problems);
        }
        self.add_from_job(&mut layer);
        self.check_secrets(&layer, below, problems, notices);
        layer
    }

    fn add_file(&self, file: &str, layer: &mut Layer, known: &Vars, problems: &mut Problems) {
        match read_text(&self.app_dir.join(file), LARGEST) {
            Ok(text) => add_text(file, &text, layer, known, problems),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.add(Problem::in_file(file, format!("could not be read: {error}"))),
        }
    }

    /// What the configuration names, and nothing else; an empty value counts as missing.
    fn add_from_job(&self, layer: &mut Layer) {
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                layer.insert(name.to_owned(), Said { value: value.to_owned(), origin: Origin::Job });
            }
        };
        for name in
            self.app.required_vars.iter().chain(&self.app.secrets).map(String::as_str).chain(["REGISTRY"])
        {
            add(name, self.job.get(name).map_or("", String::as_str));
        }
        if self.version.given {
            add("VERSION", &self.version.label);
            add("IMAGE_TAG", &self.version.label);
        }
    }

    /// A secret must be there where it counts, and long enough to be masked.
    fn check_secrets(
        &self,
        above: &Layer,
        below: &Layer,
        problems: &mut Problems,
        notices: &mut Vec<Finding>,
    ) {
        for name in &self.app.secrets {
            let value = above.get(name).or_else(|| below.get(name)).map(|said| said.value.as_str());
            let Some((place, key)) = self.app.places.get(name) else { continue };
            match value.filter(|value| !value.is_empty()) {
                Some(value) if value.len() < SHORTEST_SECRET => {
                    let message =
                        format!("names `{name}`, whose value is too short to be masked (it is not shown)");
                    problems.add(Problem::at(place, key, message).accepted("4 characters or more"));
                }
                Some(_) => {}
                None => self.missing(name, Problem::at(place, key, ""), problems, notices),
            }
        }
    }

    fn missing(&self, name: &str, mut problem: Problem, problems: &mut Problems, notices: &mut Vec<Finding>) {
        let message = format!("names the secret `{name}`, which is missing or empty in the job");
        let hint =
            format!("pass `{name}` in the job's environment, as `${{{{ secrets.{name} }}}}` on GitHub");
        let strict = matches!(self.profile, Profile::Production | Profile::Staging);
        if strict && self.needs_values {
            problem.message = message;
            problems.add(problem.suggest(hint));
        } else {
            notices.push(Finding::warning(
                "secrets.missing",
                format!("`{}` {message}", problem.key.unwrap_or_default()),
                hint,
            ));
        }
    }
}

fn add_text(source: &str, text: &str, layer: &mut Layer, known: &Vars, problems: &mut Problems) {
    let mut known = known.clone();
    known.extend(layer.iter().map(|(name, said)| (name.clone(), said.value.clone())));
    match envfile::parse(text, &known) {
        Ok(lines) => layer.extend(lines.into_iter().map(|line| {
            let origin = Origin::File { path: source.to_owned(), line: line.line };
            (line.name, Said { value: line.value, origin })
        })),
        Err(error) => {
            let mut problem = Problem::in_file(source, error.what);
            (problem.line, problem.column) = (Some(error.line), Some(1));
            problems.add(problem.accepted("lines NAME=value"));
        }
    }
}

/// Takes out what must not reach Compose: its own settings, Docker's, and what would break every program.
fn take_reserved(layer: &mut Layer, layers: &mut Layers, problems: &mut Problems) {
    layers.compose_file = layer.remove("COMPOSE_FILE").map(|said| said.value).or(layers.compose_file.take());
    layers.compose_profiles =
        layer.remove("COMPOSE_PROFILES").map(|said| said.value).or(layers.compose_profiles.take());
    let is_dropped = |name: &String| {
        (name.starts_with("COMPOSE_") && name != "COMPOSE_PROJECT_NAME") || name.starts_with("DOCKER_")
    };
    let dropped: Vec<String> = layer.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in dropped {
        let place = layer.remove(&name).map(|said| said.origin.words()).unwrap_or_default();
        let message = format!("`{name}` ({place}) is not passed on: it would steer Docker or Compose itself");
        layers.notices.push(Finding::warning("variables.dropped", message, format!("remove `{name}`")));
    }
    for name in ["PATH", "HOME"] {
        if let Some(said) = layer.remove(name) {
            problems.add(said.origin.problem(name));
        }
    }
}

impl Origin {
    fn words(&self) -> String {
        match self {
            Self::File { path, line } => format!("{path}:{line}"),
            Self::Key(place, _) => format!("{}:{}", place.file, place.line),
            Self::Job => "from the job".to_owned(),
        }
    }

    fn problem(&self, name: &str) -> Problem {
        let message = "cannot be a variable of a release: programs on the host need their own";
        let problem = match self {
            Self::Key(place, key) => Problem::at(place, key, message),
            Self::Job => Problem::of(name, message),
            Self::File { path, line } => {
                let mut problem = Problem::in_file(path, message);
                (problem.line, problem.column, problem.key) = (Some(*line), Some(1), Some(name.to_owned()));
                problem
            }
        };
        problem.suggest(format!("call it APP_{name}"))
    }
}

fn values(layer: Layer) -> BTreeMap<String, String> {
    layer.into_iter().map(|(name, said)| (name, said.value)).collect()
}

/// Returns every value that must not be printed: of secret names in all layers and in the env files.
pub(super) fn secrets_of(variables: &Variables, app: &WrittenApp, job: &Vars) -> Vec<Secret> {
    let named = |name: &String| variables.secret_names.contains(name) || looks_secret(name);
    let layers = variables.below_host.iter().chain(&variables.above_host);
    let mut found: BTreeSet<String> =
        layers.filter(|(name, _)| named(name)).map(|(_, value)| value.clone()).collect();
    found.extend(app.secret_values.iter().filter_map(|(part, _)| job.get(part)).cloned());
    for text in variables.env_files.values() {
        let lines = envfile::parse(text, &Vars::new()).unwrap_or_default();
        found.extend(lines.into_iter().filter(|line| named(&line.name)).map(|line| line.value));
    }
    let is_masked = |value: &String| value.len() >= SHORTEST_SECRET && value != "true" && value != "false";
    found.into_iter().filter(is_masked).map(Secret::new).collect()
}
