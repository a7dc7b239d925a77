//! Accepting events: dedupe, check the revision that routed them, write events and deliveries.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState},
    event::Event,
    line::Ordering,
};

use super::{Reply, Setback};
use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    inbounds::{self, EncodedState, InboundState},
    lines::{self, Held, Joined, Joining, LineKey},
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
    /// Not to go, for this reason.
    Skipped(String),
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
        let (state, reason, due_at) = match &new.start {
            Start::HandedOver(_) => (DeliveryState::Delivering, None, None),
            Start::Pending(due_at) => (DeliveryState::Pending, None, Some(*due_at)),
            Start::Skipped(reason) => (DeliveryState::Skipped, Some(reason.clone()), None),
        };
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
            reason,
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
        let items = request.events.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let state = request.state.map(|state| EncodedState::of(request.tenant, state));
        let bytes = items.iter().map(|item| item.bytes).sum::<usize>() + state.as_ref().map_or(0, EncodedState::bytes);
        let (tenant, revision) = (request.tenant, request.revision);
        self.committers()
            .accept(|reply| AcceptJob { tenant, revision, items, state, bytes, settled: None, reply })
            .await
    }
}

/// A request as the committer has it: encoded by its producer's task.
pub(crate) struct AcceptJob {
    tenant: TenantId,
    revision: i64,
    items: Vec<Item>,
    state: Option<EncodedState>,
    pub(super) bytes: usize,
    /// The answer where it does not depend on this commit.
    pub(super) settled: Option<Accepted>,
    pub(super) reply: Reply<Accepted>,
}

struct Item {
    id: EventId,
    event: Vec<Value>,
    /// Rows of [`DELIVERY_COLUMNS`], the code left empty.
    deliveries: Vec<Vec<Value>>,
    /// Those of them that join a line.
    joins: Vec<Join>,
    key: Option<Key>,
    bytes: usize,
    /// Filled in while the batch is written.
    outcome: Option<AcceptedEvent>,
}

/// A delivery that joins a line.
struct Join {
    /// Its place among the event's deliveries.
    n: usize,
    line: LineKey,
    /// When it may go.
    from: Timestamp,
}

struct Key {
    key: Arc<str>,
    hash: [u8; 32],
    accepted_at: Timestamp,
}

impl AcceptJob {
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
];

static EVENTS: Bulk = Bulk::new(
    "INSERT INTO events (id, tenant_id, event_type, subject, payload, content_type, occurred_at, accepted_at, labels, \
     correlation_id, idempotency_key, reason) ",
    EVENT_COLUMNS,
    "",
);

