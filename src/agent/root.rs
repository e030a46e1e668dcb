//! Is the root what we left there, and ours: on anything else nothing is decided.

use std::path::Path;

use super::attach::{Refusal, Served};
use crate::host::layout::Layout;
use crate::model::{Action, ErrorKind, FailureReport, Job};
use crate::preflight;
use crate::text::harmless;

/// Refuses a root that another user owns, for whoever would change it, and one in which something else lies where the link
/// or the lease of ours should.
pub(super) fn check(job: &Job, layout: &Layout) -> Served {
    let failed = |code: &str, message: String, hint: String| {
        Err(Refusal::of(FailureReport::new(ErrorKind::ValidationError, code, message).hint(hint)))
    };
    let would_change = job.action.changes() || job.action == Action::Plan;
    let foreign = preflight::of_another_user(layout.root()).filter(|_| would_change);
    if let Some(finding) = foreign {
        let message = format!("{}; nothing was touched", finding.message);
        return failed(&finding.rule, message, finding.hint.unwrap_or_default());
    }
    let Some((path, what, order)) = spoiled(layout) else { return Ok(()) };
    let message = format!("{} is {}, not {what}; nothing was touched", path.display(), kind_of(&path));
    failed("root.damaged", message, order)
}

fn spoiled(layout: &Layout) -> Option<(std::path::PathBuf, &'static str, String)> {
    let (current, lease) = (layout.current(), layout.lease());
    if current.symlink_metadata().is_ok() && layout.current_release().is_none() {
        let order = format!(
            "move it away; when a release runs, point the link to it again: `ln -sfn releases/<release> {}`",
            current.display()
        );
        return Some((current, "the link to the release that runs", order));
    }
    let is_other = lease.symlink_metadata().is_ok_and(|meta| !meta.is_file());
    is_other.then(|| (lease, "the file of the lease", "move it away, then run this again".to_owned()))
}

fn kind_of(path: &Path) -> String {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => "a directory".to_owned(),
        Ok(meta) if meta.is_symlink() => {
            let target = std::fs::read_link(path).unwrap_or_default();
            format!("a link to {}", harmless(&target.to_string_lossy()))
        }
        Ok(meta) if meta.is_file() => "a file".to_owned(),
        _ => "something else".to_owned(),
    }
}
