//! `/v1/events`: facts come in, and can be read again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use engate_model::{
    EndpointId, EventId, FieldError, Invalid, Timestamp,
    event::{Event, NoDelivery},
    explain::{self, Basis},
};
use engate_store::{EventFilter, Total};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::{IntoParams, ToSchema};

use super::{
    calls::{Call, Recorded},
    cloudevents,
    deliveries::DeliveryView,
    extract::{At, Caller, Params, media_type, read_body},
    intake::{self, EventsNew, Intake},
    page::{LIMIT_DEFAULT, Listing, cursor_id, cursor_write},
    permission::Permission,
    problem::Problem,
    routes::Routes,
    text::encoded,
};
use crate::{
    accept::{NotTaken, SCHEMA_MISMATCH, Taken},
    engine::Engine,
    media_type::is_json,
    verbs::{VerbError, events::Explained},
};

/// Largest body of a call that brings events, where payloads may not be larger than this by themselves.
const BODY_BYTES_MAX: usize = 16 << 20;
/// What may stand around one payload: attributes, labels, JSON.
const ENVELOPE_BYTES_MAX: usize = 128 << 10;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_send, Permission::SendEvents, send)
        .add(__path_list, Permission::ReadEvents, list)
        .add(__path_get, Permission::ReadEvents, get)
        .add(__path_explained, Permission::ReadEvents, explained)
}

/// What became of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventTaken {
    /// Its id; the first one's where it is a repeat.
    #[schema(value_type = String, example = "evt_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    id: EventId,
    /// How many endpoints it goes to.
    deliveries: u32,
    /// Whether it was there already.
    duplicate: bool,
    /// Why it goes to nobody: `webhooks_disabled`, `integrator_inactive`, `event_type_disabled` or `no_match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<NoDelivery>,
}

/// What became of several events, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsTaken {
    items: Vec<EventTaken>,
}

/// One answer for one event, a list for a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum SendAnswer {
    One(EventTaken),
    Many(EventsTaken),
}

impl From<Taken> for EventTaken {
    fn from(taken: Taken) -> Self {
        Self { id: taken.id, deliveries: taken.deliveries, duplicate: taken.duplicate, reason: taken.reason }
    }
}

/// A CloudEvent in its JSON form; attributes beyond these are extensions and become labels.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "7", "source": "/erp/billing", "type": "bill.paid", "data": {"amount": 10.50}
}))]
#[allow(dead_code, reason = "describes what `cloudevents` takes")]
struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// With `source` the idempotency key.
    id: String,
    /// URI reference of the producer; becomes the label `ce-source`.
    source: String,
    /// Key of the event type.
    r#type: String,
    /// What it is about.
    subject: Option<String>,
    /// When it happened.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// Media type of `data`; none: JSON.
    datacontenttype: Option<String>,
    /// Becomes the label `ce-dataschema`.
    dataschema: Option<String>,
    /// The payload; its spelling is kept.
    data: Option<Value>,
    /// The payload as base64, where it is no JSON and no text.
    data_base64: Option<String>,
}

/// Takes events in. When it answers, they are on disk; deliveries follow by themselves.
///
/// One event, an array of up to 1,000 (all or none, answered as `{items: [...]}` in order), or CloudEvents 1.0:
/// structured, batch, or binary (`ce-` headers and a body of any content type). `id`, for CloudEvents `source`
/// and `id`, is the idempotency key: a repeat answers 200 with `duplicate: true` and the first one's id, the same
/// key with another body is 409 `id_conflict`. 202 when anything was new.
#[utoipa::path(post, path = "/v1/events", tag = "events", operation_id = "event_send",
    request_body(content(
        (EventsNew = "application/json"),
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (Vec<u8> = "application/octet-stream"),
    ), description = "Any other content type is taken with `ce-` headers only."),
    responses(
        (status = 202, description = "Taken", body = SendAnswer),
        (status = 200, description = "Nothing new: all were there already", body = SendAnswer),
        (status = 409, description = "`id_conflict`: the id was used before with another body"),
        (status = 422, description = "`schema_mismatch`: a payload does not meet the schema of its event type; `field` is `payload` \
            and the JSON Pointer into it"),
    ))]
