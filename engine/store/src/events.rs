//! Reading events.

use engate_model::{
    EventId, TenantId, Timestamp,
    event::{Event, NoDelivery},
};

use crate::{
    Store,
    db::Session,
    error::StoreError,
    listing::{TOTAL_EXACT_MAX, Total},
    sql::twins,
    value::{Cells, Row, args},
};

/// Rows of one page at most.
pub const PAGE_MAX: u32 = 1_000;

/// Which end of a listing comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The oldest.
    #[default]
    Ascending,
    /// The newest.
    Descending,
}

/// Which events are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Of this type only.
    pub event_type: Option<String>,
    /// Taken at this instant or later.
    pub accepted_from: Option<Timestamp>,
    /// Taken before this instant.
    pub accepted_before: Option<Timestamp>,
}

/// One page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub items: Vec<Event>,
    /// Where the next page begins, where there is one.
    pub next: Option<EventId>,
    /// How many there are on all pages.
    pub total: Total,
}

/// Columns in the order of [`event`].
macro_rules! event_columns {
    () => {
        "id, tenant_id, event_type, subject, payload, content_type, occurred_at, accepted_at, labels, correlation_id, \
         idempotency_key, reason, deliver_at"
    };
}

pub(crate) use event_columns;

impl Store {
    /// An event.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_get(&self, tenant: TenantId, id: EventId) -> Result<Option<Event>, StoreError> {
        event_in(&mut self.db().reader().await?, tenant, id).await
    }

    /// A page of events beyond `after`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_list(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        after: Option<EventId>,
        order: Order,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        macro_rules! listing {
            ($filter:literal, $order:literal) => {
                concat!(
                    "SELECT ",
                    event_columns!(),
                    " FROM events WHERE tenant_id = $1 AND id > $2 AND id < $3",
                    $filter,
                    " ORDER BY id",
                    $order,
                    " LIMIT $4"
                )
            };
        }
        let limit = limit.clamp(1, PAGE_MAX);
        // Ids are ordered by time: a range of time is a range of ids. The floor of an instant is no real id.
        let (mut from, mut before) = range(filter);
        match (after, order) {
            (Some(after), Order::Ascending) => from = from.max(after),
            (Some(after), Order::Descending) => before = before.min(after),
            (None, _) => {}
        }
        let mut values = args![tenant, from, before, limit + 1];
        let sql = match (&filter.event_type, order) {
            (None, Order::Ascending) => listing!("", ""),
            (None, Order::Descending) => listing!("", " DESC"),
            (Some(_), Order::Ascending) => listing!(" AND event_type = $5", ""),
            (Some(_), Order::Descending) => listing!(" AND event_type = $5", " DESC"),
        };
        values.extend(filter.event_type.as_ref().map(crate::value::Value::from));
        let rows = self.db().rows(sql, values).await?;
        let mut items = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|event| event.id);
        let total = self.event_count(tenant, filter).await?;
        Ok(EventPage { items, next, total })
    }

    /// How many events the filter takes, counted in an index and as far as [`TOTAL_EXACT_MAX`].
    async fn event_count(&self, tenant: TenantId, filter: &EventFilter) -> Result<Total, StoreError> {
        let (from, before) = range(filter);
        let sql = match &filter.event_type {
            None => {
                "SELECT count(*) FROM (SELECT 1 AS one FROM events WHERE tenant_id = $1 AND id > $2 AND id < $3 LIMIT $4) \
                 AS counted"
            }
            Some(_) => {
                "SELECT count(*) FROM (SELECT 1 AS one FROM events WHERE tenant_id = $1 AND id > $2 AND id < $3 AND \
                 event_type = $5 LIMIT $4) AS counted"
            }
        };
        let mut values = args![tenant, from, before, TOTAL_EXACT_MAX + 1];
        values.extend(filter.event_type.as_ref().map(crate::value::Value::from));
        let row = self.db().row(sql, values).await?;
        let count = row.map_or(Ok(0), |row| row.cells().count())?;
        Ok(Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX })
    }

    /// Forgets at most `limit` idempotency keys from before `before`; gives how many.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn idempotency_purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN \
                   (SELECT tenant_id, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)";
        let purged = session.execute(sql, args![before, limit]).await?;
        session.commit().await?;
        Ok(purged)
    }
}

/// An event within a transaction.
pub(crate) async fn event_in(
    session: &mut Session,
    tenant: TenantId,
    id: EventId,
) -> Result<Option<Event>, StoreError> {
    let sql = concat!("SELECT ", event_columns!(), " FROM events WHERE id = $1 AND tenant_id = $2");
    session.row(sql, args![id, tenant]).await?.as_ref().map(event).transpose()
}

/// What tells a trial from an event that happened.
macro_rules! is_test {
    () => {
        "SELECT CAST(CASE WHEN reason = 'test' THEN 1 ELSE 0 END AS BIGINT) FROM events WHERE id = $1 AND tenant_id = $2"
    };
}

/// Whether an event is a test, where it is there; it stays until the commit: for whoever lets one of its deliveries go
/// again.
pub(crate) async fn event_hold(
    session: &mut Session,
    tenant: TenantId,
    id: EventId,
) -> Result<Option<bool>, StoreError> {
    let sql = twins!(is_test!(), sqlite: "", postgres: " FOR KEY SHARE");
    session.row(sql, args![id, tenant]).await?.map(|row| row.cells().flag()).transpose()
}

/// Whether an event is there and a test. Nothing is held: a row that is held before its endpoint's could deadlock.
pub(crate) async fn event_is_test(session: &mut Session, tenant: TenantId, id: EventId) -> Result<bool, StoreError> {
    session.row(is_test!(), args![id, tenant]).await?.map_or(Ok(false), |row| row.cells().flag())
}

/// The ids between which the filter's events lie, neither of them one of theirs.
fn range(filter: &EventFilter) -> (EventId, EventId) {
    let from = filter.accepted_from.map_or(EventId::MIN, EventId::floor);
    (from, filter.accepted_before.map_or(EventId::MAX, EventId::floor))
}

/// Reads [`event_columns`].
pub(crate) fn event(row: &Row) -> Result<Event, StoreError> {
    let mut cells: Cells<'_> = row.cells();
    Ok(Event {
        id: cells.id()?,
        tenant: cells.id()?,
        event_type: cells.text()?,
        subject: cells.text_opt()?,
        payload: cells.blob()?,
        content_type: cells.text()?,
        occurred_at: cells.time()?,
        accepted_at: cells.time()?,
        labels: cells.json_opt()?.unwrap_or_default(),
        correlation_id: cells.text_opt()?,
        idempotency_key: cells.text_opt()?,
        reason: cells
            .text_opt()?
            .map(|code| NoDelivery::from_code(&code).ok_or_else(|| StoreError::Corrupt(format!("the reason {code}"))))
            .transpose()?,
        deliver_at: cells.time_opt()?,
    })
}
