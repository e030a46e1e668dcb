//! Reads this machine's Docker engine through its API, on the socket of the CLI's context.
//!
//! Changes go through the `docker` CLI (DESIGN section 6); here everything only looks, except for what
//! `client()` is used for by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, ImageInspect, Network,
};
use bollard::query_parameters::{
    ListContainersOptions, ListNetworksOptions, ListVolumesOptions, LogsOptions,
};
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::process::{self, Command, ProcessError};
use crate::model::{
    ContainerFacts, ContainerState, ErrorKind, FailureReport, HealthState, ImageFacts, labels,
};

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Longest wait for one answer of the engine, in seconds.
const TIMEOUT_S: u64 = 60;

/// Longest wait for the answer that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Nothing listens on the socket.
    #[error("the Docker daemon is not running: nothing answers on {host}")]
    NotRunning {
        /// Address that was tried.
        host: String,
    },
    /// The socket is there, but not for this user.
    #[error("this user may not use Docker: no permission on {host}")]
    Permission {
        /// Address that was tried.
        host: String,
    },
    /// An address of a kind that only the CLI understands.
    #[error("the Docker context points at {host}, which is not this machine's engine")]
    NotLocal {
        /// Address.
        host: String,
    },
    /// The engine answered with an error.
    #[error("Docker failed to {what}: {source}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// The engine's answer.
        source: bollard::errors::Error,
    },
}

impl DockerError {
    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let user = std::env::var("USER").unwrap_or_else(|_| rustix::process::geteuid().as_raw().to_string());
        let group =
            format!("add the user to the group docker: `sudo usermod -aG docker {user}`, and log in again");
        let (code, hint) = match self {
            Self::NotRunning { .. } => {
                ("docker.running", "install Docker Engine, or start it: `sudo systemctl start docker`")
            }
            Self::Permission { .. } => ("docker.permission", group.as_str()),
            Self::NotLocal { .. } => (
                "local.same-host",
                "deploy with `--host` to the machine whose engine it is, or unset DOCKER_HOST",
            ),
            Self::Api { .. } => ("docker.api", "look at the daemon's log: `journalctl -u docker`"),
        };
        FailureReport::new(ErrorKind::DockerError, code, self.to_string()).hint(hint)
    }
}

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Docker's name of it.
    pub name: String,
    /// Where it lies on this machine.
    pub mountpoint: PathBuf,
    /// Its driver.
    pub driver: String,
}

/// What the containers of an engine use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Ids of their images.
    pub images: BTreeSet<String>,
    /// Paths of this machine that they mount.
    pub mounted: Vec<String>,
    /// Compose projects that belong to roots of ours, each with its root.
    pub roots: Vec<(String, PathBuf)>,
}

/// A connection to the engine. Cheap to clone.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    /// The made-up engine of a unit test, instead of the other end of `client`.
    #[cfg(test)]
    world: Option<super::simulated::World>,
}

impl Docker {
    /// Connects to the engine of the CLI's context, and asks whether it is there.
    ///
    /// # Errors
    /// Nothing listens, the user may not, or the context is not a unix socket.
    pub async fn connect() -> Result<Self, DockerError> {
        #[cfg(test)]
        if let Some(world) = super::simulated::world() {
            world.asked()?;
            let client =
                bollard::Docker::connect_with_http("http://127.0.0.1:1", 1, bollard::API_DEFAULT_VERSION);
            return Ok(Self { client: client.map_err(api("connect"))?, world: Some(world) });
        }
        let host = engine_host();
        let Some(path) = host.strip_prefix("unix://") else {
            return Err(DockerError::NotLocal { host });
        };
        may_connect(Path::new(path)).map_err(|source| not_connected(&host, &source))?;
        let client = bollard::Docker::connect_with_unix(path, TIMEOUT_S, bollard::API_DEFAULT_VERSION)
            .map_err(|source| DockerError::Api { what: "connect", source })?;
        client.ping().await.map_err(|_| DockerError::NotRunning { host })?;
        Ok(Self {
            client,
            #[cfg(test)]
            world: None,
        })
    }

