//! The variables of an app: every layer, every character, and nobody else's.

use std::fs;

use super::{Shop, changes, first_error, mode, notices, quiet, web};
use crate::support::{Host, free_port, needs};

/// What breaks a quoting that is not quite right.
const NASTY: &str =
    "a \"double\" 'single' `tick` $HOME ${PATH} $$ \\n \\\\ #no =comment\nsecond line\ttab 🦀 ü ! %s ";

/// As a value in single quotes of an env file can say it: without such a quote.
fn without_single_quotes() -> String {
    NASTY.replace('\'', "")
}

fn in_yaml(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

#[test]
fn every_value_of_every_layer_reaches_the_container_exactly() {
    needs!("docker");
    let plain = without_single_quotes();
    let from_secret = format!("FROM_SECRET_FILE='{plain}'\nL4=secret-file\nL5=secret-file\n");
    let host = Host::local()
        .with_env("STAGING_ENV_FILE", from_secret)
        .with_env("A_SECRET", NASTY)
        .with_env("REQUIRED", NASTY)
        .with_env("L5", "job")
        .with_env("HOST", "the-job-s-own")
        .with_env("NOT_OURS", "x");
    let shop = Shop::on_root_of(host);
    let names = ["PLAIN", "TRACKED", "ON_HOST", "FROM_ENV_FILE", "FROM_SECRET_FILE", "A_SECRET", "REQUIRED"];
    let levels = ["L1", "L2", "L3", "L4", "L5", "HOST", "NOT_OURS"];
    let environment: Vec<String> =
        names.iter().chain(&levels).map(|name| format!("{name}: \"${{{name}:-nobody}}\"")).collect();
    let other = free_port();
    shop.compose(&format!(
        "services:\n  web: {}\n  reader: {{ {} }}\n",
        web(&format!("environment: {{ {} }}", environment.join(", "))),
        quiet(&format!("ports: [\"127.0.0.1:{other}:8000\"], env_file: .env.staging")),
    ));
    // A dollar would begin a variable of the job there; `$${` and a lone `$` are the ways to write it.
    let in_config = NASTY.replace("${", "$${");
    shop.configure(&format!(
        "env_vars: {{ PLAIN: {}, L1: env_vars, L2: env_vars }}, secrets: [A_SECRET], required_vars: [REQUIRED, L5]",
        in_yaml(&in_config)
    ));
    shop.project.file(".env", format!("TRACKED='{plain}'\nL1=tracked\n"));
    fs::create_dir_all(shop.root().join("shared")).unwrap();
    let on_host = format!("ON_HOST='{plain}'\nL2=host\nL3=host\n");
    fs::write(shop.root().join("shared/.env.staging"), on_host).unwrap();
    shop.project.env_file(
        "staging",
        &[("FROM_ENV_FILE", &plain), ("L3", "env file"), ("L4", "env file"), ("L5", "env file")],
    );

    let deployed = shop.deploy("1").exits(0);
    for (name, expected) in [("PLAIN", NASTY), ("A_SECRET", NASTY), ("REQUIRED", NASTY)] {
        assert_eq!(shop.get(&format!("/env/{name}")), expected, "{name}");
    }
    for name in ["TRACKED", "ON_HOST", "FROM_ENV_FILE", "FROM_SECRET_FILE"] {
        assert_eq!(shop.get(&format!("/env/{name}")), plain, "{name}");
    }
    let found: Vec<String> = levels.iter().map(|name| shop.get(&format!("/env/{name}"))).collect();
    assert_eq!(found, ["env_vars", "host", "env file", "secret-file", "job", "nobody", "nobody"]);
    assert_eq!(mode(shop.root().join("current/env")), 0o600);
    assert!(!deployed.told().contains("`tick`"), "a secret on the console: {}", deployed.told());

    // The runner's .env.staging is what its service reads, not the release's variables.
    let rendered = |name: &str| shop.host.get(other, &format!("/env/{name}"));
    assert_eq!(rendered("FROM_ENV_FILE").body, plain);
    assert_eq!(rendered("A_SECRET").status, 404);
    comes_back_the_same(&shop);
}

fn comes_back_the_same(shop: &Shop) {
    let before = environment(shop, &shop.id("web"));
    shop.configure("secrets: [A_SECRET], required_vars: [REQUIRED, L5]");
    shop.deploy("2").exits(0);
    assert_eq!(shop.get("/env/PLAIN"), "nobody");
    shop.rollback(&[]).exits(0);
    assert_eq!(environment(shop, &shop.id("web")), before);
}

/// The variables of a container, sorted.
fn environment(shop: &Shop, id: &str) -> Vec<String> {
    let told = shop.host.docker(&["inspect", "--format", "{{json .Config.Env}}", id]);
    let mut lines: Vec<String> = serde_json::from_str(&told).expect("docker prints JSON");
    lines.sort();
    lines
}

#[test]
fn env_files_of_services_come_from_git_the_runner_the_host_or_the_release() {
    needs!("docker");
    let shop = Shop::on_root();
    shop.project.untracked("on-host.env");
    shop.configure("env_vars: {GREETING: \"it's $5 a \\\"day\\\"\", TIER: gold}");
    shop.project.file("tracked.env", "FROM=tracked\nWHO=${TIER}\n");
    let reads = |file: &str, keys: &str| quiet(&format!("env_file: {file}{keys}"));
    let on_port = format!(", ports: [\"127.0.0.1:{}:8000\"]", shop.port);
    shop.compose(&format!(
        "services:\n  web: {{ {} }}\n  two: {{ {} }}\n  db: {{ {} }}\n",
        reads("[tracked.env, on-host.env]", &on_port),
        reads("tracked.env", ""),
        reads(".env", ", environment: {OWN: \"1\"}"),
    ));
    let refused = shop.deploy("1").exits(3);
    let wanted = shop.root().join("shared/on-host.env");
    assert_eq!(first_error(&refused).0, "env.file", "{}", refused.told());
    refused.says(&[&wanted.display().to_string()]);
    fs::create_dir_all(shop.root().join("shared")).unwrap();
    fs::write(&wanted, "FROM=host\nONLY=\"he said \\\"hi\\\"\"\n").unwrap();

    shop.deploy("1").exits(0);
    assert_eq!([shop.get("/env/FROM"), shop.get("/env/ONLY")], ["host", "he said \"hi\""]);
    let db = shop.id("db");
    let told = environment(&shop, &db);
    assert!(
        told.contains(&"GREETING=it's $5 a \"day\"".to_owned()) && told.contains(&"TIER=gold".to_owned())
    );
    assert!(!told.iter().any(|line| line.starts_with("VERSION=")), "VERSION is for interpolation only");

    // Another version and another value of another file: the database goes on.
    fs::write(&wanted, "FROM=host again\n").unwrap();
    let second = shop.deploy("2").exits(0);
    assert_eq!((shop.id("db"), shop.get("/env/FROM")), (db.clone(), "host again".into()));
    assert_eq!(changes(&second)["two"], "unchanged");
    shop.rollback(&[]).exits(0);
    assert_eq!((shop.id("db"), shop.get("/env/FROM")), (db, "host".into()));
}

#[test]
fn variables_that_would_steer_docker_are_dropped_and_path_and_home_are_refused() {
    needs!("docker");
    let shop = Shop::on_root();
    let name = format!("{}-own", shop.host.app());
    shop.project.file(".env", format!("DOCKER_HOST=tcp://127.0.0.1:1\nCOMPOSE_IGNORE_ORPHANS=1\nCOMPOSE_PROJECT_NAME={name}\nCOMPOSE_PROFILES=full\n"));
    shop.compose(&format!("services:\n  web: {}\n  extra: {{ {} }}\n", web(""), quiet("profiles: [full]")));
    let deployed = shop.deploy("1").exits(0);
    deployed.says(&["`DOCKER_HOST` (.env:1) is not passed on", "`COMPOSE_IGNORE_ORPHANS` (.env:2)"]);
    assert_eq!(shop.host.containers(&name, "web").len(), 1);
    assert_eq!(
        shop.host.containers(&name, "extra").len(),
        1,
        "COMPOSE_PROFILES is the default of `profiles`"
    );
    assert!(notices(&deployed, "image.pull").is_empty());
    for line in ["PATH=/tmp", "HOME=/tmp"] {
        shop.project.file(".env", line);
        shop.deploy("2").exits(2).says(&[".env", &line[..4]]);
    }
}
