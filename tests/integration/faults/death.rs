//! Killed processes: of the worker, of its guard, of the runner, and of all of them.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Kind, SOON, Shop, id_of};
use crate::support::{Act, Running, Web, alive, mentioning, needs, output, until};

/// Process ids of the worker of a run and of its guard.
pub(super) struct Agents {
    pub(super) worker: u32,
    pub(super) guard: u32,
}

impl Agents {
    pub(super) fn of(run: &mut Running) -> Self {
        let took_over = run.until_event(SOON, |event| event["event"] == "host_took_over");
        let worker = took_over["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        Self { worker, guard: parent(worker) }
    }
}

fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let words = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    words.and_then(|words| words.get(1)?.parse().ok()).expect("a parent")
}

pub(super) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("kill it");
}

/// Processes that are held in the middle of `docker compose up`.
fn held(shop: &Shop) -> Vec<u32> {
    let shim = fs::canonicalize(shop.shim.path().join("docker")).expect("the shim is there");
    mentioning(&shim).into_iter().filter(|pid| alive(*pid)).collect()
}

#[track_caller]
pub(super) fn is_current(shop: &Shop, version: &str) {
    assert_eq!(shop.answers().as_deref(), Some(version));
    let status = shop.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!((&status["current"]["version"], &status["overall"]), (&version.into(), &true.into()));
    assert_eq!((&status["unfinished"], &status["lease"]), (&Value::Null, &Value::Null));
    shop.is_settled();
}

#[test]
fn a_worker_that_is_killed_before_the_switch_leaves_the_running_release_alone() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let before = shop.host.containers(&shop.name(), "backend");
    let missing = Kind { more: "  other: {image: 'localhost:1/none/none:1'}\n", ..Kind::good("1.1.0") };
    let mut run = shop.begin_held(missing, &["pull"]);
    kill(Agents::of(&mut run).worker);
    let ended = run.wait().exits(9);
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["changed"]), (&"aborted".into(), &false.into()));
    ended.says(&["its process was killed", "nothing was changed; deploy again"]);
    assert_eq!(ended.event("recovery_started")["decision"], "discard: nothing was switched");
    assert_eq!(shop.host_result(&id_of(&ended.events)), *result);
    assert!(held(&shop).is_empty(), "a child of the dead worker goes on");
    assert_eq!(shop.host.containers(&shop.name(), "backend"), before);
    is_current(&shop, "1.0.0");
    let releases = fs::read_dir(shop.root().join("releases")).expect("releases").count();
    assert_eq!(releases, 1, "the release that never ran is gone");
}

#[test]
fn a_worker_that_is_killed_between_two_tags_of_images_leaves_neither() {
    needs!("docker");
    let shop = Shop::new();
    let ours = || {
        let pins = format!("reference=ffe-deploy/{}/*", shop.name());
        shop.host.docker(&["image", "ls", "--filter", &pins, "--format", "{{.Repository}}:{{.Tag}}"])
    };
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let (before, container) = (ours(), shop.host.containers(&shop.name(), "backend"));
    let base = crate::support::base_image();
    let id = shop.host.docker(&["image", "inspect", "--format", "{{.Id}}", &base]);
    let pin = format!("ffe-deploy/{}/last:{}", shop.name(), &id["sha256:".len()..][..12]);
    shop.project.file("web/Dockerfile", format!("FROM {base}\nLABEL of={}\nUSER 10001\n", shop.name()));
    let more = format!(
        "  built: {{build: ./web, image: '{}:1', stop_grace_period: 0s, healthcheck: {{test: [CMD, 'true']}}}}\n  last: {{image: '{base}', stop_grace_period: 0s}}\n",
        shop.host.app()
    );
    let kind = Kind { more: Box::leak(more.into_boxed_str()), ..Kind::good("1.1.0") };
    let mut run = shop.begin_held(kind, &["tag", &pin]);
    assert_eq!(ours().lines().count(), 2, "the first of both is there: {}", ours());
    kill(Agents::of(&mut run).worker);
    run.wait().exits(9).says(&["nothing was changed; deploy again"]);
    assert_eq!((ours(), shop.host.containers(&shop.name(), "backend")), (before, container));
    is_current(&shop, "1.0.0");
}

