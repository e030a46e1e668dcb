use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::super::tests::{COMPOSE, Project};
use super::super::{Inputs, resolve};
use super::*;

fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn schema_of(file: &str) -> Value {
    if file == "deployments" { deployments() } else { environments() }
}

#[test]
fn the_committed_schemas_are_those_that_the_code_makes() {
    for file in ["deployments", "environments"] {
        let made = serde_json::to_string_pretty(&schema_of(file)).unwrap() + "\n";
        let path = in_repository(&format!("schemas/{file}.schema.json"));
        if std::env::var_os("FFE_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == made,
            "{} is not what the code makes; FFE_BLESS=1 cargo test writes it",
            path.display()
        );
    }
}

#[test]
fn both_are_schemas_of_2020_12() {
    for file in ["deployments", "environments"] {
        let schema = schema_of(file);
        let meta = jsonschema::meta::validate(&schema);
        assert!(meta.is_ok(), "{file}: {:?}", meta.err().map(|error| error.to_string()));
    }
}

/// Values in which `value` stands at the end of `path`; an app has its type.
pub(in crate::config) fn document(path: &[String], value: Value) -> Value {
    let mut document = value;
    for (depth, step) in path.iter().enumerate().rev() {
        document = if step == "[]" { json!([document]) } else { json!({ step: document }) };
        let is_app = depth == 2 && path[0] == "deployments"
            || depth == 4 && path.get(2).is_some_and(|step| step == "overrides");
        if is_app && let Some(app) = document.as_object_mut() {
            app.entry("type").or_insert_with(|| "docker-compose".into());
        }
    }
    if ["registries", "notify", "ledger"].iter().any(|key| document.get(key).is_some()) {
        document["deployments"] = json!({ "shop": { "type": "docker-compose" } });
    }
    document
}

fn project(file: &str, document: &Value) -> Project {
    let other = match file {
        "deployments" => ("environments.yaml".to_owned(), json!({ "environments": { "dev": {} } })),
        _ => (
            "deployments.yaml".to_owned(),
            json!({ "deployments": { "shop": { "type": "docker-compose" } } }),
        ),
    };
    Project::new(&[
        (&format!("{file}.yaml"), &document.to_string()),
        (&other.0, &other.1.to_string()),
        ("compose.yaml", COMPOSE),
    ])
}

fn problems(file: &str, document: &Value) -> Vec<crate::config::Problem> {
    let project = project(file, document);
    let job = ["KEY", "PASS", "TOKEN"].map(|name| (name.to_owned(), "long enough".to_owned())).into();
    let inputs = Inputs {
        environment: Some("dev".to_owned()),
        project_root: project.path().to_owned(),
        job,
        ..Inputs::default()
    };
    resolve(&inputs).err().map(|error| error.problems().to_vec()).unwrap_or_default()
}

/// Every map with known keys, and the way to it.
fn maps(schema: &Value, whole: &Value, path: &[String], found: &mut Vec<(Vec<String>, BTreeSet<String>)>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        return maps(whole.pointer(pointer).unwrap(), whole, path, found);
    }
    let below = |step: &str| [path, &[step.to_owned()]].concat();
    let is_whole = schema["additionalProperties"] == json!(false);
    if let Some(keys) = schema["properties"].as_object().filter(|_| is_whole) {
        found.push((path.to_vec(), keys.keys().cloned().collect()));
        keys.iter().for_each(|(key, schema)| maps(schema, whole, &below(key), found));
    }
    if schema["additionalProperties"].is_object() {
        let name = match path.last().map(String::as_str) {
            Some("environments") => "dev",
            Some("rules") => "compose.healthcheck",
            _ => "shop",
        };
        maps(&schema["additionalProperties"], whole, &below(name), found);
    }
    if schema["items"].is_object() {
        maps(&schema["items"], whole, &below("[]"), found);
    }
    for kind in schema["anyOf"].as_array().into_iter().flatten() {
        maps(kind, whole, path, found);
    }
}

/// The readers say themselves which keys they know, when one is written that they do not.
#[test]
fn schemas_and_readers_know_the_same_keys() {
    for file in ["deployments", "environments"] {
        let whole = schema_of(file);
        let mut found = Vec::new();
        maps(&whole, &whole, &[], &mut found);
        assert!(found.len() > 8, "{}", found.len());
        for (path, keys) in found {
            let document = document(&path, json!({ "zz": 1 }));
            let problems = problems(file, &document);
            let unknown = problems.iter().find(|problem| {
                problem.message == "is not a known key"
                    && problem.key.as_deref().is_some_and(|key| key.ends_with("zz"))
            });
            let unknown = unknown.unwrap_or_else(|| panic!("{path:?} is no map of the reader: {problems:?}"));
            let accepted = unknown.accepted.clone().unwrap_or_default();
            let known: BTreeSet<String> = accepted.split(", ").map(str::to_owned).collect();
            // Where an environment overrides nothing of it, the reader does not speak of it.
            let keys: BTreeSet<String> =
                keys.into_iter().filter(|key| key != "project" || known.contains(key)).collect();
            assert_eq!(known, keys, "{file}.yaml, {}: put the key into src/config/schema", path.join("."));
        }
    }
}

