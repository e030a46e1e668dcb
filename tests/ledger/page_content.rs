//! What the pages show: what runs where, an app, a deployment with its stages and log, and what differs.

use serde_json::{Value, json};

use super::pages::{Browser, assert_is_page, csrf};
use super::reports::{put, report, with};
use super::support::{Answer, Database, Server, command, id_of, nobody, on_both};
use super::tokens::make;

/// A stage that began so many seconds after the report.
fn stage(name: &str, second: u32, outcome: Option<&str>, took_ms: Option<u64>) -> Value {
    json!({"stage": name, "started_at": format!("2026-01-01T00:00:{second:02}Z"), "outcome": outcome, "took_ms": took_ms})
}

fn line(number: u32, text: &str) -> Value {
    json!({"number": number, "at": "2026-01-01T00:00:07Z", "stage": "pulling", "text": text})
}

#[track_caller]
fn assert_shows(page: &Answer, texts: &[&str]) {
    assert_eq!(page.status, 200, "{}", page.text);
    assert_is_page(page);
    for text in texts {
        assert!(page.text.contains(text), "no `{text}` in {}", page.text);
    }
}

/// Reads a stream until it has a text or ends, and returns what came.
async fn read_until(stream: &mut reqwest::Response, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        let Some(part) = stream.chunk().await.unwrap() else { break };
        all.push_str(&String::from_utf8_lossy(&part));
    }
    all
}

