//! PostgreSQL keeps events, deliveries, attempts and access entries in weekly partitions by id, since ids are ordered by time.
//! They are made ahead; what lands before its partition exists waits in the default one and is moved.

use std::time::Duration;

use engate_model::{CallId, DeliveryId, EventId, Timestamp, TypedId as _};

use crate::{compose::partition_create, db::Db, error::StoreError, sql::Dialect, value::args};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Partitions that exist beyond the present one.
const WEEKS_AHEAD: i64 = 4;
/// One number for one purpose: who makes partitions at this moment.
const LOCK: i64 = 0x656e_6761_7465_0001;

/// Makes the partitions of the present week and of those ahead; nothing on SQLite.
pub(crate) async fn maintain(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let week_us = i64::try_from(WEEK.as_micros()).unwrap_or(i64::MAX);
    let present = now.as_micros().div_euclid(week_us);
    for week in present..=present + WEEKS_AHEAD {
        let (from, to) = (Timestamp::from_micros(week * week_us), Timestamp::from_micros((week + 1) * week_us));
        let events = [EventId::floor(from), EventId::floor(to)].map(|id| id.uuid().to_string());
        let deliveries = [DeliveryId::floor(from), DeliveryId::floor(to)].map(|id| id.uuid().to_string());
        partition(db, "events", "id", week, &events).await?;
        partition(db, "deliveries", "id", week, &deliveries).await?;
        let calls = [CallId::floor(from), CallId::floor(to)].map(|id| id.uuid().to_string());
        partition(db, "access", "id", week, &calls).await?;
        partition(db, "attempts", "delivery_id", week, &deliveries).await?;
    }
    Ok(())
}

/// The beginning of the week in which `at` lies, as partitions have it.
pub(crate) fn week_floor(at: Timestamp) -> Timestamp {
    let week_us = i64::try_from(WEEK.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.as_micros().div_euclid(week_us) * week_us)
}

/// The partitions of a table that end at `before` or earlier, the oldest first.
pub(crate) async fn old_partitions(db: &Db, table: &str, before: Timestamp) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
               WHERE i.inhparent = to_regclass($1)";
    let mut weeks = Vec::new();
    for row in db.rows(sql, args![table]).await? {
        // The default partition has no week; nothing else belongs to the table.
        let name = row.cells().text()?;
        let week = name.strip_prefix(table).and_then(|rest| rest.strip_prefix("_w")).and_then(|week| week.parse().ok());
        weeks.extend(week.map(|week: i64| (week, name)));
    }
    let week_us = i64::try_from(WEEK.as_micros()).unwrap_or(i64::MAX);
    weeks.retain(|(week, _)| (week + 1).saturating_mul(week_us) <= before.as_micros());
    weeks.sort_unstable();
    Ok(weeks.into_iter().map(|(_, name)| name).collect())
}

async fn partition(
    db: &Db,
    table: &'static str,
    column: &'static str,
    week: i64,
    [from, to]: &[String; 2],
) -> Result<(), StoreError> {
    let name = format!("{table}_w{week}");
    let exists = "SELECT CASE WHEN to_regclass($1) IS NULL THEN 0::bigint ELSE 1::bigint END";
    if db.row(exists, args![&name]).await?.is_some_and(|row| row.cells().flag().unwrap_or(false)) {
        return Ok(());
    }
    let mut session = db.begin().await?;
    session.execute("SELECT pg_advisory_xact_lock($1)", args![LOCK]).await?;
    // Another node may have made it while this one waited for the lock.
    let made = session.row(exists, args![&name]).await?.is_some_and(|row| row.cells().flag().unwrap_or(false));
    if !made {
        for sql in partition_create(table, column, &name, from, to) {
            session.execute(sql, args![]).await?;
        }
    }
    session.commit().await
}
