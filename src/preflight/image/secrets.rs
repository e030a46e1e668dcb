//! `image.secrets`: no secret in a Dockerfile, in an image's environment or in its history (R001-50). Names only: a value
//! is never shown.

use std::collections::BTreeSet;

use super::known::{Known, Shelf};
use super::{Made, Subject};
use crate::config::holds_secret;
use crate::model::Finding;
use crate::preflight::listed;
use crate::text::harmless;

const RULE: &str = "image.secrets";

pub(super) fn check(subject: &Subject<'_>, made: &[Made<'_>], shelf: &Shelf) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for made in made {
        findings.extend(of_dockerfile(subject, made).filter(|found| told.insert(found.message.clone())));
        findings.extend(of_image(subject, made, shelf).filter(|found| told.insert(found.message.clone())));
    }
    if findings.is_empty() {
        findings.push(Finding::passed(RULE, "no image that is known here holds a secret"));
    }
    findings
}

/// All stages: what is no part of the image stays in git, and in the builder's cache.
fn of_dockerfile(subject: &Subject<'_>, made: &Made<'_>) -> Option<Finding> {
    let written = made.source()?;
    let literals = written.file.literals(holds_secret);
    let first = literals.first()?;
    let file = written.shown(subject);
    let mut each: Vec<String> = Vec::new();
    for one in &literals {
        let told = format!("`{} {}` in {file}:{}", one.instruction, harmless(&one.name), one.line);
        if !each.contains(&told) {
            each.push(told);
        }
    }
    let message =
        format!("{} give secrets a value, which stays in the image and in git (not shown)", each.join(", "));
    let name = harmless(&first.name);
    let hint = format!(
        "replace the secret, then take its value out: at run time the service gets it with `secrets: [{name}]` in \
         deployments.yaml and `environment: [{name}]` in the compose file; a build gets it with \
         `RUN --mount=type=secret,id={}`",
        name.to_lowercase()
    );
    let finding = made.finding(subject, RULE, message, hint)?;
    Some(finding.at(written.place(subject, first.line)))
}

/// Of an image that is on the host: a pulled one, or the one that a build starts from. What Dockerfiles here say of the
/// latter cannot mend it, so it is never an error.
fn of_image(subject: &Subject<'_>, made: &Made<'_>, shelf: &Shelf) -> Option<Finding> {
    let names = made.known(shelf)?.names_of_secrets();
    if names.is_empty() {
        return None;
    }
    let image = harmless(made.decisive().unwrap_or_default());
    let message = format!(
        "image `{image}` holds secrets in its environment or history: {} (not shown)",
        listed(names.iter().map(|name| harmless(name)))
    );
    let hint = "replace them: everybody who can pull the image can read them; build it again with `RUN --mount=type=secret` \
                and values that come at run time";
    if subject.strict(RULE, "", "").severity != crate::model::Severity::Error {
        return None;
    }
    Some(Finding::warning(RULE, message, hint).detail("service", made.name))
}

impl Known {
    fn names_of_secrets(&self) -> BTreeSet<String> {
        let environment = self.environment.iter().filter_map(|pair| pair.split_once('='));
        let layers = self.history.iter().flat_map(|layer| set_by(layer));
        let pairs = environment.chain(layers).filter(|(name, value)| holds_secret(name, value));
        pairs.map(|(name, _)| name.to_owned()).collect()
    }
}

/// Variables that a layer's line sets, as the builders write it: `ENV A=b`, `ARG A=b` (before BuildKit behind `#(nop)`),
/// and `RUN |1 A=b /bin/sh -c …` with the build arguments in front.
fn set_by(layer: &str) -> Vec<(&str, &str)> {
    let line = layer.split_once("#(nop)").map_or(layer, |(_, line)| line).trim();
    let line = line.strip_prefix("RUN ").unwrap_or(line).trim_start();
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let pairs = rest.split_whitespace().filter_map(|word| word.split_once('='));
    match (keyword, keyword.strip_prefix('|').and_then(|count| count.parse::<usize>().ok())) {
        (_, Some(count)) => pairs.take(count).collect(),
        ("ENV" | "ARG", None) => pairs.collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_both_builders_are_read() {
        assert_eq!(set_by("/bin/sh -c #(nop)  ENV TOKEN=abc"), [("TOKEN", "abc")]);
        assert_eq!(set_by("ENV A=b TOKEN=abc"), [("A", "b"), ("TOKEN", "abc")]);
        assert_eq!(set_by("ARG TOKEN=abc"), [("TOKEN", "abc")]);
        assert_eq!(set_by("RUN |1 TOKEN=abc /bin/sh -c X=1 make # buildkit"), [("TOKEN", "abc")]);
        assert_eq!(set_by("|2 A=1 TOKEN=abc /bin/sh -c true"), [("A", "1"), ("TOKEN", "abc")]);
        assert!(set_by("RUN /bin/sh -c TOKEN=abc make").is_empty());
        assert!(set_by("").is_empty());
    }
}
