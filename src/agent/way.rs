//! Makes way for a change: the lease is free, and nothing of an earlier deployment is left unfinished.
//!
//! Enter by [`make_way`]. Somebody who deploys is never disturbed; somebody who is on the way back is waited for.

use std::time::{Duration, Instant};

use super::attach::{Refusal, Served, tools};
use super::boot::READY;
use super::link::Link;
use super::newer::{self, Unfinished};
use super::order::Order;
use super::protocol::Frame;
use super::{guard, log};
use crate::event::{Emitter, EventKind};
use crate::here;
use crate::host::layout::Layout;
use crate::host::lease::{self, Holder};
use crate::host::queue::{self, Ticket};
use crate::model::{
    DeploymentId, ErrorKind, FailureReport, Job, Outcome, RecoveredDeployment, Severity, Stage,
};
use crate::pipeline::journal::{self, JournalError};

/// How often is looked whether a holder has let go.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for a holder that is being cancelled or recovered.
const ENDING_HOLDER: Duration = Duration::from_secs(15 * 60);
/// How long a lease may be free before it counts as nobody's: a guard starts the next worker in less.
const ABANDONED: Duration = Duration::from_secs(20);

/// Returns when nobody changes this app and environment and nothing is left unfinished; what was ended, if anything.
pub(super) async fn make_way(
    link: &mut Link,
    job: &Job,
    layout: &Layout,
    emitter: &Emitter,
    turn: &mut Turn,
) -> Result<Option<RecoveredDeployment>, Refusal> {
    let mut recovered = None;
    loop {
        wait_for_lease(link, layout, emitter, turn).await?;
        match recover_first(link, job, layout, emitter).await? {
            Some(ended) => recovered = Some(ended),
            None => return Ok(recovered),
        }
    }
}

/// Ends what an earlier deployment left unfinished, before anything else.
async fn recover_first(
    link: &mut Link,
    job: &Job,
    layout: &Layout,
    emitter: &Emitter,
) -> Result<Option<RecoveredDeployment>, Refusal> {
    let unfinished = newer::unfinished(layout).map_err(Refusal::of)?;
    let Some(Unfinished { id, is_first }) = unfinished else { return Ok(None) };
    let notice = format!("{id} was left unfinished; it is ended first");
    let code = "recovery.first".to_owned();
    emitter.emit(here!(), EventKind::Noticed { code, notice, hint: None, severity: Severity::Warning });
    // Without Docker nothing can be ended, and saying so at once is better than waiting for it.
    tools().await?;
    start_recovery(layout, job, &id)?;
    let outcome = wait_until_ended(link, layout, &id).await;
    match outcome {
        // A first deployment has no release to go back to: its containers were stopped, which is an end.
        Some(outcome) if outcome != Outcome::Failed || is_first => {
            let unfinished = id.to_string();
            emitter.emit(here!(), EventKind::RecoveryFinished { unfinished, outcome });
            Ok(Some(RecoveredDeployment { deployment_id: id, outcome }))
        }
        _ => Err(not_ended(layout, &id)),
    }
}

pub(super) fn not_ended(layout: &Layout, id: &DeploymentId) -> Refusal {
    let message = format!("{id} could not be ended, so nothing new was started");
    let hint = format!("look at {} and guard.log beside it on the host", layout.events(id).display());
    let failure = FailureReport::new(ErrorKind::DeploymentError, "recovery.failed", message).hint(hint);
    Refusal { outcome: Outcome::Failed, failure }
}

pub(super) fn start_recovery(layout: &Layout, job: &Job, id: &DeploymentId) -> Served {
    if let Err(JournalError::Newer { version, entry, .. }) = journal::read(&layout.journal()) {
        return newer::hand_on(layout.root(), &version, &entry, &[READY]).map_err(Refusal::of);
    }
    let mut order = Order { job: job.without_secrets(), staged: None, compose: None, recover: true };
    order.job.deployment_id = id.clone();
    guard::launch(layout, &order).map_err(|error| Refusal::of(error.report()))
}

