//! The remarks of a run: what failed first, then warnings, then the good news; at the line of a file where it is known.

use std::io::Write;
use std::path::{Component, Path, PathBuf};

use super::commands::{Annotation, Weight};
use crate::event::Event;
use crate::model::{FailureReport, Finding, Place, Severity, Verdict};
use crate::report::{ReportError, Reporter, Story, summary, words};

/// How many remarks of one weight GitHub shows for a step.
const MOST: usize = 10;

/// Where the project's files are in the checkout, so that a remark finds its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Top of the checkout, absolute.
    pub workspace: Option<PathBuf>,
    /// The project's root, absolute.
    pub project_root: PathBuf,
}

impl Sources {
    /// Returns the place from the top of the checkout; nothing for a file that is not below it. `app_dir` is the
    /// directory from which the host names files.
    pub(in crate::report) fn in_checkout(&self, place: &Place, app_dir: Option<&Path>) -> Option<Place> {
        let path = Path::new(&place.file);
        let absolute = plain(&app_dir.unwrap_or(&self.project_root).join(path))?;
        let workspace = self.workspace.as_deref().unwrap_or(&self.project_root);
        let file = absolute.strip_prefix(workspace).ok()?;
        let file = file.to_str().filter(|file| !file.is_empty())?.to_owned();
        Some(Place { file, line: place.line, column: place.column })
    }
}

/// A path without `.` and `..`, by its words alone: nothing is opened.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !plain.pop() => return None,
            Component::ParentDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => plain.push(part),
        }
    }
    Some(plain)
}

/// Prints the remarks when the run is over.
pub struct Annotations<W> {
    out: W,
    sources: Sources,
}

impl<W: Write + Send> Annotations<W> {
    /// Returns the reporter that prints them to this stream.
    pub fn new(out: W, sources: Sources) -> Self {
        Self { out, sources }
    }
}

impl<W: Write + Send> Reporter for Annotations<W> {
    fn name(&self) -> &'static str {
        "annotations"
    }

    fn on_event(&mut self, _event: &Event) -> Result<(), ReportError> {
        Ok(())
    }

    fn on_end(&mut self, story: &Story) -> Result<(), ReportError> {
        let lines: String =
            of_story(story, &self.sources).iter().map(|one| format!("{}\n", one.command())).collect();
        let written = self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| ReportError::Write { place: "the job's log".to_owned(), source })
    }
}

/// Returns the remarks of a run, errors first, at most 10 of each weight.
pub(super) fn of_story(story: &Story, sources: &Sources) -> Vec<Annotation> {
    let teller = Teller { story, sources, title: title(story) };
    let mut all = fitting(teller.errors(), "errors");
    all.extend(fitting(teller.warnings(), "warnings"));
    all.extend(teller.good_news());
    all
}

/// Returns the remark on a command that ended before anything could be told.
pub fn of_failure(verb: &str, failure: &FailureReport, sources: &Sources) -> Vec<Annotation> {
    let story = Story::default();
    let teller = Teller { story: &story, sources, title: format!("{verb}: failed") };
    fitting(teller.failure(failure), "errors")
}

/// The last one that fits says how many do not.
fn fitting(mut all: Vec<Annotation>, what: &str) -> Vec<Annotation> {
    if all.len() > MOST {
        let more = all.len() - (MOST - 1);
        all.truncate(MOST);
        if let Some(last) = all.last_mut() {
            last.message = format!("{more} more {what}: the job summary and the log have them all");
            last.place = None;
        }
    }
    all
}

fn title(story: &Story) -> String {
    match story.result() {
        Some(result) => summary::title(result),
        None => "ffe-deploy".to_owned(),
    }
}

struct Teller<'a> {
    story: &'a Story,
    sources: &'a Sources,
    title: String,
}

