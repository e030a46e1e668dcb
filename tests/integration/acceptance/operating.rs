//! The operator's verbs.
use super::Stage;
use crate::support::{Ended, needs};

/// The verbs of Compose that were called, in order: those that change something.
fn changes(stage: &Stage, from: usize) -> Vec<String> {
    let calls = stage.shim.calls().split_off(from);
    let verbs = ["up", "down", "stop", "rm", "restart", "start"];
    calls.iter().filter_map(|call| call.iter().find(|word| verbs.contains(&word.as_str())).cloned()).collect()
}

#[test]
fn a1_07_up_restart_down_and_logs_call_compose_as_they_should() {
    needs!("docker", "git");
    let stage = Stage::with_image("dev");
    stage.run(&["up", "dev"]).exits(0).result();
    assert_eq!(changes(&stage, 0), ["up"]);
    assert_eq!(stage.host.get(stage.port, "/health").status, 200);

    let before = stage.shim.calls().len();
    stage.run(&["logs", "dev", "backend"]).exits(0);
    let calls = stage.shim.calls().split_off(before);
    let logs: Vec<_> = calls.iter().filter(|call| call.iter().any(|word| word == "logs")).collect();
    assert_eq!(logs.len(), 1, "{calls:?}");
    assert_eq!(logs[0].last().map(String::as_str), Some("backend"));

    let before = stage.shim.calls().len();
    let ended = stage.run(&["restart", "dev"]).exits(0);
    assert_eq!(changes(&stage, before), ["down", "up"]);
    assert_eq!(ended.result()["verb"], "restart");
    assert_eq!(stage.host.get(stage.port, "/health").status, 200);

    let before = stage.shim.calls().len();
    stage.run(&["down", "dev"]).exits(0);
    assert_eq!(changes(&stage, before), ["down"]);
    assert!(crate::support::get(stage.port, "/health").is_none(), "the backend still answers");
    stage.run(&["status", "dev"]).exits(0);

    // The third document's words for the same.
    let before = stage.shim.calls().len();
    stage.run(&["start", "dev"]).exits(0);
    stage.run(&["stop", "dev"]).exits(0);
    assert_eq!(changes(&stage, before), ["up", "down"]);
}

#[test]
fn a3_02_restart_goes_down_first_and_clean_takes_volumes_and_images() {
    needs!("docker", "git");
    let stage = Stage::with_backend("staging");
    let project = format!("{}-staging", stage.host.app());
    stage.run(&["deploy", "staging", "--yes"]).exits(0);
    let before = stage.shim.calls().len();
    stage.run(&["restart", "staging"]).exits(0);
    assert_eq!(changes(&stage, before), ["down", "up"]);
    assert_eq!(stage.host.containers(&project, "backend").len(), 1);
    let before = stage.shim.calls().len();
    stage.run(&["clean", "staging", "--yes"]).exits(0);
    let calls = stage.shim.calls().split_off(before);
    let down = calls.iter().find(|call| call.iter().any(|word| word == "down")).expect("a down");
    let wanted = ["down", "-v", "--rmi", "local"];
    assert!(down.windows(wanted.len()).any(|words| words == wanted), "{down:?}");
    assert!(stage.host.containers(&project, "backend").is_empty());
}

/// Stdout of a verb with `--output json` is one document and nothing else.
#[track_caller]
fn is_json(ended: &Ended) -> serde_json::Value {
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.told());
    ended.json()
}

#[test]
fn every_verb_answers_with_one_json_document_and_nothing_else_on_stdout() {
    needs!("docker", "git");
    let stage = Stage::with_image("dev");
    let json = |verb: &str, more: &[&str], code: i32| {
        let ended = stage.run(&[&[verb, "dev", "--output", "json"], more].concat()).exits(code);
        is_json(&ended)
    };
    assert_eq!(json("history", &[], 0), serde_json::json!([]));
    assert_eq!(json("status", &[], 0)["overall"], false);
    assert_eq!(json("build", &[], 0)["outcome"], "succeeded");
    assert_eq!(json("rollback", &[], 3)["outcome"], "refused");
    let up = json("up", &[], 0);
    assert_eq!((&up["verb"], &up["exit_code"], &up["changed"]), (&"up".into(), &0.into(), &true.into()));
    assert_eq!(up["services"]["backend"], "created");
    let status = json("status", &[], 0);
    assert_eq!(status["overall"], true);
    assert_eq!(status["containers"][0]["service"], "backend");
    assert_eq!(status["current"]["version"], up["version"]);
    let health = json("health", &[], 0);
    assert_eq!((&health["overall"], &health["status"]), (&true.into(), &"healthy".into()));
    assert!(health["checks"]["backend"]["latency_ms"].is_u64(), "{health:#}");
    let list = is_json(&stage.run(&["list", "--output", "json"]).exits(0));
    let app = &list["apps"][0];
    assert_eq!((&app["name"], &app["type"]), (&stage.host.app().into(), &"docker-compose".into()));
    let history = json("history", &[], 0);
    assert_eq!(history[0]["app"], stage.host.app());
    assert_eq!(json("restart", &[], 0)["verb"], "restart");
    assert_eq!(json("down", &[], 0)["services"]["backend"], "removed");
    assert_eq!(json("validate", &[], 0)["passed"], true);
    assert_eq!(json("health", &[], 5)["overall"], false);
    assert_eq!(json("clean", &[], 0)["outcome"], "succeeded");
    json("recover", &[], 0);
}
