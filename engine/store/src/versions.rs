//! Versions: of each event type the newest event is the one that people send by hand. Which that is, what became of it
//! at an endpoint, and taking its delivery in hand.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, TenantId,
    delivery::{Delivery, DeliveryState, Trigger},
    event::Event,
    line::{Ordering, Standing},
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    claims::ClaimedDelivery,
    commit::accept::codes,
    compose::{Bulk, OrderTerm, Range, Scan, distinct},
    db::Session,
    deliveries::{delivery, delivery_columns},
    error::StoreError,
    events::{event, event_columns, event_hold, event_in},
    lines,
    nodes::NodeSerial,
    sql::twins,
    value::{Kind, Row, args},
};

/// An endpoint's own deliveries that are looked through for its last ones of some types.
const OWN_LAST_MAX: usize = 500;
/// Deliveries of one type, to whomever, that are looked through where an endpoint's own last ones have none of it.
const LOOKED_BACK_MAX: u32 = 2_000;

/// The newest event of a type, as one endpoint has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Key of the type.
    pub event_type: String,
    /// The event.
    pub event: EventId,
    /// Its delivery to the endpoint; none where the endpoint did not get it.
    pub delivery: Option<Delivery>,
}

/// A version that someone wants to be sent now.
#[derive(Debug, Clone)]
pub struct WantedNow<'a> {
    /// Whose endpoint.
    pub tenant: TenantId,
    /// Where to.
    pub endpoint: EndpointId,
    /// Whose endpoint that is.
    pub integrator: IntegratorId,
    /// What.
    pub version: &'a Version,
    /// The delivery's id, if there is none yet.
    pub id: DeliveryId,
    /// What the audit calls it.
    pub action: &'a str,
}

/// What became of a wish to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in this node's hands; what is older and unfinished of the same key was superseded.
    InHand(Box<ClaimedDelivery>),
    /// It is in hand already: an attempt is under way or about to be.
    Busy(Box<Delivery>),
    /// Another one of its line is in hand; it can go after that.
    Behind,
    /// An earlier one of its line has to be finished first: the endpoint's order asks for it.
    Blocked {
        /// That one's code.
        code: i64,
    },
    /// The endpoint has a newer one, or the event or its delivery is kept no longer.
    Outdated,
    /// The endpoint is gone or disabled.
    NoEndpoint,
}

static NEWEST: Bulk = Bulk::new(
    "SELECT e.event_type, e.id FROM (",
    &[("of_tenant", Kind::Id), ("of_type", Kind::Text)],
    ") AS v JOIN events e ON e.tenant_id = v.of_tenant AND e.id = (SELECT x.id FROM events x WHERE x.tenant_id = \
     v.of_tenant AND x.event_type = v.of_type AND (x.reason IS NULL OR x.reason <> 'test') ORDER BY x.id DESC LIMIT 1)",
);

const OF_EVENT: &[(&str, Kind)] = &[("of_event", Kind::Id), ("to_endpoint", Kind::Id)];

/// Those of these events that are tests.
static TESTS: Bulk = Bulk::new(
    "SELECT e.id FROM (",
    &[("of_tenant", Kind::Id), ("of_event", Kind::Id)],
    ") AS v JOIN events e ON e.tenant_id = v.of_tenant AND e.id = v.of_event AND e.reason = 'test'",
);

static DELIVERED: Bulk = Bulk::with_twin_tails(
    concat!("SELECT ", delivery_columns!(), " FROM ("),
    OF_EVENT,
    ") AS v JOIN deliveries INDEXED BY deliveries_event ON event_id = v.of_event AND endpoint_id = v.to_endpoint",
    ") AS v JOIN deliveries ON event_id = v.of_event AND endpoint_id = v.to_endpoint",
);