/// Waits until a deployment has its last word and no journal any more, and returns how it ended; nothing when nobody
/// works on it any more. A runner that goes in the meantime is nobody's loss.
async fn wait_until_ended(link: &mut Link, layout: &Layout, id: &DeploymentId) -> Option<Outcome> {
    let until = Instant::now() + ENDING_HOLDER;
    let mut worked_on = Instant::now();
    let mut gone = false;
    while worked_on.elapsed() < ABANDONED && Instant::now() < until {
        if !is_unfinished(layout, id) && log::has_ended(&layout.events(id)) {
            return log::last_outcome(&layout.events(id));
        }
        if !lease::is_free(&layout.lease()) {
            worked_on = Instant::now();
        }
        if gone {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        tokio::select! {
            frame = link.next() => gone = frame.is_err(),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    None
}

fn is_unfinished(layout: &Layout, id: &DeploymentId) -> bool {
    !matches!(journal::read(&layout.journal()), Ok(Some(entry)) if entry.job.deployment_id != *id)
        && layout.journal().exists()
}

/// How long a job waits for others (`--wait-for-lease`), and its place among those who wait.
pub(super) struct Turn {
    until: Option<Instant>,
    ticket: Option<Ticket>,
}

impl Turn {
    /// Returns the turn of a job that comes now.
    pub(super) fn of(job: &Job) -> Self {
        Self { until: job.options.wait_for_lease.map(|time| Instant::now() + time), ticket: None }
    }

    fn is_patient(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes a place, once. Without one it is only not known who came first: the lease decides in any case.
    fn queue_up(&mut self, layout: &Layout) {
        if self.ticket.is_none() && self.is_patient() {
            self.ticket = Ticket::draw(&layout.queue()).ok();
        }
    }

    /// Returns whether nobody who waits came before. Whoever does not wait does not ask.
    fn has_come(&mut self, layout: &Layout) -> bool {
        if !self.is_patient() {
            return true;
        }
        if self.ticket.is_none() && queue::is_waited(&layout.queue()) {
            self.queue_up(layout);
        }
        self.ticket.as_ref().is_none_or(Ticket::is_first)
    }
}

/// Returns when nobody else deploys and it is this job's turn. Refuses when it may not wait for that; a holder that is on
/// its way out is waited for always.
pub(super) async fn wait_for_lease(
    link: &mut Link,
    layout: &Layout,
    emitter: &Emitter,
    turn: &mut Turn,
) -> Served {
    let until = Instant::now() + ENDING_HOLDER;
    let mut told = String::new();
    loop {
        let notice = match lease::holder(&layout.lease()) {
            Some(holder) => {
                let why = ending(layout, &holder).filter(|_| Instant::now() < until);
                if why.is_none() && !turn.is_patient() {
                    return Err(busy(layout, &holder));
                }
                turn.queue_up(layout);
                let why = why.map(|why| format!(", which {why}")).unwrap_or_default();
                format!("waiting for {}, {}{why}", named(&holder), progress(layout, &holder))
            }
            None if turn.has_come(layout) => return Ok(()),
            None => "waiting for a run that came before this one, and begins next".to_owned(),
        };
        if notice != told {
            told.clone_from(&notice);
            let code = "lease.waiting".to_owned();
            emitter
                .emit(here!(), EventKind::Noticed { code, notice, hint: None, severity: Severity::Warning });
        }
        pause(link).await?;
    }
}

/// Waits a moment; a runner that is gone, or has enough of waiting, has started nothing.
async fn pause(link: &mut Link) -> Served {
    tokio::select! {
        frame = link.next() => match frame {
            Ok(Frame::Cancel) | Err(_) => {
                let message = "cancelled before anything was started; nothing was touched";
                let failure = FailureReport::new(ErrorKind::DeploymentError, "cancelled", message);
                Err(Refusal { outcome: Outcome::Cancelled, failure: failure.hint("run it again") })
            }
            Ok(_) => Ok(()),
        },
        () = tokio::time::sleep(LOOK) => Ok(()),
    }
}

/// Returns why a holder is about to let go, if it is.
fn ending(layout: &Layout, holder: &Holder) -> Option<&'static str> {
    if log::has_ended(&layout.events(&holder.deployment_id)) {
        Some("has ended and lets go in a moment")
    } else if layout.cancel(&holder.deployment_id).exists() {
        Some("is being cancelled")
    } else {
        (holder.verb == "recover").then_some("is being recovered")
    }
}

/// Who holds a lease, and for which run.
fn named(holder: &Holder) -> String {
    let run = holder.requester.run_url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
    format!("{} ({} by {}{run})", holder.deployment_id, holder.verb, holder.requester.who)
}

/// How far a holder is, and since when.
fn progress(layout: &Layout, holder: &Holder) -> String {
    let stage = log::stage(&layout.events(&holder.deployment_id)).unwrap_or(Stage::Initializing);
    format!("in `{stage}`, since {}", holder.since.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

/// Returns the refusal that names who holds the lease.
pub(super) fn busy(layout: &Layout, holder: &Holder) -> Refusal {
    let message = format!(
        "{} changes this app and environment, {}; nothing was touched",
        named(holder),
        progress(layout, holder)
    );
    let hint = "wait until it has ended (`ffe-deploy status --follow` tells when), then run this again, or with `--wait-for-lease 15m`";
    let failure = FailureReport::new(ErrorKind::DeploymentError, "lease.busy", message).hint(hint);
    Refusal { outcome: Outcome::Busy, failure }
}
