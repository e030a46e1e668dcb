//! `secrets.literal`: no credential is written into a compose file (R003-44).

use std::collections::BTreeSet;

use super::{Files, place};
use crate::config::files::read_text;
use crate::config::secret_names::{holds_secret, names_secret};
use crate::config::yaml::{self, Node, Place, Tags, Value};
use crate::model::Finding;
use crate::text::harmless;

const RULE: &str = "secrets.literal";

/// One finding for each place; what an anchor says is told once, however many services use it.
pub(super) fn literals(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &files.compose_files {
        // A file that cannot be read here is left to Compose.
        let text = read_text(&files.app_dir.join(&file.path), yaml::LARGEST).unwrap_or_default();
        let Some(root) = yaml::parse(&text, &file.path, Tags::Ignored).root else { continue };
        let mut seen = BTreeSet::new();
        for (name, at) in of_services(&root) {
            if seen.insert((at.line, at.column)) {
                findings.push(written(files, &file.path, &name, &at));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::passed(RULE, "no compose file holds the value of a secret"));
    }
    findings
}

fn of_services(root: &Node) -> Vec<(String, Place)> {
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    let maps = services.iter().flat_map(|service| {
        let arguments = service.node.get("build").and_then(|build| build.get("args"));
        service.node.get("environment").into_iter().chain(arguments)
    });
    let commands = services
        .iter()
        .flat_map(|service| ["command", "entrypoint"].into_iter().filter_map(|key| service.node.get(key)));
    maps.flat_map(pairs)
        .filter(|(name, value, _)| is_literal(name, value))
        .map(|(name, _, at)| (name, at))
        .chain(commands.filter_map(in_command))
        .collect()
}

/// The first option of a command line that is a secret with its value behind it, such as `--requirepass hunter2`.
fn in_command(node: &Node) -> Option<(String, Place)> {
    let words: Vec<(&str, &Place)> = match &node.value {
        Value::List(items) => items.iter().filter_map(|item| Some((item.text()?, &item.place))).collect(),
        _ => node.text()?.split_whitespace().map(|word| (word, &node.place)).collect(),
    };
    let next = words.iter().skip(1).map(|(word, _)| *word).chain([""]);
    let mut options = words.iter().zip(next).filter_map(|((word, place), next)| {
        let option = word.trim_matches(['"', '\'']).strip_prefix("--")?;
        let (name, value) = option.split_once('=').unwrap_or((option, next));
        Some((name, value.trim_matches(['"', '\'']), *place))
    });
    options
        .find(|(name, value, _)| is_given(name, value))
        .map(|(name, _, at)| (format!("--{name}"), at.clone()))
}

/// An option's value that is a secret itself: keys are files more often than not, and `$$NAME` is for the container's shell.
fn is_given(name: &str, value: &str) -> bool {
    let is_password =
        matches!(name, "requirepass" | "masterauth") || (names_secret(name) && !name.ends_with("key"));
    is_password && !value.starts_with('-') && !value.contains('$') && holds_secret("password", value)
}

/// Names and values of a map, or of a list of `NAME=value`.
fn pairs(node: &Node) -> Vec<(String, String, Place)> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .filter_map(|entry| {
                let value = entry.node.text()?;
                Some((entry.key.clone(), value.to_owned(), entry.place.clone()))
            })
            .collect(),
        Value::List(items) => items
            .iter()
            .filter_map(|item| {
                let (name, value) = item.text()?.split_once('=')?;
                Some((name.to_owned(), value.to_owned(), item.place.clone()))
            })
            .collect(),
        Value::Scalar(_) | Value::Null | Value::Broken => Vec::new(),
    }
}

/// A value with a variable in it comes from elsewhere, at least in part; `$$` is a dollar sign.
fn is_literal(name: &str, value: &str) -> bool {
    !value.replace("$$", "").contains('$') && holds_secret(name, value)
}

fn written(files: &Files, file: &str, name: &str, at: &Place) -> Finding {
    let name = harmless(name);
    let message = format!(
        "`{name}` in {}:{} is a secret written into a file (it is not shown)",
        harmless(file),
        at.line
    );
    if name.starts_with("--") {
        let hint = "put a variable there, such as `${PASSWORD}`, name it under `secrets:` in deployments.yaml, and set it in \
                    the environment of the job; replace the secret: it is in git's history";
        return files.strict(RULE, message, hint.to_owned()).at(place(file, at.line, at.column));
    }
    let hint = format!(
        "write `{name}: ${{{name}}}` there, name it under `secrets: [{name}]` in deployments.yaml, and set it in the \
         environment of the job; replace the secret: it is in git's history"
    );
    files.strict(RULE, message, hint).at(place(file, at.line, at.column))
}
