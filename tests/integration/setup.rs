//! `setup`: a host is made ready for a first deploy, and a second time nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Ended, Host, Project, Registry, base_image, needs};

/// Modes and contents below a directory, without what a run leaves of itself.
fn everything(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = path.symlink_metadata().expect("look at it");
        if path.ends_with("state") || path.ends_with(".ffe-deploy") || path.ends_with(".git") {
            continue;
        }
        if meta.is_dir() {
            waiting
                .extend(fs::read_dir(&path).expect("list it").map(|entry| entry.expect("an entry").path()));
        }
        let bytes = if meta.is_file() { fs::read(&path).expect("read it") } else { Vec::new() };
        seen.insert(path, (meta.permissions().mode() & 0o7777, bytes));
    }
    seen
}

fn said(ended: &Ended) -> Vec<&str> {
    let lines = ended.events_named("log_line").into_iter().filter(|event| event["source"] == "setup");
    lines.filter_map(|event| event["text"].as_str()).collect()
}

fn project(host: &Host, image: &str, place: &str) -> Project {
    let project = Project::new("shop");
    let app = host.app();
    project.file(
        "deployments.yaml",
        format!(
            "deployments: {{ {app}: {{ type: docker-compose, requirements: {{ disk_gb: 0.1, memory_gb: 0.1 }}, \
             setup: {{ directories: [data/decisions, {{ path: logs, mode: \"0750\" }}], databases: [data/auth.db] }} }} }}\n"
        ),
    );
    project.file("environments.yaml", format!("environments: {{ staging: {{ host: local{place} }} }}\n"));
    let check = "{test: [CMD, \"true\"], interval: 1s}";
    project.file(
        "compose.yaml",
        format!(
            "services: {{ web: {{ image: \"{image}\", env_file: [.env.staging], healthcheck: {check} }} }}\n"
        ),
    );
    project
        .file(".env.staging.example", "LEVEL=info\n")
        .file(".gitignore", ".env.staging\n.ffe-deploy\ndata\nlogs\nbackups\n");
    project.file("config.yaml", "a: 1\n");
    project.commit("1");
    project
}

#[test]
fn a_root_is_made_ready_and_the_second_time_everything_is_there() {
    needs!("docker", "docker-registry");
    let (host, registry) = (Host::local(), Registry::open());
    let name = format!("{}/web:1", host.app());
    registry.push(&name, "1");
    let image = format!("{}/{name}", registry.server());
    let project = project(&host, &image, &format!(", root: {}", host.root_base().display()));
    let first = host.run(&project, &["setup", "staging"]).exits(0);
    let shared = host.root("staging").join("shared");
    let mode = |path: &str| shared.join(path).metadata().expect(path).permissions().mode() & 0o7777;
    let modes = [".env.staging", "data/decisions", "logs", "data/auth.db"].map(mode);
    assert_eq!(modes, [0o600, 0o755, 0o750, 0o600]);
    assert_eq!(fs::read_to_string(shared.join(".env.staging")).expect("it is there"), "LEVEL=info\n");
    for line in ["made .env.staging", "made data/decisions", "made logs", "made data/auth.db"] {
        assert!(said(&first).contains(&line), "`{line}` is not in {:?}\n{}", said(&first), first.told());
    }
    assert_eq!(first.event("image_ready")["how"], "pulled");
    assert!(host.containers(&format!("{}-staging", host.app()), "web").is_empty(), "nothing is started");
    assert!(!host.root("staging").join("current").exists());

    // What somebody filled in stays, and is closed to others.
    fs::write(shared.join(".env.staging"), "LEVEL=debug\n").expect("write it");
    fs::set_permissions(shared.join(".env.staging"), fs::Permissions::from_mode(0o644)).expect("open it");
    let second = host.run(&project, &["setup", "staging"]).exits(0);
    assert_eq!(
        (mode(".env.staging"), fs::read(shared.join(".env.staging")).expect("it is there")),
        (0o600, b"LEVEL=debug\n".to_vec())
    );
    assert!(said(&second).iter().all(|line| !line.starts_with("made ")), "{:?}", said(&second));
    let before = everything(&host.root("staging"));
    host.run(&project, &["setup", "staging"]).exits(0);
    assert_eq!(everything(&host.root("staging")), before);
    host.run(&project, &["deploy", "staging"]).exits(0);
}

#[test]
fn a_project_in_place_gets_the_documents_directories_and_files() {
    needs!("docker");
    let host = Host::local();
    let project = project(&host, &base_image(), "");
    let first = host.run(&project, &["setup", "staging"]).exits(0);
    for path in ["data/decisions", "logs", "backups", "data/auth.db", "config.local.yaml", ".env.staging"] {
        assert!(project.path().join(path).exists(), "no {path}: {}", first.told());
    }
    let before = everything(project.path());
    host.run(&project, &["setup", "staging"]).exits(0);
    assert_eq!(everything(project.path()), before);
}

#[test]
fn without_docker_nothing_is_made() {
    needs!("docker");
    let host = Host::local().with_env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let project = project(&host, &base_image(), &format!(", root: {}", host.root_base().display()));
    let refused = host.run(&project, &["setup", "staging"]).exits(3);
    refused.says(&["docker.running"]);
    assert!(!host.root("staging").exists());
}
