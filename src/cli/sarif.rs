//! `validate --output sarif` and `--sarif FILE`: one document, however the run ends.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::args::Output;
use super::drive::Drive;
use super::github::sources;
use crate::event::DeploymentResult;
use crate::model::{Exit, ValidateAnswer};
use crate::report::{json, sarif};

/// Files at which stands what is about no file, from the project's root.
const STAND_INS: [&str; 10] = [
    "deploy/deployments.yaml",
    "deploy/deployments.yml",
    "deployments.yaml",
    "deployments.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-compose.prod.yml",
    "docker-compose.production.yml",
];

impl Drive {
    /// Prints what was found, where it was asked for in this form.
    pub(super) fn print_sarif(&self, found: &ValidateAnswer, exit: Exit) {
        self.with_about(exit, |about| sarif::of_findings(&found.findings, about));
    }

    /// Prints why nothing was found, where it was asked for in this form.
    pub(super) fn print_sarif_of(&self, result: &DeploymentResult) {
        self.with_about(result.outcome.exit(), |about| {
            sarif::of_failures(&result.errors, result.outcome, about)
        });
    }

    fn with_about(&self, exit: Exit, document: impl FnOnce(&sarif::About<'_>) -> serde_json::Value) {
        let config = &self.wish.reach.config;
        let is_printed = config.log.output == Output::Sarif;
        if !is_printed && self.wish.sarif.is_none() {
            return;
        }
        let sources = sources(&self.surroundings, &config.project_root);
        let story = self.telling.story();
        let about = sarif::About {
            app: self.named.app.as_ref(),
            environment: self.named.environment.as_ref(),
            stand_in: stand_in(&sources.project_root),
            app_dir: story.setting.app_dir.as_deref(),
            sources: &sources,
            exit,
        };
        // What cannot be said in JSON is not in it; a reader that has seen enough is no error.
        let text = json::answer(&document(&about)).unwrap_or_default();
        if is_printed {
            std::io::stdout().lock().write_all(text.as_bytes()).ok();
        }
        let Some(path) = &self.wish.sarif else { return };
        if let Err(error) = fs::write(path, &text) {
            eprintln!("[WARN]  {} was not written: {error}", path.display());
        }
    }
}

fn stand_in(project_root: &Path) -> String {
    let there = STAND_INS.iter().find(|file| project_root.join(file).is_file());
    (*there.unwrap_or(&STAND_INS[0])).to_owned()
}
