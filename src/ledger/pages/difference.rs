//! What differs between a deployment and the one that it replaced.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::links;
use super::words::short;
use crate::ledger::store::{Deployment, Json};
use crate::model::lifecycle::Report;
use crate::text::harmless;

/// Lines around a change.
const AROUND: usize = 3;
/// Longest time for a comparison; then it is coarser, not wrong.
const PATIENCE: Duration = Duration::from_millis(200);
/// Most lines of a difference that are shown.
const LINES: usize = 2000;

/// A deployment with what its job reported.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) report: Option<&'a Report>,
}

/// Returns what differs; `before` is what ran in the same place.
pub(super) fn section(before: Option<Told<'_>>, after: Told<'_>) -> Markup {
    html! {
        section.card aria-labelledby="difference" {
            h2 #difference { "What differs from the one before" }
            @match before {
                None => p.quiet { "Nothing ran here before, as far as the ledger knows." },
                Some(before) => (differences(before, after)),
            }
        }
    }
}

fn differences(before: Told<'_>, after: Told<'_>) -> Markup {
    let commits = [before, after].map(|told| told.report.and_then(|report| report.commit.as_deref()));
    let runs = [before, after].map(|told| told.report.and_then(|report| report.ci_url.as_deref()));
    let config = text_difference(&before.deployment.config_snapshot, &after.deployment.config_snapshot);
    let none = Json::new("null".to_owned()).ok();
    let parameters =
        [before, after].map(|told| told.deployment.parameters_snapshot.as_ref().or(none.as_ref()));
    let parameters = match parameters {
        [Some(before), Some(after)] => text_difference(before, after),
        _ => None,
    };
    html! {
        table.facts {
            caption.unseen { "Version and commit, before and now" }
            thead { tr { td {} th scope="col" { "Before" } th scope="col" { "This one" } } }
            tbody {
                tr {
                    th scope="row" { "Version" }
                    td { a.version href={ "/deployments/" (before.deployment.deployment_id) } { (short(&before.deployment.version, 100)) } }
                    td { span.version { (short(&after.deployment.version, 100)) }
                        @if before.deployment.version == after.deployment.version { span.quiet { " (the same)" } } }
                }
                @if commits.iter().any(Option::is_some) {
                    tr {
                        th scope="row" { "Commit" }
                        @for (commit, run) in commits.iter().zip(runs) {
                            td { @match commit { Some(commit) => (links::commit(commit, run)), None => span.quiet { "not known" } } }
                        }
                    }
                }
            }
        }
        @if let [Some(old), Some(new)] = commits && old != new
            && let Some(link) = links::compare(old, new, runs[1]) { p { (link) } }
        (part("Configuration", config))
        @if [before, after].iter().any(|told| told.deployment.parameters_snapshot.is_some()) {
            (part("Parameters", parameters))
        }
    }
}

fn part(title: &str, difference: Option<Markup>) -> Markup {
    html! {
        h3 { (title) }
        @match difference {
            Some(difference) => (difference),
            None => p.quiet { "No difference." },
        }
    }
}

/// Returns the difference of two JSON texts by lines, with the keys in order; nothing when there is none.
fn text_difference(before: &Json, after: &Json) -> Option<Markup> {
    let (before, after) = (readable(before), readable(after));
    if before == after {
        return None;
    }
    let difference = TextDiff::configure().timeout(PATIENCE).diff_lines(&before, &after);
    let groups = difference.grouped_ops(AROUND);
    let all = groups.iter().enumerate().flat_map(|(number, group)| {
        let changes = group.iter().flat_map(|op| difference.iter_changes(op));
        changes.enumerate().map(move |(place, change)| (number > 0 && place == 0, change))
    });
    let mut all: Vec<_> = all.take(LINES + 1).collect();
    let is_cut = all.len() > LINES;
    all.truncate(LINES);
    Some(html! {
        div.diff tabindex="0" role="group" aria-label="Lines that differ: minus is before, plus is now" {
            @for (begins, change) in &all {
                @if *begins { div.gap aria-hidden="true" { "⋯" } }
                (line(change.tag(), change.value()))
            }
            @if is_cut { div.gap { "More lines differ than are shown" } }
        }
    })
}

fn line(tag: ChangeTag, text: &str) -> Markup {
    let text = harmless(text.trim_end_matches('\n'));
    match tag {
        ChangeTag::Delete => html! { del { span.mark { "−" } span.unseen { "removed: " } (text) } },
        ChangeTag::Insert => html! { ins { span.mark { "+" } span.unseen { "added: " } (text) } },
        ChangeTag::Equal => html! { div { span.mark { " " } (text) } },
    }
}

/// One value a line, keys in order: what moved only differs in nothing.
fn readable(json: &Json) -> String {
    let value: Value = serde_json::from_str(json.text()).unwrap_or_default();
    let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty);
    if value.is_null() || is_empty {
        return String::new();
    }
    // What was read as JSON is written as JSON.
    let mut text = serde_json::to_string_pretty(&ordered(value)).unwrap_or_default();
    text.push('\n');
    text
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, ordered(value))).collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(parts) => Value::Array(parts.into_iter().map(ordered).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::new(text.to_owned()).unwrap()
    }

    #[test]
    fn lines_that_differ_are_marked_by_more_than_colour_and_order_is_no_difference() {
        assert!(
            text_difference(&json(r#"{"a":1,"b":{"c":2,"d":3}}"#), &json(r#"{"b":{"d":3,"c":2},"a":1}"#))
                .is_none()
        );
        assert!(text_difference(&json("null"), &json("{}")).is_none());
        let shown = text_difference(&json(r#"{"a":"<b>"}"#), &json(r#"{"a":"c"}"#)).unwrap().into_string();
        assert!(
            shown.contains("<del><span class=\"mark\">−</span>") && shown.contains("&lt;b&gt;"),
            "{shown}"
        );
        assert!(shown.contains("<ins><span class=\"mark\">+</span><span class=\"unseen\">added: </span>  &quot;a&quot;: &quot;c&quot;"), "{shown}");
    }
}
