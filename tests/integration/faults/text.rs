//! Text that means harm, and values that nobody may see.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Kind, Shop, id_of};
use crate::support::{Ended, needs};

/// Commands that the program itself gives to the runner of a workflow.
fn is_ours(line: &str) -> bool {
    let remark = ["::error ", "::warning ", "::notice "].iter().find_map(|begin| line.strip_prefix(begin));
    let properties = remark.and_then(|remark| remark.split_once("::")).map(|(properties, _)| properties);
    let remark = properties.is_some_and(|all| all.split(',').any(|one| one.starts_with("title=")));
    let remark = remark && !line.contains("##[");
    remark || line == "::endgroup::" || line.starts_with("::group::▸ ")
}

/// What the runner of a workflow would obey, and a terminal.
#[track_caller]
fn is_harmless(name: &str, text: &str) {
    for line in text.split(['\n', '\r']).filter(|line| !is_ours(line)) {
        assert!(!line.contains("##["), "{name}: {line:.300}");
        assert!(!line.trim_start().starts_with("::"), "{name}: {line:.300}");
    }
    let control = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{name} has a control character");
}

#[track_caller]
fn all_harmless(ended: &Ended) {
    is_harmless("stdout", &ended.stdout);
    is_harmless("stderr", &ended.stderr);
}

/// Prints everything that is dangerous, on both streams.
const HOSTILE: &str = r#"#!/bin/sh
say() { printf "$1" ; printf "$1" >&2; }
say '::add-mask::a\n'
say '  ::set-output name=x::y\n'
say '::stop-commands::z\n'
say 'before ##[error]broken\n'
say '##[add-mask]b\n'
say '\033[2J\033[31mred\033[0m \033]0;title\007 \033]8;;http://x\033\\link\n'
say 'bytes \377\376\300 end\n'
say 'carriage\r::error::return\n'
head -c 1000000 /dev/zero | tr '\000' 'x'
say '\n##[endgroup]last\n'
"#;

#[test]
fn what_a_container_a_build_and_a_check_print_is_harmless_everywhere() {
    needs!("docker");
    let image = crate::support::base_image();
    let shop = Shop::with_checks("{name: smoke, command: [./hostile.sh]}").on_github();
    shop.project.executable("hostile.sh", HOSTILE);
    shop.project.file(
        "app/Dockerfile",
        format!("FROM {image}\nCOPY hostile.sh /hostile.sh\nUSER 0:0\nRUN sh /hostile.sh\nUSER 10001\n"),
    );
    shop.project.executable("app/hostile.sh", HOSTILE);
    shop.write(Kind { mode: "unhealthy", ..Kind::good("1.0.0") });
    let text = shop.compose_file().replace(
        &format!("image: {image}"),
        "build: app\n    command: [sh, -c, 'sh /hostile.sh; exec shop serve']",
    );
    shop.project.file("docker-compose.yml", text);
    shop.project.file("deploy/deployments.yaml", shop.app_file().replace("timeout: 20s", "timeout: 5s"));
    shop.project.commit("Hostile");
    for output in [&["--log-format", "human"][..], &["--log-format", "json", "--output", "json"]] {
        let ended =
            shop.run(&[&["deploy", "staging", "--version", "1.0.0", "--no-cache"], output].concat()).exits(5);
        all_harmless(&ended);
        assert!(ended.stderr.len() < 3_000_000, "the console has {} bytes", ended.stderr.len());
        let said = |needle: &str| ended.events.iter().any(|event| event.to_string().contains(needle));
        assert!(said("broken") && said("bytes") && said("red"), "nothing of it is shown: {}", ended.told());
        for event in &ended.events {
            event_is_harmless(event);
        }
        let id = id_of(&ended.events);
        let log = fs::read_to_string(shop.root().join("state/jobs").join(&id).join("events.jsonl"))
            .expect("the host's log");
        is_harmless("the host's log", &log);
        assert!(log.lines().all(|line| line.len() <= 1 << 20), "a line of the host's log is too long");
        shop.host_result(&id);
    }
    for verb in [
        &["logs", "staging"][..],
        &["logs", "staging", "backend"],
        &["status", "staging"],
        &["history", "staging"],
        &["health", "staging"],
    ] {
        let run = shop.run(verb);
        is_harmless("stdout", &run.stdout);
        is_harmless("stderr", &run.stderr);
    }
}

/// Strings of an event may hold `##[` only in a form that a line of JSON does not show.
#[track_caller]
fn event_is_harmless(event: &Value) {
    match event {
        Value::String(text) => {
            let control = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{text:.300}");
        }
        Value::Array(items) => items.iter().for_each(event_is_harmless),
        Value::Object(map) => map.values().for_each(event_is_harmless),
        _ => {}
    }
}

