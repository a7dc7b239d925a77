//! Events that are old: walked through once in the order of their ids. Of each type and subject the newest so far stays;
//! the one it takes the place of goes, at once or when its last delivery is finished.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use engate_model::{EventId, TenantId, Timestamp};

use super::Forgotten;
use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    sql::{Dialect, twins},
    value::{Kind, Value, args},
};

const OF_TENANT: &[(&str, Kind)] = &[("of_tenant", Kind::Id), ("of_event", Kind::Id)];

static HEADS: Bulk = Bulk::new(
    "SELECT h.event_type, h.subject, h.event_id FROM (",
    &[("of_tenant", Kind::Id), ("of_type", Kind::Text), ("of_subject", Kind::Text)],
    ") AS v JOIN event_heads h ON h.tenant_id = v.of_tenant AND h.event_type = v.of_type AND h.subject = v.of_subject",
);

static HEADS_PUT: Bulk = Bulk::new(
    "INSERT INTO event_heads (tenant_id, event_type, subject, event_id) ",
    &[("tenant_id", Kind::Id), ("event_type", Kind::Text), ("subject", Kind::Text), ("event_id", Kind::Id)],
    " ON CONFLICT (tenant_id, event_type, subject) DO UPDATE SET event_id = excluded.event_id",
);

/// Whoever lets a finished delivery go again holds its event until it has done so: it is waited for, and then seen.
static LOCK: Bulk = Bulk::with_twin_tails(
    "SELECT e.id FROM (",
    OF_TENANT,
    ") AS v JOIN events e ON e.tenant_id = v.of_tenant AND e.id = v.of_event",
    ") AS v JOIN events e ON e.tenant_id = v.of_tenant AND e.id = v.of_event ORDER BY e.id FOR UPDATE OF e",
);

/// Those that something needs: a delivery that is not finished; a test's deliveries must go on being known as such.
static NEEDED: Bulk = Bulk::new(
    "SELECT e.id FROM (",
    OF_TENANT,
    ") AS v JOIN events e ON e.tenant_id = v.of_tenant AND e.id = v.of_event WHERE EXISTS (SELECT 1 FROM deliveries d \
     WHERE d.event_id = e.id AND (e.reason = 'test' OR d.state IN ('pending', 'delivering', 'parked')))",
);

static DELETE: Bulk = Bulk::new("DELETE FROM events WHERE (tenant_id, id) IN (", OF_TENANT, ")");
static LEFT_DELETE: Bulk = Bulk::new("DELETE FROM events_left WHERE (tenant_id, event_id) IN (", OF_TENANT, ")");
static LEFT_PUT: Bulk = Bulk::new(
    "INSERT INTO events_left (tenant_id, event_id) ",
    &[("tenant_id", Kind::Id), ("event_id", Kind::Id)],
    " ON CONFLICT (tenant_id, event_id) DO NOTHING",
);

