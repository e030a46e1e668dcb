//! What is wrong with the configuration: all of it at once, each with its place and its way out.
//!
//! A [`Problem`] never holds a secret: values that came from the job or stand under a secret-looking key are
//! described, not printed.

use std::fmt;

use crate::model::{ErrorKind, Exit, FailureReport, Particular, Place};
use crate::text::harmless;

use super::excerpt::Excerpt;
use super::yaml;

/// Longest list of what is accepted, in bytes, before which nothing is looked for behind it.
const SHORT_LIST: usize = 100;
/// Most problems that are shown.
const MOST: usize = 100;

/// One thing that is wrong, and what would be right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was found; absent for a flag or a variable of the job.
    pub file: Option<String>,
    /// Line in the file, from 1.
    pub line: Option<u32>,
    /// Column in the file, from 1, in characters.
    pub column: Option<u32>,
    /// Path of the key (`environments.production.port`), or the flag or variable.
    pub key: Option<String>,
    /// What is wrong, in words that follow the key.
    pub message: String,
    /// What was found, when it may be shown.
    pub found: Option<String>,
    /// What is accepted there.
    pub accepted: Option<String>,
    /// What was probably meant, or the next step.
    pub suggestion: Option<String>,
    /// Where its excerpt is.
    place: Option<yaml::Place>,
}

impl Problem {
    /// Returns a problem of a place in a file.
    pub(super) fn at(place: &yaml::Place, key: &str, message: impl Into<String>) -> Self {
        Self {
            file: Some(place.source.file.clone()),
            line: Some(place.line),
            column: Some(place.column),
            place: Some(place.clone()),
            key: (!key.is_empty()).then(|| key.to_owned()),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Returns a problem of a flag, or of a variable of the job.
    pub(super) fn of(key: &str, message: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), message: message.into(), ..Self::default() }
    }

    /// Returns a problem of a whole file.
    pub(super) fn in_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), message: message.into(), ..Self::default() }
    }

    pub(super) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    pub(super) fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl Problem {
    /// Returns it as failures carry it: the place apart from the words.
    fn particular(&self) -> Particular {
        let place = self.file.as_ref().map(|file| Place {
            file: harmless(file),
            line: self.line.filter(|_| self.column.is_some()),
            column: self.column,
        });
        Particular { message: self.without_place(), place }
    }

    /// Writes it as part of a list, the line that it is about below it.
    fn write_with_excerpt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\n  {self}")?;
        let excerpt = self.place.as_ref().and_then(Excerpt::at);
        let lines = excerpt.iter().flat_map(Excerpt::lines);
        lines.into_iter().try_for_each(|line| write!(out, "\n      {}", harmless(&line)))
    }

    /// Returns it as it stands in a list, for tests.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        ConfigError::Invalid(vec![self.clone()]).to_string()
    }

    /// Returns the words that stand behind the place.
    fn without_place(&self) -> String {
        let mut text = self.key.as_ref().map(|key| format!("`{}` ", harmless(key))).unwrap_or_default();
        text.push_str(&harmless(&self.message));
        let mut words = [("found", &self.found), ("accepted", &self.accepted), ("try", &self.suggestion)];
        // What was probably meant is not to be looked for behind twenty words.
        if self.suggestion.is_some() && self.accepted.as_ref().is_some_and(|all| all.len() > SHORT_LIST) {
            words.swap(1, 2);
        }
        for (word, value) in words {
            if let Some(value) = value {
                text.push_str(&format!("; {word}: {}", harmless(value)));
            }
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            out.write_str(&harmless(file))?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(out, ":{line}:{column}")?;
            }
            out.write_str(": ")?;
        }
        out.write_str(&self.without_place())
    }
}

/// Why there is no checked configuration. Nothing was touched.
#[derive(Debug)]
pub enum ConfigError {
    /// Bad inputs or configuration: exit 2. Never empty; in the order of the files.
    Invalid(Vec<Problem>),
    /// Well-formed, but not something to go on with: exit 3.
    Refused(FailureReport),
}

impl ConfigError {
    /// Returns the error of these problems, in the order of files and lines.
    pub(super) fn invalid(mut problems: Vec<Problem>) -> Self {
        let place = |problem: &Problem| (problem.file.clone(), problem.line, problem.column);
        problems.sort_by_key(place);
        problems.dedup();
        Self::Invalid(problems)
    }

    /// Returns the exit code that this error stands for.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Invalid(_) => Exit::Invalid,
            Self::Refused(_) => Exit::Refused,
        }
    }

    /// Returns all problems; empty for a refusal.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Refused(_) => &[],
        }
    }

    /// Returns the failure as events and people read it.
    pub fn report(&self) -> FailureReport {
        match self {
            Self::Invalid(problems) => {
                FailureReport::new(ErrorKind::ConfigurationError, "config.invalid", self.to_string())
                    .hint("correct what is named above, then run the command again")
                    .about(problems.iter().take(MOST).map(Problem::particular))
            }
            Self::Refused(report) => report.clone(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(report) => write!(out, "{report}"),
            Self::Invalid(problems) => {
                let plural = if problems.len() == 1 { "" } else { "s" };
                write!(out, "{} problem{plural} in the configuration; nothing was touched", problems.len())?;
                problems.iter().take(MOST).try_for_each(|problem| problem.write_with_excerpt(out))?;
                match problems.len().saturating_sub(MOST) {
                    0 => Ok(()),
                    more => write!(out, "\n  … and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for ConfigError {}
