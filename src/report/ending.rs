//! The end of a run on the console: how it ended, what failed, the facts, and the next step. The same facts that a
//! summary shows, in as few lines as they fit.

use super::lines::{Line, indented, next_step, with_code};
use super::{Story, summary, words};
use crate::event::{FileChanges, ImageChange, ImageName, Level};
use crate::model::{CheckResult, StageOutcome, Verdict};

/// Most things of one kind that a line or a row of lines names.
const NAMED: usize = 6;

/// Returns the lines; none while there is no end.
pub(super) fn lines(story: &Story) -> Vec<Line> {
    let Some(end) = &story.end else { return Vec::new() };
    let result = &end.result;
    let level = story.level().unwrap_or(Level::Info);
    let mut lines = vec![Line::more(""), Line::headline(level, summary::headline(result))];
    for (at, error) in story.failures().into_iter().enumerate() {
        lines.extend(indented(&format!("  {}. ", at + 1), &with_code(error)));
        let hint = error.hint.as_deref().filter(|hint| result.next_step.as_deref() != Some(hint));
        lines.extend(next_step(hint));
    }
    lines.extend(facts(story).into_iter().map(|(name, value)| Line::more(format!("  {name:<13} {value}"))));
    if !end.is_final {
        lines.push(Line::more("  The host goes on by itself; its own log has the end."));
    }
    for muted in &story.muted {
        lines.push(Line::more(format!("  without       the {}: {}", muted.reporter, muted.cause)));
    }
    if let Some(step) = &result.next_step {
        lines.extend(indented("  Next: ", step));
    }
    lines
}

fn facts(story: &Story) -> Vec<(String, String)> {
    let Some(result) = story.result() else { return Vec::new() };
    let mut facts = summary::facts(result, story.setting.event_log.as_deref());
    if let (Some(backup), Some((_, told))) =
        (&story.backup, facts.iter_mut().find(|(name, _)| name == "backup"))
    {
        *told = format!("{}  ({})", backup.path, words::size(backup.size_bytes));
    }
    let at = facts.iter().position(|(name, _)| name == "took").map_or(facts.len(), |at| at + 1);
    let more = more_facts(story).into_iter().map(|(name, value)| (name.to_owned(), value));
    facts.splice(at..at, more);
    let back = story.rollback_command();
    facts.extend(back.map(|command| ("roll back".to_owned(), command)));
    facts
}

fn more_facts(story: &Story) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.extend(stages(story).map(|stages| ("stages", stages)));
    let services = story.services();
    let services =
        services.iter().map(|(service, change)| format!("{service} {}", change.as_str())).collect();
    facts.extend(listed(services).map(|services| ("services", services)));
    for change in story.image_changes.iter().take(NAMED) {
        facts.push(("image", image(change)));
    }
    let more = story.image_changes.len().saturating_sub(NAMED);
    facts.extend((more > 0).then(|| ("image", format!("and {more} more"))));
    facts.extend(files(&story.files).map(|files| ("files", files)));
    let checks = story.checks_of_release();
    facts.extend(listed(checks.into_iter().map(check).collect()).map(|checks| ("checks", checks)));
    facts
}

/// What took time, in order; nothing when all that is known is how long everything took.
fn stages(story: &Story) -> Option<String> {
    let told = story.timeline.stages().iter();
    let told = told.filter(|told| told.outcome.is_some_and(|outcome| outcome != StageOutcome::Skipped));
    let told: Vec<String> = told
        .filter_map(|told| Some((told, words::duration_ms(told.took_ms.filter(|took| *took > 0)?))))
        .map(|(told, took)| match told.outcome {
            Some(StageOutcome::Failed) => format!("✗ {} {took}", told.stage),
            _ => format!("{} {took}", told.stage),
        })
        .collect();
    (told.len() > 1).then(|| told.join(", "))
}

fn image(change: &ImageChange) -> String {
    let shown = |image: &Option<ImageName>| image.as_ref().map_or_else(|| "none".to_owned(), image_name);
    format!("{}: {} → {}", change.service, shown(&change.before), shown(&change.after))
}

fn image_name(image: &ImageName) -> String {
    // A registry's digest says more than an id, which is this engine's.
    format!("{} {}", image.image, words::short_digest(image.digest.as_deref().unwrap_or(&image.image_id)))
}

fn files(files: &FileChanges) -> Option<String> {
    let kinds = [
        ("added", files.added_count, &files.added),
        ("changed", files.changed_count, &files.changed),
        ("removed", files.removed_count, &files.removed),
    ];
    let told = kinds.into_iter().filter(|(_, count, _)| *count > 0).map(|(word, count, names)| {
        let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
        let more = if count > shown.len() as u64 { ", …" } else { "" };
        format!("{count} {word} ({}{more})", shown.join(", "))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn check(check: &CheckResult) -> String {
    match check.verdict {
        Verdict::Passed => format!("✓ {} {} ms", check.name, check.latency_ms),
        Verdict::Failed if check.optional => format!("! {} (optional)", check.name),
        Verdict::Failed => format!("✗ {}", check.name),
        Verdict::Skipped => format!("- {} skipped", check.name),
    }
}

fn listed(all: Vec<String>) -> Option<String> {
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let shown: Vec<String> = all.into_iter().take(NAMED).collect();
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::story::tests as stories;

    fn text(story: &Story) -> String {
        lines(story).iter().map(|line| format!("{}\n", line.text)).collect()
    }

    #[test]
    fn the_end_of_a_good_run_says_what_changed_and_how_to_go_back() {
        let text = text(&stories::succeeded());
        for part in [
            "  services      backend recreated\n",
            "  image         backend: shop-backend 60303ae22b99 → shop-backend 9f86d081884c\n",
            "  files         1 changed (config/shop.yaml)\n",
            "  checks        ✓ backend 12 ms\n",
            "  backup        /srv/shop/production/backups/ffe_backup_20261121_064012.tar.zst  (1.0 MB)\n",
            "  roll back     ffe-deploy rollback production --to deploy-20261120120000-7c9e6679 --yes\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().count() < 20, "{text}");
    }

    #[test]
    fn much_of_a_kind_is_counted_and_an_unfinished_run_says_who_goes_on() {
        let mut story = stories::succeeded();
        story.image_changes = vec![story.image_changes[0].clone(); 9];
        story.files.changed_count = 40;
        story.end.as_mut().unwrap().is_final = false;
        let text = text(&story);
        assert!(text.contains("  image         and 3 more\n"), "{text}");
        assert!(text.contains("40 changed (config/shop.yaml, …)"), "{text}");
        assert!(text.contains("The host goes on by itself"), "{text}");
    }
}
