//! Weight and one sentence for each event; the sentence is what people read when they read the raw log.

use std::fmt;

use super::{EventKind, ImageHow, Level, ServiceChange};
use crate::model::{HookOutcome, Outcome, Severity, Stage, StageOutcome, Verdict};

impl EventKind {
    /// Returns how much it weighs.
    pub fn level(&self) -> Level {
        match self {
            Self::DeploymentStarted { .. }
            | Self::HostTookOver { .. }
            | Self::StageStarted {}
            | Self::BundleReceived { .. }
            | Self::ReleaseCompared { .. }
            | Self::PlanMade { .. }
            | Self::ImageReady { .. }
            | Self::BackupCreated { .. }
            | Self::Pruned { .. }
            | Self::ServiceChanged { .. }
            | Self::ReleaseCommitted { .. }
            | Self::HookStarted { .. }
            | Self::LogLine { .. }
            | Self::LogsCollected { .. } => Level::Info,
            Self::HealthAttempted { .. } => Level::Debug,
            Self::RecoveryStarted { .. }
            | Self::RecoveryFinished { .. }
            | Self::RollbackStarted { .. }
            | Self::CancelRequested { .. } => Level::Warning,
            Self::StageFinished { outcome, .. } => match outcome {
                StageOutcome::Failed => Level::Error,
                StageOutcome::Succeeded | StageOutcome::Skipped => Level::Info,
            },
            Self::CheckFinished { verdict, optional, .. } => match (verdict, optional) {
                (Verdict::Failed, true) => Level::Warning,
                (Verdict::Failed, false) => Level::Error,
                (Verdict::Passed | Verdict::Skipped, _) => Level::Info,
            },
            Self::HookFinished { result } => match result.outcome {
                HookOutcome::Succeeded => Level::Info,
                HookOutcome::NotRun => Level::Warning,
                _ if result.kind.is_after_the_end() => Level::Warning,
                _ => Level::Error,
            },
            Self::FindingReported { finding } => of_severity(finding.severity),
            Self::Noticed { severity, .. } => of_severity(*severity),
            Self::Failed { .. } => Level::Error,
            Self::DeploymentFinished { result, .. } => level_of(result.outcome),
        }
    }
}

/// Returns how much an end weighs.
pub fn level_of(outcome: Outcome) -> Level {
    match outcome {
        Outcome::Succeeded | Outcome::Planned => Level::Info,
        Outcome::Failed => Level::Critical,
        Outcome::Cancelled => Level::Warning,
        _ => Level::Error,
    }
}

fn of_severity(severity: Severity) -> Level {
    match severity {
        Severity::Passed => Level::Debug,
        Severity::Silenced => Level::Info,
        Severity::Warning => Level::Warning,
        Severity::Error => Level::Error,
    }
}

