//! Are the sources of binds there, and what would become of those that are not (DESIGN section 6, Files).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::Subject;
use crate::model::Finding;

/// What is to be done about a bind whose source is missing.
enum Missing {
    /// A directory of the app's own that nobody listed; setup makes it, or Docker does.
    Directory,
    /// One that the app lists under `setup` or `shared`: setup makes it.
    Listed,
    /// Docker would make a directory where a file is meant, or one of root's somewhere on the host, or refuse.
    Refused,
}

/// `compose.bind-source`.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    if subject.known_model().is_none() {
        return Vec::new();
    }
    let missing = missing_sources(subject);
    let mut findings: Vec<Finding> = missing
        .iter()
        .filter_map(|(path, (service, what))| bind_finding(subject, path, service, what))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::passed(
            "compose.bind-source",
            "the sources of all binds are there, or setup makes them",
        ));
    }
    findings
}

fn bind_finding(subject: &Subject<'_>, path: &Path, service: &str, what: &Missing) -> Option<Finding> {
    let shown = path.strip_prefix(subject.project_dir).unwrap_or(path).display();
    let message = format!("`{shown}`, which service `{service}` mounts, is missing");
    let finding = match what {
        Missing::Listed => return None,
        Missing::Directory if !subject.is_in_place() => return None,
        Missing::Directory => Finding::warning(
            "compose.bind-source",
            format!("{message}; an empty directory will be made"),
            format!("list it under `setup.directories` in deployments.yaml: `{shown}`"),
        ),
        Missing::Refused => Finding::error(
            "compose.bind-source",
            format!("{message}; Docker would make a directory of root's in its place, or fail"),
            format!("create {} on the host", path.display()),
        ),
    };
    Some(finding.detail("path", path.display().to_string()).detail("service", service))
}

pub(super) fn directories_to_make(subject: &Subject<'_>) -> Vec<PathBuf> {
    let missing = missing_sources(subject).into_iter();
    missing.filter(|(_, (_, what))| !matches!(what, Missing::Refused)).map(|(path, _)| path).collect()
}

fn missing_sources<'a>(subject: &Subject<'a>) -> BTreeMap<PathBuf, (&'a str, Missing)> {
    let services = subject.known_model().into_iter().flat_map(|model| &model.services);
    let binds = services.flat_map(|(name, service)| {
        service.volumes.iter().filter_map(move |mount| Some((name, mount, mount.bind_source()?)))
    });
    binds
        .filter(|(_, _, source)| std::fs::symlink_metadata(source).is_err())
        .map(|(service, mount, source)| {
            let path = PathBuf::from(source);
            let inside =
                path.strip_prefix(subject.shared).or_else(|_| path.strip_prefix(subject.project_dir));
            let what = match inside {
                Ok(relative) if is_listed(subject, relative) => Missing::Listed,
                Ok(relative)
                    if mount.create_host_path()
                        && !is_file_name(relative)
                        && !is_file_name(Path::new(&mount.target)) =>
                {
                    Missing::Directory
                }
                _ => Missing::Refused,
            };
            (path, (service.as_str(), what))
        })
        .collect()
}

/// What setup makes: its directories and databases, what `shared` names, and what lies below or above those.
fn is_listed(subject: &Subject<'_>, relative: &Path) -> bool {
    let setup = &subject.app.setup;
    let directories = setup.directories.iter().map(|directory| directory.path.as_str());
    let above = directories
        .clone()
        .chain(setup.databases.iter().map(String::as_str))
        .any(|made| plain(made).starts_with(relative));
    let shared = subject.app.shared.iter().map(String::as_str);
    above || shared.chain(directories).any(|listed| plain(listed) == relative)
}

/// Without `./`.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

/// Whether a name is one that files have: with an extension (`conf.d` and its like are directories), or a well-known one.
fn is_file_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| !extension.is_empty() && extension != "d")
        || name.to_ascii_lowercase().ends_with("file")
        || matches!(name, "passwd" | "group" | "hosts" | "crontab")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::model::{SetupDirectory, Severity};

    #[test]
    fn missing_bind_sources_are_told_by_what_would_become_of_them() {
        let mut bench = Bench::new();
        let bind = |source: &str, target: &str| {
            format!(
                r#"{{"type": "bind", "source": "{source}", "target": "{target}", "bind": {{"create_host_path": true}}}}"#
            )
        };
        bench.write("there.conf", "");
        let mounts = [
            bind("@/there.conf", "/a"),
            bind("@/Caddyfile", "/etc/caddy/Caddyfile"),
            bind("@/cfg", "/etc/app.toml"),
            bind("/nonexistent/place", "/b"),
            bind("@/uploads", "/c"),
            bind("@/data", "/d"),
            bind("@/logs", "/e"),
            r#"{"type": "bind", "source": "@/long", "target": "/f"}"#.to_owned(),
        ];
        bench.model(&format!(r#"{{"services": {{"a": {{"volumes": [{}]}}}}}}"#, mounts.join(",")));
        bench.app.setup.directories =
            vec![SetupDirectory { path: "./data/decisions".to_owned(), mode: None }];
        bench.app.shared = vec!["logs".to_owned()];
        let found = check(&bench.subject());
        let told: Vec<_> = found.iter().map(|f| (f.severity, f.message.split('`').nth(1).unwrap())).collect();
        assert_eq!(
            told,
            [
                (Severity::Error, "/nonexistent/place"),
                (Severity::Error, "Caddyfile"),
                (Severity::Error, "cfg"),
                (Severity::Error, "long"),
                (Severity::Warning, "uploads"),
            ]
        );
        let mut made = directories_to_make(&bench.subject());
        made.iter_mut().for_each(|path| *path = path.strip_prefix(bench.directory.path()).unwrap().into());
        assert_eq!(made, ["data", "logs", "uploads"].map(PathBuf::from));
    }
}
