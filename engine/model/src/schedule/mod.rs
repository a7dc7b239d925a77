//! When a job runs.
//!
//! A [`Schedule`] is what an operator writes; a [`Timetable`] is the same, read and checked, and answers one question:
//! which instant comes next. It is a pure function of the schedule and an instant, so every node gives the same answer,
//! and a run's nominal time can serve as its identity.
//!
//! Cron expressions are walked on a naive wall clock (`fields`); zones and clock changes are decided in `zoned`. What
//! happens when an instant has come is `due`'s matter.

pub mod due;
mod excluded;
mod fields;
mod zoned;

use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    invalid::{Complaints, Invalid},
    time::Timestamp,
};
use excluded::Excluded;
use fields::Fields;
use zoned::Rules;
pub use zoned::{ClockNote, Fold, Gap};

/// A schedule that does not come within this is refused: 29 February comes every eight years at the latest.
const HORIZON_S: i64 = 8 * 366 * 86_400;
/// At most one run a second.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 86_400);
const MICROS: i64 = 1_000_000;

/// What an operator writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// At the times of an expression, in a zone.
    Cron(CronSchedule),
    /// At the instants `epoch + n * interval + phase`.
    Every {
        /// Milliseconds between two runs, at least 1,000.
        interval_ms: u64,
        /// Milliseconds that all of them are shifted by, less than the interval.
        #[serde(default, skip_serializing_if = "is_zero")]
        phase_ms: u64,
    },
    /// Again as soon as it is done, with a pause while there is nothing to do.
    Always,
    /// Only when someone asks for it.
    Manual,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A cron expression and all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronSchedule {
    /// Five fields, or six with seconds in front.
    pub expression: String,
    /// A name of the IANA database.
    #[serde(default = "default_zone")]
    pub timezone: String,
    /// What becomes of times that the clock skips or shows twice; by default as the hour field says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst: Option<Dst>,
    /// Days without a run: `2026-12-25`, `12-25` of every year, `2026-12-24/2027-01-02`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Nothing runs before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Nothing runs from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
}

fn default_zone() -> String {
    Tz::America__Sao_Paulo.name().to_owned()
}

/// The rules for clock changes, where the usual ones do not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dst {
    /// For times that are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// For times that come twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<Fold>,
}

/// A schedule, read and checked.
#[derive(Debug, Clone)]
pub struct Timetable(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Cron(Box<Cron>),
    Every { interval: i64, phase: i64 },
    Always,
    Manual,
}

#[derive(Debug, Clone)]
struct Cron {
    fields: Fields,
    zone: Tz,
    rules: Rules,
    excluded: Excluded,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Timetable {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Names each field that is wrong, with what may stand there.
    pub fn new(schedule: &Schedule) -> Result<Self, Invalid> {
        Ok(Self(match schedule {
            Schedule::Cron(written) => Kind::Cron(Box::new(Cron::new(written)?)),
            Schedule::Every { interval_ms, phase_ms } => every(*interval_ms, *phase_ms)?,
            Schedule::Always => Kind::Always,
            Schedule::Manual => Kind::Manual,
        }))
    }

    /// Whether it has instants of its own (`cron`, `every`).
    pub const fn is_timed(&self) -> bool {
        matches!(self.0, Kind::Cron(_) | Kind::Every { .. })
    }

    /// Whether it runs without a pause (`always`).
    pub const fn is_always(&self) -> bool {
        matches!(self.0, Kind::Always)
    }

    /// The first instant behind `after` that comes within eight years; none for `always` and `manual`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron(cron) => cron.next(after, HORIZON_S),
            Kind::Every { interval, phase } => {
                let turns = (after.as_micros() - phase).div_euclid(*interval) + 1;
                Some(Timestamp::from_micros(turns * interval + phase))
            }
            Kind::Always | Kind::Manual => None,
        }
    }

    /// What the wall clock of its zone shows at `at`, RFC 3339 without an offset, and the offset in seconds.
    pub fn local(&self, at: Timestamp) -> Option<(String, i64)> {
        let zone = match &self.0 {
            Kind::Cron(cron) => cron.zone,
            Kind::Every { .. } => Tz::UTC,
            Kind::Always | Kind::Manual => return None,
        };
        let offset = zoned::offset_at(zone, at.as_secs())?;
        Some((zoned::naive(at.as_secs() + offset)?.format("%Y-%m-%dT%H:%M:%S").to_string(), offset))
    }

    /// What a clock change has to do with the fire at `at`.
    pub fn note(&self, at: Timestamp) -> Option<ClockNote> {
        match &self.0 {
            Kind::Cron(cron) => zoned::note(&cron.fields, cron.zone, at.as_secs()),
            _ => None,
        }
    }
}

