//! Requests that are not as they should be: pydantic's answers, and never a 500.

use serde_json::{Value, json};

use super::support::{Database, Server, nobody, on_both};

fn places(answer: &Value) -> Vec<(String, String)> {
    let problems = answer["detail"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let place = |problem: &Value| {
        let loc: Vec<String> =
            problem["loc"].as_array().unwrap().iter().map(|part| part.to_string().replace('"', "")).collect();
        assert!(problem["msg"].is_string() && problem.get("input").is_some(), "{problem}");
        (problem["type"].as_str().unwrap().to_owned(), loc.join("."))
    };
    problems.iter().map(place).collect()
}

fn pair(kind: &str, place: &str) -> (String, String) {
    (kind.to_owned(), place.to_owned())
}

on_both! {
    async fn every_problem_of_a_body_is_told_with_its_place(server: &Server) {
        let body = json!({"entity_id": "x", "environment": "moon", "deployed_by": "", "deployment_method": "m".repeat(51), "config_override": [], "unknown": 1});
        let answer = server.post("/api/v1/deployments", &body).await.expect(422);
        assert_eq!(places(&answer), [
            pair("uuid_parsing", "body.entity_id"),
            pair("enum", "body.environment"),
            pair("string_too_short", "body.deployed_by"),
            pair("string_too_long", "body.deployment_method"),
            pair("dict_type", "body.config_override"),
        ]);
        assert_eq!(answer["detail"][1]["msg"], "Input should be 'development', 'staging', 'production' or 'testing'");
        let answer = server.post("/api/v1/deployments", &json!({"deployed_by": null, "environment": 1})).await.expect(422);
        assert_eq!(places(&answer), [
            pair("missing", "body.entity_id"),
            pair("enum", "body.environment"),
            pair("value_error", "body.deployed_by"),
        ]);
        assert_eq!(answer["detail"][0]["msg"], "Field required");
        let answer = server.roll_back(&nobody(), &json!({"reason": "", "target_deployment_id": 5})).await.expect(422);
        assert_eq!(places(&answer), [
            pair("string_too_short", "body.reason"),
            pair("missing", "body.rolled_back_by"),
            pair("uuid_type", "body.target_deployment_id"),
        ]);
    }

    async fn pages_out_of_range_are_refused(server: &Server) {
        for (query, kind) in [
            ("page=0", "greater_than_equal"),
            ("page_size=0", "greater_than_equal"),
            ("page_size=101", "less_than_equal"),
            ("page=x", "int_parsing"),
            ("page=99999999999999999999", "int_parsing"),
            ("page=", "int_parsing"),
            ("entity_id=x", "uuid_parsing"),
        ] {
            let answer = server.get(&format!("/api/v1/deployments?{query}")).await.expect(422);
            assert_eq!(places(&answer)[0].0, kind, "{query}");
        }
        server.get("/api/v1/deployments?page_size=100").await.expect(200);
        assert_eq!(server.get("/api/v1/deployments?page=1000000000&page_size=100").await.expect(200)["deployments"], json!([]));
    }

    async fn a_path_that_has_no_uuid_is_told_so(server: &Server) {
        for path in ["/api/v1/deployments/x", "/api/v1/entities/x", "/api/v1/entities/x/deployments", "/api/v1/deployments/entity/x/deployments"] {
            assert_eq!(places(&server.get(path).await.expect(422))[0].0, "uuid_parsing", "{path}");
        }
    }

    async fn a_body_that_is_no_object_is_told_so(server: &Server) {
        for (body, kind) in [("", "missing"), ("{", "json_invalid"), ("[]", "model_attributes_type"), ("\"x\"", "model_attributes_type"), ("{\"a\":1e999}", "json_invalid")] {
            let request = server.client().post(server.url("/api/v1/deployments")).body(body);
            let answer = server.send(request).await.expect(422);
            assert_eq!(places(&answer)[0].0, kind, "{body}");
        }
        let deep = format!("{{\"config_override\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        let request = server.client().post(server.url("/api/v1/deployments")).body(deep);
        server.send(request).await.expect(422);
        let request = server.client().post(server.url("/api/v1/deployments")).body(&b"{\"a\":\"\xff\"}"[..]);
        server.send(request).await.expect(422);
    }

    async fn text_with_a_nul_is_refused_and_within_a_configuration_it_is_kept(server: &Server) {
        let entity = server.entity("e").await;
        let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "a\0b"});
        server.post("/api/v1/deployments", &body).await.expect(422);
        let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "ä😀", "config_override": {"k\0": "v\0"}});
        let made = server.post("/api/v1/deployments", &body).await.expect(201);
        assert_eq!((&made["config_snapshot"], &made["deployed_by"]), (&json!({"k\0": "v\0"}), &json!("ä😀")));
        let body = json!({"name": "n\0", "type": "strategy"});
        server.post("/api/v1/entities", &body).await.expect(422);
    }

    async fn a_body_that_is_too_large_is_refused(server: &Server) {
        let body = json!({"name": "x".repeat(2 * 1024 * 1024), "type": "strategy"});
        assert_eq!(server.post("/api/v1/entities", &body).await.expect(413), json!({"detail": "Request body is too large"}));
    }

    async fn unknown_paths_and_methods_are_told_as_json(server: &Server) {
        let answer = server.get("/api/v1/nothing").await;
        assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})));
        let answer = server.send(server.client().delete(server.url("/api/v1/deployments"))).await;
        assert_eq!((answer.status, answer.json()), (405, json!({"detail": "Method Not Allowed"})));
        assert!(answer.header("allow").contains("POST"), "{:?}", answer.headers);
    }

    async fn every_answer_has_the_id_of_its_request(server: &Server) {
        let answer = server.get("/api/v1/nothing").await;
        assert_eq!(answer.header("x-request-id").len(), 36);
        for (given, kept) in [("job-1.2_3:4", true), ("a b", false), (&"x".repeat(200), false)] {
            let request = server.client().get(server.url("/health")).header("x-request-id", given);
            let answer = server.send(request).await;
            assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
        }
        let line = server.wait_for_line("job-1.2_3:4");
        assert!(line.contains("\"target\":\"access\""), "{line}");
    }
}
