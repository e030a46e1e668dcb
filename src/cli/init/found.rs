//! What a project has: services, ports, volumes and templates, as far as its compose file says it by itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::config;
use crate::model::{ErrorKind, FailureReport};

/// Compose files in the order in which they are looked for.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// What a project has.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Name of the app.
    pub app: String,
    /// The compose file; absent where only files for environments are there.
    pub compose: Option<String>,
    /// Its services.
    pub services: Vec<Service>,
    /// Its named volumes, by key.
    pub volumes: Vec<String>,
    /// Templates of env files: the template, and what it is a template of.
    pub templates: Vec<(String, String)>,
    /// Variables that the compose file wants and that have no default.
    pub wanted: BTreeSet<String>,
}

/// One service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub name: String,
    /// Whether it has `build:`.
    pub is_built: bool,
    pub has_healthcheck: bool,
    /// First port of this machine that it publishes, when it is a number.
    pub port: Option<u16>,
    /// Whether a profile has to be active for it.
    pub is_optional: bool,
    /// Whether it ends by itself.
    pub is_one_shot: bool,
    /// Directories of the project that it mounts and may write to.
    pub binds: Vec<String>,
}

impl Found {
    /// Looks at a project.
    ///
    /// # Errors
    /// There is no compose file, or it cannot be read.
    pub(super) fn look(root: &Path, app: &str) -> Result<Self, FailureReport> {
        let compose = COMPOSE.iter().find(|name| root.join(name).is_file()).map(|name| (*name).to_owned());
        let mut found = Self { app: app.to_owned(), templates: templates(root), compose, ..Self::default() };
        let Some(name) = found.compose.clone() else { return Ok(found) };
        let text = read(&root.join(&name)).map_err(|why| unreadable(&name, &why))?;
        let model: Value = serde_saphyr::from_str(&text)
            .map_err(|error| unreadable(&name, &first_line(&error.to_string())))?;
        found.wanted = wanted(&text);
        let services = model["services"].as_object().into_iter().flatten();
        found.services = services.map(|(name, service)| Service::of(name, service, &model)).collect();
        found.volumes =
            model["volumes"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        Ok(found)
    }

    /// Services that run without anybody asking for a profile, and do not end.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| !service.is_optional && !service.is_one_shot)
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
            has_healthcheck: !check.is_null() && check["disable"].as_bool() != Some(true),
            port: service["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .find_map(published)
                .filter(|port| *port > 0),
            is_optional: service["profiles"].as_array().is_some_and(|profiles| !profiles.is_empty()),
            is_one_shot: others.any(waits),
            binds: service["volumes"].as_array().into_iter().flatten().filter_map(bind).collect(),
        }
    }
}

/// The port of this machine: of `8080:80`, `127.0.0.1:8080:80/tcp` and `{published: 8080, target: 80}`.
fn published(port: &Value) -> Option<u16> {
    match port {
        Value::String(text) => {
            let (written, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let mut parts = written.rsplit(':');
            parts.next()?;
            parts.next()?.parse().ok().filter(|_| protocol == "tcp")
        }
        Value::Object(long) if long.get("protocol").is_none_or(|protocol| protocol == "tcp") => {
            match long.get("published")? {
                Value::String(text) => text.parse().ok(),
                number => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            }
        }
        _ => None,
    }
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
    let mut templates: Vec<(String, String)> = names
        .filter(|name| name.starts_with(".env"))
        .filter_map(|name| {
            let of = [".example", ".template", ".sample", ".dist"]
                .iter()
                .find_map(|end| name.strip_suffix(end))?;
            Some((name.clone(), of.to_owned()))
        })
        .collect();
    templates.sort();
    templates
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
            (r#""8080:80""#, Some(8080)),
            (r#""127.0.0.1:8080:80/tcp""#, Some(8080)),
            (r#""53:53/udp""#, None),
            (r#""80""#, None),
            (r#""${PORT:-1}:80""#, None),
            (r#"{"published": "8080", "target": 80}"#, Some(8080)),
            (r#"{"published": 8080, "target": 80, "protocol": "udp"}"#, None),
            ("80", None),
        ] {
            assert_eq!(published(&serde_json::from_str(port).unwrap()), expected, "{port}");
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
