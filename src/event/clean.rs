//! Makes the free texts of an event harmless and keeps secrets out of them, field by field, so that words and ids
//! can never be changed by it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{DeploymentResult, Event, EventKind, ImageChange, Plan};
use crate::model::{CheckResult, FailureReport, Finding, HookResult};
use crate::text::{Redactor, harmless, harmless_lines};

/// Longest line that an event carries, in characters; the rest is cut and marked.
const LONGEST_LINE: usize = 4_096;
/// Longest text of several lines that an event carries, in characters.
const LONGEST_TEXT: usize = 16_384;
/// Most log lines, errors, checks and the like that one event carries.
const MOST_ITEMS: usize = 1_000;
/// What marks a cut.
const CUT: &str = " … (cut)";

/// Longest value that may be one of our words, in characters.
const LONGEST_WORD: usize = 16;

/// Cleans the texts of events, and of what else a host says.
#[derive(Clone, Copy)]
pub struct Cleaner<'a>(pub(super) &'a Redactor);

impl Event {
    /// Makes every free text of the event harmless, and keeps secrets out of them.
    pub fn clean(&mut self, redactor: &Redactor) {
        Cleaner(redactor).event(self);
    }
}

impl<'a> Cleaner<'a> {
    /// Returns a cleaner that keeps these secrets out.
    pub fn new(redactor: &'a Redactor) -> Self {
        Self(redactor)
    }

    /// Cleans a line of a log, however long it is.
    pub fn log_line(self, text: &mut String) {
        *text = self.0.redact(&harmless(&self.0.redact(text))).into_owned();
    }

