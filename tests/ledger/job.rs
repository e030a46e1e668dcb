//! The job beside a real ledger: what the built `ffe-deploy` tells the built `ffe-ledger`, and that a ledger which is away
//! changes nothing.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ffe_deploy::model::reported::ledger_id;
use serde_json::{Value, json};

use rustix::process::Signal;

use super::stand::{Ended, Host, Project, Run, Running, base_image, free_port, require, until};
use super::support::{Answer, Database, Server};
use super::tokens::make;

const CANARY: &str = "canary-value-of-a-secret";

/// A small app, its host, and a ledger with tokens.
struct Stand {
    host: Host,
    project: Project,
    server: Option<Server>,
    database: Database,
    address: String,
    admin: String,
    reporter: String,
    port: u16,
}

impl Stand {
    /// With a ledger that runs; nothing where there is no engine.
    async fn new() -> Option<Self> {
        let mut stand = Self::without_server().await?;
        stand.start().await;
        Some(stand)
    }

    async fn without_server() -> Option<Self> {
        if !require("docker") {
            return None;
        }
        let database = Database::sqlite();
        // Tokens need the tables.
        drop(Server::on(database.clone()).await);
        let (admin, reporter) =
            (make(&database, "a", &["admin"]).await, make(&database, "ci", &["report"]).await);
        let address = format!("127.0.0.1:{}", free_port());
        let host = Host::local()
            .with_env("FFE_LEDGER_URL", format!("http://{address}"))
            .with_env("FFE_LEDGER_TOKEN", &reporter)
            .with_env("GITHUB_ACTOR", "octocat")
            .with_env("SHOP_SECRET", CANARY);
        let project = Project::new("shop");
        let (app, root) = (host.app(), host.root_base());
        let text = format!(
            "deployments:\n  {app}: {{type: docker-compose, secrets: [SHOP_SECRET], health: {{timeout: 6s}}}}\n"
        );
        project.file("deployments.yaml", text).file(
            "environments.yaml",
            format!("environments:\n  staging: {{host: local, root: '{}'}}\n", root.display()),
        );
        Some(Self { project, server: None, database, address, admin, reporter, port: free_port(), host })
    }

    async fn start(&mut self) {
        self.server = Some(Server::at(self.database.clone(), &self.address, &[], &[]).await);
    }

    fn stop(&mut self) {
        self.server = None;
    }

    fn write(&self, version: &str, mode: &str, image: &str) {
        let port = self.port;
        let text = format!(
            "services:\n  backend:\n    image: {image}\n    stop_grace_period: 0s\n    \
             environment: {{VERSION: '{version}', MODE: '{mode}', SHOP_SECRET: '${{SHOP_SECRET}}'}}\n    ports: ['127.0.0.1:{port}:8000']\n    \
             healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 500ms, retries: 3}}\n"
        );
        self.project.file("docker-compose.yml", text).commit(version);
    }

    fn deploy(&self, version: &str, mode: &str) -> Run {
        self.write(version, mode, &base_image());
        self.run(&["deploy", "staging", "--version", version])
    }

    /// Begins a deployment whose hook waits until the file is there.
    fn deploy_that_waits(&self, version: &str) -> (Running, PathBuf) {
        let (app, go) = (self.host.app(), self.host.dir().join("go"));
        let wait = format!("until test -e '{}'; do sleep 0.1; done", go.display());
        let hook = format!("[{{name: wait, run: [sh, -c, \"{wait}\"], on: host}}]");
        let more = format!("secrets: [SHOP_SECRET], health: {{timeout: 6s}}, hooks: {{pre_deploy: {hook}}}");
        let text = format!("deployments:\n  {app}: {{type: docker-compose, {more}}}\n");
        self.project.file("deployments.yaml", text);
        self.write(version, "ok", &base_image());
        let words = ["deploy", "staging", "--version", version, "--log-format", "human"];
        (self.host.spawn(&self.project, &words), go)
    }

