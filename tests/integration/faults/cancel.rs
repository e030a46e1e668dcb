//! Cancelled jobs: SIGINT and SIGTERM to the runner, at every point of a deployment.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::{Kind, SOON, Shop, id_of};
use crate::support::{Act, Ended, Running, Web, alive, mentioning, needs, until};

/// A run that was cancelled after its start; returns the result with which the host ended it.
#[track_caller]
fn cancelled(shop: &Shop, ended: &Ended) -> serde_json::Value {
    let last = ended.result();
    assert_eq!((&last["outcome"], &last["exit_code"]), (&"cancelled".into(), &8.into()));
    assert_eq!(ended.events.last().map(|event| &event["final"]), Some(&false.into()));
    let effect = ended.event("cancel_requested")["effect"].as_str().unwrap_or_default();
    ended.says(&["asked to stop", effect, "ffe-deploy status"]);
    let result = shop.host_result(&id_of(&ended.events));
    assert_eq!((&result["outcome"], &result["status"]), (&"cancelled".into(), &"cancelled".into()));
    shop.is_settled();
    result
}

/// The release before runs, is healthy, and was never touched or is back.
#[track_caller]
fn is_back(shop: &Shop, version: &str) {
    assert_eq!(shop.answers().as_deref(), Some(version));
    let status = shop.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!((&status["current"]["version"], &status["overall"]), (&version.into(), &true.into()));
    assert_eq!(
        (&status["unfinished"], &status["lease"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(status["last_deployment"]["outcome"], "cancelled");
}

#[test]
fn a_signal_before_the_start_touches_nothing() {
    needs!("docker");
    for signal in [Signal::INT, Signal::TERM] {
        let shop = Shop::new();
        let run = shop.begin_held(Kind::good("1.0.0"), &["compose", "config"]);
        run.signal(signal);
        let ended = run.wait().exits(8);
        ended.says(&["cancelled before anything was started; nothing was touched"]);
        assert_eq!(ended.result()["outcome"], "cancelled");
        assert_eq!(ended.events.last().map(|event| &event["final"]), Some(&true.into()));
        assert!(
            !shop.root().join("state").exists() && shop.host.containers(&shop.name(), "backend").is_empty()
        );
        shop.shim.release();
        let agents = || mentioning(shop.host.dir()).into_iter().any(alive);
        until(SOON, "the end of what the run had started", || !agents());
        let cache = shop.host.home().join(".cache/ffe-deploy/stage");
        assert_eq!(fs::read_dir(cache).map_or(0, Iterator::count), 0, "a bundle is left in the cache");
    }
}

#[test]
fn a_cancel_while_pulling_building_or_backing_up_leaves_the_running_release_alone() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let before = shop.host.containers(&shop.name(), "backend");
    let pulling = Kind { more: "  other: {image: 'localhost:1/none/none:1'}\n", ..Kind::good("1.1.0") };
    let building = Kind {
        more: "  other: {build: other, healthcheck: {test: [CMD, a]}, user: '1'}\n",
        ..Kind::good("1.1.0")
    };
    shop.project.file("other/Dockerfile", "FROM scratch\nCOPY Dockerfile /\nUSER 1\n");
    for (kind, call, stage) in [(pulling, "pull", "pulling"), (building, "build", "building")] {
        let run = shop.begin_held(kind, &[call]);
        run.signal(Signal::INT);
        let ended = run.wait().exits(8);
        let result = cancelled(&shop, &ended);
        assert_eq!((&result["changed"], &result["version"]), (&false.into(), &"1.1.0".into()));
        ended.says(&["stopping before anything is switched; the running release is not touched"]);
        let log = shop.host_log(&id_of(&ended.events));
        let stopped =
            log.iter().find(|event| event["event"] == "stage_finished" && event["outcome"] == "failed");
        assert_eq!(
            stopped.map(|event| (&event["stage"], &event["reason"])),
            Some((&stage.into(), &"cancelled".into()))
        );
        assert_eq!(shop.host.containers(&shop.name(), "backend"), before);
        is_back(&shop, "1.0.0");
    }
}

#[test]
fn a_cancel_while_backing_up_leaves_no_half_of_an_archive() {
    needs!("docker");
    let shop = Shop::with_backup("");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let archives = || {
        let listing = fs::read_dir(shop.root().join("backups")).expect("the directory of backups");
        let mut names: Vec<_> = listing.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let before = archives();
    let big = fs::File::create(shop.root().join("shared/data/big")).expect("make a big file");
    big.set_len(6 << 30).expect("6 GiB of nothing");
    let mut run = shop.begin(Kind::good("1.1.0"));
    run.until_stage(SOON, "backing_up");
    run.signal(Signal::TERM);
    let ended = run.wait().exits(8);
    assert_eq!(cancelled(&shop, &ended)["changed"], false);
    is_back(&shop, "1.0.0");
    let agents = || mentioning(shop.host.dir()).into_iter().any(alive);
    until(SOON, "the end of the worker", || !agents());
    assert_eq!(archives(), before);
}

#[test]
fn a_cancel_while_deploying_goes_back_to_the_release_before_by_itself() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let run = shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]);
    run.signal(Signal::TERM);
    run.signal(Signal::INT);
    let ended = run.wait().exits(8);
    assert_eq!(ended.events_named("cancel_requested").len(), 1, "a second signal changes nothing");
    let result = cancelled(&shop, &ended);
    assert_eq!(result["rolled_back_to"], result["previous_release"]);
    is_back(&shop, "1.0.0");
    let record = shop.history().pop().expect("a record");
    assert_eq!((&record["status"], &record["outcome"]), (&"cancelled".into(), &"cancelled".into()));
    assert_eq!(record["rolled_back_to"], result["previous_release"]);
}

