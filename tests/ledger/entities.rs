//! Entities: what the document presumes of them (R004-05).

use serde_json::{Value, json};

use super::support::{Database, Server, id_of, nobody, on_both};

on_both! {
    async fn an_entity_is_made_read_changed_and_deleted(server: &Server) {
        assert_eq!(server.get("/api/v1/entities").await.expect(200), json!({"entities": [], "total": 0, "page": 1, "page_size": 20}));
        let body = json!({"name": "deploy_test", "type": "strategy", "version": "1.0.0"});
        let made = server.post("/api/v1/entities", &body).await.expect(201);
        assert_eq!((&made["status"], &made["health_status"]), (&json!("registered"), &json!("unknown")));
        assert_eq!((&made["config"], &made["parameters"], &made["dependencies"]), (&json!({}), &json!({}), &json!([])));
        let path = format!("/api/v1/entities/{}", id_of(&made, "entity_id"));
        assert_eq!(server.get(&path).await.expect(200), made);
        for method in [reqwest::Method::PUT, reqwest::Method::PATCH] {
            let change = json!({"version": "2.0.0", "description": "x", "config": {"a": [1]}, "name": null});
            let changed = server.send_json(method, &path, &change).await.expect(200);
            assert_eq!((&changed["version"], &changed["config"], &changed["name"]), (&json!("2.0.0"), &json!({"a": [1]}), &json!("deploy_test")));
        }
        let request = server.client().delete(server.url(&path));
        let gone = server.send(request).await;
        assert_eq!((gone.status, gone.text.as_str()), (204, ""));
        assert_eq!(server.get(&path).await.status, 404);
        assert_eq!(server.send(server.client().delete(server.url(&path))).await.status, 404);
        assert_eq!(server.get("/api/v1/entities").await.expect(200)["total"], 0);
    }

    async fn lists_are_newest_first_and_filtered(server: &Server) {
        for name in ["a", "b", "c"] {
            server.entity(name).await;
        }
        let names = async |query: &str| -> Vec<String> {
            let found = server.get(&format!("/api/v1/entities?{query}")).await.expect(200);
            found["entities"].as_array().unwrap().iter().map(|entity| id_of(entity, "name")).collect()
        };
        assert_eq!(names("").await, ["c", "b", "a"]);
        assert_eq!(names("page=2&page_size=2").await, ["a"]);
        assert_eq!(names("name=b").await, ["b"]);
        assert_eq!(names("type=strategy&status=registered&health_status=unknown").await.len(), 3);
        assert!(names("status=deployed").await.is_empty() && names("name=%00").await.is_empty());
    }

    async fn an_unknown_entity_is_not_found(server: &Server) {
        let nobody = nobody();
        let path = format!("/api/v1/entities/{nobody}");
        let missing: Value = json!({"detail": format!("Entity {nobody} not found")});
        assert_eq!(server.get(&path).await.expect(404), missing);
        assert_eq!(server.send_json(reqwest::Method::PATCH, &path, &json!({})).await.expect(404), missing);
    }
}
