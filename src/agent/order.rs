//! What attach hands to the guard, and the guard to each worker: on pipes, never on disk, for it holds secrets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::compose::Compose;
use crate::model::Job;

/// An order to the worker.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// The job. For a recovery its app and environment say where the journal lies.
    pub job: Job,
    /// Where the bundle was staged, when the job brought one.
    pub staged: Option<PathBuf>,
    /// The Compose that attach has found; absent: it is still to be found.
    pub compose: Option<Compose>,
    /// End an unfinished deployment, and nothing else.
    pub recover: bool,
}
