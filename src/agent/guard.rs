//! The guard: detached from every connection, it starts the worker, and another one in recovery when it dies.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, kill_process_group};

use super::order::Order;
use crate::host::atomic::{self, WriteError};
use crate::host::ballast;
use crate::host::boot::{lingers, systemd_for_user};
use crate::host::children::DEPLOYMENT;
use crate::host::digest;
use crate::host::layout::Layout;
use crate::model::{ErrorKind, FailureReport};

/// How often a dead worker is replaced.
const REPLACEMENTS: usize = 3;
/// What the guard says when the order has reached it.
const READY: &str = "ready";
/// Exit status of a worker that found the lease taken.
pub(super) const LEASE_TAKEN: u8 = 75;
/// Exit status of a worker that could not end what it found, for a reason that another one would find, too.
pub(super) const UNENDED: u8 = 76;
/// Longest wait for a guard to take its order.
const TAKEN: Duration = Duration::from_secs(60);
/// Longest wait for systemd to make a scope, and how often is looked.
const SCOPE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
/// Variables that the guard's environment is made of (DESIGN section 3): never what the job carries.
const KEPT: [&str; 8] =
    ["PATH", "HOME", "USER", "LANG", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Why no guard runs.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    /// A file of its own.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It could not be started, or ended before it was ready.
    #[error("the guard could not be started; nothing was changed")]
    Start(#[source] io::Error),
}

impl GuardError {
    /// Returns the failure with its next step.
    pub(super) fn report(&self) -> FailureReport {
        let cause = match self {
            Self::Write(error) => format!(": {}; nothing was changed", error.source),
            Self::Start(error) => format!(": {error}"),
        };
        if let Self::Write(error) = self {
            let (code, hint) = if error.is_full() {
                ("host.disk", "free space on the host's disk, then deploy again")
            } else {
                ("host.write", "make the directory writable for the user that deploys")
            };
            let message = format!("{self}{cause}");
            return FailureReport::new(ErrorKind::DeploymentError, code, message).hint(hint);
        }
        FailureReport::new(ErrorKind::DeploymentError, "agent.guard", format!("{self}{cause}"))
            .hint("look at state/jobs/<id>/guard.log below the root, then deploy again")
    }
}

/// Starts a guard for this order, and returns when it has the order and needs nobody any more.
///
/// # Errors
/// It could not be started.
pub(super) fn launch(layout: &Layout, order: &Order) -> Result<(), GuardError> {
    if order.recover {
        ballast::give_up_if_scarce(&layout.ballast());
    }
    let program = keep_agent(layout)?;
    let job = layout.job(&order.job.deployment_id);
    atomic::make_directory(&job, 0o700)?;
    let log = job.join("guard.log");
    open_log(&log).map_err(WriteError::at(&log))?;
    let launch = |program: &Path| {
        let log_file = open_log(&log)?;
        Command::new(program)
            .arg("launch")
            .env_clear()
            .envs(environment())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0)
            .spawn()
    };
    let started = match launch(&program) {
        // Where no program may run below the root (noexec), this one runs from where it is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            std::env::current_exe().and_then(|this| launch(&this))
        }
        started => started,
    };
    let mut child = started.map_err(GuardError::Start)?;
    let handed = hand_over(&mut child, order, TAKEN);
    if handed.is_err() {
        // What hangs must not take the order later. A guard that has taken it is in a session of its own.
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        group.map(|group| kill_process_group(group, Signal::KILL).ok());
    }
    // The launcher ends at once; the guard is init's child by then.
    child.wait().map_err(GuardError::Start)?;
    handed.map_err(GuardError::Start)
}

fn hand_over(child: &mut Child, order: &Order, limit: Duration) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let order = serde_json::to_vec(order)?;
    // A thread of its own: what hangs does not read.
    let handing = std::thread::spawn(move || stdin.write_all(&order));
    let limit = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    // The launcher's end is a signal to us.
    let heard = retry_on_intr(|| poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit)))?;
    if heard == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // It has read all of it before it says anything, or has ended.
    handing.join().map_err(|_| gone())??;
    let mut said = String::new();
    BufReader::new(stdout).read_line(&mut said)?;
    if said.trim() == READY { Ok(()) } else { Err(gone()) }
}

fn open_log(path: &Path) -> io::Result<File> {
    atomic::open(path, OpenOptions::new().create(true).append(true).mode(0o600))
}

/// Returns those variables of this process that the guard gets.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    let is_kept = |name: &str| {
        let is_fault = cfg!(feature = "fault-injection") && name.starts_with("FFE_FAULT_");
        KEPT.contains(&name) || name.starts_with("DOCKER_") || is_fault
    };
    std::env::vars().filter(move |(name, _)| is_kept(name))
}

