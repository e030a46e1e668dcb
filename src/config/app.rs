//! Reader of one app: the keys of an entry of `deployments`, after overlays, overrides and filling.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::model::{
    AppKind, ArchiveFormat, BackupSpec, BuildMode, HealthSpec, Hook, Mark, Requirements, Retention,
    SetupDirectory, SetupSpec,
};

use super::checks;
use super::hooks::{self, TestSpec};
use super::interpolate::{Vars, is_variable_name, names};
use super::marks::Marks;
use super::paths::{self, RELATIVE};
use super::problem::Problem;
use super::reader::{Field, Problems, Section};
use super::rules;
use super::secret_names::looks_secret;
use super::secret_sources::{Item, Program, Source, read_item, read_secret_command};
use super::yaml::{Node, Place, Scalar, Style, Value};

/// Types of apps that `list` knows; those beyond [`AppKind`] are not built yet.
pub(super) const TYPES: [&str; 6] =
    ["docker-compose", "docker", "swarm", "kubernetes", "terraform", "ansible"];
const BUILT: [(&str, AppKind); 1] = [("docker-compose", AppKind::DockerCompose)];

const KEYS: [&str; 25] = [
    "type",
    "path",
    "compose_file",
    "profiles",
    "env_vars",
    "secrets",
    "secret_command",
    "required_vars",
    "required_files",
    "required_services",
    "one_shot",
    "build",
    "bundle",
    "bundle_exclude",
    "shared",
    "setup",
    "requirements",
    "backup",
    "health",
    "rollback",
    "keep_releases",
    "rules",
    "url",
    "test",
    "hooks",
];
const LATER: [&str; 1] = ["notify"];

/// How many releases or archives may be kept.
pub(super) const KEEP: RangeInclusive<u32> = 1..=1000;
/// How many days an archive may be kept.
pub(super) const DAYS: RangeInclusive<u32> = 1..=3650;

/// What is written for an app. Values that were not written are empty or absent.
#[derive(Default)]
pub(super) struct WrittenApp {
    pub(super) kind: Option<AppKind>,
    pub(super) path: Option<(String, Place)>,
    pub(super) compose_file: Option<(Vec<String>, Place)>,
    pub(super) profiles: Option<Vec<String>>,
    pub(super) project: Option<String>,
    pub(super) env_vars: Vars,
    /// Where each of [`WrittenApp::env_vars`] and [`WrittenApp::secrets`] stands.
    pub(super) places: BTreeMap<String, (Place, String)>,
    pub(super) secrets: BTreeSet<String>,
    /// Where values of secrets come from that say so themselves, and the program for all others.
    pub(super) secret_sources: BTreeMap<String, Source>,
    pub(super) secret_command: Option<Program>,
    /// Secret-looking variables of the job that stand in a value, and the variable that has it.
    pub(super) secret_values: Vec<(String, String)>,
    pub(super) required_vars: BTreeSet<String>,
    pub(super) required_files: Vec<String>,
    pub(super) required_services: Vec<String>,
    pub(super) one_shot: Vec<String>,
    pub(super) build: BuildMode,
    pub(super) bundle: Vec<String>,
    pub(super) bundle_exclude: Vec<String>,
    pub(super) shared: Vec<String>,
    pub(super) setup: SetupSpec,
    pub(super) requirements: Requirements,
    pub(super) backup: BackupSpec,
    pub(super) health: HealthSpec,
    pub(super) automatic_rollback: Option<bool>,
    pub(super) keep_releases: Option<u32>,
    /// Rules that do not count for this app, by id, with the reason.
    pub(super) silenced: BTreeMap<String, String>,
    pub(super) url: Option<String>,
    pub(super) test: Option<TestSpec>,
    pub(super) hooks: Vec<Hook>,
    /// Where it says what the host is to look for.
    pub(super) marks: Vec<Mark>,
}

/// Returns the type of an app when it is one that is built; reports it otherwise. The other keys of one without a type, or
/// with none that there is, are read as those of a Compose app, to report them too.
pub(super) fn read_kind(section: &Section<'_>, problems: &mut Problems) -> Option<AppKind> {
    let Some(field) = section.get("type") else { return Some(AppKind::DockerCompose) };
    if !field.node.text().is_some_and(|kind| TYPES.contains(&kind)) {
        // In the words of whoever looks at all apps: the same problem is told once.
        let _known = field.word(&TYPES.map(|name| (name, ())), &[], problems);
        return Some(AppKind::DockerCompose);
    }
    field.word(&BUILT, &TYPES[1..], problems)
}

