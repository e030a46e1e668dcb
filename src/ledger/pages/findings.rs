//! What was found of a deployment: what went wrong, health checks, what was validated, and its backup.

use maud::{Markup, html};

use super::words::{duration, prose, short, sign};
use crate::ledger::store::{Deployment, Json};
use crate::model::lifecycle::{Report, ReportBackup, ReportValidation};
use crate::model::{CheckResult, FailureReport, Verdict};
use crate::text::harmless_lines;

/// Longest paragraph of foreign text, in characters.
const PARAGRAPH: usize = 4000;

/// Returns what went wrong, root cause first; nothing when nothing did.
pub(super) fn wrong(deployment: &Deployment, report: Option<&Report>) -> Markup {
    let errors = report.map(|report| report.errors.as_slice()).unwrap_or_default();
    // Without a log of its own the ledger keeps the messages in its place.
    let own = report.is_none_or(|report| report.error_logs.is_some());
    let logs = deployment.error_logs.as_deref().filter(|logs| own && !logs.trim().is_empty());
    html! {
        @if !errors.is_empty() || logs.is_some() || deployment.rollback_reason.is_some() {
            section.card.wrong aria-labelledby="wrong" {
                h2 #wrong { "What went wrong" }
                @if let Some((root, others)) = errors.split_first() {
                    (failure(root))
                    @if !others.is_empty() {
                        h3 { "And then" }
                        @for error in others { (failure(error)) }
                    }
                }
                @if let Some(reason) = &deployment.rollback_reason {
                    p { strong { "Rolled back" }
                        @if let Some(who) = &deployment.rolled_back_by { " by " (short(who, 100)) } ": " (short(reason, PARAGRAPH)) }
                }
                @if let Some(logs) = logs {
                    details open { summary { "Last lines of what failed" } pre.log tabindex="0" { (harmless_lines(logs)) } }
                }
            }
        }
    }
}

fn failure(error: &FailureReport) -> Markup {
    html! {
        div.failure {
            p.message { (sign("bad")) span { (prose(&error.message)) } }
            @if !error.particulars.is_empty() {
                ul { @for one in &error.particulars {
                    li { (prose(&one.message))
                        @if let Some(place) = &one.place { " " code { (short(&place.file, 200)) @if let Some(line) = place.line { ":" (line) } } } }
                } }
            }
            @if let Some(hint) = &error.hint { p.hint { strong { "What to do: " } (prose(hint)) } }
            p.quiet { code { (short(&error.code, 100)) } }
        }
    }
}

/// Returns the results of health checks; nothing when there are none.
pub(super) fn checks(kept: &Json) -> Markup {
    let Ok(checks) = serde_json::from_str::<Vec<CheckResult>>(kept.text()) else {
        return raw("Health checks", kept);
    };
    html! {
        @if !checks.is_empty() {
            section.card aria-labelledby="checks" {
                h2 #checks { "Health checks" }
                ul.checks { @for check in &checks { (one(check)) } }
            }
        }
    }
}

fn one(check: &CheckResult) -> Markup {
    let (class, word) = match (check.verdict, check.optional) {
        (Verdict::Passed, _) => ("good", "passed"),
        (Verdict::Failed, true) => ("warn", "failed, optional"),
        (Verdict::Failed, false) => ("bad", "failed"),
        (Verdict::Skipped, _) => ("past", "skipped"),
    };
    let tries = if check.attempts == 1 { "try" } else { "tries" };
    html! {
        li {
            span class={ "health " (class) } { (sign(class)) span { strong { (short(&check.name, 100)) } ": " (word) } }
            p.quiet { (short(&check.asked, 300)) @if !check.detail.is_empty() { " → " (short(&check.detail, PARAGRAPH)) } }
            p.quiet { (check.attempts) " " (tries) ", last answer in " (duration(check.latency_ms)) ", verdict after " (duration(check.waited_ms)) }
        }
    }
}

/// Returns what was validated; nothing when nothing was.
pub(super) fn validation(kept: Option<&Json>) -> Markup {
    let Some(kept) = kept else { return html! {} };
    let Ok(found) = serde_json::from_str::<ReportValidation>(kept.text()) else {
        return raw("Validation", kept);
    };
    let (class, word) = if found.passed { ("good", "passed") } else { ("bad", "failed") };
    html! {
        section.card aria-labelledby="validation" {
            h2 #validation { "Validation" }
            p { span class={ "health " (class) } { (sign(class)) (word) } }
            @if !found.errors.is_empty() {
                h3 { "Against it" }
                ul { @for error in &found.errors { li { (prose(error)) } } }
            }
            @if !found.warnings.is_empty() {
                h3 { "Warnings" }
                ul { @for warning in &found.warnings { li { (prose(warning)) } } }
            }
            @if !found.checks.is_empty() {
                details {
                    summary { (found.checks.len()) @if found.checks.len() == 1 { " check" } @else { " checks" } }
                    dl.pairs { @for (name, value) in &found.checks {
                        dt { code { (short(name, 100)) } }
                        dd { (short(&value.as_str().map_or_else(|| value.to_string(), str::to_owned), 500)) }
                    } }
                }
            }
        }
    }
}

/// Returns the backup that was taken; nothing when none was.
pub(super) fn backup(kept: Option<&ReportBackup>) -> Markup {
    html! {
        @if let Some(kept) = kept {
            section.card aria-labelledby="backup" {
                h2 #backup { "Backup" }
                dl.pairs {
                    dt { "Archive" } dd { code { (short(&kept.name, 300)) } }
                    @if let Some(bytes) = kept.size_bytes { dt { "Size" } dd { (humansize::format_size(bytes, humansize::BINARY)) } }
                    @if let Some(digest) = &kept.sha256 { dt { "SHA-256" } dd { code { (short(digest, 100)) } } }
                }
            }
        }
    }
}

/// What somebody kept in another form is shown as it is.
fn raw(title: &str, kept: &Json) -> Markup {
    html! { section.card { h2 { (title) } pre.log tabindex="0" { (short(kept.text(), 20_000)) } } }
}
