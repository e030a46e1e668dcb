//! What is refused before anything is touched, and what is said then.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{HEALTHCHECK, Stage, backend, stages};
use crate::support::{Ended, Host, Project, Shim, needs};

const LOCAL: [&str; 4] = ["validate", "production", "--host", "local"];

/// Every file of a tree and when it was changed, but those of git.
fn tree(dir: &Path) -> BTreeMap<String, SystemTime> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).expect("read a directory") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("look at a file");
            if path.ends_with(".git") {
                continue;
            }
            found.insert(path.display().to_string(), metadata.modified().expect("a time"));
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// A project that tracks what the documents want, whose compose file builds and names `.env.production`.
fn documents_project() -> Stage {
    let stage = Stage::with_backend("production");
    let compose = backend("build: .\n    env_file: [.env.production]");
    stage.project.file("docker-compose.yml", compose).file("config.yaml", "key: value\n");
    stage.project.commit("with config.yaml");
    stage
}

#[test]
fn a0_02_validate_changes_nothing() {
    needs!("docker", "git");
    let stage = documents_project();
    let before = tree(stage.project.path());
    stage.run(&LOCAL).exits(0);
    assert_eq!(tree(stage.project.path()), before);
    for verb in ["build", "up", "down", "pull", "run", "rm"] {
        assert_eq!(stage.calls(&[verb]), 0, "validate called docker … {verb}");
    }
}

#[test]
fn a0_03_validate_names_each_missing_file() {
    needs!("docker", "git");
    let stage = documents_project();
    for file in ["config.yaml", "Dockerfile", ".env.production", "docker-compose.yml"] {
        let path = stage.project.path().join(file);
        let content = fs::read(&path).expect("read it");
        stage.project.remove(file);
        let ended = stage.run(&LOCAL);
        assert_ne!(ended.code, 0, "{file} is missing: {}", ended.told());
        assert!(ended.events.iter().any(|event| event["level"] == "ERROR"), "{}", ended.told());
        ended.exits(3).says(&[file]);
        stage.project.file(file, content);
    }
    stage.run(&LOCAL).exits(0);
}

#[test]
fn a0_05_without_docker_nothing_begins() {
    needs!("docker", "git");
    let stage = Stage::with_image("dev");
    // Everything of PATH but docker.
    let bin = stage.host.dir().join("bin");
    fs::create_dir(&bin).expect("make it");
    for tool in ["git", "sh", "uname"] {
        std::os::unix::fs::symlink(which(tool), bin.join(tool)).expect("link a tool");
    }
    let mut missing = stage.host;
    missing = missing.with_env("PATH", &bin).with_env("DOCKER_HOST", "unix:///nonexistent.sock");
    let ended = missing.run(&stage.project, &["deploy", "dev"]).exits(3);
    assert!(stages(&ended).iter().all(|stage| ["initializing", "validating"].contains(stage)));
    ended.says(&["Docker is not installed", "Next:"]);

    let stopped = Host::local().with_env("DOCKER_HOST", "unix:///nonexistent.sock");
    let ended = stopped.run(&stage.project, &["deploy", "dev"]).exits(3);
    assert!(stages(&ended).iter().all(|stage| ["initializing", "validating"].contains(stage)));
    ended.says(&["not running"]);
}

fn which(tool: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| path.is_file()).expect("a tool")
}

#[test]
fn a0_09_production_is_not_deployed_without_confirmation() {
    needs!("docker", "git");
    let stage = documents_project();
    for verb in ["deploy", "up", "start", "down", "restart", "clean", "rollback"] {
        let ended = stage.run(&[verb, "production", "--host", "local"]).exits(3);
        assert!(ended.duration < Duration::from_secs(5), "{:?}", ended.duration);
        ended.says(&["--yes"]);
    }
    assert!(stage.shim.calls().is_empty(), "{:?}", stage.shim.calls());
    // Where it goes must be said, too.
    stage.run(&["deploy", "production", "--yes"]).exits(3).says(&["--host"]);
    assert!(stage.shim.calls().is_empty());
}