fn is_valid(file: &str, document: &Value) -> bool {
    jsonschema::draft202012::new(&schema_of(file)).unwrap().is_valid(document)
}

/// All YAML of the documents and the examples.
fn examples() -> Vec<(String, Value)> {
    let pages = [
        "docs/configuration.md",
        "docs/notifications.md",
        "docs/registries.md",
        "docs/secrets.md",
        "README.md",
    ];
    let pages = pages.map(|page| std::fs::read_to_string(in_repository(page)).unwrap());
    let blocks = pages.iter().flat_map(|page| page.split("```yaml\n").skip(1));
    let mut texts: Vec<String> = blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    for file in ["deployments", "environments"] {
        texts.push(
            std::fs::read_to_string(in_repository(&format!("examples/shop/deploy/{file}.yaml"))).unwrap(),
        );
    }
    let options = serde_saphyr::options! { strict_booleans: true };
    let read = |text: &String| serde_saphyr::from_str_with_options::<Value>(text, options.clone()).unwrap();
    let files = texts.iter().map(read).filter_map(|document| {
        let has = |key: &str| document.get(key).is_some();
        let file = if has("environments") { "environments" } else { "deployments" };
        (has("deployments") || has("environments")).then(|| (file.to_owned(), document))
    });
    files.collect()
}

#[test]
fn every_example_of_the_documents_is_valid() {
    let examples = examples();
    assert!(examples.len() >= 10);
    for (file, document) in examples {
        let validator = jsonschema::draft202012::new(&schema_of(&file)).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
    }
}

/// Every place of a document that holds something, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (step, value) in children {
        let at = format!("{at}/{step}");
        places(value, &at, found);
        found.push(at);
    }
}