impl Teller<'_> {
    fn remark(&self, weight: Weight, message: String, place: Option<Place>) -> Annotation {
        Annotation { weight, title: self.title.clone(), message, place }
    }

    /// Every run that was no success has one.
    fn errors(&self) -> Vec<Annotation> {
        let failures = self.story.failures();
        let mut errors: Vec<_> = failures.iter().flat_map(|failure| self.failure(failure)).collect();
        let told = |finding: &&Finding| !failures.iter().any(|failure| failure.message == finding.message);
        let findings = self.story.findings_of(Severity::Error).filter(told);
        errors.extend(findings.map(|finding| self.finding(Weight::Error, finding)));
        if let (true, false, Some(result)) = (errors.is_empty(), self.story.is_success(), self.story.result())
        {
            errors.push(self.remark(Weight::Error, summary::headline(result), None));
        }
        errors
    }

    /// One for each place that a failure names; else one.
    fn failure(&self, failure: &FailureReport) -> Vec<Annotation> {
        if failure.particulars.is_empty() {
            let message = with_hint(&failure.message, &failure.code, failure.hint.as_deref());
            return vec![self.remark(Weight::Error, message, None)];
        }
        let each = failure.particulars.iter().map(|particular| {
            let message = with_hint(&particular.message, &failure.code, failure.hint.as_deref());
            let place = particular.place.as_ref();
            let place = place.and_then(|place| self.place(place, failure.code.starts_with("config.")));
            self.remark(Weight::Error, message, place)
        });
        each.collect()
    }

    fn finding(&self, weight: Weight, finding: &Finding) -> Annotation {
        let message = with_hint(&finding.message, &finding.rule, finding.hint.as_deref());
        let place = finding.place.as_ref().and_then(|place| self.place(place, false));
        self.remark(weight, message, place)
    }

    /// The configuration is named from the project's root, the app's own files from the app's directory.
    fn place(&self, place: &Place, is_configuration: bool) -> Option<Place> {
        let app_dir = self.story.setting.app_dir.as_deref().filter(|_| !is_configuration);
        self.sources.in_checkout(place, app_dir)
    }

    fn warnings(&self) -> Vec<Annotation> {
        let story = self.story;
        let findings =
            story.findings_of(Severity::Warning).map(|finding| self.finding(Weight::Warning, finding));
        let notices =
            story.notices.iter().filter(|notice| notice.severity == Severity::Warning).map(|notice| {
                self.remark(
                    Weight::Warning,
                    with_hint(&notice.text, &notice.code, notice.hint.as_deref()),
                    None,
                )
            });
        let degraded = story.checks_of_release().into_iter();
        let degraded =
            degraded.filter(|check| check.optional && check.verdict == Verdict::Failed).map(|check| {
                let message = format!("optional check `{}` failed: {}", check.name, check.detail);
                self.remark(Weight::Warning, message, None)
            });
        let muted = story.muted.iter().map(|muted| {
            let message =
                format!("the {} stopped: {}; nothing else was touched by that", muted.reporter, muted.cause);
            self.remark(Weight::Warning, message, None)
        });
        findings.chain(notices).chain(degraded).chain(muted).collect()
    }

    fn good_news(&self) -> Option<Annotation> {
        let result = self.story.result().filter(|_| self.story.is_success())?;
        let url = self.story.url().map(|url| format!("\n{url}")).unwrap_or_default();
        let message = format!(
            "{} (took {}){url}",
            summary::verdict(result),
            words::duration(summary::time_taken(result))
        );
        Some(self.remark(Weight::Notice, message, None))
    }
}

