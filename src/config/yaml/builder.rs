//! The tree, from the events of the parser: anchors, aliases and merge keys resolved, everything counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Entry, Node, Parsed, Place, Scalar, Source, Style, Tags, Value};
use crate::config::problem::Problem;

/// Deepest nesting of lists and maps.
pub(super) const DEEPEST: usize = 40;
const MOST_VALUES: usize = 20_000;
/// Most bytes of text in all values together, aliases counted where they are used.
const MOST_TEXT: usize = 4 * super::LARGEST;

/// Reads a document that is not too long.
pub(super) fn build(source: &Arc<Source>, tags: Tags) -> Parsed {
    let options = granit_parser::options! {
        emit_comments: false, flow_nesting_limit: DEEPEST, block_nesting_limit: DEEPEST,
    };
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(&source.text, options),
        source: source.clone(),
        tags,
        anchors: HashMap::new(),
        used: Size::default(),
        path: Vec::new(),
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

/// What a value takes up.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    text: usize,
}

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    source: Arc<Source>,
    tags: Tags,
    anchors: HashMap<usize, (Node, Size)>,
    used: Size,
    /// Keys and indexes down to the value that is read.
    path: Vec<String>,
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
                Err(Box::new(super::explain::syntax(&place, error.kind())))
            }
            None => Err(Box::new(Problem::in_file(&self.source.file, "ends in the middle"))),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Step<Node> {
        let before = self.used;
        self.count(Size { values: 1, text: 0 }, span)?;
        if depth > DEEPEST {
            return Err(self.stop(span, "is nested too deeply", &format!("{DEEPEST} levels")));
        }
        let place = self.place(span);
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(Size { values: 0, text: text.len() }, span)?;
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
            Event::Alias(id) => (self.alias(id, span)?, 0),
            _ => return Err(self.stop(span, "is not expected here", "a value")),
        };
        let node = Node { place, value };
        if anchor != 0 {
            let size = Size { values: self.used.values - before.values, text: self.used.text - before.text };
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    /// What an alias stands for: counted before it is copied.
    fn alias(&mut self, id: usize, span: &Span) -> Step<Value> {
        let Some(&(_, size)) = self.anchors.get(&id) else {
            return Err(self.stop(span, "refers to itself", "an alias of a value that is complete"));
        };
        self.count(size, span)?;
        let value = self.anchors.get(&id).map(|(node, _)| node.value.clone());
        Ok(value.unwrap_or(Value::Broken))
    }

    fn count(&mut self, more: Size, span: &Span) -> Step<()> {
        self.used.values += more.values;
        self.used.text += more.text;
        if self.used.values > MOST_VALUES {
            let message = "is one value too many (aliases count where they are used)";
            return Err(self.stop(span, message, &format!("at most {MOST_VALUES} values")));
        }
        if self.used.text > MOST_TEXT {
            let message = "makes the text too long (aliases count where they are used)";
            return Err(self.stop(span, message, &format!("at most {MOST_TEXT} bytes")));
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
            let problem = Problem::at(place, &self.path_text(), "has a tag");
            self.problems.push(problem.accepted("values without `!tag`"));
        }
    }

    fn list(&mut self, depth: usize) -> Step<Value> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            self.path.push(format!("[{}]", items.len()));
            items.push(self.node(event, &span, depth + 1)?);
            self.path.pop();
        }
    }

    fn map(&mut self, depth: usize) -> Step<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = BTreeMap::new();
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
            self.path.push(key.clone());
            let (event, span) = self.next()?;
            let node = self.node(event, &span, depth + 1)?;
            if key == "<<" && is_plain {
                merged.extend(self.merge_sources(node));
            } else if let Some(first) = seen.get(&key) {
                let message = format!("is written twice, first in line {first}");
                let problem = Problem::at(&place, &self.path_text(), message);
                self.problems.push(problem.accepted("each key once").suggest("remove one of the two"));
            } else {
                seen.insert(key.clone(), place.line);
                entries.push(Entry { key, place, node });
            }
            self.path.pop();
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
                let problem = Problem::at(&node.place, &self.path_text(), "merges what is no map");
                self.problems.push(problem.accepted("a map's alias"));
                Vec::new()
            }
        }
    }

    /// The key of what is read, as messages write it: `a.b[0].c`.
    fn path_text(&self) -> String {
        self.path.iter().fold(String::new(), |path, part| {
            let dot = if path.is_empty() || part.starts_with('[') { "" } else { "." };
            path + dot + part
        })
    }

    fn place(&self, span: &Span) -> Place {
        self.place_of(span.start.line(), span.start.col())
    }

    fn place_of(&self, line: usize, column: usize) -> Place {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place { source: self.source.clone(), line: small(line), column: small(column + 1) }
    }

    fn stop(&self, span: &Span, message: &str, accepted: &str) -> Box<Problem> {
        Box::new(Problem::at(&self.place(span), &self.path_text(), message).accepted(accepted))
    }
}

/// What stands in the map itself wins over what is merged into it; of those, the first.
fn merge_defaults(entries: &mut Vec<Entry>, seen: &mut BTreeMap<String, u32>, merged: Vec<Entry>) {
    for entry in merged {
        if !seen.contains_key(&entry.key) {
            seen.insert(entry.key.clone(), entry.place.line);
            entries.push(entry);
        }
    }
}
