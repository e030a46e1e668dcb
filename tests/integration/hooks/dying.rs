//! What ends a hook before its time: a cancel, and the death of the worker that watches it.

use rustix::process::{Signal, kill_process};

use super::stand::{SOON, Stand, begun, hooks, worker};
use crate::support::{alive, as_pid, needs, until};

#[test]
fn a_cancel_during_a_pre_deploy_hook_ends_it_and_switches_nothing() {
    needs!("docker", "git");
    let stand = Stand::new(&["finally: [{name: g, run: [./note.sh]}]"]);
    stand.deploy("1.0.0").exits(0);
    let before = stand.containers();
    stand.configure("", &["pre_deploy: [{run: [./hang.sh]}]", "finally: [{name: g, run: [./note.sh]}]"]);
    stand.forget();
    let run = stand.begin_as("1.1.0", "ok");
    let processes = stand.hanging();
    run.signal(Signal::INT);
    let ended = run.wait().exits(8);
    let result = stand.host_result(&ended);
    assert_eq!((&result["outcome"], &result["changed"]), (&"cancelled".into(), &false.into()));
    assert_eq!(hooks(&result), ["pre_deploy hang.sh cancelled", "finally g succeeded"]);
    assert!(stand.notes()[0].contains(": cancelled in failed"), "{:?}", stand.notes());
    until(SOON, "the end of its processes", || !processes.into_iter().any(alive));
    assert_eq!((stand.containers(), stand.answers().as_deref()), (before, Some("1.0.0")));
}

#[test]
fn a_cancel_during_a_post_deploy_hook_goes_back() {
    needs!("docker", "git");
    let stand = Stand::new(&[]);
    stand.deploy("1.0.0").exits(0);
    stand.configure("", &["post_deploy: [{run: [./hang.sh], on_error: warn}]"]);
    let run = stand.begin_as("1.1.0", "ok");
    let processes = stand.hanging();
    run.signal(Signal::INT);
    let ended = run.wait().exits(8);
    let result = stand.host_result(&ended);
    assert_eq!((&result["outcome"], &result["rolled_back_to"]), (&"cancelled".into(), &result["release"]));
    assert_eq!(stand.answers().as_deref(), Some("1.0.0"));
    assert!(!processes.into_iter().any(alive));
}

#[test]
fn a_worker_that_is_killed_during_a_pre_deploy_hook_repeats_nothing_and_ends_it() {
    needs!("docker", "git");
    let after = [
        "on_failure: [{name: e, run: [./note.sh]}]",
        "finally: [{name: g, shell: './note.sh; echo recovered $FFE_RECOVERED'}]",
    ];
    let stand = Stand::new(&after);
    stand.deploy("1.0.0").exits(0);
    let before = stand.containers();
    stand.configure(
        "",
        &["pre_deploy: [{name: a, run: [./note.sh]}, {run: [./hang.sh]}]", after[0], after[1]],
    );
    stand.forget();
    let mut run = stand.begin_as("1.1.0", "ok");
    let processes = stand.hanging();
    kill_process(as_pid(worker(&mut run)), Signal::KILL).expect("kill the worker");
    let ended = run.wait().exits(9);
    let result = ended.result();
    assert_eq!(
        hooks(result),
        [
            "pre_deploy a succeeded",
            "pre_deploy hang.sh interrupted",
            "on_failure e succeeded",
            "finally g succeeded"
        ]
    );
    assert_eq!(stand.order(), ["pre_deploy a 1.1.0", "on_failure e 1.1.0", "finally g 1.1.0"]);
    let told = ended
        .events
        .iter()
        .any(|event| event["event"] == "hook_finished" && event["outcome"] == "interrupted");
    assert!(told, "{}", ended.told());
    ended.says(&["recovered true", "hang.sh was interrupted"]);
    assert!(!processes.into_iter().any(alive), "a hook goes on without anybody");
    assert_eq!((stand.containers(), stand.releases()), (before, 1));
    assert_eq!(stand.host_result(&ended), *result);
}

#[test]
fn a_worker_that_is_killed_during_a_post_deploy_hook_leaves_what_its_policy_says() {
    needs!("docker", "git");
    let stand = Stand::new(&["finally: [{name: g, run: [./note.sh]}]"]);
    stand.deploy("1.0.0").exits(0);
    for (policy, version, exit, answers) in
        [("rollback", "1.1.0", 4, "1.0.0"), ("fail", "1.2.0", 5, "1.2.0"), ("warn", "1.3.0", 0, "1.3.0")]
    {
        let hanging =
            format!("post_deploy: [{{run: [./hang.sh], on_error: {policy}}}, {{name: z, run: [./note.sh]}}]");
        stand.configure("", &[&hanging, "finally: [{name: g, run: [./note.sh]}]"]);
        stand.forget();
        std::fs::remove_file(stand.host.dir().join("notes.pids")).ok();
        let mut run = stand.begin_as(version, "ok");
        begun(&mut run, "hang.sh");
        let processes = stand.hanging();
        kill_process(as_pid(worker(&mut run)), Signal::KILL).expect("kill the worker");
        let ended = run.wait().exits(exit);
        let mut expected =
            vec!["post_deploy hang.sh interrupted", "post_deploy z succeeded", "finally g succeeded"];
        if policy != "warn" {
            expected.remove(1);
        }
        assert_eq!(hooks(ended.result()), expected, "{policy}: {}", ended.told());
        assert_eq!(stand.answers().as_deref(), Some(answers), "{policy}");
        assert!(!processes.into_iter().any(alive), "{policy}: a hook goes on without anybody");
        assert_eq!(stand.host_result(&ended), *ended.result());
    }
}
