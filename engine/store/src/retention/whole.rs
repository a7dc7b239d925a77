//! PostgreSQL: partitions in which everything is old, dropped whole. What has to stay moves to the default partition
//! first; where that is much, nothing is dropped and the rows go one by one.
//!
//! The partition's own lock comes first: while it is looked through, writes to that one wait, and nobody writes what is
//! as old. The table's lock, for which accepts and finishes would wait, is asked for last, and only for a moment.

use std::collections::BTreeMap;

use engate_model::{TenantId, Timestamp};

use super::{Forgotten, History};
use crate::{
    Store, compose::in_partition, db::Session, error::StoreError, partitions::old_partitions, sql::Dialect, value::args,
};

/// Rows that are moved out of a partition at most.
const MOVED_MAX: u64 = 10_000;
/// How long the locks are waited for.
const LOCK_WAIT: &str = "500ms";

/// What is done with one kind of partition; `{w}` stands for its name.
struct Plan {
    table: &'static str,
    /// What stays: rows of a temporary table `kept`.
    kept: &'static str,
    /// Before the rows go.
    notes: &'static [&'static str],
    /// What goes, by tenant.
    count: &'static str,
    /// The rows that stay.
    moved: &'static str,
}

const EVENTS: Plan = Plan {
    table: "events",
    kept: "SELECT tenant_id, id FROM (SELECT DISTINCT ON (tenant_id, event_type, COALESCE(subject, '')) tenant_id, id FROM {w} \
           WHERE reason IS DISTINCT FROM 'test' ORDER BY tenant_id, event_type, COALESCE(subject, ''), id DESC) AS heads UNION \
           SELECT e.tenant_id, e.id FROM {w} e WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND \
           (e.reason = 'test' OR d.state IN ('pending', 'delivering', 'parked')))",
    notes: &[
        // The heads so far whose successor is here may go, and so may what stays here for its deliveries alone.
        "INSERT INTO events_left (tenant_id, event_id) SELECT DISTINCT h.tenant_id, h.event_id FROM {w} e JOIN kept k ON \
         k.tenant_id = e.tenant_id AND k.id = e.id JOIN event_heads h ON h.tenant_id = e.tenant_id AND h.event_type = \
         e.event_type AND h.subject = COALESCE(e.subject, '') AND h.event_id < e.id WHERE e.reason IS DISTINCT FROM 'test' \
         ON CONFLICT (tenant_id, event_id) DO NOTHING",
        "INSERT INTO event_heads (tenant_id, event_type, subject, event_id) SELECT DISTINCT ON (e.tenant_id, e.event_type, \
         COALESCE(e.subject, '')) e.tenant_id, e.event_type, COALESCE(e.subject, ''), e.id FROM {w} e JOIN kept k ON \
         k.tenant_id = e.tenant_id AND k.id = e.id WHERE e.reason IS DISTINCT FROM 'test' ORDER BY e.tenant_id, e.event_type, \
         COALESCE(e.subject, ''), e.id DESC ON CONFLICT (tenant_id, event_type, subject) DO UPDATE SET event_id = \
         excluded.event_id WHERE event_heads.event_id < excluded.event_id",
        "INSERT INTO events_left (tenant_id, event_id) SELECT k.tenant_id, k.id FROM kept k WHERE NOT EXISTS (SELECT 1 FROM \
         event_heads h WHERE h.tenant_id = k.tenant_id AND h.event_id = k.id) ON CONFLICT (tenant_id, event_id) DO NOTHING",
    ],
    count: "SELECT e.tenant_id, count(*) FROM {w} e WHERE NOT EXISTS (SELECT 1 FROM kept k WHERE k.tenant_id = e.tenant_id AND \
            k.id = e.id) GROUP BY e.tenant_id",
    moved: "INSERT INTO events SELECT e.* FROM {w} e JOIN kept k ON k.tenant_id = e.tenant_id AND k.id = e.id",
};

/// Of each type the last delivery that an endpoint was tried with, and what is not finished or was tried lately.
macro_rules! tried {
    ($from:literal) => {
        concat!(
            "SELECT id FROM (SELECT DISTINCT ON (d.endpoint_id, d.event_type) d.id FROM ",
            $from,
            " WHERE d.attempts > 0 ORDER BY d.endpoint_id, d.event_type, d.id DESC) AS lasts UNION SELECT d.id FROM ",
            $from,
            " WHERE d.state IN ('pending', 'delivering', 'parked') OR d.last_attempt_at >= {before}"
        )
    };
}

