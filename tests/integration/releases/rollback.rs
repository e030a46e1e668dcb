//! What a deploy recreates and removes, and what a rollback brings back.

use serde_json::json;

use super::{Shop, changes, first_error, quiet, web};
use crate::support::{Ended, Host, Shim, base_image, needs};

#[test]
fn rollbacks_go_back_release_by_release_with_files_variables_services_and_images() {
    needs!("docker");
    let shop = Shop::on_root();
    let plain = |keys: &str| format!("{{ {} }}", quiet(keys));
    shop.configure("profiles: [full]");
    let services = |web: &str, rest: &str| {
        format!("services:\n  web: {web}\n  db: {}\n{rest}", plain("environment: {A: b}"))
    };
    let web_of = |extra: &str| web(&format!("environment: {{VERSION: \"${{VERSION}}\", {extra}}}"));
    let once = "  once: {image: \"IMAGE\", command: [\"true\"], restart: \"no\", network_mode: none}\n";

    // v1: a service of a profile, and one that v2 has no more.
    let rest = format!("  extra: {}\n  gone: {}\n{once}", plain("profiles: [full]"), plain(""));
    shop.compose(&services(&web_of("CURRENCY: EUR"), &rest));
    let first = shop.deploy("1").exits(0);
    let one = shop.current();
    let db = shop.id("db");
    assert_eq!(changes(&first)["once"], "created");

    // v2: other compose file, no profile.
    shop.configure("");
    shop.compose(&services(
        &web_of("CURRENCY: USD"),
        &format!("  extra: {}\n{once}", plain("profiles: [full]")),
    ));
    let second = shop.deploy("2").exits(0);
    let two = shop.current();
    let expected = json!({"web": "recreated", "db": "unchanged", "extra": "removed", "gone": "removed"});
    for (service, change) in expected.as_object().unwrap() {
        assert_eq!(&changes(&second)[service], change, "{service}: {}", second.told());
    }
    assert!(shop.ids("extra").is_empty() && shop.ids("gone").is_empty());

    shop.compose(&services(&web_of("CURRENCY: GBP"), once));
    shop.deploy("3").exits(0);
    let three = shop.current();
    assert_eq!(shop.get("/env/CURRENCY"), "GBP");

    let back = shop.rollback(&[]).exits(0);
    assert_eq!(
        (shop.current(), shop.get("/env/CURRENCY"), shop.get("/version")),
        (two.clone(), "USD".into(), "2".into())
    );
    assert_eq!(
        (&back.result()["previous_version"], &back.result()["previous_release"]),
        (&json!("3"), &json!(three))
    );
    shop.rollback(&["--reason", "still bad"]).exits(0);
    assert_eq!((shop.current(), shop.get("/env/CURRENCY")), (one.clone(), "EUR".into()));
    assert_eq!((shop.ids("extra").len(), shop.ids("gone").len()), (1, 1));
    assert_eq!(shop.id("db"), db, "a database is never recreated because VERSION changed");

    let nothing = shop.rollback(&[]).exits(3);
    assert_eq!((first_error(&nothing).0, shop.current()), ("rollback.target".into(), one.clone()));
    nothing.says(&["no earlier successful release"]);
    shop.rollback(&["--to", "deploy-never"]).exits(3).says(&["deploy-never"]);
    shop.rollback(&["--to", &one]).exits(3).says(&["is the one that runs"]);
    shop.rollback(&["--to", &three]).exits(0);
    assert_eq!((shop.current(), shop.get("/env/CURRENCY")), (three, "GBP".into()));
}

/// Words of docker's and compose's command lines that change something.
const CHANGING: [&str; 11] =
    ["up", "down", "build", "pull", "rm", "stop", "start", "create", "tag", "kill", "restart"];

fn changing(shim: &Shim) -> Vec<Vec<String>> {
    let changes = |call: &Vec<String>| call.iter().any(|word| CHANGING.contains(&word.as_str()));
    shim.calls().into_iter().filter(changes).collect()
}

