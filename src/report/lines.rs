//! What the console says for each event, written to be read at three in the morning: what happened, what was not
//! touched, and the next step. Nothing here is coloured or filtered.

use super::{story, summary, words};
use crate::event::{Event, EventKind, ImageHow, Level};
use crate::model::{
    CheckResult, FailureReport, Finding, HookOutcome, HookResult, Severity, Stage, StageOutcome, Verdict,
    rules,
};

/// One line; the first one of an event carries its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Option<Level>,
    pub(super) text: String,
    pub(super) is_headline: bool,
}

impl Line {
    /// The first line of an event.
    pub(super) fn first(level: Level, text: impl Into<String>) -> Self {
        Self { level: Some(level), text: text.into(), is_headline: false }
    }

    /// A line that belongs to the one above.
    pub(super) fn more(text: impl Into<String>) -> Self {
        Self { level: None, text: text.into(), is_headline: false }
    }

    /// The first line of an event that stands out.
    pub(super) fn headline(level: Level, text: impl Into<String>) -> Self {
        Self { is_headline: true, ..Self::first(level, text) }
    }
}

/// Tells the events of one deployment.
#[derive(Default)]
pub(super) struct Narrator {
    /// Checks that passed since the last line.
    passed: usize,
    /// Who said the last line of foreign output, so that it is named once.
    speaker: Option<String>,
}

impl Narrator {
    /// Hears an event that is too light to be shown: checks before the deployment that passed are counted, so that
    /// what is wrong does not drown in them.
    pub(super) fn count(&mut self, event: &Event) {
        if let EventKind::FindingReported { finding } = &event.kind {
            self.passed += usize::from(finding.severity == Severity::Passed);
        }
    }

    /// Returns the lines for one event; none for what is shown by another.
    pub(super) fn lines(&mut self, event: &Event) -> Vec<Line> {
        // Findings come in a row, and their number after them.
        let is_finding = matches!(event.kind, EventKind::FindingReported { .. });
        let mut lines = if is_finding { Vec::new() } else { self.count_of_passed() };
        lines.extend(self.told(event));
        lines
    }

    fn count_of_passed(&mut self) -> Vec<Line> {
        match std::mem::take(&mut self.passed) {
            0 => Vec::new(),
            passed => vec![Line::first(Level::Info, format!("  ✓ {} passed", words::count(passed, "check")))],
        }
    }

    fn told(&mut self, event: &Event) -> Vec<Line> {
        let level = event.level;
        let speaker = self.speaker.take();
        match &event.kind {
            EventKind::DeploymentStarted { verb, version, target, tool_version } => {
                banner(event, verb, version.as_deref(), target, tool_version)
            }
            EventKind::HostTookOver { previous_release, root, pid: _ } => {
                took_over(level, previous_release, root)
            }
            EventKind::StageStarted {} => vec![Line::headline(level, format!("▸ {}", event.stage))],
            EventKind::StageFinished { outcome, took_ms, reason, span: _ } => {
                vec![stage_end(level, event.stage, *outcome, *took_ms, reason.as_deref())]
            }
            EventKind::FindingReported { finding } => finding_lines(level, finding),
            EventKind::HealthAttempted { check, attempt, latency_ms, detail } => {
                let text = format!("  · {check}, attempt {attempt}: {detail} ({latency_ms} ms)");
                vec![Line::first(level, text)]
            }
            EventKind::CheckFinished { .. } => {
                story::check_result(&event.kind).map(|check| check_lines(level, &check)).unwrap_or_default()
            }
            EventKind::BundleReceived { files, sent_files, sent_bytes } => {
                let sent = words::size(*sent_bytes);
                vec![Line::first(level, format!("  bundle: {files} files, {sent_files} sent ({sent})"))]
            }
            EventKind::ReleaseCompared { .. } | EventKind::PlanMade { .. } => Vec::new(),
            EventKind::ImageReady { service, image, size_bytes, how, digest, image_id: _ } => {
                let text = image_text(service, image, *size_bytes, *how);
                let short = digest.as_ref().filter(|digest| !image.contains(digest.as_str()));
                let digest = short.map(|digest| format!(", {}", words::short_digest(digest)));
                vec![Line::first(level, format!("{text}{}", digest.unwrap_or_default()))]
            }
            EventKind::BackupCreated { path, size_bytes, sha256, includes, retention_days: _ } => {
                backup_lines(level, path, *size_bytes, sha256, includes)
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
                let counts = [
                    (releases.len(), "old release"),
                    (images.len(), "image tag"),
                    (usize::try_from(*files).unwrap_or(usize::MAX), "release file"),
                    (usize::try_from(*agents).unwrap_or(usize::MAX), "old agent"),
                    (backups.len(), "old backup"),
                ];
                vec![Line::first(level, pruned(&counts, freed_bytes + freed_image_bytes))]
            }
            EventKind::ServiceChanged { service, change } => {
                vec![Line::first(level, format!("  {service} {}", change.as_str()))]
            }
            EventKind::ReleaseCommitted { release, previous_release } => {
                let other = previous_release.as_ref().filter(|id| *id != release);
                let before = other.map(|id| format!(" (before: {id})")).unwrap_or_default();
                vec![Line::first(level, format!("  release {release} is current{before}"))]
            }
            EventKind::RecoveryStarted { unfinished, reached, decision } => {
                let was = format!("↺ {unfinished} was left unfinished in {reached}");
                vec![Line::headline(level, format!("{was}; ending it first: {decision}"))]
            }
            EventKind::RecoveryFinished { unfinished, outcome } => {
                vec![Line::headline(level, format!("↺ {unfinished} was ended: {outcome}"))]
            }
            EventKind::RollbackStarted { from_release, to_release, reason } => {
                rollback_lines(level, from_release.as_deref(), to_release, reason)
            }
            EventKind::CancelRequested { effect } => headed(level, "■ cancel requested: ", effect),
            EventKind::HookStarted { hook, kind, place, timeout_ms: _ } => {
                vec![Line::first(level, format!("  ▹ {kind} hook {hook} ({place})"))]
            }
            EventKind::HookFinished { result } => hook_lines(level, result),
            EventKind::LogLine { source, text } => self.foreign(level, speaker, source, text),
            EventKind::LogsCollected { service, container, state, lines } => {
                collected(level, service, container, state, lines)
            }
            EventKind::Noticed { code, notice, hint, severity: _ } => {
                notice_lines(level, code, notice, hint.as_deref())
            }
            // Told at the end, where people look first.
            EventKind::Failed { .. } | EventKind::DeploymentFinished { .. } => Vec::new(),
        }
    }

