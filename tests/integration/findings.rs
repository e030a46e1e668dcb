//! Rules on images and secrets, each with files that break it and files that keep it.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Ended, Host, Project, base_image, needs};

const VALIDATE: [&str; 4] = ["validate", "production", "--host", "local"];

/// A project of one service that is built, with nothing wrong, on a host of its own.
struct Bench {
    host: Host,
    project: Project,
}

impl Bench {
    fn new() -> Self {
        let host = Host::local();
        let project = Project::new(host.app());
        project.file("docker-compose.yml", compose("build: ."));
        project.file("Dockerfile", format!("FROM {}\nUSER 10001\n", base_image()));
        project.file(".gitignore", ".env\n.env.*\n!.env*.example\n");
        project.commit("first");
        Self { host, project }
    }

    #[track_caller]
    fn validate(&self, output: &str, code: i32) -> Ended {
        let ended =
            self.host.run(&self.project, &[&VALIDATE[..], &["--output", output]].concat()).exits(code);
        assert!(!format!("{}{:?}", ended.told(), ended.events).contains("MARKER"), "{}", ended.told());
        ended
    }

    /// Severities, messages and places (`file:line`) of one rule's findings, in the answer and in the events alike.
    #[track_caller]
    fn finds(&self, rule: &str, code: i32) -> Vec<(String, String, String)> {
        let ended = self.validate("json", code);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let at = |place: &Value| {
            place["file"].as_str().map(|file| format!("{file}:{}", place["line"])).unwrap_or_default()
        };
        let answer = ended.json();
        let found = answer["findings"].as_array().expect("findings").iter().filter(|one| one["rule"] == rule);
        let found: Vec<_> =
            found.map(|one| (text(&one["severity"]), text(&one["message"]), at(&one["place"]))).collect();
        let told = ended.events_named("finding_reported").into_iter().filter(|event| event["rule"] == rule);
        let told: Vec<_> = told
            .map(|event| (text(&event["severity"]), text(&event["found"]), at(&event["place"])))
            .collect();
        assert_eq!(found, told, "{rule}: the answer and the events differ");
        found
    }

    /// Builds an image of these lines under a name of this host's.
    fn image(&self, lines: &str) -> String {
        let name = format!("{}-made", self.host.app());
        let context = self.host.dir().join("made");
        fs::create_dir_all(&context).expect("make a context");
        fs::write(context.join("Dockerfile"), format!("FROM {}\n{lines}\n", base_image())).expect("write it");
        let path = context.display().to_string();
        self.host.docker(&["build", "--quiet", "--tag", &name, &path]);
        name
    }

    fn mode(&self, path: &str, mode: u32) {
        let path = self.project.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("change a mode");
    }
}

fn compose(service: &str) -> String {
    format!(
        "services:\n  web:\n    {service}\n    restart: unless-stopped\n    healthcheck: {{test: [CMD, shop, get, '127.0.0.1:8000/health']}}\n"
    )
}

fn passes(found: &[(String, String, String)]) {
    assert!(!found.is_empty() && found.iter().all(|(severity, ..)| severity == "passed"), "{found:?}");
}

fn is(found: &[(String, String, String)], severity: &str, place: &str) {
    let found: Vec<_> =
        found.iter().map(|(severity, _, place)| (severity.as_str(), place.as_str())).collect();
    assert_eq!(found, [(severity, place)]);
}

#[test]
fn root_is_found_in_dockerfiles_compose_files_and_images() {
    needs!("docker", "git");
    let bench = Bench::new();
    let base = base_image();
    passes(&bench.finds("image.user", 0));
    for (lines, at) in [
        ("USER 10001\nUSER 0:0", "Dockerfile:3"),
        ("ARG WHO=root\nUSER ${WHO}", "Dockerfile:3"),
        ("RUN <<EOF\nUSER 10001\nEOF\nUSER \\\n  root", "Dockerfile:5"),
    ] {
        bench.project.file("Dockerfile", format!("FROM {base}\n{lines}\n"));
        is(&bench.finds("image.user", 3), "error", at);
    }
    // Without a word it is what the base image is; in another stage it does not matter.
    bench
        .project
        .file("Dockerfile", format!("FROM {base} AS dev\nUSER root\nFROM {base} AS prod\nFROM dev\n"));
    is(&bench.finds("image.user", 3), "error", "Dockerfile:2");
    bench.project.file("docker-compose.yml", compose("build: {context: ., target: prod}"));
    passes(&bench.finds("image.user", 0));
    bench
        .project
        .file("docker-compose.yml", compose("build: {context: ., target: dev}\n    user: '10001:0'"));
    passes(&bench.finds("image.user", 0));
    bench.project.file("docker-compose.yml", compose("build: {context: ., target: prod}\n    user: root"));
    is(&bench.finds("image.user", 3), "error", "docker-compose.yml:2");
    let inline = format!("build: {{context: ., dockerfile_inline: \"FROM {base}\\nUSER 00\\n\"}}");
    bench.project.file("docker-compose.yml", compose(&inline));
    is(&bench.finds("image.user", 3), "error", "docker-compose.yml:2");
    // Of others' images it is a warning, with a line for the compose file.
    bench.project.file("docker-compose.yml", compose(&format!("image: '{}'", bench.image("USER root"))));
    is(&bench.finds("image.user", 0), "warning", "docker-compose.yml:2");
    bench.project.file("docker-compose.yml", compose(&format!("image: '{base}'")));
    passes(&bench.finds("image.user", 0));
}

