//! Between the engine's types and those of the contract. What comes out is checked.

use std::time::Duration;

use engate_model::{
    plugin::{self as model, Fault, FaultCode, Limits},
    retry,
    verdict::{self, Failure},
};

use super::bindings::{
    engate::plugin::types::{HttpRequest, HttpResponse, Payload, Problem},
    exports::engate::plugin::{
        delivery::{Attempt, DeliveryInfo, Endpoint, Event, Exchange, Plan, Verdict},
        plugin::{InterpretWhen, Manifest, Need},
    },
};
use crate::{
    call::{self, AttemptView, CallContext, EventView, InterpretCall, OutgoingRequest, TransformCall},
    error::InstallError,
    log::{PluginLog, cut, printable},
    manifest::{SCHEMA_BYTES_MAX, bad},
    request::{self, MEMO_BYTES_MAX},
};

/// Longest code of a problem, in bytes.
const CODE_BYTES_MAX: usize = 64;
/// Longest message or reason, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Longest reference of a partner, in bytes.
const REFERENCE_BYTES_MAX: usize = 1 << 10;

/// The arguments of `transform`.
pub(super) fn transform(call: &TransformCall<'_>) -> (Event, DeliveryInfo, Endpoint, Attempt) {
    let context = &call.context;
    (event(&call.event), delivery(context), endpoint(context), attempt(context.attempt))
}

fn event(event: &EventView<'_>) -> Event {
    Event {
        id: event.id.to_string(),
        event_type: event.event_type.to_owned(),
        subject: event.subject.map(ToOwned::to_owned),
        occurred_at: event.occurred_at.as_millis(),
        content_type: event.content_type.to_owned(),
        data: payload(event.data),
        labels: event.labels.to_vec(),
    }
}

fn delivery(context: &CallContext<'_>) -> DeliveryInfo {
    let delivery = context.delivery;
    DeliveryInfo {
        id: delivery.id.to_string(),
        code: delivery.code.unsigned_abs(),
        created_at: delivery.created_at.as_millis(),
        tenant: delivery.tenant.to_string(),
        correlation_id: delivery.correlation_id.map(ToOwned::to_owned),
    }
}

fn endpoint(context: &CallContext<'_>) -> Endpoint {
    let endpoint = context.endpoint;
    Endpoint {
        id: endpoint.id.to_string(),
        url: endpoint.url.to_owned(),
        integrator: endpoint.integrator.to_owned(),
        labels: endpoint.labels.to_vec(),
    }
}

fn attempt(attempt: AttemptView) -> Attempt {
    Attempt { number: attempt.number, first_at: attempt.first_at.as_millis(), now: attempt.now.as_millis() }
}

/// The argument of `interpret`.
pub(super) fn exchange(call: &InterpretCall<'_>) -> Exchange {
    let response = call.response;
    Exchange {
        event_id: call.event_id.to_string(),
        event_type: call.event_type.to_owned(),
        subject: call.subject.map(ToOwned::to_owned),
        delivery: delivery(&call.context),
        endpoint: endpoint(&call.context),
        attempt: attempt(call.context.attempt),
        memo: call.memo.map(ToOwned::to_owned),
        response: HttpResponse {
            status: response.status,
            headers: response.headers.clone(),
            body: payload(&response.body),
            truncated: response.truncated,
            elapsed_ms: call.elapsed_ms,
        },
    }
}

pub(super) fn payload(bytes: &[u8]) -> Payload {
    if bytes.is_empty() {
        return Payload::Empty;
    }
    std::str::from_utf8(bytes).map_or_else(|_| Payload::Bytes(bytes.to_vec()), |text| Payload::Text(text.to_owned()))
}

/// What `transform` answered.
///
/// # Errors
/// A fault where its request cannot be sent or is too large.
pub(crate) fn plan(answer: Result<Plan, Problem>, limits: &Limits, log: &mut PluginLog) -> Result<call::Plan, Fault> {
    let outgoing = match answer {
        Err(problem) => return Ok(call::Plan::Refused(failure(problem))),
        Ok(Plan::Skip(reason)) => return Ok(call::Plan::Skip(printable(&reason, MESSAGE_BYTES_MAX))),
        Ok(Plan::Send(outgoing)) => outgoing,
    };
    if let Some(memo) = outgoing.memo.as_ref().filter(|memo| memo.len() > MEMO_BYTES_MAX) {
        let bytes = memo.len();
        return Err(Fault::new(
            FaultCode::OutputTooLarge,
            format!("a memo of {bytes} bytes; the limit is {MEMO_BYTES_MAX} bytes"),
        ));
    }
    let request = request::checked(outgoing_request(outgoing.request), limits, log)?;
    Ok(call::Plan::Send { request, memo: outgoing.memo })
}

pub(super) fn bytes(payload: Payload) -> Vec<u8> {
    match payload {
        Payload::Empty => Vec::new(),
        Payload::Text(text) => text.into_bytes(),
        Payload::Bytes(bytes) => bytes,
    }
}

