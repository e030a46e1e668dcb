//! One cell: a deployment that is held in its stage, the fault, and what is left when all is over.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{At, Cell, Ends, Fault};
use super::stand::{Manner, PATIENCE, Stand};
use crate::support::{Counter, Running, assert_gapless, output, until, within};

/// How long a runner gets to give up, and a host to be settled, on a busy machine.
const END: Duration = Duration::from_secs(420);
const POLL: Duration = Duration::from_millis(100);

/// What came of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) cell: Cell,
    /// Exit code of the runner; 128 + N when signal N ended it.
    pub(super) exit: i32,
    pub(super) ends: Ends,
    /// From the end of the fault until the host was healthy on one release, with nothing left to do.
    pub(super) settled_ms: u64,
    /// Longest time in which the app acknowledged no write, from the beginning of the deployment to that moment.
    pub(super) silence_ms: u64,
    /// Writes that the app has acknowledged; it has them all.
    pub(super) writes: u64,
}

/// Runs a cell to its end.
///
/// # Panics
/// When it does not end as it may.
pub(super) fn run(stand: &mut Stand, cell: Cell) -> Row {
    let before = stand.answers().expect("the release before answers");
    let counted = written(stand);
    let counter = Counter::start(stand.address(), counted);
    stand.use_wrong_clock(cell.fault == Fault::ClockJumps);
    let version = stand.write(Manner::Held(cell.at));
    stand.hold(cell.at, &version);
    let id = format!("{}-{version}", cell.name());
    let mut deploy = stand.begin(&id);
    stand.until_held(&mut deploy, cell.at, &version, &before);
    strike(stand, &mut deploy, cell.fault);
    stand.release(cell.at, &version, &before);
    let over = Instant::now();
    let settled = until_settled(stand, &mut deploy);
    let (silence, told) = (counter.so_far().longest_gap, stand.answers());
    let ended = deploy.wait();
    mend(stand, cell.fault);
    let ends = if told.as_deref() == Some(&version) { Ends::New } else { Ends::Old };
    let found = (ended.code, ends);
    assert!(
        cell.may_end().contains(&found),
        "{} ended with {found:?} instead of {:?}: {}\n{}",
        cell.name(),
        cell.may_end(),
        ended.told(),
        host_log(stand, &id).iter().map(|event| event["message"].to_string() + "\n").collect::<String>()
    );
    assert_eq!(
        told.as_deref(),
        Some(if ends == Ends::New { &*version } else { &*before }),
        "{}",
        ended.told()
    );
    is_whole(stand, cell, ends);
    assert_same_as_on_the_host(&ended.events, &host_log(stand, &id), ended.code);
    goes_on(stand);
    let counted = counter.so_far();
    assert_eq!(counter.lost(), Some(Vec::new()), "acknowledged writes are lost");
    Row {
        cell,
        exit: found.0,
        ends,
        settled_ms: milliseconds(settled.saturating_duration_since(over)),
        silence_ms: milliseconds(silence),
        writes: counted.acknowledged,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How far earlier cells have counted on this machine.
fn written(stand: &Stand) -> u64 {
    let answer = crate::support::request_at(stand.address(), "GET", "/count", "").expect("the app answers");
    answer.body.lines().filter_map(|line| line.parse().ok()).max().unwrap_or(0)
}

/// Does what goes wrong, and what then happens by itself; returns when that is over.
fn strike(stand: &mut Stand, deploy: &mut Running, fault: Fault) {
    let machine = &mut stand.machine;
    match fault {
        Fault::Interrupt => deploy.signal(Signal::INT),
        Fault::Terminate => deploy.signal(Signal::TERM),
        Fault::Kill => deploy.signal(Signal::KILL),
        Fault::CutFor5 | Fault::CutFor60 => {
            machine.cut();
            pass(if fault == Fault::CutFor5 { 5 } else { 60 });
            machine.heal();
        }
        Fault::CutForGood => machine.cut(),
        Fault::NoSshd => drop(machine.does(&["end-sshd"])),
        Fault::EngineRestarted => {
            machine.does(&["end-engine", "TERM"]);
            machine.start_engine();
        }
        Fault::EngineKilled => {
            machine.does(&["end-engine", "KILL"]);
            pass(5);
            machine.start_engine();
        }
        Fault::WorkerKilled => kill(stand, &["work"]),
        Fault::AgentsKilled => kill(stand, &["guard", "work"]),
        Fault::MachineKilled => {
            machine.kill();
            machine.start_again();
        }
        Fault::DiskFull => drop(machine.does(&["fill"])),
        Fault::ClockJumps => machine.set_clock(3600),
    }
}

/// Undoes what would stop the next deployment: the fault lasted until the host was settled.
fn mend(stand: &Stand, fault: Fault) {
    match fault {
        Fault::CutForGood => stand.machine.heal(),
        Fault::NoSshd => drop(stand.machine.does(&["sshd"])),
        Fault::DiskFull => drop(stand.machine.does(&["free"])),
        _ => {}
    }
}

/// The time that a fault lasts is a part of it.
fn pass(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Kills the agents in these roles at once; before there are any, the one that looks for the runner.
fn kill(stand: &Stand, roles: &[&str]) {
    let mut found: Vec<_> = roles.iter().flat_map(|role| stand.machine.agents(role)).collect();
    if found.is_empty() {
        found = stand.machine.agents("attach");
    }
    output(stand.machine.inside("kill").arg("-KILL").args(found));
}

/// Waits until the runner has ended and the host is settled; returns when it began to be so.
fn until_settled(stand: &Stand, deploy: &mut Running) -> Instant {
    let end = Instant::now() + END;
    let mut since: Option<Instant> = None;
    let mut why;
    loop {
        let asked = Instant::now();
        why = unsettled(stand);
        since = if why.is_none() { since.or(Some(asked)) } else { None };
        if let (Some(since), true) = (since, deploy.has_ended()) {
            return since;
        }
        assert!(
            Instant::now() < end,
            "not settled after {END:?}: {why:?}, runner ended: {}\n{}\n{}",
            deploy.has_ended(),
            deploy.stderr_so_far(),
            stand.machine.told()
        );
        std::thread::sleep(POLL);
    }
}

/// Why the host is not at rest and healthy on one release.
fn unsettled(stand: &Stand) -> Option<String> {
    let root = stand.seen(&stand.root());
    if root.join("state/journal.json").exists() {
        return Some("there is a journal".to_owned());
    }
    let Some(version) = stand.answers() else { return Some("the app does not answer".to_owned()) };
    let release = fs::read(root.join("current/release.json")).unwrap_or_default();
    let release: Value = serde_json::from_slice(&release).unwrap_or_default();
    if release["version"] != *version {
        return Some(format!("{version} answers, and current is {}", release["version"]));
    }
    let at_work = ["guard", "work"].map(|role| stand.machine.agents(role)).concat();
    if !at_work.is_empty() {
        return Some(format!("agents are at work: {at_work:?}"));
    }
    let sick: Vec<_> = containers(stand).into_iter().filter(|line| !line.ends_with("(healthy)")).collect();
    (!sick.is_empty()).then(|| format!("not healthy: {sick:?}"))
}

/// `SERVICE STATUS` of each container on the machine, of whomever.
fn containers(stand: &Stand) -> Vec<String> {
    let format = "{{.Label \"com.docker.compose.service\"}} {{.Status}}";
    let told = stand.machine.docker(&["ps", "--all", "--format", format]);
    let mut lines: Vec<_> = told.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// One container a service and no other, no child of a deployment, nobody who holds the lease.
fn is_whole(stand: &Stand, cell: Cell, ends: Ends) {
    let services: Vec<_> =
        containers(stand).iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
    let expected: &[&str] = match (ends, cell.at) {
        (Ends::New, At::Pulling) => &["other", "web"],
        (Ends::New, At::Building) => &["built", "web"],
        (Ends::New, At::Deploying) => &["gate", "web"],
        _ => &["web"],
    };
    assert_eq!(services, expected, "containers are left over or missing");
    let strays = within(PATIENCE, || {
        let mut command = stand.machine.inside("bash");
        let found = command.args(["-c", "grep -lsz ^FFE_DEPLOYMENT_ID= /proc/[0-9]*/environ || true"]);
        output(found).is_empty().then_some(())
    });
    assert!(strays.is_some(), "children of a deployment are left");
    let lease = stand.root().join("state/lease");
    let free = stand.machine.inside("flock").arg("-n").arg(lease).arg("true").status();
    assert!(free.is_ok_and(|free| free.success()), "somebody holds the lease");
}

/// The host's own log of a deployment.
fn host_log(stand: &Stand, id: &str) -> Vec<Value> {
    let path = stand.seen(&stand.root()).join("state/jobs").join(id).join("events.jsonl");
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("a line of the host's log is JSON")).collect()
}

/// The runner has told each line of the host once and in its order: all of them when it has seen the end.
fn assert_same_as_on_the_host(events: &[Value], host: &[Value], exit: i32) {
    let told: Vec<_> = events.iter().filter(|event| event["origin"] == "agent").cloned().collect();
    assert_gapless(events);
    assert_gapless(host);
    if host.is_empty() {
        return;
    }
    assert_eq!(host.last().map(|last| &last["event"]), Some(&"deployment_finished".into()));
    let common = told.len().min(host.len());
    assert_eq!(told[..common], host[..common], "the runner and the host tell different things");
    if [0, 4, 5, 9].contains(&exit) {
        assert_eq!(told.len(), host.len(), "the runner has not told all");
    }
}

/// The next deployment of a good release succeeds.
fn goes_on(stand: &mut Stand) {
    let next = stand.write(Manner::Usual);
    stand.deploy().exits(0);
    until(PATIENCE, "the next release", || stand.answers().as_deref() == Some(&next));
    let why = unsettled(stand);
    assert_eq!(why, None, "after the next deployment");
}
