//! Finishing a try: its attempt and what follows from it for the delivery, if the delivery is still in hand.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use engate_model::{
    DeliveryId, EndpointId, TenantId,
    delivery::{Attempt, Delivery},
    event::Event,
    transition::Transition,
};
use serde::{Deserialize, Serialize};

use super::{
    Reply, Setback,
    accept::{AcceptEvent, Item, encode as encode_event, write_fact_items},
    kept::{KeptWrite, write_kept},
};
use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    lines::{self, Held},
    nodes::NodeSerial,
    value::{Kind, Value, args, json, json_opt},
};

/// A finished try, made ready in its worker's task.
#[must_use = "a try counts only once it is handed to `Store::delivery_finish`"]
pub struct FinishItem {
    encoded: Result<Encoded, StoreError>,
}

/// What became of a finished try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Committed.
    Finished,
    /// Committed, and another delivery that waited behind this one may go now.
    Released,
    /// The delivery was no longer in this node's hands; nothing was written.
    LeaseLost,
}

struct Encoded {
    delivery: DeliveryId,
    code: i64,
    endpoint: EndpointId,
    /// Whether it is in a line, as far as is known.
    in_line: bool,
    owner: NodeSerial,
    change: Vec<Value>,
    attempt: Vec<Value>,
    state: Vec<StateWrite>,
    facts: Vec<Item>,
}

/// Kept by tenant, plugin, endpoint, key.
type StateWrite = KeptWrite<(TenantId, Arc<str>, EndpointId, Arc<str>)>;

/// A request without its body, as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
}

/// A response without its body, as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub truncated: bool,
}

impl FinishItem {
    /// The try `attempt` of `delivery`, held as `owner`, and what follows from it.
    pub fn new(
        delivery: &Delivery,
        event: &Event,
        owner: NodeSerial,
        attempt: &Attempt,
        transition: &Transition,
    ) -> Self {
        Self { encoded: encode(delivery, event, owner, attempt, transition) }
    }

    /// Says that the delivery is in a line of an endpoint that keeps an order. Where this is not said the store finds
    /// out, at the cost of a second transaction.
    pub fn in_line(mut self, in_line: bool) -> Self {
        if let Ok(encoded) = &mut self.encoded {
            encoded.in_line = in_line;
        }
        self
    }

    /// Adds what the plugin wrote to its state of `delivery`'s endpoint: key and value, none deletes. It is
    /// written with the try or not at all.
    pub fn with_state_writes(
        mut self,
        delivery: &Delivery,
        plugin: &str,
        writes: Vec<(String, Option<Vec<u8>>)>,
    ) -> Self {
        if let Ok(encoded) = &mut self.encoded {
            let plugin: Arc<str> = plugin.into();
            encoded.state.extend(writes.into_iter().map(|(key, value)| {
                let place = (delivery.tenant, Arc::clone(&plugin), delivery.endpoint, key.into());
                (place, value.map(Arc::from))
            }));
        }
        self
    }

    /// Adds what listeners are to be told of it. It is written with the try or not at all.
    pub fn with_facts(mut self, facts: &[AcceptEvent]) -> Self {
        if let Ok(encoded) = &mut self.encoded {
            match facts.iter().map(encode_event).collect() {
                Ok(items) => encoded.facts = items,
                Err(error) => self.encoded = Err(error),
            }
        }
        self
    }
}

impl Store {
    /// Records a try and moves its delivery on, if it is still in this node's hands; the answer comes after the
    /// commit.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database is; [`StoreError::Data`] when it refuses the values.
    pub async fn delivery_finish(&self, item: FinishItem) -> Result<Finished, StoreError> {
        let item = item.encoded?;
        let bytes = item.attempt.iter().map(Value::size).sum::<usize>();
        let bytes = item.facts.iter().fold(bytes, |bytes, fact| bytes + fact.bytes);
        self.committers().finish(|reply| FinishJob { item, bytes, released: false, settled: None, reply }).await
    }
}

/// A finished try as the committer has it.
pub(crate) struct FinishJob {
    item: Encoded,
    pub(super) bytes: usize,
    /// Whether something behind it may go.
    released: bool,
    /// The answer where it does not depend on this commit.
    pub(super) settled: Option<Finished>,
    pub(super) reply: Reply<Finished>,
}

impl FinishJob {
    /// Answers after the commit.
    pub(super) fn answer(&mut self) {
        let committed = if self.released { Finished::Released } else { Finished::Finished };
        self.reply.send(Ok(self.settled.unwrap_or(committed)));
    }

    /// Its endpoint, where that one's lines must be held. Of a `careful` batch it is not known yet.
    pub(super) fn ordered(&self, careful: bool) -> Option<EndpointId> {
        (self.item.in_line || careful).then_some(self.item.endpoint)
    }

