//! Kinds of values, as the readers take them: a key without a value is one that is not written, and a text that has a
//! `${…}` can become anything.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use crate::model::{HookKind, rules};

/// Name of a variable.
pub(super) const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// Name of a service, a profile, a volume or a check.
pub(super) const SERVICE: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
/// A path below the app's directory.
pub(super) const RELATIVE: &str = "^(?!/)(?!(.*/)?\\.\\.(/|$))[^\\\\]+$";
/// `90s`, `1m30s`.
pub(super) const DURATION: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
/// Something is filled in.
const FILLED: &str = "\\$\\{";

/// A map with these keys and no others.
pub(super) fn object(keys: &[(&str, Value)]) -> Value {
    let keys: Map<String, Value> =
        keys.iter().map(|(key, schema)| ((*key).to_owned(), schema.clone())).collect();
    json!({ "type": ["object", "null"], "properties": keys, "additionalProperties": false })
}

/// A map with words about it.
pub(super) fn map(about: &str, mut schema: Value) -> Value {
    schema["description"] = json!(about);
    schema
}

/// A map with names of its own.
pub(super) fn named(pattern: &str, of: Value, about: &str) -> Value {
    json!({
        "type": "object", "description": about, "minProperties": 1,
        "propertyNames": { "pattern": pattern }, "additionalProperties": of,
    })
}

/// Text that matches, or has something filled in.
pub(super) fn text(about: &str, pattern: &str) -> Value {
    json!({ "type": ["string", "null"], "minLength": 1, "description": about, "pattern": or_filled(pattern) })
}

/// As [`text`], for what is left alone where it is not written.
pub(super) fn texts(about: &str, pattern: &str) -> Value {
    let item = json!({ "type": "string", "minLength": 1, "pattern": or_filled(pattern) });
    json!({ "type": ["array", "null"], "items": item, "description": about })
}

fn or_filled(pattern: &str) -> String {
    if pattern == "." { pattern.to_owned() } else { format!("(?:{pattern})|{FILLED}") }
}

/// One of these words.
pub(super) fn words(about: &str, words: &[&str], default: Value) -> Value {
    let one = format!("^(?:{})$", words.join("|"));
    let schema = any_of(about, vec![json!({ "enum": words }), filled_or(&one)]);
    with_default(schema, default)
}

pub(super) fn boolean(about: &str, default: Value) -> Value {
    let schema = any_of(about, vec![json!({ "type": "boolean" }), filled_or("^(?:true|false)$")]);
    with_default(schema, default)
}

pub(super) fn integer(about: &str, range: &RangeInclusive<u32>, default: Value) -> Value {
    let number = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    with_default(any_of(about, vec![number, filled_or("^[0-9]+$")]), default)
}

pub(super) fn decimal(about: &str, default: Value) -> Value {
    let number = json!({ "type": "number", "minimum": 0, "maximum": 1_000_000 });
    with_default(any_of(about, vec![number, filled_or("^[0-9.]+$")]), default)
}

pub(super) fn duration(about: &str, default: Value) -> Value {
    with_default(text(about, DURATION), default)
}

/// Programs that run beside a deployment, by when they do. What goes with what, the reader knows.
pub(super) fn hooks() -> Value {
    let mut hook = object(&[
        ("name", text("What it is called.", ".")),
        ("run", texts("Program and arguments.", ".")),
        ("shell", text("A line for a shell.", ".")),
        ("service", text("A service whose image it runs in.", SERVICE)),
        ("on", words("Where it runs.", &["host", "runner"], Value::Null)),
        ("timeout", duration("How long it may take.", Value::Null)),
        ("on_error", words("What its failure means.", &["fail", "warn", "rollback"], Value::Null)),
    ]);
    hook["type"] = json!("object");
    let list = json!({ "type": ["array", "null"], "items": hook });
    let kinds = HookKind::ALL.map(|kind| (kind.as_str(), list.clone()));
    let mut hooks = object(&kinds);
    hooks["description"] = json!("Programs that run beside a deployment.");
    hooks
}

/// Rules that do not count, by their id.
pub(super) fn rules() -> Value {
    let can_be = |rule: &&rules::Rule| !matches!(rule.silence, rules::Silence::Never(_));
    let ids: Vec<&str> = rules::all().filter(can_be).map(|rule| rule.id).collect();
    let about = "Why it does not count here.";
    let reason = json!({ "type": "string", "minLength": 3, "maxLength": 500, "description": about });
    let mut entry = must(object(&[("silence", reason)]));
    entry["required"] = json!(["silence"]);
    json!({
        "type": ["object", "null"], "description": "Rules of `validate` that do not count here, by their id.",
        "propertyNames": { "enum": ids }, "additionalProperties": entry,
    })
}

/// One of several kinds, or nothing.
pub(super) fn any_of(about: &str, mut kinds: Vec<Value>) -> Value {
    kinds.push(json!({ "type": "null" }));
    json!({ "anyOf": kinds, "description": about })
}

/// The same, where it must be written.
pub(super) fn must(mut schema: Value) -> Value {
    if let Some(kinds) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind["type"] != "null");
    } else if let Some(kind) = schema["type"].as_array().and_then(|kinds| kinds.first()).cloned() {
        schema["type"] = kind;
    }
    schema
}

/// Quoted, or with something filled in.
fn filled_or(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("{pattern}|{FILLED}") })
}

fn with_default(mut schema: Value, default: Value) -> Value {
    if !default.is_null() {
        schema["default"] = default;
    }
    schema
}
