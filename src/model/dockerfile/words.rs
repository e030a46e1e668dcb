//! Words of an instruction: quotes, escapes and `${…}` as BuildKit reads them.

use std::collections::BTreeMap;

/// Deepest `${A:-${B:-…}}` that is followed.
const DEEPEST: usize = 8;

/// Splits at blanks outside of quotes; quotes and escapes stay in the words.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(characters.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Splits `NAME=value`, the value as it was written.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    Some((name.trim_matches(['"', '\'']), value))
}

/// What a word is once its variables are filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// The text, without quotes and escapes.
    pub(super) text: String,
    /// Whether it uses a variable that nothing here gives a value.
    pub(super) is_open: bool,
}

/// Fills in variables, and takes quotes and escapes away.
pub(super) fn fill(word: &str, variables: &BTreeMap<String, String>, escape: char) -> Filled {
    Filler { variables, escape }.fill(word, DEEPEST)
}

struct Filler<'a> {
    variables: &'a BTreeMap<String, String>,
    escape: char,
}

impl Filler<'_> {
    fn fill(&self, word: &str, depth: usize) -> Filled {
        let mut filled = Filled::default();
        let mut quote = None;
        let mut rest = word;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('"' | '\'', None) => quote = Some(c),
                (c, _) if c == self.escape && quote != Some('\'') => {
                    if let Some(next) = rest.chars().next() {
                        filled.text.push(next);
                        rest = &rest[next.len_utf8()..];
                    }
                }
                ('$', quote) if quote != Some('\'') => {
                    let (found, after) = self.variable(rest, depth);
                    filled.text.push_str(&found.text);
                    filled.is_open |= found.is_open;
                    rest = after;
                }
                (c, _) => filled.text.push(c),
            }
        }
        filled
    }

    /// The value of what stands behind a dollar sign, and the text after it.
    fn variable<'t>(&self, rest: &'t str, depth: usize) -> (Filled, &'t str) {
        if let Some(inside) = rest.strip_prefix('{') {
            return match closing(inside) {
                Some(end) if depth > 0 => (self.expression(&inside[..end], depth - 1), &inside[end + 1..]),
                _ => (Filled { text: String::new(), is_open: true }, ""),
            };
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return (Filled { text: "$".to_owned(), is_open: false }, rest);
        }
        (self.value(&rest[..end]), &rest[end..])
    }

    fn value(&self, name: &str) -> Filled {
        match self.variables.get(name) {
            Some(value) => Filled { text: value.clone(), is_open: false },
            None => Filled { text: String::new(), is_open: true },
        }
    }

    /// `NAME`, `NAME:-default`, `NAME-default`, `NAME:+other`, `NAME+other`; anything else is open.
    fn expression(&self, inside: &str, depth: usize) -> Filled {
        let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
        let (name, modifier) = inside.split_at(end);
        let value = self.variables.get(name);
        let (value, modifier) = match modifier.strip_prefix(':') {
            Some(modifier) => (value.filter(|value| !value.is_empty()), modifier),
            None => (value, modifier),
        };
        match (modifier.chars().next(), value) {
            (None, _) => self.value(name),
            (Some('-'), Some(value)) => Filled { text: value.clone(), is_open: false },
            (Some('-'), None) | (Some('+'), Some(_)) => self.fill(&modifier[1..], depth),
            (Some('+'), None) => Filled::default(),
            _ => Filled { text: String::new(), is_open: true },
        }
    }
}

/// Where the brace that was opened before this text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}