#[test]
fn a_worker_that_is_killed_while_deploying_verifying_or_going_back_is_replaced_and_the_release_before_is_back()
 {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    for stage in ["deploying", "verifying", "rolling_back"] {
        let mut run = match stage {
            "deploying" => shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]),
            _ => shop.begin(Kind { mode: "slow", ..Kind::good("1.1.0") }),
        };
        run.until_stage(SOON, "verifying".min(stage));
        let agents = Agents::of(&mut run);
        if stage == "rolling_back" {
            let calls = shop.shim.count(&["compose", "up"]);
            shop.shim.on_first(1, &["compose", "up"], &Act::Hold);
            shop.until_called(&["compose", "up"], calls);
        }
        kill(agents.worker);
        let ended = run.wait().exits(4);
        let result = ended.result();
        assert_eq!(
            (&result["outcome"], &result["previous_version"]),
            (&"rolled_back".into(), &"1.0.0".into())
        );
        assert_eq!(ended.event("recovery_started")["decision"], "undo");
        ended.says(&["its process was killed", "the release before runs and is healthy"]);
        assert!(held(&shop).is_empty(), "a child of the dead worker goes on");
        assert_eq!(shop.host_result(&id_of(&ended.events)), *result);
        is_current(&shop, "1.0.0");
    }
    let records = shop.history();
    let outcomes: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap_or("?")).collect();
    assert_eq!(outcomes, ["succeeded", "rolled_back", "rolled_back", "rolled_back"]);
}

#[test]
fn a_runner_whose_worker_and_guard_are_killed_starts_the_recovery_itself() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let mut run = shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]);
    let agents = Agents::of(&mut run);
    kill(agents.guard);
    kill(agents.worker);
    let ended = run.wait().exits(4);
    assert_eq!(ended.result()["outcome"], "rolled_back");
    is_current(&shop, "1.0.0");
}

/// A second release whose runner, guard and worker are killed while it is switched to; returns its id.
pub(super) fn orphaned(shop: &Shop, kind: Kind) -> String {
    let mut run = shop.begin_held(kind, &["compose", "up"]);
    let agents = Agents::of(&mut run);
    let id = id_of(&run.events_so_far());
    run.signal_group(Signal::KILL);
    kill(agents.guard);
    kill(agents.worker);
    drop(run);
    until(SOON, "the end of the agents", || !alive(agents.worker) && !alive(agents.guard));
    id
}

#[test]
fn a_deployment_that_nobody_is_left_of_is_ended_by_the_next_one() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let orphan = orphaned(&shop, Kind::good("1.1.0"));
    let status = shop.run(&["status", "staging", "--output", "json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("status is JSON");
    assert_eq!(
        (&status["unfinished"]["deployment_id"], &status["unfinished"]["stage"]),
        (&orphan.clone().into(), &"deploying".into())
    );
    let ended = shop.deploy(Kind::good("1.2.0")).exits(0);
    ended.says(&[&format!("{orphan} was left unfinished; it is ended first")]);
    let recovered = ended.event("recovery_finished");
    assert_eq!(
        (&recovered["unfinished"], &recovered["outcome"]),
        (&orphan.clone().into(), &"rolled_back".into())
    );
    assert_eq!(ended.result()["previous_version"], "1.0.0");
    assert_eq!(shop.host_result(&orphan)["outcome"], "rolled_back");
    assert!(held(&shop).is_empty());
    is_current(&shop, "1.2.0");
}

#[test]
fn recover_ends_what_was_left_unfinished_and_says_so() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let orphan = orphaned(&shop, Kind::good("1.1.0"));
    let ended = shop.run(&["recover", "staging", "--output", "json"]).exits(0);
    let recovered = &ended.json()["recovered"];
    assert_eq!((&recovered["deployment_id"], &recovered["outcome"]), (&orphan.into(), &"rolled_back".into()));
    is_current(&shop, "1.0.0");
    let again = shop.run(&["recover", "staging"]).exits(0);
    assert!(again.stdout.contains("nothing to recover"), "{}", again.told());
}

