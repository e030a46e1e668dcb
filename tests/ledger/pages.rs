//! The pages: who may see them, what a form must carry, and that nothing foreign runs in them.

use serde_json::json;

use super::support::{Answer, Database, Server, command, on_both};
use super::tokens::make;

/// A browser: it asks for HTML, follows nothing by itself, and keeps its cookie.
pub(crate) struct Browser<'a> {
    server: &'a Server,
    client: reqwest::Client,
    pub(crate) cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn at(server: &'a Server) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { server, client: client.build().unwrap(), cookie: String::new() }
    }

    fn dressed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("accept", "text/html,application/xhtml+xml");
        if self.cookie.is_empty() { request } else { request.header("cookie", &self.cookie) }
    }

    pub(crate) fn asks(&self, path: &str) -> reqwest::RequestBuilder {
        self.dressed(self.client.get(self.server.url(path)))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.server.send(self.asks(path)).await
    }

    pub(crate) fn sends(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.client.post(self.server.url(path)).body(body.join("&"));
        self.dressed(request.header("content-type", "application/x-www-form-urlencoded"))
    }

    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.server.send(self.sends(path, fields)).await
    }

    /// Signs in with a token, and keeps the cookie.
    pub(crate) async fn sign_in(&mut self, token: &str, next: &str) -> Answer {
        let csrf = csrf(&self.get("/sign-in").await);
        let answer = self.post("/sign-in", &[("csrf", &csrf), ("token", token), ("next", next)]).await;
        self.cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        answer
    }
}

/// What the first form of a page carries.
pub(crate) fn csrf(page: &Answer) -> String {
    let rest = page.text.split("name=\"csrf\" value=\"").nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// What every page has, and what none may have.
pub(crate) fn assert_is_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{answer:?}");
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(answer.header("cache-control"), "private, no-store");
    for bad in ["<script>", " style=", " onclick=\"", "href=\"javascript:", "<style"] {
        assert!(!answer.text.contains(bad), "{bad} in {}", answer.text);
    }
    for needed in ["<html lang=\"en\"", "<main", "href=\"#main\"", "name=\"viewport\"", "<h1"] {
        assert!(answer.text.contains(needed), "no {needed} in {}", answer.text);
    }
    assert_eq!(answer.text.matches("<h1").count(), 1, "{}", answer.text);
}

