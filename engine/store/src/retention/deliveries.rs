//! Attempts and deliveries that are old: walked through from the first to the last that is old, again and again, since
//! what stays is little. Of each type the last delivery that an endpoint was tried with stays.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use engate_model::{DeliveryId, EndpointId, TenantId, Timestamp};

use super::{Forgotten, History};
use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    listing::{read_texts, texts_delete},
    sql::{Dialect, Sql},
    value::{Cells, Kind, Value, args},
};

/// Pairs of endpoint and type whose last delivery is remembered during one walk. Beyond it the walk begins to remember
/// anew, by which one more of some pairs stays.
const PAIRS_MAX: usize = 250_000;

/// How far one walk came.
#[derive(Debug)]
pub struct Sweep {
    history: History,
    code: i64,
    id: DeliveryId,
    /// The last delivery of each endpoint and type so far; none where that one stays anyway.
    lasts: HashMap<(EndpointId, Arc<str>), Option<Old>>,
    types: BTreeSet<Arc<str>>,
}

impl Sweep {
    /// A walk from the beginning, through [`History::Attempts`] or [`History::Deliveries`].
    pub fn new(history: History) -> Self {
        Self { history, code: i64::MIN, id: DeliveryId::MIN, lasts: HashMap::new(), types: BTreeSet::new() }
    }

    /// Takes note of the last delivery of a pair; gives the one before it.
    fn last(&mut self, endpoint: EndpointId, kind: &str, delivery: Option<Old>) -> Option<Old> {
        if self.lasts.len() >= PAIRS_MAX {
            self.lasts.clear();
            self.types.clear();
        }
        let kind = match self.types.get(kind) {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = kind.into();
                self.types.insert(Arc::clone(&new));
                new
            }
        };
        self.lasts.insert((endpoint, kind), delivery).flatten()
    }
}

/// A delivery that may go.
#[derive(Debug, Clone, Copy)]
struct Old {
    tenant: TenantId,
    code: i64,
    id: DeliveryId,
    attempts: u64,
}

const ROW_COLUMNS: &[(&str, Kind)] = &[("delivery_code", Kind::Int), ("delivery_id", Kind::Id)];

static INFO: Bulk = Bulk::new(
    "SELECT d.id, d.code, d.tenant_id, d.endpoint_id, d.event_type, d.attempts, d.created_at, d.last_attempt_at, \
     CAST(CASE WHEN d.state IN ('pending', 'delivering', 'parked') THEN 1 ELSE 0 END AS BIGINT) FROM (",
    ROW_COLUMNS,
    ") AS v JOIN deliveries d ON d.id = v.delivery_id AND d.code = v.delivery_code",
);

static TEXTS: Bulk = Bulk::new(
    "SELECT d.code, d.id, d.tenant_id, d.subject, d.correlation_id FROM (",
    ROW_COLUMNS,
    ") AS v JOIN deliveries d ON d.id = v.delivery_id AND d.code = v.delivery_code",
);

static ATTEMPTS_DELETE_SQLITE: Bulk = Bulk::new(
    "DELETE FROM attempts WHERE place IN (SELECT a.place FROM (",
    ROW_COLUMNS,
    ") AS v JOIN attempts a ON a.place BETWEEN v.delivery_code * 65536 AND v.delivery_code * 65536 + 65535)",
);

static ATTEMPTS_DELETE_POSTGRES: Bulk =
    Bulk::new("DELETE FROM attempts WHERE delivery_id IN (SELECT v.delivery_id FROM (", ROW_COLUMNS, ") AS v)");

/// Only while they are finished: one may have been let go again since it was read.
static DELIVERIES_DELETE: Bulk = Bulk::new(
    "DELETE FROM deliveries WHERE state NOT IN ('pending', 'delivering', 'parked') AND (code, id) IN (",
    ROW_COLUMNS,
    ")",
);

impl Store {
    /// Goes on with a walk by at most `limit` rows: forgets the attempts of deliveries from before `before`, or those
    /// deliveries themselves.
    ///
    /// # Errors
    /// When the database gives no answer; then nothing was forgotten, and the walk begins anew.
    pub async fn history_sweep(
        &self,
        sweep: &mut Sweep,
        before: Timestamp,
        limit: u32,
    ) -> Result<Forgotten, StoreError> {
        let history = sweep.history;
        let swept = self.sweep(sweep, before, limit).await;
        if swept.is_err() {
            *sweep = Sweep::new(history);
        }
        swept
    }

    async fn sweep(&self, sweep: &mut Sweep, before: Timestamp, limit: u32) -> Result<Forgotten, StoreError> {
        let before = self.kept_from(before);
        let mut session = self.db().begin().await?;
        let keys = next(&mut session, sweep, limit).await?;
        let names = keys.iter().flat_map(|(code, id)| args![*code, *id]).collect();
        let mut found: BTreeMap<DeliveryId, (Old, EndpointId, String, Standing)> = BTreeMap::new();
        for row in INFO.rows(&mut session, names).await? {
            let (old, endpoint, kind, standing) = info(&mut row.cells(), before)?;
            found.insert(old.id, (old, endpoint, kind, standing));
        }
        let (mut gone, mut orphans, mut young) = (Vec::new(), Vec::new(), 0);
        for (code, id) in &keys {
            match found.get(id) {
                // Attempts whose delivery is gone.
                None => orphans.push((*code, *id)),
                Some((_, _, _, Standing::Young)) => young += 1,
                Some((_, endpoint, kind, Standing::Stays)) => gone.extend(sweep.last(*endpoint, kind, None)),
                Some((old, _, _, Standing::Untried)) => gone.push(*old),
                Some((old, endpoint, kind, Standing::Old)) => gone.extend(sweep.last(*endpoint, kind, Some(*old))),
                Some((_, _, _, Standing::Unfinished)) => {}
            }
        }
        let mut forgotten = Forgotten::default();
        remove(&mut session, sweep.history, &gone, &orphans, &mut forgotten).await?;
        session.commit().await?;
        // Codes and times run almost alike: a step of nothing but young ones is the end.
        forgotten.done = young == keys.len();
        if let Some((code, id)) = keys.last().filter(|_| !forgotten.done) {
            (sweep.code, sweep.id) = (*code, *id);
        } else {
            if sweep.history == History::Deliveries {
                self.spans_merge(before).await?;
            }
            *sweep = Sweep::new(sweep.history);
        }
        Ok(forgotten)
    }

