//! Dates of the Gregorian calendar and instants as text, so that a small plugin needs no calendar crate.

use std::fmt;

const DAY_MS: u64 = 86_400_000;
/// Days from 0001-01-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_162;
/// Days from 0001-01-01 to 9999-12-31.
const LAST_DAY: i64 = 3_652_058;
/// Years that ISO 8601 writes with four digits.
const YEARS: std::ops::RangeInclusive<u16> = 1..=9999;

/// A day between 0001-01-01 and 9999-12-31. Displays as `2025-02-20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

impl Date {
    /// The date, if there is such a day. Months and days count from 1.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let exists =
            YEARS.contains(&year) && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        exists.then_some(Self { year, month, day })
    }

    /// Reads `YYYY-MM-DD`, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let year = number(parts.next()?, 4)?;
        let month = number(parts.next()?, 2)?;
        let day = number(parts.next()?, 2)?;
        if parts.next().is_some() {
            return None;
        }
        Self::new(year, month.try_into().ok()?, day.try_into().ok()?)
    }

    /// The UTC day of an instant in ms since the Unix epoch; the last day there is for instants after it.
    #[must_use]
    pub fn of(timestamp_ms: u64) -> Self {
        let days = i64::try_from(timestamp_ms / DAY_MS).unwrap_or(LAST_DAY);
        Self::from_ordinal(days.saturating_add(EPOCH_DAYS).min(LAST_DAY))
    }

    /// The year, from 1 to 9999.
    #[must_use]
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1 to 12.
    #[must_use]
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1 to 31.
    #[must_use]
    pub fn day(self) -> u8 {
        self.day
    }

    /// Which day of the week it is.
    #[must_use]
    pub fn weekday(self) -> Weekday {
        // 0001-01-01 is a Monday.
        let index = usize::try_from(self.ordinal().rem_euclid(7)).unwrap_or_default();
        WEEK.get(index).copied().unwrap_or(Weekday::Monday)
    }

    /// So many days later, or earlier if negative; none beyond the calendar's ends.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Option<Self> {
        let ordinal = self.ordinal().checked_add(days)?;
        (0..=LAST_DAY).contains(&ordinal).then(|| Self::from_ordinal(ordinal))
    }

    /// The first day of its month.
    #[must_use]
    pub fn first_of_month(self) -> Self {
        Self { day: 1, ..self }
    }

    /// The last day of its month.
    #[must_use]
    pub fn last_of_month(self) -> Self {
        Self { day: days_in_month(self.year, self.month), ..self }
    }

    /// Midnight UTC in ms since the Unix epoch; none before 1970.
    #[must_use]
    pub fn timestamp_ms(self) -> Option<u64> {
        let days = u64::try_from(self.ordinal() - EPOCH_DAYS).ok()?;
        Some(days * DAY_MS)
    }

    /// Days since 0001-01-01.
    fn ordinal(self) -> i64 {
        let months = (1..self.month).map(|month| i64::from(days_in_month(self.year, month)));
        days_before_year(self.year) + months.sum::<i64>() + i64::from(self.day) - 1
    }

    /// The inverse of [`Date::ordinal`], for 0 to [`LAST_DAY`].
    fn from_ordinal(ordinal: i64) -> Self {
        // 400 years are 146,097 days; the estimate is at most one year off.
        let estimate = u16::try_from(ordinal * 400 / 146_097 + 1).unwrap_or(*YEARS.end());
        let year = if days_before_year(estimate) > ordinal {
            estimate - 1
        } else if days_before_year(estimate + 1) <= ordinal {
            estimate + 1
        } else {
            estimate
        };
        let mut rest = ordinal - days_before_year(year);
        let mut month = 1;
        while month < 12 && rest >= i64::from(days_in_month(year, month)) {
            rest -= i64::from(days_in_month(year, month));
            month += 1;
        }
        Self { year, month, day: u8::try_from(rest + 1).unwrap_or(1) }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// An instant in ms since the Unix epoch as RFC 3339 in UTC: `2025-02-20T12:00:00.000Z`.
#[must_use]
pub fn rfc3339(timestamp_ms: u64) -> String {
    let ms = timestamp_ms % DAY_MS;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:03}Z", Date::of(timestamp_ms), ms % 1000)
}

