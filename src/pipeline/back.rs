//! From a release that failed back to the one before, or, where there was none, to containers that rest. The only place
//! that decides on a rollback.

use super::journal::{Entry, Phase};
use super::prepare::Ready;
use super::run::{Done, Ending, Run};
use super::settle::{ROUNDS, Side};
use super::stop::Stop;
use crate::event::{Cleaner, EventKind};
use crate::here;
use crate::host::{ballast, docker};
use crate::model::{HealthReport, Outcome, Release, ReleaseId, Severity, Stage};

/// How often putting back is begun again because the daemon went away meanwhile.
const TRIES: usize = 3;

/// A way back.
pub(super) struct Back<'a> {
    /// The release that ran before.
    pub(super) to: &'a Release,
    /// The one that failed.
    pub(super) from: Option<&'a ReleaseId>,
    /// Whether the switch was killed or ended half-way, so that the engine may still be at its orders.
    pub(super) interrupted: bool,
}

/// What is done about a switch that failed.
enum Undoing<'a> {
    /// Nothing: what runs stays, and this is the next step.
    Leave(&'static str),
    /// This release comes back.
    PutBack(&'a Release),
    /// There was none before: what was started is stopped.
    StopFirst,
}

/// Decides on a rollback: here, and nowhere else. `disturbed` says that it was nobody's wish and not the release.
fn undoing<'a>(target: &Ready, before: Option<&'a Release>, stop: &Stop, disturbed: bool) -> Undoing<'a> {
    let cancelled = *stop == Stop::Cancelled;
    match before {
        // A restart, a start or a repair of the current release: a cancel must not leave it stopped half-way.
        Some(before) if before.id == target.release.id && (cancelled || disturbed) => {
            Undoing::PutBack(before)
        }
        Some(before) if before.id == target.release.id => {
            Undoing::Leave("the release that is current is not healthy: roll back with `ffe-deploy rollback`")
        }
        _ if !target.release.app.automatic_rollback && !cancelled => {
            Undoing::Leave("automatic rollback is off: run `ffe-deploy rollback`, or deploy a good release")
        }
        Some(before) => Undoing::PutBack(before),
        None => Undoing::StopFirst,
    }
}

impl Run {
    /// Puts the release before back, or, when there is none, stops what was started.
    pub(super) async fn undo(
        &self,
        target: &Ready,
        before: Option<&Release>,
        stop: &Stop,
        disturbed: bool,
    ) -> Ending {
        let mut ending = Ending { errors: vec![stop.failure()], ..Ending::of(Outcome::Failed) };
        ballast::give_up_if_scarce(&self.layout.ballast());
        let interrupted = self.book.entry().is_some_and(|entry| entry.phase == Phase::Switching);
        match undoing(target, before, stop, disturbed) {
            Undoing::Leave(next_step) => ending.next_step = Some(next_step.to_owned()),
            Undoing::PutBack(before) => {
                let back = Back { to: before, from: Some(&target.release.id), interrupted };
                self.roll_back_to(&back, stop, &mut ending).await;
            }
            Undoing::StopFirst => self.stop_first(&target.release.project, stop, &mut ending).await,
        }
        if ending.outcome == Some(Outcome::Failed) {
            self.emitter.enter(Stage::Failed);
        }
        ending
    }

    /// Puts a release back, told as a stage, and says in `ending` what came of it.
    pub(super) async fn roll_back_to(&self, back: &Back<'_>, stop: &Stop, ending: &mut Ending) {
        let before = back.to;
        let started = EventKind::RollbackStarted {
            from_release: back.from.map(ToString::to_string),
            to_release: before.id.to_string(),
            reason: stop.reason(),
        };
        self.emitter.emit(here!(), started);
        let mut why = stop.failure();
        Cleaner::new(&self.executor.redactor).failure(&mut why);
        // Without this word the journal says that the switch has begun, which is undone just the same.
        self.book_or_warn(|entry| (entry.phase, entry.why) = (Phase::Undoing, Some(why)));
        match self.stage_to_its_end(Stage::RollingBack, self.put_back(back)).await {
            Ok(report) => {
                self.skip_to_rolled_back(before);
                let cancelled = *stop == Stop::Cancelled;
                ending.outcome = Some(if cancelled { Outcome::Cancelled } else { Outcome::RolledBack });
                ending.health = Some(report);
                ending.release = Some(before.clone());
                ending.rolled_back_to = Some(before.id.clone());
                ending.next_step =
                    Some("mend what failed and deploy again; the release before runs and is healthy".into());
            }
            Err(worse) => {
                ending.unended = worse.is_no_daemon();
                ending.errors.push(worse.failure());
                ending.next_step = Some(
                    "look at the host now: neither the new release nor the one before is healthy".into(),
                );
            }
        }
    }