#[test]
fn a_deploy_of_what_already_runs_changes_nothing_and_repairs_what_is_ill() {
    needs!("docker");
    let shim = Shim::docker();
    let shop = Shop::on_root_of(Host::local().with_path_first(shim.path()));
    let root = shop.host.root_base();
    shop.environments(&format!("host: local, root: {}, backup: true", root.display()));
    shop.configure("health: {timeout: 5s}");
    shop.project.file("conf/a", "content");
    let mounts = "volumes: [\"./conf:/conf:ro\", \"data:/data\"], environment: {MODE: \"${MODE:-ok}\"}";
    shop.compose(&format!("services: {{ web: {} }}\nvolumes: {{ data: {{}} }}\n", web(mounts)));
    shop.deploy("1").exits(0);
    let (id, release, before) = (shop.id("web"), shop.current(), changing(&shim));
    let releases = || std::fs::read_dir(shop.root().join("releases")).unwrap().count();

    let again = shop.deploy("1").exits(0);
    assert_eq!((&again.result()["changed"], &again.result()["backup"]), (&json!(false), &json!(null)));
    assert_eq!(again.result()["release"], json!(release));
    assert_eq!(changing(&shim), before, "no command that changes anything");
    assert_eq!((shop.id("web"), shop.current(), releases()), (id.clone(), release.clone(), 1));
    assert!(again.events_named("backup_created").is_empty());
    // The version is a label: the same release under another name is the same release.
    assert_eq!(shop.deploy("1-again").exits(0).result()["changed"], false);

    // Stopped behind our back: started again, and told.
    shop.host.docker(&["stop", &id]);
    let repaired = shop.deploy("1").exits(0);
    assert_eq!((&repaired.result()["changed"], shop.get("/health")), (&json!(true), "ok\n".into()));
    assert_eq!(shop.current(), release);
    stays_ill(&shop, &release);
}

/// What is ill because of its data is not healed by starting it anew: exit 5, as there is nothing else to go to.
fn stays_ill(shop: &Shop, release: &str) {
    let volume = format!("{}_data", shop.name());
    let image = base_image();
    let mount = format!("{volume}:/data");
    shop.host.docker(&["run", "--rm", "--user", "0", "-v", &mount, &image, "touch", "/data/ill"]);
    shop.compose(&format!(
        "services: {{ web: {} }}\nvolumes: {{ data: {{}} }}\n",
        web("volumes: [\"data:/data\"], command: [sh, -c, \"[ ! -e /data/ill ] && exec shop serve; exec sleep 1000\"]")
    ));
    shop.host.docker(&["run", "--rm", "--user", "0", "-v", &mount, &image, "rm", "/data/ill"]);
    shop.deploy("2").exits(0);
    shop.host.docker(&["exec", "--user", "0", &shop.id("web"), "touch", "/data/ill"]);
    shop.host.docker(&["restart", "-t", "0", &shop.id("web")]);
    let ill: Ended = shop.deploy("2").exits(5);
    assert_eq!(first_error(&ill).0, "health.failed");
    ill.says(&["ffe-deploy rollback"]);
    assert_ne!(shop.current(), release);
}

#[test]
fn a_one_shot_service_that_fails_brings_the_release_before_back() {
    needs!("docker");
    let shop = Shop::on_root();
    let migrate =
        "{image: \"IMAGE\", command: [sh, -c, \"echo migrating; exit ${CODE}\"], stop_grace_period: 0s}";
    let keys = "environment: {VERSION: \"${VERSION}\"}, depends_on: {migrate: {condition: service_completed_successfully}}";
    shop.compose(&format!("services:\n  web: {}\n  migrate: {migrate}\n", web(keys)));
    shop.configure("env_vars: {CODE: \"0\"}");
    shop.deploy("1").exits(0);
    let release = shop.current();
    shop.configure("env_vars: {CODE: \"3\"}");
    let failed = shop.deploy("2").exits(4);
    let message = first_error(&failed).1;
    assert!(message.contains("migrate") && message.contains('3'), "{message}");
    failed.says(&["migrating"]);
    assert_eq!((shop.current(), shop.get("/version")), (release, "1".into()));
    // What the failed release was, a rollback does not go back to.
    assert_eq!(first_error(&shop.rollback(&[]).exits(3)).0, "rollback.target");
}
