//! What happens around every request: its id, its time limit, headers of the answer, and its line in the access log.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::error::ApiError;
use crate::ledger::Shared;

/// Names a request in its answer and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a request.
const LONGEST_ID: usize = 128;

/// Headers of every answer: nothing here is for another site to frame, sniff or run.
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Serves a request with all of it.
pub(super) async fn around(State(ledger): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let span = tracing::error_span!("request", request_id = id.to_str().unwrap_or_default());
    let limit = ledger.settings.request_timeout;
    let answered = timeout(limit, next.run(request)).instrument(span).await;
    let mut response = answered.unwrap_or_else(|_| {
        let text =
            format!("No answer within {} s; whether something was changed is not known", limit.as_secs());
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1).into_response()
    });
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let took_ms = began.elapsed().as_secs_f64() * 1000.0;
    tracing::info!(
        target: "access",
        request_id = id.to_str().unwrap_or_default(),
        method = method.as_str(),
        path,
        route = route.as_deref(),
        status = response.status().as_u16(),
        took_ms,
        "{} {} {}", method, path, response.status().as_u16()
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The request's own id when it is sane, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        (1..=LONGEST_ID).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    });
    match given {
        Some(id) => id.clone(),
        None => {
            let mut text = Uuid::encode_buffer();
            let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
            // Hex digits and hyphens are good in a header.
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
        }
    }
}
