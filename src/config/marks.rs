//! Where in the project's files findings of the host belong: the host knows what is wrong, the runner where it is written.
//!
//! Names and places only, never a value that could be a secret.

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::{Mark, Place};

use super::paths;
use super::reader::Section;
use super::yaml::{self, Node, Value};

/// Keys of a service that rules are about.
const OF_SERVICES: [(&str, &str); 8] = [
    ("image", "compose.latest"),
    ("image", "image.secrets"),
    ("container_name", "compose.container-name"),
    ("ports", "compose.fixed-port"),
    ("ports", "host.ports"),
    ("platform", "host.architecture"),
    ("healthcheck", "compose.healthcheck"),
    ("user", "image.user"),
];
/// What compose files define beside services.
const DEFINITIONS: [(&str, &str, &str); 4] = [
    ("networks", "network", "compose.external"),
    ("volumes", "volume", "compose.external"),
    ("secrets", "secret", "files.required"),
    ("configs", "config", "files.required"),
];

/// Collects marks; the first of a rule and words counts.
#[derive(Default)]
pub(super) struct Marks {
    found: Vec<Mark>,
    seen: BTreeSet<(String, String)>,
}

impl Marks {
    fn add(&mut self, rule: &str, words: String, at: &yaml::Place) {
        if self.seen.insert((rule.to_owned(), words.clone())) {
            let place = Place { file: at.source.file.clone(), line: Some(at.line), column: Some(at.column) };
            self.found.push(Mark { rule: rule.to_owned(), words, place });
        }
    }

    /// Marks what an app of deployments.yaml asks for.
    pub(super) fn of_app(section: &Section<'_>) -> Vec<Mark> {
        let mut marks = Self::default();
        let lists = [
            ("required_vars", "env.required"),
            ("required_files", "files.required"),
            ("required_services", "compose.services"),
        ];
        for (key, rule) in lists {
            for item in section.get(key).iter().flat_map(|field| items(field.node)) {
                let Some(text) = item.text() else { continue };
                marks.add(rule, format!("`{}`", paths::normal(text)), &item.place);
            }
        }
        let requirements = section.get("requirements");
        for (key, rule) in [("disk_gb", "host.disk"), ("memory_gb", "host.memory")] {
            let entries = requirements.iter().flat_map(|field| field.node.entries());
            for entry in entries.filter(|entry| entry.key == key) {
                marks.add(rule, String::new(), &entry.place);
            }
        }
        marks.found
    }

    /// Marks what a compose file has; its places name it from the app's directory.
    pub(super) fn of_compose(root: &Node) -> Vec<Mark> {
        let mut marks = Self::default();
        for service in root.get("services").map(Node::entries).unwrap_or_default() {
            marks.of_service(&service.key, &service.node);
        }
        for (key, kind, rule) in DEFINITIONS {
            for entry in root.get(key).map(Node::entries).unwrap_or_default() {
                let external = entry.node.get("external").filter(|node| node.text() != Some("false"));
                let named = entry.node.get("name").and_then(Node::text);
                let named = named.or_else(|| external?.get("name").and_then(Node::text));
                for name in std::iter::once(entry.key.as_str()).chain(named) {
                    let rule = if external.is_some() { "compose.external" } else { rule };
                    marks.add(rule, format!("{kind} `{name}`"), &entry.place);
                }
            }
        }
        marks.of_variables(root);
        marks.found
    }

    fn of_service(&mut self, name: &str, service: &Node) {
        for entry in service.entries() {
            for (_, rule) in OF_SERVICES.iter().filter(|(key, _)| *key == entry.key) {
                self.add(rule, format!("service `{name}`"), &entry.place);
            }
        }
        let env_files = service.get("env_file").map(items).unwrap_or_default();
        for item in env_files {
            let Some(path) = item.text().or_else(|| item.get("path")?.text()) else { continue };
            for path in [path.to_owned(), paths::normal(path)] {
                self.add("env.file", format!("`{path}`"), &item.place);
            }
        }
        for item in service.get("volumes").map(items).unwrap_or_default() {
            let short = item.text().and_then(|text| Some(text.split_once(':')?.0));
            let Some(source) = short.or_else(|| item.get("source")?.text()) else { continue };
            let shown = if source.starts_with('/') { source.to_owned() } else { paths::normal(source) };
            let words = format!("`{shown}`, which service `{name}` mounts");
            self.add("compose.bind-source", words, &item.place);
        }
    }

