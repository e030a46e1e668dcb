//! `/api/v1/deployments`: the document's endpoints (R004-02).

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::answers::{Failure, NoDeployment, NoEntity, WrongBody, WrongId, WrongIdOrBody, WrongQuery};
use super::error::{ApiError, ErrorBody, json_answer, json_answer_of};
use super::extract::{Body, Id};
use super::fields::{Fields, Query, uuid_of_path};
use crate::ledger::Shared;
use crate::ledger::store::{Create, Deployment, DeploymentFilter, DeploymentPage, Rollback};

/// Where the document deploys to (R004-08).
pub(super) const ENVIRONMENTS: [&str; 4] = ["development", "staging", "production", "testing"];
/// Highest page that can be asked for: its offset fits the database's numbers.
const PAGES: i64 = 1_000_000_000;
/// Room for most deployments as JSON, in bytes.
const ROOM: usize = 1024;

/// A deployment that is asked for (R004-10).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a body in the OpenAPI document; `Fields` reads it")]
pub(super) struct DeploymentCreate {
    /// What to deploy.
    #[schema(format = Uuid)]
    entity_id: String,
    /// Where.
    #[schema(schema_with = environment)]
    environment: String,
    /// Who asks.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^\u0000]*$")]
    deployed_by: String,
    /// How it is deployed; `api` by default.
    #[schema(max_length = 50, pattern = r"^[^\u0000]*$")]
    deployment_method: Option<String>,
    /// Configuration in place of the entity's; an empty one means the entity's.
    #[schema(value_type = Option<Object>)]
    config_override: Option<()>,
    /// Parameters in place of the entity's; empty ones mean the entity's.
    #[schema(value_type = Option<Object>)]
    parameters_override: Option<()>,
}

fn environment() -> utoipa::openapi::schema::Object {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(ENVIRONMENTS))
        .build()
}

/// A rollback that is asked for (R004-15).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a body in the OpenAPI document; `Fields` reads it")]
pub(super) struct RollbackRequest {
    /// Why.
    #[schema(min_length = 1, max_length = 65536, pattern = r"^[^\u0000]*$")]
    reason: String,
    /// Who asks.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^\u0000]*$")]
    rolled_back_by: String,
    /// The deployment that becomes active in its place; by default the latest earlier one that succeeded.
    #[schema(format = Uuid)]
    target_deployment_id: Option<String>,
}

/// A page of deployments (R004-14).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeploymentList {
    /// Newest first.
    deployments: Vec<Deployment>,
    /// How many there are on all pages.
    total: i64,
    /// Which page this is, from 1.
    page: i64,
    /// How many a page has at most.
    page_size: i64,
}

/// Which page of a list is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the parameters in the OpenAPI document; `Query` reads them")]
pub(super) struct Paging {
    /// Which page, from 1.
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1)]
    page: Option<i64>,
    /// How many a page has at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<i64>,
}

/// Reads which page is wanted.
pub(super) fn paging(query: &mut Query) -> (i64, i64) {
    (query.number("page", 1, 1..=PAGES), query.number("page_size", 20, 1..=100))
}

/// Lists deployments, newest first.
#[utoipa::path(get, path = "/deployments", tag = "Deployments", params(
    Paging,
    ("entity_id" = Option<String>, Query, format = Uuid, description = "Filter by entity"),
    ("environment" = Option<String>, Query, description = "Filter by environment"),
    ("status" = Option<String>, Query, description = "Filter by status"),
), responses(
    (status = 200, description = "A page", body = DeploymentList),
    WrongQuery,
    Failure,
))]
pub(super) async fn list(
    State(ledger): State<Shared>,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Query::of(raw.as_deref());
    let entity = query.uuid("entity_id");
    let (filter, page, page_size) = page_of(query, entity)?;
    let found = ledger.store.deployments(&filter, page, page_size).await?;
    Ok(answer_page(found, page, page_size))
}

/// Lists the deployments of an entity, newest first.
#[utoipa::path(get, path = "/entities/{entity_id}/deployments", tag = "Deployments", params(
    ("entity_id" = String, Path, format = Uuid),
    Paging,
    ("environment" = Option<String>, Query, description = "Filter by environment"),
    ("status" = Option<String>, Query, description = "Filter by status"),
), responses(
    (status = 200, description = "A page", body = DeploymentList),
    NoEntity,
    WrongQuery,
    Failure,
))]
pub(super) async fn of_entity(
    State(ledger): State<Shared>,
    Id(id): Id,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let id = uuid_of_path("entity_id", &id)?;
    let (filter, page, page_size) = page_of(Query::of(raw.as_deref()), Some(id))?;
    match ledger.store.deployments_of_entity(id, &filter, page, page_size).await? {
        Some(found) => Ok(answer_page(found, page, page_size)),
        None => Err(ApiError::not_found("Entity", id)),
    }
}

