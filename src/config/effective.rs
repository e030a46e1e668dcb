//! The configuration as it counts, key by key, and where each value came from.
//!
//! Which keys there are, and what most of them are by default, the schemas say ([`super::schema`]); what was written stands in
//! the trees, whose values know their places.

use serde_json::{Value as Json, json};

use super::excerpt::value_looks_secret;
use super::interpolate::{fill, names};
use super::overrides::merged;
use super::reader::{Problems, is_bare};
use super::secret_names::looks_secret;
use super::select::Project;
use super::target::EnvironmentVars;
use super::yaml::{Node, Place, Scalar, Style, Value};
use super::{ConfigError, Inputs, Resolved, Target, resolve, schema};
use crate::model::{ConfigAnswer, Placement, ShownOrigin, ShownSetting, ShownVariable};
use crate::text::{REDACTED, Redactor, Secret};

/// Returns every key of the chosen app and environment, with its value and where that came from.
///
/// # Errors
/// As [`resolve`].
pub fn effective(inputs: &Inputs) -> Result<ConfigAnswer, ConfigError> {
    let resolved = resolve(inputs)?;
    // Whatever is wrong was an error already.
    let mut problems = Problems::default();
    let project = Project::load(inputs, &mut problems)?;
    let mut shown = Shown { inputs, resolved: &resolved, settings: Vec::new() };
    shown.choice();
    let entry = project.choose_environment(inputs, &mut problems).and_then(|(_, entry)| entry);
    let environment = entry.map(|entry| {
        let mut node = entry.node.clone();
        fill(&mut node, "", &inputs.job, &mut Problems::default());
        node
    });
    let schema = schema::environments();
    let keys = &schema["properties"]["environments"]["additionalProperties"];
    shown.walk(keys, environment.as_ref(), &format!("environments.{}", resolved.environment.name));
    let app = project.choose_app(inputs, &mut problems);
    let app = merged(inputs, app, entry, &resolved.app.name, &mut problems);
    let schema = schema::deployments();
    shown.walk(&schema["$defs"]["app"], Some(&app), &format!("deployments.{}", resolved.app.name));
    let mut root = project.files.deployments.root.clone();
    for key in ["registries", "notify", "ledger"] {
        let node = root.as_mut().and_then(|root| root.get_mut(key)).map(|node| {
            fill(node, key, &inputs.job, &mut Problems::default());
            &*node
        });
        shown.key(&schema["properties"][key], node, key, key);
    }
    let files = [&project.files.deployments, &project.files.environments];
    let files = files.iter().flat_map(|file| file.read.iter().cloned()).collect();
    Ok(ConfigAnswer { files, settings: shown.redacted(), variables: variables(&resolved) })
}

struct Shown<'a> {
    inputs: &'a Inputs,
    resolved: &'a Resolved,
    settings: Vec<ShownSetting>,
}

