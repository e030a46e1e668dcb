//! YAML as a tree in which every value knows its place.
//!
//! The only file that knows the parser: `serde-saphyr`'s event parser, walked by hand, because its deserialiser
//! types `1.10` as a number before anybody asked and stops at the first problem. Anchors, aliases and merge keys
//! work; size, depth and the number of values (aliases counted where they are used) are bounded, so that no
//! document can take long.

use std::fmt;
use std::sync::Arc;

use super::problem::Problem;

mod builder;
mod explain;
#[cfg(test)]
mod tests;

/// Largest document in bytes.
pub(super) const LARGEST: usize = 256 * 1024;

/// Most brackets that may be open at a time.
const MOST_OPEN: usize = 10 * builder::DEEPEST;

/// A document: where it was found, and what it says.
pub(super) struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

/// Where something stands. Its `Debug` says nothing of the document, which may hold a secret.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    /// Returns a place in a document that is nowhere written.
    pub(super) fn nowhere(file: &str) -> Self {
        Self { source: Arc::new(Source { file: file.to_owned(), text: String::new() }), line: 1, column: 1 }
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        let parts = |place: &Self| (place.source.file.clone(), place.line, place.column);
        parts(self) == parts(other)
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}:{}", self.column)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.source.file, self.line)
    }
}

/// A value and its place. Has no `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value of the document.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Anything else that is neither list nor map.
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A problem was reported for it already; readers pass over it.
    Broken,
}

/// Text as it was written.
#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
}

/// How a scalar came to be.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: may stand for a number or a boolean.
    Plain,
    /// Quoted, or a block: text.
    Quoted,
    /// Filled in from the job; what was written. The text must not be shown.
    Filled(String),
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// Returns the value of a key, when this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// As [`Node::get`], to change it.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Returns the entries of a map; none for everything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }
}

/// What a document was read as: what could be understood, and what could not.
pub(super) struct Parsed {
    /// The document's value; absent when the text is no YAML, or empty.
    pub(super) root: Option<Node>,
    pub(super) problems: Vec<Problem>,
}

/// Tags beyond YAML's own: an error in our files, Compose's business in its files (`!reset`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    Refused,
    Ignored,
}

/// Reads one document.
pub(super) fn parse(text: &str, file: &str, tags: Tags) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LARGEST {
        return Parsed { root: None, problems: vec![too_long(file, text.len() as u64)] };
    }
    let source = Arc::new(Source { file: file.to_owned(), text: text.to_owned() });
    match too_open(&source) {
        Some(problem) => Parsed { root: None, problems: vec![problem] },
        None => builder::build(&source, tags),
    }
}

/// The refusal of a document with more brackets open than any can need, in texts and comments too: the time that the
/// parser takes until it finds out grows with the square of them.
fn too_open(source: &Arc<Source>) -> Option<Problem> {
    let mut open = 0_usize;
    let mut at = source.text.bytes().enumerate().filter_map(|(at, byte)| {
        match byte {
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        (open > MOST_OPEN).then_some(at)
    });
    let before = &source.text[..at.next()?];
    let line = before.split('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let place = Place { source: source.clone(), line: small(line), column: small(column) };
    let problem = Problem::at(&place, "", "is nested too deeply");
    Some(problem.accepted(format!("{} levels", builder::DEEPEST)))
}

/// The refusal of a document of so many bytes.
pub(super) fn too_long(file: &str, bytes: u64) -> Problem {
    let problem = Problem::in_file(file, format!("is {bytes} bytes long"));
    problem.accepted(format!("at most {LARGEST} bytes"))
}

/// Puts `over` on top of `under`: maps merge key by key, everything else is replaced.
pub(super) fn overlay(under: &mut Node, over: Node) {
    match (&mut under.value, over.value) {
        (Value::Map(below), Value::Map(above)) => {
            for entry in above {
                match below.iter_mut().find(|known| known.key == entry.key) {
                    Some(known) => overlay(&mut known.node, entry.node),
                    None => below.push(entry),
                }
            }
        }
        (slot, value) => {
            *slot = value;
            under.place = over.place;
        }
    }
}
