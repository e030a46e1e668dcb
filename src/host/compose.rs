//! The one wrapper around the Compose CLI: finds it, words its calls, reads its model.
//!
//! Enter by [`Compose::detect`], once for each process. Verbs that change something are worded by
//! [`Compose::command`] and run by those who know why; the model is read by [`Compose::config`].
//! Tried with 2.26.1:
//! - `config` fails when an `env_file` is missing (unless `--no-interpolate` is given), so they are made before it;
//!   it merges them into `environment`, and takes `$x` inside them for a variable, too.
//! - Its JSON leaves out services of inactive profiles, and what only they use.
//! - It doubles every `$`, because it is meant to be read by Compose again.
//! - The long form of `env_file` (`{path, required}`) is an error in 2.26.
//! - YAML errors name no file, and a line that is one too small: see `ComposeFile::broken_at`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::distribution::Distribution;
use crate::host::process::{self, Command, ProcessError, Stream};
use crate::model::compose::ComposeModel;
use crate::model::{ErrorKind, FailureReport};
use crate::text::{Redactor, harmless};

/// How the plugin is called.
const PLUGIN: [&str; 2] = ["docker", "compose"];
/// Longest wait for `version`; a program that hangs counts as one that does not start.
const DETECTION: Duration = Duration::from_secs(15);
/// Longest wait for `config`.
const CONFIG: Duration = Duration::from_secs(60);
/// Longest part of Compose's words that is shown, in characters.
const LONGEST_SAYING: usize = 2000;

/// Why Compose cannot be used, or what it says of the compose file.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Neither `docker` nor `docker-compose` is there.
    #[error("Docker is not installed: there is no `docker` on PATH")]
    NoDocker {
        /// How to install it.
        hint: String,
    },
    /// There is neither a plugin nor a standalone program that starts.
    #[error("Docker Compose is not installed: neither `docker compose` nor `docker-compose` starts{}", tail(.said))]
    NotInstalled {
        /// What the plugin said when it was tried.
        said: String,
        /// How to install it.
        hint: String,
    },
    /// Only v1 is there.
    #[error("`{program}` is version {found}, and Compose 2.0 or newer is needed")]
    VersionOne {
        /// The words by which it is called.
        program: String,
        /// Its version.
        found: String,
        /// How to install v2.
        hint: String,
    },
    /// A compose file is not there. Words of R003-27.
    #[error("Compose file not found: {file}")]
    FileMissing {
        /// As it was given.
        file: String,
    },
    /// A file of a service's `env_file` is not there.
    #[error("env file not found: {file}")]
    EnvFileMissing {
        /// As Compose names it.
        file: String,
    },
    /// Compose refuses what the files say.
    #[error("the compose model is invalid: {said}")]
    Invalid {
        /// Its words, made harmless, secrets redacted.
        said: String,
    },
    /// It printed something that is not a model.
    #[error("`docker compose config` printed something that is not a compose model")]
    Garbage,
    /// It could not be run, or took too long.
    #[error("could not ask `docker compose` for the model")]
    Process {
        /// Why.
        source: ProcessError,
    },
}

