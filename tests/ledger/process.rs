//! The program: starting on what is there, refusing what it does not know, ending.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::support::{Database, Server, command, on_both};

on_both! {
    async fn what_was_kept_is_there_after_a_restart(server: &Server) {
        let entity = server.entity("e").await;
        server.signal("TERM");
        assert!(server.wait().success(), "{:#?}", server.log());
        let again = Server::on(server.database().clone()).await;
        again.get(&format!("/api/v1/entities/{entity}")).await.expect(200);
    }

    async fn a_database_that_is_newer_than_the_program_is_refused_with_words(server: &Server) {
        server.signal("TERM");
        server.wait();
        let pool = server.database().open().await;
        sqlx::query("INSERT INTO schema_versions (version, applied_at, program) VALUES (99, 0, 'x')").execute(&pool).await.unwrap();
        let ended = command().args(["serve", "--listen", "127.0.0.1:0", "--database", &server.database().address()]).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(told.contains("the database has schema 99"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_files_have_each_request_once_and_nobody_else_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    let arguments = ["--log-dir", logs.to_str().unwrap(), "--environment", "staging"];
    let server = Server::with(Database::sqlite(), &arguments).await;
    let entity = server.entity("e").await;
    let request = server.client().get(server.url("/api/v1/nowhere")).header("x-request-id", "mine");
    assert_eq!(server.send(request).await.status, 404);
    server.signal("TERM");
    assert!(server.wait().success());
    let lines = |kind: &str| {
        let path = logs.join(format!("{kind}_staging.log"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let access = lines("access");
    assert_eq!(access.len(), 2, "{access:?}");
    assert_eq!(
        (&access[0]["method"], &access[0]["path"], &access[0]["status"]),
        (&json!("POST"), &json!("/api/v1/entities"), &json!(201))
    );
    assert_eq!(
        (&access[1]["correlation_id"], &access[1]["status"], &access[1]["logger"]),
        (&json!("mine"), &json!(404), &json!("access"))
    );
    let app = lines("app");
    assert!(app.iter().any(|line| line["message"].as_str().unwrap().starts_with("listening on")), "{app:?}");
    assert_eq!(app.last().unwrap()["message"], "ended");
    assert!(lines("error").is_empty() && !entity.is_empty());
    let ended = command().args(["serve", "--log-dir", "/dev/null/logs"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        String::from_utf8(ended.stderr)
            .unwrap()
            .contains("could not make the log file /dev/null/logs/app_development.log")
    );
}

#[test]
fn the_unit_for_systemd_is_understood_and_leaves_the_service_little_to_do() {
    let text = include_str!("../../examples/ledger/ffe-ledger.service");
    let program = "/usr/local/bin/ffe-ledger";
    assert!(text.contains(program));
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("ffe-ledger.service");
    std::fs::write(&unit, text.replace(program, env!("CARGO_BIN_EXE_ffe-ledger"))).unwrap();
    for asked in [&["verify", "--man=no"][..], &["security", "--offline=yes", "--threshold=20", "--no-pager"]]
    {
        let Ok(told) = std::process::Command::new("systemd-analyze").args(asked).arg(&unit).output() else {
            eprintln!("SKIPPED: no systemd-analyze here");
            return;
        };
        let words =
            format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        assert!(told.status.success() && !words.contains("Unknown"), "{words}");
    }
}
