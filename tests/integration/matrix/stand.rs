//! What a cell stands on: an app on a machine of its own, and ways to hold a deployment in each of its stages.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::plan::At;
use crate::crash_points::programs;
use crate::support::{
    Act, Front, Host, Machine, Project, Registry, Run, Running, Web, base_image, request_at, shop_binary,
    until,
};

/// Longest wait for one step, on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Port of the app on its machine.
const PORT: u16 = 8000;
/// Takes seconds to be read, and no room.
const LONG_BACKUP_BYTES: u64 = 2 << 30;

/// The app, its machine, and what the machine asks.
pub(super) struct Stand {
    pub(super) machine: Machine,
    pub(super) host: Host,
    project: Project,
    /// Says 200 to what may go on, and 503 to what is held.
    gate: Web,
    registry: Registry,
    front: Front,
    /// The build that is used.
    program: PathBuf,
    /// Number of the next release.
    next: u32,
    /// Calls of docker, of the kind that is to be held, that there were before.
    called: usize,
}

/// How a release differs from the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Usual,
    /// It can be held in this stage.
    Held(At),
}

impl Stand {
    /// A machine on which the first release runs.
    pub(super) fn start() -> Self {
        let machine = Machine::start();
        let host = machine.reached_by(Host::local());
        let (project, gate, registry) = (Project::new(host.app()), Web::start_for_all(), Registry::open());
        let front = Front::for_all(&registry);
        let root = machine.root_base();
        let text = format!("environments:\n  staging: {{root: '{}', backup: true}}\n", root.display());
        project.file("deploy/environments.yaml", text);
        let mut stand =
            Self { machine, host, project, gate, registry, front, program: usual(), next: 1, called: 0 };
        stand.write(Manner::Usual);
        stand.deploy().exits(0);
        stand
    }

    /// Writes the next release into the project, and returns its version.
    pub(super) fn write(&mut self, manner: Manner) -> String {
        let version = format!("1.0.{}", self.next);
        self.next += 1;
        self.gate.on(&format!("/healthy/{version}"), &[200]);
        // A release that must fail does so soon; one that is held, or comes back, has all the time.
        let timeout = if manner == Manner::Held(At::RollingBack) { "5s" } else { "10m" };
        self.project.file(
            "deploy/deployments.yaml",
            format!(
                "deployments:\n  {}:\n    type: docker-compose\n    shared: [files]\n    \
                 setup: {{directories: [files]}}\n    health: {{timeout: {timeout}}}\n",
                self.host.app()
            ),
        );
        self.project.file("docker-compose.yml", self.compose_file(&version, manner));
        self.project.commit(&version);
        version
    }

    fn compose_file(&self, version: &str, manner: Manner) -> String {
        let (image, gate) = (base_image(), format!("{}:{}", self.machine.runner(), self.gate.port()));
        let usual = "restart: unless-stopped, stop_grace_period: 2s";
        let mut mode = "ok";
        let source = format!("image: '{image}'");
        let (mut more, mut others) = (String::new(), String::new());
        match manner {
            Manner::Held(At::Pulling) => {
                self.registry.push(&format!("shop/other:{version}"), version);
                self.front.hang(true);
                let reference =
                    format!("{}:{}/shop/other:{version}", self.machine.runner(), self.front.port());
                others = format!(
                    "  other: {{image: '{reference}', {usual}, {}}}\n",
                    checked("shop get localhost:8000/health")
                );
            }
            Manner::Held(At::Building) => {
                let program = fs::read(shop_binary()).expect("read the shop");
                let dockerfile =
                    "FROM scratch\nCOPY shop version /bin/\nENV PATH=/bin\nUSER 10001\nCMD [shop, serve]\n";
                self.project.executable("built/shop", program).file("built/version", version);
                self.project
                    .file("built/Dockerfile", dockerfile.replace("[shop, serve]", "[\"shop\", \"serve\"]"));
                let check = "healthcheck: {test: [CMD, shop, get, 'localhost:8000/health'], interval: 500ms}";
                others = format!("  built: {{build: built, {usual}, {check}}}\n");
            }
            Manner::Held(At::Deploying) => {
                more = "    depends_on: {gate: {condition: service_healthy}}\n".to_owned();
                let command = format!("shop get {gate}/started/{version}");
                others = format!("  gate: {{image: '{image}', {usual}, {}}}\n", checked(&command));
            }
            Manner::Held(At::Verifying) => self.close(&format!("/healthy/{version}")),
            Manner::Held(At::RollingBack) => mode = "unhealthy",
            Manner::Held(At::Validating | At::BackingUp) | Manner::Usual => {}
        }
        // The gate of a release that is not held is open.
        let check = checked(&format!("shop get localhost:8000/health && shop get {gate}/healthy/{version}"));
        format!(
            "services:\n  web:\n    {source}\n    environment: {{VERSION: '{version}', MODE: '{mode}'}}\n    \
             restart: unless-stopped\n    stop_grace_period: 2s\n    ports: ['{PORT}:8000']\n    \
             volumes: ['data:/data']\n{more}    {check}\n{others}volumes: {{data: {{}}}}\n"
        )
    }

