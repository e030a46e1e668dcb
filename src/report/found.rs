//! What `validate` found, as people read it: one table, group by group, with what is wanted and what to do.

use std::cmp::Reverse;

use super::human::Page;
use super::words;
use crate::model::rules::{self, Group, Rule};
use crate::model::{Finding, Severity, ValidateAnswer};

/// Returns the answer of `validate`: one table, group by group; in each of them errors first, then warnings, what is
/// silenced and what is well. What is not well says what is wanted and what to do.
pub fn validate(answer: &ValidateAnswer) -> String {
    let count = |severity| answer.findings.iter().filter(|finding| finding.severity == severity).count();
    let errors = words::count(count(Severity::Error), "error");
    let warnings = words::count(count(Severity::Warning), "warning");
    let silenced = match count(Severity::Silenced) {
        0 => String::new(),
        count => format!(", {count} silenced"),
    };
    let word = if answer.passed { "✓ passed" } else { "✗ failed" };
    let checks = words::count(answer.findings.len(), "check");
    let mut page = Page::new(format!("{word}: {checks}, {errors}, {warnings}{silenced}"));
    let mut rows: Vec<Row<'_>> = answer.findings.iter().map(Row::of).collect();
    rows.sort_by_key(Row::place);
    let width = rows.iter().map(|row| row.finding.rule.chars().count()).max().unwrap_or_default();
    let mut group = None;
    for row in &rows {
        if group != Some(row.group()) {
            group = Some(row.group());
            page.heading(row.group());
        }
        row.show(width, &mut page);
    }
    page.end()
}

/// A finding, and the rule that it is about; of an unknown rule (an older host's) only what the finding says.
struct Row<'a> {
    finding: &'a Finding,
    rule: Option<&'static Rule>,
}

impl<'a> Row<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self { finding, rule: rules::find(&finding.rule) }
    }

    fn group(&self) -> &'static str {
        self.rule.map_or("other", |rule| rule.group.as_str())
    }

    fn place(&self) -> (usize, Reverse<Severity>) {
        let group = self.rule.and_then(|rule| Group::ALL.iter().position(|group| *group == rule.group));
        (group.unwrap_or(Group::ALL.len()), Reverse(self.finding.severity))
    }

    fn show(&self, width: usize, page: &mut Page) {
        let Finding { rule: id, passed: _, severity, message, hint, details, place, silenced } = self.finding;
        page.paragraph(&format!("  {} {id:<width$}  ", words::mark(*severity)), message);
        if *severity == Severity::Passed {
            return;
        }
        if let Some(place) = place {
            let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
            page.paragraph("      at      ", &format!("{}{line}", place.file));
        }
        // What the message says already needs no line of its own.
        for (name, value) in details.iter().filter(|(_, value)| !message.contains(value.as_str())) {
            page.paragraph(&" ".repeat(width + 6), &format!("{name}: {value}"));
        }
        if let Some(silenced) = silenced {
            let reason = format!("{} ({} otherwise)", silenced.reason, words::severity(silenced.was));
            return page.paragraph("      silenced: ", &reason);
        }
        if let Some(rule) = self.rule {
            page.paragraph("      wanted  ", rule.title);
        }
        if let Some(hint) = hint {
            page.paragraph("      do      ", hint);
        }
        if let Some(rule) = self.rule {
            page.paragraph("      page    ", &rule.url());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_group_says_what_was_found_what_is_wanted_and_what_to_do_worst_first() {
        let reasons = BTreeMap::from([("compose.services".to_owned(), "it has no frontend".to_owned())]);
        let findings = vec![
            Finding::passed("compose.bind-source", "all are there"),
            Finding::warning("compose.services", "no `frontend`", "add it").silenced_by(&reasons),
            Finding::error("compose.healthcheck", "`web` has none", "add:\n  healthcheck:")
                .detail("service", "web")
                .detail("looked in", "/srv"),
            Finding::passed("docker.running", "the daemon answers"),
            Finding::warning("from.tomorrow", "a newer host said so", "look"),
        ];
        assert_eq!(
            validate(&ValidateAnswer::of(findings)),
            "✗ failed: 5 checks, 1 error, 1 warning, 1 silenced

docker
  ✓ docker.running       the daemon answers

compose
  ✗ compose.healthcheck  `web` has none
                         looked in: /srv
      wanted  every service has a healthcheck
      do      add:
                healthcheck:
      page    https://github.com/Three-Rivers-Tech/ffe-deploy/blob/main/docs/rules/compose.healthcheck.md
  - compose.services     no `frontend`
      silenced: it has no frontend (warning otherwise)
  ✓ compose.bind-source  all are there

other
  ! from.tomorrow        a newer host said so
      do      look
"
        );
    }
}
