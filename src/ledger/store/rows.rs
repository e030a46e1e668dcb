//! Rows as they are answered: the keys are those of the document, in its order.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sqlx::any::AnyRow;
use sqlx::{Any, ColumnIndex, Database, Decode, Row, Type};
use utoipa::ToSchema;
use uuid::Uuid;

use super::StoreError;
use crate::model::lifecycle::DeploymentStatus;

/// JSON as somebody sent it: kept and answered letter by letter, so that no number loses a digit.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Returns the JSON of this text.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// Returns the JSON of this value.
    ///
    /// # Errors
    /// When its keys are no strings.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// Returns its text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }
}

/// What the ledger says of one deployment (R004-12, R004-13).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Deployment {
    /// Place in the order of creation; never shown.
    #[serde(skip)]
    pub id: i64,
    /// Its id.
    #[schema(format = Uuid)]
    pub deployment_id: String,
    /// The entity that was deployed.
    #[schema(format = Uuid)]
    pub entity_id: String,
    /// Version of the entity when it was deployed.
    pub version: String,
    /// development, staging, production or testing; of an app that a CI job reports, the name of its environment.
    pub environment: String,
    /// Configuration that it was deployed with.
    #[schema(value_type = Object)]
    pub config_snapshot: Json,
    /// Parameters that it was deployed with.
    #[schema(value_type = Option<Object>)]
    pub parameters_snapshot: Option<Json>,
    /// Where it stands.
    pub status: DeploymentStatus,
    /// When it was deployed; UTC.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub deployed_at: i64,
    /// Who deployed it.
    pub deployed_by: String,
    /// How: `api` unless somebody said otherwise.
    pub deployment_method: Option<String>,
    /// When it was rolled back; UTC.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rolled_back_at: Option<i64>,
    /// Who rolled it back.
    pub rolled_back_by: Option<String>,
    /// Why.
    pub rollback_reason: Option<String>,
    /// The deployment that is active in its place.
    #[schema(format = Uuid)]
    pub previous_deployment_id: Option<String>,
    /// Results of its health checks.
    #[schema(value_type = Vec<Object>)]
    pub health_checks: Json,
    /// When its health was checked last; UTC.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_health_check: Option<i64>,
    /// What went wrong.
    pub error_logs: Option<String>,
    /// How long it took, in whole seconds.
    pub deployment_duration_seconds: Option<i64>,
    /// What was found after it.
    #[schema(value_type = Option<Object>)]
    pub validation_results: Option<Json>,
    /// When the record was made; UTC.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// When the record last changed; UTC.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: i64,
}

impl Deployment {
    /// Returns the record of one that is under way in a place (entity and environment), with nothing to tell of it yet.
    pub(super) fn begun(
        id: Uuid,
        (entity, environment): (&str, &str),
        config: Json,
        at: i64,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            id: 0,
            deployment_id: id.to_string(),
            entity_id: entity.to_owned(),
            version: String::new(),
            environment: environment.to_owned(),
            config_snapshot: config,
            parameters_snapshot: None,
            status: DeploymentStatus::Deploying,
            deployed_at: at,
            deployed_by: String::new(),
            deployment_method: None,
            rolled_back_at: None,
            rolled_back_by: None,
            rollback_reason: None,
            previous_deployment_id: None,
            health_checks: Json::of(&[(); 0]).map_err(StoreError::of_column(15))?,
            last_health_check: None,
            error_logs: None,
            deployment_duration_seconds: None,
            validation_results: None,
            created_at: at,
            updated_at: at,
        })
    }
}

/// Columns of a [`Deployment`], in the order of [`deployment`].
pub(super) const DEPLOYMENT: &str = "d.id, d.deployment_id, d.entity_id, d.version, d.environment, d.config_snapshot, \
    d.parameters_snapshot, d.status, d.deployed_at, d.deployed_by, d.deployment_method, d.rolled_back_at, \
    d.rolled_back_by, d.rollback_reason, d.previous_deployment_id, d.health_checks, d.last_health_check, d.error_logs, \
    d.deployment_duration_seconds, d.validation_results, d.created_at, d.updated_at";

/// Columns of a row, whichever driver it comes from: `Any` copies each of them twice, which a page of a list feels.
pub(super) trait Columns {
    /// Returns a text, if there is one.
    fn maybe_text(&self, column: usize) -> Result<Option<String>, StoreError>;
    /// Returns a number, if there is one.
    fn maybe_number(&self, column: usize) -> Result<Option<i64>, StoreError>;

    /// Returns a text.
    fn text(&self, column: usize) -> Result<String, StoreError> {
        self.maybe_text(column)?.ok_or_else(|| missing(column))
    }

    /// Returns a number.
    fn number(&self, column: usize) -> Result<i64, StoreError> {
        self.maybe_number(column)?.ok_or_else(|| missing(column))
    }
}

impl<D: Database, R: Row<Database = D>> Columns for R
where
    usize: ColumnIndex<R>,
    for<'r> String: Decode<'r, D> + Type<D>,
    for<'r> i64: Decode<'r, D> + Type<D>,
{
    fn maybe_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        // The columns are those of this program's own schema: decoding finds what is wrong with one.
        self.try_get_unchecked(column).map_err(StoreError::of_column(column))
    }

    fn maybe_number(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.try_get_unchecked(column).map_err(StoreError::of_column(column))
    }
}

