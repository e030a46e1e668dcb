//! Hooks of a release that goes over SSH: those of the host there, those of the runner here.

use rustix::process::Signal;

use super::stand::{SOON, Stand, begun, hooks, worker};
use crate::support::{Host, Sshd, alive, as_pid, needs, until};

/// A stand whose host is behind an sshd; the sshd goes first.
pub(super) fn stand(hooks: &[&str]) -> (Sshd, Stand) {
    let sshd = Sshd::start();
    let host = sshd.reached_by(Host::local());
    let stand = Stand::on(host, "", hooks);
    let root = stand.host.root_base();
    stand.project.file(
        "deploy/environments.yaml",
        format!("environments:\n  staging: {{root: '{}'}}\n", root.display()),
    );
    (sshd, stand)
}

#[test]
fn over_ssh_hooks_run_on_their_side_in_their_order() {
    needs!("docker", "git", "sshd");
    let where_am_i = "run: [./where.sh]";
    let (_sshd, mut stand) = stand(&[
        &format!("pre_build: [{{name: a, on: runner, {where_am_i}}}]"),
        &format!("pre_deploy: [{{name: b, {where_am_i}}}]"),
        &format!("post_deploy: [{{name: c, {where_am_i}}}]"),
        &format!("finally: [{{name: d, {where_am_i}}}, {{name: e, on: runner, {where_am_i}}}]"),
    ]);
    stand.host = stand.host.with_env("THIS_IS", "runner");
    let script = "#!/bin/sh\necho \"$FFE_HOOK ${THIS_IS:-host} $GREETING\" >>\"$NOTES\"\n";
    stand.project.executable("where.sh", script);
    let ended = stand.deploy("1.0.0").exits(0);
    assert_eq!(
        stand.notes(),
        [
            "pre_build runner hello",
            "pre_deploy host hello",
            "post_deploy host hello",
            "finally host hello",
            "finally runner hello"
        ]
    );
    let told = ["pre_build a", "pre_deploy b", "post_deploy c", "finally d", "finally e"]
        .map(|hook| format!("{hook} succeeded"));
    assert_eq!(hooks(ended.result()), told);
    assert_eq!(ended.events.last().map(|event| event["event"].clone()), Some("deployment_finished".into()));
}

#[test]
fn over_ssh_a_killed_worker_and_a_cancel_end_hooks_as_they_do_here() {
    needs!("docker", "git", "sshd");
    let (_sshd, stand) =
        stand(&["pre_deploy: [{run: [./hang.sh]}]", "finally: [{name: g, run: [./note.sh]}]"]);
    let mut run = stand.begin_as("1.0.0", "ok");
    begun(&mut run, "hang.sh");
    let processes = stand.hanging();
    rustix::process::kill_process(as_pid(worker(&mut run)), Signal::KILL).expect("kill the worker");
    let ended = run.wait().exits(9);
    assert_eq!(hooks(ended.result()), ["pre_deploy hang.sh interrupted", "finally g succeeded"]);
    assert!(!processes.into_iter().any(alive));
    std::fs::remove_file(stand.host.dir().join("notes.pids")).expect("forget them");
    let mut run = stand.begin_as("1.1.0", "ok");
    begun(&mut run, "hang.sh");
    let processes = stand.hanging();
    run.signal(Signal::TERM);
    let ended = run.wait().exits(8);
    assert_eq!(hooks(&stand.host_result(&ended))[0], "pre_deploy hang.sh cancelled");
    until(SOON, "the end of its processes", || !processes.into_iter().any(alive));
}
