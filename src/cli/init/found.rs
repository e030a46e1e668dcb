//! What a project has: services, ports, volumes and templates, as far as its compose file says it by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{self, ByItself};
use crate::model::{ErrorKind, FailureReport, Profile};

/// The environments that are written.
const ENVIRONMENTS: [(&str, Profile); 3] =
    [("dev", Profile::Dev), ("staging", Profile::Staging), ("production", Profile::Production)];
/// Directories below the project in which compose files of several apps are looked for.
const DEEPEST: usize = 3;
/// Largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// What a project has.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Name of the app.
    pub app: String,
    /// The compose file that all environments have; absent where each has its own.
    pub compose: Option<String>,
    /// Other files that could be it, and are not read.
    pub passed_over: Vec<String>,
    /// What each environment is deployed with by itself.
    pub by_itself: BTreeMap<&'static str, ByItself>,
    /// Directory of the project in its repository, where it is not the repository's own.
    pub within: Option<Within>,
    /// Its services.
    pub services: Vec<Service>,
    /// Its named volumes, by key.
    pub volumes: Vec<String>,
    /// Templates of env files: the template, and what it is a template of.
    pub templates: Vec<(String, String)>,
    /// Variables that the compose file wants and that have no default.
    pub wanted: BTreeSet<String>,
}

/// A project that is a part of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Within {
    /// The project's directory, from the repository's.
    pub path: String,
    /// The way back.
    pub up: String,
}

impl Within {
    /// Returns the project's name: its directory's, as Compose spells it.
    pub(super) fn name(&self) -> Option<String> {
        self.path.rsplit('/').next().map(str::to_lowercase)
    }
}

/// One service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub name: String,
    /// Whether it has `build:`.
    pub is_built: bool,
    pub has_healthcheck: bool,
    /// First port of this machine that it publishes: a number, or a variable with its default.
    pub port: Option<String>,
    /// Whether a profile has to be active for it.
    pub is_optional: bool,
    /// Whether it ends by itself, as another service says that waits for that.
    pub is_one_shot: bool,
    /// Whether it is not started again, which nearly all have that end by themselves.
    pub is_never_restarted: bool,
    /// Directories of the project that it mounts and may write to.
    pub binds: Vec<String>,
}

impl Found {
    /// Looks at a project.
    ///
    /// # Errors
    /// There is no compose file, or it cannot be read.
    pub(super) fn look(root: &Path, app: &str) -> Result<Self, FailureReport> {
        let mut base = config::base_files(root).into_iter();
        let by_itself: BTreeMap<_, _> = ENVIRONMENTS
            .into_iter()
            .map(|(name, profile)| (name, config::by_itself(root, name, profile)))
            .collect();
        let mut found = Self {
            app: app.to_owned(),
            templates: templates(root),
            within: within(root),
            compose: base.next(),
            passed_over: base.collect(),
            by_itself,
            ..Self::default()
        };
        let files: BTreeSet<&String> = match &found.compose {
            Some(base) => BTreeSet::from([base]),
            None => found.by_itself.values().flat_map(|these| &these.files).collect(),
        };
        let models = files.into_iter().map(|name| Model::read(root, name)).collect::<Result<Vec<_>, _>>()?;
        found.take(&models);
        let used = found.by_itself.values().flat_map(|these| &these.files);
        // What cannot be read as a whole has its variables, too.
        found.wanted = used.filter_map(|name| read(&root.join(name)).ok()).flat_map(|t| wanted(&t)).collect();
        Ok(found)
    }

    /// Takes what is in every model: each of them may be the one that runs.
    fn take(&mut self, models: &[Model]) {
        let Some((first, others)) = models.split_first() else { return };
        let everywhere = |kind: &str, name: &str| others.iter().all(|other| !other.0[kind][name].is_null());
        let services = first.entries("services").filter(|(name, _)| everywhere("services", name));
        self.services = services.map(|(name, service)| Service::of(name, service, &first.0)).collect();
        let others_have = |key: &str| others.iter().all(|other| other.0["volumes"].get(key).is_some());
        let volumes = first.entries("volumes").map(|(key, _)| key.clone());
        self.volumes = volumes.filter(|key| others_have(key)).collect();
    }

    /// Services that run without anybody asking for a profile, and do not end.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| !service.is_optional && !service.is_one_shot)
    }
}

/// A compose file as it stands there.
struct Model(Value);

impl Model {
    fn read(root: &Path, name: &str) -> Result<Self, FailureReport> {
        let text = read(&root.join(name)).map_err(|why| unreadable(name, &why))?;
        let model: Value = serde_saphyr::from_str(&text)
            .map_err(|error| unreadable(name, &first_line(&error.to_string())))?;
        let has_services = model["services"].as_object().is_some_and(|services| !services.is_empty());
        if !has_services && model["include"].is_null() {
            return Err(unreadable(name, "it has no services"));
        }
        Ok(Self(model))
    }

