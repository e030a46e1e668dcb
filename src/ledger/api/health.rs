//! `/health`: whether the service lives, and whether what it depends on does (R003-19 to R003-23, C21).

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::error::json_answer;
use crate::ledger::Shared;
use crate::ledger::store::{Kind, now, time_text};

/// How long the database may take to answer before it counts as unhealthy.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers that the service runs; nothing is asked (R003-21).
pub(super) async fn health(State(ledger): State<Shared>) -> Response {
    json_answer(StatusCode::OK, &status(&ledger, "healthy", Map::new()))
}

/// Answers that the process lives (R003-23).
pub(super) async fn live() -> Response {
    json_answer(StatusCode::OK, &json!({ "status": "alive" }))
}

/// Answers whether requests can be served: 503 when a dependency is down (R003-22).
pub(super) async fn ready(State(ledger): State<Shared>) -> Response {
    let (code, overall, checks) = checks(&ledger).await;
    json_answer(code, &status(&ledger, overall, checks))
}

/// The same, and what the service is made of (R004-07).
pub(super) async fn detailed(State(ledger): State<Shared>) -> Response {
    let (code, overall, checks) = checks(&ledger).await;
    let mut answer = status(&ledger, overall, checks);
    let kind = match ledger.store.kind() {
        Kind::Sqlite => "sqlite",
        Kind::Postgres => "postgres",
    };
    answer["database"] = kind.into();
    json_answer(code, &answer)
}

async fn checks(ledger: &Shared) -> (StatusCode, &'static str, Map<String, Value>) {
    let mut checks = Map::new();
    let asked = Instant::now();
    let error = match timeout(PATIENCE, ledger.store.ping()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let is_down = error.is_some();
    checks.insert("database".to_owned(), check("database", error, asked.elapsed()));
    checks.insert("nats".to_owned(), ledger.nats.check());
    // Events wait in the outbox while NATS is away: that degrades, and stops no request.
    let is_degraded = checks["nats"]["status"] == "unhealthy";
    match (is_down, is_degraded) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", checks),
        (false, true) => (StatusCode::OK, "degraded", checks),
        (false, false) => (StatusCode::OK, "healthy", checks),
    }
}

fn check(name: &str, error: Option<String>, took: Duration) -> Value {
    let status = if error.is_some() { "unhealthy" } else { "healthy" };
    json!({ "name": name, "status": status, "latency_ms": took.as_secs_f64() * 1000.0, "error": error })
}

fn status(ledger: &Shared, overall: &str, checks: Map<String, Value>) -> Value {
    json!({
        "status": overall,
        "timestamp": time_text(now()),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": ledger.started.elapsed().as_secs_f64(),
        "checks": checks,
    })
}
