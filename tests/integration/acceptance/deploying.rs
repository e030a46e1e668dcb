//! A deployment from its first stage to its last, and where it stops.
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{Stage, backend, stages};
use crate::support::{Act, Reply, Web, base_image, needs, until};

const SOON: Duration = Duration::from_secs(30);

const DOCUMENTS_ORDER: [&str; 7] =
    ["validating", "setup", "pulling", "building", "deploying", "verifying", "complete"];

#[test]
fn a0_08_stages_come_in_the_documents_order_under_one_id() {
    needs!("docker", "git");
    let stage = Stage::with_backend("staging");
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(0);
    let mut told = stages(&ended).into_iter();
    for wanted in DOCUMENTS_ORDER {
        assert!(told.any(|stage| stage == wanted), "no {wanted} in its place: {}", ended.told());
    }
    let id = ended.result()["deployment_id"].as_str().expect("an id").to_owned();
    let (time, random) = id.strip_prefix("deploy-").and_then(|rest| rest.split_once('-')).expect("two parts");
    assert!(time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert!(random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    for event in &ended.events {
        assert_eq!(event["deployment_id"], id.as_str());
    }
    a0_18_every_record_says_when_how_grave_and_by_whom(&ended);
    assert_eq!(stage.host.get(stage.port, "/health").status, 200);
}

fn a0_18_every_record_says_when_how_grave_and_by_whom(ended: &crate::support::Ended) {
    for event in &ended.events {
        let time = event["timestamp"].as_str().unwrap_or_default();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{event}");
        let levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
        assert!(event["level"].as_str().is_some_and(|level| levels.contains(&level)), "{event}");
        for key in ["logger", "message", "module", "function"] {
            assert!(event[key].as_str().is_some_and(|text| !text.is_empty()), "no `{key}` in {event}");
        }
    }
    let finished = ended.events_named("stage_finished");
    assert_eq!(finished.len(), stages(ended).len(), "each stage ends: {}", ended.told());
    for event in finished {
        assert_eq!(event["span"]["name"], event["stage"]);
        assert!(event["span"]["duration_ms"].is_u64() && event["span"]["status"] == "ok", "{event}");
    }
}

#[test]
fn ac_01_a_job_on_github_deploys_and_leaves_its_log_where_the_runner_keeps_things() {
    needs!("docker", "git");
    let mut stage = Stage::with_image("staging");
    let runner_temp = stage.host.dir().join("runner");
    let github = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_RUN_ID", "4711"),
        ("GITHUB_RUN_ATTEMPT", "2"),
        ("RUNNER_TEMP", runner_temp.to_str().expect("text")),
    ];
    for (name, value) in github {
        stage.host = stage.host.with_env(name, value);
    }
    let web = Web::start();
    web.on("/health", &[200]);
    stage.asks(&web, 20);
    let ended = stage.host.run_bare(stage.project.path(), &["deploy", "staging", "--yes"]).exits(0);
    let logs: Vec<_> = fs::read_dir(runner_temp.join("ffe-deploy")).expect("the log's directory").collect();
    assert_eq!(logs.len(), 1);
    let log = fs::read_to_string(logs[0].as_ref().expect("a log").path()).expect("read the log");
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().all(|event| event.is_object() && event["correlation_id"] == "github-4711-2"));
    assert_eq!(events.last().expect("events")["result"]["status"], "success");
    assert!(web.requests().iter().any(|request| request.path == "/health"));
    ended.says(&["✓ backend is healthy"]);
}

#[test]
fn ac_06_a_failing_compose_up_has_one_last_word_and_it_is_failure() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    stage.shim.on(&["compose", "up"], &Act::Fail(1, "no such luck"));
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(5);
    let last_words = ended.events_named("deployment_finished");
    assert_eq!(last_words.len(), 1, "{}", ended.told());
    let result = ended.result();
    assert_eq!((&result["status"], &result["outcome"]), (&"failure".into(), &"failed".into()));
    assert!(result["errors"].to_string().contains("no such luck"), "{result:#}");
    ended.says(&["no such luck"]);
}

