//! `init`: what it writes is a configuration that `validate` takes, and what is there stays.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Host, Project, base_image, needs, output};

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
        (
            "ranges",
            of(&[
                (
                    "docker-compose.yml",
                    "services:\n  web: {image: \"IMAGE\", ports: [\"127.0.0.1:18130-18132:8000-8002\"]}\n\
                     \x20 api: {image: \"IMAGE\", ports: [\"${BIND:-127.0.0.1}:${API_PORT:-18133}:8000\"]}\n\
                     \x20 long: {image: \"IMAGE\", ports: [{target: 8000, published: \"18134-18135\", host_ip: 127.0.0.1}]}\n\
                     \x20 quiet: {image: \"IMAGE\", healthcheck: {test: [NONE]}, restart: \"no\"}\n",
                ),
                ("docker-compose.yaml", "services: {other: {image: \"IMAGE\"}}\n"),
                ("docker-compose.override.yml", "services: {web: {environment: {DEBUG: \"1\"}}}\n"),
            ]),
        ),
        (
            "own-files",
            of(&[
                (
                    "docker-compose.dev.yml",
                    "services: {web: {image: \"IMAGE\", healthcheck: CHECK}, mail: {image: \"IMAGE\", healthcheck: CHECK}}\n\
                     volumes: {mails: {}, data: {}}\n",
                ),
                (
                    "docker-compose.prod.yml",
                    "services: {web: {image: \"IMAGE\", healthcheck: CHECK}}\nvolumes: {data: {}}\n",
                ),
            ]),
        ),
        (
            "overlays",
            of(&[
                (
                    "compose.yaml",
                    "services: {web: {image: \"IMAGE\", healthcheck: CHECK}, db: {image: \"IMAGE\", healthcheck: CHECK}}\n",
                ),
                ("compose.development.yaml", "services: {web: {environment: {DEBUG: \"1\"}}}\n"),
                ("compose.production.yaml", "services: {web: {restart: always}}\n"),
            ]),
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
        for (text, schema) in before.iter().zip(["deployments", "environments"]) {
            let first = text.lines().next().unwrap_or_default();
            let of_schema = format!("/schemas/{schema}.schema.json");
            assert!(
                first.starts_with("# yaml-language-server: $schema=") && first.ends_with(&of_schema),
                "{first}"
            );
        }
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

/// Runs `init` on one of the projects above; returns what it wrote.
fn written(kind: &str) -> (Host, Project, Vec<String>) {
    let (host, project) = (Host::local(), Project::new(kind));
    let files = projects().into_iter().find(|(name, _)| *name == kind).expect("it is there").1;
    for (path, text) in &files {
        project.file(path, text);
    }
    host.run_bare(project.path(), &["init"]).exits(0);
    let texts = all_below(project.path());
    (host, project, texts)
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn ports_are_understood_in_every_form_and_files_that_are_not_read_are_named() {
    needs!("docker");
    let (.., texts) = written("ranges");
    says(
        &texts[0],
        &[
            "{ name: web, tcp: \"localhost:18130\" }",
            "{ name: api, tcp: \"localhost:${API_PORT:-18133}\" }",
            "{ name: long, tcp: \"localhost:18134\" }",
            "# Without a healthcheck and a port these are only seen to run: quiet.",
            "# one_shot: [quiet]",
            "# In dev docker-compose.override.yml lies over it, nowhere else.",
            "# There, too, and not read: docker-compose.yaml.",
        ],
    );
}

#[test]
fn files_of_environments_are_whole_or_lie_over_the_base_and_init_knows_which() {
    needs!("docker");
    let (_, _, texts) = written("own-files");
    says(
        &texts[0],
        &["docker-compose.dev.yml, docker-compose.prod.yml", "required_services: [web]", "volumes: [data]"],
    );
    let (host, project, texts) = written("overlays");
    let over = |file: &str| format!("compose_file: [compose.yaml, {file}] }} }}");
    assert_eq!(texts[1].matches(&over("compose.production.yaml")).count(), 2, "{}", texts[1]);
    says(
        &texts[1],
        &[&over("compose.development.yaml"), "# compose.production.yaml lies over compose.yaml."],
    );
    project.commit("1");

    let looked = host.with_env("PROD_HOST", "local");
    let shown = looked.run(&project, &["validate", "production", "--show-config"]).exits(0);
    shown.says(&["compose.production.yaml"]);
}

/// A repository of several projects: each is one of its own, and GitHub reads workflows at the top alone.
#[test]
fn a_project_in_a_directory_of_its_repository_has_its_workflow_at_the_top() {
    let (host, project) = (Host::local(), Project::new("mono"));
    project.git(&["remote", "add", "origin", "https://example.com/acme/mono.git"]);
    for name in ["shop", "blog"] {
        project.file(&format!("services/{name}/compose.yaml"), "services: {web: {image: \"x:1\"}}\n");
    }
    let lost = host.run_bare(project.path(), &["init"]).exits(2);
    lost.says(&["`services/blog`, `services/shop`", "init --project-root ./services/blog"]);
    for name in ["shop", "blog"] {
        let made = host.run_bare(&project.path().join("services").join(name), &["init"]).exits(0);
        made.says(&[&format!("../../.github/workflows/deploy-{name}.yml")]);
        let workflow =
            fs::read_to_string(project.path().join(format!(".github/workflows/deploy-{name}.yml")));
        let workflow: serde_json::Value =
            serde_saphyr::from_str(&workflow.expect("it was written")).expect("it is YAML");
        let with = &workflow["jobs"]["deploy"]["steps"][1]["with"];
        assert_eq!(with["project-root"], format!("services/{name}"));
        let app = fs::read_to_string(project.path().join(format!("services/{name}/deploy/deployments.yaml")));
        says(&app.expect("it was written"), &[&format!("\n  {name}:\n")]);
    }
}

#[test]
fn the_workflow_passes_actionlint_and_zizmor() {
    needs!("actionlint", "zizmor");
    let (host, project) = (Host::local(), Project::new("shop"));
    project.file("services/shop/compose.yaml", "services: {web: {image: \"x:1\"}}\n");
    project.file("compose.yaml", "services: {web: {image: \"x:1\"}}\n");
    host.run_bare(project.path(), &["init"]).exits(0);
    host.run_bare(&project.path().join("services/shop"), &["init"]).exits(0);
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/zizmor.yml");
    let policy = policy.display().to_string();
    for workflow in ["deploy.yml", "deploy-shop.yml"] {
        let path = project.path().join(".github/workflows").join(workflow).display().to_string();
        output(host.command("actionlint").arg(&path));
        let strict = ["--offline", "--quiet", "--persona", "pedantic", "--config", &policy, &path];
        output(host.command("zizmor").args(strict));
    }
}

#[test]
fn a_compose_file_without_services_gets_nothing() {
    let (host, project) = (Host::local(), Project::new("none"));
    project.file("compose.yaml", "services:\n");
    host.run_bare(project.path(), &["init"]).exits(2).says(&["it has no services", "nothing was written"]);
    assert!(!project.path().join("deploy").exists());
}
