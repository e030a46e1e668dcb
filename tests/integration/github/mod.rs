//! What a job of GitHub sees: masks, groups, annotations, outputs and the summary, of the binary as a step runs it.

mod failing;
mod hostile;
mod looking;
mod running;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::support::{Ended, Host, Project, Run, Running, Shim, base_image, free_port};

/// Names of the outputs that are promised.
const OUTPUTS: [&str; 10] = [
    "deployment-id",
    "status",
    "outcome",
    "version",
    "previous-version",
    "release",
    "backup",
    "duration-seconds",
    "url",
    "event-log",
];

/// A secret of several lines with signs that encoders change.
const TOKEN: &str = "tok%en/one+x\nsecond line=";
/// What of it may be nowhere but in masks.
const FORMS: [&str; 4] = ["tok%en/one", "second line=", "dG9rJWVuL29uZSt4", "tok%25en%2Fone"];

/// A checkout with a small app on a root of its own, in a job.
struct Job {
    host: Host,
    project: Project,
    shim: Shim,
    port: u16,
}

impl Job {
    fn new() -> Self {
        Self::with("")
    }

    /// With these keys of the app, too.
    fn with(keys: &str) -> Self {
        let shim = Shim::docker();
        let project = Project::new("shop");
        let host = Host::local().with_path_first(shim.path());
        let files = host.dir().join("step");
        fs::create_dir_all(&files).expect("make the step's directory");
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        let host = host
            .with_env("GITHUB_ACTIONS", "true")
            .with_env("GITHUB_ACTOR", "octocat")
            .with_env("GITHUB_SERVER_URL", "https://github.com")
            .with_env("GITHUB_REPOSITORY", "acme/shop")
            .with_env("GITHUB_RUN_ID", "42")
            .with_env("GITHUB_WORKSPACE", text(project.path().to_owned()))
            .with_env("GITHUB_OUTPUT", text(files.join("output")))
            .with_env("GITHUB_STEP_SUMMARY", text(files.join("summary")))
            .with_env("TOKEN", TOKEN);
        let (app, root) = (host.app(), host.root_base());
        let app = format!("{app}: {{type: docker-compose, secrets: [TOKEN], health: {{timeout: 5s}}{keys}}}");
        project.file("deploy/deployments.yaml", format!("deployments:\n  {app}\n")).file(
            "deploy/environments.yaml",
            format!("environments:\n  staging: {{host: local, root: '{}', backup: true}}\n", root.display()),
        );
        Self { host, project, shim, port: free_port() }
    }

    /// Writes a release whose backend is in this mode.
    fn write(&self, version: &str, mode: &str) -> &Self {
        self.write_with(version, mode, "")
    }

    /// As [`Job::write`], with another line of the service.
    fn write_with(&self, version: &str, mode: &str, line: &str) -> &Self {
        let (image, port) = (base_image(), self.port);
        self.project.file("config.txt", version).file(
            "docker-compose.yml",
            format!(
                "services:\n  backend:\n    image: {image}\n    stop_grace_period: 0s\n    \
                 environment: {{VERSION: '{version}', MODE: '{mode}', TOKEN: '${{TOKEN}}'}}\n    \
                 ports: ['127.0.0.1:{port}:8000']\n    \
                 healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 500ms, retries: 3}}\n{line}"
            ),
        );
        self.project.commit(version);
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.host.dir().join("step").join(name)
    }

    /// Starts a step, with files of its own as the runner gives them.
    fn spawn(&self, arguments: &[&str]) -> Running {
        for name in ["output", "summary"] {
            fs::write(self.file(name), "").expect("make the step's files");
        }
        self.host.spawn(&self.project, arguments)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Step {
        self.ended(self.spawn(arguments).wait(), code)
    }

    #[track_caller]
    fn ended(&self, run: Run, code: i32) -> Step {
        let ended = run.exits(code);
        let read = |name| fs::read_to_string(self.file(name)).expect("read a file of the step");
        let step = Step { outputs: outputs(&read("output")), summary: read("summary"), ended };
        step.is_in_order();
        step
    }

    /// Version that answers.
    fn answers(&self) -> Option<String> {
        crate::support::get(self.port, "/version").map(|answer| answer.body)
    }
}

/// A step that has ended, and what it left for the runner.
struct Step {
    ended: Ended,
    outputs: BTreeMap<String, String>,
    summary: String,
}

impl Step {
    /// Lines of stdout that are this command.
    fn commands(&self, name: &str) -> Vec<&str> {
        let begins =
            |line: &&str| line.starts_with(&format!("::{name}::")) || line.starts_with(&format!("::{name} "));
        self.ended.stdout.lines().filter(begins).collect()
    }

    #[track_caller]
    fn has(&self, name: &str, parts: &[&str]) -> &Self {
        let found = self.commands(name).into_iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no ::{name} with {parts:?}: {}", self.ended.told());
        self
    }

    /// The summary says all of this.
    #[track_caller]
    fn shows(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.summary.contains(part), "`{part}` is not in the summary:\n{}", self.summary);
        }
        self
    }

    /// What holds for every step: masks before all else, groups that do not nest and hide no error, no secret.
    #[track_caller]
    fn is_in_order(&self) {
        for text in [&self.ended.stdout, &self.ended.stderr] {
            let mut after_masks = text.lines().skip_while(|line| line.starts_with("::add-mask::"));
            assert!(!after_masks.any(|line| line.starts_with("::add-mask::")), "{}", self.ended.told());
        }
        self.groups_are_whole();
        let printed = format!("{}\n{}", self.ended.stdout, self.ended.stderr);
        let printed: String = printed.lines().filter(|line| !line.starts_with("::add-mask::")).collect();
        for form in FORMS {
            assert!(!printed.contains(form), "`{form}` is printed: {}", self.ended.told());
            assert!(!self.summary.contains(form), "`{form}` is in the summary: {}", self.summary);
            assert!(!self.outputs.values().any(|value| value.contains(form)), "`{form}` is an output");
            assert!(
                !self.ended.events.iter().any(|event| event.to_string().contains(form)),
                "`{form}` is in the log"
            );
        }
    }

    #[track_caller]
    fn groups_are_whole(&self) {
        let mut open = false;
        for line in self.ended.stdout.lines() {
            if line.starts_with("::group::") {
                assert!(!open, "groups nest: {}", self.ended.told());
                open = true;
            } else if line == "::endgroup::" {
                assert!(open, "a group ends twice: {}", self.ended.told());
                open = false;
            } else {
                let is_error =
                    line.starts_with("[ERROR]") || line.starts_with("[CRIT]") || line.starts_with("::error");
                assert!(!open || !is_error, "an error hides in a group: {}", self.ended.told());
            }
        }
        assert!(!open, "a group is left open: {}", self.ended.told());
    }
}

/// Reads the file of outputs as the runner does.
fn outputs(text: &str) -> BTreeMap<String, String> {
    let mut lines = text.lines();
    let mut read = BTreeMap::new();
    while let Some(line) = lines.next() {
        let (name, end) = line.split_once("<<").expect("each output has an end of its own");
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        let other = read.insert(name.to_owned(), value.join("\n"));
        assert_eq!(other, None, "`{name}` is written twice");
    }
    read
}
