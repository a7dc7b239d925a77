//! Taking events in: route, write down, hand over, answer. On return the events are on disk.

use std::sync::Arc;

use engate_model::{
    DeliveryId, EndpointId, EventId, Invalid, TenantId, Timestamp, callback,
    circuit::ENDPOINT_FAILING,
    endpoint::Endpoint,
    event::{Event, NoDelivery, check_key, check_labels, check_name},
    invalid::Complaints,
    job::EmitEvent,
    line::Ordering,
    routing::{Catalog, Route},
    sink::Change,
};
use engate_store::{
    AcceptEvent, AcceptRequest, Accepted, AccessOfAccept, InboundState, NewDelivery, NodeSerial, PAUSED, Start,
    StoreError,
};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::{
    carried::Carried,
    engine::Engine,
    media_type::JSON,
    payloads::{Mismatches, PayloadSchemas},
    worker::{Doubt, Job},
};

/// How often an accept is repeated because the configuration changed under it.
pub(crate) const STALE_TRIES_MAX: u32 = 8;
/// Deepest nesting of a payload; plugins and readers walk it.
pub(crate) const DEPTH_MAX: usize = 128;

/// One event as its producer gave it, checked.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// Key of its type.
    pub(crate) event_type: String,
    /// What it is about.
    pub(crate) subject: Option<String>,
    /// Payload bytes as given.
    pub(crate) payload: Vec<u8>,
    /// Media type of the payload.
    pub(crate) content_type: String,
    /// The producer's id, under which a repeat is recognised.
    pub(crate) idempotency_key: Option<String>,
    /// When it happened; none: now.
    pub(crate) occurred_at: Option<Timestamp>,
    /// Before when it is not to be delivered; none: at once.
    pub(crate) deliver_at: Option<Timestamp>,
    /// Names and values.
    pub(crate) labels: Vec<(String, String)>,
    /// Ties it to its cause.
    pub(crate) correlation_id: Option<String>,
}

impl NewEvent {
    /// What a job is to publish; whoever runs it says when it happened and what makes it known again.
    pub(crate) fn of_job(event: &EmitEvent) -> Self {
        Self {
            event_type: event.r#type.clone(),
            subject: event.subject.clone(),
            payload: event.payload.to_string().into_bytes(),
            content_type: JSON.to_owned(),
            idempotency_key: None,
            occurred_at: None,
            deliver_at: None,
            labels: event.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            correlation_id: event.correlation_id.clone(),
        }
    }

    /// Checks what every event must keep to, whoever made it.
    ///
    /// # Errors
    /// Names the fields as the API does.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let mut complaints = Complaints::default();
        complaints.take(check_key("type", &self.event_type));
        if callback::is_system(&self.event_type) {
            complaints.add("type", "is one of the engine's own, which only the engine makes; choose another");
        }
        let names =
            [("subject", &self.subject), ("id", &self.idempotency_key), ("correlation_id", &self.correlation_id)];
        for (field, name) in names {
            if let Some(name) = name {
                complaints.take(check_name(field, name));
            }
        }
        complaints.take(check_labels(&self.labels));
        for (name, value) in &self.labels {
            // PostgreSQL cannot hold it in a text.
            if value.contains('\0') {
                complaints.add(format!("labels.{name}"), "must not hold the character U+0000");
            }
        }
        if self.content_type.starts_with(JSON) && depth(&self.payload) > DEPTH_MAX {
            complaints.add("payload", format!("must not be nested deeper than {DEPTH_MAX}"));
        }
        complaints.finish(())
    }
}

/// The subject of a record's event: what `pointer`, a JSON Pointer, leads to in it, where that is text, a number, true or
/// false; else the record's key.
pub(crate) fn subject_of(pointer: Option<&str>, record: &Change) -> String {
    let found =
        pointer.and_then(|pointer| match serde_json::from_str::<Value>(&record.data).ok()?.pointer(pointer)? {
            Value::String(text) => Some(text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            other => Some(other.to_string()),
        });
    found.unwrap_or_else(|| record.key.clone())
}

/// How deep valid JSON is nested.
pub(crate) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_text = false,
            (true, _) => {}
            (false, b'"') => in_text = true,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
    }
    deepest
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its id, the first one's where it is a repeat.
    pub(crate) id: EventId,
    /// How many endpoints it goes to.
    pub(crate) deliveries: u32,
    /// Whether it was there already.
    pub(crate) duplicate: bool,
    /// Why it goes to nobody.
    pub(crate) reason: Option<NoDelivery>,
}

/// Why events were not taken. None of them was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// The id of that event was used before with another body.
    #[error("the id of event {index} was used before with another body")]
    IdConflict {
        /// Its place in the request.
        index: usize,
    },
    /// A payload does not meet the schema of its event type.
    #[error("{0}")]
    SchemaMismatch(Mismatches),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The code of a payload that does not meet the schema of its event type.
pub(crate) const SCHEMA_MISMATCH: &str = "schema_mismatch";

