//! The facts of one run, collected from its events once for every reader that tells a whole story: the console's end,
//! GitHub's summary, a channel.
//!
//! Enter by [`Story::hear`], which the hub calls for every event; readers get the story when the run is over
//! ([`super::Reporter::on_end`]). Holds facts, never a rendered sentence. Every text in it is harmless and redacted,
//! because events are.

mod timeline;
mod told;

use std::collections::BTreeMap;

use super::Muted;
use crate::event::{
    DeploymentResult, Event, EventKind, FileChanges, ImageChange, Level, Plan, ServiceChange,
};
use crate::model::{
    AppName, CheckResult, CorrelationId, DeploymentId, EnvironmentName, FailureReport, Finding, HookResult,
    Outcome, Severity, Stage, Status, Verdict,
};

pub use timeline::{StageTold, Timeline};
pub use told::{
    BackupTold, CheckTold, End, ImageTold, LogsTold, Notice, Notified, PrunedTold, RollbackTold, Setting,
};

/// Most service logs that are kept: the pipeline explains five.
const MOST_LOGS: usize = 10;

/// The facts of one run.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// What is known besides the events.
    pub setting: Setting,
    /// Id of the deployment; absent before the first event.
    pub deployment_id: Option<DeploymentId>,
    /// Groups everything of one workflow run.
    pub correlation_id: Option<CorrelationId>,
    /// The app, once it is known.
    pub app: Option<AppName>,
    /// The environment, once it is known.
    pub environment: Option<EnvironmentName>,
    /// Verb of the command line, once the configuration is read.
    pub verb: Option<String>,
    /// Version that it brings.
    pub version: Option<String>,
    /// Where it goes: `local`, or `user@host:port`.
    pub target: Option<String>,
    /// Name of the machine that is changed, as it calls itself.
    pub host: Option<String>,
    /// Root of the app and environment on the host.
    pub root: Option<String>,
    /// The stages, in order.
    pub timeline: Timeline,
    /// What preflight checks found, passed ones too.
    pub findings: Vec<Finding>,
    /// What people should know that stopped nothing.
    pub notices: Vec<Notice>,
    /// Images of the release, by service.
    pub images: BTreeMap<String, ImageTold>,
    /// Images that are others than before.
    pub image_changes: Vec<ImageChange>,
    /// Files of the project that are otherwise than before.
    pub files: FileChanges,
    /// What a deploy would change, when that was asked.
    pub plan: Option<Plan>,
    /// Health checks that reached a verdict, in order; those of a rollback after those of the release that failed.
    pub checks: Vec<CheckTold>,
    /// The backup that was taken.
    pub backup: Option<BackupTold>,
    /// What was taken away.
    pub pruned: PrunedTold,
    /// Last lines of services that failed, in order.
    pub logs: Vec<LogsTold>,
    /// The release that was put back, or was to be, and why.
    pub rollback: Option<RollbackTold>,
    /// What failed, as it was told; [`Story::failures`] has them with those of the result.
    pub failed: Vec<FailureReport>,
    /// How it ended.
    pub end: Option<End>,
    /// Reporters that failed.
    pub muted: Vec<Muted>,
    /// Audiences that were told of the end, or could not be.
    pub notified: Vec<Notified>,
}