    /// Cleans an answer whose form is not known here: every text and every name in it. A secret that could be one of
    /// our own words (`healthy`) is left where it stands alone, so that words cannot be changed.
    pub fn answer(self, value: &mut Value) {
        match value {
            Value::String(text) if !is_word(text) => {
                *text = self.0.redact(&harmless_lines(&self.0.redact(text))).into_owned();
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.answer(item)),
            Value::Object(map) => {
                for (mut name, mut item) in std::mem::take(map) {
                    if !is_word(&name) {
                        self.log_line(&mut name);
                    }
                    self.answer(&mut item);
                    map.insert(name, item);
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Cleans a whole event, its message included.
    pub(super) fn event(self, event: &mut Event) {
        self.kind(&mut event.kind);
        self.text(&mut event.message);
        self.line(&mut event.host);
        for name in [&mut event.logger, &mut event.module, &mut event.function] {
            self.word(name);
        }
    }

    /// Cleans the fields of a kind.
    pub(super) fn kind(self, kind: &mut EventKind) {
        match kind {
            EventKind::DeploymentStarted { verb, version, target, tool_version } => {
                self.each_line([verb, target, tool_version]);
                self.each_line(version);
            }
            EventKind::HostTookOver { previous_release, root, pid: _ } => {
                self.each_line([root]);
                self.each_line(previous_release);
            }
            EventKind::StageStarted {} => {}
            EventKind::StageFinished { reason, span, outcome: _, took_ms: _ } => {
                reason.iter_mut().for_each(|reason| self.text(reason));
                self.line(&mut span.name);
            }
            EventKind::FindingReported { finding } => self.finding(finding),
            EventKind::HealthAttempted { check, detail, attempt: _, latency_ms: _ } => {
                self.each_line([check, detail]);
            }
            EventKind::CheckFinished { check, asked, detail, .. } => self.each_line([check, asked, detail]),
            EventKind::BundleReceived { .. } => {}
            EventKind::ReleaseCompared { release, previous_release, images, files } => {
                self.line(release);
                self.each_line(previous_release);
                self.images(images);
                [&mut files.added, &mut files.changed, &mut files.removed]
                    .into_iter()
                    .for_each(|names| self.lines(names));
            }
            EventKind::PlanMade { plan } => self.plan(plan),
            EventKind::ImageReady { service, image, image_id, size_bytes: _, digest, how: _ } => {
                self.each_line([service, image, image_id]);
                self.each_line(digest);
            }
            EventKind::BackupCreated { path, sha256, includes, .. } => {
                self.each_line([path, sha256]);
                self.lines(includes);
            }
            EventKind::Pruned { releases, images, backups, .. } => {
                [releases, images, backups].into_iter().for_each(|names| self.lines(names));
            }
            EventKind::ServiceChanged { service, change: _ } => self.line(service),
            EventKind::ReleaseCommitted { release, previous_release } => {
                self.each_line([release]);
                self.each_line(previous_release);
            }
            EventKind::RecoveryStarted { unfinished, reached, decision } => {
                self.each_line([unfinished, reached, decision]);
            }
            EventKind::RecoveryFinished { unfinished, outcome: _ } => self.line(unfinished),
            EventKind::RollbackStarted { from_release, to_release, reason } => {
                self.each_line(from_release);
                self.line(to_release);
                self.text(reason);
            }
            EventKind::CancelRequested { effect } => self.text(effect),
            EventKind::HookStarted { hook, place, kind: _, timeout_ms: _ } => self.each_line([hook, place]),
            EventKind::HookFinished { result } => self.hook(result),
            EventKind::LogLine { source, text } => self.each_line([source, text]),
            EventKind::LogsCollected { service, container, state, lines } => {
                self.each_line([service, container, state]);
                self.lines(lines);
            }
            EventKind::Noticed { code, notice, hint, severity: _ } => {
                self.line(code);
                self.text(notice);
                hint.iter_mut().for_each(|hint| self.text(hint));
            }
            EventKind::Failed { failure } => self.failure(failure),
            EventKind::DeploymentFinished { result, is_final: _ } => self.result(result),
        }
    }

    /// Cleans how a deployment ended.
    pub fn result(self, result: &mut DeploymentResult) {
        self.line(&mut result.verb);
        for line in [
            &mut result.version,
            &mut result.previous_version,
            &mut result.release,
            &mut result.previous_release,
            &mut result.rolled_back_to,
            &mut result.backup,
        ] {
            self.each_line(line);
        }
        result.next_step.iter_mut().for_each(|step| self.text(step));
        result.checks.truncate(MOST_ITEMS);
        result.errors.truncate(MOST_ITEMS);
        result.checks.iter_mut().for_each(|check| self.check(check));
        if let Some(health) = &mut result.health {
            health.checks.truncate(MOST_ITEMS);
            health.checks.iter_mut().for_each(|check| self.check(check));
        }
        result.errors.iter_mut().for_each(|failure| self.failure(failure));
        result.hooks.truncate(MOST_ITEMS);
        result.hooks.iter_mut().for_each(|hook| self.hook(hook));
        self.names(&mut result.services, |_, _| {});
        self.names(&mut result.urls, Self::line);
    }

    fn plan(self, plan: &mut Plan) {
        let Plan {
            changes: _,
            version,
            previous_version,
            previous_release,
            services,
            images,
            files,
            backup,
            health_before: _,
            checks,
            test,
            hooks,
            notes,
        } = plan;
        self.line(version);
        self.each_line(previous_version.iter_mut().chain(previous_release));
        services.truncate(MOST_ITEMS);
        for service in services {
            self.line(&mut service.service);
            service.reasons.iter_mut().for_each(|reason| self.lines(&mut reason.names));
        }
        images.truncate(MOST_ITEMS);
        for image in images {
            self.line(&mut image.image);
            self.lines(&mut image.services);
            self.each_line(image.image_id.iter_mut().chain(&mut image.note));
        }
        [&mut files.added, &mut files.removed].into_iter().for_each(|names| self.lines(names));
        files.changed.truncate(MOST_ITEMS);
        for file in &mut files.changed {
            self.line(&mut file.path);
            file.diff.iter_mut().for_each(|diff| self.text(diff));
            self.each_line(&mut file.note);
        }
        self.lines(&mut backup.includes);
        self.each_line(backup.directory.iter_mut().chain(&mut backup.reason));
        checks.truncate(MOST_ITEMS);
        for check in checks {
            self.each_line([&mut check.check, &mut check.asked].into_iter().chain(&mut check.skipped));
        }
        if let Some(test) = test {
            self.lines(&mut test.command);
        }
        hooks.truncate(MOST_ITEMS);
        for hook in hooks {
            self.each_line([&mut hook.hook, &mut hook.place].into_iter().chain(&mut hook.only_if));
            self.lines(&mut hook.command);
        }
        self.lines(notes);
    }

    fn images(self, images: &mut Vec<ImageChange>) {
        images.truncate(MOST_ITEMS);
        for change in images {
            self.line(&mut change.service);
            for image in change.before.iter_mut().chain(&mut change.after) {
                self.each_line([&mut image.image, &mut image.image_id]);
                self.each_line(&mut image.digest);
            }
        }
    }

    fn hook(self, hook: &mut HookResult) {
        self.each_line([&mut hook.hook, &mut hook.place]);
        self.each_line(&mut hook.detail);
    }

    fn check(self, check: &mut CheckResult) {
        self.each_line([&mut check.name, &mut check.asked, &mut check.detail]);
    }

    /// Cleans what a check found.
    pub fn finding(self, finding: &mut Finding) {
        self.line(&mut finding.rule);
        self.text(&mut finding.message);
        finding.hint.iter_mut().for_each(|hint| self.text(hint));
        self.names(&mut finding.details, Self::text);
        finding.place.iter_mut().for_each(|place| self.line(&mut place.file));
        finding.silenced.iter_mut().for_each(|silenced| self.text(&mut silenced.reason));
    }

    /// Cleans why something failed.
    pub fn failure(self, failure: &mut FailureReport) {
        self.line(&mut failure.code);
        self.text(&mut failure.message);
        failure.hint.iter_mut().for_each(|hint| self.text(hint));
        failure.particulars.truncate(MOST_ITEMS);
        for particular in &mut failure.particulars {
            self.text(&mut particular.message);
            particular.place.iter_mut().for_each(|place| self.line(&mut place.file));
        }
    }

    fn names<T>(self, map: &mut BTreeMap<String, T>, clean: fn(Self, &mut T)) {
        *map = std::mem::take(map)
            .into_iter()
            .take(MOST_ITEMS)
            .map(|(mut name, mut value)| {
                self.line(&mut name);
                clean(self, &mut value);
                (name, value)
            })
            .collect();
    }

    fn lines(self, lines: &mut Vec<String>) {
        lines.truncate(MOST_ITEMS);
        self.each_line(lines);
    }

    fn each_line<'t>(self, lines: impl IntoIterator<Item = &'t mut String>) {
        lines.into_iter().for_each(|line| self.line(line));
    }

    /// One line, whatever it was.
    pub(super) fn line(self, text: &mut String) {
        *text = cut(&self.0.redact(&harmless(&self.0.redact(text))), LONGEST_LINE);
    }

    /// Text whose line breaks matter.
    fn text(self, text: &mut String) {
        *text = cut(&self.0.redact(&harmless_lines(&self.0.redact(text))), LONGEST_TEXT);
    }

    fn word(self, word: &mut Cow<'static, str>) {
        if let Cow::Owned(owned) = word {
            self.line(owned);
        }
    }
}

fn is_word(text: &str) -> bool {
    text.len() <= LONGEST_WORD && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        // Already cut and marked: cutting again must change nothing.
        Some(_) if text.ends_with(CUT) && text.chars().count() == longest + CUT.chars().count() => {
            text.to_owned()
        }
        Some((at, _)) => format!("{}{CUT}", &text[..at]),
        None => text.to_owned(),
    }
}
