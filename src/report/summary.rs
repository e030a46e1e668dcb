//! The end of a deployment in a headline and a few facts, for every reader that shows one.

use std::time::Duration;

use super::{Notified, words};
use crate::event::DeploymentResult;
use crate::model::{Outcome, Overall, Status};

/// Returns the end in one sentence: `✗ deploy of shop to production: rolled_back (exit 4): …`.
pub fn headline(result: &DeploymentResult) -> String {
    let mark = match result.status {
        Status::Success => "✓",
        Status::Cancelled => "■",
        Status::Failure => "✗",
    };
    format!("{mark} {}: {} (exit {}): {}", subject(result), result.outcome, result.exit_code, meaning(result))
}

/// Returns what the end means for what runs.
pub(super) fn meaning(result: &DeploymentResult) -> &'static str {
    match (result.status, result.changed) {
        (Status::Success, _) if result.outcome == Outcome::Planned => words::meaning(result.outcome),
        (Status::Success, changed) => words::achieved(&result.verb, changed),
        _ if stays(result) => "the release is live and healthy, but a hook that comes after it failed",
        _ => words::meaning(result.outcome),
    }
}

/// Returns whether all that failed is a hook after the checks, which leaves the release where it is.
pub(super) fn stays(result: &DeploymentResult) -> bool {
    let only_hooks = result.errors.iter().all(|failure| failure.code.starts_with("hook."));
    result.outcome == Outcome::Failed && result.health.is_some() && only_hooks
}

/// Returns the outcome in a few words that cannot be misread: `1.2.0 is live`, `FAILED: 1.2.0 was rolled back to 1.1.0`.
pub fn verdict(result: &DeploymentResult) -> String {
    let version = result.version.as_deref().unwrap_or("the release");
    let before = result.previous_version.as_deref().unwrap_or("the release before");
    match (result.outcome, result.verb.as_str(), result.changed) {
        (Outcome::Succeeded, "deploy", true) => format!("{version} is live"),
        (Outcome::Succeeded, "deploy", false) => format!("{version} was live already, nothing was changed"),
        (Outcome::Succeeded, "rollback", true) => format!("went back to {version}, as asked"),
        (Outcome::Succeeded, verb, _) => format!("{verb}: {}", meaning(result)),
        (Outcome::RolledBack, "deploy", _) => {
            format!("FAILED: {version} did not work and was rolled back to {before}")
        }
        (Outcome::RolledBack, verb, _) => format!("FAILED: {verb} did not work; {before} is back"),
        (Outcome::Cancelled, ..) => format!("CANCELLED: {}", cancelled(result)),
        (Outcome::Planned, ..) => meaning(result).to_owned(),
        _ => format!("FAILED: {}", meaning(result)),
    }
}

/// What a cancel came to, which depends on when it came.
fn cancelled(result: &DeploymentResult) -> String {
    match (&result.rolled_back_to, &result.previous_version, result.errors.first()) {
        (Some(_), Some(before), _) => format!("{before} is back and verified"),
        (_, _, Some(cause)) => {
            cause.message.trim_start_matches("cancelled").trim_start_matches([';', ' ']).to_owned()
        }
        _ => meaning(result).to_owned(),
    }
}

/// Returns how long it took; nothing when a host said a time that cannot be.
pub(super) fn time_taken(result: &DeploymentResult) -> Duration {
    let seconds = if result.duration_seconds.is_finite() { result.duration_seconds.max(0.0) } else { 0.0 };
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Returns the title of a run: `deploy of shop to production: rolled back`.
pub fn title(result: &DeploymentResult) -> String {
    format!("{}: {}", subject(result), result.outcome.as_str().replace('_', " "))
}

/// `deploy of shop to production`
fn subject(result: &DeploymentResult) -> String {
    let of = result.app.as_ref().map(|app| format!(" of {app}")).unwrap_or_default();
    let to = result.environment.as_ref().map(|name| format!(" {} {name}", preposition(&result.verb)));
    format!("{}{of}{}", result.verb, to.unwrap_or_default())
}

/// Returns why an audience was not told of the end, in one line; nothing when it was.
pub fn not_told(notified: &Notified) -> Option<String> {
    let problem = notified.problem.as_ref()?;
    Some(format!("{} was not told: {problem}", notified.audience))
}

/// A release goes to an environment; everything else happens in one.
pub(super) fn preposition(verb: &str) -> &'static str {
    if verb == "deploy" { "to" } else { "in" }
}

/// Returns names and values of what people ask for first, in that order; what is not known is left out.
pub fn facts(result: &DeploymentResult, log_place: Option<&str>) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| (name.to_owned(), value)));
    };
    match (&result.rolled_back_to, &result.version, &result.previous_version) {
        (Some(release), Some(failed), Some(before)) => {
            add("version", Some(format!("{before} again; {failed} failed")));
            add("release", Some(release.clone()));
        }
        _ => {
            add("version", with_before(&result.version, &result.previous_version));
            add("release", with_before(&result.release, &result.previous_release));
        }
    }
    add("backup", result.backup.clone());
    add("health", result.health.as_ref().map(|health| health_text(health.overall).to_owned()));
    add("took", Some(words::duration(time_taken(result))));
    for (service, url) in &result.urls {
        add("url", Some(format!("{url}  ({service})")));
    }
    add("deployment", Some(result.deployment_id.to_string()));
    add("event log", log_place.map(str::to_owned));
    facts
}

fn with_before(now: &Option<String>, before: &Option<String>) -> Option<String> {
    match (now, before) {
        (Some(now), Some(before)) if now != before => Some(format!("{now}  (before: {before})")),
        (Some(now), _) => Some(now.clone()),
        (None, Some(before)) => Some(format!("none  (before: {before})")),
        (None, None) => None,
    }
}

/// Returns the word for all checks together.
pub fn health_text(overall: Overall) -> &'static str {
    match overall {
        Overall::Healthy => "healthy",
        Overall::Degraded => "degraded",
        Overall::Unhealthy => "unhealthy",
    }
}
