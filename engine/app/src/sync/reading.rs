//! What comes next on a track: records that the target does not have as they are, or that the source has no more.

use std::collections::HashMap;

use engate_model::{
    run::RunFailure,
    sink::Operation,
    sync::{Checksum, PageSize, PassKind, PassState, Position, RowHash, pace::Sizer},
};
use engate_store::{Sent, SentState, StoreError};

use super::{
    SyncRun, Target, Writes,
    origin::{Ask, Origin, Portion},
    packed::Entry,
    track::Hand,
};

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
    /// What the source's plugin wants kept once all of it is settled.
    pub(super) kept: Writes,
    /// In pieces of which size it is sent; none: as one.
    pub(super) cut: Option<PageSize>,
}

impl Batch {
    /// Nothing yet, from a position on.
    pub(super) fn from(after: Position) -> Self {
        Self {
            entries: Vec::new(),
            after,
            seen: Checksum::default(),
            rows: 0,
            unchanged: 0,
            end: false,
            kept: Writes::new(),
            cut: None,
        }
    }
}

/// From where, and what is under way: keys with the hashes that are about to be acknowledged.
pub(super) struct From<'a> {
    pub(super) position: Position,
    pub(super) under_way: &'a [Entry],
}

impl<S: Origin, T: Target> SyncRun<'_, S, T> {
    /// Reads on until there is something to send, or nothing more, or it is time to write the position down.
    pub(super) async fn read(
        &self,
        hand: &Hand<'_, S>,
        pass: &PassState,
        sizer: &Sizer,
        from: From<'_>,
    ) -> Result<Batch, RunFailure> {
        let under_way: HashMap<_, _> = from.under_way.iter().map(|entry| (entry.key.as_str(), entry.hash)).collect();
        let mut batch = Batch::from(from.position);
        // What a plugin wants kept, and its cursor, are written down page by page.
        let pages_max = if S::BY_CURSOR { 1 } else { PASSED_PAGES_MAX };
        for _ in 0..pages_max {
            let (size, most) = (sizer.size(), self.page_size());
            let ask = Ask { pass, rules: &self.rules, position: &batch.after, size, most };
            let Portion { entries, rows, after, more, kept, cut } = self.source.page(&hand.plan, ask).await?;
            if let Some(after) = after {
                batch.after = after;
            }
            batch.end = !more;
            batch.rows += rows;
            (batch.kept, batch.cut) = (kept, cut);
            if pass.kind == PassKind::Reconcile {
                let there = entries.iter().filter(|entry| entry.operation == Operation::Upsert);
                there.for_each(|entry| batch.seen.add(&entry.key));
            }
            self.compare(hand, pass, entries, &under_way, &mut batch).await?;
            if batch.end || !batch.entries.is_empty() || self.stop.is_cancelled() {
                break;
            }
        }
        Ok(batch)
    }

    /// Leaves out what the target has already.
    async fn compare(
        &self,
        hand: &Hand<'_, S>,
        pass: &PassState,
        entries: Vec<Entry>,
        under_way: &HashMap<&str, RowHash>,
        batch: &mut Batch,
    ) -> Result<(), RunFailure> {
        let checkpoint = &hand.state.checkpoint;
        let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
        let sent = self.store.sent_find(hand.state.track.id, checkpoint.epoch, &keys).await.map_err(of_store)?;
        // What was deleted before anything was ever sent is not there to be taken away.
        let is_first_load =
            pass.kind == PassKind::Initial && checkpoint.committed_upper.is_none() && checkpoint.epoch == 0;
        for entry in entries {
            let known =
                under_way.get(entry.key.as_str()).copied().or_else(|| sent.get(&entry.key).map(|sent| sent.hash));
            if known == Some(entry.hash) {
                batch.unchanged += 1;
                continue;
            }
            if entry.operation == Operation::Delete && known.is_none() && is_first_load {
                continue;
            }
            batch.entries.push(entry);
        }
        Ok(())
    }

    /// What was sent and is there no more, by key behind the position.
    pub(super) async fn sweep(&self, hand: &Hand<'_, S>, sizer: &Sizer, after: &str) -> Result<Batch, RunFailure> {
        let track = hand.state.track.id;
        let mut page = self.store.sent_page(track, after).await.map_err(of_store)?;
        page.truncate(sizer.size().rows as usize);
        let end = page.is_empty();
        let last = page.last().map_or_else(|| after.to_owned(), |sent| sent.key.clone());
        let keys: Vec<_> =
            page.into_iter().filter(|sent| sent.state != SentState::Deleted).map(|sent| sent.key).collect();
        let there = self.source.there(&hand.plan, &keys).await?;
        let gone = keys.into_iter().filter(|key| !there.contains(key));
        let entries = gone.map(|key| self.source.gone(&hand.plan, key)).collect::<Result<Vec<_>, _>>()?;
        Ok(Batch { entries, end, ..Batch::from(Position::Sent(last)) })
    }

    /// The records that somebody wants sent again.
    pub(super) async fn replays(&self, hand: &Hand<'_, S>, sizer: &Sizer) -> Result<Vec<Entry>, RunFailure> {
        let track = hand.state.track.id;
        let held = self.store.quarantine_to_replay(track, sizer.size().rows).await.map_err(of_store)?;
        if held.is_empty() { Ok(Vec::new()) } else { self.source.again(&hand.plan, held).await }
    }

    /// The sum of the keys that the target has.
    pub(super) async fn sum_of_sent(&self, hand: &Hand<'_, S>) -> Result<Checksum, RunFailure> {
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

pub(super) fn of_store(error: StoreError) -> RunFailure {
    if let StoreError::Stale { .. } = error {
        let message = "another run, or somebody by hand, has changed the checkpoint meanwhile".to_owned();
        return RunFailure { code: "lease_lost".to_owned(), message, retryable: true };
    }
    RunFailure { code: error.code().to_owned(), message: error.to_string(), retryable: true }
}
