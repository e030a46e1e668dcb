//! The line of a document that a problem is about, with the place marked and without what could be a secret.
//!
//! Works on the text alone, because a document that is no YAML has no tree. What stands below or behind a key that looks
//! secret is masked, and so is what looks like a secret by itself; where it is not clear, it is masked.

use super::interpolate::is_reference;
use super::secret_names::{TOKENS, looks_secret};
use super::yaml::Place;
use crate::text::{REDACTED, harmless, password_in};

/// Widest excerpt, in characters.
const WIDEST: usize = 100;
/// Characters that stay before a place in a line that is too wide.
const BEFORE: usize = 40;
/// How more of them begin than [`TOKENS`]: here a word too many that is masked does no harm.
const MORE_TOKENS: [&str; 4] = ["sk-", "AKIA", "eyJ", "-----BEGIN"];
/// Shortest run of letters and digits that is taken for a key.
const LONG_RUN: usize = 32;

/// One line and what is marked in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// Number of the line, from 1.
    line: u32,
    /// What stands there, secrets masked.
    text: String,
    /// Where the mark begins, in characters from 0, and how wide it is.
    mark: (usize, usize),
}

impl Excerpt {
    /// Returns the excerpt at a place; nothing where the line is not there, or empty.
    pub(super) fn at(place: &Place) -> Option<Self> {
        let lines: Vec<&str> = lines_of(&place.source.text);
        let at = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(place.column).ok()?.saturating_sub(1);
        // What follows far behind the place is never shown.
        let line: Vec<char> = lines.get(at)?.chars().take(column.saturating_add(2 * WIDEST)).collect();
        let column = column.min(line.len());
        let tokens = scan(&line, is_below_secret(&lines[..at], lines.get(at)?));
        let (text, mark) = masked(&line, &tokens, column);
        let (text, mark) = narrowed(&text, mark);
        (!text.trim().is_empty()).then_some(Self { line: place.line, text, mark })
    }

    /// Returns it as two lines: the text, and the mark below it.
    pub(super) fn lines(&self) -> [String; 2] {
        let number = self.line.to_string();
        let gap = " ".repeat(number.len());
        let mark = format!("{}{}", " ".repeat(self.mark.0), "^".repeat(self.mark.1.max(1)));
        [format!("{number} | {}", self.text), format!("{gap} | {mark}")]
    }
}

/// Lines as YAML counts them.
fn lines_of(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        let (line, after) = rest.split_at(end);
        lines.push(line);
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
    }
    lines.push(rest);
    lines
}

/// Returns whether a value is a secret by its looks, whatever its name is.
pub(super) fn value_looks_secret(value: &str) -> bool {
    // Fingerprints and public keys are as long as secrets, and none.
    let is_public = ["SHA256:", "sha256:", "ssh-", "ecdsa-"].iter().any(|start| value.contains(start));
    let mut words = value.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '=' | ':'));
    let is_token = |word: &str| {
        TOKENS.iter().chain(&MORE_TOKENS).any(|start| word.starts_with(start) && word.len() > start.len() + 8)
    };
    let mut assigned = value.match_indices(['=', ':']).map(|(at, _)| &value[..at]);
    let is_assigned = |before: &str| {
        let name = before.rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).next();
        name.is_some_and(looks_secret)
    };
    value.contains("-----BEGIN")
        || password_in(value).is_some_and(|password| !is_reference(password))
        || (!is_public && words.any(|word| is_token(word) || is_long_run(word)))
        || assigned.any(is_assigned)
}