/// Events that came in at the same moment may have got their codes in the other order: the code decides.
static BEYOND: Bulk = Bulk::with_twin_tails(
    concat!("SELECT ", delivery_columns!(), " FROM ("),
    &[("of_tenant", Kind::Id), ("of_type", Kind::Text), ("to_endpoint", Kind::Id), ("beyond", Kind::Int)],
    ") AS v JOIN deliveries INDEXED BY deliveries_type ON tenant_id = v.of_tenant AND event_type = v.of_type AND code > \
     v.beyond AND endpoint_id = v.to_endpoint AND NOT EXISTS (SELECT 1 FROM events t WHERE t.tenant_id = v.of_tenant AND \
     t.id = event_id AND t.reason = 'test')",
    ") AS v JOIN deliveries ON tenant_id = v.of_tenant AND event_type = v.of_type AND code > v.beyond AND endpoint_id = \
     v.to_endpoint AND NOT EXISTS (SELECT 1 FROM events t WHERE t.tenant_id = v.of_tenant AND t.id = event_id AND \
     t.reason = 'test')",
);

impl Store {
    /// The newest version of each of these types that was ever published, as `endpoint` has it; the newest is the one of
    /// the highest code. Test events are none.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn version_list(
        &self,
        tenant: TenantId,
        endpoint: EndpointId,
        event_types: &[&str],
    ) -> Result<Vec<Version>, StoreError> {
        let mut session = self.db().reader().await?;
        let types = event_types.iter().flat_map(|key| args![tenant, *key]).collect();
        let mut versions = Vec::with_capacity(event_types.len());
        for row in NEWEST.rows(&mut session, types).await? {
            let mut cells = row.cells();
            versions.push(Version { event_type: cells.text()?, event: cells.id()?, delivery: None });
        }
        let events = versions.iter().flat_map(|version| args![version.event, endpoint]).collect();
        let rows = DELIVERED.rows(&mut session, events).await?;
        let mut newest: HashMap<String, Delivery> = HashMap::new();
        keep_newest(&mut newest, &rows)?;
        let beyond = newest.values().flat_map(|one| args![tenant, &one.event_type, endpoint, one.code]).collect();
        let rows = BEYOND.rows(&mut session, beyond).await?;
        keep_newest(&mut newest, &rows)?;
        for version in &mut versions {
            version.delivery = newest.remove(&version.event_type);
            if let Some(delivery) = &version.delivery {
                version.event = delivery.event;
            }
        }
        Ok(versions)
    }

    /// The newest events of a type, the newest first; test events are none.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_newest(&self, tenant: TenantId, event_type: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
        let sql = concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE tenant_id = $1 AND event_type = $2 AND (reason IS NULL OR reason <> 'test') \
             ORDER BY id DESC LIMIT $3"
        );
        self.db().rows(sql, args![tenant, event_type, limit]).await?.iter().map(event).collect()
    }

    /// The last delivery of each of these types that an endpoint got and that was not skipped; those of test events are
    /// none. Looked for among the endpoint's own last [`OWN_LAST_MAX`], and where it has more and none of a type among
    /// them, among that type's last [`LOOKED_BACK_MAX`].
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_lasts(
        &self,
        tenant: TenantId,
        endpoint: EndpointId,
        event_types: &[&str],
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut session = self.db().reader().await?;
        let own = own_last(&mut session, endpoint).await?;
        let all_seen = own.len() < OWN_LAST_MAX;
        let mut own: Vec<_> = own.into_iter().filter(|one| event_types.contains(&one.event_type.as_str())).collect();
        let events = own.iter().flat_map(|one| args![tenant, one.event]).collect();
        let tests = TESTS.rows(&mut session, events).await?;
        let tests = tests.iter().map(|row| row.cells().id()).collect::<Result<HashSet<EventId>, _>>()?;
        own.retain(|one| !tests.contains(&one.event));
        // The newest comes first.
        let mut lasts: HashMap<String, Delivery> = HashMap::new();
        for one in own {
            lasts.entry(one.event_type.clone()).or_insert(one);
        }
        for key in event_types.iter().filter(|_| !all_seen) {
            if lasts.contains_key(*key) {
                continue;
            }
            let sql = concat!(
                "SELECT ",
                delivery_columns!(),
                " FROM (SELECT * FROM deliveries WHERE tenant_id = $1 AND event_type = $2 ORDER BY code DESC LIMIT $4) AS \
                 recent WHERE endpoint_id = $3 AND state <> 'skipped' AND NOT EXISTS (SELECT 1 FROM events t WHERE \
                 t.tenant_id = $1 AND t.id = recent.event_id AND t.reason = 'test') ORDER BY code DESC LIMIT 1"
            );
            if let Some(row) = session.row(sql, args![tenant, *key, endpoint, LOOKED_BACK_MAX]).await? {
                lasts.insert((*key).to_owned(), delivery(&mut row.cells())?);
            }
        }
        Ok(lasts.into_values().collect())
    }

    /// The types of a tenant's events, whatever its catalogue has: the first `limit` of them by key, from one to the next
    /// in one probe.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_types_published(&self, tenant: TenantId, limit: u32) -> Result<Vec<String>, StoreError> {
        let sql = distinct(self.db().dialect(), "events", "events_type", "tenant_id = $1", "event_type", 2);
        self.db().rows(sql, args![tenant, limit]).await?.iter().map(|row| row.cells().text()).collect()
    }

    /// Takes a version's delivery in hand because someone wants it sent now; makes the delivery where there is none, and
    /// the endpoint has none of a newer event of its key (endpoint, event type, subject). What is older of its key, and
    /// not delivered, is superseded.
    ///
    /// # Errors
    /// When the database gives no answer; then nothing was taken.
    pub async fn delivery_take(
        &self,
        actor: &Actor,
        serial: NodeSerial,
        wanted: &WantedNow<'_>,
    ) -> Result<Taken, StoreError> {
        let mut session = self.db().begin().await?;
        let taken = self.take(&mut session, actor, serial, wanted).await?;
        match taken {
            Taken::InHand(_) | Taken::Busy(_) => session.commit().await?,
            _ => session.rollback().await?,
        }
        Ok(taken)
    }

    async fn take(
        &self,
        session: &mut Session,
        actor: &Actor,
        serial: NodeSerial,
        wanted: &WantedNow<'_>,
    ) -> Result<Taken, StoreError> {
        let (tenant, endpoint) = (wanted.tenant, wanted.endpoint);
        let to_make = wanted.version.delivery.is_none();
        if to_make {
            still(session, tenant).await?;
        }
        let held = lines::lock(session, [endpoint]).await?;
        let live = "SELECT 1 FROM endpoints WHERE id = $1 AND tenant_id = $2 AND enabled = 1 AND deleted_at IS NULL";
        let Some(ordering) = held.get(&endpoint).copied() else { return Ok(Taken::NoEndpoint) };
        if session.row(live, args![endpoint, tenant]).await?.is_none() {
            return Ok(Taken::NoEndpoint);
        }
        // Held first: what is old may be forgotten at this moment.
        event_hold(session, tenant, wanted.version.event).await?;
        let Some(event) = event_in(session, tenant, wanted.version.event).await? else { return Ok(Taken::Outdated) };
        let found = present(session, wanted).await?;
        let outdated = match &found {
            // It was forgotten since it was seen; whoever looks again finds none, and has it made.
            None if !to_make => true,
            Some(found) => ordering == Ordering::Latest && lines::newer(session, found).await?.is_some(),
            // It would get the highest code, and count as the newest from then on.
            None => newer_event(session, endpoint, &event).await?,
        };
        if outdated {
            return Ok(Taken::Outdated);
        }
        let below = found.as_ref().map_or(i64::MAX, |found| found.code);
        let before = found.as_ref().map_or(event.id, |_| EventId::MAX);
        let superseded = supersede_older(session, endpoint, &event, (below, before)).await?;
        let line = ordering.line(&event.event_type, event.subject.as_deref()).map(Arc::<str>::from);
        let lines = line.iter().map(|line| (endpoint, Arc::clone(line))).collect();
        if let Some(busy) = found.as_ref().filter(|found| found.state == DeliveryState::Delivering) {
            lines::settle_lines(session, &held, lines).await?;
            if superseded > 0 {
                let detail = json!({
                    "event_type": event.event_type, "delivery": busy.id, "superseded": superseded, "joined": true,
                });
                self.audit(session, actor, tenant, wanted.action, &endpoint.to_string(), &detail).await?;
            }
            return Ok(Taken::Busy(Box::new(busy.clone())));
        }
        if let Some(line) = &line {
            let others = lines::ahead_of(session, &(endpoint, Arc::clone(line)), below).await?;
            if others.iter().any(|member| member.standing == Standing::InHand) {
                return Ok(Taken::Behind);
            }
            if let Some(first) = others.first() {
                return Ok(Taken::Blocked { code: first.code });
            }
        }
        let delivery = match found {
            Some(found) => take_present(session, serial, found, line).await?,
            None => make(session, serial, wanted, &event, line, actor).await?,
        };
        lines::settle_lines(session, &held, lines).await?;
        let detail = json!({ "event_type": event.event_type, "delivery": delivery.id, "superseded": superseded });
        self.audit(session, actor, tenant, wanted.action, &endpoint.to_string(), &detail).await?;
        let in_line = ordering != Ordering::Parallel;
        Ok(Taken::InHand(Box::new(ClaimedDelivery {
            delivery,
            trigger: Trigger::Manual,
            in_line,
            event: event.into(),
        })))
    }
}

