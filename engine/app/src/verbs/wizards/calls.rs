//! Calls to TOTVS' services, through the egress like every call to the outside.

use std::time::Duration;

use bytes::Bytes;
use engate_egress::Outbound;
use engate_model::{Invalid, Secret, endpoint::Auth, wizard::services::Service};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::VerbError;
use crate::engine::Engine;

/// How long a service may take to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read; the setting `delivery.response_bytes_max` may be lower.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Letters of a service's own text in an error.
const TEXT_MAX: usize = 200;

/// What is sent.
pub(super) enum Sent {
    /// A GET.
    Nothing,
    /// A POST of JSON.
    Json(Value),
    /// A POST of a form.
    Form(String),
}

/// An answer came.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    body: Vec<u8>,
    truncated: bool,
}

impl Answer {
    /// Whether the service did what it was asked.
    pub(super) const fn is_ok(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The body as a `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.truncated {
            return Err("its answer is longer than `delivery.response_bytes_max`; set it higher".to_owned());
        }
        serde_json::from_slice(&self.body).map_err(|error| format!("its answer cannot be read: {error}"))
    }

    /// What it says of itself, short and in one line: the members that errors are told in, else the text.
    pub(super) fn text(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let members = ["error", "error_description", "errorMessage", "message"];
        let told: Vec<_> = members.iter().filter_map(|name| json.get(*name)?.as_str()).collect();
        let text = if told.is_empty() { String::from_utf8_lossy(&self.body).into_owned() } else { told.join(": ") };
        text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
    }

    /// Status and text, for people.
    pub(super) fn told(&self) -> String {
        match self.text() {
            text if text.is_empty() => self.status.to_string(),
            text => format!("{}: {text}", self.status),
        }
    }
}

impl Engine {
    /// One call; no answer is told in a sentence.
    pub(super) async fn wizard_call(&self, url: &str, sent: Sent, bearer: Option<&Secret>) -> Result<Answer, String> {
        let (method, content_type, body) = match sent {
            Sent::Nothing => ("GET", None, String::new()),
            Sent::Json(value) => ("POST", Some("application/json"), value.to_string()),
            Sent::Form(form) => ("POST", Some("application/x-www-form-urlencoded"), form),
        };
        let bearer = bearer.map(|token| Secret::new(format!("Bearer {}", token.expose())));
        let auth = bearer.map_or(Auth::None, |value| Auth::Authorization { value });
        let accept = ("accept".to_owned(), "application/json".to_owned());
        let content_type = content_type.map(|value| ("content-type".to_owned(), value.to_owned()));
        let outbound = Outbound {
            method,
            url,
            headers: std::iter::once(accept).chain(content_type).collect(),
            body: Bytes::from(body),
            compress: false,
            auth: &auth,
            sign: None,
            deadline: DEADLINE,
            response_bytes_max: ANSWER_BYTES_MAX,
            http1_title_case: false,
        };
        match self.egress.send(outbound).await {
            Ok(received) => {
                let response = received.response;
                Ok(Answer { status: response.status, body: response.body, truncated: response.truncated })
            }
            Err(failed) => Err(format!("{} ({})", failed.failure.message, failed.failure.code)),
        }
    }
}

/// A service that gives no answer that can be used.
pub(super) fn unusable(service: Service, why: impl AsRef<str>) -> VerbError {
    let message = format!("the service `{}` gave no answer that can be used: {}", service.key(), why.as_ref());
    VerbError::Refused { code: "service_unusable", invalid: Invalid::field(service.key(), message) }
}
