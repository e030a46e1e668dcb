//! Makes way for a change: the lease is free, and nothing of an earlier deployment is left unfinished.
//!
//! Enter by [`make_way`]. Somebody who deploys is never disturbed; somebody who is on the way back is waited for.

use std::time::{Duration, Instant};

use super::attach::{Refusal, Served, tools};
use super::boot::READY;
use super::link::Link;
use super::newer::{self, Unfinished};
use super::order::Order;
use super::{guard, log};
use crate::event::{Emitter, EventKind};
use crate::here;
use crate::host::layout::Layout;
use crate::host::lease::{self, Holder};
use crate::model::{DeploymentId, ErrorKind, FailureReport, Job, Outcome, RecoveredDeployment, Severity};
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
) -> Result<Option<RecoveredDeployment>, Refusal> {
    let mut recovered = None;
    loop {
        wait_for_lease(layout, emitter).await?;
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

/// Refuses while somebody else deploys; one that is being cancelled or recovered is waited for.
pub(super) async fn wait_for_lease(layout: &Layout, emitter: &Emitter) -> Served {
    let until = Instant::now() + ENDING_HOLDER;
    let mut told = false;
    while let Some(holder) = lease::holder(&layout.lease()) {
        let Some(why) = ending(layout, &holder).filter(|_| Instant::now() < until) else {
            return Err(busy(&holder));
        };
        if !std::mem::replace(&mut told, true) {
            let notice = format!("waiting for {}, which {why}", named(&holder));
            let code = "lease.waiting".to_owned();
            emitter
                .emit(here!(), EventKind::Noticed { code, notice, hint: None, severity: Severity::Warning });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
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

/// Returns the refusal that names who holds the lease.
pub(super) fn busy(holder: &Holder) -> Refusal {
    let message = format!(
        "{} has been changing this app and environment since {}; nothing was touched",
        named(holder),
        holder.since.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    let hint = "wait until it has ended, then run this again; `ffe-deploy status` shows it";
    let failure = FailureReport::new(ErrorKind::DeploymentError, "lease.busy", message).hint(hint);
    Refusal { outcome: Outcome::Busy, failure }
}
