//! Do two environments in place write to the same directory of the project (DESIGN section 6, In place)?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::containers::{Containers, Seen};
use super::{Subject, listed};
use crate::model::{Finding, labels};
use crate::text::harmless;

/// `inplace.shared-data`; nothing is said when no other environment writes there.
pub(super) fn check(subject: &Subject<'_>, containers: Option<&Containers>) -> Option<Finding> {
    let containers = containers.filter(|_| subject.is_in_place())?;
    let own = written_directories(subject);
    let mut shared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in containers.0.iter().filter(|seen| is_of_another(subject, seen)) {
        let both = own.iter().filter(|path| seen.writes.iter().any(|other| overlap(path, other)));
        let environment = harmless(seen.label(labels::ENVIRONMENT).unwrap_or_default());
        shared.entry(environment).or_default().extend(both.map(|path| shown(subject, path)));
    }
    let (other, mut paths) = shared.into_iter().find(|(_, paths)| !paths.is_empty())?;
    paths.sort();
    paths.dedup();
    let message = format!(
        "environment `{other}` writes to the same directories as `{}`: {}",
        subject.environment.name,
        listed(paths)
    );
    let hint = "give one of them a `root:` in environments.yaml, or other paths in a compose file of its own";
    Some(Finding::warning("inplace.shared-data", message, hint))
}

/// Directories of the project that services may write to. What lies elsewhere (`/var/run`) is shared on purpose.
fn written_directories(subject: &Subject<'_>) -> Vec<PathBuf> {
    let services = subject.known_model().into_iter().flat_map(|model| model.services.values());
    let mounts = services.flat_map(|service| &service.volumes).filter(|mount| !mount.read_only);
    let sources = mounts.filter_map(|mount| Some(PathBuf::from(mount.bind_source()?)));
    sources.filter(|path| path.starts_with(subject.project_dir) && !path.is_file()).collect()
}

/// Whether it runs, deployed by us, for another app, environment or place.
fn is_of_another(subject: &Subject<'_>, seen: &Seen) -> bool {
    let root = seen.label(labels::ROOT);
    root.is_some_and(|root| Path::new(root) != subject.root)
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn shown(subject: &Subject<'_>, path: &Path) -> String {
    path.strip_prefix(subject.project_dir).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, container};
    use super::*;
    use crate::model::Placement;

    const MODEL: &str = r#"{"services": {"a": {"volumes": [
        {"type": "bind", "source": "@/data", "target": "/data"},
        {"type": "bind", "source": "@/config", "target": "/config", "read_only": true},
        {"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}]}}}"#;

    fn neighbour(bench: &Bench, root: &Path, writes: &str) -> Containers {
        let root = root.display().to_string();
        let mut seen = container("x-a-1", &[(labels::ENVIRONMENT, "dev"), (labels::ROOT, root.as_str())]);
        seen.writes = vec![bench.directory.path().join(writes), "/var/run/docker.sock".into()];
        Containers(vec![seen])
    }

    #[test]
    fn a_directory_that_two_environments_write_to_is_named_with_the_other_one() {
        let mut bench = Bench::new();
        bench.model(MODEL);
        let elsewhere = Path::new("/srv/x/.ffe-deploy/shop-dev");
        let told = |bench: &Bench, found: &Containers| check(&bench.subject(), Some(found));
        for writes in ["data", "data/decisions", ""] {
            let found = told(&bench, &neighbour(&bench, elsewhere, writes)).unwrap();
            assert_eq!(found.rule, "inplace.shared-data");
            assert!(found.message.contains("`dev`") && found.message.ends_with(": `data`"), "{found:?}");
        }
        assert_eq!(told(&bench, &neighbour(&bench, elsewhere, "config")), None);
        let own_root = bench.root.clone();
        assert_eq!(told(&bench, &neighbour(&bench, &own_root, "data")), None, "this environment itself");
        let there = neighbour(&bench, elsewhere, "data");
        bench.environment.placement = Placement::Root { base: None };
        assert_eq!(told(&bench, &there), None, "on a root every environment has its own");
    }
}
