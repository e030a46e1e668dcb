//! Shows the archives of one app and environment.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Serialize;

use super::manifest::{BackupManifest, MANIFEST_SCHEMA, path_of};
use super::{BackupError, store};
use crate::model::{AppName, ArchiveFormat, EnvironmentName};

/// Longest manifest that is read.
const LONGEST_MANIFEST: u64 = 16 << 20;

/// One archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Where it lies.
    pub path: PathBuf,
    /// When it was begun: by its manifest, else by its name; UTC.
    pub created_at: Option<Timestamp>,
    /// Its size on disk.
    pub size_bytes: u64,
    /// How it is compressed, by its name.
    pub format: ArchiveFormat,
    /// What is in it, by its manifest.
    pub includes: Vec<String>,
    /// Whether a manifest says that it is of this app and environment; without one nobody can say.
    pub is_ours: bool,
    /// Whether a manifest names this app and environment, and the archive's size is the one it names.
    pub manifest_ok: bool,
    /// What is wrong with the manifest, when something is.
    pub note: Option<String>,
}

/// Returns the archives whose manifest names this app and environment, and those without a readable manifest with a
/// note; newest first. A directory that does not exist holds none. Does not read the archives themselves.
///
/// # Errors
/// The directory cannot be read.
pub fn list(
    directory: &Path,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Vec<Listed>, BackupError> {
    let failed = |source| BackupError::List { directory: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut listed = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        listed.extend(listed_one(path, app, environment));
    }
    listed.sort_by(|a, b| (b.created_at, &b.path).cmp(&(a.created_at, &a.path)));
    Ok(listed)
}

fn listed_one(path: PathBuf, app: &AppName, environment: &EnvironmentName) -> Option<Listed> {
    let name = path.file_name()?.to_str()?.to_owned();
    let format = [ArchiveFormat::Zstd, ArchiveFormat::Gzip]
        .into_iter()
        .find(|format| name.ends_with(store::extension(*format)))?;
    let stamp = name.strip_prefix(store::PREFIX)?.strip_suffix(store::extension(format))?;
    let found = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    let size_bytes = found.len();
    let mut listed = Listed {
        created_at: time_of(stamp),
        size_bytes,
        format,
        includes: Vec::new(),
        is_ours: false,
        manifest_ok: false,
        note: None,
        path,
    };
    match read_manifest(&path_of(&listed.path)) {
        Ok(manifest) if manifest.app != *app || manifest.environment != *environment => return None,
        Ok(manifest) => {
            listed.is_ours = true;
            listed.created_at = Some(manifest.created_at);
            listed.includes = manifest.includes.iter().map(super::Included::place).collect();
            listed.manifest_ok = manifest.size_bytes == size_bytes;
            listed.note = (!listed.manifest_ok).then(|| {
                format!("its manifest says {} bytes, the archive has {size_bytes}", manifest.size_bytes)
            });
        }
        Err(note) => listed.note = Some(note),
    }
    Some(listed)
}

fn time_of(stamp: &str) -> Option<Timestamp> {
    let local = DateTime::strptime("%Y%m%d_%H%M%S", stamp).ok()?;
    Some(local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

fn read_manifest(path: &Path) -> Result<BackupManifest, String> {
    let open = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "it has no manifest: whose it is cannot be said".to_owned(),
        _ => format!("its manifest cannot be read: {error}"),
    })?;
    let mut json = Vec::new();
    open.take(LONGEST_MANIFEST)
        .read_to_end(&mut json)
        .map_err(|error| format!("its manifest cannot be read: {error}"))?;
    let manifest: BackupManifest = serde_json::from_slice(&json).map_err(|error| {
        format!("its manifest is damaged (line {}, column {})", error.line(), error.column())
    })?;
    if manifest.schema > MANIFEST_SCHEMA {
        return Err(format!(
            "its manifest has schema {}, this program knows {MANIFEST_SCHEMA}",
            manifest.schema
        ));
    }
    Ok(manifest)
}
