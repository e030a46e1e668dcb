//! The parts of a summary: each a fact of the run in Markdown, and nothing where there is none.

use super::gantt;
use super::page::{folded, last_lines, table};
use crate::event::{DeploymentResult, Origin};
use crate::model::{CheckResult, Finding, HookOutcome, Severity, StageOutcome, Status, Verdict, rules};
use crate::report::story::StageTold;
use crate::report::{Story, summary, words};
use crate::text::{markdown_code, markdown_fence, markdown_lines, markdown_link, markdown_text};

/// `## ✅ shop in production: 1.2.0 is live`
pub(super) fn headline(result: &DeploymentResult) -> String {
    let mark = match result.status {
        Status::Success => "✅",
        Status::Cancelled => "⏹️",
        Status::Failure => "❌",
    };
    let app = result.app.as_ref().map(|app| format!("{} ", markdown_code(app.as_str()))).unwrap_or_default();
    let place = result.environment.as_ref();
    let place = place.map(|name| format!("in {} ", markdown_code(name.as_str()))).unwrap_or_default();
    format!("## {mark} {app}{place}— {}\n", markdown_text(&summary::verdict(result)))
}

/// What to do, in one line.
pub(super) fn next_step(result: &DeploymentResult) -> String {
    let step = result.next_step.as_deref();
    step.map(|step| format!("**Next:** {}\n", markdown_lines(step))).unwrap_or_default()
}

/// Names and values of what people ask for first.
pub(super) fn table_of_facts(story: &Story, result: &DeploymentResult) -> String {
    let mut rows = vec![["Outcome".to_owned(), outcome(result)]];
    rows.extend(story.target.as_ref().map(|target| ["Target".to_owned(), markdown_code(target)]));
    let mut deployment = None;
    for (name, value) in summary::facts(result, None) {
        match name.as_str() {
            "url" | "backup" => {}
            "deployment" => deployment = Some([capital(&name), markdown_code(&value)]),
            "release" => rows.push([capital(&name), with_before(&value)]),
            _ => rows.push([capital(&name), markdown_text(&value)]),
        }
    }
    rows.extend(backup(story, result));
    for (service, url) in &result.urls {
        rows.push(["Open".to_owned(), format!("{} ({})", markdown_link(url), markdown_text(service))]);
    }
    rows.extend(asked_by(story));
    rows.extend(deployment);
    rows.extend(story.setting.event_log.as_ref().map(|log| ["Event log".to_owned(), markdown_code(log)]));
    table(["", "This run"], rows)
}

fn outcome(result: &DeploymentResult) -> String {
    let word = result.outcome.as_str().replace('_', " ");
    format!("**{word}** (exit {}): {}", result.exit_code, markdown_text(summary::meaning(result)))
}