    /// Asks whether the engine is there.
    ///
    /// # Errors
    /// It does not answer within 5 s.
    pub async fn answers(&self) -> Result<(), DockerError> {
        #[cfg(test)]
        if let Some(world) = &self.world {
            return world.asked();
        }
        match tokio::time::timeout(PATIENCE, self.client.ping()).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(DockerError::NotRunning { host: engine_host() }),
        }
    }

    /// Returns the connection itself, for the few things that this room does not wrap.
    pub fn client(&self) -> &bollard::Docker {
        &self.client
    }

    /// Returns the containers of a Compose project in every state, without those of `compose run`, and without those that
    /// somebody made of an image that Compose built: such an image hands its labels of project and service on (tried).
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self, project: &str) -> Result<Vec<ContainerFacts>, DockerError> {
        #[cfg(test)]
        if let Some(world) = &self.world {
            return world.asked().map(|()| world.containers(project));
        }
        let label = format!("{}={project}", labels::COMPOSE_PROJECT);
        let found = self.list(Some(label)).await?;
        Ok(found
            .into_iter()
            .filter(|c| c.labels.get(labels::COMPOSE_ONEOFF).is_some_and(|v| v != "True"))
            .collect())
    }

    /// Returns every container of the engine.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn all_containers(&self) -> Result<Vec<ContainerFacts>, DockerError> {
        #[cfg(test)]
        if let Some(world) = &self.world {
            return world.asked().map(|()| world.all_containers());
        }
        self.list(None).await
    }

    async fn list(&self, label: Option<String>) -> Result<Vec<ContainerFacts>, DockerError> {
        let filters = label.map(|label| HashMap::from([("label".to_owned(), vec![label])]));
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let found = self.client.list_containers(Some(options)).await.map_err(api("list containers"))?;
        let ids = found.into_iter().filter_map(|summary| summary.id);
        let facts = futures_util::stream::iter(ids)
            .map(|id| async move { self.inspect(&id).await })
            .buffered(8)
            .try_collect::<Vec<_>>()
            .await?;
        let mut facts: Vec<_> = facts.into_iter().flatten().collect();
        facts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(facts)
    }

    /// Returns one container, or nothing when there is none of that id or name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn inspect(&self, id: &str) -> Result<Option<ContainerFacts>, DockerError> {
        let found = self.client.inspect_container(id, None).await;
        Ok(found_or_none(found).map_err(api("inspect a container"))?.map(container_facts))
    }

    /// Returns the last lines of a container's log, both streams, oldest first, as they are (not made harmless).
    ///
    /// # Errors
    /// The engine does not answer, or the log driver cannot be read.
    pub async fn logs(&self, id: &str, tail: usize) -> Result<Vec<String>, DockerError> {
        #[cfg(test)]
        if self.world.is_some() {
            return Ok(Vec::new());
        }
        let options =
            LogsOptions { stdout: true, stderr: true, tail: tail.to_string(), ..Default::default() };
        let mut chunks = self.client.logs(id, Some(options));
        let mut text = Vec::new();
        // The connection's own limit ends with the first byte; what has come until then is what there is.
        let limit = Duration::from_secs(TIMEOUT_S);
        while let Ok(Some(chunk)) = tokio::time::timeout(limit, chunks.next()).await {
            text.extend_from_slice(&bytes_of(chunk.map_err(api("read a container's log"))?));
        }
        let lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        Ok(lines[lines.len().saturating_sub(tail)..].to_vec())
    }

    /// Returns an image by reference or id, or nothing when it is not on this machine.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, DockerError> {
        #[cfg(test)]
        if let Some(world) = &self.world {
            return world.asked().map(|()| world.image(reference));
        }
        let found = self.client.inspect_image(reference).await;
        Ok(found_or_none(found).map_err(api("inspect an image"))?.map(image_facts))
    }

    /// Returns a volume, or nothing when there is none of that name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn volume(&self, name: &str) -> Result<Option<VolumeFacts>, DockerError> {
        let found = self.client.inspect_volume(name).await;
        Ok(found_or_none(found).map_err(api("inspect a volume"))?.map(|volume| VolumeFacts {
            name: volume.name,
            mountpoint: PathBuf::from(volume.mountpoint),
            driver: volume.driver,
        }))
    }

    /// Returns what the containers of the whole engine use, those that do not run included.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn in_use(&self) -> Result<InUse, DockerError> {
        #[cfg(test)]
        if let Some(world) = &self.world {
            return world.asked().map(|()| world.in_use());
        }
        let options = ListContainersOptions { all: true, ..Default::default() };
        let found = self.client.list_containers(Some(options)).await.map_err(api("list containers"))?;
        let mut used = InUse::default();
        for container in found {
            used.images.extend(container.image_id);
            let mut labels = container.labels.unwrap_or_default();
            let (project, root) = (labels.remove(labels::COMPOSE_PROJECT), labels.remove(labels::ROOT));
            used.roots.extend(project.zip(root.map(PathBuf::from)));
            let mounts = container.mounts.unwrap_or_default().into_iter();
            used.mounted.extend(mounts.filter_map(|mount| mount.source));
        }
        Ok(used)
    }

    /// Returns the names of images that begin with `prefix`, a repository's path up to a `/`, with the ids of the images.
    /// Asked by the CLI, one line for each: the API's list would bring everything that there is to know of images.
    ///
    /// # Errors
    /// The CLI fails, or the engine does not answer it.
    pub async fn tags(&self, prefix: &str) -> Result<BTreeMap<String, String>, ProcessError> {
        #[cfg(test)]
        if let Some(world) = &self.world {
            return Ok(world.tags(prefix));
        }
        let list = ["image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", "--filter"];
        let command = Command::new("docker").args(list).arg(format!("reference={prefix}*"));
        let listed = process::output(&command.deadline(Duration::from_secs(TIMEOUT_S))).await?;
        let tags = listed.lines().filter_map(|line| line.split_once(' '));
        let tags = tags.filter(|(tag, _)| tag.starts_with(prefix) && !tag.ends_with(":<none>"));
        Ok(tags.map(|(tag, id)| (tag.to_owned(), id.to_owned())).collect())
    }

    /// Returns the names of the volumes that Compose made for a project.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn volumes(&self, project: &str) -> Result<Vec<String>, DockerError> {
        let label = format!("{}={project}", labels::COMPOSE_PROJECT);
        let filters = Some(HashMap::from([("label".to_owned(), vec![label])]));
        let found = self
            .client
            .list_volumes(Some(ListVolumesOptions { filters }))
            .await
            .map_err(api("list volumes"))?;
        let mut names: Vec<String> = found.volumes.unwrap_or_default().into_iter().map(|v| v.name).collect();
        names.sort();
        Ok(names)
    }

    /// Returns the names of all networks.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn networks(&self) -> Result<Vec<String>, DockerError> {
        let found =
            self.client.list_networks(None::<ListNetworksOptions>).await.map_err(api("list networks"))?;
        Ok(found.into_iter().filter_map(|network: Network| network.name).collect())
    }
}

