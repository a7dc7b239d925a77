//! A run: one firing of a job, and what came of it.

use serde::{Deserialize, Serialize};

/// What a run has moved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    /// Records that the target acknowledged, or events that were committed.
    pub rows: u64,
    /// Bytes of bodies before they were packed.
    pub bytes: u64,
    /// Requests that were sent, repeats included.
    pub requests: u64,
    /// Records left out since the target already has them as they are.
    pub unchanged: u64,
    /// Records set aside since the target refuses them.
    pub quarantined: u64,
}

impl RunCounts {
    /// Adds what another part of the run moved.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.unchanged += other.unchanged;
        self.quarantined += other.quarantined;
    }
}

/// Why a run failed: a stable snake_case code, one sentence, and whether trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// A stable label.
    pub code: String,
    /// One sentence for people, without a secret.
    pub message: String,
    /// Whether the same may go well later.
    pub retryable: bool,
}

/// How the work of a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// All that was there is done.
    Idle,
    /// The slice is over and there is more to do at once.
    More,
    /// It was told to stop, and stopped where it can go on.
    Stopped,
    /// It failed; what it committed before stays.
    Failed(RunFailure),
}