#[test]
fn a2_13_what_is_wrong_with_the_configuration_is_told_apart() {
    needs!("git");
    let shim = Shim::new();
    shim.fake("docker", "exit 1");
    let host = Host::local().with_path_first(shim.path()).with_env("FFE_DEPLOY_LOG_FORMAT", "human");
    let project = Project::new(host.app());
    let fails = |arguments: &[&str], code: i32, parts: &[&str]| -> Ended {
        let ended = host.run(&project, arguments).exits(code);
        ended.says(parts);
        ended.event("deployment_finished");
        assert!(ended.events.iter().any(|event| event["level"] == "ERROR"), "{}", ended.told());
        ended
    };
    fails(&["deploy", "dev"], 3, &["Compose file not found: docker-compose.yml"]);
    project.file("docker-compose.yml", backend("image: x"));
    project.file("deployments.yaml", "deployments:\n  shop:\n    type: docker-compose\n   path: .\n");
    fails(&["deploy", "dev"], 2, &["deployments.yaml:4"]);
    project.file("deployments.yaml", "deployments:\n  shop:\n    path: .\n");
    fails(&["deploy", "dev"], 2, &["deployments.yaml:2", "deployments.shop.type", "docker-compose"]);
    project.file("deployments.yaml", "deployments:\n  shop:\n    type: docker-compose\n");
    fails(&["deploy", "dev", "--app", "shap"], 2, &["shap", "shop"]);
    assert!(shim.calls().is_empty(), "{:?}", shim.calls());
}

#[test]
fn a3_01_a_missing_compose_file_is_named_in_the_documents_words() {
    needs!("docker", "git");
    let stage = Stage::with_image("development");
    stage.project.remove("docker-compose.yml");
    for verb in ["start", "up", "deploy", "validate"] {
        let ended = stage.run(&[verb, "development"]).exits(3);
        ended.says(&["Compose file not found: docker-compose.yml"]);
    }
    stage.configure("compose_file: [docker-compose.prod.yml]");
    stage.run(&["start", "development"]).exits(3).says(&["Compose file not found: docker-compose.prod.yml"]);
    assert_eq!(stage.calls(&["up"]), 0);
}

#[test]
fn a3_08_services_without_healthcheck_and_a_missing_frontend_are_told() {
    needs!("docker", "git");
    let stage = Stage::with_backend("staging");
    stage.run(&["validate", "staging"]).exits(0).says(&["frontend"]);
    let without = backend("build: .").replace(&format!("healthcheck: {HEALTHCHECK}"), "restart: always");
    stage.project.file("docker-compose.yml", without);
    for environment in ["staging", "production"] {
        stage.env(environment, &[]);
        let ended = stage.run(&["validate", environment, "--host", "local"]).exits(3);
        let told = ended.events_named("finding_reported").into_iter().any(|event| {
            event["severity"] == "error"
                && event["found"].as_str().is_some_and(|text| text.contains("`backend`"))
        });
        assert!(told, "{}", ended.told());
    }
    stage.env("dev", &[]).run(&["validate", "dev"]).exits(0).says(&["backend"]);
    // With a check of its own it needs no healthcheck.
    stage.configure("health: {checks: [{name: backend, http: 'http://localhost:${BACKEND_PORT}/health'}]}");
    stage.run(&["validate", "staging"]).exits(0);
}

#[test]
fn a3_10_literal_secrets_are_refused_unseen_and_missing_variables_are_named() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    for keys in
        ["env_vars: {api_key: MARKER-1234}", "env_vars: {DB_PASSWORD: MARKER-1234}", "api_key: MARKER-1234"]
    {
        stage.configure(keys);
        let ended = stage.run(&["deploy", "staging", "--yes"]).exits(2);
        assert!(!ended.told().contains("MARKER"), "{}", ended.told());
        assert!(!format!("{:?}", ended.events).contains("MARKER"), "{}", ended.told());
        ended.says(&["deployments.yaml:4"]);
    }
    stage.configure("required_vars: [JWT_SECRET_KEY, OTHER]\n    secrets: [API_KEY]");
    stage.run(&["deploy", "staging", "--yes"]).exits(2).says(&["API_KEY"]);
    stage.configure("required_vars: [JWT_SECRET_KEY, OTHER]");
    let ended = stage.run(&["deploy", "staging", "--yes"]).exits(3);
    ended.says(&["JWT_SECRET_KEY", "OTHER"]);
    assert!(stages(&ended).iter().all(|stage| ["initializing", "validating"].contains(stage)));
    let kinds: Vec<_> = ended.result()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["error_kind"].as_str().expect("a kind").to_owned())
        .collect();
    assert!(kinds.iter().all(|kind| kind == "ConfigurationError"), "{kinds:?}");
    assert_eq!(stage.calls(&["up"]), 0);
}

#[test]
fn a3_02_an_unknown_action_is_told_which_there_are() {
    let host = Host::local();
    for arguments in [&["explode"][..], &["explode", "dev"], &[]] {
        let ended = host.run_bare(host.dir(), arguments);
        assert_ne!(ended.code, 0);
        for verb in ["deploy", "start", "stop", "restart", "logs", "clean", "status", "rollback"] {
            assert!(ended.stderr.contains(verb), "no `{verb}`: {}", ended.told());
        }
        assert!(ended.stderr.contains("Usage"), "{}", ended.told());
        ended.exits(2);
    }
}
