//! The compose model as `docker compose config --format json` renders it, reduced to what decisions need.
//!
//! Enter by [`ComposeModel::from_json`]. Only active services are in it, paths are absolute, variables are filled in
//! and env files are merged into `environment`: so it holds secrets, and no part of it prints values.
//! What this does not name stays in [`ComposeModel::raw`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A whole application: the services of the active profiles, and what they use.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct ComposeModel {
    /// Name of the project.
    pub name: String,
    /// Active services by name.
    #[serde(deserialize_with = "null_is_default")]
    pub services: BTreeMap<String, Service>,
    /// Volumes that active services use, by their key in the file.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, VolumeDef>,
    /// Networks that active services use, by their key in the file.
    #[serde(deserialize_with = "null_is_default")]
    pub networks: BTreeMap<String, NetworkDef>,
    /// Configs that active services use, by their key in the file.
    #[serde(deserialize_with = "null_is_default")]
    pub configs: BTreeMap<String, FileDef>,
    /// Secrets that active services use, by their key in the file.
    #[serde(deserialize_with = "null_is_default")]
    pub secrets: BTreeMap<String, FileDef>,
    /// Variables that Compose looked for, found nowhere, and took as empty. Not part of the JSON: it says so on stderr.
    #[serde(skip)]
    pub unset_variables: BTreeSet<String>,
    /// The whole document, for digests. Holds secrets. A `$` stands for itself: double it before Compose reads it again.
    #[serde(skip)]
    pub raw: Value,
}

impl ComposeModel {
    /// Returns the model of what `docker compose config --format json` printed, `$$` already made `$`.
    ///
    /// # Errors
    /// It is not JSON, or not of this shape. The error may quote a value of the text: do not show it.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let raw: Value = serde_json::from_str(text)?;
        let mut model = Self::deserialize(&raw)?;
        model.raw = raw;
        Ok(model)
    }

    /// Returns whether a service runs once and ends (DESIGN section 6): it [is declared
    /// so](Self::is_declared_one_shot), or has restart `no` or `on-failure` and neither ports nor a healthcheck.
    pub fn is_one_shot(&self, service: &str, named: &[String]) -> bool {
        self.is_declared_one_shot(service, named)
            || self.services.get(service).is_some_and(|found| {
                matches!(found.restart_policy(), RestartPolicy::No | RestartPolicy::OnFailure)
                    && found.ports.is_empty()
                    && found.healthcheck != Healthcheck::Present
            })
    }

    /// Returns whether somebody wrote that a service runs once: another waits for its successful end, or the app
    /// names it in `named`.
    pub fn is_declared_one_shot(&self, service: &str, named: &[String]) -> bool {
        let mut waits = self.services.values().filter_map(|other| other.depends_on.get(service));
        waits.any(|wait| wait.condition == Condition::CompletedSuccessfully)
            || named.iter().any(|name| name == service)
    }

    /// Returns the services that have `build:`, by name.
    pub fn built(&self) -> impl Iterator<Item = (&str, &Build)> {
        self.services.iter().filter_map(|(name, service)| Some((name.as_str(), service.build.as_ref()?)))
    }
}

impl fmt::Debug for ComposeModel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.services.keys().collect();
        out.debug_struct("ComposeModel").field("name", &self.name).field("services", &services).finish()
    }
}

