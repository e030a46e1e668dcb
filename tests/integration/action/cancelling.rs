//! Cancelled jobs, as GitHub cancels them: SIGINT to the one process that the runner started for the step, 7.5 s later
//! SIGTERM, 2.5 s later its whole tree is killed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{Shop, program, tracking_id};
use crate::support::{Run, Running, kill_tree, mentioning, needs, within};

/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(60);
/// GitHub's own times.
const UNTIL_TERM: Duration = Duration::from_millis(7_500);
const UNTIL_KILL: Duration = Duration::from_millis(2_500);

/// Cancels a step; returns as soon as it has ended, and the runner has killed what the job has left running.
fn cancel(shop: &Shop, mut run: Running) -> Run {
    let pid = run.pid();
    let mut ended = false;
    for (signal, patience) in [(Signal::INT, UNTIL_TERM), (Signal::TERM, UNTIL_KILL)] {
        if !ended {
            run.signal(signal);
            ended = within(patience, || run.has_ended().then_some(())).is_some();
        }
    }
    if !ended {
        kill_tree(pid);
    }
    let ended = run.wait();
    mentioning(Path::new(&tracking_id(&shop.host))).into_iter().for_each(kill_tree);
    ended
}

/// The result with which the host itself ended the deployment of a run.
#[track_caller]
fn host_result(shop: &Shop, id: &str) -> Value {
    let log = shop.root().join("state/jobs").join(id).join("events.jsonl");
    let last = || {
        let text = fs::read_to_string(&log).ok()?;
        let event: Value = serde_json::from_str(text.lines().last()?).ok()?;
        (event["event"] == "deployment_finished").then(|| event["result"].clone())
    };
    within(SOON, last).unwrap_or_else(|| panic!("the host has no last word in {}", log.display()))
}

#[test]
fn the_process_that_github_signals_is_the_program_and_a_cancel_brings_the_release_before_back() {
    needs!("docker");
    let shop = Shop::new();
    shop.begin("1.0.0", "ok", &[]).wait().exits(0);
    let mut run = shop.begin("1.1.0", "slow", &[]);
    run.until_stage(SOON, "verifying");
    let runs = fs::read_link(format!("/proc/{}/exe", run.pid())).expect("the step's process");
    assert_eq!(runs, fs::canonicalize(program()).expect("the program"));
    let ended = cancel(&shop, run).exits(8);
    assert!(ended.duration < SOON, "{}", ended.told());
    let result = host_result(&shop, ended.result()["deployment_id"].as_str().expect("an id"));
    assert_eq!(result["outcome"], "cancelled");
    assert_eq!(result["rolled_back_to"], result["previous_release"]);
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    let told = super::outputs(&shop.host);
    assert_eq!((told["outcome"].as_str(), told["status"].as_str()), ("cancelled", "cancelled"));
}

/// `concurrency: cancel-in-progress: true`: the next job starts when the cancelled one has ended, and the host is still on
/// its way back.
#[test]
fn the_job_that_cancels_another_waits_for_its_way_back_and_then_deploys() {
    needs!("docker");
    let shop = Shop::new();
    shop.begin("1.0.0", "ok", &[]).wait().exits(0);
    let mut first = shop.begin("1.1.0", "slow", &[]);
    first.until_stage(SOON, "verifying");
    let first = cancel(&shop, first).exits(8);
    let second = shop.begin("1.2.0", "ok", &[]).wait().exits(0);
    assert_eq!(second.result()["previous_version"], "1.0.0");
    assert!(second.events_named("recovery_started").is_empty(), "nothing needs repair: {}", second.told());
    let result = host_result(&shop, first.result()["deployment_id"].as_str().expect("an id"));
    assert_eq!(result["outcome"], "cancelled");
    assert_eq!(shop.answers().as_deref(), Some("1.2.0"));
}