fn keep_newest(newest: &mut HashMap<String, Delivery>, rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        let found = delivery(&mut row.cells())?;
        match newest.get(&found.event_type) {
            Some(held) if held.code >= found.code => {}
            _ => drop(newest.insert(found.event_type.clone(), found)),
        }
    }
    Ok(())
}

/// Holds up, on PostgreSQL until the commit, whatever would be accepted for a tenant: an accept for an endpoint without an
/// order holds nothing but the tenant's revision, and one that came between the look for newer events and the code of the
/// delivery that is made would get a lower code than an older event. Comes before any endpoint's row, as in an accept.
async fn still(session: &mut Session, tenant: TenantId) -> Result<(), StoreError> {
    let sql = twins!(
        "SELECT revision FROM revisions WHERE tenant_id = $1",
        sqlite: "",
        postgres: " FOR NO KEY UPDATE"
    );
    session.row(sql, args![tenant]).await.map(|_| ())
}

/// The delivery as it is now, and not to be changed by another until the commit.
async fn present(session: &mut Session, wanted: &WantedNow<'_>) -> Result<Option<Delivery>, StoreError> {
    let sql = twins!(
        concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE event_id = $1 AND endpoint_id = $2"),
        sqlite: "",
        postgres: " FOR UPDATE"
    );
    let row = session.row(sql, args![wanted.version.event, wanted.endpoint]).await?;
    row.map(|row| delivery(&mut row.cells())).transpose()
}

