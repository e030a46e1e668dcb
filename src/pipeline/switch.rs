//! From one release to another: deploying, verifying, and then commit or undo. The only place that decides on a rollback.

use std::collections::BTreeMap;
use std::path::Path;

use super::journal::Phase;
use super::prepare::Ready;
use super::run::{Done, Ending, Run};
use super::stop::Stop;
use crate::event::{EventKind, ServiceChange};
use crate::executor::compose::{ExecutorError, changes};
use crate::health;
use crate::here;
use crate::host::{atomic, ballast};
use crate::model::{
    ContainerFacts, ContainerState, ErrorKind, FailureReport, HealthReport, HealthSpec, HealthState, Outcome,
    Release, ReleaseId, Stage, Verdict,
};

/// Most services whose logs are collected after a failure.
const EXPLAINED: usize = 5;

/// A way back.
pub struct Back<'a> {
    /// The release that ran before.
    pub to: &'a Release,
    /// The one that failed.
    pub from: Option<&'a ReleaseId>,
    /// Containers that ran before the switch.
    pub keep: &'a [ContainerFacts],
}

/// How a switch is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Stop everything first.
    pub down_first: bool,
    /// The release runs already: its unhealthy services are recreated.
    pub repair: bool,
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

/// Decides on a rollback: here, and nowhere else.
fn undoing<'a>(target: &Ready, before: Option<&'a Release>, stop: &Stop) -> Undoing<'a> {
    let cancelled = *stop == Stop::Cancelled;
    match before {
        // A restart, a start or a repair of the current release: a cancel must not leave it stopped half-way.
        Some(before) if before.id == target.release.id && cancelled => Undoing::PutBack(before),
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
    /// Switches to a release and verifies it; when it fails, goes back to the one before.
    pub async fn switch_to(&self, target: &Ready, before: Option<&Release>, manner: Manner) -> Ending {
        let old = self.executor.containers(&target.site.project).await.unwrap_or_default();
        let applied = self.stage(Stage::Deploying, self.apply(target, before, manner, &old)).await;
        let services = self.services(target, &old).await;
        let verified = match applied {
            Ok(()) => match self.stage(Stage::Verifying, self.verify_stage(target, before, &old)).await {
                // Whatever else failed there has been explained.
                Err(stop) if stop.is_late() => Err(self.because(stop, &target.release.project).await),
                verified => verified,
            },
            Err(stop) => Err(self.because(stop, &target.release.project).await),
        };
        let mut ending = match verified {
            Ok(report) => self.commit(target, before, report).await,
            Err(stop) => self.undo(target, before, &stop, &old).await,
        };
        ending.services = services;
        ending.target = Some(target.release.id.clone());
        ending.version = Some(target.release.version.clone());
        ending.changed = true;
        ending.before = before.cloned();
        ending
    }

    async fn apply(
        &self,
        target: &Ready,
        before: Option<&Release>,
        manner: Manner,
        old: &[ContainerFacts],
    ) -> Result<Done<()>, Stop> {
        self.journal(Phase::Switching, before, Some(&target.release.id), &target.release.project, old)?;
        self.tell_changes(&target.release, before);
        if manner.down_first {
            self.executor.down(&target.site, &[]).await?;
        }
        let force = if manner.repair { unwell_services(old) } else { Vec::new() };
        self.executor.up(&target.site, &target.model, &force).await?;
        Ok(Done::Did(()))
    }

    /// Tells what happened to each service.
    async fn services(&self, target: &Ready, old: &[ContainerFacts]) -> BTreeMap<String, ServiceChange> {
        let new = self.executor.containers(&target.site.project).await.unwrap_or_default();
        let changes = changes(old, &new);
        self.tell_services(&changes);
        changes
    }

    /// Tells what happened to services.
    pub(super) fn tell_services(&self, changes: &BTreeMap<String, ServiceChange>) {
        for (service, change) in changes {
            self.emitter
                .emit(here!(), EventKind::ServiceChanged { service: service.clone(), change: *change });
        }
    }

    async fn verify_stage(
        &self,
        target: &Ready,
        before: Option<&Release>,
        old: &[ContainerFacts],
    ) -> Result<Done<HealthReport>, Stop> {
        self.journal(Phase::Verifying, before, Some(&target.release.id), &target.release.project, old)?;
        let report = self.verify(target, &target.release.app.health, true).await?;
        Ok(Done::Did(report))
    }

    /// Asks a release's checks until they are answered.
    ///
    /// # Errors
    /// A check that counts failed; its service's last log lines are told.
    async fn verify(
        &self,
        target: &Ready,
        spec: &HealthSpec,
        cancellable: bool,
    ) -> Result<HealthReport, Stop> {
        let one_shot = &target.release.app.one_shot;
        let environment = &self.job.environment;
        let checks = target.site.checks(spec, &target.model, one_shot, environment, &target.variables);
        let checks = checks.map_err(ExecutorError::from)?;
        let tell = |kind| self.emitter.emit(here!(), kind);
        let cancelled = async {
            if cancellable {
                self.cancel.raised().await;
            } else {
                std::future::pending().await
            }
        };
        let report = health::verify(&checks, spec.timeout, &self.executor.docker, cancelled, &tell).await;
        if cancellable && self.cancel.is_raised() {
            return Err(Stop::Cancelled);
        }
        if report.is_acceptable() {
            // From here on it is deployed: a cancel that comes now is too late, and is told so.
            return if !cancellable || self.cancel.close() { Ok(report) } else { Err(Stop::Cancelled) };
        }
        let failed: Vec<_> =
            report.checks.iter().filter(|c| c.verdict == Verdict::Failed && !c.optional).collect();
        let services: Vec<String> = checks
            .iter()
            .filter(|check| failed.iter().any(|result| result.name == check.name))
            .filter_map(|check| check.service.clone())
            .collect();
        self.explain(&target.release.project, &services).await;
        Err(unhealthy(&failed).into())
    }

    /// Adds what services that are not well say of themselves.
    async fn because(&self, stop: Stop, project: &str) -> Stop {
        let states = self.explain(project, &self.unwell(project).await).await;
        stop.because(&states)
    }

    /// Returns the services of a project that are not as they should be.
    async fn unwell(&self, project: &str) -> Vec<String> {
        unwell_services(&self.executor.containers(project).await.unwrap_or_default())
    }

    /// Collects the last log lines of services (R000-42), and returns what each does in words.
    async fn explain(&self, project: &str, services: &[String]) -> Vec<String> {
        let mut states = Vec::new();
        let mut told: Vec<&String> = services.iter().collect();
        told.dedup();
        for service in told.into_iter().take(EXPLAINED) {
            if let Some(explanation) = health::explain_failure(&self.executor.docker, project, service).await
            {
                states.push(format!("`{service}` is {}", explanation.state));
                self.emitter.emit(here!(), explanation.into());
            }
        }
        states
    }

    async fn commit(&self, target: &Ready, before: Option<&Release>, report: HealthReport) -> Ending {
        let committed = self
            .stage_to_its_end(Stage::Complete, async {
                self.journal(
                    Phase::Committing,
                    before,
                    Some(&target.release.id),
                    &target.release.project,
                    &[],
                )?;
                self.make_current(&target.release.id, before)?;
                Ok(Done::Did(()))
            })
            .await;
        let mut ending = Ending::of(Outcome::Succeeded);
        if let Err(stop) = committed {
            ending.outcome = Some(Outcome::Failed);
            ending.errors.push(stop.failure());
            ending.next_step = Some(
                "the new release runs and is healthy, but could not be recorded as current; mend the cause and deploy again"
                    .into(),
            );
        }
        ending.urls = super::urls::of(&target.model, target.release.app.url.as_deref());
        ending.checks.clone_from(&report.checks);
        ending.health = Some(report);
        ending.release = Some(target.release.clone());
        ending
    }

    /// Points `current` at a release.
    ///
    /// # Errors
    /// The root cannot be written.
    pub fn make_current(&self, id: &ReleaseId, before: Option<&Release>) -> Result<(), Stop> {
        atomic::point(&self.layout.current(), &Path::new("releases").join(id.as_str()))?;
        // It runs again: nobody has stopped it on purpose any more.
        atomic::remove_file(&self.layout.stopped()).ok();
        let previous_release = before.map(|release| release.id.to_string());
        self.emitter.emit(here!(), EventKind::ReleaseCommitted { release: id.to_string(), previous_release });
        Ok(())
    }

    /// Puts the release before back, or, when there is none, stops what was started.
    async fn undo(
        &self,
        target: &Ready,
        before: Option<&Release>,
        stop: &Stop,
        old: &[ContainerFacts],
    ) -> Ending {
        let mut ending = Ending { errors: vec![stop.failure()], ..Ending::of(Outcome::Failed) };
        ballast::give_up_if_scarce(&self.layout.ballast());
        match undoing(target, before, stop) {
            Undoing::Leave(next_step) => ending.next_step = Some(next_step.to_owned()),
            Undoing::PutBack(before) => {
                let back = Back { to: before, from: Some(&target.release.id), keep: old };
                self.roll_back_to(&back, stop, &mut ending).await;
            }
            Undoing::StopFirst => self.stop_first(target, stop, &mut ending).await,
        }
        if ending.outcome == Some(Outcome::Failed) {
            self.emitter.enter(Stage::Failed);
        }
        ending
    }

    async fn roll_back_to(&self, back: &Back<'_>, stop: &Stop, ending: &mut Ending) {
        let before = back.to;
        let started = EventKind::RollbackStarted {
            from_release: back.from.map(ToString::to_string),
            to_release: before.id.to_string(),
            reason: stop.reason(),
        };
        self.emitter.emit(here!(), started);
        let put_back = self.stage_to_its_end(Stage::RollingBack, self.put_back(back)).await;
        match put_back {
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
    ///
    /// # Errors
    /// It is not whole, cannot be applied, or is not healthy.
    pub async fn put_back(&self, back: &Back<'_>) -> Result<Done<HealthReport>, Stop> {
        let before = back.to;
        self.journal(Phase::Undoing, Some(before), back.from, &before.project, back.keep)?;
        let ready = self.ready(before.clone()).await?;
        self.executor.pin_again(before).await?;
        self.settle(&ready, back).await?;
        self.executor.up(&ready.site, &ready.model, &[]).await?;
        let report = self.verify(&ready, &before.app.health, false).await?;
        self.make_current(&before.id, None)?;
        let failed = back.from.and_then(|id| self.executor.load(id).ok());
        self.tell_untouched(before, failed.as_ref());
        Ok(Done::Did(report))
    }

    /// Makes the containers such that Compose can work on them: an `up` that was killed leaves two of one service, the old
    /// one perhaps about to stop, and Compose would then recreate the wrong one (DESIGN section 6, recovery).
    ///
    /// The old one is stopped to its end, because the engine goes on with a stop whose client is gone, and would end what
    /// was verified meanwhile; the new one is removed. So is what the release that failed wanted gone, and is not yet.
    async fn settle(&self, ready: &Ready, back: &Back<'_>) -> Result<(), Stop> {
        let found = self.executor.containers(&ready.site.project).await?;
        let known = |container: &&ContainerFacts| back.keep.iter().any(|old| old.id == container.id);
        let failed = back.from.and_then(|id| self.executor.load(id).ok());
        let leaving = |service: &String| failed.as_ref().is_some_and(|f| !f.services.contains(service));
        let (mut stop, mut remove) = (Vec::new(), Vec::new());
        for (service, wanted) in &ready.model.services {
            let mine = found.iter().filter(|container| container.service == *service);
            let (old, new): (Vec<_>, Vec<_>) = mine.partition(known);
            let surplus = old.len() + new.len() > wanted.replicas() as usize;
            if surplus && !old.is_empty() {
                remove.extend(new.iter().map(|container| container.id.clone()));
            }
            if surplus || leaving(service) {
                stop.extend(old.iter().map(|container| container.id.clone()));
            }
        }
        self.executor.stop(&stop).await?;
        Ok(self.executor.remove(&remove).await?)
    }

    /// The first deployment ever has nothing to go back to: its containers stay, stopped, for inspection.
    async fn stop_first(&self, target: &Ready, stop: &Stop, ending: &mut Ending) {
        let found = self.executor.containers(&target.release.project).await.unwrap_or_default();
        let ids: Vec<String> = found.iter().map(|container| container.id.clone()).collect();
        if let Err(error) = self.executor.stop(&ids).await {
            ending.errors.push(error.report());
        }
        if *stop == Stop::Cancelled {
            ending.outcome = Some(Outcome::Cancelled);
        }
        ending.next_step = Some(format!(
            "there is no earlier release to go back to; the containers were stopped and kept: \
             look at them with `docker ps -a --filter label=com.docker.compose.project={}`, mend the cause, and deploy again",
            target.release.project
        ));
    }
}

fn unwell_services(containers: &[ContainerFacts]) -> Vec<String> {
    let unwell = |container: &&ContainerFacts| match container.state {
        ContainerState::Running => matches!(container.health, HealthState::Unhealthy | HealthState::Starting),
        ContainerState::Exited => container.exit_code != Some(0),
        _ => true,
    };
    let mut services: Vec<String> = containers.iter().filter(unwell).map(|c| c.service.clone()).collect();
    services.sort();
    services.dedup();
    services
}

fn unhealthy(failed: &[&crate::model::CheckResult]) -> FailureReport {
    let words: Vec<String> = failed
        .iter()
        .map(|check| {
            format!(
                "`{}` is not healthy after {} s ({}): {}",
                check.name,
                check.waited_ms / 1000,
                check.asked,
                check.detail
            )
        })
        .collect();
    let hint = "look at the service's last log lines and at its configuration, then deploy again";
    FailureReport::new(ErrorKind::HealthCheckError, "health.failed", words.join("; ")).hint(hint)
}