    /// Where each variable is used first.
    fn of_variables(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar(scalar) => {
                for name in used(&scalar.text) {
                    self.add("env.unset", format!("`{name}`"), &node.place);
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.of_variables(item)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.of_variables(&entry.node)),
            Value::Null | Value::Broken => {}
        }
    }
}

/// Returns the marks with their files named from the app's directory, and not from the project's root.
pub(super) fn from_app(marks: Vec<Mark>, project_root: &Path, app_dir: &Path) -> Vec<Mark> {
    let below = app_dir.strip_prefix(project_root).map_or(0, |path| path.components().count());
    let up = "../".repeat(below);
    let moved = |mut mark: Mark| {
        if !Path::new(&mark.place.file).is_absolute() {
            mark.place.file = format!("{up}{}", mark.place.file);
        }
        mark
    };
    marks.into_iter().map(moved).collect()
}

/// A list's items, or the one value that stands for a list of it.
fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Scalar(_) => std::slice::from_ref(node),
        _ => &[],
    }
}

/// Names of the variables in a text of a compose file: `$NAME`, `${NAME}`, `${NAME:-…}`; `$$` is a dollar sign.
fn used(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        }
        rest = after.strip_prefix('{').unwrap_or(after);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if !name.is_empty() {
            names.push(name);
        }
        rest = after;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::Tags;

    fn marks(text: &str) -> Vec<(String, String, u32)> {
        let root = yaml::parse(text, "compose.yml", Tags::Ignored).root.unwrap();
        let marks = Marks::of_compose(&root).into_iter();
        marks.map(|mark| (mark.rule, mark.words, mark.place.line.unwrap())).collect()
    }

    #[test]
    fn variables_are_found_where_they_are_used_first() {
        assert_eq!(used("$A-${B:-${C}}/$$D/${E?x}$"), ["A", "B", "C", "E"]);
        let found = marks("services:\n  a:\n    image: x:${TAG}\n    command: ['$TAG', '$$NO']\n");
        let of = |rule: &str| found.iter().filter(|(found, ..)| found == rule).collect::<Vec<_>>();
        assert_eq!(of("env.unset"), [&("env.unset".to_owned(), "`TAG`".to_owned(), 3)]);
        assert_eq!(of("compose.latest"), [&("compose.latest".to_owned(), "service `a`".to_owned(), 3)]);
    }

    #[test]
    fn what_must_be_there_is_found_in_every_form() {
        let found = marks(
            "services:
  a:
    env_file: [./one.env, { path: two.env }]
    volumes:
      - ./conf:/etc/conf:ro
      - { type: bind, source: data, target: /data }
networks:
  front: { external: true, name: real }
  own: {}
secrets:
  key: { file: key.txt }
",
        );
        for (rule, words, line) in [
            ("env.file", "`one.env`", 3),
            ("env.file", "`two.env`", 3),
            ("compose.bind-source", "`conf`, which service `a` mounts", 5),
            ("compose.bind-source", "`data`, which service `a` mounts", 6),
            ("compose.external", "network `real`", 8),
            ("files.required", "secret `key`", 11),
        ] {
            assert!(found.contains(&(rule.to_owned(), words.to_owned(), line)), "{words}: {found:?}");
        }
    }

    #[test]
    fn the_configuration_is_named_from_the_apps_directory() {
        let place = |file: &str| Place { file: file.to_owned(), line: Some(1), column: None };
        let of = |file: &str, app: &str| {
            let mark = Mark { rule: String::new(), words: String::new(), place: place(file) };
            from_app(vec![mark], Path::new("/p"), Path::new(app)).remove(0).place.file
        };
        assert_eq!(of("deployments.yaml", "/p"), "deployments.yaml");
        assert_eq!(of("deploy/deployments.yaml", "/p/apps/shop"), "../../deploy/deployments.yaml");
        assert_eq!(of("/etc/deployments.yaml", "/p/apps"), "/etc/deployments.yaml");
    }
}