    fn skip_to_rolled_back(&self, before: &Release) {
        self.emitter.enter(Stage::RolledBack);
        self.emitter.emit(here!(), EventKind::StageStarted {});
        let began = std::time::Instant::now();
        let reason = Some(format!("{} is back and healthy", before.version));
        let outcome = crate::model::StageOutcome::Succeeded;
        self.emitter.emit(here!(), super::run::stage_finished(Stage::RolledBack, outcome, reason, began));
    }

    /// Applies a release of before and verifies it as a deploy does.
    async fn put_back(&self, back: &Back<'_>) -> Result<Done<HealthReport>, Stop> {
        let ready = self.ready(back.to.clone()).await?;
        let report = self.establish(&ready, Side::Before, back.interrupted).await?;
        self.make_current(&back.to.id, None)?;
        let failed = back.from.and_then(|id| self.executor.load(id).ok());
        self.tell_untouched(back.to, failed.as_ref());
        Ok(Done::Did(report))
    }

    /// Returns whether the daemon is away, or was since this number of questions had stayed unanswered.
    pub(super) async fn has_lost_daemon(&self, seen: u64) -> bool {
        docker::unanswered() != seen || self.executor.docker.answers().await.is_err()
    }

    /// Makes what runs this release, no container less or more, and asks it. A daemon that goes away meanwhile is waited
    /// for.
    ///
    /// # Errors
    /// It cannot be applied, or is not healthy.
    pub(super) async fn establish(
        &self,
        ready: &Ready,
        side: Side,
        mut interrupted: bool,
    ) -> Result<HealthReport, Stop> {
        for _ in 1..TRIES {
            self.wait_for_daemon().await?;
            let seen = docker::unanswered();
            let done = self.establish_once(ready, side, interrupted).await;
            let stays_away = done.as_ref().is_err_and(Stop::is_no_daemon);
            if done.is_ok() || stays_away || !self.has_lost_daemon(seen).await {
                return done;
            }
            interrupted = true;
        }
        self.wait_for_daemon().await?;
        let done = self.establish_once(ready, side, interrupted).await;
        if done.is_err() {
            // Away again, it is what keeps this from being ended; back, the cause is another one.
            self.wait_for_daemon().await?;
        }
        done
    }

    async fn establish_once(
        &self,
        ready: &Ready,
        side: Side,
        interrupted: bool,
    ) -> Result<HealthReport, Stop> {
        let mut may_try_again = interrupted;
        for _ in 1..ROUNDS {
            match self.apply_again(ready, side, interrupted).await {
                // Something that was ordered by a dead client came in between, and has a name that is needed.
                Err(stop) if !may_try_again || stop.is_no_daemon() => return Err(stop),
                Err(_) => may_try_again = false,
                Ok(()) if self.has_surplus(ready).await? => {}
                Ok(()) => {
                    let report = self.verify(ready, &ready.release.app.health, false).await?;
                    if !self.has_surplus(ready).await? {
                        return Ok(report);
                    }
                }
            }
        }
        self.apply_again(ready, side, interrupted).await?;
        self.verify(ready, &ready.release.app.health, false).await
    }

    async fn apply_again(&self, ready: &Ready, side: Side, interrupted: bool) -> Result<(), Stop> {
        self.settle(ready, side, interrupted).await?;
        if side == Side::Before {
            self.start_again(&ready.release.project).await?;
        }
        self.executor.pin_again(&ready.release).await?;
        Ok(self.executor.up(&ready.site, &ready.model, &[]).await?)
    }

    /// The first deployment ever has nothing to go back to: its containers stay, stopped, for inspection.
    pub(super) async fn stop_first(&self, project: &str, stop: &Stop, ending: &mut Ending) {
        if let Err(error) = self.stop_all(project).await {
            ending.unended = error.is_no_daemon();
            ending.errors.push(error.failure());
        }
        if *stop == Stop::Cancelled {
            ending.outcome = Some(Outcome::Cancelled);
        }
        ending.next_step = Some(format!(
            "there is no earlier release to go back to; the containers were stopped and kept: \
             look at them with `docker ps -a --filter label=com.docker.compose.project={project}`, mend the cause, and deploy again"
        ));
    }

    /// Stops what there is. A daemon that went away meanwhile has started again what a restart policy wants.
    async fn stop_all(&self, project: &str) -> Result<(), Stop> {
        let mut stopped = Ok(());
        for _ in 0..TRIES {
            let found = self.calm(project).await?;
            let ids: Vec<String> = found.iter().map(|container| container.id.clone()).collect();
            stopped = self.executor.stop(&ids).await;
            if stopped.is_ok() {
                break;
            }
        }
        Ok(stopped?)
    }

    /// Changes the journal where the host is worse off without the change that follows than without that word.
    pub(super) fn book_or_warn(&self, change: impl FnOnce(&mut Entry)) {
        if let Err(error) = self.book.change(change) {
            let notice = format!("{error}: {}; going on, because what was begun must be ended", error.source);
            let (code, severity) = ("journal.write".to_owned(), Severity::Warning);
            self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint: None, severity });
        }
    }
}