/// Reads all keys of an app; `project` is accepted because the environment's overrides are merged in already.
pub(super) fn read(node: &Node, key: &str, problems: &mut Problems) -> WrittenApp {
    let Some(section) = Section::of(node, key, problems) else { return WrittenApp::default() };
    let kind = read_kind(&section, problems);
    if kind.is_none() {
        return WrittenApp::default();
    }
    let known: Vec<&str> = KEYS.into_iter().chain(section.get("project").map(|_| "project")).collect();
    section.only(&known, &LATER, problems);
    let mut app = WrittenApp { kind, marks: Marks::of_app(&section), ..WrittenApp::default() };
    read_files(&section, &mut app, problems);
    read_variables(&section, &mut app, problems);
    read_services(&section, &mut app, problems);
    if let Some(field) = section.get("setup") {
        app.setup = read_setup(&field, problems).unwrap_or_default();
    }
    if let Some(field) = section.get("requirements") {
        app.requirements = read_requirements(&field, problems).unwrap_or_default();
    }
    if let Some(field) = section.get("backup") {
        app.backup = read_backup(&field, problems).unwrap_or_default();
    }
    if let Some(field) = section.get("health") {
        app.health = checks::read(&field, problems).unwrap_or_default();
    }
    app.test = section.get("test").and_then(|field| hooks::read_test(&field, problems));
    app.hooks = section.get("hooks").map(|field| hooks::read(&field, problems)).unwrap_or_default();
    app.automatic_rollback = section.get("rollback").and_then(|field| read_rollback(&field, problems));
    app.keep_releases = section.get("keep_releases").and_then(|field| field.integer(KEEP, problems));
    app.silenced = section.get("rules").map(|field| rules::read(&field, problems)).unwrap_or_default();
    app.url = section
        .get("url")
        .and_then(|field| field.text_that("an http or https address", is_address, problems));
    app
}

fn read_files(section: &Section<'_>, app: &mut WrittenApp, problems: &mut Problems) {
    if let Some(field) = section.get("path") {
        app.path = field.text(problems).map(|path| (path, field.node.place.clone()));
    }
    if let Some(field) = section.get("compose_file") {
        let files = one_or_many(&field, problems);
        app.compose_file = files.map(|files| (files, field.node.place.clone()));
    }
    let relative = |key: &str, problems: &mut Problems| {
        let list = section.get(key)?.texts(RELATIVE, paths::is_relative, problems)?;
        Some(list.iter().map(|path| paths::normal(path)).collect::<Vec<_>>())
    };
    app.required_files = relative("required_files", problems).unwrap_or_default();
    app.shared = relative("shared", problems).unwrap_or_default();
    app.bundle = relative("bundle", problems).unwrap_or_default();
    app.bundle_exclude = relative("bundle_exclude", problems).unwrap_or_default();
}

/// A path, or a list of them that is not empty.
fn one_or_many(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    if !matches!(field.node.value, Value::List(_)) {
        let file = field.text_that(RELATIVE, paths::is_relative, problems)?;
        return Some(vec![paths::normal(&file)]);
    }
    let files = field.texts(RELATIVE, paths::is_relative, problems)?;
    if files.is_empty() {
        return field.wrong("a path or a list of paths", problems);
    }
    Some(files.iter().map(|path| paths::normal(path)).collect())
}

fn read_variables(section: &Section<'_>, app: &mut WrittenApp, problems: &mut Problems) {
    if let Some(vars) = section.get("env_vars").and_then(|field| field.section(problems)) {
        for (name, place, field) in vars.fields() {
            app.places.insert(name.to_owned(), (place.clone(), field.key.clone()));
            if !is_variable_name(name) {
                problems
                    .add(Problem::at(place, &field.key, "is not the name of a variable").accepted(VARIABLE));
            } else if let Some(value) = plain_value(&field, problems) {
                app.secret_values.extend(secret_parts(&field).map(|part| (part, name.to_owned())));
                app.env_vars.insert(name.to_owned(), value);
            }
        }
    }
    if let Some(field) = section.get("secrets") {
        for item in field.items("a list of names", problems).unwrap_or_default() {
            let Some(Item { name, source }) = read_item(&item, problems) else { continue };
            app.places.insert(name.clone(), (item.node.place.clone(), item.key.clone()));
            if !app.secrets.insert(name.clone()) {
                problems
                    .add(item.problem(format!("names `{name}` a second time")).accepted("each name once"));
            }
            app.secret_sources.extend(source.map(|source| (name, source)));
        }
    }
    if let Some(field) = section.get("secret_command") {
        app.secret_command = read_secret_command(&field, problems);
    }
    if let Some(field) = section.get("required_vars") {
        app.required_vars =
            field.texts(VARIABLE, is_variable_name, problems).unwrap_or_default().into_iter().collect();
    }
}

const VARIABLE: &str = "letters, digits and _, not starting with a digit";

/// The secret-looking variables of the job that a value is made of.
pub(super) fn secret_parts(field: &Field<'_>) -> impl Iterator<Item = String> + use<> {
    let names = match &field.node.value {
        Value::Scalar(Scalar { style: Style::Filled(written), .. }) => names(written),
        _ => Vec::new(),
    };
    names.into_iter().filter(|name| looks_secret(name))
}

/// The value of a variable: text, empty text, a number or a boolean, as it is written.
fn plain_value(field: &Field<'_>, problems: &mut Problems) -> Option<String> {
    match &field.node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::Null => field.wrong("a plain value; \"\" for an empty one", problems),
        _ => field.wrong("a plain value", problems),
    }
}

