//! What goes wrong: cancelled jobs, killed processes, full disks, releases that do not start, text that means harm. Each
//! time the app ends on the old release or on the new one, and says which.

mod again;
mod backup;
mod boot;
mod busy;
mod cancel;
mod config;
mod daemon;
mod deadline;
mod death;
mod disk;
mod follow;
mod spoiled;
mod text;
mod verify;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Act, Host, Project, Run, Running, Shim, assert_gapless, base_image, free_port, until, validate_event,
    within,
};

/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(60);

/// One small app on a root of its own, with docker's calls in our hands.
struct Shop {
    host: Host,
    project: Project,
    shim: Shim,
    port: u16,
}

/// What a release of the shop is like.
#[derive(Clone, Copy)]
struct Kind {
    version: &'static str,
    /// MODE of the shop.
    mode: &'static str,
    /// More lines of the service, each indented by four.
    more: &'static str,
}

impl Kind {
    const fn good(version: &'static str) -> Self {
        Self { version, mode: "ok", more: "" }
    }

    const fn unhealthy(version: &'static str) -> Self {
        Self { version, mode: "unhealthy", more: "" }
    }
}

impl Shop {
    fn new() -> Self {
        Self::with("health: {timeout: 6s}", "")
    }

    /// With this check, besides that of the container.
    fn with_checks(check: &str) -> Self {
        Self::with(&format!("health: {{timeout: 20s, checks: [{check}]}}"), "")
    }

    /// With a backup of `data` before each deployment; `backup` says more of it.
    fn with_backup(backup: &str) -> Self {
        Self::with(
            &format!("setup: {{directories: [data]}}, shared: [data], backup: {{paths: [data]{backup}}}"),
            ", backup: true",
        )
    }

    /// With these keys of the app and of the environment.
    fn with(app_keys: &str, environment_keys: &str) -> Self {
        let shim = Shim::docker();
        let host = Host::local().with_path_first(shim.path());
        let project = Project::new("shop");
        let (app, root) = (host.app(), host.root_base());
        let root = root.display();
        project
            .file(
                "deploy/deployments.yaml",
                format!("deployments:\n  {app}: {{type: docker-compose, {app_keys}}}\n"),
            )
            .file(
                "deploy/environments.yaml",
                format!("environments:\n  staging: {{host: local, root: '{root}'{environment_keys}}}\n"),
            );
        Self { host, project, shim, port: free_port() }
    }

    fn with_env(self, key: &str, value: &str) -> Self {
        Self { host: self.host.with_env(key, value), ..self }
    }

    /// As a job of GitHub Actions.
    fn on_github(self) -> Self {
        self.with_env("GITHUB_ACTIONS", "true")
            .with_env("GITHUB_ACTOR", "octocat")
            .with_env("GITHUB_SERVER_URL", "https://github.com")
            .with_env("GITHUB_REPOSITORY", "acme/shop")
            .with_env("GITHUB_RUN_ID", "42")
    }

    /// Writes a release into the project.
    fn write(&self, kind: Kind) -> &Self {
        let Kind { version, mode, more } = kind;
        let (image, port) = (base_image(), self.port);
        let grace = if mode == "deaf" { "3s" } else { "0s" };
        self.project.file(
            "docker-compose.yml",
            format!(
                "services:\n  backend:\n    image: {image}\n    stop_grace_period: {grace}\n    \
                 environment: {{VERSION: '{version}', MODE: '{mode}', SLOW_MS: '60000'}}\n    \
                 ports: ['127.0.0.1:{port}:8000']\n    \
                 healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 500ms, retries: 3}}\n{more}"
            ),
        );
        self.project.commit(version);
        self
    }

    #[track_caller]
    fn deploy(&self, kind: Kind) -> Run {
        self.begin(kind).wait()
    }

    fn begin(&self, kind: Kind) -> Running {
        self.write(kind);
        self.host
            .spawn(&self.project, &["deploy", "staging", "--version", kind.version, "--log-format", "human"])
    }

    /// Begins a deployment, and returns when its call of docker with these words is held.
    #[track_caller]
    fn begin_held(&self, kind: Kind, words: &[&str]) -> Running {
        let before = self.shim.count(words);
        self.shim.on_first(1, words, &Act::Hold);
        let run = self.begin(kind);
        self.until_called(words, before);
        run
    }

    #[track_caller]
    fn until_called(&self, words: &[&str], before: usize) {
        until(SOON, &format!("a call of docker {words:?}"), || self.shim.count(words) > before);
    }

    #[track_caller]
    fn run(&self, verb: &[&str]) -> Run {
        self.host.run(&self.project, verb)
    }

    /// Version that answers.
    fn answers(&self) -> Option<String> {
        crate::support::get(self.port, "/version").map(|answer| answer.body)
    }

    fn app_file(&self) -> String {
        fs::read_to_string(self.project.path().join("deploy/deployments.yaml"))
            .expect("read the configuration")
    }

    fn compose_file(&self) -> String {
        fs::read_to_string(self.project.path().join("docker-compose.yml")).expect("read the compose file")
    }

    /// The Compose project.
    fn name(&self) -> String {
        format!("{}-staging", self.host.app())
    }

    fn root(&self) -> PathBuf {
        self.host.root("staging")
    }

    /// The host's own log of a deployment.
    fn host_log(&self, id: &str) -> Vec<Value> {
        let path = self.root().join("state/jobs").join(id).join("events.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a line of the host's log is JSON")).collect()
    }

    /// The result with which the host itself ended a deployment; its log must be whole.
    #[track_caller]
    fn host_result(&self, id: &str) -> Value {
        let ended =
            within(SOON, || self.host_log(id).pop().filter(|event| event["event"] == "deployment_finished"));
        let log = self.host_log(id);
        let ended = ended.unwrap_or_else(|| {
            let told: Vec<_> = log.iter().map(|event| event["message"].to_string()).collect();
            let guard = fs::read_to_string(self.root().join("state/jobs").join(id).join("guard.log"));
            panic!("the host has no last word of {id}:\n{}\nguard.log: {guard:?}", told.join("\n"))
        });
        assert_gapless(&log);
        log.iter().for_each(validate_event);
        assert_eq!(ended["final"], true);
        ended["result"].clone()
    }

    /// The records of the history, oldest first.
    fn history(&self) -> Vec<Value> {
        let mut files: Vec<_> = fs::read_dir(self.root().join("history"))
            .map(|listing| listing.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        files.sort();
        let read = |path: &PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        files.iter().filter_map(read).collect()
    }

    /// Nothing is left to recover.
    #[track_caller]
    fn is_settled(&self) {
        until(SOON, "the end of the journal", || !self.root().join("state/journal.json").exists());
    }
}

/// Id of the deployment that a run drives.
fn id_of(events: &[Value]) -> String {
    events[0]["deployment_id"].as_str().expect("an event names its deployment").to_owned()
}
