//! How well deploying goes: the four measures, by numbers that were worked out by hand.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::support::{Database, Server, nobody, on_both};

/// Hours before now.
fn ago(hours: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(hours)
}

/// Tells of a deployment that ended so many hours ago, began an hour before, and was committed so long before its end.
async fn tell(server: &Server, hours: i64, committed: i64, status: &str, more: Value) -> String {
    let id = nobody();
    let mut report = json!({
        "schema": 1, "sequence": 1, "app": "shop", "environment": "production", "version": "1.0.0",
        "deployment_id": "deploy-20260101000000-0123abcd", "action": "deploy", "status": status,
        "started_at": ago(hours + 1).to_string(), "finished_at": ago(hours).to_string(), "deployed_by": "ada",
        "committed_at": ago(hours + committed).to_string(), "config": {},
    });
    for (key, value) in more.as_object().unwrap() {
        report[key] = value.clone();
    }
    server.send_json(reqwest::Method::PUT, &format!("/api/v1/reports/{id}"), &report).await.expect(201);
    id
}

/// Returns a measure of shop in production, rounded.
fn measure(metrics: &str, name: &str) -> i64 {
    let start = format!("ffe_ledger_{name}{{app=\"shop\",environment=\"production\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    let value: f64 = line.unwrap_or_else(|| panic!("no {start}: {metrics}")).parse().unwrap();
    value.round() as i64
}

on_both! {
    async fn the_four_measures_are_those_of_dora(server: &Server) {
        // Came to run; two hours after its commit.
        tell(server, 240, 2, "active", json!({})).await;
        // Failed; it began at 201 hours, and the next one is active at 190: 11 hours.
        tell(server, 200, 1, "failed", json!({})).await;
        // Came to run four hours after its commit, and was taken back 70 hours later.
        let taken = tell(server, 190, 4, "active", json!({})).await;
        // Failed, and what ran before was back an hour after it began.
        tell(server, 150, 1, "rolled_back", json!({"rollback": {"reason": "unhealthy"}})).await;
        // The way back that somebody asked for is no change, however old its commit is.
        let back = json!({"action": "rollback", "rollback": {"reason": "slow"}});
        tell(server, 120, 900, "active", back).await;
        assert_eq!(server.status_of(&taken).await, "rolled_back");
        let metrics = server.get("/metrics").await.text;
        assert_eq!(measure(&metrics, "dora_lead_time_seconds"), 3 * 3600);
        // 11, 70 and 1: the one in the middle.
        assert_eq!(measure(&metrics, "dora_time_to_restore_seconds"), 11 * 3600);
        assert!(metrics.contains("dora_change_failure_ratio{app=\"shop\",environment=\"production\"} 0.75\n"), "{metrics}");
        let a_day = 2.0 / 30.0;
        assert!(metrics.contains(&format!("dora_deployments_per_day{{app=\"shop\",environment=\"production\"}} {a_day}\n")), "{metrics}");
        assert_eq!(measure(&metrics, "deployment_duration_mean_seconds"), 3600);
    }
}
