//! Beside the run: reports as something changes, at most one in two seconds, and the end within a limit.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::super::slack;
use super::client::Api;
use super::pending::{self, Pending};
use crate::config::LedgerFound;
use crate::event::DeploymentResult;
use crate::model::lifecycle::{DeploymentStatus, Report, ReportStatus};
use crate::model::reported::{EndOf, sequence_at};
use crate::model::{ErrorKind, FailureReport, Outcome};
use crate::report::delivery::{Answer, Limit, Unsent, send};
use crate::report::ledger::{Kept, Known, Letter, Listener, Recovered, Shared, hint, judged, strange};

/// Shortest time between two reports: the ledger takes 100 requests a minute of one token.
const GAP: Duration = Duration::from_secs(2);
/// Longest time between two attempts while the ledger is away.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// Where reports go, and where those that could not be sent.
pub(super) struct Way {
    /// The ledger, or why it cannot be told.
    pub(super) ledger: LedgerFound,
    /// File for what could not be sent.
    pub(super) pending: PathBuf,
    /// Words of the command that sends it later, up to the file.
    pub(super) sync: String,
}

/// Carries what an account says to the ledger.
pub(in crate::cli) struct Courier {
    shared: Shared,
    way: Way,
    api: Result<Api, String>,
    /// What ends the work beside the run, and the work.
    working: Option<(oneshot::Sender<()>, JoinHandle<Progress>)>,
}

/// How far the ledger has been told.
#[derive(Default)]
struct Progress {
    /// The highest sequence that it knows, or that was sent.
    sequence: u32,
    /// Why nothing more is sent.
    refused: Option<Unsent>,
}

impl Courier {
    /// Begins to carry.
    pub(super) fn start(way: Way) -> Self {
        let shared = Shared::default();
        let api = way.ledger.as_ref().map_err(Clone::clone).and_then(Api::of);
        let working = api.as_ref().ok().map(|api| {
            let (over, ended) = oneshot::channel();
            (over, tokio::spawn(Worker { api: api.clone(), shared: shared.clone() }.run(ended)))
        });
        Self { shared, way, api, working }
    }

    /// Returns the reporter that hears for it.
    pub(super) fn listener(&self) -> Listener {
        Listener(self.shared.clone())
    }

    /// Takes in what is known besides the events.
    pub(super) fn know(&self, take: impl FnOnce(&mut Known)) {
        take(&mut self.shared.lock().known);
    }

    /// Tells the end, within a limit, and returns whether there was anything to tell.
    ///
    /// # Errors
    /// Why the ledger was not told, in words without secrets, and what to do about it.
    pub(super) async fn finish(mut self, result: Option<&DeploymentResult>) -> Result<bool, String> {
        let limit = if result.is_some_and(slack::is_cancelled) { Limit::CANCELLED } else { Limit::USUAL };
        let mut progress = match self.working.take() {
            Some((over, work)) => {
                // The work is gone when nobody hears that it is over.
                over.send(()).ok();
                work.await.unwrap_or_default()
            }
            None => Progress::default(),
        };
        let told = tokio::select! {
            told = timeout(limit.time, self.tell_all(&mut progress, limit)) => {
                told.unwrap_or_else(|_| Err(said(&Unsent::Late(limit.time))))
            }
            () = slack::stopped() => Err("the job was stopped meanwhile".to_owned()),
        };
        told.map_err(|why| self.put_aside(&why, &progress))
    }

    async fn tell_all(&self, progress: &mut Progress, limit: Limit) -> Result<bool, String> {
        let recovered = self.shared.lock().recovered().to_vec();
        if recovered.is_empty() && self.shared.lock().letter(0).is_none() {
            return Ok(false);
        }
        let api = self.api.as_ref().map_err(Clone::clone)?;
        if let Some(refused) = progress.refused.take() {
            return Err(said(&refused));
        }
        tell_end(api, &self.shared, progress, limit).await.map_err(|why| said(&why))?;
        for ended in &recovered {
            close(api, ended, limit)
                .await
                .map_err(|why| format!("{} of {}", said(&why), ended.deployment_id))?;
        }
        Ok(true)
    }

    /// Writes what the ledger has not got to the file, and returns the words for it.
    fn put_aside(&self, why: &str, progress: &Progress) -> String {
        let mut account = self.shared.lock();
        let Some(mut letter) = account.letter(progress.sequence) else { return why.to_owned() };
        letter.report.lines = account.take_lines();
        let url = self.way.ledger.as_ref().map(|ledger| ledger.url.clone()).ok();
        let place = &self.way.pending;
        let pending = Pending::of(&letter, url, &account.known.redactor);
        drop(account);
        match pending.and_then(|pending| pending::write(place, &pending)) {
            Ok(()) => {
                let file = crate::text::shell_word(&place.display().to_string());
                format!("{why}; its report is kept: send it with `{} --from {file}`", self.way.sync)
            }
            Err(error) => format!("{why}; and its report could not be kept in {}: {error}", place.display()),
        }
    }
}

/// Returns why it was not told, and what to do.
pub(super) fn said(why: &Unsent) -> String {
    why.with_hint(hint(why))
}

/// Tells the last report, and the lines that wait, until nothing does.
async fn tell_end(api: &Api, shared: &Shared, progress: &mut Progress, limit: Limit) -> Result<(), Unsent> {
    loop {
        let Some((letter, body)) = say(shared, progress.sequence) else { return Ok(()) };
        let kept = send(|| api.put(letter.id, body.clone()), judged, limit).await?;
        if !take_in(shared, progress, &letter, &kept) && !kept.is_open() {
            // Somebody else has told the end.
            return Ok(());
        }
        if kept.applied && !shared.lock().has_lines() {
            return Ok(());
        }
    }
}

