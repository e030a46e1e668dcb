//! `/api/v1/entities`: what can be deployed. The document presumes them (R004-05), and says what of them it reads.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answers::{Failure, NoEntity, WrongBody, WrongId, WrongIdOrBody, WrongQuery};
use super::deployments::{Paging, paging};
use super::error::{ApiError, json_answer};
use super::extract::{Body, Id};
use super::fields::{Fields, Query, uuid_of_path};
use crate::ledger::Shared;
use crate::ledger::store::{Entity, EntityFilter, Json, now};

/// Words for the health of an entity.
const HEALTHS: [&str; 4] = ["healthy", "degraded", "unhealthy", "unknown"];
/// Longest description, in characters.
const DESCRIPTION: usize = 65536;

/// The form of a body that says what an entity is; creation and change differ in what must be there, and in what is said.
macro_rules! form {
    (
        $(#[$about:meta])* $form:ident { required: $required:ty, kind: $kind:tt, version: $version:tt, status: $status:tt, health: $health:tt }
    ) => {
        $(#[$about])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "the form of a body in the OpenAPI document; `Fields` reads it")]
        pub(super) struct $form {
            /// Its name.
            #[schema(min_length = 1, max_length = 255, pattern = r"^[^\u0000]*$")]
            name: $required,
            #[doc = $kind]
            #[schema(rename = "type", min_length = 1, max_length = 50, pattern = r"^[^\u0000]*$")]
            r#type: $required,
            #[doc = $version]
            #[schema(max_length = 255, pattern = r"^[^\u0000]*$")]
            version: Option<String>,
            /// What it is for.
            #[schema(max_length = 65536, pattern = r"^[^\u0000]*$")]
            description: Option<String>,
            /// Configuration that it is deployed with.
            #[schema(value_type = Option<Object>)]
            config: Option<()>,
            /// Parameters that it is deployed with.
            #[schema(value_type = Option<Object>)]
            parameters: Option<()>,
            /// Ids or names of entities that must be active in an environment before this one is deployed there.
            #[schema(schema_with = dependencies, required = false)]
            dependencies: Option<Vec<String>>,
            #[doc = $status]
            #[schema(min_length = 1, max_length = 50, pattern = r"^[^\u0000]*$")]
            status: Option<String>,
            #[doc = $health]
            #[schema(schema_with = health, required = false)]
            health_status: Option<String>,
        }
    };
}

form! {
    /// A new entity.
    EntityCreate {
        required: String,
        kind: "What it is, such as `strategy`.",
        version: "Its version; one without cannot be deployed.",
        status: "`registered` by default; registered, validated, deployed and active can be deployed.",
        health: "`unknown` by default; what is unhealthy is not deployed."
    }
}

form! {
    /// Changes of an entity; what is absent or null stays.
    EntityUpdate {
        required: Option<String>,
        kind: "What it is.",
        version: "Its version.",
        status: "Whether it can be deployed.",
        health: "Its health; what is unhealthy is not deployed."
    }
}

fn health() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{SchemaType, Type};
    let words = HEALTHS.into_iter().map(serde_json::Value::from).chain([serde_json::Value::Null]);
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(words))
        .build()
}

fn dependencies() -> utoipa::openapi::schema::Array {
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some(r"^[^\u0000]*$"));
    let kinds = SchemaType::from_iter([Type::Array, Type::Null]);
    ArrayBuilder::new().schema_type(kinds).items(name).max_items(Some(100)).build()
}

/// A page of entities.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntityList {
    /// Newest first.
    entities: Vec<Entity>,
    /// How many there are on all pages.
    total: i64,
    /// Which page this is, from 1.
    page: i64,
    /// How many a page has at most.
    page_size: i64,
}

/// Lists entities, newest first.
#[utoipa::path(get, path = "/entities", tag = "Entities", params(
    Paging,
    ("name" = Option<String>, Query, description = "Filter by name"),
    ("type" = Option<String>, Query, description = "Filter by type"),
    ("status" = Option<String>, Query, description = "Filter by status"),
    ("health_status" = Option<String>, Query, description = "Filter by health"),
), responses(
    (status = 200, description = "A page", body = EntityList),
    WrongQuery,
    Failure,
))]
pub(super) async fn list(
    State(ledger): State<Shared>,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Query::of(raw.as_deref());
    let (page, page_size) = paging(&mut query);
    let mut word = |name| query.text(name).filter(|word| !word.is_empty());
    let filter = EntityFilter {
        name: word("name"),
        kind: word("type"),
        status: word("status"),
        health_status: word("health_status"),
    };
    query.finish()?;
    let found = ledger.store.entities(&filter, page, page_size).await?;
    let list = EntityList { entities: found.entities, total: found.total, page, page_size };
    Ok(json_answer(StatusCode::OK, &list))
}

/// Returns an entity.
#[utoipa::path(get, path = "/entities/{entity_id}", tag = "Entities", params(
    ("entity_id" = String, Path, format = Uuid),
), responses(
    (status = 200, description = "The entity", body = Entity),
    NoEntity,
    WrongId,
    Failure,
))]
pub(super) async fn one(State(ledger): State<Shared>, Id(id): Id) -> Result<Response, ApiError> {
    let id = uuid_of_path("entity_id", &id)?;
    match ledger.store.entity(id).await? {
        Some(entity) => Ok(json_answer(StatusCode::OK, &entity)),
        None => Err(ApiError::not_found("Entity", id)),
    }
}

