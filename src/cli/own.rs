//! Why the runner itself ends a job, in words: for all that the host has no last word on.

use crate::model::{DeploymentId, ErrorKind, FailureReport, Outcome, Particular, Severity};
use crate::remote::RemoteError;
use crate::remote::session::SessionError;

/// Why the runner ends a job itself.
pub(super) enum Own {
    /// Before anything was started.
    Ended(Outcome, Vec<FailureReport>),
    /// The host has acknowledged a cancel, or has not.
    Left(Outcome, FailureReport),
    /// Somebody who only looked on has seen enough.
    Stopped,
}

impl Own {
    /// An end before anything was started, for one reason.
    pub(super) fn of(outcome: Outcome, failure: FailureReport) -> Self {
        Self::Ended(outcome, vec![failure])
    }
}

impl From<RemoteError> for Own {
    fn from(error: RemoteError) -> Self {
        Self::of(error.outcome(), error.report())
    }
}

impl From<SessionError> for Own {
    fn from(error: SessionError) -> Self {
        let outcome = match error {
            SessionError::Bundle { .. } | SessionError::Changed(_) => Outcome::Refused,
            _ => Outcome::Unreachable,
        };
        Self::of(outcome, error.report())
    }
}

/// Returns whether any finding stops the deployment.
pub(super) fn is_refused(findings: &[crate::model::Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Findings that stop the deployment.
pub(super) fn refused(findings: &[crate::model::Finding]) -> Own {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let failures = errors.map(|finding| FailureReport {
        error_kind: kind_of(&finding.rule),
        code: finding.rule.clone(),
        message: finding.message.clone(),
        hint: finding.hint.clone(),
        particulars: particular(finding).into_iter().collect(),
    });
    Own::Ended(Outcome::Refused, failures.collect())
}

/// A finding about something in a file, with its place.
fn particular(finding: &crate::model::Finding) -> Option<Particular> {
    let place = finding.place.clone()?;
    Some(Particular { message: finding.message.clone(), place: Some(place) })
}

/// The documents' kind of a finding: a missing variable is the configuration's fault (R003-45).
fn kind_of(rule: &str) -> ErrorKind {
    match rule.split('.').next() {
        Some("docker") => ErrorKind::DockerError,
        Some("env") => ErrorKind::ConfigurationError,
        _ => ErrorKind::ValidationError,
    }
}

/// Cancelled before the host was told to start.
pub(super) fn cancelled_early() -> Own {
    let message = "cancelled before anything was started; nothing was touched";
    Own::of(
        Outcome::Cancelled,
        FailureReport::new(ErrorKind::DeploymentError, "cancelled", message).hint("run it again"),
    )
}

/// The host has acknowledged a cancel.
pub(super) fn acknowledged(effect: &str) -> Own {
    let message = format!("cancelled; the host has acknowledged: {effect}");
    let hint = "`ffe-deploy status` shows when it is done; the next deploy waits for it";
    Own::Left(
        Outcome::Cancelled,
        FailureReport::new(ErrorKind::DeploymentError, "cancelled", message).hint(hint),
    )
}

/// Contact was lost for good.
pub(super) fn lost(id: &DeploymentId, follow: &str, last: Option<FailureReport>) -> Own {
    let cause = last.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    // What could not be reached was not touched by that attempt, but by the deployment it may have been.
    let cause = cause.trim_end_matches("; nothing was touched");
    let message = format!(
        "contact to the host was lost and could not be made again, but the deployment goes on there{cause}"
    );
    let hint = how_to_follow(id, follow);
    let failure = FailureReport::new(ErrorKind::DeploymentError, "connection.lost", message).hint(hint);
    Own::Left(Outcome::Lost, failure)
}

/// `follow` are the words of the command that follows whatever runs there.
fn how_to_follow(id: &DeploymentId, follow: &str) -> String {
    format!("follow it with `{follow}`, or with the same command as before and `--deployment-id {id}`")
}

/// Code of a cancel that the host did not acknowledge.
pub(super) const UNACKNOWLEDGED: &str = "cancel.unacknowledged";

/// The host did not acknowledge a cancel.
pub(super) fn unacknowledged(id: &DeploymentId, follow: &str) -> Own {
    let message = "asked to stop, but the host did not acknowledge it; it goes on by itself";
    let hint = how_to_follow(id, follow);
    Own::Left(
        Outcome::Lost,
        FailureReport::new(ErrorKind::DeploymentError, UNACKNOWLEDGED, message).hint(hint),
    )
}

/// A log file that was asked for cannot be made.
pub(super) fn log_failure(error: &crate::report::ReportError) -> FailureReport {
    let hint = "name another file or directory, or make it writable";
    FailureReport::new(ErrorKind::ConfigurationError, "log.open", describe(error)).hint(hint)
}

/// An error and its causes in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
