//! Signing in with a token, and out.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use tokio::time::Instant;

use super::session::{Who, cookie, id_in};
use super::{Form, layout, page};
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::fields::Query;
use crate::ledger::guard::{Denied, Scope};

/// Where it is.
pub(super) const IN: &str = "/sign-in";
/// Where a session ends.
pub(super) const OUT: &str = "/sign-out";
/// Longest address to return to.
const LONGEST: usize = 1000;

/// Sends somebody to sign in, who then returns to the page that was asked for.
pub(super) fn ask(request: &Request) -> Response {
    let headers = request.headers();
    let says = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    if !super::wants_page(request) || *request.method() != Method::GET {
        return ApiError::new(StatusCode::UNAUTHORIZED, "Not signed in; nothing was done").into_response();
    }
    let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
    if says("sec-fetch-site", "cross-site") && says("sec-fetch-mode", "navigate") {
        return again(here);
    }
    let place = match own_path(here) {
        Some("/") | None => IN.to_owned(),
        Some(path) => format!("{IN}?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC)),
    };
    to(&place)
}

/// Asks the browser to ask again: who follows a link from another site sends no cookie (`SameSite=Strict`), and is
/// perhaps signed in.
fn again(here: &str) -> Response {
    let Some(here) = own_path(here) else { return to(IN) };
    let mut response = page(
        "One moment",
        &Who::nobody(),
        html! { div.narrow { h1 { "One moment" } p { a href=(here) { "Go on" } } } },
    );
    if let Ok(value) = HeaderValue::from_str(&format!("0; url={here}")) {
        response.headers_mut().insert("refresh", value);
    }
    response
}

/// Answers the form.
pub(super) async fn show(
    State(ledger): State<Shared>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let next = Query::of(raw.as_deref()).text("next");
    let next = next.as_deref().and_then(own_path).unwrap_or("/");
    let is_signed_in = super::session::is_in(&ledger, &headers);
    if is_signed_in { to(next) } else { form(&ledger, next, None) }
}

fn form(ledger: &Shared, next: &str, wrong: Option<&str>) -> Response {
    let who = Who::stranger(&ledger.sessions);
    let body = html! {
        div.narrow {
            h1 { "Sign in" }
            @if let Some(wrong) = wrong {
                p.notice.bad #wrong role="alert" { (wrong) }
            }
            form.card method="post" action=(IN) {
                (layout::csrf(&who))
                input type="hidden" name="next" value=(next);
                // What keeps passwords wants to know whose it is.
                input type="text" name="username" value="ffe-ledger" autocomplete="username" hidden readonly;
                label for="token" { "Token" }
                input #token type="password" name="token" required autofocus autocomplete="current-password"
                    spellcheck="false" placeholder="ffel_…" aria-invalid=[wrong.map(|_| "true")]
                    aria-describedby=(if wrong.is_some() { "wrong help" } else { "help" });
                p.help #help {
                    "It needs the scope " code { "read" } ", and " code { "deploy" } " to roll back. Whoever runs the ledger makes one with "
                    code { "ffe-ledger token create NAME --scope read" } "."
                }
                button.primary type="submit" { "Sign in" }
            }
        }
    };
    page("Sign in", &who, body)
}

/// Begins a session.
pub(super) async fn begin(
    State(ledger): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    mut fields: Form,
) -> Result<Response, ApiError> {
    let next = fields.text("next");
    let next = next.as_deref().and_then(own_path).unwrap_or("/");
    let refused = |status: StatusCode, text: &str| {
        let mut response = form(&ledger, next, Some(text));
        *response.status_mut() = status;
        response
    };
    if let Some(seconds) = ledger.sessions.must_wait(from.ip(), Instant::now()) {
        let text = format!("Too many attempts failed from your address; try again in {seconds} s.");
        let mut response = refused(StatusCode::TOO_MANY_REQUESTS, &text);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(response);
    }
    let caller = match ledger.guard.admit(fields.text("token").as_deref()) {
        Ok(None) => return Ok(to(next)),
        Ok(Some(caller)) => caller,
        Err(Denied::Unknown) => {
            ledger.sessions.failed(from.ip(), Instant::now());
            tracing::warn!(address = %from.ip(), "somebody tried to sign in with a token that is not known");
            return Ok(refused(StatusCode::UNAUTHORIZED, "This token is not known, or was revoked."));
        }
        Err(Denied::TooMany(seconds)) => {
            let text = format!("Too many requests with this token; try again in {seconds} s.");
            return Ok(refused(StatusCode::TOO_MANY_REQUESTS, &text));
        }
    };
    if !caller.may(&[Scope::Read]) {
        let text = format!("Token {} lacks the scope read: it cannot look at pages.", caller.name);
        return Ok(refused(StatusCode::FORBIDDEN, &text));
    }
    // Whoever signs in as somebody else is not the one before any more.
    id_in(&headers).inspect(|id| ledger.sessions.end(id));
    let id = ledger.sessions.begin(caller.id, Instant::now()).map_err(|error| {
        tracing::error!(%error, "the kernel gave no random bits");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "No session could be made; the log has its cause")
    })?;
    tracing::info!(caller = caller.name, "signed in");
    let mut response = to(next);
    response.headers_mut().insert(header::SET_COOKIE, cookie(Some(&id), &headers)?);
    Ok(response)
}

/// Ends a session.
pub(super) async fn end(
    State(ledger): State<Shared>,
    headers: HeaderMap,
    _checked: Form,
) -> Result<Response, ApiError> {
    id_in(&headers).inspect(|id| ledger.sessions.end(id));
    let mut response = to(IN);
    response.headers_mut().insert(header::SET_COOKIE, cookie(None, &headers)?);
    Ok(response)
}

/// Returns the answer that sends a browser to a place of ours.
pub(super) fn to(place: &str) -> Response {
    let value = HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, value)]).into_response()
}

/// Returns a path when it is one of this site's: what a browser could read as another site's name is none.
fn own_path(path: &str) -> Option<&str> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%?=&+:@,".contains(&byte);
    let is_ours = path.starts_with('/') && !path.starts_with("//") && path.bytes().all(is_good);
    let returns_here = path.starts_with(IN) || path.starts_with(OUT);
    (path.len() <= LONGEST && is_ours && !returns_here).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_signs_in_returns_to_a_page_of_ours_only() {
        for good in ["/", "/deployments/1?lines=2&q=a%20b", "/apps/x"] {
            assert_eq!(own_path(good), Some(good));
        }
        for bad in [
            "",
            "//evil",
            "/\\evil",
            "https://evil",
            "javascript:x",
            "/\tx",
            "/\r\nx",
            "evil",
            "/sign-in?next=/",
            "/ü",
        ] {
            assert_eq!(own_path(bad), None, "{bad}");
        }
    }
}
