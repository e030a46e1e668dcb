//! Programs that outlived the worker that started them: found by the deployment that their environment names, and by the
//! process ids and start times that the journal holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::clock::Moment;
use crate::model::DeploymentId;

/// Variable that every program of a deployment carries.
pub const DEPLOYMENT: &str = "FFE_DEPLOYMENT_ID";
/// How often is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(50);
/// How long they get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Programs that do not end, in words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} still runs, and does not end", .0.join(", "))]
pub struct Lasting(pub Vec<String>);

/// Ends every program that carries this deployment's id, and those of `known` that are still the same ones, except this
/// process, and waits until they are gone, at most for `patience`. Returns how many there were.
///
/// # Errors
/// Some of them do not end.
pub async fn end_all(
    id: &DeploymentId,
    known: &BTreeMap<u32, u64>,
    patience: Duration,
) -> Result<usize, Lasting> {
    #[cfg(test)]
    if let Some(world) = super::simulated::world() {
        return Ok(world.end_programs(id));
    }
    let wanted = format!("{DEPLOYMENT}={id}");
    let is_ours = |pid: u32| {
        let start = known.get(&pid);
        carries(pid, &wanted) || (start.is_some() && start_of(pid).as_ref() == start)
    };
    let find = || pids().into_iter().filter(|pid| is_ours(*pid)).collect::<Vec<_>>();
    let (kill, until) = (Moment::now().after(GRACE.min(patience / 2)), Moment::now().after(patience));
    let mut left = find();
    let found = left.len();
    while !left.is_empty() {
        if until.left().is_zero() {
            return Err(Lasting(left.into_iter().map(named).collect()));
        }
        let signal = if kill.left().is_zero() { Signal::KILL } else { Signal::TERM };
        left.iter().for_each(|pid| tell(*pid, signal, &is_ours));
        tokio::time::sleep(LOOK).await;
        left = find();
    }
    Ok(found)
}

/// Returns when a process started, in clock ticks since the machine's start; nothing when it has ended.
/// Source: proc_pid_stat(5), field 22; the name in field 2 may hold anything.
pub fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(of(pid).join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !ended)
}

/// Returns the id of the machine's present start: process ids mean nothing after the next one. Where the kernel does not
/// say, every start counts as the same.
pub fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Sends a signal, if the process is still the one that was meant: its number may be another's by now.
fn tell(pid: u32, signal: Signal, is_ours: &impl Fn(u32) -> bool) {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    match pidfd_open(raw, PidfdFlags::empty()) {
        // From here on the number cannot become another's. ESRCH: it is gone already, which is what is wanted.
        Ok(process) if is_ours(pid) => drop(pidfd_send_signal(process, signal)),
        // Linux before 5.3.
        Err(Errno::NOSYS) if is_ours(pid) => drop(kill_process(raw, signal)),
        _ => {}
    }
}

/// Returns the processes of this machine that can be seen, except this one.
fn pids() -> Vec<u32> {
    let listing = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listing.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

fn carries(pid: u32, wanted: &str) -> bool {
    let environment = fs::read(of(pid).join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

fn named(pid: u32) -> String {
    let words = fs::read(of(pid).join("cmdline")).unwrap_or_default();
    let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    format!("`{}` (process {pid})", words.join(" ").trim())
}

fn of(pid: u32) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    /// Returns whether it was ended by a signal.
    fn was_ended(mut child: Child) -> bool {
        std::thread::spawn(move || child.wait().unwrap().code().is_none()).join().unwrap()
    }

    #[tokio::test]
    async fn what_a_dead_worker_left_is_found_by_its_deployment_and_ended() {
        let (id, none) = (DeploymentId::generate(), BTreeMap::new());
        let child = sleeper().env(DEPLOYMENT, id.as_str()).spawn().unwrap();
        let waiting = std::thread::spawn(move || was_ended(child));
        assert_eq!(end_all(&id, &none, SOON).await, Ok(1));
        assert!(waiting.join().unwrap());
        assert_eq!(end_all(&id, &none, SOON).await, Ok(0));
    }

    #[tokio::test]
    async fn a_program_that_hides_is_found_by_its_start_and_a_number_that_is_used_again_is_left_alone() {
        let id = DeploymentId::generate();
        let (hidden, mut other) = (sleeper().spawn().unwrap(), sleeper().spawn().unwrap());
        let start = |child: &Child| start_of(child.id()).unwrap();
        let known =
            BTreeMap::from([(hidden.id(), start(&hidden)), (other.id(), start(&other).wrapping_sub(1))]);
        let waiting = std::thread::spawn(move || was_ended(hidden));
        assert_eq!(end_all(&id, &known, SOON).await, Ok(1));
        assert!(waiting.join().unwrap());
        assert!(other.try_wait().unwrap().is_none(), "somebody else's process was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_ended_in_time_is_an_error_that_names_it() {
        let id = DeploymentId::generate();
        let mut child = sleeper().env(DEPLOYMENT, id.as_str()).spawn().unwrap();
        // Without any time it is not even told to.
        let lasting = end_all(&id, &BTreeMap::new(), Duration::ZERO).await.unwrap_err();
        let words = lasting.to_string();
        assert!(words.contains("`sleep 600`") && words.contains(&child.id().to_string()), "{words}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