/// Whether a word is as long and as mixed as keys are.
fn is_long_run(word: &str) -> bool {
    let runs = word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-')));
    let is_mixed = |run: &str| {
        run.contains(|c: char| c.is_ascii_digit()) && run.contains(|c: char| c.is_ascii_alphabetic())
    };
    runs.filter(|run| run.len() >= LONG_RUN).any(is_mixed)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Whether a line lies below a key that looks secret, or goes on what stands behind one.
fn is_below_secret(above: &[&str], line: &str) -> bool {
    let mut deepest = indent(line);
    let mut is_item = line.trim_start().starts_with('-');
    let goes_on = !is_item && keys_in(line).is_empty();
    let mut nearest_key = !goes_on;
    for before in above.iter().rev().filter(|before| !is_blank(before)) {
        let is_parent = indent(before) < deepest
            || (is_item && indent(before) == deepest && !before.trim_start().starts_with('-'));
        if is_parent || !nearest_key {
            let keys = keys_in(before);
            if keys.iter().any(|key| looks_secret(key)) {
                return true;
            }
            nearest_key |= !keys.is_empty();
        }
        if is_parent {
            deepest = indent(before);
            is_item = before.trim_start().starts_with('-');
        }
        if nearest_key && deepest == 0 && !is_item {
            return false;
        }
    }
    false
}

fn keys_in(line: &str) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    let keys = scan(&chars, false).into_iter().filter(|token| token.kind == Kind::Key);
    keys.map(|token| bare(&chars[token.start..token.end])).collect()
}

fn bare(chars: &[char]) -> String {
    chars.iter().collect::<String>().trim().trim_matches(['"', '\'']).to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Value,
    /// A value that is not shown.
    Masked,
    /// Not shown at all.
    Comment,
}

/// A piece of a line, in characters.
#[derive(Clone, Copy, Debug)]
struct Token {
    start: usize,
    end: usize,
    kind: Kind,
}

/// Takes a line apart, well enough to tell keys from values; `secret` when it lies below a secret.
fn scan(line: &[char], secret: bool) -> Vec<Token> {
    let last_closing = line.iter().rposition(|c| *c == '}').unwrap_or(0);
    let secret_from = secret.then_some(0);
    let mut scanner = Scanner { line, last_closing, at: 0, depth: 0, secret_from, pending: false };
    std::iter::from_fn(|| scanner.token()).collect()
}

struct Scanner<'a> {
    line: &'a [char],
    /// Where the last `}` stands.
    last_closing: usize,
    at: usize,
    /// Open brackets.
    depth: usize,
    /// How many brackets were open where a secret began.
    secret_from: Option<usize>,
    /// Whether the key before looks secret.
    pending: bool,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.line.get(self.at + ahead).copied()
    }

    fn is_gap(&self, ahead: usize) -> bool {
        self.peek(ahead).is_none_or(char::is_whitespace)
    }

    fn token(&mut self) -> Option<Token> {
        loop {
            let start = self.at;
            match self.peek(0)? {
                '#' if start == 0 || self.line[start - 1].is_whitespace() => {
                    self.at = self.line.len();
                    return Some(Token { start, end: self.at, kind: Kind::Comment });
                }
                '{' | '[' => {
                    self.depth += 1;
                    if std::mem::take(&mut self.pending) && self.secret_from.is_none() {
                        self.secret_from = Some(self.depth);
                    }
                }
                '}' | ']' => {
                    if self.secret_from.is_some_and(|from| from > 0 && from == self.depth) {
                        self.secret_from = None;
                    }
                    self.depth = self.depth.saturating_sub(1);
                    self.pending = false;
                }
                ',' => self.pending = false,
                '-' | '?' if self.is_gap(1) => {}
                // An anchor, an alias or a tag stands before its value.
                '&' | '*' | '!' => {
                    while self.peek(1).is_some_and(|c| !c.is_whitespace() && !matches!(c, ',' | ']' | '}')) {
                        self.at += 1;
                    }
                }
                c if c.is_whitespace() || c == ':' => {}
                quote @ ('"' | '\'') => return Some(self.quoted(quote)),
                _ => return Some(self.plain()),
            }
            self.at += 1;
        }
    }

    fn quoted(&mut self, quote: char) -> Token {
        let start = self.at;
        self.at += 1;
        while self.peek(0).is_some_and(|c| c != quote) {
            self.at += if self.peek(0) == Some('\\') && quote == '"' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.line.len());
        self.named(start, self.at)
    }

    fn plain(&mut self) -> Token {
        let start = self.at;
        let in_flow = self.depth > 0;
        while let Some(c) = self.peek(0) {
            let ends = match c {
                ':' => self.is_gap(1) || (in_flow && matches!(self.peek(1), Some(',' | ']' | '}'))),
                ',' | '{' | '}' | '[' | ']' => in_flow && self.line[self.at.saturating_sub(1)] != '$',
                '#' => self.line[self.at.saturating_sub(1)].is_whitespace(),
                _ => false,
            };
            if ends {
                break;
            }
            // A reference is one piece, brackets and all.
            let is_reference = c == '$' && self.peek(1) == Some('{');
            // Looked for only where there is one: else the time grows with the square of a long line.
            let end = || self.line[self.at..].iter().position(|c| *c == '}');
            let length = (is_reference && self.at < self.last_closing).then(end).flatten();
            self.at += length.map_or(1, |length| length + 1);
        }
        self.named(start, self.at)
    }

    /// The token: a key when a colon follows.
    fn named(&mut self, start: usize, end: usize) -> Token {
        let text = bare(&self.line[start..end]);
        let after = self.line[end..].iter().position(|c| !c.is_whitespace()).unwrap_or(0);
        let is_key = self.peek(after) == Some(':');
        let end = start + self.line[start..end].iter().collect::<String>().trim_end().chars().count();
        if is_key && self.pending {
            // What stands behind a key that looks secret is its value, whatever follows.
            return Token { start, end, kind: Kind::Masked };
        }
        if is_key {
            self.pending = looks_secret(&text);
            return Token { start, end, kind: Kind::Key };
        }
        let is_secret = std::mem::take(&mut self.pending) || self.secret_from.is_some();
        let is_harmless =
            is_reference(&text) || matches!(text.as_str(), "" | "true" | "false" | "null" | "~");
        let is_masked = (is_secret && !is_harmless) || value_looks_secret(&text);
        Token { start, end, kind: if is_masked { Kind::Masked } else { Kind::Value } }
    }
}

