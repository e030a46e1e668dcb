//! The job summary: the whole run on one page, written when it is over, and lines below it for what comes after.

use std::path::PathBuf;

use super::page::Page;
use super::{append, changes, facts, plan};
use crate::event::{DeploymentResult, Event};
use crate::report::{Muted, Notified, ReportError, Reporter, Story, summary};
use crate::text::markdown_text;

/// Largest summary of a step that GitHub takes, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Smallest room that is worth a page.
const SMALLEST: usize = 32 * 1024;

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
        let room = self.room();
        if room < SMALLEST {
            let source = std::io::Error::other("the step has filled its summary, which may have 1 MiB");
            return Err(ReportError::Write { place: self.path.display().to_string(), source });
        }
        self.is_written = true;
        append(&self.path, &page(story, room))
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
        "deploy --plan" => {
            page.add(&facts::failures(story));
            page.add(&story.plan.as_ref().map(plan::plan).unwrap_or_default());
            page.add(&facts::warnings(story));
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
    page.add(&changes::changes(story));
    page.add(&facts::hooks(story));
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
            "| `backend` | ❌&nbsp;unhealthy | 12 ms |",
            "| `migrate` | `pre_deploy` | service backend | 2.3 s | ✅&nbsp;succeeded |",
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

    #[test]
    fn what_comes_after_the_end_is_a_line_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary");
        let mut summary = Summary::new(&path);
        summary.on_muted(&Muted { reporter: "event log", cause: "early".into() }).unwrap();
        assert!(!path.exists(), "the page has it");
        summary.on_end(&stories::succeeded()).unwrap();
        let told = |problem: Option<&str>| Notified {
            audience: "Slack".into(),
            problem: problem.map(str::to_owned),
        };
        summary.on_notified(&told(None)).unwrap();
        summary.on_notified(&told(Some("it answered 500 | <b>"))).unwrap();
        summary.on_muted(&Muted { reporter: "event log", cause: "disk full".into() }).unwrap();
        let page = std::fs::read_to_string(&path).unwrap();
        let end = "\n\n⚠️ Slack was not told: it answered 500 \\| &lt;b&gt;\n\n⚠️ Without the event log: disk full\n\n";
        assert!(page.ends_with(end), "{page}");
    }

    #[test]
    fn a_summary_never_grows_beyond_what_github_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary");
        std::fs::write(&path, "x".repeat(LARGEST - 40_000)).unwrap();
        let mut story = stories::told();
        story.logs[0].lines = vec!["line ".repeat(500); 50];
        let mut summary = Summary::new(&path);
        summary.on_end(&story).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("The rest was left out"));
        for _ in 0..2_000 {
            summary.on_muted(&Muted { reporter: "event log", cause: "disk full".into() }).unwrap();
        }
        let length = std::fs::metadata(&path).unwrap().len();
        assert!(length < LARGEST as u64, "{length}");
        let error = Summary::new(&path).on_end(&story).unwrap_err();
        assert!(error.to_string().contains("could not write to"), "{error}");
    }

    /// Every text of the story is this one.
    fn saying(text: &str) -> Story {
        let mut story = stories::told();
        let say = |field: &mut String| *field = text.to_owned();
        let setting = &mut story.setting;
        [&mut setting.who, &mut setting.run_url, &mut setting.event_log].into_iter().flatten().for_each(say);
        [&mut story.target, &mut story.host].into_iter().flatten().for_each(say);
        for finding in &mut story.findings {
            say(&mut finding.message);
            say(&mut finding.rule);
        }
        for notice in &mut story.notices {
            say(&mut notice.text);
        }
        for change in &mut story.image_changes {
            say(&mut change.service);
            for image in change.before.iter_mut().chain(&mut change.after) {
                [&mut image.image, &mut image.image_id].into_iter().for_each(say);
            }
        }
        story.files.changed.iter_mut().for_each(say);
        story.backup.iter_mut().for_each(|backup| say(&mut backup.path));
        for logs in &mut story.logs {
            [&mut logs.service, &mut logs.container, &mut logs.state].into_iter().for_each(say);
            logs.lines.iter_mut().for_each(say);
        }
        for result in story.end.iter_mut().map(|end| &mut end.result) {
            [&mut result.version, &mut result.previous_version, &mut result.next_step]
                .into_iter()
                .flatten()
                .for_each(say);
            for failure in &mut result.errors {
                say(&mut failure.message);
                failure.hint.iter_mut().for_each(say);
            }
            for hook in &mut result.hooks {
                [&mut hook.hook, &mut hook.place].into_iter().chain(&mut hook.detail).for_each(say);
            }
            for check in &mut result.checks {
                [&mut check.name, &mut check.asked, &mut check.detail].into_iter().for_each(say);
            }
            result.urls = [(text.to_owned(), text.to_owned())].into();
            result.services = result.services.values().map(|change| (text.to_owned(), *change)).collect();
        }
        let mut event = crate::event::examples::event(
            90,
            crate::event::Origin::Agent,
            crate::model::Stage::Setup,
            crate::event::EventKind::StageStarted {},
        );
        story.hear(&event);
        event.kind = crate::event::EventKind::StageFinished {
            outcome: crate::model::StageOutcome::Failed,
            took_ms: 5,
            reason: Some(text.to_owned()),
            span: crate::event::Span {
                name: String::new(),
                duration_ms: 5,
                status: crate::event::SpanStatus::Error,
            },
        };
        story.hear(&event);
        story
    }

    /// The blocks of a page, and what in it is neither text nor ours.
    fn blocks(page: &str) -> (Vec<String>, Vec<String>) {
        use pulldown_cmark::{Event, Options, Parser, Tag};
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_MATH;
        let (mut blocks, mut odd) = (Vec::new(), Vec::new());
        for event in Parser::new_ext(page, options) {
            match event {
                Event::Start(Tag::Strong | Tag::Emphasis) | Event::End(_) | Event::SoftBreak => {}
                Event::Text(_) | Event::Code(_) => {}
                Event::Start(Tag::Link { dest_url, .. }) if dest_url.starts_with("http") => {}
                Event::Start(Tag::Link { .. } | Tag::Image { .. }) => odd.push(format!("{event:?}")),
                Event::Start(tag) => blocks.push(format!("{tag:?}")),
                Event::InlineHtml(tag) | Event::Html(tag) => {
                    let ours = ["<br>", "<code>", "</code>", "<details><summary>", "</details>"];
                    if !ours.iter().any(|ours| tag.starts_with(ours)) {
                        odd.push(tag.to_string());
                    }
                }
                other => odd.push(format!("{other:?}")),
            }
        }
        (blocks, odd)
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_change_the_shape_of_the_page(said in crate::text::nasty_markdown()) {
            let plain = blocks(&page(&saying("plain"), LARGEST));
            let foreign = page(&saying(&format!("x{said}")), LARGEST);
            let (shape, odd) = blocks(&foreign);
            proptest::prop_assert!(odd.is_empty(), "{odd:?} in\n{foreign}");
            proptest::prop_assert_eq!(shape, plain.0, "{}", foreign);
        }
    }
}