fn tail(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

impl ComposeError {
    /// Returns the error of a file that stops being YAML at this line and column; nothing of it is quoted.
    pub fn not_yaml(file: &str, (line, column): (u32, u32)) -> Self {
        Self::Invalid { said: format!("{file}:{line}:{column} is not readable as YAML") }
    }

    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let (kind, code, hint) = match self {
            Self::NoDocker { hint } => (ErrorKind::DockerError, "docker.installed", hint.as_str()),
            Self::NotInstalled { hint, .. } | Self::VersionOne { hint, .. } => {
                (ErrorKind::DockerError, "compose.installed", hint.as_str())
            }
            Self::FileMissing { .. } => (
                ErrorKind::ValidationError,
                "compose.file",
                "create the file, or name the right one in `compose_file:` of deployments.yaml",
            ),
            Self::EnvFileMissing { .. } => (
                ErrorKind::ValidationError,
                "files.required",
                "create it from its example (`cp .env.example .env`), or take it out of `env_file:`",
            ),
            // `${NAME:?…}`: the file is right, and something is missing beside it.
            Self::Invalid { said } if said.contains("required variable ") => (
                ErrorKind::ConfigurationError,
                "compose.model",
                "give the variable a value: in the env file of the environment, or name it under `secrets:` in deployments.yaml \
                 and set it in the environment of the job",
            ),
            Self::Invalid { .. } => (
                ErrorKind::ConfigurationError,
                "compose.model",
                "correct the compose file until `docker compose config` accepts it",
            ),
            Self::Garbage => (
                ErrorKind::DockerError,
                "compose.model",
                "run `docker compose config --format json` in the app's directory and look at what it prints",
            ),
            Self::Process { .. } => (
                ErrorKind::DockerError,
                "compose.model",
                "check that `docker compose version` answers on the host",
            ),
        };
        FailureReport::new(kind, code, self.to_string()).hint(hint)
    }
}

/// What every call says before its verb.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Project name.
    pub project: &'a str,
    /// Directory from which relative paths of the files are meant.
    pub project_directory: &'a Path,
    /// Compose files in order, absolute or relative to the project directory; never empty.
    pub files: &'a [PathBuf],
    /// File of variables; absent: none. Compose would read `.env` by itself, so then it is given an empty one.
    pub env_file: Option<&'a Path>,
    /// Active profiles.
    pub profiles: &'a [String],
}

/// The Compose CLI of this machine. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compose {
    words: Vec<String>,
    version: String,
}

impl Compose {
    /// Finds Compose: the plugin, else the standalone program (C05). One call of some 50 ms where the plugin is.
    ///
    /// # Errors
    /// Neither starts, or only v1 is there; nothing was touched.
    pub async fn detect() -> Result<Self, ComposeError> {
        #[cfg(test)]
        if super::simulated::world().is_some() {
            return Ok(Self::supposed());
        }
        Detector { path: None, deadline: DETECTION }.detect().await
    }

    /// Returns Compose as it nearly always is: to be asked while [`Compose::detect`] still looks, which takes as long as an
    /// answer. Its version is not known.
    pub fn supposed() -> Self {
        Self { words: words(&PLUGIN), version: String::new() }
    }

    /// Returns whether the other one is the same program.
    pub fn is_as(&self, other: &Self) -> bool {
        self.words == other.words
    }

    /// Returns the version, such as `2.26.1-4`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the words by which it is called: `docker compose` or `docker-compose`.
    pub fn program(&self) -> String {
        self.words.join(" ")
    }

    /// Returns the command up to the verb, which the caller adds: `.args(["up", "-d"])`.
    pub fn command(&self, call: &Call<'_>) -> Command {
        let mut command = Command::new(&self.words[0])
            .args(&self.words[1..])
            .args(["-p", call.project])
            .arg("--project-directory")
            .arg(call.project_directory)
            .directory(call.project_directory);
        for file in call.files {
            command = command.arg("-f").arg(call.project_directory.join(file));
        }
        command = command.arg("--env-file").arg(call.env_file.unwrap_or(Path::new("/dev/null")));
        call.profiles.iter().fold(command, |command, profile| command.args(["--profile", profile]))
    }

    /// Reads the model of the active profiles. Changes nothing.
    ///
    /// # Errors
    /// A file is missing, or Compose refuses the model; its words are harmless, and what `redactor` knows is redacted.
    pub async fn config(&self, call: &Call<'_>, redactor: &Redactor) -> Result<ComposeModel, ComposeError> {
        #[cfg(test)]
        if super::simulated::world().is_some() {
            return super::simulated::model(call);
        }
        for file in call.files {
            if !call.project_directory.join(file).is_file() {
                return Err(ComposeError::FileMissing { file: file.display().to_string() });
            }
        }
        let command = self.command(call).args(["config", "--format", "json"]).deadline(CONFIG);
        let mut said = Vec::new();
        let finished = process::run_unchecked(&command, |stream, line| {
            if stream == Stream::Err {
                said.push(line.to_owned());
            }
        })
        .await
        .map_err(|source| ComposeError::Process { source })?;
        if !finished.status.success() {
            return Err(refused(call, &said, redactor));
        }
        let mut model = ComposeModel::from_json(&finished.stdout.replace("$$", "$"))
            .map_err(|_| ComposeError::Garbage)?;
        model.unset_variables = said.iter().filter_map(|line| unset_variable(line)).collect();
        Ok(model)
    }
}

