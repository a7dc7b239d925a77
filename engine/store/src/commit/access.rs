//! Access entries on their way to disk. They wait in a bounded buffer of their own, and each commit takes what is there
//! along: a call adds a row to a bulk statement and no commit. Where no commit comes by, they get one after a moment.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    access::{AccessEntry, AccessOfAccept},
    compose::Bulk,
    db::Session,
    error::StoreError,
    value::{Kind, Value, args},
};

/// Entries that wait at most; more make their calls wait.
const WAITING_MAX: usize = 16_384;
/// Entries that one commit takes along at most.
const TAKEN_MAX: usize = 1_024;
/// How long an entry waits for somebody else's commit.
const LINGER: Duration = Duration::from_millis(250);
/// How long entries rest that the database did not take.
const REST: Duration = Duration::from_secs(2);
/// How long a call waits for room.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);

static ACCESS: Bulk = Bulk::new(
    "INSERT INTO access (tenant_id, id, token_id, route, status, duration_us, source) ",
    &[
        ("tenant_id", Kind::Id),
        ("id", Kind::Id),
        ("token_id", Kind::Id),
        ("route", Kind::Text),
        ("status", Kind::Int),
        ("duration_us", Kind::Int),
        ("source", Kind::Text),
    ],
    // A caller that hung up may have its call written twice over: by whoever carried it on, and for having gone.
    " ON CONFLICT (tenant_id, id) DO NOTHING",
);

/// The buffer.
#[derive(Debug, Default)]
pub(crate) struct AccessQueue {
    waiting: Mutex<Waiting>,
    /// Something waits where nothing did.
    arrived: Notify,
    /// Something was taken.
    room: Notify,
    pushed: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<AccessEntry>,
    /// When they get a commit of their own.
    due_at: Option<Instant>,
}

impl AccessQueue {
    /// Adds an entry, waiting for room for a while; then it is lost, and counted.
    pub(crate) async fn push(&self, entry: AccessEntry) {
        let Err(entry) = self.try_push(entry) else { return };
        let waited = async {
            let mut entry = entry;
            loop {
                let room = self.room.notified();
                tokio::pin!(room);
                room.as_mut().enable();
                match self.try_push(entry) {
                    Ok(()) => return,
                    Err(back) => entry = back,
                }
                room.await;
            }
        };
        if tokio::time::timeout(ROOM_WAIT_MAX, waited).await.is_err() {
            self.lose(1);
        }
    }

    /// Adds an entry where there is room; else it is lost, and counted.
    pub(crate) fn push_now(&self, entry: AccessEntry) {
        if self.try_push(entry).is_err() {
            self.lose(1);
        }
    }

    fn try_push(&self, entry: AccessEntry) -> Result<(), AccessEntry> {
        let mut waiting = self.waiting();
        if waiting.entries.len() >= WAITING_MAX {
            return Err(entry);
        }
        waiting.entries.push_back(entry);
        self.pushed.fetch_add(1, Ordering::Relaxed);
        if waiting.due_at.is_none() {
            waiting.due_at = Some(Instant::now() + LINGER);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Ends when entries have waited long enough.
    pub(super) async fn due(&self) {
        loop {
            let due_at = self.waiting().due_at;
            match due_at {
                None => self.arrived.notified().await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::time::sleep_until(at).await,
            }
        }
    }

    /// Takes what one commit can take along.
    pub(super) fn take(&self) -> Vec<AccessEntry> {
        let mut waiting = self.waiting();
        let count = waiting.entries.len().min(TAKEN_MAX);
        let taken: Vec<_> = waiting.entries.drain(..count).collect();
        if waiting.entries.is_empty() {
            waiting.due_at = None;
        }
        drop(waiting);
        if !taken.is_empty() {
            self.room.notify_waiters();
        }
        taken
    }

    /// Gives back what was not written.
    pub(super) fn put_back(&self, entries: Vec<AccessEntry>) {
        if entries.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        entries.into_iter().rev().for_each(|entry| waiting.entries.push_front(entry));
        waiting.due_at = Some(Instant::now() + REST);
        self.arrived.notify_one();
    }

    /// So many are on disk.
    pub(super) fn written(&self, count: usize) {
        self.written.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// So many will never be.
    pub(super) fn lose(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.lost.fetch_add(count, Ordering::Relaxed);
        tracing::error!(count, "access entries were lost: the database did not take them");
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting().entries.is_empty()
    }

    /// How many were added so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Relaxed)
    }

    /// Whether the first `count` of them are on disk, or lost.
    pub(crate) fn is_settled(&self, count: u64) -> bool {
        self.written.load(Ordering::Acquire) + self.lost.load(Ordering::Relaxed) >= count
    }

    /// How many were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose events are in this batch, and whether all of them were there before.
pub(super) type AcceptedCall<'a> = (&'a AccessOfAccept, bool);

/// Writes entries, and those of the calls whose events are written in the same transaction.
pub(super) async fn write<'a>(
    session: &mut Session,
    entries: &[AccessEntry],
    accepted: impl Iterator<Item = AcceptedCall<'a>>,
) -> Result<(), StoreError> {
    let mut cells: Vec<Value> = entries.iter().flat_map(|entry| row(entry, entry.status, entry.duration)).collect();
    cells.extend(accepted.flat_map(|(call, repeat)| {
        let status = if repeat { call.status_repeat } else { call.entry.status };
        row(&call.entry, status, call.started.elapsed())
    }));
    ACCESS.execute(session, cells).await?;
    Ok(())
}

fn row(entry: &AccessEntry, status: u16, duration: Duration) -> Vec<Value> {
    args![
        entry.tenant,
        entry.id,
        entry.token,
        std::sync::Arc::clone(&entry.route),
        u32::from(status),
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        std::sync::Arc::clone(&entry.source),
    ]
}
