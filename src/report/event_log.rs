//! The event log: every event as one line of JSON, whatever LOG_LEVEL says, flushed as it happens (R000-30).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{ReportError, Reporter};
use crate::event::{Event, EventKind};
use crate::model::DeploymentId;
use crate::text::rotating;

/// Writes every event to a file.
pub struct EventLog {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl EventLog {
    /// Makes the file anew, 0600, and the directories that it needs, 0700.
    ///
    /// # Errors
    /// When the file or a directory cannot be made.
    pub fn create(path: &Path) -> Result<Self, ReportError> {
        let file = create_private(path, OpenOptions::new().truncate(true))?;
        Ok(Self { path: path.to_owned(), file, finished: false })
    }

    /// Returns where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the place of the log when none is given: `$RUNNER_TEMP/ffe-deploy/<id>.jsonl`, else
/// `$XDG_STATE_HOME/ffe-deploy/`, else `~/.local/state/ffe-deploy/`, else below the directory for temporary files;
/// never the project (DESIGN section 9). `variable` reads a variable of the environment.
pub fn default_place(variable: impl Fn(&str) -> Option<String>, id: &DeploymentId) -> PathBuf {
    // Relative values would name a place in the project; the XDG specification ignores them, too.
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("RUNNER_TEMP")
        .or_else(|| directory("XDG_STATE_HOME"))
        .or_else(|| directory("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("ffe-deploy")
        .join(format!("{id}.jsonl"))
}

/// Returns the directories in which logs lie when no place is given, and what is kept beside them: those of every job and
/// of every user's run on this machine.
pub fn usual_places(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = directory("HOME").map(|home| home.join(".local/state"));
    let mut places: Vec<PathBuf> =
        [directory("RUNNER_TEMP"), directory("XDG_STATE_HOME"), home].into_iter().flatten().collect();
    if places.is_empty() {
        places.push(std::env::temp_dir());
    }
    places.dedup();
    places.into_iter().map(|place| place.join("ffe-deploy")).collect()
}

/// Opens a file for writing that only we can read, with the directories that it needs.
pub(super) fn create_private(path: &Path, how: &mut OpenOptions) -> Result<File, ReportError> {
    let failed = |source| ReportError::Open { place: path.display().to_string(), source };
    rotating::create_private(path, how).map_err(failed)
}

impl Reporter for EventLog {
    fn name(&self) -> &'static str {
        "event log"
    }

    fn on_event(&mut self, event: &Event) -> Result<(), ReportError> {
        let ends = matches!(event.kind, EventKind::DeploymentFinished { .. });
        if self.finished && !ends {
            // Readers rely on the last line being the end (DESIGN section 9).
            return Ok(());
        }
        self.finished |= ends;
        let mut line = event.to_line().map_err(|source| ReportError::Json { source })?;
        line.push('\n');
        // Unbuffered: one write a line, so that a killed job leaves whole lines.
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| ReportError::Write { place: self.path.display().to_string(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::event::examples;

    #[test]
    fn every_event_is_a_line_the_end_is_the_last_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/log.jsonl");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "of another run\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut log = EventLog::create(&path).unwrap();
        let events = examples::all();
        for (at, event) in events.iter().enumerate() {
            log.on_event(event).unwrap();
            let lines = std::fs::read_to_string(&path).unwrap();
            assert_eq!(lines.lines().count(), at + 1, "written as it happens");
        }
        log.on_event(&events[1]).unwrap();
        let lines = std::fs::read_to_string(&path).unwrap();
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!(
            (last["event"].as_str(), lines.lines().count()),
            (Some("deployment_finished"), events.len())
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn directories_that_had_to_be_made_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::create(&dir.path().join("ffe-deploy/log.jsonl")).unwrap();
        assert_eq!(log.path().parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let below_a_file = log.path().join("x.jsonl");
        assert!(EventLog::create(&below_a_file).is_err());
    }

    #[test]
    fn the_default_place_is_never_the_project() {
        let id = "deploy-1".parse().unwrap();
        let place = |set: &[(&str, &str)]| {
            let found =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            default_place(found, &id).display().to_string()
        };
        let all = [("RUNNER_TEMP", "/r"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(place(&all), "/r/ffe-deploy/deploy-1.jsonl");
        assert_eq!(place(&all[1..]), "/x/ffe-deploy/deploy-1.jsonl");
        assert_eq!(place(&all[2..]), "/h/.local/state/ffe-deploy/deploy-1.jsonl");
        assert_eq!(
            place(&[("RUNNER_TEMP", ""), ("XDG_STATE_HOME", "here"), ("HOME", "/h")]),
            place(&all[2..])
        );
        assert!(place(&[]).starts_with('/'));
    }
}
