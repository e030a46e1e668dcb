//! Compose files that take parts from outside the project: no release holds those, and no rollback brings them back.

use std::path::Path;

use crate::model::{Finding, Place, Placement};

use super::interpolate::{Vars, fill_text};
use super::yaml::{Node, Value};
use super::{compose, paths};

/// Something that a compose file takes from elsewhere.
struct Taken<'a> {
    /// `extends`, `include` or `env_file`, and the service where it has one.
    key: String,
    path: String,
    node: &'a Node,
}

/// `compose.outside`: `extends`, `include` and `env_file` that lead out of the app's directory.
pub(super) fn check(app_dir: &Path, files: &[String], vars: &Vars, placement: &Placement) -> Vec<Finding> {
    // Compose resolves paths from the directory of the first file, and those of `extends` from the file's own.
    let directory =
        |file: &str| file.rsplit_once('/').map_or(String::new(), |(directory, _)| directory.to_owned());
    let base = files.first().map(|file| directory(file)).unwrap_or_default();
    let mut findings = Vec::new();
    for file in files {
        let Some(root) = compose::load(&app_dir.join(file)) else { continue };
        let own = directory(file);
        let taken = extended(&root).map(|taken| (own.as_str(), taken));
        let taken = taken.chain(included(&root).map(|taken| (own.as_str(), taken)));
        for (from, taken) in taken.chain(env_files(&root).map(|taken| (base.as_str(), taken))) {
            let Ok(path) = fill_text(&taken.path, vars) else { continue };
            let place = Place {
                file: file.clone(),
                line: Some(taken.node.place.line),
                column: Some(taken.node.place.column),
            };
            findings
                .extend(judged(app_dir, from, &taken, &path, placement).map(|found| found.at(Some(place))));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::passed(
            "compose.outside",
            "the compose files take nothing from outside the project",
        ));
    }
    findings
}

fn judged(
    app_dir: &Path,
    from: &str,
    taken: &Taken<'_>,
    path: &str,
    placement: &Placement,
) -> Option<Finding> {
    const RULE: &str = "compose.outside";
    let key = &taken.key;
    if path.contains("://") || path.starts_with("git@") {
        let message = format!("{key} is fetched from `{path}` at each deployment");
        let hint = "copy it into the project, so that a release is the same tomorrow";
        return Some(Finding::warning(RULE, message, hint));
    }
    if Path::new(path).is_absolute() {
        let message = format!("{key} names `{path}` on the host");
        let hint = "move it into the project; a rollback does not bring back what lies outside";
        return (!Path::new(path).starts_with(app_dir)).then(|| Finding::warning(RULE, message, hint));
    }
    if paths::join(from, path).is_some() {
        return None;
    }
    let message = format!("{key} names `{path}`, which lies outside the app's directory");
    Some(match placement {
        Placement::InPlace { .. } => Finding::warning(
            RULE,
            message,
            "move it into the app's directory; a rollback does not bring it back",
        ),
        Placement::Root { .. } => Finding::error(
            RULE,
            format!("{message}: it does not travel with the release"),
            "move it into the app's directory, or set `path:` of the app to a directory that holds both",
        ),
    })
}

fn services(root: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    services.iter().map(|entry| (entry.key.as_str(), &entry.node))
}

fn taken<'a>(key: String, node: &'a Node) -> Option<Taken<'a>> {
    Some(Taken { key, path: node.text()?.to_owned(), node })
}

fn extended(root: &Node) -> impl Iterator<Item = Taken<'_>> {
    services(root).filter_map(|(name, service)| {
        taken(format!("`extends` of service `{name}`"), service.get("extends")?.get("file")?)
    })
}

/// `include`: paths, or maps with `path` (one or several).
fn included(root: &Node) -> impl Iterator<Item = Taken<'_>> {
    let included = root.get("include").map(items).unwrap_or_default();
    let paths = included.into_iter().flat_map(|item| match item.get("path") {
        Some(path) => items(path),
        None => vec![item],
    });
    paths.filter_map(|path| taken("`include`".to_owned(), path))
}

fn env_files(root: &Node) -> impl Iterator<Item = Taken<'_>> {
    services(root).flat_map(|(name, service)| {
        let named = service.get("env_file").map(items).unwrap_or_default();
        let paths = named.into_iter().map(|item| item.get("path").unwrap_or(item));
        paths
            .filter_map(move |path| taken(format!("`env_file` of service `{name}`"), path))
            .collect::<Vec<_>>()
    })
}

/// The items of a list, or the one value.
fn items(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::List(items) => items.iter().collect(),
        Value::Scalar(_) | Value::Map(_) => vec![node],
        Value::Null | Value::Broken => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    const FILE: &str = "
include: [../common.yml, { path: [parts/a.yml, 'oci://docker.io/x/y:1'] }]
services:
  a: { extends: { file: ../base.yml, service: a }, env_file: [.env, { path: ../../x.env, required: false }] }
  b: { extends: { service: a }, env_file: /etc/shop/env }
  c: { extends: { file: '${UNKNOWN}/x.yml', service: a }, env_file: '${DIR:-conf}/c.env' }
";

    #[test]
    fn what_leads_out_of_the_project_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("deploy")).unwrap();
        std::fs::write(directory.path().join("deploy/compose.yml"), FILE).unwrap();
        let files = ["deploy/compose.yml".to_owned()];
        let told = |placement: &Placement| -> Vec<(Severity, String, u32)> {
            let found = check(directory.path(), &files, &Vars::new(), placement).into_iter();
            let told = found.map(|found| {
                let name =
                    found.message.split('`').find(|part| part.contains(['/', '.'])).unwrap().to_owned();
                (found.severity, name, found.place.unwrap().line.unwrap())
            });
            told.collect()
        };
        let expected = |outside: Severity| {
            [
                (Severity::Warning, "oci://docker.io/x/y:1", 2),
                (outside, "../../x.env", 4),
                (Severity::Warning, "/etc/shop/env", 5),
            ]
            .map(|(severity, path, line)| (severity, path.to_owned(), line))
        };
        assert_eq!(told(&Placement::Root { base: None }), expected(Severity::Error));
        let in_place = Placement::InPlace { path: directory.path().to_owned() };
        assert_eq!(told(&in_place), expected(Severity::Warning));
    }
}
