//! The host's own, complete event log of a deployment: `state/jobs/<id>/events.jsonl`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::link::line_of;
use crate::event::{Event, EventKind, Sink};
use crate::host::{atomic, ballast};
use crate::model::{Outcome, Stage};
use crate::text::Redactor;

/// How much of a log's end is looked at for its last line; most are far shorter.
const TAIL: u64 = 64 * 1024;

/// Writes events to the file, redacted; shared, because recovery learns more secrets as it goes.
pub(super) struct LogSink {
    file: File,
    /// How long it is; what stands behind that is half a line.
    length: u64,
    /// Given up when the disk is full.
    ballast: PathBuf,
    redactor: Arc<RwLock<Redactor>>,
}

impl LogSink {
    /// Opens the log, drops a torn last line, and returns the number of the last event with it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(
        path: &Path,
        ballast: PathBuf,
        redactor: Arc<RwLock<Redactor>>,
    ) -> io::Result<(Self, u64)> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true).mode(0o600);
        let mut file = atomic::open(path, &options)?;
        let whole = whole_length(&mut file)?;
        file.set_len(whole)?;
        let last_seq = lines(path)?.iter().filter_map(|line| seq_of(line)).max().unwrap_or(0);
        Ok((Self { file, length: whole, ballast, redactor }, last_seq))
    }
}

impl Sink for LogSink {
    fn take(&mut self, event: &Event) {
        let redactor = self.redactor.read().map(|redactor| redactor.clone()).unwrap_or_default();
        let line = format!("{}\n", line_of(event, &redactor));
        // A full disk must not stop the undoing: the event is lost, the host is not.
        if self.append(&line).is_err() && ballast::give_up(&self.ballast) {
            self.append(&line).ok();
        }
        if matches!(event.kind, EventKind::DeploymentFinished { .. }) {
            self.file.sync_all().ok();
        }
    }
}

impl LogSink {
    /// Appends a line as a whole, or nothing of it.
    fn append(&mut self, line: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Half a line would be glued to the next one.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// Returns the length up to the last line break.
fn whole_length(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += read as u64;
    }
}

/// Returns the whole lines of a log.
///
/// # Errors
/// It cannot be read.
pub(super) fn lines(path: &Path) -> io::Result<Vec<String>> {
    let text = fs::read(path)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(String::from_utf8_lossy(&text[..whole]).lines().map(str::to_owned).collect())
}

/// Returns the number of an event.
pub(super) fn seq_of(line: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(line).ok()?.get("seq")?.as_u64()
}

/// Returns whether a line is the last word of a deployment.
pub(super) fn is_end(line: &str) -> bool {
    line.contains("\"deployment_finished\"")
        && serde_json::from_str::<serde_json::Value>(line)
            .is_ok_and(|value| value["event"] == "deployment_finished")
}

/// Returns whether a deployment has ended, as its log says.
pub(super) fn has_ended(path: &Path) -> bool {
    last_line(path).is_some_and(|line| is_end(&line))
}

/// Returns the stage that a deployment is in, as its log says.
pub(super) fn stage(path: &Path) -> Option<Stage> {
    let value: serde_json::Value = serde_json::from_str(&last_line(path)?).ok()?;
    serde_json::from_value(value.get("stage")?.clone()).ok()
}

/// Returns the last whole line of a log, of which only the end is read: some look many times a second.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let end = tail.iter().rposition(|byte| *byte == b'\n')?;
    match tail[..end].iter().rposition(|byte| *byte == b'\n') {
        Some(before) => Some(String::from_utf8_lossy(&tail[before + 1..end]).into_owned()),
        None => lines(path).ok()?.pop(),
    }
}

/// Returns how a deployment has ended, as its log says.
pub(super) fn last_outcome(path: &Path) -> Option<Outcome> {
    let value: serde_json::Value = serde_json::from_str(&last_line(path)?).ok()?;
    serde_json::from_value(value.get("result")?.get("outcome")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Context, Emitter, Origin};
    use crate::model::{DeploymentId, Stage};

    #[test]
    fn a_torn_line_is_dropped_and_numbers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        fs::write(&path, "{\"seq\":1}\n{\"seq\":2}\n{\"se").unwrap();
        let (sink, last) = LogSink::open(&path, PathBuf::new(), Arc::default()).unwrap();
        assert_eq!(last, 2);
        let context = Context {
            origin: Origin::Agent,
            deployment_id: DeploymentId::generate(),
            correlation_id: "c".parse().unwrap(),
            app: None,
            environment: None,
            host: "h".into(),
        };
        Emitter::new(context, last, Stage::Setup, Box::new(sink))
            .emit(crate::here!(), EventKind::StageStarted {});
        let lines = lines(&path).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(seq_of(&lines[2]), Some(3));
        assert!(!has_ended(&path));
        assert_eq!(stage(&path), Some(Stage::Setup));
        // Longer than what is looked at, and with half a line behind it.
        let long = format!("{{\"event\":\"{}\",\"stage\":\"pulling\"}}\n{{\"se", "x".repeat(TAIL as usize));
        fs::write(&path, long).unwrap();
        assert_eq!(stage(&path), Some(Stage::Pulling));
    }
}
