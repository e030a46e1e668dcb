//! Goes through a tree that others may be changing, to count it or to archive it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::BackupError;
use super::archive::{Archive, Length, Meta};
use super::error::shown;
use super::meter::Meter;
use super::paths::Excluded;
use super::tree::{self, Directory, Stat};
use crate::model::Finding;

/// Names told in one finding; more are only counted.
const TOLD_NAMES: usize = 20;

/// What a walk does with what it finds. Paths are relative to the walk's base.
pub(super) trait Visitor {
    /// A directory, before what is in it.
    fn directory(&mut self, path: &Path, stat: &Stat) -> Result<(), BackupError>;
    /// Everything else.
    fn leaf(&mut self, path: &Path, at: &Directory, name: &OsStr, stat: &Stat) -> Result<(), BackupError>;
    /// Something that cannot be looked at.
    fn failed(&mut self, path: &Path, error: io::Error) -> Result<(), BackupError>;
}

/// Visits the path below the base and everything in it; the empty path is the base itself. Subdirectories are
/// remembered by path, so that neither depth nor width of a tree costs descriptors or stack.
pub(super) fn walk(
    base: &Directory,
    start: &Path,
    excluded: &Excluded,
    visitor: &mut dyn Visitor,
) -> Result<(), BackupError> {
    let mut pending = Vec::new();
    if let (Some(parent), Some(name)) = (start.parent(), start.file_name()) {
        match base.below(parent).and_then(|at| Ok((at.stat_of(name)?, at))) {
            Ok((stat, _)) if tree::kind(&stat) == FileType::Directory => pending.push(start.to_owned()),
            Ok((stat, at)) => visitor.leaf(start, &at, name, &stat)?,
            Err(error) => visitor.failed(start, error)?,
        }
    } else {
        pending.push(PathBuf::new());
    }
    while let Some(path) = pending.pop() {
        match base.below(&path).and_then(|directory| Ok((directory.stat()?, directory))) {
            Ok((stat, directory)) => {
                visitor.directory(&path, &stat)?;
                each(&directory, &path, excluded, visitor, &mut pending)?;
            }
            Err(error) => visitor.failed(&path, error)?,
        }
    }
    Ok(())
}

fn each(
    directory: &Directory,
    path: &Path,
    excluded: &Excluded,
    visitor: &mut dyn Visitor,
    pending: &mut Vec<PathBuf>,
) -> Result<(), BackupError> {
    let names = match directory.names() {
        Ok(names) => names,
        Err(error) => return visitor.failed(path, error),
    };
    for name in names {
        let name = match name {
            Ok(name) => name,
            Err(error) => return visitor.failed(path, error),
        };
        let path = path.join(&name);
        if excluded.contains(&path) {
            continue;
        }
        match directory.stat_of(&name) {
            Ok(stat) if tree::kind(&stat) == FileType::Directory => pending.push(path),
            Ok(stat) => visitor.leaf(&path, directory, &name, &stat)?,
            Err(error) => visitor.failed(&path, error)?,
        }
    }
    Ok(())
}

/// Counts the bytes of a tree, and finds out whether all of it may be read: by opening it, which knows of ACLs,
/// capabilities and network file systems.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    /// Bytes of content.
    pub(super) bytes: u64,
    meter: &'a Meter,
}

impl<'a> Survey<'a> {
    /// Starts at nothing.
    pub(super) fn new(meter: &'a Meter) -> Self {
        Self { bytes: 0, meter }
    }

    fn check(&self) -> Result<(), BackupError> {
        self.meter.check().map_err(|_| BackupError::CalledOff)
    }
}

impl Visitor for Survey<'_> {
    fn directory(&mut self, _: &Path, _: &Stat) -> Result<(), BackupError> {
        self.check()
    }

    fn leaf(&mut self, path: &Path, at: &Directory, name: &OsStr, stat: &Stat) -> Result<(), BackupError> {
        if tree::kind(stat) != FileType::RegularFile {
            return Ok(());
        }
        self.check()?;
        match at.file(name) {
            Ok(_) => self.bytes += size_of(stat),
            Err(error) => self.failed(path, error)?,
        }
        Ok(())
    }

    fn failed(&mut self, path: &Path, error: io::Error) -> Result<(), BackupError> {
        if tree::is_gone(&error) { Ok(()) } else { Err(BackupError::reading(path)(error)) }
    }
}

