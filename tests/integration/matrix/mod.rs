//! The fault matrix: everything that can go wrong, in every stage of a deployment to a host over SSH, and each time the
//! app ends healthy on one release, and the next deployment succeeds.
//!
//! The short run has a cell for each fault, on machines side by side. `scripts/test --full faults` runs them all, with
//! a directory for what comes of them in FFE_FAULTS, and writes the table of docs/reliability.md.

mod cell;
mod full;
mod plan;
mod stand;

use plan::{At, Cell, Fault};
use stand::Stand;

use crate::crash_points::programs;
use crate::support::needs;

/// Runs these on one machine, one after the other.
fn run_all(cells: &[(Fault, At)]) {
    let mut stand = Stand::start();
    for &(fault, at) in cells {
        let row = cell::run(&mut stand, Cell { fault, at });
        eprintln!("{}: {row:?}", row.cell.name());
    }
}

#[test]
fn a_deployment_survives_whatever_happens_to_its_runner_and_the_link() {
    needs!("machine", "docker-registry");
    run_all(&[
        (Fault::Interrupt, At::Verifying),
        (Fault::Terminate, At::Building),
        (Fault::Kill, At::Deploying),
        (Fault::CutFor5, At::Pulling),
        (Fault::CutFor60, At::RollingBack),
    ]);
}

/// On a machine of its own: the runner takes minutes to give up.
#[test]
fn a_deployment_goes_on_without_a_runner_that_never_comes_back() {
    needs!("machine", "docker-registry");
    run_all(&[(Fault::CutForGood, At::Building)]);
}

#[test]
fn a_deployment_survives_whatever_happens_to_its_host() {
    needs!("machine", "docker-registry");
    run_all(&[
        (Fault::NoSshd, At::BackingUp),
        (Fault::WorkerKilled, At::RollingBack),
        (Fault::AgentsKilled, At::Deploying),
        (Fault::MachineKilled, At::Verifying),
        (Fault::DiskFull, At::Verifying),
    ]);
}

/// With a build whose wall clock can be wrong.
#[test]
fn a_deployment_waits_by_no_clock_that_jumps() {
    needs!("machine", "docker-registry");
    if programs().is_some() {
        run_all(&[(Fault::ClockJumps, At::Verifying)]);
    }
}

#[test]
fn a_deployment_survives_whatever_happens_to_its_docker() {
    needs!("machine", "docker-registry");
    run_all(&[(Fault::EngineRestarted, At::Validating), (Fault::EngineKilled, At::Deploying)]);
}
