//! The REST API of document 004, its OpenAPI document, and the health endpoints; the pages are beside it.

mod answers;
mod around;
mod deployments;
mod docs;
mod entities;
pub mod error;
mod events;
pub mod extract;
pub mod fields;
mod health;
mod lines;
mod reports;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::metrics::nats_text;
use super::{Shared, pages};
use error::ApiError;

/// Where the API stands (R004-02).
pub const BASE: &str = "/api/v1";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ffe-ledger",
        description = "Entities, their deployments, and what became of them.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(error::ErrorBody, error::ProblemsBody))
)]
struct Document;

/// Returns everything that the service answers.
pub fn router(ledger: Shared) -> Router {
    let (api, document) = api().split_for_parts();
    let document = docs::finish(document);
    let limit = DefaultBodyLimit::max(ledger.settings.body_limit);
    api.route("/api/v1/openapi.json", get(move || docs::answer(document.clone())))
        .route("/docs", get(docs::page))
        .route("/docs/style.css", get(docs::style))
        .route("/metrics", get(metrics))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/health/detailed", get(health::detailed))
        .merge(pages::router(&ledger))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(limit)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(ledger.clone(), around::around))
        .with_state(ledger)
}

/// Routes of the document, which also describe themselves.
fn api() -> OpenApiRouter<Shared> {
    let routes = OpenApiRouter::new()
        .routes(routes!(entities::list, entities::create))
        .routes(routes!(entities::one, entities::change, entities::change_too, entities::delete))
        .routes(routes!(deployments::of_entity))
        .routes(routes!(deployments::list, deployments::create))
        .routes(routes!(deployments::one))
        .routes(routes!(lines::list))
        .routes(routes!(deployments::roll_back))
        .routes(routes!(deployments::of_entity_too))
        .routes(routes!(reports::one, reports::put))
        .routes(routes!(events::list));
    OpenApiRouter::with_openapi(Document::openapi()).nest(BASE, routes)
}

async fn metrics(State(ledger): State<Shared>) -> Result<Response, ApiError> {
    let mut text = ledger.metrics.text(&ledger.store).await?;
    text.push_str(&nats_text(&ledger.nats, &ledger.store).await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Not Found")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A defect of ours ends one request, not the service; what it says stays in the log.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
    tracing::error!(cause = text, "a request panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error; the log has its cause")
        .into_response()
}
