//! Foreign text inside of GitHub's Markdown, where it must show itself and do nothing: no tables, links, images,
//! mentions, HTML, formulas, and no end of the table or the fence that it stands in.
//!
//! None of it may stand at the beginning of a line, where blocks begin: write something of ours before it.

use super::harmless;

/// What keeps a mention, a reference or a link from being one; it shows nothing.
const BREAK: char = '\u{200b}';

/// Returns foreign prose in one line, for a paragraph or the cell of a table. What stands between backticks is shown as
/// code.
pub fn markdown_text(text: &str) -> String {
    let text = harmless(text);
    let parts: Vec<&str> = text.split('`').collect();
    let mut shown = String::new();
    for (at, part) in parts.iter().enumerate() {
        let is_between = at % 2 == 1;
        let is_closed = at + 1 < parts.len();
        match (is_between, is_closed) {
            (true, true) if !part.is_empty() => shown.push_str(&markdown_code(part)),
            (true, true) => shown.push_str("\\`\\`"),
            (true, false) => shown.push_str(&format!("\\`{}", prose(part))),
            (false, _) => shown.push_str(&prose(part)),
        }
    }
    shown
}

/// As [`markdown_text`], for text of several lines.
pub fn markdown_lines(text: &str) -> String {
    text.lines().map(markdown_text).collect::<Vec<_>>().join("<br>")
}

/// Returns foreign text as code in one line, for a paragraph or the cell of a table; nothing for nothing.
pub fn markdown_code(text: &str) -> String {
    let text = harmless(text);
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    if !text.contains(['`', '|', '\\']) {
        return format!("`{text}`");
    }
    let encoded: String = text.chars().map(as_entity).collect();
    format!("<code>{encoded}</code>")
}

/// Returns foreign lines as a block of code whose fence is longer than any run of backticks in it.
pub fn markdown_fence<'a>(language: &str, lines: impl IntoIterator<Item = &'a str>) -> String {
    let lines: Vec<String> = lines.into_iter().map(harmless).collect();
    let longest = lines.iter().map(|line| longest_run(line, '`')).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{fence}{language}\n{body}{fence}\n")
}

/// Returns an address as a link, or as code when it is not one that can be only that.
pub fn markdown_link(address: &str) -> String {
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    let is_plain = |c: char| c.is_ascii_graphic() && !"<>\"'`|\\()[]{}".contains(c);
    if is_web && address.chars().all(is_plain) { format!("<{address}>") } else { markdown_code(address) }
}

fn prose(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // A backslash before it is not enough for formulas.
            '$' => shown.push_str("&#36;"),
            '\\' | '*' | '_' | '~' | '[' | ']' | '|' => shown.extend(['\\', c]),
            '@' | '#' => shown.extend([c, BREAK]),
            ':' if next == Some('/') => shown.extend([c, BREAK]),
            '.' if shown.ends_with("www") || shown.ends_with("WWW") => shown.extend([BREAK, c]),
            c => shown.push(c),
        }
    }
    shown
}

