//! A Docker daemon that goes away in the middle of a deployment, and comes back.

use std::fs;

use super::{Kind, SOON, Shop, id_of};
use crate::support::{Act, SecondEngine, needs, until};

/// Containers of the engine that run, by name.
fn running(engine: &SecondEngine) -> usize {
    engine.docker(&["ps", "--quiet"]).lines().count()
}

#[test]
fn a_daemon_that_is_killed_in_the_switch_is_waited_for_and_the_release_before_is_back() {
    needs!("docker", "dockerd", "root");
    let mut engine = SecondEngine::start();
    let shop = Shop::new().with_env("DOCKER_HOST", &engine.host());
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let mut run = shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]);
    engine.kill();
    shop.shim.release();
    let waiting = run.until_event(SOON, |event| event["code"] == "docker.waiting");
    assert!(
        waiting["message"].as_str().is_some_and(|text| text.contains("waiting up to 300 s")),
        "{waiting}"
    );
    engine.start_again();
    let ended = run.wait().exits(4);
    ended.says(&["the Docker daemon answers again", "the release before runs and is healthy"]);
    assert_eq!(ended.result()["rolled_back_to"], ended.result()["previous_release"]);
    assert_eq!((shop.answers().as_deref(), running(&engine)), (Some("1.0.0"), 1));
    shop.is_settled();

    // Killed while the release before is put back, it is waited for just the same.
    let calls = shop.shim.count(&["compose", "up"]);
    let mut run = shop.begin(Kind::unhealthy("1.2.0"));
    run.until_stage(SOON, "verifying");
    shop.shim.on_first(1, &["compose", "up"], &Act::Hold);
    shop.until_called(&["compose", "up"], calls + 1);
    engine.kill();
    shop.shim.release();
    run.until_event(SOON, |event| event["code"] == "docker.waiting");
    engine.start_again();
    let ended = run.wait().exits(4);
    assert_eq!(ended.result()["errors"][0]["code"], "health.failed");
    assert_eq!((shop.answers().as_deref(), running(&engine)), (Some("1.0.0"), 1));
    shop.is_settled();
    let journal = shop.root().join("state/journal.json");
    assert!(!journal.exists() && fs::metadata(journal.with_file_name("journal.spare")).is_ok());
    assert_eq!(shop.host_result(&id_of(&ended.events))["outcome"], "rolled_back");
    shop.run(&["down", "staging"]).exits(0);
    until(SOON, "the end of the containers", || running(&engine) == 0);
}

#[test]
fn what_a_daemon_that_was_killed_before_the_switch_ended_is_started_again() {
    needs!("docker", "dockerd", "root");
    let mut engine = SecondEngine::start();
    let shop = Shop::new().with_env("DOCKER_HOST", &engine.host());
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let container = engine.docker(&["ps", "--quiet"]);
    let missing = Kind { more: "  other: {image: 'localhost:1/none/none:1'}\n", ..Kind::good("1.1.0") };
    let mut run = shop.begin_held(missing, &["pull"]);
    engine.kill();
    shop.shim.release();
    run.until_event(SOON, |event| event["code"] == "docker.waiting");
    engine.start_again();
    let ended = run.wait().exits(9);
    ended.says(&["the Docker daemon answers again", "1.0.0 still runs"]);
    assert_eq!((shop.answers().as_deref(), engine.docker(&["ps", "--quiet"])), (Some("1.0.0"), container));
    shop.is_settled();
}
