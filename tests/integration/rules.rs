//! Every rule by what breaks it and what keeps it, and compose files of many kinds by what is found in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ffe_deploy::model::rules::{self, Example, Group};
use serde_json::Value;

use crate::support::{Ended, Host, Project, needs};

/// Rules that only ask in dev what production refuses with the configuration.
const ASKED_IN_DEV: [&str; 1] = ["secrets.missing"];
/// Rules on what the runner builds.
const RUNNER_BUILDS: [&str; 2] = ["build.image", "build.keys"];

/// What `validate` says is not well: severity, rule, and the service that it is about.
fn found(ended: &Ended) -> Vec<[String; 3]> {
    let answer = ended.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = answer["findings"].as_array().into_iter().flatten();
    let findings = findings
        .map(|found| [text(&found["severity"]), text(&found["rule"]), text(&found["details"]["service"])]);
    let refused = answer["errors"].as_array().into_iter().flatten();
    let refused = refused.map(|error| ["error".to_owned(), text(&error["code"]), String::new()]);
    findings.chain(refused).filter(|[severity, ..]| severity != "passed").collect()
}

fn validate(host: &Host, project: &Project, environment: &str) -> Ended {
    let ended = host.run(project, &["validate", environment, "--host", "local", "--output", "json"]);
    assert!([0, 3].contains(&ended.code), "{}", ended.told());
    let code = ended.code;
    ended.exits(code)
}

/// A project with what the examples take for granted.
fn project() -> Project {
    let project = Project::new("shop");
    project.file("Dockerfile", "FROM scratch\nUSER 1000\nHEALTHCHECK CMD [\"/healthy\"]\n");
    project.file("docker-compose.yml", "services:\n  web: { image: 'shop:1.0.0', restart: always }\n");
    project.file("site/index.html", "");
    project.env_file("production", &[("A", "1")]);
    project
}

/// Writes an example; false for one that is no file.
fn write(project: &Project, example: Example, rule: &str) -> bool {
    match example {
        Example::Compose(text) => project.file("docker-compose.yml", text),
        Example::Deployments(text) => project.file("deployments.yaml", text),
        Example::Dockerfile(text) => {
            project.file("docker-compose.yml", "services:\n  web: { build: ., restart: always }\n");
            project.file("Dockerfile", text)
        }
        Example::Environments(_) | Example::Console(_) | Example::Words(_) => return false,
    };
    if RUNNER_BUILDS.contains(&rule) {
        project.file("deployments.yaml", "deployments:\n  shop: { type: docker-compose, build: runner }\n");
    }
    project.commit("example");
    true
}

