//! What the history remembers, and what a rollback returns to.
use std::fs;

use serde_json::Value;

use super::Stage;
use crate::support::{Act, needs};

/// The records in the project's history directory, oldest first, with their names.
fn records(stage: &Stage, environment: &str) -> Vec<(String, Value)> {
    let app = stage.host.app();
    let directory = stage.project.path().join(format!(".ffe-deploy/{app}-{environment}/history"));
    let mut found: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).expect("read a record");
            (entry.file_name().into_string().expect("text"), serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Whether a name is `{app}_{env}_{YYYYMMDDTHHMMSS.mmmZ}.json`.
fn is_record_name(name: &str, app: &str, environment: &str) -> bool {
    let time =
        name.strip_prefix(&format!("{app}_{environment}_")).and_then(|rest| rest.strip_suffix("Z.json"));
    time.is_some_and(|time| {
        time.len() == 19 && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'T' || byte == b'.')
    })
}

#[test]
fn a2_07_a2_08_a2_10_history_tells_good_from_failed_and_a_rollback_takes_the_recorded_release() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    let app = stage.host.app().to_owned();
    stage.configure("env_vars: {MODE: ok, COLOUR: red}");
    let compose = fs::read_to_string(stage.project.path().join("docker-compose.yml")).expect("read it");
    stage.project.file("docker-compose.yml", compose.replace("{MODE: ", "{COLOUR: '${COLOUR}', MODE: "));
    let deploy = |version: &str| stage.run(&["deploy", "staging", "--yes", "--version", version]);
    let good = deploy("v1").exits(0);
    let first = good.result()["release"].clone();

    // v2's executor fails: v1 comes back by the same call with its own configuration.
    stage.configure("env_vars: {MODE: ok, COLOUR: blue}");
    stage.shim.on_first(1, &["compose", "up"], &Act::Fail(1, "cannot start that"));
    let before = stage.calls(&["compose", "up"]);
    let failed = deploy("v2").exits(4);
    assert_eq!(stage.calls(&["compose", "up"]) - before, 2);
    assert_eq!(failed.result()["outcome"], "rolled_back");
    assert_eq!(failed.result()["rolled_back_to"], first);
    assert_eq!(stage.host.get(stage.port, "/env/COLOUR").body, "red");

    let known = records(&stage, "staging");
    assert_eq!(known.len(), 2, "{known:#?}");
    for (name, record) in &known {
        assert!(is_record_name(name, &app, "staging"), "{name}");
        for key in ["app", "env", "version", "timestamp", "status", "config"] {
            assert!(!record[key].is_null(), "no `{key}` in {record:#}");
        }
    }
    let (one, two) = (&known[0].1, &known[1].1);
    assert_eq!((&one["version"], &one["status"]), (&"v1".into(), &"succeeded".into()));
    assert_eq!((&two["version"], &two["status"]), (&"v2".into(), &"failed".into()));
    assert_eq!((&two["rolled_back_to"], &two["outcome"]), (&first, &"rolled_back".into()));

    // v3 is good; a rollback from it skips v2, and takes v1's recorded configuration, not today's.
    deploy("v3").exits(0);
    assert_eq!(stage.host.get(stage.port, "/env/COLOUR").body, "blue");
    stage.configure("env_vars: {MODE: unhealthy, COLOUR: green}");
    let back = stage.run(&["rollback", "staging", "--yes", "--reason", "v3 is too blue"]).exits(0);
    assert_eq!(back.result()["release"], first);
    assert_eq!(stage.host.get(stage.port, "/env/COLOUR").body, "red");
    let known = records(&stage, "staging");
    let last = &known.last().expect("a record").1;
    assert_eq!(known.len(), 4);
    assert_eq!(
        (&last["verb"], &last["status"], &last["version"]),
        (&"rollback".into(), &"succeeded".into(), &"v1".into())
    );
    assert_eq!(last["reason"], "v3 is too blue");

    let told = stage.run(&["history", "staging", "--output", "json"]).exits(0).json();
    let versions: Vec<_> =
        told.as_array().expect("a list").iter().map(|record| record["version"].clone()).collect();
    assert_eq!(versions, ["v1", "v3", "v2", "v1"], "{told:#}");
    r002_48_figures(&stage);
    // There is nothing before v1.
    stage.run(&["rollback", "staging", "--yes"]).exits(3).says(&["no earlier"]);
}

/// Of three deployments one failed and went back by itself; one rollback was by hand, and counts as none.
fn r002_48_figures(stage: &Stage) {
    let figures = stage.run(&["history", "staging", "--stats", "--output", "json"]).exits(0).json();
    let counted = ["deployments", "succeeded", "failed", "cancelled", "unreadable"].map(|key| &figures[key]);
    assert_eq!(counted, [3, 2, 1, 0, 0], "{figures:#}");
    let near = |value: &Value, part: f64| value.as_f64().is_some_and(|found| (found - part).abs() < 0.001);
    assert!(
        near(&figures["success_rate"], 2.0 / 3.0) && near(&figures["failure_rate"], 1.0 / 3.0),
        "{figures:#}"
    );
    let rollbacks = &figures["rollbacks"];
    assert_eq!((&rollbacks["automatic"], &rollbacks["by_hand"]), (&1.into(), &1.into()), "{figures:#}");
    assert!(near(&rollbacks["per_deployment"], 2.0 / 3.0), "{figures:#}");
    assert_eq!(figures["outcomes"], serde_json::json!({"succeeded": 2, "rolled_back": 1}));
    assert_eq!(figures["healthy_last"], true);
    let seconds = |key: &str| figures["duration"][key].as_f64().expect("seconds");
    let (median, most) = (seconds("median_seconds"), seconds("longest_seconds"));
    assert!(median > 0.0 && median <= most && seconds("p95_seconds") <= most, "{figures:#}");
    let table = stage.run(&["history", "staging", "--stats"]).exits(0);
    for part in ["3 deployments", "2  (66.7 %)", "1  (33.3 %)", "1 by itself, 1 by hand", "healthy"] {
        assert!(table.stdout.contains(part), "{part} is not in {}", table.stdout);
    }
}

#[test]
fn a_release_record_that_somebody_damaged_does_not_keep_the_next_deploy_from_working() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    let app = stage.host.app().to_owned();
    let good = stage.run(&["deploy", "staging", "--yes"]).exits(0);
    let release = good.result()["release"].as_str().expect("a release").to_owned();
    stage.project.file(&format!(".ffe-deploy/{app}-staging/releases/{release}/release.json"), "{ torn");
    stage.run(&["validate", "staging"]).exits(0);
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(0);
    ended.says(&["release.damaged", &release, "nothing to go back to"]);
    assert_eq!(stage.host.get(stage.port, "/health").status, 200);
    let project = format!("{app}-staging");
    assert_eq!(stage.host.containers(&project, "backend").len(), 1);
}