    fn entries(&self, kind: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0[kind].as_object().into_iter().flatten()
    }
}

impl Service {
    fn of(name: &str, service: &Value, model: &Value) -> Self {
        let waits = |other: &Value| {
            other["depends_on"][name]["condition"].as_str() == Some("service_completed_successfully")
        };
        let mut others = model["services"].as_object().into_iter().flatten().map(|(_, other)| other);
        let check = &service["healthcheck"];
        Self {
            name: name.to_owned(),
            is_built: !service["build"].is_null(),
            has_healthcheck: is_asked(check),
            port: service["ports"].as_array().into_iter().flatten().find_map(published),
            is_optional: service["profiles"].as_array().is_some_and(|profiles| !profiles.is_empty()),
            is_one_shot: others.any(waits),
            is_never_restarted: matches!(&service["restart"], Value::String(no) if no == "no")
                || service["restart"] == Value::Bool(false),
            binds: service["volumes"].as_array().into_iter().flatten().filter_map(bind).collect(),
        }
    }
}

/// `disable: true` and `test: NONE` take an image's healthcheck away.
fn is_asked(check: &Value) -> bool {
    let test = check["test"].as_str().or_else(|| check["test"][0].as_str());
    !check.is_null() && check["disable"].as_bool() != Some(true) && test != Some("NONE")
}

/// The port of this machine: of `8080:80`, `127.0.0.1:8080:80/tcp`, `8000-8002:80-82` (the first),
/// `${PORT:-8080}:80` (as it stands there) and `{published: 8080, target: 80}`.
fn published(port: &Value) -> Option<String> {
    match port {
        Value::String(text) => {
            let mut parts = parts(text);
            let (_, protocol) = parts.pop()?.rsplit_once('/').unwrap_or(("", "tcp"));
            first_port(parts.pop()?).filter(|_| protocol == "tcp")
        }
        Value::Object(long) if long.get("protocol").is_none_or(|protocol| protocol == "tcp") => {
            match long.get("published")? {
                Value::String(text) => first_port(text),
                number => first_port(&number.as_u64()?.to_string()),
            }
        }
        _ => None,
    }
}

/// Parts of a short form between the colons that stand in no variable and in no address of IPv6.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut began, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => {
                parts.push(&text[began..at]);
                began = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[began..]);
    parts
}

/// The first port of a range, or a variable that has one; nothing for 0, which Docker chooses itself.
fn first_port(text: &str) -> Option<String> {
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(inside) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        let (name, default) = inside.split_once(":-").or(inside.split_once('-')).unwrap_or((inside, ""));
        let is_name = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        return match default {
            _ if !is_name => None,
            "" => Some(format!("${{{name}}}")),
            default => is_port(default).then(|| format!("${{{name}:-{default}}}")),
        };
    }
    let first = text.split_once('-').map_or(text, |(first, _)| first);
    is_port(first).then(|| first.to_owned())
}

/// A directory of the project that is mounted and may be written to.
fn bind(mount: &Value) -> Option<String> {
    let (source, is_read_only) = match mount {
        Value::String(text) => {
            let mut parts = text.split(':');
            let (source, options) = (parts.next()?, parts.nth(1).unwrap_or_default());
            (source.to_owned(), options.split(',').any(|option| option == "ro"))
        }
        long => (long["source"].as_str()?.to_owned(), long["read_only"].as_bool() == Some(true)),
    };
    let path = source.strip_prefix("./")?.trim_end_matches('/');
    let is_directory = !path.is_empty() && !path.rsplit('/').next().unwrap_or_default().contains('.');
    (is_directory && !is_read_only).then(|| path.to_owned())
}

/// `${NAME}`, `$NAME` and `${NAME:?…}`: Compose would take the first two as empty, and refuse the third.
fn wanted(text: &str) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut rest = line;
        while let Some(at) = rest.find('$') {
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                rest = after;
                continue;
            }
            let braced = rest.strip_prefix('{');
            let name: String = braced
                .unwrap_or(rest)
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let end = braced.map_or("}", |braced| &braced[name.len()..]);
            let has_default = [":-", "-", ":+", "+"].iter().any(|mark| end.starts_with(mark));
            let given = ["VERSION", "IMAGE_TAG", "REGISTRY"].contains(&name.as_str());
            if !name.is_empty() && !has_default && !given && !name.starts_with(|c: char| c.is_ascii_digit()) {
                wanted.insert(name);
            }
        }
    }
    wanted
}

