//! Who called what: an entry for each call of the API that came with a valid token, and a number of those that came
//! without one, by source and minute. Entries are written by the committers (see `commit::access`).

use std::{sync::Arc, time::Duration};

use engate_model::{CallId, TenantId, Timestamp, TokenId};
use tokio::time::Instant;

use crate::{
    Store,
    compose::Bulk,
    error::StoreError,
    events::{Order, PAGE_MAX},
    listing::{TOTAL_EXACT_MAX, Total},
    value::{Kind, Row, args},
};

/// Pause between two looks whether entries are on disk.
const FLUSH_LOOK: Duration = Duration::from_millis(1);
/// Sources of a minute that are told apart at most; the calls of others are counted together.
pub const SOURCES_MAX: usize = 1_024;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessEntry {
    /// Its id, which carries when it began.
    pub id: CallId,
    /// Whose token it came with.
    pub tenant: TenantId,
    /// That token.
    pub token: TokenId,
    /// Method and route template (`GET /v1/events/{id}`), never the path itself.
    pub route: Arc<str>,
    /// HTTP status of the answer.
    pub status: u16,
    /// From its arrival to its answer.
    pub duration: Duration,
    /// The address it came from.
    pub source: Arc<str>,
}

/// The entry of a call that brings events: written in their transaction, or not at all.
#[derive(Debug, Clone)]
pub struct AccessOfAccept {
    /// The entry with the status of an answer that tells of something new; its duration is taken when it is written.
    pub entry: AccessEntry,
    /// The status where all events were there before.
    pub status_repeat: u16,
    /// When the call began.
    pub started: Instant,
}

impl AccessOfAccept {
    /// Bytes that writing it copies, about.
    pub(crate) fn bytes(&self) -> usize {
        self.entry.route.len() + self.entry.source.len() + 64
    }
}

/// Which calls.
#[derive(Debug, Clone, Default)]
pub struct AccessFilter {
    /// With this token only.
    pub token: Option<TokenId>,
    /// Of this route only, method and template.
    pub route: Option<String>,
    /// Answered with a status of at least this.
    pub status_from: Option<u16>,
    /// Answered with a status of at most this.
    pub status_to: Option<u16>,
    /// That began then or later.
    pub from: Option<Timestamp>,
    /// That began before.
    pub before: Option<Timestamp>,
}

/// One page of calls.
#[derive(Debug)]
pub struct AccessPage {
    /// The calls, with the name of the client that held the token.
    pub items: Vec<(AccessEntry, String)>,
    /// The last one's id where there are more.
    pub next: Option<CallId>,
    /// How many there are on all pages.
    pub total: Total,
}

/// Calls without a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCalls {
    /// The minute they came in.
    pub minute: Timestamp,
    /// The address they came from.
    pub source: String,
    /// How many.
    pub calls: u64,
}

const MINUTE_US: i64 = 60_000_000;

static REFUSED: Bulk = Bulk::new(
    "INSERT INTO access_refused (minute, source, calls) ",
    &[("minute", Kind::Int), ("source", Kind::Text), ("calls", Kind::Int)],
    " ON CONFLICT (minute, source) DO UPDATE SET calls = access_refused.calls + excluded.calls",
);

impl Store {
    /// Records a call with the next commit. Where very many wait already, it waits for room.
    pub async fn access_record(&self, entry: AccessEntry) {
        self.committers().access().push(entry).await;
    }

    /// Records a call with the next commit, without waiting: for one whose caller has gone.
    pub fn access_record_now(&self, entry: AccessEntry) {
        self.committers().access().push_now(entry);
    }

    /// Returns when every call recorded so far is on disk.
    ///
    /// # Errors
    /// When the database does not take them.
    pub async fn access_flush(&self) -> Result<(), StoreError> {
        let pushed = self.committers().access().pushed();
        while !self.committers().access().is_settled(pushed) {
            self.committers().flush().await?;
            tokio::time::sleep(FLUSH_LOOK).await;
        }
        Ok(())
    }

    /// Calls that were not recorded since the start, because the database took nothing for too long.
    pub fn access_lost(&self) -> u64 {
        self.committers().access().lost()
    }

