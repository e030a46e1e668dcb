//! Ends a deployment that nobody ended: finish when its checks had passed, undo otherwise.
//!
//! Needs no job, no registry and no secret that the host has not got: the journal says how far it came, and the
//! releases' directories hold the rest.

use std::time::{Duration, Instant};

use super::journal::{Entry, Phase};
use super::run::{Ending, Run};
use super::stop::Stop;
use super::switch::Back;
use crate::event::EventKind;
use crate::here;
use crate::host::children;
use crate::model::{ContainerFacts, ErrorKind, FailureReport, Outcome, Release, Stage};

/// How long children of the dead worker get to be gone.
const CHILDREN: Duration = Duration::from_secs(30);

impl Run {
    /// Ends the deployment that the journal names.
    pub async fn recover(&self, entry: &Entry) -> Ending {
        let finishing = entry.phase == Phase::Committing;
        let decision = match entry.phase {
            Phase::Preparing => "discard: nothing was switched",
            Phase::Committing => "finish: its checks had passed",
            Phase::Switching | Phase::Verifying | Phase::Undoing => "undo",
        };
        let started = EventKind::RecoveryStarted {
            unfinished: entry.job.deployment_id.to_string(),
            reached: entry.phase.as_str().to_owned(),
            decision: decision.to_owned(),
        };
        self.emitter.emit(here!(), started);
        children::end_all(&entry.job.deployment_id, CHILDREN).await;
        let ending = match entry.phase {
            Phase::Preparing => self.discard_unfinished(entry),
            _ if finishing => self.finish_unfinished(entry),
            _ => self.undo_unfinished(entry).await,
        };
        let ending = Ending { target: entry.after.clone(), ..ending };
        let outcome = ending.outcome.unwrap_or(Outcome::Failed);
        let unfinished = entry.job.deployment_id.to_string();
        self.emitter.emit(here!(), EventKind::RecoveryFinished { unfinished, outcome });
        ending
    }

    fn discard_unfinished(&self, entry: &Entry) -> Ending {
        if let Some(after) =
            entry.after.as_ref().filter(|after| after.as_str() == entry.job.deployment_id.as_str())
        {
            self.discard(after);
        }
        self.emitter.enter(Stage::Failed);
        let before = self.current().ok().flatten();
        Ending {
            errors: vec![died(entry)],
            release: before.clone(),
            before,
            next_step: Some("nothing was changed; deploy again".into()),
            ..Ending::of(Outcome::Aborted)
        }
    }

    fn finish_unfinished(&self, entry: &Entry) -> Ending {
        let before = entry.before.as_ref().and_then(|id| self.executor.load(id).ok());
        let finished = entry.after.as_ref().map(|after| {
            self.make_current(after, before.as_ref())?;
            Ok::<Release, Stop>(self.executor.load(after)?)
        });
        self.emitter.enter(Stage::Complete);
        match finished {
            Some(Ok(release)) => {
                Ending { changed: true, release: Some(release), before, ..Ending::of(Outcome::Succeeded) }
            }
            Some(Err(stop)) => Ending { errors: vec![stop.failure()], before, ..Ending::of(Outcome::Failed) },
            None => Ending { errors: vec![died(entry)], before, ..Ending::of(Outcome::Failed) },
        }
    }

    async fn undo_unfinished(&self, entry: &Entry) -> Ending {
        let mut ending = Ending { errors: vec![died(entry)], changed: true, ..Ending::of(Outcome::Failed) };
        let before = entry.before.as_ref().map(|id| self.executor.load(id));
        match before {
            Some(Ok(before)) => self.undo_to(entry, &before, &mut ending).await,
            Some(Err(error)) => {
                ending.errors.push(error.report());
                ending.next_step = Some("look at the host: the release before cannot be put back".into());
            }
            None => self.stop_unfinished(entry, &mut ending).await,
        }
        if ending.outcome == Some(Outcome::Failed) {
            self.emitter.enter(Stage::Failed);
        }
        ending
    }

    async fn undo_to(&self, entry: &Entry, before: &Release, ending: &mut Ending) {
        let started = EventKind::RollbackStarted {
            from_release: entry.after.as_ref().map(ToString::to_string),
            to_release: before.id.to_string(),
            reason: died(entry).message,
        };
        self.emitter.emit(here!(), started);
        let began = Instant::now();
        let keep = self.known(entry).await;
        let way_back = Back { to: before, from: entry.after.as_ref(), keep: &keep };
        let back = self.stage_to_its_end(Stage::RollingBack, self.put_back(&way_back)).await;
        ending.before = Some(before.clone());
        match back {
            Ok(report) => {
                self.emitter.enter(Stage::RolledBack);
                let outcome = crate::model::StageOutcome::Succeeded;
                let reason = Some(format!("{} is back and healthy", before.version));
                self.emitter
                    .emit(here!(), super::run::stage_finished(Stage::RolledBack, outcome, reason, began));
                ending.outcome = Some(Outcome::RolledBack);
                ending.health = Some(report);
                ending.release = Some(before.clone());
                ending.rolled_back_to = Some(before.id.clone());
                ending.next_step = Some("the release before runs and is healthy; deploy again".into());
            }
            Err(stop) => {
                ending.errors.push(stop.failure());
                ending.next_step = Some("look at the host now: the release before is not healthy".into());
            }
        }
    }

    /// Returns those of the containers that ran before which are still there.
    async fn known(&self, entry: &Entry) -> Vec<ContainerFacts> {
        let found = self.executor.containers(&entry.project).await.unwrap_or_default();
        found.into_iter().filter(|container| entry.containers.contains_key(&container.id)).collect()
    }

    async fn stop_unfinished(&self, entry: &Entry, ending: &mut Ending) {
        let found = self.executor.containers(&entry.project).await.unwrap_or_default();
        let ids: Vec<String> = found.iter().map(|container| container.id.clone()).collect();
        if let Err(error) = self.executor.stop(&ids).await {
            ending.errors.push(error.report());
        }
        ending.next_step =
            Some("there was no earlier release: the containers were stopped and kept; deploy again".into());
    }
}

fn died(entry: &Entry) -> FailureReport {
    let message = format!(
        "{} ended in the middle of `{}` without a result: its process was killed, or the host restarted",
        entry.job.deployment_id,
        entry.phase.as_str()
    );
    FailureReport::new(ErrorKind::DeploymentError, "deployment.died", message).hint("deploy again")
}