impl Story {
    /// Takes one event in.
    pub fn hear(&mut self, event: &Event) {
        self.deployment_id = Some(event.deployment_id.clone());
        self.correlation_id = Some(event.correlation_id.clone());
        self.app = event.app.clone().or(self.app.take());
        self.environment = event.environment.clone().or(self.environment.take());
        self.timeline.hear(event);
        match &event.kind {
            EventKind::DeploymentStarted { verb, version, target, tool_version: _ } => {
                self.verb = Some(verb.clone());
                self.version.clone_from(version);
                self.target = Some(target.clone());
            }
            EventKind::HostTookOver { root, previous_release: _, pid: _ } => {
                self.host = Some(event.host.clone());
                self.root = Some(root.clone());
            }
            EventKind::FindingReported { finding } => self.findings.push(finding.clone()),
            EventKind::Noticed { code, notice, hint, severity } => {
                let (code, text, hint) = (code.clone(), notice.clone(), hint.clone());
                self.notices.push(Notice { code, text, hint, severity: *severity });
            }
            EventKind::RollbackStarted { to_release, reason, from_release: _ } => {
                self.rollback = Some(RollbackTold { to_release: to_release.clone(), reason: reason.clone() });
            }
            EventKind::Failed { failure } => self.failed.push(failure.clone()),
            EventKind::DeploymentFinished { is_final, result } => {
                self.end = Some(End { is_final: *is_final, result: (**result).clone() });
            }
            EventKind::ReleaseCompared { .. }
            | EventKind::PlanMade { .. }
            | EventKind::ImageReady { .. }
            | EventKind::CheckFinished { .. }
            | EventKind::BackupCreated { .. }
            | EventKind::Pruned { .. }
            | EventKind::LogsCollected { .. } => self.hear_of_work(event),
            EventKind::StageStarted {}
            | EventKind::StageFinished { .. }
            | EventKind::HealthAttempted { .. }
            | EventKind::BundleReceived { .. }
            | EventKind::ServiceChanged { .. }
            | EventKind::ReleaseCommitted { .. }
            | EventKind::RecoveryStarted { .. }
            | EventKind::RecoveryFinished { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::HookStarted { .. }
            | EventKind::HookFinished { .. }
            | EventKind::LogLine { .. } => {}
        }
    }

    /// What was made, asked and changed.
    fn hear_of_work(&mut self, event: &Event) {
        match &event.kind {
            EventKind::ReleaseCompared { images, files, .. } => {
                self.image_changes.clone_from(images);
                self.files.clone_from(files);
            }
            EventKind::PlanMade { plan } => self.plan = Some((**plan).clone()),
            EventKind::ImageReady { service, image, image_id, digest, size_bytes, how } => {
                let (image, image_id, digest) = (image.clone(), image_id.clone(), digest.clone());
                let told = ImageTold { image, image_id, digest, size_bytes: *size_bytes, how: *how };
                self.images.insert(service.clone(), told);
            }
            EventKind::Pruned {
                releases,
                images,
                backups,
                files,
                agents,
                freed_bytes,
                freed_image_bytes,
            } => {
                let told = &mut self.pruned;
                told.releases.extend_from_slice(releases);
                told.images.extend_from_slice(images);
                told.backups.extend_from_slice(backups);
                // Numbers of a host are whatever it says.
                told.files = told.files.saturating_add(*files);
                told.agents = told.agents.saturating_add(*agents);
                told.freed_bytes = told.freed_bytes.saturating_add(*freed_bytes);
                told.freed_image_bytes = told.freed_image_bytes.saturating_add(*freed_image_bytes);
            }
            EventKind::BackupCreated { path, size_bytes, sha256, includes, retention_days: _ } => {
                let (path, sha256, includes) = (path.clone(), sha256.clone(), includes.clone());
                self.backup = Some(BackupTold { path, size_bytes: *size_bytes, includes, sha256 });
            }
            EventKind::LogsCollected { service, container, state, lines } if self.logs.len() < MOST_LOGS => {
                let (service, container, state) = (service.clone(), container.clone(), state.clone());
                self.logs.push(LogsTold { service, container, state, lines: lines.clone() });
            }
            kind => {
                let told = check_result(kind).map(|result| CheckTold { stage: event.stage, result });
                self.checks.extend(told);
            }
        }
    }

    /// Returns how it ended.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end.as_ref().map(|end| end.result.outcome)
    }

    /// Returns the result, once there is one.
    pub fn result(&self) -> Option<&DeploymentResult> {
        self.end.as_ref().map(|end| &end.result)
    }

    /// Returns everything that failed, root cause first: what the result says, then what else was told.
    pub fn failures(&self) -> Vec<&FailureReport> {
        let of_result = self.result().map(|result| result.errors.as_slice()).unwrap_or_default();
        let others = self.failed.iter().filter(|failure| !of_result.contains(failure));
        of_result.iter().chain(others).collect()
    }

    /// Returns the verdicts on the release that was asked for.
    pub fn checks_of_release(&self) -> Vec<&CheckResult> {
        match self.result().filter(|result| !result.checks.is_empty()) {
            Some(result) => result.checks.iter().collect(),
            None => self.checks_in(Stage::Verifying),
        }
    }

    /// Returns the verdicts on the release that was put back; none when none was.
    pub fn checks_after_rollback(&self) -> Vec<&CheckResult> {
        self.checks_in(Stage::RollingBack)
    }

    fn checks_in(&self, stage: Stage) -> Vec<&CheckResult> {
        self.checks.iter().filter(|check| check.stage == stage).map(|check| &check.result).collect()
    }

    /// Returns the checks that failed and count, of the release that was asked for.
    pub fn failed_checks(&self) -> Vec<&CheckResult> {
        let mut checks = self.checks_of_release();
        checks.retain(|check| check.verdict == Verdict::Failed && !check.optional);
        checks
    }

    /// Returns the hooks that ran, or should have.
    pub fn hooks(&self) -> &[HookResult] {
        self.result().map(|result| result.hooks.as_slice()).unwrap_or_default()
    }

