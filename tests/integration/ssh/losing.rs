//! Losing each other: the runner killed, its whole tree killed, the connection cut, the host out of reach.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::stand::{SOON, Stand, attaches, files_in, left_behind, write_project};
use crate::support::{
    Act, Host, Project, Running, Shim, SshdOptions, descendants, free_port, kill_tree, needs, until,
};

/// What GitHub's runner puts into the environment of a job, to find what to kill at its end.
const TRACKING: &str = "RUNNER_TRACKING_ID";

/// The job's own mark, of no other test.
fn tracking_id(host: &Host) -> String {
    format!("github_{}", host.app())
}

/// A deployment that waits on the host in the middle of its switch.
fn held_in_the_switch(shim: &Shim, id: &str) -> (Stand, Running) {
    shim.on(&["compose", "up"], &Act::Hold);
    let stand = Stand::with(&SshdOptions { path_first: vec![shim.path()], ..SshdOptions::default() });
    let stand = stand.on_runner(|host| {
        let id = tracking_id(&host);
        host.with_env(TRACKING, id)
    });
    let mut deploy = stand.start("1.0.0", &["--deployment-id", id]);
    deploy.until_stage(SOON, "deploying");
    until(SOON, "compose to be called", || shim.count(&["compose", "up"]) > 0);
    (stand, deploy)
}

#[test]
fn a_runner_that_is_killed_leaves_nothing_and_the_deployment_goes_on() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let (stand, deploy) = held_in_the_switch(&shim, "killed");
    deploy.signal(Signal::KILL);
    left_behind(&stand);
    shim.release();
    stand.until_current("1.0.0");
    let followed = stand.start("1.0.0", &["--deployment-id", "killed"]).wait().exits(0);
    assert_eq!(followed.result()["outcome"], "succeeded");
    assert_same_as_on_the_host(&followed.events, &stand, "killed");
}

#[test]
fn a_job_whose_whole_tree_is_killed_leaves_nothing_and_the_deployment_goes_on() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let (stand, deploy) = held_in_the_switch(&shim, "felled");
    kill_job(deploy.pid(), &tracking_id(&stand.host));
    left_behind(&stand);
    shim.release();
    stand.until_current("1.0.0");
}

/// Ends a job as GitHub's runner does: its tree, and whatever carries its tracking id.
fn kill_job(pid: u32, id: &str) {
    let tracked = format!("{TRACKING}={id}").into_bytes();
    let mut all = descendants(pid);
    all.push(pid);
    for entry in fs::read_dir("/proc").expect("read /proc").flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == tracked) {
            all.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
    }
    for pid in all.into_iter().filter(|pid| *pid != std::process::id()) {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        // One that has ended meanwhile is as good as killed.
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

#[test]
fn a_runner_that_is_lost_before_the_start_leaves_the_host_as_it_was() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    shim.on(&["config", "--format"], &Act::Hold);
    let stand = Stand::with(&SshdOptions { path_first: vec![shim.path()], ..SshdOptions::default() });
    let looking = || shim.count(&["config", "--format"]);
    let cut = stand.start("1.0.0", &[]);
    until(SOON, "compose to be asked", || looking() == 1);
    stand.sshd.cut_sessions();
    let told = cut.wait().exits(7);
    told.says(&["the connection to the host was lost", "nothing was touched", "run it again"]);
    let killed = stand.start("1.0.0", &[]);
    until(SOON, "compose to be asked again", || looking() == 2);
    killed.signal(Signal::KILL);
    drop(killed);
    shim.release();
    left_behind(&stand);
    assert!(!stand.root().join("state/jobs").exists() && !stand.root().join("current").exists());
    let waiting = stand.sshd.home().join(".cache/ffe-deploy/stage");
    assert_eq!(files_in(&waiting, ""), Vec::<std::path::PathBuf>::new(), "no bundle lies about");
    assert!(stand.host.containers(&format!("{}-staging", stand.host.app()), "web").is_empty());
}

