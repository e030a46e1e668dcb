//! Reading a request as the document's service does: every problem is found, with pydantic's words and places.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{ApiError, Problem};
use crate::ledger::store::Json;

/// How deep a body may be nested: it comes back within lists, and readers of JSON stop at 128, some at 64.
pub const DEPTH: usize = 60;
/// How much of a wrong input is repeated in the answer, in bytes of JSON.
const REPEATED: usize = 1024;

/// Members of a JSON object that a request brought; those that nobody asks for are ignored.
#[derive(Debug)]
pub struct Fields<'a> {
    whole: &'a str,
    members: BTreeMap<String, &'a RawValue>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Returns the members of a body.
    ///
    /// # Errors
    /// 422 when it is no JSON, or no object.
    pub fn of_body(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(one("missing", vec!["body".into()], "Field required", Value::Null));
        }
        let text =
            std::str::from_utf8(body).map_err(|error| not_json(error.valid_up_to(), "it is not UTF-8"))?;
        // Numbers, escapes and depth of what is kept as it came are looked at here.
        let whole: Value =
            serde_json::from_str(text).map_err(|error| not_json(error.column(), &error.to_string()))?;
        if depth(&whole) > DEPTH {
            let message = format!("Input should be nested at most {DEPTH} deep");
            return Err(one("value_error", vec!["body".into()], &message, Value::Null));
        }
        if !whole.is_object() {
            let message = "Input should be a valid dictionary or object to extract fields from";
            return Err(one("model_attributes_type", vec!["body".into()], message, shown(text)));
        }
        let members =
            serde_json::from_str(text).map_err(|error| not_json(error.column(), &error.to_string()))?;
        Ok(Self { whole: text, members, problems: Vec::new() })
    }

    /// Returns whether a member is there, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Returns a member that must be there; what is wrong is remembered.
    pub fn required<T: Default>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> T {
        if !self.has(name) {
            self.problem("missing", name, "Field required", None);
            return T::default();
        }
        let before = self.problems.len();
        let found = read(self, name);
        if found.is_none() && self.problems.len() == before {
            self.wrong_type(name);
        }
        found.unwrap_or_default()
    }

    /// Returns a text of so many characters; nothing when it is null or absent.
    pub fn text(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Option<String> {
        let raw = self.present(name)?;
        let Ok(text) = serde_json::from_str::<String>(raw.get()) else {
            self.problem("string_type", name, "Input should be a valid string", Some(raw));
            return None;
        };
        let count = text.chars().count();
        if text.contains('\0') {
            self.problem(
                "string_pattern_mismatch",
                name,
                "String should not have a NUL character",
                Some(raw),
            );
        } else if count < *length.start() {
            let message = format!(
                "String should have at least {} character{}",
                length.start(),
                plural(*length.start())
            );
            self.problem("string_too_short", name, &message, Some(raw));
        } else if count > *length.end() {
            let message =
                format!("String should have at most {} character{}", length.end(), plural(*length.end()));
            self.problem("string_too_long", name, &message, Some(raw));
        } else {
            return Some(text);
        }
        None
    }

    /// Returns a text that is one of these words.
    pub fn word(&mut self, name: &'static str, words: &[&'static str]) -> Option<String> {
        let raw = self.present(name)?;
        let found =
            serde_json::from_str::<String>(raw.get()).ok().filter(|word| words.contains(&word.as_str()));
        if found.is_none() {
            let message = format!("Input should be {}", listed(words));
            self.problem("enum", name, &message, Some(raw));
        }
        found
    }

    /// Returns a UUID.
    pub fn uuid(&mut self, name: &'static str) -> Option<Uuid> {
        let raw = self.present(name)?;
        let Ok(text) = serde_json::from_str::<String>(raw.get()) else {
            self.problem("uuid_type", name, "UUID input should be a string, bytes or UUID object", Some(raw));
            return None;
        };
        match Uuid::parse_str(&text) {
            Ok(id) => Some(id),
            Err(error) => {
                self.problem(
                    "uuid_parsing",
                    name,
                    &format!("Input should be a valid UUID, {error}"),
                    Some(raw),
                );
                None
            }
        }
    }

    /// Returns an object as it came.
    pub fn object(&mut self, name: &'static str) -> Option<Json> {
        let raw = self.present(name)?;
        if !raw.get().starts_with('{') {
            self.problem("dict_type", name, "Input should be a valid dictionary", Some(raw));
            return None;
        }
        Some(raw.into())
    }

    /// Returns a list of texts of so many characters each.
    pub fn texts(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Option<Vec<String>> {
        let raw = self.present(name)?;
        let Ok(texts) = serde_json::from_str::<Vec<String>>(raw.get()) else {
            self.problem("list_type", name, "Input should be a valid list of strings", Some(raw));
            return None;
        };
        let is_good = |text: &String| length.contains(&text.chars().count()) && !text.contains('\0');
        if texts.len() > 100 || !texts.iter().all(is_good) {
            let message = format!(
                "Input should be at most 100 strings of {} to {} characters",
                length.start(),
                length.end()
            );
            self.problem("value_error", name, &message, Some(raw));
            return None;
        }
        Some(texts)
    }

    /// Returns nothing when there were no problems.
    ///
    /// # Errors
    /// 422 with all of them.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::problems(&self.problems)) }
    }

    fn present(&self, name: &str) -> Option<&'a RawValue> {
        self.members.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// Null where a value must be.
    fn wrong_type(&mut self, name: &'static str) {
        let raw = self.members.get(name).copied();
        self.problem("value_error", name, "Input should not be null", raw);
    }

    fn problem(&mut self, kind: &'static str, name: &'static str, message: &str, raw: Option<&RawValue>) {
        let input = shown(raw.map_or(self.whole, RawValue::get));
        let loc = vec!["body".into(), name.into()];
        self.problems.push(Problem { kind: kind.into(), loc, msg: message.to_owned(), input });
    }
}

