//! Canaries: a value of its own in every input that can hold a secret, printed by all that can print. None may be seen
//! anywhere but in the files that a release needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::support::{
    Act, Ended, Host, Project, Shim, Slack, Sshd, SshdOptions, Witness, base_image, free_port, needs, until,
};

/// Secrets of the job that the app gets as variables, and says aloud.
const SAID: [&str; 7] =
    ["TOKEN", "JWT_SECRET_KEY", "API_TOKEN", "PROBE_PASSWORD", "FILE_PLAIN", "DATABASE_URL", "LINES"];
/// One that the app gets as a file, by Compose's `secrets:`.
const MOUNTED: &str = "MOUNTED_TOKEN";

/// A value that is nowhere else, and the part of it that no escaping changes.
struct Canary {
    name: &'static str,
    /// One in each line.
    cores: Vec<String>,
}

impl Canary {
    fn new(name: &'static str) -> Self {
        let core = || format!("Canary{}", uuid::Uuid::new_v4().simple());
        let lines = if name == "LINES" { 3 } else { 1 };
        Self { name, cores: std::iter::repeat_with(core).take(lines).collect() }
    }

    /// With all that tools escape.
    fn value(&self) -> String {
        match self.name {
            "DATABASE_URL" => format!("postgres://app:{}@db/shop?x=1", self.cores[0]),
            "PROBE_PASSWORD" | "PASSPHRASE" | "WEBHOOK" => self.cores[0].clone(),
            "LINES" => self.cores.join("\n"),
            _ => format!("{} \"q\\/&<$é'", self.cores[0]),
        }
    }

    /// How each of its lines can stand in a text: as it is, which URL encoding and JSON do not change, in hex, and in
    /// base64 wherever it begins.
    fn forms(&self) -> Vec<Vec<u8>> {
        self.cores.iter().flat_map(|core| forms_of(core)).collect()
    }
}

fn forms_of(core: &str) -> Vec<Vec<u8>> {
    let inside = |shift: usize| {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; shift], core.as_bytes()].concat());
        let whole = &encoded[(shift * 8).div_ceil(6)..(shift + core.len()) * 8 / 6];
        whole.as_bytes().to_vec()
    };
    let hex: String = core.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![core.as_bytes().to_vec(), hex.into_bytes()];
    forms.extend((0..3).map(inside));
    forms
}

/// An app that says all it knows, and everybody who hears it.
struct Stand {
    host: Host,
    project: Project,
    docker: Shim,
    ssh: Shim,
    /// Says one of the secrets.
    vault: Shim,
    slack: Slack,
    sshd: Option<Sshd>,
    canaries: Vec<Canary>,
    /// Lines of the private key, which is a canary as it is.
    key: Vec<String>,
    port: u16,
}

impl Stand {
    fn new(over_ssh: bool) -> Self {
        let docker = Shim::docker();
        let ssh = Shim::new();
        let options = SshdOptions { path_first: vec![docker.path()], ..SshdOptions::default() };
        let sshd = over_ssh.then(|| Sshd::start_with(&options));
        let names = SAID.into_iter().chain([MOUNTED, "BUILD_TOKEN", "PASSPHRASE", "REGISTRY_TOKEN"]);
        let slack = Slack::open();
        let mut stand = Self {
            host: Host::local(),
            project: Project::new("shop"),
            docker,
            ssh,
            vault: Shim::new(),
            slack,
            sshd,
            canaries: names.map(Canary::new).collect(),
            key: Vec::new(),
            port: free_port(),
        };
        stand.furnish();
        stand
    }

    fn value(&self, name: &str) -> String {
        self.canaries.iter().find(|canary| canary.name == name).expect("a canary").value()
    }