/// How many questions nobody answered, in this process.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// Returns how many questions nobody answered so far: the daemon was away when that number has grown.
pub fn unanswered() -> u64 {
    #[cfg(test)]
    if let Some(world) = super::simulated::world() {
        return world.unanswered();
    }
    UNANSWERED.load(Ordering::Relaxed)
}

fn api(what: &'static str) -> impl Fn(bollard::errors::Error) -> DockerError {
    move |source| {
        if !matches!(source, bollard::errors::Error::DockerResponseServerError { .. }) {
            UNANSWERED.fetch_add(1, Ordering::Relaxed);
        }
        DockerError::Api { what, source }
    }
}

/// Makes the engine's 404 an ordinary answer.
fn found_or_none<T>(answer: Result<T, bollard::errors::Error>) -> Result<Option<T>, bollard::errors::Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// bollard checks only whether the socket exists; whether it answers, and for whom, is asked here.
fn may_connect(socket: &Path) -> std::io::Result<()> {
    std::os::unix::net::UnixStream::connect(socket).map(drop)
}

fn not_connected(host: &str, source: &std::io::Error) -> DockerError {
    let host = host.to_owned();
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => DockerError::Permission { host },
        _ => DockerError::NotRunning { host },
    }
}

/// Returns the address of the engine as the CLI would choose it: DOCKER_HOST, else the context, else the default.
/// Source: Docker's documentation of `docker context`; metadata lies in `contexts/meta/<sha256 of the name>`.
fn engine_host() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(host) = variable("DOCKER_HOST") {
        return host;
    }
    let config = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")))
        .unwrap_or_default();
    let context = variable("DOCKER_CONTEXT").or_else(|| {
        let settings = read_json(&config.join("config.json"))?;
        settings.get("currentContext")?.as_str().map(str::to_owned)
    });
    context.and_then(|name| context_host(&config, &name)).unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

fn context_host(config: &Path, name: &str) -> Option<String> {
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    let meta = read_json(&config.join("contexts/meta").join(digest).join("meta.json"))?;
    meta.pointer("/Endpoints/docker/Host")?.as_str().map(str::to_owned)
}

fn read_json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn bytes_of(chunk: LogOutput) -> Vec<u8> {
    match chunk {
        LogOutput::StdErr { message }
        | LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => message.to_vec(),
    }
}

fn container_facts(found: ContainerInspectResponse) -> ContainerFacts {
    let state = found.state.unwrap_or_default();
    let labels: BTreeMap<String, String> =
        found.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect();
    let health = state.health.unwrap_or_default();
    let last_probe = health.log.as_ref().and_then(|log| log.last());
    ContainerFacts {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        service: labels.get(labels::COMPOSE_SERVICE).cloned().unwrap_or_default(),
        state: container_state(state.status),
        health: health_state(health.status),
        // A container that waits for its restart counts as running for Docker, with the exit code of before.
        exit_code: state.exit_code.filter(|_| state.running != Some(true) || state.restarting == Some(true)),
        restart_count: found.restart_count.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        health_output: last_probe.and_then(|probe| probe.output.clone()),
        labels,
    }
}

fn container_state(status: Option<ContainerStateStatusEnum>) -> ContainerState {
    match status {
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::STOPPING) => {
            ContainerState::Removing
        }
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            ContainerState::Created
        }
    }
}

fn health_state(status: Option<HealthStatusEnum>) -> HealthState {
    match status {
        Some(HealthStatusEnum::STARTING) => HealthState::Starting,
        Some(HealthStatusEnum::HEALTHY) => HealthState::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => HealthState::Unhealthy,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => HealthState::None,
    }
}

fn image_facts(found: ImageInspect) -> ImageFacts {
    let platform = [found.os, found.architecture].map(Option::unwrap_or_default).join("/");
    ImageFacts {
        id: found.id.unwrap_or_default(),
        platform,
        repo_digests: found.repo_digests.unwrap_or_default(),
        size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        user: found.config.and_then(|config| config.user).unwrap_or_default(),
    }
}
