//! A journal that a newer version wrote is handed to the agent that it names: only that one can read it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::guard::environment;
use crate::host::atomic;
use crate::host::digest;
use crate::host::layout::Layout;
use crate::model::{DeploymentId, ErrorKind, FailureReport};
use crate::pipeline::journal::{self, JournalError};

/// What an unfinished deployment is, whoever wrote its journal.
pub(super) struct Unfinished {
    /// The deployment.
    pub id: DeploymentId,
    /// There is no release to go back to.
    pub is_first: bool,
}

/// Returns the unfinished deployment that the journal names, also when only a newer agent can read the rest.
///
/// # Errors
/// The journal cannot be used.
pub(super) fn unfinished(layout: &Layout) -> Result<Option<Unfinished>, FailureReport> {
    match journal::read(&layout.journal()) {
        Ok(entry) => Ok(entry.map(|entry| Unfinished {
            id: entry.job.deployment_id.clone(),
            is_first: entry.before.is_none(),
        })),
        Err(JournalError::Newer { ref entry, .. }) if id_in(entry).is_some() => {
            Ok(id_in(entry).map(|id| Unfinished { id, is_first: entry["before"].is_null() }))
        }
        Err(error) => Err(error.report()),
    }
}

fn id_in(entry: &Value) -> Option<DeploymentId> {
    entry["job"]["deployment_id"].as_str()?.parse().ok()
}

/// Lets the agent that a newer journal names begin its recovery; `words` are its arguments after the root.
///
/// # Errors
/// That agent is not there, is not what it was, or refuses; nothing was touched then.
pub(super) fn hand_on(
    root: &Path,
    version: &str,
    entry: &Value,
    words: &[&str],
) -> Result<(), FailureReport> {
    let kept = entry["agent"].as_str().unwrap_or_default();
    let program = root.join(kept).join("ffe-agent");
    let why = match digest::of_file(&program) {
        _ if !is_kept(kept) => "names no agent of this root".to_owned(),
        Ok(digest) if kept.ends_with(&format!("-{digest}")) => match run(root, &program, entry, words) {
            Ok(()) => return Ok(()),
            Err(why) => format!("the agent that it names, {}, does not end it: {why}", program.display()),
        },
        Ok(_) => format!("the agent that it names, {}, is damaged", program.display()),
        Err(error) => format!("the agent that it names, {}, cannot be read: {error}", program.display()),
    };
    let journal = root.join("state/journal.json");
    let message = format!(
        "the journal {} was written by version {version} of ffe-deploy, and {why}; nothing was touched",
        journal.display()
    );
    let hint = format!("run `ffe-deploy recover` of version {version} or newer for this host");
    Err(FailureReport::new(ErrorKind::DeploymentError, "journal.newer", message).hint(hint))
}

/// A file of ours could be made to name any program: only what lies where agents are kept is run, and never this one.
fn is_kept(path: &str) -> bool {
    let path = PathBuf::from(path);
    let this = std::env::current_exe().unwrap_or_default();
    path.parent() == Some(Path::new("state/bin")) && !this.parent().is_some_and(|home| home.ends_with(&path))
}

fn run(root: &Path, program: &Path, entry: &Value, words: &[&str]) -> Result<(), String> {
    let id = id_in(entry).map(|id| id.to_string()).unwrap_or_default();
    let log = root.join("state/jobs").join(id).join("guard.log");
    let log = atomic::open(&log, OpenOptions::new().append(true)).map_or_else(|_| Stdio::null(), Stdio::from);
    let mut command = Command::new(program);
    command.arg("recover").arg(root).args(words).env_clear().envs(environment()).current_dir("/");
    // It ends as soon as its guard has begun.
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}; guard.log of that deployment says more")),
        Err(error) => Err(error.to_string()),
    }
}
