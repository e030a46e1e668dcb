//! Properties of the configuration: of every key, of every subset, of every document.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::schema::tests::{complete, document, leaves};
use super::tests::{COMPOSE, Project};
use super::*;
use crate::model::{ShownOrigin, ShownSetting};

const KEYS: [&str; 3] = ["GOOGLE_API_KEY", "PINECONE_API_KEY", "OPENAI_API_KEY"];

fn inputs(project: &Project, environment: &str, job: &[(&str, &str)]) -> Inputs {
    Inputs {
        environment: Some(environment.to_owned()),
        project_root: project.path().to_owned(),
        job: job.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Inputs::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// R003-61, of secrets: what the job lacks is named, and nothing else.
    #[test]
    fn any_subset_of_required_secrets_that_is_missing_is_named_exactly(missing in proptest::sample::subsequence(&KEYS, 0..=3), empty in any::<bool>()) {
        let app = json!({ "deployments": { "shop": { "type": "docker-compose", "secrets": KEYS } } });
        let environments = json!({ "environments": { "production": { "host": "local" } } });
        let project = Project::new(&[
            ("deployments.yaml", &app.to_string()),
            ("environments.yaml", &environments.to_string()),
            ("compose.yaml", COMPOSE),
        ]);
        let there = KEYS.iter().filter(|name| !missing.contains(name)).map(|name| (*name, "long enough"));
        let lacking = missing.iter().filter(|_| empty).map(|name| (*name, ""));
        let job: Vec<(&str, &str)> = there.chain(lacking).collect();
        let found = resolve(&inputs(&project, "production", &job));
        let named: Vec<String> = match &found {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().iter().map(|problem| problem.message.clone()).collect(),
        };
        let wanted: Vec<String> = missing
            .iter()
            .map(|name| format!("names the secret `{name}`, which is missing or empty in the job"))
            .collect();
        prop_assert_eq!(named, wanted);
    }
}

/// Another value that is as good.
fn variant(value: &Value, number: usize) -> Value {
    match value {
        Value::Bool(_) => json!(number.is_multiple_of(2)),
        Value::Number(_) => json!(number + 2),
        Value::String(text) => match text.as_str() {
            "never" | "host" => json!(["host", "runner", "never"][number]),
            "zstd" => json!(["zstd", "gzip", "zstd"][number]),
            "sudo" => json!(["sudo", "no", "sudo"][number]),
            "dev" => json!(["dev", "testing", "development"][number]),
            "warn" => json!(["warn", "require", "skip"][number]),
            "all" => json!(["all", "changes", "failures"][number]),
            "continue" => json!(["continue", "rollback", "continue"][number]),
            text if text.ends_with(['s', 'm']) && text.starts_with(|c: char| c.is_ascii_digit()) => {
                json!(format!("{}s", 20 + number))
            }
            text => json!(format!("{text}{number}")),
        },
        Value::Array(items) => items.iter().map(|item| variant(item, number)).collect(),
        Value::Object(map) => {
            let named = |key: &str| matches!(key, "name" | "env" | "path" | "silence");
            let pairs = map.iter().map(|(key, value)| {
                (key.clone(), if named(key) { variant(value, number) } else { value.clone() })
            });
            Value::Object(pairs.collect())
        }
        Value::Null => Value::Null,
    }
}

fn setting(files: &[(&str, &Value)], job: &[(&str, &str)], key: &str) -> ShownSetting {
    let texts: Vec<(&str, String)> = files.iter().map(|(name, value)| (*name, value.to_string())).collect();
    let mut all: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    all.push(("compose.yaml", COMPOSE));
    let project = Project::new(&all);
    let inputs = Inputs { verb: Verb::Looks, ..inputs(&project, "dev", job) };
    let shown = effective(&inputs).unwrap_or_else(|error| panic!("{key}: {error}\n{files:?}"));
    let found = shown.settings.into_iter().find(|setting| setting.key == key);
    found.unwrap_or_else(|| panic!("`{key}` is not shown"))
}

/// The environment's overrides, over the local overlay, over the file: for every key of an app.
#[test]
fn what_is_written_higher_counts_for_every_key_of_an_app() {
    let (_, example) = complete().swap_remove(0);
    let schema = schema::deployments();
    let mut compared = 0;
    for mut path in leaves(&schema["$defs"]["app"]) {
        if path == ["env_vars"] {
            path.push("A".to_owned());
        }
        if path == ["rules"] {
            path.push("compose.healthcheck".to_owned());
        }
        // There is one type, and a path and a compose file must be there.
        if ["type", "path", "compose_file"].contains(&path[0].as_str()) {
            continue;
        }
        let pointer = format!("/deployments/shop/{}", path.join("/"));
        let value = example.pointer(&pointer).unwrap_or_else(|| panic!("`{pointer}` is not in the example"));
        let below =
            |first: &[&str]| [first.iter().map(|step| (*step).to_owned()).collect(), path.clone()].concat();
        let mut own = document(&below(&["deployments", "shop"]), variant(value, 0));
        if path == ["secret_command", "timeout"] {
            own["deployments"]["shop"]["secret_command"]["command"] = json!(["op"]);
        }
        if path == ["test", "timeout"] {
            own["deployments"]["shop"]["test"]["command"] = json!(["./t"]);
        }
        let mut local = document(&below(&["deployments", "shop"]), variant(value, 1));
        local["deployments"]["shop"].as_object_mut().unwrap().remove("type");
        let over = document(&below(&["environments", "dev", "overrides", "shop"]), variant(value, 2));
        let none = json!({ "environments": { "dev": {} } });
        let key = format!("deployments.shop.{}", path.join("."));
        let deployments = [("deployments.yaml", &own), ("environments.yaml", &none)];
        let base = setting(&deployments, &[], &key);
        let overlaid =
            setting(&[&deployments[..], &[("deployments.local.yaml", &local)]].concat(), &[], &key);
        let all =
            [("deployments.yaml", &own), ("deployments.local.yaml", &local), ("environments.yaml", &over)];
        let overridden = setting(&all, &[], &key);
        assert_eq!((base.value, base.origin), (variant(value, 0), ShownOrigin::File), "{key}");
        assert_eq!((overlaid.value, overlaid.origin), (variant(value, 1), ShownOrigin::Overlay), "{key}");
        assert_eq!(
            (overridden.value, overridden.origin),
            (variant(value, 2), ShownOrigin::Override),
            "{key}"
        );
        compared += 1;
    }
    assert!(compared > 25, "{compared}");
}

/// Variables of the job, over the local overlay, over the file: for every key of an environment.
#[test]
fn what_is_written_higher_counts_for_every_key_of_an_environment() {
    let (_, example) = complete().swap_remove(1);
    let schema = schema::environments();
    let mut compared = 0;
    for mut path in leaves(&schema["properties"]["environments"]["additionalProperties"]) {
        if path == ["rules"] {
            path.push("compose.healthcheck".to_owned());
        }
        let pointer = format!("/environments/dev/{}", path.join("/"));
        let value = example.pointer(&pointer).unwrap_or_else(|| panic!("`{pointer}` is not in the example"));
        let steps = [vec!["environments".to_owned(), "dev".to_owned()], path.clone()].concat();
        let of = |number| {
            let mut whole = document(&steps, variant(value, number));
            // The rest of a key in two parts.
            if path[0] == "ssh_key" && path.len() > 1 {
                whole["environments"]["dev"]["ssh_key"]["env"] = variant(&json!("KEY"), number);
            }
            whole["environments"]["dev"].as_object_mut().unwrap().entry("host").or_insert(json!("h"));
            whole
        };
        let (own, local) = (of(0), of(1));
        let key = format!("environments.dev.{}", path.join("."));
        let names = ["KEY0", "KEY1", "PASS0", "PASS1"].map(|name| (name, "long enough"));
        let base = setting(&[("environments.yaml", &own)], &names, &key);
        let files = [("environments.yaml", &own), ("environments.local.yaml", &local)];
        let overlaid = setting(&files, &names, &key);
        assert_eq!((base.value, base.origin), (variant(value, 0), ShownOrigin::File), "{key}");
        assert_eq!((overlaid.value, overlaid.origin), (variant(value, 1), ShownOrigin::Overlay), "{key}");
        let (name, said) = match path[0].as_str() {
            "host" => ("DEV_HOST", "over"),
            "user" => ("DEV_USER", "over"),
            "port" => ("DEV_PORT", "2222"),
            "host_key" => ("DEV_HOST_KEY", "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDMHGsJP8JnTK4l7Pd"),
            _ => continue,
        };
        let above = setting(&files, &[&names[..], &[(name, said)]].concat(), &key);
        let shown = above.value.as_str().map_or_else(|| above.value.to_string(), str::to_owned);
        assert_eq!(
            (shown.as_str(), above.origin, above.from.as_deref()),
            (said, ShownOrigin::Variable, Some(name))
        );
        compared += 1;
    }
    assert_eq!(compared, 4);
}

/// What a schema calls the default is what the readers do when nothing is written.
#[test]
fn defaults_of_the_schemas_are_those_of_the_readers() {
    let schema = schema::deployments();
    let plain = json!({ "deployments": { "shop": { "type": "docker-compose" } } });
    let app = |document: &Value| {
        let project = Project::new(&[("deployments.yaml", &document.to_string()), ("compose.yaml", COMPOSE)]);
        let resolved = resolve(&inputs(&project, "dev", &[])).unwrap();
        serde_json::to_value(&resolved.app).unwrap()
    };
    let mut compared = 0;
    for path in leaves(&schema["$defs"]["app"]) {
        let pointer = path.iter().map(|step| format!("/properties/{step}")).collect::<String>();
        let default = schema["$defs"]["app"].pointer(&pointer).map_or(&Value::Null, |key| &key["default"]);
        if !default.is_null() {
            let steps = [vec!["deployments".to_owned(), "shop".to_owned()], path.clone()].concat();
            assert_eq!(app(&document(&steps, default.clone())), app(&plain), "{path:?}");
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

#[test]
fn no_secret_is_shown_and_every_value_says_where_it_came_from() {
    let project = Project::new(&[
        (
            "deploy/deployments.yaml",
            "deployments:\n  shop:\n    type: docker-compose\n    secrets: [TOKEN]\n    env_vars: {LEVEL: '${LEVEL}', URL: 'db://u:${DB_PASSWORD}@h/', PLAIN: '${OTHER}'}\n",
        ),
        ("deploy/environments.yaml", "environments:\n  dev:\n    host: ${WHERE}\n    ssh_key: {env: KEY}\n"),
        ("compose.yaml", COMPOSE),
        (".env", "FROM_FILE=1\n"),
    ]);
    let job = [
        ("TOKEN", "CanaryToken"),
        ("LEVEL", "debug"),
        ("DB_PASSWORD", "CanaryPassword"),
        ("OTHER", "x CanaryToken y"),
        ("WHERE", "host.example"),
        ("KEY", "CanaryKey"),
        ("DEV_PORT", "2222"),
    ];
    let shown = effective(&Inputs { verb: Verb::Looks, ..inputs(&project, "dev", &job) }).unwrap();
    let text = serde_json::to_string(&shown).unwrap();
    assert!(!text.contains("Canary"), "{text}");
    let of = |key: &str| shown.settings.iter().find(|setting| setting.key == key).unwrap();
    let host = of("environments.dev.host");
    assert_eq!(
        (host.value.clone(), host.from.as_deref(), &host.filled_from[..]),
        (json!("host.example"), Some("deploy/environments.yaml:3"), &["WHERE".to_owned()][..])
    );
    assert_eq!(of("environments.dev.port").from.as_deref(), Some("DEV_PORT"));
    assert_eq!(of("environments.dev.timeout").value, json!("30m"));
    assert_eq!(of("environments.dev.ssh_key.env").value, json!("KEY"));
    assert_eq!(of("deployments.shop.secrets").value, json!(["TOKEN"]));
    assert_eq!(of("deployments.shop.env_vars.LEVEL").value, json!("debug"));
    assert_eq!(of("deployments.shop.compose_file").value, json!(["compose.yaml"]));
    let from: Vec<(&str, &str)> =
        shown.variables.iter().map(|shown| (shown.name.as_str(), shown.from.as_str())).collect();
    let file = "deploy/deployments.yaml:5";
    let wanted =
        [("FROM_FILE", ".env:1"), ("LEVEL", file), ("PLAIN", file), ("TOKEN", "the job"), ("URL", file)];
    assert_eq!(from, wanted);
}