#[test]
fn secrets_in_images_are_named_and_never_shown() {
    needs!("docker", "git");
    let bench = Bench::new();
    passes(&bench.finds("image.secrets", 0));
    bench.project.file(
        "Dockerfile",
        format!("FROM {}\nUSER 10001\nENV A=1 \\\n  API_KEY=MARKER-1\nARG TOKEN\n", base_image()),
    );
    is(&bench.finds("image.secrets", 3), "error", "Dockerfile:3");
    let made = bench.image("ARG TOKEN=MARKER-2\nENV API_KEY=MARKER-3");
    bench.project.file("docker-compose.yml", compose(&format!("image: '{made}'")));
    let found = bench.finds("image.secrets", 0);
    is(&found, "warning", "docker-compose.yml:2");
    assert!(found[0].1.contains("`API_KEY`, `TOKEN`"), "{found:?}");
}

#[test]
fn secrets_that_lie_open_are_found_with_their_place() {
    needs!("docker", "git");
    let bench = Bench::new();
    for rule in ["secrets.literal", "secrets.tracked", "secrets.mode", "secrets.weak"] {
        passes(&bench.finds(rule, 0));
    }
    // Written into a compose file.
    bench.project.file(
        "docker-compose.yml",
        compose("build: .\n    environment: {API_KEY: MARKER-1, TOKEN: '${TOKEN:-}'}"),
    );
    is(&bench.finds("secrets.literal", 3), "error", "docker-compose.yml:4");
    bench.project.file("docker-compose.yml", compose("build: ."));
    // Weak, readable, tracked: one after the other.
    bench
        .project
        .file(".env.production", "GRAFANA_ADMIN_PASSWORD=admin\nJWT_SECRET_KEY=0123456789MARKER0123\n");
    is(&bench.finds("secrets.mode", 0), "warning", "");
    bench.mode(".env.production", 0o600);
    passes(&bench.finds("secrets.mode", 0));
    let weak = bench.finds("secrets.weak", 0);
    is(&weak, "warning", "");
    assert!(weak[0].1.contains("`GRAFANA_ADMIN_PASSWORD`") && !weak[0].1.contains("JWT"), "{weak:?}");
    bench.project.git(&["add", "--force", ".env.production"]);
    is(&bench.finds("secrets.tracked", 3), "error", ".env.production:1");
    bench.project.git(&["rm", "--quiet", "--cached", ".env.production"]);
    bench.project.file("certs/web.key", "-----BEGIN PRIVATE KEY-----\nMARKER\n").untracked("certs/");
    is(&bench.finds("secrets.mode", 3), "error", "");
    bench.mode("certs/web.key", 0o600);
    passes(&bench.finds("secrets.mode", 0));
    passes(&bench.finds("secrets.ignored", 0));
    bench.project.file(".gitignore", "*.log\n");
    is(&bench.finds("secrets.ignored", 0), "warning", ".gitignore:1");
}

#[test]
fn dev_is_warned_where_production_is_refused() {
    needs!("docker", "git");
    let bench = Bench::new();
    bench.project.file("Dockerfile", format!("FROM {}\nUSER root\nENV API_KEY=MARKER-1\n", base_image()));
    bench.project.file("docker-compose.yml", compose("build: .\n    environment: {TOKEN: MARKER-2}"));
    let ended = bench.host.run(&bench.project, &["validate", "dev", "--output", "json"]).exits(0);
    let warned = ended.json()["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|one| one["severity"] == "warning")
        .count();
    assert!(warned >= 3, "{}", ended.told());
}