/// `new  (before: old)`: the ids as code.
fn with_before(value: &str) -> String {
    match value.split_once("  (before: ") {
        Some((now, before)) => {
            format!("{} (before: {})", markdown_code(now), markdown_code(before.trim_end_matches(')')))
        }
        None => markdown_code(value),
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn backup(story: &Story, result: &DeploymentResult) -> Option<[String; 2]> {
    let told = story.backup.as_ref().map(|backup| {
        let holds = backup.includes.join(", ");
        format!(
            "{}, {}, holds {}",
            markdown_code(&backup.path),
            words::size(backup.size_bytes),
            markdown_text(&holds)
        )
    });
    let told = told.or_else(|| Some(markdown_code(result.backup.as_ref()?)))?;
    Some(["Backup".to_owned(), told])
}

fn asked_by(story: &Story) -> Option<[String; 2]> {
    let who = story.setting.who.as_ref()?;
    let run =
        story.setting.run_url.as_ref().map(|url| format!(", {}", markdown_link(url))).unwrap_or_default();
    Some(["Asked by".to_owned(), format!("{}{run}", markdown_code(who))])
}

/// Everything that failed, root cause first.
pub(super) fn failures(story: &Story) -> String {
    let failures = story.failures();
    if failures.is_empty() {
        return String::new();
    }
    let mut part = "### What went wrong\n\n".to_owned();
    for (at, failure) in failures.iter().enumerate() {
        let hint =
            failure.hint.as_deref().map(|hint| format!("<br>→ {}", markdown_lines(hint))).unwrap_or_default();
        let (message, code) = (markdown_lines(&failure.message), markdown_code(&failure.code));
        part.push_str(&format!("**{}.** {message} ({code}){hint}\n\n", at + 1));
    }
    part
}

/// The last lines of what failed.
pub(super) fn logs(story: &Story) -> Vec<String> {
    let one = |logs: &crate::report::story::LogsTold| {
        let (service, state) = (markdown_code(&logs.service), markdown_text(&logs.state));
        let container = markdown_code(&logs.container);
        match logs.lines.len() {
            0 => format!("### {service} is {state}\n\nIts container {container} wrote no log.\n"),
            _ => format!(
                "### {service} is {state}\n\nThe last lines of {container}:\n\n{}",
                last_lines(&logs.lines)
            ),
        }
    };
    story.logs.iter().map(one).collect()
}

/// The command that goes back, or why there is none.
pub(super) fn way_back(story: &Story) -> String {
    match story.rollback_command() {
        Some(command) => {
            format!(
                "### The way back\n\nGoes back to the release before, verified, wherever this deployment could be run:\n\n{}",
                markdown_fence("sh", [command.as_str()])
            )
        }
        None => String::new(),
    }
}

/// The chart of the stages, and all of them in a table below it.
pub(super) fn timeline(story: &Story) -> String {
    let chart = gantt::chart(story);
    let Some(chart) = chart else { return String::new() };
    let rows = story.timeline.stages().iter().map(stage_row);
    let all = folded("Every stage", &table(["Stage", "Where", "Took", "How it ended"], rows));
    format!("### Timeline\n\n```mermaid\n{}\n```\n\n{all}", chart.join("\n"))
}

fn stage_row(told: &StageTold) -> [String; 4] {
    let place = if told.origin == Origin::Runner { "this job" } else { "the host" };
    let word = match told.outcome {
        Some(StageOutcome::Succeeded) => "✅&nbsp;succeeded",
        Some(StageOutcome::Failed) => "❌&nbsp;failed",
        Some(StageOutcome::Skipped) => "skipped",
        None => "⏳&nbsp;not ended",
    };
    let why =
        told.reason.as_deref().map(|reason| format!(": {}", markdown_lines(reason))).unwrap_or_default();
    let took = told.took_ms.map(words::duration_ms).unwrap_or_default();
    [markdown_code(told.stage.as_str()), place.to_owned(), took, format!("{word}{why}")]
}

/// The hooks that ran, and those that should have.
pub(super) fn hooks(story: &Story) -> String {
    let rows = story.hooks().iter().map(|hook| {
        let mark = match hook.outcome {
            HookOutcome::Succeeded => "✅&nbsp;",
            HookOutcome::NotRun => "",
            _ => "❌&nbsp;",
        };
        let why =
            hook.detail.as_ref().map(|detail| format!(": {}", markdown_text(detail))).unwrap_or_default();
        [
            markdown_code(&hook.hook),
            markdown_code(hook.kind.as_str()),
            markdown_text(&hook.place),
            words::duration_ms(hook.took_ms),
            format!("{mark}{}{why}", hook.outcome.words()),
        ]
    });
    let rows = table(["Hook", "When", "Where", "Took", "How it ended"], rows);
    if rows.is_empty() { rows } else { format!("### Hooks\n\n{rows}") }
}

/// The checks of the release that was asked for, and those of the one that is back.
pub(super) fn checks(story: &Story) -> String {
    let asked = check_table(&story.checks_of_release());
    let after = check_table(&story.checks_after_rollback());
    let mut part = String::new();
    if !asked.is_empty() {
        part.push_str(&format!("### Checks\n\n{asked}"));
    }
    if !after.is_empty() {
        part.push_str(&format!("\n### Checks after the rollback\n\n{after}"));
    }
    part
}

fn check_table(checks: &[&CheckResult]) -> String {
    let rows = checks.iter().map(|check| {
        let verdict = match (check.verdict, check.optional) {
            (Verdict::Passed, _) => "✅&nbsp;healthy",
            (Verdict::Skipped, _) => "skipped",
            (Verdict::Failed, false) => "❌&nbsp;unhealthy",
            (Verdict::Failed, true) => "⚠️&nbsp;unhealthy, optional",
        };
        [
            markdown_code(&check.name),
            verdict.to_owned(),
            format!("{} ms", check.latency_ms),
            words::duration_ms(check.waited_ms),
            markdown_code(&check.asked),
            markdown_text(&check.detail),
        ]
    });
    table(["Check", "Verdict", "Latency", "Waited", "Asked", "Answer"], rows)
}

/// What should be known although it stopped nothing: findings, notices, and audiences that heard nothing.
pub(super) fn warnings(story: &Story) -> String {
    let findings = story
        .findings_of(Severity::Warning)
        .map(|finding| warning(&finding.message, &finding.rule, finding.hint.as_deref()));
    let notices = story.notices.iter().filter(|notice| notice.severity != Severity::Passed);
    let notices = notices.map(|notice| warning(&notice.text, &notice.code, notice.hint.as_deref()));
    let all: Vec<String> = findings.chain(notices).collect();
    if all.is_empty() { String::new() } else { format!("### Worth knowing\n\n{}", all.concat()) }
}

fn warning(text: &str, code: &str, hint: Option<&str>) -> String {
    let hint = hint.map(|hint| format!("<br>→ {}", markdown_lines(hint))).unwrap_or_default();
    format!("⚠️ {} ({}){hint}\n\n", markdown_lines(text), markdown_code(code))
}

/// A rule's id, which leads to its page; of an unknown one (an older host's) just the id.
fn page_of(rule: &str) -> String {
    let id = markdown_code(rule);
    rules::find(rule).map_or_else(|| id.clone(), |rule| format!("[{id}]({})", rule.url()))
}

/// What `validate` found: what is wrong first.
pub(super) fn findings(findings: &[Finding]) -> String {
    let of = |severity, mark: &'static str| {
        findings.iter().filter(move |finding| finding.severity == severity).map(move |finding| {
            let hint = finding
                .hint
                .as_deref()
                .map(|hint| format!("<br>→ {}", markdown_lines(hint)))
                .unwrap_or_default();
            [mark.to_owned(), page_of(&finding.rule), format!("{}{hint}", markdown_lines(&finding.message))]
        })
    };
    let wrong = of(Severity::Error, "❌&nbsp;error").chain(of(Severity::Warning, "⚠️&nbsp;warning"));
    let silenced = findings.iter().filter_map(|finding| {
        let silenced = finding.silenced.as_ref()?;
        let found =
            format!("{}<br>silenced: {}", markdown_lines(&finding.message), markdown_lines(&silenced.reason));
        Some(["🔇&nbsp;silenced".to_owned(), page_of(&finding.rule), found])
    });
    let wrong = table(["", "Check", "Found"], wrong.chain(silenced));
    let passed = table(["", "Check", "Found"], of(Severity::Passed, "✅"));
    let count = findings.iter().filter(|finding| finding.severity == Severity::Passed).count();
    let passed = folded(&format!("{} passed", words::count(count, "check")), &passed);
    [wrong, passed].iter().filter(|part| !part.is_empty()).map(|part| format!("{part}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn findings_lead_to_the_pages_of_their_rules_and_silenced_ones_say_why() {
        let reasons = BTreeMap::from([("host.disk".to_owned(), "it is a | small machine".to_owned())]);
        let found = [
            Finding::warning("host.disk", "8 GB are free", "free some").silenced_by(&reasons),
            Finding::error("compose.file", "Compose file not found", "add it"),
            Finding::error("from.tomorrow", "a newer host said so", "look"),
        ];
        let text = findings(&found);
        let url = "https://github.com/Three-Rivers-Tech/ffe-deploy/blob/main/docs/rules";
        for part in [
            format!(
                "| ❌&nbsp;error | [`compose.file`]({url}/compose.file.md) | Compose file not found<br>→ add it |"
            ),
            "| ❌&nbsp;error | `from.tomorrow` |".to_owned(),
            format!(
                "| 🔇&nbsp;silenced | [`host.disk`]({url}/host.disk.md) | 8 GB are free<br>silenced: it is a "
            ),
        ] {
            assert!(text.contains(&part), "{part}\n--- is not in\n{text}");
        }
    }
}
