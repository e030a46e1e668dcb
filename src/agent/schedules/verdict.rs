//! What must hold when nobody acts any more, whatever happened before.

use std::collections::BTreeMap;

use super::host::{Host, RELEASE, logs};
use crate::agent::log;
use crate::executor::compose::load;
use crate::history;
use crate::host::lease;
use crate::model::{
    ContainerFacts, ContainerState, DeploymentId, HealthState, HistoryRecord, Outcome, Release, ReleaseId,
};
use crate::pipeline::journal;

/// The project of the made-up app.
const PROJECT: &str = "shop-staging";

/// Returns what does not hold, in words.
pub(super) fn of(host: &Host) -> Result<(), String> {
    let layout = host.layout();
    ensure(lease::is_free(&layout.lease()), || "the lease is held".to_owned())?;
    let journal = journal::read(&layout.journal()).map_err(|error| error.to_string())?;
    ensure(journal.is_none(), || "the journal names an unfinished deployment".to_owned())?;
    let left = host.world.leftovers();
    ensure(left.is_empty(), || left.join("; "))?;
    let records = records(host);
    told_once(host, &records)?;
    let current = layout.current_release();
    let known = current_by(&records);
    ensure(current == known, || format!("{current:?} is current, and {known:?} by the history"))?;
    let found = host.world.containers(PROJECT);
    match current {
        Some(_) if layout.stopped().exists() => nothing_runs(&found),
        Some(id) => runs(&load(&layout, &id).map_err(|error| error.to_string())?, &found),
        None => nothing_runs(&found),
    }
}

/// Returns whether a deployment succeeded, and if not, how it ended.
pub(super) fn succeeded(host: &Host, id: &DeploymentId) -> Result<(), String> {
    match outcome(host, id) {
        Some(Outcome::Succeeded) => Ok(()),
        other => Err(format!(
            "{id} ended as {other:?}: {}",
            last_line(host, id).unwrap_or_default()["result"]["errors"]
        )),
    }
}

fn ensure(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}

/// Oldest first.
fn records(host: &Host) -> Vec<HistoryRecord> {
    let app = "shop".parse().unwrap();
    let entries = history::read_all(&host.layout().history(), &app, &"staging".parse().unwrap());
    entries.iter().rev().map(|entry| entry.record().unwrap().clone()).collect()
}

/// Every log has one end, the history one record of it at most, and both say the same.
fn told_once(host: &Host, records: &[HistoryRecord]) -> Result<(), String> {
    let mut by_id: BTreeMap<&DeploymentId, &HistoryRecord> = BTreeMap::new();
    for record in records {
        let id = &record.deployment_id;
        ensure(by_id.insert(id, record).is_none(), || format!("two records of {id}"))?;
        let excused = record.previous_release.is_none();
        ensure(record.outcome != Outcome::Failed || excused, || format!("{id} failed: {:?}", record.errors))?;
    }
    for (id, path) in logs(host) {
        let lines = log::lines(&path).map_err(|error| error.to_string())?;
        let ends = lines.iter().filter(|line| line.contains(r#""event":"deployment_finished""#)).count();
        ensure(ends == 1, || format!("the log of {id} has {ends} ends"))?;
        let begun = |line: &&String| line.contains(r#""event":"hook_started""#);
        let mut hooks: Vec<String> = lines.iter().filter(begun).filter_map(|line| hook_of(line)).collect();
        let count = hooks.len();
        hooks.sort();
        hooks.dedup();
        ensure(hooks.len() == count, || format!("{id} has begun a hook twice"))?;
        // One that a death cut off before it was told to have begun is told by its end alone.
        let is_finally =
            |line: &String| line.contains(r#""event":"hook_"#) && line.contains(r#""kind":"finally""#);
        let came = hooks.is_empty() || lines.iter().any(is_finally);
        ensure(came, || format!("{id} has begun hooks, and none of `finally`"))?;
        let said = outcome(host, &id);
        let recorded = by_id.get(&id).map(|record| record.outcome);
        ensure(recorded.is_none() || recorded == said, || {
            format!("{id} is {said:?}, and recorded as {recorded:?}")
        })?;
    }
    Ok(())
}

fn hook_of(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(value["hook"].as_str()?.to_owned())
}

fn outcome(host: &Host, id: &DeploymentId) -> Option<Outcome> {
    serde_json::from_value(last_line(host, id)?["result"]["outcome"].clone()).ok()
}

fn last_line(host: &Host, id: &DeploymentId) -> Option<serde_json::Value> {
    let line = log::lines(&host.layout().events(id)).ok()?.pop()?;
    serde_json::from_str(&line).ok()
}

/// Returns the release that is current when one believes the history.
fn current_by(records: &[HistoryRecord]) -> Option<ReleaseId> {
    let mut current = None;
    for record in records {
        match record.outcome {
            Outcome::Succeeded => current.clone_from(&record.release),
            Outcome::RolledBack => current.clone_from(&record.rolled_back_to),
            _ => {}
        }
    }
    current
}

/// Exactly this release runs: one container of each service, with its image, and well.
fn runs(release: &Release, found: &[ContainerFacts]) -> Result<(), String> {
    let shown = || format!("{} is current, and there are {}", release.id, shown(found));
    ensure(found.len() == release.services.len(), shown)?;
    for (service, image) in &release.images {
        let is_it = |c: &&ContainerFacts| {
            c.service == *service
                && c.image_id == image.id
                && c.state == ContainerState::Running
                && c.health == HealthState::Healthy
        };
        ensure(found.iter().filter(is_it).count() == 1, shown)?;
    }
    Ok(())
}

fn nothing_runs(found: &[ContainerFacts]) -> Result<(), String> {
    let runs = found.iter().any(|c| matches!(c.state, ContainerState::Running | ContainerState::Restarting));
    ensure(!runs, || format!("nothing should run, and there are {}", shown(found)))
}

fn shown(found: &[ContainerFacts]) -> String {
    let words =
        found.iter().map(|c| format!("{} ({:?}, {:?}, of {})", c.name, c.state, c.health, c.labels[RELEASE]));
    words.collect::<Vec<_>>().join(", ")
}
