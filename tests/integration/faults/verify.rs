//! Releases that do not come up: what is found, what is said of it, and what happens then.

use serde_json::Value;

use super::{Kind, Shop};
use crate::support::{Act, Ended, Web, needs};

const NO_CHECK: &str = "    healthcheck: {disable: true}\n";

/// The check called `name` in a run's result.
#[track_caller]
fn check<'a>(ended: &'a Ended, name: &str) -> &'a Value {
    let checks = ended.result()["checks"].as_array().expect("checks");
    let finished = || ended.events_named("check_finished").into_iter().find(|event| event["check"] == name);
    checks
        .iter()
        .find(|check| check["name"] == name)
        .or_else(finished)
        .unwrap_or_else(|| panic!("no check `{name}`: {}", ended.told()))
}

#[test]
fn a_first_release_that_exits_at_once_is_stopped_kept_and_explained() {
    needs!("docker");
    let shop = Shop::new();
    let exits = Kind { mode: "exit:7", ..Kind::good("1.0.0") };
    let ended = shop.deploy(exits).exits(5);
    let result = ended.result();
    assert_eq!(
        (&result["outcome"], &result["status"], &result["previous_release"]),
        (&"failed".into(), &"failure".into(), &Value::Null)
    );
    ended.says(&[
        "exited with 7",
        "no earlier release to go back to",
        "stopped and kept",
        "docker ps -a --filter label=com.docker.compose.project=",
    ]);
    let logs = ended.event("logs_collected");
    assert_eq!((&logs["service"], &logs["state"]), (&"backend".into(), &"exited with 7".into()));
    assert!(logs["lines"].as_array().is_some_and(|lines| lines.len() <= 50));
    let kept = shop.host.containers(&shop.name(), "backend");
    assert_eq!(kept.len(), 1, "the failed container is kept");
    assert_eq!(shop.host.docker(&["inspect", "-f", "{{.State.Running}}", &kept[0]]).trim(), "false");
    assert_eq!(shop.history().pop().expect("a record")["outcome"], "failed");
    // It was never current, so the next good one is again a first one, and takes the container's place.
    let next = shop.deploy(Kind::good("1.0.1")).exits(0);
    assert_eq!(next.result()["previous_release"], Value::Null);
}

#[test]
fn a_crash_loop_is_found_before_the_deadline_and_rolled_back() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 60s}", "");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let looping = Kind { mode: "exit:3", more: "    restart: always\n", ..Kind::good("1.1.0") };
    let ended = shop.deploy(looping).exits(4);
    assert!(ended.duration.as_secs() < 30, "waited {:?} for a crash loop", ended.duration);
    let result = ended.result();
    assert_eq!(
        (&result["outcome"], &result["rolled_back_to"]),
        (&"rolled_back".into(), &result["previous_release"])
    );
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    let record = shop.history().pop().expect("a record");
    assert_eq!(
        (&record["status"], &record["rolled_back_to"]),
        (&"failed".into(), &result["previous_release"])
    );
    ended.says(&["rolling back", "restart"]);
}

#[test]
fn a_failing_check_tells_its_last_answer_the_last_50_lines_and_the_state() {
    needs!("docker");
    let shop = Shop::new();
    let chatty = Kind {
        mode: "unhealthy",
        more: "    command: [sh, -c, 'for i in $$(seq 1 80); do echo said $$i; done; exec shop serve']\n",
        version: "1.0.0",
    };
    let ended = shop.deploy(chatty).exits(5);
    let failed = check(&ended, "backend");
    assert_eq!(failed["verdict"], "failed");
    assert!(failed["detail"].as_str().is_some_and(|detail| detail.contains("500")), "{failed}");
    let logs = ended.event("logs_collected");
    let lines: Vec<_> = logs["lines"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    assert_eq!((lines.len(), lines[0], lines[48]), (50, "said 32", "said 80"), "{lines:?}");
    assert!(logs["state"].as_str().is_some_and(|state| state.starts_with("running, unhealthy")), "{logs}");
    ended.says(&["500", "said 32", "said 80", "running, unhealthy"]);
    let problem = ended.result()["errors"][0]["message"].as_str().expect("a problem").to_owned();
    assert!(problem.contains("`backend") && problem.contains("500"), "{problem}");
}

#[test]
fn checks_of_every_kind_are_asked_and_the_one_that_fails_is_named() {
    needs!("docker");
    let web = Web::start();
    web.on("/ready", &[503, 503, 200]);
    let url = web.url("/ready");
    let tcp = format!("localhost:{}", web.port());
    let shop = Shop::with_checks(&format!(
        "{{name: ready, http: '{url}'}}, {{name: port, tcp: '{tcp}'}}, \
         {{name: smoke, command: [./smoke.sh, '200']}}, {{name: extra, http: '{}', optional: true, timeout: 1s}}",
        web.url("/nowhere")
    ));
    shop.project.executable("smoke.sh", "#!/bin/sh\necho smoke says $1\ntest $1 = 200\n");
    let ended = shop.deploy(Kind::good("1.0.0")).exits(0);
    for (name, verdict) in [("ready", "passed"), ("port", "passed"), ("smoke", "passed"), ("extra", "failed")]
    {
        assert_eq!(check(&ended, name)["verdict"], verdict, "{name}: {}", ended.told());
    }
    assert_eq!(
        (&check(&ended, "ready")["attempts"], &ended.result()["health"]["overall"]),
        (&3.into(), &"degraded".into())
    );
    ended.says(&["✓ ready is healthy", "✓ smoke is healthy", "extra"]);
    shop.project.executable("smoke.sh", "#!/bin/sh\necho no smoke here; exit 3\n");
    let app_keys = shop.app_file().replace("timeout: 20s", "timeout: 3s");
    shop.project.file("deploy/deployments.yaml", app_keys);
    let ended = shop.deploy(Kind::good("1.1.0")).exits(4);
    assert_eq!(check(&ended, "smoke")["verdict"], "failed");
    ended.says(&["`smoke` is not healthy", "no smoke here"]);
}

#[test]
fn a_one_shot_service_counts_by_its_exit_code() {
    needs!("docker");
    let shop = Shop::new();
    let with = |version, command| Kind { version, mode: "ok", more: command };
    let image = crate::support::base_image();
    let ok: &'static str = format!(
        "  migrate: {{image: '{image}', command: ['true'], restart: 'no', healthcheck: {{disable: true}}}}\n"
    )
    .leak();
    let bad: &'static str = ok.replace("['true']", "[sh, -c, 'echo no table; exit 4']").leak();
    let ended = shop.deploy(with("1.0.0", ok)).exits(0);
    assert_eq!(check(&ended, "migrate")["verdict"], "passed");
    let ended = shop.deploy(with("1.1.0", bad)).exits(4);
    ended.says(&["migrate", "exited with 4", "no table"]);
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
}

