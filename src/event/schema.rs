//! The published schema of the event log (`schemas/event.schema.json`), and the tests that hold it, the examples of
//! `docs/events.md` and the code together.

use super::Event;

/// Returns the JSON Schema (2020-12) of one line of the event log.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Event>().to_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::super::{Emitter, EventKind, Origin, examples};
    use super::*;
    use crate::text::Redactor;

    fn in_repository(path: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    /// Compares a committed file with what the code makes; `FFE_BLESS=1` writes it instead.
    fn committed(path: &str, made: &str) {
        let path = in_repository(path);
        if std::env::var_os("FFE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, made).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == made,
            "{} is not what the code makes; FFE_BLESS=1 cargo test writes it",
            path.display()
        );
    }

    fn name_of(event: &serde_json::Value) -> String {
        event["event"].as_str().unwrap().to_owned()
    }

    /// The names that the schema knows, so that an example cannot be forgotten.
    fn names_in_schema() -> BTreeSet<String> {
        let schema = schema();
        let kinds = schema["oneOf"].as_array().unwrap();
        kinds.iter().map(|kind| kind["properties"]["event"]["const"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_committed_schema_is_the_one_the_code_makes() {
        let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        committed("schemas/event.schema.json", &made);
    }

    #[test]
    fn every_kind_of_event_is_valid_and_reads_back_as_it_was() {
        let validator = jsonschema::draft202012::new(&schema()).unwrap();
        let mut seen = BTreeSet::new();
        for event in examples::all() {
            let line = event.to_line().unwrap();
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(errors, [""; 0], "{line}");
            let again: Event = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_value(&again).unwrap(), value);
            seen.insert(name_of(&value));
        }
        assert_eq!(seen, names_in_schema());
    }

    #[test]
    fn the_schema_refuses_what_is_not_an_event() {
        let validator = jsonschema::draft202012::new(&schema()).unwrap();
        let good = serde_json::to_value(&examples::all()[0]).unwrap();
        assert!(validator.is_valid(&good));
        for (key, bad) in [
            ("schema", serde_json::json!(2)),
            ("level", "LOUD".into()),
            ("event", "deployment_dreamt".into()),
            ("timestamp", "yesterday".into()),
            ("verb", 1.into()),
        ] {
            let mut event = good.clone();
            event[key] = bad;
            assert!(!validator.is_valid(&event), "{key}");
            event.as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&event), "{key} is missing");
        }
    }

    #[test]
    fn the_documented_examples_are_those_of_the_code_and_parse() {
        let path = "docs/events.md";
        let page = std::fs::read_to_string(in_repository(path)).unwrap();
        let (before, rest) = page.split_once("<!-- examples -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end of examples -->\n").unwrap();
        let mut made = String::new();
        let mut documented = BTreeSet::new();
        for event in examples::all() {
            let line = event.to_line().unwrap();
            let name = name_of(&serde_json::from_str(&line).unwrap());
            made.push_str(&format!("`{name}`: {}\n\n```json\n{line}\n```\n\n", event.message));
            documented.insert(name);
        }
        committed(path, &format!("{before}<!-- examples -->\n{made}<!-- end of examples -->\n{after}"));
        let page = std::fs::read_to_string(in_repository(path)).unwrap();
        let lines = page.lines().filter(|line| line.starts_with('{'));
        let parsed: BTreeSet<String> = lines
            .map(|line| {
                serde_json::from_str::<Event>(line).unwrap();
                name_of(&serde_json::from_str(line).unwrap())
            })
            .collect();
        assert_eq!(parsed, documented);
    }

    #[test]
    fn a_line_from_a_host_is_read_cleaned_and_redacted() {
        let redactor = Redactor::new(["hunter22"]);
        let kind = EventKind::LogLine {
            source: "container\u{1b}[2J backend".into(),
            text: "::add-mask::x\r\n##[error]hunter22".into(),
        };
        let mut event = examples::event(7, Origin::Agent, crate::model::Stage::Verifying, kind);
        event.message = "\u{1b}]0;x\u{7}hunter22".into();
        let read = Event::from_foreign_line(&format!("{}\n", event.to_line().unwrap()), &redactor).unwrap();
        let EventKind::LogLine { source, text } = &read.kind else { panic!("{read:?}") };
        assert_eq!(source, "container backend");
        assert_eq!(text, ":\u{200b}:add-mask::x  ##\u{200b}[error]***");
        assert_eq!(read.message, "***");
    }

    #[test]
    fn every_agents_event_survives_the_way_to_the_runner_unchanged() {
        for mut event in examples::all() {
            event.origin = Origin::Agent;
            let line = event.to_line().unwrap();
            let read = Event::from_foreign_line(&line, &Redactor::default()).unwrap();
            assert_eq!(read.to_line().unwrap(), line);
        }
    }

    #[test]
    fn what_a_host_cannot_say_is_refused_without_quoting_it() {
        let good = {
            let mut event = examples::all().remove(1);
            event.origin = Origin::Agent;
            serde_json::to_value(&event).unwrap()
        };
        let read =
            |value: &serde_json::Value| Event::from_foreign_line(&value.to_string(), &Redactor::default());
        assert!(read(&good).is_ok());
        for (key, bad) in [
            ("origin", serde_json::json!("runner")),
            ("origin", "::error::x".into()),
            ("schema", 2.into()),
            ("seq", 0.into()),
            ("seq", (-1).into()),
            ("timestamp", "2026-11-21".into()),
            ("deployment_id", "../../etc".into()),
            ("app", "::error::".into()),
            ("trace_id", "0AF7".into()),
            ("span_id", "b7ad6b716920333\n".into()),
            ("stage", "dreaming".into()),
            ("event", "deployment_dreamt".into()),
        ] {
            let mut event = good.clone();
            event[key] = bad;
            let error = read(&event).unwrap_err().to_string();
            assert!(!error.contains("::") && !error.contains("etc"), "{error}");
        }
        for line in ["", "{}", "::error::x", "[1]", &format!("\"{}\"", "x".repeat(2 << 20))] {
            assert!(Event::from_foreign_line(line, &Redactor::default()).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_logs_as_valid_json(text in "(?s).{1,80}", secret in "[a-z]{6}") {
            let kind = EventKind::LogLine { source: secret.clone(), text: text.clone() };
            let (emitter, seen) = recording();
            emitter.redact_with(Redactor::new([secret.as_str()]));
            emitter.emit(crate::here!(), kind);
            let line = seen.lock().unwrap().pop().unwrap();
            proptest::prop_assert!(!line.contains('\n') && !line.contains("##[") && !line.contains(&secret));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            proptest::prop_assert_eq!(&value["correlation_id"], "github-1-1");
            let shown = crate::text::harmless(&text);
            if !shown.contains(&secret) {
                proptest::prop_assert_eq!(value["text"].as_str().unwrap(), shown);
            }
        }
    }

    type Lines = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

    fn recording() -> (Emitter, Lines) {
        struct Recorder(Lines);
        impl super::super::Sink for Recorder {
            fn take(&mut self, event: &Event) {
                self.0.lock().unwrap().push(event.to_line().unwrap());
            }
        }
        let seen = Lines::default();
        let context = super::super::Context {
            origin: Origin::Runner,
            deployment_id: "deploy-1".parse().unwrap(),
            correlation_id: "github-1-1".parse().unwrap(),
            app: None,
            environment: None,
            host: "here".into(),
        };
        let stage = crate::model::Stage::Initializing;
        (Emitter::new(context, 0, stage, Box::new(Recorder(seen.clone()))), seen)
    }

    #[test]
    fn numbers_have_no_gap_and_an_endless_text_is_cut() {
        let (emitter, seen) = recording();
        let log = |text: String| {
            emitter.emit(crate::here!(), EventKind::LogLine { source: "tool".into(), text });
        };
        log("x".repeat(3 << 20));
        log("short".into());
        let lines = seen.lock().unwrap();
        let numbers: Vec<u64> =
            lines.iter().map(|line| serde_json::from_str::<Event>(line).unwrap().seq).collect();
        assert_eq!(numbers, [1, 2]);
        assert!(lines[0].len() < super::super::LONGEST_FOREIGN_LINE);
        assert!(
            lines[1].contains("\"function\":\"numbers_have_no_gap_and_an_endless_text_is_cut\""),
            "{}",
            lines[1]
        );
    }
}
