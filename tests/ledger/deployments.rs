//! Creating, listing and reading deployments: A4-01 to A4-04, A4-12 and the document's test script.

use serde_json::{Value, json};

use super::support::{Database, Server, id_of, nobody, on_both};

/// R004-12 and R004-13.
const KEYS: [&str; 21] = [
    "deployment_id",
    "entity_id",
    "version",
    "environment",
    "config_snapshot",
    "parameters_snapshot",
    "status",
    "deployed_at",
    "deployed_by",
    "deployment_method",
    "rolled_back_at",
    "rolled_back_by",
    "rollback_reason",
    "previous_deployment_id",
    "health_checks",
    "last_health_check",
    "error_logs",
    "deployment_duration_seconds",
    "validation_results",
    "created_at",
    "updated_at",
];

/// What the database remembers of a deployment, in order.
async fn steps_of(server: &Server, deployment: &str) -> Vec<String> {
    let pool = server.database().open().await;
    let text = "SELECT to_status FROM deployment_events WHERE deployment_id = $1 ORDER BY id";
    sqlx::query_scalar(text).bind(deployment.to_owned()).fetch_all(&pool).await.unwrap()
}

on_both! {
    async fn a_deployment_is_active_at_once_and_has_every_key_of_the_document(server: &Server) {
        let entity = server.entity("e").await;
        let made = server.deploy(&entity, "staging").await;
        let keys: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, KEYS);
        assert_eq!(made["status"], "active");
        assert_eq!(made["deployment_method"], "api");
        assert_eq!(made["version"], "1.0.0");
        assert_eq!(made["entity_id"], entity.as_str());
        assert_eq!(made["environment"], "staging");
        assert_eq!(made["deployed_by"], "test_user");
        assert_eq!(made["validation_results"]["passed"], true);
        assert_eq!(made["validation_results"]["checks"], json!({"deployment_exists": true, "has_config": true, "status": "active"}));
        assert_eq!(made["deployment_duration_seconds"], 0);
        assert_eq!(made["health_checks"], json!([]));
        uuid::Uuid::parse_str(made["deployment_id"].as_str().unwrap()).unwrap();
        let id = id_of(&made, "deployment_id");
        assert_eq!(server.get(&format!("/api/v1/deployments/{id}")).await.expect(200), made);
        assert_eq!(steps_of(server, &id).await, ["pending", "deploying", "active"]);
    }

    async fn the_callers_method_is_kept(server: &Server) {
        let entity = server.entity("e").await;
        let body = json!({"entity_id": entity, "environment": "testing", "deployed_by": "x", "deployment_method": "ci"});
        assert_eq!(server.post("/api/v1/deployments", &body).await.expect(201)["deployment_method"], "ci");
    }

    async fn deploying_again_supersedes_what_is_active_in_that_environment_alone(server: &Server) {
        let entity = server.entity("e").await;
        let first = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        let production = id_of(&server.deploy(&entity, "production").await, "deployment_id");
        let second = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        assert_eq!(server.status_of(&first).await, "inactive");
        assert_eq!(server.status_of(&second).await, "active");
        assert_eq!(server.status_of(&production).await, "active");
        let entity = server.get(&format!("/api/v1/entities/{entity}")).await.expect(200);
        assert_eq!((&entity["status"], &entity["deployed_by"]), (&json!("deployed"), &json!("test_user")));
        assert_eq!(steps_of(server, &first).await, ["pending", "deploying", "active", "inactive"]);
        server.wait_for_line(&format!("Deactivated deployment {first}"));
        server.wait_for_line(&format!("to staging as {second}"));
    }

    async fn an_override_replaces_the_whole_configuration_and_an_empty_one_means_the_entitys(server: &Server) {
        let body = json!({"name": "e", "type": "strategy", "version": "1", "config": {"a": 1, "b": 2}, "parameters": {"p": 1}});
        let entity = id_of(&server.post("/api/v1/entities", &body).await.expect(201), "entity_id");
        for (given, kept) in [(json!({"b": 3}), json!({"b": 3})), (json!({}), json!({"a": 1, "b": 2})), (Value::Null, json!({"a": 1, "b": 2}))] {
            let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x", "config_override": given, "parameters_override": given});
            let made = server.post("/api/v1/deployments", &body).await.expect(201);
            assert_eq!(made["config_snapshot"], kept);
            let parameters = if kept == json!({"b": 3}) { json!({"b": 3}) } else { json!({"p": 1}) };
            assert_eq!(made["parameters_snapshot"], parameters);
            let entity = server.get(&format!("/api/v1/entities/{entity}")).await.expect(200);
            assert_eq!(entity["deployment_config"], kept);
        }
    }

    async fn an_empty_configuration_is_a_warning_and_no_failure(server: &Server) {
        let entity = server.entity("e").await;
        let made = server.deploy(&entity, "staging").await;
        assert_eq!(made["validation_results"]["warnings"], json!(["No configuration snapshot saved"]));
    }

    async fn numbers_of_a_configuration_lose_no_digit(server: &Server) {
        let entity = server.entity("e").await;
        let body = format!(
            r#"{{"entity_id":"{entity}","environment":"staging","deployed_by":"x","config_override":{{"big":123456789012345678901234567890,"price":1.10}}}}"#
        );
        let request = server.client().post(server.url("/api/v1/deployments")).body(body);
        let answer = server.send(request).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(answer.text.contains(r#"{"big":123456789012345678901234567890,"price":1.10}"#), "{}", answer.text);
    }

    async fn lists_are_paged_newest_first_and_filters_narrow_the_total(server: &Server) {
        let (entity, other) = (server.entity("e").await, server.entity("f").await);
        for number in 0..25 {
            let environment = if number % 5 == 0 { "production" } else { "staging" };
            server.deploy(if number == 24 { &other } else { &entity }, environment).await;
        }
        let first = server.get("/api/v1/deployments").await.expect(200);
        assert_eq!((&first["total"], &first["page"], &first["page_size"]), (&json!(25), &json!(1), &json!(20)));
        let all = server.get("/api/v1/deployments?page_size=100").await.expect(200)["deployments"].as_array().unwrap().clone();
        let times: Vec<&str> = all.iter().map(|d| d["deployed_at"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
        assert_eq!(first["deployments"].as_array().unwrap()[..], all[..20]);
        let second = server.get("/api/v1/deployments?page=2").await.expect(200);
        assert_eq!(second["deployments"].as_array().unwrap()[..], all[20..]);
        // Each page is the same, from whichever end of the index it is read.
        for page in 1..=9 {
            let found = server.get(&format!("/api/v1/deployments?page_size=3&page={page}")).await.expect(200);
            let from = (page - 1) * 3;
            assert_eq!(found["deployments"].as_array().unwrap()[..], all[from..(from + 3).min(25)], "page {page}");
        }
        assert_eq!(server.get("/api/v1/deployments?page=3").await.expect(200)["deployments"], json!([]));
        let total = async |query: &str| {
            let found = server.get(&format!("/api/v1/deployments?page_size=100&{query}")).await.expect(200);
            assert_eq!(found["deployments"].as_array().unwrap().len() as u64, found["total"].as_u64().unwrap(), "{query}");
            found["total"].as_u64().unwrap()
        };
        assert_eq!(total(&format!("entity_id={entity}")).await, 24);
        assert_eq!(total("environment=production").await, 5);
        assert_eq!(total("status=active").await, 3);
        assert_eq!(total("status=active&environment=staging").await, 2);
        assert_eq!(total(&format!("status=inactive&entity_id={entity}")).await, 22);
        assert_eq!(total(&format!("status=active&environment=staging&entity_id={entity}")).await, 1);
        assert_eq!(total("environment=moon").await, 0);
        assert_eq!(total("status=").await, 25);
        assert_eq!(total("environment=%00").await, 0);
    }

    async fn either_path_lists_an_entitys_own_deployments(server: &Server) {
        let (entity, other) = (server.entity("e").await, server.entity("f").await);
        let mine = server.deploy(&entity, "staging").await;
        server.deploy(&entity, "production").await;
        server.deploy(&other, "staging").await;
        for path in [format!("/api/v1/entities/{entity}/deployments"), format!("/api/v1/deployments/entity/{entity}/deployments")] {
            let found = server.get(&path).await.expect(200);
            assert_eq!((&found["total"], &found["page_size"]), (&json!(2), &json!(20)));
            let found = server.get(&format!("{path}?environment=staging&status=active")).await.expect(200);
            assert_eq!(found["deployments"], json!([mine]));
        }
        let nobody = nobody();
        for path in [format!("/api/v1/entities/{nobody}/deployments"), format!("/api/v1/deployments/entity/{nobody}/deployments")] {
            let answer = server.get(&path).await.expect(404);
            assert_eq!(answer, json!({"detail": format!("Entity {nobody} not found")}));
        }
    }

    async fn what_is_unknown_is_not_found_with_the_documents_words(server: &Server) {
        let nobody = nobody();
        let missing = json!({"detail": format!("Deployment {nobody} not found")});
        assert_eq!(server.get(&format!("/api/v1/deployments/{nobody}")).await.expect(404), missing);
        let body = json!({"reason": "r", "rolled_back_by": "bob"});
        assert_eq!(server.roll_back(&nobody, &body).await.expect(404), missing);
        let body = json!({"entity_id": nobody, "environment": "staging", "deployed_by": "x"});
        let answer = server.post("/api/v1/deployments", &body).await.expect(404);
        assert_eq!(answer, json!({"detail": format!("Entity {nobody} not found")}));
    }

    async fn what_stands_against_a_deployment_is_told_and_nothing_is_changed(server: &Server) {
        let body = json!({"name": "e", "type": "strategy"});
        let entity = id_of(&server.post("/api/v1/entities", &body).await.expect(201), "entity_id");
        let path = format!("/api/v1/entities/{entity}");
        let order = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
        let refused = server.post("/api/v1/deployments", &order).await.expect(400);
        assert_eq!(refused["detail"], json!({"message": "Pre-deployment validation failed", "errors": ["Entity version is required"], "warnings": []}));
        server.send_json(reqwest::Method::PATCH, &path, &json!({"version": "2"})).await.expect(200);
        let active = id_of(&server.post("/api/v1/deployments", &order).await.expect(201), "deployment_id");
        server.send_json(reqwest::Method::PATCH, &path, &json!({"health_status": "unhealthy", "status": "archived"})).await.expect(200);
        let refused = server.post("/api/v1/deployments", &order).await.expect(400);
        assert_eq!(refused["detail"]["errors"], json!(["Entity status 'archived' not deployable", "Entity health is unhealthy"]));
        assert_eq!(refused["detail"]["warnings"], json!(["Active deployment already exists in staging"]));
        assert_eq!(server.status_of(&active).await, "active");
        assert_eq!(server.get("/api/v1/deployments").await.expect(200)["total"], 1);
    }

    async fn dependencies_must_be_active_in_the_same_environment(server: &Server) {
        let database = server.entity("database").await;
        let body = json!({"name": "e", "type": "strategy", "version": "1", "dependencies": ["database"]});
        let entity = id_of(&server.post("/api/v1/entities", &body).await.expect(201), "entity_id");
        let order = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
        server.deploy(&database, "production").await;
        let refused = server.post("/api/v1/deployments", &order).await.expect(400);
        assert_eq!(refused["detail"]["errors"], json!(["Dependency 'database' is not active in staging"]));
        server.deploy(&database, "staging").await;
        server.post("/api/v1/deployments", &order).await.expect(201);
    }

    async fn a_deleted_entity_is_not_deployed_and_its_deployments_stay(server: &Server) {
        let entity = server.entity("e").await;
        let made = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        let request = server.client().delete(server.url(&format!("/api/v1/entities/{entity}")));
        assert_eq!(server.send(request).await.status, 204);
        let order = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
        let answer = server.post("/api/v1/deployments", &order).await.expect(404);
        assert_eq!(answer["detail"], format!("Entity {entity} not found"));
        assert_eq!(server.status_of(&made).await, "active");
        assert_eq!(server.get(&format!("/api/v1/entities/{entity}/deployments")).await.status, 404);
    }

    async fn the_database_itself_holds_one_active_deployment_and_the_history(server: &Server) {
        let entity = server.entity("e").await;
        server.deploy(&entity, "staging").await;
        server.deploy(&entity, "staging").await;
        let pool = server.database().open().await;
        let change = |text: &'static str| sqlx::query(text).execute(&pool);
        let refused = change("UPDATE deployments SET status = 'active'").await.unwrap_err();
        assert!(refused.as_database_error().unwrap().is_unique_violation(), "{refused}");
        for text in ["UPDATE deployment_events SET who = 'x'", "DELETE FROM deployment_events"] {
            assert!(change(text).await.unwrap_err().to_string().contains("append-only"), "{text}");
        }
    }

    async fn events_wait_in_the_outbox_with_the_documents_fields(server: &Server) {
        let entity = server.entity("e").await;
        server.deploy(&entity, "staging").await;
        let made = server.deploy(&entity, "staging").await;
        let id = id_of(&made, "deployment_id");
        server.roll_back(&id, &json!({"reason": "r", "rolled_back_by": "bob"})).await.expect(200);
        let pool = server.database().open().await;
        let bodies: Vec<String> = sqlx::query_scalar("SELECT body FROM outbox ORDER BY id").fetch_all(&pool).await.unwrap();
        let events: Vec<Value> = bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
        assert_eq!(events.len(), 3);
        assert_eq!((&events[1]["specversion"], &events[1]["type"]), (&json!("1.0"), &json!("dev.cdevents.service.deployed.0.2.0")));
        let data = json!({"entity_id": entity, "deployment_id": id, "environment": "staging", "version": "1.0.0",
            "metadata": {"deployed_by": "test_user", "duration_seconds": 0}});
        assert_eq!(events[1]["data"], data);
        assert_eq!(events[2]["type"], "dev.cdevents.service.rolledback.0.2.0");
        let fields: Vec<&str> = events[2]["data"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["deployment_id", "target_deployment_id", "environment", "reason", "rolled_back_by"]);
    }
}
