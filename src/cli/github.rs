//! What a job of GitHub gets besides lines: masks before anything is printed, and the reporters that write its files.
//!
//! All of it is in one stream of the log, in order: stdout, unless that carries a document or the lines of containers.
//! Masks are on stderr, too, because the runner reads the two on their own.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::args::Output;
use super::surroundings::Surroundings;
use crate::model::{Exit, FailureReport, Outcome};
use crate::report::Hub;
use crate::report::github::{Annotations, Outputs, Sources, Summary, annotations_of_failure, mask};
use crate::text::Redactor;

/// Which stream of ours a job's log takes commands from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// Nothing else is there.
    Stdout,
    /// Stdout is a document, or lines of containers.
    Stderr,
}

impl Front {
    /// Returns where commands go when the result is printed like this.
    pub(super) fn beside(output: Output) -> Self {
        match output {
            Output::Human => Self::Stdout,
            Output::Json | Output::Sarif => Self::Stderr,
        }
    }

    /// Returns the stream, and whether it is a terminal.
    pub(super) fn stream(self) -> (Box<dyn Write + Send>, bool) {
        match self {
            Self::Stdout => (Box::new(std::io::stdout()), std::io::stdout().is_terminal()),
            Self::Stderr => (Box::new(std::io::stderr()), std::io::stderr().is_terminal()),
        }
    }
}

/// The job of GitHub that runs this.
#[derive(Clone, Debug)]
pub(super) struct Github {
    front: Front,
    sources: Sources,
    output: Option<PathBuf>,
    summary: Option<PathBuf>,
}

impl Github {
    /// Returns the job, when one runs this. `project_root` is as it was given.
    pub(super) fn of(surroundings: &Surroundings, front: Front, project_root: &Path) -> Option<Self> {
        let path = |name: &str| surroundings.get(name).map(PathBuf::from);
        let sources = sources(surroundings, project_root);
        let (output, summary) = (path("GITHUB_OUTPUT"), path("GITHUB_STEP_SUMMARY"));
        surroundings.on_github().then_some(Self { front, sources, output, summary })
    }

    /// Returns where lines for people go.
    pub(super) fn front(&self) -> Front {
        self.front
    }

    /// Adds the reporters that speak at the end. The console comes after them: it names those that fail.
    pub(super) fn add_reporters(&self, hub: &mut Hub) {
        if let Some(path) = &self.output {
            hub.add(Outputs::new(path));
        }
        hub.add(Annotations::new(self.front.stream().0, self.sources.clone()));
        if let Some(path) = &self.summary {
            hub.add(Summary::new(path));
        }
    }

    /// Hides the secrets in all that the job prints from now on. Call it before anything is printed.
    pub(super) fn mask(&self, secrets: &Redactor) {
        let lines = mask::lines(secrets);
        // The runner is gone when nobody reads them.
        std::io::stderr().lock().write_all(lines.as_bytes()).ok();
        if self.front == Front::Stdout {
            self.say(&lines);
        }
    }

    /// Hides the secrets of a verb whose stdout people may keep.
    pub(super) fn mask_on_stderr(&self, secrets: &Redactor) {
        std::io::stderr().lock().write_all(mask::lines(secrets).as_bytes()).ok();
    }

    /// Says why a command ended that has no story.
    pub(super) fn failed(&self, verb: &str, failure: &FailureReport) {
        let remarks = annotations_of_failure(verb, failure, &self.sources);
        let lines: String = remarks.iter().map(|remark| format!("{}\n", remark.command())).collect();
        self.say(&lines);
    }

    /// Writes the outputs of a command that has no story.
    pub(super) fn ended(&self, exit: Exit) {
        let Some(path) = &self.output else { return };
        if let Err(error) = Outputs::new(path).write_ended(outcome_of(exit)) {
            eprintln!("[WARN]  the step outputs were not written: {}", super::own::describe(&error));
        }
    }

    fn say(&self, lines: &str) {
        let mut stream = self.front.stream().0;
        stream.write_all(lines.as_bytes()).and_then(|()| stream.flush()).ok();
    }
}

/// Returns where the project is in the checkout; without a job of GitHub nothing is above its root.
pub(super) fn sources(surroundings: &Surroundings, project_root: &Path) -> Sources {
    // Symlinks: the configuration names files by their real paths.
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    Sources {
        workspace: surroundings.get("GITHUB_WORKSPACE").map(PathBuf::from).map(real),
        project_root: real(std::path::absolute(project_root).unwrap_or_else(|_| project_root.to_owned())),
    }
}

/// The outcome that a verb which only looks has: its exit code says it.
fn outcome_of(exit: Exit) -> Outcome {
    match exit {
        Exit::Done => Outcome::Succeeded,
        Exit::Invalid => Outcome::Invalid,
        Exit::Refused => Outcome::Refused,
        Exit::RolledBack => Outcome::RolledBack,
        Exit::Busy | Exit::LeaseTaken => Outcome::Busy,
        Exit::Unreachable => Outcome::Unreachable,
        Exit::Cancelled => Outcome::Cancelled,
        Exit::Aborted => Outcome::Aborted,
        Exit::Planned => Outcome::Planned,
        Exit::Lost => Outcome::Lost,
        Exit::Internal | Exit::Failed => Outcome::Failed,
    }
}