/// Parameters of a query; of one that comes twice the last counts, and unknown ones are ignored.
#[derive(Debug)]
pub struct Query {
    members: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Query {
    /// Returns the parameters of a query as it stands in an address.
    pub fn of(raw: Option<&str>) -> Self {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let members = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self { members: members.collect(), problems: Vec::new() }
    }

    /// Returns a text as it came.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.members.remove(name)
    }

    /// Returns a whole number in a range, or what counts without one.
    pub fn number(&mut self, name: &'static str, default: i64, range: RangeInclusive<i64>) -> i64 {
        let Some(text) = self.members.remove(name) else { return default };
        let (kind, message) = match text.trim().parse::<i64>() {
            Ok(number) if range.contains(&number) => return number,
            Ok(number) if number < *range.start() => {
                ("greater_than_equal", format!("Input should be greater than or equal to {}", range.start()))
            }
            Ok(_) => ("less_than_equal", format!("Input should be less than or equal to {}", range.end())),
            Err(_) => (
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer".to_owned(),
            ),
        };
        self.problem(kind, name, message, text);
        default
    }

    /// Returns a UUID.
    pub fn uuid(&mut self, name: &'static str) -> Option<Uuid> {
        let text = self.members.remove(name)?;
        match Uuid::parse_str(&text) {
            Ok(id) => Some(id),
            Err(error) => {
                self.problem("uuid_parsing", name, format!("Input should be a valid UUID, {error}"), text);
                None
            }
        }
    }

    /// Returns nothing when there were no problems.
    ///
    /// # Errors
    /// 422 with all of them.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::problems(&self.problems)) }
    }

    fn problem(&mut self, kind: &'static str, name: &'static str, msg: String, input: String) {
        let loc = vec!["query".into(), name.into()];
        let input = shown(&json!(input).to_string());
        self.problems.push(Problem { kind: kind.into(), loc, msg, input });
    }
}

/// Returns the UUID of a part of the path.
///
/// # Errors
/// 422 when it is none.
pub fn uuid_of_path(name: &'static str, text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|error| {
        let message = format!("Input should be a valid UUID, {error}");
        one("uuid_parsing", vec!["path".into(), name.into()], &message, shown(&json!(text).to_string()))
    })
}

/// Returns how deep a value is nested; what was read is at most 128 deep.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn one(kind: &'static str, loc: Vec<Value>, message: &str, input: Value) -> ApiError {
    ApiError::problems(&[Problem { kind: kind.into(), loc, msg: message.to_owned(), input }])
}

fn not_json(column: usize, why: &str) -> ApiError {
    let problem = json!({
        "type": "json_invalid", "loc": ["body", column], "msg": "JSON decode error", "input": {}, "ctx": { "error": why },
    });
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, json!([problem]))
}

/// Returns an input as the answer repeats it: as it came, or its beginning as a text.
fn shown(raw: &str) -> Value {
    if raw.len() <= REPEATED {
        // It was read as JSON before.
        return serde_json::from_str(raw).unwrap_or(Value::Null);
    }
    let end = raw.floor_char_boundary(REPEATED);
    Value::from(format!("{}…", &raw[..end]))
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A part of a query, as forms encode it; bytes that are no UTF-8 are replaced.
fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_parameter_that_comes_twice_the_last_counts_and_escapes_are_undone() {
        let mut query = Query::of(Some("page=2&status=a%20b+c&page=3&x"));
        assert_eq!(query.number("page", 1, 1..=9), 3);
        assert_eq!(query.text("status").unwrap(), "a b c");
        assert!(query.finish().is_ok());
    }

    #[test]
    fn words_are_listed_as_pydantic_does() {
        assert_eq!(listed(&["a"]), "'a'");
        assert_eq!(listed(&["a", "b", "c"]), "'a', 'b' or 'c'");
    }
}
