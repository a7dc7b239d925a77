//! Trying an endpoint with an example: a test event, for that endpoint only, tried once.

use std::sync::Arc;

use engate_model::{
    DeliveryId, EndpointId, EventId, callback,
    endpoint::Endpoint,
    event::{Event, NoDelivery, check_name},
    line::Ordering,
    token::Principal,
};
use engate_store::{AcceptEvent, AcceptRequest, Accepted, Actor, ClaimedDelivery, NewDelivery, Start, StoreError};
use serde_json::{Value, json};

use super::{
    actions::{SEND_TIME_MAX, Sent, no_lease, switched_off},
    catalog::takes,
};
use crate::{
    accept::STALE_TRIES_MAX,
    carried::Carried,
    engine::Engine,
    media_type::JSON,
    verbs::{Scope, VerbError},
    worker::{Doubt, Job},
};

/// The label by which plugins and receivers of labels know a test event.
pub(crate) const TEST_LABEL: &str = "engate.test";

/// What an endpoint is to be tried with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trial {
    /// Key of a type; none: the first that the endpoint subscribes to.
    pub(crate) event_type: Option<String>,
    /// What it is about.
    pub(crate) subject: Option<String>,
    /// The payload; none: that of the newest event of the type, else a small example.
    pub(crate) payload: Option<Value>,
}

impl Engine {
    /// Sends an example event of a type to an endpoint now, and answers how it went. It is a version of nothing: no
    /// status of the catalogue changes.
    pub(crate) async fn endpoint_test(
        self: &Arc<Self>,
        principal: &Principal,
        id: EndpointId,
        trial: Trial,
    ) -> Result<Sent, VerbError> {
        let endpoint = self.endpoint_to_send(principal, id).await?;
        // What a payload names, a plugin may sign: the file of another partner, say.
        if trial.payload.is_some() && Scope::of(principal) != Scope::Tenant {
            let detail =
                "a token of one integrator may not give a `payload`; leave it out, and the newest event's is sent";
            return Err(VerbError::Forbidden(detail.to_owned()));
        }
        let event = self.trial_event(principal, &endpoint, trial).await?;
        let (engine, actor) = (Arc::clone(self), self.actor(principal));
        Carried::new(async move { engine.send_trial(&actor, endpoint, event).await }).await
    }

    async fn trial_event(
        &self,
        principal: &Principal,
        endpoint: &Endpoint,
        trial: Trial,
    ) -> Result<Arc<Event>, VerbError> {
        let types = self.store.event_type_list(principal.tenant).await?;
        let key = match trial.event_type {
            Some(key) if types.iter().any(|entry| entry.key == key) || takes(endpoint, &key) => key,
            Some(_) => return Err(VerbError::field("event_type", "the catalogue has no such type; enter it first")),
            None => {
                let first = types.iter().find(|entry| takes(endpoint, &entry.key));
                let missing = "is missing; the endpoint subscribes to no type of the catalogue, so name one";
                first.ok_or_else(|| VerbError::field("event_type", missing))?.key.clone()
            }
        };
        if let Some(reason) = self.views.get(&self.store, principal.tenant).await?.catalog.switched_off(&key) {
            return Err(switched_off(reason, &key));
        }
        if let Some(subject) = &trial.subject {
            check_name("subject", subject)?;
        }
        let now = self.now();
        let (payload, content_type) = match trial.payload {
            Some(payload) => (payload.to_string().into_bytes(), JSON.to_owned()),
            None => self.example(principal, endpoint, &key).await?,
        };
        Ok(Arc::new(Event {
            id: EventId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            event_type: key,
            subject: trial.subject,
            payload,
            content_type,
            occurred_at: now,
            accepted_at: now,
            deliver_at: None,
            labels: vec![(TEST_LABEL.to_owned(), "true".to_owned())],
            correlation_id: None,
            idempotency_key: None,
            reason: Some(NoDelivery::Test),
        }))
    }

    /// The payload of the newest event of the type that the endpoint's filter takes, which its plugin understands; a small
    /// one where there is none.
    async fn example(
        &self,
        principal: &Principal,
        endpoint: &Endpoint,
        key: &str,
    ) -> Result<(Vec<u8>, String), VerbError> {
        let newest = self.store.version_list(principal.tenant, endpoint.id, &[key]).await?.into_iter().next();
        // One of the engine's own facts may be about another integrator.
        if let Some(newest) = newest.filter(|_| !callback::is_system(key))
            && let Some(taken) = self.version_taken(endpoint, newest).await?
            && let Some(event) = self.store.event_get(principal.tenant, taken.event).await?
        {
            return Ok((event.payload, event.content_type));
        }
        Ok((json!({ "event_type": key, "test": true }).to_string().into_bytes(), JSON.to_owned()))
    }

    async fn send_trial(
        self: &Arc<Self>,
        actor: &Actor,
        endpoint: Endpoint,
        event: Arc<Event>,
    ) -> Result<Sent, VerbError> {
        for _ in 0..STALE_TRIES_MAX {
            let view = self.views.get(&self.store, event.tenant).await?;
            let Some(serial) = self.worker.serial_to_take() else { return Err(no_lease()) };
            let new = NewDelivery {
                id: DeliveryId::new(self.now(), self.chance.bits()),
                endpoint: endpoint.id,
                integrator: endpoint.integrator,
                ordering: Ordering::Parallel,
                start: Start::HandedOver(serial),
            };
            let accept = AcceptEvent { event: Arc::clone(&event), body_hash: [0; 32], deliveries: vec![new] };
            let (tenant, revision) = (event.tenant, view.catalog.revision);
            let request = AcceptRequest { tenant, revision, events: vec![accept.clone()], state: None, call: None };
            let object = endpoint.id.to_string();
            let detail = json!({
                "event_type": event.event_type, "event": event.id,
                "delivery": accept.deliveries.first().map(|delivery| delivery.id),
            });
            let doubt = Doubt::of(&self.worker);
            match self.store.event_accept_audited(request, actor, "endpoint.test", &object, &detail).await? {
                Accepted::Stored(stored) => {
                    let code = stored.first().and_then(|one| one.codes.first()).copied();
                    let delivery = code.and_then(|code| accept.delivery(0, code));
                    let delivery =
                        delivery.ok_or_else(|| VerbError::Internal("a test event without delivery".into()))?;
                    let id = delivery.id;
                    let claimed = ClaimedDelivery::by_hand(delivery, Arc::clone(&event));
                    let (job, attempt) = Job::awaited(claimed, serial);
                    self.hand_over_first(job, endpoint.lane_rules());
                    doubt.settle();
                    let put_off =
                        || VerbError::conflict("in_progress", "the attempt was put off; look at the delivery");
                    let attempt = tokio::time::timeout(SEND_TIME_MAX, attempt).await;
                    let attempt = attempt.map_err(|_| put_off())?.map_err(|_| put_off())?;
                    let event_type = event.event_type.clone();
                    return Ok(Sent { event_type, event: event.id, delivery: id, attempt, joined: false });
                }
                Accepted::StaleCatalog => {
                    doubt.settle();
                    self.views.refresh(&self.store, event.tenant).await?;
                }
                // It has no idempotency key.
                Accepted::Conflict { .. } => return Err(VerbError::Internal("a test event that was there".into())),
            }
        }
        Err(StoreError::Unavailable("the configuration changes too fast; try again".to_owned()).into())
    }
}
