//! What deserves a warning although nothing is wrong with the configuration.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{Finding, Placement};

use super::git::{self, Git};

/// Returns the warnings about the place that a release comes from, and about deploying it there in place.
pub(super) fn of(
    app_dir: &Path,
    git: Git,
    placement: &Placement,
    job: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let in_workspace = matches!(placement, Placement::InPlace { .. }) && is_in_workspace(app_dir, job);
    [bundle(app_dir, git), in_workspace.then(in_place_there)].into_iter().flatten().collect()
}

fn bundle(app_dir: &Path, git: Git) -> Option<Finding> {
    if git != Git::Repository {
        let why = if git == Git::Missing { "git is not installed" } else { "git tracks nothing here" };
        let message = format!("{why}: the release holds what .gitignore and .dockerignore let in");
        return Some(Finding::warning("bundle.no-git", message, "deploy from a git checkout"));
    }
    let dirty = git::describe(app_dir).is_some_and(|label| label.ends_with("-dirty"));
    dirty.then(|| {
        let message = "the release holds changes that are not committed";
        Finding::warning("version.dirty", message, "commit them, so that the version says what runs")
    })
}

/// Whether the app lies in the directory that a job's checkout owns.
fn is_in_workspace(app_dir: &Path, job: &BTreeMap<String, String>) -> bool {
    let workspace = job.get("GITHUB_WORKSPACE").filter(|path| !path.is_empty());
    let workspace = workspace.and_then(|path| Path::new(path).canonicalize().ok());
    let app_dir = app_dir.canonicalize().ok();
    workspace.zip(app_dir).is_some_and(|(workspace, app_dir)| app_dir.starts_with(workspace))
}

/// `local.workspace` (DESIGN section 6, In place).
fn in_place_there() -> Finding {
    Finding::warning(
        "local.workspace",
        "deploying in place in the workspace of the job: the next checkout there (`git clean -ffdx`) deletes data, \
         backups and history",
        "set `root:` of the environment in environments.yaml, such as `root: /srv`, or `host:`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_in_place_below_the_jobs_workspace_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        let app = directory.path().join("app");
        std::fs::create_dir(&app).unwrap();
        let job = |path: &Path| BTreeMap::from([("GITHUB_WORKSPACE".to_owned(), path.display().to_string())]);
        let warned = |placement: Placement, job: &BTreeMap<String, String>| {
            of(&app, Git::Repository, &placement, job).iter().any(|found| found.rule == "local.workspace")
        };
        let in_place = || Placement::InPlace { path: app.clone() };
        assert!(warned(in_place(), &job(directory.path())));
        assert!(warned(in_place(), &job(&app)));
        assert!(!warned(Placement::Root { base: None }, &job(directory.path())));
        assert!(!warned(in_place(), &job(Path::new("/nonexistent"))));
        assert!(!warned(in_place(), &job(Path::new(""))));
        assert!(!warned(in_place(), &BTreeMap::new()));
    }
}
