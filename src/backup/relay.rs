//! Copies what the daemon sends, a tar stream of one path, into the archive under another name.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{Entry, EntryType, Header};

use super::BackupError;
use super::archive::{Archive, Length, Meta};
use super::walk::Notes;

const BLOCK: u64 = 512;

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
        let mut source = tar::Archive::new(Counted { stream, bytes: 0 });
        let (mut end, mut is_directory) = (0, None);
        for entry in source.entries().map_err(|error| self.broken(error))? {
            let mut entry = entry.map_err(|error| self.broken(error))?;
            end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
            is_directory.get_or_insert(entry.header().entry_type().is_dir());
            self.entry(&mut entry)?;
        }
        let mut rest = source.into_inner();
        // A stream that was cut between two entries looks like an end: only the block of zeros is one.
        if rest.bytes < end + BLOCK {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        io::copy(&mut rest, &mut io::sink()).map_err(|error| self.broken(error))?;
        Ok(is_directory.unwrap_or_default())
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), BackupError> {
        let named = self.renamed(&entry.path_bytes());
        let Some(target) = named else {
            return Err(self.broken(io::Error::other("an entry has no usable name")));
        };
        if (self.excluded)(&target) {
            return Ok(());
        }
        let meta = meta_of(entry.header()).map_err(|error| self.broken(error))?;
        match entry.header().entry_type() {
            EntryType::Directory => self.archive.directory(&target, &meta),
            EntryType::Symlink => {
                let link = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.archive.symlink(&target, &meta, &link)
            }
            EntryType::Link => self.hard_link(entry, &target, &meta),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &target, &meta)
            }
            _ => {
                self.notes.skipped.push(&target);
                Ok(())
            }
        }
    }

    fn hard_link<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        target: &Path,
        meta: &Meta,
    ) -> Result<(), BackupError> {
        let first = entry.link_name_bytes().and_then(|name| self.renamed(&name));
        match first {
            Some(first) if !(self.excluded)(&first) => {
                self.archive.hard_link(target, meta, first.as_os_str().as_bytes())
            }
            _ => Err(self.broken(io::Error::other("a hard link leads out of what is saved"))),
        }
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        target: &Path,
        meta: &Meta,
    ) -> Result<(), BackupError> {
        let (size, what) = (entry.size(), self.what.to_owned());
        let reading = |source| BackupError::Stream { what, source };
        match self.archive.file(target, meta, size, entry, reading)? {
            Length::AsSaid => Ok(()),
            Length::Short => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
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

struct Counted<R> {
    stream: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
