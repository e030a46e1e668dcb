//! The event log: every event as one line of JSON, whatever LOG_LEVEL says, flushed as it happens (R000-30).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{ReportError, Reporter};
use crate::event::{Event, EventKind};
use crate::model::DeploymentId;

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

/// Opens a file for writing that only we can read, with the directories that it needs.
pub(super) fn create_private(path: &Path, how: &mut OpenOptions) -> Result<File, ReportError> {
    let failed = |source| ReportError::Open { place: path.display().to_string(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    let file = how.write(true).create(true).mode(0o600).open(path).map_err(failed)?;
    make_private(&file).map_err(failed)?;
    Ok(file)
}

/// A file that was there keeps its mode on opening. Devices and pipes are left as they are.
fn make_private(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
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