/// `.env.example`, `.env.production.example`, `.env.template` and the like, with what they are templates of.
fn templates(root: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let visible = ["env.example", "env.template", "env.sample", "env.dist", "example.env", "sample.env"];
    let mut templates: Vec<(String, String)> = names
        .filter(|name| name.starts_with(".env") || visible.contains(&name.as_str()))
        .filter_map(|name| {
            if visible.contains(&name.as_str()) {
                return Some((name, ".env".to_owned()));
            }
            let ends = [".example", ".template", ".sample", ".dist", "-example"];
            let of = ends.iter().find_map(|end| name.strip_suffix(end))?;
            Some((name.clone(), of.to_owned()))
        })
        .collect();
    templates.sort();
    templates
}

/// Returns where a project lies in its repository, when it is a part of it.
pub(super) fn within(root: &Path) -> Option<Within> {
    // A directory that is not there is told by whoever reads it.
    let root = root.canonicalize().ok()?;
    let top = root.ancestors().find(|directory| directory.join(".git").exists())?;
    let path = root.strip_prefix(top).ok().filter(|path| !path.as_os_str().is_empty())?;
    let up = "../".repeat(path.components().count());
    Some(Within { path: path.to_str()?.to_owned(), up })
}

/// Returns the directories below one that have compose files, as paths from there; few are enough to see what is meant.
pub(super) fn elsewhere(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        let entries = fs::read_dir(root.join(&directory)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.') && name != "node_modules" && name != "vendor")
            .collect();
        names.sort();
        for name in names {
            let below = directory.join(name);
            if config::has_compose_file(&root.join(&below)) {
                found.push(below.display().to_string());
            } else if depth + 1 < DEEPEST {
                waiting.push((below, depth + 1));
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn unreadable(name: &str, why: &str) -> FailureReport {
    let message = format!("`{name}` cannot be read: {}; nothing was written", crate::text::harmless(why));
    FailureReport::new(ErrorKind::ConfigurationError, "compose.model", message)
        .hint("correct it until `docker compose config` accepts it, then run `ffe-deploy init` again")
}

/// Names of those that look like secrets come from the job, the others from an env file.
pub(super) fn is_secret(name: &str) -> bool {
    config::looks_secret(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_binds_and_variables_are_read_in_every_form() {
        for (port, expected) in [
            (r#""8080:80""#, Some("8080")),
            (r#""127.0.0.1:8080:80/tcp""#, Some("8080")),
            (r#""[::1]:8080:80""#, Some("8080")),
            (r#""8000-8002:80-82""#, Some("8000")),
            (r#""127.0.0.1:8000-8002:80-82/tcp""#, Some("8000")),
            (r#""53:53/udp""#, None),
            (r#""80""#, None),
            (r#""0:80""#, None),
            (r#""127.0.0.1::80""#, None),
            (r#""65536:80""#, None),
            (r#""${PORT:-8000}:8000""#, Some("${PORT:-8000}")),
            (r#""${BIND:-127.0.0.1}:${PORT-8000}:8000/tcp""#, Some("${PORT:-8000}")),
            (r#""${PORT}:${INNER:-80}""#, Some("${PORT}")),
            (r#""${PORT:?must}:80""#, None),
            (r#""${A}${B}:80""#, None),
            (r#"{"published": "8080", "target": 80}"#, Some("8080")),
            (r#"{"published": "8080-8090", "target": 80}"#, Some("8080")),
            (r#"{"published": 8080, "target": 80, "protocol": "udp"}"#, None),
            ("80", None),
        ] {
            assert_eq!(published(&serde_json::from_str(port).unwrap()).as_deref(), expected, "{port}");
        }
        for (check, expected) in [
            ("null", false),
            (r#"{"test": ["NONE"]}"#, false),
            (r#"{"test": "NONE"}"#, false),
            (r#"{"disable": true}"#, false),
            (r#"{"test": ["CMD", "x"]}"#, true),
            (r#"{"interval": "1s"}"#, true),
        ] {
            assert_eq!(is_asked(&serde_json::from_str(check).unwrap()), expected, "{check}");
        }
        for (mount, expected) in [
            (r#""./data:/data""#, Some("data")),
            (r#""./data/:/data:rw""#, Some("data")),
            (r#""./conf:/conf:ro""#, None),
            (r#""./app.conf:/etc/app.conf""#, None),
            (r#""named:/data""#, None),
            (r#"{"type": "bind", "source": "./logs", "target": "/logs"}"#, Some("logs")),
        ] {
            assert_eq!(bind(&serde_json::from_str(mount).unwrap()).as_deref(), expected, "{mount}");
        }
        let text = "a: ${A}\n# ${NOT}\nb: $B and $$C ${D:-x} ${E-x} ${F:?must} ${VERSION} $1 ${G:+x}\n";
        assert_eq!(wanted(text).into_iter().collect::<Vec<_>>(), ["A", "B", "F"]);
    }
}