/// The line without its secrets, and where the mark is in it.
fn masked(line: &[char], tokens: &[Token], column: usize) -> (String, (usize, usize)) {
    let mut text: Vec<char> = Vec::with_capacity(line.len());
    let mut mark = None;
    let mut at = 0;
    for token in tokens {
        text.extend(line[at..token.start].iter().map(|c| visible(*c)));
        let begin = text.len();
        if column < token.start && mark.is_none() {
            mark = Some((begin - (token.start - column).min(begin), 1));
        }
        match token.kind {
            Kind::Masked => text.extend(REDACTED.chars()),
            Kind::Comment => {}
            Kind::Key | Kind::Value => text.extend(line[token.start..token.end].iter().map(|c| visible(*c))),
        }
        let width = text.len() - begin;
        if (token.start..token.end).contains(&column) {
            let skipped = if token.kind == Kind::Masked { 0 } else { (column - token.start).min(width) };
            mark = Some((begin + skipped, width - skipped));
        }
        at = token.end;
    }
    text.extend(line[at..].iter().map(|c| visible(*c)));
    let mark = mark.unwrap_or((text.len() - line.len().saturating_sub(column).min(text.len()), 1));
    (text.into_iter().collect::<String>().trim_end().to_owned(), mark)
}

/// One character as wide as it was.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_ascii_graphic() || c == ' ' => c,
        c if c.is_control() || harmless(&c.to_string()).is_empty() => '\u{fffd}',
        c => c,
    }
}

/// The part of a long line that the mark is in.
fn narrowed(text: &str, mark: (usize, usize)) -> (String, (usize, usize)) {
    let length = text.chars().count();
    if length <= WIDEST {
        return (text.to_owned(), (mark.0, mark.1.min(WIDEST)));
    }
    let from = mark.0.saturating_sub(BEFORE).min(length - WIDEST);
    let mut part: String = text.chars().skip(from).take(WIDEST).collect();
    if from > 0 {
        part = format!("…{}", part.chars().skip(1).collect::<String>());
    }
    if from + WIDEST < length {
        part.push('…');
    }
    let column = mark.0 - from;
    (part, (column, mark.1.min(WIDEST - column.min(WIDEST - 1))))
}

#[cfg(test)]
mod tests {
    use super::super::yaml::Source;
    use super::*;

    fn shown(text: &str, line: u32, column: u32) -> String {
        let source = std::sync::Arc::new(Source { file: "x.yaml".to_owned(), text: text.to_owned() });
        let excerpt = Excerpt::at(&Place { source, line, column });
        excerpt.map(|excerpt| excerpt.lines().join("\n")).unwrap_or_default()
    }