fn with_hint(message: &str, code: &str, hint: Option<&str>) -> String {
    let hint = hint.map(|hint| format!("\nNext: {hint}")).unwrap_or_default();
    format!("{message}  ({code}){hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorKind, Particular};
    use crate::report::story::tests as stories;

    fn sources() -> Sources {
        Sources { workspace: Some("/w".into()), project_root: "/w/shops/one".into() }
    }

    fn place(file: &str) -> Place {
        Place { file: file.into(), line: Some(3), column: Some(5) }
    }

    #[test]
    fn a_run_that_was_rolled_back_has_its_cause_first_and_says_what_to_do() {
        let commands: Vec<String> =
            of_story(&stories::told(), &sources()).iter().map(Annotation::command).collect();
        assert_eq!(
            commands[0],
            "::error title=deploy of shop to production%3A rolled back::`backend` did not become healthy within 60 s: \
             connection refused  (health.unhealthy)%0ANext: read its last log lines, then run `ffe-deploy logs \
             production backend`"
        );
        assert_eq!(commands.iter().filter(|command| command.starts_with("::error ")).count(), 1);
        assert!(commands.iter().any(|command| command.contains("::8.1 GB are free")));
        assert!(!commands.iter().any(|command| command.starts_with("::notice ")));
    }

    #[test]
    fn problems_of_files_are_shown_beside_their_lines_from_the_top_of_the_checkout() {
        let failure = FailureReport::new(ErrorKind::ConfigurationError, "config.invalid", "2 problems")
            .about([
                Particular { message: "`a` is no".into(), place: Some(place("deploy/deployments.yaml")) },
                Particular { message: "`--host` is empty".into(), place: None },
            ]);
        let lines: Vec<String> =
            of_failure("list", &failure, &sources()).iter().map(Annotation::command).collect();
        assert_eq!(
            lines,
            [
                "::error file=shops/one/deploy/deployments.yaml,line=3,col=5,title=list%3A failed::`a` is no  (config.invalid)",
                "::error title=list%3A failed::`--host` is empty  (config.invalid)",
            ]
        );
    }

    #[test]
    fn findings_of_the_host_are_named_from_the_apps_directory() {
        let mut story = stories::succeeded();
        story.setting.app_dir = Some("/w/shops/one/app".into());
        story.findings = vec![
            Finding::warning("compose.healthcheck", "no healthcheck", "add it")
                .at(Some(place("./compose.yml"))),
        ];
        let told = of_story(&story, &sources());
        assert_eq!(told[0].place, Some(place("shops/one/app/compose.yml")));
        assert!(told.iter().any(|one| one.weight == Weight::Notice && one.message.contains("1.2.0 is live")));
    }

    #[test]
    fn no_place_leads_out_of_the_checkout() {
        for (file, app_dir) in [
            ("../../../x", None),
            ("/etc/passwd", None),
            ("a/../../../../x", None),
            ("..", Some(Path::new("/w/a"))),
        ] {
            assert_eq!(sources().in_checkout(&place(file), app_dir), None, "{file}");
        }
        assert_eq!(sources().in_checkout(&place("x"), Some(Path::new("/elsewhere"))), None);
        let app_dir = Some(Path::new("/w/shops/one/app"));
        let above = sources().in_checkout(&place("../deployments.yaml"), app_dir);
        assert_eq!(above, Some(place("shops/one/deployments.yaml")));
        let alone = Sources { workspace: None, project_root: "/p".into() };
        assert_eq!(alone.in_checkout(&place("/p/x.yml"), None), Some(place("x.yml")));
    }

    #[test]
    fn at_most_ten_of_a_weight_and_the_last_says_how_many_more() {
        let mut story = stories::told();
        let failures =
            (0..25).map(|n| FailureReport::new(ErrorKind::DeploymentError, "x", format!("error {n}")));
        story.end.as_mut().unwrap().result.errors = failures.collect();
        story.failed = Vec::new();
        let errors: Vec<_> =
            of_story(&story, &sources()).into_iter().filter(|one| one.weight == Weight::Error).collect();
        assert_eq!(errors.len(), MOST);
        assert!(errors[0].message.starts_with("error 0 ") && errors[8].message.starts_with("error 8 "));
        assert!(errors[9].message.starts_with("16 more errors"), "{}", errors[9].message);
    }

    #[test]
    fn a_failure_without_words_has_a_remark_all_the_same() {
        let mut story = stories::told();
        story.end.as_mut().unwrap().result.errors.clear();
        (story.failed, story.findings) = (Vec::new(), Vec::new());
        assert_eq!(of_story(&story, &sources()).iter().filter(|one| one.weight == Weight::Error).count(), 1);
    }
}
