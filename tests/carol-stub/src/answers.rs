//! What the services answer when they refuse.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

/// A refusal in Carol's form: `errorCode`, `errorMessage`, `possibleResponsibleField`.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status, told again in the body.
    pub(crate) status: StatusCode,
    /// A stable word for the journal; clients must not rely on it, so it is not in the answer.
    pub(crate) reason: &'static str,
    message: String,
    field: Option<String>,
}

/// Rides on a refusal's answer into the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason(pub(crate) &'static str);

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), field: None }
    }

    pub(crate) fn bad(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, message)
    }

    pub(crate) fn unauthorized(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, reason, message)
    }

    pub(crate) fn about(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the stub's own store failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", "the stub's own store failed; see its log")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = carol_error(self.status, &self.message, self.field.as_deref());
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(Reason(self.reason));
        response
    }
}

/// Carol's error body.
pub(crate) fn carol_error(status: StatusCode, message: &str, field: Option<&str>) -> Json<serde_json::Value> {
    Json(json!({"errorCode": status.as_u16(), "errorMessage": message, "possibleResponsibleField": field}))
}

pub(crate) async fn unknown_path(uri: http::Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "unknown_path", format!("no service of the stub is at {}", uri.path()))
}