    /// Makes the coming release hold in its stage.
    pub(super) fn hold(&mut self, at: At, version: &str) {
        self.called = self.calls(at);
        match at {
            At::Validating => self.hold_calls(&["compose", "config"]),
            At::BackingUp => {
                let file = self.seen(&self.root().join("shared/files/long"));
                let made = fs::File::create(file).and_then(|file| file.set_len(LONG_BACKUP_BYTES));
                made.expect("make a file that takes long to back up");
            }
            At::Deploying => self.close(&format!("/started/{version}")),
            At::Building => self.hold_calls(&["build"]),
            At::Pulling | At::Verifying | At::RollingBack => {}
        }
    }

    /// Waits until the deployment is held, or at least in that stage.
    pub(super) fn until_held(&self, run: &mut Running, at: At, version: &str, before: &str) {
        if at == At::RollingBack {
            run.until_stage(PATIENCE, "verifying");
            self.close(&format!("/healthy/{before}"));
        }
        run.until_stage(PATIENCE, at.stage());
        match at {
            At::Validating | At::Building => self.until_called(at),
            At::Pulling => {
                let asked = || self.front.asked().iter().any(|asked| asked.contains("/blobs/"));
                until(PATIENCE, "a part of the image to be asked for", asked);
            }
            At::Deploying => self.until_asked(&format!("/started/{version}")),
            At::Verifying => self.until_asked(&format!("/healthy/{version}")),
            At::BackingUp | At::RollingBack => {}
        }
    }

    fn until_asked(&self, path: &str) {
        until(PATIENCE, &format!("a request for {path}"), || {
            self.gate.requests().iter().any(|request| request.path == path)
        });
    }

    /// Lets go whatever is held.
    pub(super) fn release(&self, at: At, version: &str, before: &str) {
        for path in ["started", "healthy"] {
            self.gate.on(&format!("/{path}/{version}"), &[200]);
        }
        self.gate.on(&format!("/healthy/{before}"), &[200]);
        self.front.hang(false);
        self.machine.shim().heal();
        self.machine.shim().release();
        if at == At::BackingUp {
            // What is being read stays readable.
            fs::remove_file(self.seen(&self.root().join("shared/files/long"))).ok();
        }
    }

    fn hold_calls(&self, words: &[&str]) {
        self.machine.shim().close();
        self.machine.shim().on(words, &Act::Hold);
    }

    /// How many calls there were that may be held in this stage.
    fn calls(&self, at: At) -> usize {
        match at {
            At::Validating => self.machine.shim().count(&["compose", "config"]),
            At::Building => self.machine.shim().count(&["build"]),
            _ => 0,
        }
    }

    fn until_called(&self, at: At) {
        until(PATIENCE, "a call of docker to be held", || self.calls(at) > self.called);
    }

    fn close(&self, path: &str) {
        self.gate.on(path, &[503]);
    }

    /// Deploys what was written to its end.
    pub(super) fn deploy(&self) -> Run {
        self.begin("").wait()
    }

    /// Begins to deploy what was written; with an id, or the usual one.
    pub(super) fn begin(&self, id: &str) -> Running {
        let version = format!("1.0.{}", self.next - 1);
        let mut words = vec!["deploy", "staging", "--yes", "--log-format", "human", "--version", &version];
        if !id.is_empty() {
            words.extend(["--deployment-id", id]);
        }
        self.host.spawn_build(&self.program, &self.project, &words)
    }

    /// Deploys from now on with the build whose clock can be wrong, or with the usual one.
    pub(super) fn use_wrong_clock(&mut self, wrong: bool) {
        self.machine.set_clock(0);
        self.program = usual();
        if wrong {
            self.program = programs().expect("a build with fault injection: scripts/test makes it");
        }
    }

    /// Root of the app, as the machine names it.
    pub(super) fn root(&self) -> PathBuf {
        self.machine.root_base().join(self.host.app()).join("staging")
    }

    pub(super) fn seen(&self, path: &std::path::Path) -> PathBuf {
        self.machine.seen_from_here(path)
    }

    /// Where the app answers.
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.machine.address(PORT)
    }

    /// Version that answers, if the app calls itself healthy.
    pub(super) fn answers(&self) -> Option<String> {
        let ask = |path| {
            let answer = request_at(self.address(), "GET", path, "").ok()?;
            (answer.status == 200).then_some(answer.body)
        };
        ask("/health")?;
        ask("/version")
    }
}

fn usual() -> PathBuf {
    env!("CARGO_BIN_EXE_ffe-deploy").into()
}

/// A healthcheck that fails for long before it counts.
fn checked(command: &str) -> String {
    format!(
        "healthcheck: {{test: [CMD-SHELL, '{command}'], interval: 500ms, timeout: 5s, start_period: 600s, \
         retries: 4}}"
    )
}