const ATTEMPTS: Plan = Plan {
    table: "attempts",
    kept: tried!("(SELECT DISTINCT delivery_id FROM {w}) AS a JOIN deliveries d ON d.id = a.delivery_id"),
    notes: &[],
    count: "SELECT d.tenant_id, count(*) FROM {w} a JOIN deliveries d ON d.id = a.delivery_id WHERE NOT EXISTS (SELECT 1 FROM \
            kept k WHERE k.id = d.id) GROUP BY d.tenant_id",
    moved: "INSERT INTO attempts SELECT a.* FROM {w} a JOIN kept k ON k.id = a.delivery_id",
};

const DELIVERIES: Plan = Plan {
    table: "deliveries",
    kept: tried!("{w} d"),
    notes: &[
        "DELETE FROM delivery_search USING {w} d WHERE delivery_search.code = d.code AND NOT EXISTS (SELECT 1 FROM kept k \
         WHERE k.id = d.id)",
        "DELETE FROM delivery_texts USING {w} d WHERE of_tenant = d.tenant_id AND field = CASE WHEN d.subject IS NULL THEN 0 \
         ELSE 1 END AND text = COALESCE(d.subject, '') AND of_code = d.code AND NOT EXISTS (SELECT 1 FROM kept k WHERE k.id = \
         d.id)",
        "DELETE FROM delivery_texts USING {w} d WHERE of_tenant = d.tenant_id AND field = CASE WHEN d.correlation_id IS NULL \
         THEN 2 ELSE 3 END AND text = COALESCE(d.correlation_id, '') AND of_code = d.code AND NOT EXISTS (SELECT 1 FROM kept \
         k WHERE k.id = d.id)",
    ],
    count: "SELECT d.tenant_id, count(*) FROM {w} d WHERE NOT EXISTS (SELECT 1 FROM kept k WHERE k.id = d.id) GROUP BY \
            d.tenant_id",
    moved: "INSERT INTO deliveries SELECT d.* FROM {w} d JOIN kept k ON k.id = d.id",
};

impl Store {
    /// Drops the partitions of which everything is from before `before` and little has to stay; nothing on SQLite.
    ///
    /// # Errors
    /// When the database gives no answer, or somebody held the table for too long; what was dropped before stays dropped.
    pub async fn history_drop(&self, history: History, before: Timestamp) -> Result<Forgotten, StoreError> {
        let mut forgotten = Forgotten { done: true, ..Forgotten::default() };
        if self.db().dialect() == Dialect::Sqlite {
            return Ok(forgotten);
        }
        let plan = match history {
            History::Events => &EVENTS,
            History::Attempts => &ATTEMPTS,
            History::Deliveries => &DELIVERIES,
        };
        let before = self.kept_from(before);
        for partition in old_partitions(self.db(), plan.table, before).await? {
            for (tenant, rows) in self.drop_partition(plan, &partition, before).await? {
                forgotten.add(tenant, rows);
            }
        }
        Ok(forgotten)
    }

    async fn drop_partition(
        &self,
        plan: &Plan,
        partition: &str,
        before: Timestamp,
    ) -> Result<BTreeMap<TenantId, u64>, StoreError> {
        let sql = |text: &str| in_partition(text, partition, before.as_micros());
        let mut session = self.db().begin().await?;
        session.row("SELECT set_config('lock_timeout', $1, true)", args![LOCK_WAIT]).await?;
        session.execute(sql("LOCK TABLE {w} IN EXCLUSIVE MODE"), args![]).await?;
        session.execute(sql(&format!("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS {}", plan.kept)), args![]).await?;
        if number(&mut session, "SELECT count(*) FROM kept").await? > MOVED_MAX {
            session.rollback().await?;
            return Ok(BTreeMap::new());
        }
        for note in plan.notes {
            session.execute(sql(note), args![]).await?;
        }
        let rows = by_tenant(&mut session, sql(plan.count)).await?;
        session.execute(sql(&format!("ALTER TABLE {} DETACH PARTITION {{w}}", plan.table)), args![]).await?;
        session.execute(sql(plan.moved), args![]).await?;
        session.execute(sql("DROP TABLE {w}"), args![]).await?;
        session.commit().await?;
        tracing::info!(partition, "old history dropped");
        Ok(rows)
    }
}

async fn number(session: &mut Session, sql: &'static str) -> Result<u64, StoreError> {
    session.row(sql, args![]).await?.map_or(Ok(0), |row| row.cells().count())
}

async fn by_tenant(session: &mut Session, sql: crate::sql::Sql) -> Result<BTreeMap<TenantId, u64>, StoreError> {
    let rows = session.rows(sql, args![]).await?;
    rows.iter()
        .map(|row| {
            let mut cells = row.cells();
            Ok((cells.id()?, cells.count()?))
        })
        .collect()
}
