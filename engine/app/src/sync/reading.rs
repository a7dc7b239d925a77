//! What comes next on a track: rows that the target does not have as they are, or records that the source has no more.

use std::collections::{HashMap, HashSet};

use engate_model::{
    run::RunFailure,
    sink::Operation,
    sync::{Checksum, PassKind, PassState, Position, RowHash, checkpoint::position_after, pace::Sizer},
};
use engate_source::{Plan, Scan, SourceError, SourceRow};
use engate_store::{Sent, SentState, StoreError};

use super::{SyncRun, Tables, Target, packed::Entry, track::Hand};

/// Pages without anything to send that are read before the position is written down.
const PASSED_PAGES_MAX: usize = 32;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// What is to be sent; may be nothing.
    pub(super) entries: Vec<Entry>,
    /// Where to go on behind it.
    pub(super) after: Position,
    /// Keys that were read.
    pub(super) seen: Checksum,
    /// Rows that were read.
    pub(super) rows: u64,
    /// Rows that the target has as they are.
    pub(super) unchanged: u64,
    /// Whether there is nothing behind it.
    pub(super) end: bool,
}

/// From where, and what is under way: keys with the hashes that are about to be acknowledged.
pub(super) struct From<'a> {
    pub(super) position: Position,
    pub(super) under_way: &'a [Entry],
}

