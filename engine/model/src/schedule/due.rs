//! What becomes of instants that have come: which of them run, and which are only counted.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::Timetable;
use crate::time::Timestamp;

/// An instant that is no older than this has come in time, whatever the rule for late ones.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// Missed instants are counted one by one up to this.
const COUNTED_MAX: u64 = 100_000;
/// A node takes up late instants of this at most.
pub const WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);
const WINDOW_DEFAULT_MS: u64 = 24 * 3_600 * 1_000;
const MAX_DEFAULT: u32 = 100;
/// Runs that one stop can bring about at most.
pub const RUNS_MAX: u32 = 1_000;

/// What is done about instants that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchupMode {
    /// The last one runs, unless one in time runs anyway.
    Last,
    /// All of them run, as far as window and number allow; the newest count.
    All,
    /// None runs.
    None,
}

/// The rule for instants that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Catchup {
    /// Which of them run.
    pub mode: CatchupMode,
    /// How old they may be, in milliseconds.
    pub window_ms: u64,
    /// How many at most.
    pub max: u32,
}

impl Default for Catchup {
    fn default() -> Self {
        Self { mode: CatchupMode::Last, window_ms: WINDOW_DEFAULT_MS, max: MAX_DEFAULT }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Instants that run, from the oldest on.
    pub fires: Vec<Timestamp>,
    /// How many do not.
    pub missed: u64,
    /// Whether more than `missed` were; nobody counts on for ever.
    pub missed_more: bool,
    /// The first instant behind `now`.
    pub next_at: Option<Timestamp>,
}

/// What is to be done at `now` by a schedule whose next instant was to be `next_at`.
pub fn due(timetable: &Timetable, catchup: Catchup, next_at: Timestamp, now: Timestamp) -> Due {
    let in_time = now.before(ON_TIME);
    let window = Duration::from_millis(catchup.window_ms).min(WINDOW_MAX);
    let oldest = now.before(window);
    let late_max = match catchup.mode {
        CatchupMode::None => 0,
        CatchupMode::Last => 1,
        CatchupMode::All => usize::try_from(catchup.max).unwrap_or(usize::MAX),
    };
    let mut due = Due { fires: Vec::new(), missed: 0, missed_more: false, next_at: Some(next_at) };
    let mut late = VecDeque::new();
    while let Some(at) = due.next_at.filter(|at| *at <= now) {
        if at >= in_time {
            due.fires.push(at);
        } else if at < oldest || late_max == 0 {
            due.missed += 1;
        } else {
            late.push_back(at);
            if late.len() > late_max {
                late.pop_front();
                due.missed += 1;
            }
        }
        let behind = oldest.min(in_time);
        if due.missed >= COUNTED_MAX && at < behind {
            due.missed_more = true;
            due.next_at = timetable.next(Timestamp::from_micros(behind.as_micros() - 1));
        } else {
            due.next_at = timetable.next(at);
        }
    }
    if catchup.mode == CatchupMode::Last && !due.fires.is_empty() {
        due.missed += late.len() as u64;
        late.clear();
        // What came in time while nobody looked is late all the same: one run stands for all.
        if due.missed > 0 {
            due.missed += due.fires.len() as u64 - 1;
            due.fires = due.fires.split_off(due.fires.len() - 1);
        }
    }
    late.extend(due.fires);
    due.fires = late.into();
    due
}

/// What happens when a run is to begin while another of its job is not over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Overlap {
    /// It is left out; a row says so.
    #[default]
    Skip,
    /// One waits, more are left out.
    BufferOne,
    /// The others are told to stop, and cut off when the time to do so is over.
    CancelOther {
        /// Milliseconds they have to come to a stop.
        #[serde(default = "grace_default")]
        grace_ms: u64,
    },
    /// They run side by side.
    Allow {
        /// At most so many.
        max: u32,
    },
}

const fn grace_default() -> u64 {
    30_000
}

/// Runs of one job side by side at most.
pub const SIDE_BY_SIDE_MAX: u32 = 32;

/// Why a run is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// Another one is not over.
    Overlap,
    /// One waits already.
    BufferFull,
}

impl LeftOut {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::BufferFull => "buffer_full",
        }
    }
}

/// What becomes of a run whose instant has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is queued; it starts while fewer than this many of its job run.
    Queue(u32),
    /// It is queued, those that wait are left out, those that run are told to stop.
    Replace,
    /// It is left out.
    LeaveOut(LeftOut),
}

/// Decides by what the job's other runs do.
pub const fn admit(overlap: Overlap, running: u32, waiting: u32) -> Admission {
    match overlap {
        Overlap::Skip if running + waiting > 0 => Admission::LeaveOut(LeftOut::Overlap),
        Overlap::BufferOne if waiting > 0 => Admission::LeaveOut(LeftOut::BufferFull),
        Overlap::Allow { max } if running + waiting >= max => Admission::LeaveOut(LeftOut::Overlap),
        Overlap::Allow { max } => Admission::Queue(max),
        Overlap::CancelOther { .. } if running + waiting > 0 => Admission::Replace,
        Overlap::Skip | Overlap::BufferOne | Overlap::CancelOther { .. } => Admission::Queue(1),
    }
}

/// How long a run waits beyond its instant, so that many jobs of one minute do not start as one: a number below `jitter`
/// that is the same on every node, since it is hashed from the job and the instant (FNV-1a, 64 bits).
pub fn jitter(job: u128, at: Timestamp, jitter: Duration) -> Duration {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let micros = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
    let bytes = job.to_le_bytes().into_iter().chain(at.as_micros().to_le_bytes());
    let mut hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // Its low bits alone are poor.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    Duration::from_micros(hash.checked_rem(micros).unwrap_or(0))
}