impl Engine {
    /// Takes all of `events` or none, in one transaction, together with what the plugin that made them wants kept and the
    /// access entry of the call that brought them. The work goes on where the caller goes away: a committed delivery must
    /// reach its lane.
    pub(crate) async fn accept_with(
        self: &Arc<Self>,
        tenant: TenantId,
        events: Vec<NewEvent>,
        state: Option<InboundState>,
        call: Option<AccessOfAccept>,
    ) -> Result<Vec<Taken>, NotTaken> {
        let engine = Arc::clone(self);
        Carried::new(async move { engine.accept_all(tenant, events, state, call).await }).await
    }

    async fn accept_all(
        self: &Arc<Self>,
        tenant: TenantId,
        events: Vec<NewEvent>,
        state: Option<InboundState>,
        call: Option<AccessOfAccept>,
    ) -> Result<Vec<Taken>, NotTaken> {
        let now = self.now();
        let mut events: Vec<_> = events.into_iter().map(|event| self.prepare(tenant, now, event)).collect();
        for _ in 0..STALE_TRIES_MAX {
            let view = self.views.get(&self.store, tenant).await?;
            // The store refuses what was judged by an older revision.
            self.check_payloads(&view.schemas, tenant, &events).await?;
            let request = self.request(&view.catalog, tenant, &mut events, now);
            let request = AcceptRequest { state: state.clone(), call: call.clone(), ..request };
            // The places reserved in the lanes are given back however this future ends; an end in between, by a panic,
            // leaves open what was committed.
            let doubt = Doubt::of(&self.worker);
            let mut places = Places::of(self, &request);
            let prepared = request.events.clone();
            let accepted = self.store.event_accept(request).await?;
            if let Accepted::Stored(stored) = &accepted {
                places.hand_over(&prepared, stored);
            }
            doubt.settle();
            match accepted {
                Accepted::Stored(stored) => {
                    return Ok(self.answers(&prepared, &stored));
                }
                Accepted::Conflict { index } => return Err(NotTaken::IdConflict { index }),
                Accepted::StaleCatalog => drop(self.views.refresh(&self.store, tenant).await?),
            }
        }
        Err(StoreError::Unavailable("the configuration changes faster than events can be matched; try again".into())
            .into())
    }

    /// Holds payloads against the schemas of their types. One that was taken before, under a schema that has become
    /// stricter since, is a repeat all the same.
    async fn check_payloads(
        &self,
        schemas: &PayloadSchemas,
        tenant: TenantId,
        events: &[(Arc<Event>, [u8; 32])],
    ) -> Result<(), NotTaken> {
        let placed = || events.iter().map(|(event, _)| event).enumerate();
        let Err(mismatches) = schemas.check(placed()).await else { return Ok(()) };
        let keys = placed().filter_map(|(_, event)| event.idempotency_key.as_deref());
        let taken = self.store.event_keys_taken(tenant, keys).await?;
        if taken.is_empty() {
            return Err(NotTaken::SchemaMismatch(mismatches));
        }
        let is_new = |event: &Event| event.idempotency_key.as_ref().is_none_or(|key| !taken.contains(key));
        schemas.check(placed().filter(|(_, event)| is_new(event))).await.map_err(NotTaken::SchemaMismatch)
    }

