//! The published schemas of the two files (`schemas/`), for editors and for those who make the files by program.
//!
//! Enter by [`deployments`] and [`environments`]. Words, ranges and defaults are the readers' own; that both know the
//! same keys is what the tests hold, by asking the readers.

mod app;
mod environment;
mod kinds;
#[cfg(test)]
pub(super) mod tests;

use serde_json::{Value, json};

use kinds::{any_of, boolean, map, must, named, object, text, words};

/// Where the published schemas are.
const AT: &str = "https://raw.githubusercontent.com/Three-Rivers-Tech/ffe-deploy/main/schemas";
/// What `AppName` and `EnvironmentName` accept.
const APP_NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
const ENVIRONMENT_NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// Returns the JSON Schema (2020-12) of `deployments.yaml`.
pub fn deployments() -> Value {
    let mut app = app::app();
    app = must(app);
    app["required"] = json!(["type"]);
    let apps = named(APP_NAME, json!({ "$ref": "#/$defs/app" }), "The apps, by name.");
    let schema = object(&[
        ("deployments", apps),
        ("registries", registries()),
        ("notify", notify()),
        ("ledger", ledger()),
    ]);
    file("deployments", "What is deployed, and how.", schema, app)
}

/// Returns the JSON Schema (2020-12) of `environments.yaml`.
pub fn environments() -> Value {
    let mut app = app::app();
    let project = must(text("Name of the Compose project.", APP_NAME));
    app["properties"]["project"] = project;
    let environments = named(ENVIRONMENT_NAME, environment::environment(), "The environments, by name.");
    file(
        "environments",
        "Where it is deployed, and under which rules.",
        object(&[("environments", environments)]),
        app,
    )
}

/// Returns the first line of a file, by which editors know its keys.
pub fn first_line(name: &str) -> String {
    format!("# yaml-language-server: $schema={AT}/{name}.schema.json")
}

/// A whole file: its first key must be there, keys `x-…` are free.
fn file(name: &str, about: &str, mut schema: Value, app: Value) -> Value {
    schema["required"] = json!([name]);
    schema["patternProperties"] = json!({ "^x-": true });
    let mut whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("{AT}/{name}.schema.json"),
        "title": format!("{name}.yaml of ffe-deploy"),
        "description": about,
    });
    if let (Some(whole), Value::Object(schema)) = (whole.as_object_mut(), schema) {
        whole.extend(schema);
        whole.insert("$defs".to_owned(), json!({ "app": app }));
    }
    whole
}

fn registries() -> Value {
    let mut login = object(&[
        ("server", must(text("The registry as it stands in names of images, such as `ghcr.io`.", "."))),
        ("username", must(text("Who logs in.", "^[^:\\s]{1,256}$"))),
        (
            "password",
            must(any_of("The variable of the job with the password.", vec![variable(), reference()])),
        ),
    ]);
    login = must(login);
    login["required"] = json!(["server", "username", "password"]);
    json!({ "type": ["array", "null"], "items": login, "description": "Registries that want a login." })
}

fn notify() -> Value {
    let slack = object(&[
        ("webhook", any_of("The variable of the job with the address.", vec![variable(), reference()])),
        ("on", words("Which ends are told.", &["all", "changes", "failures"], json!("all"))),
    ]);
    map("Who is told of an end.", object(&[("slack", slack)]))
}

fn ledger() -> Value {
    let about = "Address of the ledger: https, or http on loopback; `${NAME}` of the job.";
    let url = text(about, "^(?:https?://[^@?#\\s]+|.*\\$\\{.*)$");
    let token = any_of("The variable of the job with the token.", vec![variable(), reference()]);
    let allow_http =
        boolean("Whether the token may travel over http, where others could read it.", json!(false));
    map(
        "The ledger that is told of deployments.",
        object(&[("url", url), ("token", token), ("allow_http", allow_http)]),
    )
}

/// `{ env: NAME }`.
fn variable() -> Value {
    let name = json!({ "type": "string", "pattern": kinds::VARIABLE, "description": "Name of a variable of the job." });
    let mut variable = object(&[("env", name)]);
    variable["required"] = json!(["env"]);
    must(variable)
}

/// Nothing but variables.
fn reference() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}
