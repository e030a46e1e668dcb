//! What the runner builds in the host's place (`build: runner`). The host reads the compose model, so it says what; it
//! says nothing of how: the runner checks each path against its own project, and calls its own Docker.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Images that the runner is to build, and what must not be printed meanwhile. Holds secrets, so it prints none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrders {
    /// One for each image.
    pub images: Vec<BuildOrder>,
    /// Values of secrets that build arguments may have, of the host's own variables, too.
    pub hidden: Vec<String>,
}

impl fmt::Debug for BuildOrders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images: Vec<&str> = self.images.iter().map(|order| order.image.as_str()).collect();
        out.debug_struct("BuildOrders").field("images", &images).finish_non_exhaustive()
    }
}

/// One image, as `build:` of a service says it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildOrder {
    /// Services that run it.
    pub services: Vec<String>,
    /// Where it is pushed, with its tag.
    pub image: String,
    /// Path relative to the app's directory, `.` for itself, or the address of a repository.
    pub context: String,
    /// Relative to the context; absent: `Dockerfile`.
    pub dockerfile: Option<String>,
    /// The Dockerfile's text, instead of a file.
    pub dockerfile_inline: Option<String>,
    /// Stage that is built.
    pub target: Option<String>,
    /// `os/architecture` each; empty: the host's.
    pub platforms: Vec<String>,
    /// Values of build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Further contexts by name: a path as `context`, or something that BuildKit knows (`docker-image://…`).
    pub additional_contexts: BTreeMap<String, String>,
    /// Secrets that a `RUN` may mount, by id.
    pub secrets: BTreeMap<String, BuildSecret>,
    /// `NAME:ADDRESS` of further hosts.
    pub extra_hosts: Vec<String>,
    /// Where layers are taken from.
    pub cache_from: Vec<String>,
    /// Where layers are kept.
    pub cache_to: Vec<String>,
    /// SSH agents and keys by id, as BuildKit takes them.
    pub ssh: Vec<String>,
    /// Network of `RUN`.
    pub network: Option<String>,
    /// Size of /dev/shm.
    pub shm_size: Option<String>,
    /// Whether base images are asked for anew.
    pub pull: bool,
    /// Whether nothing is taken from the cache.
    pub no_cache: bool,
}

/// Content of a secret that a build mounts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildSecret {
    /// A file, relative to the app's directory.
    File(String),
    /// The value of a variable.
    Value(String),
}
