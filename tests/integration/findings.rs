//! Rules on images and secrets, each with files that break it and files that keep it; and findings as SARIF.
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
        let all = answer["findings"].as_array().expect("findings");
        assert!(all.iter().all(|one| one["passed"] == (one["severity"] != "error")), "{answer}");
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
    is(&bench.finds("image.user", 3), "error", "docker-compose.yml:4");
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
    is(&found, "warning", "docker-compose.yml:3");
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

/// The published schema, one pattern of which is none, by a bracket too many; its errata say what is meant.
fn schema() -> jsonschema::Validator {
    let (wrong, right) = ("^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$", "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    let text = include_str!("../fixtures/sarif-schema-2.1.0.json").replace(wrong, right);
    jsonschema::validator_for(&serde_json::from_str(&text).expect("it is JSON")).expect("it is a schema")
}

/// Rule, level, and place (`file:line`) of each result; the document is valid, and each result has its rule's page.
#[track_caller]
fn results(ended: &Ended) -> Vec<(String, String, String)> {
    let document = ended.json();
    let problems: Vec<_> = schema().iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:#?}: {}", ended.told());
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let each = run["results"].as_array().expect("results").iter().map(|result| {
        let rule = rules.iter().find(|rule| rule["id"] == result["ruleId"]).expect("its rule");
        assert!(rule["helpUri"].as_str().is_some_and(|uri| uri.starts_with("https://")), "{rule}");
        let location = &result["locations"][0]["physicalLocation"];
        let place =
            format!("{}:{}", text(&location["artifactLocation"]["uri"]), location["region"]["startLine"]);
        (text(&result["ruleId"]), text(&result["level"]), place)
    });
    each.collect()
}

#[test]
fn findings_are_told_as_sarif_with_paths_from_the_top_of_the_checkout() {
    needs!("docker", "git");
    let mut bench = Bench::new();
    bench.project.file("Dockerfile", format!("FROM {}\nUSER root\n", base_image()));
    let found = results(&bench.validate("sarif", 3));
    let user = |place: &str| ("image.user".to_owned(), "error".to_owned(), place.to_owned());
    assert!(found.contains(&user("Dockerfile:2")), "{found:?}");
    assert!(found.iter().all(|(_, level, _)| level != "none"), "{found:?}");
    // Twice the same fingerprints, whatever else changes.
    let prints = |ended: &Ended| {
        let document = ended.json();
        let all = document["runs"][0]["results"].as_array().expect("results").clone();
        all.into_iter()
            .filter(|one| one["ruleId"] == "image.user")
            .map(|one| one["partialFingerprints"].clone())
            .collect::<Vec<_>>()
    };
    let before = prints(&bench.validate("sarif", 3));
    bench.project.file("Dockerfile", format!("# A line more.\nFROM {}\nUSER root\n", base_image()));
    assert_eq!(prints(&bench.validate("sarif", 3)), before);
    let above = bench.project.path().parent().expect("a parent").to_owned();
    bench.host = bench.host.with_env("GITHUB_WORKSPACE", above).with_env("GITHUB_ACTIONS", "true");
    let ended = bench.validate("sarif", 3);
    let found = results(&ended);
    assert!(found.contains(&user(&format!("{}/Dockerfile:3", bench.host.app()))), "{found:?}");
    // The job's log has the same as annotations, and stdout nothing but the document.
    let annotation = format!("::error file={}/Dockerfile,line=3", bench.host.app());
    assert!(ended.stderr.contains(&annotation), "{}", ended.told());
    // The same beside the table.
    let file = bench.host.dir().join("found.sarif").display().to_string();
    let ended = bench.host.run(&bench.project, &[&VALIDATE[..], &["--sarif", &file]].concat()).exits(3);
    assert!(ended.stdout.contains("image.user"), "{}", ended.told());
    let written: Value = serde_json::from_slice(&fs::read(&file).expect("read it")).expect("it is JSON");
    assert!(schema().is_valid(&written));
    assert!(
        written["runs"][0]["results"].as_array().is_some_and(|results| results.len() == found.len()),
        "{written}"
    );
    // Nothing wrong: a document without results takes the alerts away.
    bench.project.file("Dockerfile", format!("FROM {}\nUSER 10001\n", base_image()));
    let found = results(&bench.validate("sarif", 0));
    assert!(found.iter().all(|(rule, level, _)| rule != "image.user" && level == "warning"), "{found:?}");
}

#[test]
fn a_wrong_configuration_is_told_as_sarif_too_and_other_verbs_have_none() {
    needs!("git");
    let host = Host::local();
    let project = Project::new(host.app());
    project.file("deploy/deployments.yaml", "deployments:\n  shop:\n    type: docker-compose\n    nonsense: 1\n    env_vars: {API_KEY: MARKER-1}\n");
    let ended = host.run(&project, &["validate", "dev", "--output", "sarif"]).exits(2);
    assert!(!ended.told().contains("MARKER"), "{}", ended.told());
    let at = |line: u32| {
        ("config.invalid".to_owned(), "error".to_owned(), format!("deploy/deployments.yaml:{line}"))
    };
    let found = results(&ended);
    assert!(found.contains(&at(4)) && found.contains(&at(5)), "{found:?}");
    for verb in ["deploy", "status", "list"] {
        let ended = host.run(&project, &[verb, "--output", "sarif"]).exits(2);
        ended.says(&["`--output sarif` is for `validate`"]);
        assert!(ended.stdout.is_empty(), "{}", ended.told());
    }
}
