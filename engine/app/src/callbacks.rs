//! The engine's own facts on their way to who listens: made into events with their deliveries, to be written in the
//! transaction of what they are about.

use engate_model::{
    DeliveryId, EventId, TenantId,
    callback::{self, Fact},
    circuit::ENDPOINT_FAILING,
    delivery::{Attempt, Delivery},
    endpoint::Endpoint,
    event::Event,
    line::Ordering,
    routing::{Catalog, Route},
    transition::Transition,
};
use engate_store::{AcceptEvent, NewDelivery, PAUSED, Start};

use crate::{engine::Engine, media_type::JSON};

impl Engine {
    /// What listeners are told of how a delivery ended; nothing where it goes on or nobody listens.
    pub(crate) fn told_of_end(
        &self,
        catalog: &Catalog,
        delivery: &Delivery,
        attempt: &Attempt,
        transition: &Transition,
    ) -> Vec<AcceptEvent> {
        let heard = callback::ended(transition.state).is_some_and(|(key, _)| catalog.is_heard(key));
        let fact = if heard { Fact::of_end(delivery, attempt, transition) } else { None };
        fact.map_or_else(Vec::new, |fact| self.told_to(catalog, delivery.tenant, fact))
    }

    /// What listeners are told of a fact about `endpoint`.
    pub(crate) fn told(&self, catalog: &Catalog, endpoint: &Endpoint, fact: Fact) -> Vec<AcceptEvent> {
        self.told_to(catalog, endpoint.tenant, fact)
    }

    /// What listeners are told of a fact about the tenant.
    pub(crate) fn told_to(&self, catalog: &Catalog, tenant: TenantId, fact: Fact) -> Vec<AcceptEvent> {
        let now = self.now();
        let event = Event {
            id: EventId::new(now, self.chance.bits()),
            tenant,
            event_type: fact.key.to_owned(),
            subject: Some(fact.subject.clone()),
            payload: fact.payload.to_string().into_bytes(),
            content_type: JSON.to_owned(),
            occurred_at: now,
            accepted_at: now,
            deliver_at: None,
            labels: Vec::new(),
            correlation_id: fact.correlation_id.clone(),
            idempotency_key: None,
            reason: None,
        };
        let routes = catalog.route_fact(&fact, &event);
        if routes.is_empty() {
            return Vec::new();
        }
        let deliveries = routes.iter().map(|route| self.delivery_of_fact(catalog, route, &event)).collect();
        vec![AcceptEvent { event: event.into(), body_hash: [0; 32], deliveries }]
    }

    /// It waits in the store, not in a lane: what it tells of is not committed yet.
    fn delivery_of_fact(&self, catalog: &Catalog, route: &Route, event: &Event) -> NewDelivery {
        let now = event.accepted_at;
        let start = match (route.skipped, catalog.endpoint(route.endpoint)) {
            (Some(reason), _) => Start::Skipped(reason.to_owned()),
            (None, Some(endpoint)) if endpoint.paused_at.is_some() => Start::Parked(PAUSED),
            (None, Some(endpoint)) if self.worker.is_shut(endpoint.id) => Start::Held(now, ENDPOINT_FAILING),
            (None, endpoint) => {
                let wait = endpoint.map(|endpoint| endpoint.retry.first_wait()).unwrap_or_default();
                Start::Pending(now.after(wait))
            }
        };
        let id = DeliveryId::new(now, self.chance.bits());
        // Facts go as they come, whatever the order of the listener's other deliveries.
        let ordering = Ordering::Parallel;
        NewDelivery { id, endpoint: route.endpoint, integrator: route.integrator, ordering, start }
    }
}
