//! Where the values of `secrets` come from besides the job: files and programs of the runner.
//!
//! `secrets` lists names, and maps `{ name, file }` and `{ name, command, timeout }`; `secret_command` is the program for
//! all names that say nothing themselves. Here it is only read, and decided which programs are to be asked:
//! [`commands`]. Whoever calls this room runs them, and passes what they say in [`super::Inputs::fetched`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::interpolate::{is_variable_name, names};
use super::job_values;
use super::overrides::read_app;
use super::paths;
use super::reader::{Field, Problems, Section, is_bare};
use super::secret_names::looks_secret;
use super::select::Project;
use super::yaml::{Scalar, Style, Value};
use super::{Inputs, Verb};
use crate::text::Secret;

/// Keys of an item of `secrets` that is a map.
pub(super) const KEYS: [&str; 4] = ["name", "command", "timeout", "file"];
/// Keys of `secret_command` as a map.
pub(super) const COMMAND_KEYS: [&str; 2] = ["command", "timeout"];
/// How long a program may take where nothing is written, and the least and most that can be.
pub(super) const USUAL: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(300);
const ARGV: &str = "program and arguments, such as [op, read, \"op://{environment}/{name}/password\"]";

/// Where one value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file, from the app's directory.
    File(String),
    /// What a program of the runner prints.
    Command(Program),
}

/// A program with its arguments, placeholders in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    pub(super) timeout: Duration,
}

/// A program of the runner that is to be asked for one secret: its standard output is the value. It runs without a
/// shell, with the variables of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretCommand {
    /// Name of the secret.
    pub name: String,
    /// Program and arguments, placeholders replaced.
    pub argv: Vec<String>,
    /// How long it may take, 1 s to 5 min.
    pub timeout: Duration,
    /// Where it runs: the app's directory.
    pub directory: PathBuf,
}

/// Why a program did not say a secret; both parts are shown, so neither holds one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfetched {
    /// Words that follow "names the secret `X`, ".
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// What programs said, by the name of the secret.
pub type Fetched = BTreeMap<String, Result<Secret, Unfetched>>;

/// Returns the programs that must be asked before [`super::resolve`]: for secrets that neither the job nor a file
/// brings, and only for verbs that need their values. What is wrong with the configuration is for `resolve` to say.
pub fn commands(inputs: &Inputs) -> Vec<SecretCommand> {
    if !matches!(inputs.verb, Verb::Changes | Verb::Validates) {
        return Vec::new();
    }
    wanted(inputs).unwrap_or_default()
}

fn wanted(inputs: &Inputs) -> Option<Vec<SecretCommand>> {
    let mut problems = Problems::default();
    let project = Project::load(inputs, &mut problems).ok()?;
    let (environment, entry) = project.choose_environment(inputs, &mut problems)?;
    let app = project.choose_app(inputs, &mut problems)?;
    let name = app.key.parse().ok()?;
    let written = read_app(inputs, &project, Some(app), entry, Some(&name), &mut problems)?;
    let path = written.path.as_ref().map_or(".", |(path, _)| path);
    let directory = project.root.join(path).canonicalize().ok()?;
    let missing = |name: &&String| !matches!(job_values::value(&inputs.job, name), Ok(Some(_)) | Err(_));
    let command = |secret: &String| {
        let program = match written.secret_sources.get(secret) {
            Some(Source::Command(program)) => program,
            Some(Source::File(_)) => return None,
            None => written.secret_command.as_ref()?,
        };
        let filled = |word: &String| {
            let places = [
                ("{name}", secret.as_str()),
                ("{environment}", environment.as_str()),
                ("{app}", name.as_str()),
            ];
            places.iter().fold(word.clone(), |word, (place, value)| word.replace(place, value))
        };
        let argv = program.argv.iter().map(filled).collect();
        let directory = directory.clone();
        Some(SecretCommand { name: secret.clone(), argv, timeout: program.timeout, directory })
    };
    Some(written.secrets.iter().filter(missing).filter_map(command).collect())
}

