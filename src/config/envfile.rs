//! Env files in Compose's dialect: read on the runner, and rendered so that Compose reads back what was meant.
//!
//! Read: comments, `export`, `KEY=value` and `KEY: value`, single quotes (literal, except `\'`), double quotes
//! (`\n \r \t \" \\ \$` and others), both over several lines, bare values trimmed and cut at ` #`; `$NAME` and
//! `${NAME…}` outside single quotes, from earlier lines of the file and the variables given, never from the process.

use std::fmt::Write as _;

use super::interpolate::Vars;

/// One variable of a file and its line, from 1. Has no `Debug`: the value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Line on which it starts, from 1.
    pub line: u32,
}

/// A line that is no variable. Never shows the line itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct EnvFileError {
    /// From 1.
    pub line: u32,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads an env file; `below` are the variables that its references may name besides its own.
///
/// # Errors
/// A line without `=`, a name that is none, a quote that is not closed, text after a closing quote, or
/// `${NAME:?…}` of a variable that is not set.
pub fn parse(text: &str, below: &Vars) -> Result<Vec<Line>, EnvFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: &text, line: 1, known: below.clone() };
    let mut lines = Vec::new();
    while let Some(line) = reader.variable()? {
        reader.known.insert(line.name.clone(), line.value.clone());
        lines.push(line);
    }
    Ok(lines)
}

/// Returns the variables as an env file that Compose (tried: 2.26) reads back as they are.
pub fn render(vars: &Vars) -> String {
    let mut file = String::new();
    for (name, value) in vars {
        let _infallible = write!(file, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => file.push_str("\\\\"),
                '"' => file.push_str("\\\""),
                '$' => file.push_str("\\$"),
                '\n' => file.push_str("\\n"),
                '\r' => file.push_str("\\r"),
                c => file.push(c),
            }
        }
        file.push_str("\"\n");
    }
    file
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
    known: Vars,
}

