//! Health (R003-19 to R003-23, R003-50, R003-51) and the page about the API.

use serde_json::json;

use super::support::{Database, Server, on_both};

on_both! {
    async fn health_names_the_database_and_nats_with_a_latency_each(server: &Server) {
        assert_eq!(server.get("/health/live").await.expect(200), json!({"status": "alive"}));
        let health = server.get("/health").await.expect(200);
        assert_eq!((&health["status"], &health["checks"]), (&json!("healthy"), &json!({})));
        assert!(health["uptime_seconds"].is_f64() && health["timestamp"].is_string() && health["version"].is_string());
        for path in ["/health/ready", "/health/detailed"] {
            let answer = server.get(path).await.expect(200);
            assert_eq!(answer["status"], "healthy");
            for name in ["database", "nats"] {
                assert!(answer["checks"][name]["latency_ms"].is_number(), "{answer}");
            }
        }
    }

    async fn the_api_describes_itself_without_anything_from_elsewhere(server: &Server) {
        let document = server.get("/api/v1/openapi.json").await.expect(200);
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        for path in ["/api/v1/deployments", "/api/v1/deployments/{deployment_id}/rollback", "/api/v1/entities/{entity_id}/deployments"] {
            assert!(document["paths"][path].is_object(), "{path}");
        }
        let page = server.get("/docs").await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("/api/v1/deployments") && !page.text.contains("src=") && !page.text.contains("href=\"http"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert_eq!(server.get("/docs/style.css").await.status, 200);
    }
}
