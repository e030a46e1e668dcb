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
    let broken = "SELECT COUNT(*) FROM (SELECT from_status, LAG(to_status) OVER (PARTITION BY deployment_id ORDER BY id) AS before FROM deployment_events) x \
        WHERE COALESCE(from_status, '') <> COALESCE(before, '')";
    assert_eq!(query(broken).await.unwrap(), 0);
    let gaps = "SELECT CAST(COALESCE(MAX(sequence), 0) - COUNT(sequence) + COUNT(*) - COUNT(DISTINCT event_id) AS BIGINT) FROM outbox";
    assert_eq!(query(gaps).await.unwrap(), 0);
    let disordered = "SELECT COUNT(*) FROM (SELECT sequence, LAG(sequence) OVER (PARTITION BY entity_id ORDER BY id) AS before FROM outbox) x WHERE sequence < before";
    assert_eq!(query(disordered).await.unwrap(), 0);
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
}
