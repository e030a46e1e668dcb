//! What Docker says of containers and images, reduced to what decisions need.

use serde::{Deserialize, Serialize};

/// Docker's word for what a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Stopped by `docker pause`.
    Paused,
    /// Exited, and about to be started again by its restart policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed.
    Dead,
}

/// Docker's answer to a container's own healthcheck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// There is no healthcheck.
    None,
    /// Not yet known.
    Starting,
    /// The last probe passed.
    Healthy,
    /// `retries` probes in a row failed.
    Unhealthy,
}

/// One container of a Compose project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Label `com.docker.compose.service`.
    pub service: String,
    /// What it does.
    pub state: ContainerState,
    /// What its healthcheck says.
    pub health: HealthState,
    /// Exit code, when it has ended.
    pub exit_code: Option<i64>,
    /// How often Docker restarted it.
    pub restart_count: i64,
    /// When it started, as Docker says it (RFC 3339).
    pub started_at: String,
    /// Id of its image (`sha256:…`).
    pub image_id: String,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// The healthcheck's last output, when there is one.
    pub health_output: Option<String>,
    /// All labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// One image on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Id (`sha256:…`).
    pub id: String,
    /// `os/architecture`.
    pub platform: String,
    /// Digests under which registries know it.
    pub repo_digests: Vec<String>,
    /// Size on disk.
    pub size_bytes: u64,
    /// The image's USER, empty for root.
    pub user: String,
}