    /// Answers what needs no commit.
    pub(super) fn answer_settled(&mut self) {
        if let Some(answer) = self.settled {
            self.reply.send(Ok(answer));
        }
    }
}

/// The code is SQLite's own key of the table, the id PostgreSQL's: each finds the row by its own.
macro_rules! by_key {
    ($more:literal) => {
        concat!(
            ") AS v WHERE deliveries.id = v.delivery_id AND deliveries.code = v.delivery_code AND \
             deliveries.owner = v.held_by",
            $more
        )
    };
}

macro_rules! change {
    ($more:literal) => {
        concat!(
            "UPDATE deliveries SET state = v.state, success = v.success, reason = v.reason, attempts = v.attempts, \
             first_attempt_at = COALESCE(deliveries.first_attempt_at, v.at), last_attempt_at = v.at, \
             integrated_at = COALESCE(deliveries.integrated_at, v.integrated_at), due_at = v.due_at, \
             next_trigger = 'retry', owner = NULL",
            $more,
            " FROM ("
        )
    };
}

const CHANGE_COLUMNS: &[(&str, Kind)] = &[
    ("delivery_id", Kind::Id),
    ("delivery_code", Kind::Int),
    ("held_by", Kind::Int),
    ("state", Kind::Text),
    ("success", Kind::Int),
    ("reason", Kind::Text),
    ("attempts", Kind::Int),
    ("at", Kind::Int),
    ("integrated_at", Kind::Int),
    ("due_at", Kind::Int),
];

/// A delivery that came into a line while it was in hand is passed over, and found by looking carefully.
static CHANGES: Bulk = Bulk::new(change!(""), CHANGE_COLUMNS, by_key!(" AND deliveries.line IS NULL"));

/// One that is finished leaves its line.
static LINE_CHANGES: Bulk =
    Bulk::new(change!(", line = CASE WHEN v.state = 'pending' THEN deliveries.line END"), CHANGE_COLUMNS, by_key!(""));

static HELD: Bulk = Bulk::with_twin_tails(
    "SELECT d.code, CAST(CASE WHEN d.line IS NULL THEN 0 ELSE 1 END AS BIGINT) FROM (",
    &[("delivery_id", Kind::Id), ("held_by", Kind::Int)],
    ") AS v JOIN deliveries d ON d.id = v.delivery_id AND d.owner = v.held_by",
    ") AS v JOIN deliveries d ON d.id = v.delivery_id AND d.owner = v.held_by FOR UPDATE OF d",
);

static ATTEMPTS: Bulk = Bulk::new(
    "INSERT INTO attempts (place, delivery_id, number, at, trigger_code, plugin, plugin_digest, request, request_body, \
     body_is_payload, response, response_body, outcome, code, message, duration_us, replay) ",
    &[
        ("place", Kind::Int),
        ("delivery_id", Kind::Id),
        ("number", Kind::Int),
        ("at", Kind::Int),
        ("trigger_code", Kind::Text),
        ("plugin", Kind::Text),
        ("plugin_digest", Kind::Text),
        ("request", Kind::Text),
        ("request_body", Kind::Blob),
        ("body_is_payload", Kind::Int),
        ("response", Kind::Text),
        ("response_body", Kind::Blob),
        ("outcome", Kind::Text),
        ("code", Kind::Text),
        ("message", Kind::Text),
        ("duration_us", Kind::Int),
        ("replay", Kind::Text),
    ],
    "",
);

const STATE_COLUMNS: &[(&str, Kind)] = &[
    ("tenant_id", Kind::Id),
    ("plugin", Kind::Text),
    ("endpoint_id", Kind::Id),
    ("key", Kind::Text),
    ("value", Kind::Blob),
];

pub(crate) static STATE_PUT: Bulk = Bulk::new(
    "INSERT INTO plugin_state (tenant_id, plugin, endpoint_id, key, value) ",
    STATE_COLUMNS,
    " ON CONFLICT (tenant_id, plugin, endpoint_id, key) DO UPDATE SET value = excluded.value",
);

pub(crate) static STATE_DELETE: Bulk = Bulk::new(
    "DELETE FROM plugin_state WHERE (tenant_id, plugin, endpoint_id, key) IN (",
    STATE_COLUMNS.split_at(4).0,
    ")",
);

/// Attempts that one delivery may have, in powers of two.
pub(crate) const PLACE_BITS: u32 = 16;

/// Where an attempt is kept: ordered by delivery, then by number.
fn place(code: i64, number: u32) -> Result<i64, StoreError> {
    if number >> PLACE_BITS != 0 {
        return Err(StoreError::Data(format!("attempt {number} is beyond what one delivery may have")));
    }
    Ok((code << PLACE_BITS) | i64::from(number))
}

/// How a success is kept: -1 before the first attempt.
pub(crate) const fn success_number(success: Option<bool>) -> i64 {
    match success {
        None => -1,
        Some(false) => 0,
        Some(true) => 1,
    }
}

