//! Parts of a request, with the document's form of errors for those that cannot be had.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;

use super::error::ApiError;

/// The whole body; 413 when it is larger than is allowed.
#[derive(Debug)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Bytes::from_request(request, state).await.map(Self).map_err(|refused: BytesRejection| {
            let status = refused.into_response().status();
            let detail = match status {
                StatusCode::PAYLOAD_TOO_LARGE => "Request body is too large",
                _ => "Request body could not be read",
            };
            ApiError::new(status, detail)
        })
    }
}

/// The one variable part of the path.
#[derive(Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::new(StatusCode::NOT_FOUND, "Not Found"))
    }
}
