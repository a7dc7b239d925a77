//! Where a viewer lives: days as they see them, and times as they read and write them.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use chrono::{DateTime, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;

use crate::time::Timestamp;

/// How far a clock is put forward at most where a day has no midnight.
const GAP_MINUTES_MAX: i64 = 180;
const GAP_STEP_MINUTES: i64 = 15;

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Default for Zone {
    /// Where the product comes from.
    fn default() -> Self {
        Self(Tz::America__Sao_Paulo)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = |_| format!("{name:?} is no time zone; write one such as America/Sao_Paulo or UTC");
        name.parse().map(Self).map_err(unknown)
    }
}

impl From<Tz> for Zone {
    fn from(zone: Tz) -> Self {
        Self(zone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Zone {
    /// The instant at which a day begins here. Some days have no midnight: they begin when the clock was put forward.
    pub fn start_of(self, day: NaiveDate) -> Timestamp {
        let midnight = day.and_time(NaiveTime::MIN);
        let steps = (0..=GAP_MINUTES_MAX / GAP_STEP_MINUTES)
            .map(|n| midnight + chrono::Duration::minutes(n * GAP_STEP_MINUTES));
        let begun = steps.filter_map(|at| self.0.from_local_datetime(&at).earliest()).next();
        begun.map_or_else(|| midnight.and_utc().into(), |at| at.with_timezone(&Utc).into())
    }

    /// From the beginning of `first` to the beginning of the day behind `last`.
    fn days(self, first: NaiveDate, behind: Option<NaiveDate>) -> Option<(Timestamp, Timestamp)> {
        Some((self.start_of(first), self.start_of(behind?)))
    }

    /// The day's first instant and the first of the next.
    pub fn day(self, day: NaiveDate) -> Option<(Timestamp, Timestamp)> {
        self.days(day, day.checked_add_days(Days::new(1)))
    }

    /// The date and time that a clock shows here.
    pub fn local(self, at: Timestamp) -> Option<NaiveDateTime> {
        DateTime::<Utc>::from_timestamp_micros(at.as_micros()).map(|at| at.with_timezone(&self.0).naive_local())
    }

    /// What a word that looks like a date means here: `21/11/2026`, `2026-11-21`, `11/2026`, `2026-11`, and `21/11` in
    /// each of `years`.
    pub fn meant_by(self, word: &str, years: RangeInclusive<i32>) -> Vec<(Timestamp, Timestamp)> {
        let number = |text: &str, digits: RangeInclusive<usize>| {
            let fits = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let (small, year) =
            (|text| number(text, 1..=2), |text| number(text, 4..=4).and_then(|y| i32::try_from(y).ok()));
        let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).and_then(|day| self.day(day));
        let month = |year, month| {
            let first = NaiveDate::from_ymd_opt(year, month, 1)?;
            self.days(first, first.checked_add_months(Months::new(1)))
        };
        let slashed: Vec<&str> = word.split('/').collect();
        let dashed: Vec<&str> = word.split('-').collect();
        let one = match (slashed.as_slice(), dashed.as_slice()) {
            ([d, m, y], _) => small(d).zip(small(m)).zip(year(y)).and_then(|((d, m), y)| day(y, m, d)),
            ([m, y], _) if year(y).is_some() => small(m).zip(year(y)).and_then(|(m, y)| month(y, m)),
            ([d, m], _) => {
                let Some((d, m)) = small(d).zip(small(m)) else { return Vec::new() };
                return years.filter_map(|y| day(y, m, d)).collect();
            }
            (_, [y, m, d]) => year(y).zip(small(m)).zip(small(d)).and_then(|((y, m), d)| day(y, m, d)),
            (_, [y, m]) => year(y).zip(small(m)).and_then(|(y, m)| month(y, m)),
            _ => None,
        };
        one.into_iter().collect()
    }

    /// Reads the ends of a range as people give them: a day alone means all of it, here; a time means as much as is
    /// written of it. Gives the first instant and the first one behind.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn moment(self, text: &str) -> Result<(Timestamp, Timestamp), String> {
        if let Ok(day) = text.parse::<NaiveDate>() {
            return self.day(day).ok_or_else(|| "is beyond the calendar".to_owned());
        }
        let wrong = |_| "must be a day such as 2026-01-31 or an RFC 3339 time such as 2026-01-31T12:00:00Z".to_owned();
        let at = Timestamp::parse(text).map_err(wrong)?;
        let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        let written = match digits {
            0 => Duration::from_secs(1),
            1..=3 => Duration::from_millis(1),
            _ => Duration::from_micros(1),
        };
        Ok((at, at.after(written)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn v20_a_day_is_the_viewers_day() {
        let zone = Zone::default();
        assert_eq!(zone.moment("2026-11-21"), Ok((at("2026-11-21T03:00:00Z"), at("2026-11-22T03:00:00Z"))));
        let utc: Zone = "UTC".parse().unwrap();
        assert_eq!(utc.moment("2026-11-21"), Ok((at("2026-11-21T00:00:00Z"), at("2026-11-22T00:00:00Z"))));
        assert_eq!(zone.moment("2026-11-21T10:00:00.5Z").unwrap().1, at("2026-11-21T10:00:00.501Z"));
        assert_eq!(zone.moment("2026-11-21T10:00:00-03:00").unwrap().1, at("2026-11-21T13:00:01Z"));
        for wrong in ["21/11/2026", "2026-02-30", "now", ""] {
            assert!(zone.moment(wrong).is_err(), "{wrong}");
        }
        assert!("Brazil".parse::<Zone>().is_err());
    }

    #[test]
    fn a_day_without_midnight_begins_when_the_clock_was_put_forward() {
        let day = NaiveDate::from_ymd_opt(2018, 11, 4).unwrap();
        assert_eq!(Zone::default().start_of(day), at("2018-11-04T03:00:00Z"));
    }

    #[test]
    fn v27_words_that_look_like_dates() {
        let zone = Zone::default();
        let day = vec![(at("2026-11-21T03:00:00Z"), at("2026-11-22T03:00:00Z"))];
        for word in ["21/11/2026", "2026-11-21"] {
            assert_eq!(zone.meant_by(word, 2026..=2026), day, "{word}");
        }
        assert_eq!(zone.meant_by("21/11", 2026..=2026), day);
        assert_eq!(zone.meant_by("21/11", 2020..=2026).len(), 7);
        assert_eq!(zone.meant_by("29/2", 2023..=2026).len(), 1, "of the years that have it");
        for word in ["11/2026", "2026-11"] {
            assert_eq!(zone.meant_by(word, 2026..=2026), [(at("2026-11-01T03:00:00Z"), at("2026-12-01T03:00:00Z"))]);
        }
        for word in ["", "21", "a/b", "21/11/26", "1/2/3/4", "99/99", "01400-2", "+1/2"] {
            assert_eq!(zone.meant_by(word, 2026..=2026), [], "{word}");
        }
    }
}
