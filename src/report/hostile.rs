//! What every reader of events makes of a host that means harm: each text of each event is hostile, and nothing that is
//! shown may be obeyed by a CI runner, a terminal, a channel or a reader of Markdown.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use proptest::prelude::*;
use serde_json::Value;

use super::slack::{self, Ended};
use super::{Console, ConsoleSettings, Hub, human, json};
use crate::agent::protocol::Reply;
use crate::event::{Event, Level, examples};
use crate::model::Requester;
use crate::text::Redactor;

#[path = "../../tests/integration/support/actions.rs"]
mod actions;
#[path = "../../tests/integration/support/block_kit.rs"]
pub(super) mod block_kit;

use actions::{HARMFUL, all_obeyed, unsafe_for_terminals};

/// One of the harmful pieces, or what they are made of; often several, so that they join to something new.
fn harmful() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(&HARMFUL[..]).prop_map(str::to_owned),
        2 => "[\\[\\]#:|<>&`*_~!@()\\\\\"'%=-]{1,4}",
        1 => "[ \t\u{a0}\u{3000}\u{200b}\u{ad}\u{1b}\u{9b}\r\n]{1,3}",
        1 => "(?s).{0,8}",
    ];
    // An empty text may be left out, which is no harm; the end of a text never hides its beginning.
    prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat() + "x")
}

fn many_harmful() -> impl Strategy<Value = Vec<String>> {
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
    let log_place = Some("/tmp/log.jsonl".to_owned());
    let settings = ConsoleSettings { for_people, level: Level::Debug, colours, log_place };
    let mut hub = Hub::new();
    hub.add(Console::new(heard.clone(), settings));
    events.iter().for_each(|event| hub.publish(event));
    heard.text()
}

fn nothing_is_obeyed(name: &str, output: &str) -> Result<(), TestCaseError> {
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
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

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
        let message = message(&events, &crate::text::harmless(&who), &run);
        prop_assert!(!message.to_string().contains("<http"), "{}", message);
        block_kit::is_taken(&message);
    }

    #[test]
    fn answers_of_a_host_are_shown_and_do_nothing(texts in many_harmful()) {
        let mut place = 0;
        let mut next = || { place += 1; texts[place % texts.len()].clone() };
        let lines: Vec<String> = (0..3).map(|_| next()).collect();
        let mut answer = serde_json::json!({ next(): [next(), { next(): next() }], "healthy": next() });
        let mut reply = Reply::Answer { answer: answer.take() };
        reply.clean(&Redactor::default());
        if let Reply::Answer { answer } = &reply {
            nothing_is_obeyed("an answer in JSON", &json::answer(answer).unwrap())?;
        }
        for text in lines {
            let mut reply = Reply::Line { text };
            reply.clean(&Redactor::default());
            if let Reply::Line { text } = &reply {
                nothing_is_obeyed("a line of a log", text)?;
            }
        }
        let mut result = examples::result();
        let finding = crate::model::Finding::warning("a.b", next(), next()).detail(&next(), next());
        let found = crate::model::ValidateAnswer::of(vec![finding]);
        nothing_is_obeyed("what validate found", &human::validate(&found))?;
        (result.verb, result.version, result.backup) = (next(), Some(next()), Some(next()));
        nothing_is_obeyed("a result", &human::result(&result))?;
    }
}
