//! Has jobs run when their time comes.
//!
//! Who acts here: `ticker` looks at the store for jobs whose instant has come, makes their runs and takes up those that
//! may start; `held` is one run in this node's hands: it keeps the lease, hears of stops, tries again, and writes down
//! how the run ended; `work` does the one thing that the job runs. What none of them does: decide which instants run
//! (that is the model's) or who has a run (that is the store's).

pub(crate) mod debug;
mod held;
mod poll;
mod ticker;
mod work;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engate_model::{JobId, RunId};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub(crate) use held::HeldRun;

/// Runs that one node carries out at once.
pub(crate) const RUNS_AT_ONCE_MAX: usize = 64;
/// How long runs have to come to a stop when the engine stops.
const DRAIN: Duration = Duration::from_secs(20);

/// The runs in this node's hands.
#[derive(Default)]
pub(crate) struct Scheduler {
    held: Mutex<HashMap<RunId, Arc<HeldRun>>>,
    tasks: TaskTracker,
    /// Wakes the ticker before its time.
    wake: Notify,
    stopping: AtomicBool,
}

impl Scheduler {
    /// A job was made, changed, or asked to run: look now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Has the runs of a job that this node holds look at it again: whether they are to stop, or whether there is work.
    pub(crate) fn poke(&self, job: JobId) {
        for held in self.runs().values().filter(|held| held.job.id == job) {
            held.poke();
        }
        self.wake();
    }

    /// Tells all runs that the engine stops.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for held in self.runs().values() {
            held.stop_for_shutdown();
        }
        self.wake();
    }

    /// Waits until the runs have come to a stop; those that do not are taken over when their lease ends.
    pub(crate) async fn settle(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("runs were still under way at the end of the drain; another start takes them up");
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn room(&self) -> u32 {
        u32::try_from(RUNS_AT_ONCE_MAX.saturating_sub(self.runs().len())).unwrap_or_default()
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<HeldRun>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
