//! What these tests stand on: one service, a host behind an sshd, and the variables of a job that reaches it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{
    Host, Project, Run, Running, Sshd, SshdOptions, alive, base_image, free_port, mentioning, until,
};

/// Longest wait for something that should be a matter of a second or two.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// The cheapest verb that goes all the way to the agent; no Docker is asked.
pub(super) const LOOK: [&str; 4] = ["history", "staging", "--output", "json"];

/// An app and a host for it; the sshd goes first, with all that runs behind it.
pub(super) struct Stand {
    pub(super) sshd: Sshd,
    pub(super) host: Host,
    pub(super) project: Project,
    pub(super) port: u16,
}

impl Stand {
    /// A host that is reached by the variables of the job: host, port, user, key, host key.
    pub(super) fn new() -> Self {
        Self::with(&SshdOptions::default())
    }

    pub(super) fn with(options: &SshdOptions<'_>) -> Self {
        Self::behind(Sshd::start_with(options))
    }

    fn behind(sshd: Sshd) -> Self {
        let host = sshd.reached_by(Host::local());
        let (project, port) = (Project::new(host.app()), free_port());
        write_project(&project, &sshd.dir().join("srv"), port);
        Self { sshd, host, project, port }
    }

    /// Changes the runner's side.
    pub(super) fn on_runner(mut self, change: impl FnOnce(Host) -> Host) -> Self {
        self.host = change(self.host);
        self
    }

    /// The app's root on the host.
    pub(super) fn root(&self) -> PathBuf {
        self.sshd.dir().join("srv").join(self.host.app()).join("staging")
    }

    /// Deploys this version to its end.
    #[track_caller]
    pub(super) fn deploy(&self, version: &str) -> Run {
        self.start(version, &[]).wait()
    }

    /// Deploys this version with further arguments, and does not wait.
    pub(super) fn start(&self, version: &str, arguments: &[&str]) -> Running {
        let all = [&["deploy", "staging", "--yes", "--log-format", "human", "--version", version], arguments]
            .concat();
        self.host.spawn(&self.project, &all)
    }

    /// Runs a verb on staging.
    #[track_caller]
    pub(super) fn run(&self, arguments: &[&str]) -> Run {
        self.host.run(&self.project, arguments)
    }

    /// The version that answers.
    #[track_caller]
    pub(super) fn version(&self) -> String {
        self.host.get(self.port, "/version").body
    }

    /// Waits until this version is what the host calls current.
    #[track_caller]
    pub(super) fn until_current(&self, version: &str) {
        until(SOON, &format!("{version} to be current"), || {
            let text = std::fs::read_to_string(self.root().join("current/release.json"));
            text.is_ok_and(|text| {
                let release: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                release["version"] == version
            })
        });
    }

    /// The agents that were brought to the host.
    pub(super) fn agents(&self) -> Vec<PathBuf> {
        files_in(&self.sshd.home().join(".cache/ffe-deploy"), "ffe-agent-")
    }
}

/// One service with a configuration file of its own; the container is healthy within a second.
pub(super) fn write_project(project: &Project, base: &Path, port: u16) {
    let image = base_image();
    project
        .file(
            "docker-compose.yml",
            format!(
                "services:\n  web:\n    image: '{image}'\n    environment: {{VERSION: '${{VERSION}}', CONFIG: /etc/shop.yaml}}\n    \
                 volumes: ['./config/shop.yaml:/etc/shop.yaml:ro']\n    ports: ['127.0.0.1:{port}:8000']\n    \
                 stop_grace_period: 0s\n    healthcheck: {{test: [CMD, shop, get, '127.0.0.1:8000/health'], \
                 interval: 500ms, timeout: 5s, retries: 40}}\n"
            ),
        )
        .file("config/shop.yaml", "mode: ok\n")
        .file(
            "deployments.yaml",
            format!("deployments:\n  {}: {{type: docker-compose}}\n", project_name(project)),
        )
        .file("environments.yaml", format!("environments:\n  staging: {{root: '{}'}}\n", base.display()));
    project.commit("Open the shop");
}

fn project_name(project: &Project) -> String {
    project.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Files of a directory whose names begin so.
pub(super) fn files_in(dir: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)));
    found
}

/// `ffe-agent attach` processes on the host.
pub(super) fn attaches(stand: &Stand) -> Vec<u32> {
    let mut found = mentioning(stand.sshd.dir());
    found.retain(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(b"\0attach\0"))
    });
    found
}

/// Waits until nothing is left of the runner on its machine, and no agent that spoke with it on the host.
#[track_caller]
pub(super) fn left_behind(stand: &Stand) {
    until(SOON, "nothing of the runner to be left", || {
        let processes = mentioning(stand.host.dir()).into_iter().filter(|pid| alive(*pid)).count();
        let rooms = files_in(&stand.host.dir().join("run"), "").len()
            + files_in(&stand.host.dir().join("tmp"), "").len();
        processes + rooms + attaches(stand).len() == 0
    });
}

/// A directory with all programs but those of that name.
pub(super) fn path_without(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("make a directory");
    for from in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        for program in files_in(Path::new(from), "") {
            let file = program.file_name().expect("it has a name").to_owned();
            if !file.to_string_lossy().starts_with(name) {
                // The first of a name counts, as on PATH.
                std::os::unix::fs::symlink(&program, dir.path().join(file)).ok();
            }
        }
    }
    dir
}

/// Writes the staging entry with this line in it.
pub(super) fn write_environment(stand: &Stand, line: &str) {
    let root = stand.sshd.dir().join("srv");
    let text = format!("environments:\n  staging:\n    root: '{}'\n    {line}\n", root.display());
    stand.project.file("environments.yaml", text);
}
