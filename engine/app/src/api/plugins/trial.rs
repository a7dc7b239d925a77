//! `POST /v1/plugins/{name}/try`: an event in, its request out; a response in, its verdict out.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
};
use engate_host::{CallRecord, OutgoingRequest};
use engate_model::{
    EndpointId, Timestamp,
    delivery::Response,
    plugin::Fault,
    verdict::{Failure, Verdict},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use crate::{
    api::{
        deliveries::by_name,
        extract::{At, BODY_BYTES_MAX, Caller, media_type, read_body, read_json},
        problem::Problem,
        text::shown,
    },
    engine::Engine,
    media_type::{JSON, is_json},
    verbs::plugins::{Judged, Shaped, Trial, TrialEvent, TrialNew},
};

/// What to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "event": {"type": "client-transaction", "payload": [{"idtransaction": 1, "idcliente": "01400-2", "valorpago": 10}]},
    "response": {"status": 200, "body": {"error": "busy"}}
}))]
pub(super) struct PluginTry {
    /// Version or channel; left out: `stable`, else the newest.
    #[schema(min_length = 1, max_length = 64)]
    version: Option<String>,
    /// Id of the endpoint whose URL, configuration and state are used; left out: a stand-in.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    endpoint: Option<EndpointId>,
    /// Configuration in the place of the endpoint's.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// The event.
    event: PluginTryEvent,
    /// What the partner is to have answered; left out: `interpret` is not tried.
    response: Option<PluginTryResponse>,
}

/// An event that need not exist.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginTryEvent {
    /// Key of its type.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 255)]
    event_type: String,
    /// What it is about.
    #[schema(min_length = 1, max_length = 255)]
    subject: Option<String>,
    /// Any JSON, its spelling kept; where `content_type` is not JSON, a text that is taken as it is.
    #[allow(dead_code, reason = "read again as spelled, see `Spelled`")]
    payload: Value,
    /// Media type of the payload; JSON where it is left out.
    #[schema(min_length = 1, max_length = 255)]
    content_type: Option<String>,
    /// When it happened; left out: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// Names and values.
    #[schema(value_type = Option<BTreeMap<String, crate::api::text::ValueText>>)]
    labels: Option<BTreeMap<String, String>>,
    /// Ties it to what caused it.
    #[schema(min_length = 1, max_length = 255)]
    correlation_id: Option<String>,
}

/// What the partner is to have answered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginTryResponse {
    /// HTTP status.
    #[schema(minimum = 100, maximum = 599)]
    status: u16,
    /// Names and values.
    #[schema(value_type = Option<BTreeMap<String, crate::api::text::ValueText>>)]
    headers: Option<BTreeMap<String, String>>,
    /// A text is taken as it is, other JSON as it is spelled.
    #[allow(dead_code, reason = "read again as spelled, see `Spelled`")]
    body: Option<Value>,
}

/// The parts whose spelling matters: 10.50 must not become 10.5.
#[derive(Deserialize)]
struct Spelled<'a> {
    #[serde(borrow)]
    event: SpelledEvent<'a>,
    #[serde(borrow)]
    response: Option<SpelledResponse<'a>>,
}

#[derive(Deserialize)]
struct SpelledEvent<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct SpelledResponse<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// What came of it: exactly one of `plan`, `skip`, `problem` and, where `transform` broke a rule, `fault`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginTried {
    /// `name@version` that ran.
    plugin: String,
    /// sha256 of its component, hexadecimal.
    digest: String,
    /// The merged configuration it saw.
    #[schema(value_type = Object)]
    config: Value,
    /// The request that would be sent.
    plan: Option<PluginTriedPlan>,
    /// Why nothing would be sent.
    skip: Option<String>,
    /// Why the plugin refused.
    problem: Option<PluginTriedProblem>,
    /// The limit or rule that the plugin broke, in `transform` or, beside a `plan`, in `interpret`.
    fault: Option<PluginTriedFault>,
    /// What the response means, where one was given.
    verdict: Option<PluginTriedVerdict>,
    /// What the plugin wrote.
    log: String,
    /// Ticks of 5 ms that the plugin itself ran.
    cpu_ticks: u32,
    /// Calls into the engine.
    host_calls: u32,
    /// Time of its calls, in microseconds.
    elapsed_us: u64,
    /// The most memory held at once.
    memory_peak_bytes: u64,
}

