//! Reader of `rules`: which rules do not count here, and why.

use std::collections::BTreeMap;

use crate::model::rules::{self, Silence};

use super::problem::Problem;
use super::reader::{Field, Problems, did_you_mean};

const WANTED: &str = "{ silence: \"why this is right here\" }";

/// Reads `rules`: the reasons, by the id of the rule.
pub(super) fn read(field: &Field<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let Some(section) = field.section(problems) else { return BTreeMap::new() };
    let mut reasons = BTreeMap::new();
    for (id, place, entry) in section.fields() {
        match rules::find(id) {
            None => {
                let problem = Problem::at(place, &entry.key, "is no rule").found(format!("`{id}`"));
                let problem =
                    problem.accepted("an id that `ffe-deploy validate` names, or one of docs/rules/");
                let ids: Vec<&str> = rules::all().map(|rule| rule.id).collect();
                problems.add(did_you_mean(problem, id, &ids));
            }
            Some(rule) => {
                if let Silence::Never(why) = rule.silence {
                    let message = format!("cannot be silenced: {why}");
                    problems
                        .add(Problem::at(place, &entry.key, message).suggest(format!("see {}", rule.url())));
                    continue;
                }
                if let Some(reason) = read_reason(&entry, problems) {
                    reasons.insert(id.to_owned(), reason);
                }
            }
        }
    }
    reasons
}

fn read_reason(field: &Field<'_>, problems: &mut Problems) -> Option<String> {
    let section = field.section(problems)?;
    section.only(&["silence"], &[], problems);
    let Some(reason) = section.get("silence") else {
        if section.fields().next().is_none_or(|(key, ..)| key == "silence") {
            problems.add(field.problem("has no reason").accepted(WANTED));
        }
        return None;
    };
    let is_reason = |text: &str| text.trim().len() >= 3 && text.len() <= 500;
    reason
        .text_that("a reason of 3 to 500 characters", is_reason, problems)
        .map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::reader::Section;
    use super::super::yaml::{self, Tags};
    use super::*;

    fn reasons(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
        let root = yaml::parse(text, "x.yaml", Tags::Refused).root.unwrap();
        let mut problems = Problems::default();
        let section = Section::of(&root, "", &mut problems).unwrap();
        let found = read(&section.get("rules").unwrap(), &mut problems);
        let told = problems.0.into_iter().map(|problem| {
            let parts = [problem.key, Some(problem.message), problem.suggestion];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        });
        (found, told.collect())
    }

    #[test]
    fn a_rule_is_silenced_by_its_id_with_a_reason() {
        let (found, told) = reasons("rules: { compose.healthcheck: { silence: it has none on purpose } }");
        assert_eq!(found["compose.healthcheck"], "it has none on purpose");
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn what_is_no_rule_has_no_reason_or_protects_somebody_is_refused() {
        for (text, said) in [
            ("rules: { compose.healthchek: { silence: because } }", "is no rule `compose.healthcheck`"),
            ("rules: { nothing.like-it: { silence: because } }", "rules.nothing.like-it is no rule"),
            ("rules: { compose.healthcheck: {} }", "rules.compose.healthcheck has no reason"),
            ("rules: { compose.healthcheck: }", "rules.compose.healthcheck has no reason"),
            ("rules: { compose.healthcheck: { silence: } }", "rules.compose.healthcheck has no reason"),
            (
                "rules: { compose.healthcheck: { silence: ' ' } }",
                "rules.compose.healthcheck.silence has the wrong value",
            ),
            ("rules: { compose.healthcheck: off }", "rules.compose.healthcheck has the wrong value"),
            (
                "rules: { compose.healthcheck: { off: true } }",
                "rules.compose.healthcheck.off is not a known key",
            ),
            (
                "rules: { project.other-root: { silence: because } }",
                "rules.project.other-root cannot be silenced: it protects",
            ),
        ] {
            let (found, told) = reasons(text);
            assert!(found.is_empty());
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(told[0].contains(said), "{text}: {told:?}");
        }
    }
}
