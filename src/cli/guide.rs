//! The deployment guide in the terminal (R000-13): `docs/guide.md`, as it can be read there.

use std::io::Write;

use crate::model::Exit;

const GUIDE: &str = include_str!("../../docs/guide.md");

/// Prints the guide.
pub(super) fn print() -> Exit {
    // A reader that has seen enough (`| head`) is no error.
    std::io::stdout().lock().write_all(readable(GUIDE).as_bytes()).ok();
    Exit::Done
}

/// Markdown without what only a browser needs: headings are capitals, code is indented, tables are columns.
fn readable(page: &str) -> String {
    let mut text = String::new();
    let mut is_code = false;
    for line in page.lines() {
        let shown = match line {
            fence if fence.starts_with("```") => {
                is_code = !is_code;
                continue;
            }
            code if is_code => format!("    {code}"),
            rule if rule.starts_with("|---") => continue,
            row if row.starts_with('|') => row_of(row),
            heading if heading.starts_with('#') => heading.trim_start_matches(['#', ' ']).to_uppercase(),
            words => words.replace('`', ""),
        };
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

fn row_of(row: &str) -> String {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    match cells.as_slice() {
        [first, second, third] => format!("  {first:<6}{second:<48}{third}"),
        cells => format!("  {}", cells.join("  ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_teaches_everything_that_a_first_day_needs_and_shows_no_markdown() {
        let guide = readable(GUIDE);
        for part in ["FIRST DEPLOY", "ROLL BACK", "BACK UP", "RESTORE", "CANCEL", "EXIT CODES"] {
            assert!(guide.lines().any(|line| line.contains(part)), "{part} is not in\n{guide}");
        }
        assert!(!guide.contains(['`', '#']) && !guide.contains("|--"), "{guide}");
        assert!(guide.contains(
            "    ffe-deploy deploy production --host ci@server.example.com --version 1.0.0 --yes\n"
        ));
        for code in 0..=11 {
            assert!(guide.lines().any(|line| line.starts_with(&format!("  {code:<6}"))), "no exit {code}");
        }
    }
}