/// Looks for the programs; tests give it a PATH of their own.
struct Detector {
    path: Option<String>,
    deadline: Duration,
}

impl Detector {
    async fn detect(&self) -> Result<Compose, ComposeError> {
        let plugin = self.ask(&PLUGIN).await;
        if let Ok(version) = &plugin
            && is_two_or_newer(version)
        {
            return Ok(Compose { words: words(&PLUGIN), version: version.clone() });
        }
        match self.ask(&["docker-compose"]).await {
            Ok(version) if is_two_or_newer(&version) => {
                Ok(Compose { words: words(&["docker-compose"]), version })
            }
            Ok(found) => Err(version_one("docker-compose", found)),
            Err(standalone) => match plugin {
                Ok(found) if is_version(&found) => Err(version_one(&PLUGIN.join(" "), found)),
                plugin => Err(not_installed(plugin.err(), &standalone)),
            },
        }
    }

    /// Returns the version that a program says.
    async fn ask(&self, program: &[&str]) -> Result<String, ProcessError> {
        let mut command =
            Command::new(program[0]).args(&program[1..]).args(["version", "--short"]).deadline(self.deadline);
        if let Some(path) = &self.path {
            command = command.env("PATH", path.as_str());
        }
        let said = process::output(&command).await?;
        // Old ones answer in a sentence: `docker-compose version 1.29.2, build 5becea4c`.
        let last = said.lines().last().unwrap_or_default().trim();
        let mut words = last.split([' ', ',']).map(|word| word.trim_start_matches('v'));
        Ok(harmless(words.find(|word| is_version(word)).unwrap_or(last)))
    }
}

fn words(of: &[&str]) -> Vec<String> {
    of.iter().map(|word| (*word).to_owned()).collect()
}

/// A program that prints no version at all is not Compose.
fn is_two_or_newer(version: &str) -> bool {
    major(version).is_some_and(|major| major >= 2)
}

