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
    /// each of `years`. A day with the time behind it, as listings show it (`21/11/2026 10:11:12`, `21/11 10:11`), is that
    /// second or minute of a clock here, both where the clock showed it twice; an RFC 3339 time as much as is written of it.
    pub fn meant_by(self, word: &str, years: RangeInclusive<i32>) -> Vec<(Timestamp, Timestamp)> {
        if let Some((date, time)) = word.split_once(' ') {
            let Some((time, length)) = clock_time(time) else { return Vec::new() };
            let days = days_meant(date, years).into_iter();
            return days.flat_map(|day| self.shown_as(day.and_time(time))).map(|at| (at, at.after(length))).collect();
        }
        // Where a word was folded, its letters are small ones.
        if let Ok(instant) = instant(&word.to_ascii_uppercase()) {
            return vec![instant];
        }
        if let Some(first) = month_meant(word) {
            return self.days(first, first.checked_add_months(Months::new(1))).into_iter().collect();
        }
        days_meant(word, years).into_iter().filter_map(|day| self.day(day)).collect()
    }

    /// The instants at which a clock here shows that: none where it was put forward over it, two where it was put back.
    fn shown_as(self, local: NaiveDateTime) -> impl Iterator<Item = Timestamp> {
        let shown = self.0.from_local_datetime(&local);
        let (first, last) = (shown.earliest(), shown.latest());
        let last = last.filter(|last| Some(last) != first.as_ref());
        first.into_iter().chain(last).map(|at| at.with_timezone(&Utc).into())
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
        instant(text).map_err(wrong)
    }
}

/// An RFC 3339 time and the first instant behind it: as much as is written of it.
fn instant(text: &str) -> Result<(Timestamp, Timestamp), String> {
    let at = Timestamp::parse(text)?;
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    let written = match digits {
        0 => Duration::from_secs(1),
        1..=3 => Duration::from_millis(1),
        _ => Duration::from_micros(1),
    };
    Ok((at, at.after(written)))
}

/// A number of so many digits.
fn number(text: &str, digits: RangeInclusive<usize>) -> Option<u32> {
    let fits = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn small(text: &str) -> Option<u32> {
    number(text, 1..=2)
}

fn year(text: &str) -> Option<i32> {
    number(text, 4..=4).and_then(|year| i32::try_from(year).ok())
}

/// The days that a word means: `21/11/2026`, `2026-11-21`, and `21/11` in each of `years`.
fn days_meant(word: &str, years: RangeInclusive<i32>) -> Vec<NaiveDate> {
    let slashed: Vec<&str> = word.split('/').collect();
    let dashed: Vec<&str> = word.split('-').collect();
    let (given, month, day) = match (slashed.as_slice(), dashed.as_slice()) {
        ([day, month, given], _) | (_, [given, month, day]) => (Some(year(given)), small(month), small(day)),
        ([day, month], _) => (None, small(month), small(day)),
        _ => return Vec::new(),
    };
    let years = match given {
        Some(Some(year)) => year..=year,
        Some(None) => return Vec::new(),
        None => years,
    };
    let Some((month, day)) = month.zip(day) else { return Vec::new() };
    years.filter_map(|year| NaiveDate::from_ymd_opt(year, month, day)).collect()
}

/// The first day of the month that a word means: `11/2026`, `2026-11`.
fn month_meant(word: &str) -> Option<NaiveDate> {
    let slashed = word.split_once('/');
    let (month, given) = slashed.or_else(|| word.split_once('-').map(|(given, month)| (month, given)))?;
    NaiveDate::from_ymd_opt(year(given)?, small(month)?, 1)
}

/// A time of day as a clock shows it, `10:11` or `10:11:12`, and for how long it does.
fn clock_time(text: &str) -> Option<(NaiveTime, Duration)> {
    let parts: Vec<&str> = text.split(':').collect();
    let pair = |text: &str| number(text, 2..=2);
    match parts.as_slice() {
        [hour, minute] => Some((NaiveTime::from_hms_opt(small(hour)?, pair(minute)?, 0)?, Duration::from_secs(60))),
        [hour, minute, second] => {
            let time = NaiveTime::from_hms_opt(small(hour)?, pair(minute)?, pair(second)?)?;
            Some((time, Duration::from_secs(1)))
        }
        _ => None,
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

    #[test]
    fn v27_a_day_and_the_time_behind_it_are_what_a_clock_showed() {
        let zone = Zone::default();
        let second = [(at("2026-11-21T13:11:12Z"), at("2026-11-21T13:11:13Z"))];
        for word in ["21/11/2026 10:11:12", "2026-11-21 10:11:12", "21/11 10:11:12"] {
            assert_eq!(zone.meant_by(word, 2026..=2026), second, "{word}");
        }
        let minute = [(at("2026-11-21T12:05:00Z"), at("2026-11-21T12:06:00Z"))];
        for word in ["21/11/2026 09:05", "2026-11-21 9:05"] {
            assert_eq!(zone.meant_by(word, 2026..=2026), minute, "{word}");
        }
        assert_eq!(zone.meant_by("21/11 10:11", 2020..=2026).len(), 7);
        let wrong = [
            "21/11/2026 24:00",
            "21/11/2026 10:60",
            "21/11/2026 10:1",
            "21/11/2026 10",
            "21/11/2026 10:11:12:13",
            "21/11/2026 10:11 10:11",
            "21/11/2026  10:11",
            "11/2026 10:11",
            "2026-11 10:11",
            "x 10:11",
            " 10:11",
            "31/02/2026 10:11",
        ];
        for word in wrong {
            assert_eq!(zone.meant_by(word, 2026..=2026), [], "{word}");
        }
        // The clock was put back at midnight, and forward at midnight.
        let twice = [
            (at("2018-02-18T01:30:00Z"), at("2018-02-18T01:31:00Z")),
            (at("2018-02-18T02:30:00Z"), at("2018-02-18T02:31:00Z")),
        ];
        assert_eq!(zone.meant_by("17/02/2018 23:30", 2026..=2026), twice);
        assert_eq!(zone.meant_by("04/11/2018 00:30", 2026..=2026), []);
    }

    #[test]
    fn v27_a_time_of_the_api_means_as_much_as_is_written_of_it() {
        let zone = Zone::default();
        for (word, behind) in [
            ("2026-11-21T13:11:12.123456Z", "2026-11-21T13:11:12.123457Z"),
            ("2026-11-21t13:11:12.123z", "2026-11-21T13:11:12.124Z"),
            ("2026-11-21T13:11:12Z", "2026-11-21T13:11:13Z"),
            ("2026-11-21T10:11:12-03:00", "2026-11-21T13:11:13Z"),
        ] {
            let first = at(&word.to_uppercase());
            assert_eq!(zone.meant_by(word, 2026..=2026), [(first, at(behind))], "{word}");
        }
    }
}
