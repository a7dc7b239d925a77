//! How the API says no: `application/problem+json` (RFC 9457) with a stable code.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use engate_model::{FieldError, Invalid};
use engate_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::verbs::VerbError;

/// Media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// What a client is asked to wait when the database is away, in seconds.
const RETRY_AFTER_S: &str = "2";

/// A refusal as it is written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "/docs/problems#invalid", "title": "Fields cannot be taken", "status": 422, "code": "invalid",
    "detail": "url: must begin with http:// or https://",
    "errors": [{"field": "url", "message": "must begin with http:// or https://"}]
}))]
pub(crate) struct ProblemBody {
    /// Where the code is explained, relative to this server.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means in general.
    title: &'static str,
    /// The HTTP status again.
    status: u16,
    /// What happened this time, and what to do about it.
    detail: String,
    /// Stable snake_case code to decide by.
    code: &'static str,
    /// Fields to blame, each with the cure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<ProblemField>,
}

/// One field to blame.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemField {
    /// Path of the field in the request: `auth.type`, `event_types[2]`, a query parameter's name.
    field: String,
    /// What is wrong and what to write instead.
    message: String,
}

/// What a code means.
#[derive(Debug)]
pub(crate) struct Meaning {
    /// Stable snake_case code.
    pub(crate) code: &'static str,
    /// HTTP status it usually comes with.
    pub(crate) status: StatusCode,
    /// One line.
    pub(crate) title: &'static str,
    /// What to do about it.
    pub(crate) cure: &'static str,
}

const fn meaning(code: &'static str, status: StatusCode, title: &'static str, cure: &'static str) -> Meaning {
    Meaning { code, status, title, cure }
}

