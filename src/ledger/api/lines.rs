//! `/api/v1/deployments/{deployment_id}/lines`: what a deployment said, as its job reports it.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answers::{Failure, NoDeployment, WrongIdOrQuery};
use super::error::{ApiError, json_answer};
use super::extract::Id;
use super::fields::{Query, uuid_of_path};
use crate::ledger::Shared;
use crate::ledger::store::{KeptLine, time_text};
use crate::model::lifecycle::LAST_LINE;

/// Lines of a deployment's log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineList {
    /// In order.
    lines: Vec<LineShown>,
    /// Number of the last one; what to ask after next. Without lines, what was asked after.
    last: i64,
}

/// One line.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineShown {
    /// Its place in the log, from 1.
    number: i64,
    /// When it was said; UTC.
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// The stage that it was said in.
    stage: Option<String>,
    /// What it says.
    text: String,
}

/// Lists lines of a deployment's log in order, while it runs and later.
#[utoipa::path(get, path = "/deployments/{deployment_id}/lines", tag = "Deployments", params(
    ("deployment_id" = String, Path, format = Uuid),
    ("after" = Option<i64>, Query, minimum = 0, maximum = 100_000, description = "Those after this number; 0 by default"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "At most so many; 500 by default"),
), responses(
    (status = 200, description = "Lines", body = LineList),
    NoDeployment,
    WrongIdOrQuery,
    Failure,
))]
pub(super) async fn list(
    State(ledger): State<Shared>,
    Id(id): Id,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let id = uuid_of_path("deployment_id", &id)?;
    let mut query = Query::of(raw.as_deref());
    let after = query.number("after", 0, 0..=i64::from(LAST_LINE));
    let limit = query.number("limit", 500, 1..=1000);
    query.finish()?;
    let found = ledger.store.lines(id, after, limit).await?;
    if found.is_empty() && ledger.store.deployment(id).await?.is_none() {
        return Err(ApiError::not_found("Deployment", id));
    }
    let last = found.last().map_or(after, |line| line.number);
    let lines = found.into_iter().map(shown).collect();
    Ok(json_answer(StatusCode::OK, &LineList { lines, last }))
}

fn shown(line: KeptLine) -> LineShown {
    LineShown { number: line.number, at: time_text(line.at), stage: line.stage, text: line.text }
}