#[test]
fn a_first_deployment_that_nobody_is_left_of_does_not_stop_the_next_one() {
    needs!("docker");
    let shop = Shop::new();
    let orphan = orphaned(&shop, Kind::good("1.0.0"));
    let ended = shop.deploy(Kind::good("1.0.1")).exits(0);
    ended.says(&[&format!("{orphan} was left unfinished; it is ended first")]);
    assert_eq!(ended.event("recovery_finished")["outcome"], "failed");
    is_current(&shop, "1.0.1");
}

#[test]
fn a_runner_that_is_killed_does_not_stop_the_deployment_and_the_same_id_follows_it() {
    needs!("docker");
    let shop = Shop::new();
    shop.shim.on_first(1, &["compose", "up"], &Act::Hold);
    shop.write(Kind::good("1.0.0"));
    let words = ["deploy", "staging", "--version", "1.0.0", "--deployment-id", "mine"];
    let run = shop.host.spawn(&shop.project, &words);
    shop.until_called(&["compose", "up"], 0);
    run.signal_group(Signal::KILL);
    drop(run);
    let again = shop.host.spawn(&shop.project, &words);
    shop.shim.release();
    let ended = again.wait().exits(0);
    assert_eq!(ended.result()["outcome"], "succeeded");
    let seqs = ended.events.iter().filter(|event| event["origin"] == "agent").count();
    assert_eq!(seqs, shop.host_log("mine").len(), "all of the host's log is told");
    let told = shop.run(&words).exits(0);
    assert_eq!(told.result(), ended.result(), "an id that was used returns its result again");
    is_current(&shop, "1.0.0");
}

#[test]
fn a_journal_that_cannot_be_read_stops_the_next_deployment_and_says_what_to_do() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    orphaned(&shop, Kind::good("1.1.0"));
    let journal = shop.root().join("state/journal.json");
    let whole = fs::read_to_string(&journal).expect("the journal is there");
    let text = whole.trim_end();
    for broken in [&text[..text.len() / 2], "", "{}", &text.replace("\"switching\"", "\"committing\"")] {
        fs::write(&journal, broken).expect("break the journal");
        let ended = shop.deploy(Kind::good("1.2.0")).exits(3);
        ended.says(&[&journal.display().to_string(), "is damaged", "nothing was touched", "docker ps"]);
        assert_eq!(fs::read_to_string(&journal).expect("still there"), *broken);
    }
    fs::write(&journal, &whole).expect("mend the journal");
    shop.deploy(Kind::good("1.2.0")).exits(0);
    is_current(&shop, "1.2.0");
}

#[test]
fn a_worker_that_is_killed_while_a_container_is_being_replaced_leaves_one_that_stays() {
    needs!("docker");
    let shop = Shop::new();
    let deaf = |version| Kind { mode: "deaf", ..Kind::good(version) };
    shop.deploy(deaf("1.0.0")).exits(0);
    let old = shop.host.containers(&shop.name(), "backend");
    let mut run = shop.begin(deaf("1.1.0"));
    let agents = Agents::of(&mut run);
    // The engine waits 3 s for the old container, which does not listen; the new one is made already.
    until(SOON, "two containers of one service", || shop.host.containers(&shop.name(), "backend").len() == 2);
    kill(agents.worker);
    let ended = run.wait().exits(4);
    assert_eq!(ended.result()["rolled_back_to"], ended.result()["previous_release"]);
    assert_eq!(shop.host.containers(&shop.name(), "backend"), old, "the old container goes on, alone");
    is_current(&shop, "1.0.0");
    // What the engine still did for a client that is dead would end it within these seconds.
    let ends = Command::new("timeout").args(["4", "docker", "wait", &old[0]]).output().expect("docker wait");
    assert_eq!(ends.status.code(), Some(124), "the old container has ended: {ends:?}");
}

