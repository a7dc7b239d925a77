//! `/v1/deliveries`: what became of events, and what to do about it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, Invalid, Timestamp,
    delivery::{Attempt, Delivery, DeliveryState, Request, Response, Trigger},
};
use engate_store::{DeliveryFilter, Order, Page, SuccessFilter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{At, Caller, Params},
    page::{LIMIT_DEFAULT, Listing, PageParams, cursor_read, cursor_write},
    permission::Permission,
    problem::Problem,
    routes::Routes,
    text::shown,
};
use crate::engine::Engine;

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_list, Permission::ReadDeliveries, list)
        .add(__path_get, Permission::ReadDeliveries, get)
        .add(__path_attempts, Permission::ReadDeliveries, attempts)
        .add(__path_retry, Permission::ManageDeliveries, retry)
        .add(__path_cancel, Permission::ManageDeliveries, cancel)
}

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

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
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

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Success {
    Yes,
    No,
    Pending,
}

/// The order of a list; `-` means the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
enum Sort {
    #[serde(rename = "code")]
    Code,
    #[default]
    #[serde(rename = "-code")]
    CodeDescending,
    #[serde(rename = "created_at")]
    CreatedAt,
    #[serde(rename = "-created_at")]
    CreatedAtDescending,
}

impl Sort {
    /// Codes are given in the order of acceptance, so both columns order alike.
    fn order(self) -> Order {
        match self {
            Self::Code | Self::CreatedAt => Order::Ascending,
            Self::CodeDescending | Self::CreatedAtDescending => Order::Descending,
        }
    }
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// In one of these states, comma-separated.
    #[param(value_type = Option<Vec<StateName>>, style = Form, explode = false, min_items = 1, max_items = 8)]
    state: Option<Vec<DeliveryState>>,
    /// By how the last attempt ended.
    #[param(inline)]
    success: Option<Success>,
    /// Id or slug of an integrator.
    #[param(min_length = 1, max_length = 255)]
    integrator: Option<String>,
    /// Key of an event type.
    #[param(min_length = 1, max_length = 255)]
    event_type: Option<String>,
    /// Id of an endpoint.
    #[param(value_type = Option<String>, min_length = 1, max_length = 255)]
    endpoint: Option<EndpointId>,
    /// Id of an event.
    #[param(value_type = Option<String>, min_length = 1, max_length = 255)]
    event: Option<EventId>,
    /// Of events taken at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    created_from: Option<Timestamp>,
    /// Of events taken before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    created_to: Option<Timestamp>,
    /// The order; `-code` where nothing is said.
    #[param(inline)]
    sort: Option<Sort>,
    /// Items a page holds at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before, under the same filters and order; none: the first page.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// Lists deliveries, the newest first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "deliveries", operation_id = "delivery_list", params(DeliveryQuery),
    responses((status = 200, description = "One page", body = Listing<DeliveryView>)))]
async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(query): Params<DeliveryQuery>,
) -> Result<Json<Listing<DeliveryView>>, Problem> {
    let order = query.sort.unwrap_or_default().order();
    let page = Page {
        after: query.cursor.as_deref().map(|cursor| place_read(cursor, order)).transpose()?,
        limit: query.limit.unwrap_or(LIMIT_DEFAULT),
        order,
    };
    let filter = DeliveryFilter {
        states: query.state.unwrap_or_default(),
        success: query.success.map(|success| match success {
            Success::Yes => SuccessFilter::Yes,
            Success::No => SuccessFilter::No,
            Success::Pending => SuccessFilter::Pending,
        }),
        integrator: None,
        endpoint: query.endpoint,
        event: query.event,
        event_type: query.event_type,
        created_from: query.created_from,
        created_before: query.created_to,
    };
    let page = engine.delivery_list(&principal, filter, query.integrator.as_deref(), page).await?;
    Ok(Json(Listing {
        items: page.items.into_iter().map(DeliveryView::from).collect(),
        total: Some(page.total.count),
        total_estimated: !page.total.exact,
        next: page.next.map(|code| place_write(code, order)),
    }))
}