impl<S: Tables, T: Target> SyncRun<'_, S, T> {
    /// Reads on until there is something to send, or nothing more, or it is time to write the position down.
    pub(super) async fn read(
        &self,
        hand: &Hand<'_>,
        pass: &PassState,
        sizer: &Sizer,
        from: From<'_>,
    ) -> Result<Batch, RunFailure> {
        let under_way: HashMap<_, _> = from.under_way.iter().map(|entry| (entry.key.as_str(), entry.hash)).collect();
        let by_stamp = pass.by_stamp(&self.rules);
        let mut batch = Batch {
            entries: Vec::new(),
            after: from.position,
            seen: Checksum::default(),
            rows: 0,
            unchanged: 0,
            end: false,
        };
        for _ in 0..PASSED_PAGES_MAX {
            let scan = Scan { by_stamp, position: &batch.after, reach: pass.reach };
            let page = self.source.page(&hand.plan, scan, sizer.size()).await.map_err(of_source)?;
            let places: Vec<_> = page.rows.iter().map(|row| (row.stamp, row.order.as_slice())).collect();
            if let Some(after) = position_after(&places, by_stamp, &self.rules) {
                batch.after = after;
            }
            batch.end = !page.more;
            batch.rows += page.rows.len() as u64;
            let rows = self.living(&hand.plan, page.rows).await?;
            if pass.kind == PassKind::Reconcile {
                rows.iter().filter(|row| !row.deleted).for_each(|row| batch.seen.add(&row.key));
            }
            self.compare(hand, pass, rows, &under_way, &mut batch).await?;
            if batch.end || !batch.entries.is_empty() || self.stop.is_cancelled() {
                break;
            }
        }
        Ok(batch)
    }

    /// Where several rows may be one record, those marked as deleted count only while there is no other.
    async fn living(&self, plan: &Plan, rows: Vec<SourceRow>) -> Result<Vec<SourceRow>, RunFailure> {
        if plan.identity_is_unique() || rows.iter().all(|row| !row.deleted) {
            return Ok(rows);
        }
        let marked: HashSet<_> = rows.iter().filter(|row| row.deleted).map(|row| row.key.clone()).collect();
        let marked: Vec<_> = marked.into_iter().collect();
        let there = self.source.rows_of(plan, &marked).await.map_err(of_source)?;
        let living: HashSet<_> = there.into_iter().filter(|row| !row.deleted).map(|row| row.key).collect();
        Ok(rows.into_iter().filter(|row| !row.deleted || !living.contains(&row.key)).collect())
    }

    /// Leaves out what the target has already.
    async fn compare(
        &self,
        hand: &Hand<'_>,
        pass: &PassState,
        rows: Vec<SourceRow>,
        under_way: &HashMap<&str, RowHash>,
        batch: &mut Batch,
    ) -> Result<(), RunFailure> {
        let checkpoint = &hand.state.checkpoint;
        let keys: Vec<_> = rows.iter().map(|row| row.key.as_str()).collect();
        let sent = self.store.sent_find(hand.state.track.id, checkpoint.epoch, &keys).await.map_err(of_store)?;
        // What was deleted before anything was ever sent is not there to be taken away.
        let is_first_load =
            pass.kind == PassKind::Initial && checkpoint.committed_upper.is_none() && checkpoint.epoch == 0;
        for row in rows {
            let known = under_way.get(row.key.as_str()).copied().or_else(|| sent.get(&row.key).map(|sent| sent.hash));
            if known == Some(row.hash) {
                batch.unchanged += 1;
                continue;
            }
            if row.deleted && known.is_none() && is_first_load {
                continue;
            }
            let operation = if row.deleted { Operation::Delete } else { Operation::Upsert };
            let SourceRow { key, stamp, data, hash, .. } = row;
            batch.entries.push(Entry { key, operation, data, hash, stamp, gone: false });
        }
        Ok(())
    }

    /// What was sent and is there no more, by key behind the position.
    pub(super) async fn sweep(&self, hand: &Hand<'_>, sizer: &Sizer, after: &str) -> Result<Batch, RunFailure> {
        let track = hand.state.track.id;
        let mut page = self.store.sent_page(track, after).await.map_err(of_store)?;
        page.truncate(sizer.size().rows as usize);
        let end = page.is_empty();
        let last = page.last().map_or_else(|| after.to_owned(), |sent| sent.key.clone());
        let keys: Vec<_> =
            page.into_iter().filter(|sent| sent.state != SentState::Deleted).map(|sent| sent.key).collect();
        let there = self.source.rows_of(&hand.plan, &keys).await.map_err(of_source)?;
        let there: HashSet<_> = there.into_iter().map(|row| row.key).collect();
        let gone = keys.into_iter().filter(|key| !there.contains(key));
        let entries = gone.map(|key| self.gone(hand, key)).collect::<Result<Vec<_>, _>>()?;
        let after = Position::Sent(last);
        Ok(Batch { entries, after, seen: Checksum::default(), rows: 0, unchanged: 0, end })
    }

    /// The records that somebody wants sent again, as they are now.
    pub(super) async fn replays(&self, hand: &Hand<'_>, sizer: &Sizer) -> Result<Vec<Entry>, RunFailure> {
        let track = hand.state.track.id;
        let keys = self.store.quarantine_to_replay(track, sizer.size().rows).await.map_err(of_store)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.source.rows_of(&hand.plan, &keys).await.map_err(of_source)?;
        let rows = self.living(&hand.plan, rows).await?;
        let mut there: HashMap<_, _> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        let entries = keys.into_iter().map(|key| match there.remove(&key) {
            None => self.gone(hand, key),
            Some(SourceRow { key, stamp, data, hash, deleted, .. }) => {
                let operation = if deleted { Operation::Delete } else { Operation::Upsert };
                Ok(Entry { key, operation, data, hash, stamp, gone: false })
            }
        });
        entries.collect()
    }

    fn gone(&self, hand: &Hand<'_>, key: String) -> Result<Entry, RunFailure> {
        let data = hand.plan.gone(&key).map_err(of_source)?;
        let hash = RowHash::of(data.as_bytes(), true);
        Ok(Entry { key, operation: Operation::Delete, data, hash, stamp: None, gone: true })
    }

    /// The sum of the keys that the target has.
    pub(super) async fn sum_of_sent(&self, hand: &Hand<'_>) -> Result<Checksum, RunFailure> {
        let (mut sum, mut after) = (Checksum::default(), String::new());
        loop {
            let page = self.store.sent_page(hand.state.track.id, &after).await.map_err(of_store)?;
            let Some(last) = page.last() else { return Ok(sum) };
            last.key.clone_into(&mut after);
            let there = |sent: &&Sent| sent.state != SentState::Deleted;
            page.iter().filter(there).for_each(|sent| sum.add(&sent.key));
        }
    }
}

pub(super) fn of_source(error: SourceError) -> RunFailure {
    RunFailure { code: error.code().to_owned(), message: error.to_string(), retryable: error.retryable() }
}

pub(super) fn of_store(error: StoreError) -> RunFailure {
    if let StoreError::Stale { .. } = error {
        let message = "another run, or somebody by hand, has changed the checkpoint meanwhile".to_owned();
        return RunFailure { code: "lease_lost".to_owned(), message, retryable: true };
    }
    RunFailure { code: error.code().to_owned(), message: error.to_string(), retryable: true }
}
