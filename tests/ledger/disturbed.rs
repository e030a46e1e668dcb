//! Many at once, and ends without warning.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures_util::StreamExt;
use futures_util::stream::iter;
use serde_json::{Value, json};

use super::support::{Database, Server, id_of, on_both};

/// All deployments, by id.
pub(crate) async fn all(server: &Server) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for page in 1.. {
        let list = server.get(&format!("/api/v1/deployments?page_size=100&page={page}")).await.expect(200);
        let deployments = list["deployments"].as_array().unwrap();
        found.extend(
            deployments.iter().map(|deployment| (id_of(deployment, "deployment_id"), deployment.clone())),
        );
        if deployments.len() < 100 {
            assert_eq!(list["total"].as_u64().unwrap(), found.len() as u64);
            return found;
        }
    }
    found
}

/// What must hold whatever happened: one active at most, kept totals that are true, a history that ends where the record stands.
pub(crate) async fn assert_sound(server: &Server) {
    let pool = server.database().open().await;
    let query = |text: &'static str| sqlx::query_scalar::<_, i64>(text).fetch_one(&pool);
    let twice = "SELECT COUNT(*) FROM (SELECT entity_id FROM deployments WHERE status = 'active' GROUP BY entity_id, environment HAVING COUNT(*) > 1) x";
    assert_eq!(query(twice).await.unwrap(), 0);
    let wrong = "SELECT COUNT(*) FROM counters c WHERE scope NOT LIKE 's%' AND count <> \
        (SELECT COUNT(*) FROM deployments d WHERE d.entity_id = c.scope AND d.environment = c.environment AND d.status = c.status)";
    assert_eq!(query(wrong).await.unwrap(), 0);
    let sums = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) - (SELECT COUNT(*) FROM deployments) FROM counters WHERE scope LIKE 's%'";
    assert_eq!(query(sums).await.unwrap(), 0);
    let torn = "SELECT COUNT(*) FROM deployments d WHERE d.status <> (SELECT to_status FROM deployment_events e \
        WHERE e.deployment_id = d.deployment_id ORDER BY id DESC LIMIT 1)";
    assert_eq!(query(torn).await.unwrap(), 0);
    let untold = "SELECT COUNT(*) FROM deployments d WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.deployment_id = d.deployment_id)";
    assert_eq!(query(untold).await.unwrap(), 0);
}

on_both! {
    async fn two_hundred_creates_at_once_leave_exactly_one_active(server: &Server) {
        let entity = server.entity("e").await;
        let made = iter(0..200).map(|_| server.deploy(&entity, "staging")).buffer_unordered(200).collect::<Vec<_>>().await;
        assert_eq!(made.len(), 200);
        let active = server.get("/api/v1/deployments?status=active").await.expect(200);
        let inactive = server.get("/api/v1/deployments?status=inactive").await.expect(200);
        assert_eq!((&active["total"], &inactive["total"]), (&json!(1), &json!(199)));
        assert_sound(server).await;
    }

    async fn losers_get_a_clear_409_when_that_is_configured(server: &Server) {
        let server = Server::with(server.database().clone(), &["--on-conflict", "refuse"]).await;
        let entity = server.entity("e").await;
        let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
        let answers = iter(0..200).map(|_| server.post("/api/v1/deployments", &body)).buffer_unordered(200).collect::<Vec<_>>().await;
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 409).collect();
        assert!(answers.iter().all(|answer| [201, 409].contains(&answer.status)));
        assert!(refused.iter().all(|answer| answer.text.contains("nothing was changed")));
        let made = answers.len() - refused.len();
        assert_eq!(all(&server).await.len(), made);
        assert_eq!(server.get("/api/v1/deployments?status=active").await.expect(200)["total"], 1);
        assert_sound(&server).await;
    }

    async fn every_write_that_was_acknowledged_is_there_after_kill_9(server: &Server) {
        let mut entities = Vec::new();
        for name in ["a", "b", "c", "d"] {
            entities.push(server.entity(name).await);
        }
        let acknowledged = Mutex::new(Vec::new());
        let sent = iter(0..1000).map(|number: usize| {
            let body = json!({"entity_id": entities[number % 4], "environment": "staging", "deployed_by": "x"});
            let request = server.client().post(server.url("/api/v1/deployments")).body(body.to_string());
            let acknowledged = &acknowledged;
            async move {
                let Ok(response) = request.send().await else { return };
                let (status, text) = (response.status(), response.text().await.unwrap_or_default());
                if let (201, Ok(made)) = (status.as_u16(), serde_json::from_str::<Value>(&text)) {
                    let mut acknowledged = acknowledged.lock().unwrap();
                    acknowledged.push(id_of(&made, "deployment_id"));
                    if acknowledged.len() == 300 {
                        server.signal("KILL");
                    }
                }
            }
        });
        sent.buffer_unordered(16).collect::<Vec<()>>().await;
        server.wait();
        let acknowledged = acknowledged.into_inner().unwrap();
        assert!((300..1000).contains(&acknowledged.len()), "{}", acknowledged.len());
        let again = Server::on(server.database().clone()).await;
        let found = all(&again).await;
        let lost: Vec<_> = acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        assert_sound(&again).await;
        again.deploy(&entities[0], "staging").await;
    }

    async fn any_sequence_of_creates_and_rollbacks_keeps_the_rules(server: &Server) {
        // A small generator of our own: the same sequences each time, and each failure names its seed.
        for seed in 1..=12_u64 {
            let (mut state, entity) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), server.entity(&format!("e{seed}")).await);
            let mut next = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut made: Vec<String> = Vec::new();
            for _ in 0..25 {
                let environment = ["staging", "production"][usize::try_from(next(2)).unwrap()];
                if made.is_empty() || next(3) > 0 {
                    made.push(id_of(&server.deploy(&entity, environment).await, "deployment_id"));
                    continue;
                }
                let pick = |number: u64| made[usize::try_from(number).unwrap()].clone();
                let deployment = pick(next(made.len() as u64));
                let mut body = json!({"reason": "r", "rolled_back_by": "x"});
                if next(2) == 0 {
                    body["target_deployment_id"] = json!(pick(next(made.len() as u64)));
                }
                let before = server.get(&format!("/api/v1/deployments/{deployment}")).await.expect(200);
                let answer = server.roll_back(&deployment, &body).await;
                assert!([200, 400, 409].contains(&answer.status), "seed {seed}: {}", answer.text);
                if answer.status == 200 {
                    assert_eq!(before["status"], "active", "seed {seed}");
                    let target = id_of(&answer.json(), "previous_deployment_id");
                    assert_eq!(server.status_of(&target).await, "active", "seed {seed}");
                } else {
                    assert_eq!(server.get(&format!("/api/v1/deployments/{deployment}")).await.expect(200), before, "seed {seed}");
                }
            }
        }
        assert_sound(server).await;
    }
}