fn missing(column: usize) -> StoreError {
    StoreError::Row { column, source: "is empty".into() }
}

pub(super) fn deployment(row: &dyn Columns) -> Result<Deployment, StoreError> {
    Ok(Deployment {
        id: row.number(0)?,
        deployment_id: row.text(1)?,
        entity_id: row.text(2)?,
        version: row.text(3)?,
        environment: row.text(4)?,
        config_snapshot: json(row, 5)?,
        parameters_snapshot: maybe_json(row, 6)?,
        status: status(row, 7)?,
        deployed_at: row.number(8)?,
        deployed_by: row.text(9)?,
        deployment_method: row.maybe_text(10)?,
        rolled_back_at: row.maybe_number(11)?,
        rolled_back_by: row.maybe_text(12)?,
        rollback_reason: row.maybe_text(13)?,
        previous_deployment_id: row.maybe_text(14)?,
        health_checks: json(row, 15)?,
        last_health_check: row.maybe_number(16)?,
        error_logs: row.maybe_text(17)?,
        deployment_duration_seconds: row.maybe_number(18)?,
        validation_results: maybe_json(row, 19)?,
        created_at: row.number(20)?,
        updated_at: row.number(21)?,
    })
}

/// What can be deployed: the ledger's record of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Entity {
    /// Its id.
    #[schema(format = Uuid)]
    pub entity_id: String,
    /// Its name; several entities may share one.
    pub name: String,
    /// What it is, such as `strategy`, or `application` for what a CI job reports.
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    pub kind: String,
    /// Its version; one without cannot be deployed.
    pub version: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Configuration that it is deployed with, unless a deployment brings another.
    #[schema(value_type = Object)]
    pub config: Json,
    /// Parameters that it is deployed with, unless a deployment brings others.
    #[schema(value_type = Object)]
    pub parameters: Json,
    /// Ids or names of entities that must be active in an environment before this one is deployed there.
    #[schema(value_type = Vec<String>)]
    pub dependencies: Json,
    /// registered, validated, deployed and active can be deployed; any other word cannot.
    pub status: String,
    /// healthy, degraded, unhealthy or unknown; what is unhealthy is not deployed.
    pub health_status: String,
    /// When it was last deployed or rolled back; UTC.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deployed_at: Option<i64>,
    /// Who did that.
    pub deployed_by: Option<String>,
    /// Configuration that runs.
    #[schema(value_type = Option<Object>)]
    pub deployment_config: Option<Json>,
    /// When the record was made; UTC.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// When the record last changed; UTC.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: i64,
    /// When it was deleted: only such that are not are answered.
    #[serde(skip)]
    pub deleted_at: Option<i64>,
}

/// Columns of an [`Entity`], in the order of [`entity`].
pub(super) const ENTITY: &str = "entity_id, name, type, version, description, config, parameters, dependencies, status, \
    health_status, deployed_at, deployed_by, deployment_config, created_at, updated_at, deleted_at";

pub(super) fn entity(row: &AnyRow) -> Result<Entity, StoreError> {
    Ok(Entity {
        entity_id: get(row, 0)?,
        name: get(row, 1)?,
        kind: get(row, 2)?,
        version: get(row, 3)?,
        description: get(row, 4)?,
        config: json(row, 5)?,
        parameters: json(row, 6)?,
        dependencies: json(row, 7)?,
        status: get(row, 8)?,
        health_status: get(row, 9)?,
        deployed_at: get(row, 10)?,
        deployed_by: get(row, 11)?,
        deployment_config: maybe_json(row, 12)?,
        created_at: get(row, 13)?,
        updated_at: get(row, 14)?,
        deleted_at: get(row, 15)?,
    })
}

/// Returns a column of a row.
///
/// # Errors
/// When it holds something else.
pub(super) fn get<'r, T: Decode<'r, Any> + Type<Any>>(
    row: &'r AnyRow,
    column: usize,
) -> Result<T, StoreError> {
    row.try_get(column).map_err(StoreError::of_column(column))
}

pub(super) fn json(row: &dyn Columns, column: usize) -> Result<Json, StoreError> {
    Json::new(row.text(column)?).map_err(StoreError::of_column(column))
}

fn maybe_json(row: &dyn Columns, column: usize) -> Result<Option<Json>, StoreError> {
    let text = row.maybe_text(column)?;
    text.map(Json::new).transpose().map_err(StoreError::of_column(column))
}

pub(super) fn status(row: &dyn Columns, column: usize) -> Result<DeploymentStatus, StoreError> {
    let word = row.text(column)?;
    word.parse().map_err(StoreError::of_column(column))
}

const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// Returns a time of the database as RFC 3339 in UTC, with microseconds.
pub fn time_text(micros: i64) -> String {
    // Such a time is made by this program only; one out of range shows as the epoch, and not as an error of the list.
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    PRINTER.timestamp_to_string(&time)
}

fn time<S: Serializer>(micros: &i64, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&time_text(*micros))
}

fn maybe_time<S: Serializer>(micros: &Option<i64>, out: S) -> Result<S::Ok, S::Error> {
    match micros {
        Some(micros) => time(micros, out),
        None => out.serialize_none(),
    }
}