/// Keeps this agent below the root, for recovery by whoever comes (DESIGN section 6, `state/bin`).
fn keep_agent(layout: &Layout) -> Result<PathBuf, GuardError> {
    let this = std::env::current_exe().map_err(GuardError::Start)?;
    let digest = digest::of_file(&this).map_err(GuardError::Start)?;
    let home = layout.agents().join(format!("{}-{digest}", env!("CARGO_PKG_VERSION")));
    let kept = home.join("ffe-agent");
    if digest::of_file(&kept).is_ok_and(|found| found == digest) {
        return Ok(kept);
    }
    atomic::make_directory(&home, 0o700)?;
    let beside = home.join(format!(".ffe-agent-{}", std::process::id()));
    let placed = atomic::copy(&this, &beside, None).and_then(|()| atomic::rename(&beside, &kept));
    if placed.is_err() {
        // Half an agent on a full disk helps nobody; what cannot be removed either is reported by the error itself.
        atomic::remove_tree(&home).ok();
    }
    placed.map_err(WriteError::at(&kept))?;
    Ok(kept)
}

/// The process between attach and guard: starts the guard and ends, so that the guard belongs to nobody.
///
/// # Errors
/// The guard cannot be started.
pub(super) fn launcher() -> io::Result<()> {
    let this = std::env::current_exe()?;
    let mut scope = systemd_scope();
    if scope.as_mut().is_some_and(|scope| becomes(scope.arg(&this).arg("guard"), &this)) {
        return Ok(());
    }
    Command::new(this).arg("guard").spawn().map(drop)
}

/// Starts a command that replaces itself by `program`, and returns whether it has: without a bus, or without the right
/// to ask it, `systemd-run` ends instead, and the order still waits in the pipe for a guard without a scope.
fn becomes(command: &mut Command, program: &Path) -> bool {
    let Ok(mut child) = command.spawn() else { return false };
    let image = PathBuf::from(format!("/proc/{}/exe", child.id()));
    let until = Instant::now() + SCOPE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        if std::fs::read_link(&image).is_ok_and(|image| image == program) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    // What hangs must not become a second guard later.
    child.kill().ok();
    child.wait().ok();
    false
}

/// A logout kills a user's processes where logind says so, detached or not; a scope of its own saves the guard.
///
/// The manager of a user who does not linger ends with the last session and takes its scopes along (tried: 10 s after the
/// runner was killed): there the guard stays in the session, which logind leaves alone by default.
fn systemd_scope() -> Option<Command> {
    let user = systemd_for_user().filter(|_| crate::host::process::is_installed("systemd-run"))?;
    if user && !lingers() {
        return None;
    }
    let mut command = Command::new("systemd-run");
    if user {
        command.arg("--user");
    }
    command.args(["--scope", "--quiet", "--collect", "--"]);
    Some(command)
}

/// The guard itself.
///
/// # Errors
/// The order cannot be read, or no worker can be started.
pub(super) fn guard() -> io::Result<()> {
    // EPERM: we lead a session already, as under systemd-run; that is what is wanted.
    rustix::process::setsid().ok();
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    let mut order: Order = serde_json::from_slice(&text)?;
    {
        let mut out = io::stdout().lock();
        out.write_all(format!("{READY}\n").as_bytes())?;
        out.flush()?;
    }
    let_go()?;
    let _ended = watch(&mut order, run_worker)?;
    Ok(())
}

/// Lets go of the pipes to attach, so that its connection can end before we do.
fn let_go() -> io::Result<()> {
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

/// Lets a worker carry an order out, and replaces it by one in recovery when it dies.
pub(super) fn watch(
    order: &mut Order,
    mut run_worker: impl FnMut(&Order) -> io::Result<ExitStatus>,
) -> io::Result<ExitStatus> {
    let mut ended = run_worker(order)?;
    for _ in 0..REPLACEMENTS {
        let in_vain = [LEASE_TAKEN, UNENDED].map(i32::from);
        if ended.success() || ended.code().is_some_and(|code| in_vain.contains(&code)) {
            break;
        }
        order.recover = true;
        ended = run_worker(order)?;
    }
    Ok(ended)
}

fn run_worker(order: &Order) -> io::Result<ExitStatus> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("work")
        .env(DEPLOYMENT, order.job.deployment_id.as_str())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A worker that died before it read its order has a status that says so.
        stdin.write_all(&serde_json::to_vec(order)?).ok();
    }
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_does_not_take_its_order_is_not_waited_for_for_ever() {
        let order = Order { job: crate::model::example_job(), staged: None, compose: None, recover: false };
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut hangs = start("sleep 600");
        let handed = hand_over(&mut hangs, &order, Duration::from_secs(1));
        assert_eq!(handed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        hangs.kill().unwrap();
        hangs.wait().unwrap();
        let mut takes = start("cat >/dev/null; echo ready");
        hand_over(&mut takes, &order, TAKEN).unwrap();
        takes.wait().unwrap();
    }

    #[test]
    fn a_scope_counts_only_when_the_program_runs_in_it() {
        let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
        let mut refused = Command::new("sh");
        assert!(!becomes(refused.args(["-c", "exit 1"]), &sleep));
        assert!(!becomes(&mut Command::new("no-such-systemd-run"), &sleep));
        let mut replaced = Command::new("sh");
        assert!(becomes(replaced.args(["-c", "exec sleep 5"]), &sleep));
    }
}