#[test]
fn every_example_that_breaks_a_rule_is_found_and_no_example_that_keeps_it() {
    needs!("docker", "git");
    let host = Host::local();
    let mut wrong = Vec::new();
    let mut asked = 0;
    for rule in rules::all() {
        let environment = if ASKED_IN_DEV.contains(&rule.id) { "dev" } else { "production" };
        for (example, breaks) in [(rule.breaks, true), (rule.keeps, false)] {
            let project = project();
            if !write(&project, example, rule.id) {
                continue;
            }
            asked += 1;
            let found = found(&validate(&host, &project, environment));
            if found.iter().any(|[_, id, _]| id == rule.id) != breaks {
                wrong.push(format!("{}, {example:?}: {found:?}", rule.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 30, "only {asked} examples are files");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose")
}

/// Copies a fixture; `dot.x` becomes `.x`, which git does not track.
fn copy(from: &Path, to: &Project, at: &str) {
    for entry in fs::read_dir(from).expect("read a fixture") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            copy(&path, to, &format!("{at}{name}/"));
        } else if let Some(hidden) = name.strip_prefix("dot") {
            to.untracked(hidden);
            to.file(&format!("{at}{hidden}"), fs::read(&path).expect("read a file"));
        } else if name != "findings.txt" {
            to.file(&format!("{at}{name}"), fs::read(&path).expect("read a file"));
        }
    }
}

/// Rules on the machine and on what runs there are not the compose file's.
fn is_about_the_project(rule: &str) -> bool {
    rules::find(rule).is_none_or(|rule| {
        !matches!(rule.group, Group::Docker | Group::Host | Group::Release | Group::Backup)
    })
}

#[test]
fn compose_files_of_the_real_world_and_of_the_documents_give_exactly_the_findings_beside_them() {
    needs!("docker", "git");
    let host = Host::local();
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).expect("read the fixtures") {
        let directory = entry.expect("an entry").path();
        let project = Project::new("fixture");
        copy(&directory, &project, "");
        project.commit("fixture");
        let environment = if directory.ends_with("003-dev") { "dev" } else { "production" };
        let found = found(&validate(&host, &project, environment)).into_iter();
        let about = found.filter(|[_, rule, _]| is_about_the_project(rule));
        let lines: BTreeSet<String> = about.map(|words| words.join(" ").trim_end().to_owned()).collect();
        let file = directory.join("findings.txt");
        if std::env::var_os("FFE_BLESS").is_some() {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs::write(&file, text).expect("write the findings");
        }
        let beside = fs::read_to_string(&file).expect("the findings beside it");
        let beside: BTreeSet<String> = beside.lines().map(str::to_owned).collect();
        assert_eq!(lines, beside, "{}", directory.display());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} fixtures");
}

/// A compose file whose only fault is a tag that moves.
const MOVING: &str = "services:\n  cache:\n    image: registry.example.com/redis:latest\n    restart: always\n    \
                      mem_limit: 64m\n    healthcheck: { test: [CMD, redis-cli, ping] }\n";

#[test]
fn a_silenced_rule_is_listed_with_its_reason_and_stops_nothing() {
    needs!("docker", "git");
    let host = Host::local();
    let project = project();
    project.file(
        "docker-compose.yml",
        "services:\n  web: { build: { context: ., dockerfile: Dockerfile.bare }, restart: always }\n",
    );
    project.file("Dockerfile.bare", "FROM scratch\nUSER 1000\n");
    let rules = "rules: { compose.healthcheck: { silence: it has none on purpose } }";
    let write = |rules: &str| {
        project
            .file("deployments.yaml", format!("deployments:\n  shop: {{ type: docker-compose, {rules} }}\n"));
        project.commit("rules");
    };
    let of_rule = |ended: &Ended| {
        let answer = ended.json();
        let findings = answer["findings"].as_array().expect("findings").clone();
        findings.into_iter().find(|found| found["rule"] == "compose.healthcheck").expect("the finding")
    };
    let all = ["validate", "production", "--host", "local", "--output", "json"];
    write("build: host");
    assert_eq!(of_rule(&host.run(&project, &all).exits(3))["severity"], "error");
    write(rules);
    let ended = host.run(&project, &all).exits(0);
    let found = of_rule(&ended);
    assert_eq!(found["severity"], "silenced");
    assert_eq!(found["silenced"]["was"], "error");
    assert_eq!(found["silenced"]["reason"], "it has none on purpose");
    let told = ended.events_named("finding_reported").into_iter().cloned();
    let mut told = told.filter(|event| event["rule"] == "compose.healthcheck");
    assert_eq!(told.next().expect("an event")["silenced"]["reason"], "it has none on purpose");
    let table = host.run(&project, &all[..4]).exits(0);
    table.says(&["silenced: it has none on purpose (error otherwise)", "1 silenced"]);

    write("rules: { compose.healthchek: { silence: because } }");
    host.run(&project, &all).exits(2).says(&["compose.healthchek", "is no rule", "compose.healthcheck"]);
    write("rules: { project.other-root: { silence: because } }");
    host.run(&project, &all).exits(2).says(&["cannot be silenced"]);
    write("build: host");
    project.file("environments.yaml", format!("environments:\n  production: {{ {rules} }}\n"));
    project.commit("in the environment");
    assert_eq!(of_rule(&host.run(&project, &all).exits(0))["severity"], "silenced");
}

#[test]
fn what_is_not_well_comes_with_what_is_wanted_what_to_do_and_its_page() {
    needs!("docker", "git");
    let host = Host::local();
    let project = project();
    project.file("docker-compose.yml", MOVING);
    project.commit("moving");
    let ended = host.run(&project, &["validate", "production", "--host", "local"]).exits(0);
    let latest = rules::find("compose.latest").expect("the rule");
    ended.says(&["\ndocker\n", "\ncompose\n", latest.title, &latest.url(), "at      docker-compose.yml:3"]);
}

#[test]
fn a_missing_env_file_hides_nothing_else_and_is_an_error_everywhere() {
    needs!("docker", "git");
    let host = Host::local();
    let project = project();
    project.file(
        "docker-compose.yml",
        "services:\n  web:\n    build: .\n    restart: always\n    mem_limit: 64m\n    env_file:\n      - nobody-has.env\n    \
         environment: ['A=${UNSET}']\n    user: root\n    healthcheck: { test: [CMD, web] }\n",
    );
    project.commit("missing");
    for environment in ["production", "dev"] {
        let ended = validate(&host, &project, environment);
        let findings = ended.json()["findings"].as_array().expect("findings").clone();
        let line = |rule: &str| {
            let found = findings.iter().find(|found| found["rule"] == rule && found["severity"] != "passed");
            found.map(|found| (found["severity"].clone(), found["place"]["line"].clone()))
        };
        assert_eq!(line("env.file"), Some(("error".into(), 7.into())), "{}", ended.told());
        assert_eq!(line("env.unset").map(|(_, line)| line), Some(8.into()), "{}", ended.told());
        assert_eq!(line("image.user").map(|(_, line)| line), Some(9.into()), "{}", ended.told());
        assert_eq!(line("compose.healthcheck"), None);
    }
}
