//! What every reader of events makes of a host that means harm: each text of each event is hostile, and nothing that is
//! shown may be obeyed by a CI runner, a terminal, a channel or a reader of Markdown.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use proptest::prelude::*;
use pulldown_cmark::{Event as Md, LinkType, Options, Parser, Tag, TagEnd};
use serde_json::Value;

use super::github::{Annotations, OUTPUTS, Outputs, Sources, Summary};
use super::slack::{self, Ended};
use super::{Console, ConsoleSettings, Hub, Notified};
use crate::event::{Event, Level, examples};
use crate::model::Requester;
use crate::text::{Redactor, harmless_lines};

#[path = "../../tests/integration/support/actions.rs"]
mod actions;
#[path = "../../tests/integration/support/block_kit.rs"]
pub(super) mod block_kit;

use actions::{HARMFUL, all_obeyed, file_commands, unsafe_for_terminals};

/// One of the harmful pieces, or what they are made of; often several, so that they join to something new.
fn harmful() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(&HARMFUL[..]).prop_map(str::to_owned),
        2 => "[\\[\\]#:|<>&`*_~!@()\\\\\"'%=-]{1,4}",
        1 => "[ \t\u{a0}\u{3000}\u{200b}\u{ad}\u{1b}\u{9b}\r\n]{1,3}",
        1 => "(?s).{0,8}",
    ];
    // An empty text may be left out, which is no harm: BEL ends whatever would swallow the last words.
    prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat() + "\u{7}\u{1b}[0mwords")
}

pub(crate) fn many_harmful() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(harmful(), 1..6)
}

/// Where a text of an event may be anything: a value, or a name in a map.
#[derive(Clone, Debug)]
enum Free {
    Value(String),
    Name(String, String),
}

fn reads(value: &Value) -> Option<Event> {
    Event::from_foreign_line(&value.to_string(), &Redactor::default()).ok()
}

/// Every example as a host would send it, and where its texts are free; found by trying.
fn patterns() -> &'static [(Value, Vec<Free>)] {
    static PATTERNS: OnceLock<Vec<(Value, Vec<Free>)>> = OnceLock::new();
    PATTERNS.get_or_init(|| {
        let foreign = examples::all().into_iter().map(|event| {
            let mut value = serde_json::to_value(event).unwrap();
            value["origin"] = "agent".into();
            let mut free = Vec::new();
            places(&value, "", &mut free);
            let is_free = |place: &Free| reads(&with(&value, place, "some words")).is_some();
            free.retain(is_free);
            (value, free)
        });
        foreign.collect()
    })
}