impl EventKind {
    /// Returns the sentence for people who read the raw log; `stage` is the one in which it happened.
    pub fn sentence(&self, stage: Stage) -> String {
        match self {
            Self::StageStarted {} | Self::StageFinished { .. } => format!("{stage} {self}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeploymentStarted { verb, version: Some(version), target, .. } => {
                write!(out, "{verb} of {version} to {target} started")
            }
            Self::DeploymentStarted { verb, version: None, target, .. } => {
                write!(out, "{verb} on {target} started")
            }
            Self::HostTookOver { root, .. } => write!(out, "the host took over in {root}"),
            Self::StageStarted {} => out.write_str("started"),
            Self::StageFinished { outcome, took_ms, reason, .. } => {
                let word = match outcome {
                    StageOutcome::Succeeded => "succeeded",
                    StageOutcome::Failed => "failed",
                    StageOutcome::Skipped => "skipped",
                };
                write!(out, "{word} after {took_ms} ms")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(out, ": {reason}"))
            }
            Self::FindingReported { finding } => write!(out, "{}: {}", finding.rule, finding.message),
            Self::HealthAttempted { check, attempt, detail, .. } => {
                write!(out, "{check}, attempt {attempt}: {detail}")
            }
            Self::CheckFinished { check, verdict, detail, .. } => {
                let word = match verdict {
                    Verdict::Passed => "is healthy",
                    Verdict::Failed => "is unhealthy",
                    Verdict::Skipped => "was skipped",
                };
                write!(out, "{check} {word}: {detail}")
            }
            Self::BundleReceived { files, sent_files, sent_bytes } => {
                write!(
                    out,
                    "bundle of {files} files is on the host; {sent_files} travelled ({sent_bytes} bytes)"
                )
            }
            Self::ReleaseCompared { release, previous_release, images, files } => {
                match previous_release {
                    Some(before) => write!(out, "{release} compared with {before}: ")?,
                    None => write!(out, "{release} is the first release: ")?,
                }
                let (added, changed, removed) = (files.added_count, files.changed_count, files.removed_count);
                write!(
                    out,
                    "{} images differ; {added} files added, {changed} changed, {removed} removed",
                    images.len()
                )
            }
            Self::PlanMade { plan } => match plan.changes {
                false => write!(out, "a deploy of {} would change nothing", plan.version),
                true => {
                    let count = |change| plan.count(change);
                    write!(
                        out,
                        "a deploy of {} would create {} services, recreate {}, start {} and remove {}; nothing was touched",
                        plan.version,
                        count(ServiceChange::Created),
                        count(ServiceChange::Recreated),
                        count(ServiceChange::Started),
                        count(ServiceChange::Removed)
                    )
                }
            },
            Self::ImageReady { service, image, how, .. } => {
                let word = match how {
                    ImageHow::Pulled => "was pulled",
                    ImageHow::Built => "was built",
                    ImageHow::Present => "is present",
                };
                write!(out, "image {image} of {service} {word}")
            }
            Self::BackupCreated { path, size_bytes, .. } => {
                write!(out, "backup created: {path} ({size_bytes} bytes)")
            }
            Self::Pruned { releases, images, backups, files, agents, freed_bytes, freed_image_bytes } => {
                write!(
                    out,
                    "pruned: {} old releases, {} images, {files} release files, {agents} agents, {} backups \
                 ({freed_bytes} bytes, and {freed_image_bytes} bytes of images)",
                    releases.len(),
                    images.len(),
                    backups.len()
                )
            }
            Self::ServiceChanged { service, change } => write!(out, "{service} {}", change.as_str()),
            Self::ReleaseCommitted { release, .. } => write!(out, "release {release} is current"),
            Self::RecoveryStarted { unfinished, reached, decision } => {
                write!(out, "{unfinished} was left unfinished in {reached}; recovery: {decision}")
            }
            Self::RecoveryFinished { unfinished, outcome } => {
                write!(out, "{unfinished} was ended: {outcome}")
            }
            Self::RollbackStarted { to_release, reason, .. } => {
                write!(out, "rolling back to {to_release}: {reason}")
            }
            Self::CancelRequested { effect } => write!(out, "cancel requested: {effect}"),
            Self::HookStarted { hook, kind, place, timeout_ms: _ } => {
                write!(out, "{kind} hook {hook} started on {place}")
            }
            Self::HookFinished { result } => {
                write!(
                    out,
                    "{} hook {} {} after {} ms",
                    result.kind,
                    result.hook,
                    result.outcome.words(),
                    result.took_ms
                )?;
                result.detail.as_ref().map_or(Ok(()), |detail| write!(out, ": {detail}"))
            }
            Self::LogLine { source, text } => write!(out, "{source} │ {text}"),
            Self::LogsCollected { service, state, lines, .. } => {
                write!(out, "{service} ({state}): last {} log lines collected", lines.len())
            }
            Self::Noticed { code, notice, .. } => write!(out, "{code}: {notice}"),
            Self::Failed { failure } => out.write_str(&failure.message),
            Self::DeploymentFinished { result, is_final } => {
                write!(out, "{} {}", result.verb, result.outcome)?;
                if *is_final { Ok(()) } else { out.write_str("; the host goes on by itself") }
            }
        }
    }
}

impl ServiceChange {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Recreated => "recreated",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::Unchanged => "unchanged",
        }
    }
}