/// A request as the plugin made it; nothing of it has been checked.
pub(crate) fn outgoing_request(request: HttpRequest) -> OutgoingRequest {
    OutgoingRequest {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: bytes(request.body),
        compress: request.compress,
        credential: request.credential,
    }
}

/// What `interpret` answered, with its texts cut to size and its wait clamped.
pub(crate) fn verdict(answer: Verdict) -> verdict::Verdict {
    match answer {
        Verdict::Success(reference) => {
            verdict::Verdict::Success { reference: reference.map(|text| printable(&text, REFERENCE_BYTES_MAX)) }
        }
        Verdict::Retry(retry) => verdict::Verdict::Retry {
            code: "retry".to_owned(),
            message: printable(&retry.reason, MESSAGE_BYTES_MAX),
            after: retry.after_ms.map(|ms| Duration::from_millis(ms).min(retry::WAIT_MAX)),
        },
        Verdict::Fail(problem) => {
            let Failure { code, message, retryable } = failure(problem);
            if retryable {
                verdict::Verdict::Retry { code, message, after: None }
            } else {
                verdict::Verdict::Fail { code, message }
            }
        }
        Verdict::DisableEndpoint(reason) => {
            verdict::Verdict::Disable { message: printable(&reason, MESSAGE_BYTES_MAX) }
        }
    }
}

pub(super) fn failure(problem: Problem) -> Failure {
    Failure {
        code: snake_case(&problem.code),
        message: printable(&problem.message, MESSAGE_BYTES_MAX),
        retryable: problem.retryable,
    }
}

/// Codes become metric labels and filters: whatever the plugin wrote, they are snake_case and short.
fn snake_case(code: &str) -> String {
    let mut out = String::new();
    for c in cut(code, 4 * CODE_BYTES_MAX).chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if out.len() >= CODE_BYTES_MAX {
            break;
        }
    }
    let out = out.trim_end_matches('_');
    if out.is_empty() { "plugin_problem".to_owned() } else { out.to_owned() }
}

/// What `describe` answered, of a plugin made for `worlds`.
///
/// # Errors
/// `bad_manifest` where the schema is too long or not JSON.
pub(crate) fn manifest(answer: Manifest, worlds: Vec<model::World>) -> Result<model::Manifest, InstallError> {
    if answer.config_schema.len() > SCHEMA_BYTES_MAX {
        let bytes = format!("{} bytes", answer.config_schema.len());
        return Err(bad("config_schema", &bytes, "at most 64 KiB are taken"));
    }
    let config_schema = serde_json::from_str(&answer.config_schema)
        .map_err(|error| bad("config_schema", "", &format!("it is not JSON: {error}")))?;
    let needs = |needs: Vec<Need>| {
        needs.into_iter().map(|need| model::Need { name: need.name, purpose: need.purpose }).collect()
    };
    Ok(model::Manifest {
        worlds,
        id: answer.id,
        version: answer.version,
        title: answer.title,
        config_schema,
        event_types: answer.event_types,
        interpret: match answer.interpret {
            InterpretWhen::Never => model::InterpretWhen::Never,
            InterpretWhen::Non2xx => model::InterpretWhen::Non2xx,
            InterpretWhen::Always => model::InterpretWhen::Always,
        },
        hosts: answer.hosts,
        credentials: needs(answer.credentials),
        secrets: needs(answer.secrets),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_snake_case_whatever_the_plugin_wrote() {
        for (code, forced) in [
            ("already_paid", "already_paid"),
            ("Already Paid!", "already_paid"),
            ("__x--y__", "x_y"),
            ("", "plugin_problem"),
            ("\x1b[31m", "31m"),
            ("é", "plugin_problem"),
        ] {
            assert_eq!(snake_case(code), forced, "{code:?}");
        }
        assert_eq!(snake_case(&"a".repeat(1 << 20)).len(), CODE_BYTES_MAX);
        assert!(snake_case(&"a_".repeat(1 << 20)).len() <= CODE_BYTES_MAX);
    }

    #[test]
    fn isolation_25_waits_are_clamped_and_messages_are_cut() {
        let retry = super::super::bindings::engate::plugin::types::Retry {
            after_ms: Some(u64::MAX),
            reason: "\x1b".repeat(1 << 20),
        };
        let verdict::Verdict::Retry { message, after, .. } = verdict(Verdict::Retry(retry)) else { panic!() };
        assert_eq!(after, Some(retry::WAIT_MAX));
        assert!(message.len() <= MESSAGE_BYTES_MAX && !message.contains('\x1b'));
    }

    #[test]
    fn a_payload_is_text_where_it_is_valid_utf8() {
        assert!(matches!(payload(b""), Payload::Empty));
        assert!(matches!(payload("é".as_bytes()), Payload::Text(text) if text == "é"));
        assert!(matches!(payload(b"\xff"), Payload::Bytes(bytes) if bytes == b"\xff"));
    }
}
