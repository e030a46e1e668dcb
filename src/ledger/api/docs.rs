//! The OpenAPI document, and a page that shows it: server-rendered, with nothing from elsewhere.

use std::fmt::Write as _;
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::model::lifecycle::Report;

/// What the page looks like.
const STYLE: &str = include_str!("docs.css");
/// The page runs nothing, and takes its style from here alone.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

static PAGE: OnceLock<String> = OnceLock::new();

/// Returns the document as it is answered, and keeps the page that shows it.
pub(super) fn finish(document: OpenApi) -> Bytes {
    // What utoipa made of the code is JSON.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    add_report(&mut document);
    // Tokens are for those ledgers that have some (docs/ledger.md): either way is right.
    document["components"]["securitySchemes"] = json!({ "bearer": { "type": "http", "scheme": "bearer", "description": "A token of `ffe-ledger token create`" } });
    document["security"] = json!([{ "bearer": [] }, {}]);
    PAGE.get_or_init(|| rendered(&document));
    Bytes::from(document.to_string())
}

/// Puts the form of a [`Report`] and of what it is made of among the schemas, in place of its stand-in.
fn add_report(document: &mut Value) {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let schema = settings.into_generator().into_root_schema_for::<Report>();
    // What schemars made is JSON.
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    let parts = schema.as_object_mut().and_then(|schema| schema.remove("components"));
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    let Some(all) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(Value::Object(parts)) = parts.and_then(|mut parts| parts.get_mut("schemas").map(Value::take))
    {
        all.extend(parts);
    }
    all.insert("Report".to_owned(), schema);
    let names = r"^[a-z0-9][a-z0-9_-]{0,62}$";
    let id = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$";
    for (name, pattern) in [("AppName", names), ("EnvironmentName", names), ("DeploymentId", id)] {
        if let Some(Value::Object(schema)) = all.get_mut(name) {
            schema.insert("pattern".to_owned(), pattern.into());
        }
    }
    all.values_mut().for_each(bound);
    split_nulls(document);
}

/// Says how large a number may be, where schemars says only how many bits it has.
fn bound(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let most = match members.get("format").and_then(Value::as_str) {
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(most) = most {
                members.entry("maximum").or_insert(most.into());
            }
            members.values_mut().for_each(bound);
        }
        Value::Array(parts) => parts.iter_mut().for_each(bound),
        _ => {}
    }
}

/// Tells null from the rest: of a type `[string, null]` with a format, tools forget the format.
fn split_nulls(schema: &mut Value) {
    if let Value::Object(members) = schema {
        let types = members.get("type").and_then(Value::as_array).cloned().unwrap_or_default();
        let others: Vec<Value> = types.iter().filter(|kind| **kind != "null").cloned().collect();
        if let ([one], true, true) = (others.as_slice(), types.len() == 2, members.contains_key("format")) {
            let about = members.remove("description");
            members.insert("type".to_owned(), one.clone());
            let rest = Value::Object(std::mem::take(members));
            members.insert("anyOf".to_owned(), json!([rest, { "type": "null" }]));
            members.extend(about.map(|about| ("description".to_owned(), about)));
            return;
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(split_nulls),
        Value::Array(parts) => parts.iter_mut().for_each(split_nulls),
        _ => {}
    }
}

/// Answers the document.
pub(super) async fn answer(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Answers the page.
pub(super) async fn page() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, PAGE.get().map_or("", String::as_str)).into_response()
}

/// Answers its style.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

fn rendered(document: &Value) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>ffe-ledger: API</title><link rel=\"stylesheet\" href=\"/docs/style.css\"><main><h1>ffe-ledger</h1>\
         <p>Base: <code>/api/v1</code>. The same as <a href=\"/api/v1/openapi.json\">OpenAPI 3.1</a>.</p>",
    );
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            operation_of(&mut out, path, method, operation);
        }
    }
    out.push_str("<h2>Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = write!(
            out,
            "<details id=\"{0}\"><summary>{0}</summary><pre>{1}</pre></details>",
            safe(name),
            safe(&text)
        );
    }
    out.push_str("</main></html>");
    out
}

fn operation_of(out: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = operation["summary"].as_str().or(operation["description"].as_str()).unwrap_or_default();
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "<section><h2><span class=\"method\">{}</span> <code>{}</code></h2><p>{}</p>",
        safe(&method.to_uppercase()),
        safe(path),
        safe(summary)
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        let place = parameter["in"].as_str().unwrap_or_default();
        let about = parameter["description"].as_str().unwrap_or_default();
        let _ = write!(
            out,
            "<p class=\"row\"><code>{}</code> in {} {}</p>",
            safe(name),
            safe(place),
            safe(about)
        );
    }
    if let Some(name) =
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().and_then(last)
    {
        let _ = write!(out, "<p class=\"row\">body: <a href=\"#{0}\">{0}</a></p>", safe(name));
    }
    for (status, response) in members(&operation["responses"]) {
        let about = response["description"].as_str().unwrap_or_default();
        let _ = write!(out, "<p class=\"row\"><b>{}</b> {}</p>", safe(status), safe(about));
    }
    out.push_str("</section>");
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn last(reference: &str) -> Option<&str> {
    reference.rsplit('/').next()
}

fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
