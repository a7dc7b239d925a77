//! Deliveries and attempts as the API shows them.

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, Timestamp,
    delivery::{Attempt, Delivery, DeliveryState, Request, Response, Trigger},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{api::text::shown, views::View};

/// One event for one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// Goes out as `webhook-id`, the same on every attempt.
    #[schema(value_type = String)]
    id: DeliveryId,
    /// The running number people see.
    code: i64,
    #[schema(value_type = String)]
    event: EventId,
    event_type: String,
    subject: Option<String>,
    #[schema(value_type = String)]
    endpoint: EndpointId,
    #[schema(value_type = String)]
    integrator: IntegratorId,
    /// The integrator's name in the register; null where it is not known here.
    integrator_name: Option<String>,
    #[schema(value_type = StateName)]
    state: DeliveryState,
    /// True when it succeeded; false when the last attempt failed, even if a retry is due; null otherwise.
    success: Option<bool>,
    /// Stable code of what last went wrong, or why it was skipped.
    reason: Option<String>,
    /// Tries made.
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// When it succeeded.
    #[schema(value_type = Option<String>, format = DateTime)]
    integrated_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    correlation_id: Option<String>,
}

/// Where a delivery stands.
#[derive(ToSchema)]
#[schema(as = DeliveryState, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes engate_model's DeliveryState")]
pub(crate) enum StateName {
    Pending,
    Delivering,
    Succeeded,
    Failed,
    Superseded,
    Skipped,
    Cancelled,
    Parked,
}

impl DeliveryView {
    /// As the API shows it, with names as the configuration has them.
    pub(crate) fn of(delivery: Delivery, names: &View) -> Self {
        Self {
            integrator_name: names.catalog.integrator(delivery.integrator).map(|integrator| integrator.name.clone()),
            id: delivery.id,
            code: delivery.code,
            event: delivery.event,
            event_type: delivery.event_type,
            subject: delivery.subject,
            endpoint: delivery.endpoint,
            integrator: delivery.integrator,
            state: delivery.state,
            success: delivery.success,
            reason: delivery.reason,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            last_attempt_at: delivery.last_attempt_at,
            integrated_at: delivery.integrated_at,
            next_attempt_at: delivery.next_attempt_at,
            correlation_id: delivery.correlation_id,
        }
    }
}

/// One try, exactly as on the wire; secrets are masked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// 1, 2, 3 ... within the delivery.
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `event`, `retry` or `manual`.
    #[schema(value_type = String)]
    trigger: Trigger,
    /// `name@version`; null for the engine's own behaviour.
    plugin: Option<String>,
    /// sha256 of the plugin's component.
    plugin_digest: Option<String>,
    /// Null where nothing was sent.
    request: Option<RequestView>,
    /// Null where nothing came back.
    response: Option<ResponseView>,
    verdict: VerdictView,
    duration_ms: f64,
}

/// A request as it went out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestView {
    method: String,
    url: String,
    /// By name as spelled; a name sent several times has a list of texts.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    headers: Map<String, Value>,
    /// Before compression.
    body: String,
    /// `utf8` or `base64`.
    body_encoding: &'static str,
    /// False where the body was the event's payload, which is kept no longer: `body` is empty then.
    body_kept: bool,
}

/// A response as it came in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResponseView {
    status: u16,
    /// By name; a name sent several times has a list of texts.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    headers: Map<String, Value>,
    /// After decompression.
    body: String,
    /// `utf8` or `base64`.
    body_encoding: &'static str,
    /// Whether it was longer than what is kept.
    truncated: bool,
}

/// How a try was judged.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerdictView {
    /// `success`, `retry`, `fail`, `disable`, `transport_error`, `plugin_fault` or `skipped`.
    outcome: String,
    /// Stable code of what went wrong.
    code: Option<String>,
    /// For people; the partner's own id where it succeeded.
    message: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at,
            trigger: attempt.trigger,
            plugin: attempt.plugin,
            plugin_digest: attempt.plugin_digest,
            request: attempt.request.map(RequestView::from),
            response: attempt.response.map(ResponseView::from),
            verdict: VerdictView { outcome: attempt.outcome, code: attempt.code, message: attempt.message },
            duration_ms: attempt.duration.as_secs_f64() * 1_000.0,
        }
    }
}

impl From<Request> for RequestView {
    fn from(request: Request) -> Self {
        let Request { method, url, headers, body, body_kept } = request;
        let (body, body_encoding) = shown(body);
        Self { method, url, headers: by_name(headers), body, body_encoding, body_kept }
    }
}

impl From<Response> for ResponseView {
    fn from(response: Response) -> Self {
        // A cut may fall inside a character; what is left of it is not worth base64 of all the rest.
        let bytes = if response.truncated { without_cut_character(response.body) } else { response.body };
        let (body, body_encoding) = shown(bytes);
        let (status, headers, truncated) = (response.status, by_name(response.headers), response.truncated);
        Self { status, headers, body, body_encoding, truncated }
    }
}

impl ResponseView {
    /// The body, how it is written, and whether it was cut.
    pub(in crate::api) fn into_body(self) -> (String, &'static str, bool) {
        (self.body, self.body_encoding, self.truncated)
    }
}

fn without_cut_character(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    bytes
}

pub(crate) fn by_name(headers: Vec<(String, String)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in headers {
        match map.get_mut(&name) {
            None => drop(map.insert(name, Value::String(value))),
            Some(Value::Array(values)) => values.push(Value::String(value)),
            Some(first) => *first = Value::Array(vec![first.take(), Value::String(value)]),
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_sent_twice_keep_both_values() {
        let headers = [("A", "1"), ("b", "2"), ("A", "3"), ("A", "4")];
        let map = by_name(headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec());
        assert_eq!(Value::Object(map).to_string(), r#"{"A":["1","3","4"],"b":"2"}"#);
    }

    #[test]
    fn a_cut_inside_a_character_leaves_text() {
        let body = "aç".as_bytes().iter().copied().take(2).collect();
        assert_eq!(without_cut_character(body), b"a");
    }
}