on_both! {
    async fn what_runs_where_has_apps_by_environment_and_what_failed_last(server: &Server) {
        let [first, second, failed, other] = [nobody(), nobody(), nobody(), nobody()];
        put(server, &first, &with(report(1, "active"), json!({"finished_at": "2026-01-01T00:01:00Z"}))).await.expect(201);
        put(server, &second, &with(report(1, "active"), json!({"environment": "production", "version": "0.9.0"}))).await.expect(201);
        put(server, &failed, &with(report(1, "failed"), json!({"version": "1.1.0", "started_at": "2026-01-02T00:00:00Z"}))).await.expect(201);
        put(server, &other, &with(report(1, "deploying"), json!({"app": "mailer_1"}))).await.expect(201);
        let browser = Browser::at(server);
        let page = browser.get("/").await;
        assert_shows(&page, &["shop", "mailer_1", "nothing runs", "1 under way", "1 failed last", "scope=\"row\"", "<caption"]);
        for id in [&first, &second, &failed, &other] {
            assert!(page.text.contains(&format!("href=\"/deployments/{id}\"")), "{id}");
        }
        // A release goes from left to right.
        let [staging, production] = ["staging", "production"].map(|name| page.text.find(&format!("\"columnheader\">{name}<")));
        assert!(staging.unwrap() < production.unwrap());
        let only = browser.get("/?q=SHO").await;
        assert!(only.text.contains(&first) && !only.text.contains(&other) && only.text.contains("value=\"SHO\""));
        let trouble = browser.get("/?show=trouble").await;
        assert!(trouble.text.contains(&failed) && trouble.text.contains(&other) && trouble.text.contains("value=\"trouble\" checked"));
        let quiet = browser.get("/?show=trouble&environment=production").await;
        assert_shows(&quiet, &["No app matches"]);
        let only = browser.get("/?environment=production").await;
        assert!(only.text.contains(&second) && !only.text.contains(&first) && !only.text.contains(&other));
        // What a pattern would be is text.
        for nothing in ["/?q=%25", "/?q=mailer%21", "/?environment=x&q=%00"] {
            assert_shows(&browser.get(nothing).await, &["No app matches"]);
        }
        assert!(browser.get("/?q=r_1").await.text.contains(&other) && !browser.get("/?q=r_2").await.text.contains(&other));
    }

    async fn a_deployment_has_its_stages_what_went_wrong_and_its_history(server: &Server) {
        let [first, failed] = [nobody(), nobody()];
        put(server, &first, &with(report(1, "active"), json!({"started_at": "2025-12-31T00:00:00Z", "finished_at": "2025-12-31T00:01:00Z"}))).await.expect(201);
        let told = with(report(3, "rolled_back"), json!({
            "version": "1.1.0", "finished_at": "2026-01-01T00:01:30Z", "previous_version": "1.0.0",
            "commit": "0123456789abcdef0123456789abcdef01234567", "ci_url": "https://github.com/acme/shop/actions/runs/17",
            "stages": [stage("pulling", 1, Some("succeeded"), Some(14_200)), stage("building", 16, Some("skipped"), Some(0)), stage("verifying", 20, Some("failed"), Some(61_000))],
            "errors": [
                {"error_kind": "HealthCheckError", "code": "health.unhealthy", "message": "`backend` was not healthy", "hint": "raise `health.timeout`"},
                {"error_kind": "DeploymentError", "code": "hooks.failed", "message": "the hook failed as well", "hint": null},
            ],
            "health_checks": [{"name": "backend", "verdict": "failed", "optional": false, "latency_ms": 3, "waited_ms": 61_000, "attempts": 9, "asked": "GET /health", "detail": "503"}],
            "validation": {"passed": true, "checks": {"docker.running": "passed"}, "warnings": ["runs as root"]},
            "backup": {"name": "shop.tar.zst", "size_bytes": 2048, "sha256": "abcd"}, "rollback": {"reason": "not healthy in time"},
        }));
        put(server, &failed, &told).await.expect(201);
        let page = Browser::at(server).get(&format!("/deployments/{failed}")).await;
        assert_shows(&page, &[
            "shop", "1.1.0", "rolled back", "by <strong>ada</strong>", "1 min 30 s", "What went wrong", "<code>backend</code> was not healthy",
            "raise <code>health.timeout</code>", "health.unhealthy", "not healthy in time", "14 s", "1 min 1 s", ", skipped", ", failed", "<svg class=\"bar\"",
            "9 tries", "503", "runs as root", "docker.running", "shop.tar.zst", "2 KiB",
            "href=\"https://github.com/acme/shop/commit/0123456789abcdef0123456789abcdef01234567\"", "href=\"https://github.com/acme/shop/actions/runs/17\"",
        ]);
        // The root cause comes first.
        assert!(page.text.find("</code> was not healthy") < page.text.find("the hook failed as well"));
        // The one before leads there and back.
        assert!(page.text.contains(&format!("rel=\"prev\" href=\"/deployments/{first}\"")));
        let before = Browser::at(server).get(&format!("/deployments/{first}")).await;
        assert_shows(&before, &[&format!("rel=\"next\" href=\"/deployments/{failed}\""), "Nothing ran here before"]);
    }

    async fn what_differs_is_shown_by_lines_with_signs(server: &Server) {
        let [first, second] = [nobody(), nobody()];
        let run = "https://github.com/acme/shop/actions/runs/1";
        let config = json!({"health": {"timeout": "60s"}, "type": "docker-compose"});
        put(server, &first, &with(report(1, "active"), json!({"config": config, "commit": "aaaaaaa1", "ci_url": run}))).await.expect(201);
        let config = json!({"type": "docker-compose", "health": {"timeout": "90s"}});
        put(server, &second, &with(report(1, "active"), json!({"version": "1.1.0", "config": config, "commit": "bbbbbbb2", "ci_url": run}))).await.expect(201);
        let page = Browser::at(server).get(&format!("/deployments/{second}")).await;
        assert_shows(&page, &[
            "<del><span class=\"mark\">−</span><span class=\"unseen\">removed: </span>    &quot;timeout&quot;: &quot;60s&quot;</del>",
            "<ins><span class=\"mark\">+</span><span class=\"unseen\">added: </span>    &quot;timeout&quot;: &quot;90s&quot;</ins>",
            "href=\"https://github.com/acme/shop/compare/aaaaaaa1...bbbbbbb2\"", &format!("href=\"/deployments/{first}\""),
        ]);
        // The order of keys is no difference.
        assert_eq!(page.text.matches("<ins>").count(), 1, "{}", page.text);
    }

    async fn lines_come_live_until_the_deployment_ends(server: &Server) {
        let id = nobody();
        put(server, &id, &with(report(1, "deploying"), json!({"lines": [line(1, "first")], "stages": [stage("pulling", 1, None, None)]}))).await.expect(201);
        let browser = Browser::at(server);
        let page = browser.get(&format!("/deployments/{id}")).await;
        assert_shows(&page, &["first", "role=\"log\"", &format!("data-live=\"/deployments/{id}/live\" data-after=\"1\""), "under way", "Load anew"]);
        let mut stream = browser.asks(&format!("/deployments/{id}/live?after=1")).send().await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        put(server, &id, &with(report(2, "deploying"), json!({"lines": [line(1, "first"), line(2, "second \u{1b}[31mred\u{1b}[0m <b>")]}))).await.expect(200);
        let told = read_until(&mut stream, "event: changed").await;
        assert!(told.contains("event: lines\nid: 2\ndata: [{\"at\":\"00:00:07\",\"stage\":\"pulling\",\"text\":\"second red <b>\"}]"), "{told}");
        assert!(!told.contains("first"), "{told}");
        put(server, &id, &with(report(3, "active"), json!({"lines": [line(3, "third")]}))).await.expect(200);
        let told = read_until(&mut stream, "no such text").await;
        assert!(told.find("third").unwrap() < told.find("event: over").unwrap(), "{told}");
        // Later it is a page as any other, and a stream that is over at once.
        let page = browser.get(&format!("/deployments/{id}")).await;
        assert!(page.text.contains("third") && !page.text.contains("data-live"), "{}", page.text);
        let again = browser.asks(&format!("/deployments/{id}/live")).header("last-event-id", "2").send().await.unwrap();
        let told = again.text().await.unwrap();
        assert!(told.contains("third") && !told.contains("second") && told.contains("event: over"), "{told}");
    }

    async fn a_long_log_is_shown_from_its_end(server: &Server) {
        let id = nobody();
        for (sequence, first) in [(1, 1), (2, 401)] {
            let lines: Vec<Value> = (first..first + 400).map(|number| line(number, &format!("<{number}>"))).collect();
            put(server, &id, &with(report(sequence, "deploying"), json!({ "lines": lines }))).await;
        }
        let browser = Browser::at(server);
        let page = browser.get(&format!("/deployments/{id}")).await;
        assert_shows(&page, &["&lt;301&gt;", "&lt;800&gt;", &format!("href=\"/deployments/{id}?before=301#log-title\"")]);
        assert!(!page.text.contains("&lt;300&gt;"));
        let earlier = browser.get(&format!("/deployments/{id}?before=301")).await;
        assert_shows(&earlier, &["&lt;1&gt;", "&lt;300&gt;", "Last lines"]);
        assert!(!earlier.text.contains("&lt;301&gt;") && !earlier.text.contains("data-live"));
    }

    async fn a_live_log_ends_with_the_session(server: &Server) {
        let database = server.database().clone();
        let (id, token) = (nobody(), make(server.database(), "ada", &["admin"]).await);
        let server = Server::on(database.clone()).await;
        let sent = server.client().put(server.url(&format!("/api/v1/reports/{id}"))).bearer_auth(&token);
        server.send(sent.body(report(1, "deploying").to_string())).await.expect(201);
        let mut browser = Browser::at(&server);
        let path = format!("/deployments/{id}/live");
        let stranger = server.send(server.client().get(server.url(&path))).await;
        assert_eq!((stranger.status, stranger.json()["detail"].as_str()), (401, Some("Not signed in; nothing was done")));
        browser.sign_in(&token, "/").await;
        let stream = browser.asks(&path).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let revoked = command().args(["token", "revoke", "ada", "--database", &database.address()]).status().unwrap();
        assert!(revoked.success());
        assert!(!stream.text().await.unwrap().contains("event: over"));
    }

    async fn a_live_log_ends_when_somebody_signs_out(server: &Server) {
        let database = server.database().clone();
        let (id, token) = (nobody(), make(server.database(), "ada", &["admin"]).await);
        let server = Server::on(database).await;
        let sent = server.client().put(server.url(&format!("/api/v1/reports/{id}"))).bearer_auth(&token);
        server.send(sent.body(report(1, "deploying").to_string())).await.expect(201);
        let mut browser = Browser::at(&server);
        browser.sign_in(&token, "/").await;
        let stream = browser.asks(&format!("/deployments/{id}/live")).send().await.unwrap();
        let page = browser.get("/").await;
        assert_eq!(browser.post("/sign-out", &[("csrf", &csrf(&page))]).await.status, 303);
        assert!(!stream.text().await.unwrap().contains("event: over"));
    }

    async fn foreign_text_is_shown_and_never_run(server: &Server) {
        let hostile = "<script>alert(1)</script>\"'\u{1b}]8;;http://evil\u{7}\u{202e}";
        let body = json!({"name": hostile, "type": hostile, "version": "1\" onclick=x", "description": hostile, "config": {hostile: hostile}});
        let entity = id_of(&server.post("/api/v1/entities", &body).await.expect(201), "entity_id");
        let deployed = server.post("/api/v1/deployments", &json!({"entity_id": entity, "environment": "staging", "deployed_by": hostile})).await.expect(201);
        let of_api = id_of(&deployed, "deployment_id");
        let [before, id] = [nobody(), nobody()];
        put(server, &before, &report(1, "active")).await.expect(201);
        let told = with(report(1, "failed"), json!({
            "version": hostile, "deployed_by": hostile, "commit": hostile, "ci_url": "javascript:alert(1)", "config": {hostile: hostile},
            "errors": [{"error_kind": "DeploymentError", "code": hostile, "message": hostile, "hint": hostile, "particulars": [{"message": hostile}]}],
            "error_logs": hostile, "lines": [line(1, hostile)], "stages": [{"stage": "pulling", "started_at": "2026-01-01T00:00:01Z", "outcome": "failed", "took_ms": 18_446_744_073_709_551_615u64, "reason": hostile}],
            "health_checks": [{"name": hostile, "verdict": "failed", "optional": false, "latency_ms": 3, "waited_ms": 5, "attempts": 1, "asked": hostile, "detail": hostile}],
            "validation": {"passed": false, "checks": {hostile: hostile}, "errors": [hostile], "warnings": [hostile]},
            "backup": {"name": hostile, "sha256": hostile}, "rollback": {"reason": hostile},
        }));
        put(server, &id, &told).await.expect(201);
        let browser = Browser::at(server);
        let paths = ["/".to_owned(), "/deployments".to_owned(), format!("/apps/{entity}"), format!("/deployments/{id}"), format!("/deployments/{of_api}"), format!("/?q={}", "%3Cscript%3E%22")];
        for path in &paths {
            let page = browser.get(path).await;
            assert_shows(&page, &["&lt;script&gt;"]);
            for bad in ["<script>alert", "href=\"javascript", "\u{1b}", "\u{202e}", "\" onclick=x"] {
                assert!(!page.text.contains(bad), "{bad:?} in {path}: {}", page.text);
            }
        }
    }

    async fn an_app_has_its_environments_and_its_deployments_by_pages(server: &Server) {
        let entity = server.entity("momentum").await;
        let mut last = String::new();
        for _ in 0..52 {
            last = id_of(&server.deploy(&entity, "staging").await, "deployment_id");
        }
        server.deploy(&entity, "production").await;
        let browser = Browser::at(server);
        let page = browser.get(&format!("/apps/{entity}")).await;
        assert_shows(&page, &["momentum", "staging", "production", "<strong>53</strong> in all", "Page 1 of 2", &format!("href=\"/apps/{entity}?page=2\"")]);
        let filtered = browser.get(&format!("/apps/{entity}?environment=staging&status=active")).await;
        assert_shows(&filtered, &[&last, "<strong>1</strong> in all", "<option value=\"active\" selected>"]);
        let all = browser.get("/deployments?environment=staging&page=2").await;
        assert_shows(&all, &["momentum", "<strong>52</strong> in all", "Page 2 of 2", "href=\"/deployments?environment=staging\""]);
        // A deployment that only the API knows shows what is known.
        let one = browser.get(&format!("/deployments/{last}")).await;
        assert_shows(&one, &["momentum", "active", "test_user", "History", "No difference."]);
        for nowhere in [format!("/deployments/{}", nobody()), format!("/apps/{}", nobody()), "/deployments/x".to_owned(), "/apps/x".to_owned()] {
            let page = browser.get(&nowhere).await;
            assert_eq!(page.status, 404, "{nowhere}");
            assert_is_page(&page);
        }
    }
}