    /// Holds the payload of an event that is to be made later against the schema that its type has now.
    pub(crate) async fn check_payload(
        &self,
        tenant: TenantId,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<Result<(), Invalid>, StoreError> {
        let view = self.views.get(&self.store, tenant).await?;
        let (event, _) = self.prepare(tenant, now, event);
        let checked = view.schemas.check([(0, &event)]).await;
        Ok(checked.map_err(|mismatches| Invalid(mismatches.into_errors(|_, path| path.to_owned()))))
    }

    fn prepare(&self, tenant: TenantId, now: Timestamp, event: NewEvent) -> (Arc<Event>, [u8; 32]) {
        let hash = body_hash(&event);
        let event = Event {
            id: EventId::new(now, self.chance.bits()),
            tenant,
            event_type: event.event_type,
            subject: event.subject,
            payload: event.payload,
            content_type: event.content_type,
            occurred_at: event.occurred_at.unwrap_or(now),
            accepted_at: now,
            deliver_at: event.deliver_at,
            labels: event.labels,
            correlation_id: event.correlation_id,
            idempotency_key: event.idempotency_key,
            reason: None,
        };
        (Arc::new(event), hash)
    }

    fn request(
        &self,
        catalog: &Catalog,
        tenant: TenantId,
        events: &mut [(Arc<Event>, [u8; 32])],
        now: Timestamp,
    ) -> AcceptRequest {
        let events = events.iter_mut().map(|(event, body_hash)| {
            let routes = catalog.route(event);
            if event.reason != routes.reason {
                Arc::make_mut(event).reason = routes.reason;
            }
            let deliver_at = event.deliver_at;
            let deliveries = routes.to.iter().map(|route| self.delivery(catalog, route, deliver_at, now)).collect();
            AcceptEvent { event: Arc::clone(event), body_hash: *body_hash, deliveries }
        });
        AcceptRequest { tenant, revision: catalog.revision, events: events.collect(), state: None, call: None }
    }

    fn delivery(&self, catalog: &Catalog, route: &Route, deliver_at: Option<Timestamp>, now: Timestamp) -> NewDelivery {
        let id = DeliveryId::new(now, self.chance.bits());
        let ordering = catalog.endpoint(route.endpoint).map(|endpoint| endpoint.ordering).unwrap_or_default();
        let start = match (route.skipped, catalog.endpoint(route.endpoint)) {
            (Some(reason), _) => Start::Skipped(reason.to_owned()),
            (None, Some(endpoint)) => self.start(endpoint, deliver_at, now),
            (None, None) => Start::Pending(now),
        };
        NewDelivery { id, endpoint: route.endpoint, integrator: route.integrator, ordering, start }
    }

    fn start(&self, endpoint: &Endpoint, deliver_at: Option<Timestamp>, now: Timestamp) -> Start {
        if endpoint.paused_at.is_some() {
            return Start::Parked(PAUSED);
        }
        let due_at = now.after(endpoint.retry.first_wait()).max(deliver_at.unwrap_or(now));
        if due_at > now {
            return Start::Pending(due_at);
        }
        match self.worker.reserve(endpoint.id, endpoint.lane_rules(), 1, now) {
            Some((serial, _)) => Start::HandedOver(serial),
            None if self.worker.is_shut(endpoint.id) => Start::Held(now, ENDPOINT_FAILING),
            None => Start::Pending(now),
        }
    }

    fn answers(&self, prepared: &[AcceptEvent], stored: &[engate_store::AcceptedEvent]) -> Vec<Taken> {
        let taken = prepared.iter().zip(stored).map(|(event, stored)| {
            let counter = if stored.duplicate { &self.metrics.events_duplicate } else { &self.metrics.events_accepted };
            counter.inc();
            let reason = if stored.duplicate { None } else { event.event.reason };
            Taken { id: stored.id, deliveries: stored.delivery_count, duplicate: stored.duplicate, reason }
        });
        taken.collect()
    }
}

/// What a repeat is compared by: everything the producer said.
fn body_hash(event: &NewEvent) -> [u8; 32] {
    let mut said = Vec::with_capacity(event.payload.len() + 128);
    let parts =
        [Some(&event.event_type), event.subject.as_ref(), Some(&event.content_type), event.correlation_id.as_ref()];
    for part in parts {
        said.extend_from_slice(part.map_or("\u{1}", String::as_str).as_bytes());
        said.push(0);
    }
    for (name, value) in &event.labels {
        said.extend_from_slice(name.as_bytes());
        said.push(0);
        said.extend_from_slice(value.as_bytes());
        said.push(0);
    }
    for at in [event.occurred_at, event.deliver_at] {
        if let Some(at) = at {
            said.extend_from_slice(&at.as_micros().to_le_bytes());
        }
        said.push(0);
    }
    said.extend_from_slice(&event.payload);
    let mut hash = [0_u8; 32];
    hash.iter_mut().zip(digest(&SHA256, &said).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Places reserved in the lanes for deliveries that are being written down.
struct Places<'a> {
    engine: &'a Arc<Engine>,
    held: Vec<(EndpointId, NodeSerial)>,
}

impl<'a> Places<'a> {
    fn of(engine: &'a Arc<Engine>, request: &AcceptRequest) -> Self {
        let deliveries = request.events.iter().flat_map(|event| &event.deliveries);
        let held = deliveries.filter_map(|delivery| match delivery.start {
            Start::HandedOver(serial) => Some((delivery.endpoint, serial)),
            Start::Pending(_) | Start::Held(..) | Start::Parked(_) | Start::Skipped(_) => None,
        });
        Self { engine, held: held.collect() }
    }

    /// Queues what was committed in the places held for it; the places of a repeat, and of what its line holds back, are
    /// given back.
    fn hand_over(&mut self, prepared: &[AcceptEvent], stored: &[engate_store::AcceptedEvent]) {
        let held = std::mem::take(&mut self.held);
        let mut jobs = Vec::with_capacity(held.len());
        for (event, stored) in prepared.iter().zip(stored) {
            for (n, delivery) in event.deliveries.iter().enumerate() {
                let Start::HandedOver(serial) = delivery.start else { continue };
                let code = stored.codes.get(n).filter(|_| !stored.held_back.contains(&n));
                match code.and_then(|code| event.delivery(n, *code)) {
                    Some(row) => {
                        let in_line = delivery.ordering != Ordering::Parallel;
                        jobs.push(Job::of_event(row, Arc::clone(&event.event), in_line, serial));
                    }
                    None => self.held.push((delivery.endpoint, serial)),
                }
            }
        }
        self.engine.hand_over(jobs);
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        for (endpoint, _) in self.held.drain(..) {
            self.engine.worker.leave(endpoint, 1, self.engine.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_does_not_count_what_is_text() {
        assert_eq!(depth(br#"{"a":["[[[\"[[",{}]}"#), 3);
    }
}