/// The plugin's part of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginTriedPlan {
    /// HTTP method.
    method: String,
    /// Absolute URL.
    url: String,
    /// By name in lower case; a list where a name comes more than once.
    #[schema(value_type = Object)]
    headers: Map<String, Value>,
    /// Body before compression, as text where it is UTF-8.
    body: String,
    /// `utf8` or `base64`.
    body_encoding: &'static str,
    /// Whether the engine would compress the body.
    compress: bool,
    /// What `transform` hands to `interpret`.
    memo: Option<String>,
}

/// A refusal of the plugin's own.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginTriedProblem {
    /// Stable code.
    code: String,
    /// For people.
    message: String,
    /// Whether another try could change it.
    retryable: bool,
}

/// A limit or rule that was broken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginTriedFault {
    /// Stable code.
    code: &'static str,
    /// For the plugin's developer.
    message: String,
}

/// What a response means.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct PluginTriedVerdict {
    /// `success`, `retry`, `fail` or `disable`.
    outcome: &'static str,
    /// Stable code.
    code: Option<String>,
    /// For people.
    message: Option<String>,
    /// The partner's own id for what it took.
    reference: Option<String>,
    /// The wait that the plugin asks for, in milliseconds.
    after_ms: Option<u64>,
    /// `plugin`, or `engine` where the manifest does not ask for this status.
    by: &'static str,
}

/// Runs an event, and a response where one is given, through an installed version. Nothing is sent or kept; what
/// goes wrong in the plugin is part of the answer.
#[utoipa::path(post, path = "/v1/plugins/{name}/try", tag = "plugins", operation_id = "plugin_try",
    params(("name" = String, Path, description = "Its name")), request_body = PluginTry,
    responses((status = 200, description = "What came of it", body = PluginTried),
        (status = 404, description = "There is no such plugin")))]
pub(super) async fn try_plugin(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(name): At<String>,
    request: Request,
) -> Result<Json<PluginTried>, Problem> {
    if !is_json(&media_type(request.headers())) {
        return Err(Problem::of("unsupported_media_type", "send JSON with `Content-Type: application/json`"));
    }
    let bytes = read_body(request.into_body(), BODY_BYTES_MAX).await?;
    let body: PluginTry = read_json(&bytes)?;
    let spelled: Spelled<'_> =
        serde_json::from_slice(&bytes).map_err(|error| Problem::of("invalid_json", error.to_string()))?;
    let trial = engine.plugin_try(&principal, &name, body.into_new(&spelled)).await?;
    Ok(Json(PluginTried::of(trial)))
}

impl PluginTry {
    fn into_new(self, spelled: &Spelled<'_>) -> TrialNew {
        let event = self.event;
        let content_type = event.content_type.unwrap_or_else(|| JSON.to_owned());
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let payload = spelled.event.payload.get();
        let payload = if is_json(&essence) { Cow::Borrowed(payload) } else { text_of(payload) };
        let body = spelled.response.as_ref().and_then(|response| response.body);
        let response = self.response.map(|response| Response {
            status: response.status,
            headers: response
                .headers
                .unwrap_or_default()
                .into_iter()
                .map(|(n, v)| (n.to_ascii_lowercase(), v))
                .collect(),
            body: body.map(|body| text_of(body.get()).into_owned().into_bytes()).unwrap_or_default(),
            truncated: false,
        });
        TrialNew {
            version: self.version,
            endpoint: self.endpoint,
            config: self.config,
            event: TrialEvent {
                event_type: event.event_type,
                subject: event.subject,
                payload: payload.into_owned().into_bytes(),
                content_type,
                occurred_at: event.occurred_at,
                labels: event.labels.unwrap_or_default().into_iter().collect(),
                correlation_id: event.correlation_id,
            },
            response,
        }
    }
}

/// The text that a JSON text means; any other JSON as it is spelled.
fn text_of(json: &str) -> Cow<'_, str> {
    serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned)
}

