//! The state machine, the journal and recovery: the only place that decides on a rollback.
//!
//! Enter by [`perform`] with a [`Run`]; recovery enters by [`Run::recover`]. Does not know how the job came here, nor who
//! listens.

mod adopt;
mod backing_up;
mod compare;
mod deploy;
pub mod journal;
mod operate;
mod prepare;
mod recovery;
mod run;
mod stop;
mod switch;
mod untouched;
pub mod urls;

use std::path::Path;

pub use run::{Ending, Run, last_word};
pub use stop::{Cancel, Stop};

use crate::executor::compose::Site;
use crate::model::Action;
use crate::model::compose::ComposeModel;

/// What a verb works on besides the releases.
pub struct Subject<'a> {
    /// Where the bundle was staged; in place, the project.
    pub staged: &'a Path,
    /// Compose project.
    pub project: &'a str,
    /// What runs now, or, where nothing of ours does, what the project would run.
    pub site: &'a Site,
    /// Its model.
    pub model: &'a ComposeModel,
}

/// Does what the job says, and returns how it ended.
pub async fn perform(run: &Run, subject: &Subject<'_>) -> Ending {
    let in_place = run.layout.in_place().is_some();
    match &run.job.action {
        Action::Deploy => run.deploy(subject.staged, subject.project).await,
        Action::Up if in_place => run.deploy(subject.staged, subject.project).await,
        Action::Up => run.start_current(false).await,
        Action::Restart => run.start_current(true).await,
        Action::Rollback { to, .. } => run.rollback(to.as_ref()).await,
        Action::Down => run.take_down(subject.site, &[]).await,
        Action::Clean => run.take_down(subject.site, &["-v", "--rmi", "local"]).await,
        Action::Build => run.build_only(subject.staged, subject.project).await,
        Action::Backup => run.backup_now(subject.site, subject.model).await,
        // These change nothing: they never come here, and end as what they are.
        Action::Recover
        | Action::Validate
        | Action::Status
        | Action::Health
        | Action::History
        | Action::BackupList
        | Action::Logs(_) => Ending::of(crate::model::Outcome::Succeeded),
    }
}
