//! Hand-written readers of the tree: each takes one value, reports what is wrong with it, and goes on.
//!
//! Enter by [`Section`] for a map with known keys and [`Field`] for one value. A reader returns `None` when it has
//! reported a problem; a missing key is `None` before anything is read, so callers use their default.

use std::time::Duration;

use super::duration;
use super::excerpt::value_looks_secret;
use super::problem::Problem;
use super::secret_names;
use super::yaml::{Node, Place, Style, Value};

/// Collects problems.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }
}

/// A map whose keys are known.
pub(super) struct Section<'a> {
    node: &'a Node,
    key: String,
}

/// One value and the path of its key.
pub(super) struct Field<'a> {
    pub(super) node: &'a Node,
    pub(super) key: String,
}

impl<'a> Section<'a> {
    /// Returns the section that this node is; nothing written counts as empty.
    pub(super) fn of(node: &'a Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let field = Field { node, key: key.to_owned() };
        match node.value {
            Value::Map(_) | Value::Null => Some(Self { node, key: field.key }),
            _ => field.wrong("a map", problems),
        }
    }

    /// Reports every key that is neither known nor announced; those of `later` are not built yet.
    pub(super) fn only(&self, known: &[&str], later: &[&str], problems: &mut Problems) {
        for entry in self.node.entries() {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let path = self.path(&entry.key);
            let problem = if later.contains(&entry.key.as_str()) {
                Problem::at(&entry.place, &path, "is not built yet; this version does not accept it")
            } else {
                Problem::at(&entry.place, &path, "is not a known key")
            };
            let problem = problem.accepted(known.join(", "));
            problems.add(match odd_space(&entry.key) {
                Some(hint) => problem.suggest(hint),
                None => did_you_mean(problem, &entry.key, known),
            });
        }
    }

    /// As [`Section::only`], where keys `x-…` are free, as in Compose: anchors can stand there.
    pub(super) fn only_or_extensions(&self, known: &[&str], later: &[&str], problems: &mut Problems) {
        let entries = self.node.entries().iter().filter(|entry| entry.key.starts_with("x-"));
        let extensions = entries.map(|entry| entry.key.as_str());
        let known: Vec<&str> = known.iter().copied().chain(extensions).collect();
        self.only(&known, later, problems);
    }

    /// Returns the field of a key, when it is written with a value.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let node = self.node.get(key)?;
        let is_there = !matches!(node.value, Value::Null);
        is_there.then(|| Field { node, key: self.path(key) })
    }

    /// Returns all fields in their order, with the keys as they are written.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a Place, Field<'a>)> + '_ {
        self.node.entries().iter().map(|entry| {
            (entry.key.as_str(), &entry.place, Field { node: &entry.node, key: self.path(&entry.key) })
        })
    }

    pub(super) fn place(&self) -> &'a Place {
        &self.node.place
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }
}