    /// Foreign output stands after `│ `, and its speaker above it, once.
    fn foreign(&mut self, level: Level, before: Option<String>, source: &str, text: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        if before.as_deref() != Some(source) {
            lines.push(Line::first(level, format!("  {source}")));
        }
        self.speaker = Some(source.to_owned());
        lines.push(Line::more(format!("  │ {text}")));
        lines
    }
}

fn banner(event: &Event, verb: &str, version: Option<&str>, target: &str, tool: &str) -> Vec<Line> {
    let app = event.app.as_ref().map_or("?", |name| name.as_str());
    let environment = event.environment.as_ref().map_or("?", |name| name.as_str());
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    let place = format!("{} {environment}", summary::preposition(verb));
    vec![
        Line::headline(event.level, format!("ffe-deploy {tool}: {verb} {app}{version} {place}")),
        Line::more(format!("  target        {target}")),
        Line::more(format!("  deployment    {}", event.deployment_id)),
        Line::more(format!("  correlation   {}", event.correlation_id)),
    ]
}

fn took_over(level: Level, previous: &Option<String>, root: &str) -> Vec<Line> {
    let runs = previous
        .as_deref()
        .map_or_else(|| "nothing was deployed yet".to_owned(), |id| format!("{id} is current"));
    vec![
        Line::first(level, format!("  the host took over in {root}; {runs}")),
        Line::more("  from here on it goes on by itself, even when this job ends"),
    ]
}

fn stage_end(level: Level, stage: Stage, outcome: StageOutcome, took_ms: u64, reason: Option<&str>) -> Line {
    let took = words::duration_ms(took_ms);
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    match outcome {
        StageOutcome::Succeeded => Line::first(level, format!("✓ {stage}  {took}{why}")),
        StageOutcome::Failed => Line::headline(level, format!("✗ {stage} failed after {took}{why}")),
        StageOutcome::Skipped => Line::first(level, format!("- {stage} skipped{why}")),
    }
}

fn finding_lines(level: Level, finding: &Finding) -> Vec<Line> {
    let mark = words::mark(finding.severity);
    let mut lines = headed(level, &format!("  {mark} {}: ", finding.rule), &finding.message);
    if let Some(silenced) = &finding.silenced {
        lines.extend(indented("    silenced: ", &silenced.reason));
        return lines;
    }
    for (name, value) in &finding.details {
        lines.extend(indented(&format!("      {name}: "), value));
    }
    lines.extend(next_step(finding.hint.as_deref()));
    if let Some(rule) = rules::find(&finding.rule).filter(|_| finding.severity != Severity::Passed) {
        lines.push(Line::more(format!("      {}", rule.url())));
    }
    lines
}

