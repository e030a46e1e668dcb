//! The end of `deploy --plan`: the host's answer is completed with the differences of texts, told and printed.

use std::collections::BTreeMap;

use serde_json::Value;
use similar::{DiffTag, TextDiff};

use super::answer;
use super::drive::{Agreed, Drive};
use super::own::{self, Own};
use super::stage::OwnEnding;
use crate::config::{self, TestSpec};
use crate::event::{EventKind, Plan, PlanAnswer, PlannedFile, PlannedTest, Texts};
use crate::here;
use crate::model::{ErrorKind, Exit, FailureReport, Finding, Outcome, Stage};

/// Longest difference of one file that is shown, in characters; an event carries no longer text.
const LONGEST: usize = 16_000;
/// Most characters of all differences.
const ALL: usize = 400_000;
/// Lines around a difference.
const AROUND: usize = 3;
/// What stands in place of a value that looks like a secret's.
const HIDDEN: &str = "***";

/// Takes what the host says together with what the runner found itself, and the tests that it would run.
///
/// # Errors
/// Something refuses the deployment, or the answer is none.
pub(super) fn judge(answer: Value, own: Vec<Finding>, test: Option<&TestSpec>) -> Result<Agreed, Own> {
    let Ok(mut found) = serde_json::from_value::<PlanAnswer>(answer) else {
        let message = "the agent on the host answered something that is no plan; nothing was touched";
        let failure = FailureReport::new(ErrorKind::DeploymentError, "agent.protocol", message);
        let hint = "use one version of ffe-deploy for runner and host";
        return Err(Own::of(Outcome::Unreachable, failure.hint(hint)));
    };
    found.findings.extend(own);
    if own::is_refused(&found.findings) {
        return Err(own::refused(&found.findings));
    }
    if let Some(plan) = &mut found.plan {
        plan.test = test.map(planned_test);
    }
    Ok(Agreed::Answered(serde_json::to_value(found).unwrap_or_default()))
}

fn planned_test(test: &TestSpec) -> PlannedTest {
    let timeout_ms = u64::try_from(test.timeout.as_millis()).unwrap_or(u64::MAX);
    PlannedTest { command: test.argv.clone(), timeout_ms }
}

impl Drive {
    /// Tells and prints the plan; its exit code says whether anything would change.
    pub(super) fn planned(&mut self, answer: Value) -> Exit {
        let output = self.wish.reach.config.log.output;
        let mut found: PlanAnswer = serde_json::from_value(answer).unwrap_or_default();
        let texts = std::mem::take(&mut found.texts);
        let mut plan = found.plan.take().unwrap_or_default();
        explain(&mut plan, &texts);
        let outcome = if plan.changes { Outcome::Planned } else { Outcome::Succeeded };
        self.telling.emitter.enter(Stage::Complete);
        let mut made = EventKind::PlanMade { plan: Box::new(plan) };
        self.telling.emitter.clean(&mut made);
        self.telling.emitter.emit(here!(), made.clone());
        if let EventKind::PlanMade { plan } = made {
            found.plan = Some(*plan);
        }
        answer::planned(&found, output);
        self.telling.finish(&self.named, OwnEnding::last(outcome, Vec::new()));
        outcome.exit()
    }
}

/// Adds the difference of each file, or why none is shown.
fn explain(plan: &mut Plan, texts: &BTreeMap<String, Texts>) {
    let mut room = ALL;
    for file in &mut plan.files.changed {
        let shown = texts.get(&file.path).map(difference);
        let length = shown.as_ref().map_or(0, |diff| diff.chars().count());
        let (diff, note) = match shown {
            None => (None, "its content is not shown: it is no text, large, private, or was not kept"),
            Some(diff) if diff.is_empty() => (None, "only secrets, or how the file may be used, differ"),
            Some(_) if length > LONGEST || length > room => (None, "the difference is too long to be shown"),
            Some(diff) => (Some(diff), ""),
        };
        room = room.saturating_sub(if diff.is_some() { length } else { 0 });
        let note = Some(note.to_owned()).filter(|note| !note.is_empty());
        *file = PlannedFile { path: std::mem::take(&mut file.path), diff, note };
    }
}