/// A place in the list: direction and code, so that a cursor is not taken up in another order.
fn place_write(code: i64, order: Order) -> String {
    cursor_write(&match order {
        Order::Ascending => format!("+{code}"),
        Order::Descending => format!("-{code}"),
    })
}

fn place_read(cursor: &str, order: Order) -> Result<i64, Invalid> {
    let place = cursor_read(cursor)?;
    let sign = match order {
        Order::Ascending => '+',
        Order::Descending => '-',
    };
    let code = place.strip_prefix(sign).and_then(|code| code.parse().ok());
    code.ok_or_else(|| Invalid::field("cursor", "not a cursor of this list in this order; begin again without one"))
}

/// A delivery.
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "deliveries", operation_id = "delivery_get",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "The delivery", body = DeliveryView), (status = 404, description = "No such delivery")))]
async fn get(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
) -> Result<Json<DeliveryView>, Problem> {
    Ok(Json(engine.delivery_get(&principal, id).await?.into()))
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
        let (body, body_encoding) = shown(request.body);
        Self { method: request.method, url: request.url, headers: by_name(request.headers), body, body_encoding }
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

fn without_cut_character(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    bytes
}

pub(super) fn by_name(headers: Vec<(String, String)>) -> Map<String, Value> {
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

/// Every try of a delivery, the first one first.
#[utoipa::path(get, path = "/v1/deliveries/{id}/attempts", tag = "deliveries", operation_id = "attempt_list",
    params(("id" = String, Path, description = "The delivery's id"), PageParams),
    responses((status = 200, description = "One page", body = Listing<AttemptView>), (status = 404, description = "No such delivery")))]
async fn attempts(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<AttemptView>>, Problem> {
    let attempts = engine.attempt_list(&principal, id).await?;
    Ok(Json(page.cut(attempts, |attempt| attempt.number, AttemptView::from)?))
}

/// Has a delivery tried again now. It need not have failed for good: one that waits for its next try goes now.
#[utoipa::path(post, path = "/v1/deliveries/{id}/retry", tag = "deliveries", operation_id = "delivery_retry",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 202, description = "It is tried now", body = DeliveryView),
        (status = 404, description = "No such delivery"),
        (status = 409, description = "`in_progress`, or `not_allowed_in_state`: it succeeded or was superseded")))]
async fn retry(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(engine.delivery_retry(&principal, id).await?.into())))
}

/// Calls off a delivery that waits.
#[utoipa::path(post, path = "/v1/deliveries/{id}/cancel", tag = "deliveries", operation_id = "delivery_cancel",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "Called off", body = DeliveryView),
        (status = 404, description = "No such delivery"),
        (status = 409, description = "`in_progress`, or `not_allowed_in_state`: it is finished")))]
async fn cancel(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<DeliveryId>,
) -> Result<Json<DeliveryView>, Problem> {
    Ok(Json(engine.delivery_cancel(&principal, id).await?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::extract::read_query;

    #[test]
    fn a_cursor_is_bound_to_its_order() {
        let cursor = place_write(42, Order::Descending);
        assert_eq!(place_read(&cursor, Order::Descending), Ok(42));
        assert!(place_read(&cursor, Order::Ascending).is_err());
    }

    #[test]
    fn filters_are_read_and_what_is_wrong_is_named() {
        let query: DeliveryQuery = read_query("state=pending,failed&success=no&sort=-code&limit=5").unwrap();
        assert_eq!(query.state, Some(vec![DeliveryState::Pending, DeliveryState::Failed]));
        assert_eq!((query.sort, query.limit), (Some(Sort::CodeDescending), Some(5)));
        let wrong = "state=lost&success=maybe&sort=reason&limit=501&created_from=today&integrated_from=x&zzz=1";
        let mut fields: Vec<_> =
            read_query::<DeliveryQuery>(wrong).unwrap_err().0.into_iter().map(|e| e.field).collect();
        fields.sort();
        assert_eq!(fields, ["created_from", "integrated_from", "limit", "sort", "state[0]", "success", "zzz"]);
        let id = read_query::<DeliveryQuery>("event=evt_1").unwrap_err();
        assert_eq!(id.0.first().unwrap().field, "event");
        assert!(read_query::<DeliveryQuery>("limit=1&limit=2").is_err());
    }

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
