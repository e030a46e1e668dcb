//! Takes the backup that a rollback may need, and proves that it can be read back.
//!
//! Runs between `building` and `deploying`, and for the verb `backup`. [`take`] is the only entry that writes: it
//! returns a [`Backup`] whose digest was re-read from disk, or a [`BackupError`]; [`list`] shows what is there.
//! Does not know stages, reporters, executors.

mod archive;
mod error;
mod list;
mod manifest;
mod members;
mod meter;
mod paths;
mod plan;
mod prune;
mod relay;
mod reread;
mod store;
mod take;
#[cfg(test)]
mod tests;
mod tree;
mod volume;
mod walk;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::docker::Docker;
use crate::model::{AppName, ArchiveFormat, DeploymentId, EnvironmentName, Finding};

pub use error::BackupError;
pub use list::{Listed, list};
pub use manifest::{BackupManifest, Included, IncludedKind, MANIFEST_SCHEMA};
pub use paths::default_paths;
pub use prune::{Pruned, prune, surplus};
pub use take::take;

/// Takes away what a backup left whose process was killed: half an archive, and the container it read through.
pub async fn sweep(docker: &Docker, project: &str, directory: &Path) {
    store::sweep(directory);
    volume::remove_leftovers(docker, project).await;
}

/// What is to be saved, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The app, for the manifest.
    pub app: &'a AppName,
    /// The environment, for the manifest.
    pub environment: &'a EnvironmentName,
    /// The deployment that asks, for the manifest.
    pub deployment_id: &'a DeploymentId,
    /// Compose project name: helper containers that a lost run of it left behind are removed.
    pub project: &'a str,
    /// What `paths` are relative to: in place the app's directory, on a root its `shared/`; absolute.
    pub base: &'a Path,
    /// Files and directories below `base`; `.` is everything in it. Never includes `directory` or `.ffe-deploy`.
    pub paths: &'a [String],
    /// Whether `paths` were written by somebody: then a missing one is an error, else it is left out and named.
    pub explicit: bool,
    /// Named volumes; one that does not exist yet is left out and named.
    pub volumes: &'a [VolumeSource],
    /// Where archives lie: `<root>/backups` or `<path>/backups`; made with mode 0700 when it is missing.
    pub directory: &'a Path,
    /// Compression of the archive.
    pub format: ArchiveFormat,
    /// How long it is meant to be kept, for the manifest (R001-57: 7 days).
    pub retention_days: u32,
}

/// A named volume to save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSource {
    /// As the compose file calls it; its place in the archive is `volumes/<key>/`.
    pub key: String,
    /// As Docker calls it.
    pub name: String,
    /// Id of an image on this host, for a helper container that is created and never started; absent: any.
    pub image_hint: Option<String>,
    /// Whether a running service has it mounted: it is saved all the same, with warning `backup.live`.
    pub in_use: bool,
}

/// A backup that was re-read from disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The archive; its manifest lies beside it, `<archive>.json`.
    pub path: PathBuf,
    /// Size of the archive.
    pub size_bytes: u64,
    /// SHA-256 of the archive in lower-case hex, computed from the re-read bytes.
    pub sha256: String,
    /// What is in it: `data/`, `.env.production`, `volumes/ffe-data/`.
    pub includes: Vec<String>,
    /// What was asked for and is not there.
    pub missing: Vec<String>,
    /// `backup.live` for the volume of a running service, `backup.changed` for files that changed while they were
    /// read, `backup.skipped` for what cannot be archived, `backup.symlink` for a path of which only the link is saved.
    pub warnings: Vec<Finding>,
    /// How long it took, reading back included.
    pub took: Duration,
}

/// How far a backup has come; told about twice a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of content so far, uncompressed.
    pub done_bytes: u64,
    /// Bytes in all, when they are known: what only the daemon can read is not counted.
    pub total_bytes: Option<u64>,
}

/// The two halves of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Content is read and written to the archive.
    Writing,
    /// The archive is read back from disk.
    Rereading,
}