/// `✓ backend is healthy`, as the documents have it (R000-26).
fn check_lines(level: Level, check: &CheckResult) -> Vec<Line> {
    let name = &check.name;
    let optional = if check.optional { " (optional)" } else { "" };
    let waited = words::duration_ms(check.waited_ms);
    match check.verdict {
        Verdict::Passed => {
            let how = format!("{}; {} ms, after {waited}", check.detail, check.latency_ms);
            vec![Line::first(level, format!("  ✓ {name} is healthy ({how})"))]
        }
        Verdict::Skipped => vec![Line::first(level, format!("  - {name} was skipped: {}", check.detail))],
        Verdict::Failed => {
            let asked = format!("    asked {} ({} times in {waited})", check.asked, check.attempts);
            let mut lines = vec![Line::headline(level, format!("  ✗ {name} is unhealthy{optional}"))];
            lines.push(Line::more(asked));
            lines.extend(indented("    last answer: ", &check.detail));
            lines
        }
    }
}

/// A hook that failed is a line that nobody overlooks; what it said stands above.
fn hook_lines(level: Level, hook: &HookResult) -> Vec<Line> {
    let what = format!("{} hook {}", hook.kind, hook.hook);
    let took = words::duration_ms(hook.took_ms);
    let why = hook.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    match hook.outcome {
        HookOutcome::Succeeded => vec![Line::first(level, format!("  ✓ {what}  {took}"))],
        HookOutcome::NotRun => vec![Line::first(level, format!("  - {what} was not run{why}"))],
        outcome => {
            vec![Line::headline(level, format!("  ✗ {what} {} after {took}{why}", outcome.words()))]
        }
    }
}

fn backup_lines(level: Level, path: &str, size: u64, sha256: &str, includes: &[String]) -> Vec<Line> {
    vec![
        Line::first(level, format!("  ✓ backup {path} ({})", words::size(size))),
        Line::more(format!("    holds {}; read back, sha256 {sha256}", includes.join(", "))),
    ]
}

/// What was taken away, as far as there was any of it.
fn pruned(counts: &[(usize, &str)], bytes: u64) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = counts.map(|(count, what)| words::count(*count, what)).collect();
    format!("  pruned {} ({})", words.join(", "), words::size(bytes))
}

fn rollback_lines(level: Level, from: Option<&str>, to: &str, reason: &str) -> Vec<Line> {
    let from = from.map(|id| format!(" from {id}")).unwrap_or_default();
    let mut lines = vec![Line::headline(level, format!("↺ rolling back{from} to {to}"))];
    lines.extend(indented("  because ", reason));
    lines
}

fn notice_lines(level: Level, code: &str, notice: &str, hint: Option<&str>) -> Vec<Line> {
    let mut lines = headed(level, &format!("{code}: "), notice);
    lines.extend(next_step(hint));
    lines
}

fn image_text(service: &str, image: &str, size_bytes: u64, how: ImageHow) -> String {
    let how = match how {
        ImageHow::Pulled => "pulled",
        ImageHow::Built => "built",
        ImageHow::Present => "present",
    };
    format!("  image of {service}: {image} {how}, {}", words::size(size_bytes))
}

fn collected(level: Level, service: &str, container: &str, state: &str, lines: &[String]) -> Vec<Line> {
    let count = lines.len();
    let heading = match count {
        0 => format!("  {service} ({container}) is {state}; it wrote no log"),
        _ => format!("  {service} ({container}) is {state}; its last {count} log lines:"),
    };
    let first = Line::first(level.max(Level::Error), heading);
    std::iter::once(first).chain(lines.iter().map(|line| Line::more(format!("  │ {line}")))).collect()
}

/// The message, with the code behind its first line.
pub(super) fn with_code(failure: &FailureReport) -> String {
    let (first, rest) = failure.message.split_once('\n').unwrap_or((&failure.message, ""));
    format!("{first}  ({})\n{rest}", failure.code)
}

/// What to do about the line above.
pub(super) fn next_step(hint: Option<&str>) -> Vec<Line> {
    hint.map(|hint| indented("    → ", hint)).unwrap_or_default()
}

/// Text of several lines whose first one carries the level.
fn headed(level: Level, lead: &str, text: &str) -> Vec<Line> {
    let mut lines = indented(lead, text);
    if let Some(first) = lines.first_mut() {
        first.level = Some(level);
    }
    lines
}

/// Text of several lines below each other, the first one after `lead`.
pub(super) fn indented(lead: &str, text: &str) -> Vec<Line> {
    let gap = " ".repeat(lead.chars().count());
    let mut lines: Vec<Line> = text.lines().map(|line| Line::more(format!("{gap}{line}"))).collect();
    match lines.first_mut() {
        Some(first) => first.text.replace_range(..gap.len(), lead),
        None => lines.push(Line::more(lead.trim_end())),
    }
    lines
}