on_both! {
    async fn whoever_signs_in_returns_to_the_page_that_was_asked_for(server: &Server) {
        let database = server.database().clone();
        let token = make(&database, "ada", &["read"]).await;
        let server = Server::on(database.clone()).await;
        let mut browser = Browser::at(&server);
        let sent = browser.get("/?q=shop").await;
        assert_eq!((sent.status, sent.header("location")), (303, "/sign-in?next=%2F%3Fq%3Dshop"));
        assert_is_page(&browser.get("/sign-in").await);
        let begun = browser.sign_in(&token, "/?q=shop").await;
        assert_eq!((begun.status, begun.header("location")), (303, "/?q=shop"));
        let cookie = begun.header("set-cookie").to_owned();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200") && !cookie.contains(&token), "{cookie}");
        let page = browser.get("/").await;
        assert_eq!(page.status, 200);
        assert_is_page(&page);
        assert!(page.text.contains("Signed in as") && page.text.contains("ada"), "{}", page.text);
        // The cookie counts at pages only.
        let denied = server.send(browser.asks("/api/v1/entities")).await;
        assert_eq!(denied.status, 401);
        // Another site's address is none to return to.
        for foreign in ["https://evil.example/", "//evil.example", "/\\evil.example"] {
            assert_eq!(Browser::at(&server).sign_in(&token, foreign).await.header("location"), "/", "{foreign}");
        }
        let ended = browser.post("/sign-out", &[("csrf", &csrf(&page))]).await;
        assert_eq!((ended.status, ended.header("location")), (303, "/sign-in"));
        assert!(ended.header("set-cookie").contains("Max-Age=0"));
        // What the browser kept of it is worth nothing.
        assert_eq!(browser.get("/").await.status, 303);
        let line = server.wait_for_line("\"route\":\"/\"");
        assert!(line.contains("\"target\":\"access\""), "{line}");
        assert!(server.log().iter().any(|line| line.contains("\"route\":\"/\"") && line.contains("\"caller\":\"ada\"")));
        assert!(!server.log().iter().any(|line| line.contains(&token)));
    }

    async fn whoever_follows_a_link_from_another_site_is_asked_again_from_here(server: &Server) {
        let database = server.database().clone();
        let token = make(&database, "ada", &["read"]).await;
        let server = Server::on(database.clone()).await;
        let mut browser = Browser::at(&server);
        // The browser sends no cookie then, though there is one.
        let link = browser.asks("/deployments?status=failed").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
        let again = server.send(link).await;
        assert_eq!((again.status, again.header("refresh")), (200, "0; url=/deployments?status=failed"));
        assert_is_page(&again);
        browser.sign_in(&token, "/").await;
        let page = browser.asks("/deployments?status=failed").header("sec-fetch-site", "same-origin");
        assert_eq!(server.send(page).await.status, 200);
    }

    async fn a_session_ends_with_its_token(server: &Server) {
        let database = server.database().clone();
        let token = make(&database, "ada", &["read"]).await;
        let server = Server::with(database.clone(), &["--rate-limit", "0"]).await;
        let mut browser = Browser::at(&server);
        browser.sign_in(&token, "/").await;
        assert_eq!(browser.get("/").await.status, 200);
        let revoked = command().args(["token", "revoke", "ada", "--database", &database.address()]).status().unwrap();
        assert!(revoked.success());
        while browser.get("/").await.status == 200 {}
        assert_eq!(browser.get("/").await.header("location"), "/sign-in");
        let again = browser.sign_in(&token, "/").await;
        assert!(again.status == 401 && again.text.contains("not known, or was revoked"), "{again:?}");
    }

    async fn a_form_needs_what_the_page_put_into_it(server: &Server) {
        let database = server.database().clone();
        let token = make(&database, "ada", &["read"]).await;
        let server = Server::on(database.clone()).await;
        let [mut ada, other] = [Browser::at(&server), Browser::at(&server)];
        ada.sign_in(&token, "/").await;
        let (mine, strange) = (csrf(&ada.get("/").await), csrf(&other.get("/sign-in").await));
        assert!(mine.len() == 43 && strange.len() == 43 && mine != strange);
        for wrong in ["", "x", &strange] {
            let refused = ada.post("/sign-out", &[("csrf", wrong)]).await;
            assert_eq!(refused.status, 403);
            assert_is_page(&refused);
        }
        // A page of another site cannot send it either, whatever it knows.
        for (name, value) in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "http://evil.example"), ("origin", "null")] {
            let refused = server.send(ada.sends("/sign-out", &[("csrf", &mine)]).header(name, value)).await;
            assert_eq!(refused.status, 403, "{name}: {value}");
        }
        assert_eq!(ada.get("/").await.status, 200);
        let own = ada.sends("/sign-out", &[("csrf", &mine)]).header("sec-fetch-site", "same-origin");
        assert_eq!(server.send(own).await.status, 303);
    }

    async fn without_tokens_only_this_machine_and_its_own_pages_are_answered(server: &Server) {
        let browser = Browser::at(server);
        let page = browser.get("/").await;
        assert_eq!(page.status, 200);
        assert_is_page(&page);
        assert!(page.text.contains("Nothing is known yet") && !page.text.contains("Sign out"), "{}", page.text);
        // A name that somebody else let point to this machine.
        for path in ["/", "/api/v1/entities"] {
            let refused = server.send(browser.asks(path).header("host", "evil.example")).await;
            assert!(refused.status == 403 && refused.text.contains("localhost and 127.0.0.1 only"), "{refused:?}");
        }
        let port = server.url("").rsplit(':').next().unwrap().to_owned();
        assert_eq!(server.send(browser.asks("/").header("host", format!("localhost:{port}"))).await.status, 200);
        // A page of another site sends a form, which needs no leave of ours.
        let body = json!({ "name": "x", "type": "strategy" }).to_string();
        let sent = server.client().post(server.url("/api/v1/entities")).header("content-type", "text/plain").body(body);
        let refused = server.send(sent.header("sec-fetch-site", "cross-site")).await;
        assert!(refused.status == 403 && refused.text.contains("nothing was done"), "{refused:?}");
        assert_eq!(server.get("/api/v1/entities").await.json()["total"], 0);
    }

    async fn errors_are_pages_for_people_and_json_for_programs(server: &Server) {
        let browser = Browser::at(server);
        let page = browser.get("/nowhere").await;
        assert_eq!(page.status, 404);
        assert_is_page(&page);
        assert_eq!(server.get("/nowhere").await.expect(404)["detail"], "Not Found");
        assert_eq!(browser.get("/api/v1/nowhere").await.json()["detail"], "Not Found");
        let wrong = browser.post("/", &[]).await;
        assert_eq!(wrong.status, 405);
        assert_is_page(&wrong);
    }

    async fn whoever_fails_to_sign_in_too_often_waits(server: &Server) {
        let database = server.database().clone();
        let token = make(&database, "ada", &["report"]).await;
        let server = Server::on(database.clone()).await;
        let mut browser = Browser::at(&server);
        let lacking = browser.sign_in(&token, "/").await;
        assert!(lacking.status == 403 && lacking.text.contains("lacks the scope read"), "{lacking:?}");
        for _ in 0..10 {
            let refused = browser.sign_in("ffel_wrong", "/").await;
            assert!(refused.status == 401 && refused.text.contains("role=\"alert\""), "{refused:?}");
        }
        let refused = browser.sign_in("ffel_wrong", "/").await;
        assert_eq!(refused.status, 429);
        assert!((1..=61).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn style_and_script_are_kept_by_the_browser_and_change_their_address_with_their_content() {
    let server = Server::on(Database::sqlite()).await;
    let page = server.get("/").await;
    for (path, kind) in [("/pages/style.css", "text/css"), ("/pages/page.js", "text/javascript")] {
        let link = page.text.split('"').find(|part| part.starts_with(path)).unwrap();
        let asset = server.get(link).await;
        assert!(
            asset.status == 200 && link.contains('?') && asset.header("content-type").starts_with(kind),
            "{link}"
        );
        assert!(asset.header("cache-control").contains("immutable"));
        assert!(!asset.text.contains("://"), "{path} asks for something from elsewhere");
    }
}
