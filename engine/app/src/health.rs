//! Whether the parts of this process still do their work.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use engate_model::Timestamp;

/// A background part that must give a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Renews this node's lease.
    Lease,
    /// Fetches due work.
    Poller,
    /// Has jobs run when their time comes.
    Scheduler,
}

/// Longest silence of a part before it counts as dead.
const SILENCE_MICROS_MAX: i64 = 30_000_000;

/// Signs of life of the background parts.
#[derive(Debug, Default)]
pub(crate) struct Health {
    lease: AtomicI64,
    poller: AtomicI64,
    scheduler: AtomicI64,
    stopping: AtomicBool,
}

impl Health {
    /// `part` is alive at `now`.
    pub(crate) fn alive(&self, part: Part, now: Timestamp) {
        self.beat(part).store(now.as_micros(), Ordering::Relaxed);
    }

    /// Parts that have been silent for too long at `now`.
    pub(crate) fn silent(&self, now: Timestamp) -> Vec<&'static str> {
        let parts = [(Part::Lease, "lease"), (Part::Poller, "poller"), (Part::Scheduler, "scheduler")];
        let silent = |part| now.as_micros() - self.beat(part).load(Ordering::Relaxed) > SILENCE_MICROS_MAX;
        parts.into_iter().filter(|(part, _)| silent(*part)).map(|(_, name)| name).collect()
    }

    /// The engine has been told to stop: it is alive, but wants no more calls.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the engine has been told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn beat(&self, part: Part) -> &AtomicI64 {
        match part {
            Part::Lease => &self.lease,
            Part::Poller => &self.poller,
            Part::Scheduler => &self.scheduler,
        }
    }
}
