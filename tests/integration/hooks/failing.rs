//! Hooks that do not do their work.

use super::stand::{SOON, Stand, hooks};
use crate::support::{Host, alive, needs, until};

const AFTER: [&str; 2] =
    ["on_failure: [{name: e, run: [./note.sh]}]", "finally: [{name: g, run: [./note.sh]}]"];

#[test]
fn a_failing_pre_deploy_hook_stops_the_run_with_nothing_switched() {
    needs!("docker", "git");
    let stand = Stand::new(&AFTER);
    stand.deploy("1.0.0").exits(0);
    let before = stand.containers();
    let failing = "pre_deploy: [{name: a, run: [./note.sh]}, {name: b, shell: 'echo first; echo no such table; exit 3'}, {name: c, run: [./note.sh]}]";
    stand.configure("", &[failing, AFTER[0], AFTER[1]]);
    stand.forget();
    let ended = stand.deploy("1.1.0").exits(9);
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["changed"]), (&"aborted".into(), &false.into()));
    assert_eq!(
        hooks(result),
        ["pre_deploy a succeeded", "pre_deploy b failed", "on_failure e succeeded", "finally g succeeded"]
    );
    assert_eq!(result["errors"][0]["code"], "hook.failed");
    assert_eq!(
        result["errors"][0]["message"],
        "the pre_deploy hook `b` exited with 3: no such table; nothing was switched"
    );
    let step = result["next_step"].as_str().unwrap_or_default();
    assert!(
        step.contains(
            "1.0.0 still runs; hooks that ran: pre_deploy `a` (succeeded), pre_deploy `b` (failed)"
        ),
        "{step}"
    );
    assert_eq!(stand.order(), ["pre_deploy a 1.1.0", "on_failure e 1.1.0", "finally g 1.1.0"]);
    assert!(stand.notes()[1].contains(": aborted in failed"), "{:?}", stand.notes());
    assert_eq!((stand.containers(), stand.releases()), (before, 1));
    ended.says(&["✗ pre_deploy hook b failed", "hook.failed", "no such table"]);
    stand.run(&["status", "staging"]).exits(0);
}

#[test]
fn the_failure_of_a_post_deploy_hook_means_what_its_policy_says() {
    needs!("docker", "git");
    let stand = Stand::new(&[]);
    let failing = |policy: &str| {
        format!(
            "post_deploy: [{{name: a, shell: 'exit 3', on_error: {policy}}}, {{name: z, run: [./note.sh]}}]"
        )
    };
    stand.configure("", &[&failing("warn")]);
    let warned = stand.deploy("1.0.0").exits(0);
    assert_eq!(hooks(warned.result()), ["post_deploy a failed", "post_deploy z succeeded"]);
    assert_eq!(warned.result()["errors"].as_array().map(Vec::len), Some(0));
    let notice = warned.events_named("noticed").into_iter().find(|event| event["code"] == "hook.failed");
    assert_eq!(notice.expect("a warning")["severity"], "warning");

    stand.configure("", &[&failing("rollback"), "on_rollback: [{name: f, run: [./note.sh]}]"]);
    stand.forget();
    let back = stand.deploy("1.1.0").exits(4);
    assert_eq!(stand.answers().as_deref(), Some("1.0.0"));
    assert_eq!(hooks(back.result()), ["post_deploy a failed", "on_rollback f succeeded"]);
    assert_eq!(back.result()["errors"][0]["code"], "hook.failed");

    stand.configure("", &[&failing("fail"), "on_failure: [{name: e, run: [./note.sh]}]"]);
    let failed = stand.deploy("1.2.0").exits(5);
    let result = failed.result();
    assert_eq!(stand.answers().as_deref(), Some("1.2.0"));
    assert_eq!((&result["outcome"], &result["changed"]), (&"failed".into(), &true.into()));
    assert_eq!(hooks(result), ["post_deploy a failed", "on_failure e succeeded"]);
    let step = result["next_step"].as_str().unwrap_or_default();
    assert!(step.starts_with("1.2.0 is live and healthy, and stays"), "{step}");
    failed.says(&["the release is live and healthy, but a hook that comes after it failed"]);
    let status = stand.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!((&status["current"]["version"], &status["overall"]), (&"1.2.0".into(), &true.into()));
}

#[test]
fn a_hook_that_takes_too_long_is_ended_with_all_that_it_has_started() {
    needs!("docker", "git");
    let stand = Stand::new(&["pre_deploy: [{run: [./hang.sh], timeout: 2s}]"]);
    let ended = stand.deploy("1.0.0").exits(9);
    assert_eq!(hooks(ended.result()), ["pre_deploy hang.sh timed_out"]);
    assert_eq!(ended.result()["errors"][0]["code"], "hook.timeout");
    let [child, hook] = stand.hanging();
    until(SOON, "the end of its processes", || !alive(child) && !alive(hook));
    assert!(stand.containers().is_empty());
}

#[test]
fn what_a_hook_says_is_harmless_and_holds_no_secret() {
    needs!("docker", "git");
    let host = Host::local()
        .with_env("API_TOKEN", "hunter2-canary")
        .with_env("GITHUB_ACTIONS", "true")
        .with_env("FFE_DEPLOY_LOG_FORMAT", "human");
    let says = "pre_deploy: [{name: a, shell: 'echo \"::add-mask::shop\"; echo \"##[error]boom\"; echo \"token $API_TOKEN\"; test -n \"$API_TOKEN\"'}]";
    let stand = Stand::on(
        host,
        "    secrets: [API_TOKEN]\n",
        &[says, "finally: [{name: g, shell: 'echo late $API_TOKEN; exit 1'}]"],
    );
    let ended = stand.deploy("1.0.0").exits(0);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains("token ***") && told.contains("late ***"), "{told}");
    let masks: Vec<_> =
        told.lines().filter(|line| line.starts_with("::add-mask::") && !line.contains("hunter2")).collect();
    assert!(
        !told.contains("##[error]boom") && !masks.iter().any(|line| line.ends_with("::shop")),
        "{masks:?}"
    );
    let log = serde_json::to_string(&ended.events).expect("JSON");
    assert!(!log.contains("hunter2-canary"), "the secret is in an event");
    let journal_and_logs = std::process::Command::new("grep")
        .args(["-rlF", "hunter2-canary"])
        .args(["state", "history"].map(|name| stand.host.root("staging").join(name)))
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&journal_and_logs.stdout), "");
}