fn as_entity(c: char) -> String {
    let is_plain = !c.is_ascii_punctuation() || matches!(c, '-' | '.' | '/' | ',');
    if is_plain { c.to_string() } else { format!("&#{};", u32::from(c)) }
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;

    fn events(page: &str) -> Vec<Event<'_>> {
        Parser::new_ext(page, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_MATH)
            .collect()
    }

    /// What a reader sees, `<code>` and `<br>` of ours left out; or what it has that it must not have.
    fn seen(page: &str) -> Result<String, String> {
        let mut text = String::new();
        for event in events(page) {
            match event {
                Event::Text(said) | Event::Code(said) => text.push_str(&said),
                Event::InlineHtml(tag) if matches!(&*tag, "<code>" | "</code>" | "<br>") => {}
                Event::Start(
                    Tag::Paragraph | Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell,
                )
                | Event::End(_) => {}
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(text)
    }

    #[test]
    fn words_between_backticks_are_code_and_the_rest_is_prose() {
        for (said, written) in [
            ("`backend` is *not* well", "`backend` is \\*not\\* well"),
            ("an odd ` one", "an odd \\` one"),
            ("`` empty", "\\`\\` empty"),
            ("`a|b`", "<code>a&#124;b</code>"),
            (
                "ask @ada in #7 at https://x.example",
                "ask @\u{200b}ada in #\u{200b}7 at https:\u{200b}//x.example",
            ),
            ("<img src=x> &amp; $x$", "&lt;img src=x&gt; &amp;amp; &#36;x&#36;"),
            ("[a](b) ![c](d)", "\\[a\\](b) !\\[c\\](d)"),
        ] {
            assert_eq!(markdown_text(said), written);
        }
    }

    #[test]
    fn a_fence_is_longer_than_any_in_it() {
        let block = markdown_fence("text", ["```", "````` x", "end"]);
        assert_eq!(block, "``````text\n```\n````` x\nend\n``````\n");
        assert_eq!(markdown_fence("sh", ["x"]), "```sh\nx\n```\n");
    }

    #[test]
    fn an_address_is_a_link_only_when_it_is_plainly_one() {
        assert_eq!(markdown_link("https://shop.example.com/a?b=1"), "<https://shop.example.com/a?b=1>");
        for odd in ["javascript:alert(1)", "https://a b", "https://a>b", "https://a|b", "ftp://x"] {
            assert!(!markdown_link(odd).starts_with("<http"), "{odd}");
        }
    }

    /// Text in which what Markdown obeys is frequent.
    pub(crate) fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "`",
                "``",
                "```",
                "|",
                "\\",
                "*",
                "_",
                "~~",
                "[",
                "](",
                ")",
                "![",
                "<",
                ">",
                "<details>",
                "</td>",
                "<!--",
                "-->",
                "<script>",
                "&",
                "&#64;",
                "@ada",
                "#1",
                "$",
                "$$",
                "https://x.y/",
                "www.x.y",
                "\n",
                "\n\n",
                "\r",
                "| --- |",
                "---",
                "    ",
                "- ",
                "1. ",
                "> ",
                "# ",
                "=",
                ":",
                "{",
                "}",
            ])
            .prop_map(str::to_owned),
            "(?s).{0,2}",
            "[a-z ]{0,3}",
        ];
        prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_is_markup(said in nasty(), other in nasty()) {
            let lines = format!("x {}\n", markdown_lines(&said));
            prop_assert!(seen(&lines).is_ok(), "{:?} of {lines:?}", seen(&lines));
            let code = format!("x {} y\n", markdown_code(&said));
            prop_assert!(seen(&code).is_ok(), "{:?} of {code:?}", seen(&code));
            let row = format!(
                "| a | b |\n| --- | --- |\n| {} | {} |\n| x | y |\n", markdown_text(&said), markdown_code(&other)
            );
            prop_assert!(seen(&row).is_ok(), "{:?} of {row:?}", seen(&row));
            let cells = events(&row).iter().filter(|event| matches!(event, Event::Start(Tag::TableCell))).count();
            prop_assert_eq!(cells, 6, "{:?}", row);
        }

        #[test]
        fn a_table_shows_what_was_said(said in nasty()) {
            let said = harmless(&said);
            let row = format!("| a |\n| --- |\n| x{}x |\n", markdown_text(&said));
            let shown = seen(&row).unwrap().replace(BREAK, "");
            // Backticks of pairs became the code that they mean, and code has no spaces at its ends.
            let bare = |text: &str| text.replace(BREAK, "").replace(['`', ' '], "");
            prop_assert_eq!(bare(&shown), bare(&format!("ax{said}x")));
        }

        #[test]
        fn a_fence_holds_every_line(said in prop::collection::vec(nasty(), 0..6)) {
            let block = markdown_fence("text", said.iter().map(String::as_str));
            let events = events(&block);
            let ends = events.iter().filter(|event| matches!(event, Event::End(_))).count();
            prop_assert_eq!(ends, 1, "{:?}", block);
        }
    }
}
