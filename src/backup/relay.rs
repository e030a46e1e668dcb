//! Copies what the daemon sends, a tar stream of one path, into the archive under another name.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{EntryType, Header};

use super::BackupError;
use super::archive::{Archive, Meta};
use super::members::{Member, Members};
use super::walk::Notes;

/// Where a stream goes, and what of it.
pub(super) struct Relay<'a> {
    /// The archive.
    pub(super) archive: &'a mut Archive,
    /// What takes the place of the first component of each name: the daemon puts the path's last one there.
    pub(super) prefix: &'a Path,
    /// Which paths of the archive are left out.
    pub(super) excluded: &'a dyn Fn(&Path) -> bool,
    /// What is remembered for the warnings.
    pub(super) notes: &'a mut Notes,
    /// What is being read, for messages.
    pub(super) what: &'a str,
}

impl Relay<'_> {
    /// Copies the whole stream, and returns whether the path is a directory.
    ///
    /// # Errors
    /// The stream ends early or is no archive; the archive cannot be written.
    pub(super) fn run(&mut self, stream: impl Read) -> Result<bool, BackupError> {
        let mut members = Members::new(stream);
        let mut is_directory = None;
        while let Some(member) = members.next().map_err(|error| self.broken(error))? {
            is_directory.get_or_insert(member.header.entry_type().is_dir());
            self.member(&member, &mut members)?;
        }
        Ok(is_directory.unwrap_or_default())
    }

    fn member(&mut self, member: &Member, content: &mut dyn Read) -> Result<(), BackupError> {
        let Some(target) = self.renamed(&member.path) else {
            return Err(self.broken(io::Error::other("a member has no usable name")));
        };
        // The base itself has no name in the archive.
        if target.as_os_str().is_empty() || (self.excluded)(&target) {
            return Ok(());
        }
        let meta = meta_of(&member.header).map_err(|error| self.broken(error))?;
        match member.header.entry_type() {
            EntryType::Directory => self.archive.directory(&target, &meta),
            EntryType::Symlink => self.archive.symlink(&target, &meta, &member.link),
            EntryType::Link => self.hard_link(&member.link, &target, &meta),
            EntryType::Regular | EntryType::Continuous => {
                let what = self.what.to_owned();
                let reading = |source| BackupError::Stream { what, source };
                self.archive.file(&target, &meta, member.size, content, reading).map(drop)
            }
            _ => {
                self.notes.skipped.push(&target);
                Ok(())
            }
        }
    }

    fn hard_link(&mut self, link: &[u8], target: &Path, meta: &Meta) -> Result<(), BackupError> {
        match self.renamed(link) {
            Some(first) if !(self.excluded)(&first) => {
                self.archive.hard_link(target, meta, first.as_os_str().as_bytes())
            }
            _ => Err(self.broken(io::Error::other("a hard link leads out of what is saved"))),
        }
    }

    /// Returns the name in the archive: the first component replaced by the prefix; nothing for a name that leaves it.
    fn renamed(&self, name: &[u8]) -> Option<PathBuf> {
        let mut target = self.prefix.to_owned();
        let mut components =
            Path::new(OsStr::from_bytes(name)).components().filter(|c| *c != Component::CurDir);
        matches!(components.next(), Some(Component::Normal(_))).then_some(())?;
        for component in components {
            let Component::Normal(name) = component else { return None };
            target.push(name);
        }
        Some(target)
    }

    fn broken(&self, source: io::Error) -> BackupError {
        if self.archive.meter().is_called_off() {
            return BackupError::CalledOff;
        }
        BackupError::Stream { what: self.what.to_owned(), source }
    }
}

fn meta_of(header: &Header) -> io::Result<Meta> {
    Ok(Meta {
        mode: header.mode()? & 0o7777,
        uid: header.uid()?,
        gid: header.gid()?,
        mtime: header.mtime().unwrap_or_default(),
    })
}
