//! The event log as a test reads it.
use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

/// Reads an event log; none there are no events. Every whole line must be an event.
///
/// # Panics
/// When a line is not JSON or breaks the schema.
pub(crate) fn read(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| parse(log, line)).collect()
}

fn parse(log: &Path, line: &str) -> Value {
    let event = serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("{}: {error} in line: {line}", log.display()));
    validate_event(&event);
    event
}

/// Checks one event against `schemas/event.schema.json`, once the project has it, and its rule against the catalogue.
pub(crate) fn validate_event(event: &Value) {
    static SCHEMA: OnceLock<Option<jsonschema::Validator>> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/event.schema.json");
        let text = std::fs::read_to_string(path).ok()?;
        let schema: Value = serde_json::from_str(&text).expect("the event schema is JSON");
        Some(jsonschema::validator_for(&schema).expect("the event schema is a JSON Schema"))
    });
    if let (Some("finding_reported"), Some(rule)) = (event["event"].as_str(), event["rule"].as_str()) {
        assert!(ffe_deploy::model::rules::find(rule).is_some(), "rule {rule} is not in src/model/rules");
    }
    let Some(schema) = schema else { return };
    let problems: Vec<_> =
        schema.iter_errors(event).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(problems.is_empty(), "event breaks its schema: {}\n{event:#}", problems.join("; "));
}

/// Checks that each origin numbers its events without a gap.
pub(crate) fn assert_gapless(events: &[Value]) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for event in events {
        let origin = event["origin"].as_str().unwrap_or_else(|| panic!("event without origin: {event}"));
        let seq = event["seq"].as_u64().unwrap_or_else(|| panic!("event without seq: {event}"));
        if let Some(before) = last.insert(origin, seq) {
            assert_eq!(seq, before + 1, "a gap in the events of {origin}, at {event}");
        }
    }
}
