//! `init`: the two files of the configuration and a workflow, written from what the project has. Never overwrites.

mod found;
mod texts;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::answer;
use super::args::InitArgs;
use super::surroundings::Surroundings;
use crate::config::{self, Inputs};
use crate::model::{AppName, ErrorKind, Exit, FailureReport};
use found::Found;

/// What was done, as it is printed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Initialised {
    /// Files that were written, from the project root.
    pub made: Vec<String>,
    /// Files that were there and stay as they are.
    pub kept: Vec<String>,
    /// What to do next, in order.
    pub next: Vec<String>,
}

/// Writes the files, and says what it did.
pub(super) fn init(args: &InitArgs) -> Exit {
    let root = &args.project_root;
    match write(root) {
        Ok(done) => {
            answer::initialised(&done, args.output);
            Exit::Done
        }
        Err(failure) => answer::fail("init", &failure, Exit::Invalid, None),
    }
}

fn write(root: &Path) -> Result<Initialised, FailureReport> {
    let found = Found::look(root, &app_name(root)?)?;
    let mut done = Initialised::default();
    for (stem, text) in
        [("deployments", texts::deployments(&found)), ("environments", texts::environments(&found))]
    {
        match there(root, stem) {
            Some(path) => done.kept.push(path),
            None => add(root, &format!("deploy/{stem}.yaml"), &text, &mut done)?,
        }
    }
    add(root, &workflow_path(&found), &texts::workflow(&found), &mut done)?;
    done.next = texts::next(&found);
    Ok(done)
}

/// GitHub reads workflows in the repository's own directory alone.
fn workflow_path(found: &Found) -> String {
    match &found.within {
        Some(within) => format!("{}.github/workflows/deploy-{}.yml", within.up, found.app),
        None => ".github/workflows/deploy.yml".to_owned(),
    }
}

/// The name that the app has without a configuration; with one it is not written again.
fn app_name(root: &Path) -> Result<String, FailureReport> {
    let job = Surroundings::of_process().variables;
    let inputs =
        Inputs { project_root: root.to_owned(), verb: config::Verb::Looks, job, ..Inputs::default() };
    // In a repository of several projects its own name is no one's.
    let own = found::within(root).and_then(|within| within.name()?.parse::<AppName>().ok());
    if let Some(own) = own.filter(|_| config::has_compose_file(root)) {
        return Ok(own.to_string());
    }
    let listed = config::list(&inputs).map_err(|error| elsewhere(root, error.report()))?;
    Ok(listed.apps.into_iter().next().map_or_else(|| "app".to_owned(), |app| app.name))
}

/// Where the project has no compose file, its directories may: each is a project of its own.
fn elsewhere(root: &Path, failure: FailureReport) -> FailureReport {
    let below = found::elsewhere(root);
    let (Some(first), "compose.file") = (below.first(), failure.code.as_str()) else { return failure };
    let hint = format!(
        "there are compose files in {}; run `ffe-deploy init --project-root {}`, and so for each that is deployed",
        below.iter().take(5).map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "),
        crate::text::shell_word(&root.join(first).display().to_string()),
    );
    failure.hint(hint)
}

/// A configuration that is there, wherever it is read from.
fn there(root: &Path, stem: &str) -> Option<String> {
    let mut places = Vec::new();
    for directory in ["deploy/", ""] {
        for form in [".yaml", ".yml", ".local.yaml", ".local.yml"] {
            places.push(format!("{directory}{stem}{form}"));
        }
    }
    places.into_iter().find(|path| root.join(path).symlink_metadata().is_ok())
}

fn add(root: &Path, path: &str, text: &str, done: &mut Initialised) -> Result<(), FailureReport> {
    match create(&root.join(path), text) {
        Ok(()) => done.made.push(path.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => done.kept.push(path.to_owned()),
        Err(error) => return Err(unwritten(&root.join(path), &error)),
    }
    Ok(())
}

/// Makes a file that is not there; two that do so at once never mix.
fn create(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn unwritten(path: &Path, error: &io::Error) -> FailureReport {
    let message = format!("could not write {}: {error}", path.display());
    FailureReport::new(ErrorKind::ConfigurationError, "init.write", message)
        .hint("make the project's directory writable, then run `ffe-deploy init` again; what is there stays")
}
