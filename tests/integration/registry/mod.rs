//! Images from a registry that wants a password: had, kept, and its login gone afterwards (DESIGN section 6, images).

mod crashes;
mod private;
mod refusals;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Ended, Front, Host, Project, Registry, Run, Running, SecondEngine, Shim, Sshd, SshdOptions, free_port,
};

/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(60);

const HEALTH: &str =
    "{test: [CMD, shop, get, '127.0.0.1:8000/health'], interval: 300ms, timeout: 2s, retries: 3}";

/// An app whose image is in a registry with a password, on a root of its own; docker's calls on the host are recorded.
struct Stand {
    sshd: Option<Sshd>,
    host: Host,
    project: Project,
    registry: Registry,
    front: Front,
    shim: Shim,
    port: u16,
}

impl Stand {
    /// On this machine.
    fn local() -> Self {
        let shim = Shim::docker();
        let host = Host::local().with_path_first(shim.path());
        Self::of(host, None, shim, "host: local")
    }

    /// Behind an sshd.
    fn over_ssh() -> Self {
        Self::behind_sshd(Vec::new())
    }

    /// Behind an sshd, with an engine of its own.
    fn with_engine(engine: &SecondEngine) -> Self {
        Self::behind_sshd(vec![("DOCKER_HOST".to_owned(), engine.host())])
    }

    fn behind_sshd(environment: Vec<(String, String)>) -> Self {
        let shim = Shim::docker();
        let path_first = vec![shim.path()];
        let sshd = Sshd::start_with(&SshdOptions { path_first, environment, ..SshdOptions::default() });
        let host = sshd.reached_by(Host::local());
        Self::of(host, Some(sshd), shim, "become: no")
    }

    fn of(host: Host, sshd: Option<Sshd>, shim: Shim, place: &str) -> Self {
        let registry = Registry::locked();
        let host =
            host.with_env("FFE_DEPLOY_LOG_FORMAT", "human").with_env("REGISTRY_TOKEN", registry.password());
        let (front, project) = (Front::of(&registry), Project::new("shop"));
        let stand = Self { sshd, host, project, front, registry, shim, port: free_port() };
        let base = stand.root();
        let base = base.ancestors().nth(2).expect("a root has a base").display();
        stand
            .project
            .file("environments.yaml", format!("environments: {{staging: {{{place}, root: '{base}'}}}}\n"));
        stand.configure(&stand.registry.server(), "");
        stand
    }

    /// Writes a login for `server`, and more keys of the app.
    fn configure(&self, server: &str, keys: &str) -> &Self {
        let app = self.host.app();
        let text = format!(
            "registries: [{{server: '{server}', username: ci, password: {{env: REGISTRY_TOKEN}}}}]\n\
             deployments: {{{app}: {{type: docker-compose, requirements: {{disk_gb: 0.1, memory_gb: 0.1}}, {keys}}}}}\n"
        );
        self.project.file("deployments.yaml", text);
        self
    }

    /// The app's one service, by more of its keys: `image:`, for one.
    fn compose(&self, keys: &str) -> &Self {
        let port = self.port;
        let text = format!(
            "services: {{web: {{ports: ['127.0.0.1:{port}:8000'], stop_grace_period: 0s, healthcheck: {HEALTH}, {keys}}}}}\n"
        );
        self.project.file("compose.yaml", text);
        self
    }

    /// The service with this image of the registry.
    fn image(&self, name: &str) -> &Self {
        self.compose(&format!("image: '{}'", self.reference(name)))
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.registry.server(), self.host.app())
    }

    /// Pushes an image that says `version`, and returns its digest.
    fn push(&self, name: &str, version: &str) -> String {
        self.registry.push(&format!("{}/{name}", self.host.app()), version)
    }

    fn deploy(&self, version: &str) -> Run {
        self.begin(version, &[]).wait()
    }

    fn begin(&self, version: &str, more: &[&str]) -> Running {
        self.project.commit(version);
        let words = [&["deploy", "staging", "--version", version], more].concat();
        self.host.spawn(&self.project, &words)
    }

    fn root(&self) -> PathBuf {
        let base = self.sshd.as_ref().map_or_else(|| self.host.root_base(), |sshd| sshd.dir().join("srv"));
        base.join(self.host.app()).join("staging")
    }

    /// `release.json` of the current release.
    fn release(&self) -> Value {
        let text = fs::read_to_string(self.root().join("current/release.json")).expect("read release.json");
        serde_json::from_str(&text).expect("release.json is JSON")
    }

    /// What the running container says of itself.
    fn says(&self, variable: &str) -> String {
        self.host.get(self.port, &format!("/env/{variable}")).body
    }

    fn containers(&self) -> Vec<String> {
        self.host.containers(&format!("{}-staging", self.host.app()), "web")
    }

    /// Checks that nothing of the login is on a disk or in the arguments of a program, and that its directory is gone.
    #[track_caller]
    fn has_no_trace(&self) {
        self.has_no_secret();
        assert!(!self.root().join("state/docker-config").exists(), "the directory of the login is left");
    }

    #[track_caller]
    fn has_no_secret(&self) {
        let secrets = [self.registry.password().to_owned(), self.registry.encoded()];
        let places = [self.host.dir(), self.project.path(), Path::new("/run"), Path::new("/dev/shm")];
        for place in places.into_iter().chain(self.sshd.as_ref().map(Sshd::dir)) {
            let found = files_with(place, &secrets);
            assert!(found.is_empty(), "a login is on the disk: {found:?}");
        }
        let calls = self.shim.calls();
        assert!(calls.iter().flatten().all(|word| secrets.iter().all(|secret| !word.contains(secret))));
    }

    /// Checks that a run said nothing of the login.
    #[track_caller]
    fn kept_quiet(&self, ended: &Ended) {
        let told = format!("{}{}{:?}", ended.stdout, ended.stderr, ended.events);
        for secret in [self.registry.password(), &self.registry.encoded()] {
            assert!(!told.contains(secret), "{}", ended.told());
        }
    }

    /// The release before runs and was not touched.
    #[track_caller]
    fn is_untouched(&self, version: &str, containers: &[String]) {
        assert_eq!((self.says("BUILT"), self.containers().as_slice()), (version.to_owned(), containers));
    }
}

/// Files below a directory in which one of the words stands; devices, sockets and links are passed over.
fn files_with(dir: &Path, words: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => found.extend(files_with(&path, words)),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                let has = |word: &String| bytes.windows(word.len()).any(|part| part == word.as_bytes());
                if words.iter().any(has) {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
    found
}

/// The failure's code, and its message with its hint.
#[track_caller]
fn first_error(ended: &Ended) -> (String, String) {
    let first = &ended.result()["errors"][0];
    let word = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    (word("code"), format!("{}; {}", word("message"), word("hint")))
}
