//! What goes live: immutable, and whole enough to be put back without the runner, a registry or git.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{App, EntryKind, ReleaseId};

/// `release.json` in the release's directory. Holds no secret: values rest in `env` beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Version of this format; 1.
    pub schema: u32,
    /// Id of the deployment that first brought it.
    pub id: ReleaseId,
    /// Label given by the job, or `git describe`.
    pub version: String,
    /// Commit of the project that it was made of, when git knew one; absent where git knew none.
    #[serde(default)]
    pub commit: Option<String>,
    /// Digest of everything that makes it: model, files, environment, build inputs, image ids.
    pub digest: String,
    /// Digest of what the job gave, known before anything is pulled or built.
    pub inputs_digest: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it came to be.
    pub source: ReleaseSource,
    /// The app as it was configured then (R002-30).
    pub app: App,
    /// Compose project name.
    pub project: String,
    /// Images by service.
    pub images: BTreeMap<String, PinnedImage>,
    /// Services of the model, in its order.
    pub services: Vec<String>,
    /// Digests of the bundle's files by path: SHA-256 in hex, or the target of a symlink.
    pub files: BTreeMap<String, EntryKind>,
    /// Content-addressed files that its containers mount: digest by path in the project.
    pub blobs: BTreeMap<String, String>,
    /// Digest of each service's build inputs.
    #[serde(default)]
    pub build_inputs: BTreeMap<String, String>,
    /// Names of its variables; the values are in `env`.
    pub variables: Vec<String>,
    /// Which of them are secrets.
    pub secrets: Vec<String>,
    /// Where it came from, when it ran before us.
    #[serde(default)]
    pub adopted: Option<Adopted>,
}

impl Release {
    /// Returns whether a job of this version with these files would bring it again, as far as can be said before anything
    /// is made ready.
    pub fn seems(&self, version: &str, files: &BTreeMap<String, EntryKind>) -> bool {
        self.version == version && self.files == *files
    }
}

/// Where an adopted release came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Directory from which its relative paths are meant.
    pub project_dir: PathBuf,
    /// Its compose files then; copies are in `app/`.
    pub files: Vec<PathBuf>,
    /// Its env file then; a copy is `env`.
    pub env_file: Option<PathBuf>,
}

/// How a release came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseSource {
    /// Deployed by us.
    Deployed,
    /// Recorded from what ran before us (`--adopt`).
    Adopted,
}

/// The image of one service, pinned by a tag of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// What the compose file says, or the name Compose gives to what it builds.
    pub reference: String,
    /// Image id (`sha256:…`).
    pub id: String,
    /// Our tag, `ffe-deploy/<project>/<service>:<12 hex of the id>`.
    pub pin: String,
    /// Digest in its registry, when it came from one.
    pub repo_digest: Option<String>,
    /// `os/architecture`.
    pub platform: String,
    /// Whether it was built here.
    pub built: bool,
    /// Size on disk.
    pub size_bytes: u64,
    /// The image's USER, empty for root.
    pub user: String,
}
