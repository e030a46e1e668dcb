//! What the runner runs itself: the tests, and hooks that say so.

use super::stand::{Stand, hooks};
use crate::support::{Host, needs};

#[test]
fn tests_that_fail_stop_everything_before_the_host_is_touched() {
    needs!("docker", "git");
    let stand = Stand::new(&[]);
    stand.project.executable("test.sh", "#!/bin/sh\necho one of two; echo expected 3; exit 4\n");
    let keys = "    test: {command: [./test.sh, --fast]}\n";
    let late = "finally: [{name: g, run: [./note.sh], on: runner}]";
    stand.configure(keys, &["on_failure: [{name: e, run: [./note.sh], on: runner}]", late]);
    let ended = stand.deploy("1.0.0").exits(9);
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["changed"]), (&"aborted".into(), &false.into()));
    assert_eq!(result["errors"][0]["code"], "test.failed");
    let message = result["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("the tests failed after "), "{message}");
    assert!(
        message.ends_with(": `./test.sh --fast` exited with 4: expected 3; nothing was touched on the host"),
        "{message}"
    );
    assert!(
        ended
            .events_named("log_line")
            .iter()
            .any(|line| line["source"] == "test" && line["text"] == "one of two")
    );
    assert_eq!(hooks(result), ["on_failure e succeeded", "finally g succeeded"]);
    assert!(stand.notes()[0].contains(": aborted in validating"), "{:?}", stand.notes());
    assert!(!stand.host.root("staging").join("state").exists() && stand.containers().is_empty());

    let skipped = stand.run(&["deploy", "staging", "--version", "1.0.0", "--skip-tests"]).exits(0);
    skipped.says(&["was not run: `--skip-tests` was given"]);
    assert_eq!(stand.answers().as_deref(), Some("1.0.0"));
}

#[test]
fn tests_see_the_job_but_no_secret_of_the_app() {
    needs!("docker", "git");
    let host = Host::local().with_env("API_TOKEN", "hunter2-canary").with_env("TOOLCHAIN", "nightly");
    let script = "#!/bin/sh\ntest \"$TOOLCHAIN\" = nightly || exit 1\n! env | grep -q hunter2 || exit 2\n";
    let keys = "    secrets: [API_TOKEN]\n    test: {command: [./test.sh], timeout: 1m}\n";
    let stand = Stand::on(
        host,
        keys,
        &["finally: [{name: g, shell: 'test \"$API_TOKEN\" = hunter2-canary', on: runner}]"],
    );
    stand.project.executable("test.sh", script);
    let ended = stand.deploy("1.0.0").exits(0);
    let passed = ended.events_named("noticed").into_iter().any(|event| event["code"] == "test.passed");
    assert!(passed, "{}", ended.told());
    assert_eq!(hooks(ended.result()), ["finally g succeeded"]);
}

#[test]
fn hooks_on_the_runner_run_before_the_start_and_before_the_last_word() {
    needs!("docker", "git");
    let stand = Stand::new(&[
        "pre_build: [{name: a, run: [./note.sh], on: runner}]",
        "pre_deploy: [{name: b, run: [./note.sh]}]",
        "finally: [{name: g, run: [./note.sh], on: runner}, {name: h, shell: 'exit 1', on: runner}]",
    ]);
    let ended = stand.deploy("1.0.0").exits(0);
    assert_eq!(
        hooks(ended.result()),
        ["pre_build a succeeded", "pre_deploy b succeeded", "finally g succeeded", "finally h failed"]
    );
    let notes = stand.notes();
    assert!(notes[0].contains(": open in validating") && notes[0].ends_with(", shop"), "{notes:?}");
    assert!(notes[2].contains(": succeeded in complete") && notes[2].ends_with(", shop"), "{notes:?}");
    assert_eq!(
        hooks(&stand.host_result(&ended))[1..],
        ["finally g not_run", "finally h not_run"],
        "the host cannot know"
    );
    ended.says(&["the finally hook `h` exited with 1; the outcome stays what it is"]);
    stand.forget();
    stand.run(&["deploy", "staging", "--version", "1.0.0"]).exits(0);
    assert!(stand.notes().is_empty(), "nothing has changed: {:?}", stand.notes());

    stand.configure("", &["pre_build: [{name: a, shell: 'exit 2', on: runner}]"]);
    let ended = stand.deploy("1.1.0").exits(9);
    assert_eq!(hooks(ended.result()), ["pre_build a failed"]);
    assert_eq!(stand.answers().as_deref(), Some("1.0.0"));
}
