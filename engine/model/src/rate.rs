//! How often something may happen: a bucket of tokens that fills at a steady rate. Each thing that happens takes
//! one; an empty bucket says how long to wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Highest rate and burst that can be set.
pub const RATE_CEILING: u32 = 10_000;
/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// How often, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Tokens that come in a second; at least 1.
    pub per_second: u32,
    /// Tokens that the bucket holds; at least 1.
    pub burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_second: 20, burst: 40 }
    }
}

/// A bucket. It is kept in time, not in tokens: it knows when it would be full, and each token taken puts that off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    /// A full one.
    pub const fn full(now: Timestamp) -> Self {
        Self { full_at: now }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none: how long until there is one. Nothing was taken.
    pub fn take(&mut self, limit: RateLimit, now: Timestamp) -> Result<(), Duration> {
        let token = Duration::from_micros(SECOND_US.div_ceil(u64::from(limit.per_second.max(1))));
        let whole = token * limit.burst.max(1);
        // A clock that was set back, or a smaller bucket than before, must not shut it for longer than it takes to fill.
        self.full_at = self.full_at.min(now.after(whole));
        let full_at = self.full_at.max(now).after(token);
        let wait = full_at.since(now.after(whole));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Tokens in it, and how long until it is full.
    pub fn left(&self, limit: RateLimit, now: Timestamp) -> (u32, Duration) {
        let token = Duration::from_micros(SECOND_US.div_ceil(u64::from(limit.per_second.max(1))));
        let burst = limit.burst.max(1);
        let missing = self.full_at.since(now).min(token * burst);
        let taken = missing.as_micros().div_ceil(token.as_micros().max(1));
        (burst.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)), missing)
    }

    /// Whether it is full, so that a new one would be no different.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { per_second: 10, burst: 3 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_at_a_time() {
        let mut bucket = Bucket::full(at(0));
        assert_eq!([(); 3].map(|()| bucket.take(LIMIT, at(0))), [Ok(()); 3]);
        assert_eq!(bucket.take(LIMIT, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(LIMIT, at(40)), Err(Duration::from_millis(60)), "what is refused takes nothing");
        assert_eq!(bucket.take(LIMIT, at(100)), Ok(()));
        assert_eq!(bucket.take(LIMIT, at(100)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn what_is_left_is_told() {
        let mut bucket = Bucket::full(at(0));
        assert_eq!(bucket.left(LIMIT, at(0)), (3, Duration::ZERO));
        assert_eq!(bucket.take(LIMIT, at(0)), Ok(()));
        assert_eq!(bucket.left(LIMIT, at(0)), (2, Duration::from_millis(100)));
        assert_eq!(bucket.left(LIMIT, at(50)), (2, Duration::from_millis(50)));
        assert_eq!([(); 2].map(|()| bucket.take(LIMIT, at(50))), [Ok(()); 2]);
        assert_eq!(bucket.left(LIMIT, at(50)).0, 0);
    }

    #[test]
    fn what_was_not_used_is_kept_up_to_the_burst() {
        let mut bucket = Bucket::full(at(0));
        assert_eq!(bucket.take(LIMIT, at(0)), Ok(()));
        assert!(!bucket.is_full(at(99)) && bucket.is_full(at(100)));
        let taken = (0..100).filter(|_| bucket.take(LIMIT, at(3_600_000)).is_ok()).count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn over_a_long_time_the_rate_holds() {
        let mut bucket = Bucket::full(at(0));
        let taken = (0..10_000).filter(|ms| bucket.take(LIMIT, at(*ms)).is_ok()).count();
        assert_eq!(taken, 3 + 99, "the burst, and ten a second");
    }

    #[test]
    fn a_clock_that_goes_back_shuts_it_no_longer_than_it_takes_to_fill() {
        let mut bucket = Bucket::full(at(3_600_000));
        assert_eq!(bucket.take(LIMIT, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(LIMIT, at(100)), Ok(()));
        let smaller = RateLimit { per_second: 10, burst: 1 };
        assert_eq!(bucket.take(smaller, at(100)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(smaller, at(200)), Ok(()));
    }

    #[test]
    fn a_limit_of_nothing_counts_as_one() {
        let mut bucket = Bucket::full(at(0));
        let nothing = RateLimit { per_second: 0, burst: 0 };
        assert_eq!(bucket.take(nothing, at(0)), Ok(()));
        assert_eq!(bucket.take(nothing, at(0)), Err(Duration::from_secs(1)));
    }
}