/// Registers an entity.
#[utoipa::path(post, path = "/entities", tag = "Entities", request_body = EntityCreate, responses(
    (status = 201, description = "It is registered", body = Entity),
    WrongBody,
    Failure,
))]
pub(super) async fn create(State(ledger): State<Shared>, Body(body): Body) -> Result<Response, ApiError> {
    let mut fields = Fields::of_body(&body)?;
    let at = now();
    let (empty, none) = (object()?, list_of(&[])?);
    let mut new = Entity {
        entity_id: Uuid::new_v4().to_string(),
        name: fields.required("name", |fields, name| fields.text(name, 1..=255)),
        kind: fields.required("type", |fields, name| fields.text(name, 1..=50)),
        version: None,
        description: None,
        config: empty.clone(),
        parameters: empty,
        dependencies: none,
        status: "registered".to_owned(),
        health_status: "unknown".to_owned(),
        deployed_at: None,
        deployed_by: None,
        deployment_config: None,
        created_at: at,
        updated_at: at,
        deleted_at: None,
    };
    let rest = Rest::read(&mut fields)?;
    fields.finish()?;
    rest.apply(&mut new);
    ledger.store.add_entity(&new).await?;
    Ok(json_answer(StatusCode::CREATED, &new))
}

/// Changes an entity; what the body does not have stays.
#[utoipa::path(patch, path = "/entities/{entity_id}", tag = "Entities", params(
    ("entity_id" = String, Path, format = Uuid),
), request_body = EntityUpdate, responses(
    (status = 200, description = "The entity as it is now", body = Entity),
    NoEntity,
    WrongIdOrBody,
    Failure,
))]
pub(super) async fn change(
    State(ledger): State<Shared>,
    Id(id): Id,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let id = uuid_of_path("entity_id", &id)?;
    let mut fields = Fields::of_body(&body)?;
    let (name, kind) = (fields.text("name", 1..=255), fields.text("type", 1..=50));
    let rest = Rest::read(&mut fields)?;
    fields.finish()?;
    let changed = ledger.store.change_entity(id, |entity| {
        rest.apply(entity);
        put(&mut entity.name, name);
        put(&mut entity.kind, kind);
    });
    match changed.await? {
        Some(entity) => Ok(json_answer(StatusCode::OK, &entity)),
        None => Err(ApiError::not_found("Entity", id)),
    }
}

/// The same as PATCH.
#[utoipa::path(put, path = "/entities/{entity_id}", tag = "Entities", params(
    ("entity_id" = String, Path, format = Uuid),
), request_body = EntityUpdate, responses(
    (status = 200, description = "The entity as it is now", body = Entity),
    NoEntity,
    WrongIdOrBody,
    Failure,
))]
pub(super) async fn change_too(ledger: State<Shared>, id: Id, body: Body) -> Result<Response, ApiError> {
    change(ledger, id, body).await
}

/// Deletes an entity: it is answered no more, and its deployments stay.
#[utoipa::path(delete, path = "/entities/{entity_id}", tag = "Entities", params(
    ("entity_id" = String, Path, format = Uuid),
), responses(
    (status = 204, description = "It is deleted"),
    NoEntity,
    WrongId,
    Failure,
))]
pub(super) async fn delete(State(ledger): State<Shared>, Id(id): Id) -> Result<Response, ApiError> {
    let id = uuid_of_path("entity_id", &id)?;
    let deleted = ledger.store.change_entity(id, |entity| entity.deleted_at = Some(now())).await?;
    match deleted {
        Some(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        None => Err(ApiError::not_found("Entity", id)),
    }
}

/// What creation and change have in common.
struct Rest {
    version: Option<String>,
    description: Option<String>,
    config: Option<Json>,
    parameters: Option<Json>,
    dependencies: Option<Json>,
    status: Option<String>,
    health_status: Option<String>,
}

impl Rest {
    fn read(fields: &mut Fields<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            version: fields.text("version", 0..=255),
            description: fields.text("description", 0..=DESCRIPTION),
            config: fields.object("config"),
            parameters: fields.object("parameters"),
            dependencies: fields.texts("dependencies", 1..=255).map(|names| list_of(&names)).transpose()?,
            status: fields.text("status", 1..=50),
            health_status: fields.word("health_status", &HEALTHS),
        })
    }

    fn apply(self, entity: &mut Entity) {
        entity.version = self.version.or(entity.version.take());
        entity.description = self.description.or(entity.description.take());
        put(&mut entity.config, self.config);
        put(&mut entity.parameters, self.parameters);
        put(&mut entity.dependencies, self.dependencies);
        put(&mut entity.status, self.status);
        put(&mut entity.health_status, self.health_status);
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn object() -> Result<Json, ApiError> {
    Json::new("{}".to_owned())
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn list_of(names: &[String]) -> Result<Json, ApiError> {
    Json::of(&names).map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
