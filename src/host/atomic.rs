//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a file or directory of ours could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}", path.display())]
pub struct WriteError {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl WriteError {
    /// Returns a function that names the path in an error.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }

    /// Returns whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Replaces a file by one with this content and mode: written beside it, fsynced, renamed.
///
/// # Errors
/// The directory cannot be written; the old file is then untouched.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), WriteError> {
    let beside = path.with_extension(format!("tmp-{}", std::process::id()));
    let written = write_new(&beside, content, mode).and_then(|()| fs::rename(&beside, path));
    if let Err(source) = written {
        // What cannot be written cannot always be removed either; the first error is the one that matters.
        fs::remove_file(&beside).ok();
        return Err(WriteError { path: path.to_owned(), source });
    }
    sync_parent(path).map_err(WriteError::at(path))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the rename itself durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Points a symlink at a target, replacing what it pointed at, by rename.
///
/// # Errors
/// The directory cannot be written; the old link is then untouched.
pub fn point(link: &Path, target: &Path) -> Result<(), WriteError> {
    let beside = link.with_extension(format!("tmp-{}", std::process::id()));
    fs::remove_file(&beside).ok();
    std::os::unix::fs::symlink(target, &beside)
        .and_then(|()| fs::rename(&beside, link))
        .and_then(|()| sync_parent(link))
        .map_err(WriteError::at(link))
}

/// Makes a directory and its parents with this mode, whatever the umask; those that exist keep theirs.
///
/// # Errors
/// It cannot be made, or something that is no directory is there.
pub fn make_directory(path: &Path, mode: u32) -> Result<(), WriteError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|part| !part.is_dir()).collect();
    for part in missing.into_iter().rev().filter(|part| !part.as_os_str().is_empty()) {
        make_one(part, mode).map_err(WriteError::at(part))?;
    }
    Ok(())
}

fn make_one(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        // Somebody else made it in the meantime: it is theirs.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        error => error,
    }
}
