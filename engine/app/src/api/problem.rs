//! How the API says no: `application/problem+json` (RFC 9457) with a stable code.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use engate_model::{FieldError, Invalid};
use engate_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::meanings::meaning_of;
use crate::verbs::VerbError;

/// Media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// What a client is asked to wait when the database is away, in seconds.
const RETRY_AFTER_S: &str = "2";

/// A refusal as it is written.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "/docs/problems#invalid", "title": "Fields cannot be taken", "status": 422, "code": "invalid",
    "detail": "url: must begin with http:// or https://",
    "errors": [{"field": "url", "message": "must begin with http:// or https://"}]
}))]
pub(crate) struct ProblemBody {
    /// Where the code is explained, relative to this server.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// What the code means in general.
    pub(super) title: &'static str,
    /// The HTTP status again.
    pub(super) status: u16,
    /// What happened this time, and what to do about it.
    pub(super) detail: String,
    /// Stable snake_case code to decide by.
    pub(super) code: &'static str,
    /// Fields to blame, each with the cure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) errors: Vec<ProblemField>,
}

/// One field to blame.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProblemField {
    /// Path of the field in the request: `auth.type`, `event_types[2]`, a query parameter's name.
    field: String,
    /// What is wrong and what to write instead.
    message: String,
}

impl ProblemField {
    /// The same with the message said another way.
    pub(super) fn with_message(self, say: impl FnOnce(String) -> String) -> Self {
        Self { message: say(self.message), ..self }
    }

    /// Field and message in one line.
    pub(super) fn told(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
}

impl Problem {
    /// Any refusal. `code` is one of [`MEANINGS`](super::meanings::MEANINGS).
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new() }
    }

    /// A refusal with the status that its code usually has.
    pub(crate) fn of(code: &'static str, detail: impl Into<String>) -> Self {
        let status = meaning_of(code).map_or(StatusCode::CONFLICT, |m| m.status);
        Self::new(status, code, detail)
    }

    /// 422 with a code of its own and fields to blame.
    pub(crate) fn refused(code: &'static str, invalid: Invalid) -> Self {
        Self { code, ..Self::from(invalid) }
    }

    /// The same with fields to blame.
    pub(crate) fn with_errors(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// 404: there is no such `noun`.
    pub(crate) fn not_found(noun: &str) -> Self {
        Self::of("not_found", format!("there is no such {noun}"))
    }

    /// 500 without details; the caller has logged them.
    pub(crate) fn internal() -> Self {
        Self::of("internal", "the engine failed; its log says why")
    }

    /// Names of the fields to blame.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> Vec<String> {
        self.errors.iter().map(|error| error.field.clone()).collect()
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let detail = invalid.to_string();
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: "invalid", detail, errors: invalid.0 }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        VerbError::from(error).into()
    }
}

impl From<VerbError> for Problem {
    fn from(error: VerbError) -> Self {
        match error {
            VerbError::NotFound(noun) => Self::not_found(noun),
            VerbError::Invalid(invalid) => invalid.into(),
            VerbError::Refused { code, invalid } => Self::refused(code, invalid),
            VerbError::Conflict { code, detail } => Self { status: StatusCode::CONFLICT, ..Self::of(code, detail) },
            VerbError::Collides { code, invalid } => {
                Self { status: StatusCode::CONFLICT, ..Self::refused(code, invalid) }
            }
            VerbError::Busy { code, detail } => Self::of(code, detail),
            VerbError::Stale(_) => Self::of("conflict", error.to_string()),
            VerbError::PreconditionFailed => Self::of("precondition_failed", error.to_string()),
            VerbError::Forbidden(detail) => Self::of("forbidden", detail),
            VerbError::Store(StoreError::Unavailable(why)) => {
                tracing::warn!(error = %why, "the database is not available");
                Self::of("unavailable", "the database is not available; what was asked for may have been carried out")
            }
            VerbError::Store(StoreError::Data(why)) => {
                tracing::warn!(error = %why, "the database refused values that the API let through");
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the database refuses a value of this request")
            }
            VerbError::Store(error) => {
                tracing::error!(code = error.code(), %error, "the database failed");
                Self::internal()
            }
            VerbError::Internal(error) => {
                tracing::error!(%error, "a call failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = meaning_of(self.code).map_or("It collides with what is there", |m| m.title);
        let body = ProblemBody {
            kind: format!("/docs/problems#{}", self.code),
            title,
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
            errors: self.errors.into_iter().map(|e| ProblemField { field: e.field, message: e.message }).collect(),
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, PROBLEM_JSON)], text).into_response();
        // For whoever says it in the reader's language.
        response.extensions_mut().insert(body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}
