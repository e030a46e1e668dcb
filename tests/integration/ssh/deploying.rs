//! The main job over SSH: releases there and back, what is left on either side, and the agent that does it.

use std::path::Path;

use serde_json::Value;

use super::stand::{SOON, Stand, files_in, left_behind};
use crate::support::{Act, Shim, SshdOptions, needs};

/// AC-04, and the whole way of an app on a root behind SSH: two releases and back, looked at from here.
#[test]
fn ac_04_the_host_is_changed_by_its_own_docker_and_no_key_is_left_on_a_disk() {
    needs!("docker", "sshd");
    let (far, near) = (Shim::docker(), Shim::docker());
    let stand = Stand::with(&SshdOptions { path_first: vec![far.path()], ..SshdOptions::default() });
    let stand = stand.on_runner(|host| host.with_path_first(near.path()));

    let first = stand.deploy("1.0.0").exits(0);
    assert_eq!(first.result()["changed"], true);
    assert_eq!(stand.version(), "1.0.0");
    assert!(far.count(&["compose", "up"]) > 0, "{:?}", far.calls());
    assert_eq!((stand.sshd.connections(), stand.agents().len()), (1, 1));
    left_behind(&stand);

    let sessions = stand.sshd.sessions();
    stand.deploy("1.1.0").exits(0);
    assert_eq!(stand.version(), "1.1.0");
    assert_eq!(stand.sshd.connections(), 2);
    assert_eq!(stand.sshd.sessions(), sessions + 1, "the agent was there, so one channel is enough");

    let back = stand.run(&["rollback", "staging", "--yes"]).exits(0);
    assert_eq!(back.result()["release"], first.result()["release"]);
    assert_eq!(back.result()["version"], "1.0.0");
    assert_eq!(stand.version(), "1.0.0");

    let status = stand.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!((&status["current"]["version"], &status["overall"]), (&"1.0.0".into(), &true.into()));
    let health = stand.run(&["health", "staging", "--output", "json"]).exits(0).json();
    assert_eq!((&health["overall"], &health["checks"]["web"]["healthy"]), (&true.into(), &true.into()));
    let history = stand.run(&["history", "staging", "--output", "json"]).exits(0).json();
    let verbs: Vec<_> = history.as_array().into_iter().flatten().map(|entry| &entry["verb"]).collect();
    assert_eq!(verbs, ["rollback", "deploy", "deploy"]);
    let logs = stand.run(&["logs", "staging", "web", "--tail", "5"]).exits(0);
    assert!(!logs.stdout.is_empty(), "{}", logs.told());

    assert_eq!(near.calls(), Vec::<Vec<String>>::new(), "nothing of Docker was asked on the runner");
    assert_no_key(stand.host.dir(), &stand.sshd.private_key());
    assert_no_key(&stand.sshd.home(), &stand.sshd.private_key());
    assert_no_key(&stand.root(), &stand.sshd.private_key());
    left_behind(&stand);
}

/// Looks into every file for a line of the key.
fn assert_no_key(dir: &Path, key: &str) {
    let line = key.lines().nth(2).expect("a key has lines");
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            assert_no_key(&path, key);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let holds = bytes.windows(line.len()).any(|part| part == line.as_bytes());
            assert!(!holds, "{} holds the private key", path.display());
        }
    }
}

#[test]
fn the_agent_is_checked_at_each_use_and_one_that_was_tampered_with_never_runs() {
    needs!("docker", "sshd");
    let stand = Stand::new();
    stand.deploy("1.0.0").exits(0);
    let uploaded = stand.agents().pop().expect("the agent was brought");
    let kept =
        files_in(&stand.root().join("state/bin"), "").pop().expect("the agent is kept").join("ffe-agent");
    let ran = stand.sshd.dir().join("ran");
    let traitor = format!("#!/bin/sh\necho yes >>'{}'\n", ran.display());
    let (good, size) = (std::fs::read(&uploaded).unwrap(), traitor.len());
    for path in [&uploaded, &kept] {
        replace(path, traitor.as_bytes());
        assert_eq!(path.metadata().unwrap().len() as usize, size);
    }
    stand.deploy("1.1.0").exits(0);
    assert_eq!(stand.version(), "1.1.0");
    assert!(!ran.exists(), "the changed agent was run");
    assert!(std::fs::read(&uploaded).unwrap() == good && std::fs::read(&kept).unwrap() == good);
}

/// Puts another file of the same mode in its place, as `mv` does: the running program is another inode.
fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).expect("write the file");
    std::fs::set_permissions(&beside, path.metadata().expect("it is there").permissions())
        .expect("same mode");
    std::fs::rename(&beside, path).expect("put it in its place");
}

#[test]
fn events_arrive_while_the_host_is_still_at_work_and_are_told_again_when_asked_for() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let stand = Stand::with(&SshdOptions { path_first: vec![shim.path()], ..SshdOptions::default() });
    shim.on(&["compose", "up"], &Act::Hold);
    let mut running = stand.start("1.0.0", &["--deployment-id", "run-7"]);
    assert_eq!(running.until_stage(SOON, "deploying")["origin"], "agent");
    running.until_says(SOON, "deploying");
    shim.release();
    let first = running.wait().exits(0);
    let ups = shim.count(&["compose", "up"]);
    let again = stand.start("1.0.0", &["--deployment-id", "run-7"]).wait().exits(0);
    assert_eq!(again.result(), first.result());
    assert_eq!(first.result()["deployment_id"], "run-7");
    assert_eq!(shim.count(&["compose", "up"]), ups, "nothing is done twice");
    let agents = |events: &[Value]| {
        events.iter().filter(|event| event["origin"] == "agent").cloned().collect::<Vec<_>>()
    };
    assert_eq!(agents(&again.events), agents(&first.events), "the same events are told");
}