/// An endpoint's last deliveries that were not skipped, the newest first: [`OWN_LAST_MAX`] at most, read from the end of
/// each state's range.
async fn own_last(session: &mut Session, endpoint: EndpointId) -> Result<Vec<Delivery>, StoreError> {
    // What is in hand is in none of the others, and there is never much of it.
    let held = Range::of(Some("deliveries_owner"), "endpoint_id = $1 AND owner IS NOT NULL".to_owned());
    let mut ranges = vec![held];
    let finished = "endpoint_id = $1 AND owner IS NULL";
    for state in DeliveryState::ALL.into_iter().filter(|state| *state != DeliveryState::Skipped) {
        for success in ["-1", "0", "1"] {
            let keys = vec![("state", format!("'{}'", state.code())), ("success", success.to_owned())];
            ranges.push(Range { keys, ..Range::of(Some("deliveries_endpoint"), finished.to_owned()) });
        }
    }
    let scan = Scan { table: "deliveries", ranges: &ranges, everywhere: "" };
    let by_code = [OrderTerm { column: "code", descending: true, nulls: false }];
    let sql = scan.page(session.dialect(), delivery_columns!(), &by_code, 2);
    let limit = u64::try_from(OWN_LAST_MAX).unwrap_or(u64::MAX);
    let rows = session.rows(sql, args![endpoint, limit]).await?;
    rows.iter().map(|row| delivery(&mut row.cells())).collect()
}