#[test]
fn a_cancel_while_verifying_goes_back_and_the_first_deployment_is_stopped() {
    needs!("docker");
    let shop = Shop::new();
    let slow = |version| Kind { mode: "slow", ..Kind::good(version) };
    let mut run = shop.begin(slow("1.0.0"));
    run.until_stage(SOON, "verifying");
    run.signal(Signal::INT);
    let ended = run.wait().exits(8);
    let result = cancelled(&shop, &ended);
    assert!(result["next_step"].as_str().is_some_and(|text| text.contains("no earlier release")), "{result}");
    assert_eq!(shop.answers(), None);
    shop.deploy(Kind::good("1.0.1")).exits(0);
    let mut run = shop.begin(slow("1.1.0"));
    run.until_stage(SOON, "verifying");
    run.signal(Signal::TERM);
    let ended = run.wait().exits(8);
    cancelled(&shop, &ended);
    is_back(&shop, "1.0.1");
}

#[test]
fn a_cancel_that_comes_too_late_is_told_the_truth() {
    needs!("docker");
    let web = Web::start();
    web.on("/ready", &[200, 200, 503]);
    let shop = Shop::with_checks(&format!("{{name: ready, http: '{}'}}", web.url("/ready")));
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let mut run = shop.begin(Kind::good("1.1.0"));
    run.until_stage(SOON, "verifying");
    let id = id_of(&run.events_so_far());
    run.signal(Signal::STOP);
    web.on("/ready", &[200]);
    assert_eq!(shop.host_result(&id)["outcome"], "succeeded");
    run.signal(Signal::TERM);
    run.signal(Signal::CONT);
    let ended = run.wait().exits(0);
    assert_eq!(
        (&ended.result()["outcome"], &ended.result()["version"]),
        (&"succeeded".into(), &"1.1.0".into())
    );
    assert_eq!(shop.answers().as_deref(), Some("1.1.0"));
}

#[test]
fn a_cancel_that_nobody_acknowledges_is_exit_11_and_still_counts() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let mut run = shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]);
    let worker = run.until_event(SOON, |event| event["event"] == "host_took_over")["pid"].as_i64();
    let worker = worker.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("a pid");
    kill_process(worker, Signal::STOP).expect("stop the worker");
    run.signal(Signal::TERM);
    let ended = run.wait().exits(11);
    kill_process(worker, Signal::CONT).expect("let the worker go on");
    ended.says(&["did not acknowledge", "goes on by itself", "ffe-deploy status"]);
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["status"]), (&"lost".into(), &"failure".into()));
    assert_eq!(ended.events.last().map(|event| &event["final"]), Some(&false.into()));
    assert_eq!(shop.host_result(&id_of(&ended.events))["outcome"], "cancelled");
    is_back(&shop, "1.0.0");
}

#[test]
fn a_cancel_of_a_rollback_on_its_way_changes_nothing_however_often_it_comes() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let calls = shop.shim.count(&["compose", "up"]);
    let mut run = shop.begin(Kind::unhealthy("1.1.0"));
    run.until_stage(SOON, "verifying");
    shop.shim.on_first(1, &["compose", "up"], &Act::Hold);
    shop.until_called(&["compose", "up"], calls + 1);
    run.signal(Signal::INT);
    run.until_event(SOON, |event| event["code"] == "cancel.late");
    run.signal(Signal::TERM);
    run.signal(Signal::INT);
    shop.shim.release();
    let ended = run.wait().exits(4);
    ended.says(&["going back already; a cancel changes nothing"]);
    assert_eq!(ended.result()["outcome"], "rolled_back");
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
}

/// Kills the runner, and waits until the host says that it is lost.
fn until_lost(shop: &Shop, run: Running) -> String {
    let id = id_of(&run.events_so_far());
    run.signal_group(Signal::KILL);
    drop(run);
    let is_lost = || shop.host_log(&id).iter().any(|event| event["code"] == "runner.lost");
    until(3 * SOON, "the runner to be lost", is_lost);
    id
}

#[test]
fn a_deployment_whose_runner_is_lost_goes_on_or_goes_back_as_on_lost_says() {
    needs!("docker");
    let rollback = || {
        let shop = Shop::with("health: {timeout: 6s}", ", on_lost: rollback");
        shop.deploy(Kind::good("1.0.0")).exits(0);
        let id = until_lost(&shop, shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]));
        let result = shop.host_result(&id);
        assert_eq!((&result["outcome"], &result["exit_code"]), (&"cancelled".into(), &8.into()));
        assert!(
            result["errors"][0]["message"].as_str().is_some_and(|text| text.contains("on_lost")),
            "{result}"
        );
        is_back(&shop, "1.0.0");
    };
    let goes_on = || {
        let shop = Shop::new();
        let id = until_lost(&shop, shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]));
        shop.shim.release();
        assert_eq!(shop.host_result(&id)["outcome"], "succeeded");
        assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    };
    std::thread::scope(|scope| {
        scope.spawn(rollback);
        scope.spawn(goes_on);
    });
}

#[test]
fn a_cancel_while_an_earlier_deployment_is_ended_first_starts_nothing_and_lets_that_end() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let id = super::death::orphaned(&shop, Kind::good("1.1.0"));
    let before = shop.shim.count(&["compose", "up"]);
    shop.shim.on_first(1, &["compose", "up"], &Act::Hold);
    let run = shop.begin(Kind::good("1.2.0"));
    shop.until_called(&["compose", "up"], before);
    run.signal(Signal::TERM);
    run.wait().exits(8).says(&["cancelled before anything was started; nothing was touched"]);
    shop.shim.release();
    assert_eq!(shop.host_result(&id)["outcome"], "rolled_back");
    shop.is_settled();
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
}
