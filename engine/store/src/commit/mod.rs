//! Group commit: accepts and finishes of all tasks wait in one bounded queue; a committer takes what is there
//! and writes it in one transaction, so that all of them share one commit (on SQLite: one fsync).
//!
//! There are no timers. What arrives while a commit is under way makes up the next batch; an idle store
//! commits a single item at once.

pub(crate) mod accept;
pub(crate) mod finish;
pub(crate) mod kept;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    db::{Db, Session},
    error::StoreError,
    lines::{self, Held},
};
use accept::{AcceptJob, Accepted};
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
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Accept(job) => job.bytes,
            Self::Finish(job) => job.bytes,
        }
    }

    fn fail(&mut self, error: StoreError) {
        match self {
            Self::Accept(job) => job.reply.send(Err(error)),
            Self::Finish(job) => job.reply.send(Err(error)),
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
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Committers {
    pub(crate) fn start(db: &Arc<Db>, acknowledge: Acknowledge) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let (closing, watching) = watch::channel(false);
        let receiver = Arc::new(Mutex::new(receiver));
        let committer =
            || Committer { db: Arc::clone(db), queue: Arc::clone(&receiver), closing: watching.clone(), acknowledge };
        let count = db.dialect().pick(1, COMMITTERS_POSTGRES);
        let tasks = (0..count).map(|_| tokio::spawn(committer().run())).collect();
        Self { queue, closing, tasks: Mutex::new(tasks) }
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
    closing: watch::Receiver<bool>,
    acknowledge: Acknowledge,
}

impl Committer {
    async fn run(mut self) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() && !self.take(&mut waiting).await {
                return;
            }
            let batch = cut(&mut waiting);
            self.write(batch).await;
        }
    }

    /// Moves what is queued to `waiting`; false once the queue is closed and empty.
    async fn take(&mut self, waiting: &mut VecDeque<Job>) -> bool {
        let mut queue = self.queue.lock().await;
        let mut items = Vec::new();
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => queue.close(),
            taken = queue.recv_many(&mut items, BATCH_ITEMS_MAX) => if taken == 0 { return false },
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

    /// Writes a batch. An item whose values the database refuses is found by halving, so that it fails alone.
    async fn write(&self, batch: Vec<Job>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.write_part(&mut part).await {
                Ok(()) => {}
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
    }

    async fn write_part(&self, part: &mut [Job]) -> Result<(), StoreError> {
        let (mut accepts, mut finishes) = (Vec::new(), Vec::new());
        for job in part {
            match job {
                Job::Accept(job) => accepts.push(&mut **job),
                Job::Finish(job) => finishes.push(&mut **job),
            }
        }
        let mut careful = false;
        // Each time round either it begins to be careful or an item is settled and left out, so this ends.
        loop {
            accepts.retain(|job| job.settled.is_none());
            finishes.retain(|job| job.settled.is_none());
            if accepts.is_empty() && finishes.is_empty() {
                return Ok(());
            }
            let mut session = self.db.begin().await?;
            match write_items(&mut session, &mut accepts, &mut finishes, careful).await {
                Ok(()) => {
                    if self.acknowledge == Acknowledge::BeforeCommit {
                        accepts.iter_mut().for_each(|job| job.answer());
                        tokio::time::sleep(PLANTED_PAUSE).await;
                    }
                    session.commit().await?;
                    accepts.iter_mut().for_each(|job| job.answer());
                    finishes.iter_mut().for_each(|job| job.answer());
                    return Ok(());
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
    }
}

async fn write_items(
    session: &mut Session,
    accepts: &mut [&mut AcceptJob],
    finishes: &mut [&mut FinishJob],
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
    accept::write(session, accepts, &held).await
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