/// One service.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Image; absent: Compose names what it builds `<project>-<service>`.
    pub image: Option<String>,
    /// How the image is built, when it is.
    pub build: Option<Build>,
    /// Profiles in which it is active; empty: always.
    #[serde(deserialize_with = "null_is_default")]
    pub profiles: Vec<String>,
    /// Ports of it that the host publishes.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<Port>,
    /// What is mounted into it.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: Vec<Mount>,
    /// Its environment, env files included; no value: taken from Compose's own environment, where there is one.
    #[serde(deserialize_with = "environment")]
    pub environment: BTreeMap<String, Option<String>>,
    /// What the compose file says of its health; the image may say something, too.
    #[serde(deserialize_with = "healthcheck")]
    pub healthcheck: Healthcheck,
    /// `restart:` as written; see [`Service::restart_policy`].
    pub restart: Option<String>,
    /// `deploy:`, where it is used outside a swarm.
    pub deploy: Option<Deploy>,
    /// Number of containers, as written; see [`Service::replicas`].
    pub scale: Option<u32>,
    /// Services that must be there first, by name.
    #[serde(deserialize_with = "null_is_default")]
    pub depends_on: BTreeMap<String, Dependency>,
    /// A fixed name for its only container.
    pub container_name: Option<String>,
    /// Configs that are mounted into it.
    #[serde(deserialize_with = "null_is_default")]
    pub configs: Vec<FileUse>,
    /// Secrets that are mounted into it.
    #[serde(deserialize_with = "null_is_default")]
    pub secrets: Vec<FileUse>,
    /// Labels of its containers.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// User that it runs as; absent: the image's.
    pub user: Option<String>,
    /// `host`, `none`, `service:…`, `container:…`; absent: networks of the project.
    pub network_mode: Option<String>,
    /// Keys of the networks that it is in.
    #[serde(deserialize_with = "keys")]
    pub networks: Vec<String>,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Service").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Service {
    /// Returns how many containers it has: `scale`, else `deploy.replicas`, else 1.
    pub fn replicas(&self) -> u32 {
        self.scale.or_else(|| self.deploy.as_ref()?.replicas).unwrap_or(1)
    }

    /// Returns what Docker does when it ends: `deploy.restart_policy` beats `restart`, and nothing written means `no`.
    pub fn restart_policy(&self) -> RestartPolicy {
        let deployed = self.deploy.as_ref().and_then(|deploy| deploy.restart_policy.as_ref());
        match deployed {
            Some(policy) => RestartPolicy::of(policy.condition.as_deref().unwrap_or("any")),
            None => RestartPolicy::of(self.restart.as_deref().unwrap_or("no")),
        }
    }
}

/// What Docker does when a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    No,
    /// Starts it again after an exit code other than 0.
    OnFailure,
    /// Starts it again.
    Always,
    /// Starts it again, unless somebody stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    fn of(word: &str) -> Self {
        match word.split(':').next().unwrap_or_default() {
            "" | "no" | "none" => Self::No,
            "on-failure" => Self::OnFailure,
            "unless-stopped" => Self::UnlessStopped,
            _ => Self::Always,
        }
    }
}

/// What the compose file says of a service's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Healthcheck {
    /// Nothing: the image's own healthcheck counts, if it has one.
    #[default]
    Absent,
    /// The image's own is switched off.
    Disabled,
    /// There is one.
    Present,
}

/// How an image is built. Names of arguments only: their values may be secrets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Build {
    /// Absolute directory, or the address of a repository.
    pub context: String,
    /// Relative to the context; absent: `Dockerfile`.
    pub dockerfile: Option<String>,
    /// The Dockerfile's text, instead of a file.
    pub dockerfile_inline: Option<String>,
    /// Stage that is built.
    pub target: Option<String>,
    /// Names of build arguments.
    #[serde(deserialize_with = "keys")]
    pub args: Vec<String>,
}

impl Build {
    /// Returns the Dockerfile's path, or nothing when it is written inline or the context is not on this machine.
    pub fn dockerfile_path(&self) -> Option<PathBuf> {
        let local = self.context.starts_with('/') && self.dockerfile_inline.is_none();
        let name = self.dockerfile.as_deref().unwrap_or("Dockerfile");
        local.then(|| PathBuf::from(&self.context).join(name))
    }
}

/// One published port, or a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Port {
    /// Port inside the container.
    pub target: u16,
    /// Port of the host; absent: Docker takes a free one.
    #[serde(deserialize_with = "published")]
    pub published: Option<PortRange>,
    /// Address of the host; absent: all.
    pub host_ip: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Option<String>,
}

impl Port {
    /// Returns whether it is a UDP port.
    pub fn is_udp(&self) -> bool {
        self.protocol.as_deref() == Some("udp")
    }