#[test]
fn a0_10_a_base_image_that_cannot_be_pulled_but_is_there_is_a_warning() {
    needs!("docker", "git");
    let stage = Stage::with_backend("staging");
    stage.shim.on(&["pull"], &Act::Fail(1, "registry is away"));
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(0);
    assert_eq!(ended.result()["stage"], "complete");
    let base = base_image();
    let warned = ended.events.iter().any(|event| {
        event["level"] == "WARNING" && event["message"].as_str().is_some_and(|text| text.contains(&base))
    });
    assert!(warned, "no warning names {base}: {}", ended.told());
}

#[test]
fn a0_11_a_failing_build_stops_before_anything_is_started() {
    needs!("docker", "git");
    let stage = Stage::with_backend("staging");
    stage.shim.on(&["compose", "build"], &Act::Fail(1, "pip install failed"));
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(9);
    let result = ended.result();
    assert_eq!(result["stage"], "failed");
    assert!(!result["errors"].as_array().expect("a list").is_empty());
    assert_eq!(stage.calls(&["compose", "up"]), 0);
    let failed = ended.events_named("stage_finished").into_iter().find(|event| event["outcome"] == "failed");
    assert_eq!(failed.expect("a failed stage")["stage"], "building");
    ended.says(&["backend", "pip install failed", "Dockerfile"]);
}

#[test]
fn a0_12_every_build_is_without_cache_when_that_is_asked_for_and_none_otherwise() {
    needs!("docker", "git");
    let stage = Stage::with_backend("dev");
    stage.run(&["deploy", "dev", "--yes"]).exits(0);
    assert!(stage.calls(&["compose", "build"]) > 0);
    assert_eq!(stage.calls(&["build", "--no-cache"]), 0);
    let before = stage.calls(&["compose", "build"]);
    stage.run(&["deploy", "dev", "--yes", "--no-cache"]).exits(0);
    let uncached = stage.calls(&["build", "--no-cache"]);
    assert!(uncached > 0);
    assert_eq!(stage.calls(&["compose", "build"]) - before, uncached);
}

#[test]
fn a0_14_an_unhealthy_service_fails_in_verifying_when_its_time_is_up_with_its_logs() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    stage.env("staging", &[("MODE", "chatty")]);
    let web = Web::start();
    web.on("/health", &[500]);
    stage.asks(&web, 3);
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(5);
    let verifying = ended
        .events_named("stage_finished")
        .into_iter()
        .find(|event| event["stage"] == "verifying")
        .expect("verifying ended");
    assert_eq!(verifying["outcome"], "failed");
    let took = verifying["took_ms"].as_u64().expect("a time");
    assert!((3_000..18_000).contains(&took), "{took} ms");
    let collected = ended.event("logs_collected");
    assert_eq!(collected["service"], "backend");
    let lines = collected["lines"].as_array().expect("lines");
    assert!((1..=50).contains(&lines.len()), "{} lines", lines.len());
    ended.says(&["backend", "500"]);
}

#[test]
fn a0_16_setup_makes_directories_and_databases() {
    needs!("docker", "git");
    let stage = Stage::with_image("dev");
    let setup = "setup:\n      directories: [data/decisions, data/logs, data/cache, {path: logs, mode: '0750'}, backups]\n      databases: [data/auth.db]";
    stage.configure(setup);
    stage.run(&["deploy", "dev"]).exits(0);
    for directory in ["data/decisions", "data/logs", "data/cache", "logs", "backups"] {
        assert!(stage.project.path().join(directory).is_dir(), "no {directory}");
    }
    assert!(stage.project.path().join("data/auth.db").is_file());
}

