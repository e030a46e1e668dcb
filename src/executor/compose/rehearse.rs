//! What Compose itself says that it would do: its dry run, and why, by comparing what two releases say of a service.
//!
//! The dry run alone decides: which containers Compose makes anew depends on its version (2.26 takes those along that
//! depend on a service that is made anew). Nothing is changed by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{ExecutorError, Site};
use crate::event::{Reason, ServiceChange, Why};
use crate::host::atomic;
use crate::host::compose::Compose;
use crate::host::process;
use crate::model::compose::ComposeModel;
use crate::model::{ContainerFacts, ContainerState, labels};

/// Longest dry run.
const DRY_RUN: Duration = Duration::from_secs(120);
/// How Compose's lines begin in a dry run.
const MARK: &str = "DRY-RUN MODE -";
/// Keys of a service by which Compose does not decide: it looks at images by their ids.
const LEFT_OUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "image"];

/// What Compose would do, by service; services that leave are those whose containers no model has.
pub type Rehearsal = BTreeMap<String, ServiceChange>;

/// Lets Compose say what `up` would do. What it wants to write for itself goes to `scratch`, a directory that nobody else
/// uses, and away with it: even a dry run makes files of the builder's in the user's home.
///
/// # Errors
/// It cannot say: it is older than 2.17, or fails.
pub async fn rehearse(
    compose: &Compose,
    site: &Site,
    model: &ComposeModel,
    found: &[ContainerFacts],
    scratch: &Path,
) -> Result<Rehearsal, ExecutorError> {
    let words = ["--dry-run", "up", "-d", "--no-build", "--pull", "never", "--remove-orphans"];
    let command = compose.command(&site.call()).args(words).deadline(DRY_RUN);
    let builder = scratch.with_extension("buildx");
    let command = command.env("BUILDX_CONFIG", builder.to_string_lossy());
    let mut said = Vec::new();
    let ended = process::run(&command, |_, line| said.extend(spoken(line))).await;
    // What is left is swept with the rest of the cache.
    atomic::remove_tree(&builder).ok();
    ended.map_err(|source| ExecutorError::Tool { what: "ask Compose what it would do", source })?;
    Ok(of_words(&said, &site.project, model, found))
}

/// ` DRY-RUN MODE -  Container shop-web-1  Recreate`
fn spoken(line: &str) -> Option<(String, String)> {
    let rest = line.split_once(MARK)?.1.trim().strip_prefix("Container ")?;
    let (name, act) = rest.trim().rsplit_once(char::is_whitespace)?;
    Some((name.trim().to_owned(), act.to_owned()))
}

fn of_words(
    said: &[(String, String)],
    project: &str,
    model: &ComposeModel,
    found: &[ContainerFacts],
) -> Rehearsal {
    let of = |service: &str, container: &ContainerFacts| container.service == service;
    let mut changes = Rehearsal::new();
    for (service, definition) in &model.services {
        let old: Vec<&ContainerFacts> = found.iter().filter(|container| of(service, container)).collect();
        let is = |name: &str, act: &str| said.iter().any(|(of, what)| of == name && what == act);
        let comes = |(name, act): &(String, String)| {
            act == "Creating"
                && (definition.container_name.as_deref() == Some(name) || is_numbered(name, project, service))
        };
        let change = if old.is_empty() {
            ServiceChange::Created
        } else if old.iter().any(|container| is(&container.name, "Recreate")) || said.iter().any(comes) {
            ServiceChange::Recreated
        } else if old.iter().any(|container| is(&container.name, "Removing")) {
            ServiceChange::Stopped
        } else if old.iter().any(|container| !runs(container) && is(&container.name, "Starting")) {
            ServiceChange::Started
        } else {
            ServiceChange::Unchanged
        };
        changes.insert(service.clone(), change);
    }
    let leaving = found.iter().filter(|container| !model.services.contains_key(&container.service));
    changes.extend(leaving.map(|container| (container.service.clone(), ServiceChange::Removed)));
    changes
}

fn runs(container: &ContainerFacts) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting)
}

fn is_numbered(name: &str, project: &str, service: &str) -> bool {
    let number = name.strip_prefix(project).and_then(|rest| rest.get(1..)?.strip_prefix(service)?.get(1..));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What one service has otherwise: names only, never values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Variables of its environment.
    pub environment: Vec<String>,
    /// Keys of its definition.
    pub config: Vec<String>,
}

impl Difference {
    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.environment.is_empty() && self.config.is_empty()
    }

    /// Returns it as reasons.
    pub fn reasons(self) -> impl Iterator<Item = Reason> {
        let kinds = [(Why::Environment, self.environment), (Why::Config, self.config)];
        kinds.into_iter().filter(|(_, names)| !names.is_empty()).map(|(why, names)| Reason { why, names })
    }
}

/// Compares what two models say of a service. Directories in which their files lie are the same place.
pub fn compare(service: &str, before: &View<'_>, after: &View<'_>) -> Difference {
    let (Some(old), Some(new)) = (before.service(service), after.service(service)) else {
        return Difference::default();
    };
    let (old_keys, new_keys) = (old.get("environment"), new.get("environment"));
    let environment = names_that_differ(old_keys, new_keys);
    let mut config = names_that_differ(Some(&Value::Object(old)), Some(&Value::Object(new)));
    config.retain(|key| key != "environment");
    Difference { environment, config }
}

/// A model as it is compared.
pub struct View<'a> {
    /// The model.
    pub model: &'a ComposeModel,
    /// Directory of its project.
    pub project: &'a Path,
    /// Directory of mounted files, whose names are digests.
    pub files: &'a Path,
}

