//! Group commit: accepts and finishes of all tasks wait in one bounded queue; a committer takes what is there
//! and writes it in one transaction, so that all of them share one commit (on SQLite: one fsync).
//!
//! What arrives while a commit is under way makes up the next batch; an idle store commits a single item at once. The one
//! timer is for access entries, which nobody waits for: each batch takes along those that are there, and where no batch
//! comes by, they make one up by themselves (see [`access`]).

pub(crate) mod accept;
pub(crate) mod access;
pub(crate) mod finish;
mod joining;
pub(crate) mod kept;
mod keys;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    access::AccessEntry,
    db::{Db, Session},
    error::StoreError,
    lines::{self, Held},
};
use accept::{AcceptJob, Accepted};
use access::AccessQueue;
use finish::{FinishJob, Finished};

/// Items that wait at most; more make their producers wait.
const QUEUE_MAX: usize = 4_096;
/// Items of one batch at most.
const BATCH_ITEMS_MAX: usize = 512;
/// Bytes of one batch at most, unless one item alone is larger.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often a committer steps aside before it takes a batch, as long as each time more has arrived: tasks
/// just answered get to hand in their next item, instead of just missing this commit.
const STEP_ASIDE_MAX: usize = 16;
/// Committers on PostgreSQL: one writes while another waits for its commit.
const COMMITTERS_POSTGRES: usize = 2;
/// How often access entries are offered to a database that does not take them, before the end.
const LAST_OFFERS: usize = 3;

/// Between the answer and the commit of the planted fault, as on a busy disk: without it PostgreSQL would have been
/// told to commit before the answer is out, and would commit whatever becomes of this process.
const PLANTED_PAUSE: Duration = Duration::from_millis(3);

/// When a producer is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// After the commit.
    #[default]
    AfterCommit,
    /// Before it: a planted fault that the kill test has to catch. Nothing but a test sets it.
    #[doc(hidden)]
    BeforeCommit,
}

/// A caller that waits for its answer.
pub(crate) struct Reply<T>(Option<oneshot::Sender<Result<T, StoreError>>>);

impl<T> Reply<T> {
    /// Answers; the first answer counts. A caller that went away is no fault.
    pub(crate) fn send(&mut self, answer: Result<T, StoreError>) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(answer);
        }
    }
}

/// One item of a batch.
enum Job {
    Accept(Box<AcceptJob>),
    Finish(Box<FinishJob>),
    /// Nothing but what waits beside the queue.
    Flush(Reply<()>),
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Accept(job) => job.bytes,
            Self::Finish(job) => job.bytes,
            Self::Flush(_) => 0,
        }
    }

    fn fail(&mut self, error: StoreError) {
        match self {
            Self::Accept(job) => job.reply.send(Err(error)),
            Self::Finish(job) => job.reply.send(Err(error)),
            Self::Flush(reply) => reply.send(Err(error)),
        }
    }
}

/// Why a batch was not written.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Some of its items have their answer now and are left out; the rest is to be written anew.
    Again,
    /// Some delivery is not in the hands that finish it.
    LeaseLost,
    /// The database refused.
    Failed(StoreError),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// The queue's end that takes items in.
pub(crate) struct Committers {
    queue: mpsc::Sender<Job>,
    access: Arc<AccessQueue>,
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Committers {
    pub(crate) fn start(db: &Arc<Db>, acknowledge: Acknowledge) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let (closing, watching) = watch::channel(false);
        let receiver = Arc::new(Mutex::new(receiver));
        let access = Arc::new(AccessQueue::default());
        let committer = || Committer {
            db: Arc::clone(db),
            queue: Arc::clone(&receiver),
            access: Arc::clone(&access),
            closing: watching.clone(),
            acknowledge,
        };
        let count = db.dialect().pick(1, COMMITTERS_POSTGRES);
        let tasks = (0..count).map(|_| tokio::spawn(committer().run())).collect();
        Self { queue, access, closing, tasks: Mutex::new(tasks) }
    }

    /// Takes no more items, answers those that wait, and ends.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        for task in self.tasks.lock().await.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a committer ended before its time");
            }
        }
    }

    /// Access entries on their way.
    pub(crate) fn access(&self) -> &AccessQueue {
        &self.access
    }

    /// Has what waits beside the queue written with the next commit, and waits for that.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        self.submit(Job::Flush).await
    }

    pub(crate) async fn accept(&self, job: impl FnOnce(Reply<Accepted>) -> AcceptJob) -> Result<Accepted, StoreError> {
        self.submit(|reply| Job::Accept(Box::new(job(reply)))).await
    }

    pub(crate) async fn finish(&self, job: impl FnOnce(Reply<Finished>) -> FinishJob) -> Result<Finished, StoreError> {
        self.submit(|reply| Job::Finish(Box::new(job(reply)))).await
    }

    async fn submit<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closing".to_owned());
        let (sender, receiver) = oneshot::channel();
        self.queue.send(job(Reply(Some(sender)))).await.map_err(|_| closed(()))?;
        receiver.await.map_err(|_| closed(()))?
    }
}

/// Writes batches until the queue is closed and empty.
struct Committer {
    db: Arc<Db>,
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
    access: Arc<AccessQueue>,
    closing: watch::Receiver<bool>,
    acknowledge: Acknowledge,
}