#[test]
fn on_this_machine_too_a_killed_job_does_not_take_the_deployment_with_it() {
    needs!("docker");
    let shim = Shim::docker();
    shim.on(&["compose", "up"], &Act::Hold);
    let host = Host::local();
    let id = tracking_id(&host);
    let host = host.with_path_first(shim.path()).with_env(TRACKING, &id);
    let (project, port) = (Project::new(host.app()), free_port());
    write_project(&project, &host.root_base(), port);
    let arguments =
        ["deploy", "staging", "--host", "local", "--version", "1.0.0", "--deployment-id", "felled"];
    let mut deploy = host.spawn(&project, &arguments);
    deploy.until_stage(SOON, "deploying");
    until(SOON, "compose to be called", || shim.count(&["compose", "up"]) > 0);
    kill_job(deploy.pid(), &id);
    drop(deploy);
    until(SOON, "no attach", || crate::support::mentioning(host.dir()).iter().all(|pid| !is_attach(*pid)));
    shim.release();
    let followed = host.run(&project, &arguments).exits(0);
    assert_eq!(followed.result()["outcome"], "succeeded");
    assert_eq!(host.get(port, "/version").body, "1.0.0");
}

fn is_attach(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(b"attach\0"))
}

#[test]
fn a_connection_that_is_cut_is_made_again_and_no_line_is_lost_or_doubled() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let (stand, deploy) = held_in_the_switch(&shim, "cut");
    stand.sshd.cut_sessions();
    until_back(&deploy, 1);
    // The agent alone: the connection is still there, and so it is used.
    attaches(&stand).into_iter().for_each(kill_tree);
    until_back(&deploy, 2);
    assert_eq!(stand.sshd.connections(), 2);
    shim.release();
    let ended = deploy.wait().exits(0);
    assert_eq!(ended.result()["outcome"], "succeeded");
    assert_same_as_on_the_host(&ended.events, &stand, "cut");
    ended.says(&["lost sight of the deployment"]);
    left_behind(&stand);
}

/// Waits until the runner has found its deployment again so often.
#[track_caller]
fn until_back(deploy: &Running, times: usize) {
    until(SOON, "the runner to be back", || {
        let events = deploy.events_so_far();
        events.iter().filter(|event| event["code"] == "connection.back").count() == times
    });
}

/// The runner has told each line of the host once, and in its order.
#[track_caller]
fn assert_same_as_on_the_host(events: &[Value], stand: &Stand, id: &str) {
    let log = stand.root().join("state/jobs").join(id).join("events.jsonl");
    let hosts = read_lines(&log);
    let told: Vec<_> = events.iter().filter(|event| event["origin"] == "agent").cloned().collect();
    assert_eq!(told, hosts);
    assert!(hosts.len() > 10, "{}", log.display());
}

fn read_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn a_host_that_stays_out_of_reach_is_exit_11_and_can_be_followed_later() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let (mut stand, deploy) = held_in_the_switch(&shim, "gone");
    stand.sshd.stop();
    let lost = deploy.wait().exits(11);
    lost.says(&["contact to the host was lost", "goes on", "--deployment-id gone"]);
    lost.says(&["follow it with `ffe-deploy status staging --project-root ", " --follow`"]);
    assert_eq!(
        (&lost.result()["outcome"], &lost.events.last().unwrap()["final"]),
        (&"lost".into(), &false.into())
    );
    assert!(!lost.stderr.contains("nothing was touched"), "{}", lost.told());
    left_behind(&stand);
    shim.release();
    stand.sshd.start_again();
    let followed = stand.start("1.0.0", &["--deployment-id", "gone"]).wait().exits(0);
    assert_same_as_on_the_host(&followed.events, &stand, "gone");
    assert_eq!(stand.version(), "1.0.0");
}

#[test]
fn a_cancel_that_meets_a_lost_connection_is_delivered_over_the_next_one() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let (stand, deploy) = held_in_the_switch(&shim, "again");
    stand.sshd.cut_sessions();
    deploy.signal(Signal::TERM);
    let ended = deploy.wait().exits(8);
    ended.says(&["lost sight of the deployment", "asked to stop", "the host has acknowledged"]);
    assert_eq!(ended.result()["outcome"], "cancelled");
    shim.release();
    left_behind(&stand);
}

#[test]
fn a_cancel_while_the_host_is_out_of_reach_ends_at_once() {
    needs!("docker", "sshd");
    let shim = Shim::docker();
    let (mut stand, mut deploy) = held_in_the_switch(&shim, "unheard");
    stand.sshd.stop();
    deploy.until_event(SOON, |event| event["code"] == "connection.lost");
    deploy.signal(Signal::INT);
    let ended = deploy.wait().exits(11);
    ended.says(&["did not acknowledge", "--deployment-id unheard"]);
    assert!(ended.duration < Duration::from_secs(60));
    shim.release();
    stand.until_current("1.0.0");
    assert!(attaches(&stand).is_empty());
}
