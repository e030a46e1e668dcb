//! A deployment that is there already: looked on by somebody else, or come back to by the run that began it.

use rustix::process::Signal;
use serde_json::Value;

use super::death::orphaned;
use super::{Kind, SOON, Shop, id_of};
use crate::support::{Ended, Running, needs, until};

const FOLLOW: [&str; 3] = ["status", "staging", "--follow"];

/// Begins to follow, and returns when it has found something.
#[track_caller]
fn follow(shop: &Shop, more: &[&str]) -> Running {
    let mut follower = shop.host.spawn(&shop.project, &[&FOLLOW, more].concat());
    follower.until_event(SOON, |event| event["event"] == "host_took_over");
    follower
}

/// All that the host has of a deployment was told, once and in its order.
#[track_caller]
fn told_all_of(shop: &Shop, ended: &Ended, id: &str) {
    let told: Vec<&Value> = ended.events.iter().filter(|event| event["origin"] == "agent").collect();
    let log = shop.host_log(id);
    assert_eq!(told, log.iter().collect::<Vec<_>>());
    assert_eq!(log[0]["seq"], 1);
}

/// As an attempt of a workflow's run, at the commit that lies there.
fn attempt(shop: &Shop, version: &str) -> Running {
    shop.host.spawn(&shop.project, &["deploy", "staging", "--version", version, "--log-format", "human"])
}

#[test]
fn status_follow_tells_what_runs_from_its_beginning_and_ends_with_its_exit_code() {
    needs!("docker");
    let shop = Shop::new();
    shop.write(Kind::good("1.0.0"));
    let nothing = shop.run(&FOLLOW).exits(0);
    assert_eq!(nothing.stdout, "no deployment is under way; none is in its history\n");
    for (kind, code) in [(Kind::good("1.0.0"), 0), (Kind::unhealthy("1.1.0"), 4)] {
        let run = shop.begin_held(kind, &["compose", "up"]);
        let id = id_of(&run.events_so_far());
        let as_json = follow(&shop, &["--output", "json"]);
        let for_people = follow(&shop, &["--log-format", "human"]);
        shop.shim.release();
        run.wait().exits(code);
        let as_json = as_json.wait().exits(code);
        told_all_of(&shop, &as_json, &id);
        let lines: Vec<Value> =
            as_json.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(lines, as_json.events);
        let for_people = for_people.wait().exits(code);
        told_all_of(&shop, &for_people, &id);
        for_people.says(&[&id, "verifying"]);
        assert_eq!(for_people.stdout, "");
    }
    let nothing = shop.run(&FOLLOW).exits(0);
    assert!(nothing.stdout.contains("(deploy of 1.1.0), ended 2"), "{}", nothing.told());
    let nothing = shop.run(&[&FOLLOW[..], &["--output", "json"]].concat()).exits(0).json();
    assert_eq!(nothing["last_deployment"]["outcome"], "rolled_back");
}

#[test]
fn whoever_stops_following_stops_nothing_else() {
    needs!("docker");
    let shop = Shop::new();
    let run = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    for signal in [Signal::INT, Signal::TERM] {
        let follower = follow(&shop, &["--log-format", "human"]);
        follower.signal(signal);
        follower.wait().exits(0).says(&["stopped following; the deployment goes on"]);
    }
    shop.shim.release();
    let ended = run.wait().exits(0);
    assert!(ended.events_named("cancel_requested").is_empty());
}

#[test]
fn following_a_deployment_that_nobody_is_left_of_ends_it() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let id = orphaned(&shop, Kind::good("1.1.0"));
    let status = shop.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(status["unfinished"]["deployment_id"], *id);
    let ended = shop.run(&FOLLOW).exits(4);
    told_all_of(&shop, &ended, &id);
    assert_eq!(ended.result()["outcome"], "rolled_back");
    shop.is_settled();
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
}

#[test]
fn another_attempt_of_a_workflow_run_follows_what_the_first_one_has_begun() {
    needs!("docker");
    let shop = Shop::new().on_github().with_env("GITHUB_RUN_ATTEMPT", "1");
    let first = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    let id = id_of(&first.events_so_far());
    first.signal_group(Signal::KILL);
    drop(first);
    let shop = shop.with_env("GITHUB_RUN_ATTEMPT", "2");
    // What is asked for is another thing, so this is no second attempt at it.
    let other = attempt(&shop, "1.0.1").wait().exits(6);
    assert_eq!(other.result()["outcome"], "busy");
    let mut second = attempt(&shop, "1.0.0");
    second.until_event(SOON, |event| event["event"] == "host_took_over");
    shop.shim.release();
    let ended = second.wait().exits(0);
    told_all_of(&shop, &ended, &id);
    ended.says(&[&format!("has begun {id} already")]);
    assert_eq!(ended.result()["deployment_id"], *id);
    assert_eq!(shop.history().len(), 1);
    // It has ended: what comes now is a deployment of its own.
    until(SOON, "the end of the worker", || {
        let status = shop.run(&["status", "staging", "--output", "json"]).exits(0).json();
        status["lease"] == Value::Null
    });
    let third = attempt(&shop, "1.0.0").wait().exits(0);
    assert_ne!(id_of(&third.events), id);
    assert_eq!(third.result()["changed"], false);
}

#[test]
fn an_id_that_has_ended_tells_its_result_again_also_when_only_the_history_has_it() {
    needs!("docker");
    let shop = Shop::new();
    let named = |kind: Kind, id: &str| {
        shop.write(kind);
        let arguments = ["deploy", "staging", "--version", kind.version, "--deployment-id", id];
        shop.host.spawn(&shop.project, &arguments)
    };
    let wishes = [(Kind::good("1.0.0"), "good", 0), (Kind::unhealthy("1.1.0"), "bad", 4)];
    for (kind, id, code) in wishes {
        named(kind, id).wait().exits(code);
    }
    let before = shop.shim.count(&["compose", "up"]);
    for swept in [false, true] {
        if swept {
            std::fs::remove_dir_all(shop.root().join("state/jobs")).expect("sweep the logs");
        }
        for (kind, id, code) in wishes {
            let again = named(kind, id).wait().exits(code);
            let result = again.result();
            assert_eq!((&result["deployment_id"], &result["exit_code"]), (&id.into(), &code.into()));
            let other = named(Kind::good("2.0.0"), id).wait().exits(2);
            other.says(&[
                &format!("`{id}` is the id of another run"),
                "deploy of 2.0.0",
                "nothing was touched",
            ]);
            let other = shop.run(&["restart", "staging", "--deployment-id", id]).exits(2);
            assert_eq!(other.result()["errors"][0]["code"], "deployment-id.used");
        }
    }
    assert_eq!(shop.shim.count(&["compose", "up"]), before);
}