impl Shown<'_> {
    /// What is deployed, where, and as which version.
    fn choice(&mut self) {
        let resolved = self.resolved;
        let chosen = [
            (
                "environment",
                json!(resolved.environment.name),
                self.inputs.environment.is_some(),
                "ENVIRONMENT",
            ),
            ("app", json!(resolved.app.name), self.inputs.app.is_some(), "APP"),
            ("version", json!(resolved.version.label), self.inputs.version.is_some(), "VERSION"),
        ];
        for (key, value, is_said, variable) in chosen {
            let (origin, from) = match (is_said, self.inputs.said(variable)) {
                (true, _) if key == "environment" => (ShownOrigin::Flag, Some("ENVIRONMENT".to_owned())),
                (true, _) => (ShownOrigin::Flag, Some(format!("--{key}"))),
                (false, Some(_)) => (ShownOrigin::Variable, Some(format!("FFE_DEPLOY_{variable}"))),
                (false, None) => (ShownOrigin::Default, None),
            };
            let filled_from = Vec::new();
            self.settings.push(ShownSetting { key: key.to_owned(), value, origin, from, filled_from });
        }
    }

    fn walk(&mut self, schema: &Json, node: Option<&Node>, path: &str) {
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What is overridden stands with the app's own keys.
            if key != "overrides" {
                self.key(schema, node.and_then(|node| node.get(key)), key, &format!("{path}.{key}"));
            }
        }
    }

    fn key(&mut self, schema: &Json, node: Option<&Node>, key: &str, path: &str) {
        let node = node.filter(|node| !matches!(node.value, Value::Null));
        if let Some((origin, from, value)) = self.above(path, key) {
            let setting = ShownSetting {
                key: path.to_owned(),
                value,
                origin,
                from: Some(from),
                filled_from: Vec::new(),
            };
            self.settings.push(setting);
            return;
        }
        let is_map = matches!(node.map(|node| &node.value), Some(Value::Map(_)));
        let kind =
            schema["anyOf"].as_array().into_iter().flatten().find(|kind| kind["properties"].is_object());
        if let Some(kind) = kind.filter(|_| is_map) {
            return self.walk(kind, node, path);
        }
        match node {
            _ if schema["properties"].is_object() => self.walk(schema, node, path),
            Some(node) if schema["additionalProperties"].is_object() => {
                for entry in node.entries() {
                    self.settings.push(written(&entry.node, &entry.key, &format!("{path}.{}", entry.key)));
                }
            }
            Some(node) => self.settings.push(written(node, key, path)),
            None => {
                let value = self.by_default(path, key).unwrap_or_else(|| schema["default"].clone());
                let origin = ShownOrigin::Default;
                let setting =
                    ShownSetting { key: path.to_owned(), value, origin, from: None, filled_from: Vec::new() };
                self.settings.push(setting);
            }
        }
    }

    /// What a flag or a variable of the job says above the files.
    fn above(&self, path: &str, key: &str) -> Option<(ShownOrigin, String, Json)> {
        let (inputs, resolved) = (self.inputs, self.resolved);
        if path.starts_with("deployments.") && key == "profiles" {
            let flag = (!inputs.profiles.is_empty()).then(|| (ShownOrigin::Flag, "--profile".to_owned()));
            let variable =
                inputs.said("PROFILE").map(|_| (ShownOrigin::Variable, "FFE_DEPLOY_PROFILE".to_owned()));
            let (origin, from) = flag.or(variable)?;
            return Some((origin, from, json!(resolved.app.profiles)));
        }
        if !path.starts_with("environments.") {
            return None;
        }
        let (flag, suffix) = match key {
            "host" => (inputs.host.is_some().then_some("--host"), "HOST"),
            "user" => (None, "USER"),
            "port" => (None, "PORT"),
            "ssh_key" => (None, "SSH_KEY"),
            "host_key" => (inputs.host_key.is_some().then_some("--host-key"), "HOST_KEY"),
            _ => return None,
        };
        let value = self.of_target(key);
        if let Some(flag) = flag {
            return Some((ShownOrigin::Flag, flag.to_owned(), value));
        }
        let vars = EnvironmentVars::new(resolved.environment.name.as_str(), &inputs.job);
        if suffix == "SSH_KEY" {
            let (name, _) = vars.secret(suffix)?;
            return Some((ShownOrigin::Variable, name, value));
        }
        let (name, _) = vars.get(suffix).filter(|(_, value)| !value.is_empty())?;
        Some((ShownOrigin::Variable, name, value))
    }

    fn of_target(&self, key: &str) -> Json {
        let Target::Ssh(target) = &self.resolved.target else {
            return if key == "host" { json!("local") } else { Json::Null };
        };
        match key {
            "host" => json!(target.host),
            "user" => json!(target.user),
            "port" => json!(target.port),
            "host_key" => json!(target.host_key),
            _ => json!(REDACTED),
        }
    }

    /// What follows from something else, where nothing is written.
    fn by_default(&self, path: &str, key: &str) -> Option<Json> {
        let (app, environment) = (&self.resolved.app, &self.resolved.environment);
        let depth = path.matches('.').count();
        Some(match (path.split('.').next()?, key) {
            ("environments", "profile") => json!(environment.profile),
            ("environments", "host" | "user" | "port") if depth == 2 => self.of_target(key),
            ("environments", "root") => match &environment.placement {
                Placement::InPlace { path } => json!(format!("in place, in {}", path.display())),
                Placement::Root { .. } => Json::Null,
            },
            ("environments", "require_confirmation") => json!(self.resolved.requires_confirmation),
            ("environments", "backup") => json!(environment.backup),
            ("deployments", "path") if depth == 2 => json!("."),
            ("deployments", "compose_file") => json!(app.compose_files),
            ("deployments", "profiles") => json!(app.profiles),
            ("deployments", "required_files") => json!(app.required_files),
            _ => return None,
        })
    }

    fn redacted(self) -> Vec<ShownSetting> {
        let redactor = Redactor::new(self.resolved.secrets.iter().map(Secret::reveal));
        let mut settings = self.settings;
        for setting in &mut settings {
            redactor.redact_json(&mut setting.value);
        }
        settings
    }
}

