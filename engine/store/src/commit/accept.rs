//! Accepting events: dedupe, check the revision that routed them, write events and deliveries.

use std::{collections::BTreeMap, sync::Arc};

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState},
    event::Event,
    line::Ordering,
};
use serde_json::Value as Json;

use super::{
    Reply, Setback,
    access::AcceptedCall,
    joining::{Join, joining, joins, line_row, write_line_rows},
    keys::{Key, write_keys},
};
use crate::{
    Store,
    access::AccessOfAccept,
    audit::{self, Actor},
    compose::Bulk,
    db::Session,
    error::StoreError,
    inbounds::{self, EncodedState, InboundState},
    lines::{self, Held},
    nodes::NodeSerial,
    sql::{Dialect, twins},
    value::{Kind, Value, args, json},
};

/// One request of a producer: all its events are taken, or none.
#[derive(Debug, Clone)]
pub struct AcceptRequest {
    /// Whose events.
    pub tenant: TenantId,
    /// Revision of the catalog that routed them.
    pub revision: i64,
    /// The events with their deliveries.
    pub events: Vec<AcceptEvent>,
    /// What the plugin that made them wants kept, where one did.
    pub state: Option<InboundState>,
    /// The entry of the call that brought them, where one did.
    pub call: Option<AccessOfAccept>,
}

/// One event and where it goes.
#[derive(Debug, Clone)]
pub struct AcceptEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Tells a repeat of the same event from another under the same idempotency key; counts only with a key.
    pub body_hash: [u8; 32],
    /// A row for each endpoint that gets the event.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery about to be written.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Whose endpoint that is.
    pub integrator: IntegratorId,
    /// In which order that endpoint's deliveries go.
    pub ordering: Ordering,
    /// What it begins as, unless its line has it wait or supersedes it.
    pub start: Start,
}

