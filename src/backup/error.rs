//! Why there is no backup. Nothing was deployed then, and nothing half-written is left behind.

use std::io;
use std::path::{Path, PathBuf};

use crate::host::atomic::WriteError;
use crate::host::docker::DockerError;
use crate::model::{ErrorKind, FailureReport};
use crate::text::harmless;

/// Why no usable backup exists.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A path that can be no part of a backup.
    #[error("`{path}` cannot be backed up: {reason}; nothing was deployed")]
    Path {
        /// As it was written.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path that was asked for is not there.
    #[error("{} to be backed up {} not exist in {}; nothing was deployed", quoted(.paths), does(.paths), .base.display())]
    Missing {
        /// Where it was looked for.
        base: PathBuf,
        /// All that are missing.
        paths: Vec<String>,
    },
    /// Nothing of what is to be saved exists.
    #[error("there is nothing to back up yet{}", absent(.missing))]
    Nothing {
        /// What was looked for.
        missing: Vec<String>,
    },
    /// The disk has less free than what is to be read.
    #[error("no room for the backup in {}: {free_mib} MiB free, {need_mib} MiB needed; nothing was deployed", .directory.display())]
    NoRoom {
        /// Where it would go.
        directory: PathBuf,
        /// What a user without privileges may still write.
        free_mib: u64,
        /// Content before compression, rounded up.
        need_mib: u64,
    },
    /// The disk became full, or a quota was reached, while the archive was being written.
    #[error("no room for the backup in {}: the disk is full after {written_mib} MiB; nothing was deployed", .directory.display())]
    Full {
        /// Where it would go.
        directory: PathBuf,
        /// What had been read by then.
        written_mib: u64,
    },
    /// The archive, its manifest or its directory cannot be written.
    #[error("could not write the backup at {}; nothing was deployed", .path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is to be saved cannot be read.
    #[error("could not read `{path}` for the backup; nothing was deployed")]
    Read {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file that only root may read, and no daemon to read it.
    #[error(
        "this user may not read `{path}` for the backup, and there is no Docker daemon to read it; nothing was deployed"
    )]
    Unreadable {
        /// Which one.
        path: String,
    },
    /// The daemon reads through a container, a container needs an image, and there is none.
    #[error(
        "the backup must read {what} through a helper container, and this host has no image for one; nothing was deployed"
    )]
    NoImage {
        /// What is to be read.
        what: String,
    },
    /// The daemon refused.
    #[error("Docker could not {what} for the backup; nothing was deployed")]
    Daemon {
        /// What was asked.
        what: String,
        /// Its answer.
        source: Box<DockerError>,
    },
    /// What the daemon sent is not a whole archive.
    #[error("what Docker sent of {what} is not whole; nothing was deployed")]
    Stream {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The archive on disk is not what was written.
    #[error("the backup at {} does not read back as it was written: {detail}; it was removed, and nothing was deployed", .path.display())]
    Unsound {
        /// Which one.
        path: PathBuf,
        /// The first thing that differs.
        detail: String,
    },
    /// An archive's directory cannot be listed.
    #[error("could not list the backups in {}", .directory.display())]
    List {
        /// Which one.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The backup was called off.
    #[error("the backup was called off; nothing was deployed")]
    CalledOff,
}

impl BackupError {
    /// Returns whether there was just nothing to save: a stage that finds this is skipped.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing { .. })
    }

    /// Returns the failure with its cause and its next step.
    pub fn report(&self) -> FailureReport {
        let (kind, code, hint) = self.rendering();
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            message.push_str(": ");
            message.push_str(&harmless(&source.to_string()));
            cause = source.source();
        }
        FailureReport::new(kind, code, message).hint(hint)
    }

    fn rendering(&self) -> (ErrorKind, &'static str, String) {
        use ErrorKind::{ConfigurationError, DeploymentError, DockerError, ValidationError};
        let free = |directory: &Path| {
            format!("free space in {}: `df -h` shows how much there is", directory.display())
        };
        match self {
            Self::Path { .. } => (
                ConfigurationError,
                "backup.path",
                "name paths below the app's directory (or `shared/`) in `backup.paths`, without `..`".to_owned(),
            ),
            Self::Missing { .. } => (
                ValidationError,
                "backup.missing",
                "create it, or take it out of `backup.paths`".to_owned(),
            ),
            Self::Nothing { .. } => (
                ValidationError,
                "backup.nothing",
                "name what is to be saved in `backup.paths` or `backup.volumes`".to_owned(),
            ),
            Self::NoRoom { directory, .. } | Self::Full { directory, .. } => {
                (DeploymentError, "backup.no_room", free(directory))
            }
            Self::Write { path, .. } => (
                DeploymentError,
                "backup.write",
                format!("look at the rights and the disk of {}", path.display()),
            ),
            Self::Read { .. } => {
                (DeploymentError, "backup.read", "look at the file and its disk, and start again".to_owned())
            }
            Self::Unreadable { path } => (
                DeploymentError,
                "backup.unreadable",
                format!("start Docker, use `become: sudo`, or let this user read it: `sudo setfacl -R -m u:$USER:rX '{}'`", harmless(path)),
            ),
            Self::NoImage { .. } => {
                (DockerError, "backup.image", "pull any image on the host: `docker pull busybox`".to_owned())
            }
            Self::Daemon { .. } => {
                (DockerError, "backup.docker", "look at the daemon's log: `journalctl -u docker`".to_owned())
            }
            Self::Stream { .. } => (
                DockerError,
                "backup.stream",
                "a file that became shorter while it was read does this: start again, stop the service that writes it, or use `become: sudo`, which reads without the daemon".to_owned(),
            ),
            Self::Unsound { .. } => (
                DeploymentError,
                "backup.unsound",
                "the disk or the memory of the host is not reliable: look at `dmesg`, then start again".to_owned(),
            ),
            Self::List { directory, .. } => (
                DeploymentError,
                "backup.list",
                format!("look at the rights of {}", directory.display()),
            ),
            Self::CalledOff => (DeploymentError, "backup.called_off", "start again".to_owned()),
        }
    }

    /// Returns a function that names the path of a failed write, and tells a full disk from the rest.
    pub(super) fn writing(path: &Path, written_bytes: u64) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                let directory = path.parent().map_or_else(|| path.clone(), Path::to_owned);
                return Self::Full { directory, written_mib: written_bytes >> 20 };
            }
            Self::Write { path, source }
        }
    }

    /// Returns a function that names the file of a failed read.
    pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = shown(path);
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Unreadable { path },
            _ => Self::Read { path, source },
        }
    }
}

impl From<WriteError> for BackupError {
    fn from(error: WriteError) -> Self {
        Self::writing(&error.path, 0)(error.source)
    }
}

/// Returns a path as people may read it.
pub(super) fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy())
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{}`", harmless(name))).collect::<Vec<_>>().join(", ")
}

fn absent(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(": {} {} not exist", quoted(names), does(names)) }
}

fn does(names: &[String]) -> &'static str {
    if names.len() == 1 { "does" } else { "do" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_cause_in_its_message_and_says_what_was_not_done() {
        let error = BackupError::writing(Path::new("/b/x"), 0)(io::Error::other("broken"));
        let report = error.report();
        assert_eq!(report.code, "backup.write");
        assert_eq!(report.message, "could not write the backup at /b/x; nothing was deployed: broken");
        assert!(report.hint.unwrap().contains("/b/x"));
    }

    #[test]
    fn a_full_disk_is_told_apart_and_the_directory_named() {
        let error = BackupError::writing(Path::new("/b/x"), 5 << 20)(io::ErrorKind::StorageFull.into());
        assert!(error.to_string().starts_with("no room for the backup in /b: the disk is full after 5 MiB"));
        assert_eq!(error.report().code, "backup.no_room");
    }
}