impl Committer {
    async fn run(mut self) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() && !self.take(&mut waiting).await {
                break;
            }
            let batch = cut(&mut waiting);
            self.write(batch).await;
        }
        for _ in 0..LAST_OFFERS {
            while !self.access.is_empty() && self.write(Vec::new()).await {}
        }
    }

    /// Moves what is queued to `waiting`, which may be nothing where access entries are due; false once the queue is
    /// closed and empty.
    async fn take(&mut self, waiting: &mut VecDeque<Job>) -> bool {
        let mut queue = self.queue.lock().await;
        let mut items = Vec::new();
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => queue.close(),
            taken = queue.recv_many(&mut items, BATCH_ITEMS_MAX) => if taken == 0 { return false },
            () = self.access.due() => return true,
        }
        for _ in 0..STEP_ASIDE_MAX {
            let before = items.len();
            tokio::task::yield_now().await;
            while items.len() < BATCH_ITEMS_MAX {
                let Ok(item) = queue.try_recv() else { break };
                items.push(item);
            }
            if items.len() == before {
                break;
            }
        }
        let ended = items.is_empty() && queue.is_closed();
        waiting.extend(items);
        !ended
    }

    /// Writes a batch. An item whose values the database refuses is found by halving, so that it fails alone; access
    /// entries go along with the first part. Whether these were taken.
    async fn write(&self, batch: Vec<Job>) -> bool {
        let mut calls = self.access.take();
        let mut suspects = Vec::new();
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.write_part(&mut part, &calls).await {
                Ok(()) => self.access.written(std::mem::take(&mut calls).len()),
                // Whether they are to blame shows without them.
                Err(error) if error.blames_values() && !calls.is_empty() => {
                    suspects.append(&mut calls);
                    parts.push(part);
                }
                Err(error) if error.blames_values() && part.len() > 1 => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(error) => {
                    tracing::warn!(%error, items = part.len(), "a batch was not written");
                    part.iter_mut().for_each(|job| job.fail(error.clone()));
                }
            }
        }
        for suspect in suspects {
            match self.write_part(&mut [], std::slice::from_ref(&suspect)).await {
                Ok(()) => self.access.written(1),
                Err(error) if error.blames_values() => self.access.lose(1),
                Err(_) => calls.push(suspect),
            }
        }
        let taken = calls.is_empty();
        self.access.put_back(calls);
        taken
    }

    async fn write_part(&self, part: &mut [Job], calls: &[AccessEntry]) -> Result<(), StoreError> {
        let (mut accepts, mut finishes, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for job in part {
            match job {
                Job::Accept(job) => accepts.push(&mut **job),
                Job::Finish(job) => finishes.push(&mut **job),
                Job::Flush(reply) => flushes.push(reply),
            }
        }
        let mut careful = false;
        // Each time round either it begins to be careful or an item is settled and left out, so this ends.
        loop {
            accepts.retain(|job| job.settled.is_none());
            finishes.retain(|job| job.settled.is_none());
            if accepts.is_empty() && finishes.is_empty() && calls.is_empty() {
                break;
            }
            let mut session = self.db.begin().await?;
            match write_items(&mut session, &mut accepts, &mut finishes, calls, careful).await {
                Ok(()) => {
                    if self.acknowledge == Acknowledge::BeforeCommit {
                        accepts.iter_mut().for_each(|job| job.answer());
                        tokio::time::sleep(PLANTED_PAUSE).await;
                    }
                    session.commit().await?;
                    accepts.iter_mut().for_each(|job| job.answer());
                    finishes.iter_mut().for_each(|job| job.answer());
                    break;
                }
                Err(setback) => {
                    session.rollback().await?;
                    accepts.iter_mut().for_each(|job| job.answer_settled());
                    finishes.iter_mut().for_each(|job| job.answer_settled());
                    match setback {
                        Setback::Again => {}
                        Setback::LeaseLost if !careful => careful = true,
                        Setback::LeaseLost => {
                            let changed = "a delivery changed hands under its lock";
                            return Err(StoreError::Unavailable(changed.to_owned()));
                        }
                        Setback::Failed(error) => return Err(error),
                    }
                }
            }
        }
        flushes.into_iter().for_each(|reply| reply.send(Ok(())));
        Ok(())
    }
}

async fn write_items(
    session: &mut Session,
    accepts: &mut [&mut AcceptJob],
    finishes: &mut [&mut FinishJob],
    calls: &[AccessEntry],
    careful: bool,
) -> Result<(), Setback> {
    // The rows that others wait for are held in one order everywhere: a tenant's revision, endpoints that keep an order,
    // deliveries.
    accept::settle_stale(session, accepts).await?;
    let endpoints: Vec<_> = accepts
        .iter()
        .flat_map(|job| job.ordered())
        .chain(finishes.iter().filter_map(|job| job.ordered(careful)))
        .collect();
    let held = if endpoints.is_empty() { Held::new() } else { lines::lock(session, endpoints).await? };
    finish::write(session, finishes, &held, careful).await?;
    accept::write(session, accepts, &held).await?;
    Ok(access::write(session, calls, accepts.iter().filter_map(|job| job.call())).await?)
}

/// The first items of `waiting` that make up one batch.
fn cut(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let mut batch = Vec::with_capacity(waiting.len().min(BATCH_ITEMS_MAX));
    let mut bytes = 0;
    while let Some(job) = waiting.front() {
        bytes += job.bytes();
        let full = batch.len() == BATCH_ITEMS_MAX || bytes > BATCH_BYTES_MAX;
        if full && !batch.is_empty() {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}
