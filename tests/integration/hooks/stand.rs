//! One small app whose hooks write down what they see.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Ended, Host, Project, Run, Running, assert_gapless, base_image, free_port, get, until, within,
};

/// Longest wait for anything.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// Writes a line of what it sees; what the release knows is in it, too.
const NOTE: &str = "#!/bin/sh\necho \"$FFE_HOOK $FFE_HOOK_NAME $FFE_VERSION after ${FFE_PREVIOUS_VERSION:-none}: \
                    ${FFE_OUTCOME:-open} in $FFE_STAGE, $GREETING, $(basename \"$PWD\")\" >>\"$NOTES\"\n";
/// Writes down its process and that of a child that does not hear, and hangs.
const HANG: &str =
    "#!/bin/sh\nsh -c 'trap \"\" TERM; while :; do sleep 1; done' &\necho \"$! $$\" >\"$NOTES.pids\"\nwait\n";

/// An app with a `note.sh` and a `hang.sh`, on a root of its own.
pub(super) struct Stand {
    pub(super) host: Host,
    pub(super) project: Project,
    pub(super) port: u16,
}

impl Stand {
    /// With these keys below `hooks`, one a line.
    pub(super) fn new(hooks: &[&str]) -> Self {
        Self::on(Host::local(), "", hooks)
    }

    /// On that host, with more keys of the app.
    pub(super) fn on(host: Host, keys: &str, hooks: &[&str]) -> Self {
        let (project, port) = (Project::new("shop"), free_port());
        let stand = Self { host, project, port };
        stand.project.executable("note.sh", NOTE).executable("hang.sh", HANG);
        stand.configure(keys, hooks);
        let root = stand.host.root_base();
        let environment = format!("environments:\n  staging: {{host: local, root: '{}'}}\n", root.display());
        stand.project.file("deploy/environments.yaml", environment);
        stand
    }

    /// Writes the app's entry.
    pub(super) fn configure(&self, keys: &str, hooks: &[&str]) {
        let (app, notes) = (self.host.app(), self.notes_path());
        let hooks: String = hooks.iter().map(|hook| format!("      {hook}\n")).collect();
        let health = if keys.contains("health:") { "" } else { "    health: {timeout: 20s}\n" };
        let text = format!(
            "deployments:\n  {app}:\n    type: docker-compose\n{health}    \
             env_vars: {{GREETING: hello, NOTES: '{}'}}\n{keys}    hooks:\n{hooks}",
            notes.display()
        );
        self.project.file("deploy/deployments.yaml", text);
    }

    fn notes_path(&self) -> PathBuf {
        self.host.dir().join("notes")
    }

    /// What hooks have written down.
    pub(super) fn notes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.notes_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The same, only the first words of each line.
    pub(super) fn order(&self) -> Vec<String> {
        let words = |line: &String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
        self.notes().iter().map(words).collect()
    }

    pub(super) fn forget(&self) {
        fs::remove_file(self.notes_path()).ok();
    }

    /// Processes of a hook that hangs: its child, and itself.
    pub(super) fn hanging(&self) -> [u32; 2] {
        let path = self.notes_path().with_extension("pids");
        let pids = within(SOON, || {
            let text = fs::read_to_string(&path).ok()?;
            let pids: Vec<u32> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
            <[u32; 2]>::try_from(pids).ok()
        });
        pids.expect("the hook says who it is")
    }

    /// Begins to deploy this version; `mode` is that of the service.
    pub(super) fn begin_as(&self, version: &str, mode: &str) -> Running {
        self.compose(version, mode);
        self.project.commit(version);
        let arguments = ["deploy", "staging", "--version", version, "--log-format", "human"];
        self.host.spawn(&self.project, &arguments)
    }

    /// Writes the compose file of this version.
    pub(super) fn compose(&self, version: &str, mode: &str) {
        let (image, port) = (base_image(), self.port);
        self.project.file(
            "docker-compose.yml",
            format!(
                "services:\n  backend:\n    image: {image}\n    stop_grace_period: 0s\n    \
                 environment: {{VERSION: '{version}', MODE: '{mode}'}}\n    ports: ['127.0.0.1:{port}:8000']\n    \
                 healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 300ms, retries: 3}}\n"
            ),
        );
    }

    #[track_caller]
    pub(super) fn deploy(&self, version: &str) -> Run {
        self.begin_as(version, "ok").wait()
    }

    #[track_caller]
    pub(super) fn deploy_bad(&self, version: &str) -> Run {
        self.begin_as(version, "unhealthy").wait()
    }

    #[track_caller]
    pub(super) fn run(&self, arguments: &[&str]) -> Run {
        self.host.run(&self.project, arguments)
    }

    /// Version that answers.
    pub(super) fn answers(&self) -> Option<String> {
        get(self.port, "/version").map(|answer| answer.body)
    }

    pub(super) fn containers(&self) -> Vec<String> {
        self.host.containers(&format!("{}-staging", self.host.app()), "backend")
    }

    /// How many releases are on the host.
    pub(super) fn releases(&self) -> usize {
        fs::read_dir(self.host.root("staging").join("releases")).map_or(0, Iterator::count)
    }

    /// The result with which the host itself has ended a deployment.
    #[track_caller]
    pub(super) fn host_result(&self, ended: &Ended) -> Value {
        let id = ended.events[0]["deployment_id"].as_str().expect("an id").to_owned();
        let root = self.host.root("staging");
        let path = root.join("state/jobs").join(id).join("events.jsonl");
        let read = || -> Vec<Value> {
            let text = fs::read_to_string(&path).unwrap_or_default();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let last = within(SOON, || read().pop().filter(|event| event["event"] == "deployment_finished"));
        assert_gapless(&read());
        until(SOON, "the end of the journal", || !root.join("state/journal.json").exists());
        last.expect("the host's last word")["result"].clone()
    }
}

/// Hooks of a result: `pre_deploy note.sh succeeded`.
pub(super) fn hooks(result: &Value) -> Vec<String> {
    let hooks = result["hooks"].as_array().cloned().unwrap_or_default();
    let text = |hook: &Value, key: &str| hook[key].as_str().unwrap_or("?").to_owned();
    let shown = |hook: &Value| ["kind", "hook", "outcome"].map(|key| text(hook, key)).join(" ");
    hooks.iter().map(shown).collect()
}

/// Process id of the worker of a run.
pub(super) fn worker(run: &mut Running) -> u32 {
    let took_over = run.until_event(SOON, |event| event["event"] == "host_took_over");
    took_over["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

/// The event of a hook that has begun.
pub(super) fn begun(run: &mut Running, name: &str) -> Value {
    run.until_event(SOON, |event| event["event"] == "hook_started" && event["hook"] == name)
}