    /// A page of a tenant's calls beyond `after`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn access_list(
        &self,
        tenant: TenantId,
        filter: &AccessFilter,
        after: Option<CallId>,
        order: Order,
        limit: u32,
    ) -> Result<AccessPage, StoreError> {
        macro_rules! conditions {
            () => {
                "a.tenant_id = $1 AND a.id > $2 AND a.id < $3 AND ($4 IS NULL OR a.token_id = $4) AND \
                 ($5 IS NULL OR a.route = $5) AND a.status >= $6 AND a.status <= $7"
            };
        }
        macro_rules! listing {
            ($order:literal) => {
                concat!(
                    "SELECT a.id, a.tenant_id, a.token_id, a.route, a.status, a.duration_us, a.source, \
                     COALESCE(t.client, '') FROM access a LEFT JOIN tokens t ON t.id = a.token_id WHERE ",
                    conditions!(),
                    " ORDER BY a.id",
                    $order,
                    " LIMIT $8"
                )
            };
        }
        // Ids are ordered by time: a range of time is a range of ids.
        let from = filter.from.map_or(CallId::MIN, CallId::floor);
        let before = filter.before.map_or(CallId::MAX, CallId::floor);
        let limit = limit.clamp(1, PAGE_MAX);
        let values = |from: CallId, before: CallId, limit: u64| {
            let (least, most) = (filter.status_from.unwrap_or(0), filter.status_to.unwrap_or(u16::MAX));
            args![tenant, from, before, filter.token, filter.route.as_deref(), u32::from(least), u32::from(most), limit]
        };
        let (sql, low, high) = match order {
            Order::Ascending => (listing!(""), after.unwrap_or(from).max(from), before),
            Order::Descending => (listing!(" DESC"), from, after.unwrap_or(before).min(before)),
        };
        // One snapshot: a call that is recorded meanwhile is in both, page and count, or in neither.
        let mut session = self.db().snapshot().await?;
        let rows = session.rows(sql, values(low, high, u64::from(limit) + 1)).await?;
        let mut items = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|(entry, _)| entry.id);
        let sql = concat!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM access a WHERE ",
            conditions!(),
            " LIMIT $8) AS counted"
        );
        let row = session.row(sql, values(from, before, TOTAL_EXACT_MAX + 1)).await?;
        let count = row.map_or(Ok(0), |row| row.cells().count())?;
        let total = Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX };
        Ok(AccessPage { items, next, total })
    }

    /// Adds to the numbers of calls without a valid token.
    ///
    /// # Errors
    /// When the database does not take them.
    pub async fn access_refused_add(&self, calls: &[RefusedCalls]) -> Result<(), StoreError> {
        let mut sorted: Vec<_> = calls.iter().collect();
        // In one order in every transaction, so that two that meet wait instead of deadlocking.
        sorted.sort_by(|a, b| (a.minute, &a.source).cmp(&(b.minute, &b.source)));
        let cells = sorted.into_iter();
        let cells = cells.flat_map(|calls| args![minute(calls.minute), &calls.source, calls.calls]).collect();
        let mut session = self.db().begin().await?;
        REFUSED.execute(&mut session, cells).await?;
        session.commit().await
    }

    /// Calls without a valid token, the newest minute first, at most `limit` rows beyond `after`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn access_refused_list(
        &self,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<RefusedCalls>, StoreError> {
        let (at, source) = after.map_or((i64::MAX, String::new()), |(at, source)| (minute(at), source));
        let sql = "SELECT minute, source, calls FROM access_refused WHERE minute < $1 OR (minute = $1 AND source > $2) \
                   ORDER BY minute DESC, source LIMIT $3";
        let rows = self.db().rows(sql, args![at, source, limit]).await?;
        let read = |row: &Row| {
            let mut cells = row.cells();
            let minute = Timestamp::from_micros(cells.int()?.saturating_mul(MINUTE_US));
            Ok(RefusedCalls { minute, source: cells.text()?, calls: cells.count()? })
        };
        rows.iter().map(read).collect()
    }

    /// How many rows there are of calls without a valid token.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn access_refused_count(&self) -> Result<Total, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT 1 AS one FROM access_refused LIMIT $1) AS counted";
        let row = self.db().row(sql, args![TOTAL_EXACT_MAX + 1]).await?;
        let count = row.map_or(Ok(0), |row| row.cells().count())?;
        Ok(Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX })
    }

    /// Forgets at most `limit` calls from before `before`, and refused ones; gives how many.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn access_purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM access WHERE (tenant_id, id) IN (SELECT a.tenant_id, a.id FROM tenants t JOIN access a ON \
                   a.tenant_id = t.id WHERE a.id < $1 LIMIT $2)";
        let calls = session.execute(sql, args![CallId::floor(before), limit]).await?;
        let sql = "DELETE FROM access_refused WHERE minute < $1";
        let refused = session.execute(sql, args![minute(before)]).await?;
        session.commit().await?;
        Ok(calls + refused)
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(MINUTE_US)
}

fn entry(row: &Row) -> Result<(AccessEntry, String), StoreError> {
    let mut cells = row.cells();
    let entry = AccessEntry {
        id: cells.id()?,
        tenant: cells.id()?,
        token: cells.id()?,
        route: cells.text()?.into(),
        status: u16::try_from(cells.small()?).unwrap_or(u16::MAX),
        duration: Duration::from_micros(cells.count()?),
        source: cells.text()?.into(),
    };
    Ok((entry, cells.text()?))
}
