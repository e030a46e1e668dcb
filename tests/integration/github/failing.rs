//! Deploys that fail, each with its cause first, at the line where it is known, and every output.

use std::time::Duration;

use rustix::process::Signal;

use super::{Job, OUTPUTS, Step};
use crate::support::{Act, needs, until};

#[track_caller]
fn failed(step: &Step, outcome: &str) {
    assert_eq!(step.outputs.len(), OUTPUTS.len());
    assert_eq!((step.outputs["status"].as_str(), step.outputs["outcome"].as_str()), ("failure", outcome));
    assert!(!step.commands("error").is_empty(), "no ::error: {}", step.ended.told());
    assert!(step.summary.contains("FAILED"), "{}", step.summary);
    let results = step.ended.events_named("deployment_finished");
    assert_eq!(results.len(), 1, "one result: {}", step.ended.told());
    assert_eq!(results[0]["result"]["status"], "failure");
}

#[test]
fn ac_06_a_compose_that_fails_has_one_result_an_annotation_and_says_failure() {
    needs!("docker", "git");
    let job = Job::new();
    job.write("1.0.0", "ok").run(&["deploy", "staging", "--yes"], 0);
    job.shim.on_first(1, &["compose", "up"], &Act::Fail(1, "no such thing as ::error::this\n"));
    let step = job.write("2.0.0", "ok").run(&["deploy", "staging", "--yes", "--version", "2.0.0"], 4);
    failed(&step, "rolled_back");
    step.has("error", &["title=deploy of ", "rolled back"]);
    step.shows(&["2.0.0 did not work and was rolled back to", "### What went wrong", "crit, "]);
    assert!(!step.summary.contains("The way back"), "it is back already: {}", step.summary);
}

#[test]
fn a_release_that_is_unhealthy_shows_the_last_lines_of_its_container_and_its_checks() {
    needs!("docker", "git");
    let job = Job::new();
    let step = job.write("1.0.0", "unhealthy").run(&["deploy", "staging", "--yes", "--version", "1.0.0"], 5);
    failed(&step, "failed");
    step.shows(&[
        "someone must look",
        "shop 1.0.0 starting",
        "❌&nbsp;unhealthy",
        "500 Internal Server Error",
    ]);
    step.has("error", &["is not healthy after", "%0ANext: "]);
}

#[test]
fn what_is_wrong_before_the_start_is_shown_beside_its_line() {
    needs!("docker", "git");
    let job = Job::new();
    job.write("1.0.0", "ok");
    let deployments = "deploy/deployments.yaml";
    let good = std::fs::read_to_string(job.project.path().join(deployments)).expect("read it");
    job.project.file(deployments, good.replace("type: docker", "typ: docker"));
    let step = job.run(&["deploy", "staging", "--yes"], 2);
    failed(&step, "invalid");
    step.has("error", &["file=deploy/deployments.yaml,line=2,col=", ".typ` is not a known key"]);
    step.shows(&["is not a known key"]);
    job.project.file(deployments, good);

    // The host says where the compose file breaks, and which service a rule is about.
    let compose = std::fs::read_to_string(job.project.path().join("docker-compose.yml")).expect("read it");
    job.project.file("docker-compose.yml", format!("{compose}  nonsense: [\n")).commit("Broken");
    let step = job.run(&["deploy", "staging", "--yes"], 3);
    failed(&step, "refused");
    step.has("error", &["file=docker-compose.yml,line=", "compose.model"]);
    let lines = compose.lines().filter(|line| !line.contains("healthcheck")).collect::<Vec<_>>().join("\n");
    job.project.file("Dockerfile", "FROM scratch\n");
    job.project
        .file("docker-compose.yml", lines.replace("    image:", "    build: .\n    image:"))
        .commit("Unchecked");
    let step = job.run(&["validate", "staging"], 3);
    step.has("error", &["file=docker-compose.yml,line=2,col=3,", "compose.healthcheck"]);
    step.shows(&["❌&nbsp;error", "`compose.healthcheck`", "checks passed</summary>"]);
    assert_eq!(step.outputs["outcome"], "refused");
}

#[test]
fn refusals_unreachable_hosts_and_words_that_nobody_understands_have_outputs_and_an_annotation() {
    needs!("docker", "git");
    let job = Job::new();
    job.write("1.0.0", "ok");
    let environments = "environments:\n  production: {host: local, root: /nonexistent}\n  \
                        far: {profile: staging, host: 127.0.0.1, port: 1, user: nobody, host_key: 'SHA256:x'}\n";
    job.project.file("deploy/environments.yaml", environments);
    let step = job.run(&["deploy", "production"], 3);
    failed(&step, "refused");
    step.has("error", &["must be confirmed", "--yes"]);
    let step = job.run(&["deploy", "staging"], 2);
    failed(&step, "invalid");
    let step = job.run(
        &[
            "deploy",
            "far",
            "--host-key",
            "127.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGNvbWVfYXNfeW91X2FyZV9zYWlkX25pcnZhbmE=",
        ],
        7,
    );
    failed(&step, "unreachable");
    let run = job.spawn(&["deploy", "--nonsense"]);
    let step = job.ended(run.wait(), 2);
    assert_eq!((step.outputs["status"].as_str(), step.outputs["outcome"].as_str()), ("failure", "invalid"));
    step.has("error", &["unexpected argument", "--nonsense"]);
}

#[test]
fn a_cancelled_deploy_tells_its_outputs_and_page_before_it_is_killed() {
    needs!("docker", "git");
    let job = Job::new();
    job.write("1.0.0", "ok").run(&["deploy", "staging", "--yes"], 0);
    job.write("2.0.0", "ok");
    job.shim.on_first(1, &["compose", "up"], &Act::Hold);
    let before = job.shim.count(&["compose", "up"]);
    let run = job.spawn(&["deploy", "staging", "--yes", "--version", "2.0.0"]);
    until(Duration::from_secs(60), "compose up", || job.shim.count(&["compose", "up"]) > before);
    run.signal(Signal::INT);
    let step = job.ended(run.wait(), 8);
    job.shim.release();
    assert_eq!(
        (step.outputs["status"].as_str(), step.outputs["outcome"].as_str()),
        ("cancelled", "cancelled")
    );
    step.has("error", &["cancelled; the host has acknowledged"]);
    step.shows(&["— CANCELLED: the host has acknowledged", "The host goes on by itself", "active, "]);
    let answered = || job.answers().is_some_and(|version| version == "1.0.0");
    until(Duration::from_secs(60), "the release before", answered);
    let settled = || !job.host.root("staging").join("state/journal.json").exists();
    until(Duration::from_secs(60), "the end of the journal", settled);
}
