//! From one release to another: deploying, verifying, and then commit, or the way back.

use std::collections::BTreeMap;
use std::path::Path;

use super::journal::Phase;
use super::prepare::Ready;
use super::run::{Done, Ending, Run};
use super::settle::{in_order, may_stop, surplus};
use super::stop::Stop;
use crate::event::{EventKind, ServiceChange};
use crate::executor::compose::{ExecutorError, SERVICE_UNWELL, changes, drift};
use crate::health;
use crate::here;
use crate::host::{atomic, docker};
use crate::model::{
    ContainerFacts, ContainerState, ErrorKind, FailureReport, HealthReport, HealthSpec, HealthState, Outcome,
    Release, ReleaseId, Stage, Verdict,
};

/// Most services whose logs are collected after a failure.
const EXPLAINED: usize = 5;

/// How a switch is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Stop everything first.
    pub down_first: bool,
    /// The release runs already: its unhealthy services are recreated.
    pub repair: bool,
}

impl Run {
    /// Switches to a release and verifies it; when it fails, goes back to the one before.
    pub async fn switch_to(&self, target: &Ready, before: Option<&Release>, manner: Manner) -> Ending {
        let (mut old, seen) = (Vec::new(), docker::unanswered());
        let applied = self.stage(Stage::Deploying, self.apply(target, before, manner, &mut old)).await;
        if let (Err(stop), false) = (&applied, self.has_switched()) {
            return self.aborted(stop);
        }
        // A daemon that is back at once is not seen to have been away: its tool failed, and that is all there is to see.
        let tool_failed = matches!(&applied, Err(stop) if stop.failure().code == "docker.tool");
        let disturbed = applied.is_err() && (tool_failed || self.has_lost_daemon(seen).await);
        if let (Err(stop), true) = (&applied, disturbed)
            && let Err(away) = self.wait_for_daemon().await
        {
            let errors = vec![stop.failure(), away.failure()];
            return Ending { unended: true, errors, ..Ending::of(Outcome::Failed) };
        }
        let services = self.services(target, &old).await;
        let verified = match applied {
            Ok(()) => match self.stage(Stage::Verifying, self.verify_stage(target)).await {
                // Whatever else failed there has been explained.
                Err(stop) if stop.is_late() => Err(self.because(stop, &target.release.project).await),
                verified => verified,
            },
            Err(stop) => Err(self.because(stop, &target.release.project).await),
        };
        let concluded = match verified {
            Ok(report) => self.conclude(target, before, report).await,
            Err(stop) => Err(stop),
        };
        let mut ending = match concluded {
            Ok(ending) => ending,
            Err(stop) => self.undo(target, before, &stop, disturbed || docker::unanswered() != seen).await,
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
        old: &mut Vec<ContainerFacts>,
    ) -> Result<Done<()>, Stop> {
        *old = self.containers(&target.site.project).await?;
        self.book.change(|entry| {
            entry.phase = Phase::Switching;
            entry.keep = old.iter().map(|c| (c.id.clone(), c.service.clone())).collect();
            entry.start = in_order(old);
            entry.remove = may_stop(old, &target.model, manner);
        })?;
        let mut force = if manner.repair { unwell_services(old) } else { Vec::new() };
        force.extend(self.drifted(target, before, old));
        drift::forget(&self.layout);
        self.tell_changes(&target.release, before);
        if manner.down_first {
            self.executor.down(&target.site, &[]).await?;
        } else {
            self.executor.remove(&surplus(old, &target.model)).await?;
        }
        self.executor.up(&target.site, &target.model, &force).await?;
        Ok(Done::Did(()))
    }

    pub(super) fn has_switched(&self) -> bool {
        self.book.entry().is_some_and(|entry| entry.phase.has_switched())
    }

    /// Tells what happened to each service.
    async fn services(&self, target: &Ready, old: &[ContainerFacts]) -> BTreeMap<String, ServiceChange> {
        // Nobody decides by this: without an answer nothing is told.
        let Ok(new) = self.executor.containers(&target.site.project).await else { return BTreeMap::new() };
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

    async fn verify_stage(&self, target: &Ready) -> Result<Done<HealthReport>, Stop> {
        self.book.change(|entry| {
            entry.phase = Phase::Verifying;
            // Compose has ended, and with it what it told to stop.
            entry.remove.clear();
        })?;
        let report = self.verify(target, &target.release.app.health, true).await?;
        Ok(Done::Did(report))
    }

    /// Asks a release's checks until they are answered.
    ///
    /// # Errors
    /// A check that counts failed; its service's last log lines are told.
    pub(super) async fn verify(
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
            return Ok(report);
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
        // Only for explanations: without an answer there is nobody to explain.
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

    /// Runs the hooks that come after the checks, and makes the release the current one.
    ///
    /// # Errors
    /// A hook wants the release before back, or somebody wanted to stop.
    pub(super) async fn conclude(
        &self,
        target: &Ready,
        before: Option<&Release>,
        report: HealthReport,
    ) -> Result<Ending, Stop> {
        let failed = self.after_the_checks(target, before).await?;
        // From here on it is deployed: a cancel that comes now is too late, and is told so.
        if !self.cancel.close() {
            return Err(Stop::Cancelled);
        }
        let mut ending = self.commit(target, before, report).await;
        if let (Some(failure), Some(Outcome::Succeeded)) = (failed, ending.outcome) {
            ending.outcome = Some(Outcome::Failed);
            ending.errors.push(failure);
            let version = &target.release.version;
            ending.next_step = Some(format!(
                "{version} is live and healthy, and stays: do by hand what the hook did not, or roll back with `ffe-deploy rollback`"
            ));
        }
        Ok(ending)
    }

    /// Makes a verified release the current one.
    pub(super) async fn commit(
        &self,
        target: &Ready,
        before: Option<&Release>,
        report: HealthReport,
    ) -> Ending {
        let committed = self
            .stage_to_its_end(Stage::Complete, async {
                self.reached(Phase::Committing)?;
                self.make_current(&target.release.id, before)?;
                self.book_or_warn(|entry| entry.phase = Phase::Committed);
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
        let target = Path::new("releases").join(id.as_str());
        // A full disk must not stop what puts a release back that never left.
        if std::fs::read_link(self.layout.current()).ok() != Some(target.clone()) {
            atomic::point(&self.layout.current(), &target)?;
        }
        // It runs again: nobody has stopped it on purpose any more.
        atomic::remove_file(&self.layout.stopped()).ok();
        let previous_release = before.map(|release| release.id.to_string());
        self.emitter.emit(here!(), EventKind::ReleaseCommitted { release: id.to_string(), previous_release });
        Ok(())
    }
}

pub(super) fn unwell_services(containers: &[ContainerFacts]) -> Vec<String> {
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
    let details: Vec<&str> = failed.iter().map(|check| check.detail.as_str()).collect();
    FailureReport::new(ErrorKind::HealthCheckError, "health.failed", words.join("; "))
        .hint(what_helps(&details))
}

/// The documents' remedies, by what the checks were answered (R001-63, R001-64; others: [`SERVICE_UNWELL`]).
fn what_helps(answers: &[&str]) -> &'static str {
    if answers.iter().any(|answer| answer.contains("killed for memory")) {
        return "`docker stats` shows who uses the memory: raise the service's limit (`deploy.resources.limits.memory`), or use a \
                host with more, then deploy again";
    }
    if answers.iter().any(|answer| answer.starts_with("502") || answer.starts_with("504")) {
        return "a proxy answers, and what it asks does not: look at the log of the service behind it, and at the proxy's \
                configuration (`/etc/nginx/conf.d`), then deploy again";
    }
    SERVICE_UNWELL
}

#[cfg(test)]
mod tests {
    use super::what_helps;

    #[test]
    fn a_proxy_that_answers_for_a_dead_service_leads_to_that_service() {
        assert!(what_helps(&["503 Service Unavailable", "502 Bad Gateway: nginx"]).contains("behind it"));
        assert!(what_helps(&["connection refused after 5020 ms"]).contains("env file"));
        assert!(what_helps(&["killed for memory, exited with 137"]).contains("docker stats"));
    }
}
