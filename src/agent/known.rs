//! Which job an id, or a run of a workflow, has asked for before: so that it is followed, and never done twice.
//!
//! [`note`] writes it down beside a job's log, [`find`] finds it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::attach::Refusal;
use super::{log, newer};
use crate::event::DeploymentResult;
use crate::history;
use crate::host::atomic::{self, WriteError};
use crate::host::layout::Layout;
use crate::host::lease;
use crate::model::{
    Action, DeploymentId, ErrorKind, FailureReport, HistoryRecord, Job, Outcome, Placement, ReleaseId, Stage,
};

/// A job that was here before.
pub(super) enum Known {
    /// Its log is here; it may still run.
    Log(DeploymentId),
    /// Only the history knows how it ended.
    Result(Box<DeploymentResult>),
}

/// Writes down what a job asks for, and for which run.
///
/// # Errors
/// The file cannot be written.
pub(super) fn note(job: &Job, layout: &Layout) -> Result<(), WriteError> {
    let key = job.options.run_key.as_deref().unwrap_or_default();
    let text = format!("{}\n{key}\n", wish_of(job));
    atomic::write(&note_of(layout, &job.deployment_id), text.as_bytes(), 0o600)
}

fn note_of(layout: &Layout, id: &DeploymentId) -> PathBuf {
    layout.job(id).join("asked")
}

/// Returns what a job asks for, in words: two jobs that ask for the same have the same.
fn wish_of(job: &Job) -> String {
    let verb = job.action.verb();
    let in_place = matches!(job.environment.placement, Placement::InPlace { .. });
    match &job.action {
        Action::Rollback { to: Some(to), .. } => format!("{verb} to {to}"),
        action if action.brings_bundle(in_place) => format!("{verb} of {}", job.version.label),
        _ => verb.to_owned(),
    }
}

/// Returns the deployment that this job means when it was here before: by its id, or as the same wish of the same run of
/// a workflow, which has not ended.
///
/// # Errors
/// The id is that of another wish, or the journal cannot be read.
pub(super) fn find(job: &Job, layout: &Layout) -> Result<Option<Known>, Refusal> {
    let id = &job.deployment_id;
    if layout.events(id).exists() && !has_begun_nothing(layout, id) {
        // A log without a note is from a version that wrote none.
        return match asked(layout, id) {
            Some((wish, _)) if wish != wish_of(job) => Err(used(id, &wish, job)),
            _ => Ok(Some(Known::Log(id.clone()))),
        };
    }
    if let Some(record) = recorded(job, layout) {
        let same = record.verb == job.action.verb()
            && (record.verb != Action::Deploy.verb() || record.version == job.version.label);
        let wish = format!("{} of {}", record.verb, record.version);
        return if same {
            Ok(Some(Known::Result(Box::new(result_of(record)))))
        } else {
            Err(used(id, &wish, job))
        };
    }
    let Some(key) = &job.options.run_key else { return Ok(None) };
    let wanted = (wish_of(job), key.clone());
    Ok(under_way(layout)?.filter(|id| asked(layout, id) == Some(wanted)).map(Known::Log))
}

/// A job that found the lease taken may come again under its id; its log is that of nothing.
fn has_begun_nothing(layout: &Layout, id: &DeploymentId) -> bool {
    let is_busy = log::last_outcome(&layout.events(id)) == Some(Outcome::Busy);
    is_busy && atomic::remove_tree(&layout.job(id)).is_ok()
}

fn asked(layout: &Layout, id: &DeploymentId) -> Option<(String, String)> {
    let text = fs::read_to_string(note_of(layout, id)).ok()?;
    let (wish, key) = text.trim_end_matches('\n').split_once('\n').unwrap_or((text.trim_end(), ""));
    Some((wish.to_owned(), key.to_owned()))
}

fn used(id: &DeploymentId, wish: &str, job: &Job) -> Refusal {
    let message =
        format!("`{id}` is the id of another run, `{wish}`; this is `{}`; nothing was touched", wish_of(job));
    let hint = "give each run a `--deployment-id` of its own, or leave it out";
    let failure = FailureReport::new(ErrorKind::ConfigurationError, "deployment-id.used", message).hint(hint);
    Refusal { outcome: Outcome::Invalid, failure }
}

/// Returns the deployment that somebody works on, or that was left unfinished.
///
/// # Errors
/// The journal cannot be used.
pub(super) fn under_way(layout: &Layout) -> Result<Option<DeploymentId>, Refusal> {
    if let Some(holder) = lease::holder(&layout.lease()) {
        return Ok(Some(holder.deployment_id));
    }
    Ok(newer::unfinished(layout).map_err(Refusal::of)?.map(|unfinished| unfinished.id))
}

/// Returns the record of this job's id: its log may be gone, for only those of the last jobs are kept.
fn recorded(job: &Job, layout: &Layout) -> Option<HistoryRecord> {
    history::record_of(&layout.history(), &job.app.name, &job.environment.name, &job.deployment_id)
}

fn result_of(record: HistoryRecord) -> DeploymentResult {
    let (outcome, succeeded) = (record.outcome, record.outcome == Outcome::Succeeded);
    let id = |id: Option<ReleaseId>| id.map(|id| id.to_string());
    DeploymentResult {
        deployment_id: record.deployment_id,
        environment: Some(record.env),
        app: Some(record.app),
        verb: record.verb,
        stage: if succeeded { Stage::Complete } else { Stage::Failed },
        start_time: record.started_at,
        end_time: record.timestamp,
        duration_seconds: record.duration_seconds,
        outcome,
        status: outcome.status(),
        exit_code: outcome.exit().code(),
        changed: succeeded,
        version: Some(record.version),
        previous_version: None,
        release: id(record.release.filter(|_| succeeded)),
        previous_release: id(record.previous_release),
        rolled_back_to: id(record.rolled_back_to),
        backup: record.backup,
        health: None,
        checks: record.checks,
        services: BTreeMap::new(),
        hooks: Vec::new(),
        urls: BTreeMap::new(),
        errors: record.errors,
        next_step: None,
    }
}
