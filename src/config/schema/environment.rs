//! The keys of an environment.

use serde_json::{Value, json};

use super::kinds::{any_of, boolean, duration, integer, map, must, object, text, words};
use super::variable;

const PROFILES: [&str; 6] = ["dev", "development", "staging", "production", "prod", "testing"];
/// What `host` accepts, roughly: the reader knows better.
const HOST: &str = "^[^\\s;/]+$";
const USER: &str = "^[A-Za-z0-9._\\\\@$][A-Za-z0-9._\\\\@$-]{0,63}$";

/// Returns the schema of an environment.
pub(super) fn environment() -> Value {
    object(&[
        (
            "profile",
            words("Built-in rules; by default those of the name, else production.", &PROFILES, Value::Null),
        ),
        ("host", text("[USER@]HOST[:PORT], or `local` for this machine.", HOST)),
        ("user", text("Who logs in.", USER)),
        ("port", port()),
        ("ssh_key", ssh_key()),
        ("host_key", host_key()),
        ("jump", jump()),
        ("become", words("Whether the agent is started by `sudo -n`.", &["sudo", "no"], json!("no"))),
        ("root", text("Base directory on the host.", "^/(?!(.*/)?\\.\\.(/|$)).*$")),
        ("require_confirmation", boolean("Verbs that change need --yes.", Value::Null)),
        ("backup", boolean("Whether a backup is taken before the switch.", Value::Null)),
        ("allow_network_root", boolean("Whether the root may be on a network's file system.", json!(false))),
        ("recover_at_boot", boolean("Whether an interrupted deployment is ended at boot.", json!(true))),
        ("timeout", duration("Longest time of a whole deployment, 1s to 24h.", json!("30m"))),
        (
            "on_lost",
            words(
                "What becomes of a deployment whose runner is lost.",
                &["continue", "rollback"],
                json!("continue"),
            ),
        ),
        ("rules", super::kinds::rules()),
        ("hooks", super::kinds::hooks()),
        ("overrides", overrides()),
    ])
}

fn port() -> Value {
    integer("Port of the SSH server.", &(1..=65535), Value::Null)
}

fn host_key() -> Value {
    text(
        "A line of known_hosts, a public key, the path of a known_hosts file, or a SHA256: fingerprint.",
        ".",
    )
}

fn ssh_key() -> Value {
    let name = variable()["properties"]["env"].clone();
    let mut key = object(&[
        ("env", name),
        ("passphrase", any_of("The variable with its passphrase.", vec![variable()])),
    ]);
    key["required"] = json!(["env"]);
    map("The variable of the job with the private key.", key)
}

fn jump() -> Value {
    let mut host = object(&[
        ("host", must(text("Name or address.", HOST))),
        ("user", text("Who logs in.", USER)),
        ("port", port()),
        ("host_key", host_key()),
    ]);
    host = must(host);
    host["required"] = json!(["host"]);
    json!({ "type": ["array", "null"], "items": host, "description": "Hosts on the way, the first one first." })
}

fn overrides() -> Value {
    let app = any_of("Keys of the app.", vec![json!({ "$ref": "#/$defs/app" })]);
    json!({
        "type": ["object", "null"], "additionalProperties": app,
        "description": "Keys of apps, merged over them for this environment.",
    })
}