    /// Returns whether it is TCP, which is what nothing written means.
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "tcp")
    }
}

/// Ports from `first` to `last`, both included; of several, Docker takes a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port; often the first.
    pub last: u16,
}

/// What is mounted into a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Of which kind.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Absolute path for a bind, key of [`ComposeModel::volumes`] for a volume; absent: an anonymous volume.
    pub source: Option<String>,
    /// Path inside the container.
    pub target: String,
    /// Whether the container may only read.
    pub read_only: bool,
    /// Settings of a bind.
    pub bind: Option<BindOptions>,
}

impl Mount {
    /// Returns whether Docker makes a directory of a missing source (the short form of `volumes:` says so).
    pub fn create_host_path(&self) -> bool {
        self.bind.as_ref().is_some_and(|bind| bind.create_host_path)
    }

    /// Returns the path on the host, for a bind.
    pub fn bind_source(&self) -> Option<&str> {
        self.source.as_deref().filter(|_| self.kind == MountKind::Bind)
    }
}

/// Settings of a bind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// Whether Docker makes a directory of a missing source.
    pub create_host_path: bool,
}

/// Kind of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// Something else, such as `npipe` or `cluster`.
    #[serde(other)]
    Other,
}

/// `deploy:`, where it is used outside a swarm.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// Number of containers.
    pub replicas: Option<u32>,
    /// What Docker does when it ends.
    pub restart_policy: Option<DeployRestart>,
}

/// `deploy.restart_policy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeployRestart {
    /// `none`, `on-failure` or `any`.
    pub condition: Option<String>,
}

/// What a service waits for.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Dependency {
    /// What must have happened.
    #[serde(default)]
    pub condition: Condition,
    /// Whether it must be there at all.
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether a change of it restarts the service.
    #[serde(default)]
    pub restart: bool,
}

/// What must have happened to a dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Condition {
    /// It is healthy.
    #[serde(rename = "service_healthy")]
    Healthy,
    /// It has ended with exit code 0.
    #[serde(rename = "service_completed_successfully")]
    CompletedSuccessfully,
    /// It has been started.
    #[default]
    #[serde(other, rename = "service_started")]
    Started,
}

/// A config or a secret of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FileDef {
    /// Docker's name of it.
    pub name: Option<String>,
    /// Absolute path of the file that is mounted.
    pub file: Option<String>,
    /// Variable of Compose's environment that is mounted as a file.
    pub environment: Option<String>,
    /// Whether it must exist in a swarm.
    #[serde(deserialize_with = "external")]
    pub external: bool,
}

/// Where a service uses a config or a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FileUse {
    /// Key of [`ComposeModel::configs`] or [`ComposeModel::secrets`].
    pub source: String,
    /// Path inside the container.
    pub target: Option<String>,
    /// Permission bits there.
    pub mode: Option<u32>,
    /// Owner there.
    pub uid: Option<String>,
    /// Group there.
    pub gid: Option<String>,
}

/// A volume of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeDef {
    /// Docker's name of it.
    pub name: Option<String>,
    /// Whether it must exist already.
    #[serde(deserialize_with = "external")]
    pub external: bool,
}

/// A network of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NetworkDef {
    /// Docker's name of it.
    pub name: Option<String>,
    /// Whether it must exist already.
    #[serde(deserialize_with = "external")]
    pub external: bool,
}

fn yes() -> bool {
    true
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Keys of a map, or the items of a list, without their values.
fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Map(BTreeMap<String, IgnoredAny>),
        List(Vec<String>),
    }
    let name = |item: String| item.split_once('=').map_or(item.clone(), |(name, _)| name.to_owned());
    Ok(match Option::deserialize(from)? {
        Some(Either::Map(map)) => map.into_keys().collect(),
        Some(Either::List(items)) => items.into_iter().map(name).collect(),
        None => Vec::new(),
    })
}

/// Values are strings in what Compose prints; older releases let numbers and booleans through.
fn environment<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    let found: Option<BTreeMap<String, Value>> = Option::deserialize(from)?;
    let text = |value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(found.unwrap_or_default().into_iter().map(|(name, value)| (name, text(value))).collect())
}