fn every(interval_ms: u64, phase_ms: u64) -> Result<Kind, Invalid> {
    let mut complaints = Complaints::default();
    let interval = Duration::from_millis(interval_ms);
    if interval < INTERVAL_MIN || interval > INTERVAL_MAX {
        let (least, most) = (INTERVAL_MIN.as_millis(), INTERVAL_MAX.as_millis());
        complaints
            .add("interval_ms", format!("must be {least} to {most}: at most one run a second, one a year at least"));
    }
    if phase_ms >= interval_ms {
        complaints.add("phase_ms", "must be less than `interval_ms`, by which it shifts all instants");
    }
    let micros = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX / MICROS).saturating_mul(1_000);
    complaints.finish(Kind::Every { interval: micros(interval_ms).max(1), phase: micros(phase_ms) })
}

impl Cron {
    fn new(written: &CronSchedule) -> Result<Self, Invalid> {
        let mut complaints = Complaints::default();
        let named = |field: &'static str| move |message| Invalid::field(field, message);
        let fields = complaints.take(Fields::parse(&written.expression).map_err(named("expression")));
        let unknown = |_| {
            let name = &written.timezone;
            Invalid::field("timezone", format!("{name:?} is no time zone; write one such as America/Sao_Paulo or UTC"))
        };
        let zone = complaints.take(written.timezone.parse::<Tz>().map_err(unknown));
        let excluded = complaints.take(Excluded::parse(&written.exclude));
        if let (Some(start), Some(end)) = (written.start, written.end)
            && end <= start
        {
            complaints.add("end", "must be later than `start`");
        }
        let (Some(fields), Some(zone), Some(excluded)) = (fields, zone, excluded) else {
            return Err(complaints.finish(()).err().unwrap_or_else(|| Invalid(Vec::new())));
        };
        let usual = if fields.is_floating() {
            Rules { gap: Gap::Skip, fold: Fold::Both }
        } else {
            Rules { gap: Gap::RunAfter, fold: Fold::First }
        };
        let dst = written.dst.unwrap_or_default();
        let rules = Rules { gap: dst.gap.unwrap_or(usual.gap), fold: dst.fold.unwrap_or(usual.fold) };
        complaints.finish(Self { fields, zone, rules, excluded, start: written.start, end: written.end })
    }

    fn next(&self, after: Timestamp, horizon_s: i64) -> Option<Timestamp> {
        let start = self.start.map_or(i64::MIN, |start| (start.as_micros() - 1).div_euclid(MICROS));
        let mut after_s = after.as_secs().max(start);
        let until = after_s.saturating_add(horizon_s);
        loop {
            let at = zoned::next(&self.fields, self.zone, self.rules, after_s, until)?;
            if self.end.is_some_and(|end| at.saturating_mul(MICROS) >= end.as_micros()) {
                return None;
            }
            let local = zoned::naive(at + zoned::offset_at(self.zone, at)?)?;
            let Some(free_from) = self.excluded.free_after(local.date()) else {
                return Some(Timestamp::from_micros(at * MICROS));
            };
            let begin = crate::zone::Zone::from(self.zone).start_of(free_from);
            // Behind the excluded days, the day's first instant included.
            after_s = begin.as_secs().saturating_sub(1).max(at);
            if after_s >= until {
                return None;
            }
        }
    }
}

/// Reads a schedule that is to be stored: checked as [`Timetable::new`] does, and it has to come some time.
///
/// # Errors
/// As [`Timetable::new`], and where nothing comes within eight years of `now` (or of its start).
pub fn check(schedule: &Schedule, now: Timestamp) -> Result<Timetable, Invalid> {
    let timetable = Timetable::new(schedule)?;
    if timetable.is_timed() && timetable.next(now).is_none() {
        let ended = matches!(schedule, Schedule::Cron(cron) if cron.end.is_some_and(|end| end <= now));
        let (field, message) = if ended {
            ("end", "is over; move it to the future or leave it out")
        } else {
            ("expression", "does not come within eight years; look at its day and month, at `exclude` and at `end`")
        };
        return Err(Invalid::field(field, message));
    }
    Ok(timetable)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
