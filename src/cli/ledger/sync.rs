//! `ledger sync`: sends what the ledger has not got. Doing it again sends nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::super::answer;
use super::super::args::SyncArgs;
use super::super::github::{Front, Github};
use super::super::order::Wish;
use super::super::surroundings::Surroundings;
use super::client::Api;
use super::courier::{self, Standing};
use super::pending::{self, ENDING, Found, Pending};
use crate::config::{self, Inputs, Ledger};
use crate::model::lifecycle::{Report, ReportStatus};
use crate::model::reported::ledger_id;
use crate::model::{Action, ErrorKind, Exit, FailureReport, HistoryEntry};
use crate::report::delivery::{Limit, Unsent, send};
use crate::report::ledger::{Letter, in_portions, judged};
use crate::report::{event_log, words};
use crate::text::{Redactor, harmless};

/// For each report: a ledger that has enough for a minute is waited for, one that is away is not.
const PATIENT: Limit = Limit { time: Duration::from_secs(120), retries: 4 };

/// What became of one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Became {
    /// The ledger has it now.
    Sent,
    /// It had it already, or knows of a later one.
    Known,
    /// It stays where it is.
    Remains,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Row {
    /// File, or `host` where the history of the host says it.
    from: String,
    deployment_id: Option<String>,
    app: Option<String>,
    environment: Option<String>,
    version: Option<String>,
    status: Option<ReportStatus>,
    result: Became,
    problem: Option<String>,
}

/// Where a report was found.
enum Source {
    /// A file of ours, which goes when the ledger has it.
    Kept(PathBuf),
    /// An event log, which stays.
    Log(PathBuf),
    /// The history of the host.
    Host,
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Kept(path) | Self::Log(path) => path.display().to_string(),
            Self::Host => "host".to_owned(),
        }
    }
}

/// Sends what is found, says what was sent and what remains, and returns how that ended.
pub(in crate::cli) async fn sync(args: &SyncArgs) -> Exit {
    let surroundings = Surroundings::of_process();
    let config = &args.target.reach.config;
    let github = Github::of(&surroundings, Front::beside(config.log.output), &config.project_root);
    match run(args, &surroundings, github.as_ref()).await {
        Ok(exit) => {
            github.iter().for_each(|github| github.ended(exit));
            exit
        }
        Err((exit, failure)) => answer::fail("ledger sync", &failure, exit, github.as_ref()),
    }
}

async fn run(
    args: &SyncArgs,
    surroundings: &Surroundings,
    github: Option<&Github>,
) -> Result<Exit, (Exit, FailureReport)> {
    let wish = Wish::look(&args.target, Action::History);
    let ledger = configured(&wish.inputs(surroundings))?;
    let api = Api::of(&ledger).map_err(|why| (Exit::Invalid, unusable(&why)))?;
    let mut sync = Sync { api, ledger, rows: Vec::new(), away: None, exit: Exit::Done };
    for path in found(&args.from, surroundings) {
        sync.file(&path, surroundings).await;
    }
    if wish.environment.is_some() {
        let entries = answer::history(&wish, surroundings, github).await?;
        // As they happened: the newest comes first there.
        for entry in entries.into_iter().rev() {
            sync.record(&entry).await;
        }
    }
    sync.show(args);
    Ok(sync.exit)
}

/// Files that were named, those of directories that were named, and where none was those beside the usual event logs.
fn found(named: &[PathBuf], surroundings: &Surroundings) -> Vec<PathBuf> {
    let usual = || event_log::usual_places(|name| surroundings.get(name));
    let places = if named.is_empty() { usual() } else { named.to_vec() };
    let mut files = Vec::new();
    for place in places {
        let Ok(entries) = fs::read_dir(&place) else {
            // A usual place need not be there; a named one is told of when it is read.
            files.extend((!named.is_empty()).then_some(place));
            continue;
        };
        let mut inside: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)))
            .collect();
        inside.sort();
        files.extend(inside);
    }
    files
}