impl Reader<'_> {
    fn variable(&mut self) -> Result<Option<Line>, EnvFileError> {
        self.skip_blank();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let line = self.line;
        let name = self.name()?;
        self.take_while(|c| matches!(c, ' ' | '\t'));
        let value = match self.rest.chars().next() {
            Some('\'') => self.single_quoted()?,
            Some('"') => self.double_quoted()?,
            _ => self.bare()?,
        };
        Ok(Some(Line { name, value, line }))
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn name(&mut self) -> Result<String, EnvFileError> {
        if let Some(rest) = self.rest.strip_prefix("export")
            && rest.starts_with([' ', '\t'])
        {
            self.rest = rest.trim_start_matches([' ', '\t']);
        }
        let name = self.take_while(|c| !matches!(c, '=' | ':' | '\n')).trim_end().to_owned();
        if !self.rest.starts_with(['=', ':']) {
            return Err(self.wrong("there is no `=`; write NAME=value"));
        }
        self.rest = &self.rest[1..];
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if is_name {
            Ok(name)
        } else {
            Err(self.wrong("what stands before `=` is not the name of a variable"))
        }
    }

    fn single_quoted(&mut self) -> Result<String, EnvFileError> {
        let raw = self.quoted('\'')?;
        Ok(raw.replace("\\'", "'"))
    }

    fn double_quoted(&mut self) -> Result<String, EnvFileError> {
        let raw = self.quoted('"')?;
        self.expand(&raw, Escapes::Known)
    }

    fn bare(&mut self) -> Result<String, EnvFileError> {
        let raw = self.take_while(|c| c != '\n').to_owned();
        let end = raw
            .char_indices()
            .find(|(at, c)| *c == '#' && (*at == 0 || raw[..*at].ends_with([' ', '\t'])))
            .map_or(raw.len(), |(at, _)| at);
        self.expand(raw[..end].trim(), Escapes::None)
    }

    /// The text up to the closing quote, escapes untouched. Nothing but a comment may follow on that line.
    fn quoted(&mut self, quote: char) -> Result<String, EnvFileError> {
        let start = self.line;
        let body = &self.rest[1..];
        let mut escaped = false;
        let end = body.char_indices().find(|(_, c)| {
            let closes = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((end, _)) = end else {
            return Err(EnvFileError { line: start, what: "the quote is not closed" });
        };
        let raw = body[..end].to_owned();
        self.line += u32::try_from(raw.matches('\n').count()).unwrap_or(u32::MAX);
        self.rest = &body[end + 1..];
        let after = self.take_while(|c| c != '\n').trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(self.wrong("there is text after the closing quote"));
        }
        Ok(raw)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.line += u32::try_from(taken.matches('\n').count()).unwrap_or(u32::MAX);
        self.rest = rest;
        taken
    }

    fn wrong(&self, what: &'static str) -> EnvFileError {
        EnvFileError { line: self.line, what }
    }

    fn expand(&self, raw: &str, escapes: Escapes) -> Result<String, EnvFileError> {
        let mut value = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\\' if escapes == Escapes::Known => rest = unescape(rest, &mut value),
                '\\' if rest.starts_with('$') => {
                    value.push('$');
                    rest = &rest[1..];
                }
                '$' => rest = self.reference(rest, &mut value)?,
                c => value.push(c),
            }
        }
        Ok(value)
    }

    /// Reads what follows a `$`, and returns what follows that.
    fn reference<'t>(&self, rest: &'t str, value: &mut String) -> Result<&'t str, EnvFileError> {
        if let Some(rest) = rest.strip_prefix('$') {
            value.push('$');
            return Ok(rest);
        }
        if let Some(inner) = rest.strip_prefix('{') {
            let Some(end) = closing_brace(inner) else { return Err(self.wrong("a `${` is not closed")) };
            value.push_str(&self.braced(&inner[..end])?);
            return Ok(&inner[end + 1..]);
        }
        let end = name_end(rest);
        if end == 0 {
            value.push('$');
        } else {
            value.push_str(self.known.get(&rest[..end]).map_or("", String::as_str));
        }
        Ok(&rest[end..])
    }

    /// `NAME`, `NAME:-other`, `NAME-other`, `NAME:+other`, `NAME+other`, `NAME:?words`, `NAME?words`.
    fn braced(&self, inner: &str) -> Result<String, EnvFileError> {
        let (name, rest) = inner.split_at(name_end(inner));
        let (strict, rule) = match rest.strip_prefix(':') {
            Some(rule) => (true, rule),
            None => (false, rest),
        };
        let known = self.known.get(name).filter(|value| !(strict && value.is_empty()));
        let other = |text: &str| self.expand(text, Escapes::None);
        match (rule.chars().next(), known) {
            (None, _) if !strict && !name.is_empty() => Ok(known.cloned().unwrap_or_default()),
            (Some('-' | '?'), Some(value)) => Ok(value.clone()),
            (Some('-'), None) => other(&rule[1..]),
            (Some('+'), Some(_)) => other(&rule[1..]),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => Err(self.wrong("a variable that it requires is not set")),
            _ => Err(self.wrong("what stands in `${}` is not the name of a variable")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Known,
    None,
}

/// Reads what follows a backslash in double quotes; an unknown escape stays as it is.
fn unescape<'t>(rest: &'t str, value: &mut String) -> &'t str {
    let Some(c) = rest.chars().next() else {
        value.push('\\');
        return rest;
    };
    match c {
        'n' => value.push('\n'),
        'r' => value.push('\r'),
        't' => value.push('\t'),
        '"' | '\\' | '$' | '\'' => value.push(c),
        c => value.extend(['\\', c]),
    }
    &rest[c.len_utf8()..]
}

fn name_end(text: &str) -> usize {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if starts { end } else { 0 }
}

/// The `}` that closes, references inside counted.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vars {
        parse(text, &Vars::new()).unwrap().into_iter().map(|line| (line.name, line.value)).collect()
    }

    #[test]
    fn composes_dialect_is_read() {
        let text = "# note\nexport A=1\nB = two words  # note\nC='lit $A \"x\"'\nD=\"q\\n\\\"\\$A\\\\\"\n\
                    E=\"${A}-${Z:-z}\"\nF=\nG=\"one\ntwo\"\nH=a#b\nI: yaml\n  J=$A\nK='it\\'s'\nL=$$x\r\nM=${A:+yes}";
        let vars = read(text);
        let wanted = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "lit $A \"x\""),
            ("D", "q\n\"$A\\"),
            ("E", "1-z"),
            ("F", ""),
            ("G", "one\ntwo"),
            ("H", "a#b"),
            ("I", "yaml"),
            ("J", "1"),
            ("K", "it's"),
            ("L", "$x"),
            ("M", "yes"),
        ];
        for (name, value) in wanted {
            assert_eq!(vars[name], value, "{name}");
        }
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        for (text, line) in
            [("A=1\nhunter2\n", 2), ("A=\"hunter2\n", 1), ("\n\n1A=hunter2", 3), ("A='x' hunter2", 1)]
        {
            let error = parse(text, &Vars::new()).err().unwrap();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read_back(value in "[\\PC\n\r\t'\"\\\\$#{}= é🦀]{0,40}") {
            let vars = Vars::from([("A".to_owned(), value.clone()), ("B".to_owned(), "b".to_owned())]);
            prop_assert_eq!(read(&render(&vars)), vars);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[A-C='\"\\\\${}:?+\n #-]{0,60}") {
            let _unused = parse(&text, &Vars::new());
        }
    }
}
