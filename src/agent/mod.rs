//! The processes on the host, and the protocol that both halves speak (DESIGN section 3).
//!
//! `attach` relays and owns nothing, `guard` is detached and replaces a dead worker, `work` holds the lease and runs the
//! pipeline. Enter by [`run`] with the word that the process was started with.

mod attach;
mod before;
mod boot;
mod facts;
mod follow;
mod guard;
mod known;
mod link;
mod log;
mod look;
mod newer;
mod order;
pub mod protocol;
mod query;
mod root;
#[cfg(test)]
mod schedules;
mod staging;
mod watch;
mod way;
mod work;

use std::io::Read;

use crate::host::seam;
use crate::model::Exit;

/// What an agent process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves one connection on its standard streams.
    Attach,
    /// Starts the guard and ends.
    Launch,
    /// Watches over the worker.
    Guard,
    /// Runs the pipeline.
    Work,
    /// Ends what the journal of a root names: the unit at boot.
    Recover,
}

/// Plays a role to its end.
pub fn run(role: Role) -> Exit {
    // Everything of ours is private unless it says otherwise (DESIGN section 6).
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if role == Role::Attach {
        seam::enter(seam::Role::Attach);
    }
    let done = match role {
        Role::Attach => in_runtime(attach::attach()).map_err(|error| error.to_string()),
        Role::Launch => guard::launcher().map_err(|error| error.to_string()),
        Role::Guard => guard::guard().map_err(|error| error.to_string()),
        Role::Work => return worker(),
        Role::Recover => {
            in_runtime(boot::recover(std::env::args().skip(2))).map_err(|error| error.to_string())
        }
    };
    match done {
        Ok(()) => Exit::Done,
        Err(message) => {
            eprintln!("ffe-agent: {message}");
            Exit::Internal
        }
    }
}

fn worker() -> Exit {
    let mut text = Vec::new();
    let order = std::io::stdin().read_to_end(&mut text).ok().and_then(|_| serde_json::from_slice(&text).ok());
    let Some(order) = order else { return Exit::Internal };
    match in_runtime(work::work(order)) {
        0 => Exit::Done,
        guard::LEASE_TAKEN => Exit::LeaseTaken,
        _ => Exit::Internal,
    }
}

/// One thread is enough: the agent waits for Docker, and must stay small on the host.
fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(work);
            // The thread that reads standard input ends only with it: the runner may wait for our end to close that.
            runtime.shutdown_background();
            done
        }
        Err(error) => panic!("the kernel gives no event queue: {error}"),
    }
}
