//! One run in this node's hands.

use std::{
    fmt::Write as _,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use engate_model::{
    Timestamp, callback,
    callback::Fact,
    job::{Job, Run, RunState, SLICE_MAX},
    run::{RunCounts, RunEnd, RunFailure},
    schedule::{Schedule, due::Overlap},
};
use engate_store::{ClaimedRun, PAUSED_BY, PAUSED_FOR_FAILURES, RunEnded, RunFinish, RunProgress, StoreError};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::debug::{self, DebugLog};
use crate::engine::Engine;

/// A node that is silent for longer loses its runs.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// How often the lease is lengthened; stops that another node was asked for show within this.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long work has to come to a stop, where the job says nothing.
const GRACE: Duration = Duration::from_secs(30);
/// Between two looks of an `always` job that found nothing: from this, doubled each time, to the work's own bound.
const IDLE_MIN: Duration = Duration::from_millis(100);
const IDLE_MAX: Duration = Duration::from_secs(30);
/// After a failed slice an `always` job comes again within this, doubled with every failure in a row.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// A run's log holds this much; what is beyond is counted.
const LOG_BYTES_MAX: usize = 64 << 10;
/// Results are offered again this often, a second apart, before the run is left to its lease.
const FINISH_TRIES: u32 = 20;

/// Why work is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Someone, or a newer run, wants it.
    Cancelled,
    /// It takes longer than its job allows.
    TimedOut,
    /// The slice of an `always` job is over, or its job changed.
    SliceOver,
    /// The engine stops.
    Shutdown,
    /// Another node has the run.
    Lost,
}

/// One run in this node's hands: what its work may look at, and tell.
pub(crate) struct HeldRun {
    pub(crate) engine: Arc<Engine>,
    /// The job as it was when the run was taken up.
    pub(crate) job: Job,
    /// The run.
    pub(crate) run: Run,
    /// The number that checkpoints are written under.
    pub(crate) fence: i64,
    stop: CancellationToken,
    why: Mutex<Option<Stop>>,
    poked: Notify,
    progress: Mutex<RunProgress>,
    /// What is sent and comes, for whoever looks for a fault.
    pub(crate) debug: Arc<DebugLog>,
}

impl HeldRun {
    pub(super) fn new(engine: &Arc<Engine>, claimed: ClaimedRun) -> Self {
        let ClaimedRun { run, job, fence } = claimed;
        let progress = RunProgress { attempts: run.attempts, ..RunProgress::default() };
        let debug = Arc::new(DebugLog::new(debug::folder(&engine.config, job.id), run.id, job.debug));
        Self {
            engine: Arc::clone(engine),
            job,
            run,
            fence,
            stop: CancellationToken::new(),
            why: Mutex::new(None),
            poked: Notify::new(),
            progress: Mutex::new(progress),
            debug,
        }
    }

    /// Cancelled once the work is to stop where it can go on later.
    pub(crate) const fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Adds to what the run moved.
    pub(crate) fn count(&self, counts: RunCounts) {
        self.with_progress(|progress| progress.counts.add(counts));
    }

    /// Adds a line to the run's log: what an operator wants to know, never a payload or a secret.
    pub(crate) fn note(&self, level: &'static str, message: impl AsRef<str>) {
        let line = json!({ "at": self.engine.now(), "level": level, "message": message.as_ref() });
        self.with_progress(|progress| {
            let full = "{\"level\":\"warn\",\"message\":\"the log is full; what came after is not in it\"}\n";
            let line = line.to_string();
            if progress.log.len() + line.len() + full.len() < LOG_BYTES_MAX {
                let _ = writeln!(progress.log, "{line}");
            } else if !progress.log.ends_with(full) {
                progress.log.push_str(full);
            }
        });
    }

    /// Looks again whether the run is to go on, and has an idle one look for work.
    pub(super) fn poke(&self) {
        self.poked.notify_waiters();
        self.poked.notify_one();
    }

    pub(super) fn stop_for_shutdown(&self) {
        self.stop_for(Stop::Shutdown);
    }

