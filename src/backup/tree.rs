//! Reads below a directory that containers write to: a symlink is never followed, whenever it was planted.
//!
//! One component at a time with `O_NOFOLLOW`, each relative to the directory before it: as strict as
//! `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, and it needs neither a new kernel nor a seccomp profile that
//! allows it, and has no longest path.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

/// What the kernel says of one name.
pub(super) type Stat = rustix::fs::Stat;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK`: a FIFO that took the file's place must not hold us up.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Directory {
    /// Opens a directory that is ours to name; symlinks on the way to it are followed.
    pub(super) fn base(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens the directory at this path below, which has only plain components; empty: this one again.
    pub(super) fn below(&self, path: &Path) -> io::Result<Self> {
        let mut current = Self(self.0.try_clone()?);
        for component in path {
            current = current.directory(component)?;
        }
        Ok(current)
    }

    fn directory(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty())?))
    }

    /// Opens a regular file in this directory, and returns what it is now.
    pub(super) fn file(&self, name: &OsStr) -> io::Result<(File, Stat)> {
        let fd = rustix::fs::openat(&self.0, name, FILE, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if kind(&stat) != FileType::RegularFile {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((fd.into(), stat))
    }

    /// Returns what the directory itself is.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0)?)
    }

    /// Returns what a name in it is; a symlink is a symlink.
    pub(super) fn stat_of(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Returns where a symlink in it points.
    pub(super) fn link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.0, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Returns the names in it as the kernel lists them, without `.` and `..`.
    pub(super) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
        let entries = Dir::read_from(&self.0)?;
        Ok(entries.filter_map(|entry| match entry {
            Ok(entry) => {
                let name = entry.file_name().to_bytes();
                (name != b"." && name != b"..").then(|| Ok(OsString::from_vec(name.to_vec())))
            }
            Err(error) => Some(Err(error.into())),
        }))
    }
}

/// Returns what kind of file this is.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns whether the error says that there is nothing there (any more), or something else than before.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [
        rustix::io::Errno::NOENT,
        rustix::io::Errno::NOTDIR,
        rustix::io::Errno::LOOP,
        rustix::io::Errno::NXIO,
    ];
    error.kind() == io::ErrorKind::NotFound
        || gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_symlink_is_followed_neither_on_the_way_nor_at_the_end() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("real/sub")).unwrap();
        std::fs::write(place.path().join("real/sub/file"), "x").unwrap();
        symlink("real", place.path().join("inside")).unwrap();
        symlink("/etc", place.path().join("outside")).unwrap();
        symlink("file", place.path().join("real/sub/link")).unwrap();
        let base = Directory::base(place.path()).unwrap();
        assert!(base.below(Path::new("real/sub")).unwrap().file("file".as_ref()).is_ok());
        for path in ["inside/sub", "outside"] {
            assert!(is_gone(&base.below(Path::new(path)).unwrap_err()), "{path}");
        }
        let sub = base.below(Path::new("real/sub")).unwrap();
        assert!(is_gone(&sub.file("link".as_ref()).unwrap_err()));
        assert_eq!(sub.link("link".as_ref()).unwrap(), "file");
    }

    #[test]
    fn a_fifo_in_the_place_of_a_file_does_not_hold_us_up() {
        let place = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, &place.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let base = Directory::base(place.path()).unwrap();
        assert!(is_gone(&base.file("pipe".as_ref()).unwrap_err()));
    }
}
