//! When to try again: the schedule of waits, their jitter, and what a partner asks for with `Retry-After`.

use std::time::Duration;

use chrono::DateTime;

use crate::time::Timestamp;

/// Tries one delivery may have at most.
pub const TRIES_MAX: usize = 50;
/// Longest wait between two tries, `Retry-After` and a plugin's wish included.
pub const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How far jitter moves a wait, as a fraction of it, either way.
pub const JITTER: f64 = 0.1;

/// The wait before each try, the first one's included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    waits: Vec<Duration>,
}

impl Default for RetryPolicy {
    /// 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
    fn default() -> Self {
        const SECONDS: [u64; 10] = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        Self { waits: SECONDS.map(Duration::from_secs).to_vec() }
    }
}

impl RetryPolicy {
    /// A schedule of waits in milliseconds, 1 to [`TRIES_MAX`] of them, none over [`WAIT_MAX`].
    ///
    /// # Errors
    /// A sentence for people that says what to write.
    pub fn new(schedule_ms: &[u64]) -> Result<Self, String> {
        if schedule_ms.is_empty() || schedule_ms.len() > TRIES_MAX {
            return Err(format!("must hold 1 to {TRIES_MAX} waits, the first try's (usually 0) included"));
        }
        let waits: Vec<_> = schedule_ms.iter().copied().map(Duration::from_millis).collect();
        if waits.iter().any(|wait| *wait > WAIT_MAX) {
            return Err(format!("no wait may be over {} ms (7 days)", WAIT_MAX.as_millis()));
        }
        Ok(Self { waits })
    }

    /// One try at once, and none after it.
    pub fn once() -> Self {
        Self { waits: vec![Duration::ZERO] }
    }

    /// The waits in milliseconds.
    pub fn schedule_ms(&self) -> Vec<u64> {
        self.waits.iter().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).collect()
    }

    /// The wait before the first try.
    pub fn first_wait(&self) -> Duration {
        self.waits.first().copied().unwrap_or_default()
    }

    /// The wait after `tries` tries were made; none when that was the last.
    pub fn wait_after(&self, tries: u32) -> Option<Duration> {
        self.waits.get(usize::try_from(tries).ok()?).copied()
    }
}

/// `wait` moved by at most [`JITTER`]; `chance` is uniform in 0..1.
pub fn jittered(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0))
}

/// `wait` lengthened by at most [`JITTER`]: a partner's wish is never undercut.
pub fn at_least(wait: Duration, chance: f64) -> Duration {
    wait.min(WAIT_MAX).mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0))
}

/// Reads a `Retry-After` value, seconds or an HTTP date (RFC 9110, 10.2.3), as a wait from `now`.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(value.parse().map_or(WAIT_MAX, Duration::from_secs).min(WAIT_MAX));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some(Timestamp::from_micros(at.timestamp_micros()).since(now).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schedule_has_ten_tries_over_three_days_and_a_half() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.first_wait(), Duration::ZERO);
        assert_eq!(policy.wait_after(1), Some(Duration::from_secs(5)));
        assert_eq!(policy.wait_after(9), Some(Duration::from_secs(86_400)));
        assert_eq!(policy.wait_after(10), None);
    }

    #[test]
    fn a_schedule_out_of_bounds_is_refused_with_the_cure() {
        assert!(RetryPolicy::new(&[]).unwrap_err().contains("1 to 50"));
        assert!(RetryPolicy::new(&[0; 51]).is_err());
        assert!(RetryPolicy::new(&[u64::MAX]).unwrap_err().contains("7 days"));
        assert_eq!(RetryPolicy::new(&[0, 10]).unwrap().schedule_ms(), [0, 10]);
    }

    #[test]
    fn retry_after_reads_seconds_and_dates_and_is_clamped() {
        let now = Timestamp::parse("2015-10-21T07:28:00Z").unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999999999999999", now), Some(WAIT_MAX));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("", now), None);
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_never_undercuts_a_wish() {
        let wait = Duration::from_secs(100);
        assert_eq!(jittered(wait, 0.0), Duration::from_secs(90));
        assert_eq!(jittered(wait, 1.0), Duration::from_secs(110));
        assert_eq!(at_least(wait, 0.0), wait);
        assert!(at_least(WAIT_MAX * 9, 1.0) <= WAIT_MAX.mul_f64(1.1));
    }
}