impl PluginTried {
    fn of(trial: Trial) -> Self {
        let Trial { plugin, digest, config, shaped, judged, transform, interpret } = trial;
        let (mut plan, mut skip, mut problem, mut fault) = (None, None, None, None);
        match shaped {
            Shaped::Send { request, memo } => plan = Some(PluginTriedPlan::of(request, memo)),
            Shaped::Skip(reason) => skip = Some(reason),
            Shaped::Refused(failure) => problem = Some(PluginTriedProblem::of(failure)),
            Shaped::Fault(broken) => fault = Some(PluginTriedFault::of(broken)),
        }
        let verdict = match judged {
            None => None,
            Some(Judged::ByPlugin(verdict)) => Some(PluginTriedVerdict::of(verdict, "plugin")),
            Some(Judged::ByStatus(verdict)) => Some(PluginTriedVerdict::of(verdict, "engine")),
            Some(Judged::Fault(broken)) => {
                fault = Some(PluginTriedFault::of(broken));
                None
            }
        };
        let calls: Vec<CallRecord> = std::iter::once(transform).chain(interpret).collect();
        let elapsed: std::time::Duration = calls.iter().map(|call| call.elapsed).sum();
        let memory = calls.iter().map(|call| call.memory_peak_bytes).max().unwrap_or_default();
        Self {
            plugin,
            digest,
            config,
            plan,
            skip,
            problem,
            fault,
            verdict,
            log: calls.iter().map(|call| call.log.as_str()).collect(),
            cpu_ticks: calls.iter().map(|call| call.cpu_ticks).sum(),
            host_calls: calls.iter().map(|call| call.host_calls).sum(),
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            memory_peak_bytes: u64::try_from(memory).unwrap_or(u64::MAX),
        }
    }
}

impl PluginTriedPlan {
    fn of(request: OutgoingRequest, memo: Option<String>) -> Self {
        let (body, body_encoding) = shown(request.body);
        Self {
            method: request.method,
            url: request.url,
            headers: by_name(request.headers),
            body,
            body_encoding,
            compress: request.compress,
            memo,
        }
    }
}

impl PluginTriedProblem {
    fn of(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, retryable: failure.retryable }
    }
}

impl PluginTriedFault {
    fn of(fault: Fault) -> Self {
        Self { code: fault.code.code(), message: fault.message }
    }
}

impl PluginTriedVerdict {
    fn of(verdict: Verdict, by: &'static str) -> Self {
        match verdict {
            Verdict::Success { reference } => Self { outcome: "success", reference, by, ..Self::default() },
            Verdict::Retry { code, message, after } => Self {
                outcome: "retry",
                code: Some(code),
                message: Some(message),
                after_ms: after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                by,
                ..Self::default()
            },
            Verdict::Fail { code, message } => {
                Self { outcome: "fail", code: Some(code), message: Some(message), by, ..Self::default() }
            }
            Verdict::Disable { message } => Self { outcome: "disable", message: Some(message), by, ..Self::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(body: &str) -> TrialNew {
        let typed: PluginTry = serde_json::from_str(body).unwrap();
        typed.into_new(&serde_json::from_str(body).unwrap())
    }

    #[test]
    fn payload_and_body_keep_their_spelling() {
        let new = tried(r#"{"event":{"type":"t","payload":{"v":10.50}},"response":{"status":200,"body":{"e":1.0}}}"#);
        assert_eq!(new.event.payload, br#"{"v":10.50}"#);
        assert_eq!(new.response.unwrap().body, br#"{"e":1.0}"#);
    }

    #[test]
    fn texts_are_taken_as_they_are_where_they_are_no_json() {
        let new = tried(
            r#"{"event":{"type":"t","content_type":"text/plain","payload":"a\nb"},"response":{"status":200,"body":"ok"}}"#,
        );
        assert_eq!(new.event.payload, b"a\nb");
        assert_eq!(new.response.unwrap().body, b"ok");
        let json = tried(r#"{"event":{"type":"t","payload":"a"}}"#);
        assert_eq!((json.event.payload.as_slice(), json.response), (br#""a""#.as_slice(), None));
    }
}
