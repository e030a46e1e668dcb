//! YAML as a tree in which every value knows its place.
//!
//! The only file that knows the parser: `serde-saphyr`'s event parser, walked by hand, because its deserialiser
//! types `1.10` as a number before anybody asked and stops at the first problem. Anchors, aliases and merge keys
//! work; size, depth and the number of values (aliases counted where they are used) are bounded, so that no
//! document can take long.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::problem::Problem;

/// Largest document in bytes.
pub(super) const LARGEST: usize = 256 * 1024;
const DEEPEST: usize = 40;
const MOST_VALUES: usize = 20_000;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: u32,
    pub(super) column: u32,
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
        let message = format!("is {} bytes long", text.len());
        let problem = Problem::in_file(file, message).accepted(format!("at most {LARGEST} bytes"));
        return Parsed { root: None, problems: vec![problem] };
    }
    let options = granit_parser::options! {
        emit_comments: false, flow_nesting_limit: DEEPEST, block_nesting_limit: DEEPEST,
    };
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text, options),
        file: Arc::from(file),
        tags,
        anchors: HashMap::new(),
        values: 0,
        problems: Vec::new(),
    };
    let root = builder.document().unwrap_or_else(|problem| {
        builder.problems.push(*problem);
        None
    });
    Parsed { root, problems: builder.problems }
}

/// Boxed: a result that is passed through every level.
type Step<T> = Result<T, Box<Problem>>;

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    file: Arc<str>,
    tags: Tags,
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Step<Option<Node>> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(self.stop(&span, "is the start of a second document", "one document a file"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => {
                    let node = self.node(event, &span, 0)?;
                    root = (!matches!(node.value, Value::Null)).then_some(node);
                }
            }
        }
    }

    fn next(&mut self) -> Step<(Event<'a>, Span)> {
        match self.events.next_event() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => {
                let place = self.place_of(error.marker().line(), error.marker().col());
                let message = format!("is not YAML: {}", error.info());
                Err(Box::new(Problem::at(&place, "", message)))
            }
            None => Err(Box::new(Problem::in_file(&self.file, "ends in the middle"))),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Step<Node> {
        self.count(1, span)?;
        if depth > DEEPEST {
            return Err(self.stop(span, "is nested too deeply", &format!("{DEEPEST} levels")));
        }
        let before = self.values;
        let place = self.place(span);
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(text.into_owned(), style, tag.as_deref(), &place), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), &place);
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), &place);
                (self.map(depth)?, anchor)
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(self.stop(span, "refers to itself", "an alias of a value that is complete"));
                };
                self.count(size, span)?;
                (node.value, 0)
            }
            _ => return Err(self.stop(span, "is not expected here", "a value")),
        };
        let node = Node { place, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.values - before + 1));
        }
        Ok(node)
    }

    fn count(&mut self, values: usize, span: &Span) -> Step<()> {
        self.values += values;
        if self.values > MOST_VALUES {
            let message = "is one value too many (aliases count where they are used)";
            return Err(self.stop(span, message, &format!("at most {MOST_VALUES} values")));
        }
        Ok(())
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, place: &Place) -> Value {
        self.check_tag(tag, place);
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
        if style == ScalarStyle::Plain && !is_text {
            return match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => Value::Null,
                _ => Value::Scalar(Scalar { text, style: Style::Plain }),
            };
        }
        Value::Scalar(Scalar { text, style: Style::Quoted })
    }

    fn check_tag(&mut self, tag: Option<&Tag>, place: &Place) {
        let is_custom = tag.is_some_and(|tag| !tag.is_yaml_core_schema() && !tag.suffix().is_empty());
        if is_custom && self.tags == Tags::Refused {
            self.problems.push(Problem::at(place, "", "has a tag").accepted("values without `!tag`"));
        }
    }

    fn list(&mut self, depth: usize) -> Step<Value> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Step<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let is_plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
            if matches!(event, Event::MappingEnd) {
                merge_defaults(&mut entries, &mut seen, merged);
                return Ok(Value::Map(entries));
            }
            let place = self.place(&span);
            let key = self.key(event, &span, depth)?;
            let (event, span) = self.next()?;
            let node = self.node(event, &span, depth + 1)?;
            if key == "<<" && is_plain {
                merged.extend(self.merge_sources(node));
            } else if seen.insert(key.clone()) {
                entries.push(Entry { key, place, node });
            } else {
                self.problems.push(Problem::at(&place, &key, "is written twice").accepted("each key once"));
            }
        }
    }

    fn key(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Step<String> {
        let node = self.node(event, span, depth + 1)?;
        match node.value {
            Value::Scalar(scalar) => Ok(scalar.text),
            Value::Null => Ok(String::from("null")),
            _ => Err(self.stop(span, "is a key that is a list or a map", "a name")),
        }
    }

    /// The maps that a `<<` names: one, or a list of them.
    fn merge_sources(&mut self, node: Node) -> Vec<Entry> {
        match node.value {
            Value::Map(entries) => entries,
            Value::List(items) => items.into_iter().flat_map(|item| self.merge_sources(item)).collect(),
            _ => {
                let problem =
                    Problem::at(&node.place, "<<", "merges what is no map").accepted("a map's alias");
                self.problems.push(problem);
                Vec::new()
            }
        }
    }

    fn place(&self, span: &Span) -> Place {
        self.place_of(span.start.line(), span.start.col())
    }

    fn place_of(&self, line: usize, column: usize) -> Place {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: small(line), column: small(column + 1) }
    }

    fn stop(&self, span: &Span, message: &str, accepted: &str) -> Box<Problem> {
        Box::new(Problem::at(&self.place(span), "", message).accepted(accepted))
    }
}

