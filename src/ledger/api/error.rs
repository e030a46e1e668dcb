//! Errors as the document's service answers them: `{"detail": …}` with its texts, and 422 with the list of problems.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::ledger::store::{LifecycleError, Refused, StoreError};

/// Body of an error: a text, or for a failed validation before a deployment an object.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong.
    #[schema(value_type = Value)]
    pub detail: Value,
}

/// Body of an answer to a request that does not have the wanted form.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemsBody {
    /// Everything that is wrong, not only the first.
    pub detail: Vec<Problem>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Stable word for the kind of problem, as pydantic has it.
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    pub kind: Cow<'static, str>,
    /// Where: `body`, `query` or `path`, and the name.
    #[schema(value_type = Vec<Value>)]
    pub loc: Vec<Value>,
    /// What is accepted.
    pub msg: String,
    /// What was found.
    #[schema(value_type = Value)]
    pub input: Value,
}

/// An answer that is no success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    detail: Value,
    retry_after_s: Option<u64>,
}

impl ApiError {
    /// Returns an error with this status and text.
    pub fn new(status: StatusCode, detail: impl Into<Value>) -> Self {
        Self { status, detail: detail.into(), retry_after_s: None }
    }

    /// Returns the answer to a request that does not have the wanted form.
    pub fn problems(problems: &[Problem]) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, json!(problems))
    }

    /// Returns the answer about a record that is not there.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} {id} not found"))
    }

    /// Returns the error with the time after which the same may work.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

/// What an error says, beside the answer: those who read pages get it as one.
#[derive(Clone, Debug)]
pub struct Said(pub String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_answer(self.status, &json!({ "detail": self.detail }));
        if let Value::String(text) = self.detail {
            response.extensions_mut().insert(Said(text));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Room for most answers, in bytes; what an answer does not need is given back.
const BODY: usize = 4096;

/// Returns an answer with this body as JSON.
pub fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    json_answer_of(BODY, status, body)
}

/// The same for a body of about so many bytes, which is not copied while it grows.
pub(super) fn json_answer_of(room: usize, status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(room);
    match serde_json::to_writer(&mut bytes, body).map(|()| bytes.shrink_to_fit()) {
        Ok(()) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Away(cause) => {
                tracing::error!(error = %cause, "the database does not answer");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer; try again")
                    .retry_after(1)
            }
            StoreError::Busy | StoreError::Unique => Self::new(
                StatusCode::CONFLICT,
                "Another change of this entity and environment is under way; nothing was changed: try again",
            )
            .retry_after(1),
            lost if lost.is_worth_repeating() => {
                tracing::warn!(error = %lost, "the database was busy for too long");
                let text = "The database is busy with other changes; nothing was changed: try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1)
            }
            other => {
                let cause = std::error::Error::source(other).map(ToString::to_string);
                tracing::error!(error = %other, cause, "a request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Internal server error; the log has its cause by the id in X-Request-Id",
                )
            }
        }
    }
}

impl From<LifecycleError> for ApiError {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Store(error) => error.into(),
            LifecycleError::Refused(refused) => refused.into(),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoEntity(id) => Self::not_found("Entity", id),
            Refused::NoDeployment(id) => Self::not_found("Deployment", id),
            Refused::Validation(found) => Self::new(
                StatusCode::BAD_REQUEST,
                json!({
                    "message": "Pre-deployment validation failed",
                    "errors": found.errors,
                    "warnings": found.warnings,
                }),
            ),
            Refused::NoTarget => {
                Self::new(StatusCode::BAD_REQUEST, "No previous deployment found to rollback to")
            }
            Refused::ForeignTarget(id) => Self::new(
                StatusCode::BAD_REQUEST,
                format!("Deployment {id} belongs to another entity or environment; nothing was changed"),
            ),
            Refused::BadTarget(id, status) => Self::new(
                StatusCode::BAD_REQUEST,
                format!(
                    "Deployment {id} is {status}; only an inactive one, which succeeded before, can be rolled back to"
                ),
            ),
            Refused::NotActive(id, status) => Self::new(
                StatusCode::CONFLICT,
                format!("Deployment {id} is {status}; only an active one can be rolled back"),
            ),
        }
    }
}
