//! Events: taking them in (see [`accept`](crate::accept)) and reading them.

use std::sync::Arc;

use engate_model::{EventId, event::Event, token::Principal};
use engate_store::{AccessOfAccept, EventFilter, EventPage, Order};

use super::VerbError;
use crate::{
    accept::{NewEvent, NotTaken, Taken},
    engine::Engine,
};

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
}