fn places(value: &Value, at: &str, found: &mut Vec<Free>) {
    match value {
        Value::String(_) => found.push(Free::Value(at.to_owned())),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        Value::Object(map) => {
            for (name, item) in map {
                places(item, &format!("{at}/{name}"), found);
                // Names of our own are words: only those of maps below can be anything.
                if at.ends_with("/details") || at.ends_with("/services") || at.ends_with("/urls") {
                    found.push(Free::Name(at.to_owned(), name.clone()));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn with(value: &Value, place: &Free, text: &str) -> Value {
    let mut value = value.clone();
    match place {
        Free::Value(at) => *value.pointer_mut(at).unwrap() = text.into(),
        Free::Name(at, name) => {
            let map = value.pointer_mut(at).and_then(Value::as_object_mut).unwrap();
            let item = map.remove(name).unwrap_or_default();
            map.insert(text.to_owned(), item);
        }
    }
    value
}

/// All events of a run, with these texts wherever one can be.
fn events(texts: &[String]) -> Vec<Event> {
    let filled = patterns().iter().map(|(value, free)| {
        let mut value = value.clone();
        for (place, text) in free.iter().zip(texts.iter().cycle()) {
            value = with(&value, place, text);
        }
        reads(&value).expect("a free text is free whatever the others say")
    });
    filled.collect()
}

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn console(events: &[Event], for_people: bool, colours: bool) -> String {
    let heard = Heard::default();
    let settings = ConsoleSettings { for_people, level: Level::Debug, colours, groups: false };
    let mut hub = Hub::new();
    hub.add(Console::new(heard.clone(), settings));
    events.iter().for_each(|event| hub.publish(event));
    heard.text()
}

/// What GitHub gets: the console with its groups, annotations, outputs and summary.
struct Shown {
    groups: String,
    annotations: String,
    outputs: String,
    summary: String,
}

fn on_github(events: &[Event]) -> Shown {
    let files = tempfile::tempdir().unwrap();
    let [outputs, summary] = ["outputs", "summary"].map(|name| files.path().join(name));
    let [groups, annotations] = [Heard::default(), Heard::default()];
    let mut hub = Hub::new();
    hub.add(Outputs::new(&outputs));
    hub.add(Summary::new(&summary));
    hub.add(Annotations::new(annotations.clone(), Sources::default()));
    let settings = ConsoleSettings { for_people: true, level: Level::Debug, colours: false, groups: true };
    hub.add(Console::new(groups.clone(), settings));
    events.iter().for_each(|event| hub.publish(event));
    let problem = events.last().map(|event| event.message.clone());
    hub.notified(Notified { audience: "Slack".to_owned(), problem });
    let read = |path| std::fs::read_to_string(path).unwrap();
    Shown {
        groups: groups.text(),
        annotations: annotations.text(),
        outputs: read(outputs),
        summary: read(summary),
    }
}

/// The same texts with as many lines, which mean no harm; those that are shown alike are alike.
fn meek(texts: &[String]) -> Vec<String> {
    let shown: Vec<String> = texts.iter().map(|text| harmless_lines(text)).collect();
    let text = |text: &String| {
        let first = shown.iter().position(|other| other == text).unwrap_or_default();
        let line = |line: &str| if line.trim().is_empty() { String::new() } else { format!("word{first}") };
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    };
    shown.iter().map(text).collect()
}

/// What a page is made of, code and words left out, and addresses that are links as they are. And the words.
fn structure(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut parts, mut words, mut in_link, mut in_block) = (Vec::new(), Vec::new(), false, false);
    let of_github = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
        | Options::ENABLE_GFM;
    for event in Parser::new_ext(page, of_github) {
        match event {
            Md::Start(Tag::Link { link_type: LinkType::Autolink, .. }) => in_link = true,
            Md::End(TagEnd::Link) => in_link = false,
            Md::Text(_) if in_link => {}
            Md::Code(_) => {}
            Md::InlineHtml(tag) if matches!(&*tag, "<code>" | "</code>") => {}
            Md::Text(text) => words.extend((!in_block).then(|| text.to_string())),
            other => {
                in_block = match &other {
                    Md::Start(Tag::CodeBlock(_)) => true,
                    Md::End(TagEnd::CodeBlock) => false,
                    _ => in_block,
                };
                parts.push(format!("{other:?}"));
            }
        }
    }
    (parts, words)
}

pub(crate) fn nothing_is_obeyed(name: &str, output: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(all_obeyed(output), [], "{} has a command: {:?}", name, output);
    let control = unsafe_for_terminals(output);
    prop_assert_eq!(control, None, "{} has a control character: {:?}", name, output);
    Ok(())
}

/// The colours are ours: the same few sequences, at the same places.
fn without_colours(output: &str) -> String {
    ["0", "1", "2", "31", "32", "33", "1;31"]
        .iter()
        .fold(output.to_owned(), |text, code| text.replace(&format!("\u{1b}[{code}m"), ""))
}

fn message(events: &[Event], who: &str, run_url: &str) -> Value {
    let mut hub = Hub::new();
    events.iter().for_each(|event| hub.publish(event));
    let story = hub.story();
    let requester = Requester { who: who.to_owned(), run_url: Some(run_url.to_owned()) };
    let end = story.end.as_ref().unwrap();
    let failed_checks = story.failed_checks();
    slack::message(&Ended { end, failed_checks, recovered: None, requester: &requester })
}

#[test]
fn the_free_texts_of_events_are_found() {
    let free: usize = patterns().iter().map(|(_, free)| free.len()).sum();
    let names = patterns().iter().flat_map(|(_, free)| free).filter(|free| matches!(free, Free::Name(..)));
    assert!(free > 150 && names.count() >= 3, "{free}");
    let ids = patterns().iter().flat_map(|(_, free)| free);
    assert!(!ids.into_iter().any(|free| matches!(free, Free::Value(at) if at == "/deployment_id")));
}

#[test]
fn the_oracle_knows_what_the_runner_obeys() {
    for line in HARMFUL.iter().filter(|text| text.contains("::") || text.contains("##[")) {
        let known = !all_obeyed(line).is_empty();
        // These the runner shows: not at the start of a line, shifted by one character, or not its own.
        let shown = ["%0A", "##vso", "\u{feff}", ":\u{ad}", "##\u{ad}", "#\u{1b}"];
        assert_eq!(known, !shown.iter().any(|start| line.starts_with(start)), "{line:?}");
    }
    assert_eq!(all_obeyed("ok a::b ## [x]"), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn consoles_and_logs_say_it_and_do_nothing(texts in many_harmful()) {
        let events = events(&texts);
        nothing_is_obeyed("the console", &console(&events, true, false))?;
        let coloured = console(&events, true, true);
        nothing_is_obeyed("the coloured console", &without_colours(&coloured))?;
        nothing_is_obeyed("the console's JSON", &console(&events, false, false))?;
        for event in &events {
            let line = event.to_line().unwrap();
            nothing_is_obeyed("the event log", &line)?;
            prop_assert_eq!(line.lines().count(), 1);
        }
    }

    #[test]
    fn slack_shows_it_and_does_nothing(texts in many_harmful(), who in harmful(), run in harmful()) {
        let events = events(&texts);
        block_kit::is_taken(&message(&events, &who, "https://github.com/acme/shop/actions/runs/42"));
        // An address of the web is what it is: the job's own variables say it.
        let run = run.replace("http", "htp");
        let message = message(&events, &crate::text::harmless(&who), &run);
        prop_assert!(!message.to_string().contains("<http"), "{}", message);
        block_kit::is_taken(&message);
    }

    #[test]
    fn github_shows_it_and_does_nothing(texts in many_harmful()) {
        let (shown, wanted) = (on_github(&events(&texts)), on_github(&events(&meek(&texts))));
        let names = |output: &str| all_obeyed(output).into_iter().map(|c| c.name).collect::<Vec<_>>();
        prop_assert_eq!(unsafe_for_terminals(&shown.groups), None);
        let groups = |output: &str| all_obeyed(output);
        prop_assert_eq!(groups(&shown.groups), groups(&wanted.groups), "{:?}", shown.groups);
        prop_assert_eq!(names(&shown.annotations), names(&wanted.annotations), "{:?}", shown.annotations);
        prop_assert_eq!(shown.annotations.lines().count(), names(&wanted.annotations).len());
        for annotation in all_obeyed(&shown.annotations) {
            for property in annotation.properties.split(',') {
                let name = property.split('=').next().unwrap_or_default();
                prop_assert!(["title", "file", "line", "col"].contains(&name), "{:?}", annotation);
            }
            let control = unsafe_for_terminals(&annotation.message);
            prop_assert_eq!(control, None, "{:?}", annotation);
        }
        let outputs = file_commands(&shown.outputs).map_err(TestCaseError::fail)?;
        let named: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(named, OUTPUTS);
        for (_, value) in &outputs {
            nothing_is_obeyed("an output", value)?;
            prop_assert!(!value.contains('\n'), "{:?}", value);
        }
    }

    #[test]
    fn a_summary_shows_it_and_does_nothing(texts in many_harmful()) {
        let (shown, wanted) = (on_github(&events(&texts)).summary, on_github(&events(&meek(&texts))).summary);
        let ((parts, words), (wanted, _)) = (structure(&shown), structure(&wanted));
        prop_assert_eq!(unsafe_for_terminals(&shown), None);
        for word in &words {
            for link in ["://", "www."] {
                prop_assert!(!word.contains(link), "{:?}", word);
            }
            let mentions = word.match_indices(['@', '#']).filter(|(at, _)| {
                word[at + 1..].starts_with(|c: char| c.is_alphanumeric())
            });
            prop_assert_eq!(mentions.count(), 0, "{:?}", word);
        }
        let differ = parts.iter().zip(&wanted).position(|(part, wanted)| part != wanted);
        let at = differ.unwrap_or(parts.len().min(wanted.len()));
        prop_assert!(parts == wanted, "{:?} instead of {:?} in\n{}", parts.get(at), wanted.get(at), shown);
    }
}
