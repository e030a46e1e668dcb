//! A plan in rows of words, for every reader that shows one.

use super::words;
use crate::event::{
    ImageHow, Plan, PlannedBackup, PlannedHook, PlannedImage, PlannedService, Reason, ServiceChange, Why,
};
use crate::model::{Before, OnError};
use crate::text::shell_word;

/// Most names that one reason lists.
const NAMED: usize = 8;

/// Service, change and reasons; those that change come first.
pub(super) fn services(plan: &Plan) -> Vec<Vec<String>> {
    let row = |service: &PlannedService| {
        let change = match (service.change, service.if_image_differs) {
            (change, true) => format!("{} (if the build gives another image)", change.as_str()),
            (change, false) => change.as_str().to_owned(),
        };
        vec![service.service.clone(), change, reasons(&service.reasons)]
    };
    let is_still = |service: &&PlannedService| service.change == ServiceChange::Unchanged;
    let moving = plan.services.iter().filter(|service| !is_still(service));
    moving.chain(plan.services.iter().filter(is_still)).map(row).collect()
}

fn reasons(reasons: &[Reason]) -> String {
    reasons.iter().map(reason).collect::<Vec<_>>().join("; ")
}

fn reason(reason: &Reason) -> String {
    let word = match reason.why {
        Why::Image => "image",
        Why::Environment => "environment",
        Why::Config => "definition",
        Why::Files => "mounted files",
        Why::DependsOn => "depends on",
        Why::Drift => "somebody changed it on the host",
        Why::Unhealthy => "it is not well",
        Why::Adopted => "it is taken over",
        Why::Compose => "Compose would make it anew",
    };
    let names = named(&reason.names);
    if names.is_empty() { word.to_owned() } else { format!("{word} {names}") }
}

fn named(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// Image, how it comes, its size and for what.
pub(super) fn images(plan: &Plan) -> Vec<Vec<String>> {
    let row = |image: &PlannedImage| {
        let how = match (image.how, &image.note) {
            (ImageHow::Built, Some(note)) => format!("built {note}"),
            (ImageHow::Built, None) => "built".to_owned(),
            (ImageHow::Pulled | ImageHow::Present, _) => "pulled".to_owned(),
        };
        let size = match (image.size_bytes, image.how) {
            (Some(bytes), _) => format!("up to {}", words::size(bytes)),
            (None, ImageHow::Pulled) => image.note.clone().unwrap_or_else(|| "size unknown".to_owned()),
            (None, _) => "-".to_owned(),
        };
        let base = if image.is_base { "builds of " } else { "" };
        vec![image.image.clone(), how, size, format!("{base}{}", named(&image.services))]
    };
    plan.images.iter().map(row).collect()
}

/// Each file and what would become of it.
pub(super) fn files(plan: &Plan) -> Vec<Vec<String>> {
    let files = &plan.files;
    let changed = files.changed.iter().map(|file| match &file.note {
        Some(note) => vec![file.path.clone(), format!("changed ({note})")],
        None => vec![file.path.clone(), "changed".to_owned()],
    });
    let named = |names: &[String], word: &str| -> Vec<Vec<String>> {
        names.iter().map(|name| vec![name.clone(), word.to_owned()]).collect()
    };
    let more = |count: u64, shown: usize, word: &str| {
        let more = count.saturating_sub(shown as u64);
        (more > 0).then(|| vec![format!("and {more} more"), word.to_owned()])
    };
    let mut rows = named(&files.added, "added");
    rows.extend(more(files.added_count, files.added.len(), "added"));
    rows.extend(changed);
    rows.extend(more(files.changed_count, files.changed.len(), "changed"));
    rows.extend(named(&files.removed, "deleted"));
    rows.extend(more(files.removed_count, files.removed.len(), "deleted"));
    rows
}

/// The backup in one line.
pub(super) fn backup(backup: &PlannedBackup) -> String {
    match (&backup.directory, &backup.reason) {
        (Some(directory), _) => format!("{} → {directory}", backup.includes.join(", ")),
        (None, Some(reason)) => format!("none, {reason}"),
        (None, None) => "none".to_owned(),
    }
}

/// Each check and what it would ask; first what is asked before the deploy.
pub(super) fn checks(plan: &Plan) -> Vec<Vec<String>> {
    let asked = |check: &crate::event::PlannedCheck| match (&check.skipped, check.optional) {
        (Some(why), _) => format!("nothing: {why}"),
        (None, true) => format!("{} (optional)", check.asked),
        (None, false) => check.asked.clone(),
    };
    let rows = plan.checks.iter().map(|check| vec![check.check.clone(), asked(check)]);
    before(plan).into_iter().chain(rows).collect()
}

/// What `health.before` asks; nothing when nobody wants it asked.
fn before(plan: &Plan) -> Option<Vec<String>> {
    let then = match plan.health_before {
        Before::Skip => return None,
        Before::Warn => "one that fails is a warning",
        Before::Require => "one that fails refuses the deploy",
    };
    let asked = match &plan.previous_version {
        Some(version) => format!("every check of {version}, which runs; {then}"),
        None => "nothing: nothing is deployed yet".to_owned(),
    };
    Some(vec!["before the deploy".to_owned(), asked])
}

/// The tests, and each hook: its name, when, where, and what it would run.
pub(super) fn hooks(plan: &Plan) -> Vec<Vec<String>> {
    let test = plan.test.iter().map(|test| {
        let words = ["test", "before anything else", "runner"].map(str::to_owned);
        words.into_iter().chain([command(&test.command, test.timeout_ms)]).collect()
    });
    test.chain(plan.hooks.iter().map(hook)).collect()
}

fn hook(hook: &PlannedHook) -> Vec<String> {
    let fails = match hook.on_error {
        None | Some(OnError::Fail) => None,
        Some(OnError::Warn) => Some("its failure is a warning"),
        Some(OnError::Rollback) => Some("its failure rolls back"),
    };
    let only = hook.only_if.as_ref().map(|when| format!("only if {when}"));
    let more: Vec<String> = only.into_iter().chain(fails.map(str::to_owned)).collect();
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
    let when = format!("{}{more}", hook.kind);
    vec![hook.hook.clone(), when, hook.place.clone(), command(&hook.command, hook.timeout_ms)]
}

fn command(words: &[String], timeout_ms: u64) -> String {
    let shown: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    let shown = if shown.is_empty() { "the service's command".to_owned() } else { shown.join(" ") };
    format!("{shown}, at most {}", words::duration_ms(timeout_ms))
}
