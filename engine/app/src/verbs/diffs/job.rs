//! A comparison under way or ended: how far it is, and what it found.

use std::sync::{Mutex, MutexGuard, PoisonError};

use engate_model::{DiffId, TenantId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::replay::{Change, Differing};

/// Bytes of differing attempts that one comparison keeps; what is beyond is only counted.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Characters of a value that are kept.
const VALUE_CHARS_MAX: usize = 2_000;
/// Of these, characters before the first that differs.
const CONTEXT_CHARS: usize = 200;
/// What an attempt takes beside its values, about.
const DIFFERING_BYTES: usize = 300;

/// Where a comparison stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiffState {
    /// Under way.
    Running,
    /// All attempts were compared, or as many as were asked for.
    Done,
    /// It could not go on; the message says why.
    Failed,
    /// Someone called it off.
    Cancelled,
}

impl DiffState {
    /// The stable code.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One comparison.
#[derive(Debug)]
pub(crate) struct DiffJob {
    pub(crate) id: DiffId,
    pub(crate) tenant: TenantId,
    /// The plugin's name.
    pub(crate) plugin: String,
    /// The version compared with.
    pub(crate) base: String,
    /// The version that is to take its place.
    pub(crate) candidate: String,
    pub(crate) started_at: Timestamp,
    /// Ends the task that works on it.
    pub(super) cancel: CancellationToken,
    progress: Mutex<DiffProgress>,
}

/// How far it is.
#[derive(Debug, Clone)]
pub(crate) struct DiffProgress {
    pub(crate) state: DiffState,
    /// Deliveries looked at, of any plugin.
    pub(crate) done: u64,
    /// Deliveries of the time asked for.
    pub(crate) total: u64,
    /// Whether `total` is at least that many.
    pub(crate) total_estimated: bool,
    /// Attempts compared.
    pub(crate) attempts: u64,
    /// Attempts in which anything differs.
    pub(crate) differing: u64,
    /// Why it failed.
    pub(crate) message: Option<String>,
    pub(crate) finished_at: Option<Timestamp>,
    /// The first ones that differ.
    pub(crate) kept: Vec<Differing>,
    kept_bytes: usize,
}

impl DiffJob {
    /// One that begins now.
    pub(super) fn new(
        (id, tenant): (DiffId, TenantId),
        plugin: &str,
        versions: [String; 2],
        started_at: Timestamp,
        cancel: CancellationToken,
    ) -> Self {
        let [base, candidate] = versions;
        let progress = DiffProgress {
            state: DiffState::Running,
            done: 0,
            total: 0,
            total_estimated: false,
            attempts: 0,
            differing: 0,
            message: None,
            finished_at: None,
            kept: Vec::new(),
            kept_bytes: 0,
        };
        let plugin = plugin.to_owned();
        Self { id, tenant, plugin, base, candidate, started_at, cancel, progress: Mutex::new(progress) }
    }

    /// How far it is; `read` sees one moment.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&DiffProgress) -> T) -> T {
        read(&self.lock())
    }

    /// Takes note of how many deliveries there are.
    pub(super) fn expect(&self, total: u64, exact: bool) {
        let mut progress = self.lock();
        progress.total = total.max(progress.done);
        progress.total_estimated = !exact;
    }

    /// Takes note of one more delivery and what was found in its attempts; false once `limit` attempts were compared.
    pub(super) fn note(&self, found: Vec<Option<Differing>>, limit: u64) -> bool {
        let mut progress = self.lock();
        progress.done += 1;
        progress.total = progress.total.max(progress.done);
        for one in found {
            if progress.attempts >= limit {
                return false;
            }
            progress.attempts += 1;
            if let Some(differing) = one {
                progress.differing += 1;
                progress.keep(differing);
            }
        }
        progress.attempts < limit
    }

