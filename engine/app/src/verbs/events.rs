//! Events: taking them in (see [`accept`](crate::accept)) and reading them.

use std::sync::Arc;

use engate_model::{
    EndpointId, EventId,
    delivery::Delivery,
    event::Event,
    explain::{Explanation, explain, explain_deleted},
    token::Principal,
};
use engate_store::{AccessOfAccept, EventFilter, EventPage, Order};
use serde_json::Value;

use super::{Scope, VerbError};
use crate::{
    accept::{NewEvent, NotTaken, Taken},
    engine::Engine,
};

/// Why an endpoint did or did not get an event.
#[derive(Debug, Clone)]
pub(crate) struct Explained {
    /// Why.
    pub(crate) explanation: Explanation,
    /// The filter's clause that says no.
    pub(crate) clause: Option<Value>,
    /// The row that there is of the two.
    pub(crate) delivery: Option<Delivery>,
}

impl Engine {
    /// Takes all of `events` or none; on return they and the entry of the `call` are on disk.
    pub(crate) async fn event_send(
        self: &Arc<Self>,
        principal: &Principal,
        events: Vec<NewEvent>,
        call: Option<AccessOfAccept>,
    ) -> Result<Vec<Taken>, NotTaken> {
        self.accept_with(principal.tenant, events, None, call).await
    }

    /// An event.
    pub(crate) async fn event_get(&self, principal: &Principal, id: EventId) -> Result<Event, VerbError> {
        let event = self.store.event_get(principal.tenant, id).await?;
        event.ok_or(VerbError::NotFound("event"))
    }

    /// A page of events, the newest first, older than `after`.
    pub(crate) async fn event_list(
        &self,
        principal: &Principal,
        filter: &EventFilter,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<EventPage, VerbError> {
        Ok(self.store.event_list(principal.tenant, filter, after, Order::Descending, limit).await?)
    }

    /// Why `endpoint` did or did not get the event.
    pub(crate) async fn event_explain(
        &self,
        principal: &Principal,
        id: EventId,
        endpoint: EndpointId,
    ) -> Result<Explained, VerbError> {
        let event = self.event_get(principal, id).await?;
        let delivery = self.store.delivery_of(principal.tenant, id, endpoint).await?;
        let scope = Scope::of(principal);
        let delivery = delivery.filter(|delivery| scope.covers(delivery.integrator));
        match (self.endpoint_find(principal, endpoint).await, delivery) {
            (Ok((endpoint, integrator)), delivery) => {
                let explanation = explain(&event, &endpoint, Some(&integrator), delivery.as_ref());
                let place = explanation.clause.as_ref().map(|(place, _)| place);
                let clause = place.and_then(|place| endpoint.filter.as_ref()?.part(place)).cloned();
                Ok(Explained { explanation, clause, delivery })
            }
            // It was deleted; what is written down still tells.
            (Err(VerbError::NotFound(_)), Some(delivery)) => {
                let explanation = explain_deleted(&event, &delivery);
                Ok(Explained { explanation, clause: None, delivery: Some(delivery) })
            }
            (Err(error), _) => Err(error),
        }
    }
}
