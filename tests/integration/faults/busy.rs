//! Two at once: the second one is told who holds the lease.

use serde_json::Value;

use super::{Kind, Shop, id_of};
use crate::support::needs;

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
        ended.says(&[&id, "deploy by ", "since 2", " UTC", "nothing was touched", "ffe-deploy status"]);
        assert_eq!(result["errors"][0]["code"], "lease.busy");
    }
    let status = shop.run(&["status", "staging", "--output", "json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("status is JSON");
    assert_eq!((&status["lease"]["deployment_id"], &status["unfinished"]), (&id.into(), &Value::Null));
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
