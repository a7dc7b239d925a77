//! What people do with one endpoint's versions: its catalogue, sending now, trying it with an example.

use std::sync::Arc;

use axum::{Json, extract::State};
use engate_model::{
    DeliveryId, EndpointId, EventId, Timestamp,
    delivery::{Attempt, NotificationStatus, Trigger},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    api::{
        deliveries::ResponseView,
        extract::{At, Body, Caller},
        permission::Permission,
        problem::Problem,
        routes::Routes,
    },
    engine::Engine,
    verbs::endpoints::{
        actions::{Sent, SentAll, Which},
        catalog::CatalogEntry,
        trial::Trial,
    },
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_catalog, Permission::ReadEndpoints, catalog)
        .add(__path_send, Permission::ManageDeliveries, send)
        .add(__path_send_all, Permission::ManageDeliveries, send_all)
        .add(__path_resend_pending, Permission::ManageDeliveries, resend_pending)
        .add(__path_test, Permission::ManageDeliveries, test)
}

/// How the last notification of an event type went.
#[derive(ToSchema)]
#[schema(as = NotificationStatus, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes engate_model's NotificationStatus")]
pub(crate) enum StatusName {
    NeverSent,
    Success,
    Failed,
    Pending,
}

/// The catalogue of event types as one endpoint has it: a tree of two levels.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointCatalog, example = json!({
    "endpoint": "ep_0192f0c1a2b37c4d8e5f60718293a4b5",
    "groups": [{"macro_process": "Operação", "processes": [{"process": "Tempo real", "event_types": [{
        "key": "boletim.diario", "title": "Boletim Diário da Operação", "system": false, "subscribed": true,
        "status": "failed", "at": "2026-01-31T12:00:00.000000Z", "code": 17, "reason": "server_error", "attempts": 2,
        "delivery": "dlv_0192f0c1a2b37c4d8e5f60718293a4b5"
    }]}]}]
}))]
pub(crate) struct CatalogView {
    /// Whose catalogue.
    #[schema(value_type = String)]
    endpoint: EndpointId,
    /// First level of the tree.
    groups: Vec<CatalogGroup>,
}

/// A macro-process of the catalogue; empty for types that are not placed in the tree.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CatalogGroup {
    macro_process: String,
    /// Second level of the tree.
    processes: Vec<CatalogProcess>,
}

/// A process of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CatalogProcess {
    process: String,
    /// Its event types.
    event_types: Vec<CatalogType>,
}

/// An event type as one endpoint has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CatalogType {
    key: String,
    title: String,
    /// Defined by the engine.
    system: bool,
    /// Whether the endpoint gets its events.
    subscribed: bool,
    /// How the last notification that was not skipped went: by its last attempt, even if another one is due.
    #[schema(value_type = StatusName)]
    status: NotificationStatus,
    /// When it was last tried; while it waits for its first try, when its event was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Its running number.
    code: Option<i64>,
    /// Stable code of what went wrong.
    reason: Option<String>,
    /// Its tries so far.
    attempts: Option<u32>,
    #[schema(value_type = Option<String>)]
    delivery: Option<DeliveryId>,
}

impl CatalogView {
    /// The tree of `entries`, which come by their place in it.
    fn of(endpoint: EndpointId, entries: Vec<CatalogEntry>) -> Self {
        let mut groups: Vec<CatalogGroup> = Vec::new();
        for entry in entries {
            let (macro_process, process) = (&entry.event_type.macro_process, &entry.event_type.process);
            if groups.last().is_none_or(|group| group.macro_process != *macro_process) {
                groups.push(CatalogGroup { macro_process: macro_process.clone(), processes: Vec::new() });
            }
            let Some(group) = groups.last_mut() else { continue };
            if group.processes.last().is_none_or(|last| last.process != *process) {
                group.processes.push(CatalogProcess { process: process.clone(), event_types: Vec::new() });
            }
            let Some(process) = group.processes.last_mut() else { continue };
            process.event_types.push(entry.into());
        }
        Self { endpoint, groups }
    }
}

impl From<CatalogEntry> for CatalogType {
    fn from(entry: CatalogEntry) -> Self {
        let CatalogEntry { event_type, subscribed, status, last } = entry;
        let last = last.as_ref();
        Self {
            key: event_type.key,
            title: event_type.title,
            system: event_type.system,
            subscribed,
            status,
            at: last.map(|last| last.last_attempt_at.unwrap_or(last.created_at)),
            code: last.map(|last| last.code),
            reason: last.and_then(|last| last.reason.clone()),
            attempts: last.map(|last| last.attempts),
            delivery: last.map(|last| last.id),
        }
    }
}

