//! `/v1/queues`: what waits for each endpoint.

use std::sync::Arc;

use axum::{Json, extract::State};
use engate_model::{EndpointId, IntegratorId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    extract::{Caller, Params},
    page::{Listing, PageParams},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{engine::Engine, verbs::queues::Queue};

pub(super) fn routes() -> Routes {
    Routes::default().add(__path_queues, Permission::ReadQueues, queues)
}

/// How full an endpoint's queue is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
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
    /// When the earliest one is due; null where all are in hand.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
}

impl QueueView {
    fn at(queue: Queue, now: Timestamp) -> Self {
        let Queue { endpoint, integrator, waiting, oldest_at, in_flight, next_attempt_at } = queue;
        let age = oldest_at.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
        Self { endpoint, integrator, depth: waiting, oldest_at, oldest_age_ms: age, in_flight, next_attempt_at }
    }
}

/// The queues that hold anything, one per endpoint.
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