/// One value of each example is replaced by one of another kind: both say yes, or both say no.
#[test]
fn schemas_accept_and_refuse_what_the_readers_do() {
    let wrong = [json!([]), json!({ "zz": 1 }), json!(-1), json!(0.5), json!(true), json!(""), Value::Null];
    let (mut compared, mut differ) = (0, Vec::new());
    for (file, example) in complete() {
        assert!(problems(file, &example).is_empty(), "{:?}", problems(file, &example));
        let validator = jsonschema::draft202012::new(&schema_of(file)).unwrap();
        let mut found = Vec::new();
        places(&example, "", &mut found);
        // What goes with what in hooks only the reader knows.
        for place in found.iter().filter(|place| !place.contains("/hooks") && !place.contains("/test")) {
            for value in &wrong {
                let mut document = example.clone();
                *document.pointer_mut(place).unwrap() = value.clone();
                let problems = problems(file, &document);
                let (reader, schema) = (problems.is_empty(), validator.is_valid(&document));
                if reader != schema {
                    differ.push(format!(
                        "{file}.yaml, {place} = {value}: schema {schema}, reader {problems:?}"
                    ));
                }
                compared += 1;
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
    assert!(compared > 500, "{compared}");
}

/// Documents with every key, of values that need nothing else.
pub(in crate::config) fn complete() -> Vec<(&'static str, Value)> {
    let check = |more: Value| {
        let mut check = Map::from_iter([("name".to_owned(), json!("a"))]);
        check.extend(more.as_object().unwrap().clone());
        Value::Object(check)
    };
    let app = json!({
        "type": "docker-compose", "path": ".", "compose_file": ["compose.yaml"], "profiles": ["full"],
        "env_vars": { "A": "x", "B": 1.5, "C": true }, "secrets": ["KEY", { "name": "PASS", "command": ["pass", "x"], "timeout": "5s" }, { "name": "TOKEN", "file": "/x" }],
        "secret_command": { "command": ["op", "read"], "timeout": "5s" }, "required_vars": ["KEY"], "required_files": ["a/b"],
        "required_services": ["web"], "one_shot": ["migrate"], "build": "never", "bundle": ["dist/**"], "bundle_exclude": ["docs"], "shared": ["data"],
        "setup": { "directories": ["data", { "path": "logs", "mode": "0750" }], "databases": ["data/x.db"] },
        "requirements": { "disk_gb": 20, "memory_gb": 0.5 },
        "backup": { "paths": ["data"], "volumes": ["v"], "format": "zstd", "retention": { "days": 7, "keep_last": 3 } },
        "health": { "timeout": "120s", "before": "warn", "checks": [
            check(json!({ "http": "http://localhost/", "status": 200, "timeout": "5s", "request_timeout": "1s", "optional": true, "optional_in": ["dev"] })),
            { "name": "b", "tcp": "localhost:1" }, { "name": "c", "command": ["x", "y"] }, { "name": "d", "preset": "grafana" },
        ] },
        "rollback": { "automatic": true }, "keep_releases": 5, "url": "https://x/",
        "rules": { "compose.healthcheck": { "silence": "on purpose" } }, "test": { "command": ["./t"], "timeout": "5s" },
        "hooks": { "pre_build": [{ "name": "a", "run": ["x"] }], "pre_deploy": [{ "name": "a", "run": ["x"] }], "post_deploy": [{ "name": "a", "run": ["x"] }], "on_failure": [{ "name": "a", "run": ["x"] }], "on_rollback": [{ "name": "a", "run": ["x"] }], "finally": [{ "name": "a", "run": ["x"] }] },
    });
    let environment = json!({
        "profile": "dev", "host": "h", "user": "u", "port": 22, "ssh_key": { "env": "KEY", "passphrase": { "env": "PASS" } },
        "host_key": "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDMHGsJP8JnTK4l7Pc", "jump": [{ "host": "b", "user": "c", "port": 1, "host_key": "ssh-ed25519 AAAA" }],
        "become": "sudo", "root": "/srv", "require_confirmation": false, "backup": true, "allow_network_root": false, "recover_at_boot": true,
        "timeout": "30m", "on_lost": "continue", "rules": { "compose.healthcheck": { "silence": "on purpose" } },
        "hooks": { "pre_build": [{ "name": "a", "run": ["x"] }], "pre_deploy": [{ "name": "a", "run": ["x"] }], "post_deploy": [{ "name": "a", "run": ["x"] }], "on_failure": [{ "name": "a", "run": ["x"] }], "on_rollback": [{ "name": "a", "run": ["x"] }], "finally": [{ "name": "a", "run": ["x"] }] },
        "overrides": { "shop": { "project": "one", "env_vars": { "A": "x" } } },
    });
    let deployments = json!({
        "x-any": [1], "deployments": { "shop": app },
        "registries": [{ "server": "ghcr.io", "username": "ci", "password": { "env": "TOKEN" } }],
        "notify": { "slack": { "webhook": { "env": "TOKEN" }, "on": "all" } },
        "ledger": { "url": "https://ledger.example.com", "token": { "env": "TOKEN" }, "allow_http": false },
    });
    vec![("deployments", deployments), ("environments", json!({ "environments": { "dev": environment } }))]
}

#[test]
fn references_are_valid_wherever_text_is_filled_in() {
    for (file, mut example) in complete() {
        let mut found = Vec::new();
        places(&example.clone(), "", &mut found);
        let names = ["/secrets", "/env", "/type", "/name"];
        for place in found {
            let is_name = place.contains("/secrets/") || names.iter().any(|name| place.ends_with(name));
            let value = example.pointer_mut(&place).unwrap();
            if !is_name && !value.is_object() && !value.is_array() {
                *value = json!("${X:-y}");
            }
        }
        let validator = jsonschema::draft202012::new(&schema_of(file)).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&example)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    assert!(
        !is_valid("deployments", &json!({})) && !is_valid("environments", &json!({ "environments": {} }))
    );
}

#[test]
fn the_files_of_the_examples_name_their_schema() {
    for file in ["deployments", "environments"] {
        let text =
            std::fs::read_to_string(in_repository(&format!("examples/shop/deploy/{file}.yaml"))).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(first, first_line(file));
    }
}

/// Every key below a map with known keys that is none itself; of one that can be a map, the keys of that.
pub(in crate::config) fn leaves(schema: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (key, schema) in schema["properties"].as_object().unwrap() {
        let mut kinds = schema["anyOf"].as_array().into_iter().flatten();
        let map = kinds.find(|kind| kind["properties"].is_object()).unwrap_or(schema);
        if key == "overrides" {
            continue;
        } else if map["properties"].is_object() {
            let below = leaves(map).into_iter();
            found.extend(below.map(|path| [vec![key.clone()], path].concat()));
        } else {
            found.push(vec![key.clone()]);
        }
    }
    found
}
