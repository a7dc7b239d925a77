//! Which range of stamps a pass covers; all of it on the source's clock.

use std::time::Duration;

use super::{job::SyncJob, planted::Planted};
use crate::time::Timestamp;

/// What a job sets of its passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How far behind the source's clock the committed range ends.
    pub safety_lag: Duration,
    /// How far back each pass reads again.
    pub lookback: Duration,
    /// A mistake made on purpose; tests only.
    #[doc(hidden)]
    pub planted: Option<Planted>,
}

impl Rules {
    /// Those of a job.
    pub const fn of(job: &SyncJob) -> Self {
        Self { safety_lag: job.safety_lag(), lookback: job.lookback(), planted: None }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { safety_lag: Duration::from_secs(5), lookback: Duration::from_secs(600), planted: None }
    }
}

/// The range of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Stamps from here on are read.
    pub lower: Timestamp,
    /// What counts as covered once the pass is over.
    pub upper: Timestamp,
    /// Stamps up to here are read. What lies between `upper` and here is sent early and read again by later passes.
    pub reach: Timestamp,
}

/// The range of the next delta, when the source's clock says `now`.
///
/// The lower bound goes by the smaller of both ends: a source whose clock was set back is read from before that.
pub fn delta(committed: Option<Timestamp>, now: Timestamp, rules: &Rules) -> Window {
    let upper = now.before(rules.safety_lag);
    let from = committed.map_or(upper, |committed| committed.min(upper));
    let lookback = if rules.planted == Some(Planted::NoLookback) { Duration::ZERO } else { rules.lookback };
    let lower = if committed.is_none() { Timestamp::from_micros(i64::MIN) } else { from.before(lookback) };
    let reach = if rules.planted == Some(Planted::TwelveHours) { twelve_hours(now) } else { now };
    Window { lower, upper, reach }
}

/// Rows whose stamp lies before this are not read again once `upper` is committed.
pub fn settled_before(upper: Timestamp, rules: &Rules) -> Timestamp {
    upper.before(rules.lookback)
}

/// What a clock of twelve hours that shows no seconds makes of an instant.
fn twelve_hours(at: Timestamp) -> Timestamp {
    const MINUTE: i64 = 60_000_000;
    const DAY: i64 = 24 * 60 * MINUTE;
    let (day, within) = (at.as_micros().div_euclid(DAY), at.as_micros().rem_euclid(DAY));
    Timestamp::from_micros(day * DAY + (within % (DAY / 2)) / MINUTE * MINUTE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_window_reaches_back_and_ends_behind_the_clock() {
        let rules = Rules::default();
        let window = delta(Some(at(10_000)), at(10_060), &rules);
        assert_eq!(window, Window { lower: at(9_400), upper: at(10_055), reach: at(10_060) });
        // Set back by five minutes: the range begins ten minutes before where the clock is now.
        let back = delta(Some(at(10_000)), at(9_705), &rules);
        assert_eq!(back, Window { lower: at(9_100), upper: at(9_700), reach: at(9_705) });
    }

    proptest! {
        /// Whatever the clock does, as long as each step back is shorter than the look back, what is stamped within the
        /// lag before a pass's end lies in the next pass's range.
        #[test]
        fn what_one_pass_may_miss_the_next_one_reads(
            start in 1_000_000_i64..2_000_000,
            steps in prop::collection::vec(-500_i64..5_000, 1..40),
            late in 0_i64..95,
        ) {
            let rules = Rules::default();
            let mut now = start;
            let mut committed = Some(at(now));
            for step in steps {
                now += step;
                let window = delta(committed, at(now), &rules);
                let before = committed.unwrap();
                // Of a transaction that is open for up to 95 s, committed after the pass before read its range.
                prop_assert!(window.lower <= before.before(Duration::from_secs(late.unsigned_abs())));
                prop_assert!(window.lower < window.upper && window.upper < window.reach);
                committed = Some(window.upper);
            }
        }
    }
}