/// Every code the API answers, as `/docs/problems` lists them.
pub(crate) const MEANINGS: &[Meaning] = &[
    meaning(
        "invalid_json",
        StatusCode::BAD_REQUEST,
        "The body is no JSON",
        "Send one JSON value in UTF-8; `detail` says where it breaks.",
    ),
    meaning(
        "invalid_body",
        StatusCode::BAD_REQUEST,
        "The body cannot be read",
        "Send the whole body as announced in the headers.",
    ),
    meaning(
        "unauthorized",
        StatusCode::UNAUTHORIZED,
        "No valid token",
        "Send `Authorization: Bearer TOKEN` with a token that is neither revoked nor expired.",
    ),
    meaning(
        "forbidden",
        StatusCode::FORBIDDEN,
        "Not allowed for this token",
        "Use a token whose role includes this; `detail` names the roles.",
    ),
    meaning("link_forged", StatusCode::FORBIDDEN, "The link is not valid", "Use the link exactly as it was delivered."),
    meaning(
        "link_not_yet_valid",
        StatusCode::FORBIDDEN,
        "The link is not valid yet",
        "Compare the clocks of the two machines.",
    ),
    meaning(
        "link_expired",
        StatusCode::GONE,
        "The link has expired",
        "Ask for the delivery to be sent again: it carries a new link.",
    ),
    meaning(
        "not_found",
        StatusCode::NOT_FOUND,
        "There is no such thing",
        "Check the id and the path; what belongs to another tenant or integrator is not found either.",
    ),
    meaning(
        "files_not_served",
        StatusCode::NOT_FOUND,
        "This engine serves no files",
        "Set `files.root` to serve signed links.",
    ),
    meaning(
        "method_not_allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "The path has no such method",
        "The `Allow` header lists the methods.",
    ),
    meaning(
        "request_timeout",
        StatusCode::REQUEST_TIMEOUT,
        "The body did not arrive in time",
        "Send it again, faster.",
    ),
    meaning(
        "conflict",
        StatusCode::CONFLICT,
        "It collides with what is there",
        "Read the present state and decide again.",
    ),
    meaning(
        "id_conflict",
        StatusCode::CONFLICT,
        "The id was used with another body",
        "Use a new id for a new fact; repeat the same body to be safe.",
    ),
    meaning(
        "not_allowed_in_state",
        StatusCode::CONFLICT,
        "Not possible in this state",
        "`detail` says which state it is in.",
    ),
    meaning("in_progress", StatusCode::CONFLICT, "It is being worked on", "Try again in a moment."),
    meaning(
        "invalid_url",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The URL cannot be used",
        "Give an absolute http:// or https:// URL with a host.",
    ),
    meaning(
        "egress_denied",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The address must not be called",
        "Use a public address, or have the operator allow the network with `egress.allow`.",
    ),
    meaning(
        "already_exists",
        StatusCode::CONFLICT,
        "It exists already",
        "Change what is there, or choose another name.",
    ),
    meaning("in_use", StatusCode::CONFLICT, "Something else uses it", "`detail` says what; take that away first."),
    meaning(
        "system_record",
        StatusCode::CONFLICT,
        "It belongs to the engine",
        "Leave it as it is; enter one of your own.",
    ),
    meaning(
        "client_has_token",
        StatusCode::CONFLICT,
        "The client has a live token",
        "Regenerate that one, or revoke it first.",
    ),
    meaning(
        "version_taken",
        StatusCode::CONFLICT,
        "The version has other content",
        "`name@version` never changes; raise the version in the manifest.",
    ),
    meaning(
        "config_mismatch",
        StatusCode::CONFLICT,
        "Configurations in use do not fit",
        "`detail` names them; push to another channel, adjust them, then bind the channel.",
    ),
    meaning("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large", "`detail` says the bound."),
    meaning(
        "unsupported_media_type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The content type is not taken here",
        "Set `Content-Type` to one that `detail` names.",
    ),
    meaning(
        "invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Fields cannot be taken",
        "`errors` names each field and what to write instead.",
    ),
    meaning(
        "too_large",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component is too large",
        "Build it smaller; `errors` says the bound.",
    ),
    meaning(
        "not_a_component",
        StatusCode::UNPROCESSABLE_ENTITY,
        "It is no WebAssembly component",
        "Build a component, not a core module or text; `engate plugin build` does.",
    ),
    meaning(
        "invalid_component",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component is not valid",
        "Build it again; `errors` says what the validator found.",
    ),
    meaning(
        "wrong_world",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component lacks an interface",
        "Export what the contract's world asks for; `errors` names it.",
    ),
    meaning(
        "unknown_import",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component imports what the engine does not offer",
        "Import what the contract offers only; `errors` names the import.",
    ),
    meaning(
        "unsupported_version",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component speaks another version of the contract",
        "Build it against a version that `errors` lists.",
    ),
    meaning(
        "too_many_resources",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component wants too much memory or too many tables",
        "Lower what it reserves; `errors` says the bound.",
    ),
    meaning(
        "compile_failed",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component could not be compiled",
        "`errors` says why.",
    ),
    meaning(
        "compile_timeout",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component took too long to compile",
        "Build it smaller or simpler.",
    ),
    meaning(
        "describe_failed",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component does not describe itself",
        "`describe` must answer without any import; `errors` says what happened.",
    ),
    meaning(
        "bad_manifest",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The component's manifest cannot be taken",
        "Correct what `errors` names.",
    ),
    meaning(
        "headers_too_large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The headers are too large",
        "Send fewer or shorter headers.",
    ),
    meaning(
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "The engine failed",
        "Its log has a line with the `x-request-id` of this answer.",
    ),
    meaning(
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "The database is not available",
        "Try again after the seconds in `Retry-After`.",
    ),
    meaning(
        "timeout",
        StatusCode::SERVICE_UNAVAILABLE,
        "The engine took too long",
        "Try again after the seconds in `Retry-After`.",
    ),
];

/// A refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
}

impl Problem {
    /// Any refusal. `code` should be one of [`MEANINGS`].
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new() }
    }

    /// A refusal with the status that its code usually has.
    pub(crate) fn of(code: &'static str, detail: impl Into<String>) -> Self {
        let status = MEANINGS.iter().find(|m| m.code == code).map_or(StatusCode::CONFLICT, |m| m.status);
        Self::new(status, code, detail)
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
            VerbError::Refused { code, invalid } => Self { code, ..Self::from(invalid) },
            VerbError::Conflict { code, detail } => Self { status: StatusCode::CONFLICT, ..Self::of(code, detail) },
            VerbError::Forbidden(detail) => Self::of("forbidden", detail),
            VerbError::Store(StoreError::Unavailable(why)) => {
                tracing::warn!(error = %why, "the database is not available");
                Self::of("unavailable", "the database is not available; nothing was changed")
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
        let title = MEANINGS.iter().find(|m| m.code == self.code).map_or("It collides with what is there", |m| m.title);
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
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}
