//! What is about to happen, on disk before it happens: whoever takes the lease next can end it.
//!
//! One file, replaced whole by rename, with a checksum over its content. Its room is set aside beforehand: a second file
//! of the same size takes turns with it, so that a full disk does not stop a deployment half-way. It holds no secret: all
//! that undoing needs lies in the directory of the release before. Finished deployments leave no journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::atomic::{self, WriteError};
use crate::model::{ErrorKind, FailureReport, HookResult, Job, ReleaseId};

/// Version of the format that this program writes; it reads all from 1 on.
const SCHEMA: u32 = 3;
/// Size of the file, or of its parts when a job is large, in bytes: what is set aside for it.
const ROOM: usize = 64 * 1024;
/// What is larger than this is none of ours.
const LARGEST: u64 = 64 << 20;
/// Name of the file that takes turns with the journal.
const SPARE: &str = "journal.spare";

/// How far a deployment has come; each is written before the change that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is done; the bundle is about to be placed.
    Preparing,
    /// The bundle is in place; images are about to be pulled and built.
    Placed,
    /// The images are ready; a backup is about to be taken.
    Ready,
    /// The backup is taken, or none is wanted; containers are next.
    BackedUp,
    /// Containers are being changed.
    Switching,
    /// The services are applied and being asked.
    Verifying,
    /// The checks have passed; `post_deploy` hooks are next.
    Verified,
    /// The release is verified; `current` is about to move.
    Committing,
    /// `current` has moved; the record of it is next.
    Committed,
    /// The release before is being put back.
    Undoing,
    /// Everything is being stopped, because somebody asked for that.
    TakingDown,
}