    fn furnish(&mut self) {
        let mut host = std::mem::replace(&mut self.host, Host::local()).with_path_first(self.docker.path());
        for name in ["TOKEN", "JWT_SECRET_KEY", "API_TOKEN", "REGISTRY_TOKEN", "LINES", MOUNTED] {
            host = host.with_env(name, self.value(name));
        }
        // Some secrets come from files, one from a program.
        let file = self.kept("build-token", &self.value("BUILD_TOKEN"));
        self.vault
            .fake("vault", &format!("printf '%s\\n' '{}'; echo noise >&2", self.value("PROBE_PASSWORD")));
        host = host.with_env("BUILD_TOKEN_FILE", file).with_path_first(self.vault.path());
        let quoted = self.value("FILE_PLAIN").replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
        let file = format!("FILE_PLAIN=\"{quoted}\"\nDATABASE_URL={}\n", self.value("DATABASE_URL"));
        let github = host.dir().join("github");
        fs::create_dir(&github).expect("a directory for GitHub's files");
        host = host
            .with_env("STAGING_ENV_FILE", file)
            .with_env("SLACK_WEBHOOK_URL_FILE", self.kept("slack", &self.slack.address()))
            .with_env("GITHUB_ACTIONS", "true")
            .with_env("GITHUB_OUTPUT", github.join("output"))
            .with_env("GITHUB_STEP_SUMMARY", github.join("summary"))
            .with_env("FFE_DEPLOY_LOG_LEVEL", "DEBUG");
        if let Some(sshd) = &self.sshd {
            self.ssh.wrap("ssh").wrap("ssh-add").wrap("ssh-agent");
            let passphrase = self.value("PASSPHRASE");
            let key = sshd.private_key_with_passphrase(&passphrase);
            self.key = key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
            host = sshd
                .reached_by(host)
                .with_path_first(self.ssh.path())
                .without_env("STAGING_SSH_KEY")
                .with_env("STAGING_SSH_KEY_FILE", self.kept("key", &key))
                .with_env("STAGING_SSH_KEY_PASSPHRASE", passphrase);
        }
        self.host = host;
        self.configure();
    }

    /// A file of the job with a secret in it, where nobody looks for what a deployment leaves.
    fn kept(&self, name: &str, secret: &str) -> PathBuf {
        let file = self.docker.path().with_file_name(name);
        fs::write(&file, format!("{secret}\n")).expect("write a secret's file");
        file
    }

    fn base(&self) -> PathBuf {
        self.sshd.as_ref().map_or_else(|| self.host.root_base(), |sshd| sshd.dir().join("srv"))
    }

    fn root(&self) -> PathBuf {
        self.base().join(self.host.app()).join("staging")
    }

    fn configure(&self) {
        let (app, port, base) = (self.host.app(), self.port, self.base());
        let place = if self.sshd.is_some() { "" } else { "host: local, " };
        self.project
            .file(
                "deployments.yaml",
                format!(
                    "registries: [{{server: 'registry.invalid', username: ci, password: {{env: REGISTRY_TOKEN}}}}]\n\
                     deployments:\n  {app}:\n    type: docker-compose\n    \
                     secrets: [TOKEN, {{name: PROBE_PASSWORD, command: [vault, kv, get, '-field={{name}}', '{{environment}}']}}, BUILD_TOKEN, LINES, {MOUNTED}]\n    required_vars: [JWT_SECRET_KEY]\n    \
                     env_vars: {{API_TOKEN: '${{API_TOKEN}}'}}\n    health:\n      timeout: 6s\n      checks:\n        \
                     - {{name: probe, http: 'http://probe:${{PROBE_PASSWORD}}@127.0.0.1:{port}/health'}}\n        \
                     - {{name: told, command: [./check.sh], optional: true}}\n"
                ),
            )
            .file("environments.yaml", format!("environments:\n  staging: {{{place}root: '{}'}}\n", base.display()))
            .executable("check.sh", "#!/bin/sh\necho \"$TOKEN\"\nenv >&2\nexit 1\n");
    }

    fn write(&self, version: &str, mode: &str) {
        let (image, port) = (base_image(), self.port);
        let variables: String = SAID.map(|name| format!("      {name}: ${{{name}}}\n")).concat();
        let names = SAID.map(|name| format!("\"$${name}\"")).join(" ");
        let say = format!(
            "cat /run/secrets/mounted; echo; for v in {names}; do echo \"$$v\"; printf %s \"user:$$v\" | base64 -w0; echo; printf %s \"$$v\" | base64; \
             printf %s \"x$$v\" | base64 -w0; echo; done"
        );
        let compose = format!(
            "secrets: {{mounted: {{environment: {MOUNTED}}}}}\n\
             services:\n  backend:\n    secrets: [mounted]\n    build:\n      context: app\n      args:\n        BUILD_TOKEN: ${{BUILD_TOKEN}}\n    \
             stop_grace_period: 0s\n    environment:\n{variables}      VERSION: '{version}'\n      MODE: {mode}\n    \
             command:\n      - sh\n      - -c\n      - |\n        {say}\n        exec shop serve\n    \
             ports: ['127.0.0.1:{port}:8000']\n    healthcheck:\n      test: [CMD-SHELL, 'echo \"$$TOKEN\"; \
             shop get localhost:8000/health']\n      interval: 500ms\n      retries: 3\n"
        );
        let dockerfile = format!(
            "FROM {image}\nARG BUILD_TOKEN\nUSER 0:0\n\
             RUN echo \"with $BUILD_TOKEN {version}\"; echo \"$BUILD_TOKEN\" | base64 >&2\nUSER 10001\n"
        );
        self.project.file("docker-compose.yml", compose).file("app/Dockerfile", dockerfile);
        self.project.commit(version);
    }

