//! From the facts of a run to the report's fields.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::account::Known;
use crate::model::lifecycle::{
    REPORT_SCHEMA, Report, ReportAction, ReportBackup, ReportLine, ReportRollback, ReportStage, ReportStatus,
    ReportValidation,
};
use crate::model::reported::{EndOf, UNKNOWN_VERSION, named};
use crate::model::{AppName, DeploymentId, EnvironmentName, FailureReport, Outcome, Severity};
use crate::report::story::End;
use crate::report::{Story, summary};
use crate::text::shortened;

/// Longest that the ledger takes of what failed, in bytes.
const LOGS: usize = 64 * 1024;
/// Most failures, and longest text of one, in characters.
const ERRORS: usize = 20;
const LONGEST: usize = 4_000;

/// All that is known.
pub(super) struct Facts<'a> {
    pub(super) story: &'a Story,
    pub(super) known: &'a Known,
    /// Id of the deployment that the host has taken over.
    pub(super) begun: Option<&'a DeploymentId>,
    /// Release that was compared with what runs.
    pub(super) coming: Option<&'a str>,
}

/// Returns the report; nothing where there is no deployment to tell of.
pub(super) fn report(
    facts: &Facts<'_>,
    (app, environment): (&AppName, &EnvironmentName),
    sequence: u32,
    lines: Vec<ReportLine>,
) -> Option<Report> {
    let Facts { story, known, .. } = facts;
    let status = facts.status()?;
    let action = facts.action()?;
    let last = story.end.as_ref().filter(|_| status != ReportStatus::Deploying).map(|end| &end.result);
    let mut errors: Vec<FailureReport> = story.failures().into_iter().take(ERRORS).cloned().collect();
    errors.iter_mut().for_each(|error| error.message = shortened(&error.message, LONGEST));
    Some(Report {
        schema: REPORT_SCHEMA,
        sequence,
        app: app.clone(),
        environment: environment.clone(),
        version: facts.version(),
        deployment_id: facts.deployment_id()?,
        action,
        status,
        started_at: last.map(|result| result.start_time).or_else(|| story.timeline.start())?,
        finished_at: last.map(|result| result.end_time),
        deployed_by: known.who.as_deref().and_then(named).unwrap_or_else(|| "unknown".to_owned()),
        method: "ci".to_owned(),
        commit: known.commit.clone(),
        committed_at: known.committed_at,
        ci_url: known.run_url.clone(),
        config: known.config.clone(),
        previous_version: story.result().and_then(|result| result.previous_version.clone()),
        validation: validation(story),
        health_checks: story.checks_of_release().into_iter().cloned().collect(),
        errors,
        error_logs: error_logs(story),
        backup: backup(story),
        stages: stages(story),
        rollback: facts.rollback(action),
        lines,
    })
}