/// Writes the journal of an orphan as if it had come further.
fn move_journal(shop: &Shop, phase: &str) {
    let journal = shop.root().join("state/journal.json");
    let text = fs::read(&journal).expect("the journal is there");
    let mut sealed: Value = serde_json::from_slice(&text).expect("it is JSON");
    sealed["entry"]["phase"] = phase.into();
    sealed["checksum"] = hex::encode(Sha256::digest(sealed["entry"].to_string())).into();
    fs::write(&journal, sealed.to_string()).expect("write the journal");
}

/// A second release that is killed with everybody around it while it is verified, with its journal as if its checks had
/// passed; returns its id.
fn orphaned_at_its_commit(shop: &Shop, kind: Kind) -> String {
    let mut run = shop.begin(kind);
    run.until_stage(SOON, "verifying");
    let agents = Agents::of(&mut run);
    run.signal_group(Signal::KILL);
    kill(agents.guard);
    kill(agents.worker);
    let orphan = id_of(&run.events_so_far());
    drop(run);
    until(SOON, "the end of the agents", || !alive(agents.worker) && !alive(agents.guard));
    move_journal(shop, "committing");
    orphan
}

#[test]
fn a_release_whose_checks_had_passed_is_started_asked_again_and_finished() {
    needs!("docker");
    let web = Web::start();
    web.on("/ready", &[200]);
    let shop = Shop::with_checks(&format!("{{name: ready, http: '{}'}}", web.url("/ready")));
    shop.deploy(Kind::good("1.0.0")).exits(0);
    web.on("/ready", &[503]);
    let orphan = orphaned_at_its_commit(&shop, Kind::good("1.1.0"));
    web.on("/ready", &[200]);
    // As after a start of the machine, where nothing has a restart policy.
    let stopped = shop.host.containers(&shop.name(), "backend");
    output(Command::new("docker").args(["kill", &stopped[0]]));
    let ended = shop.run(&["recover", "staging", "--log-format", "human"]).exits(0);
    assert!(ended.stdout.contains("succeeded"), "{}", ended.told());
    let log = shop.host_log(&orphan);
    let recovery = log.iter().find(|event| event["event"] == "recovery_started").expect("a recovery");
    assert_eq!(recovery["decision"], "finish: its checks had passed");
    assert_eq!(shop.host_result(&orphan)["outcome"], "succeeded");
    let record = shop.history().pop().expect("a record");
    assert_eq!(
        (&record["outcome"], &record["checks"][0]["verdict"]),
        (&"succeeded".into(), &"passed".into())
    );
    assert_eq!(shop.host.containers(&shop.name(), "backend"), stopped);
    is_current(&shop, "1.1.0");
}

#[test]
fn a_release_whose_checks_had_passed_and_that_is_not_well_any_more_is_undone() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let orphan = orphaned_at_its_commit(&shop, Kind { mode: "slow", ..Kind::good("1.1.0") });
    shop.run(&["recover", "staging"]).exits(0);
    assert_eq!(shop.host_result(&orphan)["outcome"], "rolled_back");
    let record = shop.history().pop().expect("a record");
    assert_eq!(record["errors"][0]["code"], "health.failed");
    is_current(&shop, "1.0.0");
}

#[test]
fn a_journal_that_outlived_the_last_word_of_its_deployment_is_only_removed() {
    needs!("docker");
    let shop = Shop::new();
    let run = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    let journal = shop.root().join("state/journal.json");
    let left = fs::read(&journal).expect("the journal is there");
    shop.shim.release();
    let first = run.wait().exits(0);
    shop.is_settled();
    fs::write(&journal, left).expect("put the journal back");
    let ended = shop.deploy(Kind::good("1.0.0")).exits(0);
    assert_eq!(ended.event("recovery_finished")["unfinished"].as_str(), Some(id_of(&first.events).as_str()));
    assert_eq!(ended.event("recovery_finished")["outcome"], "succeeded");
    assert_eq!(ended.result()["changed"], false);
    let same = |record: &Value| record["deployment_id"] == first.events[0]["deployment_id"];
    assert_eq!(shop.history().iter().filter(|record| same(record)).count(), 1);
    is_current(&shop, "1.0.0");
}

