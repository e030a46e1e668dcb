//! What happens around every request: its id, its time limit, headers of the answer, and its line in the access log.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::error::ApiError;
use crate::ledger::guard::{Admitted, Caller, Denied, Scope};
use crate::ledger::{Shared, foreign, pages};

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
pub(super) async fn around(State(ledger): State<Shared>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let span = tracing::error_span!("request", request_id = id.to_str().unwrap_or_default());
    let wants_page = pages::wants_page(&request);
    let (caller, denied) = match foreign::check(&ledger, &request).map_err(IntoResponse::into_response) {
        Ok(()) => match admit(&ledger, &request) {
            Ok(caller) => {
                request.extensions_mut().insert(Admitted::of(caller.as_ref()));
                (caller.map(|caller| caller.name), None)
            }
            Err(response) => (None, Some(response)),
        },
        Err(response) => (None, Some(response)),
    };
    let limit = ledger.settings.request_timeout;
    let answered = match denied {
        Some(denied) => Ok(denied),
        None => timeout(limit, next.run(request)).instrument(span).await,
    };
    let mut response = answered.unwrap_or_else(|_| {
        let text =
            format!("No answer within {} s; whether something was changed is not known", limit.as_secs());
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1).into_response()
    });
    if wants_page {
        response = pages::as_page(response, id.to_str().unwrap_or_default());
    }
    let caller = caller.or_else(|| pages::name_of(&response));
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
        caller,
        "{} {} {}", method, path, response.status().as_u16()
    );
    ledger.metrics.count(method.as_str(), route, response.status().as_u16(), began.elapsed());
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Returns who sends a request, when it may; else the answer.
#[expect(clippy::result_large_err, reason = "an answer is what it is, and made once")]
fn admit(ledger: &Shared, request: &Request) -> Result<Option<Caller>, Response> {
    let Some(scopes) = scopes_of(request.method(), request.uri().path()) else { return Ok(None) };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let caller = match ledger.guard.admit(token) {
        Ok(None) => return Ok(None),
        Ok(Some(caller)) => caller,
        Err(Denied::Unknown) => {
            let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "Not authenticated").into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(response);
        }
        Err(Denied::TooMany(seconds)) => {
            let text = format!("Too many requests; try again in {seconds} s");
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(seconds);
            return Err(error.into_response());
        }
    };
    if caller.may(scopes) {
        return Ok(Some(caller));
    }
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let text = format!("Token `{}` lacks the scope `{}`", caller.name, words.join("` or `"));
    Err(ApiError::new(StatusCode::FORBIDDEN, text).into_response())
}

/// Scopes of which one is needed; nothing where nobody is asked: health, pages about the API, and what is not there.
fn scopes_of(method: &Method, path: &str) -> Option<&'static [Scope]> {
    if path == "/metrics" {
        return Some(&[Scope::Read]);
    }
    if !path.starts_with("/api/") || path == "/api/v1/openapi.json" {
        return None;
    }
    let looks = matches!(*method, Method::GET | Method::HEAD);
    Some(match (path.starts_with("/api/v1/reports/"), looks) {
        (true, true) => &[Scope::Report, Scope::Read],
        (true, false) => &[Scope::Report],
        (false, true) => &[Scope::Read],
        (false, false) => &[Scope::Deploy],
    })
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