/// The row of a value that stands in a file.
fn written(node: &Node, key: &str, path: &str) -> ShownSetting {
    let mut filled_from = Vec::new();
    let value = to_json(node, key, &mut filled_from);
    filled_from.sort();
    filled_from.dedup();
    let place = highest(node, path);
    let (origin, from) = (origin_of(place, path), Some(place.to_string()));
    ShownSetting { key: path.to_owned(), value, origin, from, filled_from }
}

/// Maps merge, so what is written highest may stand in the middle of one.
fn highest<'a>(node: &'a Node, path: &str) -> &'a Place {
    let inner = node.entries().iter().map(|entry| highest(&entry.node, path));
    inner.min_by_key(|place| origin_of(place, path)).unwrap_or(&node.place)
}

fn origin_of(place: &Place, path: &str) -> ShownOrigin {
    let file = place.source.file.rsplit('/').next().unwrap_or_default();
    match file {
        file if path.starts_with("deployments.") && file.starts_with("environments.") => {
            ShownOrigin::Override
        }
        file if file.contains(".local.") => ShownOrigin::Overlay,
        _ => ShownOrigin::File,
    }
}

/// A value as JSON, without what could be a secret.
fn to_json(node: &Node, key: &str, filled_from: &mut Vec<String>) -> Json {
    match &node.value {
        Value::Null | Value::Broken => Json::Null,
        Value::List(items) => items.iter().map(|item| to_json(item, "", filled_from)).collect(),
        Value::Map(entries) => {
            let entries = entries.iter();
            let pairs =
                entries.map(|entry| (entry.key.clone(), to_json(&entry.node, &entry.key, filled_from)));
            Json::Object(pairs.collect())
        }
        Value::Scalar(scalar) => {
            let parts = match &scalar.style {
                Style::Filled(written) => names(written),
                Style::Plain | Style::Quoted => Vec::new(),
            };
            let is_secret = (looks_secret(key) && !scalar.text.is_empty())
                || value_looks_secret(&scalar.text)
                || parts.iter().any(|part| looks_secret(part));
            filled_from.extend(parts);
            if is_secret { json!(REDACTED) } else { plain(node, scalar) }
        }
    }
}

/// Bare numbers and booleans are that, all else is text.
fn plain(node: &Node, scalar: &Scalar) -> Json {
    let typed = is_bare(node).then(|| serde_json::from_str(&scalar.text.to_lowercase()).ok()).flatten();
    typed.unwrap_or_else(|| json!(scalar.text))
}

fn variables(resolved: &Resolved) -> Vec<ShownVariable> {
    let redactor = Redactor::new(resolved.secrets.iter().map(Secret::reveal));
    let layers = [&resolved.variables.below_host, &resolved.variables.above_host];
    let mut values = std::collections::BTreeMap::new();
    layers.into_iter().flatten().for_each(|(name, value)| {
        values.insert(name, value);
    });
    let shown = values.into_iter().map(|(name, value)| {
        let is_secret = resolved.variables.secret_names.contains(name) || value_looks_secret(value);
        let value = if is_secret { REDACTED.to_owned() } else { redactor.redact(value).into_owned() };
        let from = resolved.origins.get(name).cloned().unwrap_or_default();
        ShownVariable { name: name.clone(), value, from }
    });
    shown.collect()
}