/// What stands in the map itself wins over what is merged into it; of those, the first.
fn merge_defaults(entries: &mut Vec<Entry>, seen: &mut BTreeSet<String>, merged: Vec<Entry>) {
    for entry in merged {
        if seen.insert(entry.key.clone()) {
            entries.push(entry);
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn read(text: &str) -> Parsed {
        parse(text, "x.yaml", Tags::Refused)
    }

    #[test]
    fn values_know_their_place_and_keep_their_text() {
        let root = read("a:\n  b: 1.10\n  c: [x, \"2\"]\n").root.unwrap();
        let b = root.get("a").unwrap().get("b").unwrap();
        assert_eq!((b.text().unwrap(), b.place.line, b.place.column), ("1.10", 2, 6));
    }

    #[test]
    fn merge_keys_fill_what_is_not_written() {
        let root = read("base: &b {x: 1, y: 2}\nother: &o {y: 9, z: 3}\nit:\n  <<: [*b, *o]\n  x: 7\n").root;
        let root = root.unwrap();
        let it = root.get("it").unwrap();
        let values: Vec<_> = ["x", "y", "z"].map(|key| it.get(key).unwrap().text().unwrap()).to_vec();
        assert_eq!(values, ["7", "2", "3"]);
    }

    #[test]
    fn duplicate_keys_tags_and_second_documents_are_problems_with_a_line() {
        let twice = read("a: 1\nb: 2\na: 3\na: 4\n").problems;
        assert_eq!((twice.len(), twice[0].line, twice[0].column), (2, Some(3), Some(1)));
        assert_eq!(read("a: !secret x\n").problems[0].line, Some(1));
        assert_eq!(read("a: 1\n---\nb: 2\n").problems[0].line, Some(2));
        let broken = read("a: [1\nb: 2\n").problems;
        assert!(broken[0].line.is_some() && broken[0].message.len() > 15, "{broken:?}");
    }

    #[test]
    fn bombs_are_refused_in_milliseconds() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let wide = "- {a: [b, c]}\n".repeat(15_000);
        let blocks: String = (0..500).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        for text in [laughs, deep, wide, "x".repeat(1 << 20), blocks, "a: &a [*a]\n".to_owned()] {
            let start = Instant::now();
            let parsed = read(&text);
            assert!(parsed.root.is_none() && parsed.problems.len() == 1, "{}", &text[..40.min(text.len())]);
            // Without a budget it would take hours.
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        }
    }
}
