//! The action: its inputs, how the program comes, what a workflow sees of a run, and how GitHub cancels it.

mod act;
mod cancelling;
mod inputs;
mod installing;
mod reaching;
mod workflows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Host, Project, Running, base_image, free_port};

/// The repository, whose `action.yml` is meant by `uses: ./`.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Reads a YAML file of the repository.
#[track_caller]
fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(Path::new(ROOT).join(path)).expect("read a file of the repository");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of the inputs, or of the outputs, that action.yml declares.
fn declared(what: &str) -> Vec<String> {
    let action = yaml("action.yml");
    action[what].as_object().expect("a map").keys().cloned().collect()
}

/// A step of action.yml, started as GitHub's runner starts it: its `run` in a file, for a bash with these options, its
/// `env` from what `known` says of `inputs.NAME`, `github.NAME` and `steps.STEP.outputs.NAME`.
fn step(host: &Host, id: &str, known: &[(&str, &str)]) -> Command {
    let action = yaml("action.yml");
    let steps = action["runs"]["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["id"] == id).expect("a step of that id");
    assert_eq!(step["shell"], "bash");
    let file = host.dir().join(format!("{id}.sh"));
    fs::write(&file, step["run"].as_str().expect("a script")).expect("write the step's script");
    let mut command = host.command("bash");
    command.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]).arg(&file);
    let known: BTreeMap<_, _> = known.iter().copied().collect();
    for (variable, expression) in step["env"].as_object().expect("variables") {
        let expression = expression.as_str().expect("text");
        let name = expression.strip_prefix("${{ ").and_then(|rest| rest.strip_suffix(" }}"));
        let name = name.unwrap_or_else(|| panic!("{variable} is more than one value: {expression}"));
        let default = name.strip_prefix("inputs.").map(|name| {
            let input = action["inputs"].get(name).unwrap_or_else(|| panic!("no input `{name}`"));
            input["default"].as_str().unwrap_or_default().to_owned()
        });
        let value = known.get(name).map(|value| (*value).to_owned()).or(default).unwrap_or_default();
        command.env(variable, value);
    }
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_ACTION_PATH", ROOT)
        .env("GITHUB_OUTPUT", host.dir().join("output"))
        .env("GITHUB_STEP_SUMMARY", host.dir().join("summary.md"))
        .env("RUNNER_TEMP", host.dir().join("tmp"))
        .env("RUNNER_TOOL_CACHE", host.dir().join("tools"))
        .env("RUNNER_TRACKING_ID", tracking_id(host))
        .env("RUNNER_OS", "Linux")
        .env("RUNNER_ARCH", if cfg!(target_arch = "aarch64") { "ARM64" } else { "X64" })
        .current_dir(host.dir());
    command
}

/// What the runner gives to all processes of a job, and kills them by at its end.
fn tracking_id(host: &Host) -> String {
    format!("github_{}", host.app())
}

/// What steps have written to `$GITHUB_OUTPUT`, the last value of each name.
fn outputs(host: &Host) -> BTreeMap<String, String> {
    let text = fs::read_to_string(host.dir().join("output")).unwrap_or_default();
    let (mut found, mut lines) = (BTreeMap::new(), text.lines());
    while let Some(line) = lines.next() {
        if let Some((name, end)) = line.split_once("<<") {
            let value: Vec<_> = lines.by_ref().take_while(|line| *line != end).collect();
            found.insert(name.to_owned(), value.join("\n"));
        } else if let Some((name, value)) = line.split_once('=') {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
    found
}

/// A small app for the environment `staging`, which is this machine.
struct Shop {
    host: Host,
    project: Project,
    port: u16,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { host: Host::local(), project: Project::new("shop"), port: free_port() };
        shop.configure("");
        shop
    }

    /// Writes both configuration files into a directory of the project.
    fn configure(&self, directory: &str) {
        let (app, root) = (self.host.app(), self.host.root_base());
        let apps = format!("deployments:\n  {app}: {{type: docker-compose, health: {{timeout: 6s}}}}\n");
        let environments = format!("environments:\n  staging: {{host: local, root: '{}'}}\n", root.display());
        self.project.file(&format!("{directory}deploy/deployments.yaml"), apps);
        self.project.file(&format!("{directory}deploy/environments.yaml"), environments);
    }

    /// Writes a release into a directory of the project.
    fn write(&self, directory: &str, version: &str, mode: &str) {
        let (image, port) = (base_image(), self.port);
        let service = format!(
            "services:\n  backend:\n    image: {image}\n    stop_grace_period: 0s\n    \
             environment: {{VERSION: '{version}', MODE: '{mode}', SLOW_MS: '60000'}}\n    \
             ports: ['127.0.0.1:{port}:8000']\n    \
             healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 500ms, retries: 3}}\n"
        );
        self.project.file(&format!("{directory}docker-compose.yml"), service);
        self.project.commit(version);
    }

    /// Starts the last step of the action for a release.
    fn begin(&self, version: &str, mode: &str, more: &[(&str, &str)]) -> Running {
        self.write("", version, mode);
        let log = self.host.dir().join(format!("events-{version}.jsonl"));
        let (project, event_log) = (self.project.path().display().to_string(), log.display().to_string());
        let mut known = vec![
            ("steps.install.outputs.binary", program()),
            ("inputs.environment", "staging"),
            ("inputs.version", version),
            ("inputs.project-root", &project),
            ("inputs.event-log", &event_log),
        ];
        known.extend(more);
        Running::start(step(&self.host, "run", &known), log)
    }

    /// Version that answers.
    fn answers(&self) -> Option<String> {
        crate::support::get(self.port, "/version").map(|answer| answer.body)
    }

    fn root(&self) -> PathBuf {
        self.host.root("staging")
    }
}

/// The built program.
fn program() -> &'static str {
    env!("CARGO_BIN_EXE_ffe-deploy")
}
