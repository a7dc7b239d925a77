//! Claiming what is due.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use engate_model::{
    EndpointId, EventId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState, Trigger},
    event::Event,
};

use crate::{
    Store,
    compose::Bulk,
    db::Session,
    deliveries::{delivery, delivery_columns},
    error::StoreError,
    events::event,
    lines,
    nodes::NodeSerial,
    sql::{Sql, twins},
    value::{Kind, args},
};

/// An endpoint for which something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whose endpoint.
    pub tenant: TenantId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When the first of it is due.
    pub due_at: Timestamp,
}

/// A delivery that is now in this node's hands, with its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// What makes its next attempt happen.
    pub trigger: Trigger,
    /// Whether it is in a line of an endpoint that keeps an order.
    pub in_line: bool,
    /// Its event, shared among its deliveries.
    pub event: Arc<Event>,
}

impl ClaimedDelivery {
    /// A delivery that was just written down in this node's hands, out of any line, because someone asked for it.
    pub fn by_hand(delivery: Delivery, event: Arc<Event>) -> Self {
        Self { delivery, trigger: Trigger::Manual, in_line: false, event }
    }
}

static CLAIM: Bulk = Bulk::new(
    "UPDATE deliveries SET state = 'delivering', owner = v.taken_by, due_at = NULL FROM (",
    &[("delivery_id", Kind::Id), ("taken_by", Kind::Int)],
    ") AS v WHERE deliveries.id = v.delivery_id",
);

static EVENTS: Bulk = Bulk::new(
    "SELECT e.id, e.tenant_id, e.event_type, e.subject, e.payload, e.content_type, e.occurred_at, e.accepted_at, \
     e.labels, e.correlation_id, e.idempotency_key, e.reason FROM (",
    &[("tenant_id", Kind::Id), ("event_id", Kind::Id)],
    ") AS v JOIN events e ON e.tenant_id = v.tenant_id AND e.id = v.event_id",
);

/// The earliest due delivery of each endpoint that has one. Jumps from endpoint to endpoint in the index of what
/// waits, so that it costs by the endpoints that have work, not by the work. SQLite is told which index: it
/// keeps no statistics that would tell it.
fn heads_sql() -> Sql {
    macro_rules! text {
        ($by:literal) => {
            concat!(
                "WITH RECURSIVE heads (endpoint_id) AS (SELECT (SELECT endpoint_id FROM deliveries",
                $by,
                " WHERE due_at IS NOT NULL ORDER BY endpoint_id LIMIT 1) UNION ALL SELECT (SELECT d.endpoint_id FROM \
                 deliveries d",
                $by,
                " WHERE d.due_at IS NOT NULL AND d.endpoint_id > heads.endpoint_id ORDER BY d.endpoint_id LIMIT 1) \
                 FROM heads WHERE heads.endpoint_id IS NOT NULL) SELECT e.tenant_id, e.id, (SELECT d.due_at FROM \
                 deliveries d",
                $by,
                " WHERE d.endpoint_id = e.id AND d.due_at IS NOT NULL ORDER BY d.due_at LIMIT 1) FROM heads JOIN \
                 endpoints e ON e.id = heads.endpoint_id"
            )
        };
    }
    Sql::Twins { sqlite: text!(" INDEXED BY deliveries_due"), postgres: text!("") }
}

impl Store {
    /// Every endpoint for which something waits, due or not, with the instant its first is due.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_heads(&self) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::new();
        for row in self.db().rows(heads_sql(), args![]).await? {
            let mut cells = row.cells();
            let (tenant, endpoint) = (cells.id()?, cells.id()?);
            // On PostgreSQL the last of an endpoint may be claimed between two looks of the statement.
            if let Some(due_at) = cells.time_opt()? {
                heads.push(Head { tenant, endpoint, due_at });
            }
        }
        Ok(heads)
    }

    /// Takes in hand what is due at `now`: for each endpoint at most that many, the longest due first. What
    /// another node is taking at the same moment is left to it.
    ///
    /// # Errors
    /// When the database gives no answer; then nothing was taken.
    pub async fn delivery_claim(
        &self,
        serial: NodeSerial,
        wanted: &[(EndpointId, u32)],
        now: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut session = self.db().begin().await?;
        let mut taken = Vec::new();
        for (endpoint, most) in wanted {
            taken.append(&mut due(&mut session, *endpoint, *most, now).await?);
        }
        if taken.is_empty() {
            session.rollback().await?;
            return Ok(Vec::new());
        }
        let events = events(&mut session, taken.iter().map(|due| (due.delivery.tenant, due.delivery.event))).await?;
        let mut claimed = Vec::with_capacity(taken.len());
        for Due { mut delivery, trigger, in_line } in taken {
            let Some(event) = events.get(&delivery.event) else {
                give_up(&mut session, &delivery).await?;
                continue;
            };
            delivery.state = DeliveryState::Delivering;
            delivery.next_attempt_at = None;
            claimed.push(ClaimedDelivery { delivery, trigger, in_line, event: Arc::clone(event) });
        }
        let cells = claimed.iter().flat_map(|claim| args![claim.delivery.id, serial]).collect();
        CLAIM.execute(&mut session, cells).await?;
        session.commit().await?;
        Ok(claimed)
    }
}

/// A delivery that is due.
struct Due {
    delivery: Delivery,
    trigger: Trigger,
    in_line: bool,
}

async fn due(session: &mut Session, endpoint: EndpointId, most: u32, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let sql = twins!(
        concat!("SELECT ", delivery_columns!(), ", next_trigger, CAST(CASE WHEN line IS NULL THEN 0 ELSE 1 END AS BIGINT) FROM deliveries WHERE endpoint_id = $1 AND due_at <= $2 \
         ORDER BY due_at LIMIT $3"),
        sqlite: "",
        postgres: " FOR UPDATE SKIP LOCKED"
    );
    let rows = session.rows(sql, args![endpoint, now, most]).await?;
    let read = |row| {
        let mut cells = crate::value::Row::cells(row);
        Ok(Due { delivery: delivery(&mut cells)?, trigger: cells.code(Trigger::from_code)?, in_line: cells.flag()? })
    };
    rows.iter().map(read).collect()
}

async fn events(
    session: &mut Session,
    ids: impl Iterator<Item = (TenantId, EventId)>,
) -> Result<HashMap<EventId, Arc<Event>>, StoreError> {
    let ids: BTreeSet<_> = ids.collect();
    let cells = ids.into_iter().flat_map(|(tenant, id)| args![tenant, id]).collect();
    let rows = EVENTS.rows(session, cells).await?;
    rows.iter().map(|row| event(row).map(|event| (event.id, Arc::new(event)))).collect()
}

/// A delivery whose event is gone can never go out; it says so instead of being claimed again and again.
async fn give_up(session: &mut Session, delivery: &Delivery) -> Result<(), StoreError> {
    tracing::error!(delivery = %delivery.id, event = %delivery.event, "the delivery's event is gone");
    let lines = lines::lines_of(session, [delivery.id]).await?;
    let held = lines::lock_of(session, &lines).await?;
    let sql = "UPDATE deliveries SET state = 'failed', reason = 'event_missing', due_at = NULL, line = NULL \
               WHERE id = $1";
    session.execute(sql, args![delivery.id]).await?;
    lines::settle_lines(session, &held, lines).await?;
    Ok(())
}
