//! Clients that take their time, that are somebody else's, or that ask for what nobody needs; and an end among them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::reports::report;
use super::support::{Database, Server, nobody, on_both};

/// Connects as a client of its own.
fn connect(server: &Server) -> TcpStream {
    let address = server.url("");
    let stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_whole_head_of_a_request_is_closed() {
    let server = Server::with(Database::sqlite(), &["--idle-timeout-s", "1"]).await;
    for begun in [
        "",
        "GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: 1",
        "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let mut stream = connect(&server);
        stream.write_all(begun.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200"), begun.ends_with("\r\n\r\n"), "{begun:?}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_refused() {
    let server = Server::on(Database::sqlite()).await;
    let mut stream = connect(&server);
    // It may close while it is still written to.
    drop(stream.write_all(
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(200_000)).as_bytes(),
    ));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    server.get("/health").await.expect(200);
}

on_both! {
    async fn methods_that_nobody_knows_are_counted_as_one(server: &Server) {
        for method in ["BREW", "WHEN", "PROPFIND"] {
            let request = server.client().request(method.parse().unwrap(), server.url("/api/v1/entities"));
            server.send(request).await.expect(405);
        }
        let text = server.get("/metrics").await.text;
        assert!(text.contains("method=\"other\"") && !text.contains("BREW"), "{text}");
    }

    async fn bodies_are_nested_as_deep_as_readers_of_json_go(server: &Server) {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for (depth, status) in [(50, 201), (70, 422)] {
            let body = format!("{{\"name\":\"e\",\"type\":\"x\",\"config\":{}}}", nested(depth));
            server.send(server.client().post(server.url("/api/v1/entities")).body(body)).await.expect(status);
        }
        let mut deep = report(1, "deploying");
        deep["config"] = serde_json::from_str(&nested(70)).unwrap();
        server.send_json(reqwest::Method::PUT, &format!("/api/v1/reports/{}", nobody()), &deep).await.expect(422);
    }

    async fn a_whole_number_may_be_written_with_a_point(server: &Server) {
        let mut told = report(1, "deploying");
        told["sequence"] = json!(7.0);
        told["config"] = json!({"replicas": 2.0});
        let path = format!("/api/v1/reports/{}", nobody());
        let kept = server.send_json(reqwest::Method::PUT, &path, &told).await.expect(201);
        assert_eq!((&kept["sequence"], &kept["deployment"]["config_snapshot"]["replicas"]), (&json!(7), &json!(2.0)));
        told["sequence"] = json!(7.5);
        server.send_json(reqwest::Method::PUT, &path, &told).await.expect(422);
    }

    async fn a_stream_that_somebody_reads_does_not_hold_up_the_end(server: &Server) {
        let request = server.client().get(server.url("/api/v1/events")).header("accept", "text/event-stream");
        let stream = request.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let mut idle = connect(server);
        server.signal("TERM");
        assert!(server.wait().success(), "{:#?}", server.log());
        assert!(!server.log().iter().any(|line| line.contains("cut off")), "{:#?}", server.log());
        stream.text().await.unwrap();
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_a_lock_is_cut_off_at_the_end() {
    let Some(database) = Database::postgres().await else { return };
    let server = Server::with(database, &["--grace-s", "1"]).await;
    let entity = server.entity("e").await;
    let pool = server.database().open().await;
    let mut locked = pool.begin().await.unwrap();
    sqlx::query("UPDATE entities SET turn = turn + 1").execute(&mut *locked).await.unwrap();
    let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
    let request = server.client().post(server.url("/api/v1/deployments")).body(body.to_string()).send();
    let waiting = tokio::spawn(request);
    let observer = server.database().open().await;
    let text = "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while sqlx::query_scalar::<_, i64>(text).fetch_one(&observer).await.unwrap() == 0 {}
    server.signal("TERM");
    assert!(server.wait().success(), "{:#?}", server.log());
    server.wait_for_line("cut off");
    assert!(waiting.await.unwrap().is_err());
    locked.rollback().await.unwrap();
    let again = Server::on(server.database().clone()).await;
    assert_eq!(again.get("/api/v1/deployments").await.expect(200)["total"], Value::from(0));
}