async fn send(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    request: Request,
) -> Result<Response, Problem> {
    let call = request.extensions().get::<Arc<Call>>().cloned();
    let entry = call.and_then(|call| call.of_accept(StatusCode::ACCEPTED.as_u16(), StatusCode::OK.as_u16()));
    let recorded = entry.is_some();
    let Intake { events, many } = read(request, engine.config.limits.payload_bytes_max).await?;
    intake::check_ahead(&events, many, engine.now())?;
    let taken = engine.event_send(&principal, events, entry).await.map_err(|error| not_taken(error, many))?;
    let status = if taken.iter().all(|taken| taken.duplicate) { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut items: Vec<EventTaken> = taken.into_iter().map(EventTaken::from).collect();
    let answer = match items.pop() {
        Some(one) if !many => SendAnswer::One(one),
        last => {
            items.extend(last);
            SendAnswer::Many(EventsTaken { items })
        }
    };
    let mut response = (status, Json(answer)).into_response();
    if recorded {
        response.extensions_mut().insert(Recorded);
    }
    Ok(response)
}

/// Reads the events of a call in whichever form they came.
async fn read(request: Request, payload_bytes_max: usize) -> Result<Intake, Problem> {
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers);
    let binary = !media_type.starts_with("application/cloudevents") && cloudevents::is_binary(&parts.headers);
    if !binary && !is_json(&media_type) {
        let detail = "send `application/json`, `application/cloudevents+json`, `application/cloudevents-batch+json`, or \
                      any content type with `ce-` headers";
        return Err(Problem::of("unsupported_media_type", detail));
    }
    // base64 makes four bytes of three.
    let limit = BODY_BYTES_MAX.max(payload_bytes_max / 3 * 4 + ENVELOPE_BYTES_MAX);
    let bytes = read_body(body, limit).await?;
    match media_type.as_str() {
        _ if binary => cloudevents::read_binary(&parts.headers, &bytes, payload_bytes_max),
        cloudevents::STRUCTURED => cloudevents::read_structured(&bytes, false, payload_bytes_max),
        cloudevents::BATCH => cloudevents::read_structured(&bytes, true, payload_bytes_max),
        _ => intake::read(&bytes, payload_bytes_max),
    }
}

fn not_taken(error: NotTaken, many: bool) -> Problem {
    let field = match error {
        NotTaken::IdConflict { index } => Some(intake::placed(many, index, "id")),
        NotTaken::SchemaMismatch(found) => {
            let invalid = Invalid(found.into_errors(|index, field| intake::placed(many, index, field)));
            return VerbError::Refused { code: SCHEMA_MISMATCH, invalid }.into();
        }
        NotTaken::Store(_) => None,
    };
    let problem = Problem::from(VerbError::from(error));
    match field {
        Some(field) => problem.with_errors(vec![FieldError {
            field,
            message: "was used before with another body; a new fact needs a new id".to_owned(),
        }]),
        None => problem,
    }
}

/// An event as it was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    #[schema(value_type = String)]
    id: EventId,
    r#type: String,
    subject: Option<String>,
    /// JSON where it is JSON, else a text of base64; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
    /// `json` or `base64`; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<&'static str>,
    payload_bytes: usize,
    content_type: String,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// Before when it is not delivered.
    #[schema(value_type = Option<String>, format = DateTime)]
    deliver_at: Option<Timestamp>,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    labels: Map<String, Value>,
    correlation_id: Option<String>,
    /// The producer's own id.
    idempotency_key: Option<String>,
    /// Why it went to nobody.
    #[schema(value_type = Option<String>)]
    reason: Option<NoDelivery>,
}

impl EventView {
    fn without_payload(event: Event) -> Self {
        Self {
            id: event.id,
            r#type: event.event_type,
            subject: event.subject,
            payload: None,
            payload_encoding: None,
            payload_bytes: event.payload.len(),
            content_type: event.content_type,
            occurred_at: event.occurred_at,
            accepted_at: event.accepted_at,
            deliver_at: event.deliver_at,
            labels: event.labels.into_iter().map(|(name, value)| (name, Value::String(value))).collect(),
            correlation_id: event.correlation_id,
            idempotency_key: event.idempotency_key,
            reason: event.reason,
        }
    }