    /// Makes one of the spans of codes whose deliveries went: few are left in them, and they would only grow in number.
    async fn spans_merge(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "SELECT min(first_code) FROM delivery_spans WHERE created_max >= $1";
        let row = session.row(sql, args![before]).await?;
        let young = row.map_or(Ok(None), |row| row.cells().int_opt())?.unwrap_or(i64::MAX);
        let sql = "SELECT count(*), min(first_code), max(last_code), min(created_min), max(created_max) FROM delivery_spans \
                   WHERE first_code < $1";
        let Some(row) = session.row(sql, args![young]).await? else { return Ok(()) };
        let mut cells = row.cells();
        if cells.int()? < 2 {
            return session.rollback().await;
        }
        let merged = args![cells.int()?, cells.int()?, cells.int()?, cells.int()?];
        session.execute("DELETE FROM delivery_spans WHERE first_code < $1", args![young]).await?;
        let sql =
            "INSERT INTO delivery_spans (first_code, last_code, created_min, created_max) VALUES ($1, $2, $3, $4)";
        session.execute(sql, merged).await?;
        session.commit().await
    }
}

/// How a delivery stands to being forgotten.
enum Standing {
    /// Not old.
    Young,
    /// It goes on.
    Unfinished,
    /// Old, tried lately.
    Stays,
    /// Old, never tried.
    Untried,
    /// Old.
    Old,
}

fn info(cells: &mut Cells<'_>, before: Timestamp) -> Result<(Old, EndpointId, String, Standing), StoreError> {
    let (id, code, tenant) = (cells.id()?, cells.int()?, cells.id()?);
    let (endpoint, kind, attempts) = (cells.id()?, cells.text()?, cells.count()?);
    let (created_at, last_attempt_at, unfinished) = (cells.time()?, cells.time_opt()?, cells.flag()?);
    let standing = if created_at >= before {
        Standing::Young
    } else if unfinished {
        Standing::Unfinished
    } else {
        match last_attempt_at {
            None => Standing::Untried,
            Some(at) if at >= before => Standing::Stays,
            Some(_) => Standing::Old,
        }
    };
    Ok((Old { tenant, code, id, attempts }, endpoint, kind, standing))
}

/// The next deliveries of the walk, codes and ids; SQLite has them by code, PostgreSQL by id.
async fn next(session: &mut Session, sweep: &Sweep, limit: u32) -> Result<Vec<(i64, DeliveryId)>, StoreError> {
    let sql = match sweep.history {
        History::Attempts => Sql::Twins {
            sqlite: "SELECT DISTINCT place >> 16, delivery_id FROM (SELECT place, delivery_id FROM attempts WHERE place >= \
                     CASE WHEN $1 < 0 THEN 0 ELSE ($1 + 1) * 65536 END AND $2 = $2 ORDER BY place LIMIT $3) ORDER BY 1",
            postgres: "SELECT DISTINCT place >> 16, delivery_id FROM (SELECT place, delivery_id FROM attempts WHERE \
                       delivery_id > $2 AND $1 = $1 ORDER BY delivery_id, number LIMIT $3) AS next ORDER BY delivery_id",
        },
        History::Events | History::Deliveries => Sql::Twins {
            sqlite: "SELECT code, id FROM deliveries WHERE code > $1 AND $2 = $2 ORDER BY code LIMIT $3",
            postgres: "SELECT code, id FROM deliveries WHERE id > $2 AND $1 = $1 ORDER BY id LIMIT $3",
        },
    };
    let rows = session.rows(sql, args![sweep.code, sweep.id, limit]).await?;
    rows.iter()
        .map(|row| {
            let mut cells = row.cells();
            Ok((cells.int()?, cells.id()?))
        })
        .collect()
}

async fn remove(
    session: &mut Session,
    history: History,
    gone: &[Old],
    orphans: &[(i64, DeliveryId)],
    forgotten: &mut Forgotten,
) -> Result<(), StoreError> {
    let cells = || gone.iter().flat_map(|old| args![old.code, old.id]).collect::<Vec<Value>>();
    if history == History::Deliveries {
        let texts = TEXTS.rows(session, cells()).await?.iter().map(read_texts).collect::<Result<Vec<_>, _>>()?;
        texts_delete(session, &texts).await?;
        if DELIVERIES_DELETE.execute(session, cells()).await? != count(gone.len()) {
            let what = "a delivery was let go again just now; the walk begins anew";
            return Err(StoreError::Unavailable(what.to_owned()));
        }
    }
    let attempts = match session.dialect() {
        Dialect::Sqlite => &ATTEMPTS_DELETE_SQLITE,
        Dialect::Postgres => &ATTEMPTS_DELETE_POSTGRES,
    };
    let mut without = cells();
    without.extend(orphans.iter().flat_map(|(code, id)| args![*code, *id]));
    attempts.execute(session, without).await?;
    for old in gone {
        forgotten.add(old.tenant, if history == History::Attempts { old.attempts } else { 1 });
    }
    Ok(())
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