fn is_version(word: &str) -> bool {
    major(word).is_some()
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn version_one(program: &str, found: String) -> ComposeError {
    let hint = Distribution::of_this_machine().install_compose();
    ComposeError::VersionOne { program: program.to_owned(), found, hint }
}

fn not_installed(plugin: Option<ProcessError>, standalone: &ProcessError) -> ComposeError {
    let distribution = Distribution::of_this_machine();
    match (&plugin, standalone) {
        (Some(ProcessError::Missing { .. }), ProcessError::Missing { .. }) => {
            ComposeError::NoDocker { hint: distribution.install_docker() }
        }
        _ => {
            let said = plugin.as_ref().map(why_not).unwrap_or_default();
            ComposeError::NotInstalled { said, hint: distribution.install_compose() }
        }
    }
}

/// The docker CLI answers an unknown plugin with its whole help; one line of that says something.
fn why_not(cause: &ProcessError) -> String {
    let ProcessError::Failed { finished, .. } = cause else { return harmless(&cause.to_string()) };
    let lines = &finished.last_lines;
    let telling = |line: &&String| line.contains("compose") && !line.contains("docs.docker.com");
    let line = lines.iter().find(telling).or_else(|| lines.first());
    line.map(|line| harmless(line.trim())).unwrap_or_default()
}

/// `… msg="The \"NAME\" variable is not set. Defaulting to a blank string."`
fn unset_variable(line: &str) -> Option<String> {
    let before = line.split_once(" variable is not set")?.0;
    let name = before.rsplit_once("The ")?.1.trim_matches(['\\', '"']);
    Some(harmless(name))
}

/// Reads what Compose says on stderr when it refuses.
fn refused(call: &Call<'_>, said: &[String], redactor: &Redactor) -> ComposeError {
    let warnings = |line: &&String| !(line.starts_with("time=") && line.contains("level=warning"));
    let lines: Vec<&str> = said.iter().filter(warnings).map(|line| line.trim()).collect();
    let text = lines.join(" ");
    if let Some(file) = text.strip_prefix("env file ").and_then(|rest| rest.split_once(" not found")) {
        return ComposeError::EnvFileMissing { file: harmless(&redactor.redact(file.0)) };
    }
    // The bundle lies where nobody should have to look for it: files are named as the project names them.
    let text = text.replace(&format!("{}/", call.project_directory.display()), "");
    let names: Vec<String> = call.files.iter().map(|file| shown(call, file)).collect();
    let names_one = names.iter().any(|name| text.contains(name));
    let told = if names_one { text } else { format!("{}: {text}", names.join(", ")) };
    let shown: String = harmless(&redactor.redact(&told)).chars().take(LONGEST_SAYING).collect();
    ComposeError::Invalid { said: shown }
}

/// A compose file as the project names it.
fn shown(call: &Call<'_>, file: &Path) -> String {
    file.strip_prefix(call.project_directory).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Directory of fake programs, to be the whole PATH.
    fn programs(of: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, script) in of {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    async fn detect(of: &[(&str, &str)]) -> Result<Compose, ComposeError> {
        let directory = programs(of);
        let path = Some(directory.path().to_string_lossy().into_owned());
        Detector { path, deadline: Duration::from_millis(500) }.detect().await
    }

    #[tokio::test]
    async fn the_plugin_comes_first() {
        let found = detect(&[
            ("docker", "[ \"$*\" = 'compose version --short' ] && echo 2.26.1-4"),
            ("docker-compose", "echo 2.30.0"),
        ])
        .await
        .unwrap();
        assert_eq!((found.program().as_str(), found.version()), ("docker compose", "2.26.1-4"));
    }

    #[tokio::test]
    async fn the_standalone_program_serves_when_the_plugin_is_missing_or_hangs() {
        for docker in
            ["echo \"docker: 'compose' is not a docker command.\" >&2; exit 1", "exec /bin/sleep 600"]
        {
            let found = detect(&[("docker", docker), ("docker-compose", "echo v2.30.0")]).await.unwrap();
            assert_eq!((found.program().as_str(), found.version()), ("docker-compose", "2.30.0"));
        }
    }

    #[tokio::test]
    async fn version_one_is_refused_with_an_install_line() {
        let refused = detect(&[("docker", "exit 125"), ("docker-compose", "echo 1.29.2")]).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`docker-compose` is version 1.29.2, and Compose 2.0 or newer is needed"
        );
        let sentence = "echo 'docker-compose version 1.25.0, build unknown'";
        let refused = detect(&[("docker", "exit 125"), ("docker-compose", sentence)]).await.unwrap_err();
        assert!(refused.to_string().starts_with("`docker-compose` is version 1.25.0, and"), "{refused}");
        let refused = detect(&[("docker", "echo v1.9.0")]).await.unwrap_err();
        assert!(refused.to_string().starts_with("`docker compose` is version 1.9.0, and"), "{refused}");
        assert!(refused.report().hint.unwrap().contains("ompose"));
    }

    #[tokio::test]
    async fn what_is_missing_is_told_apart() {
        let none = detect(&[]).await.unwrap_err();
        assert!(matches!(none, ComposeError::NoDocker { .. }), "{none}");
        let no_compose =
            detect(&[("docker", "echo 'unknown flag: --short' >&2; exit 125")]).await.unwrap_err();
        assert_eq!(
            no_compose.to_string(),
            "Docker Compose is not installed: neither `docker compose` nor `docker-compose` starts (unknown flag: --short)"
        );
    }

    #[test]
    fn a_call_is_worded_with_project_directory_files_variables_and_profiles() {
        let compose = Compose { words: words(&["docker", "compose"]), version: "2.26.1".to_owned() };
        let call = Call {
            project: "shop",
            project_directory: Path::new("/srv/shop/app"),
            files: &["compose.yml".into(), "/srv/shop/override.yml".into()],
            env_file: Some(Path::new("/srv/shop/env")),
            profiles: &["full".to_owned()],
        };
        assert_eq!(
            compose.command(&call).args(["up", "-d"]).shown(),
            "docker compose -p shop --project-directory /srv/shop/app -f /srv/shop/app/compose.yml \
             -f /srv/shop/override.yml --env-file /srv/shop/env --profile full up -d"
        );
    }

    #[test]
    fn the_names_of_unset_variables_are_read_from_the_warnings() {
        let line = r#"time="2026-11-21T06:44:03Z" level=warning msg="The \"UNSET_A\" variable is not set. Defaulting to a blank string.""#;
        assert_eq!(unset_variable(line).as_deref(), Some("UNSET_A"));
        assert_eq!(unset_variable("something else"), None);
    }

    fn real() -> bool {
        let there = process::is_installed("docker");
        if !there {
            assert!(!std::env::var("FFE_TEST_REQUIRE").unwrap_or_default().contains("docker"));
            eprintln!("SKIPPED: docker is not installed");
        }
        there
    }

    async fn config(files: &[(&str, &str)], variables: &str) -> Result<ComposeModel, ComposeError> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        std::fs::write(directory.path().join("variables"), variables).unwrap();
        let call = Call {
            project: "p",
            project_directory: directory.path(),
            files: &["compose.yml".into()],
            env_file: Some(&directory.path().join("variables")),
            profiles: &[],
        };
        Compose::detect().await.unwrap().config(&call, &Redactor::new(["hunter2"])).await
    }

    #[tokio::test]
    async fn the_model_is_what_the_real_compose_says() {
        if !real() {
            return;
        }
        let model = config(
            &[
                (
                    "compose.yml",
                    "services:\n  a: {image: 'x:${TAG}', env_file: e.env, environment: {Q: '${MISSING}', P: '${PRICE}'}}\n  b: {image: y, profiles: [full]}",
                ),
                ("e.env", "FROM_FILE=1\n"),
            ],
            "TAG=7\nPRICE=\"5\\$ \\\"now\\\"\"\n",
        )
        .await
        .unwrap();
        let a = &model.services["a"];
        assert_eq!(a.image.as_deref(), Some("x:7"));
        assert_eq!(a.environment["FROM_FILE"].as_deref(), Some("1"));
        assert_eq!(a.environment["P"].as_deref(), Some("5$ \"now\""));
        assert_eq!(model.services.len(), 1);
        assert_eq!(model.unset_variables, ["MISSING".to_owned()].into());
    }

    #[test]
    fn a_variable_that_must_be_set_is_no_mistake_of_the_file() {
        let hint = |said: &str| ComposeError::Invalid { said: said.to_owned() }.report().hint.unwrap();
        let said =
            "error while interpolating services.a.image: required variable TAG is missing a value: set it";
        assert!(hint(said).starts_with("give the variable a value"));
        assert!(hint("services.a.ports must be a list").starts_with("correct the compose file"));
    }

    #[tokio::test]
    async fn what_compose_refuses_is_told_without_secrets() {
        if !real() {
            return;
        }
        for (text, wanted) in [
            ("services:\n  a:\n    image: x\n   b: 3\n", "compose.yml: yaml: line "),
            ("services:\n  a: {image: x, imag: 3}\n", "Additional property imag is not allowed"),
            ("services:\n  a: {image: x, ports: [hunter2]}\n", "Invalid containerPort: ***"),
            ("services:\n  a: {image: '${X:?set it}'}\n", "required variable X is missing a value: set it"),
            ("", "empty compose file"),
            ("services:\n  a: {image: x, env_file: none.env}\n", "env file not found: /"),
        ] {
            let error = config(&[("compose.yml", text)], "").await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?} → {error}");
        }
        let missing = config(&[], "").await.unwrap_err();
        assert_eq!(missing.to_string(), "Compose file not found: compose.yml");
    }
}
