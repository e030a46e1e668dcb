//! `/api/v1/events`: the outbox as a feed, for those who have no NATS. A page of JSON, or server-sent events that go on
//! after `Last-Event-ID`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::answers::{Failure, WrongQuery};
use super::error::{ApiError, json_answer};
use super::fields::Query;
use crate::ledger::Shared;
use crate::ledger::guard::Admitted;
use crate::ledger::store::{Json, OutboxEvent};

/// How long a stream waits for a bell before it looks by itself: another process may have written.
const LOOK: Duration = Duration::from_secs(1);
/// How many events a stream reads at once.
const AT_ONCE: i64 = 100;

/// Events after a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventList {
    /// In order.
    events: Vec<EventShown>,
    /// Sequence of the last one of this page; what to ask after next. Without events, what was asked after.
    last: i64,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventShown {
    /// Its place among all events: from 1, without gaps.
    sequence: i64,
    /// What it is published under, after the prefix.
    subject: String,
    /// The CloudEvent.
    #[schema(value_type = Object)]
    event: Json,
}

/// Lists events in order; with `Accept: text/event-stream` it goes on as they happen.
#[utoipa::path(get, path = "/events", tag = "Events", params(
    ("after" = Option<i64>, Query, minimum = 0, maximum = 9_007_199_254_740_991i64, description = "Those after this sequence; 0 by default"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "At most so many; 100 by default"),
), responses(
    (status = 200, description = "Events", body = EventList),
    WrongQuery,
    Failure,
))]
pub(super) async fn list(
    State(ledger): State<Shared>,
    Extension(admitted): Extension<Admitted>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut query = Query::of(raw.as_deref());
    let after = query.number("after", 0, 0..=9_007_199_254_740_991);
    let limit = query.number("limit", 100, 1..=1000);
    query.finish()?;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::ACCEPT).is_some_and(|accepted| accepted.contains("text/event-stream")) {
        // What a browser sends when it connects again; what is no number is no place.
        let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
        let stream = Sse::new(stream(ledger, admitted, last.unwrap_or(after)));
        return Ok(stream.keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response());
    }
    let found = ledger.store.events_after(after, limit).await?;
    let last = found.last().map_or(after, |event| event.sequence);
    let events = found.into_iter().filter_map(shown).collect();
    Ok(json_answer(StatusCode::OK, &EventList { events, last }))
}

fn shown(event: OutboxEvent) -> Option<EventShown> {
    // Written by this program as JSON.
    let body = Json::new(event.body).ok()?;
    Some(EventShown { sequence: event.sequence, subject: event.subject, event: body })
}

/// Events as they happen, until the service or the token ends, or the database does not answer: the client comes again by
/// itself.
fn stream(ledger: Shared, admitted: Admitted, after: i64) -> impl Stream<Item = Result<Event, Infallible>> {
    let start = (ledger, after, Vec::<OutboxEvent>::new().into_iter());
    unfold(start, move |(ledger, mut after, mut waiting)| async move {
        loop {
            if let Some(event) = waiting.next() {
                after = event.sequence;
                let shown = Event::default().id(after.to_string()).event(event.kind).data(event.body);
                return Some((Ok(shown), (ledger, after, waiting)));
            }
            let mut ending = ledger.ending.clone();
            if *ending.borrow() || !admitted.still_counts(&ledger.guard) {
                return None;
            }
            let written = ledger.store.written();
            let bell = written.notified();
            let found = match ledger.store.events_after(after, AT_ONCE).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends");
                    return None;
                }
            };
            if found.is_empty() {
                tokio::select! {
                    // Whether it rang or not, it is looked.
                    _ = timeout(LOOK, bell) => {}
                    _ = ending.wait_for(|ending| *ending) => return None,
                }
            }
            waiting = found.into_iter();
        }
    })
}
