//! Programs that outlived the worker that started them: found by the deployment that their environment names.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::model::DeploymentId;

/// Variable that every program of a deployment carries.
pub const DEPLOYMENT: &str = "FFE_DEPLOYMENT_ID";
/// How often is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(50);

/// Ends every program that carries this deployment's id, except this one, and waits until they are gone, at most for
/// `patience`. Returns how many there were.
pub async fn end_all(id: &DeploymentId, patience: Duration) -> usize {
    let found = find(id);
    let until = Instant::now() + patience;
    let mut left = found.clone();
    let mut signal = Signal::TERM;
    while !left.is_empty() && Instant::now() < until {
        for pid in &left {
            // ESRCH: it is gone already, which is what is wanted.
            kill_process(*pid, signal).ok();
        }
        tokio::time::sleep(LOOK).await;
        left = find(id);
        if Instant::now() + patience / 2 > until {
            signal = Signal::KILL;
        }
    }
    found.len()
}

/// Returns the programs that carry this deployment's id, except this one.
fn find(id: &DeploymentId) -> Vec<Pid> {
    let wanted = format!("{DEPLOYMENT}={id}");
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id() && carries(*pid, &wanted))
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}

fn carries(pid: u32, wanted: &str) -> bool {
    let environment = fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_dead_worker_left_is_found_by_its_deployment_and_ended() {
        let id = DeploymentId::generate();
        let mut child =
            std::process::Command::new("sleep").arg("600").env(DEPLOYMENT, id.as_str()).spawn().unwrap();
        let waiting = std::thread::spawn(move || child.wait());
        assert_eq!(end_all(&id, Duration::from_secs(10)).await, 1);
        assert!(waiting.join().unwrap().unwrap().code().is_none(), "it was ended by a signal");
        assert_eq!(end_all(&id, Duration::from_secs(1)).await, 0);
    }
}
