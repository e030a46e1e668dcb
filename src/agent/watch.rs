//! What a worker looks at while it works: the wish to stop, and whether its runner is still there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::event::{Emitter, EventKind};
use crate::here;
use crate::model::{OnLost, Severity, Stage};
use crate::pipeline::{Cancel, Ending, Run};

/// How often is looked (DESIGN section 3).
const LOOK: Duration = Duration::from_millis(100);
/// How long nothing is heard of a runner before it counts as lost; it speaks every 5 s (DESIGN section 3).
const LOST: Duration = Duration::from_secs(60);
const TOO_LATE: &str = "the cancel came too late: what was asked for is done, or cannot be stopped half-way";

/// Looks until it is told to end.
pub(super) struct Watcher {
    task: tokio::task::JoinHandle<()>,
    /// Whether the deployment is stopped because its runner is lost.
    stopped: Arc<AtomicBool>,
}

/// Begins to look.
pub(super) fn watch(run: &Run) -> Watcher {
    let id = &run.job.deployment_id;
    let (cancel_file, seen) = (run.layout.cancel(id), run.layout.seen(id));
    let (cancel, emitter, on_lost) = (run.cancel.clone(), run.emitter.clone(), run.job.environment.on_lost);
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let task = tokio::spawn(async move {
        let mut runner = Runner::new(heard_at(&seen), Instant::now());
        while !cancel_file.exists() {
            if runner.is_lost(heard_at(&seen), Instant::now()) {
                flag.store(lost(&cancel, &emitter, on_lost), Ordering::SeqCst);
            }
            tokio::time::sleep(LOOK).await;
        }
        asked_to_stop(&cancel, &emitter);
    });
    Watcher { task, stopped }
}

impl Watcher {
    /// Looks no more; the ending says why it was stopped.
    pub(super) fn end(self, ending: &mut Ending) {
        self.task.abort();
        if self.stopped.load(Ordering::SeqCst) {
            for error in ending.errors.iter_mut().filter(|error| error.code == "cancelled") {
                error.message = "the runner was lost, and `on_lost` is `rollback`".to_owned();
            }
        }
    }
}

fn heard_at(seen: &Path) -> Option<SystemTime> {
    std::fs::metadata(seen).and_then(|file| file.modified()).ok()
}

/// When the runner was last heard of. Only that the file's time changes counts, not what it is: clocks jump. Time in
/// which the machine slept is not counted either, for the runner could not be heard then.
struct Runner {
    heard_at: Option<SystemTime>,
    since: Instant,
    is_lost: bool,
}

impl Runner {
    fn new(heard_at: Option<SystemTime>, now: Instant) -> Self {
        Self { heard_at, since: now, is_lost: false }
    }

    /// Returns whether it has just been lost. One that was never there cannot be.
    fn is_lost(&mut self, heard_at: Option<SystemTime>, now: Instant) -> bool {
        if heard_at != self.heard_at {
            *self = Self::new(heard_at, now);
        }
        let lost = heard_at.is_some() && now.duration_since(self.since) >= LOST;
        lost && !std::mem::replace(&mut self.is_lost, lost)
    }
}

/// Nobody has heard of the runner: returns whether the deployment is stopped for it.
fn lost(cancel: &Cancel, emitter: &Emitter, on_lost: OnLost) -> bool {
    let effect = match (on_lost, effect(emitter.stage())) {
        (OnLost::Rollback, Ok(effect)) if cancel.raise() => Some(effect),
        _ => None,
    };
    let then = effect.unwrap_or("the deployment goes on by itself");
    let notice = format!("the runner has not been heard of for {} s; {then}", LOST.as_secs());
    tell(emitter, "runner.lost", &notice);
    if let Some(effect) = effect {
        emitter.emit(here!(), EventKind::CancelRequested { effect: effect.to_owned() });
    }
    effect.is_some()
}

/// Acknowledges the wish to stop, and passes it on.
fn asked_to_stop(cancel: &Cancel, emitter: &Emitter) {
    match effect(emitter.stage()) {
        Ok(effect) if cancel.raise() => {
            emitter.emit(here!(), EventKind::CancelRequested { effect: effect.to_owned() });
        }
        Ok(_) => tell(emitter, "cancel.late", TOO_LATE),
        Err(truth) => tell(emitter, "cancel.late", truth),
    }
}

fn tell(emitter: &Emitter, code: &str, notice: &str) {
    let (code, notice) = (code.to_owned(), notice.to_owned());
    emitter.emit(here!(), EventKind::Noticed { code, notice, hint: None, severity: Severity::Warning });
}

/// Returns what a cancel does in a stage, or why it does nothing any more.
fn effect(stage: Stage) -> Result<&'static str, &'static str> {
    match stage {
        Stage::Initializing
        | Stage::Validating
        | Stage::Setup
        | Stage::Pulling
        | Stage::Building
        | Stage::BackingUp => Ok("stopping before anything is switched; the running release is not touched"),
        Stage::Deploying | Stage::Verifying => {
            Ok("going back to the release before; of a first deployment, what was started is stopped")
        }
        Stage::Complete => Err(TOO_LATE),
        Stage::RollingBack | Stage::RolledBack | Stage::Failed => {
            Err("the deployment has failed and is going back already; a cancel changes nothing")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_lost_once_after_a_minute_of_silence_whatever_the_wall_clock_says() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut runner = Runner::new(Some(wall), start);
        assert!(!runner.is_lost(Some(wall), at(59)));
        // It speaks; an hour back on the wall clock is a change like any other.
        let earlier = wall - Duration::from_secs(3600);
        assert!(!runner.is_lost(Some(earlier), at(60)) && !runner.is_lost(Some(earlier), at(119)));
        assert!(runner.is_lost(Some(earlier), at(120)));
        assert!(!runner.is_lost(Some(earlier), at(121)), "it is told once");
        assert!(!runner.is_lost(Some(wall), at(122)), "it is back");
        assert!(runner.is_lost(Some(wall), at(182)));
        let mut nobody = Runner::new(None, start);
        assert!(!nobody.is_lost(None, at(1000)));
    }
}