/// Returns the report as it stands and its body.
fn say(shared: &Shared, after: u32) -> Option<(Letter, String)> {
    let account = shared.lock();
    let letter = account.letter(after)?;
    let body = letter.body(&account.known.redactor).ok()?;
    Some((letter, body))
}

/// Takes in what the ledger made of a report, and returns whether it took it. Another job may have told more of the same
/// deployment: then the next report is above that.
fn take_in(shared: &Shared, progress: &mut Progress, letter: &Letter, kept: &Kept) -> bool {
    progress.sequence = letter.report.sequence.max(kept.sequence);
    if let (true, Some(line)) = (kept.applied, letter.report.lines.last()) {
        shared.lock().acknowledge(line.number);
    }
    kept.applied
}

/// Says in the ledger that an earlier deployment has ended, when it thinks that it goes on.
async fn close(api: &Api, ended: &Recovered, limit: Limit) -> Result<(), Unsent> {
    let Standing::Open(known, sequence) = look_up(api, ended.id, limit).await? else { return Ok(()) };
    let letter = Letter { id: ended.id, report: closed(*known, sequence, ended) };
    let body = letter.body(&crate::text::Redactor::default()).unwrap_or_default();
    send(|| api.put(letter.id, body.clone()), judged, limit).await.map(drop)
}

/// What the ledger knows of a deployment.
pub(super) enum Standing {
    /// Nothing.
    Unknown,
    /// That it goes on: its latest report, and the sequence of that.
    Open(Box<Report>, u32),
    /// How it has ended.
    Ended,
}

/// Asks what the ledger knows of a deployment.
pub(super) async fn look_up(api: &Api, id: Uuid, limit: Limit) -> Result<Standing, Unsent> {
    let path = format!("/api/v1/reports/{id}");
    let found = timeout(limit.time, api.get(&path)).await.map_err(|_| Unsent::Late(limit.time))?;
    standing(&found.map_err(Unsent::Away)?)
}

fn standing(found: &Answer) -> Result<Standing, Unsent> {
    let value: Option<Value> = serde_json::from_str(&found.body).ok();
    match (found.status, value) {
        // A ledger says so in its own words: anything may stand at a wrong address.
        (404, Some(value)) if value["detail"].is_string() && value["detail"] != "Not Found" => {
            Ok(Standing::Unknown)
        }
        (200, Some(value)) => known(&value).ok_or_else(strange),
        (200, None) => Err(strange()),
        _ => judged(found).map(|_| Standing::Ended),
    }
}

fn known(value: &Value) -> Option<Standing> {
    let status: DeploymentStatus = value["deployment"]["status"].as_str()?.parse().ok()?;
    if !matches!(status, DeploymentStatus::Pending | DeploymentStatus::Deploying) {
        return Some(Standing::Ended);
    }
    let sequence = u32::try_from(value["sequence"].as_u64()?).ok()?;
    let report = serde_json::from_value(value["report"].clone()).ok()?;
    Some(Standing::Open(Box::new(report), sequence))
}

/// What was known of a deployment, with its end.
fn closed(known: Report, sequence: u32, ended: &Recovered) -> Report {
    let Recovered { outcome, at, .. } = ended;
    let end = EndOf { outcome: *outcome, is_back: *outcome == Outcome::RolledBack, stays: false };
    let mut errors = known.errors;
    if *outcome != Outcome::Succeeded {
        let message = format!("its job did not see the end; a later one has ended it: {outcome}");
        errors.push(FailureReport::new(ErrorKind::DeploymentError, "recovered", message));
    }
    Report {
        sequence: sequence.saturating_add(1).max(sequence_at(*at)),
        status: ReportStatus::of_end(end).unwrap_or(ReportStatus::Failed),
        finished_at: Some(*at),
        errors,
        lines: Vec::new(),
        ..known
    }
}

/// What goes on beside the run.
struct Worker {
    api: Api,
    shared: Shared,
}

impl Worker {
    /// Reports as something changes, until it is over; a request that is under way then is given up, the last report
    /// says it all.
    async fn run(self, mut over: oneshot::Receiver<()>) -> Progress {
        let mut progress = Progress::default();
        let mut failures: u32 = 0;
        let mut earliest = Instant::now();
        while progress.refused.is_none() {
            tokio::select! {
                _ = &mut over => return progress,
                () = self.shared.news() => {}
            }
            tokio::select! {
                _ = &mut over => return progress,
                () = sleep_until(earliest) => {}
            }
            // The end is told by whoever waits for it.
            let Some((letter, body)) =
                say(&self.shared, progress.sequence).filter(|(letter, _)| !letter.is_last())
            else {
                continue;
            };
            progress.sequence = letter.report.sequence;
            let answered = tokio::select! {
                _ = &mut over => return progress,
                answered = self.api.put(letter.id, body) => answered,
            };
            let gap = match answered.map_err(Unsent::Away).and_then(|answer| judged(&answer)) {
                Ok(kept) => {
                    failures = 0;
                    let is_taken = take_in(&self.shared, &mut progress, &letter, &kept);
                    if !is_taken || self.shared.lock().has_lines() {
                        self.shared.ring();
                    }
                    GAP
                }
                Err(why) if why.is_passing() => {
                    failures += 1;
                    self.shared.ring();
                    let gap = GAP.saturating_mul(1 << failures.min(5)).min(LONGEST_GAP);
                    gap.max(why.wait().unwrap_or_default())
                }
                Err(why) => {
                    progress.refused = Some(why);
                    GAP
                }
            };
            earliest = Instant::now().checked_add(gap).unwrap_or(earliest);
        }
        over.await.ok();
        progress
    }
}
