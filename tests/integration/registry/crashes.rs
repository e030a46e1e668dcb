//! Cancelled and killed in the middle of a pull, and a registry that is gone when something has to be undone.

use rustix::process::{Pid, Signal, kill_process};

use super::{SOON, Stand};
use crate::support::{Act, Running, alive, mentioning, needs, until};

/// Begins a deployment whose pull hangs on a part of the image.
fn begin_hanging(stand: &Stand) -> Running {
    let server = stand.front.server();
    stand.configure(&server, "").compose(&format!("image: '{server}/{}/web:2'", stand.host.app()));
    stand.front.hang(true);
    let asked = || {
        let parts = |request: &String| request.starts_with("GET ") && request.contains("/blobs/");
        stand.front.asked().into_iter().filter(parts).count()
    };
    let before = asked();
    let run = stand.begin("2", &[]);
    until(SOON, "a part of the image to be asked for", || asked() > before);
    run
}

fn worker_of(run: &mut Running) -> u32 {
    let took_over = run.until_event(SOON, |event| event["event"] == "host_took_over");
    took_over["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let words = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    words.and_then(|words| words.get(1)?.parse().ok()).expect("a parent")
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("kill it");
}

#[test]
fn a_pull_that_hangs_can_be_cancelled_and_one_that_was_killed_leaves_no_login_behind() {
    needs!("docker", "docker-registry");
    let stand = Stand::local();
    stand.push("web:1", "one");
    stand.push("web:2", "two");
    stand.image("web:1");
    stand.deploy("1").exits(0);
    let containers = stand.containers();

    let run = begin_hanging(&stand);
    run.signal(Signal::INT);
    run.wait().exits(8);
    let directory = stand.root().join("state/docker-config");
    until(SOON, "the end of the login", || !directory.exists());
    stand.has_no_trace();
    stand.is_untouched("one", &containers);

    // Worker, guard and runner are killed at once: nobody is left to tidy up, and there is nothing of the login.
    let mut run = begin_hanging(&stand);
    let worker = worker_of(&mut run);
    kill(parent(worker));
    kill(worker);
    run.signal_group(Signal::KILL);
    drop(run);
    until(SOON, "the end of the worker", || !alive(worker));
    assert!(std::fs::read(directory.join("config.json")).is_err(), "what is left leads nowhere");
    stand.has_no_secret();
    // Whoever comes next takes the rest away.
    stand.front.hang(false);
    let ended = stand.deploy("2").exits(0);
    ended.says(&["was left unfinished; it is ended first"]);
    assert_eq!(stand.says("BUILT"), "two");
    stand.has_no_trace();
    let shim = std::fs::canonicalize(stand.shim.path()).expect("the shim is there");
    until(SOON, "the end of the pull", || !mentioning(&shim).into_iter().any(alive));
}

#[test]
fn a_registry_that_is_gone_is_not_needed_to_undo_what_was_killed_half_way() {
    needs!("docker", "docker-registry");
    let mut stand = Stand::local();
    stand.push("web:1", "one");
    stand.push("web:2", "two");
    stand.image("web:1");
    stand.deploy("1").exits(0);
    stand.image("web:2");
    stand.shim.on_first(1, &["compose", "up"], &Act::Hold);
    let mut run = stand.begin("2", &[]);
    run.until_stage(SOON, "deploying");
    until(SOON, "the switch", || stand.shim.count(&["compose", "up"]) > 1);
    stand.registry.stop();
    for name in ["web:1", "web:2"] {
        stand.host.docker(&["rmi", "--force", &stand.reference(name)]);
    }
    kill(worker_of(&mut run));
    let ended = run.wait().exits(4);
    assert_eq!(ended.result()["rolled_back_to"], ended.result()["previous_release"]);
    assert_eq!(stand.says("BUILT"), "one");
}
