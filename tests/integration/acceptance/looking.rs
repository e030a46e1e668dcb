//! The verbs that look, what they print, and how much the console says.
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{HEALTHCHECK, Stage};
use crate::support::{Host, Project, Web, base_image, needs, until};

const FIVE_TYPES: &str = "deployments:
  shop: {type: docker-compose}
  api: {type: docker, path: api, port: 5001}
  coffee: {type: kubernetes, path: k8s, namespace: coffee-dev}
  network: {type: terraform, path: tf, var_file: dev.tfvars, auto_approve: false}
  hosts: {type: ansible, path: ansible, inventory: hosts, playbook: site.yml}
";

#[test]
fn a0_01_the_program_says_its_version() {
    let host = Host::local();
    let ended = host.run_bare(host.dir(), &["--version"]).exits(0);
    let number = ended.stdout.trim().strip_prefix("ffe-deploy ").expect("its name").to_owned();
    assert!(number.split('.').count() == 3 && number.starts_with(|c: char| c.is_ascii_digit()), "{number}");
}

#[test]
fn a2_01_help_has_the_documents_verbs_and_list_shows_every_type() {
    let host = Host::local();
    let help = host.run_bare(host.dir(), &["--help"]).exits(0);
    for verb in ["deploy", "status", "rollback", "health", "list", "history"] {
        assert!(verbs(&help.stdout).contains(&verb.to_owned()), "no `{verb}` in {}", help.stdout);
    }
    let project = Project::without_git("several");
    for place in ["deployments.yaml", "deploy/deployments.yaml"] {
        project.file(place, FIVE_TYPES);
        let table = host.run_bare(project.path(), &["list"]).exits(0);
        let json = host.run_bare(project.path(), &["list", "--output", "json"]).exits(0).json();
        for (at, (app, kind)) in [
            ("shop", "docker-compose"),
            ("api", "docker"),
            ("coffee", "kubernetes"),
            ("network", "terraform"),
            ("hosts", "ansible"),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(
                table.stdout.lines().any(|line| line.contains(app) && line.contains(kind)),
                "{}",
                table.told()
            );
            assert_eq!((&json["apps"][at]["name"], &json["apps"][at]["type"]), (&app.into(), &kind.into()));
        }
        project.remove(place);
    }
}

/// Verbs of the help, in its order.
fn verbs(help: &str) -> Vec<String> {
    let commands = help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next());
    let lines = commands
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn ac_02_no_verb_waits_for_input() {
    needs!("docker", "git");
    let stage = Stage::with_image("dev");
    let help = stage.host.run_bare(stage.host.dir(), &["--help"]).exits(0);
    let verbs = verbs(&help.stdout);
    assert!(verbs.len() >= 15, "{verbs:?}");
    for verb in verbs {
        let mut command = stage.host.command(env!("CARGO_BIN_EXE_ffe-deploy"));
        command.arg(&verb).current_dir(stage.project.path());
        if verb != "list" {
            command.arg("dev");
        }
        // Somebody holds stdin open, and never says anything.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the binary");
        until(Duration::from_secs(60), &format!("the end of `{verb}`"), || {
            child.try_wait().expect("ask for its end").is_some()
        });
        let stdin = child.stdin.take();
        drop(stdin);
    }
}

#[test]
fn a0_17_status_shows_containers_and_health_when_a_service_is_down() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    let web = Web::start();
    web.on("/api/health", &[200]);
    let url = web.url("/api/health");
    stage.configure(&format!("health: {{checks: [{{name: grafana, http: '{url}', timeout: 5s}}]}}"));
    let before = stage.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(
        (&before["overall"], before["health"]["checks"].as_array().map(Vec::len)),
        (&false.into(), Some(3))
    );
    stage.run(&["deploy", "staging", "--yes"]).exits(0);
    web.on("/api/health", &[503]);
    let status = stage.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(status["overall"], false, "{status:#}");
    let container = &status["containers"][0];
    assert_eq!((&container["service"], &container["state"]), (&"backend".into(), &"running".into()));
    let table = stage.run(&["status", "staging"]).exits(0);
    for part in ["backend", "running", "grafana", "503"] {
        assert!(table.stdout.contains(part), "no `{part}`: {}", table.told());
    }
    let health = stage.run(&["health", "staging"]).exits(5);
    assert!(health.stdout.contains("grafana") && health.stdout.contains("unhealthy"), "{}", health.told());
}

