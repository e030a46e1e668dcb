//! What somebody sent with a form of a page of ours: checked before it is read.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use subtle::ConstantTimeEq;

use super::session::Who;
use crate::ledger::Shared;
use crate::ledger::api::error::ApiError;
use crate::ledger::api::extract::Body;
use crate::ledger::api::fields::Query;

/// Name of the hidden field that proves that a page of ours made the form.
pub(super) const CSRF: &str = "csrf";

/// Fields of a form that a page of ours made for this session: anything else is 403 before the handler sees it.
#[derive(Debug)]
pub struct Form(Query);

impl Form {
    /// Returns a field as it was sent, without blanks around it; nothing when it is empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let text = self.0.text(name)?;
        let trimmed = text.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }
}

impl FromRequest<Shared> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, ledger: &Shared) -> Result<Self, ApiError> {
        let who = request.extensions().get::<Who>().cloned();
        let who = who.unwrap_or_else(|| Who::stranger(&ledger.sessions));
        let Body(body) = Body::from_request(request, ledger).await?;
        let mut query = Query::of(Some(&String::from_utf8_lossy(&body)));
        let told = query.text(CSRF).unwrap_or_default();
        if who.csrf().is_empty() || !bool::from(told.as_bytes().ct_eq(who.csrf().as_bytes())) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "The form is not of this session, or is too old; nothing was done: go back, load the page anew, and send it again",
            ));
        }
        Ok(Self(query))
    }
}
