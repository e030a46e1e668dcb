//! Which paths a backup is about: what is saved by default, what may be named, and what never belongs to it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::BackupError;
use crate::model::{EnvironmentName, Placement};

/// Our own state in a project that is deployed in place: never part of a backup.
const STATE: &str = ".ffe-deploy";

/// Returns what is saved when nothing is configured: the documents' paths in place (R001-56, C32), all of `shared/`
/// on a root.
pub fn default_paths(placement: &Placement, environment: &EnvironmentName) -> Vec<String> {
    match placement {
        Placement::Root { .. } => vec![".".to_owned()],
        Placement::InPlace { .. } => vec![
            "data".to_owned(),
            "config/config.local.yaml".to_owned(),
            "config.local.yaml".to_owned(),
            format!(".env.{environment}"),
        ],
    }
}

/// Returns the paths in order, each once, without those that lie below another one; `.` is the empty path.
///
/// # Errors
/// A path is absolute, leaves the base, or is one that never belongs to a backup.
pub(super) fn checked(paths: &[String], excluded: &Excluded) -> Result<Vec<PathBuf>, BackupError> {
    let checked: BTreeSet<PathBuf> =
        paths.iter().map(|path| checked_one(path, excluded)).collect::<Result<_, _>>()?;
    let is_below = |path: &&PathBuf| checked.iter().any(|other| other != *path && path.starts_with(other));
    Ok(checked.iter().filter(|path| !is_below(path)).cloned().collect())
}

fn checked_one(written: &str, excluded: &Excluded) -> Result<PathBuf, BackupError> {
    let refused = |reason| Err(BackupError::Path { path: written.to_owned(), reason });
    let mut path = PathBuf::new();
    for component in Path::new(written).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => return refused("it has `..` in it"),
            Component::RootDir | Component::Prefix(_) => return refused("it is absolute"),
        }
    }
    if written.is_empty() || written.contains('\0') {
        return refused("it is empty or has a NUL byte in it");
    }
    if excluded.contains(&path) {
        return refused("backups and the state of ffe-deploy are never part of a backup");
    }
    Ok(path)
}

/// What lies below the base and never belongs to a backup.
#[derive(Clone, Debug, Default)]
pub(super) struct Excluded {
    directory: Option<PathBuf>,
}

impl Excluded {
    /// Returns what is excluded when archives of `base` go to `directory`, which may not exist yet.
    pub(super) fn of(base: &Path, directory: &Path) -> Self {
        let directory = real(directory).strip_prefix(real(base)).ok().map(Path::to_owned);
        Self { directory: directory.filter(|path| !path.as_os_str().is_empty()) }
    }

    /// Returns whether this path, relative to the base, or one above it is excluded.
    pub(super) fn contains(&self, path: &Path) -> bool {
        path.starts_with(STATE)
            || self.directory.as_ref().is_some_and(|directory| path.starts_with(directory))
    }
}

fn real(path: &Path) -> PathBuf {
    let by_parent = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(by_parent).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn backups() -> Excluded {
        Excluded { directory: Some("backups".into()) }
    }

    #[test]
    fn paths_that_leave_the_base_or_name_our_own_are_refused() {
        for bad in ["/etc", "../x", "a/../b", "", "backups", "./backups/x", ".ffe-deploy", "a\0b"] {
            assert!(checked(&strings(&[bad]), &backups()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_lies_below_another_path_is_saved_once() {
        let paths = strings(&["data/db", "./data/", "data-2", "config/x.yaml", "data"]);
        let expected: Vec<PathBuf> = ["config/x.yaml", "data", "data-2"].map(PathBuf::from).into();
        assert_eq!(checked(&paths, &backups()).unwrap(), expected);
        assert_eq!(checked(&strings(&["data", "."]), &backups()).unwrap(), [PathBuf::new()]);
    }

    #[test]
    fn the_defaults_are_those_of_the_documents() {
        let production = "production".parse().unwrap();
        let in_place = Placement::InPlace { path: "/p".into() };
        assert_eq!(
            default_paths(&in_place, &production),
            ["data", "config/config.local.yaml", "config.local.yaml", ".env.production"]
        );
        assert_eq!(default_paths(&Placement::Root { base: None }, &production), ["."]);
    }
}