/// Whether the endpoint has a delivery of the same key whose event came later: one that is unfinished, was delivered or
/// failed. Newer events are few: it is the newest of its type that someone wants, or one of the last that a filter takes.
async fn newer_event(session: &mut Session, endpoint: EndpointId, event: &Event) -> Result<bool, StoreError> {
    let sql = twins!(
        "SELECT d.code FROM events n ",
        sqlite: "INDEXED BY events_type CROSS JOIN deliveries d INDEXED BY deliveries_event ",
        postgres: "CROSS JOIN deliveries d ",
        "WHERE n.tenant_id = $1 AND n.event_type = $2 AND n.id > $3 AND COALESCE(n.subject, '') = $4 AND \
         (n.reason IS NULL OR n.reason <> 'test') AND d.event_id = n.id AND d.endpoint_id = $5 AND \
         (d.state IN ('pending', 'delivering', 'parked') OR (d.state IN ('succeeded', 'failed') AND d.success IN (0, 1))) \
         LIMIT 1"
    );
    let subject = event.subject.as_deref().unwrap_or_default();
    Ok(session.row(sql, args![event.tenant, &event.event_type, event.id, subject, endpoint]).await?.is_some())
}

/// Supersedes what is older than `event` of its key: what has a code and an event below these. Gives how many.
async fn supersede_older(
    session: &mut Session,
    endpoint: EndpointId,
    event: &Event,
    (code, before): (i64, EventId),
) -> Result<u64, StoreError> {
    let sql = twins!(
        "UPDATE deliveries ",
        sqlite: "INDEXED BY deliveries_undelivered ",
        postgres: "",
        "SET state = 'superseded', reason = 'newer_version', due_at = NULL, line = NULL, waits_behind = NULL WHERE \
         endpoint_id = $1 AND owner IS NULL AND state IN ('pending', 'parked', 'failed') AND code < $4 AND event_id < $5 \
         AND event_type = $2 AND COALESCE(subject, '') = $3"
    );
    let subject = event.subject.as_deref().unwrap_or_default();
    session.execute(sql, args![endpoint, &event.event_type, subject, code, before]).await
}

async fn take_present(
    session: &mut Session,
    serial: NodeSerial,
    found: Delivery,
    line: Option<Arc<str>>,
) -> Result<Delivery, StoreError> {
    let sql = "UPDATE deliveries SET state = 'delivering', owner = $3, due_at = NULL, next_trigger = 'manual', line = $4, \
               waits_behind = NULL WHERE id = $1 AND code = $2";
    session.execute(sql, args![found.id, found.code, serial, line]).await?;
    Ok(Delivery { state: DeliveryState::Delivering, next_attempt_at: None, ..found })
}

/// A delivery of an event that the endpoint did not get by itself.
async fn make(
    session: &mut Session,
    serial: NodeSerial,
    wanted: &WantedNow<'_>,
    event: &Event,
    line: Option<Arc<str>>,
    actor: &Actor,
) -> Result<Delivery, StoreError> {
    let code = codes(session, 1).await?.first().copied();
    let code = code.ok_or_else(|| StoreError::Corrupt("no code for a delivery".to_owned()))?;
    let made = Delivery {
        id: wanted.id,
        code,
        tenant: wanted.tenant,
        event: event.id,
        event_type: event.event_type.clone(),
        subject: event.subject.clone(),
        endpoint: wanted.endpoint,
        integrator: wanted.integrator,
        state: DeliveryState::Delivering,
        success: None,
        reason: None,
        attempts: 0,
        created_at: actor.now,
        first_attempt_at: None,
        last_attempt_at: None,
        integrated_at: None,
        next_attempt_at: None,
        correlation_id: event.correlation_id.clone(),
    };
    let sql = "INSERT INTO deliveries (id, code, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, \
               state, created_at, owner, next_trigger, correlation_id, line) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
               'delivering', $9, $10, 'manual', $11, $12)";
    let (subject, correlation) = (made.subject.as_deref(), made.correlation_id.as_deref());
    let values = args![
        made.id,
        made.code,
        made.tenant,
        made.event,
        &made.event_type,
        subject,
        made.endpoint,
        made.integrator,
        made.created_at,
        serial,
        correlation,
        line,
    ];
    session.execute(sql, values).await?;
    Ok(made)
}
