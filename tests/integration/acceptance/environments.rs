//! Several environments of one app, their names, and the compose file of each.
use super::{Stage, backend};
use crate::support::{base_image, free_port, get, needs};

#[test]
fn three_environments_on_one_host_do_not_touch_each_other() {
    needs!("docker", "git");
    let stage = Stage::with_image("dev");
    let environments = ["dev", "staging", "production"];
    let ports = [stage.port, free_port(), free_port()];
    for (environment, port) in environments.iter().zip(ports) {
        let port = port.to_string();
        stage.project.env_file(environment, &[("BACKEND_PORT", &port), ("VERSION", environment)]);
    }
    for environment in environments {
        stage.run(&["deploy", environment, "--host", "local", "--yes"]).exits(0);
    }
    let app = stage.host.app();
    let projects = [format!("{app}-dev"), format!("{app}-staging"), app.to_owned()];
    let running = || projects.each_ref().map(|project| stage.host.containers(project, "backend"));
    let before = running();
    for ((environment, port), containers) in environments.iter().zip(ports).zip(&before) {
        assert_eq!(stage.host.get(port, "/version").body, *environment);
        assert_eq!(containers.len(), 1);
    }
    let status = stage.run(&["status", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(status["containers"].as_array().map(Vec::len), Some(1), "{status:#}");
    let history = stage.run(&["history", "staging", "--output", "json"]).exits(0).json();
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history:#}");

    stage.project.env_file("staging", &[("BACKEND_PORT", &ports[1].to_string()), ("VERSION", "newer")]);
    stage.run(&["deploy", "staging", "--yes"]).exits(0);
    stage.run(&["down", "dev"]).exits(0);
    let after = running();
    assert!(after[0].is_empty());
    assert_ne!(after[1], before[1]);
    assert_eq!(after[2], before[2]);
    assert!(get(ports[0], "/health").is_none());
    assert_eq!(stage.host.get(ports[1], "/version").body, "newer");
    assert_eq!(stage.host.get(ports[2], "/version").body, "production");
}

#[test]
fn each_environment_finds_its_compose_file_and_its_variables_under_every_spelling() {
    needs!("docker", "git");
    let stage = Stage::empty();
    let image = format!("image: '{}'", base_image());
    stage.project.file("docker-compose.yml", backend(&image));
    stage.project.file("docker-compose.dev.yml", backend(&image));
    stage.project.file("docker-compose.prod.yml", backend(&image));
    stage.env("dev", &[]);
    stage.env("production", &[]);
    stage.env("testing", &[]);
    stage.project.commit("first");
    for (environment, file) in [
        ("dev", "docker-compose.dev.yml"),
        ("development", "docker-compose.dev.yml"),
        ("production", "docker-compose.prod.yml"),
        ("prod", "docker-compose.prod.yml"),
        ("testing", "docker-compose.yml"),
    ] {
        let before = stage.shim.calls().len();
        stage.run(&["validate", environment, "--host", "local"]).exits(0);
        let calls = stage.shim.calls().split_off(before);
        let used = calls.iter().flatten().find(|word| word.ends_with(".yml")).expect("a compose file");
        assert!(used.ends_with(&format!("/{file}")), "{environment}: {used}");
    }
    // Without a file of its own staging has production's.
    let before = stage.shim.calls().len();
    stage.env("staging", &[]).run(&["validate", "staging"]).exits(0);
    let calls = stage.shim.calls().split_off(before);
    assert!(calls.iter().flatten().any(|word| word.ends_with("/docker-compose.prod.yml")));
}