impl Store {
    /// Passes at most `limit` of a tenant's events from before `before` that no step has passed, and forgets what may go.
    ///
    /// # Errors
    /// When the database gives no answer; then nothing was forgotten.
    pub async fn event_purge(&self, tenant: TenantId, before: Timestamp, limit: u32) -> Result<Forgotten, StoreError> {
        let end = EventId::floor(self.kept_from(before));
        let mut session = self.db().begin().await?;
        let sql = "INSERT INTO event_marks (tenant_id, event_id) VALUES ($1, $2) ON CONFLICT (tenant_id) DO NOTHING";
        session.execute(sql, args![tenant, EventId::MIN]).await?;
        // Held until the commit: two nodes do not pass the same events.
        let sql = twins!("SELECT event_id FROM event_marks WHERE tenant_id = $1", sqlite: "", postgres: " FOR UPDATE");
        let mark = session.row(sql, args![tenant]).await?.map_or(Ok(EventId::MIN), |row| row.cells().id())?;
        let sql = "SELECT id, event_type, COALESCE(subject, ''), CAST(CASE WHEN reason = 'test' THEN 1 ELSE 0 END AS BIGINT) \
                   FROM events WHERE tenant_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4";
        let rows = session.rows(sql, args![tenant, mark, end, limit]).await?;
        let mut last = mark;
        let mut passed = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut cells = row.cells();
            last = cells.id()?;
            passed.push((last, (cells.text()?, cells.text()?), cells.flag()?));
        }
        let old = replaced(&mut session, tenant, passed).await?;
        let mut forgotten =
            Forgotten { done: rows.len() < usize::try_from(limit).unwrap_or(usize::MAX), ..Default::default() };
        let (gone, needed) = delete(&mut session, tenant, old).await?;
        forgotten.add(tenant, gone);
        LEFT_PUT.execute(&mut session, cells(tenant, &needed)).await?;
        session.execute("UPDATE event_marks SET event_id = $2 WHERE tenant_id = $1", args![tenant, last]).await?;
        session.commit().await?;
        Ok(forgotten)
    }

    /// Looks again at most `limit` events beyond `after` that were passed while something needed them; gives the last one
    /// where there are more.
    ///
    /// # Errors
    /// When the database gives no answer; then nothing was forgotten.
    pub async fn event_purge_left(
        &self,
        tenant: TenantId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<(Forgotten, Option<EventId>), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "SELECT event_id FROM events_left WHERE tenant_id = $1 AND event_id > $2 ORDER BY event_id LIMIT $3";
        let rows = session.rows(sql, args![tenant, after.unwrap_or(EventId::MIN), limit]).await?;
        let left = rows.iter().map(|row| row.cells().id()).collect::<Result<BTreeSet<EventId>, _>>()?;
        let more = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = left.last().copied().filter(|_| more);
        let (gone, needed) = delete(&mut session, tenant, left.clone()).await?;
        let free: BTreeSet<_> = left.difference(&needed).copied().collect();
        LEFT_DELETE.execute(&mut session, cells(tenant, &free)).await?;
        session.commit().await?;
        let mut forgotten = Forgotten { done: !more, ..Default::default() };
        forgotten.add(tenant, gone);
        Ok((forgotten, next))
    }
}

/// An event that is passed: its id, its type and subject, and whether it was a test.
type Passed = (EventId, (String, String), bool);

/// Takes note of the newest of each type and subject; gives those that are not, or no longer.
async fn replaced(
    session: &mut Session,
    tenant: TenantId,
    passed: Vec<Passed>,
) -> Result<BTreeSet<EventId>, StoreError> {
    let mut old = BTreeSet::new();
    let mut newest: BTreeMap<(String, String), EventId> = BTreeMap::new();
    for (id, key, test) in passed {
        if test {
            old.insert(id);
        } else {
            old.extend(newest.insert(key, id));
        }
    }
    let names = newest.keys().flat_map(|(kind, subject)| args![tenant, kind, subject]).collect();
    let mut before: HashMap<(String, String), EventId> = HashMap::new();
    for row in HEADS.rows(session, names).await? {
        let mut cells = row.cells();
        before.insert((cells.text()?, cells.text()?), cells.id()?);
    }
    // An id may come in again that was passed before: what is kept of a dropped partition moves.
    newest.retain(|key, id| match before.get(key) {
        Some(head) if head >= id => {
            old.extend((head > id).then_some(*id));
            false
        }
        head => {
            old.extend(head);
            true
        }
    });
    let heads = newest.iter().flat_map(|((kind, subject), id)| args![tenant, kind, subject, *id]).collect();
    HEADS_PUT.execute(session, heads).await?;
    Ok(old)
}

/// Deletes those of `old` that nothing needs; gives how many, and the others.
async fn delete(
    session: &mut Session,
    tenant: TenantId,
    old: BTreeSet<EventId>,
) -> Result<(u64, BTreeSet<EventId>), StoreError> {
    if session.dialect() == Dialect::Postgres {
        LOCK.rows(session, cells(tenant, &old)).await?;
    }
    let needed = NEEDED.rows(session, cells(tenant, &old)).await?;
    let needed = needed.iter().map(|row| row.cells().id()).collect::<Result<BTreeSet<EventId>, _>>()?;
    let free = old.difference(&needed).copied().collect();
    let gone = DELETE.execute(session, cells(tenant, &free)).await?;
    Ok((gone, needed))
}

fn cells(tenant: TenantId, events: &BTreeSet<EventId>) -> Vec<Value> {
    events.iter().flat_map(|event| args![tenant, *event]).collect()
}