struct Sync {
    api: Api,
    ledger: Ledger,
    rows: Vec<Row>,
    /// Why nothing more is sent.
    away: Option<Unsent>,
    exit: Exit,
}

impl Sync {
    async fn file(&mut self, path: &Path, surroundings: &Surroundings) {
        let requester = surroundings.requester();
        match pending::read(path, &requester) {
            Ok(Found::Kept(kept)) => self.kept(path, *kept).await,
            Ok(Found::Told(letter)) => self.letter(Source::Log(path.to_owned()), *letter, true).await,
            Err(problem) => self.unreadable(path, problem),
        }
    }

    async fn kept(&mut self, path: &Path, kept: Pending) {
        let letter = Letter { id: kept.report_id, report: kept.report };
        match kept.ledger.filter(|url| *url != self.ledger.url) {
            Some(url) => {
                let problem = format!("it is for another ledger, {}", harmless(&url));
                self.note(&Source::Kept(path.to_owned()), &letter.report, Became::Remains, Some(problem));
            }
            None => self.letter(Source::Kept(path.to_owned()), letter, false).await,
        }
    }

    async fn record(&mut self, entry: &HistoryEntry) {
        let HistoryEntry::Record(record) = entry else { return };
        let Some(report) = Report::of_record(record) else { return };
        let id = ledger_id(&report.app, &report.environment, &report.deployment_id);
        self.letter(Source::Host, Letter { id, report }, true).await;
    }

    /// Sends it; what is poorer than a job's own report only where the ledger does not know the end.
    async fn letter(&mut self, source: Source, letter: Letter, is_poorer: bool) {
        let sent = match &self.away {
            Some(why) => Err(why.clone()),
            None => self.send(&letter, is_poorer).await,
        };
        let (became, problem) = match sent {
            Ok(became) => (became, None),
            Err(why) => (Became::Remains, Some(courier::said(&why))),
        };
        if became == Became::Remains {
            self.worsen(if self.away.is_some() { Exit::Unreachable } else { Exit::Refused });
        }
        let problem = match &source {
            Source::Kept(path) if became != Became::Remains => forget(path),
            _ => problem,
        };
        self.note(&source, &letter.report, became, problem);
    }

    /// What cannot be sent at all says more than what is refused, and that more than what cannot be read.
    fn worsen(&mut self, exit: Exit) {
        if exit.code() > self.exit.code() {
            self.exit = exit;
        }
    }

    async fn send(&mut self, letter: &Letter, is_poorer: bool) -> Result<Became, Unsent> {
        let ended = self.send_all(letter, is_poorer).await;
        if let Err(why) = &ended
            && why.is_passing()
        {
            self.away = Some(why.clone());
        }
        ended
    }

    async fn send_all(&self, letter: &Letter, is_poorer: bool) -> Result<Became, Unsent> {
        let mut report = letter.report.clone();
        if is_poorer {
            match courier::look_up(&self.api, letter.id, PATIENT).await? {
                Standing::Ended => return Ok(Became::Known),
                Standing::Open(known, sequence) => report = merged(report, *known, sequence),
                Standing::Unknown => {}
            }
        }
        let mut became = Became::Known;
        let mut raise = 0;
        for portion in in_portions(&report) {
            became = self.send_one(letter, portion, &mut raise).await?;
            if became == Became::Known {
                return Ok(became);
            }
        }
        Ok(became)
    }

    /// An end is told above whatever was told of a deployment that goes on there.
    async fn send_one(&self, letter: &Letter, portion: Report, raise: &mut u32) -> Result<Became, Unsent> {
        let mut letter = Letter { id: letter.id, report: portion };
        letter.report.sequence = letter.report.sequence.max(raise.saturating_add(1));
        loop {
            // Both an event log and a file of ours are without secrets already.
            let body = letter.body(&Redactor::default()).unwrap_or_default();
            let kept = send(|| self.api.put(letter.id, body.clone()), judged, PATIENT).await?;
            *raise = kept.sequence;
            if kept.applied {
                return Ok(Became::Sent);
            }
            if !kept.is_open() || !letter.is_last() {
                return Ok(Became::Known);
            }
            letter.report.sequence = kept.sequence.saturating_add(1);
        }
    }

