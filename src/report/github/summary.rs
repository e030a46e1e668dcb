//! The job summary: the whole run on one page, written when it is over, and lines below it for what comes after.

use std::path::PathBuf;

use super::page::Page;
use super::{append, facts};
use crate::event::{DeploymentResult, Event};
use crate::report::{Muted, Notified, ReportError, Reporter, Story, summary};
use crate::text::markdown_text;

/// Largest summary of a step that GitHub takes, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Adds the page to the file behind `GITHUB_STEP_SUMMARY`.
pub struct Summary {
    path: PathBuf,
    is_written: bool,
}

impl Summary {
    /// Returns the reporter that writes to this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_written: false }
    }

    /// Bytes that may still be added: a step may have written before.
    fn room(&self) -> usize {
        let length = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        LARGEST.saturating_sub(usize::try_from(length).unwrap_or(LARGEST))
    }

    fn add_line(&self, line: &str) -> Result<(), ReportError> {
        let line = format!("⚠️ {}\n\n", markdown_text(line));
        if line.len() < self.room() { append(&self.path, &line) } else { Ok(()) }
    }
}

impl Reporter for Summary {
    fn name(&self) -> &'static str {
        "job summary"
    }

    fn on_event(&mut self, _event: &Event) -> Result<(), ReportError> {
        Ok(())
    }

    fn on_end(&mut self, story: &Story) -> Result<(), ReportError> {
        self.is_written = true;
        append(&self.path, &page(story, self.room()))
    }

    fn on_muted(&mut self, muted: &Muted) -> Result<(), ReportError> {
        if self.is_written { self.add_line(&without(muted)) } else { Ok(()) }
    }

    fn on_notified(&mut self, notified: &Notified) -> Result<(), ReportError> {
        match summary::not_told(notified) {
            Some(line) => self.add_line(&line),
            None => Ok(()),
        }
    }
}

fn without(muted: &Muted) -> String {
    format!("Without the {}: {}", muted.reporter, muted.cause)
}

/// Returns the page of a run, at most `room` bytes.
fn page(story: &Story, room: usize) -> String {
    let Some(result) = story.result() else { return String::new() };
    let mut page = Page::new(room);
    page.add(&facts::headline(result));
    match result.verb.as_str() {
        "validate" => {
            page.add(&facts::failures(story));
            page.add(&facts::findings(&story.findings));
        }
        _ => add_run(&mut page, story, result),
    }
    for muted in &story.muted {
        page.add(&format!("⚠️ {}\n", markdown_text(&without(muted))));
    }
    page.end()
}

/// Everything about a run that changes something.
fn add_run(page: &mut Page, story: &Story, result: &DeploymentResult) {
    page.add(&facts::next_step(result));
    page.add(&facts::failures(story));
    page.add(&facts::table_of_facts(story, result));
    if story.end.as_ref().is_some_and(|end| !end.is_final) {
        page.add("The host goes on by itself; its own log has the end.\n");
    }
    for logs in facts::logs(story) {
        page.add(&logs);
    }
    page.add(&facts::way_back(story));
    page.add(&facts::timeline(story));
    page.add(&facts::changes(story));
    page.add(&facts::checks(story));
    page.add(&facts::warnings(story));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::story::tests as stories;

    fn written(story: &Story) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary");
        Summary::new(&path).on_end(story).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_failing_run_is_told_on_one_page() {
        let page = written(&stories::told());
        for part in [
            "## ❌ `shop` in `production` — ",
            "`backend` did not become healthy",
            "KeyError: 'DB_URL'",
            "```mermaid\ngantt\n",
            "| `backend` | `shop-backend`<br>`60303ae22b99` |",
            "ffe_backup_20261121_064012.tar.zst",
            "| `backend` | ❌ unhealthy | 12 ms |",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("--yes"), "there is nothing to go back from");
    }

    #[test]
    fn a_good_run_shows_the_way_back() {
        let page = written(&stories::succeeded());
        assert!(page.starts_with("## ✅ `shop` in `production` — 1.2.0 is live"), "{page}");
        assert!(page.contains(
            "```sh\nffe-deploy rollback production --to deploy-20261120120000-7c9e6679 --yes\n```"
        ));
    }
}