impl Phase {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Placed => "placed",
            Self::Ready => "ready",
            Self::BackedUp => "backed_up",
            Self::Switching => "switching",
            Self::Verifying => "verifying",
            Self::Verified => "verified",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Undoing => "undoing",
            Self::TakingDown => "taking_down",
        }
    }

    /// Returns what was being done, in words that follow "while".
    pub fn doing(self) -> &'static str {
        match self {
            Self::Preparing => "its files were being placed",
            Self::Placed => "its images were being pulled or built",
            Self::Ready => "its backup was being taken",
            Self::BackedUp => "it was about to be switched to",
            Self::Switching => "its containers were being changed",
            Self::Verifying => "its checks were being asked",
            Self::Verified => "its `post_deploy` hooks ran",
            Self::Committing => "it was being made current",
            Self::Committed => "it was being recorded",
            Self::Undoing => "the release before was being put back",
            Self::TakingDown => "everything was being stopped",
        }
    }

    /// Returns whether containers may have been changed.
    pub fn has_switched(self) -> bool {
        self >= Self::Switching
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
    /// The root that it is about, without symlinks.
    #[serde(default)]
    pub root: String,
    /// Id of the machine's start since which `children` count.
    #[serde(default)]
    pub boot: String,
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
    /// Containers that were there before, by id, with their service: what undoing keeps.
    #[serde(default, alias = "containers")]
    pub keep: BTreeMap<String, String>,
    /// Those that ran, in the order in which they had been started: what undoing starts again, and giving up when the
    /// daemon was away.
    #[serde(default)]
    pub start: Vec<String>,
    /// Those of them that may have been told to stop: the engine goes on with that when whoever asked is dead.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Programs that change something, by process id, with their start time in clock ticks since the machine's start.
    #[serde(default)]
    pub children: BTreeMap<u32, u64>,
    /// The backup that was taken.
    #[serde(default)]
    pub backup: Option<String>,
    /// Why the release before is being put back.
    #[serde(default)]
    pub why: Option<FailureReport>,
    /// Hooks that have begun, in order. One that runs stands here as interrupted, so that nobody repeats it.
    #[serde(default)]
    pub hooks: Vec<HookResult>,
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
    /// It is about another root, app or environment.
    #[error("the journal {} is not of this root: it is about {whose}; nothing was touched", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is about.
        whose: String,
    },
    /// A newer version of the program wrote it.
    #[error("the journal {} was written by version {version} of ffe-deploy; this is {}", path.display(), env!("CARGO_PKG_VERSION"))]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Who wrote it.
        version: String,
        /// What it says, as far as this version understands it.
        entry: Box<serde_json::Value>,
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
            Self::Foreign { path, .. } => format!(
                "move {} back to where it came from, or remove it when what runs here (`docker ps`) is right; then deploy again",
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
/// The journal is there and cannot be read, is damaged, foreign, or from a newer version: never a guess.
pub fn read(path: &Path) -> Result<Option<Entry>, JournalError> {
    let damaged = |what: &str| JournalError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let text = fs::symlink_metadata(path).and_then(|meta| match meta.is_file() && meta.len() <= LARGEST {
        true => fs::read(path).map(Some),
        // A pipe would never end, and a directory is none of ours.
        false => Ok(None),
    });
    let text = match text {
        Ok(Some(text)) => text,
        Ok(None) => return Err(damaged("it is no file of ours")),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(JournalError::Read { path: path.to_owned(), source }),
    };
    let sealed: Sealed =
        serde_json::from_slice(&text).map_err(|_| damaged("it is not a whole JSON object"))?;
    if sealed.checksum != checksum(&sealed.entry) {
        return Err(damaged("its checksum does not match"));
    }
    let schema = sealed.entry.get("schema").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if schema > u64::from(SCHEMA) {
        let version =
            sealed.entry.get("tool_version").and_then(|v| v.as_str()).unwrap_or("unknown").to_owned();
        return Err(JournalError::Newer { path: path.to_owned(), version, entry: Box::new(sealed.entry) });
    }
    let entry: Entry = serde_json::from_value(sealed.entry).map_err(|source| damaged(&source.to_string()))?;
    if entry.schema == 0 {
        return Err(damaged("it does not say its version"));
    }
    let ours = root_of(path);
    // The first version of the format did not say its root.
    if entry.schema > 1 && ours.as_ref() != Some(&entry.root) {
        let whose =
            format!("`{}` in `{}` below {}", entry.job.app.name, entry.job.environment.name, entry.root);
        return Err(JournalError::Foreign { path: path.to_owned(), whose });
    }
    Ok(Some(entry))
}

/// Returns the root in whose `state/` a journal lies, without symlinks.
pub(super) fn root_of(path: &Path) -> Option<String> {
    Some(fs::canonicalize(path.parent()?.parent()?).ok()?.to_string_lossy().into_owned())
}

/// Writes what is about to happen; when this returns, it is on disk.
///
/// # Errors
/// It cannot be written; the change must then not be made.
pub fn write(path: &Path, entry: &Entry) -> Result<(), WriteError> {
    let root = root_of(path).unwrap_or_default();
    let entry = serde_json::to_value(Entry { schema: SCHEMA, root, ..entry.clone() }).unwrap_or_default();
    let sealed = Sealed { checksum: checksum(&entry), entry };
    let mut text = serde_json::to_vec_pretty(&sealed).unwrap_or_default();
    // JSON may end in blanks. The last byte is a line's end, for those who look.
    text.resize((text.len() + 1).next_multiple_of(ROOM) - 1, b' ');
    text.push(b'\n');
    atomic::write_in_turn(path, &path.with_file_name(SPARE), &text, 0o600)
}

/// Says that the deployment has ended: there is nothing to recover. Its room is kept for the next one.
///
/// # Errors
/// The file cannot be taken away.
pub fn clear(path: &Path) -> Result<(), WriteError> {
    atomic::set_aside(path, &path.with_file_name(SPARE))
}

fn checksum(entry: &serde_json::Value) -> String {
    hex::encode(Sha256::digest(entry.to_string().as_bytes()))
}

/// Returns an entry as a deployment writes it while it switches.
#[cfg(test)]
pub(super) fn example_entry() -> Entry {
    Entry {
        schema: SCHEMA,
        tool_version: "0.1.0".into(),
        agent: "state/bin/0.1.0-00".into(),
        job: crate::model::example_job(),
        started_at: Timestamp::UNIX_EPOCH,
        root: String::new(),
        boot: String::new(),
        phase: Phase::Switching,
        project: "shop".into(),
        before: None,
        after: Some("deploy-1".parse().unwrap()),
        keep: BTreeMap::new(),
        start: Vec::new(),
        remove: Vec::new(),
        children: BTreeMap::new(),
        backup: None,
        why: None,
        hooks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::example_entry as entry;
    use super::*;

    /// Where a root has its journal.
    fn in_state(root: &tempfile::TempDir) -> PathBuf {
        fs::create_dir(root.path().join("state")).unwrap();
        root.path().join("state/journal.json")
    }

    #[test]
    fn what_was_written_is_read_back_and_a_cleared_journal_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = in_state(&directory);
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
        let path = in_state(&directory);
        write(&path, &entry()).unwrap();
        let whole = fs::read_to_string(&path).unwrap().trim_end().to_owned();
        for broken in [&whole[..whole.len() / 2], "", &whole.replace("switching", "verifying")] {
            fs::write(&path, broken).unwrap();
            let error = read(&path).err().unwrap().to_string();
            assert!(error.contains("journal.json") && error.contains("damaged"), "{error}");
        }
        let mut newer = serde_json::to_value(entry()).unwrap();
        newer["schema"] = (SCHEMA + 1).into();
        newer["tool_version"] = "9.0.0".into();
        let sealed = Sealed { checksum: checksum(&newer), entry: newer };
        fs::write(&path, serde_json::to_vec(&sealed).unwrap()).unwrap();
        assert!(read(&path).err().unwrap().to_string().contains("9.0.0"));
    }

    #[test]
    fn a_journal_of_another_root_a_directory_and_a_pipe_are_not_taken_for_ours() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, there) = (in_state(&one), in_state(&other));
        write(&here, &entry()).unwrap();
        fs::copy(&here, &there).unwrap();
        let error = read(&there).err().unwrap();
        assert!(
            matches!(error, JournalError::Foreign { .. }) && error.to_string().contains("staging"),
            "{error}"
        );
        fs::remove_file(&there).unwrap();
        fs::create_dir(&there).unwrap();
        assert!(matches!(read(&there), Err(JournalError::Damaged { .. })));
        fs::remove_dir(&there).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &there, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read(&there), Err(JournalError::Damaged { .. })));
    }

    #[test]
    fn a_journal_of_the_first_format_is_still_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = in_state(&directory);
        let mut old = serde_json::to_value(entry()).unwrap();
        for later in
            ["agent", "root", "boot", "keep", "start", "remove", "children", "backup", "why", "hooks"]
        {
            old.as_object_mut().unwrap().remove(later);
        }
        old["schema"] = 1.into();
        old["containers"] = serde_json::json!({ "c1": "web" });
        let sealed = Sealed { checksum: checksum(&old), entry: old };
        fs::write(&path, serde_json::to_vec(&sealed).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().keep["c1"], "web");
    }

    #[test]
    fn it_takes_its_room_once_and_keeps_it() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = in_state(&directory);
        let spare = path.with_file_name(SPARE);
        let taken = |path: &Path| path.metadata().map(|meta| (meta.len(), meta.blocks() * 512)).unwrap();
        let room = ROOM as u64;
        for round in 0..4 {
            write(&path, &Entry { tool_version: round.to_string(), ..entry() }).unwrap();
            assert_eq!(read(&path).unwrap().unwrap().tool_version, round.to_string());
            assert_eq!((taken(&path), taken(&spare)), ((room, room), (room, room)), "round {round}");
        }
        clear(&path).unwrap();
        assert_eq!((path.exists(), taken(&spare).0), (false, room));
        let names = fs::read_dir(directory.path().join("state")).unwrap().count();
        assert_eq!(names, 1, "nothing else is left");
    }
}