impl<'a> Field<'a> {
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::at(&self.node.place, &self.key, message)
    }

    /// Reports a value that is not what is wanted, and returns `None`.
    pub(super) fn wrong<T>(&self, wanted: &str, problems: &mut Problems) -> Option<T> {
        if !matches!(self.node.value, Value::Broken) {
            problems.add(self.problem("has the wrong value").found(self.shown()).accepted(wanted));
        }
        None
    }

    /// What was found, as far as it may be shown.
    pub(super) fn shown(&self) -> String {
        let name = self.key.rsplit(['.', ']']).next().unwrap_or_default();
        match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Broken => "?".to_owned(),
            Value::Scalar(scalar) => match &scalar.style {
                Style::Filled(written) => format!("the value of `{}`", short(written)),
                _ if secret_names::looks_secret(name) || value_looks_secret(&scalar.text) => {
                    "a value that is not shown".to_owned()
                }
                _ => format!("`{}`", short(&scalar.text)),
            },
        }
    }

    /// Text that is not empty. A bare number or boolean is not text: it needs quotes.
    pub(super) fn text(&self, problems: &mut Problems) -> Option<String> {
        let Value::Scalar(scalar) = &self.node.value else { return self.wrong("text", problems) };
        if scalar.text.is_empty() {
            return self.wrong("text that is not empty", problems);
        }
        if is_bare(self.node) {
            let found = self.problem("has the wrong value").found(self.shown()).accepted("text");
            problems.add(found.suggest(format!("\"{}\"", short(&scalar.text))));
            return None;
        }
        Some(scalar.text.clone())
    }

    /// Text that passes `valid`; `wanted` says what does.
    pub(super) fn text_that(
        &self,
        wanted: &str,
        valid: impl Fn(&str) -> bool,
        problems: &mut Problems,
    ) -> Option<String> {
        let text = self.text(problems)?;
        if valid(&text) { Some(text) } else { self.wrong(wanted, problems) }
    }

    /// One of the words; `later` are words that are not built yet.
    pub(super) fn word<T: Copy>(
        &self,
        words: &[(&str, T)],
        later: &[&str],
        problems: &mut Problems,
    ) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Some(text) = self.node.text() else { return self.wrong(&names.join(", "), problems) };
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let message = if later.contains(&text) { "is not built yet" } else { "has the wrong value" };
        let problem = self.problem(message).found(self.shown()).accepted(names.join(", "));
        problems.add(did_you_mean(problem, text, &names));
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match self.node.text() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => self.wrong("true, false", problems),
        }
    }

    /// A whole number in the range.
    pub(super) fn integer(
        &self,
        range: std::ops::RangeInclusive<u32>,
        problems: &mut Problems,
    ) -> Option<u32> {
        let number = self.node.text().and_then(|text| text.parse::<u32>().ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(&format!("a number from {} to {}", range.start(), range.end()), problems),
        }
    }

    /// A decimal number from 0 to a million.
    pub(super) fn decimal(&self, problems: &mut Problems) -> Option<f64> {
        let number = self.node.text().and_then(|text| text.parse::<f64>().ok());
        match number.filter(|number| (0.0..=1e6).contains(number)) {
            Some(number) => Some(number),
            None => self.wrong("a number from 0 to 1000000", problems),
        }
    }

    /// A duration such as `90s` or `1m30s`, from `least` to `most`.
    pub(super) fn duration(
        &self,
        least: Duration,
        most: Duration,
        problems: &mut Problems,
    ) -> Option<Duration> {
        let parsed = self.node.text().and_then(duration::parse);
        if let Some(time) = parsed.filter(|time| (least..=most).contains(time)) {
            return Some(time);
        }
        let wanted = format!("{} to {}, as `120s` or `2m`", duration::show(least), duration::show(most));
        self.wrong(&wanted, problems)
    }

    /// The items of a list.
    pub(super) fn items(&self, wanted: &str, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = &self.node.value else { return self.wrong(wanted, problems) };
        let field = |(index, node)| Field { node, key: format!("{}[{index}]", self.key) };
        Some(items.iter().enumerate().map(field).collect())
    }

    /// A list of texts that each pass `valid`.
    pub(super) fn texts(
        &self,
        wanted: &str,
        valid: impl Fn(&str) -> bool + Copy,
        problems: &mut Problems,
    ) -> Option<Vec<String>> {
        let items = self.items(&format!("a list: {wanted}"), problems)?;
        let read = |item: Field<'_>| item.text_that(wanted, valid, problems);
        Some(items.into_iter().filter_map(read).collect())
    }

    /// The section that this value is.
    pub(super) fn section(&self, problems: &mut Problems) -> Option<Section<'a>> {
        Section::of(self.node, &self.key, problems)
    }
}

/// Whether a value is a bare number or boolean, which is no text.
pub(super) fn is_bare(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.style == Style::Plain && is_typed(&scalar.text))
}

/// Whether plain text stands for a number or a boolean.
fn is_typed(text: &str) -> bool {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.parse::<f64>().is_ok();
    is_number || matches!(text, "true" | "false" | "True" | "False" | "TRUE" | "FALSE")
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Adds the accepted word that is nearest to what was written, when one is near.
pub(super) fn did_you_mean(problem: Problem, written: &str, words: &[&str]) -> Problem {
    match nearest(written, words) {
        Some(word) => problem.suggest(format!("`{word}`")),
        None => problem,
    }
}

/// Spaces that are none to YAML, and that nobody sees: web pages and word processors put them into what is copied.
fn odd_space(key: &str) -> Option<String> {
    let odd = key.chars().find(|c| !c.is_ascii() && (c.is_whitespace() || *c == '\u{feff}'))?;
    Some(format!("replace the invisible U+{:04X} in front of it or in it by ordinary spaces", u32::from(odd)))
}

/// Returns the word that is at most a third of its letters away.
fn nearest<'a>(written: &str, words: &[&'a str]) -> Option<&'a str> {
    let written: String = written.chars().take(60).collect::<String>().to_lowercase();
    let near = words.iter().map(|word| (strsim::damerau_levenshtein(&written, word), *word)).min()?;
    (near.0 <= (near.1.len() / 3).max(1)).then_some(near.1)
}
