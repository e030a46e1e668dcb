//! The state machine, the journal and recovery: the only place that decides on a rollback.
//!
//! Enter by [`perform`] with a [`Run`]; recovery enters by [`Run::recover`]. Does not know how the job came here, nor who
//! listens.

mod adopt;
mod back;
mod backing_up;
mod book;
mod compare;
mod daemon;
mod deadline;
mod deploy;
mod drift;
mod hooks;
pub mod journal;
mod operate;
pub mod plan;
mod prepare;
mod recovery;
mod room;
mod run;
mod settle;
mod setup;
mod stop;
mod switch;
mod untouched;
pub mod urls;

use std::path::Path;

pub use book::Book;
pub use daemon::connect;
pub use deadline::Deadline;
pub use run::{Ending, Run, last_word};
pub use stop::{Cancel, Stop};

use crate::executor::compose::Site;
use crate::host::docker;
use crate::model::compose::ComposeModel;
use crate::model::{Action, Outcome, ReleaseId};

/// What `clean` takes away besides containers and networks (R003-34).
const CLEAN: [&str; 3] = ["-v", "--rmi", "local"];

/// What a verb works on besides the releases.
pub enum Subject<'a> {
    /// What the job brings.
    Brought {
        /// Where the bundle was staged; in place, the project.
        staged: &'a Path,
        /// Compose project.
        project: &'a str,
    },
    /// What runs now, or, where nothing of ours does, what the project would run.
    There {
        /// Where compose calls find their files.
        site: &'a Site,
        /// Its model.
        model: &'a ComposeModel,
    },
    /// Nothing but what lies on the host.
    Host,
}

/// Does what the job says, and returns how it ended.
pub async fn perform(run: &Run, subject: &Subject<'_>) -> Ending {
    let seen = docker::unanswered();
    let ending = carry_out(run, subject).await;
    let ending = run.wake_what_ran(seen, ending).await;
    run.after_the_end(&ending).await;
    let given_up = matches!(ending.outcome, Some(Outcome::Aborted | Outcome::Cancelled));
    // Only now: hooks after the end are files of what is given up.
    if given_up
        && !ending.unended
        && !run.has_switched()
        && matches!(run.job.action, Action::Deploy | Action::Up)
    {
        run.discard(&ReleaseId::from(&run.job.deployment_id));
    }
    // A release that was made ready and given up has left tags of its images.
    if let Subject::Brought { project, .. } = subject
        && (given_up || run.job.action == Action::Build)
    {
        run.drop_strays(project).await;
    }
    ending
}

async fn carry_out(run: &Run, subject: &Subject<'_>) -> Ending {
    match (&run.job.action, subject) {
        (Action::Deploy | Action::Up, Subject::Brought { staged, project }) => {
            run.deploy(staged, project).await
        }
        (Action::Build, Subject::Brought { staged, project }) => run.build_only(staged, project).await,
        (Action::Setup, Subject::Brought { staged, project }) => run.set_up_host(staged, project).await,
        (Action::Up, Subject::There { .. }) => run.start_current(false).await,
        (Action::Restart, _) => run.start_current(true).await,
        (Action::Rollback { to, .. }, _) => run.rollback(to.as_ref()).await,
        (Action::Down, Subject::There { site, .. }) => run.take_down(site, &[]).await,
        (Action::Clean, Subject::There { site, .. }) => run.take_down(site, &CLEAN).await,
        (Action::Backup, Subject::There { site, model }) => run.backup_now(site, model).await,
        (Action::Prune, Subject::Host) => run.prune_now().await,
        (Action::BackupPrune, Subject::Host) => run.prune_backups_now().await,
        // The others change nothing and never come here, nor does a bundle without a verb for it.
        _ => Ending::of(Outcome::Aborted),
    }
}
