//! Foreign text made harmless, and secrets redacted: used by both halves, before a byte leaves them.
//!
//! Enter by [`harmless`] for what a container, a tool or a remote machine said, by [`Redactor`] for secrets, and
//! keep values in [`Secret`]; [`rotating`] is where text is kept for people to read later. Knows nothing of events or reporters.

use std::borrow::Cow;
use std::fmt;

use zeroize::Zeroize;

mod finder;
mod forms;
mod markdown;
mod redact;
pub mod rotating;
mod shell;
mod workflow;

pub use forms::password_in;
#[cfg(test)]
pub(crate) use markdown::tests::nasty as nasty_markdown;
pub use markdown::{markdown_code, markdown_fence, markdown_lines, markdown_link, markdown_text};
pub use redact::{CUT, REDACTED, Redactor, SHORTEST_SECRET};
pub use shell::shell_word;
pub use workflow::{command_data, command_property};

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

/// Returns at most `longest` characters, at least one, the last of them [`CUT`] where there were more: [`Redactor`] then finds a secret that
/// the cut went through.
pub fn shortened(text: &str, longest: usize) -> String {
    if text.char_indices().nth(longest).is_none() {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain([CUT]).collect()
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
/// A carriage return ends a line, too.
fn skip_string(rest: &mut Rest<'_>) {
    while let Some(c) = rest.next_if(|c| !matches!(c, '\n' | '\r')) {
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

/// Breaks what GitHub's runner obeys: `##[` anywhere, `::` as the first thing of a line after white space (Unicode's,
/// which is what both `trim_start` and the runner's `TrimStart` take away). The runner's search may ignore U+200B, as
/// collation does, but it then counts characters: the word it reads starts with `[` or `:`, and is no command.
fn break_commands(line: &mut String) {
    while line.contains("##[") {
        *line = line.replace("##[", "##\u{200b}[");
    }
    let indent = line.len() - line.trim_start().len();
    if line[indent..].starts_with("::") {
        line.insert(indent + 1, '\u{200b}');
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the runner does with a line (actions/runner, `ActionCommand`), ordinal or ignoring U+200B.
    fn runner_obeys(line: &str) -> bool {
        let chars: Vec<char> = line.chars().collect();
        let old = chars.windows(3).any(|three| three == ['#', '#', '[']);
        old || line.trim_start().starts_with("::")
    }

    #[test]
    fn workflow_commands_are_broken_but_readable() {
        for (said, shown) in [
            ("::add-mask::x", ":\u{200b}:add-mask::x"),
            ("  \u{3000}\t::error::x", "  \u{3000} :\u{200b}:error::x"),
            ("a ##[error]b", "a ##\u{200b}[error]b"),
            ("###[[##[", "###\u{200b}[[##\u{200b}["),
            ("ok std::fmt", "ok std::fmt"),
        ] {
            assert_eq!(harmless(said), shown);
        }
    }

    #[test]
    fn what_is_taken_out_cannot_join_the_rest_to_a_command() {
        for said in
            ["#\u{1b}[0m#[error]x", "##\u{7}[error]", ":\u{202e}:error::x", "\u{1b}]0;t\u{7}::error::x"]
        {
            assert!(!runner_obeys(&harmless(said)), "{said:?}");
        }
    }

    #[test]
    fn escape_sequences_go_and_the_text_around_them_stays() {
        for (said, shown) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}(Bx", "x"),
            ("\u{1b}Pq unended", ""),
            ("50%\r100%", "50% 100%"),
            ("\u{1b}]0;unended\rseen", " seen"),
            ("user\u{202e}gpj.exe", "usergpj.exe"),
        ] {
            assert_eq!(harmless(said), shown, "{said:?}");
        }
    }

    #[test]
    fn an_unended_sequence_takes_its_line_and_no_more() {
        assert_eq!(harmless_lines("one\u{1b}]0;x\ntwo\r\n::three"), "one\ntwo\n:\u{200b}:three");
    }

    #[test]
    fn a_secret_shows_itself_to_nobody_but_its_user() {
        let secret = Secret::new("hunter22");
        assert_eq!((format!("{secret:?}").as_str(), secret.reveal()), (REDACTED, "hunter22"));
    }

    /// What this process has in its memory at a place.
    pub(crate) fn memory_at(place: *const u8, length: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; length];
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut bytes, place.addr() as u64).unwrap();
        bytes
    }

    #[test]
    fn a_secret_is_wiped_when_it_goes() {
        let secret = Secret::new("canary-".repeat(20));
        let (place, length) = (secret.reveal().as_ptr(), secret.reveal().len());
        assert!(memory_at(place, length).ends_with(b"canary-"));
        drop(secret);
        // Others may have taken the room meanwhile.
        assert!(!memory_at(place, length).ends_with(b"canary-"));
    }

    #[test]
    fn variables_and_passwords_of_a_job_are_wiped_with_it() {
        let canary = || "canary-".repeat(20);
        let mut variables = crate::model::Variables::default();
        variables.below_host.insert("A".to_owned(), canary());
        variables.above_host.insert("B".to_owned(), canary());
        variables.env_files.insert(".env".to_owned(), canary());
        let (server, username) = ("ghcr.io".to_owned(), "ci".to_owned());
        let login = crate::model::RegistryLogin { server, username, password: canary() };
        let layers = [&variables.below_host, &variables.above_host, &variables.env_files];
        let values = layers.into_iter().flat_map(|layer| layer.values()).chain([&login.password]);
        let places: Vec<(*const u8, usize)> = values.map(|value| (value.as_ptr(), value.len())).collect();
        drop((variables, login));
        for (place, length) in places {
            assert!(!memory_at(place, length).ends_with(b"canary-"));
        }
    }

    /// Text in which the dangerous characters are frequent.
    fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("##[".to_owned()),
            Just("#".to_owned()),
            Just("[".to_owned()),
            Just("::".to_owned()),
            Just(":".to_owned()),
            Just("\u{1b}".to_owned()),
            Just("\u{1b}]".to_owned()),
            Just("\u{9b}".to_owned()),
            Just("\u{200b}".to_owned()),
            Just("\r\n".to_owned()),
            Just("\u{2028}".to_owned()),
            "(?s).{0,3}",
            "[ \t\u{a0}]{0,2}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn harmless_text_can_do_nothing(said in nasty()) {
            let shown = harmless(&said);
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            prop_assert!(!runner_obeys(&shown), "{shown:?}");
            prop_assert_eq!(harmless(&shown), shown.clone());
            for line in harmless_lines(&said).lines() {
                prop_assert!(!runner_obeys(line) && !line.chars().any(char::is_control), "{line:?}");
            }
        }

        #[test]
        fn harmless_json_says_the_same_and_hides_commands(said in nasty()) {
            let line = serde_json::Value::from(said.as_str()).to_string();
            let shown = harmless_json(&line);
            prop_assert!(!runner_obeys(&shown));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), said);
        }
    }
}
