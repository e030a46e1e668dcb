//! Each event once and in order, whatever is down or killed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use serde_json::json;

use super::super::disturbed::assert_sound;
use super::super::support::{Database, Server, id_of, on_both};
use super::{Nats, STREAM, assert_published, change, entities, lines, nats_check, outbox};

/// How long NATS is down at least; the length does not change what happens, but for the waits between attempts.
fn outage() -> Duration {
    let seconds = std::env::var("FFE_TEST_NATS_OUTAGE_S").ok();
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()))
}

on_both! {
    async fn every_event_arrives_once_and_in_order(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let server = nats.ledger(database.clone()).await;
        let entities = entities(&server).await;
        change(&server, &entities, 150).await;
        assert_published(&database, &nats).await;
        let metrics = server.get("/metrics").await.text;
        let published = outbox(&database).await.len();
        assert!(metrics.contains(&format!("\nffe_ledger_events_published_total {published}\n")), "{metrics}");
        assert!(metrics.contains("\nffe_ledger_nats_up 1\n"), "{metrics}");
    }

    async fn what_is_written_while_nats_is_down_arrives_once_it_is_up(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let server = nats.ledger(database.clone()).await;
        let entities = entities(&server).await;
        change(&server, &entities, 5).await;
        assert_published(&database, &nats).await;
        nats.kill();
        let (down, mut written) = (Instant::now(), 0);
        // 200 writes; a whole minute of them in `scripts/test --full nats`.
        while written < 200 || down.elapsed() < outage() {
            change(&server, &entities, 50).await;
            written += 50;
        }
        server.wait_for_line("Failed to publish deployment event: could not connect to NATS at 127.0.0.1");
        let (status, check) = nats_check(&server).await;
        assert_eq!((status.as_str(), &check["status"]), ("degraded", &json!("unhealthy")));
        assert!(check["latency_ms"].is_number() && check["error"].as_str().unwrap().starts_with("could not connect"), "{check}");
        server.get("/health/ready").await.expect(200);
        let metrics = server.get("/metrics").await.text;
        let waiting = metrics.lines().find_map(|line| line.strip_prefix("ffe_ledger_events_unpublished ")).unwrap();
        assert!(waiting.parse::<u32>().unwrap() >= 200, "{waiting}");
        assert!(metrics.contains("\nffe_ledger_nats_up 0\n"), "{metrics}");
        nats.run().await;
        assert_published(&database, &nats).await;
        server.wait_for_line("NATS answers again");
        let (status, check) = nats_check(&server).await;
        assert_eq!((status.as_str(), &check["status"]), ("healthy", &json!("healthy")));
        // Once for the outage, and not for each of its events.
        assert_eq!(lines(&server, "Failed to publish"), 1, "{:#?}", server.log());
    }

    async fn kill_9_at_any_moment_loses_no_event_and_doubles_none(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let entities = entities(server).await;
        for (round, killed_after) in [1, 23, 60, 7, 41].into_iter().enumerate() {
            let server = nats.hasty_ledger(database.clone()).await;
            let done = Mutex::new(0);
            let write = |number: usize| {
                let body = json!({"entity_id": entities[number % 3], "environment": "staging", "deployed_by": "x"});
                let request = server.client().post(server.url("/api/v1/deployments")).body(body.to_string());
                let (done, server, nats) = (&done, &server, &nats);
                async move {
                    // Cut off by the kill.
                    let Ok(response) = request.send().await else { return };
                    assert_eq!(response.status().as_u16(), 201);
                    let mut done = done.lock().unwrap();
                    *done += 1;
                    if *done == killed_after {
                        server.signal("KILL");
                        if round == 2 {
                            nats.kill();
                        }
                    }
                }
            };
            iter(0..100).map(write).buffer_unordered(8).collect::<Vec<()>>().await;
            server.wait();
            if round == 2 {
                nats.run().await;
            }
        }
        let server = nats.ledger(database.clone()).await;
        server.deploy(&entities[0], "staging").await;
        assert_published(&database, &nats).await;
        assert_sound(&server).await;
    }

    async fn a_service_that_ends_publishes_what_its_last_requests_left(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let server = nats.ledger(database.clone()).await;
        let entities = entities(&server).await;
        change(&server, &entities, 20).await;
        server.signal("TERM");
        assert!(server.wait().success());
        assert_published(&database, &nats).await;
        let pool = database.open().await;
        let (cursor, last): (i64, i64) =
            sqlx::query_as("SELECT sequence, (SELECT MAX(sequence) FROM outbox) FROM cursors WHERE name = 'nats'").fetch_one(&pool).await.unwrap();
        assert_eq!(cursor, last);
    }

    async fn a_start_goes_on_where_the_stream_ends_whatever_the_cursor_and_the_window_say(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let first = nats.ledger(database.clone()).await;
        let entities = entities(&first).await;
        change(&first, &entities, 10).await;
        assert_published(&database, &nats).await;
        first.signal("KILL");
        first.wait();
        // The cursor was not moved, and the stream has forgotten the ids: as after more than a day.
        let pool = database.open().await;
        sqlx::query("DELETE FROM cursors").execute(&pool).await.unwrap();
        let context = nats.context().await;
        let stream = context.get_stream(STREAM).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        assert_eq!(config.duplicate_window, Duration::from_secs(24 * 60 * 60));
        config.duplicate_window = Duration::from_millis(100);
        context.update_stream(&config).await.unwrap();
        nats.kill();
        nats.run().await;
        let second = nats.ledger(database.clone()).await;
        second.deploy(&entities[0], "staging").await;
        assert_published(&database, &nats).await;
        // NATS lost what it had acknowledged, as by a power cut of its own.
        second.signal("TERM");
        second.wait();
        let stream = nats.context().await.get_stream(STREAM).await.unwrap();
        let last = stream.cached_info().state.last_sequence;
        for sequence in last - 2..=last {
            stream.delete_message(sequence).await.unwrap();
        }
        nats.kill();
        nats.run().await;
        let third = nats.ledger(database.clone()).await;
        third.wait_for_line("the stream lacks its last 3 events");
        assert_published(&database, &nats).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ledgers_on_one_database_publish_each_event_once_and_in_order() {
    let Some(nats) = Nats::start().await else { return };
    let Some(database) = Database::postgres().await else { return };
    let (one, other) = (nats.ledger(database.clone()).await, nats.ledger(database.clone()).await);
    let entities = entities(&one).await;
    let third = async {
        nats.kill();
        nats.run().await;
    };
    tokio::join!(change(&one, &entities, 150), change(&other, &entities, 150), third);
    assert_published(&database, &nats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_published_is_logged_with_the_documents_words() {
    let Some(nats) = Nats::start().await else { return };
    let server = nats.ledger(Database::sqlite()).await;
    let entity = server.entity("e").await;
    server.deploy(&entity, "staging").await;
    let made = server.deploy(&entity, "staging").await;
    nats.messages(2).await;
    nats.kill();
    let body = json!({"reason": "r", "rolled_back_by": "x"});
    server.roll_back(&id_of(&made, "deployment_id"), &body).await.expect(200);
    let line = server.wait_for_line("Failed to publish rollback event");
    assert!(line.contains("1 events wait in the outbox"), "{line}");
}
