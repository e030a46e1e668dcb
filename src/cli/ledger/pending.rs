//! Reports that could not be sent: files beside the event log, for `ledger sync`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Event, LONGEST_FOREIGN_LINE};
use crate::host::atomic;
use crate::model::Requester;
use crate::model::lifecycle::Report;
use crate::report::ledger::{Account, Letter};
use crate::text::Redactor;

/// How the name of such a file ends.
pub(super) const ENDING: &str = ".ledger.json";
/// Largest one that is read, in bytes: all lines of a long run.
const LARGEST: u64 = 64 * 1024 * 1024;
/// Version of its format.
const SCHEMA: u32 = 1;

/// A report that waits, without secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    schema: u32,
    /// Address of the ledger that it is for, when it is known.
    pub(super) ledger: Option<String>,
    /// Key of the deployment there.
    pub(super) report_id: Uuid,
    /// The report, with all lines that wait.
    pub(super) report: Report,
}

impl Pending {
    pub(super) fn of(letter: &Letter, ledger: Option<String>, redactor: &Redactor) -> io::Result<Self> {
        let report = serde_json::from_str(&letter.body(redactor)?)?;
        Ok(Self { schema: SCHEMA, ledger, report_id: letter.id, report })
    }
}

/// Returns the file beside an event log.
pub(super) fn beside(event_log: &Path) -> PathBuf {
    let name = event_log.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".jsonl").unwrap_or(&name);
    event_log.with_file_name(format!("{name}{ENDING}"))
}

/// What a file says.
pub(super) enum Found {
    /// A report that could not be sent.
    Kept(Box<Pending>),
    /// How a run ended, from its event log.
    Told(Box<Letter>),
}

/// Reads a report that waits, or folds the event log of a run that has ended. A log does not know who asked: that is
/// whoever asks now.
///
/// # Errors
/// It is neither, in words.
pub(super) fn read(path: &Path, requester: &Requester) -> Result<Found, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
        let kept: Pending =
            serde_json::from_str(&text).map_err(|error| format!("it is no report: {error}"))?;
        return match kept.schema {
            SCHEMA => Ok(Found::Kept(Box::new(kept))),
            other => Err(format!("it is of version {other}; this program knows {SCHEMA}")),
        };
    }
    let mut account = Account::default();
    (account.known.who, account.known.run_url) = (Some(requester.who.clone()), requester.run_url.clone());
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST_FOREIGN_LINE as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| error.to_string())? == 0 {
            break;
        }
        // A line that is torn, or none of ours, says nothing.
        if let Ok(event) = serde_json::from_slice::<Event>(&line) {
            account.hear(&event);
        }
    }
    match account.last_letter() {
        Some(letter) if letter.is_last() => {
            let lines = account.take_lines();
            Ok(Found::Told(Box::new(Letter { report: Report { lines, ..letter.report }, ..letter })))
        }
        Some(_) => {
            Err("its end is not in this log: `ffe-deploy ledger sync ENVIRONMENT` asks the host".to_owned())
        }
        None => Err("it is no event log of a deployment that has ended".to_owned()),
    }
}

/// Writes it, 0600, in one step.
pub(super) fn write(path: &Path, pending: &Pending) -> io::Result<()> {
    let mut text = serde_json::to_string(pending)?;
    text.push('\n');
    atomic::write(path, text.as_bytes(), 0o600).map_err(io::Error::other)
}