const TOKEN: &str = "tok/en+with \"quotes\" & $dollars";
const KEY: &str = "-----BEGIN KEY-----\nfirst/line+of+it==\nsecond-line-of-it\n-----END KEY-----";
/// Forms of the two that must show nowhere.
const FORMS: [&str; 6] = [
    "tok/en+with",
    "dG9rL2VuK3dpdGggInF1b3RlcyIgJiAkZG9sbGFycw",
    "tok%2Fen%2Bwith%20",
    "first/line+of+it",
    "second-line-of-it",
    "c2Vjb25kLWxpbmUtb2YtaX",
];

fn files_below(path: &Path) -> Vec<PathBuf> {
    let listing =
        fs::read_dir(path).map(|listing| listing.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let found = listing.unwrap_or_default();
    let below = |path: &PathBuf| {
        if path.is_dir() && !path.is_symlink() { files_below(path) } else { vec![path.clone()] }
    };
    found.iter().flat_map(below).collect()
}

#[track_caller]
fn tells_no_secret(name: &str, text: &[u8]) {
    for form in FORMS {
        let found = text.windows(form.len()).any(|part| part == form.as_bytes());
        assert!(!found, "{name} has `{form}`: {:.2000}", String::from_utf8_lossy(text));
    }
}

/// No file of the host but the releases' env files, which are 0600.
#[track_caller]
fn host_tells_no_secret(shop: &Shop) {
    use std::os::unix::fs::PermissionsExt;
    for path in files_below(&shop.root()) {
        let bytes = fs::read(&path).unwrap_or_default();
        if path.file_name().is_some_and(|name| name == "env") {
            let mode = fs::metadata(&path).expect("its mode").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        } else if !path.ends_with("ffe-agent") {
            tells_no_secret(&path.display().to_string(), &bytes);
        }
    }
}

#[test]
fn secrets_are_redacted_in_every_form_and_every_place() {
    needs!("docker");
    let shop = Shop::with("secrets: [TOKEN, KEY], health: {timeout: 5s}", "")
        .with_env("TOKEN", TOKEN)
        .with_env("KEY", KEY);
    shop.write(Kind { mode: "unhealthy", ..Kind::good("1.0.0") });
    let leak = "echo \"$$TOKEN\"; echo \"$$TOKEN\" | base64 -w0; echo; echo \"user:$$TOKEN@host\"; echo \"$$KEY\"; echo \"$$KEY\" | base64; \
        echo 'tok%2Fen%2B''with%20%22quotes%22%20%26%20%24dollars'; exec shop serve";
    let text = shop.compose_file().replace(
        "    stop_grace_period",
        &format!("    command: [sh, -c, '{}']\n    stop_grace_period", leak.replace('\'', "''")),
    );
    let text = text.replace("MODE: 'unhealthy'", "MODE: 'unhealthy', TOKEN: '${TOKEN}', KEY: '${KEY}'");
    shop.project.file("docker-compose.yml", text);
    shop.project.commit("Leak");
    let held = shop.host.dir().join("held");
    shop.shim.on_first(1, &["compose", "up"], &crate::support::Act::Hold);
    let run = shop.host.spawn(
        &shop.project,
        &[
            "deploy",
            "staging",
            "--version",
            "1.0.0",
            "--log-format",
            "human",
            "--log-file",
            &held.display().to_string(),
        ],
    );
    shop.until_called(&["compose", "up"], 0);
    assert!(shop.root().join("state/journal.json").exists());
    host_tells_no_secret(&shop);
    shop.shim.release();
    let ended = run.wait().exits(5);
    ended.says(&["***"]);
    let logs = ended.event("logs_collected").to_string();
    assert!(logs.contains("***") && logs.contains("user:"), "{logs}");
    for (name, text) in [
        ("stdout", ended.stdout.as_bytes()),
        ("stderr", ended.stderr.as_bytes()),
        ("log file", &fs::read(&held).expect("the log file")),
    ] {
        tells_no_secret(name, text);
    }
    for event in &ended.events {
        tells_no_secret("the event log", event.to_string().as_bytes());
    }
    host_tells_no_secret(&shop);
    tells_no_secret("the calls of docker", format!("{:?}", shop.shim.calls()).as_bytes());
    for verb in [
        &["logs", "staging"][..],
        &["logs", "staging", "backend"],
        &["status", "staging"],
        &["history", "staging", "--output", "json"],
        &["validate", "staging"],
    ] {
        let run = shop.run(verb);
        tells_no_secret("stdout", run.stdout.as_bytes());
        tells_no_secret("stderr", run.stderr.as_bytes());
    }
}