/// A difference in unified form, without the lines that name the files.
fn difference(texts: &Texts) -> String {
    // On their way the texts have lost their last line break.
    let whole = |text: &str| format!("{}\n", hidden(text).trim_end_matches('\n'));
    let (before, after) = (whole(&texts.before), whole(&texts.after));
    let diff = TextDiff::from_lines(&before, &after);
    if diff.ops().iter().all(|op| op.tag() == DiffTag::Equal) {
        return String::new();
    }
    let unified = diff.unified_diff().context_radius(AROUND).missing_newline_hint(false).to_string();
    unified.trim_end_matches('\n').to_owned()
}

/// Hides what stands behind a name that looks like a secret's: git tracks it, and yet it need not be in a summary.
fn hidden(text: &str) -> String {
    text.split_inclusive('\n').map(hidden_line).collect()
}

fn hidden_line(line: &str) -> String {
    let Some(at) = line.find([':', '=']) else { return line.to_owned() };
    let (name, value) = line.split_at(at + 1);
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name_of = name[..at].trim().trim_matches(['"', '\'']).rsplit(|c| !word(c)).next().unwrap_or_default();
    let says_something = value.trim().len() > 1 && !value.trim_start().starts_with("${");
    if !config::looks_secret(name_of) || !says_something {
        return line.to_owned();
    }
    format!("{name} {HIDDEN}{}", if line.ends_with('\n') { "\n" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_three_lines_around_it_and_no_secret() {
        let before = "a\nb\nc\nd\ne\nold\nf\nDB_PASSWORD: hunter2-old\n";
        let after = "a\nb\nc\nd\ne\nnew\nf\nDB_PASSWORD: hunter2-new\n";
        let texts = Texts { before: before.into(), after: after.into() };
        let shown = "@@ -3,6 +3,6 @@\n c\n d\n e\n-old\n+new\n f\n DB_PASSWORD: ***";
        assert_eq!(difference(&texts), shown);
        let secret = Texts { before: "token=abcdef\n".into(), after: "token=ghijkl\n".into() };
        assert_eq!(difference(&secret), "");
    }

    #[test]
    fn names_that_look_like_secrets_hide_what_follows_and_references_stay() {
        for (line, expected) in [
            ("  - API_TOKEN=abc123", "  - API_TOKEN= ***"),
            ("\"password\": \"x1y2\",\n", "\"password\": ***\n"),
            ("password: ${DB_PASSWORD}", "password: ${DB_PASSWORD}"),
            ("image: shop:1", "image: shop:1"),
            ("no name", "no name"),
            ("secrets:\n", "secrets:\n"),
        ] {
            assert_eq!(hidden_line(line), expected);
        }
    }

    #[test]
    fn files_without_a_difference_say_why() {
        let file = |path: &str| PlannedFile { path: path.into(), diff: None, note: None };
        let mut plan = Plan::default();
        plan.files.changed = vec![file("a"), file("b"), file("c"), file("d")];
        let texts = |before: &str, after: String| Texts { before: before.into(), after };
        let long = "line\n".repeat(LONGEST);
        let texts =
            [("b", texts("x", "x".into())), ("c", texts("", long)), ("d", texts("1\n", "2\n".into()))];
        explain(&mut plan, &texts.map(|(path, texts)| (path.to_owned(), texts)).into());
        let notes: Vec<bool> = plan.files.changed.iter().map(|file| file.note.is_some()).collect();
        assert_eq!(notes, [true, true, true, false]);
        assert_eq!(plan.files.changed[3].diff.as_deref(), Some("@@ -1 +1 @@\n-1\n+2"));
    }
}
