//! What CI jobs report, the feed of events, and metrics.

use serde_json::{Value, json};

use super::support::{Answer, Database, Server, id_of, nobody, on_both};

pub(crate) fn report(sequence: u32, status: &str) -> Value {
    json!({
        "schema": 1, "sequence": sequence, "app": "shop", "environment": "staging", "version": "1.0.0",
        "deployment_id": "deploy-20260101000000-0123abcd", "action": "deploy", "status": status,
        "started_at": "2026-01-01T00:00:00Z", "finished_at": null, "deployed_by": "ada", "config": {"type": "docker-compose"},
        "committed_at": "2025-12-31T23:00:00Z",
    })
}

pub(crate) fn with(mut report: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        report[key] = value.clone();
    }
    report
}

pub(crate) async fn put(server: &Server, id: &str, report: &Value) -> Answer {
    server.send_json(reqwest::Method::PUT, &format!("/api/v1/reports/{id}"), report).await
}

on_both! {
    async fn a_job_reports_its_deployment_from_beginning_to_end(server: &Server) {
        let id = nobody();
        let begun = put(server, &id, &report(1, "deploying")).await.expect(201);
        assert_eq!((&begun["applied"], &begun["sequence"]), (&json!(true), &json!(1)));
        let deployment = &begun["deployment"];
        assert_eq!((&deployment["deployment_id"], &deployment["status"]), (&json!(id), &json!("deploying")));
        assert_eq!((&deployment["deployment_method"], &deployment["environment"]), (&json!("ci"), &json!("staging")));
        let checks = json!([{"name": "backend", "verdict": "passed", "optional": false, "latency_ms": 3, "waited_ms": 5, "attempts": 1, "asked": "GET /", "detail": "200"}]);
        let ended = with(report(5, "active"), json!({"finished_at": "2026-01-01T00:01:30.5Z", "health_checks": checks,
            "validation": {"passed": true, "checks": {"docker.running": "passed"}}}));
        let ended = put(server, &id, &ended).await.expect(200)["deployment"].clone();
        assert_eq!((&ended["status"], &ended["deployment_duration_seconds"]), (&json!("active"), &json!(90)));
        assert_eq!((&ended["health_checks"], &ended["deployed_at"]), (&checks, &json!("2026-01-01T00:01:30.500000Z")));
        assert_eq!(ended["validation_results"]["passed"], true);
        assert_eq!(server.get(&format!("/api/v1/deployments/{id}")).await.expect(200), ended);
        let entity = server.get("/api/v1/entities?name=shop").await.expect(200)["entities"][0].clone();
        assert_eq!((&entity["type"], &entity["status"]), (&json!("application"), &json!("deployed")));
        assert_eq!(entity["deployment_config"], json!({"type": "docker-compose"}));
        let shown = server.get(&format!("/api/v1/reports/{id}")).await.expect(200);
        assert_eq!((&shown["sequence"], &shown["report"]["status"]), (&json!(5), &json!("active")));
        assert_eq!(server.get(&format!("/api/v1/reports/{}", nobody())).await.status, 404);
    }

    async fn the_same_report_again_or_an_older_one_changes_nothing(server: &Server) {
        let id = nobody();
        put(server, &id, &report(3, "active")).await.expect(201);
        let known = server.get(&format!("/api/v1/deployments/{id}")).await.expect(200);
        for late in [report(3, "active"), report(2, "failed"), report(1, "deploying")] {
            let answer = put(server, &id, &late).await.expect(200);
            assert_eq!((&answer["applied"], &answer["sequence"]), (&json!(false), &json!(3)));
        }
        assert_eq!(server.get(&format!("/api/v1/deployments/{id}")).await.expect(200), known);
        assert_eq!(server.get("/api/v1/events").await.expect(200)["events"].as_array().unwrap().len(), 2);
    }

    async fn lines_of_the_log_are_kept_once_and_read_in_order(server: &Server) {
        let id = nobody();
        let line = |number: u32, text: &str| json!({"number": number, "at": "2026-01-01T00:00:01Z", "stage": "pulling", "text": text});
        put(server, &id, &with(report(1, "deploying"), json!({"lines": [line(1, "pulling"), line(2, "no\u{0}te <b>")]}))).await.expect(201);
        put(server, &id, &with(report(2, "deploying"), json!({"lines": [line(2, "again"), line(3, "done")]}))).await.expect(200);
        let path = format!("/api/v1/deployments/{id}/lines");
        let shown = server.get(&path).await.expect(200);
        let texts: Vec<&str> = shown["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
        assert_eq!((texts, &shown["last"]), (vec!["pulling", "no\u{fffd}te <b>", "done"], &json!(3)));
        assert_eq!((&shown["lines"][0]["at"], &shown["lines"][0]["stage"]), (&json!("2026-01-01T00:00:01.000000Z"), &json!("pulling")));
        let rest = server.get(&format!("{path}?after=2&limit=1")).await.expect(200);
        assert_eq!((rest["lines"].as_array().unwrap().len(), &rest["lines"][0]["number"]), (1, &json!(3)));
        assert_eq!(server.get(&format!("{path}?after=3")).await.expect(200), json!({"lines": [], "last": 3}));
        assert_eq!(server.get(&format!("/api/v1/deployments/{}/lines", nobody())).await.status, 404);
        assert_eq!(server.get(&format!("{path}?after=-1")).await.status, 422);
        let many: Vec<Value> = (1..=500).map(|number| line(number + 3, "x")).collect();
        put(server, &id, &with(report(3, "deploying"), json!({"lines": many}))).await.expect(200);
        assert_eq!(server.get(&format!("{path}?after=3&limit=1000")).await.expect(200)["last"], 503);
        let wrong = [json!([line(0, "x")]), json!([line(100_001, "x")]), json!([line(9, &"x".repeat(4097))]), json!(vec![line(9, "x"); 501])];
        for lines in wrong {
            let answer = put(server, &id, &with(report(9, "deploying"), json!({"lines": lines}))).await;
            assert_eq!((answer.status, &answer.json()["detail"][0]["loc"][1]), (422, &json!("lines")), "{}", answer.text);
        }
    }

    async fn failures_and_rollbacks_leave_what_ran_before(server: &Server) {
        let [first, failed, back] = [nobody(), nobody(), nobody()];
        put(server, &first, &report(1, "active")).await.expect(201);
        let check = json!({"name": "web\"1", "verdict": "failed", "optional": false, "latency_ms": 3, "waited_ms": 5, "attempts": 1, "asked": "GET /", "detail": "502"});
        let told = with(report(1, "failed"), json!({"error_logs": "no\u{0}room", "health_checks": [check, check]}));
        let answer = put(server, &failed, &told).await.expect(201)["deployment"].clone();
        assert_eq!((&answer["status"], &answer["error_logs"]), (&json!("failed"), &json!("no\u{fffd}room")));
        // What comes after the end is kept, and counted no more.
        put(server, &failed, &with(told, json!({"sequence": 2}))).await.expect(200);
        let told = with(report(1, "rolled_back"), json!({"rollback": {"reason": "unhealthy"}}));
        let answer = put(server, &back, &told).await.expect(201)["deployment"].clone();
        assert_eq!((&answer["status"], &answer["rollback_reason"]), (&json!("rolled_back"), &json!("unhealthy")));
        assert_eq!(answer["previous_deployment_id"], first.as_str());
        assert_eq!(server.status_of(&first).await, "active");
        let metrics = server.get("/metrics").await;
        assert!(metrics.text.contains("ffe_ledger_deployments{app=\"shop\",environment=\"staging\",status=\"failed\"} 1\n"), "{}", metrics.text);
        for line in ["rollbacks_total{app=\"shop\",environment=\"staging\"} 1\n",
            "check_results_total{app=\"shop\",environment=\"staging\",check=\"web\\\"1\",verdict=\"failed\"} 2\n"] {
            assert!(metrics.text.contains(&format!("ffe_ledger_{line}")), "{line}{}", metrics.text);
        }
        assert!(metrics.text.contains("route=\"/api/v1/reports/{report_id}\""), "{}", metrics.text);
    }

    async fn a_rollback_that_was_asked_for_takes_back_what_was_active(server: &Server) {
        let [first, second, back] = [nobody(), nobody(), nobody()];
        let begun = json!({"finished_at": "2026-01-01T00:01:00Z"});
        put(server, &first, &with(report(1, "active"), begun)).await.expect(201);
        let now = json!({"finished_at": "2026-01-02T00:00:00Z"});
        put(server, &second, &with(report(1, "active"), now)).await.expect(201);
        let told = json!({"action": "rollback", "finished_at": "2026-01-03T00:00:00Z", "deployed_by": "bob", "rollback": {"reason": "slow"}});
        put(server, &back, &with(report(1, "active"), told)).await.expect(201);
        let old = server.get(&format!("/api/v1/deployments/{second}")).await.expect(200);
        assert_eq!((&old["status"], &old["rolled_back_by"], &old["rollback_reason"]), (&json!("rolled_back"), &json!("bob"), &json!("slow")));
        assert_eq!(old["previous_deployment_id"], back.as_str());
        assert_eq!((server.status_of(&back).await, server.status_of(&first).await), ("active".to_owned(), "inactive".to_owned()));
    }

    async fn a_last_report_that_comes_late_does_not_supersede_a_newer_deployment(server: &Server) {
        let [old, new] = [nobody(), nobody()];
        put(server, &old, &report(1, "deploying")).await.expect(201);
        put(server, &new, &with(report(1, "active"), json!({"finished_at": "2026-02-01T00:00:00Z"}))).await.expect(201);
        let late = with(report(9, "active"), json!({"finished_at": "2026-01-01T00:05:00Z"}));
        assert_eq!(put(server, &old, &late).await.expect(200)["deployment"]["status"], "inactive");
        assert_eq!(server.status_of(&new).await, "active");
        put(server, &old, &with(late, json!({"sequence": 10}))).await.expect(200);
        assert_eq!((server.status_of(&old).await, server.status_of(&new).await), ("inactive".to_owned(), "active".to_owned()));
    }

    async fn the_entity_of_that_name_is_taken_and_a_foreign_id_is_refused(server: &Server) {
        let entity = server.entity("shop").await;
        let made = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        let id = nobody();
        let kept = put(server, &id, &report(1, "active")).await.expect(201);
        assert_eq!(kept["deployment"]["entity_id"], entity.as_str());
        assert_eq!(server.get("/api/v1/entities").await.expect(200)["total"], 1);
        for (id, told) in [(&made, report(1, "active")), (&id, with(report(2, "active"), json!({"environment": "production"})))] {
            let refused = put(server, id, &told).await.expect(409);
            assert!(refused["detail"].as_str().unwrap().contains("nothing was changed"), "{refused}");
        }
    }

    async fn reports_that_are_wrong_are_refused(server: &Server) {
        for wrong in [
            json!({}), json!([]), with(report(1, "moon"), json!({})), with(report(1, "active"), json!({"app": "../x"})),
            with(report(1, "active"), json!({"schema": 2})), with(report(1, "active"), json!({"version": ""})),
            with(report(1, "active"), json!({"deployed_by": "a\u{0}"})), with(report(1, "active"), json!({"sequence": -1})),
            with(report(1, "active"), json!({"started_at": "yesterday"})), with(report(1, "active"), json!({"error_logs": "x".repeat(70_000)})),
        ] {
            let answer = put(server, &nobody(), &wrong).await.expect(422);
            assert!(answer["detail"][0]["msg"].is_string(), "{answer}");
        }
        assert_eq!(server.get("/api/v1/deployments").await.expect(200)["total"], 0);
    }

    async fn the_feed_has_every_event_in_order_and_without_gaps(server: &Server) {
        let entity = server.entity("e").await;
        let work = (0..30).map(|_| server.deploy(&entity, "staging"));
        let made = futures_util::future::join_all(work).await;
        // Events are put in order once they are committed.
        let mut found = Vec::new();
        let mut after = 0;
        while found.len() < made.len() {
            let page = server.get(&format!("/api/v1/events?after={after}&limit=7")).await.expect(200);
            found.extend(page["events"].as_array().unwrap().clone());
            after = page["last"].as_i64().unwrap();
        }
        let sequences: Vec<i64> = found.iter().map(|event| event["sequence"].as_i64().unwrap()).collect();
        assert_eq!(sequences, (1..=30).collect::<Vec<i64>>());
        let mut times: Vec<&str> = found.iter().map(|event| event["event"]["time"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        times.clear();
        server.get("/api/v1/events?limit=0").await.expect(422);
    }

    async fn a_stream_goes_on_after_the_last_event_that_was_seen(server: &Server) {
        let entity = server.entity("e").await;
        let first = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        let second = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        let request = server.client().get(server.url("/api/v1/events")).header("accept", "text/event-stream");
        let mut stream = request.header("last-event-id", "1").send().await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while !text.contains(&second) {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(text.contains("id: 2\n") && text.contains("event: dev.cdevents.service.deployed.0.2.0\n") && !text.contains(&first), "{text}");
        let third = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        while !text.contains(&third) {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
        // A stream keeps nobody from ending.
        server.signal("TERM");
        assert!(server.wait().success());
    }
}