impl Facts<'_> {
    fn end(&self) -> Option<&End> {
        self.story.end.as_ref()
    }

    fn deployment_id(&self) -> Option<DeploymentId> {
        let of_result = self.end().map(|end| &end.result.deployment_id);
        of_result.or(self.begun).or(self.story.deployment_id.as_ref()).cloned()
    }

    /// Only what brings a release, or brings one back; `up` does in place, and names its version then.
    fn action(&self) -> Option<ReportAction> {
        let of_result = self.end().map(|end| end.result.verb.as_str());
        match of_result.or(self.story.verb.as_deref())? {
            "deploy" => Some(ReportAction::Deploy),
            "rollback" => Some(ReportAction::Rollback),
            "up" if self.story.version.is_some() => Some(ReportAction::Deploy),
            _ => None,
        }
    }

    /// While the host goes on, with or without us, it is under way. What ended before the host began was no deployment,
    /// unless its own tests or its build stopped it.
    fn status(&self) -> Option<ReportStatus> {
        let under_way = self.begun.map(|_| ReportStatus::Deploying);
        let Some(end) = self.end().filter(|end| end.is_final) else { return under_way };
        let result = &end.result;
        if self.begun.is_none() && result.outcome == Outcome::Cancelled {
            return None;
        }
        let is_back = result.rolled_back_to.is_some();
        let status =
            ReportStatus::of_end(EndOf { outcome: result.outcome, is_back, stays: summary::stays(result) });
        // What has been told to go on must be told to have ended.
        status.or_else(|| self.begun.map(|_| ReportStatus::Failed))
    }

    fn version(&self) -> String {
        let of_result = self.end().and_then(|end| end.result.version.as_deref());
        let said = of_result.or(self.story.version.as_deref()).or(self.coming);
        said.and_then(named).unwrap_or_else(|| UNKNOWN_VERSION.to_owned())
    }

    fn rollback(&self, action: ReportAction) -> Option<ReportRollback> {
        let result = self.end().map(|end| &end.result);
        let release = |text: &str| text.parse::<DeploymentId>().ok();
        match (&self.story.rollback, action) {
            (Some(told), _) => Some(ReportRollback {
                reason: shortened(&told.reason, LONGEST),
                target_deployment_id: release(&told.to_release),
                target_version: result.and_then(|result| result.previous_version.clone()),
            }),
            (None, ReportAction::Rollback) => Some(ReportRollback {
                reason: self.known.reason.clone().unwrap_or_else(|| "a rollback was asked for".to_owned()),
                target_deployment_id: result
                    .and_then(|result| result.release.as_deref())
                    .or(self.coming)
                    .and_then(release),
                target_version: result.and_then(|result| result.version.clone()),
            }),
            (None, ReportAction::Deploy) => None,
        }
    }
}

/// Nothing before the first check was made.
fn validation(story: &Story) -> Option<ReportValidation> {
    if story.findings.is_empty() {
        return None;
    }
    let said =
        |severity| story.findings_of(severity).map(|finding| shortened(&finding.message, LONGEST)).collect();
    let (errors, warnings): (Vec<String>, Vec<String>) = (said(Severity::Error), said(Severity::Warning));
    let mut checks: Map<String, Value> = Map::new();
    for finding in &story.findings {
        let (passed, found) = (finding.passed, shortened(&finding.message, LONGEST));
        // Of several findings by one rule the one that weighs most is told.
        let weighs = |known: &Value| known["passed"] == true && !passed;
        if checks.get(&finding.rule).is_none_or(weighs) {
            let told = json!({ "passed": passed, "severity": finding.severity, "message": found });
            checks.insert(finding.rule.clone(), told);
        }
    }
    Some(ReportValidation { passed: errors.is_empty(), checks, errors, warnings })
}

/// The last lines of the services that failed; nothing where none did.
fn error_logs(story: &Story) -> Option<String> {
    if story.logs.is_empty() {
        return None;
    }
    let mut text = String::new();
    for told in &story.logs {
        text.push_str(&format!("{} ({}, {}):\n", told.service, told.container, told.state));
        told.lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    let mut end = text.len().min(LOGS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Some(text)
}

fn backup(story: &Story) -> Option<ReportBackup> {
    let told = story.backup.as_ref()?;
    let name = told.path.rsplit('/').next().unwrap_or(&told.path).to_owned();
    Some(ReportBackup { name, size_bytes: Some(told.size_bytes), sha256: Some(told.sha256.clone()) })
}

fn stages(story: &Story) -> Vec<ReportStage> {
    let Some(start) = story.timeline.start() else { return Vec::new() };
    let told = story.timeline.stages().iter().map(|told| ReportStage {
        stage: told.stage,
        outcome: told.outcome,
        started_at: after(start, told.began_ms),
        took_ms: told.took_ms,
        reason: told.reason.as_deref().map(|reason| shortened(reason, LONGEST)),
    });
    told.collect()
}

/// Numbers of a host are whatever it says.
fn after(start: Timestamp, ms: u64) -> Timestamp {
    let time = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    start.checked_add(time).unwrap_or(start)
}
