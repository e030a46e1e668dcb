//! Deploys that succeed, and what their page says.

use std::process::Command;

use super::{Job, OUTPUTS, outputs};
use crate::support::needs;

#[test]
fn ac_01_a_good_deploy_has_every_output_a_summary_and_a_way_back_that_works() {
    needs!("docker", "git");
    let job = Job::with(
        ", setup: {directories: [data]}, shared: [data], backup: {paths: [data]}, url: 'https://shop.example.com'",
    );
    let first = job.write("1.0.0", "ok").run(&["deploy", "staging", "--version", "1.0.0", "--yes"], 0);
    assert!(!first.summary.contains("The way back"), "there is nothing before: {}", first.summary);
    let step = job.write("1.1.0", "ok").run(&["deploy", "staging", "--version", "1.1.0", "--yes"], 0);

    let result = step.ended.result();
    assert_eq!(step.outputs.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut names = OUTPUTS;
        names.sort_unstable();
        names
    });
    for (name, value) in [
        ("deployment-id", result["deployment_id"].as_str()),
        ("status", Some("success")),
        ("outcome", Some("succeeded")),
        ("version", Some("1.1.0")),
        ("previous-version", Some("1.0.0")),
        ("release", result["release"].as_str()),
        ("backup", result["backup"].as_str()),
        ("url", Some("https://shop.example.com")),
    ] {
        assert_eq!(Some(step.outputs[name].as_str()), value, "{name}");
    }
    assert!(step.outputs["duration-seconds"].parse::<f64>().is_ok_and(|seconds| seconds > 0.0));
    let log =
        std::fs::read_to_string(&step.outputs["event-log"]).expect("the event log is where the output says");
    assert!(
        log.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()))
    );

    step.shows(&[
        "in `staging` — 1.1.0 is live",
        "1.1.0  (before: 1.0.0)",
        "```mermaid\ngantt\n",
        "| `backend` | recreated |",
        "| `config.txt` | changed |",
        "✅&nbsp;healthy",
        &step.outputs["backup"],
        "<https://shop.example.com>",
        "<https://github.com/acme/shop/actions/runs/42>",
    ]);
    step.has("notice", &["1.1.0 is live", "https://shop.example.com"]);
    assert!(step.commands("error").is_empty());
    for stage in
        ["initializing", "validating", "setup", "pulling", "backing_up", "deploying", "verifying", "complete"]
    {
        step.has("group", &[stage]);
    }

    // The command of the summary, in a shell of somebody who has the program and the same configuration.
    let command = step.summary.split("```sh\n").nth(1).and_then(|rest| rest.split('\n').next());
    let command = command.expect("the way back is shown");
    assert!(command.starts_with("ffe-deploy rollback staging ") && command.ends_with(" --yes"), "{command}");
    step.ended.says(&[command]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ffe-deploy"));
    let path = format!("{}:$PATH", program.parent().expect("its directory").display());
    let mut shell: Command = job.host.command("sh");
    let ended = shell.args(["-c", &format!("PATH={path}; {command}")]).output().expect("run the command");
    assert!(ended.status.success(), "{command}: {}", String::from_utf8_lossy(&ended.stdout));
    assert_eq!(job.answers().as_deref(), Some("1.0.0"));
}

#[test]
fn a_file_of_the_step_that_cannot_be_written_changes_nothing_but_a_line() {
    needs!("docker", "git");
    let job = Job::new();
    job.write("1.0.0", "ok");
    let run = |output: &str, summary: &str| {
        let mut command = job.host.command(env!("CARGO_BIN_EXE_ffe-deploy"));
        command.args(["deploy", "staging", "--yes", "--version", "1.0.0", "--project-root"]);
        let command =
            command.arg(job.project.path()).env("GITHUB_OUTPUT", output).env("GITHUB_STEP_SUMMARY", summary);
        let ended = command.output().expect("run it");
        let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{stdout}");
        stdout
    };
    let page = job.host.dir().join("page").display().to_string();
    let stdout = run("/nonexistent/output", &page);
    assert!(stdout.contains("the step outputs stopped: could not write to /nonexistent/output"), "{stdout}");
    let page = std::fs::read_to_string(page).expect("the summary is written all the same");
    assert!(page.contains("is live") && page.contains("Without the step outputs"), "{page}");

    let output = job.host.dir().join("output").display().to_string();
    let stdout = run(&output, "/dev/full");
    assert!(stdout.contains("the job summary stopped"), "{stdout}");
    let outputs = outputs(&std::fs::read_to_string(output).expect("the outputs are written all the same"));
    assert_eq!((outputs["status"].as_str(), outputs["outcome"].as_str()), ("success", "succeeded"));
}
