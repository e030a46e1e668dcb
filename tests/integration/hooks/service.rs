//! Hooks in a container of the new release.

use rustix::process::Signal;

use super::stand::{SOON, Stand, begun, hooks};
use crate::support::{needs, until};

fn of_hooks(stand: &Stand) -> String {
    let of = format!("label=com.docker.compose.project={}-staging", stand.host.app());
    stand.host.docker(&["ps", "--all", "--quiet", "--filter", &of, "--filter", "label=ffe-deploy.hook"])
}

#[test]
fn a_service_runs_a_hook_of_the_new_release_in_a_container_of_its_own() {
    needs!("docker", "git");
    let hook = "pre_deploy: [{service: backend, shell: 'echo $VERSION of $FFE_VERSION after $FFE_PREVIOUS_VERSION.'}]";
    let stand = Stand::new(&[hook]);
    // Of the first release there is not even a network yet.
    for (version, expected) in [("1.0.0", "1.0.0 of 1.0.0 after ."), ("1.1.0", "1.1.0 of 1.1.0 after 1.0.0.")]
    {
        let ended = stand.deploy(version).exits(0);
        let said: Vec<_> =
            ended.events_named("log_line").into_iter().filter(|line| line["source"] == "hook echo").collect();
        assert!(said.iter().any(|line| line["text"] == expected), "{said:?}");
        assert_eq!(ended.event("hook_started")["place"], "service backend");
        assert_eq!(hooks(ended.result()), ["pre_deploy echo succeeded"]);
        assert_eq!((of_hooks(&stand).as_str(), stand.containers().len()), ("", 1));
    }
    stand.configure("", &["pre_deploy: [{service: backend, run: [sh, -c, 'exit 7']}]"]);
    let ended = stand.deploy("1.2.0").exits(9);
    assert_eq!(ended.event("hook_finished")["exit_code"], 7);
    assert_eq!((of_hooks(&stand).as_str(), stand.answers().as_deref()), ("", Some("1.1.0")));
}

#[test]
fn a_container_of_a_hook_is_ended_by_a_cancel_by_its_time_and_after_the_death_of_its_worker() {
    needs!("docker", "git");
    let hook = |time: &str| {
        format!(
            "pre_deploy: [{{service: backend, name: wait, run: [sh, -c, 'echo here; sleep 600'], timeout: {time}}}]"
        )
    };
    let stand = Stand::new(&[]);
    stand.configure("", &[&hook("3s")]);
    let ended = stand.deploy("1.0.0").exits(9);
    assert_eq!(hooks(ended.result()), ["pre_deploy wait timed_out"]);
    assert_eq!(of_hooks(&stand), "");

    stand.configure("", &[&hook("5m")]);
    for how in ["cancel", "kill"] {
        let mut run = stand.begin_as("1.1.0", "ok");
        begun(&mut run, "wait");
        until(SOON, "its container", || !of_hooks(&stand).is_empty());
        let exit = if how == "cancel" {
            run.signal(Signal::INT);
            8
        } else {
            let worker = super::stand::worker(&mut run);
            rustix::process::kill_process(crate::support::as_pid(worker), Signal::KILL).expect("kill it");
            9
        };
        let ended = run.wait().exits(exit);
        stand.host_result(&ended);
        until(SOON, "the end of its container", || of_hooks(&stand).is_empty());
        assert!(stand.containers().is_empty(), "{how}: nothing was switched");
    }
}