    async fn until_deploying(&self, run: &mut Running) -> Value {
        loop {
            assert!(!run.has_ended(), "{}", run.stderr_so_far());
            let found = self.deployments().await.into_iter().find(|one| one["status"] == "deploying");
            if let Some(found) = found {
                return found;
            }
            // The ledger takes 100 requests a minute.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn run(&self, verb: &[&str]) -> Run {
        self.host.run(&self.project, &[verb, &["--log-format", "human"]].concat())
    }

    async fn get(&self, path: &str) -> Answer {
        let server = self.server.as_ref().unwrap();
        server.send(server.client().get(server.url(path)).bearer_auth(&self.admin)).await
    }

    async fn deployments(&self) -> Vec<Value> {
        self.get("/api/v1/deployments?limit=100").await.expect(200)["deployments"].as_array().unwrap().clone()
    }

    /// The deployment of a run.
    async fn deployment(&self, ended: &Ended) -> Value {
        self.get(&format!("/api/v1/deployments/{}", self.key(ended))).await.expect(200)
    }

    fn key(&self, ended: &Ended) -> String {
        let id = ended.result()["deployment_id"].as_str().unwrap();
        ledger_id(&self.host.app().parse().unwrap(), &"staging".parse().unwrap(), &id.parse().unwrap())
            .to_string()
    }

    async fn report(&self, ended: &Ended) -> Value {
        self.get(&format!("/api/v1/reports/{}", self.key(ended))).await.expect(200)["report"].clone()
    }

    fn kept(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.host.dir()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_string_lossy().ends_with(".ledger.json")).collect()
    }

    fn sync(&self, more: &[&str]) -> Run {
        let words = [&["ledger", "sync", "--output", "json"], more].concat();
        self.host.run(&self.project, &words)
    }

    fn sync_kept(&self) -> Run {
        let files: Vec<String> = self.kept().iter().map(|path| path.display().to_string()).collect();
        let mut words = Vec::new();
        files.iter().for_each(|file| words.extend(["--from", file.as_str()]));
        self.sync(&words)
    }
}

