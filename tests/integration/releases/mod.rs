//! A release on the host: what lies where, what is recreated, and what comes back (DESIGN section 6).

mod drift;
mod files;
mod images;
mod in_place;
mod layout;
mod order;
mod plan;
mod projects;
mod prune;
mod rollback;
mod room;
mod variables;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Ended, Host, Project, Run, base_image, free_port};

/// Answers of the shop's healthcheck come quickly, so that a deploy takes two seconds.
const HEALTH: &str =
    r#"{test: [CMD, shop, get, "127.0.0.1:8000/health"], interval: 300ms, timeout: 2s, retries: 2}"#;

/// A project of one or more shops and the machine it is deployed on, as environment `staging`.
struct Shop {
    host: Host,
    project: Project,
    port: u16,
}

impl Shop {
    /// Will be deployed on a root.
    fn on_root() -> Self {
        Self::on_root_of(Host::local())
    }

    fn on_root_of(host: Host) -> Self {
        let host = host.with_env("FFE_DEPLOY_LOG_FORMAT", "human");
        let shop = Self { project: Project::new("shop"), port: free_port(), host };
        let root = shop.host.root_base();
        shop.environments(&format!("host: local, root: {}", root.display()));
        shop.configure("");
        shop
    }

    /// Will be deployed where it lies.
    fn in_place() -> Self {
        let shop = Self::on_root();
        shop.environments("host: local");
        shop
    }

    /// Will be deployed on a root, by the rules of production, but without a confirmation and a backup.
    fn in_production(host: Host) -> Self {
        let shop = Self::on_root_of(host);
        let root = shop.host.root_base();
        shop.environments(&format!(
            "host: local, root: {}, profile: production, require_confirmation: false, backup: false, \
             overrides: {{ {}: {{ project: {} }} }}",
            root.display(),
            shop.host.app(),
            shop.name()
        ));
        shop.compose_web("environment: {VERSION: \"${VERSION}\"}");
        shop
    }

    fn environments(&self, staging: &str) -> &Self {
        self.project.file("environments.yaml", format!("environments: {{ staging: {{ {staging} }} }}\n"));
        self
    }

    /// Writes keys of the app, in YAML's flow style.
    fn configure(&self, keys: &str) -> &Self {
        let app = self.host.app();
        let text = format!(
            "deployments: {{ {app}: {{ type: docker-compose, requirements: {{ disk_gb: 0.1, memory_gb: 0.1 }}, {keys} }} }}\n"
        );
        self.project.file("deployments.yaml", text);
        self
    }

    /// Writes the compose file: `IMAGE`, `PORT` and `HEALTH` are filled in.
    fn compose(&self, text: &str) -> &Self {
        self.project.file("compose.yaml", filled(text, self.port));
        self
    }

    /// One service `web`, with more keys of it in YAML's flow style.
    fn compose_web(&self, keys: &str) -> &Self {
        self.compose(&format!("services: {{ web: {} }}\n", web(keys)))
    }

    fn deploy(&self, version: &str) -> Run {
        self.deploy_with(version, &[])
    }

    /// Commits everything and deploys it.
    fn deploy_with(&self, version: &str, more: &[&str]) -> Run {
        self.project.commit(version);
        self.run(&[&["deploy", "staging", "--version", version], more].concat())
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.host.run(&self.project, arguments)
    }

    fn rollback(&self, more: &[&str]) -> Run {
        self.run(&[&["rollback", "staging"], more].concat())
    }

    /// Name of the Compose project.
    fn name(&self) -> String {
        format!("{}-staging", self.host.app())
    }

    /// The only container of a service.
    #[track_caller]
    fn id(&self, service: &str) -> String {
        let mut ids = self.ids(service);
        assert_eq!(ids.len(), 1, "containers of {service}: {ids:?}");
        ids.remove(0)
    }

    fn ids(&self, service: &str) -> Vec<String> {
        self.host.containers(&self.name(), service)
    }

    fn root(&self) -> PathBuf {
        self.host.root("staging")
    }

    /// Id of the current release.
    fn current(&self) -> String {
        let target = fs::read_link(self.root().join("current")).expect("current is a symlink");
        target.file_name().expect("it names a release").to_string_lossy().into_owned()
    }

    /// `release.json` of the current release.
    fn release(&self) -> Value {
        let text = fs::read_to_string(self.root().join("current/release.json")).expect("read release.json");
        serde_json::from_str(&text).expect("release.json is JSON")
    }

    fn get(&self, path: &str) -> String {
        self.host.get(self.port, path).body
    }
}

fn filled(text: &str, port: u16) -> String {
    let text = text.replace("IMAGE", &base_image()).replace("PORT", &port.to_string());
    text.replace("HEALTH", HEALTH)
}

/// A service that serves on `PORT`.
fn web(keys: &str) -> String {
    format!(r#"{{ ports: ["127.0.0.1:PORT:8000"], {} }}"#, quiet(keys))
}

/// A healthy service without a port; `keys` may name another image.
fn quiet(keys: &str) -> String {
    let image = if keys.contains("image:") || keys.contains("build:") { "" } else { "image: \"IMAGE\", " };
    format!("{image}stop_grace_period: 0s, init: false, healthcheck: HEALTH, {keys}")
}

/// What happened to each service.
fn changes(ended: &Ended) -> &Value {
    &ended.result()["services"]
}

/// What the failure's code and message are.
#[track_caller]
fn first_error(ended: &Ended) -> (String, String) {
    let errors = ended.result()["errors"].as_array().cloned().unwrap_or_default();
    let first = errors.first().unwrap_or(&json!({})).clone();
    let word = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    (word("code"), word("message"))
}

/// The findings of a rule.
fn findings<'a>(ended: &'a Ended, rule: &str) -> Vec<&'a Value> {
    ended.events_named("finding_reported").into_iter().filter(|event| event["rule"] == rule).collect()
}

/// The notices of a code.
fn notices<'a>(ended: &'a Ended, code: &str) -> Vec<&'a Value> {
    ended.events_named("noticed").into_iter().filter(|event| event["code"] == code).collect()
}

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let path = path.as_ref();
    path.metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o7777
}
