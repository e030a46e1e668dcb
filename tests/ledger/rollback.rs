//! Rolling back: A4-06, A4-07, C17 and R004-45.

use serde_json::json;

use super::support::{Database, Server, id_of, nobody, on_both};

async fn deploy(server: &Server, entity: &str, config: serde_json::Value) -> String {
    let body =
        json!({"entity_id": entity, "environment": "staging", "deployed_by": "x", "config_override": config});
    id_of(&server.post("/api/v1/deployments", &body).await.expect(201), "deployment_id")
}

on_both! {
    async fn the_one_before_is_active_again_and_the_entity_has_its_configuration(server: &Server) {
        let entity = server.entity("e").await;
        let first = deploy(server, &entity, json!({"n": 1})).await;
        let second = deploy(server, &entity, json!({"n": 2})).await;
        let result = server.roll_back(&second, &json!({"reason": "r", "rolled_back_by": "bob"})).await.expect(200);
        assert_eq!(result["deployment_id"], second.as_str());
        assert_eq!(result["status"], "rolled_back");
        assert_eq!((&result["rolled_back_by"], &result["rollback_reason"]), (&json!("bob"), &json!("r")));
        assert_eq!(result["previous_deployment_id"], first.as_str());
        assert!(result["rolled_back_at"].is_string());
        assert_eq!(server.get(&format!("/api/v1/deployments/{second}")).await.expect(200), result);
        assert_eq!(server.status_of(&first).await, "active");
        let entity = server.get(&format!("/api/v1/entities/{entity}")).await.expect(200);
        assert_eq!((&entity["deployment_config"], &entity["deployed_by"]), (&json!({"n": 1}), &json!("bob")));
        server.wait_for_line(&format!("Rolled back deployment {second} to {first} in staging"));
    }

    async fn a_first_deployment_has_nothing_to_go_back_to(server: &Server) {
        let entity = server.entity("e").await;
        let only = deploy(server, &entity, json!({})).await;
        server.deploy(&entity, "production").await;
        let body = json!({"reason": "r", "rolled_back_by": "bob"});
        let answer = server.roll_back(&only, &body).await.expect(400);
        assert_eq!(answer, json!({"detail": "No previous deployment found to rollback to"}));
        let body = json!({"reason": "r", "rolled_back_by": "bob", "target_deployment_id": nobody()});
        let answer = server.roll_back(&only, &body).await.expect(400);
        assert_eq!(answer, json!({"detail": "No previous deployment found to rollback to"}));
        assert_eq!(server.status_of(&only).await, "active");
    }

    async fn never_to_one_that_was_rolled_back_itself(server: &Server) {
        let entity = server.entity("e").await;
        let body = json!({"reason": "r", "rolled_back_by": "bob"});
        let first = deploy(server, &entity, json!({"n": 1})).await;
        let second = deploy(server, &entity, json!({"n": 2})).await;
        server.roll_back(&second, &body).await.expect(200);
        let third = deploy(server, &entity, json!({"n": 3})).await;
        let named = json!({"reason": "r", "rolled_back_by": "bob", "target_deployment_id": second});
        let refused = server.roll_back(&third, &named).await.expect(400);
        assert!(refused["detail"].as_str().unwrap().contains("is rolled_back"), "{refused}");
        let result = server.roll_back(&third, &body).await.expect(200);
        assert_eq!(result["previous_deployment_id"], first.as_str());
    }

    async fn a_named_target_is_taken_and_one_of_another_place_is_refused(server: &Server) {
        let (entity, other) = (server.entity("e").await, server.entity("f").await);
        let first = deploy(server, &entity, json!({"n": 1})).await;
        deploy(server, &entity, json!({"n": 2})).await;
        let third = deploy(server, &entity, json!({"n": 3})).await;
        let foreign = id_of(&server.deploy(&other, "staging").await, "deployment_id");
        let elsewhere = id_of(&server.deploy(&entity, "production").await, "deployment_id");
        for target in [&foreign, &elsewhere] {
            let body = json!({"reason": "r", "rolled_back_by": "bob", "target_deployment_id": target});
            let refused = server.roll_back(&third, &body).await.expect(400);
            assert!(refused["detail"].as_str().unwrap().contains("another entity or environment"), "{refused}");
        }
        let body = json!({"reason": "r", "rolled_back_by": "bob", "target_deployment_id": first});
        let result = server.roll_back(&third, &body).await.expect(200);
        assert_eq!(result["previous_deployment_id"], first.as_str());
        assert_eq!(server.status_of(&first).await, "active");
        assert_eq!((server.status_of(&foreign).await.as_str(), server.status_of(&elsewhere).await.as_str()), ("active", "active"));
    }

    async fn only_what_is_active_is_rolled_back(server: &Server) {
        let entity = server.entity("e").await;
        let first = deploy(server, &entity, json!({"n": 1})).await;
        let second = deploy(server, &entity, json!({"n": 2})).await;
        let body = json!({"reason": "r", "rolled_back_by": "bob"});
        let refused = server.roll_back(&first, &body).await.expect(409);
        assert!(refused["detail"].as_str().unwrap().contains("is inactive"), "{refused}");
        server.roll_back(&second, &body).await.expect(200);
        server.roll_back(&second, &body).await.expect(409);
        assert_eq!(server.status_of(&first).await, "active");
    }
}
