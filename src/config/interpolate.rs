//! `${VAR}` and `${VAR:-default}` in the values of both files, from the environment of the job.
//!
//! `$${` writes `${`; a lone `$` is a dollar. Names in a list `secrets` are not filled. The
//! addresses of health checks are filled last, by [`fill_address`], because the release's own variables come first
//! in them.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::reader::Problems;
use super::yaml::{Node, Scalar, Style, Value};

/// Variables by name.
pub(super) type Vars = BTreeMap<String, String>;

/// Why a text could not be filled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// The variable is not set, and has no default.
    Unset(String),
    /// What follows `${` is not `NAME}` or `NAME:-default}`.
    Malformed,
}

/// Fills every string below this node; what cannot be filled is reported and becomes [`Value::Broken`].
pub(super) fn fill(node: &mut Node, key: &str, job: &Vars, problems: &mut Problems) {
    match &mut node.value {
        Value::Map(entries) => {
            for entry in entries.iter_mut().filter(|entry| !is_left_alone(key, &entry.key)) {
                let key = join(key, &entry.key);
                match (&mut entry.node.value, entry.key.as_str()) {
                    (Value::List(items), "secrets") => fill_sources(items, &key, job, problems),
                    (_, "secrets") => {}
                    _ => fill(&mut entry.node, &key, job, problems),
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(item, &format!("{key}[{index}]"), job, problems);
            }
        }
        Value::Scalar(scalar) if scalar.text.contains("${") => match fill_text(&scalar.text, job) {
            Ok(text) => *scalar = Scalar { style: Style::Filled(std::mem::take(&mut scalar.text)), text },
            Err(why) => {
                let problem = |why: &Unfilled| explain(Problem::at(&node.place, key, ""), why);
                let unset = unset(&scalar.text, job);
                unset.iter().for_each(|why| problems.add(problem(why)));
                if !unset.contains(&why) {
                    problems.add(problem(&why));
                }
                node.value = Value::Broken;
            }
        },
        Value::Scalar(_) | Value::Null | Value::Broken => {}
    }
}

/// Every variable of a text that is not set and has no default, each once, as far as the text can be read.
fn unset(text: &str, job: &Vars) -> Vec<Unfilled> {
    let mut unset = Vec::new();
    let _filled = fill_with(text, "${", |reference| {
        let why = Unfilled::Unset(reference.name.to_owned());
        if reference.default.is_none() && !job.contains_key(reference.name) && !unset.contains(&why) {
            unset.push(why);
        }
        Ok(String::new())
    });
    unset
}

/// Names of secrets are left alone; where they come from is not.
fn fill_sources(items: &mut [Node], key: &str, job: &Vars, problems: &mut Problems) {
    for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| matches!(item.value, Value::Map(_)))
    {
        fill(item, &format!("{key}[{index}]"), job, problems);
    }
}

fn is_left_alone(parent: &str, key: &str) -> bool {
    matches!(key, "http" | "tcp") && parent.contains("health.checks[")
}

fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

fn explain(mut problem: Problem, why: &Unfilled) -> Problem {
    match why {
        Unfilled::Unset(name) => {
            problem.message = format!("needs the variable `{name}`, which is not set in the job");
            problem.suggest(format!("set `{name}`, or write `${{{name}:-default}}`"))
        }
        Unfilled::Malformed => {
            problem.message = "has a `${` that is no variable".to_owned();
            problem.accepted("${NAME}, ${NAME:-default}; `$${` for a literal `${`")
        }
    }
}

/// Returns the text with each variable replaced by its value.
pub(super) fn fill_text(text: &str, vars: &Vars) -> Result<String, Unfilled> {
    fill_with(text, "${", |reference| match vars.get(reference.name) {
        Some(value) if !(value.is_empty() && reference.default.is_some()) => Ok(value.clone()),
        _ => match reference.default {
            Some(default) => Ok(default.to_owned()),
            None => Err(Unfilled::Unset(reference.name.to_owned())),
        },
    })
}

/// Returns a check's address: variables that the release has are left for the host, others come from the job when
/// they are set there, and the rest is left for the host too.
pub(super) fn fill_address(text: &str, release: impl Fn(&str) -> bool, job: &Vars) -> String {
    let filled = fill_with(text, "$${", |reference| match job.get(reference.name) {
        Some(value) if !release(reference.name) && !value.is_empty() => Ok(value.clone()),
        _ => Ok(reference.written.to_owned()),
    });
    filled.unwrap_or_else(|_| text.to_owned())
}

/// Returns whether the whole text stands for values of the job: at least one variable, and no literal default.
pub(super) fn is_reference(text: &str) -> bool {
    let mut variables = 0;
    let filled = fill_with(text, "${", |reference| {
        variables += 1;
        match reference.default {
            Some(default) if !default.is_empty() => Err(Unfilled::Malformed),
            _ => Ok(String::new()),
        }
    });
    filled.is_ok() && variables > 0
}

/// Returns the names that a text refers to.
pub(super) fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let _filled = fill_with(text, "${", |reference| {
        names.push(reference.name.to_owned());
        Ok(String::new())
    });
    names
}

struct Reference<'a> {
    written: &'a str,
    name: &'a str,
    default: Option<&'a str>,
}

/// Replaces each reference; `escaped` is what stands for `$${` afterwards.
fn fill_with<'a>(
    text: &'a str,
    escaped: &str,
    mut value: impl FnMut(Reference<'a>) -> Result<String, Unfilled>,
) -> Result<String, Unfilled> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str(escaped);
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let end = at + 2 + rest[at + 2..].find('}').ok_or(Unfilled::Malformed)?;
        filled.push_str(&value(reference(&rest[at..=end]).ok_or(Unfilled::Malformed)?)?);
        rest = &rest[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Reads `${NAME}` or `${NAME:-default}`.
fn reference(written: &str) -> Option<Reference<'_>> {
    let inner = &written[2..written.len() - 1];
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    is_variable_name(name).then_some(Reference { written, name, default })
}

/// Returns whether this can be the name of a variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_defaults_and_dollars_are_read_as_documented() {
        let job = vars(&[("A", "1"), ("EMPTY", "")]);
        for (text, filled) in [
            ("x${A}y${A}", "x1y1"),
            ("${B:-two}", "two"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("$5 $A $$ $", "$5 $A $$ $"),
            ("$${A}", "${A}"),
        ] {
            assert_eq!(fill_text(text, &job).unwrap(), filled, "{text}");
        }
        assert_eq!(fill_text("${B}", &job), Err(Unfilled::Unset("B".to_owned())));
        for text in ["${", "${}", "${A", "${A-B}", "${a b}", "${1}"] {
            assert_eq!(fill_text(text, &job), Err(Unfilled::Malformed), "{text}");
        }
    }

    #[test]
    fn values_are_not_filled_twice() {
        assert_eq!(fill_text("${A}", &vars(&[("A", "${B}")])).unwrap(), "${B}");
    }

    #[test]
    fn only_whole_references_without_literal_default_are_no_literals() {
        assert!(
            is_reference("${KEY}") && is_reference("postgres://${U}:${P}@db/x") && is_reference("${K:-}")
        );
        assert!(!is_reference("plain") && !is_reference("${K:-sk-123}") && !is_reference("$${K}"));
    }

    #[test]
    fn addresses_keep_the_variables_of_the_release() {
        let job = vars(&[("PORT", "1"), ("DOMAIN", "example.com")]);
        let filled = fill_address("http://${DOMAIN}:${PORT}/${LATER}", |name| name == "PORT", &job);
        assert_eq!(filled, "http://example.com:${PORT}/${LATER}");
    }
}
