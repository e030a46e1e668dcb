//! Tokens, their scopes, and how often they may be used.

use serde_json::json;

use super::support::{Answer, Database, Server, command, nobody, on_both};

pub(crate) async fn make(database: &Database, name: &str, scopes: &[&str]) -> String {
    let address = database.address();
    let mut command = command();
    command.args(["token", "create", name, "--database", &address]);
    for scope in scopes {
        command.args(["--scope", scope]);
    }
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

async fn get(server: &Server, path: &str, token: &str) -> Answer {
    server.send(server.client().get(server.url(path)).bearer_auth(token)).await
}

async fn post(server: &Server, path: &str, token: &str) -> Answer {
    server.send(server.client().post(server.url(path)).bearer_auth(token).body("{}")).await
}

on_both! {
    async fn scopes_say_what_a_token_may(server: &Server) {
        let database = server.database().clone();
        let [read, report, deploy, admin] =
            [make(&database, "r", &["read"]).await, make(&database, "c", &["report"]).await, make(&database, "d", &["deploy"]).await, make(&database, "a", &["admin"]).await];
        let server = Server::on(database.clone()).await;
        let denied = server.get("/api/v1/entities").await;
        assert_eq!((denied.status, denied.header("www-authenticate")), (401, "Bearer"));
        assert_eq!(denied.json(), json!({"detail": "Not authenticated"}));
        for path in ["/health", "/health/ready", "/docs", "/api/v1/openapi.json"] {
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
        let report_path = format!("/api/v1/reports/{}", nobody());
        for (token, looks, deploys, sees_reports) in
            [(&read, 200, 403, 404), (&report, 403, 403, 404), (&deploy, 200, 422, 404), (&admin, 200, 422, 404)]
        {
            assert_eq!(get(&server, "/api/v1/entities", token).await.status, looks);
            assert_eq!(get(&server, "/metrics", token).await.status, looks);
            assert_eq!(post(&server, "/api/v1/deployments", token).await.status, deploys);
            assert_eq!(get(&server, &report_path, token).await.status, sees_reports);
        }
        let put = |token: &str| server.client().put(server.url(&report_path)).bearer_auth(token).body("{}");
        assert_eq!(server.send(put(&deploy)).await.expect(403)["detail"], "Token `d` lacks the scope `report`");
        server.send(put(&report)).await.expect(422);
        assert_eq!(get(&server, "/api/v1/entities", "ffel_x").await.status, 401);
        // What is kept gives no token away.
        let pool = database.open().await;
        let hashes: Vec<String> = sqlx::query_scalar("SELECT hash FROM tokens").fetch_all(&pool).await.unwrap();
        assert!(hashes.len() == 4 && hashes.iter().all(|hash| !hash.contains(&read) && hash.len() == 64));
        let stream = server.client().get(server.url("/api/v1/events")).bearer_auth(&read).header("accept", "text/event-stream");
        let mut stream = stream.send().await.unwrap();
        // One that is revoked ends within seconds, without a restart, and so do streams that it began.
        let revoked = command().args(["token", "revoke", "r", "--database", &database.address()]).status().unwrap();
        assert!(revoked.success());
        while get(&server, "/api/v1/entities", &read).await.status == 200 {}
        while stream.chunk().await.unwrap().is_some() {}
        let listed = command().args(["token", "list", "--database", &database.address()]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.lines().count() == 5 && !listed.contains(&admin), "{listed}");
    }

    async fn a_token_that_is_used_too_often_is_told_when_to_come_back(server: &Server) {
        let database = server.database().clone();
        let token = make(&database, "t", &["read"]).await;
        let server = Server::with(database, &["--rate-limit", "3"]).await;
        for _ in 0..3 {
            assert_eq!(get(&server, "/api/v1/entities", &token).await.status, 200);
        }
        let denied = get(&server, "/api/v1/entities", &token).await;
        assert_eq!(denied.status, 429);
        assert!((1..=61).contains(&denied.header("retry-after").parse::<u64>().unwrap()), "{denied:?}");
    }

    async fn without_tokens_it_listens_on_loopback_only(server: &Server) {
        let database = Database::sqlite();
        let ended = command().args(["serve", "--listen", "0.0.0.0:0", "--database", &database.address()]).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(1) && told.contains("refused to listen on 0.0.0.0:0 without tokens"), "{told}");
        assert_eq!(server.get("/api/v1/entities").await.status, 200);
    }
}
