//! How often the two halves wait for each other: a round trip to a far host is time in which nothing happens.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::stand::Stand;
use crate::support::{Project, needs};

/// The program beside an agent that keeps what it says.
fn eavesdropping(programs: &Project) -> (PathBuf, PathBuf) {
    let (program, log) = (programs.path().join("ffe-deploy"), programs.path().join("said"));
    // A hard link or a symbolic one would find the usual agent beside it.
    std::fs::copy(env!("CARGO_BIN_EXE_ffe-deploy"), &program).expect("copy the program");
    let agent = env!("CARGO_BIN_EXE_ffe-agent");
    programs.executable("ffe-agent", format!("#!/bin/sh\n'{agent}' \"$@\" | tee -a '{}'\n", log.display()));
    (program, log)
}

/// The digests that the host asked for, by each job.
fn asked_for(log: &PathBuf) -> Vec<usize> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let replies = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lacks = replies.filter(|reply| reply["reply"] == "lacks");
    lacks.map(|reply| reply["digests"].as_array().map_or(0, Vec::len)).collect()
}

#[test]
fn small_files_go_with_the_job_and_only_large_ones_are_asked_for_once() {
    needs!("docker", "sshd");
    let (stand, programs) = (Stand::new(), Project::without_git("programs"));
    let (program, log) = eavesdropping(&programs);
    let run = |words: &[&str]| {
        let words = [words, &["--version", "1.0.0"]].concat();
        stand.host.spawn_build(&program, &stand.project, &words).wait().exits(0)
    };
    run(&["validate", "staging"]);
    assert_eq!(asked_for(&log), [0], "a validate of a small project is answered in one turn");
    let large: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    stand.project.file("assets/large.bin", &large).file("config/more.yaml", "more: yes\n");
    stand.project.commit("Grow");
    let deployed = run(&["deploy", "staging", "--yes"]);
    let received = deployed.event("bundle_received");
    assert_eq!(received["sent_files"], received["files"], "{}", deployed.told());
    run(&["validate", "staging"]);
    let again = run(&["deploy", "staging", "--yes"]);
    assert_eq!(again.event("bundle_received")["sent_files"], json!(0));
    assert_eq!(asked_for(&log), [0, 1, 0, 0], "what is large is asked for where it is not there");
    let app = stand.root().join("current/app");
    assert!(std::fs::read(app.join("assets/large.bin")).expect("it arrived") == large);
    assert_eq!(std::fs::read(app.join("config/more.yaml")).expect("it arrived"), b"more: yes\n");
}
