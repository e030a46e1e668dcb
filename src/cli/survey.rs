//! What the runner looks at before it asks the host: the files of the bundle, and the rules on the project's own files.

use super::own::Own;
use crate::config::{self, Resolved, bundle};
use crate::model::{ErrorKind, FailureReport, Finding, Manifest, Outcome};

/// Returns the list of the bundle's files, and what the rules found.
///
/// # Errors
/// The files cannot be listed. What a rule finds is no error here: the host's findings belong to the same answer.
pub(super) async fn survey(resolved: &Resolved) -> Result<(Manifest, Vec<Finding>), Own> {
    let (directory, include, exclude) =
        (resolved.app_dir.clone(), resolved.bundle.clone(), resolved.bundle_exclude.clone());
    let files = resolved.files();
    let (scanned, findings) = tokio::join!(
        apart("bundle.scan", move || bundle::scan(&directory, &include, &exclude)),
        apart("rules", move || config::project_rules::check(&files)),
    );
    let manifest = scanned?.map_err(|error| Own::of(Outcome::Invalid, error.report()))?;
    let findings = findings?.into_iter().map(|finding| finding.silenced_by(&resolved.silenced));
    Ok((manifest, findings.collect()))
}

/// Does what reads many files on a thread of its own; `code` is that of the failure should it not come back.
async fn apart<T: Send + 'static>(code: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Own> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let failure = FailureReport::new(ErrorKind::DeploymentError, code, error.to_string());
        Own::of(Outcome::Aborted, failure)
    })
}