    fn stop_for(&self, why: Stop) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.cancel();
    }

    fn why(&self) -> Option<Stop> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_progress<T>(&self, change: impl FnOnce(&mut RunProgress) -> T) -> T {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_always(&self) -> bool {
        matches!(self.job.settings.schedule, Schedule::Always)
    }

    fn grace(&self) -> Duration {
        match self.job.settings.overlap {
            Overlap::CancelOther { grace_ms } => Duration::from_millis(grace_ms),
            _ => GRACE,
        }
    }

    /// Works until it is over, and writes down how it ended.
    pub(super) async fn carry_out(self: Arc<Self>) {
        tracing::debug!(run = %self.run.id, job = %self.job.id, "a run begins");
        let end = tokio::select! {
            end = AssertUnwindSafe(self.work_through()).catch_unwind() => end.unwrap_or_else(|_| {
                tracing::error!(run = %self.run.id, "the work of a run panicked");
                let message = "a defect of the engine; its log says more".to_owned();
                RunEnd::Failed(RunFailure { code: "internal".to_owned(), message, retryable: false })
            }),
            () = self.keep() => RunEnd::Stopped,
        };
        if self.why() != Some(Stop::Lost) {
            self.finish(end).await;
        }
        self.engine.scheduler.runs().remove(&self.run.id);
        self.engine.scheduler.wake();
    }

    /// Tries, as often as the job allows. A stop gives the work its grace, then it is cut off.
    async fn work_through(self: &Arc<Self>) -> RunEnd {
        let limit = if self.is_always() { SLICE_MAX } else { self.job.settings.timeout() };
        let cut_off = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(limit) => self.stop_for(if self.is_always() { Stop::SliceOver } else { Stop::TimedOut }),
            }
            sleep(self.grace()).await;
        };
        tokio::select! {
            end = self.tries() => end,
            () = cut_off => RunEnd::Stopped,
        }
    }

    async fn tries(self: &Arc<Self>) -> RunEnd {
        let mut tried = 0;
        loop {
            tried += 1;
            self.with_progress(|progress| progress.attempts += 1);
            let failure = match self.try_once().await {
                RunEnd::Failed(failure) if failure.retryable => failure,
                end => return end,
            };
            let Some(wait) = self.job.settings.retry.wait(tried, self.engine.chance.fraction()) else {
                return RunEnd::Failed(failure);
            };
            self.note("warn", format!("try {tried} failed ({}): {}", failure.code, failure.message));
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => return RunEnd::Stopped,
            }
        }
    }

    /// One try: the work, again at once while it has more, and for `always` again after a pause while it has none.
    async fn try_once(self: &Arc<Self>) -> RunEnd {
        let idle_max = self.idle_max().max(IDLE_MIN);
        let mut idle = IDLE_MIN;
        loop {
            if self.stop.is_cancelled() {
                return RunEnd::Stopped;
            }
            match self.work().await {
                RunEnd::More => idle = IDLE_MIN,
                RunEnd::Idle if self.is_always() => {
                    tokio::select! {
                        () = sleep(idle) => idle = idle.saturating_mul(2).min(idle_max),
                        () = self.poked.notified() => idle = IDLE_MIN,
                        () = self.stop.cancelled() => return RunEnd::Stopped,
                    }
                }
                end => return end,
            }
        }
    }

    /// How long an `always` job rests at most: where nobody tells of new work it has to be looked for.
    fn idle_max(&self) -> Duration {
        self.idle_bound().unwrap_or(IDLE_MAX)
    }

    /// Keeps the lease and hears of stops; ends when the run is lost.
    async fn keep(&self) {
        let mut held_until = Instant::now() + LEASE;
        loop {
            tokio::select! {
                () = sleep(RENEW_EVERY) => {}
                () = self.poked.notified() => {}
            }
            let progress = self.with_progress(|progress| progress.clone());
            let until = self.engine.now().after(LEASE);
            match self.engine.store.run_renew(self.run.id, self.fence, until, &progress).await {
                Ok(Some(held)) => {
                    held_until = Instant::now() + LEASE;
                    if held.cancel_at.is_some() {
                        self.stop_for(Stop::Cancelled);
                    } else if held.revision != self.job.revision {
                        self.heed_change().await;
                    }
                }
                Ok(None) => break,
                Err(error) => tracing::warn!(%error, run = %self.run.id, "a run's lease could not be lengthened"),
            }
            if Instant::now() >= held_until {
                break;
            }
        }
        tracing::warn!(run = %self.run.id, "another node has this run, or its job is gone; its work ends here");
        self.stop_for(Stop::Lost);
    }

    /// The job was changed meanwhile: an `always` job goes on in a new slice, of others only the log of payloads may change.
    async fn heed_change(&self) {
        if self.is_always() {
            return self.stop_for(Stop::SliceOver);
        }
        if let Ok(Some(job)) = self.engine.store.job_get(self.job.tenant, self.job.id).await {
            self.debug.set(job.debug);
        }
    }

    fn ended(&self, end: RunEnd) -> (RunState, Option<RunFailure>) {
        match (end, self.why()) {
            (RunEnd::Failed(failure), _) => (RunState::Failed, Some(failure)),
            (RunEnd::Idle | RunEnd::More, _) | (RunEnd::Stopped, Some(Stop::SliceOver) | None) => {
                (RunState::Succeeded, None)
            }
            (RunEnd::Stopped, Some(Stop::Cancelled)) => (RunState::Cancelled, None),
            (RunEnd::Stopped, Some(Stop::Shutdown | Stop::Lost)) => (RunState::Queued, None),
            (RunEnd::Stopped, Some(Stop::TimedOut)) => {
                let message = format!("took longer than {} ms (timeout_ms)", self.job.settings.timeout_ms);
                (RunState::Failed, Some(RunFailure { code: "timed_out".to_owned(), message, retryable: false }))
            }
        }
    }

    async fn finish(&self, end: RunEnd) {
        let (state, failure) = self.ended(end);
        if let Some(failure) = &failure {
            self.note("error", format!("failed ({}): {}", failure.code, failure.message));
            tracing::warn!(run = %self.run.id, job = %self.job.id, code = %failure.code, "a run failed: {}", failure.message);
        }
        for _ in 0..FINISH_TRIES {
            match self.write_end(state, failure.as_ref()).await {
                Ok(ended) => {
                    self.metrics_of(state);
                    if matches!(ended, RunEnded::Ended { paused: true }) {
                        tracing::error!(job = %self.job.id, "the job was paused: too many of its runs in a row failed");
                    }
                    return;
                }
                Err(error) => tracing::warn!(%error, run = %self.run.id, "a run's end could not be written down"),
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn write_end(&self, state: RunState, failure: Option<&RunFailure>) -> Result<RunEnded, StoreError> {
        let now = self.engine.now();
        let progress = self.with_progress(|progress| progress.clone());
        let error = failure.map(|failure| (failure.code.clone(), failure.message.clone()));
        let mut run = self.run.clone();
        (run.state, run.finished_at, run.error) = (state, Some(now), error.clone());
        (run.attempts, run.counts) = (progress.attempts, progress.counts);
        let view = self.engine.views.get(&self.engine.store, self.job.tenant).await?;
        let heard = callback::run_ended(state).is_some_and(|key| view.catalog.is_heard(key));
        let fact = if heard { Fact::of_run(&self.job, &run) } else { None };
        let told_to = |fact| self.engine.told_to(&view.catalog, self.job.tenant, fact);
        let facts = fact.map_or_else(Vec::new, told_to);
        let may_pause = state == RunState::Failed && view.catalog.is_heard(callback::JOB_PAUSED);
        let facts_of_pause = if may_pause {
            told_to(Fact::job_paused(&self.job, PAUSED_BY, PAUSED_FOR_FAILURES, now))
        } else {
            Vec::new()
        };
        let told = !facts.is_empty() || may_pause;
        let finish = RunFinish {
            run: run.id,
            fence: self.fence,
            state,
            reason: None,
            error,
            progress,
            again_at: self.again_at(state, now),
            facts,
            facts_of_pause,
        };
        let ended = self.engine.store.run_finish(&self.engine.system_actor(), &self.job, &finish).await?;
        if told {
            self.engine.worker.wake();
        }
        Ok(ended)
    }

    /// When an `always` job comes again.
    fn again_at(&self, state: RunState, now: Timestamp) -> Option<Timestamp> {
        if !self.is_always() || !state.is_over() {
            return None;
        }
        let doubled = AGAIN_MIN.saturating_mul(1_u32.checked_shl(self.job.failures).unwrap_or(u32::MAX));
        let wait = if state == RunState::Failed { doubled.min(AGAIN_MAX) } else { Duration::ZERO };
        Some(now.after(wait))
    }

    fn metrics_of(&self, state: RunState) {
        self.engine.metrics.run_ended(self.job.settings.work.kind(), state);
    }
}