#[test]
fn a1_05_production_is_backed_up_before_up_and_asked_after() {
    needs!("docker", "git", "tar");
    let stage = Stage::with_image("production");
    stage.project.file("data/portfolio.json", "{}\n").file("config/config.local.yaml", "mine: 1\n");
    let web = Web::start();
    web.on("/health", &[200]);
    stage.asks(&web, 20);
    stage.shim.on(&["compose", "up"], &Act::Hold);
    let run = stage.host.spawn(&stage.project, &["deploy", "production", "--host", "local", "--yes"]);
    until(SOON, "the call of up", || stage.calls(&["compose", "up"]) > 0);
    let archives: Vec<_> = fs::read_dir(stage.project.path().join("backups"))
        .expect("backups are there before up")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.starts_with("ffe_backup_") && name.ends_with(".tar.zst"))
        .collect();
    assert_eq!(archives.len(), 1, "{archives:?}");
    assert_eq!(web.requests().len(), 0, "asked before up");
    stage.shim.release();
    let ended = run.wait().exits(0);
    assert!(!web.requests().is_empty());
    assert!(ended.result()["backup"].as_str().is_some_and(|path| path.ends_with(&archives[0])));
    let includes = ended.event("backup_created")["includes"].to_string();
    for part in ["data", "config/config.local.yaml", ".env.production"] {
        assert!(includes.contains(part), "{includes}");
    }
}

#[test]
fn a1_10_a_check_goes_to_the_port_of_the_environments_env_file() {
    needs!("docker", "git");
    let stage = Stage::with_image("production");
    let web = Web::start();
    web.on("/health", &[200]);
    let compose = backend(&format!("image: '{}'", base_image()))
        .replace("    ports: ['127.0.0.1:${BACKEND_PORT}:8000']\n", "");
    stage.project.file("docker-compose.yml", compose);
    stage.project.env_file("production", &[("BACKEND_PORT", &web.port().to_string())]);
    stage.configure("health: {timeout: 20s, checks: [{name: backend, http: 'http://localhost:${BACKEND_PORT:-8000}/health', status: 200}]}");
    let ended = stage.run(&["deploy", "production", "--host", "local", "--yes"]).exits(0);
    let paths: Vec<_> = web.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/health"]);
    ended.says(&["✓ backend is healthy"]);
}

#[test]
fn a2_02_an_app_of_compose_gets_its_variables_and_its_own_compose_file() {
    needs!("docker", "git");
    let stage = Stage::empty();
    let compose =
        backend(&format!("image: '{}'", base_image())).replace("{MODE: ", "{HOST: '${HOST}', MODE: ");
    stage.project.file("services/web/stack.yml", compose);
    let app = "type: docker-compose\n    path: services/web\n    compose_file: stack.yml";
    let port = stage.port;
    stage.project.file(
        "deployments.yaml",
        format!(
            "deployments:\n  coffee:\n    {app}\n    env_vars: {{HOST: google.com, BACKEND_PORT: '{port}'}}\n  tea:\n    {app}\n"
        ),
    );
    let name = stage.host.app();
    stage.project.file(
        "environments.yaml",
        format!("environments:\n  dev: {{overrides: {{coffee: {{project: {name}}}}}}}\n"),
    );
    stage.project.commit("first");
    let ended = stage.run(&["deploy", "dev", "--app", "coffee"]).exits(0);
    let up = stage.shim.calls().into_iter().find(|call| call.iter().any(|word| word == "up")).expect("an up");
    assert!(up.windows(2).any(|words| words == ["up", "-d"]), "{up:?}");
    assert!(up.iter().any(|word| word.ends_with("services/web/stack.yml")), "{up:?}");
    assert_eq!(stage.host.get(port, "/env/HOST").body, "google.com");
    assert!(
        ended
            .events_named("check_finished")
            .iter()
            .any(|event| event["check"].as_str().is_some_and(|name| name.starts_with("backend")))
    );
}

#[test]
fn a2_12_a_check_that_fails_at_first_is_asked_again_in_growing_gaps() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    let web = Web::start();
    web.on_with("/health", [503, 503, 503, 200].map(Reply::from).to_vec());
    stage.asks(&web, 20);
    stage.run(&["deploy", "staging", "--yes"]).exits(0);
    let asked = web.requests();
    assert_eq!(asked.len(), 4);
    let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(gaps.windows(2).all(|pair| pair[1] > pair[0]), "{gaps:?}");
}