impl View<'_> {
    /// The definition of a service, as far as Compose decides by it, with places and digests of files left out.
    fn service(&self, name: &str) -> Option<Map<String, Value>> {
        let mut service = self.model.raw.get("services")?.get(name)?.as_object()?.clone();
        LEFT_OUT.iter().for_each(|key| drop(service.remove(*key)));
        if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
            deploy.remove("replicas");
        }
        if let Some(labels) = service.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(labels::FILES);
        }
        service.values_mut().for_each(|value| self.place(value));
        Some(service)
    }

    fn place(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Ok(rest) = Path::new(text.as_str()).strip_prefix(self.files) {
                    let named: std::path::PathBuf = rest.components().skip(1).collect();
                    *text = format!("files/{}", named.display());
                } else if let Ok(rest) = Path::new(text.as_str()).strip_prefix(self.project) {
                    *text = format!("./{}", rest.display());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.place(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.place(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn names_that_differ(old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
    let map = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (old, new) = (map(old), map(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

/// Returns the services that a service needs to be there first, as Compose counts them.
pub fn needs(model: &ComposeModel, service: &str) -> BTreeSet<String> {
    let Some(found) = model.services.get(service) else { return BTreeSet::new() };
    let mut needs: BTreeSet<String> = found.depends_on.keys().cloned().collect();
    let raw = &model.raw["services"][service];
    let modes = ["network_mode", "ipc", "pid"].into_iter().filter_map(|key| raw[key].as_str());
    needs.extend(modes.filter_map(|mode| mode.strip_prefix("service:")).map(str::to_owned));
    let volumes = raw["volumes_from"].as_array().into_iter().flatten().filter_map(Value::as_str);
    needs.extend(volumes.filter_map(|from| from.split(':').next()).map(str::to_owned));
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HealthState;

    fn model(services: &str) -> ComposeModel {
        ComposeModel::from_json(&format!(r#"{{"name": "shop", "services": {services}}}"#)).unwrap()
    }

    fn container(name: &str, service: &str, state: ContainerState) -> ContainerFacts {
        ContainerFacts {
            id: name.into(),
            name: name.into(),
            service: service.into(),
            state,
            health: HealthState::None,
            exit_code: None,
            restart_count: 0,
            started_at: String::new(),
            image_id: String::new(),
            oom_killed: false,
            health_output: None,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn a_dry_run_is_read_line_by_line() {
        let model = model(
            r#"{"web": {}, "db": {}, "new": {}, "job": {}, "more": {}, "named": {"container_name": "own"}, "job-1": {}}"#,
        );
        let found = [
            container("shop-web-1", "web", ContainerState::Running),
            container("shop-db-1", "db", ContainerState::Running),
            container("shop-job-1", "job", ContainerState::Exited),
            container("shop-more-1", "more", ContainerState::Running),
            container("own", "named", ContainerState::Running),
            container("shop-job-1-1", "job-1", ContainerState::Running),
            container("shop-gone-1", "gone", ContainerState::Running),
        ];
        let said: Vec<_> = " DRY-RUN MODE -  Container shop-gone-1  Stopping
 DRY-RUN MODE -  Container shop-db-1  Running
 DRY-RUN MODE -  Container shop-web-1  Recreate
 DRY-RUN MODE -  Container shop-new-1  Creating
 DRY-RUN MODE -  Network shop_default  Creating
 DRY-RUN MODE -  Container shop-more-2  Creating
 DRY-RUN MODE -  Container 8f2e_shop-web-1  Starting
 DRY-RUN MODE -  Container shop-job-1  Starting
 something else"
            .lines()
            .filter_map(spoken)
            .collect();
        let changes = of_words(&said, "shop", &model, &found);
        let told: Vec<String> =
            changes.iter().map(|(service, change)| format!("{service} {}", change.as_str())).collect();
        let expected = "db unchanged, gone removed, job started, job-1 unchanged, more recreated, named unchanged, \
                        new created, web recreated";
        assert_eq!(told.join(", "), expected);
    }

    #[test]
    fn differences_are_names_and_never_values_and_places_do_not_count() {
        let old = model(
            r#"{"web": {"image": "a:1", "environment": {"SAME": "1", "OTHER": "s3cret", "GONE": "x"}, "command": ["a"],
                "labels": {"ffe": "1"}, "depends_on": {}, "deploy": {"replicas": 1},
                "volumes": [{"type": "bind", "source": "/old/app/data"}, {"type": "bind", "source": "/r/files/aaaa/app.conf"}]}}"#,
        );
        let new = model(
            r#"{"web": {"image": "a:2", "environment": {"SAME": "1", "OTHER": "s3cret2", "NEW": "x"}, "command": ["b"],
                "labels": {"ffe": "1"}, "deploy": {"replicas": 2}, "ports": [],
                "volumes": [{"type": "bind", "source": "/new/app/data"}, {"type": "bind", "source": "/r/files/bbbb/app.conf"}]}}"#,
        );
        let (before, after) = (
            View { model: &old, project: Path::new("/old/app"), files: Path::new("/r/files") },
            View { model: &new, project: Path::new("/new/app"), files: Path::new("/r/files") },
        );
        let found = compare("web", &before, &after);
        assert_eq!(found.environment, ["GONE", "NEW", "OTHER"]);
        assert_eq!(found.config, ["command", "ports"]);
        assert!(compare("web", &before, &before).is_empty() && compare("db", &before, &after).is_empty());
    }

    #[test]
    fn what_a_service_needs_is_what_compose_counts() {
        let model = model(
            r#"{"a": {"depends_on": {"b": {"condition": "service_started"}}, "network_mode": "service:c",
                "pid": "host", "volumes_from": ["d:ro"]}}"#,
        );
        let needs: Vec<String> = needs(&model, "a").into_iter().collect();
        assert_eq!(needs, ["b", "c", "d"]);
    }
}
