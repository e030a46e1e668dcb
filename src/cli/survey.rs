//! What the runner looks at before it asks the host: the files of the bundle, and the rules on the project's own files.

use super::own::Own;
use crate::config::{self, Resolved, bundle};
use crate::model::{ErrorKind, FailureReport, Finding, HookPlace, Manifest, Outcome};
use crate::preflight::{self, Wanted};

/// Returns the list of the bundle's files, and what the rules found. `tests`: whether
/// the tests would be run.
///
/// # Errors
/// The files cannot be listed. What a rule finds is no error here: the host's findings belong to the same answer.
pub(super) async fn survey(resolved: &Resolved, tests: bool) -> Result<(Manifest, Vec<Finding>), Own> {
    let (directory, include, exclude) =
        (resolved.app_dir.clone(), resolved.bundle.clone(), resolved.bundle_exclude.clone());
    let files = resolved.files();
    let (scanned, findings) = tokio::join!(
        apart("bundle.scan", move || bundle::scan(&directory, &include, &exclude)),
        apart("rules", move || config::project_rules::check(&files)),
    );
    let manifest = scanned?.map_err(|error| Own::of(Outcome::Invalid, error.report()))?;
    let own = own_programs(resolved, tests);
    let findings = findings?.into_iter().chain(own).map(|finding| finding.silenced_by(&resolved.silenced));
    Ok((manifest, findings.collect()))
}

/// `hooks.program` of what the runner runs itself: the tests, and hooks that say `on: runner`.
fn own_programs(resolved: &Resolved, tests: bool) -> Vec<Finding> {
    let test = resolved.test.as_ref().filter(|_| tests).and_then(|test| test.argv.first());
    let test = test.map(|program| Wanted { what: "the test".to_owned(), program, may_be_made: false });
    let hooks = preflight::wanted(&resolved.app.hooks, &HookPlace::Runner);
    let wanted: Vec<Wanted<'_>> = test.into_iter().chain(hooks).collect();
    preflight::programs(&wanted, "runner", &resolved.app_dir)
}

/// Does what reads many files on a thread of its own; `code` is that of the failure should it not come back.
async fn apart<T: Send + 'static>(code: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Own> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let failure = FailureReport::new(ErrorKind::DeploymentError, code, error.to_string());
        Own::of(Outcome::Aborted, failure)
    })
}
