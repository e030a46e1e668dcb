//! Hooks that could not run are found before anything is touched.

use serde_json::Value;

use super::stand::Stand;
use crate::support::{Ended, needs};

/// Severity and message of the findings of a rule.
fn found(ended: &Ended, rule: &str) -> Vec<(String, String)> {
    let all = ended.events_named("finding_reported").into_iter().filter(|event| event["rule"] == rule);
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    all.map(|event| (text(&event["severity"]), text(&event["found"]))).collect()
}

#[test]
fn what_hooks_and_tests_cannot_start_is_named_with_where_it_was_looked_for() {
    needs!("docker", "git");
    let stand = Stand::new(&[]);
    stand.project.file("plain.sh", "#!/bin/sh\n").executable("windows.sh", "#!/bin/sh\r\nexit 0\r\n");
    let keys = "    test: {command: [./no-test.sh]}\n";
    stand.configure(
        keys,
        &[
            "pre_deploy: [{run: [./gone.sh]}, {run: [./plain.sh]}, {service: backedn, run: [x]}, {run: [./note.sh]}]",
            "post_deploy: [{run: [./windows.sh]}, {run: [no-such-program-here, -x]}, {shell: 'no-such-program-here'}]",
            "finally: [{run: [note.sh], on: runner}]",
        ],
    );
    let ended = stand.deploy("1.0.0").exits(3);
    let programs = found(&ended, "hooks.program");
    let expected = [
        "the test cannot run on the runner: there is no file `./no-test.sh`",
        "the finally hook `note.sh` cannot run on the runner: no directory of PATH (",
        "the pre_deploy hook `gone.sh` cannot run on the host: there is no file `./gone.sh`",
        "the pre_deploy hook `plain.sh` cannot run on the host: `./plain.sh` is not executable",
        "the post_deploy hook `windows.sh` cannot run on the host: the first line of `./windows.sh` asks for `/bin/sh\\r`",
        "the post_deploy hook `no-such-program-here` cannot run on the host: no directory of PATH (",
    ];
    assert_eq!(programs.len(), expected.len(), "{programs:?}");
    for ((severity, message), expected) in programs.iter().zip(expected) {
        assert!(message.starts_with(expected) && severity == "error", "{severity}: {message}");
    }
    let services = found(&ended, "hooks.service");
    assert!(services[0].1.contains("`backedn` (it has `backend`)"), "{services:?}");
    assert!(!stand.host.root("staging").join("state").exists() && stand.containers().is_empty());

    let validated = stand.run(&["validate", "staging"]).exits(3);
    assert_eq!(found(&validated, "hooks.program"), programs);
    validated.says(&[
        "write `./note.sh`",
        "`chmod +x ./plain.sh`",
        "the line ends of Unix",
        "docs/rules/hooks.program.md",
    ]);
    let without = stand.run(&["deploy", "staging", "--plan", "--skip-tests"]).exits(3);
    assert_eq!(found(&without, "hooks.program").len(), programs.len() - 1, "the test would not be run");
}

#[test]
fn what_a_hook_may_still_make_is_a_warning_and_rules_on_hooks_are_silenced_with_a_reason() {
    needs!("docker", "git");
    let hooks = ["pre_build: [{shell: 'exit 0'}]", "post_deploy: [{run: [./made], on_error: warn}]"];
    let stand = Stand::new(&hooks);
    let ended = stand.deploy("1.0.0").exits(0);
    assert_eq!(found(&ended, "hooks.program")[0].0, "warning");
    // Nothing was built, and so nothing was made: what is not there is told as what it is.
    assert_eq!(ended.event("hook_finished")["detail"], "there is no file `./made`");
    let service =
        ["finally: [{run: [./gone.sh]}]", "post_deploy: [{service: tools, run: [x], on_error: warn}]"];
    let because = "silence: it is there when it is needed";
    stand.configure(
        &format!("    rules: {{hooks.program: {{{because}}}, hooks.service: {{{because}}}}}\n"),
        &service,
    );
    let ended = stand.run(&["validate", "staging"]).exits(0);
    for rule in ["hooks.program", "hooks.service"] {
        assert_eq!(found(&ended, rule)[0].0, "silenced", "{rule}");
    }
}
