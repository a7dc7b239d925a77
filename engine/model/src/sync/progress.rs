//! How far a pass is that goes through a whole table, how fast, and when it will be through.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The speed is that of the last half to whole minute: what the target took before says little of what it takes now.
const WINDOW: Duration = Duration::from_secs(30);
/// No speed is told of less than this.
const SPEED_AFTER: Duration = Duration::from_secs(1);
/// A pass that has not moved for so long has no speed: it waits, or nobody works on it.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// How many rows there are to go through, as the source tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Rows.
    pub rows: u64,
    /// Whether they were counted; if not, it is what the database's own statistics say.
    pub counted: bool,
}

/// A place that was reached at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    at: Timestamp,
    rows: u64,
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Rows that were read, and are settled.
    pub rows: u64,
    /// Rows that there are; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// Where the time begins over which the speed is told, and where the next one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<(Mark, Mark)>,
    /// When it last moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved_at: Option<Timestamp>,
}

impl Progress {
    /// Somebody begins to work on it, or goes on: how fast it went before says nothing.
    pub const fn take_up(&mut self, now: Timestamp) {
        let here = Mark { at: now, rows: self.rows };
        self.window = Some((here, here));
        self.moved_at = None;
    }

    /// So many more rows are settled.
    pub fn add(&mut self, rows: u64, now: Timestamp) {
        self.rows += rows;
        self.moved_at = Some(now);
        let here = Mark { at: now, rows: self.rows };
        match &mut self.window {
            Some((before, next)) if now.since(next.at) >= WINDOW => (*before, *next) = (*next, here),
            Some(_) => {}
            None => self.window = Some((here, here)),
        }
    }

    /// Rows a second of late; none where it has not gone on for long enough, or has come to a stop.
    pub fn rows_per_second(&self, now: Timestamp) -> Option<f64> {
        let (before, _) = self.window?;
        let moved_at = self.moved_at.filter(|at| now.since(*at) < STALLED_AFTER)?;
        let (time, rows) = (moved_at.since(before.at), self.rows.saturating_sub(before.rows));
        (time >= SPEED_AFTER && rows > 0).then(|| rows as f64 / time.as_secs_f64())
    }

    /// When it will be through at this speed. None where that cannot be known: there is no speed, the number of rows is not
    /// known, or there are more than was expected.
    pub fn eta(&self, now: Timestamp) -> Option<Timestamp> {
        let left = self.expected?.rows.checked_sub(self.rows)?;
        let speed = self.rows_per_second(now)?;
        let wait = Duration::try_from_secs_f64(left as f64 / speed).ok()?;
        (left > 0).then(|| self.moved_at.unwrap_or(now).after(wait).max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_secs(1_000 + seconds))
    }

    fn expecting(rows: u64) -> Progress {
        let mut progress = Progress { expected: Some(Expected { rows, counted: true }), ..Progress::default() };
        progress.take_up(at(0));
        progress
    }

    #[test]
    fn nothing_is_foretold_before_something_is_known() {
        let mut progress = expecting(1_000);
        assert_eq!((progress.rows_per_second(at(0)), progress.eta(at(5))), (None, None));
        progress.add(10, at(0));
        assert_eq!(progress.rows_per_second(at(0)), None, "no time has passed");
        progress.add(90, at(10));
        assert_eq!(progress.rows_per_second(at(10)), Some(10.0));
        assert_eq!(progress.eta(at(10)), Some(at(100)));
        let unknown = Progress { expected: None, ..progress };
        assert_eq!((unknown.rows_per_second(at(10)), unknown.eta(at(10))), (Some(10.0), None));
    }

    #[test]
    fn the_speed_is_that_of_late() {
        let mut progress = expecting(100_000);
        (1..=100).for_each(|second| progress.add(100, at(second)));
        (101..=200).for_each(|second| progress.add(10, at(second)));
        assert_eq!(progress.rows_per_second(at(200)), Some(10.0));
        assert_eq!(progress.eta(at(200)), Some(at(200 + (100_000 - 11_000) / 10)));
    }

    #[test]
    fn what_stands_still_has_no_end_in_sight_and_begins_anew() {
        let mut progress = expecting(1_000);
        progress.add(100, at(10));
        assert!(progress.eta(at(69)).is_some_and(|eta| eta >= at(69)));
        assert_eq!((progress.rows_per_second(at(70)), progress.eta(at(70))), (None, None), "a minute of nothing");
        progress.take_up(at(1_000));
        assert_eq!(progress.rows_per_second(at(1_000)), None);
        progress.add(100, at(1_005));
        assert_eq!(progress.rows_per_second(at(1_005)), Some(20.0), "the pause does not count");
    }

    #[test]
    fn more_rows_than_expected_have_no_end_that_is_known() {
        let mut progress = expecting(100);
        progress.add(100, at(10));
        assert_eq!(progress.eta(at(10)), None, "it is through, or the estimate was too low");
        progress.add(10, at(11));
        assert_eq!(progress.eta(at(11)), None);
        assert_eq!(progress.rows_per_second(at(11)), Some(10.0));
    }
}
