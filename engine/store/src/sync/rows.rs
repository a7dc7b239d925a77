//! What a track's target has: the hash of the last acknowledged version of each record.

use std::collections::{BTreeMap, HashMap, HashSet};

use engate_model::{Timestamp, TrackId, sync::RowHash};

use super::Refused;
use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    value::{Kind, args},
};

/// Keys that one page of what was sent has at most.
pub const LEDGER_PAGE_MAX: u32 = 2_000;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentState {
    /// The target has it.
    There,
    /// The target was told that it is deleted.
    Deleted,
    /// The target refused it.
    Refused,
}

impl SentState {
    const fn code(self) -> i64 {
        match self {
            Self::There => 0,
            Self::Deleted => 1,
            Self::Refused => 2,
        }
    }

    fn from_code(code: i64) -> Result<Self, StoreError> {
        match code {
            0 => Ok(Self::There),
            1 => Ok(Self::Deleted),
            2 => Ok(Self::Refused),
            other => Err(StoreError::Corrupt(format!("{other} where the state of a sent record was expected"))),
        }
    }
}

/// The last version of a record that the target knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The record's key.
    pub key: String,
    /// What tells this version from others.
    pub hash: RowHash,
    /// Its stamp.
    pub stamp: Option<Timestamp>,
    /// What became of it.
    pub state: SentState,
}

const CELLS: &[(&str, Kind)] = &[
    ("track", Kind::Id),
    ("key", Kind::Text),
    ("hash", Kind::Blob),
    ("stamp", Kind::Int),
    ("sent", Kind::Int),
    ("epoch", Kind::Int),
];

static PUT: Bulk = Bulk::new(
    "INSERT INTO sync_rows (track, key, hash, stamp, sent, epoch) ",
    CELLS,
    " ON CONFLICT (track, key) DO UPDATE SET hash = excluded.hash, stamp = excluded.stamp, sent = excluded.sent, epoch = \
     excluded.epoch",
);

static DELETE: Bulk =
    Bulk::new("DELETE FROM sync_rows WHERE (track, key) IN (", &[("track", Kind::Id), ("key", Kind::Text)], ")");

static FIND: Bulk = Bulk::new(
    "SELECT r.key, r.hash, r.stamp, r.sent FROM (",
    &[("track", Kind::Id), ("key", Kind::Text), ("epoch", Kind::Int)],
    ") AS v JOIN sync_rows r ON r.track = v.track AND r.key = v.key AND r.epoch = v.epoch",
);

pub(super) async fn put(
    session: &mut Session,
    track: TrackId,
    epoch: u32,
    sent: &[Sent],
    refused: &[Refused],
) -> Result<(), StoreError> {
    // Of several versions of a record the last counts; one statement takes each key once, and they go in in their order.
    let mut last = BTreeMap::new();
    for Sent { key, hash, stamp, state } in sent {
        last.insert(key, (hash, stamp, state));
    }
    for Refused { key, hash, stamp, .. } in refused {
        last.insert(key, (hash, stamp, &SentState::Refused));
    }
    let mut cells = Vec::with_capacity(last.len() * CELLS.len());
    for (key, (hash, stamp, state)) in last {
        cells.extend(args![track, key, hash.0.as_slice(), *stamp, state.code(), epoch]);
    }
    PUT.execute(session, cells).await.map(drop)
}

/// Of a first load's records next to none are kept: what is there between the keys is looked at first.
pub(super) async fn delete(session: &mut Session, track: TrackId, keys: &[String]) -> Result<(), StoreError> {
    let keys: HashSet<_> = keys.iter().map(String::as_str).collect();
    let Some((first, last)) = ends(keys.iter().copied()) else { return Ok(()) };
    if between(session, track, (first, last), keys.len()).await? >= keys.len() as u64 {
        return DELETE.execute(session, keys.iter().flat_map(|key| args![track, *key]).collect()).await.map(drop);
    }
    let sql = "SELECT key FROM sync_rows WHERE track = $1 AND key >= $2 AND key <= $3";
    let there = session.rows(sql, args![track, first, last]).await?;
    let there = there.iter().map(|row| row.cells().text()).collect::<Result<Vec<_>, _>>()?;
    let known = there.iter().filter(|key| keys.contains(key.as_str()));
    DELETE.execute(session, known.flat_map(|key| args![track, key]).collect()).await.map(drop)
}

/// The first and the last of some keys, in the order in which the databases keep them.
fn ends<'k>(keys: impl Iterator<Item = &'k str> + Clone) -> Option<(&'k str, &'k str)> {
    keys.clone().min().zip(keys.max())
}

/// How many rows there are from the first key to the last, counted up to `most`.
async fn between(
    session: &mut Session,
    track: TrackId,
    (first, last): (&str, &str),
    most: usize,
) -> Result<u64, StoreError> {
    let sql =
        "SELECT count(*) FROM (SELECT 1 FROM sync_rows WHERE track = $1 AND key >= $2 AND key <= $3 LIMIT $4) AS r";
    let row = session.row(sql, args![track, first, last, most as u64]).await?;
    row.map_or(Ok(0), |row| row.cells().count())
}

pub(super) async fn forget(session: &mut Session, track: TrackId, before: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM sync_rows WHERE track = $1 AND (stamp IS NULL OR stamp < $2)";
    session.execute(sql, args![track, before]).await.map(drop)
}

impl Store {
    /// What the target has of these records, as far as this epoch knows.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn sent_find(
        &self,
        track: TrackId,
        epoch: u32,
        keys: &[&str],
    ) -> Result<HashMap<String, Sent>, StoreError> {
        let Some(ends) = ends(keys.iter().copied()) else { return Ok(HashMap::new()) };
        let mut session = self.db().reader().await?;
        // A page of a table that is read by its key lies close together, and so does what is kept of it.
        let most = keys.len() * 3 / 2;
        let rows = if between(&mut session, track, ends, most).await? < most as u64 {
            let sql = "SELECT key, hash, stamp, sent FROM sync_rows WHERE track = $1 AND key >= $2 AND key <= $3 AND epoch = $4";
            session.rows(sql, args![track, ends.0, ends.1, epoch]).await?
        } else {
            FIND.rows(&mut session, keys.iter().flat_map(|key| args![track, *key, epoch]).collect()).await?
        };
        let asked: HashSet<_> = keys.iter().copied().collect();
        let sent =
            rows.iter().map(read).filter(|sent| sent.as_ref().map_or(true, |sent| asked.contains(sent.key.as_str())));
        sent.map(|sent| sent.map(|sent| (sent.key.clone(), sent))).collect()
    }

    /// What the target has, of any epoch, by key behind `after`; at most [`LEDGER_PAGE_MAX`].
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn sent_page(&self, track: TrackId, after: &str) -> Result<Vec<Sent>, StoreError> {
        let sql = "SELECT key, hash, stamp, sent FROM sync_rows WHERE track = $1 AND key > $2 ORDER BY key LIMIT $3";
        let rows = self.db().rows(sql, args![track, after, LEDGER_PAGE_MAX]).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &crate::value::Row) -> Result<Sent, StoreError> {
    let mut cells = row.cells();
    let (key, hash) = (cells.text()?, cells.blob()?);
    let hash = hash.try_into().map_err(|_| StoreError::Corrupt("a record's hash of another length".to_owned()))?;
    let stamp = cells.time_opt()?;
    Ok(Sent { key, hash: RowHash(hash), stamp, state: SentState::from_code(cells.int()?)? })
}
