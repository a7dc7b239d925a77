//! Queues: what waits for each endpoint, in the database and in this node's lanes, and whether it is to go.

use std::collections::BTreeMap;

use engate_model::{
    EndpointId, IntegratorId, Timestamp,
    circuit::{ENDPOINT_FAILING, Failing},
    routing::Catalog,
    token::Principal,
};
use engate_store::{ENDPOINT_DISABLED, PAUSED};

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
    /// Why nothing goes at present, where that is so.
    pub(crate) held: Option<&'static str>,
    /// Since when it is paused.
    pub(crate) paused_at: Option<Timestamp>,
    /// Since when every attempt fails.
    pub(crate) failing_since: Option<Timestamp>,
}

impl Queue {
    /// An empty one of `endpoint`.
    fn of(catalog: &Catalog, endpoint: EndpointId, failing: Option<&Failing>) -> Self {
        let known = catalog.endpoint(endpoint);
        let paused_at = known.and_then(|endpoint| endpoint.paused_at);
        let held = match known {
            Some(endpoint) if !endpoint.enabled => Some(ENDPOINT_DISABLED),
            Some(_) if paused_at.is_some() => Some(PAUSED),
            _ => failing.and_then(|failing| failing.probe_at).map(|_| ENDPOINT_FAILING),
        };
        Self {
            endpoint,
            integrator: known.map(|endpoint| endpoint.integrator),
            waiting: 0,
            oldest_at: None,
            in_flight: 0,
            next_attempt_at: None,
            held,
            paused_at,
            failing_since: failing.map(|failing| failing.since),
        }
    }
}

impl Engine {
    /// The queues that hold anything, have requests under way here, are paused, or whose endpoint fails; by endpoint.
    pub(crate) async fn queue_list(&self, principal: &Principal) -> Result<Vec<Queue>, VerbError> {
        let catalog = &self.views.get(&self.store, principal.tenant).await?.catalog;
        let failing = self.worker.failing();
        let empty = |endpoint| Queue::of(catalog, endpoint, failing.get(&endpoint));
        let mut queues = BTreeMap::new();
        for depth in self.store.queue_depths().await?.into_iter().filter(|depth| depth.tenant == principal.tenant) {
            let queue = Queue {
                waiting: depth.waiting,
                oldest_at: Some(depth.oldest_at),
                next_attempt_at: depth.due_at,
                ..empty(depth.endpoint)
            };
            queues.insert(depth.endpoint, queue);
        }
        let special = catalog.endpoints().filter(|e| e.paused_at.is_some() || failing.contains_key(&e.id));
        for endpoint in special {
            queues.entry(endpoint.id).or_insert_with(|| empty(endpoint.id));
        }
        for lane in self.worker.depths() {
            // Lanes know no tenants; the catalogue says whose endpoint this is.
            if catalog.endpoint(lane.endpoint).is_none() && !queues.contains_key(&lane.endpoint) {
                continue;
            }
            let queue = queues.entry(lane.endpoint).or_insert_with(|| empty(lane.endpoint));
            queue.waiting = queue.waiting.saturating_add(lane.queued);
            queue.oldest_at = queue.oldest_at.into_iter().chain(lane.oldest_at).min();
            queue.in_flight = lane.in_flight;
        }
        for queue in queues.values_mut() {
            // What is left alone is not tried before the probe, however long it is due.
            let probe_at = failing.get(&queue.endpoint).and_then(|failing| failing.probe_at);
            queue.next_attempt_at = queue.next_attempt_at.map(|at| probe_at.map_or(at, |probe_at| at.max(probe_at)));
        }
        let scope = Scope::of(principal);
        let seen = |queue: &Queue| match queue.integrator {
            Some(integrator) => scope.covers(integrator),
            None => scope == Scope::Tenant,
        };
        Ok(queues.into_values().filter(seen).collect())
    }

    /// Pauses an endpoint's queue: nothing of it goes, on any node, until it is resumed. What is under way ends.
    pub(crate) async fn queue_pause(&self, principal: &Principal, endpoint: EndpointId) -> Result<Queue, VerbError> {
        self.queue_of(principal, endpoint).await?;
        self.store.queue_pause(&self.actor(principal), principal.tenant, endpoint).await?;
        if let Some(view) = self.views.follow_change(&self.store, principal.tenant).await {
            self.follow(&view.catalog).await;
        }
        self.queue_now(principal, endpoint).await
    }

    /// Resumes it: all that waited is due now, and is tried even where the endpoint was down before.
    pub(crate) async fn queue_resume(&self, principal: &Principal, endpoint: EndpointId) -> Result<Queue, VerbError> {
        self.queue_of(principal, endpoint).await?;
        if self.store.queue_resume(&self.actor(principal), principal.tenant, endpoint).await? {
            self.worker.forgive(endpoint, self.now());
        }
        self.views.follow_change(&self.store, principal.tenant).await;
        self.worker.wake();
        self.queue_now(principal, endpoint).await
    }

    async fn queue_of(&self, principal: &Principal, endpoint: EndpointId) -> Result<(), VerbError> {
        match self.endpoint_find(principal, endpoint).await {
            Err(VerbError::NotFound(_)) => Err(VerbError::NotFound("queue")),
            other => other.map(|_| ()),
        }
    }

    async fn queue_now(&self, principal: &Principal, endpoint: EndpointId) -> Result<Queue, VerbError> {
        let queues = self.queue_list(principal).await?;
        match queues.into_iter().find(|queue| queue.endpoint == endpoint) {
            Some(queue) => Ok(queue),
            None => {
                let view = self.views.get(&self.store, principal.tenant).await?;
                Ok(Queue::of(&view.catalog, endpoint, None))
            }
        }
    }
}
