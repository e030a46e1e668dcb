//! The keys of an app.

use serde_json::{Value, json};

use super::kinds::{
    RELATIVE, SERVICE, VARIABLE, any_of, boolean, decimal, duration, integer, map, must, object, text, texts,
    words,
};
use crate::config::app::{DAYS, KEEP, TYPES};
use crate::model::KEEP_RELEASES;

/// Returns the schema of an app, complete or in parts.
pub(super) fn app() -> Value {
    let files = one_or_many("Compose file, or several in order, from the app's directory.");
    let mut keys = vec![
        ("type", kind()),
        ("path", super::kinds::text("The app's directory, from the project root.", ".")),
        ("compose_file", files),
        ("profiles", texts("Compose profiles.", SERVICE)),
        ("env_vars", env_vars()),
        ("secrets", secrets()),
        ("secret_command", secret_command()),
        ("required_vars", texts("Variables that some layer must have.", VARIABLE)),
        ("required_files", texts("Files that must exist.", RELATIVE)),
        ("required_services", texts("Services that the compose model must have.", SERVICE)),
        ("one_shot", texts("Services that run once and exit 0.", SERVICE)),
        ("build", words("Who builds images.", &["host", "runner", "never"], json!("host"))),
        ("bundle", texts("Globs of files that are sent besides those that git tracks.", RELATIVE)),
        ("bundle_exclude", texts("Globs of files that are not sent.", RELATIVE)),
        ("shared", texts("Paths that survive releases, although git tracks them.", RELATIVE)),
    ];
    keys.extend([
        ("setup", setup()),
        ("requirements", requirements()),
        ("backup", backup()),
        ("health", health()),
        ("rollback", rollback()),
        ("keep_releases", integer("Releases that stay on the host.", &KEEP, json!(KEEP_RELEASES))),
        ("rules", super::kinds::rules()),
        ("test", test()),
        ("hooks", super::kinds::hooks()),
        ("url", text("Address shown at the end.", "^https?://\\S*$")),
    ]);
    object(&keys)
}

fn kind() -> Value {
    let about = "How it is deployed. Only docker-compose is built.";
    json!({ "description": about, "anyOf": [{ "enum": TYPES }] })
}

fn one_or_many(about: &str) -> Value {
    let path = text("A path.", RELATIVE);
    let mut paths = texts("Several paths, in order.", RELATIVE);
    paths["minItems"] = json!(1);
    any_of(about, vec![path, paths])
}

fn env_vars() -> Value {
    json!({
        "type": ["object", "null"],
        "description": "Plain variables of the app. A value that is a secret does not belong here.",
        "propertyNames": { "pattern": VARIABLE },
        "additionalProperties": { "type": ["string", "number", "boolean"] },
    })
}

fn argv(about: &str) -> Value {
    let word = json!({ "type": ["string", "number", "boolean"] });
    let first = json!({ "type": ["string", "number", "boolean"], "minLength": 1 });
    json!({ "type": "array", "prefixItems": [first], "items": word, "minItems": 1, "description": about })
}

const PLACES: &str = "{name}, {environment} and {app} are replaced; never a shell.";

fn secrets() -> Value {
    let name = json!({ "type": "string", "pattern": VARIABLE });
    let file = "^/|^(?!(.*/)?\\.\\.(/|$))";
    let mut source = object(&[
        ("name", json!({ "type": "string", "pattern": VARIABLE, "description": "Name of the variable." })),
        (
            "command",
            argv(&format!("Program of the runner that prints the value, and its arguments: {PLACES}")),
        ),
        ("timeout", duration("How long the program may take.", json!("30s"))),
        ("file", text("File on the runner, absolute or from the app's directory.", file)),
    ]);
    source = must(source);
    source["required"] = json!(["name"]);
    source["not"] = json!({ "required": ["command", "file"] });
    source["dependentRequired"] = json!({ "timeout": ["command"] });
    json!({
        "type": ["array", "null"],
        "description": "Names of secrets; values come from the job, from files or from programs, never from here.",
        "items": { "anyOf": [name, source] },
    })
}

fn secret_command() -> Value {
    let about = format!("Program of the runner that says secrets, and its arguments: {PLACES}");
    let mut whole =
        object(&[("command", argv(&about)), ("timeout", duration("How long it may take.", json!("30s")))]);
    whole = must(whole);
    whole["required"] = json!(["command"]);
    any_of(&about, vec![argv(&about), whole])
}

