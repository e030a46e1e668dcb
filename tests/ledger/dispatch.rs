//! The rollback button: what the ledger asks GitHub for, what becomes of the answers, and that the record stays as it is.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

use super::pages::{Browser, csrf};
use super::support::{Database, Server, nobody, on_both};
use super::tokens::make;

/// A header that GitHub sends.
type Header = (&'static str, &'static str);
/// Status, headers and message of an answer, and what the page says of it.
type Case<'a> = (u16, &'a [Header], &'a str, &'a str);

/// What a fake GitHub was asked, and what it answers.
#[derive(Clone)]
pub(crate) struct GitHub(Arc<Mutex<Inside>>);

struct Inside {
    address: String,
    asked: Vec<Value>,
    answer: (u16, Vec<Header>, Value),
}

impl GitHub {
    /// Starts one that answers like GitHub: with the run that was started.
    pub(crate) async fn new() -> Self {
        let run = json!({"workflow_run_id": 7, "run_url": "https://api.github.com/repos/acme/shop/actions/runs/7", "html_url": "https://github.com/acme/shop/actions/runs/7"});
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let github =
            Self(Arc::new(Mutex::new(Inside { address, asked: Vec::new(), answer: (200, Vec::new(), run) })));
        let router = Router::new().fallback(answer).with_state(github.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        github
    }

    pub(crate) fn address(&self) -> String {
        self.0.lock().unwrap().address.clone()
    }

    fn answers(&self, status: u16, headers: &[Header], body: Value) {
        self.0.lock().unwrap().answer = (status, headers.to_vec(), body);
    }

    pub(crate) fn asked(&self) -> Vec<Value> {
        self.0.lock().unwrap().asked.clone()
    }
}

async fn answer(
    State(github): State<GitHub>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let names = ["authorization", "accept", "content-type", "user-agent", "x-github-api-version"];
    let mut inside = github.0.lock().unwrap();
    inside.asked.push(json!({
        "method": method.as_str(), "path": uri.path(), "body": serde_json::from_slice::<Value>(&body).unwrap(),
        "headers": names.map(|name| (name, header(name))).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    }));
    let (status, told, body) = inside.answer.clone();
    let mut answered = HeaderMap::new();
    for (name, value) in told {
        answered.insert(name, value.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), answered, body.to_string())
}

/// The form of the request's body as GitHub publishes it (operation actions/create-workflow-dispatch of
/// github/rest-api-description, API versions 2022-11-28 and 2026-03-10), and GitHub's own bound of an input's values.
fn published() -> Value {
    json!({
        "type": "object", "required": ["ref"], "additionalProperties": false,
        "properties": {
            "ref": {"type": "string"},
            "inputs": {"type": "object", "maxProperties": 25, "additionalProperties": {"type": "string", "maxLength": 65535}},
        },
    })
}

/// A ledger, and tokens of those who report, deploy and look.
pub(crate) struct Ledger {
    pub(crate) server: Server,
    pub(crate) ci: String,
    pub(crate) ada: String,
    pub(crate) bob: String,
}

/// Tokens count from the start of a server.
pub(crate) async fn with_tokens(
    database: &Database,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Ledger {
    let ci = make(database, "ci", &["report"]).await;
    let ada = make(database, "ada", &["deploy"]).await;
    let bob = make(database, "bob", &["read"]).await;
    let server = Server::started(database.clone(), arguments, variables).await;
    Ledger { server, ci, ada, bob }
}

/// A ledger that may start `rollback.yml` of acme/shop for the app shop.
async fn ledger(bare: &Server, github: &GitHub, variables: &[(&str, &str)]) -> Ledger {
    let workflow = "shop=acme/shop/rollback.yml@main";
    let arguments = ["--github-api", &github.address(), "--rollback-workflow", workflow];
    with_tokens(bare.database(), &arguments, variables).await
}

const TOKEN: (&str, &str) = ("FFE_LEDGER_GITHUB_TOKEN", "ghp_MARKER");

/// Tells of a deployment of an app; returns its id.
pub(crate) async fn report(server: &Server, token: &str, app: &str, version: &str, release: &str) -> String {
    let id = nobody();
    let report = json!({
        "schema": 1, "sequence": 1, "app": app, "environment": "production", "version": version,
        "deployment_id": release, "action": "deploy", "status": "active", "started_at": "2026-01-01T00:00:00Z",
        "finished_at": null, "deployed_by": "ada", "config": {}, "ci_url": "https://github.com/evil/evil/actions/runs/1",
    });
    let request = server.client().put(server.url(&format!("/api/v1/reports/{id}"))).bearer_auth(token);
    let request = request.header("content-type", "application/json").body(report.to_string());
    server.send(request).await.expect(201);
    id
}

/// Someone signed in who may deploy, and the page of the second of two deployments.
async fn signed_in<'a>(ledger: &'a Ledger, app: &str) -> (Browser<'a>, String) {
    let Ledger { server, ci, ada, .. } = ledger;
    report(server, ci, app, "1.0.0", "deploy-20260101000000-00000001").await;
    let second = report(server, ci, app, "1.1.0", "deploy-20260102000000-00000002").await;
    let mut browser = Browser::at(server);
    assert_eq!(browser.sign_in(ada, "/").await.status, 303);
    (browser, format!("/deployments/{second}/rollback"))
}

async fn status_in(browser: &Browser<'_>, place: &str) -> bool {
    browser.get(place).await.text.contains("Runs now")
}

on_both! {
    async fn the_button_starts_the_workflow_of_the_app_and_changes_no_record(bare: &Server) {
        let github = GitHub::new().await;
        let ledger = ledger(bare, &github, &[TOKEN]).await;
        let (browser, place) = signed_in(&ledger, "shop").await;
        let page = browser.get(&place).await;
        assert!(page.text.contains("1.0.0") && page.text.contains("Start the rollback workflow"), "{}", page.text);
        let proof = csrf(&page);
        let fields = [("csrf", proof.as_str()), ("reason", "slow since 3:00, it's <bad>")];
        let sent = browser.post(&place, &fields).await;
        assert_eq!((sent.status, sent.header("location")), (303, place.as_str()), "{}", sent.text);
        let asked = github.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0]["path"], "/repos/acme/shop/actions/workflows/rollback.yml/dispatches");
        assert_eq!(asked[0]["method"], "POST");
        assert_eq!(asked[0]["headers"]["authorization"], "Bearer ghp_MARKER");
        assert_eq!(asked[0]["headers"]["accept"], "application/vnd.github+json");
        // Another address than GitHub's own is a server of one's own, which knows this version.
        assert_eq!(asked[0]["headers"]["x-github-api-version"], "2022-11-28");
        assert!(asked[0]["headers"]["user-agent"].as_str().unwrap().starts_with("ffe-ledger/"));
        let body = &asked[0]["body"];
        jsonschema::validate(&published(), body).unwrap();
        assert_eq!(body["ref"], "main");
        assert_eq!(body["inputs"], json!({
            "app": "shop", "environment": "production", "to": "deploy-20260101000000-00000001",
            "reason": "slow since 3:00, it's <bad>", "requested_by": "ada",
        }));
        let page = browser.get(&place).await.text;
        assert!(page.contains("workflow started") && page.contains("href=\"https://github.com/acme/shop/actions/runs/7\""), "{page}");
        assert!(page.contains("it's &lt;bad&gt;") && page.contains("Runs now"), "{page}");
        // A second one within minutes has to be meant.
        let again = browser.post(&place, &fields).await;
        assert!(again.status == 409 && again.text.contains("nothing was done"), "{}", again.text);
        assert_eq!(github.asked().len(), 1);
        let meant = [fields[0], fields[1], ("again", "yes")];
        assert_eq!(browser.post(&place, &meant).await.status, 303);
        assert_eq!(github.asked().len(), 2);
        // Who asked, and why, is kept for good, and said in the log; the token is not.
        let pool = ledger.server.database().open().await;
        for text in ["UPDATE rollback_requests SET reason = 'x'", "DELETE FROM rollback_requests"] {
            let error = sqlx::query(text).execute(&pool).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{error}");
        }
        ledger.server.wait_for_line("a rollback was asked for");
        assert!(!ledger.server.log().concat().contains("ghp_MARKER"));
    }

    async fn what_github_refuses_is_said_with_what_to_do_and_nothing_is_changed(bare: &Server) {
        let github = GitHub::new().await;
        let ledger = ledger(bare, &github, &[TOKEN]).await;
        let (browser, place) = signed_in(&ledger, "shop").await;
        let proof = csrf(&browser.get(&place).await);
        let fields = [("csrf", proof.as_str()), ("reason", "slow"), ("again", "yes")];
        let limited = [("retry-after", "42")];
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")];
        let cases: [Case; 8] = [
            (401, &[], "Bad credentials", "FFE_LEDGER_GITHUB_TOKEN"),
            (403, &[], "Resource not accessible by personal access token", "Actions: write"),
            (403, &spent, "API rate limit exceeded", "asked again in 1 s"),
            (429, &limited, "secondary rate limit", "asked again in 42 s"),
            (404, &[], "Not Found", ".github/workflows/rollback.yml"),
            (422, &[], "No ref found for: main", "workflow_dispatch"),
            (307, &[], "Moved", "by hand"),
            (502, &[], "Server Error", "Look at the runs"),
        ];
        for (status, headers, message, advice) in cases {
            github.answers(status, headers, json!({"message": message, "documentation_url": "https://docs.github.com"}));
            let sent = browser.post(&place, &fields).await;
            assert_eq!(sent.status, 502, "{status}: {}", sent.text);
            assert!(sent.text.contains(message) && sent.text.contains(advice), "{status}: {}", sent.text);
            assert!(sent.text.contains("The record was not changed") && sent.text.contains("ffe-deploy rollback production"), "{}", sent.text);
            assert!(status_in(&browser, &place).await);
        }
        assert!(browser.get(&place).await.text.contains("not known whether started"));
        // The address that a run is said to have is no link unless it is one of the web.
        github.answers(200, &[], json!({"html_url": "javascript:alert(1)"}));
        assert_eq!(browser.post(&place, &fields).await.status, 303);
        assert!(!browser.get(&place).await.text.contains("javascript:"));
        // GitHub Enterprise Server says no more than that it is done.
        github.answers(204, &[], Value::Null);
        assert_eq!(browser.post(&place, &fields).await.status, 303);
    }

    async fn a_github_that_is_not_there_leaves_everything_as_it_is(bare: &Server) {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        let arguments = ["--github-api", &address, "--rollback-workflow", "*=acme/all/rollback.yml"];
        let ledger = with_tokens(bare.database(), &arguments, &[TOKEN]).await;
        let (browser, place) = signed_in(&ledger, "shop").await;
        let proof = csrf(&browser.get(&place).await);
        let sent = browser.post(&place, &[("csrf", &proof), ("reason", "slow")]).await;
        assert!(sent.status == 502 && sent.text.contains("could not be reached") && sent.text.contains("still runs"), "{}", sent.text);
        // It was not started for certain, so nothing has to be meant twice.
        assert!(!browser.get(&place).await.text.contains("Ask again, although"));
    }

    async fn without_a_token_or_for_an_app_of_no_workflow_the_command_is_shown(bare: &Server) {
        let github = GitHub::new().await;
        let ledger = ledger(bare, &github, &[]).await;
        let (browser, place) = signed_in(&ledger, "shop").await;
        let page = browser.get(&place).await;
        assert!(page.text.contains("Show the command") && page.text.contains("no token for GitHub"), "{}", page.text);
        let proof = csrf(&page);
        let reason = "it's $(touch x) `y` \"z\"\nand \\n more";
        let shown = browser.post(&place, &[("csrf", &proof), ("reason", reason)]).await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        assert_eq!(words_of(&shown.text, "ffe-deploy "), [
            "rollback", "production", "--app", "shop", "--to", "deploy-20260101000000-00000001", "--reason", reason,
        ]);
        let started = words_of(&shown.text, "gh ");
        assert_eq!(started[..6], ["workflow", "run", "rollback.yml", "--repo", "acme/shop", "--ref"]);
        assert!(started.contains(&format!("reason={reason}")), "{started:?}");
        assert!(github.asked().is_empty());
    }

    async fn a_report_cannot_choose_what_is_started(bare: &Server) {
        let github = GitHub::new().await;
        let ledger = ledger(bare, &github, &[TOKEN]).await;
        // Its reports name a repository; only the ledger's own list counts.
        let (browser, place) = signed_in(&ledger, "other").await;
        let page = browser.get(&place).await;
        assert!(page.text.contains("No rollback workflow is configured"), "{}", page.text);
        let proof = csrf(&page);
        let shown = browser.post(&place, &[("csrf", &proof), ("reason", "slow")]).await;
        assert!(shown.status == 200 && !shown.text.contains("evil"), "{}", shown.text);
        assert!(github.asked().is_empty());
    }

    async fn it_takes_the_scope_a_form_of_ours_and_a_reason(bare: &Server) {
        let github = GitHub::new().await;
        let ledger = ledger(bare, &github, &[TOKEN]).await;
        let (browser, place) = signed_in(&ledger, "shop").await;
        let proof = csrf(&browser.get(&place).await);
        assert_eq!(browser.post(&place, &[("csrf", "x"), ("reason", "slow")]).await.status, 403);
        for reason in ["", "  \n", "\u{1b}[2J", &"x".repeat(1001)] {
            let refused = browser.post(&place, &[("csrf", &proof), ("reason", reason)]).await;
            assert!(refused.status == 422 && refused.text.contains("role=\"alert\""), "{}", refused.text);
        }
        let foreign = [("csrf", proof.as_str()), ("reason", "slow"), ("target", "nothing")];
        assert_eq!(browser.post(&place, &foreign).await.status, 409);
        let mut looks = Browser::at(&ledger.server);
        looks.sign_in(&ledger.bob, "/").await;
        assert_eq!(looks.get(&place).await.status, 403);
        let proof = csrf(&looks.get("/").await);
        assert_eq!(looks.post(&place, &[("csrf", &proof), ("reason", "slow")]).await.status, 403);
        assert!(github.asked().is_empty());
    }

    async fn where_nothing_reports_the_record_changes(server: &Server) {
        let entity = server.entity("calc").await;
        let first = server.deploy(&entity, "staging").await["deployment_id"].as_str().unwrap().to_owned();
        let second = server.deploy(&entity, "staging").await["deployment_id"].as_str().unwrap().to_owned();
        let place = format!("/deployments/{second}/rollback");
        let browser = Browser::at(server);
        let page = browser.get(&place).await;
        assert!(page.text.contains("nothing on any host"), "{}", page.text);
        let sent = browser.post(&place, &[("csrf", &csrf(&page)), ("reason", "slow")]).await;
        assert_eq!((sent.status, sent.header("location")), (303, format!("/deployments/{second}").as_str()), "{}", sent.text);
        assert_eq!((server.status_of(&first).await, server.status_of(&second).await), ("active".to_owned(), "rolled_back".to_owned()));
        let old = server.get(&format!("/api/v1/deployments/{second}")).await.expect(200);
        assert_eq!(old["rollback_reason"], "slow");
        // What is not active any more has no form.
        let page = browser.get(&place).await;
        assert!(page.text.contains("Only what is active"), "{}", page.text);
        let only = format!("/deployments/{first}/rollback");
        assert!(browser.get(&only).await.text.contains("nothing to go back to"));
    }
}

/// The words that a shell makes of a command of the page, after its first one.
fn words_of(page: &str, program: &str) -> Vec<String> {
    let command =
        page.split("<code>").find(|part| part.starts_with(program)).unwrap().split("</code>").next().unwrap();
    let text =
        command.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let name = program.trim();
    let script = format!("{name}() {{ printf '%s\\0' \"$@\"; }}\n{text}");
    // A function's name has no hyphen in every shell.
    let script = script.replace("ffe-deploy", "ffe_deploy");
    let ended = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_about_github_is_said_at_the_start() {
    for (arguments, wanted) in [
        (["--rollback-workflow", "shop=acme/../x.yml"], "is no workflow"),
        (["--github-api", "http://github.example"], "begins with https://"),
    ] {
        let ended = super::support::command().arg("serve").args(arguments).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && told.contains(wanted), "{told}");
    }
}
