//! `ffe-ledger import`: the history of hosts becomes deployments with their real times.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::support::{Database, Server, command, on_both};

fn record(day: u32, id: &str, changes: Value) -> Value {
    let mut record = json!({
        "app": "shop", "env": "production", "version": format!("{day}.0.0"), "timestamp": format!("2026-01-{day:02}T06:40:00Z"),
        "status": "succeeded", "config": {"type": "docker-compose"}, "schema": 1, "deployment_id": id, "verb": "deploy",
        "outcome": "succeeded", "release": id, "commit": null, "previous_release": null, "rolled_back_to": null, "reason": null,
        "who": "ada", "run_url": "https://ci.example/1", "started_at": format!("2026-01-{day:02}T06:38:30Z"), "duration_seconds": 90.0,
        "backup": "/srv/backups/b.tar.zst", "checks": [], "hooks": [], "errors": [],
    });
    for (key, value) in changes.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

/// What a host remembers: two deployments, one that failed and was rolled back, a rollback by hand, a restart, a refusal.
fn history() -> Vec<Value> {
    let error =
        json!([{"error_kind": "HealthCheckError", "code": "check", "message": "not healthy", "hint": null}]);
    vec![
        record(1, "deploy-20260101063830-00000001", json!({})),
        record(2, "deploy-20260102063830-00000002", json!({})),
        record(
            3,
            "deploy-20260103063830-00000003",
            json!({"status": "failed", "outcome": "rolled_back",
            "rolled_back_to": "deploy-20260102063830-00000002", "errors": error}),
        ),
        record(
            4,
            "deploy-20260104063830-00000004",
            json!({"verb": "rollback", "version": "1.0.0", "reason": "slow",
            "release": "deploy-20260101063830-00000001", "who": "bob"}),
        ),
        record(5, "deploy-20260105063830-00000005", json!({"verb": "restart"})),
        record(6, "deploy-20260106063830-00000006", json!({"status": "failed", "outcome": "refused"})),
    ]
}

fn import(server: &Server, arguments: &[&str], input: &str) -> Output {
    let mut command = command();
    command.args(["import", "--database", &server.database().address()]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that has refused already reads no more.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn all(server: &Server) -> Vec<Value> {
    let mut found =
        server.get("/api/v1/deployments").await.expect(200)["deployments"].as_array().unwrap().clone();
    found.sort_by_key(|deployment| deployment["deployment_id"].as_str().unwrap().to_owned());
    found
}

on_both! {
    async fn a_history_becomes_deployments_with_their_real_times_and_once(server: &Server) {
        let mut newest_first = history();
        newest_first.reverse();
        let text = serde_json::to_string_pretty(&newest_first).unwrap();
        let told = said(&import(server, &["-", "--dry-run"], &text));
        assert!(told.ends_with("4 would be imported, 0 known already, 2 of no deployment\n"), "{told}");
        assert!(all(server).await.is_empty());
        let told = said(&import(server, &["-"], &text));
        assert!(told.ends_with("4 imported, 0 known already, 2 of no deployment\n"), "{told}");
        let found = all(server).await;
        let seen: Vec<_> = found.iter().map(|one| (one["version"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
        assert_eq!(seen, [("1.0.0", "inactive"), ("2.0.0", "rolled_back"), ("3.0.0", "rolled_back"), ("1.0.0", "active")]);
        assert!(found[0]["deployment_id"].as_str().unwrap().starts_with("00000001-"));
        assert_eq!((&found[0]["deployed_at"], &found[0]["deployment_duration_seconds"]), (&json!("2026-01-01T06:40:00.000000Z"), &json!(90)));
        assert_eq!((&found[0]["created_at"], &found[0]["deployed_by"]), (&json!("2026-01-01T06:40:00.000000Z"), &json!("ada")));
        assert_eq!((&found[1]["rolled_back_at"], &found[1]["rolled_back_by"]), (&json!("2026-01-04T06:40:00.000000Z"), &json!("bob")));
        assert_eq!(found[1]["rollback_reason"], "slow");
        assert_eq!(found[2]["rolled_back_at"], "2026-01-03T06:40:00.000000Z");
        assert_eq!(server.get("/api/v1/events").await.expect(200)["events"], json!([]), "it is long ago");
        let told = said(&import(server, &["-"], &text));
        assert!(told.ends_with("0 imported, 4 known already, 2 of no deployment\n"), "{told}");
        assert_eq!(all(server).await, found);
    }

    async fn files_of_a_host_are_taken_as_they_lie_and_a_wrong_one_stops_everything(server: &Server) {
        let directory = tempfile::tempdir().unwrap();
        for (at, record) in history().iter().enumerate() {
            std::fs::write(directory.path().join(format!("shop_production_{at}.json")), record.to_string()).unwrap();
        }
        let torn = directory.path().join("shop_production_9.json");
        std::fs::write(&torn, "{\n  \"app\": ").unwrap();
        let place = directory.path().display().to_string();
        let refused = import(server, &[&place], "");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1));
        assert!(told.contains("shop_production_9.json is no JSON; nothing was imported") && told.contains("line 2"), "{told}");
        assert!(all(server).await.is_empty());
        std::fs::remove_file(torn).unwrap();
        assert!(said(&import(server, &[&place], "")).contains("4 imported"));
        // What is newer stays active.
        let late = record(2, "late-one", json!({"timestamp": "2026-01-02T12:00:00Z"}));
        said(&import(server, &["-"], &late.to_string()));
        let active: Vec<_> = all(server).await.into_iter().filter(|one| one["status"] == "active").collect();
        assert_eq!((active.len(), &active[0]["deployed_by"]), (1, &json!("bob")));
    }
}