/// Archives a tree under a prefix.
pub(super) struct Archiver<'a> {
    /// Where it goes.
    pub(super) archive: &'a mut Archive,
    /// What stands before each path in the archive.
    pub(super) prefix: &'a Path,
    /// What is remembered for the warnings.
    pub(super) notes: &'a mut Notes,
}

impl Archiver<'_> {
    fn regular(&mut self, path: &Path, at: &Directory, name: &OsStr) -> Result<(), BackupError> {
        let (mut file, stat) = match at.file(name) {
            Ok(opened) => opened,
            Err(error) => return self.failed(path, error),
        };
        let reading = BackupError::reading(path);
        let (target, size) = (self.prefix.join(path), size_of(&stat));
        let length = self.archive.file(&target, &Meta::from(&stat), size, &mut file, reading)?;
        let changed = rustix::fs::fstat(&file).is_ok_and(|after| {
            (after.st_size, after.st_mtime, after.st_mtime_nsec)
                != (stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
        });
        if changed || length == Length::Short {
            self.notes.changed.push(&target);
        }
        Ok(())
    }

    fn symlink(&mut self, path: &Path, at: &Directory, name: &OsStr, stat: &Stat) -> Result<(), BackupError> {
        use std::os::unix::ffi::OsStrExt;
        match at.link(name) {
            Ok(target) => self.archive.symlink(&self.prefix.join(path), &Meta::from(stat), target.as_bytes()),
            Err(error) => self.failed(path, error),
        }
    }
}

impl Visitor for Archiver<'_> {
    fn directory(&mut self, path: &Path, stat: &Stat) -> Result<(), BackupError> {
        let target = self.prefix.join(path);
        if target.as_os_str().is_empty() {
            return Ok(());
        }
        self.archive.directory(&target, &Meta::from(stat))
    }

    fn leaf(&mut self, path: &Path, at: &Directory, name: &OsStr, stat: &Stat) -> Result<(), BackupError> {
        match tree::kind(stat) {
            FileType::RegularFile => self.regular(path, at, name),
            FileType::Symlink => self.symlink(path, at, name, stat),
            _ => {
                self.notes.skipped.push(&self.prefix.join(path));
                Ok(())
            }
        }
    }

    fn failed(&mut self, path: &Path, error: io::Error) -> Result<(), BackupError> {
        if tree::is_gone(&error) {
            self.notes.changed.push(&self.prefix.join(path));
            return Ok(());
        }
        Err(BackupError::reading(&self.prefix.join(path))(error))
    }
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// What people should know of a backup, and what stops nothing.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Files that changed, vanished, grew or shrank while they were read.
    pub(super) changed: Names,
    /// Sockets, FIFOs and devices.
    pub(super) skipped: Names,
}

impl Notes {
    /// Returns them as warnings.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let changed = self.changed.told().map(|names| {
            Finding::warning(
                "backup.changed",
                format!("changed or vanished while it was backed up: {names}"),
                "stop the service that writes them for a backup of one moment",
            )
        });
        let skipped = self.skipped.told().map(|names| {
            Finding::warning(
                "backup.skipped",
                format!("not backed up, because sockets, FIFOs and devices have no content: {names}"),
                "nothing needs to be done; the service makes them again when it starts",
            )
        });
        changed.into_iter().chain(skipped).collect()
    }
}

/// The first few of many names.
#[derive(Debug, Default)]
pub(super) struct Names {
    count: u64,
    first: Vec<String>,
}

impl Names {
    /// Adds one.
    pub(super) fn push(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < TOLD_NAMES {
            self.first.push(format!("`{}`", shown(path)));
        }
    }

    fn told(&self) -> Option<String> {
        let more = self.count - self.first.len() as u64;
        let told = self.first.join(", ");
        match (self.count, more) {
            (0, _) => None,
            (_, 0) => Some(told),
            (_, more) => Some(format!("{told}, and {more} more")),
        }
    }
}