    fn of(mut event: Event) -> Self {
        let bytes = std::mem::take(&mut event.payload);
        let payload_bytes = bytes.len();
        // JSON by its content type and in fact; anything else is shown byte by byte.
        let says_json = is_json(event.content_type.split(';').next().unwrap_or_default().trim());
        let spelled = if says_json { serde_json::from_slice::<Box<RawValue>>(&bytes).ok() } else { None };
        let (payload, encoding) = match spelled {
            Some(payload) => (Some(payload), "json"),
            None => (serde_json::value::to_raw_value(&encoded(&bytes)).ok(), "base64"),
        };
        Self { payload, payload_bytes, payload_encoding: Some(encoding), ..Self::without_payload(event) }
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// Of this type only.
    #[param(min_length = 1, max_length = 255)]
    event_type: Option<String>,
    /// Taken at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    accepted_from: Option<Timestamp>,
    /// Taken before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    accepted_to: Option<Timestamp>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// Lists events, the newest first, without their payloads.
///
/// Beyond 10,000 `total` is that number and `total_estimated` is true.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "event_list", params(EventQuery),
    responses((status = 200, description = "One page", body = Listing<EventView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(query): Params<EventQuery>,
) -> Result<Json<Listing<EventView>>, Problem> {
    let after = query.cursor.as_deref().map(cursor_id).transpose()?;
    let filter = EventFilter {
        event_type: query.event_type,
        accepted_from: query.accepted_from,
        accepted_before: query.accepted_to,
    };
    let page = engine.event_list(&principal, &filter, after, query.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let next = page.next.map(|id| cursor_write(&id.to_string()));
    let items: Vec<_> = page.items.into_iter().map(EventView::without_payload).collect();
    let Total { count, exact } = page.total;
    Ok(Json(Listing { items, total: Some(count), total_estimated: !exact, next }))
}

/// An event with its payload.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events", operation_id = "event_get",
    params(("id" = String, Path, description = "The event's id")),
    responses((status = 200, description = "The event", body = EventView), (status = 404, description = "No such event")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EventId>,
) -> Result<Json<EventView>, Problem> {
    Ok(Json(EventView::of(engine.event_get(&principal, id).await?)))
}

/// Which endpoint.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    /// Id of the endpoint.
    #[param(value_type = String, min_length = 1, max_length = 255)]
    endpoint: EndpointId,
}

/// Why an endpoint did or did not get an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "event": "evt_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "endpoint": "ep_0192f0c1a2b37c4d8e5f60718293a4b5",
    "code": "filtered", "message": "The endpoint's filter said no.", "basis": "record",
    "clause": {"place": "filter.all[0]", "clause": {"path": "/total", "gte": 100}, "basis": "unchanged_configuration"},
    "delivery": null
}))]
pub(crate) struct EventExplanation {
    #[schema(value_type = String)]
    event: EventId,
    #[schema(value_type = String)]
    endpoint: EndpointId,
    /// `delivered`, `waiting`, `in_progress`, `failed`, `superseded`; why it waits (`paused`, `endpoint_failing`,
    /// `endpoint_disabled`, `plugin_faulty`); why it does not go (`filtered`, `endpoint_disabled`, `plugin_skipped`, or
    /// why it was called off); or why there is no delivery: `not_subscribed`, `endpoint_younger`, `webhooks_disabled`,
    /// `integrator_inactive`, for the engine's own facts also `unverified` and `not_its_own`, else
    /// `configuration_changed`.
    code: String,
    /// For people.
    message: &'static str,
    /// What the code stands on: what was written down with the event (`record`), the configuration, which has not been
    /// edited since (`unchanged_configuration`), or that of today (`present_configuration`).
    #[schema(value_type = String)]
    basis: Basis,
    /// The filter's clause that says no; null where none does.
    clause: Option<ExplainedClause>,
    /// The delivery, where there is one.
    delivery: Option<DeliveryView>,
}

/// A clause that says no.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainedClause {
    /// Where it stands: `filter.all[1]`.
    place: String,
    /// What it says.
    #[schema(value_type = Option<Object>)]
    clause: Option<Value>,
    /// Whether the filter is the one of then.
    #[schema(value_type = String)]
    basis: Basis,
}

/// Tells why an endpoint did or did not get an event: from what was written down where that says it, else judged by the
/// configuration, and marked so.
#[utoipa::path(get, path = "/v1/events/{id}/explain", tag = "events", operation_id = "event_explain",
    params(("id" = String, Path, description = "The event's id"), ExplainQuery),
    responses((status = 200, description = "Why", body = EventExplanation),
        (status = 404, description = "No such event, or no such endpoint")))]
async fn explained(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EventId>,
    Params(query): Params<ExplainQuery>,
) -> Result<Json<EventExplanation>, Problem> {
    let Explained { explanation, clause, delivery } = engine.event_explain(&principal, id, query.endpoint).await?;
    let names = engine.views.get(&engine.store, principal.tenant).await?;
    Ok(Json(EventExplanation {
        event: id,
        endpoint: query.endpoint,
        message: explain::meaning(&explanation.code),
        code: explanation.code,
        basis: explanation.basis,
        clause: explanation.clause.map(|(place, basis)| ExplainedClause { place, clause, basis }),
        delivery: delivery.map(|delivery| DeliveryView::of(delivery, &names)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engate_model::TenantId;

    fn event(content_type: &str, payload: &[u8]) -> Event {
        let at = Timestamp::from_millis(1);
        Event {
            id: EventId::new(at, 1),
            tenant: TenantId::new(at, 1),
            event_type: "t".into(),
            subject: None,
            payload: payload.to_vec(),
            content_type: content_type.into(),
            occurred_at: at,
            accepted_at: at,
            deliver_at: None,
            labels: vec![],
            correlation_id: None,
            idempotency_key: None,
            reason: None,
        }
    }

    #[test]
    fn a_payload_is_shown_as_spelled_or_byte_by_byte() {
        let shown =
            |content_type, payload: &[u8]| serde_json::to_string(&EventView::of(event(content_type, payload))).unwrap();
        let json = shown("application/json; charset=utf-8", br#"{"b":10.50,"a":1}"#);
        assert!(json.contains(r#""payload":{"b":10.50,"a":1},"payload_encoding":"json""#), "{json}");
        assert!(shown("application/json", b"{").contains(r#""payload":"ew==","payload_encoding":"base64""#));
        assert!(shown("text/plain", b"1").contains(r#""payload":"MQ==","payload_encoding":"base64""#));
    }
}
