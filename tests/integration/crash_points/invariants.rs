//! What must be so after every crash.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bench::{Bench, SOON};
use crate::support::{alive, get, output, within};

/// How it ended.
pub(super) struct State {
    /// Version that runs, if one does.
    pub(super) version: Option<u32>,
    /// Outcome of the deployment that was crashed, as the host's log says it.
    pub(super) outcome: String,
}

/// Checks all of them, and returns how the deployment `id` ended, which should have replaced `old` by `new`.
#[track_caller]
pub(super) fn check(bench: &Bench, id: &str, old: Option<u32>, new: u32, what: &str) -> State {
    nobody_is_left(bench, id, what);
    let ended = last_word(bench, id);
    let outcome = ended.as_ref().map_or("not begun", |result| result["outcome"].as_str().unwrap_or("?"));
    let current = current(bench);
    let version = runs(bench, current, what);
    let allowed = [old, Some(new), bench.newest()];
    assert!(
        version.is_none() && old.is_none() || version.is_some() && allowed.contains(&version),
        "{version:?} runs instead of {old:?} or {new}: {what}"
    );
    assert!(!bench.root().join("state/journal.json").exists(), "the journal is left: {what}");
    status_agrees(bench, version, what);
    history_agrees(bench, id, outcome, what);
    // Where nothing was deployed afterwards, the outcome says which of both runs.
    if version == Some(new) || version == old {
        let is_new = version == Some(new);
        assert_eq!(outcome == "succeeded", is_new, "{outcome}, and {version:?} runs: {what}");
    }
    hooks_ran_once(bench, id, ended.as_ref(), what);
    nothing_is_lost(bench, what);
    State { version, outcome: outcome.to_owned() }
}

/// No hook was begun twice, and once one was begun, `finally` came; what the result says of them is what they did.
#[track_caller]
fn hooks_ran_once(bench: &Bench, id: &str, ended: Option<&Value>, what: &str) {
    let notes = fs::read_to_string(bench.hook_notes()).unwrap_or_default();
    let ours = notes.lines().filter_map(|line| line.strip_prefix(id));
    let mut ran: Vec<&str> = ours.map(str::trim).collect();
    let count = ran.len();
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), count, "a hook ran twice: {ran:?}: {what}");
    let told: Vec<(&str, &str)> = ended
        .and_then(|result| result["hooks"].as_array())
        .into_iter()
        .flatten()
        .map(|hook| (hook["kind"].as_str().unwrap_or("?"), hook["outcome"].as_str().unwrap_or("?")))
        .collect();
    assert!(
        ran.iter().all(|kind| told.iter().any(|(of, _)| of == kind)),
        "{ran:?}, and told {told:?}: {what}"
    );
    let of = |kind: &str| told.iter().find(|(of, _)| *of == kind).map(|(_, outcome)| *outcome);
    assert!(told.is_empty() || of("finally").is_some(), "`finally` did not come: {told:?}: {what}");
    assert!(
        told.iter().all(|(kind, outcome)| *outcome != "succeeded" || ran.contains(kind)),
        "{ran:?}, {told:?}: {what}"
    );
}

/// No guard, no worker, no program of the deployment.
#[track_caller]
fn nobody_is_left(bench: &Bench, id: &str, what: &str) {
    let carries = format!("FFE_DEPLOYMENT_ID={id}");
    let root = bench.root().display().to_string();
    let left = || -> Vec<u32> {
        let names = fs::read_dir("/proc").expect("read /proc").flatten();
        let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let of = |pid: u32, file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let is_ours = |pid: &u32| {
            let carries = of(*pid, "environ").split(|byte| *byte == 0).any(|v| v == carries.as_bytes());
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            (carries || program.starts_with(&root)) && alive(*pid)
        };
        pids.filter(is_ours).collect()
    };
    let gone = within(SOON, || left().is_empty().then_some(()));
    assert!(gone.is_some(), "processes are left: {:?}: {what}", left());
}