/// One item of `secrets`: a name, or a map with a name and a source.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) source: Option<Source>,
}

/// Reads one item of `secrets`. Whatever else stands there could be the secret itself, so it is not shown.
pub(super) fn read_item(field: &Field<'_>, problems: &mut Problems) -> Option<Item> {
    if !matches!(field.node.value, Value::Map(_)) {
        return Some(Item { name: read_name(field, problems)?, source: None });
    }
    let section = field.section(problems)?;
    section.only(&KEYS, &[], problems);
    let Some(name) = section.get("name") else {
        problems.add(
            field
                .problem("has no `name`")
                .accepted("{ name: NAME, command: […] }, { name: NAME, file: PATH }"),
        );
        return None;
    };
    let name = read_name(&name, problems);
    let source = match (section.get("command"), section.get("file")) {
        (Some(command), None) => read_program(&command, &section, problems).map(Source::Command),
        (None, Some(file)) => {
            let wanted = "a file, absolute or from the app's directory";
            let is_path = |path: &str| path.starts_with('/') || paths::is_relative(path);
            file.text_that(wanted, is_path, problems).map(Source::File)
        }
        (None, None) => None,
        (Some(_), Some(_)) => {
            problems.add(field.problem("has both `command` and `file`").accepted("one of the two"));
            None
        }
    };
    if let (Some(timeout), None) = (section.get("timeout"), section.get("command")) {
        problems.add(timeout.problem("is only for a `command`"));
    }
    Some(Item { name: name?, source })
}

fn read_name(field: &Field<'_>, problems: &mut Problems) -> Option<String> {
    match field.node.text().filter(|name| is_variable_name(name) && !is_bare(field.node)) {
        Some(name) => Some(name.to_owned()),
        None => {
            let problem = field.problem("is not the name of a variable (it is not shown)");
            problems
                .add(problem.accepted("names; the values come from the job, from a file or from a program"));
            None
        }
    }
}

/// Reads `secret_command`: a list, or a map with `command` and `timeout`.
pub(super) fn read_secret_command(field: &Field<'_>, problems: &mut Problems) -> Option<Program> {
    if matches!(field.node.value, Value::List(_)) {
        return Some(Program { argv: read_argv(field, problems)?, timeout: USUAL });
    }
    if !matches!(field.node.value, Value::Map(_)) {
        return field.wrong(ARGV, problems);
    }
    let section = field.section(problems)?;
    section.only(&COMMAND_KEYS, &[], problems);
    match section.get("command") {
        Some(command) => read_program(&command, &section, problems),
        None => {
            problems.add(field.problem("has no `command`").accepted(ARGV));
            None
        }
    }
}

fn read_program(command: &Field<'_>, section: &Section<'_>, problems: &mut Problems) -> Option<Program> {
    let argv = read_argv(command, problems);
    let timeout = section.get("timeout").map(|field| field.duration(LEAST, MOST, problems));
    Some(Program { argv: argv?, timeout: timeout.unwrap_or(Some(USUAL))? })
}

/// Arguments are seen by every user of the machine: none of them may be made of a secret.
fn read_argv(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let items = field.items(&format!("a list: {ARGV}"), problems)?;
    let mut argv = Vec::new();
    for item in &items {
        let secret = match &item.node.value {
            Value::Scalar(Scalar { style: Style::Filled(written), .. }) => {
                names(written).into_iter().find(|name| looks_secret(name))
            }
            _ => None,
        };
        if let Some(name) = secret {
            let message = format!(
                "puts `{name}` into the arguments of a program, which every user of the runner can see"
            );
            let hint = "leave it out: the program has the variables of the job";
            problems.add(item.problem(message).suggest(hint));
            return None;
        }
        argv.push(match &item.node.value {
            Value::Scalar(scalar) => scalar.text.clone(),
            _ => item.wrong(ARGV, problems)?,
        });
    }
    if argv.first().is_none_or(String::is_empty) {
        return field.wrong(ARGV, problems);
    }
    Some(argv)
}
