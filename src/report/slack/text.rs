//! Text of others in a message of Slack: no mention, no link, never longer than Slack takes.

use crate::text::harmless;

/// What stands where text was cut.
const CUT: char = '…';
/// Words that wake a whole channel after `@`.
const LOUD: [&str; 3] = ["here", "channel", "everyone"];

/// Returns text of several lines as [`literal`] does, those after the first set in, so that none can pass for a heading
/// of ours.
pub(super) fn literal_lines(text: &str, longest: usize) -> String {
    let lines: Vec<String> = text.lines().map(harmless).collect();
    escaped(&lines.join("\n      "), longest)
}

/// Returns text in one line as Slack shows it literally, at most `longest` UTF-16 units long, never empty: an empty text is refused
/// with the whole message. `& < >` are escaped, which is all that mentions and links are made of; a bare `@here`,
/// which old clients take for one, is broken by U+200B.
pub(super) fn literal(text: &str, longest: usize) -> String {
    escaped(&harmless(text), longest)
}

fn escaped(text: &str, longest: usize) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut used = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let piece = match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '@' if is_loud(rest) => "@\u{200b}".to_owned(),
            c => c.to_string(),
        };
        let length = piece.encode_utf16().count();
        // The last unit is kept for the mark of a cut.
        if used + length > longest.saturating_sub(usize::from(!rest.is_empty())) {
            shown.push(CUT);
            break;
        }
        used += length;
        shown.push_str(&piece);
    }
    if shown.trim().is_empty() { "-".to_owned() } else { shown }
}

fn is_loud(after: &str) -> bool {
    let start: String = after.chars().take(8).collect::<String>().to_lowercase();
    LOUD.iter().any(|word| start.starts_with(word))
}

/// Returns a link, when the address is one that Slack cannot take for anything else.
pub(super) fn link(address: &str, words: &str) -> Option<String> {
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '|' | '"' | '\\' | '^' | '`');
    let fits = address.len() <= 2000;
    (is_web && fits && address.chars().all(is_plain))
        .then(|| format!("<{}|{words}>", address.replace('&', "&amp;")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_and_links_are_shown_and_do_nothing() {
        let shown = literal("<!channel> <@U1> <http://x|y> a & b @here @Channel ops@hereford.example", 500);
        assert_eq!(
            shown,
            "&lt;!channel&gt; &lt;@U1&gt; &lt;http://x|y&gt; a &amp; b @\u{200b}here @\u{200b}Channel ops@\u{200b}hereford.example"
        );
    }

    #[test]
    fn a_cut_is_marked_and_never_goes_through_an_escape_or_a_character() {
        assert_eq!(literal("abcdef", 6), "abcdef");
        assert_eq!(literal("abcdefg", 6), "abcde…");
        assert_eq!(literal("a<b", 5), "a…");
        assert_eq!(literal("a<", 5), "a&lt;");
        assert_eq!(literal("😀😀😀", 5), "😀😀…");
        assert_eq!(literal(" ", 5), "-");
        for longest in 1..40 {
            assert!(literal("a&<>@here😀&&&&&", longest).encode_utf16().count() <= longest, "{longest}");
        }
    }

    #[test]
    fn only_an_address_of_the_web_becomes_a_link() {
        let run = link("https://github.com/acme/shop/actions/runs/42?a=1&b=2", "the run").unwrap();
        assert_eq!(run, "<https://github.com/acme/shop/actions/runs/42?a=1&amp;b=2|the run>");
        for bad in ["javascript:x", "https://x/>|<!channel", "https://x/ y", "https://x/|y", "", "!channel"] {
            assert_eq!(link(bad, "the run"), None, "{bad}");
        }
    }
}