    fn run(&self, verb: &[&str]) -> Ended {
        let (logs, log) = (self.host.dir().join("logs"), self.host.dir().join("log-file"));
        let (logs, log) = (logs.display().to_string(), log.display().to_string());
        let all = [verb, &["--log-dir", &logs, "--log-file", &log]].concat();
        let ended = self.host.run(&self.project, &all);
        let code = ended.code;
        let ended = ended.exits(code);
        self.heard_nothing("stdout", unmasked(&ended.stdout).as_bytes());
        self.heard_nothing("stderr", unmasked(&ended.stderr).as_bytes());
        ended
    }

    #[track_caller]
    fn heard_nothing(&self, place: &str, bytes: &[u8]) {
        self.heard_nothing_of(&self.names().collect::<Vec<_>>(), place, bytes);
        let token = self.slack.token().as_bytes();
        assert!(!has(bytes, token), "the webhook in {place}: {}", around(bytes, token));
        for line in &self.key {
            assert!(!has(bytes, line.as_bytes()), "the key in {place}: {}", around(bytes, line.as_bytes()));
        }
    }

    /// What Docker keeps: the images with their histories and all layers, and what `inspect` says. A build argument is in
    /// the history by Docker's own doing, which `image.secrets` tells; what Compose mounts is in no variable.
    #[track_caller]
    fn docker_has_none(&self) {
        let containers = self.host.containers(&format!("{}-staging", self.host.app()), "backend");
        assert!(!containers.is_empty());
        for id in &containers {
            let inspected = self.host.docker(&["inspect", id]);
            let mounted = self.host.docker(&["exec", id, "cat", "/run/secrets/mounted"]);
            assert_eq!(mounted, self.value(MOUNTED), "the app has it");
            self.heard_nothing_of(
                &[MOUNTED, "PASSPHRASE", "REGISTRY_TOKEN"],
                "docker inspect",
                inspected.as_bytes(),
            );
            let image = self.host.docker(&["inspect", "--format", "{{.Image}}", id]);
            let but_the_argument: Vec<&str> = self.names().filter(|name| *name != "BUILD_TOKEN").collect();
            let history = self.host.docker(&["history", "--no-trunc", image.trim()]);
            self.heard_nothing_of(&but_the_argument, "the image's history", history.as_bytes());
            let saved =
                self.host.command("docker").args(["save", image.trim()]).output().expect("docker save");
            assert!(saved.status.success() && saved.stdout.len() > 10_000);
            self.heard_nothing_of(&but_the_argument, "the image's layers", &saved.stdout);
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.canaries.iter().map(|canary| canary.name)
    }

    #[track_caller]
    fn heard_nothing_of(&self, names: &[&str], place: &str, bytes: &[u8]) {
        for canary in self.canaries.iter().filter(|canary| names.contains(&canary.name)) {
            for form in canary.forms() {
                assert!(
                    !has(bytes, &form),
                    "{} as {} in {place}: {}",
                    canary.name,
                    text(&form),
                    around(bytes, &form)
                );
            }
        }
    }

    /// All files of the runner and of the host but those that are to have them.
    #[track_caller]
    fn no_file_has_any(&self) {
        let mut places = vec![self.host.dir().to_owned(), self.root()];
        places.extend(self.sshd.as_ref().map(Sshd::home));
        for path in places.iter().flat_map(|place| files_below(place)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_of_release = name == "env" && path.starts_with(self.root().join("releases"));
            if is_of_release {
                let mode = fs::metadata(&path).expect("its mode").permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{}", path.display());
            } else if !name.starts_with("ffe-agent") {
                let bytes = fs::read(&path).unwrap_or_default();
                let bytes =
                    if path.ends_with("stdout") { unmasked(&text(&bytes)).into_bytes() } else { bytes };
                self.heard_nothing(&path.display().to_string(), &bytes);
            }
        }
        let asked = self.vault.calls();
        assert!(!asked.is_empty());
        for call in &asked {
            assert_eq!(call, &["vault", "kv", "get", "-field=PROBE_PASSWORD", "staging"]);
        }
        for calls in [self.docker.calls(), self.ssh.calls(), asked] {
            self.heard_nothing("the arguments of a program", format!("{calls:?}").as_bytes());
        }
    }

    fn go_through(&self) {
        let witness = Witness::start();
        self.go_through_all();
        let seen = witness.end();
        let ours = seen.iter().filter(|line| has(line, self.host.app().as_bytes())).count();
        assert!(ours > 5, "hardly anybody was seen: {ours} of {}", seen.len());
        let seen: Vec<u8> = seen.into_iter().collect::<Vec<_>>().join(&b'\n');
        self.heard_nothing("the list of processes", &seen);
    }

    fn go_through_all(&self) {
        self.write("1.0.0", "ok");
        let first = self.run(&["deploy", "staging", "--version", "1.0.0"]).exits(0);
        assert!(first.stdout.contains("::add-mask::"), "{}", first.told());
        let said: String = first.events.iter().map(ToString::to_string).collect();
        assert!(said.contains("with ***"), "the build is not heard: {said}");
        self.no_file_has_any();
        self.docker_has_none();
        self.write("1.1.0", "unhealthy");
        self.docker.on_first(1, &["compose", "up"], &Act::Hold);
        let before = self.docker.count(&["compose", "up"]);
        let ended = std::thread::scope(|scope| {
            let run =
                scope.spawn(|| self.run(&["deploy", "staging", "--version", "1.1.0", "--output", "json"]));
            let called = || self.docker.count(&["compose", "up"]) > before || run.is_finished();
            until(Duration::from_secs(60), "compose up", called);
            self.no_file_has_any();
            self.docker.release();
            run.join().expect("the run ends")
        });
        let ended = ended.exits(4);
        let logs = ended.event("logs_collected").to_string();
        assert!(logs.contains("***"), "the container is not heard: {logs}");
        for verb in [
            &["logs", "staging"][..],
            &["logs", "staging", "--output", "json"],
            &["status", "staging"],
            &["health", "staging", "--output", "json"],
            &["history", "staging", "--output", "json"],
            &["validate", "staging"],
            &["rollback", "staging"],
        ] {
            self.run(verb);
        }
        self.no_file_has_any();
        for message in self.slack.messages() {
            self.heard_nothing("a message of Slack", message.to_string().as_bytes());
        }
        assert_eq!(self.slack.posts(), 3, "both deployments and the rollback");
        let summary = fs::read_to_string(self.host.dir().join("github/summary")).expect("a summary");
        assert!(summary.contains("***"), "the summary shows no log: {summary}");
    }
}

impl Ended {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "exit {} instead of {code}: {}", self.code, self.told());
        self
    }
}

/// What a job's log shows: the runner obeys masks and does not print them.
fn unmasked(output: &str) -> String {
    output.lines().filter(|line| !line.starts_with("::add-mask::")).map(|line| format!("{line}\n")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = |path: PathBuf| match fs::symlink_metadata(&path).map(|meta| meta.file_type()) {
        Ok(kind) if kind.is_dir() => files_below(&path),
        Ok(kind) if kind.is_file() => vec![path],
        _ => Vec::new(),
    };
    listing.flat_map(below).collect()
}

#[test]
fn no_canary_is_heard_of_a_deployment_on_this_machine() {
    needs!("docker");
    Stand::new(false).go_through();
}

#[test]
fn no_canary_is_heard_of_a_deployment_over_ssh() {
    needs!("docker", "sshd");
    Stand::new(true).go_through();
}

fn has(bytes: &[u8], form: &[u8]) -> bool {
    memchr::memmem::find(bytes, form).is_some()
}

/// What stands around a form, for messages.
fn around(bytes: &[u8], form: &[u8]) -> String {
    let at = memchr::memmem::find(bytes, form).unwrap_or_default();
    text(&bytes[at.saturating_sub(300)..bytes.len().min(at + 300)])
}