/// The same under the path that the document's code has (C18).
#[utoipa::path(get, path = "/deployments/entity/{entity_id}/deployments", tag = "Deployments", params(
    ("entity_id" = String, Path, format = Uuid),
    Paging,
    ("environment" = Option<String>, Query, description = "Filter by environment"),
    ("status" = Option<String>, Query, description = "Filter by status"),
), responses(
    (status = 200, description = "A page", body = DeploymentList),
    NoEntity,
    WrongQuery,
    Failure,
))]
pub(super) async fn of_entity_too(
    ledger: State<Shared>,
    id: Id,
    raw: RawQuery,
) -> Result<Response, ApiError> {
    of_entity(ledger, id, raw).await
}

/// Reads which deployments and which page of them are wanted.
fn page_of(mut query: Query, entity: Option<uuid::Uuid>) -> Result<(DeploymentFilter, i64, i64), ApiError> {
    let (page, page_size) = paging(&mut query);
    // An empty filter is none, as in the document's code.
    let mut word = |name| query.text(name).filter(|word| !word.is_empty());
    let filter = DeploymentFilter { entity, environment: word("environment"), status: word("status") };
    query.finish()?;
    Ok((filter, page, page_size))
}

fn answer_page(found: DeploymentPage, page: i64, page_size: i64) -> Response {
    let list = DeploymentList { deployments: found.deployments, total: found.total, page, page_size };
    json_answer_of(ROOM + list.deployments.len() * ROOM, StatusCode::OK, &list)
}

/// Returns a deployment.
#[utoipa::path(get, path = "/deployments/{deployment_id}", tag = "Deployments", params(
    ("deployment_id" = String, Path, format = Uuid),
), responses(
    (status = 200, description = "The deployment", body = Deployment),
    NoDeployment,
    WrongId,
    Failure,
))]
pub(super) async fn one(State(ledger): State<Shared>, Id(id): Id) -> Result<Response, ApiError> {
    let id = uuid_of_path("deployment_id", &id)?;
    match ledger.store.deployment(id).await? {
        Some(deployment) => Ok(json_answer(StatusCode::OK, &deployment)),
        None => Err(ApiError::not_found("Deployment", id)),
    }
}

/// Deploys an entity to an environment; what was active there becomes inactive.
#[utoipa::path(post, path = "/deployments", tag = "Deployments", request_body = DeploymentCreate, responses(
    (status = 201, description = "It is deployed", body = Deployment),
    (status = 400, description = "Something stands against it", body = ErrorBody),
    NoEntity,
    (status = 409, description = "Another change is under way", body = ErrorBody),
    WrongBody,
    Failure,
))]
pub(super) async fn create(State(ledger): State<Shared>, Body(body): Body) -> Result<Response, ApiError> {
    let began = Instant::now();
    let mut fields = Fields::of_body(&body)?;
    let order = Create {
        entity: fields.required("entity_id", Fields::uuid),
        environment: fields.required("environment", |fields, name| fields.word(name, &ENVIRONMENTS)),
        deployed_by: fields.required("deployed_by", |fields, name| fields.text(name, 1..=255)),
        method: fields
            .text("deployment_method", 0..=50)
            .filter(|method| !method.is_empty())
            .unwrap_or_else(|| "api".to_owned()),
        config: fields.object("config_override").filter(|object| !is_empty(object.text())),
        parameters: fields.object("parameters_override").filter(|object| !is_empty(object.text())),
        began,
    };
    fields.finish()?;
    let made = ledger.store.create(&order, ledger.settings.on_conflict).await?;
    Ok(json_answer(StatusCode::CREATED, &made))
}

/// Whether an object, as JSON, has no members.
fn is_empty(object: &str) -> bool {
    object.trim_start_matches('{').trim_start().starts_with('}')
}

/// Rolls a deployment back; an earlier one that succeeded is active in its place.
#[utoipa::path(post, path = "/deployments/{deployment_id}/rollback", tag = "Deployments", params(
    ("deployment_id" = String, Path, format = Uuid),
), request_body = RollbackRequest, responses(
    (status = 200, description = "The deployment that was rolled back", body = Deployment),
    (status = 400, description = "Nothing to go back to", body = ErrorBody),
    NoDeployment,
    (status = 409, description = "It is not active, or another change is under way", body = ErrorBody),
    WrongIdOrBody,
    Failure,
))]
pub(super) async fn roll_back(
    State(ledger): State<Shared>,
    Id(id): Id,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let deployment = uuid_of_path("deployment_id", &id)?;
    let mut fields = Fields::of_body(&body)?;
    let order = Rollback {
        deployment,
        reason: fields.required("reason", |fields, name| fields.text(name, 1..=65536)),
        by: fields.required("rolled_back_by", |fields, name| fields.text(name, 1..=255)),
        target: fields.uuid("target_deployment_id"),
    };
    fields.finish()?;
    let taken_back = ledger.store.roll_back(&order, ledger.settings.on_conflict).await?;
    Ok(json_answer(StatusCode::OK, &taken_back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_members_is_empty_however_it_is_written() {
        assert!(is_empty("{}") && is_empty("{ \n}"));
        assert!(!is_empty("{\"a\":{}}"));
    }
}
