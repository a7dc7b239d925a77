//! From a wall clock to instants: what becomes of times that a zone skips, and of those it has twice.
//!
//! A zone is a row of *segments*, each with one offset. Within one the wall clock runs evenly, and every rule about
//! clock changes is a rule about a segment's two ends. Instants here are whole seconds since the Unix epoch.

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::fields::Fields;

const DAY_S: i64 = 86_400;
/// No zone ever changed its clock by more: whole days were left out and had twice at the date line.
const CHANGE_MAX_S: i64 = 25 * 3_600;
/// A clock change is looked for in steps of this.
const LOOK_S: i64 = DAY_S;

/// What becomes of a time that does not exist on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// One run at the first instant behind the gap, however many times it swallows.
    RunAfter,
    /// No run.
    Skip,
}

/// What becomes of a time that the wall clock shows twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// It runs the first time.
    First,
    /// It runs the second time.
    Last,
    /// It runs both times.
    Both,
}

/// Both rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) gap: Gap,
    pub(super) fold: Fold,
}

/// What is special about a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockNote {
    /// Its time was skipped by the clock; it runs at the first instant behind.
    AfterGap,
    /// Its time comes twice; this is the first.
    FirstPass,
    /// Its time comes twice; this is the second.
    SecondPass,
}

/// The offset from UTC in seconds, in force at `at`.
pub(super) fn offset_at(zone: Tz, at: i64) -> Option<i64> {
    let naive = DateTime::from_timestamp(at, 0)?.naive_utc();
    Some(i64::from(zone.offset_from_utc_datetime(&naive).fix().local_minus_utc()))
}

/// The first instant in `(after, until]` at which another offset comes into force.
fn change_within(zone: Tz, after: i64, until: i64) -> Option<i64> {
    let offset = offset_at(zone, after)?;
    let mut low = after;
    while low < until {
        let high = (low + LOOK_S).min(until);
        if offset_at(zone, high)? != offset {
            return bisect(zone, low, high, offset);
        }
        low = high;
    }
    None
}

fn bisect(zone: Tz, mut low: i64, mut high: i64, offset: i64) -> Option<i64> {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if offset_at(zone, middle)? == offset {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// Where a segment begins, and what the clock showed just before.
#[derive(Clone, Copy)]
struct Entry {
    at: i64,
    offset_before: i64,
}

/// The first fire behind `after` and up to `until`.
pub(super) fn next(fields: &Fields, zone: Tz, rules: Rules, after: i64, until: i64) -> Option<i64> {
    // Far enough back that a change whose second pass still goes on is seen.
    let mut begin = after - 2 * CHANGE_MAX_S;
    let mut entry: Option<Entry> = None;
    loop {
        let offset = offset_at(zone, begin)?;
        if let Some(entered) = entry.filter(|entered| entered.at > after && rules.gap == Gap::RunAfter)
            && offset > entered.offset_before
            && entered.at <= until
        {
            let swallowed = fields.first_from(naive(entered.at + entered.offset_before)?);
            if swallowed.is_some_and(|at| seconds(at) < entered.at + offset) {
                return Some(entered.at);
            }
        }
        // The second pass, left out where only the first counts.
        let repeated = entry.filter(|e| offset < e.offset_before && rules.fold == Fold::First);
        let from = repeated.map_or(begin + offset, |e| e.at + e.offset_before).max(after + 1 + offset);
        let found = fields.first_from(naive(from)?).map(|at| seconds(at) - offset);
        let look_until = found.unwrap_or(until).min(until).max(begin);
        let change = change_within(zone, begin, look_until.saturating_add(CHANGE_MAX_S));
        match (found, change) {
            (found, None) => return found.filter(|at| *at <= until),
            (found, Some(end)) => {
                let next_offset = offset_at(zone, end)?;
                // The first pass, left out where only the second counts.
                let repeats_from = if rules.fold == Fold::Last { end - (offset - next_offset).max(0) } else { end };
                if let Some(at) = found.filter(|at| *at < repeats_from) {
                    return Some(at).filter(|at| *at <= until);
                }
                if end > until {
                    return None;
                }
                entry = Some(Entry { at: end, offset_before: offset });
                begin = end;
            }
        }
    }
}

/// What is special about a fire at `at`, given the rules it came by.
pub(super) fn note(fields: &Fields, zone: Tz, at: i64) -> Option<ClockNote> {
    let offset = offset_at(zone, at)?;
    let local = at + offset;
    let before = offset_at(zone, at - 1)?;
    if before < offset && fields.first_from(naive(local)?) != naive(local) {
        return Some(ClockNote::AfterGap);
    }
    match zone.offset_from_local_datetime(&naive(local)?) {
        chrono::LocalResult::Ambiguous(first, _) => Some(if i64::from(first.fix().local_minus_utc()) == offset {
            ClockNote::FirstPass
        } else {
            ClockNote::SecondPass
        }),
        _ => None,
    }
}

/// A wall clock's time as seconds, as if it were UTC.
fn seconds(at: NaiveDateTime) -> i64 {
    at.and_utc().timestamp()
}

pub(super) fn naive(seconds: i64) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp(seconds, 0)?.naive_utc())
}
