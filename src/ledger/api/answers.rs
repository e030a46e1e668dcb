//! Answers that many endpoints share, as the OpenAPI document has them; `error.rs` gives them.
#![expect(dead_code, reason = "forms in the OpenAPI document")]

use utoipa::IntoResponses;

use super::error::{ErrorBody, ProblemsBody};

#[derive(IntoResponses)]
#[response(status = 404, description = "No such entity")]
pub(super) struct NoEntity(ErrorBody);

#[derive(IntoResponses)]
#[response(status = 404, description = "No such deployment")]
pub(super) struct NoDeployment(ErrorBody);

#[derive(IntoResponses)]
#[response(status = 422, description = "A parameter is wrong")]
pub(super) struct WrongQuery(ProblemsBody);

#[derive(IntoResponses)]
#[response(status = 422, description = "The id is no UUID")]
pub(super) struct WrongId(ProblemsBody);

#[derive(IntoResponses)]
#[response(status = 422, description = "The body is wrong")]
pub(super) struct WrongBody(ProblemsBody);

#[derive(IntoResponses)]
#[response(status = 422, description = "The id or the body is wrong")]
pub(super) struct WrongIdOrBody(ProblemsBody);

#[derive(IntoResponses)]
#[response(status = 422, description = "The id or a parameter is wrong")]
pub(super) struct WrongIdOrQuery(ProblemsBody);

#[derive(IntoResponses)]
#[response(status = "default", description = "Any other failure")]
pub(super) struct Failure(ErrorBody);
