//! Rules on the project's own files that can be asked before any host is reached: what git tracks, and what the compose
//! files say of secrets. Names and places only, never a value.
//!
//! Enter by [`check`]. What compose files mean is for Compose on the host to say; here they are only read.

mod compose;
mod tracked;

use std::path::PathBuf;

use super::Resolved;
use super::git::{self, Git};
use crate::model::{ComposeFile, EnvironmentName, Finding, Place, Profile};

/// What is asked about.
#[derive(Clone)]
pub struct Files {
    app_dir: PathBuf,
    environment: EnvironmentName,
    profile: Profile,
    compose_files: Vec<ComposeFile>,
}

impl Resolved {
    /// Returns what [`check`] asks about.
    pub fn files(&self) -> Files {
        Files {
            app_dir: self.app_dir.clone(),
            environment: self.environment.name.clone(),
            profile: self.environment.profile,
            compose_files: self.compose_files.clone(),
        }
    }
}

/// Makes the checks. Reads files and asks git: call it where that may take a moment.
pub fn check(files: &Files) -> Vec<Finding> {
    let mut findings = compose::literals(files);
    if git::look(&files.app_dir) == Git::Repository {
        findings.extend(tracked::secrets(files));
        findings.extend(tracked::ignored(files));
    }
    findings
}

impl Files {
    /// Returns the finding that the rules of staging and production refuse, and that the others only mention.
    fn strict(&self, rule: &str, message: String, hint: String) -> Finding {
        match self.profile {
            Profile::Staging | Profile::Production => Finding::error(rule, message, hint),
            Profile::Dev | Profile::Testing => Finding::warning(rule, message, hint),
        }
    }
}

fn place(file: &str, line: u32, column: u32) -> Option<Place> {
    Some(Place { file: file.to_owned(), line: Some(line), column: Some(column) })
}