#[track_caller]
fn counts(ended: &Ended) -> [i64; 3] {
    let answer = ended.json();
    ["sent", "known", "remain"].map(|key| answer[key].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_with_what_belongs_to_it_and_no_secret() {
    let Some(stand) = Stand::new().await else { return };
    let first = stand.deploy("1.0.0", "ok").exits(0);
    let told = stand.deployment(&first).await;
    assert_eq!(
        (&told["status"], &told["version"], &told["deployed_by"]),
        (&json!("active"), &json!("1.0.0"), &json!("octocat"))
    );
    let report = stand.report(&first).await;
    let id = first.result()["deployment_id"].as_str().unwrap();
    assert!(stand.key(&first).starts_with(id.rsplit('-').next().unwrap()), "{id}");
    assert_eq!((&report["deployment_id"], &report["validation"]["passed"]), (&json!(id), &json!(true)));
    assert!(report["commit"].is_string() && report["committed_at"].is_string(), "{report}");
    let stages: Vec<&str> =
        report["stages"].as_array().unwrap().iter().map(|told| told["stage"].as_str().unwrap()).collect();
    assert!(stages.contains(&"deploying") && stages.contains(&"verifying"), "{stages:?}");
    assert!(report["health_checks"].as_array().is_some_and(|checks| !checks.is_empty()), "{report}");
    let lines =
        stand.get(&format!("/api/v1/deployments/{}/lines?limit=1000", stand.key(&first))).await.expect(200);
    assert!(lines["lines"].as_array().unwrap().len() > 5, "{lines}");

    // After the switch: what ran before is back.
    let failed = stand.deploy("1.1.0", "unhealthy").exits(4);
    let told = stand.deployment(&failed).await;
    assert_eq!(
        (&told["status"], &told["previous_deployment_id"]),
        (&json!("rolled_back"), &json!(stand.key(&first)))
    );
    let report = stand.report(&failed).await;
    assert_eq!(report["rollback"]["target_deployment_id"], id);
    assert!(report["error_logs"].is_string() && report["errors"][0]["code"].is_string(), "{report}");

    // Before the switch: what ran still runs.
    stand.write("1.2.0", "ok", "127.0.0.1:1/no/such:image");
    let aborted = stand.run(&["deploy", "staging", "--version", "1.2.0"]).exits(9);
    assert_eq!(stand.deployment(&aborted).await["status"], "failed");
    assert_eq!(stand.deployment(&first).await["status"], "active");

    // What is refused before anything is touched is no deployment.
    let count = stand.deployments().await.len();
    stand.project.file("docker-compose.yml", "services: {backend: {image: x, privileged: 7}}\n");
    assert!(stand.run(&["deploy", "staging", "--version", "9.9.9"]).code != 0);
    assert_eq!(stand.deployments().await.len(), count);

    // A rollback that was asked for.
    let second = stand.deploy("1.3.0", "ok").exits(0);
    let back = stand.run(&["rollback", "staging", "--reason", "too slow"]).exits(0);
    let told = stand.deployment(&back).await;
    assert_eq!((&told["status"], &told["version"]), (&json!("active"), &json!("1.0.0")));
    let old = stand.deployment(&second).await;
    assert_eq!((&old["status"], &old["rollback_reason"]), (&json!("rolled_back"), &json!("too slow")));

    // The ledger says it as the host does.
    let with_read = || Host::local().with_env("FFE_LEDGER_URL", format!("http://{}", stand.address));
    let reader = with_read().with_env("FFE_LEDGER_TOKEN", &stand.admin);
    let known = reader.run(&stand.project, &["history", "staging", "--ledger", "--output", "json"]).exits(0);
    let told = known.json();
    let told: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["version"].as_str().unwrap(), one["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("1.0.0", "succeeded"),
            ("1.3.0", "rolled_back"),
            ("1.2.0", "failed"),
            ("1.1.0", "rolled_back"),
            ("1.0.0", "succeeded")
        ]
    );
    reader.run(&stand.project, &["history", "staging", "--ledger"]).exits(0).says(&["octocat", "ENDED"]);
    let listed = reader.run(&stand.project, &["list", "--ledger", "--output", "json"]).exits(0).json();
    let running = &listed["running"][0];
    assert_eq!(
        (&running["app"], &running["environment"], &running["version"]),
        (&json!(stand.host.app()), &json!("staging"), &json!("1.0.0"))
    );
    let denied = stand.run(&["list", "--ledger"]).exits(3);
    denied.says(&["it answered 403", "ffe-ledger token create NAME --scope read"]);

    // Nothing that was kept, and nothing that was said, has a secret in it.
    let mut texts = vec![stand.get("/api/v1/events?limit=1000").await.text];
    for found in stand.deployments().await {
        let id = found["deployment_id"].as_str().unwrap();
        for path in [format!("/api/v1/reports/{id}"), format!("/api/v1/deployments/{id}/lines?limit=1000")] {
            texts.push(stand.get(&path).await.text);
        }
        texts.push(found.to_string());
    }
    for ended in [&first, &failed, &aborted, &second, &back] {
        texts.push(ended.told());
        texts.push(format!("{:?}", ended.events));
    }
    for text in texts {
        assert!(!text.contains(CANARY) && !text.contains(&stand.reporter), "{text}");
    }
    assert!(stand.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_away_changes_nothing_and_gets_everything_later_and_once() {
    let Some(mut stand) = Stand::without_server().await else { return };
    let first = stand.deploy("1.0.0", "ok").exits(0);
    first.says(&[
        "the ledger was not told: connection refused; its report is kept",
        "ffe-deploy ledger sync",
        "--from",
    ]);
    let failed = stand.deploy("1.1.0", "unhealthy").exits(4);
    let files = stand.kept();
    assert_eq!(files.len(), 2);
    for file in &files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains(CANARY) && !text.contains(&stand.reporter), "{text}");
    }
    let away = stand.sync_kept().exits(7);
    assert_eq!(counts(&away), [0, 0, 2]);
    stand.start().await;
    let sent = stand.sync_kept().exits(0);
    assert_eq!(counts(&sent), [2, 0, 0]);
    assert!(stand.kept().is_empty());
    assert_eq!(stand.deployment(&first).await["status"], "active");
    assert_eq!(stand.deployment(&failed).await["status"], "rolled_back");
    let lines =
        stand.get(&format!("/api/v1/deployments/{}/lines?limit=1000", stand.key(&first))).await.expect(200);
    assert!(lines["lines"].as_array().unwrap().len() > 5, "{lines}");
    let known = stand.get("/api/v1/events?limit=1000").await.text;
    assert_eq!(counts(&stand.sync_kept().exits(0)), [0, 0, 0]);
    // Neither the host's history nor an event log has anything that is new.
    assert_eq!(counts(&stand.sync(&["staging"]).exits(0)), [0, 2, 0]);
    let log = stand.host.dir().join("events-0.jsonl").display().to_string();
    assert_eq!(counts(&stand.sync(&["--from", &log]).exits(0)), [0, 1, 0]);
    assert_eq!(stand.get("/api/v1/events?limit=1000").await.text, known);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_log_and_the_hosts_history_tell_what_nobody_told() {
    let Some(mut stand) = Stand::without_server().await else { return };
    let first = stand.deploy("1.0.0", "ok").exits(0);
    let second = stand.deploy("1.1.0", "ok").exits(0);
    stand.kept().iter().for_each(|file| fs::remove_file(file).unwrap());
    stand.start().await;
    let log = stand.host.dir().join("events-0.jsonl").display().to_string();
    assert_eq!(counts(&stand.sync(&["--from", &log]).exits(0)), [1, 0, 0]);
    assert_eq!(stand.deployment(&first).await["status"], "active");
    assert_eq!(counts(&stand.sync(&["staging"]).exits(0)), [1, 1, 0]);
    assert_eq!(stand.deployment(&first).await["status"], "inactive");
    let told = stand.deployment(&second).await;
    assert_eq!((&told["status"], &told["version"]), (&json!("active"), &json!("1.1.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_told_clearly_and_not_tried_again() {
    let Some(stand) = Stand::new().await else { return };
    let stand = Stand { host: stand.host.with_env("FFE_LEDGER_TOKEN", "ffel_wrong_canary_token"), ..stand };
    let ended = stand.deploy("1.0.0", "ok").exits(0);
    ended.says(&["the ledger was not told: it answered 401", "ffe-ledger token create NAME --scope report"]);
    assert!(!ended.told().contains("ffel_wrong_canary_token"));
    let asked = stand.server.as_ref().unwrap().log();
    let asked = asked.iter().filter(|line| line.contains("\"PUT\"") || line.contains("PUT /")).count();
    assert!(asked <= 1, "asked {asked} times");
    assert!(stand.deployments().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_away_in_between_knows_the_end_all_the_same() {
    let Some(mut stand) = Stand::new().await else { return };
    let (mut run, go) = stand.deploy_that_waits("1.0.0");
    stand.until_deploying(&mut run).await;
    stand.stop();
    fs::write(&go, "").unwrap();
    stand.start().await;
    let ended = run.wait().exits(0);
    assert_eq!(stand.deployment(&ended).await["status"], "active");
    assert_eq!(stand.deployments().await.len(), 1);
    assert!(stand.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_never_answers_holds_nobody_up() {
    if !require("docker") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            let mut stream = stream;
            let _read = stream.read(&mut [0; 64]);
            held.push(stream);
        }
    });
    let Some(stand) = Stand::without_server().await else { return };
    let stand = Stand { host: stand.host.with_env("FFE_LEDGER_URL", format!("http://{address}")), ..stand };
    let ended = stand.deploy("1.0.0", "ok").exits(0);
    ended.says(&["the ledger was not told: no answer", "its report is kept"]);
    assert_eq!(stand.kept().len(), 1);
    // One beside the run for each 8 s that it took, and at the end as many as fit into 10 s.
    assert!(asked.load(Ordering::Relaxed) <= 40, "{asked:?}");
    until(Duration::from_secs(60), "the report is a whole one", || {
        let text = fs::read_to_string(&stand.kept()[0]).unwrap();
        serde_json::from_str::<Value>(&text).is_ok_and(|kept| kept["report"]["status"] == "active")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_a_killed_or_cancelled_job_did_not_see_is_told_by_whoever_asks_the_host() {
    let Some(stand) = Stand::new().await else { return };
    let (mut run, go) = stand.deploy_that_waits("1.0.0");
    let killed = stand.until_deploying(&mut run).await;
    run.signal(Signal::KILL);
    drop(run.wait());
    fs::write(&go, "").unwrap();
    let history = || stand.run(&["history", "staging", "--output", "json"]).exits(0).json();
    until(Duration::from_secs(60), "the host ends it", || {
        history().as_array().is_some_and(|all| all.len() == 1)
    });
    assert_eq!(counts(&stand.sync(&["staging"]).exits(0)), [1, 0, 0]);
    let id = killed["deployment_id"].as_str().unwrap();
    let told = stand.get(&format!("/api/v1/deployments/{id}")).await.expect(200);
    assert_eq!((&told["status"], &told["deployed_by"]), (&json!("active"), &json!("octocat")));
    // What only the job knew is still there.
    let report = stand.get(&format!("/api/v1/reports/{id}")).await.expect(200);
    assert!(
        report["report"]["committed_at"].is_string() && report["report"]["finished_at"].is_string(),
        "{report}"
    );
    assert_eq!(counts(&stand.sync(&["staging"]).exits(0)), [0, 1, 0]);

    fs::remove_file(&go).unwrap();
    let (mut run, _) = stand.deploy_that_waits("1.1.0");
    let cancelled = stand.until_deploying(&mut run).await;
    run.signal(Signal::TERM);
    run.wait().exits(8);
    until(Duration::from_secs(60), "the host ends it", || {
        history().as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(counts(&stand.sync(&["staging"]).exits(0)), [1, 1, 0]);
    let id = cancelled["deployment_id"].as_str().unwrap();
    let told = stand.get(&format!("/api/v1/deployments/{id}")).await.expect(200);
    assert_eq!(told["status"], "failed", "nothing had been switched yet");
}
