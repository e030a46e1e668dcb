//! The log of a deployment: its last lines in the page, and those that come while somebody looks, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use maud::{Markup, html};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::session::Who;
use super::words::clock;
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::extract::Id;
use crate::ledger::api::fields::Query;
use crate::ledger::store::{Deployment, KeptLine, StoreError};
use crate::model::lifecycle::DeploymentStatus::{Deploying, Pending};
use crate::model::lifecycle::LAST_LINE;
use crate::text::harmless;

/// Lines that a page shows at once.
pub(super) const SHOWN: i64 = 500;
/// How long a stream waits for a bell before it looks by itself: another process may have written.
const LOOK: Duration = Duration::from_secs(1);
/// Shortest time between two looks: where much is written the bell rings all the time.
const PAUSE: Duration = Duration::from_millis(200);
/// Streams at once; each of them asks the database every second.
const STREAMS: usize = 200;

/// How many may still look live.
#[derive(Debug)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

/// Whether there may be more of it.
pub(super) fn is_under_way(deployment: &Deployment) -> bool {
    matches!(deployment.status, Pending | Deploying)
}

/// Returns the section with the log's last lines, or those before a number.
pub(super) fn section(deployment: &Deployment, lines: &[KeptLine], before: Option<i64>) -> Markup {
    let is_live = is_under_way(deployment) && before.is_none();
    let path = format!("/deployments/{}", deployment.deployment_id);
    let first = lines.first().map_or(1, |line| line.number);
    let last = lines.last().map_or(0, |line| line.number);
    html! {
        @if is_live || !lines.is_empty() || before.is_some() {
            section.card aria-labelledby="log-title" {
                div.head {
                    h2 #log-title { "Log" }
                    @if is_live {
                        p.live #live role="status" { noscript { a href=(path) { "Load anew" } " to see what came since" } }
                    }
                }
                @if first > 1 { p { a href={ (path) "?before=" (first) "#log-title" } { "Earlier lines" } } }
                // Read aloud as it comes: a log is polite by its role.
                div.log #log role="log" aria-labelledby="log-title" tabindex="0"
                    data-live=[is_live.then(|| format!("{path}/live"))] data-after=(last) data-end[before.is_none()] {
                    @for (index, line) in lines.iter().enumerate() {
                        @let stage_before = index.checked_sub(1).and_then(|index| lines[index].stage.as_deref());
                        @if line.stage.is_some() && line.stage.as_deref() != stage_before {
                            div.stage-name { (line.stage.as_deref().unwrap_or_default().replace('_', " ")) }
                        }
                        div.line { span.at { (clock(line.at)) } " " span.text { (harmless(&line.text)) } }
                    }
                    @if lines.is_empty() { p.quiet.waiting { "No lines yet." } }
                }
                @if before.is_some() { p { a href={ (path) "#log-title" } { "Last lines" } } }
            }
        }
    }
}

/// Answers with what a deployment says from now on, and with each change of it, until it ends.
pub(super) async fn live(
    State(ledger): State<Shared>,
    who: Who,
    Id(id): Id,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::not_found("Deployment", &id);
    let uuid = Uuid::parse_str(&id).map_err(|_| unknown())?;
    let deployment = ledger.store.deployment(uuid).await?.ok_or_else(unknown)?;
    let place = ledger.streams.0.clone().try_acquire_owned();
    let place = place.map_err(|_| {
        let text = format!("{STREAMS} people look live already; load the page anew instead");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(10)
    })?;
    // What a browser sends when it connects again; what is no number is no place.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let asked = Query::of(raw.as_deref()).text("after").and_then(|text| text.parse().ok());
    let after = last.or(asked).unwrap_or(0).clamp(0, i64::from(LAST_LINE));
    let seen = Seen { id: uuid, after, known: deployment.updated_at, is_over: false };
    let stream = Sse::new(stream(ledger, who, seen, place));
    let mut response = stream.keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response();
    // nginx would keep what comes until it has enough.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

/// What a stream has told.
struct Seen {
    id: Uuid,
    after: i64,
    known: i64,
    is_over: bool,
}

fn stream(
    ledger: Shared,
    who: Who,
    seen: Seen,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold((ledger, who, seen, place), |(ledger, who, mut seen, place)| async move {
        loop {
            let mut ending = ledger.ending.clone();
            if seen.is_over || *ending.borrow() || !who.still_counts(&ledger) {
                return None;
            }
            let written = ledger.store.written();
            let bell = written.notified();
            match next(&ledger, &mut seen).await {
                Ok(Some(event)) => return Some((Ok(event), (ledger, who, seen, place))),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a live log ends");
                    return None;
                }
            }
            tokio::select! {
                // Whether it rang or not, it is looked.
                () = async { drop(timeout(LOOK, bell).await); sleep(PAUSE).await } => {}
                _ = ending.wait_for(|ending| *ending) => return None,
            }
        }
    })
}

/// Returns the next thing to tell: lines, then that something changed, then that it is over.
async fn next(ledger: &Shared, seen: &mut Seen) -> Result<Option<Event>, StoreError> {
    // Looked at first: lines that came with its end are there then.
    let deployment = ledger.store.deployment(seen.id).await?;
    let lines = ledger.store.lines(seen.id, seen.after, SHOWN).await?;
    if let Some(last) = lines.last() {
        seen.after = last.number;
        let shown: Vec<_> = lines.iter().map(shown).collect();
        let event = Event::default().event("lines").id(seen.after.to_string());
        return Ok(Some(event.data(json!(shown).to_string())));
    }
    let Some(deployment) = deployment.filter(is_under_way) else {
        seen.is_over = true;
        return Ok(Some(Event::default().event("over").data("{}")));
    };
    if deployment.updated_at != seen.known {
        seen.known = deployment.updated_at;
        return Ok(Some(Event::default().event("changed").data("{}")));
    }
    Ok(None)
}

fn shown(line: &KeptLine) -> serde_json::Value {
    let stage = line.stage.as_ref().map(|stage| stage.replace('_', " "));
    json!({ "at": clock(line.at), "stage": stage, "text": harmless(&line.text) })
}
