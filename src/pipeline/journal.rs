//! What is about to happen, on disk before it happens: whoever takes the lease next can end it.
//!
//! One file, replaced whole by rename, with a checksum over its content. It holds no secret: all that undoing needs
//! lies in the directory of the release before. Finished deployments leave no journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::atomic::{self, WriteError};
use crate::model::{ErrorKind, FailureReport, Job, ReleaseId};

/// Version of the format that this program writes and reads.
const SCHEMA: u32 = 1;

/// How far a deployment has come; each is written before the change that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing but our own directories is touched: bundle, images, backup.
    Preparing,
    /// Containers are being changed.
    Switching,
    /// The release is applied and being asked.
    Verifying,
    /// It is verified; `current` is about to move.
    Committing,
    /// The release before is being put back.
    Undoing,
}

impl Phase {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Switching => "switching",
            Self::Verifying => "verifying",
            Self::Committing => "committing",
            Self::Undoing => "undoing",
        }
    }
}

/// The content of the journal.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Version of the format.
    pub schema: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// Directory below the root of the agent that wrote it and can read it: `state/bin/<version>-<sha256>`.
    #[serde(default)]
    pub agent: String,
    /// The job, without secrets and without its bundle.
    pub job: Job,
    /// When it began.
    pub started_at: Timestamp,
    /// How far it has come.
    pub phase: Phase,
    /// Compose project.
    pub project: String,
    /// Release that ran before.
    pub before: Option<ReleaseId>,
    /// Release that comes.
    pub after: Option<ReleaseId>,
    /// Containers that ran before, by id, with their service: what undoing may keep.
    pub containers: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    checksum: String,
    entry: serde_json::Value,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("could not read the journal {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its bytes are not what was written.
    #[error("the journal {} is damaged: {what}; nothing was touched", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer version of the program wrote it.
    #[error("the journal {} was written by version {version} of ffe-deploy; this is {}", path.display(), env!("CARGO_PKG_VERSION"))]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Who wrote it.
        version: String,
    },
}

impl JournalError {
    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let hint = match self {
            Self::Read { path, .. } => format!("make {} readable for the user that deploys", path.display()),
            Self::Damaged { path, .. } => format!(
                "look at what runs (`docker ps`); when that is right, remove {} and deploy again",
                path.display()
            ),
            Self::Newer { version, .. } => format!("use ffe-deploy {version} or newer for this host"),
        };
        FailureReport::new(ErrorKind::DeploymentError, "journal.unusable", self.to_string()).hint(hint)
    }
}

/// Returns the unfinished deployment that the journal names, if there is one.
///
/// # Errors
/// The journal is there and cannot be read, is damaged, or is from a newer version: never a guess.
pub fn read(path: &Path) -> Result<Option<Entry>, JournalError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(JournalError::Read { path: path.to_owned(), source }),
    };
    let damaged = |what: &str| JournalError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let sealed: Sealed =
        serde_json::from_slice(&text).map_err(|_| damaged("it is not a whole JSON object"))?;
    if sealed.checksum != checksum(&sealed.entry) {
        return Err(damaged("its checksum does not match"));
    }
    if sealed.entry.get("schema").and_then(serde_json::Value::as_u64) != Some(u64::from(SCHEMA)) {
        let version =
            sealed.entry.get("tool_version").and_then(|v| v.as_str()).unwrap_or("unknown").to_owned();
        return Err(JournalError::Newer { path: path.to_owned(), version });
    }
    serde_json::from_value(sealed.entry).map(Some).map_err(|source| damaged(&source.to_string()))
}

/// Writes what is about to happen; when this returns, it is on disk.
///
/// # Errors
/// It cannot be written; the change must then not be made.
pub fn write(path: &Path, entry: &Entry) -> Result<(), WriteError> {
    let entry = serde_json::to_value(Entry { schema: SCHEMA, ..entry.clone() }).unwrap_or_default();
    let sealed = Sealed { checksum: checksum(&entry), entry };
    atomic::write(path, &serde_json::to_vec_pretty(&sealed).unwrap_or_default(), 0o600)
}

/// Says that the deployment has ended: there is nothing to recover.
///
/// # Errors
/// The file cannot be removed.
pub fn clear(path: &Path) -> Result<(), WriteError> {
    match atomic::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(WriteError { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn checksum(entry: &serde_json::Value) -> String {
    hex::encode(Sha256::digest(entry.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            schema: SCHEMA,
            tool_version: "0.1.0".into(),
            agent: "state/bin/0.1.0-00".into(),
            job: crate::model::example_job(),
            started_at: Timestamp::UNIX_EPOCH,
            phase: Phase::Switching,
            project: "shop".into(),
            before: None,
            after: Some("deploy-1".parse().unwrap()),
            containers: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_a_cleared_journal_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.json");
        assert!(read(&path).unwrap().is_none());
        write(&path, &entry()).unwrap();
        let found = read(&path).unwrap().unwrap();
        assert_eq!((found.phase, found.after), (Phase::Switching, entry().after));
        assert_eq!(found.job.deployment_id, entry().job.deployment_id);
        clear(&path).unwrap();
        clear(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }

    #[test]
    fn a_torn_a_forged_and_a_newer_journal_are_errors_that_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.json");
        write(&path, &entry()).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for broken in [&whole[..whole.len() / 2], "", &whole.replace("switching", "verifying")] {
            fs::write(&path, broken).unwrap();
            let error = read(&path).err().unwrap().to_string();
            assert!(error.contains("journal.json") && error.contains("damaged"), "{error}");
        }
        let mut newer = serde_json::to_value(entry()).unwrap();
        newer["schema"] = 2.into();
        newer["tool_version"] = "9.0.0".into();
        let sealed = Sealed { checksum: checksum(&newer), entry: newer };
        fs::write(&path, serde_json::to_vec(&sealed).unwrap()).unwrap();
        assert!(read(&path).err().unwrap().to_string().contains("9.0.0"));
    }
}
