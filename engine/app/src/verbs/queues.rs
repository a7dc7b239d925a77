//! Queues: what waits for each endpoint, in the database and in this node's lanes.

use std::collections::BTreeMap;

use engate_model::{EndpointId, IntegratorId, Timestamp, token::Principal};

use super::{Scope, VerbError};
use crate::engine::Engine;

/// How full an endpoint's queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Whose queue.
    pub(crate) endpoint: EndpointId,
    /// Whose endpoint; none where it was deleted.
    pub(crate) integrator: Option<IntegratorId>,
    /// Deliveries that wait, in the database and in this node's memory.
    pub(crate) waiting: u64,
    /// When the event of the oldest one that waits was taken.
    pub(crate) oldest_at: Option<Timestamp>,
    /// Requests that this node has under way.
    pub(crate) in_flight: u32,
    /// When the earliest one that waits is due.
    pub(crate) next_attempt_at: Option<Timestamp>,
}

impl Engine {
    /// The queues that hold anything, or have requests under way here, by endpoint.
    pub(crate) async fn queue_list(&self, principal: &Principal) -> Result<Vec<Queue>, VerbError> {
        let view = self.views.get(&self.store, principal.tenant).await?;
        let integrator = |endpoint| view.catalog.endpoint(endpoint).map(|endpoint| endpoint.integrator);
        let mut queues = BTreeMap::new();
        for depth in self.store.queue_depths().await?.into_iter().filter(|depth| depth.tenant == principal.tenant) {
            let queue = Queue {
                endpoint: depth.endpoint,
                integrator: integrator(depth.endpoint),
                waiting: depth.waiting,
                oldest_at: Some(depth.oldest_at),
                in_flight: 0,
                next_attempt_at: depth.due_at,
            };
            queues.insert(depth.endpoint, queue);
        }
        for lane in self.worker.depths() {
            // Lanes know no tenants; the catalogue says whose endpoint this is.
            let known = integrator(lane.endpoint);
            if known.is_none() && !queues.contains_key(&lane.endpoint) {
                continue;
            }
            let queue = queues.entry(lane.endpoint).or_insert(Queue {
                endpoint: lane.endpoint,
                integrator: known,
                waiting: 0,
                oldest_at: None,
                in_flight: 0,
                next_attempt_at: None,
            });
            queue.waiting = queue.waiting.saturating_add(lane.queued);
            queue.oldest_at = queue.oldest_at.into_iter().chain(lane.oldest_at).min();
            queue.in_flight = lane.in_flight;
        }
        let scope = Scope::of(principal);
        let seen = |queue: &Queue| match queue.integrator {
            Some(integrator) => scope.covers(integrator),
            None => scope == Scope::Tenant,
        };
        Ok(queues.into_values().filter(seen).collect())
    }
}