    #[test]
    fn the_value_is_marked_in_its_line() {
        assert_eq!(shown("a:\n  build: runer # why\n", 2, 10), "2 |   build: runer\n  |          ^^^^^");
        assert_eq!(shown("a: [x, y z]\r\nb: \"c d\"\r\n", 1, 8), "1 | a: [x, y z]\n  |        ^^^");
        assert_eq!(shown("a: [x, y z]\r\nb: \"c d\"\r\n", 2, 4), "2 | b: \"c d\"\n  |    ^^^^^");
        assert_eq!(shown("a:\n\tb: 1\n", 2, 1), "2 |  b: 1\n  | ^");
        assert_eq!(shown("a", 3, 1), "");
        assert_eq!(shown("a: {b: ${C:-d}, e: f}", 1, 8), "1 | a: {b: ${C:-d}, e: f}\n  |        ^^^^^^^");
    }

    #[test]
    fn long_lines_are_cut_around_the_mark() {
        let line = format!("a: [{}, wrong, {}]", "x, ".repeat(80), "y, ".repeat(80));
        let column = u32::try_from(line.find("wrong").unwrap() + 1).unwrap();
        let text = shown(&line, 1, column);
        let (first, second) = text.split_once('\n').unwrap();
        assert!(first.chars().count() < 120 && first.starts_with("1 | …") && first.ends_with('…'), "{first}");
        let at = second.chars().position(|c| c == '^').unwrap();
        assert_eq!(first.chars().skip(at).take(5).collect::<String>(), "wrong");
    }

    #[test]
    fn nothing_that_could_be_a_secret_is_shown() {
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7";
        for text in [
            "a: {prt: 1, password: MARKER, x: 2}",
            "a: {prt: 1, 'api key': \"MARKER, MARKER\", x: 2}",
            "a: {prt: 1, ssh_key: {env: MARKER, x: [MARKER]}}",
            "prt: 1 # the password is MARKER",
            "prt: postgres://u:MARKER@db/x",
            "prt: curl --token=MARKER https://x",
            "prt: 'Authorization: token: MARKER'",
            "password: &p MARKER MARKER",
            "password: MARKER: {x",
            &format!("prt: {}", long.replace("m3", "MARKER")),
            "prt: ghp_MARKER12345",
        ] {
            let text = shown(text, 1, 1);
            assert!(!text.contains("MARKER") && !text.is_empty(), "{text}");
        }
        for (text, line) in [
            ("secrets:\n- A\n- MARKER x\n", 3),
            ("a:\n  secrets:\n    - A\n    - {name: B, prt: MARKER}\n", 4),
            ("tls_key: |\n  -----BEGIN\n  MARKER\n  MARKER", 3),
            ("password: \"abc\nMARKER\"\n", 2),
            ("a:\n  password: >\n\n    x\n\n    MARKER: x MARKER\n", 6),
            ("ssh_key: {\n  env: MARKER }\n", 2),
        ] {
            let text = shown(text, line, 1);
            let values = text.replace("MARKER: ", "");
            assert!(!values.contains("MARKER"), "{text}");
        }
        let teaches = shown("ssh_key: { env: KEY, pasphrase: { env: ${P} } }", 1, 22);
        assert_eq!(
            teaches,
            "1 | ssh_key: { env: ***, pasphrase: { env: ${P} } }\n  |                      ^^^^^^^^^"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_place_of_every_text_has_an_excerpt_or_none(text in "(?s)[a-z:{}\\[\\]\"'#&$ \t\r\n-]{0,60}\\PC{0,10}", line in 0u32..9, column in 0u32..80) {
            let excerpt = shown(&text, line, column);
            proptest::prop_assert!(!excerpt.contains('\r') && excerpt.lines().count() <= 2);
        }

        #[test]
        fn a_value_of_a_secret_key_is_never_shown(before in "[a-z]{1,5}: [a-z\\[{,]{0,5}", value in "[b-y]{6,9}", after in "[ ,}\\]\"a-z:]{0,9}", column in 1u32..60) {
            let text = format!("{before}, db_password: {value}{after}");
            proptest::prop_assert!(!shown(&text, 1, column).contains(&value) || before.ends_with(&value));
        }
    }
}
