//! The private directory of one connection: sockets, public keys, known hosts, configuration; never a secret.
//!
//! It goes with [`Room`], or by the keepers of `host::kept` when this process is killed; what is left when those are
//! killed too (a whole container or cgroup) is swept by the next connection.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::remote::RemoteError;
use crate::remote::agent_binary::{no_programs_in, user};

const PREFIX: &str = "ffe-ssh-";
/// Held while the directory is in use.
const LOCK: &str = "lock";
/// Socket addresses end at 108 bytes, and `ssh` adds 17 to the name while it makes one.
const LONGEST_BASE: usize = 60;
/// A directory younger than this may just be in the making.
const YOUNG: Duration = Duration::from_secs(60);

/// A private directory, 0700, with a short path.
#[derive(Debug)]
pub(super) struct Room {
    directory: TempDir,
    _lock: File,
}

impl Room {
    /// Makes one in `$XDG_RUNTIME_DIR`, else in /tmp or /var/tmp, and sweeps there what killed connections left.
    pub(super) fn new() -> Result<Self, RemoteError> {
        let mut last = io::Error::other("there is no directory for it");
        for base in bases() {
            sweep(&base);
            match Self::new_in(&base) {
                Ok(room) => return Ok(room),
                Err(error) => last = error,
            }
        }
        Err(RemoteError::here("making a private directory in /tmp")(last))
    }

    fn new_in(base: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(8)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)?;
        let lock = File::create_new(directory.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { directory, _lock: lock })
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file of public data, with the given mode.
    pub(super) fn write(&self, name: &str, mode: u32, text: &str) -> Result<PathBuf, RemoteError> {
        let path = self.file(name);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(RemoteError::here(format!("writing `{}`", path.display())))?;
        Ok(path)
    }
}

/// Directories whose path can stand in an ssh configuration without quotes, and where a script can run.
fn bases() -> Vec<PathBuf> {
    let run = std::env::var("XDG_RUNTIME_DIR").ok();
    let all = run.into_iter().chain(["/tmp".to_owned(), "/var/tmp".to_owned()]);
    let plain = |path: &String| path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let fits = |path: &String| path.starts_with('/') && path.len() <= LONGEST_BASE && plain(path);
    all.filter(fits).map(PathBuf::from).filter(|base| base.is_dir() && !no_programs_in(base)).collect()
}

fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && is_stale(&entry.path()) {
            // Somebody else may sweep at the same time; what stays is for the next one.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn is_stale(directory: &Path) -> bool {
    let Ok(meta) = directory.symlink_metadata() else { return false };
    let old =
        meta.modified().is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > YOUNG));
    if !meta.is_dir() || meta.uid() != user() || !old {
        return false;
    }
    match File::open(directory.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_old(room: &Path) {
        let then = SystemTime::now() - Duration::from_secs(3600);
        File::open(room).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_directory_is_private_and_goes_with_its_connection() {
        let base = tempfile::tempdir().unwrap();
        let room = Room::new_in(base.path()).unwrap();
        assert_eq!(room.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        room.write("known_hosts", 0o600, "x").unwrap();
        drop(room);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_old_directories_that_nobody_holds_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let held = Room::new_in(base.path()).unwrap();
        make_old(held.path());
        let left = base.path().join("ffe-ssh-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        make_old(&left);
        let young = base.path().join("ffe-ssh-young");
        fs::create_dir(&young).unwrap();
        sweep(base.path());
        assert!(held.path().exists() && young.exists() && !left.exists());
    }
}
