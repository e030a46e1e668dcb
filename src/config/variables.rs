//! The variables of the app, layer upon layer (DESIGN section 6): never the job at large.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{Finding, Profile, Variables, Version};
use crate::text::{SHORTEST_SECRET, Secret, password_in};

use super::app::WrittenApp;
use super::envfile;
use super::files::read_text;
use super::git::{self, Git};
use super::interpolate::Vars;
use super::job_values;
use super::problem::Problem;
use super::reader::Problems;
use super::secret_names::looks_secret;
use super::secret_sources::{Fetched, Source, Unfetched};
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
    /// What programs said that were asked for secrets.
    pub(super) fetched: &'a Fetched,
    pub(super) git: Git,
    /// Whether `.env` counts as part of the project: tracked, or no repository says otherwise.
    pub(super) has_env: bool,
    /// Whether values that the job must bring are needed for what is asked.
    pub(super) needs_values: bool,
}

/// The layers, and what was learned while making them.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) variables: Variables,
    /// Where each variable came from.
    pub(super) origins: BTreeMap<String, String>,
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
    File {
        path: String,
        line: u32,
    },
    Key(Place, String),
    Job,
    /// A file with nothing but this value.
    Value(String),
    /// A program of the runner.
    Program,
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
        let said = below.iter().chain(&above);
        layers.origins = said.map(|(name, said)| (name.clone(), said.origin.words())).collect();
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
        let failed = self.add_from_job(&mut layer, problems);
        self.check_secrets(&layer, below, &failed, problems, notices);
        layer
    }

    fn add_file(&self, file: &str, layer: &mut Layer, known: &Vars, problems: &mut Problems) {
        match read_text(&self.app_dir.join(file), LARGEST) {
            Ok(text) => add_text(file, &text, layer, known, problems),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.add(Problem::in_file(file, format!("could not be read: {error}"))),
        }
    }

    /// What the configuration names, and nothing else; an empty value counts as missing. Returns what could not be had.
    fn add_from_job(&self, layer: &mut Layer, problems: &mut Problems) -> BTreeMap<String, Unfetched> {
        let mut failed = BTreeMap::new();
        for name in self.app.required_vars.iter().chain(&self.app.secrets) {
            match self.value_of(name) {
                Ok(Some(said)) => {
                    layer.insert(name.clone(), said);
                }
                Ok(None) => {}
                Err(why) if self.app.secrets.contains(name) => {
                    failed.insert(name.clone(), why);
                }
                Err(why) => problems.add(Problem::of(name, why.why).suggest(why.hint)),
            }
        }
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                layer.insert(name.to_owned(), Said { value: value.to_owned(), origin: Origin::Job });
            }
        };
        add("REGISTRY", self.job.get("REGISTRY").map_or("", String::as_str));
        if self.version.given {
            add("VERSION", &self.version.label);
            add("IMAGE_TAG", &self.version.label);
        }
        failed
    }

    /// The value of a name: the job's, else that of the file or the program that the configuration names.
    fn value_of(&self, name: &str) -> Result<Option<Said>, Unfetched> {
        let hint =
            || format!("pass `{name}` in the job's environment, or `{name}_FILE` with the path of a file");
        let file_name = format!("{name}_FILE");
        // Where the app wants `X_FILE` itself, it is a variable as others.
        let is_own = self.app.required_vars.contains(&file_name) || self.app.secrets.contains(&file_name);
        let brought = if is_own {
            let value = self.job.get(name).filter(|value| !value.is_empty());
            value.map(|value| Said { value: value.clone(), origin: Origin::Job })
        } else {
            let found = job_values::value(self.job, name);
            let found = found.map_err(|why| Unfetched { why: format!("which {why}"), hint: hint() })?;
            found.map(|found| Said {
                value: found.value.reveal().to_owned(),
                origin: match found.from {
                    job_values::From::Variable => Origin::Job,
                    job_values::From::File(path) => Origin::Value(path),
                },
            })
        };
        if brought.is_some() || !self.app.secrets.contains(name) || !self.needs_values {
            return Ok(brought);
        }
        match self.app.secret_sources.get(name) {
            Some(Source::File(path)) => self.read_file(path).map(Some),
            _ => match self.fetched.get(name) {
                Some(Ok(value)) => {
                    Ok(Some(Said { value: value.reveal().to_owned(), origin: Origin::Program }))
                }
                Some(Err(why)) => Err(why.clone()),
                None => Ok(None),
            },
        }
    }

    /// A file that git tracks is no place for a secret.
    fn read_file(&self, path: &str) -> Result<Said, Unfetched> {
        let failed = |why: String, hint: &str| Unfetched { why, hint: hint.to_owned() };
        let is_tracked = self.git == Git::Repository
            && !path.starts_with('/')
            && !git::tracked(self.app_dir, &[path]).is_empty();
        if is_tracked {
            let why = format!("which stands in {path}, a file that git tracks");
            return Err(failed(
                why,
                "take the file out of git, and replace the secret: it is in git's history",
            ));
        }
        match job_values::read(&self.app_dir.join(path)) {
            Ok(value) => {
                Ok(Said { value: value.reveal().to_owned(), origin: Origin::Value(path.to_owned()) })
            }
            Err(why) => Err(failed(
                format!("which stands in {path}, and that {why}"),
                "write the secret into the file, or pass it in the job's environment",
            )),
        }
    }

    /// A secret must be there where it counts, and long enough to be masked.
    fn check_secrets(
        &self,
        above: &Layer,
        below: &Layer,
        failed: &BTreeMap<String, Unfetched>,
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
                Some(_) if !failed.contains_key(name) => {}
                // Nobody has looked where it comes from.
                None if !self.needs_values && self.has_source(name) => {}
                _ => {
                    let why = failed.get(name);
                    let why = why.map_or("which is missing or empty in the job", |why| why.why.as_str());
                    let hint = failed.get(name).map(|why| why.hint.clone());
                    let problem = Problem::at(place, key, format!("names the secret `{name}`, {why}"));
                    self.missing(name, problem, hint, problems, notices);
                }
            }
        }
    }

    fn has_source(&self, name: &str) -> bool {
        self.app.secret_sources.contains_key(name) || self.app.secret_command.is_some()
    }

    fn missing(
        &self,
        name: &str,
        problem: Problem,
        hint: Option<String>,
        problems: &mut Problems,
        notices: &mut Vec<Finding>,
    ) {
        let hint = hint.unwrap_or_else(|| {
            format!("pass `{name}` in the job's environment, as `${{{{ secrets.{name} }}}}` on GitHub")
        });
        let strict = matches!(self.profile, Profile::Production | Profile::Staging);
        if strict && self.needs_values {
            problems.add(problem.suggest(hint));
        } else {
            let message = format!("`{}` {}", problem.key.unwrap_or_default(), problem.message);
            notices.push(Finding::warning("secrets.missing", message, hint));
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
            Self::Key(place, _) => place.to_string(),
            Self::Job => "the job".to_owned(),
            Self::Value(path) => path.clone(),
            Self::Program => "its program".to_owned(),
        }
    }

    fn problem(&self, name: &str) -> Problem {
        let message = "cannot be a variable of a release: programs on the host need their own";
        let problem = match self {
            Self::Key(place, key) => Problem::at(place, key, message),
            Self::Job | Self::Program | Self::Value(_) => Problem::of(name, message),
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
