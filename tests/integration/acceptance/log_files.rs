//! The log files of document 003, as the finished program writes them (R003-13 to R003-17, R003-47, R003-48).
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value};

use super::Stage;
use crate::support::{Web, needs};

/// Bunyan's own keys, and those of the documents beside them (C13).
const KEYS: [&str; 15] = [
    "v",
    "name",
    "hostname",
    "pid",
    "level",
    "time",
    "msg",
    "timestamp",
    "severity",
    "logger",
    "message",
    "module",
    "function",
    "line",
    "correlation_id",
];

#[test]
fn a3_04_three_files_of_bunyan_lines_with_the_documents_keys_are_left() {
    needs!("docker", "git");
    let mut stage = Stage::with_image("staging");
    stage.host = stage.host.with_env("LOG_LEVEL", "DEBUG");
    let web = Web::start();
    web.on("/health", &[500]);
    stage.asks(&web, 1);
    let logs = stage.host.dir().join("new/logs");
    let arguments = [
        "deploy",
        "staging",
        "--yes",
        "--correlation-id",
        "of-the-test",
        "--log-dir",
        logs.to_str().expect("text"),
    ];
    stage.run(&arguments).exits(5);

    let lines = |kind: &str| records(&logs.join(format!("{kind}_staging.log")));
    let (app, error, access) = (lines("app"), lines("error"), lines("access"));
    for record in app.iter().chain(&error).chain(&access) {
        let missing: Vec<_> = KEYS.iter().filter(|key| !record.contains_key(**key)).collect();
        assert!(missing.is_empty(), "no {missing:?} in {record:?}");
        assert!(record["level"].is_u64() && record["correlation_id"] == "of-the-test", "{record:?}");
    }
    let severities =
        |records: &[Map<String, Value>], word: &str| records.iter().any(|r| r["severity"] == word);
    assert!(severities(&app, "DEBUG") && severities(&app, "INFO") && severities(&app, "ERROR"));
    assert!(
        severities(&error, "ERROR") && error.iter().all(|r| r["level"].as_u64() >= Some(50)),
        "{error:?}"
    );
    assert!(
        access.iter().any(|r| r["asked"].as_str().is_some_and(|asked| asked.contains("/health"))),
        "{access:?}"
    );
}

#[test]
fn a_log_file_that_would_grow_beyond_ten_million_bytes_is_put_aside_and_five_are_kept() {
    needs!("docker", "git");
    let stage = Stage::with_image("staging");
    let logs = stage.host.dir().join("logs");
    fs::create_dir(&logs).expect("a directory");
    let file = |suffix: &str| logs.join(format!("app_staging.log{suffix}"));
    // No record fits into ten bytes.
    let full = format!("{}\n", "x".repeat(9_999_989));
    fs::write(file(""), &full).expect("write");
    for number in 1..=5 {
        fs::write(file(&format!(".{number}")), number.to_string()).expect("write");
    }
    stage.run(&["validate", "staging", "--log-dir", logs.to_str().expect("text")]).exits(0);

    assert!(!records(&file("")).is_empty());
    assert_eq!(fs::read_to_string(file(".1")).expect("read"), full);
    for number in 2..=5 {
        let before = (number - 1).to_string();
        assert_eq!(fs::read_to_string(file(&format!(".{number}"))).expect("read"), before);
    }
    assert!(!file(".6").exists());
}

/// Every line of a log file, each an object that says no key twice; the file is its owner's alone.
fn records(path: &Path) -> Vec<Map<String, Value>> {
    let mode = fs::metadata(path).expect("the log file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{}", path.display());
    let text = fs::read_to_string(path).expect("read a log");
    text.lines()
        .map(|line| {
            let record: Map<String, Value> = serde_json::from_str(line).expect("each line is an object");
            // Of a key that is there twice the parser keeps one: the line would be longer than what was read.
            let again = Value::Object(record.clone()).to_string();
            assert_eq!(again.len(), line.replace("\\u0023[", "#[").len(), "{line}");
            record
        })
        .collect()
}