#[test]
fn what_a_start_of_the_machine_brought_up_of_both_releases_becomes_the_old_one_alone() {
    needs!("docker");
    let shop = Shop::new();
    let deaf = |version| Kind { mode: "deaf", ..Kind::good(version) };
    shop.deploy(deaf("1.0.0")).exits(0);
    let old = shop.host.containers(&shop.name(), "backend");
    let mut run = shop.begin(deaf("1.1.0"));
    let agents = Agents::of(&mut run);
    until(SOON, "two containers of one service", || shop.host.containers(&shop.name(), "backend").len() == 2);
    run.signal_group(Signal::KILL);
    kill(agents.guard);
    kill(agents.worker);
    let orphan = id_of(&run.events_so_far());
    drop(run);
    until(SOON, "the end of the agents", || !alive(agents.worker) && !alive(agents.guard));
    // As restart policies do; the one that comes second does not get the port.
    for id in shop.host.containers(&shop.name(), "backend").iter().rev() {
        Command::new("docker").args(["start", id]).output().expect("docker start");
    }
    shop.run(&["recover", "staging"]).exits(0);
    assert_eq!(shop.host_result(&orphan)["outcome"], "rolled_back");
    assert_eq!(shop.host.containers(&shop.name(), "backend"), old, "the old container goes on, alone");
    is_current(&shop, "1.0.0");
}

#[test]
fn a_verb_whose_worker_is_killed_is_finished_as_it_was_meant() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    for (verb, is_up) in [("restart", true), ("down", false)] {
        shop.shim.on_first(1, &["compose", "down"], &Act::Hold);
        let called = shop.shim.count(&["compose", "down"]);
        let mut run = shop.host.spawn(&shop.project, &[verb, "staging", "--log-format", "human"]);
        shop.until_called(&["compose", "down"], called);
        kill(Agents::of(&mut run).worker);
        let ended = run.wait().exits(0);
        assert!(held(&shop).is_empty(), "a child of the dead worker goes on");
        let told = ended.events_named("noticed");
        assert!(told.iter().any(|event| event["code"] == "recovery.finished"), "{}", ended.told());
        shop.is_settled();
        assert_eq!(shop.answers().is_some(), is_up, "after {verb}");
        assert_eq!(shop.host.containers(&shop.name(), "backend").len(), usize::from(is_up), "after {verb}");
        if is_up {
            is_current(&shop, "1.0.0");
        }
    }
    let status = shop.run(&["status", "staging", "--output", "json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("status is JSON");
    assert_eq!((&status["stopped"], &status["unfinished"]), (&true.into(), &Value::Null));
}

#[test]
fn a_cancel_stays_a_cancel_when_the_worker_dies_on_its_way_back() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let mut run = shop.begin(Kind { mode: "slow", ..Kind::good("1.1.0") });
    run.until_stage(SOON, "verifying");
    let agents = Agents::of(&mut run);
    let calls = shop.shim.count(&["compose", "up"]);
    shop.shim.on_first(1, &["compose", "up"], &Act::Hold);
    run.signal(Signal::TERM);
    shop.until_called(&["compose", "up"], calls);
    let ended = run.wait().exits(8);
    kill(agents.worker);
    let result = shop.host_result(&id_of(&ended.events));
    assert_eq!(
        (&result["outcome"], &result["rolled_back_to"]),
        (&"cancelled".into(), &result["previous_release"])
    );
    let codes: Vec<_> =
        result["errors"].as_array().into_iter().flatten().map(|error| &error["code"]).collect();
    assert_eq!(codes, ["cancelled", "deployment.died"]);
    assert_eq!(shop.history().pop().expect("a record")["outcome"], "cancelled");
    is_current(&shop, "1.0.0");
}
