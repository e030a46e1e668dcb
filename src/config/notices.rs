//! What deserves a warning although nothing is wrong with the configuration.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{Finding, Placement};
use crate::text::harmless;

use super::git::{self, Git};

/// Returns the warnings about the place that a release comes from, and about deploying it there in place; `asks_versions`
/// for verbs that check the tools, too.
pub(super) fn of(
    app_dir: &Path,
    git: Git,
    placement: &Placement,
    job: &BTreeMap<String, String>,
    asks_versions: bool,
) -> Vec<Finding> {
    let in_workspace = matches!(placement, Placement::InPlace { .. }) && is_in_workspace(app_dir, job);
    let found = [
        asks_versions.then(|| git_version(git::version().as_deref())),
        bundle(app_dir, git),
        in_workspace.then(in_place_there),
    ];
    found.into_iter().flatten().collect()
}

/// Oldest git that is tried (R001-07).
const OLDEST_GIT: (u32, u32) = (2, 30);

/// `git.version`, of what `git --version` says; what cannot be read as a version passes.
fn git_version(said: Option<&str>) -> Finding {
    let (major, minor) = OLDEST_GIT;
    let Some(said) = said else {
        let message = format!("git is not installed on the runner, and {major}.{minor} or newer is wanted");
        return Finding::warning("git.version", message, "install git on the machine that runs ffe-deploy");
    };
    let version = harmless(said.trim_start_matches("git version "));
    let mut numbers = version.split(['.', ' ', '-']).map_while(|number| number.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()).is_some_and(|numbers| numbers < OLDEST_GIT) {
        return Finding::warning(
            "git.version",
            format!("git on the runner is {version}, and {major}.{minor} or newer is wanted"),
            "update git on the machine that runs ffe-deploy",
        );
    }
    Finding::passed("git.version", format!("git {version} is on the runner"))
}

fn bundle(app_dir: &Path, git: Git) -> Option<Finding> {
    if git != Git::Repository {
        let (why, hint) = match git {
            Git::Missing => ("git is not installed", "install git, and deploy from a git checkout"),
            Git::NoRepository | Git::Repository => ("git tracks nothing here", "deploy from a git checkout"),
        };
        let message = format!("{why}: the release holds what .gitignore and .dockerignore let in");
        return Some(Finding::warning("bundle.no-git", message, hint));
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
    fn an_old_git_is_a_warning_and_an_odd_one_is_not() {
        use crate::model::Severity::{Passed, Warning};
        for (said, severity) in [
            ("git version 2.20.1", Warning),
            ("git version 2.39.5 (Apple Git-154)", Passed),
            ("git version next", Passed),
        ] {
            assert_eq!(git_version(Some(said)).severity, severity, "{said}");
        }
        let missing = git_version(None);
        assert_eq!(missing.severity, Warning);
        assert!(missing.message.starts_with("git is not installed"), "{}", missing.message);
    }

    #[test]
    fn only_in_place_below_the_jobs_workspace_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        let app = directory.path().join("app");
        std::fs::create_dir(&app).unwrap();
        let job = |path: &Path| BTreeMap::from([("GITHUB_WORKSPACE".to_owned(), path.display().to_string())]);
        let warned = |placement: Placement, job: &BTreeMap<String, String>| {
            of(&app, Git::Repository, &placement, job, false)
                .iter()
                .any(|found| found.rule == "local.workspace")
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
