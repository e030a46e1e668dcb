//! One app's keys: its own entry, with what the environment says of it on top.

use crate::model::AppName;

use super::Inputs;
use super::app::{self, WrittenApp};
use super::interpolate::fill;
use super::problem::Problem;
use super::reader::{Problems, did_you_mean};
use super::select::Project;
use super::yaml::{self, Entry, Node, Value};

/// The app's entry with the environment's overrides on top, filled and read.
pub(super) fn read_app(
    inputs: &Inputs,
    project: &Project,
    app: Option<&Entry>,
    environment: Option<&Entry>,
    name: Option<&AppName>,
    problems: &mut Problems,
) -> Option<WrittenApp> {
    let overrides = environment.and_then(|entry| entry.node.get("overrides"));
    if let (Some(entry), Some(overrides)) = (environment, overrides) {
        check_overrides(project, entry, overrides, name, problems);
    }
    let name = name?;
    let node = merged(inputs, app, environment, name, problems);
    Some(app::read(&node, &format!("deployments.{name}"), problems))
}

/// The app's entry with the environment's overrides on top, filled.
pub(super) fn merged(
    inputs: &Inputs,
    app: Option<&Entry>,
    environment: Option<&Entry>,
    name: &AppName,
    problems: &mut Problems,
) -> Node {
    let overrides = environment.and_then(|entry| entry.node.get("overrides"));
    let over = overrides.and_then(|overrides| overrides.get(name.as_str()));
    let over = over.filter(|over| matches!(over.value, Value::Map(_)));
    let mut node = match app {
        Some(entry) => own(entry, problems),
        None => assumed(over),
    };
    if let Some(over) = over {
        yaml::overlay(&mut node, over.clone());
    }
    fill(&mut node, &format!("deployments.{name}"), &inputs.job, problems);
    node
}

/// The app's own entry. A project's name there would be one for all environments, and they would replace each other.
fn own(entry: &Entry, problems: &mut Problems) -> Node {
    let mut node = entry.node.clone();
    if let Value::Map(entries) = &mut node.value {
        for project in entries.extract_if(.., |entry| entry.key == "project") {
            let key = format!("deployments.{}.project", entry.key);
            let problem = Problem::at(&project.place, &key, "would be one name for all environments");
            problems
                .add(problem.accepted(format!("environments.<environment>.overrides.{}.project", entry.key)));
        }
    }
    node
}

/// The app that is assumed when no file names one.
fn assumed(over: Option<&Node>) -> Node {
    let place = over.map_or_else(|| yaml::Place::nowhere("deployments.yaml"), |over| over.place.clone());
    let scalar = yaml::Scalar { text: "docker-compose".to_owned(), style: yaml::Style::Quoted };
    let node = Node { place: place.clone(), value: Value::Scalar(scalar) };
    Node { place: place.clone(), value: Value::Map(vec![Entry { key: "type".to_owned(), place, node }]) }
}

fn check_overrides(
    project: &Project,
    environment: &Entry,
    overrides: &Node,
    name: Option<&AppName>,
    problems: &mut Problems,
) {
    let key = format!("environments.{}.overrides", environment.key);
    let has_file = project.files.deployments.name.is_some();
    let mut apps: Vec<&str> = project.apps().iter().map(|entry| entry.key.as_str()).collect();
    if let (Some(name), false) = (name, has_file) {
        apps.push(name.as_str());
    }
    if !matches!(overrides.value, Value::Map(_) | Value::Null) {
        problems.add(
            Problem::at(&overrides.place, &key, "has the wrong value").accepted("a map: app → its keys"),
        );
    }
    for entry in overrides.entries() {
        let path = format!("{key}.{}", entry.key);
        if !apps.is_empty() && !apps.contains(&entry.key.as_str()) {
            let problem = Problem::at(&entry.place, &path, "is not an app").accepted(apps.join(", "));
            problems.add(did_you_mean(problem, &entry.key, &apps));
        } else if !matches!(entry.node.value, Value::Map(_) | Value::Null) {
            problems.add(
                Problem::at(&entry.node.place, &path, "has the wrong value")
                    .accepted("a map of the app's keys"),
            );
        }
    }
}
