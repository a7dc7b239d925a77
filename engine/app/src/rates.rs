//! How often each of many callers called lately on this node.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use engate_model::{
    Timestamp,
    rate::{Bucket, RateLimit},
};

/// Buckets kept; beyond it those are dropped that are full, and so no different from new ones.
const BUCKETS_MAX: usize = 1_024;

/// A bucket for each caller.
#[derive(Debug)]
pub(crate) struct Rates<K>(Mutex<HashMap<K, Bucket>>);

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// What a caller has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// By which limit.
    pub(crate) limit: RateLimit,
    /// Calls that may come at once.
    pub(crate) remaining: u32,
    /// How long until it is whole again.
    pub(crate) reset: Duration,
    /// Set where this call was one too many: how long to wait.
    pub(crate) wait: Option<Duration>,
}

impl<K: Eq + Hash> Rates<K> {
    /// Counts a call.
    pub(crate) fn take(&self, caller: K, limit: RateLimit, now: Timestamp) -> Allowance {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&caller) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = buckets.entry(caller).or_insert_with(|| Bucket::full(now));
        let wait = bucket.take(limit, now).err();
        let (remaining, reset) = bucket.left(limit, now);
        Allowance { limit, remaining, reset, wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_rate_of_its_own() {
        let (rates, limit) = (Rates::default(), RateLimit { per_second: 1, burst: 1 });
        let now = Timestamp::from_millis(1_000);
        let wait = |caller: &str, now| rates.take(caller.to_owned(), limit, now).wait;
        assert_eq!((wait("a", now), wait("b", now)), (None, None));
        assert_eq!(wait("a", now), Some(Duration::from_secs(1)));
        for n in 0..2 * BUCKETS_MAX {
            let later = now.after(Duration::from_secs(2 + n as u64));
            assert_eq!(wait(&n.to_string(), later), None);
        }
        assert!(rates.0.lock().unwrap().len() <= BUCKETS_MAX + 1);
    }

    #[test]
    fn what_is_left_is_told_with_each_call() {
        let (rates, limit) = (Rates::default(), RateLimit { per_second: 10, burst: 2 });
        let now = Timestamp::from_millis(1_000);
        let left = || {
            let Allowance { remaining, wait, .. } = rates.take(7, limit, now);
            (remaining, wait)
        };
        assert_eq!([left(), left()], [(1, None), (0, None)]);
        assert_eq!(left(), (0, Some(Duration::from_millis(100))));
    }
}