    /// Ends it, unless it has ended.
    pub(super) fn end(&self, state: DiffState, message: Option<String>, now: Timestamp) {
        let mut progress = self.lock();
        if progress.state != DiffState::Running {
            return;
        }
        if state == DiffState::Done {
            (progress.total, progress.total_estimated) = (progress.done, false);
        }
        (progress.state, progress.message, progress.finished_at) = (state, message, Some(now));
        drop(progress);
        self.cancel.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, DiffProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiffProgress {
    fn keep(&mut self, mut differing: Differing) {
        let mut bytes = DIFFERING_BYTES;
        for change in &mut differing.changes {
            cut(change);
            let length = |text: &Option<String>| text.as_deref().map_or(0, str::len);
            bytes += change.what.len() + length(&change.before) + length(&change.after);
        }
        // Once one does not fit none does, so that what is kept has no gaps.
        if self.kept_bytes.saturating_add(bytes) > KEPT_BYTES_MAX {
            self.kept_bytes = KEPT_BYTES_MAX;
            return;
        }
        self.kept_bytes += bytes;
        self.kept.push(differing);
    }
}

/// Cuts long values to what is around the first character that differs.
fn cut(change: &mut Change) {
    let common = match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            before.chars().zip(after.chars()).take_while(|(one, other)| one == other).count()
        }
        _ => 0,
    };
    for value in [&mut change.before, &mut change.after].into_iter().flatten() {
        if value.chars().count() <= VALUE_CHARS_MAX {
            continue;
        }
        let from = common.saturating_sub(CONTEXT_CHARS);
        let part: String = value.chars().skip(from).take(VALUE_CHARS_MAX).collect();
        let begins = if from > 0 { "..." } else { "" };
        let ends = if value.chars().count() > from + VALUE_CHARS_MAX { "..." } else { "" };
        *value = format!("{begins}{part}{ends}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> DiffJob {
        let now = Timestamp::from_millis(1);
        let ids = (DiffId::new(now, 1), TenantId::new(now, 1));
        DiffJob::new(ids, "gsan", ["gsan@1.0.0".into(), "gsan@1.1.0".into()], now, CancellationToken::new())
    }

    fn differing(before: String) -> Option<Differing> {
        let change = Change { what: "request.body".into(), before: Some(before), after: None };
        Some(Differing {
            delivery: "dlv_1".into(),
            attempt: 1,
            event_type: "t".into(),
            plugin: "gsan@1.0.0".into(),
            changes: vec![change],
        })
    }

    #[test]
    fn it_ends_once_and_at_its_limit() {
        let job = job();
        job.expect(10, true);
        assert!(job.note(vec![None, differing("a".into())], 3));
        assert!(!job.note(vec![None, None], 3), "three were asked for");
        job.end(DiffState::Done, None, Timestamp::from_millis(2));
        job.end(DiffState::Failed, Some("late".into()), Timestamp::from_millis(3));
        job.read(|progress| {
            assert_eq!((progress.state, progress.attempts, progress.differing), (DiffState::Done, 3, 1));
            assert_eq!((progress.done, progress.total, progress.total_estimated), (2, 2, false));
            assert_eq!((&progress.message, progress.finished_at), (&None, Some(Timestamp::from_millis(2))));
        });
        assert!(job.cancel.is_cancelled());
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_beyond_is_counted() {
        let job = job();
        let long = "x".repeat(1_000_000);
        for _ in 0..5_000 {
            job.note(vec![differing(long.clone())], u64::MAX);
        }
        job.read(|progress| {
            assert_eq!(progress.differing, 5_000);
            assert!((1_000..2_500).contains(&progress.kept.len()), "{}", progress.kept.len());
            assert!(progress.kept_bytes <= KEPT_BYTES_MAX);
        });
    }

    #[test]
    fn a_long_value_is_cut_to_what_differs() {
        let text = |tail: &str| Some(format!("{}{tail}{}", "é".repeat(10_000), "y".repeat(10_000)));
        let mut change = Change { what: "request.body".into(), before: text("1"), after: text("2") };
        cut(&mut change);
        let (before, after) = (change.before.unwrap(), change.after.unwrap());
        assert!(before.starts_with("...éé") && before.ends_with("y...") && before.contains("é1y"), "{before}");
        assert!(after.contains("é2y") && after.chars().count() < VALUE_CHARS_MAX + 10);
    }
}