#[test]
fn a_container_without_healthcheck_must_run_for_a_while() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 20s}", "");
    let plain = Kind { more: NO_CHECK, ..Kind::good("1.0.0") };
    shop.write(plain);
    let text = shop
        .compose_file()
        .replace("    healthcheck: {test", "    x-was: {test")
        .replace("backend:", "worker:");
    shop.project.file("docker-compose.yml", &text);
    let ended = shop.run(&["deploy", "staging", "--version", "1.0.0"]).exits(0);
    assert!(check(&ended, "worker")["waited_ms"].as_u64().is_some_and(|ms| ms >= 4000), "{}", ended.told());
    shop.project.file(
        "docker-compose.yml",
        text.replace("VERSION: '1.0.0', MODE: 'ok'", "MODE: 'exit:9', EXIT_AFTER_MS: '1500'"),
    );
    let ended = shop.run(&["deploy", "staging", "--version", "1.1.0", "--log-format", "human"]).exits(4);
    ended.says(&["`worker`", "exited with"]);
}

#[test]
fn without_automatic_rollback_a_failed_release_stays_and_the_next_command_is_said() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 4s}, rollback: {automatic: false}", "");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let ended = shop.deploy(Kind::unhealthy("1.1.0")).exits(5);
    ended.says(&["automatic rollback is off", "ffe-deploy rollback"]);
    assert_eq!(ended.result()["outcome"], "failed");
    assert_eq!(shop.answers().as_deref(), Some("1.1.0"));
    shop.deploy(Kind::good("1.2.0")).exits(0);
    assert_eq!(shop.answers().as_deref(), Some("1.2.0"));
}

#[test]
fn a_rollback_that_fails_as_well_says_so() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let calls = shop.shim.count(&["compose", "up"]);
    let mut run = shop.begin(Kind::unhealthy("1.1.0"));
    run.until_stage(super::SOON, "verifying");
    shop.shim.on(&["compose", "up"], &Act::Fail(1, "the engine is on fire"));
    let ended = run.wait().exits(5);
    assert!(shop.shim.count(&["compose", "up"]) > calls + 1);
    ended.says(&["the engine is on fire", "neither the new release nor the one before is healthy"]);
    let codes: Vec<_> = ended.result()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["code"].clone())
        .collect();
    assert_eq!(codes.len(), 2, "{codes:?}");
    assert_eq!(
        (&ended.result()["outcome"], &ended.result()["rolled_back_to"]),
        (&"failed".into(), &Value::Null)
    );
    shop.shim.heal();
    shop.deploy(Kind::good("1.2.0")).exits(0);
    assert_eq!(shop.answers().as_deref(), Some("1.2.0"));
}

#[test]
fn what_is_stopped_on_purpose_is_no_failure_and_a_deploy_starts_it_again() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    shop.run(&["down", "staging"]).exits(0);
    let status = shop.run(&["status", "staging", "--output", "json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("status is JSON");
    assert_eq!(
        (&status["stopped"], &status["overall"], &status["health"]),
        (&true.into(), &false.into(), &Value::Null)
    );
    assert_eq!(shop.answers(), None);
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let status = shop.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!((&status["stopped"], &status["overall"]), (&false.into(), &true.into()));
}
