//! `/v1/queues`: what waits for each endpoint, and whether it is to go.

use std::sync::Arc;

use axum::{Json, extract::State};
use engate_model::{EndpointId, IntegratorId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    extract::{At, Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, verbs::queues::Queue};

pub(super) fn routes() -> Routes {
    Routes::default()
        .add(__path_queues, Permission::ReadQueues, queues)
        .add(__path_pause, Permission::ManageQueues, pause)
        .add(__path_resume, Permission::ManageQueues, resume)
}

/// How full an endpoint's queue is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue, example = json!({
    "endpoint": "ep_0192f0c1a2b37c4d8e5f60718293a4b5", "integrator": "int_0192f0c1a2b37c4d8e5f60718293a4b5", "depth": 10,
    "oldest_at": "2026-01-31T12:00:00.000000Z", "oldest_age_ms": 4200, "in_flight": 0, "next_attempt_at": null,
    "held": "paused", "paused_at": "2026-01-31T12:00:00.000000Z", "failing_since": null
}))]
pub(crate) struct QueueView {
    #[schema(value_type = String)]
    endpoint: EndpointId,
    /// Null where the endpoint was deleted.
    #[schema(value_type = Option<String>)]
    integrator: Option<IntegratorId>,
    /// Deliveries that wait.
    depth: u64,
    /// When the event of the oldest one that waits was taken; null where none waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_at: Option<Timestamp>,
    /// How long that one has waited, in milliseconds.
    oldest_age_ms: Option<u64>,
    /// Requests that the asked node has under way.
    in_flight: u32,
    /// When the earliest one is due; null where all are in hand, or a pause holds them.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// Why nothing goes at present: `paused`, `endpoint_disabled`, or `endpoint_failing` where one is tried now and
    /// then; null where it does.
    held: Option<&'static str>,
    /// Since when it is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// Since when every attempt fails, where that has lasted for a while.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
}

impl QueueView {
    fn at(queue: Queue, now: Timestamp) -> Self {
        let Queue { endpoint, integrator, oldest_at, in_flight, next_attempt_at, held, paused_at, .. } = queue;
        let age = oldest_at.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
        Self {
            endpoint,
            integrator,
            depth: queue.waiting,
            oldest_at,
            oldest_age_ms: age,
            in_flight,
            next_attempt_at,
            held,
            paused_at,
            failing_since: queue.failing_since,
        }
    }
}

/// The queues that hold anything, are paused or whose endpoint fails, one per endpoint.
#[utoipa::path(get, path = "/v1/queues", tag = "deliveries", operation_id = "queue_list", params(PageParams),
    responses((status = 200, description = "One page", body = Listing<QueueView>)))]
async fn queues(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    Params(page): Params<PageParams>,
) -> Result<Json<Listing<QueueView>>, Problem> {
    let queues = engine.queue_list(&principal).await?;
    let now = engine.now();
    Ok(Json(page.cut(queues, |queue| queue.endpoint.to_string(), |queue| QueueView::at(queue, now))?))
}

/// Pauses an endpoint's queue on every node: what waits and what comes is parked (`paused`) with its tries unspent. What
/// is under way ends. One that is paused stays so.
#[utoipa::path(post, path = "/v1/queues/{endpoint}/pause", tag = "deliveries", operation_id = "queue_pause",
    params(("endpoint" = String, Path, description = "The endpoint's id")),
    responses((status = 200, description = "Paused", body = QueueView),
        (status = 404, description = "There is no such endpoint, or it is another integrator's")))]
async fn pause(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(endpoint): At<EndpointId>,
) -> Result<Json<QueueView>, Problem> {
    let queue = engine.queue_pause(&principal, endpoint).await?;
    Ok(Json(QueueView::at(queue, engine.now())))
}

/// Resumes an endpoint's queue: what waited is due now, though nothing before its `deliver_at`.
#[utoipa::path(post, path = "/v1/queues/{endpoint}/resume", tag = "deliveries", operation_id = "queue_resume",
    params(("endpoint" = String, Path, description = "The endpoint's id")),
    responses((status = 200, description = "Resumed", body = QueueView),
        (status = 404, description = "There is no such endpoint, or it is another integrator's")))]
async fn resume(
    State(engine): State<Arc<Engine>>,
    Caller(principal): Caller,
    At(endpoint): At<EndpointId>,
) -> Result<Json<QueueView>, Problem> {
    let queue = engine.queue_resume(&principal, endpoint).await?;
    Ok(Json(QueueView::at(queue, engine.now())))
}
