//! `init`: what it writes is a configuration that `validate` takes, and what is there stays.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Host, Project, base_image, needs};

const CHECK: &str = "{test: [CMD, shop, get, \"127.0.0.1:8000/health\"], interval: 1s}";

/// Files of a project of a kind, `IMAGE` filled in.
fn projects() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let filled = |text: &str| text.replace("IMAGE", &base_image()).replace("CHECK", CHECK);
    let of =
        |files: &[(&'static str, &str)]| files.iter().map(|(path, text)| (*path, filled(text))).collect();
    vec![
        ("one", of(&[("compose.yaml", "services: {web: {image: \"IMAGE\", healthcheck: CHECK}}\n")])),
        (
            "several",
            of(&[
                (
                    "docker-compose.yml",
                    "x-common: &common\n  image: \"IMAGE\"\n  restart: unless-stopped\n  healthcheck: CHECK\n\
                     services:\n  web:\n    <<: *common\n    ports: [\"127.0.0.1:0:8000\"]\n    volumes: [\"./data:/data\", \"cache:/cache\"]\n\
                     \x20   environment: {LEVEL: \"${LEVEL:-info}\"}\n    depends_on: {job: {condition: service_completed_successfully}}\n\
                     \x20 job:\n    image: \"IMAGE\"\n    command: [\"true\"]\n    restart: \"no\"\n\
                     \x20 tool:\n    <<: *common\n    profiles: [debug]\nvolumes: {cache: {}}\n",
                ),
                (".env.example", "LEVEL=debug\n"),
            ]),
        ),
        (
            "built",
            of(&[
                ("compose.yml", "services:\n  \"no\": {build: ., healthcheck: CHECK, user: \"1000\"}\n"),
                ("Dockerfile", "FROM IMAGE\nUSER 1000\n"),
            ]),
        ),
        (
            "unchecked",
            of(&[(
                "compose.yaml",
                "services:\n  web: {image: \"IMAGE\", ports: [{published: 18123, target: 8000, host_ip: 127.0.0.1}]}\n  quiet: {image: \"IMAGE\"}\n",
            )]),
        ),
    ]
}

fn all_below(root: &Path) -> Vec<String> {
    let paths = ["deploy/deployments.yaml", "deploy/environments.yaml", ".github/workflows/deploy.yml"];
    paths.iter().map(|path| fs::read_to_string(root.join(path)).expect("it was written")).collect()
}

#[test]
fn what_init_writes_passes_validate_and_is_never_written_over() {
    needs!("docker");
    for (name, files) in projects() {
        let host = Host::local();
        let project = Project::new(name);
        for (path, text) in &files {
            project.file(path, text);
        }
        let root = project.path().display().to_string();
        let made = host.run_bare(host.dir(), &["init", "--project-root", &root, "--output", "json"]).exits(0);
        let paths =
            json!(["deploy/deployments.yaml", "deploy/environments.yaml", ".github/workflows/deploy.yml"]);
        assert_eq!((&made.json()["made"], &made.json()["kept"]), (&paths, &json!([])), "{name}");
        project.commit("1");
        host.run(&project, &["validate", "dev"]).exits(0);
        for environment in ["staging", "production"] {
            let variable = if environment == "staging" { "STAGING_HOST" } else { "PROD_HOST" };
            let unsaid = host.run(&project, &["validate", environment]).exits(2);
            unsaid.says(&[variable]);
        }
        let before = all_below(project.path());
        let again =
            host.run_bare(host.dir(), &["init", "--project-root", &root, "--output", "json"]).exits(0);
        assert_eq!((&again.json()["made"], &again.json()["kept"]), (&json!([]), &paths), "{name}");
        assert_eq!(all_below(project.path()), before);
        let workflow: serde_json::Value = serde_saphyr::from_str(&before[2]).expect("the workflow is YAML");
        assert_eq!(workflow["jobs"]["deploy"]["steps"][1]["uses"], "Three-Rivers-Tech/ffe-deploy@v1");
    }
}

#[test]
fn what_is_found_is_written_and_what_is_a_choice_is_a_comment() {
    needs!("docker");
    let host = Host::local();
    let project = Project::new("several");
    let files = projects().into_iter().find(|(name, _)| *name == "several").expect("it is there").1;
    for (path, text) in &files {
        project.file(path, text);
    }
    project.file("environments.yaml", "environments: {dev: {host: local}}\n");
    let made = host.run_bare(project.path(), &["init"]).exits(0);
    made.says(&["there already  environments.yaml", ".env.example as .env"]);
    let text = fs::read_to_string(project.path().join("deploy/deployments.yaml")).expect("it was written");
    for part in [
        "required_services: [web]",
        "one_shot: [job]",
        "shared: [data]",
        "volumes: [cache]",
        "# Healthchecks of the compose file are asked by themselves: web.",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!project.path().join("deploy/environments.yaml").exists());
}

#[test]
fn the_example_project_passes_with_what_init_writes() {
    needs!("docker");
    let host = Host::local();
    let project = Project::new("shop");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop");
    for path in ["docker-compose.yml", "backend/Dockerfile", "config/shop.yaml", ".gitignore", ".env.example"]
    {
        project.file(path, fs::read(example.join(path)).expect("the example has it"));
    }
    project.file("backend/shop", "not needed to look at it\n");
    host.run_bare(project.path(), &["init"]).exits(0);
    project.file(".env.dev", fs::read(example.join(".env.example")).expect("the example has it"));
    project.commit("1");
    host.run(&project, &["validate", "dev"]).exits(0);
}

#[test]
fn a_project_without_a_compose_file_or_with_a_broken_one_gets_nothing() {
    let host = Host::local();
    let project = Project::new("none");
    host.run_bare(project.path(), &["init"]).exits(2).says(&["Compose file not found"]);
    project.file("compose.yaml", "services: [\n");
    host.run_bare(project.path(), &["init"])
        .exits(2)
        .says(&["`compose.yaml` cannot be read", "nothing was written"]);
    assert!(!project.path().join("deploy").exists() && !project.path().join(".github").exists());
}
