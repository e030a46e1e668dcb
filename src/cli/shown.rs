//! `validate --show-config`: the effective configuration on stdout. Reaches no host and asks no program for a secret.

use std::io::Write;

use super::answer;
use super::args::{Output, ValidateArgs};
use super::github::{Front, Github};
use super::order::Wish;
use super::surroundings::Surroundings;
use crate::config::{self, Inputs};
use crate::model::Exit;
use crate::report::{human, json};

/// Prints the configuration, and where each value came from.
pub(super) fn show(args: &ValidateArgs) -> Exit {
    let surroundings = Surroundings::of_process();
    let config = &args.target.reach.config;
    let github = Github::of(&surroundings, Front::beside(config.log.output), &config.project_root);
    // Secrets may be missing where only the configuration is looked at.
    let inputs = Inputs { verb: config::Verb::Looks, ..Wish::validate(args).inputs(&surroundings) };
    let shown = match config::effective(&inputs) {
        Ok(shown) => shown,
        Err(error) => return answer::fail("validate", &error.report(), error.exit(), github.as_ref()),
    };
    let text = match config.log.output {
        Output::Human => human::configuration(&shown, None),
        Output::Json | Output::Sarif => {
            serde_json::to_value(&shown).ok().and_then(|shown| json::answer(&shown).ok()).unwrap_or_default()
        }
    };
    // A reader that has seen enough (`| head`) is no error.
    write!(std::io::stdout().lock(), "{text}").ok();
    github.iter().for_each(|github| github.ended(Exit::Done));
    Exit::Done
}