fn read_services(section: &Section<'_>, app: &mut WrittenApp, problems: &mut Problems) {
    let names = |key: &str, problems: &mut Problems| {
        section.get(key)?.texts("a name of a-z A-Z 0-9 . _ -", is_service_name, problems)
    };
    app.profiles = names("profiles", problems);
    app.required_services = names("required_services", problems).unwrap_or_default();
    app.one_shot = names("one_shot", problems).unwrap_or_default();
    app.project = section.get("project").and_then(|field| {
        let wanted = "1 to 63 of a-z 0-9 - _, starting with a letter or a digit";
        field.text_that(wanted, |name| name.parse::<crate::model::AppName>().is_ok(), problems)
    });
    if let Some(field) = section.get("build") {
        let words = [("host", BuildMode::Host), ("runner", BuildMode::Runner), ("never", BuildMode::Never)];
        app.build = field.word(&words, &[], problems).unwrap_or_default();
    }
}

pub(super) fn is_service_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_address(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(char::is_whitespace)
}

fn read_setup(field: &Field<'_>, problems: &mut Problems) -> Option<SetupSpec> {
    let section = field.section(problems)?;
    section.only(&["directories", "databases"], &[], problems);
    let directories = match section.get("directories") {
        Some(field) => field.items("a list of paths or {path, mode}", problems)?,
        None => Vec::new(),
    };
    let databases = match section.get("databases") {
        Some(field) => field.texts(RELATIVE, paths::is_relative, problems)?,
        None => Vec::new(),
    };
    Some(SetupSpec {
        directories: directories.iter().filter_map(|item| read_directory(item, problems)).collect(),
        databases: databases.iter().map(|path| paths::normal(path)).collect(),
    })
}

fn read_directory(field: &Field<'_>, problems: &mut Problems) -> Option<SetupDirectory> {
    if !matches!(field.node.value, Value::Map(_)) {
        let path = field.text_that(RELATIVE, paths::is_relative, problems)?;
        return Some(SetupDirectory { path: paths::normal(&path), mode: None });
    }
    let section = field.section(problems)?;
    section.only(&["path", "mode"], &[], problems);
    let Some(path) = section.get("path") else {
        problems.add(field.problem("has no `path`").accepted("{path, mode}"));
        return None;
    };
    let path = path.text_that(RELATIVE, paths::is_relative, problems)?;
    let mode = match section.get("mode") {
        Some(field) => Some(read_mode(&field, problems)?),
        None => None,
    };
    Some(SetupDirectory { path: paths::normal(&path), mode })
}

fn read_mode(field: &Field<'_>, problems: &mut Problems) -> Option<u32> {
    let is_octal =
        |text: &&str| (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = field.node.text().filter(is_octal).and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.map_or_else(|| field.wrong("permission bits in octal, such as \"0750\"", problems), Some)
}

fn read_requirements(field: &Field<'_>, problems: &mut Problems) -> Option<Requirements> {
    let section = field.section(problems)?;
    section.only(&["disk_gb", "memory_gb"], &[], problems);
    Some(Requirements {
        disk_gb: section.get("disk_gb").and_then(|field| field.decimal(problems)),
        memory_gb: section.get("memory_gb").and_then(|field| field.decimal(problems)),
    })
}

fn read_backup(field: &Field<'_>, problems: &mut Problems) -> Option<BackupSpec> {
    let section = field.section(problems)?;
    section.only(&["paths", "volumes", "format", "retention"], &["encrypt"], problems);
    let paths = section.get("paths").and_then(|field| field.texts(RELATIVE, paths::is_relative, problems));
    let formats = [("zstd", ArchiveFormat::Zstd), ("gzip", ArchiveFormat::Gzip)];
    Some(BackupSpec {
        paths: paths.map(|list| list.iter().map(|path| paths::normal(path)).collect()),
        volumes: section
            .get("volumes")
            .and_then(|field| field.texts("a volume's name", is_service_name, problems)),
        format: section.get("format").and_then(|field| field.word(&formats, &[], problems)),
        retention: section
            .get("retention")
            .and_then(|field| read_retention(&field, problems))
            .unwrap_or_default(),
    })
}

fn read_retention(field: &Field<'_>, problems: &mut Problems) -> Option<Retention> {
    let section = field.section(problems)?;
    section.only(&["days", "keep_last"], &[], problems);
    let usual = Retention::default();
    let mut number = |key: &str, range| section.get(key).map(|field| field.integer(range, problems));
    Some(Retention {
        days: number("days", DAYS).unwrap_or(Some(usual.days))?,
        keep_last: number("keep_last", KEEP).unwrap_or(Some(usual.keep_last))?,
    })
}

fn read_rollback(field: &Field<'_>, problems: &mut Problems) -> Option<bool> {
    let section = field.section(problems)?;
    section.only(&["automatic"], &[], problems);
    section.get("automatic")?.boolean(problems)
}
