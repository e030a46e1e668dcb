//! A project that is deployed where it lies.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::{Shop, changes, mode, notices, quiet, web};
use crate::support::needs;

#[test]
fn a_project_in_place_keeps_its_binds_and_a_rollback_puts_back_all_but_its_sources() {
    needs!("docker");
    let shop = Shop::in_place();
    shop.project.untracked("local.env").file("local.env", "FROM=local\n");
    shop.project.file("tracked.env", "FROM=tracked\nTIER=one\n").file("conf/app.yaml", "currency: EUR\n");
    shop.project.file("lib/code.py", "first\n").env_file("staging", &[("NAME", "one")]);
    let keys = "env_file: [local.env, tracked.env], volumes: [\"./conf:/conf:ro\", \"./lib:/lib\", \"./data:/data\"], \
                environment: {NAME: \"${NAME}\", VERSION: \"${VERSION}\"}";
    shop.project.untracked("db.env").file("db.env", "A=b\n");
    let db = quiet("env_file: [db.env]");
    shop.compose(&format!("services:\n  web: {}\n  db: {{ {db} }}\n", web(keys)));
    let first = shop.deploy("1").exits(0);
    assert!(first.events_named("bundle_received").is_empty());
    lies_where_it_should(&shop);
    assert_eq!(
        [shop.get("/env/FROM"), shop.get("/env/NAME")],
        ["tracked", "one"],
        "the author's order of env files"
    );

    // Hot reload: the container sees the project's own file, also one that it replaces.
    let (id, db_id) = (shop.id("web"), shop.id("db"));
    shop.project.file("conf/app.yaml", "currency: USD\n");
    assert_eq!(shop.get("/file?/conf/app.yaml"), "currency: USD\n");
    assert_eq!(shop.id("web"), id);

    // A changed source recreates the service that mounts it, and no other.
    shop.project.file("tracked.env", "FROM=tracked\nTIER=two\n").env_file("staging", &[("NAME", "two")]);
    shop.project.file("lib/code.py", "second\n").remove("local.env");
    let fewer = keys.replace("local.env, ", "");
    shop.compose(&format!("services:\n  web: {}\n  db: {{ {db} }}\n", web(&fewer)));
    let second = shop.deploy("2").exits(0);
    assert_eq!(changes(&second), &json!({"web": "recreated", "db": "unchanged"}));
    assert_eq!([shop.get("/env/TIER"), shop.get("/env/NAME")], ["two", "two"]);

    let back = shop.rollback(&[]).exits(0);
    let values = ["FROM", "TIER", "NAME", "VERSION"].map(|name| shop.get(&format!("/env/{name}")));
    assert_eq!(values, ["tracked", "one", "one", "1"]);
    assert_eq!((shop.get("/file?/lib/code.py"), shop.id("db")), ("second\n".into(), db_id));
    let told = notices(&back, "inplace.files");
    assert_eq!(told.len(), 1, "{}", back.told());
    let told = told[0]["notice"].as_str().unwrap_or_default();
    assert!(told.contains("lib/code.py") && told.contains("conf/app.yaml"), "{told}");
    assert!(!told.contains("compose.yaml"), "the compose file was put back: {told}");
}

fn lies_where_it_should(shop: &Shop) {
    let state = shop.project.path().join(".ffe-deploy").join(format!("{}-staging", shop.host.app()));
    for (path, expected) in
        [("state", 0o700), ("history", 0o700), ("releases", 0o700), ("current/env", 0o600)]
    {
        assert_eq!(mode(state.join(path)), expected, "mode of {path}");
    }
    let ignored = fs::read_to_string(shop.project.path().join(".ffe-deploy/.gitignore"));
    assert_eq!(ignored.unwrap_or_default(), "*\n");
    assert_eq!(shop.project.git(&["status", "--porcelain"]), "", "nothing of ours is in git's way");
    let data = shop.project.path().join("data").metadata().map(|data| (data.mode() & 0o777, data.uid()));
    assert_eq!(data.ok(), Some((0o755, 10_001)), "Docker would make it root's");
}

#[test]
fn two_environments_of_one_project_in_place_do_not_touch_each_other() {
    needs!("docker");
    let shop = Shop::in_place();
    let port = crate::support::free_port();
    shop.project
        .file("environments.yaml", "environments: { staging: { host: local }, testing: { host: local } }\n");
    let staging_port = shop.port.to_string();
    shop.project.env_file("staging", &[("LISTEN", &staging_port)]);
    shop.project.env_file("testing", &[("LISTEN", &port.to_string())]);
    shop.compose(&format!(
        "services: {{ web: {{ {} }} }}\n",
        quiet("ports: [\"127.0.0.1:${LISTEN}:8000\"], volumes: [\"./data:/data\"], environment: {VERSION: \"${VERSION}\"}")
    ));
    shop.deploy("1").exits(0);
    let id = shop.id("web");
    shop.run(&["deploy", "testing", "--version", "2"]).exits(0);
    assert_eq!((shop.id("web"), shop.get("/version")), (id.clone(), "1".into()));
    assert_eq!(shop.host.get(port, "/version").body, "2");
    shop.run(&["down", "testing"]).exits(0);
    assert_eq!((shop.id("web"), shop.get("/version")), (id, "1".into()));
    let state = shop.project.path().join(".ffe-deploy");
    let names = ["staging", "testing"].map(|name| state.join(format!("{}-{name}", shop.host.app())).is_dir());
    assert_eq!(names, [true, true]);
}
