//! Two at once: the second one is told who holds the lease.

use rustix::process::Signal;
use serde_json::Value;

use super::{Kind, SOON, Shop, id_of};
use crate::support::{Project, Run, Running, free_port, needs, until};

#[test]
fn a_second_deploy_is_refused_and_told_who_deploys_and_since_when() {
    needs!("docker");
    let shop = Shop::new();
    let run = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    let id = id_of(&run.events_so_far());
    for verb in
        [&["deploy", "staging"][..], &["rollback", "staging"], &["down", "staging"], &["recover", "staging"]]
    {
        let ended = shop.run(&[verb, &["--log-format", "human"]].concat()).exits(6);
        let result = ended.result();
        assert_eq!((&result["outcome"], &result["status"]), (&"busy".into(), &"failure".into()));
        ended.says(&[&id, "deploy by ", "in `deploying`, since 2", " UTC", "nothing was touched"]);
        ended.says(&["ffe-deploy status --follow", "--wait-for-lease 15m"]);
        assert_eq!(result["errors"][0]["code"], "lease.busy");
    }
    let status = shop.run(&["status", "staging", "--output", "json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("status is JSON");
    assert_eq!((&status["lease"]["deployment_id"], &status["unfinished"]), (&id.into(), &Value::Null));
    assert_eq!(status["lease"]["stage"], "deploying");
    assert!(["who", "since"].iter().all(|key| status["lease"][key].is_string()), "{}", status["lease"]);
    shop.shim.release();
    run.wait().exits(0);
    // The worker lets go of the lease a moment after its last word: that moment is waited for.
    shop.run(&["restart", "staging"]).exits(0);
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
}

#[test]
fn a_second_deploy_names_the_workflow_run_that_holds_the_lease() {
    needs!("docker");
    let shop = Shop::new().on_github();
    let run = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    let ended = shop.deploy(Kind::good("1.0.1")).exits(6);
    ended.says(&["by octocat, https://github.com/acme/shop/actions/runs/42"]);
    shop.shim.release();
    run.wait().exits(0);
}

/// A deployment that waits for others, with a working copy of its own: it sends its files when its turn has come.
struct Waiter {
    run: Running,
    _project: Project,
}

impl Waiter {
    /// Begins, and returns when it says for whom it waits.
    #[track_caller]
    fn begin(shop: &Shop, version: &'static str, time: &str) -> Self {
        shop.write(Kind::good(version));
        let project = Project::new("shop");
        for file in ["docker-compose.yml", "deploy/deployments.yaml", "deploy/environments.yaml"] {
            let text = std::fs::read_to_string(shop.project.path().join(file)).expect("read the project");
            project.file(file, text);
        }
        project.commit(version);
        let arguments =
            ["deploy", "staging", "--version", version, "--log-format", "human", "--wait-for-lease", time];
        let mut run = shop.host.spawn(&project, &arguments);
        run.until_event(SOON, |event| event["code"] == "lease.waiting");
        Self { run, _project: project }
    }

    #[track_caller]
    fn wait(self) -> Run {
        self.run.wait()
    }
}

#[test]
fn those_who_wait_for_the_lease_are_told_for_whom_and_get_their_turns_in_order() {
    needs!("docker");
    let shop = Shop::new().on_github();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let first = shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]);
    let waiters = ["1.2.0", "1.3.0", "1.4.0"].map(|version| Waiter::begin(&shop, version, "15m"));
    // Whoever does not wait is refused at once, also behind those who do.
    shop.deploy(Kind::good("1.9.0")).exits(6);
    shop.shim.release();
    let id = id_of(&first.events_so_far());
    first.wait().exits(0);
    let [second, third, fourth] = waiters.map(|waiter| waiter.wait().exits(0));
    let told =
        format!("waiting for {id} (deploy by octocat, https://github.com/acme/shop/actions/runs/42), in `");
    for (ended, before) in [(&second, "1.1.0"), (&third, "1.2.0"), (&fourth, "1.3.0")] {
        ended.says(&[&told, "`, since 2"]);
        assert_eq!(ended.result()["previous_version"], before, "{}", ended.told());
    }
    // What held the lease next was told, too.
    third.says(&[&format!("waiting for {} (deploy", id_of(&second.events))]);
    assert_eq!(shop.answers().as_deref(), Some("1.4.0"));
    let left = std::fs::read_dir(shop.root().join("state/queue")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "somebody who waited left something behind");
}

#[test]
fn waiting_for_the_lease_ends_with_its_time_with_a_signal_and_with_the_runner() {
    needs!("docker");
    let shop = Shop::new();
    let first = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    let id = id_of(&first.events_so_far());
    let late = Waiter::begin(&shop, "1.1.0", "2s").wait().exits(6);
    late.says(&[&id, "nothing was touched"]);
    let stopped = Waiter::begin(&shop, "1.2.0", "15m");
    stopped.run.signal(Signal::TERM);
    stopped.wait().exits(8).says(&["cancelled before anything was started; nothing was touched"]);
    let killed = Waiter::begin(&shop, "1.3.0", "15m");
    killed.run.signal_group(Signal::KILL);
    drop(killed);
    shop.shim.release();
    first.wait().exits(0);
    let queue = shop.root().join("state/queue");
    until(SOON, "the queue to be empty", || std::fs::read_dir(&queue).map_or(0, Iterator::count) == 0);
    assert_eq!(shop.history().len(), 1, "nobody who gave up has deployed");
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
}

#[test]
fn another_app_and_another_environment_are_not_waited_for() {
    needs!("docker");
    let (shop, other) = (Shop::new(), Shop::new());
    let held = shop.begin_held(Kind::good("1.0.0"), &["compose", "up"]);
    other.deploy(Kind::good("2.0.0")).exits(0);
    // The same app in another environment has another project, and needs a port of its own.
    let environments = shop.project.path().join("deploy/environments.yaml");
    let text = std::fs::read_to_string(&environments).expect("read the environments");
    std::fs::write(
        &environments,
        text.clone() + &text.lines().skip(1).collect::<String>().replace("staging:", "testing:"),
    )
    .expect("write the environments");
    let compose = shop
        .compose_file()
        .replace(&format!("127.0.0.1:{}:", shop.port), &format!("127.0.0.1:{}:", free_port()));
    shop.project.file("docker-compose.yml", compose).commit("Another port");
    shop.run(&["deploy", "testing", "--version", "3.0.0"]).exits(0);
    shop.shim.release();
    held.wait().exits(0);
    assert_eq!((shop.answers().as_deref(), other.answers().as_deref()), (Some("1.0.0"), Some("2.0.0")));
    let testing = shop.run(&["status", "testing", "--output", "json"]).exits(0).json();
    assert_eq!((&testing["current"]["version"], &testing["overall"]), (&"3.0.0".into(), &true.into()));
}

#[test]
fn a_holder_that_is_being_cancelled_is_waited_for() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let first = shop.begin_held(Kind::good("1.1.0"), &["compose", "up"]);
    first.signal(rustix::process::Signal::INT);
    let second = shop.begin(Kind::good("1.2.0"));
    let first = first.wait().exits(8);
    let second = second.wait().exits(0);
    let waited = format!("waiting for {} (deploy by ", id_of(&first.events));
    second.says(&[&waited, "which is being cancelled"]);
    assert_eq!(shop.host_result(&id_of(&first.events))["outcome"], "cancelled");
    assert_eq!(shop.answers().as_deref(), Some("1.2.0"));
}
