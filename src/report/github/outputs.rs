//! The step's outputs (DESIGN section 9): all of them, however the run ended; what is not known is empty.

use std::path::PathBuf;

use super::append;
use crate::model::{Outcome, Status};
use crate::report::{ReportError, Reporter, Story};

/// Names of the outputs, in the order in which they are documented.
pub const OUTPUTS: [&str; 10] = [
    "deployment-id",
    "status",
    "outcome",
    "version",
    "previous-version",
    "release",
    "backup",
    "duration-seconds",
    "url",
    "event-log",
];

/// Writes the outputs to the file behind `GITHUB_OUTPUT`, once, at the end.
pub struct Outputs {
    path: PathBuf,
}

impl Outputs {
    /// Returns the reporter that writes to this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes the outputs of a command that has nothing to tell but how it ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_ended(&self, outcome: Outcome) -> Result<(), ReportError> {
        let mut values: [String; OUTPUTS.len()] = Default::default();
        (values[1], values[2]) = (status_word(outcome.status()).to_owned(), outcome.to_string());
        append(&self.path, &rendered(&values))
    }
}

impl Reporter for Outputs {
    fn name(&self) -> &'static str {
        "step outputs"
    }

    fn on_event(&mut self, _event: &crate::event::Event) -> Result<(), ReportError> {
        Ok(())
    }

    fn on_end(&mut self, story: &Story) -> Result<(), ReportError> {
        append(&self.path, &rendered(&values(story)))
    }
}

/// Values in the order of [`OUTPUTS`].
fn values(story: &Story) -> [String; OUTPUTS.len()] {
    let Some(result) = story.result() else { return Default::default() };
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        result.deployment_id.to_string(),
        status_word(result.status).to_owned(),
        result.outcome.to_string(),
        known(&result.version),
        known(&result.previous_version),
        known(&result.release),
        known(&result.backup),
        result.duration_seconds.to_string(),
        story.url().unwrap_or_default().to_owned(),
        known(&story.setting.event_log),
    ]
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Success => "success",
        Status::Cancelled => "cancelled",
        Status::Failure => "failure",
    }
}

/// Each in a form that ends with a word that nobody can guess. A value that is more than one line is not one of ours,
/// and is left empty.
fn rendered(values: &[String]) -> String {
    let one = |(name, value): (&&str, &String)| {
        let value = if value.chars().any(char::is_control) { "" } else { value };
        let end = format!("ffe_{}", uuid::Uuid::new_v4().simple());
        format!("{name}<<{end}\n{value}\n{end}\n")
    };
    OUTPUTS.iter().zip(values).map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::story::tests as stories;

    /// As the runner reads the file.
    fn read(text: &str) -> BTreeMap<String, String> {
        let mut lines = text.lines();
        let mut read = BTreeMap::new();
        while let Some(line) = lines.next() {
            let (name, end) = line.split_once("<<").unwrap();
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            read.insert(name.to_owned(), value.join("\n"));
        }
        read
    }

    #[test]
    fn every_output_is_written_once_also_when_nothing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        std::fs::write(&path, "before=1\n").unwrap();
        Outputs::new(&path).on_end(&stories::told()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let outputs = read(text.strip_prefix("before=1\n").unwrap());
        assert_eq!(outputs.len(), OUTPUTS.len());
        for (name, value) in [
            ("deployment-id", "deploy-20261121064000-1b9d6bcd"),
            ("status", "failure"),
            ("outcome", "rolled_back"),
            ("version", "1.2.0"),
            ("previous-version", "1.1.0"),
            ("release", "deploy-20261120120000-7c9e6679"),
            ("duration-seconds", "83.5"),
            ("url", "http://shop.example.com:8000"),
            ("event-log", "/tmp/ffe-deploy/deploy-1.jsonl"),
        ] {
            assert_eq!(outputs[name], value, "{name}");
        }
        assert!(values(&Story::default()).iter().all(String::is_empty));
        assert_eq!(read(&rendered(&values(&Story::default()))).len(), OUTPUTS.len());
    }

    #[test]
    fn no_value_can_be_another_output_and_each_end_is_its_own() {
        let mut all = values(&stories::told());
        all[3] = "1.0\nstatus=success".into();
        let text = rendered(&all);
        assert_eq!(read(&text)["version"], "");
        let ends: std::collections::BTreeSet<_> =
            text.lines().filter_map(|line| line.split_once("<<")).collect();
        assert_eq!(
            ends.iter().map(|(_, end)| end).collect::<std::collections::BTreeSet<_>>().len(),
            OUTPUTS.len()
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
        let error = Outputs::new("/nonexistent/output").on_end(&stories::told()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/output"), "{error}");
    }
}