#[test]
fn a1_08_logs_of_one_service_are_raw_lines_that_a_program_can_read() {
    needs!("docker", "git");
    let stage = Stage::empty();
    let lines = [
        r#"{"level":"INFO","message":"one"}"#,
        r#"{"level":"ERROR","message":"two","detail":"a \"quote\" and $money"}"#,
        r#"{"level":"INFO","message":"thr\u00e9e"}"#,
    ];
    stage.project.file("said", lines.map(|line| format!("{line}\n")).concat());
    stage.project.file(
        "docker-compose.yml",
        format!(
            "services:\n  backend:\n    image: '{image}'\n    command: [sh, -c, 'cat /said; exec sleep 600']\n    \
             volumes: ['./said:/said:ro']\n    stop_grace_period: 0s\n    healthcheck: {{test: [CMD, 'true'], interval: 500ms}}\n  \
             other:\n    image: '{image}'\n    healthcheck: {HEALTHCHECK}\n    stop_grace_period: 0s\n",
            image = base_image()
        ),
    );
    stage.project.commit("first");
    stage.run(&["deploy", "production", "--host", "local", "--yes"]).exits(0);
    let logs = stage.run(&["logs", "production", "backend", "--host", "local"]).exits(0);
    assert_eq!(logs.stdout.lines().collect::<Vec<_>>(), lines);
    let parsed: Vec<Value> =
        logs.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(parsed.iter().filter(|line| line["level"] == "ERROR").count(), 1);
    let json =
        stage.run(&["logs", "production", "backend", "--host", "local", "--output", "json"]).exits(0).json();
    assert_eq!(json["lines"], serde_json::json!(lines));
    let all = stage.run(&["logs", "production", "--host", "local", "--tail", "1"]).exits(0);
    assert!(all.stdout.contains("backend") && all.stdout.contains("other"), "{}", all.told());
    assert!(!all.stdout.contains(r#""message":"one""#), "{}", all.told());
    stage.run(&["logs", "production", "nobody", "--host", "local"]).exits(3).says(&["nobody"]);
}

#[test]
fn a3_05_the_level_decides_what_console_and_log_files_say_and_never_the_event_log() {
    needs!("docker", "git");
    let mut stage = Stage::with_image("staging");
    let quiet = stage.host.dir().join("quiet");
    stage.host = stage.host.with_env("LOG_LEVEL", "ERROR");
    let ended =
        stage.run(&["deploy", "staging", "--yes", "--log-dir", quiet.to_str().expect("text")]).exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    assert!(levels_of(&quiet).iter().all(|level| level == "ERROR" || level == "CRITICAL"));
    assert!(ended.events.iter().any(|event| event["level"] == "INFO"));

    for (number, level) in ["DEBUG", "debug"].into_iter().enumerate() {
        let told = stage.host.dir().join(format!("told-{number}"));
        stage.host = stage.host.with_env("LOG_LEVEL", level);
        let arguments =
            ["deploy", "staging", "--yes", "--log-format", "json", "--log-dir", told.to_str().expect("text")];
        let ended = stage.run(&arguments).exits(0);
        assert!(ended.stderr.lines().any(|line| line.contains(r#""level":"DEBUG""#)), "{}", ended.told());
        assert!(levels_of(&told).iter().any(|level| level == "DEBUG"), "{level}");
    }
}

/// Levels, as words, of every record in the log files of a directory.
fn levels_of(dir: &std::path::Path) -> Vec<String> {
    let files = fs::read_dir(dir).expect("the log directory").map(|entry| entry.expect("an entry").path());
    let text: String = files.map(|path| fs::read_to_string(path).expect("read a log")).collect();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    records
        .map(|record| {
            // `level` is Bunyan's number there.
            let word = record["severity"].as_str();
            word.map(str::to_owned).unwrap_or_else(|| panic!("no level as a word: {record}"))
        })
        .collect()
}
