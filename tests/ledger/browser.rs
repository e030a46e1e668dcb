//! The pages in a real Chromium: by keyboard alone, on a phone, in light and dark.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::chromium::{Chromium, Size, Theme};
use super::dispatch::{GitHub, Ledger, with_tokens};
use super::support::{Database, nobody};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Sends a report of a deployment.
async fn tell(ledger: &Ledger, id: &str, report: &Value) {
    let request = ledger.server.client().put(ledger.server.url(&format!("/api/v1/reports/{id}")));
    let request = request.bearer_auth(&ledger.ci).header("content-type", "application/json");
    let answer = ledger.server.send(request.body(report.to_string())).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

fn report(app: &str, environment: &str, version: &str, status: &str, hours: i64) -> Value {
    let ended = Timestamp::now() - SignedDuration::from_hours(hours);
    let begun = ended - SignedDuration::from_secs(90 + hours % 60);
    // Lead times of an hour to two days, so that there is something to see.
    let committed = ended - SignedDuration::from_hours(1 + hours * 7 % 47);
    json!({
        "schema": 1, "sequence": 1, "app": app, "environment": environment, "version": version,
        "deployment_id": format!("deploy-20260101000000-{hours:08x}"), "action": "deploy", "status": status,
        "started_at": begun.to_string(), "finished_at": ended.to_string(), "committed_at": committed.to_string(),
        "deployed_by": "ada", "config": {"type": "docker-compose"},
        "health_checks": [{"name": "backend", "verdict": "passed", "optional": false, "latency_ms": 3, "waited_ms": 5, "attempts": 1, "asked": "GET /health", "detail": "200"}],
    })
}

/// A quarter of a year of three apps.
async fn quarter(ledger: &Ledger) -> Vec<String> {
    let mut latest = Vec::new();
    for (app, every) in [("shop", 31), ("billing", 77), ("search-index-rebuilder-of-the-long-name", 190)] {
        for environment in ["staging", "production"] {
            let mut id = nobody();
            for number in (0..2160 / every).rev() {
                let hours = number * every + 2;
                let status = match number % 11 {
                    4 => "failed",
                    7 => "rolled_back",
                    _ => "active",
                };
                id = nobody();
                let version = format!("1.{}.0", 2160 / every - number);
                tell(ledger, &id, &report(app, environment, &version, status, hours)).await;
            }
            latest.push(id);
        }
    }
    latest
}

/// A deployment with stages and lines; returns its id.
async fn under_way(ledger: &Ledger, status: &str) -> String {
    let id = nobody();
    tell(ledger, &id, &with_lines(1, status, &["Pulling 3 images", "Error: <b>no</b> such image"])).await;
    id
}

/// A report of `shop` in `staging` with these lines.
fn with_lines(sequence: u32, status: &str, lines: &[&str]) -> Value {
    let mut report = report("shop", "staging", "2.0.0", status, 0);
    let at = report["started_at"].clone();
    let line = |(number, text): (usize, &&str)| json!({"number": number + 1, "at": at, "stage": "pulling", "text": text});
    report["sequence"] = json!(sequence);
    report["lines"] = lines.iter().enumerate().map(line).collect();
    let outcome =
        if status == "deploying" { Value::Null } else { json!(status.replace("active", "succeeded")) };
    report["stages"] = json!([
        {"stage": "validating", "outcome": "succeeded", "started_at": at, "took_ms": 4000},
        {"stage": "pulling", "outcome": outcome, "started_at": at, "took_ms": null},
    ]);
    if status == "deploying" {
        report["finished_at"] = Value::Null;
    }
    if status == "failed" {
        report["error_logs"] = json!("Error: no such image\nmanifest unknown");
    }
    report
}

/// A ledger with tokens and a browser; nothing where there is no browser.
async fn both(github: Option<&GitHub>) -> Option<(Ledger, Chromium)> {
    let address = github.map(GitHub::address).unwrap_or_default();
    let mut arguments = vec!["--rate-limit", "0"];
    let mut variables = Vec::new();
    if github.is_some() {
        arguments.extend(["--github-api", &address, "--rollback-workflow", "shop=acme/shop/rollback.yml"]);
        variables.push(("FFE_LEDGER_GITHUB_TOKEN", "ghp_x"));
    }
    let ledger = with_tokens(&Database::sqlite(), &arguments, &variables).await;
    let browser = Chromium::at(&ledger.server.url("")).await?;
    Some((ledger, browser))
}

/// Signs in by keyboard.
async fn signs_in(browser: &Chromium, token: &str) {
    browser.opens("/").await;
    browser.waits_for("Sign in").await;
    browser.tabs_to("input[name=token]").await;
    browser.presses(token).await;
    browser.presses(ENTER).await;
    browser.waits_for("Sign out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_by_keyboard_and_sees_what_runs_on_a_phone() {
    let Some((ledger, browser)) = both(None).await else { return };
    quarter(&ledger).await;
    browser.looks(Size::Phone, Theme::Light).await;
    signs_in(&browser, &ledger.bob).await;
    browser.waits_for("search-index-rebuilder-of-the-long-name").await;
    browser.is_readable("what runs where, on a phone").await;
    // The first thing that Tab reaches leads past the navigation.
    browser.opens("/").await;
    browser.presses(TAB).await;
    browser.presses(ENTER).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "main");
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_readable_on_a_phone_and_a_desk_in_light_and_dark() {
    let Some((ledger, browser)) = both(None).await else { return };
    let latest = quarter(&ledger).await;
    signs_in(&browser, &ledger.ada).await;
    let bearer =
        ledger.server.client().get(ledger.server.url("/api/v1/entities?name=shop")).bearer_auth(&ledger.ada);
    let shop =
        ledger.server.send(bearer).await.expect(200)["entities"][0]["entity_id"].as_str().unwrap().to_owned();
    let failed = under_way(&ledger, "failed").await;
    let pages = [
        ("overview", "/".to_owned()),
        ("deployments", "/deployments".to_owned()),
        ("app", format!("/apps/{shop}")),
        ("active", format!("/deployments/{}", latest[1])),
        ("failed", format!("/deployments/{failed}")),
        ("dora", "/dora".to_owned()),
        ("dora-weeks", format!("/apps/{shop}/dora?environment=production")),
        ("dora-days", format!("/apps/{shop}/dora?environment=production&days=30&by=day")),
        ("rollback", format!("/deployments/{}/rollback", latest[1])),
    ];
    for (name, path) in &pages {
        browser.opens(path).await;
        for size in [Size::Phone, Size::Desk] {
            for theme in [Theme::Light, Theme::Dark] {
                browser.looks(size, theme).await;
                let what = format!("{name}-{size:?}-{theme:?}").to_lowercase();
                browser.saves(&what).await;
                browser.is_readable(&what).await;
            }
        }
    }
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_asked_for_by_keyboard() {
    let github = GitHub::new().await;
    let Some((ledger, browser)) = both(Some(&github)).await else { return };
    let latest = quarter(&ledger).await;
    signs_in(&browser, &ledger.ada).await;
    browser.opens(&format!("/deployments/{}", latest[1])).await;
    browser.tabs_to("a.button").await;
    browser.presses(ENTER).await;
    browser.waits_for("Will run again").await;
    browser.tabs_to("textarea[name=reason]").await;
    browser.presses("Orders take a minute").await;
    browser.tabs_to("button.primary").await;
    browser.presses(ENTER).await;
    browser.waits_for("workflow started").await;
    browser.saves("rollback-started").await;
    assert_eq!(github.asked()[0]["body"]["inputs"]["reason"], "Orders take a minute");
    browser.is_readable("a rollback that was asked for").await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_appear_while_a_deployment_runs() {
    let Some((ledger, browser)) = both(None).await else { return };
    signs_in(&browser, &ledger.bob).await;
    let id = nobody();
    tell(&ledger, &id, &with_lines(1, "deploying", &["Pulling 3 images"])).await;
    browser.looks(Size::Phone, Theme::Dark).await;
    browser.opens(&format!("/deployments/{id}")).await;
    browser.waits_for("Pulling 3 images").await;
    // What is loaded anew forgets this.
    browser.run("window.loaded = true").await;
    tell(&ledger, &id, &with_lines(2, "deploying", &["Pulling 3 images", "Pulled backend"])).await;
    browser.waits_for("Pulled backend").await;
    browser.saves("live").await;
    browser.is_readable("a deployment that is under way").await;
    tell(
        &ledger,
        &id,
        &with_lines(3, "active", &["Pulling 3 images", "Pulled backend", "Healthy after 3 s"]),
    )
    .await;
    browser.waits_for("Healthy after 3 s").await;
    browser.waits_for("active").await;
    assert_eq!(browser.run("return window.loaded").await, true);
    browser.end().await;
}
