//! Foreign text made harmless, and secrets redacted: used by both halves, before a byte leaves them.
//!
//! Enter by [`harmless`] for what a container, a tool or a remote machine said, by [`Redactor`] for secrets, and
//! keep values in [`Secret`]. Knows nothing of events or reporters.

use std::borrow::Cow;
use std::fmt;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroize;

/// What stands in the place of a secret.
pub const REDACTED: &str = "***";

/// A value that cannot be printed, and is wiped from memory when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(REDACTED)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Returns one line of foreign text that can do nothing to a terminal or to a CI runner: no control bytes, no ANSI
/// or OSC sequences, `##[` broken by U+200B, and `::` at the start of a line likewise (DESIGN section 10).
/// Line breaks become spaces; use [`harmless_lines`] where they matter.
pub fn harmless(text: &str) -> String {
    let mut clean = strip_terminal(text, ' ');
    break_commands(&mut clean);
    clean
}

/// As [`harmless`], for text of several lines.
pub fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// Returns a serialised JSON line in which the runner cannot find `##[`: `#` before `[` becomes `\u0023`.
/// `##[` can stand only inside strings of JSON, so the meaning stays.
pub fn harmless_json(line: &str) -> Cow<'_, str> {
    if line.contains("#[") { Cow::Owned(line.replace("#[", "\\u0023[")) } else { Cow::Borrowed(line) }
}

/// Removes escape sequences and control characters; line breaks and tabs become `gap`.
fn strip_terminal(text: &str, gap: char) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut rest),
            '\n' | '\r' | '\t' => clean.push(gap),
            c if c.is_control() || is_invisible(c) => {}
            c => clean.push(c),
        }
    }
    clean
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What follows ESC (ECMA-48): CSI, a string (OSC, DCS, SOS, PM, APC), or intermediates and one final.
fn skip_escape(rest: &mut Rest<'_>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_csi(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            rest.next();
            skip_string(rest);
        }
        Some(_) => {
            while rest.next_if(|c| ('\u{20}'..='\u{2f}').contains(c)).is_some() {}
            rest.next_if(|c| ('\u{30}'..='\u{7e}').contains(c));
        }
        None => {}
    }
}

fn skip_csi(rest: &mut Rest<'_>) {
    while rest.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
    rest.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

/// A control string ends with BEL or ST. An unended one takes its line with it, and no more: what follows must be seen.
fn skip_string(rest: &mut Rest<'_>) {
    while let Some(c) = rest.next_if(|c| *c != '\n') {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                rest.next_if(|c| *c == '\\');
                return;
            }
            _ => {}
        }
    }
}

/// Characters that reorder or hide what a reader sees (Unicode bidirectional controls, zero-width joiners are kept).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Breaks what GitHub's runner obeys: `##[` anywhere, `::` as the first thing of a line.
fn break_commands(line: &mut String) {
    while line.contains("##[") {
        *line = line.replace("##[", "##\u{200b}[");
    }
    let indent = line.len() - line.trim_start().len();
    if line[indent..].starts_with("::") {
        line.insert(indent + 1, '\u{200b}');
    }
}

/// Replaces every secret, in the forms in which one can leak: raw, base64, URL-encoded, JSON-escaped, and each line
/// of one with several lines. Lines shorter than 4 characters are left alone: masking them would mask everything.
#[derive(Clone, Default)]
pub struct Redactor(Option<AhoCorasick>);

/// Shortest value that is redacted; shorter ones are refused as secrets (DESIGN section 7).
pub const SHORTEST_SECRET: usize = 4;

impl Redactor {
    /// Returns a redactor of these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<String> = values.into_iter().flat_map(forms_of).collect();
        forms.retain(|form| form.len() >= SHORTEST_SECRET);
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        if forms.is_empty() {
            return Self(None);
        }
        let matcher =
            AhoCorasick::builder().match_kind(aho_corasick::MatchKind::LeftmostLongest).build(&forms);
        Self(matcher.ok())
    }

    /// Returns the text with every secret replaced by [`REDACTED`].
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.0 {
            Some(matcher) if matcher.is_match(text) => {
                let mut clean = String::with_capacity(text.len());
                matcher.replace_all_with(text, &mut clean, |_, _, out| {
                    out.push_str(REDACTED);
                    true
                });
                Cow::Owned(clean)
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// Redacts every string in a JSON value, keys excepted.
    pub fn redact_json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => {
                if let Cow::Owned(clean) = self.redact(text) {
                    *text = clean;
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            serde_json::Value::Object(map) => map.values_mut().for_each(|item| self.redact_json(item)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }
}

/// The forms in which a value can appear in somebody's output.
fn forms_of(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), value.trim().to_owned()];
    forms.extend(value.lines().map(|line| line.trim().to_owned()));
    let plain = forms.clone();
    for text in plain {
        forms.push(STANDARD.encode(&text));
        forms.push(STANDARD_NO_PAD.encode(&text));
        forms.push(URL_SAFE.encode(&text));
        forms.push(URL_SAFE_NO_PAD.encode(&text));
        forms.push(utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string());
        if let Ok(json) = serde_json::to_string(&text) {
            forms.push(json[1..json.len() - 1].to_owned());
        }
    }
    forms
}
