//! The directory of archives: room, names, and files that exist whole or not at all.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempPath;

use super::BackupError;
use super::manifest::{BackupManifest, path_of};
use crate::host::{atomic, seam};
use crate::model::ArchiveFormat;

/// How archives begin (R001-55).
pub(super) const PREFIX: &str = "ffe_backup_";
const PARTIAL_PREFIX: &str = ".ffe_backup_";
const PARTIAL_SUFFIX: &str = ".partial";
/// How far a name may lie from its second.
const NAMES: i64 = 600;

/// Returns how archives of this format end.
pub(super) fn extension(format: ArchiveFormat) -> &'static str {
    match format {
        ArchiveFormat::Zstd => ".tar.zst",
        ArchiveFormat::Gzip => ".tar.gz",
    }
}

/// Checks that the directory's file system has room for so many bytes.
///
/// # Errors
/// It has not, or it cannot be asked.
pub(super) fn check_room(directory: &Path, need_bytes: u64) -> Result<(), BackupError> {
    let room = rustix::fs::statvfs(directory)
        .map_err(|errno| BackupError::Write { path: directory.to_owned(), source: errno.into() })?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free >= need_bytes {
        return Ok(());
    }
    let (free_mib, need_mib) = (free >> 20, need_bytes.div_ceil(1 << 20));
    Err(BackupError::NoRoom { directory: directory.to_owned(), free_mib, need_mib })
}

/// An archive that is not one yet. Removed when it is dropped; what a killed process left is removed by [`sweep`],
/// which knows by the lock whether somebody is still writing.
#[derive(Debug)]
pub(super) struct Partial {
    path: TempPath,
    lock: File,
}

impl Partial {
    /// Makes the file, mode 0600.
    pub(super) fn create(directory: &Path) -> Result<Self, BackupError> {
        let make = || -> io::Result<Option<Self>> {
            seam::about_to("write backups/*");
            let made = tempfile::Builder::new()
                .prefix(PARTIAL_PREFIX)
                .suffix(PARTIAL_SUFFIX)
                .permissions(Permissions::from_mode(0o600))
                .tempfile_in(directory)?;
            let (lock, path) = made.into_parts();
            // Somebody's sweep may have come between making and locking; then it is tried again.
            let is_ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && rustix::fs::fstat(&lock)?.st_nlink > 0;
            Ok(is_ours.then_some(Self { path, lock }))
        };
        for _ in 0..8 {
            if let Some(partial) = make().map_err(BackupError::writing(&directory.join(PREFIX), 0))? {
                return Ok(partial);
            }
        }
        let source = io::ErrorKind::ResourceBusy.into();
        Err(BackupError::Write { path: directory.to_owned(), source })
    }

    /// Returns where it is for now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file, to write to.
    pub(super) fn file(&self) -> Result<File, BackupError> {
        self.lock.try_clone().map_err(BackupError::writing(&self.path, 0))
    }

    /// Gives it its name, that of its second or of the next that is free, and a manifest beside it.
    pub(super) fn place(self, directory: &Path, manifest: &BackupManifest) -> Result<PathBuf, BackupError> {
        let mut unnamed = self.path;
        for second in 0..NAMES {
            let path = directory.join(name(manifest, second));
            seam::about_to_change("replace", &path);
            match unnamed.persist_noclobber(&path) {
                Ok(()) => return write_manifest(path, manifest),
                Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => unnamed = taken.path,
                Err(failed) => return Err(BackupError::Write { path, source: failed.error }),
            }
        }
        let path = directory.join(name(manifest, 0));
        Err(BackupError::Write { path, source: io::ErrorKind::AlreadyExists.into() })
    }
}

fn name(manifest: &BackupManifest, later_s: i64) -> String {
    let at = manifest.created_at.saturating_add(SignedDuration::from_secs(later_s));
    let at = at.unwrap_or(Timestamp::MAX).strftime("%Y%m%d_%H%M%S");
    format!("{PREFIX}{at}{}", extension(manifest.format))
}

fn write_manifest(archive: PathBuf, manifest: &BackupManifest) -> Result<PathBuf, BackupError> {
    let path = path_of(&archive);
    let written = serde_json::to_vec_pretty(manifest)
        .map_err(|error| BackupError::Write { path: path.clone(), source: error.into() })
        .and_then(|json| atomic::write(&path, &json, 0o600).map_err(BackupError::from));
    if let Err(error) = written {
        // An archive that nobody can attribute is none; that it could not be removed would hide the cause.
        atomic::remove_file(&archive).ok();
        return Err(error);
    }
    Ok(archive)
}

/// Removes what killed processes left half-written. What cannot be looked at is left alone.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PARTIAL_PREFIX) || !name.ends_with(PARTIAL_SUFFIX) {
            continue;
        }
        let is_regular = entry.file_type().is_ok_and(|kind| kind.is_file());
        let Some(file) = is_regular.then(|| File::open(entry.path()).ok()).flatten() else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            atomic::remove_file(&entry.path()).ok();
        }
    }
}