    fn unreadable(&mut self, path: &Path, problem: String) {
        self.worsen(Exit::Invalid);
        self.rows.push(Row {
            from: path.display().to_string(),
            deployment_id: None,
            app: None,
            environment: None,
            version: None,
            status: None,
            result: Became::Remains,
            problem: Some(harmless(&problem)),
        });
    }

    fn note(&mut self, source: &Source, report: &Report, result: Became, problem: Option<String>) {
        self.rows.push(Row {
            from: source.name(),
            deployment_id: Some(report.deployment_id.to_string()),
            app: Some(report.app.to_string()),
            environment: Some(report.environment.to_string()),
            version: Some(report.version.clone()),
            status: Some(report.status),
            result,
            problem,
        });
    }

    fn show(&self, args: &SyncArgs) {
        let count = |what| self.rows.iter().filter(|row| row.result == what).count();
        let (sent, known, remain) = (count(Became::Sent), count(Became::Known), count(Became::Remains));
        let answer =
            serde_json::json!({ "sent": sent, "known": known, "remain": remain, "reports": self.rows });
        let mut text =
            format!("{} sent, {known} known already, {remain} left\n", words::count(sent, "report"));
        for row in self.rows.iter().filter(|row| row.result != Became::Known) {
            text.push_str(&line_of(row));
        }
        answer::print(&answer, args.target.reach.config.log.output, Some(text));
    }
}

fn line_of(row: &Row) -> String {
    let mark = if row.result == Became::Sent { "✓" } else { "✗" };
    let what = match (&row.app, &row.version, &row.environment, &row.deployment_id) {
        (Some(app), Some(version), Some(environment), Some(id)) => {
            harmless(&format!("{app} {version} in {environment}, {id}"))
        }
        _ => harmless(&row.from),
    };
    match &row.problem {
        Some(problem) => format!("  {mark} {what}: {problem}\n"),
        None => format!("  {mark} {what}\n"),
    }
}

/// What is known of a deployment that goes on there, with the end that was found.
fn merged(found: Report, known: Report, sequence: u32) -> Report {
    Report {
        sequence: sequence.saturating_add(1).max(found.sequence),
        commit: known.commit.or(found.commit),
        committed_at: known.committed_at.or(found.committed_at),
        ci_url: known.ci_url.or(found.ci_url),
        config: if known.config.is_empty() { found.config } else { known.config },
        validation: found.validation.or(known.validation),
        stages: if found.stages.is_empty() { known.stages } else { found.stages },
        backup: known.backup.or(found.backup),
        deployed_by: known.deployed_by,
        started_at: known.started_at.min(found.started_at),
        ..found
    }
}

/// The ledger has it: the file would only be sent again.
fn forget(path: &Path) -> Option<String> {
    let error = fs::remove_file(path).err()?;
    Some(format!("it was sent, but {} could not be removed: {error}", path.display()))
}

/// Why nothing is sent without a ledger.
fn no_ledger() -> FailureReport {
    let message = "no ledger is configured";
    let hint = "name it: `ledger: { url: … }` in deployments.yaml, or FFE_LEDGER_URL";
    FailureReport::new(ErrorKind::ConfigurationError, "ledger.none", message).hint(hint)
}

/// Returns the ledger of the configuration.
pub(super) fn configured(inputs: &Inputs) -> Result<Ledger, (Exit, FailureReport)> {
    match config::audience(inputs).ledger {
        Some(Ok(ledger)) => Ok(ledger),
        Some(Err(why)) => Err((Exit::Invalid, unusable(&why))),
        None => Err((Exit::Invalid, no_ledger())),
    }
}

pub(super) fn unusable(why: &str) -> FailureReport {
    let message = format!("the ledger cannot be asked: {why}");
    FailureReport::new(ErrorKind::ConfigurationError, "ledger.unusable", message)
        .hint("correct `ledger` in deployments.yaml, or FFE_LEDGER_URL and FFE_LEDGER_TOKEN")
}