fn encode(
    delivery: &Delivery,
    event: &Event,
    owner: NodeSerial,
    attempt: &Attempt,
    transition: &Transition,
) -> Result<Encoded, StoreError> {
    let succeeded = transition.success == Some(true);
    let change = args![
        delivery.id,
        delivery.code,
        owner,
        transition.state,
        success_number(transition.success),
        if succeeded { None } else { transition.code.as_deref() },
        attempt.number,
        attempt.at,
        succeeded.then(|| attempt.at.after(attempt.duration)),
        transition.next_attempt_at,
    ];
    let request = attempt.request.as_ref();
    let body_is_payload = request.is_some_and(|request| request.body == event.payload);
    let request_body = request.filter(|_| !body_is_payload).map(|request| request.body.as_slice());
    let stored_request = request.map(|request| StoredRequest {
        method: request.method.clone(),
        url: request.url.clone(),
        headers: request.headers.clone(),
    });
    let stored_response = attempt.response.as_ref().map(|response| StoredResponse {
        status: response.status,
        headers: response.headers.clone(),
        truncated: response.truncated,
    });
    let row = args![
        place(delivery.code, attempt.number)?,
        delivery.id,
        attempt.number,
        attempt.at,
        attempt.trigger,
        attempt.plugin.as_deref(),
        attempt.plugin_digest.as_deref(),
        json_opt(stored_request.as_ref())?,
        request_body,
        body_is_payload,
        json_opt(stored_response.as_ref())?,
        attempt.response.as_ref().map(|response| response.body.as_slice()),
        attempt.outcome.as_str(),
        attempt.code.as_deref(),
        attempt.message.as_deref(),
        u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX),
        attempt.replay.as_ref().map_or(Ok(Value::Text(None)), json)?,
    ];
    let (code, endpoint) = (delivery.code, delivery.endpoint);
    Ok(Encoded {
        delivery: delivery.id,
        code,
        endpoint,
        in_line: false,
        owner,
        change,
        attempt: row,
        state: Vec::new(),
        facts: Vec::new(),
    })
}

/// Writes a batch's tries. With `careful`, those whose delivery is in other hands are looked for first and
/// settled; without, finding that there are some is a setback.
pub(super) async fn write(
    session: &mut Session,
    jobs: &mut [&mut FinishJob],
    lines: &Held,
    careful: bool,
) -> Result<(), Setback> {
    if jobs.is_empty() {
        return Ok(());
    }
    if careful {
        settle_lost(session, jobs).await?;
    }
    let held = || jobs.iter().filter(|job| job.settled.is_none());
    let wanted = u64::try_from(held().count()).unwrap_or(u64::MAX);
    let changes =
        |in_line| held().filter(move |job| job.item.in_line == in_line).flat_map(|job| job.item.change.iter().cloned());
    let mut changed = CHANGES.execute(session, changes(false).collect()).await?;
    let in_lines = held().filter(|job| job.item.in_line).map(|job| job.item.delivery);
    let left = if lines.is_empty() { BTreeSet::new() } else { lines::lines_of(session, in_lines).await? };
    changed += LINE_CHANGES.execute(session, changes(true).collect()).await?;
    if changed != wanted {
        return Err(Setback::LeaseLost);
    }
    let attempts = held().flat_map(|job| job.item.attempt.iter().cloned()).collect();
    ATTEMPTS.execute(session, attempts).await?;
    let state = held().flat_map(|job| &job.item.state);
    write_kept(session, [&STATE_PUT, &STATE_DELETE], state, |(tenant, plugin, endpoint, key)| {
        args![*tenant, Arc::clone(plugin), *endpoint, Arc::clone(key)]
    })
    .await?;
    let held = jobs.iter_mut().filter(|job| job.settled.is_none());
    let facts: Vec<_> = held.flat_map(|job| &mut job.item.facts).collect();
    if !facts.is_empty() {
        write_fact_items(session, facts).await?;
    }
    let released = lines::settle_lines(session, lines, left).await? > 0;
    jobs.iter_mut().for_each(|job| job.released = released && job.item.in_line);
    Ok(())
}

/// Settles the tries whose delivery is not in their hands, and repeats of one in the same batch.
async fn settle_lost(session: &mut Session, jobs: &mut [&mut FinishJob]) -> Result<(), StoreError> {
    let names = jobs.iter().flat_map(|job| args![job.item.delivery, job.item.owner]).collect();
    let mut held = HashMap::new();
    for row in HELD.rows(session, names).await? {
        let mut cells = row.cells();
        held.insert(cells.int()?, cells.flag()?);
    }
    for job in jobs.iter_mut() {
        match held.remove(&job.item.code) {
            Some(in_line) => job.item.in_line = in_line,
            None => job.settled = Some(Finished::LeaseLost),
        }
    }
    Ok(())
}