/// Reads RFC 3339, with any offset, as ms since the Unix epoch; none before 1970. Digits beyond the millisecond are cut.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let date = Date::parse(text.get(..10)?)?;
    let time = text.get(10..)?.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2).filter(|&hour| hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|&minute| minute < 60)?;
    let second = number(parts.next()?, 2).filter(|&second| second < 60)?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
    };
    if fraction.is_empty() && rest.starts_with('.') {
        return None;
    }
    let ms: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second);
    let local = date.timestamp_ms()? + seconds * 1000 + ms;
    local.checked_add_signed(-offset_ms(offset)?)
}

/// `Z`, `+hh:mm` or `-hh:mm` in ms.
fn offset_ms(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let hours = number(hours, 2).filter(|&hours| hours < 24)?;
    let minutes = number(minutes, 2).filter(|&minutes| minutes < 60)?;
    Some(sign * (i64::from(hours) * 60 + i64::from(minutes)) * 60_000)
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 0001-01-01 to the first of January of that year.
fn days_before_year(year: u16) -> i64 {
    let years = i64::from(year) - 1;
    years * 365 + years / 4 - years / 100 + years / 400
}

/// Exactly so many ASCII digits.
fn number(text: &str, digits: usize) -> Option<u16> {
    let exact = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    exact.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_day_of_the_calendar_follows_the_one_before() {
        let mut date = Date::new(1, 1, 1).unwrap();
        for ordinal in 0..=LAST_DAY {
            assert_eq!((date.ordinal(), Date::from_ordinal(ordinal)), (ordinal, date));
            let next = Date::new(date.year, date.month, date.day + 1)
                .or_else(|| Date::new(date.year, date.month + 1, 1))
                .or_else(|| Date::new(date.year + 1, 1, 1));
            assert_eq!(date.plus_days(1), next);
            date = next.unwrap_or(date);
        }
        assert_eq!(date.to_string(), "9999-12-31");
    }

    #[test]
    fn known_days() {
        let date = Date::parse("2025-02-20").unwrap();
        assert_eq!((date.weekday(), date.timestamp_ms()), (Weekday::Thursday, Some(1_740_009_600_000)));
        assert_eq!(Date::parse("1970-01-01").unwrap().weekday(), Weekday::Thursday);
        assert_eq!(Date::parse("2024-02-10").unwrap().last_of_month().to_string(), "2024-02-29");
        assert_eq!(Date::parse("1900-02-10").unwrap().last_of_month().day(), 28);
        assert_eq!(Date::parse("1969-12-31").unwrap().timestamp_ms(), None);
    }

    #[test]
    fn only_days_that_exist_in_the_exact_form() {
        for text in [
            "",
            "2025-02-29",
            "2025-13-01",
            "2025-00-10",
            "2025-01-00",
            "0000-01-01",
            "25-01-01",
            "2025-1-01",
            "2025-01-01T00:00:00",
            "2025-01-01-",
            "+025-01-01",
            "20/02/2025",
            "２０２５-01-01",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn instants() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_740_052_799_007), "2025-02-20T11:59:59.007Z");
        assert_eq!(rfc3339(u64::MAX).get(..10), Some("9999-12-31"));
        for (text, ms) in [
            ("2025-02-20T11:59:59.007Z", Some(1_740_052_799_007)),
            ("2025-02-20t08:59:59.0079-03:00", Some(1_740_052_799_007)),
            ("2025-02-20 11:59:59Z", Some(1_740_052_799_000)),
            ("1970-01-01T00:00:00+01:00", None),
            ("2025-02-20T11:59:59", None),
            ("2025-02-20T11:59:59.Z", None),
            ("2025-02-20T24:00:00Z", None),
            ("2025-02-20", None),
        ] {
            assert_eq!(parse_rfc3339(text), ms, "{text}");
        }
    }
}