    /// Returns the services whose containers changed.
    pub fn services(&self) -> Vec<(&str, ServiceChange)> {
        let services = self.result().into_iter().flat_map(|result| &result.services);
        let changed = services.filter(|(_, change)| **change != ServiceChange::Unchanged);
        changed.map(|(service, change)| (service.as_str(), *change)).collect()
    }

    /// Returns the command that goes back to the release before, when there is one that it would go back to: not when
    /// nothing changed, and not when it is back already.
    pub fn rollback_command(&self) -> Option<String> {
        let result = self.result()?;
        let is_new = result.changed && matches!(result.outcome, Outcome::Succeeded | Outcome::Failed);
        let before =
            result.previous_release.as_ref().filter(|before| result.release.as_ref() != Some(before));
        let release = before.filter(|_| is_new && result.verb == "deploy")?;
        Some(format!("{} --to {release} --yes", self.setting.rollback.as_ref()?))
    }

    /// Returns the address that people open first: the configured one, else the first service's.
    pub fn url(&self) -> Option<&str> {
        let urls = &self.result()?.urls;
        urls.get("app").or_else(|| urls.values().next()).map(String::as_str)
    }

    /// Returns how much its end weighs.
    pub fn level(&self) -> Option<Level> {
        self.result().map(|result| crate::event::level_of(result.outcome))
    }

    /// Returns whether the run ended as was wished.
    pub fn is_success(&self) -> bool {
        self.result().is_some_and(|result| result.status == Status::Success)
    }

    /// Returns the findings of this weight.
    pub fn findings_of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }
}

/// Returns a check's event as the result that it is.
pub(super) fn check_result(kind: &EventKind) -> Option<CheckResult> {
    let EventKind::CheckFinished { check, verdict, latency_ms, waited_ms, attempts, asked, detail, optional } =
        kind
    else {
        return None;
    };
    Some(CheckResult {
        name: check.clone(),
        verdict: *verdict,
        optional: *optional,
        latency_ms: *latency_ms,
        waited_ms: *waited_ms,
        attempts: *attempts,
        asked: asked.clone(),
        detail: detail.clone(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::examples;

    /// The story of every example event, with a setting.
    pub(crate) fn told() -> Story {
        let setting = Setting {
            who: Some("octocat".into()),
            run_url: Some("https://github.com/acme/shop/actions/runs/42".into()),
            event_log: Some("/tmp/ffe-deploy/deploy-1.jsonl".into()),
            app_dir: None,
            rollback: Some("ffe-deploy rollback production".into()),
        };
        let mut story = Story { setting, ..Story::default() };
        examples::all().iter().for_each(|event| story.hear(event));
        story
    }

    /// The story of a deployment that succeeded.
    pub(crate) fn succeeded() -> Story {
        let mut story = told();
        let mut result = examples::result();
        (result.outcome, result.status, result.exit_code) = (Outcome::Succeeded, Status::Success, 0);
        (result.stage, result.rolled_back_to) = (Stage::Complete, None);
        result.release = Some("deploy-20261121064000-1b9d6bcd".into());
        result.checks = result.health.clone().map(|health| health.checks).unwrap_or_default();
        (result.errors, result.next_step) = (Vec::new(), None);
        story.end = Some(End { is_final: true, result });
        (story.failed, story.logs, story.rollback) = (Vec::new(), Vec::new(), None);
        story
    }

    #[test]
    fn the_examples_make_a_story_with_every_fact() {
        let story = told();
        assert_eq!(story.verb.as_deref(), Some("deploy"));
        assert_eq!(story.outcome(), Some(Outcome::RolledBack));
        assert_eq!(story.failures().len(), 1, "the result's error and the event's are one");
        assert_eq!(story.failed_checks()[0].name, "backend");
        assert_eq!(story.logs[0].lines.len(), 2);
        assert_eq!(story.services(), [("backend", ServiceChange::Recreated)]);
        assert_eq!(story.files.changed, ["config/shop.yaml"]);
        assert_eq!(story.image_changes[0].service, "backend");
        assert_eq!(story.url(), Some("http://shop.example.com:8000"));
        assert!(story.backup.is_some() && story.rollback.is_some() && !story.is_success());
    }

    #[test]
    fn a_way_back_is_shown_only_where_there_is_one() {
        let command = "ffe-deploy rollback production --to deploy-20261120120000-7c9e6679 --yes";
        assert_eq!(told().rollback_command(), None, "it is back already");
        let mut story = succeeded();
        assert_eq!(story.rollback_command().as_deref(), Some(command));
        story.end.as_mut().unwrap().result.changed = false;
        assert_eq!(story.rollback_command(), None, "nothing changed");
        let mut first = succeeded();
        first.end.as_mut().unwrap().result.previous_release = None;
        assert_eq!(first.rollback_command(), None, "there was none before");
    }
}