/// What a delivery begins as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// In the hands of this node, handed over in memory once it is committed.
    HandedOver(NodeSerial),
    /// Waiting until then.
    Pending(Timestamp),
    /// Waiting until then, for this reason.
    Held(Timestamp, &'static str),
    /// Standing still, for this reason, until someone lets it go.
    Parked(&'static str),
    /// Not to go, for this reason.
    Skipped(String),
}

impl Start {
    /// What the delivery's row says: state, reason, due time, owner.
    fn row(&self) -> (DeliveryState, Option<&str>, Option<Timestamp>, Option<NodeSerial>) {
        match self {
            Self::HandedOver(owner) => (DeliveryState::Delivering, None, None, Some(*owner)),
            Self::Pending(due_at) => (DeliveryState::Pending, None, Some(*due_at), None),
            Self::Held(due_at, reason) => (DeliveryState::Pending, Some(reason), Some(*due_at), None),
            Self::Parked(reason) => (DeliveryState::Parked, Some(reason), None, None),
            Self::Skipped(reason) => (DeliveryState::Skipped, Some(reason), None, None),
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Committed (or committed before, see [`AcceptedEvent::duplicate`]), in the order of the request.
    Stored(Vec<AcceptedEvent>),
    /// The configuration changed since the events were routed; nothing was written.
    StaleCatalog,
    /// The event at `index` carries an idempotency key under which another body was taken; nothing was written.
    Conflict {
        /// Position in the request.
        index: usize,
    },
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// Its id; that of the first one for a duplicate.
    pub id: EventId,
    /// Whether it had been taken before.
    pub duplicate: bool,
    /// Deliveries written for it.
    pub delivery_count: u32,
    /// Their running numbers in the order of the request; none for a duplicate.
    pub codes: Vec<i64>,
    /// Which of them did not begin as was asked for: the order of their endpoint has them wait, or a newer version was
    /// there first.
    pub held_back: Vec<usize>,
}

impl AcceptEvent {
    /// The `n`th delivery as it was committed under `code`, if it was not held back.
    pub fn delivery(&self, n: usize, code: i64) -> Option<Delivery> {
        let new = self.deliveries.get(n)?;
        let (state, reason, due_at, _) = new.start.row();
        Some(Delivery {
            id: new.id,
            code,
            tenant: self.event.tenant,
            event: self.event.id,
            event_type: self.event.event_type.clone(),
            subject: self.event.subject.clone(),
            endpoint: new.endpoint,
            integrator: new.integrator,
            state,
            success: None,
            reason: reason.map(ToOwned::to_owned),
            attempts: 0,
            created_at: self.event.accepted_at,
            first_attempt_at: None,
            last_attempt_at: None,
            integrated_at: None,
            next_attempt_at: due_at,
            correlation_id: self.event.correlation_id.clone(),
        })
    }
}

impl Store {
    /// Takes a request's events; the answer comes after the commit.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database is; [`StoreError::Data`] when it refuses the values.
    pub async fn event_accept(&self, request: AcceptRequest) -> Result<Accepted, StoreError> {
        self.accept(request, None).await
    }

    /// As [`Store::event_accept`], with an entry in the audit that is written in the same transaction.
    ///
    /// # Errors
    /// As [`Store::event_accept`].
    pub async fn event_accept_audited(
        &self,
        request: AcceptRequest,
        actor: &Actor,
        action: &str,
        object: &str,
        detail: &Json,
    ) -> Result<Accepted, StoreError> {
        let audit = self.audit_row(actor, request.tenant, action, object, detail)?;
        self.accept(request, Some(audit)).await
    }

    async fn accept(&self, request: AcceptRequest, audit: Option<Vec<Value>>) -> Result<Accepted, StoreError> {
        let items = request.events.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let state = request.state.map(|state| EncodedState::of(request.tenant, state));
        let bytes = items.iter().map(|item| item.bytes).sum::<usize>() + state.as_ref().map_or(0, EncodedState::bytes);
        let bytes = bytes + request.call.as_ref().map_or(0, AccessOfAccept::bytes);
        let (tenant, revision, call) = (request.tenant, request.revision, request.call);
        self.committers()
            .accept(|reply| AcceptJob { tenant, revision, items, state, call, audit, bytes, settled: None, reply })
            .await
    }
}

/// A request as the committer has it: encoded by its producer's task.
pub(crate) struct AcceptJob {
    pub(super) tenant: TenantId,
    revision: i64,
    pub(super) items: Vec<Item>,
    state: Option<EncodedState>,
    call: Option<AccessOfAccept>,
    /// Its entry in the audit, where it has one.
    audit: Option<Vec<Value>>,
    pub(super) bytes: usize,
    /// The answer where it does not depend on this commit.
    pub(super) settled: Option<Accepted>,
    pub(super) reply: Reply<Accepted>,
}

/// An event with its deliveries, encoded.
pub(crate) struct Item {
    pub(super) id: EventId,
    event: Vec<Value>,
    /// Rows of [`DELIVERY_COLUMNS`], the code left empty.
    pub(super) deliveries: Vec<Vec<Value>>,
    /// Those of them that join a line.
    pub(super) joins: Vec<Join>,
    pub(super) key: Option<Key>,
    pub(super) bytes: usize,
    /// Filled in while the batch is written.
    pub(super) outcome: Option<AcceptedEvent>,
}

impl AcceptJob {
    /// The call that brought the events, where they are written.
    pub(super) fn call(&self) -> Option<AcceptedCall<'_>> {
        let call = self.call.as_ref().filter(|_| self.settled.is_none())?;
        let repeat = |item: &Item| item.outcome.as_ref().is_some_and(|outcome| outcome.duplicate);
        Some((call, self.items.iter().all(repeat)))
    }

    /// Answers after the commit.
    pub(super) fn answer(&mut self) {
        self.answer_settled();
        let outcomes = self.items.iter_mut().map(|item| item.outcome.take());
        let answer = match outcomes.collect::<Option<Vec<_>>>() {
            Some(outcomes) => Ok(Accepted::Stored(outcomes)),
            None => Err(StoreError::Unavailable("an event was left out of its batch".to_owned())),
        };
        self.reply.send(answer);
    }

    /// Endpoints whose lines must be held.
    pub(super) fn ordered(&self) -> impl Iterator<Item = EndpointId> {
        self.items.iter().flat_map(|item| item.joins.iter().map(|join| join.line.0))
    }

    /// Answers what needs no commit.
    pub(super) fn answer_settled(&mut self) {
        if let Some(answer) = self.settled.clone() {
            self.reply.send(Ok(answer));
        }
    }
}

const EVENT_COLUMNS: &[(&str, Kind)] = &[
    ("id", Kind::Id),
    ("tenant_id", Kind::Id),
    ("event_type", Kind::Text),
    ("subject", Kind::Text),
    ("payload", Kind::Blob),
    ("content_type", Kind::Text),
    ("occurred_at", Kind::Int),
    ("accepted_at", Kind::Int),
    ("labels", Kind::Text),
    ("correlation_id", Kind::Text),
    ("idempotency_key", Kind::Text),
    ("reason", Kind::Text),
    ("deliver_at", Kind::Int),
];

static EVENTS: Bulk = Bulk::new(
    "INSERT INTO events (id, tenant_id, event_type, subject, payload, content_type, occurred_at, accepted_at, labels, \
     correlation_id, idempotency_key, reason, deliver_at) ",
    EVENT_COLUMNS,
    "",
);

pub(super) const DELIVERY_COLUMNS: &[(&str, Kind)] = &[
    ("id", Kind::Id),
    ("code", Kind::Int),
    ("tenant_id", Kind::Id),
    ("event_id", Kind::Id),
    ("event_type", Kind::Text),
    ("subject", Kind::Text),
    ("endpoint_id", Kind::Id),
    ("integrator_id", Kind::Id),
    ("state", Kind::Text),
    ("reason", Kind::Text),
    ("created_at", Kind::Int),
    ("due_at", Kind::Int),
    ("owner", Kind::Int),
    ("correlation_id", Kind::Text),
];

static DELIVERIES: Bulk = Bulk::new(
    "INSERT INTO deliveries (id, code, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, \
     reason, created_at, due_at, owner, correlation_id) ",
    DELIVERY_COLUMNS,
    "",
);

/// Makes an event ready for the committer.
pub(crate) fn encode(accept: &AcceptEvent) -> Result<Item, StoreError> {
    let event = &*accept.event;
    let event_type: Arc<str> = event.event_type.as_str().into();
    let [subject, correlation] =
        [&event.subject, &event.correlation_id].map(|text| text.as_deref().map(Arc::<str>::from));
    let labels = if event.labels.is_empty() { Value::Text(None) } else { json(&event.labels)? };
    let created_at = Value::from(event.accepted_at);
    let deliveries = accept.deliveries.iter().map(|new| {
        let (state, reason, due_at, owner) = new.start.row();
        args![
            new.id,
            None::<i64>,
            event.tenant,
            event.id,
            Arc::clone(&event_type),
            subject.clone(),
            new.endpoint,
            new.integrator,
            state,
            reason,
            created_at.clone(),
            due_at,
            owner,
            correlation.clone(),
        ]
    });
    let deliveries: Vec<_> = deliveries.collect();
    let joins = joins(accept);
    let key = event.idempotency_key.as_deref().map(|key| Key {
        key: key.into(),
        hash: accept.body_hash,
        accepted_at: event.accepted_at,
    });
    let cells = args![
        event.id,
        event.tenant,
        event_type,
        subject,
        event.payload.as_slice(),
        event.content_type.as_str(),
        event.occurred_at,
        created_at,
        labels,
        correlation,
        event.idempotency_key.as_deref(),
        event.reason.map(|reason| reason.code()),
        event.deliver_at,
    ];
    let bytes = cells.iter().chain(deliveries.iter().flatten()).map(Value::size).sum();
    Ok(Item { id: event.id, event: cells, deliveries, joins, key, bytes, outcome: None })
}

/// Writes a batch's requests that are not settled; those that cannot be written are.
pub(super) async fn write(session: &mut Session, jobs: &mut [&mut AcceptJob], held: &Held) -> Result<(), Setback> {
    if jobs.is_empty() {
        return Ok(());
    }
    for job in jobs.iter_mut() {
        job.items.iter_mut().for_each(|item| item.outcome = None);
    }
    write_keys(session, jobs).await?;
    let live = || jobs.iter().filter(|job| job.settled.is_none());
    let new = || live().flat_map(|job| &job.items).filter(|item| item.outcome.is_none());
    let event_cells: Vec<Value> = new().flat_map(|item| item.event.iter().cloned()).collect();
    let wanted = new().map(|item| item.deliveries.len()).sum();
    let codes = codes(session, wanted).await?;
    let steps = lines::settle_joining(session, held, &joining(new(), &codes)).await?;
    let mut codes = codes.into_iter();
    let mut delivery_cells = Vec::with_capacity(wanted * DELIVERY_COLUMNS.len());
    let mut line_cells = Vec::new();
    for job in jobs.iter_mut().filter(|job| job.settled.is_none()) {
        for item in job.items.iter_mut().filter(|item| item.outcome.is_none()) {
            let own: Vec<i64> = codes.by_ref().take(item.deliveries.len()).collect();
            let mut held_back = Vec::new();
            for (n, (row, code)) in item.deliveries.iter().zip(&own).enumerate() {
                if let Some(join) = item.joins.iter().find(|join| join.n == n) {
                    let joined = lines::joined(steps.get(code), join.from);
                    held_back.extend(joined.is_some().then_some(n));
                    line_cells.extend(line_row(row, *code, join, joined));
                    continue;
                }
                let at = delivery_cells.len() + 1;
                delivery_cells.extend(row.iter().cloned());
                if let Some(cell) = delivery_cells.get_mut(at) {
                    *cell = Value::from(*code);
                }
            }
            let delivery_count = u32::try_from(own.len()).unwrap_or(u32::MAX);
            item.outcome = Some(AcceptedEvent { id: item.id, duplicate: false, delivery_count, codes: own, held_back });
        }
    }
    EVENTS.execute(session, event_cells).await?;
    DELIVERIES.execute(session, delivery_cells).await?;
    write_line_rows(session, line_cells).await?;
    let live = jobs.iter().filter(|job| job.settled.is_none());
    inbounds::write_state(session, live.filter_map(|job| job.state.as_ref())).await?;
    for row in jobs.iter().filter(|job| job.settled.is_none()).filter_map(|job| job.audit.as_ref()) {
        session.execute(audit::INSERT, row.clone()).await?;
    }
    Ok(())
}

/// Writes the engine's own facts with their deliveries, which join no lines.
pub(super) async fn write_fact_items(session: &mut Session, mut new: Vec<&mut Item>) -> Result<(), StoreError> {
    let event_cells: Vec<Value> = new.iter().flat_map(|item| item.event.iter().cloned()).collect();
    let wanted = new.iter().map(|item| item.deliveries.len()).sum();
    let mut codes = codes(session, wanted).await?.into_iter();
    let mut delivery_cells = Vec::with_capacity(wanted * DELIVERY_COLUMNS.len());
    for item in &mut new {
        let own: Vec<i64> = codes.by_ref().take(item.deliveries.len()).collect();
        for (row, code) in item.deliveries.iter().zip(&own) {
            let at = delivery_cells.len() + 1;
            delivery_cells.extend(row.iter().cloned());
            if let Some(cell) = delivery_cells.get_mut(at) {
                *cell = Value::from(*code);
            }
        }
        let delivery_count = u32::try_from(own.len()).unwrap_or(u32::MAX);
        item.outcome =
            Some(AcceptedEvent { id: item.id, duplicate: false, delivery_count, codes: own, held_back: Vec::new() });
    }
    EVENTS.execute(session, event_cells).await?;
    DELIVERIES.execute(session, delivery_cells).await?;
    Ok(())
}

/// Writes the engine's own facts beside what they are about.
pub(crate) async fn write_facts(session: &mut Session, facts: &[AcceptEvent]) -> Result<(), StoreError> {
    if facts.is_empty() {
        return Ok(());
    }
    let mut items = facts.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    write_fact_items(session, items.iter_mut().collect()).await
}

/// Settles the requests that were routed by a configuration that is no more.
///
/// On PostgreSQL the row is held until the commit, so that a change of the configuration either is seen here or
/// sees what is written here (deleting an endpoint cancels its deliveries, these included).
pub(super) async fn settle_stale(session: &mut Session, jobs: &mut [&mut AcceptJob]) -> Result<(), StoreError> {
    let mut revisions: BTreeMap<TenantId, Option<i64>> = BTreeMap::new();
    for job in jobs.iter() {
        revisions.entry(job.tenant).or_default();
    }
    for (tenant, revision) in &mut revisions {
        let sql = twins!(
            "SELECT revision FROM revisions WHERE tenant_id = $1",
            sqlite: "",
            postgres: " FOR SHARE"
        );
        let row = session.row(sql, args![*tenant]).await?;
        *revision = row.map(|row| row.cells().int()).transpose()?;
    }
    for job in jobs.iter_mut() {
        if revisions.get(&job.tenant).copied().flatten() != Some(job.revision) {
            job.settled = Some(Accepted::StaleCatalog);
        }
    }
    Ok(())
}

/// Running numbers for `wanted` deliveries.
pub(crate) async fn codes(session: &mut Session, wanted: usize) -> Result<Vec<i64>, StoreError> {
    let count = i64::try_from(wanted).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(Vec::new());
    }
    match session.dialect() {
        Dialect::Sqlite => {
            let sql = "UPDATE counters SET value = value + $1 WHERE name = 'delivery_code' RETURNING value";
            let row = session.row(sql, args![count]).await?;
            let last = row.ok_or_else(|| StoreError::Corrupt("no counter of deliveries".to_owned()))?.cells().int()?;
            Ok((last - count + 1..=last).collect())
        }
        Dialect::Postgres => {
            let sql = "SELECT nextval('delivery_code') FROM generate_series(1, $1)";
            let rows = session.rows(sql, args![count]).await?;
            rows.iter().map(|row| row.cells().int()).collect()
        }
    }
}
