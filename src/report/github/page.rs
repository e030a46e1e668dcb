//! A page of Markdown that knows how long it may become, and says where it was cut.

use crate::text::markdown_fence;

/// Room that is kept for the words about the cut, and for what is added after the end.
const KEPT_BACK: usize = 8 * 1024;
/// Longest part of the page, in bytes: one endless log must not push everything below it off the page.
const LONGEST_PART: usize = 128 * 1024;

/// The page in the making.
pub(super) struct Page {
    text: String,
    room: usize,
    is_cut: bool,
}

impl Page {
    /// Returns an empty page of at most `room` bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { text: String::new(), room: room.saturating_sub(KEPT_BACK), is_cut: false }
    }

    /// Adds a part, which ends with a line break; an empty one is nothing. One that does not fit is left out, and so is
    /// what follows it.
    pub(super) fn add(&mut self, part: &str) {
        if part.is_empty() || self.is_cut {
            return;
        }
        if self.text.len() + part.len() + 1 > self.room {
            self.is_cut = true;
            return;
        }
        self.text.push_str(part);
        self.text.push('\n');
    }

    /// Returns the page, with a word about what was left out.
    pub(super) fn end(mut self) -> String {
        if self.is_cut {
            self.text.push_str("_The rest was left out, because a summary may not be longer. The event log has everything._\n\n");
        }
        self.text
    }
}

/// Returns a table below its headings; nothing without rows. Cells must be Markdown that is safe in a table. Rows that
/// would make it too long are counted below it.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut text = format!("| {} |\n|{}\n", headings.join(" | "), " --- |".repeat(N));
    let empty = text.len();
    let mut left_out = 0;
    for row in rows {
        let line = format!("| {} |\n", row.join(" | "));
        if text.len() + line.len() > LONGEST_PART {
            left_out += 1;
        } else {
            text.push_str(&line);
        }
    }
    match (text.len() == empty, left_out) {
        (true, 0) => String::new(),
        (_, 0) => text,
        (_, more) => format!("{text}\n_{more} more are in the event log._\n"),
    }
}

/// Returns foreign lines in a fence, and of too many the last ones.
pub(super) fn last_lines(lines: &[String]) -> String {
    let mut kept = lines.len();
    let mut size = 0;
    for line in lines.iter().rev() {
        size += line.len() + 1;
        if size > LONGEST_PART {
            break;
        }
        kept -= 1;
    }
    let left_out = match kept {
        0 => String::new(),
        first => format!("_The first {first} of them are in the event log._\n\n"),
    };
    format!("{left_out}{}", markdown_fence("text", lines[kept..].iter().map(String::as_str)))
}

/// Returns a part that is folded away below its words.
pub(super) fn folded(words: &str, part: &str) -> String {
    if part.is_empty() {
        String::new()
    } else {
        format!("<details><summary>{words}</summary>\n\n{part}\n</details>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_full_says_so_and_stays_below_its_size() {
        let mut page = Page::new(20_000);
        for number in 0..5 {
            page.add(&format!("{number} {}\n", "x".repeat(5_000)));
        }
        let text = page.end();
        assert!(text.len() < 20_000 && text.contains("1 xxx") && !text.contains("3 xxx"));
        assert!(text.contains("was left out"));
    }

    #[test]
    fn endless_tables_and_logs_are_cut_and_counted() {
        assert_eq!(table(["a"], []), "");
        assert_eq!(table(["a", "b"], [["1".into(), "2".into()]]), "| a | b |\n| --- | --- |\n| 1 | 2 |\n");
        let long = table(["a"], (0..100).map(|_| ["x".repeat(10_000)]));
        assert!(
            long.len() < LONGEST_PART + 100 && long.contains("_87 more are"),
            "{}",
            &long[long.len() - 60..]
        );
        let lines: Vec<String> = (0..100).map(|number| format!("{number}{}", "x".repeat(10_000))).collect();
        let shown = last_lines(&lines);
        assert!(
            shown.len() < LONGEST_PART + 100 && shown.contains("\n99x") && shown.contains("_The first 87 of")
        );
    }
}