const DELIVERY_COLUMNS: &[(&str, Kind)] = &[
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

/// Where [`DELIVERY_COLUMNS`] have what the line decides.
const STATE: usize = 8;
const REASON: usize = 9;
const DUE_AT: usize = 11;
const OWNER: usize = 12;

static DELIVERIES: Bulk = Bulk::new(
    "INSERT INTO deliveries (id, code, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, \
     reason, created_at, due_at, owner, correlation_id) ",
    DELIVERY_COLUMNS,
    "",
);

static LINE_DELIVERIES: Bulk = Bulk::new(
    "INSERT INTO deliveries (id, code, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, \
     reason, created_at, due_at, owner, correlation_id, line, waits_behind) ",
    &LINE_DELIVERY_COLUMNS,
    "",
);

const LINE_DELIVERY_COLUMNS: [(&str, Kind); DELIVERY_COLUMNS.len() + 2] = {
    let mut columns = [("line", Kind::Text); DELIVERY_COLUMNS.len() + 2];
    let (own, _) = columns.split_at_mut(DELIVERY_COLUMNS.len());
    own.copy_from_slice(DELIVERY_COLUMNS);
    columns[DELIVERY_COLUMNS.len() + 1] = ("waits_behind", Kind::Int);
    columns
};

static KEYS: Bulk = Bulk::new(
    "INSERT INTO idempotency_keys (tenant_id, key, event_id, body_hash, delivery_count, created_at) ",
    &[
        ("tenant_id", Kind::Id),
        ("key", Kind::Text),
        ("event_id", Kind::Id),
        ("body_hash", Kind::Blob),
        ("delivery_count", Kind::Int),
        ("created_at", Kind::Int),
    ],
    " ON CONFLICT (tenant_id, key) DO NOTHING",
);

static KEYS_TAKEN: Bulk = Bulk::new(
    "SELECT k.tenant_id, k.key, k.event_id, k.body_hash, k.delivery_count FROM (",
    &[("tenant_id", Kind::Id), ("key", Kind::Text)],
    ") AS v JOIN idempotency_keys k ON k.tenant_id = v.tenant_id AND k.key = v.key",
);

fn encode(accept: &AcceptEvent) -> Result<Item, StoreError> {
    let event = &*accept.event;
    let event_type: Arc<str> = event.event_type.as_str().into();
    let [subject, correlation] =
        [&event.subject, &event.correlation_id].map(|text| text.as_deref().map(Arc::<str>::from));
    let labels = if event.labels.is_empty() { Value::Text(None) } else { json(&event.labels)? };
    let created_at = Value::from(event.accepted_at);
    let deliveries = accept.deliveries.iter().map(|new| {
        let (state, reason, due_at, owner) = match &new.start {
            Start::HandedOver(owner) => (DeliveryState::Delivering, None, None, Some(*owner)),
            Start::Pending(due_at) => (DeliveryState::Pending, None, Some(*due_at), None),
            Start::Skipped(reason) => (DeliveryState::Skipped, Some(reason.as_str()), None, None),
        };
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
    let joins = accept.deliveries.iter().enumerate().filter_map(|(n, new)| {
        let line = new.ordering.line(&event.event_type, event.subject.as_deref())?;
        let from = match new.start {
            Start::HandedOver(_) => event.accepted_at,
            Start::Pending(from) => from,
            Start::Skipped(_) => return None,
        };
        Some(Join { n, line: (new.endpoint, line.into()), from })
    });
    let joins = joins.collect();
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
    LINE_DELIVERIES.execute(session, line_cells).await?;
    let live = jobs.iter().filter(|job| job.settled.is_none());
    inbounds::write_state(session, live.filter_map(|job| job.state.as_ref())).await?;
    Ok(())
}

/// The lines that new deliveries join, with their codes; `codes` are those of `new` in its order.
fn joining<'a>(new: impl Iterator<Item = &'a Item>, codes: &[i64]) -> Joining {
    let mut joining = Joining::new();
    let mut first = 0;
    for item in new {
        for join in &item.joins {
            joining.entry(join.line.clone()).or_default().extend(codes.get(first + join.n));
        }
        first += item.deliveries.len();
    }
    joining
}

/// The row of a delivery that joins a line; `joined` says how, where it is not to go as was asked for.
fn line_row(row: &[Value], code: i64, join: &Join, joined: Option<Joined>) -> Vec<Value> {
    let mut cells = row.to_vec();
    let mut set = |at: usize, value: Value| {
        if let Some(cell) = cells.get_mut(at) {
            *cell = value;
        }
    };
    set(1, Value::from(code));
    let (mut line, mut waits_behind) = (Some(Arc::clone(&join.line.1)), None);
    if let Some(joined) = joined {
        if joined.state.is_finished() {
            line = None;
        }
        waits_behind = joined.waits_behind;
        set(STATE, joined.state.into());
        set(REASON, joined.reason.into());
        set(DUE_AT, Value::Int(None));
        set(OWNER, Value::Int(None));
    }
    cells.extend(args![line, waits_behind]);
    cells
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

/// Writes idempotency keys and gives the events whose key was taken the outcome of the first.
async fn write_keys(session: &mut Session, jobs: &mut [&mut AcceptJob]) -> Result<(), Setback> {
    let live = jobs.iter().filter(|job| job.settled.is_none());
    let keyed = live.flat_map(|job| job.items.iter().filter_map(|item| Some((job.tenant, item.key.as_ref()?, item))));
    let mut keyed: Vec<_> = keyed.collect();
    if keyed.is_empty() {
        return Ok(());
    }
    // In one order in every transaction, so that two that meet wait instead of deadlocking.
    keyed.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    let mut cells = Vec::new();
    let mut names = Vec::new();
    for (tenant, key, item) in &keyed {
        let count = u64::try_from(item.deliveries.len()).unwrap_or(u64::MAX);
        names.extend(args![*tenant, Arc::clone(&key.key)]);
        cells.extend(args![*tenant, Arc::clone(&key.key), item.id, key.hash.as_slice(), count, key.accepted_at]);
    }
    let wanted = u64::try_from(keyed.len()).unwrap_or(u64::MAX);
    if KEYS.execute(session, cells).await? == wanted {
        return Ok(());
    }
    let mut taken = HashMap::new();
    for row in KEYS_TAKEN.rows(session, names).await? {
        let mut cells = row.cells();
        let place = (cells.id()?, cells.text()?);
        taken.insert(place, Taken { event: cells.id()?, hash: cells.blob()?, delivery_count: cells.small()? });
    }
    resolve_keys(jobs, &taken)
}

/// What an idempotency key stands for.
struct Taken {
    event: EventId,
    hash: Vec<u8>,
    delivery_count: u32,
}

/// Matches each key with who has it. A request that holds keys and collides on another is settled and the batch
/// is written again without it, so that it leaves no key behind.
fn resolve_keys(jobs: &mut [&mut AcceptJob], taken: &HashMap<(TenantId, String), Taken>) -> Result<(), Setback> {
    let mut again = false;
    for job in jobs.iter_mut().filter(|job| job.settled.is_none()) {
        let mut holds = false;
        let mut collides = None;
        for (index, item) in job.items.iter_mut().enumerate() {
            let Some(key) = &item.key else { continue };
            let place = (job.tenant, key.key.to_string());
            let Some(first) = taken.get(&place) else {
                return Err(StoreError::Unavailable("an idempotency key expired just now; try again".to_owned()).into());
            };
            if first.event == item.id {
                holds = true;
            } else if first.hash == key.hash {
                item.outcome = Some(AcceptedEvent {
                    id: first.event,
                    duplicate: true,
                    delivery_count: first.delivery_count,
                    codes: Vec::new(),
                    held_back: Vec::new(),
                });
            } else {
                collides = collides.or(Some(index));
            }
        }
        if let Some(index) = collides {
            job.settled = Some(Accepted::Conflict { index });
            again |= holds;
        }
    }
    if again { Err(Setback::Again) } else { Ok(()) }
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
