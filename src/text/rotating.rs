//! A log file that never grows beyond its limit: `x.log`, then `x.log.1` to `x.log.5`, the oldest goes (R003-15).
//!
//! Sixty lines of our own, because `file-rotate` and `logroller` bring a second time crate and rotate after the limit
//! was passed; the documents' handler rotates before.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest a file gets (R003-15).
pub const LIMIT_BYTES: u64 = 10_000_000;
/// How many older files are kept (R003-15).
pub const BACKUPS: u32 = 5;

/// The file, and how much is in it.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    limit_bytes: u64,
}

impl Rotating {
    /// Opens the file to add to it, 0600, with the directories that it needs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let file = create_private(path, OpenOptions::new().append(true))?;
        let size_bytes = file.metadata().map_or(0, |meta| meta.len());
        Ok(Self { path: path.to_owned(), file, size_bytes, limit_bytes })
    }

    /// Adds one record whole; a file that it does not fit into any more is put aside first.
    ///
    /// # Errors
    /// When the file cannot be written or put aside.
    pub fn add(&mut self, record: &[u8]) -> io::Result<()> {
        let length = record.len() as u64;
        self.look_again()?;
        if self.size_bytes > 0 && self.size_bytes + length > self.limit_bytes {
            self.rotate()?;
        }
        self.file.write_all(record)?;
        self.size_bytes += length;
        Ok(())
    }

    /// Another run may write to the same file, or have put it aside.
    fn look_again(&mut self) -> io::Result<()> {
        let mine = self.file.metadata()?;
        let is_mine = |there: &fs::Metadata| (there.dev(), there.ino()) == (mine.dev(), mine.ino());
        if !fs::metadata(&self.path).as_ref().is_ok_and(is_mine) {
            self.file = create_private(&self.path, OpenOptions::new().append(true))?;
        }
        self.size_bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for older in (1..BACKUPS).rev() {
            match fs::rename(self.backup(older), self.backup(older + 1)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        fs::rename(&self.path, self.backup(1))?;
        self.file = create_private(&self.path, OpenOptions::new().append(true))?;
        self.size_bytes = 0;
        Ok(())
    }

    fn backup(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Opens a file for writing that only we can read, with the directories that it needs.
///
/// # Errors
/// When it cannot be made.
pub fn create_private(path: &Path, how: &mut OpenOptions) -> io::Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = how.write(true).create(true).mode(0o600).open(path)?;
    make_private(&file)?;
    Ok(file)
}

/// A file that was there keeps its mode on opening. Devices and pipes are left as they are.
fn make_private(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_passes_the_limit_and_five_older_ones_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app_dev.log");
        for record in 0..40 {
            // Opened anew each time, as runs of the program do.
            Rotating::open(&path, 25).unwrap().add(format!("record {record:02}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names[0], "app_dev.log");
        assert_eq!(names[1..], (1..=5).map(|n| format!("app_dev.log.{n}")).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(&path).unwrap(), "record 38\nrecord 39\n");
        assert_eq!(fs::read_to_string(path.with_extension("log.5")).unwrap(), "record 28\nrecord 29\n");
    }

    #[test]
    fn a_file_is_put_aside_with_the_first_byte_beyond_ten_million() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app_dev.log");
        let line = |length: usize| format!("{}\n", "x".repeat(length - 1)).into_bytes();
        let mut file = Rotating::open(&path, LIMIT_BYTES).unwrap();
        for _ in 0..10 {
            file.add(&line(1_000_000)).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 10_000_000);
        assert!(!path.with_extension("log.1").exists(), "exactly ten million bytes fit");
        file.add(&line(1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1);
        assert_eq!(fs::metadata(path.with_extension("log.1")).unwrap().len(), 10_000_000);
    }

    #[test]
    fn two_runs_that_write_to_one_file_keep_its_limit_and_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app_dev.log");
        let (mut one, mut other) = (Rotating::open(&path, 25).unwrap(), Rotating::open(&path, 25).unwrap());
        for record in 0..6 {
            one.add(format!("one   {record:03}\n").as_bytes()).unwrap();
            other.add(format!("other {record:03}\n").as_bytes()).unwrap();
        }
        let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let texts: Vec<String> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(texts.iter().all(|text| text.len() <= 25), "{texts:?}");
        assert_eq!(texts.iter().map(|text| text.lines().count()).sum::<usize>(), 12);
    }

    #[test]
    fn a_record_larger_than_the_limit_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Rotating::open(&dir.path().join("x.log"), 5).unwrap();
        file.add(b"longer than five\n").unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