/// The result with which the host ended a deployment. One whose processes all died before it had a journal has changed
/// nothing and has none; whoever asks for its id ends it.
fn last_word(bench: &Bench, id: &str) -> Option<Value> {
    let log = fs::read_to_string(bench.root().join("state/jobs").join(id).join("events.jsonl")).ok()?;
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    crate::support::assert_gapless(&events);
    let ends: Vec<&Value> = events.iter().filter(|event| event["event"] == "deployment_finished").collect();
    assert!(ends.len() <= 1, "{} last words", ends.len());
    let last = ends.first().filter(|end| end["final"] == true);
    last.map(|last| last["result"].clone())
}

/// Version of the release that `current` names.
fn current(bench: &Bench) -> Option<u32> {
    let record = fs::read(bench.root().join("current/release.json")).ok()?;
    let record: Value = serde_json::from_slice(&record).expect("release.json is JSON");
    record["version"].as_str().and_then(|version| version.parse().ok())
}

/// Exactly the containers of the current release are there, and answer.
#[track_caller]
fn runs(bench: &Bench, current: Option<u32>, what: &str) -> Option<u32> {
    // Helpers of backups and what a half-made `up` left, too.
    let format = "{{.Names}} {{.State}} {{.Label \"com.docker.compose.service\"}}";
    let mut list = std::process::Command::new("docker");
    let listed = output(list.args(["ps", "--all", "--no-trunc", "--format", format]));
    let containers: Vec<&str> = listed.lines().filter(|line| line.contains(bench.host.app())).collect();
    let Some(current) = current else {
        assert!(
            containers.is_empty() || containers.iter().all(|line| !line.contains("running")),
            "{containers:?}: {what}"
        );
        return None;
    };
    assert_eq!(containers.len(), 1, "{containers:?}: {what}");
    let healthy = within(SOON, || get(bench.port, "/health").filter(|answer| answer.status == 200));
    assert!(healthy.is_some(), "the app does not answer: {what}");
    let answers = get(bench.port, "/version").and_then(|answer| answer.body.parse().ok());
    assert_eq!(answers, Some(current), "`current` and what answers: {what}");
    Some(current)
}

/// `status` sees the same: nothing unfinished, no lease.
#[track_caller]
fn status_agrees(bench: &Bench, version: Option<u32>, what: &str) {
    let status = bench.run(&["status", "staging", "--output", "json"]);
    let status: Value =
        serde_json::from_str(&status.stdout).unwrap_or_else(|_| panic!("{}: {what}", status.told()));
    let told = status["current"]["version"].as_str().and_then(|version| version.parse().ok());
    assert_eq!(told, version, "{status:#}: {what}");
    assert_eq!((&status["unfinished"], &status["lease"]), (&Value::Null, &Value::Null), "{status:#}: {what}");
    if version.is_some() {
        assert_eq!(status["overall"], true, "{status:#}: {what}");
    }
}

/// One record a deployment, and it says what the host's log says.
#[track_caller]
fn history_agrees(bench: &Bench, id: &str, outcome: &str, what: &str) {
    let records = records(&bench.root().join("history"), what);
    let mut ids: Vec<&str> = records.iter().filter_map(|record| record["deployment_id"].as_str()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "a deployment is recorded twice: {what}");
    let ours: Vec<&Value> = records.iter().filter(|record| record["deployment_id"] == id).collect();
    match ours.first() {
        Some(record) => assert_eq!(record["outcome"], outcome, "{record:#}: {what}"),
        None => assert!(["aborted", "not begun"].contains(&outcome), "{outcome} is not recorded: {what}"),
    }
}

fn records(history: &Path, what: &str) -> Vec<Value> {
    let listing = fs::read_dir(history).into_iter().flatten().flatten().map(|entry| entry.path());
    let files: Vec<PathBuf> =
        listing.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    let read = |path: &PathBuf| {
        serde_json::from_slice(&fs::read(path).expect("read a record"))
            .unwrap_or_else(|error| panic!("{} is torn ({error}): {what}", path.display()))
    };
    files.iter().map(read).collect()
}

/// What the client was told to be written is there.
#[track_caller]
pub(super) fn nothing_is_lost(bench: &Bench, what: &str) {
    let lost = within(SOON, || bench.lost()).unwrap_or_else(|| panic!("the app does not answer: {what}"));
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}: {what}");
}
