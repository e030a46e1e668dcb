//! What GitHub shows of a run: masks, groups, annotations, outputs and the job summary. Active in a job of GitHub
//! ([`is_active`]), for all that have its variables and files: the runner of `act` is one, too.
//!
//! [`commands`] words workflow commands and [`mask`] hides secrets with them; [`Outputs`], [`Annotations`] and
//! [`Summary`] are reporters that speak when the run is over; the console opens and closes groups by itself. Each fails
//! on its own: a file that cannot be written mutes the one that wanted it.

mod annotations;
mod changes;
pub mod commands;
mod facts;
mod gantt;
mod groups;
pub mod mask;
mod outputs;
mod page;
mod plan;
mod summary;

pub use annotations::{Annotations, Sources, of_failure as annotations_of_failure};
pub(super) use groups::Groups;
pub use outputs::{OUTPUTS, Outputs};
pub use summary::Summary;

use std::io::Write as _;
use std::path::Path;

use super::ReportError;

/// Returns whether a job of GitHub runs this; `variable` reads a variable of the environment.
pub fn is_active(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("GITHUB_ACTIONS").as_deref() == Some("true")
}

/// Adds to one of the files that a step gets from the runner, in one piece.
fn append(path: &Path, text: &str) -> Result<(), ReportError> {
    let added = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    added.map_err(|source| ReportError::Write { place: path.display().to_string(), source })
}