/// How a sending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SendOutcome {
    /// The partner took it.
    Success,
    /// It did not, or could not be reached.
    Failed,
    /// The plugin said that it need not go.
    Skipped,
}

/// A version that was sent, and how it went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sending, example = json!({
    "event_type": "boletim.diario", "outcome": "failed", "code": "server_error", "message": "the partner answered 500",
    "status_code": 500, "latency_ms": 12.5, "response_body": "", "response_body_encoding": "utf8",
    "response_truncated": false, "event": "evt_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
    "delivery": "dlv_0192f0c1a2b37c4d8e5f60718293a4b5", "attempt": 3, "trigger": "manual", "joined": false
}))]
pub(crate) struct SentView {
    event_type: String,
    outcome: SendOutcome,
    /// Stable code of what went wrong (`connect_refused`).
    code: Option<String>,
    /// For people; the partner's own id where it succeeded.
    message: Option<String>,
    /// HTTP status of the answer; null where none came.
    status_code: Option<u16>,
    /// How long the attempt took, in milliseconds.
    latency_ms: f64,
    /// The answer's body, after decompression; null where none came.
    response_body: Option<String>,
    /// `utf8` or `base64`.
    response_body_encoding: Option<&'static str>,
    /// Whether the body was longer than what is kept.
    response_truncated: bool,
    #[schema(value_type = String)]
    event: EventId,
    /// `/v1/deliveries/{id}/attempts` tells all of it.
    #[schema(value_type = String)]
    delivery: DeliveryId,
    /// Number of the attempt within the delivery.
    attempt: u32,
    /// `manual`; `event` or `retry` where an attempt of the engine's own was joined.
    #[schema(value_type = String)]
    trigger: Trigger,
    /// Whether the attempt was under way already: then its outcome is told instead of making another one beside it.
    joined: bool,
}

impl From<Sent> for SentView {
    fn from(sent: Sent) -> Self {
        let Attempt { number, trigger, response, outcome, code, message, duration, .. } = sent.attempt;
        let status_code = response.as_ref().map(|response| response.status);
        let response = response.map(ResponseView::from);
        let (response_truncated, body) = response.map_or((false, None), |response| {
            let (body, encoding, truncated) = response.into_body();
            (truncated, Some((body, encoding)))
        });
        let (response_body, response_body_encoding) = body.unzip();
        Self {
            event_type: sent.event_type,
            outcome: match outcome.as_str() {
                "success" => SendOutcome::Success,
                "skipped" => SendOutcome::Skipped,
                _ => SendOutcome::Failed,
            },
            code,
            message,
            status_code,
            latency_ms: duration.as_secs_f64() * 1_000.0,
            response_body,
            response_body_encoding,
            response_truncated,
            event: sent.event,
            delivery: sent.delivery,
            attempt: number,
            trigger,
            joined: sent.joined,
        }
    }
}

/// What became of all versions that were to be sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sendings)]
pub(crate) struct SentAllView {
    /// Those that were sent, each with its outcome, by key.
    sent: Vec<SentView>,
    /// Those that were not.
    skipped: Vec<SkippedView>,
    /// How many of those sent the partner took.
    succeeded: usize,
    /// How many it did not take.
    failed: usize,
}

/// A version that was not sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SendingSkipped, example = json!({"event_type": "boletim.mensal", "reason": "never_published"}))]
pub(crate) struct SkippedView {
    event_type: String,
    /// `never_published`; `not_failed` (resend-pending only); `waits_behind`: an earlier delivery of its line comes first
    /// (ordering `fifo`); `in_progress`: an attempt did not end in time, and goes on; `endpoint_disabled` meanwhile;
    /// `webhooks_disabled` or `event_type_disabled`: its module or the type itself is switched off; `filtered`: the
    /// endpoint's filter does not take it; `newer_version`: the endpoint has a newer one than its filter takes;
    /// `unavailable`: the engine could not send it at the moment, and its log says why; ask again.
    reason: &'static str,
}

impl From<SentAll> for SentAllView {
    fn from(all: SentAll) -> Self {
        let sent: Vec<_> = all.sent.into_iter().map(SentView::from).collect();
        let count = |outcome| sent.iter().filter(|one| one.outcome == outcome).count();
        let (succeeded, failed) = (count(SendOutcome::Success), count(SendOutcome::Failed));
        let skipped = all.skipped.into_iter().map(|(event_type, reason)| SkippedView { event_type, reason });
        Self { skipped: skipped.collect(), sent, succeeded, failed }
    }
}

