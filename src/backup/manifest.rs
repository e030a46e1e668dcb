//! The manifest that lies beside each archive: whose it is, what is in it, and what it must read back as.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{AppName, ArchiveFormat, DeploymentId, EnvironmentName};

/// Version of the manifest's format.
pub const MANIFEST_SCHEMA: u32 = 1;

/// `<archive>.json`. It is not inside the archive too, so that `tar x` puts nothing of ours into a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Version of this format; 1.
    pub schema: u32,
    /// Whose it is.
    pub app: AppName,
    /// Whose it is.
    pub environment: EnvironmentName,
    /// The deployment before which it was taken.
    pub deployment_id: DeploymentId,
    /// When it was begun.
    pub created_at: Timestamp,
    /// How it is compressed.
    pub format: ArchiveFormat,
    /// SHA-256 of the archive, lower-case hex, re-read from disk.
    pub sha256: String,
    /// Size of the archive.
    pub size_bytes: u64,
    /// Entries of every kind.
    pub entries: u64,
    /// Bytes of content before compression.
    pub uncompressed_bytes: u64,
    /// What is in it.
    pub includes: Vec<Included>,
    /// What was asked for and was not there.
    pub missing: Vec<String>,
    /// How long it was meant to be kept when it was taken.
    pub retention_days: u32,
    /// Version of the program that took it.
    pub tool_version: String,
}

/// One path or volume of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Included {
    /// What it is.
    pub kind: IncludedKind,
    /// The path relative to the base, directories with a slash at the end; or the volume as the compose file calls it.
    pub name: String,
    /// Entries that are no directories.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// What an [`Included`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncludedKind {
    /// A file or a directory.
    Path,
    /// A named volume.
    Volume,
}

impl Included {
    /// Returns where it lies in the archive.
    pub fn place(&self) -> String {
        match self.kind {
            IncludedKind::Path => self.name.clone(),
            IncludedKind::Volume => format!("volumes/{}/", self.name),
        }
    }
}

/// Returns where the manifest of an archive lies.
pub(super) fn path_of(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".json");
    name.into()
}
