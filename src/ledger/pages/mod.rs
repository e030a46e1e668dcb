//! The pages: what runs where, and what became of each deployment, for people with a browser.
//!
//! [`router`] is the way in. Rendered here, with one style and one script from this binary and nothing from elsewhere.
//! Whoever is not signed in is sent to `/sign-in` (`session`); where nobody needs a token nobody signs in. Texts that
//! others wrote are escaped by the templates, and terminal's sequences are taken out of them (`text`).

mod assets;
mod chart;
mod deployment;
mod difference;
mod dora;
mod findings;
mod form;
pub mod layout;
mod links;
mod lists;
pub mod log;
mod overview;
mod rollback;
pub mod session;
mod sign_in;
mod timeline;
pub mod words;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use maud::html;

pub use form::Form;
pub use layout::page;
pub use session::Who;

use super::Shared;
use super::api::error::Said;

/// Routes of the pages; those behind the gate need the scope `read`.
pub(super) fn router(ledger: &Shared) -> Router<Shared> {
    let gated = Router::new()
        .route("/", get(overview::show))
        .route("/deployments", get(lists::all))
        .route("/deployments/{id}", get(deployment::show))
        .route("/deployments/{id}/live", get(log::live))
        .route("/apps/{id}", get(lists::app))
        .route("/dora", get(dora::all))
        .route("/apps/{id}/dora", get(dora::of_app))
        .route("/deployments/{id}/rollback", get(rollback::show).post(rollback::send))
        .route("/sign-out", post(sign_in::end))
        .route_layer(from_fn_with_state(ledger.clone(), session::gate));
    Router::new()
        .merge(gated)
        .route("/sign-in", get(sign_in::show).post(sign_in::begin))
        .route(assets::STYLE, get(assets::style))
        .route(assets::SCRIPT, get(assets::script))
        .route(assets::ICON, get(assets::icon))
}

/// Whether a person asks with a browser, who reads an error as a page.
pub(super) fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    let is_for_programs = path.starts_with("/api/") || path.starts_with("/health") || path == "/metrics";
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    !is_for_programs && accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// Returns an error as a page, with the id that the log has; what is none stays as it is.
pub(super) fn as_page(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !(status.is_client_error() || status.is_server_error())
        || kind.is_none_or(|kind| kind != "application/json")
    {
        return response;
    }
    let said = response.extensions_mut().remove::<Said>().map(|Said(text)| text);
    let who = response.extensions_mut().remove::<Who>().unwrap_or_else(Who::nobody);
    let title = match status {
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::FORBIDDEN => "This is not allowed",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "The ledger cannot answer now",
        status if status.is_server_error() => "Something went wrong here",
        _ => "This cannot be done",
    };
    let body = html! {
        div.empty {
            p.code { (status.as_u16()) }
            h1 { (title) }
            p { (said.unwrap_or_default()) }
            p { a href="/" { "What runs where" } }
            p.quiet { "Request " code { (request_id) } }
        }
    };
    let mut page = page(title, &who, body);
    *page.status_mut() = status;
    if let Some(after) = response.headers_mut().remove(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, after);
    }
    page.extensions_mut().insert(who);
    page
}

/// Returns the name of who was answered, for the access log.
pub(super) fn name_of(response: &Response) -> Option<String> {
    response.extensions().get::<Who>().and_then(|who| who.name().map(str::to_owned))
}
