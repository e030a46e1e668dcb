//! Files that are there whole or not at all, also after a power cut; and the only place that changes files of a host.
//!
//! Each change is announced to the seam ([`super::seam`]) first, which a test uses to let the process die there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::seam;

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

/// Replaces a file by one with this content and mode, whatever the umask: written beside it, fsynced, renamed.
///
/// # Errors
/// The directory cannot be written; the old file is then untouched.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), WriteError> {
    let beside = path.with_extension(format!("tmp-{}", std::process::id()));
    seam::about_to_change("write", path);
    let written = write_new(&beside, content, mode).and_then(|()| replace(&beside, path));
    if let Err(source) = written {
        // What cannot be written cannot always be removed either; the first error is the one that matters.
        remove_file(&beside).ok();
        return Err(WriteError { path: path.to_owned(), source });
    }
    sync_parent(path).map_err(WriteError::at(path))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // The umask has taken from it what others may be meant to read.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Gives a new file the name of the old one.
fn replace(beside: &Path, path: &Path) -> io::Result<()> {
    seam::about_to_change("replace", path);
    fs::rename(beside, path)
}

/// Replaces a file whose room is set aside: the content goes into `spare`, which lies beside it, and both change places.
/// So a disk that is full in the meantime does not matter, as long as the content does not grow.
///
/// # Errors
/// The directory cannot be written, or there is no room even so; the old file is then untouched.
pub fn write_in_turn(path: &Path, spare: &Path, content: &[u8], mode: u32) -> Result<(), WriteError> {
    seam::about_to_change("write", path);
    overwrite(spare, content, mode).map_err(WriteError::at(path))?;
    seam::about_to_change("replace", path);
    let exchanged = renameat_with(CWD, spare, CWD, path, RenameFlags::EXCHANGE);
    if exchanged.is_err() {
        // There is none yet, or the file system cannot exchange: the room is then taken anew, where there is some.
        fs::rename(spare, path).map_err(WriteError::at(path))?;
        overwrite(spare, &vec![b' '; content.len()], mode).ok();
    }
    sync_parent(path).map_err(WriteError::at(path))
}

/// Takes a file away and keeps its room as `spare`; one that is not there is no error.
///
/// # Errors
/// The directory cannot be written.
pub fn set_aside(path: &Path, spare: &Path) -> Result<(), WriteError> {
    seam::about_to_change("remove", path);
    match fs::rename(path, spare) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.and_then(|()| sync_parent(path)).map_err(WriteError::at(path)),
    }
}

/// Writes into the room that a file has.
fn overwrite(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(path)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
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
    // Most of the time there is none; one that cannot be removed makes the next line fail.
    remove_file(&beside).ok();
    symlink(target, &beside)
        .and_then(|()| replace(&beside, link))
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
    seam::about_to_change("make", path);
    match fs::DirBuilder::new().mode(mode).create(path) {
        // Somebody else made it in the meantime: it is theirs.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        error => error,
    }
}

/// Makes one directory that is not there, with this mode, whatever the umask.
///
/// # Errors
/// It is there, or cannot be made.
pub fn make_new_directory(path: &Path, mode: u32) -> io::Result<()> {
    seam::about_to_change("make", path);
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a symlink that is not there.
///
/// # Errors
/// Something is there, or the directory cannot be written.
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    seam::about_to_change("link", link);
    std::os::unix::fs::symlink(target, link)
}

/// Copies a file; with a mode, the copy has that one instead of the original's.
///
/// # Errors
/// It cannot be read or written.
pub fn copy(from: &Path, to: &Path, mode: Option<u32>) -> io::Result<()> {
    seam::about_to_change("copy", to);
    fs::copy(from, to)?;
    mode.map_or(Ok(()), |mode| fs::set_permissions(to, fs::Permissions::from_mode(mode)))
}

/// Opens a file to write to, making it if it is not there.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    seam::about_to_change("open", path);
    options.open(path)
}

/// Gives a file or directory to a user and the group of the same number, never through a symlink.
///
/// # Errors
/// Only root may do that.
pub fn give(path: &Path, uid: u32) -> io::Result<()> {
    seam::about_to_change("give", path);
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))
}

/// Renames a file or a directory.
///
/// # Errors
/// It is not there, or a directory cannot be written.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    seam::about_to_change("rename", to);
    fs::rename(from, to)
}

/// Removes a file or a symlink.
///
/// # Errors
/// It is not there, or its directory cannot be written.
pub fn remove_file(path: &Path) -> io::Result<()> {
    // What is not there is no change.
    path.symlink_metadata()?;
    seam::about_to_change("remove", path);
    fs::remove_file(path)
}

/// Removes a directory with all that is in it, never through a symlink.
///
/// # Errors
/// It is not there, or something in it cannot be removed; a part may be gone then.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    path.symlink_metadata()?;
    seam::about_to_change("remove tree", path);
    fs::remove_dir_all(path)
}