fn healthcheck<'de, D: Deserializer<'de>>(from: D) -> Result<Healthcheck, D::Error> {
    let Some(found) = Option::<Value>::deserialize(from)? else { return Ok(Healthcheck::Absent) };
    let none = |test: &Value| test == "NONE" || test.get(0).is_some_and(|word| word == "NONE");
    Ok(if found.get("disable") == Some(&Value::Bool(true)) || found.get("test").is_some_and(none) {
        Healthcheck::Disabled
    } else if found.get("test").is_some_and(|test| !test.is_null()) {
        Healthcheck::Present
    } else {
        // Only the pace of the image's own healthcheck is set.
        Healthcheck::Absent
    })
}

/// `"8000"`, `"8000-8010"`, `8000`, or nothing.
fn published<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PortRange>, D::Error> {
    let text = match Option::<Value>::deserialize(from)? {
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        _ => return Ok(None),
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let range = first.parse().ok().zip(last.parse().ok());
    Ok(range.filter(|(first, _): &(u16, u16)| *first != 0).map(|(first, last)| PortRange { first, last }))
}

/// `true`, or the old form `{name: …}`.
fn external<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(match Option::<Value>::deserialize(from)? {
        Some(Value::Bool(external)) => external,
        Some(Value::Object(_)) => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Compose 2.26.1 printed for a file with every form that is read here (shortened).
    const RENDERED: &str = include_str!("compose_rendered.json");

    fn rendered() -> ComposeModel {
        ComposeModel::from_json(RENDERED).unwrap()
    }

    #[test]
    fn what_compose_prints_is_read() {
        let model = rendered();
        let backend = &model.services["backend"];
        assert_eq!(model.name, "p1");
        assert_eq!(backend.replicas(), 2);
        assert_eq!(backend.restart_policy(), RestartPolicy::Always);
        assert_eq!(backend.environment["B"], None);
        assert_eq!(backend.build.as_ref().unwrap().args, ["VERSION"]);
        assert_eq!(
            backend.build.as_ref().unwrap().dockerfile_path(),
            Some(PathBuf::from("/srv/a/Dockerfile.backend"))
        );
        assert_eq!(backend.ports[0].published, Some(PortRange { first: 8000, last: 8010 }));
        assert!(!backend.ports[1].is_tcp());
        assert_eq!(backend.ports[2].published, None);
        assert!(backend.volumes[0].create_host_path());
        assert!(!backend.volumes[5].create_host_path());
        assert_eq!(backend.volumes[4].kind, MountKind::Tmpfs);
        assert_eq!(backend.secrets[0].source, "tok");
        assert!(model.networks["ext"].external);
        assert_eq!(model.secrets["tok"].file.as_deref(), Some("/srv/a/tok.txt"));
        assert_eq!(model.services["db"].healthcheck, Healthcheck::Disabled);
        assert_eq!(model.raw["services"]["db"]["container_name"], "thedb");
    }

    #[test]
    fn a_one_shot_service_is_waited_for_named_or_has_nothing_to_offer() {
        let model = rendered();
        assert!(model.is_one_shot("migrate", &[]));
        assert!(!model.is_one_shot("backend", &[]));
        assert!(model.is_one_shot("backend", &["backend".to_owned()]));
        assert!(model.is_one_shot("self", &[]), "a missing restart means no");
        assert!(!model.is_one_shot("nobody", &[]));
    }

    #[test]
    fn no_value_of_the_environment_is_printed() {
        let model = rendered();
        let shown = format!("{model:?} {:?}", model.services["backend"]);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn nulls_and_unknown_fields_are_no_reason_to_fail() {
        let model = ComposeModel::from_json(
            r#"{"services": {"a": {"ports": null, "environment": null, "new": [1], "healthcheck": null}}, "volumes": null}"#,
        );
        assert_eq!(model.unwrap().services["a"].healthcheck, Healthcheck::Absent);
    }
}