/// What to try an endpoint with; everything may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"event_type": "boletim.diario", "payload": {"referencia": "2026-01-31"}}))]
pub(crate) struct TrialBody {
    /// Key of a type of the catalogue; left out: the first that the endpoint subscribes to.
    #[schema(min_length = 1, max_length = 255)]
    event_type: Option<String>,
    /// What the example is about.
    #[schema(min_length = 1, max_length = 255)]
    subject: Option<String>,
    /// The payload; left out: that of the newest event of the type that the filter takes, else a small example. A token of one integrator leaves it out.
    payload: Option<Value>,
}

/// The catalogue of event types as this endpoint has it: what it subscribes to, and how the last notification of each
/// went. Types that the catalogue lacks are shown where they were published and a pattern takes them.
#[utoipa::path(get, path = "/v1/endpoints/{id}/catalog", tag = "endpoints", operation_id = "endpoint_catalog",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The tree", body = CatalogView),
        (status = 404, description = "There is none, or it is another integrator's")))]
async fn catalog(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
) -> Result<Json<CatalogView>, Problem> {
    Ok(Json(CatalogView::of(id, engine.endpoint_catalog(&principal, id).await?)))
}

/// *Enviar*: sends the newest version of an event type to this endpoint now, and answers how it went. It adds an attempt
/// to the delivery, or makes the delivery where the endpoint is younger than the event; older versions of the same
/// subject that were not delivered are superseded. An attempt under way is waited for, and its outcome told.
#[utoipa::path(post, path = "/v1/endpoints/{id}/event-types/{key}/send", tag = "endpoints",
    operation_id = "endpoint_send",
    params(("id" = String, Path, description = "Its id"), ("key" = String, Path, description = "Key of the event type")),
    responses((status = 200, description = "It was tried; `outcome` says how it went", body = SentView),
        (status = 404, description = "There is no such endpoint or type, or it is another integrator's"),
        (status = 409, description = "`never_published`, `not_subscribed`, `endpoint_disabled`, `integrator_inactive`, \
            `webhooks_disabled`, `event_type_disabled`, `queue_paused`, `filtered`, `newer_version`, `waits_behind` or \
            `in_progress`")))]
async fn send(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At((id, key)): At<(EndpointId, String)>,
) -> Result<Json<SentView>, Problem> {
    Ok(Json(engine.endpoint_send(&principal, id, &key).await?.into()))
}

/// *Enviar Tudo*: sends the newest version of every event type that this endpoint subscribes to, by a pattern those too
/// that the catalogue lacks.
#[utoipa::path(post, path = "/v1/endpoints/{id}/send-all", tag = "endpoints", operation_id = "endpoint_send_all",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "What was sent, and what was not", body = SentAllView),
        (status = 404, description = "There is none, or it is another integrator's"),
        (status = 409, description = "`endpoint_disabled`, `queue_paused`, `integrator_inactive` or `webhooks_disabled`")))]
async fn send_all(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
) -> Result<Json<SentAllView>, Problem> {
    Ok(Json(engine.endpoint_send_all(&principal, id, Which::All).await?.into()))
}

/// *Reenviar Pendentes*: sends the newest version of every subscribed event type whose last notification failed, what was
/// skipped since not counted: those that the catalogue shows as `failed` but for one that is being tried at the moment or
/// was called off. Where the endpoint has a filter, the newest that it takes.
#[utoipa::path(post, path = "/v1/endpoints/{id}/resend-pending", tag = "endpoints",
    operation_id = "endpoint_resend_pending", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "What was sent, and what was not", body = SentAllView),
        (status = 404, description = "There is none, or it is another integrator's"),
        (status = 409, description = "`endpoint_disabled`, `queue_paused`, `integrator_inactive` or `webhooks_disabled`")))]
async fn resend_pending(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
) -> Result<Json<SentAllView>, Problem> {
    Ok(Json(engine.endpoint_send_all(&principal, id, Which::Failed).await?.into()))
}

/// Tries this endpoint with an example event of a type, now and once. The event has the reason `test` and the label
/// `engate.test`; it is no version, so the catalogue's statuses stay as they are.
#[utoipa::path(post, path = "/v1/endpoints/{id}/test", tag = "endpoints", operation_id = "endpoint_test",
    params(("id" = String, Path, description = "Its id")), request_body = TrialBody,
    responses((status = 200, description = "It was tried; `outcome` says how it went", body = SentView),
        (status = 404, description = "There is none, or it is another integrator's"),
        (status = 409, description = "`endpoint_disabled`, `integrator_inactive`, `webhooks_disabled`, \
            `event_type_disabled`, `queue_paused` or `in_progress`")))]
async fn test(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(id): At<EndpointId>,
    Body(body): Body<TrialBody>,
) -> Result<Json<SentView>, Problem> {
    let TrialBody { event_type, subject, payload } = body;
    let trial = Trial { event_type, subject, payload };
    Ok(Json(engine.endpoint_test(&principal, id, trial).await?.into()))
}
