//! A Dockerfile's text as instructions: parser directives, comments, continued lines and heredocs taken care of.

use super::words;

/// One instruction on its logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Line on which it begins, from 1.
    pub(super) line: u32,
    /// Its first word in upper case.
    pub(super) keyword: String,
    /// What stands behind that word, continued lines joined.
    pub(super) rest: String,
}

impl Instruction {
    /// Reads an instruction that stands on one logical line.
    pub(super) fn of(text: &str, line: u32) -> Self {
        let text = text.trim();
        let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Self { line, keyword: keyword.to_ascii_uppercase(), rest: rest.trim().to_owned() }
    }

    /// Returns the instruction that `ONBUILD` keeps for later.
    pub(super) fn kept_for_later(&self) -> Option<Self> {
        (self.keyword == "ONBUILD").then(|| Self::of(&self.rest, self.line))
    }

    /// Whether its words may announce heredocs.
    fn takes_heredocs(&self) -> bool {
        let inner = self.kept_for_later();
        let keyword = inner.as_ref().map_or(&self.keyword, |inner| &inner.keyword);
        matches!(keyword.as_str(), "RUN" | "COPY" | "ADD")
    }
}

/// Returns the instructions in order, and the character that continues a line (`# escape=`).
pub(super) fn read(text: &str) -> (Vec<Instruction>, char) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape(text);
    let mut lines = text.lines().zip(1..);
    let mut instructions = Vec::new();
    while let Some((first, number)) = lines.next() {
        if is_comment(first) || first.trim().is_empty() {
            continue;
        }
        let mut whole = String::new();
        let mut is_continued = take(&mut whole, first, escape);
        while is_continued {
            let Some((next, _)) = lines.next() else { break };
            // Comments and empty lines between continued ones are passed over, and continue nothing themselves.
            if !is_comment(next) && !next.trim().is_empty() {
                is_continued = take(&mut whole, next, escape);
            }
        }
        let instruction = Instruction::of(&whole, number);
        if instruction.takes_heredocs() {
            for heredoc in words::split(&instruction.rest, escape).iter().filter_map(|word| Heredoc::of(word))
            {
                lines.by_ref().find(|(line, _)| heredoc.ends_with(line));
            }
        }
        instructions.push(instruction);
    }
    (instructions, escape)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Appends a line, and returns whether the next one belongs to it.
fn take(whole: &mut String, line: &str, escape: char) -> bool {
    let line = line.trim_end();
    whole.push_str(line.strip_suffix(escape).unwrap_or(line));
    line.ends_with(escape)
}

/// Parser directives stand before everything else, other comments included.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let directive = line.trim().strip_prefix('#').and_then(|comment| comment.split_once('='));
        match directive.map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim())) {
            Some((key, "`")) if key == "escape" => return '`',
            Some((key, _)) if matches!(key.as_str(), "syntax" | "check") => {}
            _ => return '\\',
        }
    }
    '\\'
}

/// Lines of an instruction's own, up to a word.
struct Heredoc {
    word: String,
    is_indented: bool,
}

impl Heredoc {
    fn of(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (is_indented, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        let word = rest.trim_matches(['"', '\'']);
        let is_word = !word.is_empty() && !word.contains('<');
        is_word.then(|| Self { word: word.to_owned(), is_indented })
    }

    fn ends_with(&self, line: &str) -> bool {
        let line = if self.is_indented { line.trim_start_matches('\t') } else { line };
        line == self.word
    }
}