fn setup() -> Value {
    let mode = json!({
        "description": "Permission bits in octal, such as \"0750\".",
        "anyOf": [{ "type": "string", "pattern": "^[0-7]{3,4}$|\\$\\{" }, { "type": "integer", "minimum": 0, "maximum": 7777 }, { "type": "null" }],
    });
    let mut directory = object(&[("path", must(text("Where it is.", RELATIVE))), ("mode", mode)]);
    directory = must(directory);
    directory["required"] = json!(["path"]);
    let path = json!({ "type": "string", "minLength": 1, "pattern": format!("(?:{RELATIVE})|\\$\\{{") });
    let directories = json!({
        "type": ["array", "null"], "items": { "anyOf": [path, directory] },
        "description": "Directories made before the first start.",
    });
    let databases = texts("Empty SQLite files made when they are missing.", RELATIVE);
    map(
        "What is made before the first start.",
        object(&[("directories", directories), ("databases", databases)]),
    )
}

fn requirements() -> Value {
    let keys = [
        ("disk_gb", decimal("Free room on the host's disk, in GB.", Value::Null)),
        ("memory_gb", decimal("Memory of the host, in GB.", Value::Null)),
    ];
    map("Room that the host must have.", object(&keys))
}

fn backup() -> Value {
    let retention = object(&[
        ("days", integer("Older archives go.", &DAYS, json!(7))),
        ("keep_last", integer("The youngest so many stay all the same.", &KEEP, json!(3))),
    ]);
    let keys = [
        ("paths", texts("Paths that are saved.", RELATIVE)),
        ("volumes", texts("Volumes that are saved.", SERVICE)),
        ("format", words("Compression.", &["zstd", "gzip"], Value::Null)),
        ("retention", map("How long archives are kept.", retention)),
    ];
    map("What is saved before the switch.", object(&keys))
}

fn health() -> Value {
    let checks = json!({ "type": ["array", "null"], "items": check(), "description": "What is asked." });
    let timeout = duration("Longest wait for all checks together, 1s to 1h.", json!("120s"));
    let about = "Whether what runs is asked before it is replaced.";
    let before = words(about, &["warn", "require", "skip"], Value::Null);
    let keys = [("timeout", timeout), ("checks", checks), ("before", before)];
    map("What must be true of a release that is healthy.", object(&keys))
}

fn test() -> Value {
    let mut command = must(texts("Program and arguments.", "."));
    command["minItems"] = json!(1);
    let keys = [("command", command), ("timeout", duration("How long it may take.", Value::Null))];
    let mut test = map("What is run on the runner before anything is deployed.", object(&keys));
    test["required"] = json!(["command"]);
    test
}

fn check() -> Value {
    let mut command = must(texts("Program on the host, and its arguments: exit 0 passes.", "."));
    command["minItems"] = json!(1);
    let presets = ["backend", "frontend", "prometheus", "grafana"];
    let mut check = object(&[
        ("name", text("Name of the check.", SERVICE)),
        ("http", must(text("Address that must answer.", "^https?://\\S+$"))),
        ("tcp", must(text("`host:port` that must accept a connection.", "^\\S+:([0-9]+|.*\\})$"))),
        ("command", command),
        ("preset", must(words("A check that is known.", &presets, Value::Null))),
        ("status", integer("The one status that passes; absent: any 2xx.", &(100..=599), Value::Null)),
        ("timeout", duration("Longest wait for this check, 1s to 1h.", json!("60s"))),
        ("request_timeout", duration("Longest wait for one answer, 100ms to 5m.", json!("10s"))),
        ("optional", boolean("A failure only degrades.", json!(false))),
        ("optional_in", texts("Environments or profiles in which it is not asked.", SERVICE)),
    ]);
    let asks: Vec<Value> =
        ["http", "tcp", "command", "preset"].iter().map(|key| json!({ "required": [key] })).collect();
    check["oneOf"] = json!(asks);
    let named = json!({ "required": ["name"], "properties": { "name": { "type": "string" } } });
    check["anyOf"] = json!([named, { "required": ["preset"] }]);
    check["dependentRequired"] = json!({ "status": ["http"] });
    must(check)
}

fn rollback() -> Value {
    let automatic = boolean("Whether a failed release is rolled back by itself.", json!(true));
    map("What happens to a release that fails.", object(&[("automatic", automatic)]))
}
