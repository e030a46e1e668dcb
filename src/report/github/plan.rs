//! A plan in a summary: services in a table, everything long folded away.

use super::page::{folded, table};
use crate::event::{Plan, PlannedFile};
use crate::report::{plan_words, words};
use crate::text::{markdown_code, markdown_fence, markdown_text};

/// The plan: nothing was applied.
pub(super) fn plan(plan: &Plan) -> String {
    let services = plan_words::services(plan).into_iter().filter_map(cells);
    let images = plan_words::images(plan).into_iter().filter_map(cells);
    let checks = plan_words::checks(plan);
    let (asked, hooks) = (words::count(checks.len(), "check"), plan_words::hooks(plan));
    let run = words::count(hooks.len(), "program");
    let (checks, hooks) = (checks.into_iter().filter_map(cells), hooks.into_iter().filter_map(cells));
    let backup =
        plan.changes.then(|| format!("**Backup:** {}\n", markdown_text(&plan_words::backup(&plan.backup))));
    let parts = [
        table(["Service", "Would be", "Because of"], services),
        table(["Image", "Would be", "Size", "For"], images),
        files(plan),
        backup.unwrap_or_default(),
        folded(&asked, &table(["Check", "Would ask"], checks)),
        folded(&format!("{run} of tests and hooks"), &table(["Hook", "When", "Where", "Would run"], hooks)),
        plan.notes.iter().map(|note| format!("⚠️ {}\n", markdown_text(note))).collect(),
    ];
    let parts: Vec<&String> = parts.iter().filter(|part| !part.is_empty()).collect();
    parts.iter().fold("### What a deploy would change\n".to_owned(), |text, part| format!("{text}\n{part}"))
}

/// The first cell is a name, the others are words.
fn cells<const N: usize>(row: Vec<String>) -> Option<[String; N]> {
    let cell = |(at, cell): (usize, &String)| match at {
        0 => markdown_code(cell),
        _ => markdown_text(cell),
    };
    let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
    cells.try_into().ok()
}

fn files(plan: &Plan) -> String {
    let rows = plan_words::files(plan);
    if rows.is_empty() {
        return String::new();
    }
    let counts = [
        (plan.files.added_count, "added"),
        (plan.files.changed_count, "changed"),
        (plan.files.removed_count, "deleted"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let count = |count: u64| words::count(usize::try_from(count).unwrap_or(usize::MAX), "file");
    let counts: Vec<String> = counts.map(|(number, word)| format!("{} {word}", count(number))).collect();
    let list = folded(&counts.join(", "), &table(["File", "Would be"], rows.into_iter().filter_map(cells)));
    let diffs: Vec<String> = plan.files.changed.iter().filter_map(diff).collect();
    let title = format!("Differences of {}", words::count(diffs.len(), "file"));
    format!("{list}\n{}", folded(&title, &diffs.join("\n")))
}

fn diff(file: &PlannedFile) -> Option<String> {
    let lines = file.diff.as_deref()?.lines();
    Some(format!("{}\n\n{}", markdown_code(&file.path), markdown_fence("diff", lines)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::examples;

    #[test]
    fn services_stand_in_a_table_and_differences_are_folded() {
        let page = plan(&examples::plan());
        for part in [
            "### What a deploy would change\n",
            "| `backend` | recreated | image ",
            "| `db` | unchanged |  |",
            "| pulled | up to 52.3 MB | backend |",
            "<details><summary>1 file added, 1 file changed</summary>",
            "<details><summary>Differences of 1 file</summary>\n\n`config/shop.yaml`\n\n```diff\n@@ -1 +1 @@\n-listen: 8000\n+listen: 8080\n```",
            "**Backup:** data, volume db",
            "<details><summary>2 checks</summary>",
            "<summary>2 programs of tests and hooks</summary>",
            "| `migrate` | pre\\_deploy | service backend | ./manage.py migrate, at most 5 min 00 s |",
            "⚠️ deploy",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        let nothing = plan(&Plan::default());
        assert!(!nothing.contains("<details>") && !nothing.contains('|'), "{nothing}");
    }
}
