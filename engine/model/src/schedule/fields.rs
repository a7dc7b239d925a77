//! The fields of a cron expression on a wall clock without a zone.
//!
//! The dialect is ours and the common one: five fields, or six with seconds in front; names, ranges, lists and steps;
//! Sunday is 0 and 7; a day of the month and a weekday that are both restricted mean either. The `cron` crate walks the
//! calendar; it wants seconds, counts Sunday as 1 and joins the two day fields by AND, so it is handed each field as a
//! plain list in its own numbering, and both day fields as two schedules.

use chrono::{Duration, NaiveDateTime};

/// What a field is called in a message, its smallest and largest number, and its names from the smallest on.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
const WEEKDAY: Field =
    Field { name: "weekday", min: 0, max: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };
const SUNDAY_AGAIN: u32 = 7;
/// Longer expressions are refused; all 60 minutes written out take 170.
const EXPRESSION_BYTES_MAX: usize = 512;

/// A parsed expression: wall-clock times, as a naive clock shows them.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// One schedule, or two of which either counts.
    either: Vec<cron::Schedule>,
    /// Whether the hour field holds a `*`: such hours follow real time, others the wall clock.
    floating: bool,
}

impl Fields {
    /// Reads an expression.
    ///
    /// # Errors
    /// A sentence that names the field and says what may stand there.
    pub(super) fn parse(expression: &str) -> Result<Self, String> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("is longer than {EXPRESSION_BYTES_MAX} characters"));
        }
        let words: Vec<&str> = expression.split_whitespace().collect();
        let (second, rest) = match words.as_slice() {
            rest if rest.len() == 5 => ("0", rest),
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            _ => {
                return Err(format!(
                    "has {} fields; write five (minute hour day month weekday), or six with seconds in front",
                    words.len()
                ));
            }
        };
        let [minute, hour, day, month, weekday] = rest else {
            return Err("has no five fields".to_owned());
        };
        let clock = format!("{} {} {}", list(&SECOND, second)?, list(&MINUTE, minute)?, list(&HOUR, hour)?);
        let (days, months, weekdays) = (list(&DAY, day)?, list(&MONTH, month)?, list(&WEEKDAY, weekday)?);
        let schedule = |days: &str, weekdays: &str| {
            let text = format!("{clock} {days} {months} {weekdays}");
            text.parse::<cron::Schedule>().map_err(|error| format!("is not understood: {error}"))
        };
        let either = match (*day, *weekday) {
            ("*", _) | (_, "*") => vec![schedule(&days, &weekdays)?],
            _ => vec![schedule(&days, "*")?, schedule("*", &weekdays)?],
        };
        Ok(Self { either, floating: hour.contains('*') })
    }

    pub(super) const fn is_floating(&self) -> bool {
        self.floating
    }

    /// The first time at or after `from`; none where the calendar of the crate ends (2100).
    pub(super) fn first_from(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let before = from.checked_sub_signed(Duration::nanoseconds(1))?.and_utc();
        let firsts = self.either.iter().filter_map(|schedule| schedule.after(&before).next());
        firsts.map(|at| at.naive_utc()).min()
    }
}

/// A field as the crate reads it: `*`, or every number that it means.
fn list(field: &Field, text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok("*".to_owned());
    }
    let mut set = [false; 60];
    for item in text.split(',') {
        let (first, last, step) = item_of(field, item)?;
        let mut at = first;
        while at <= last {
            let number = if field.max == SUNDAY_AGAIN { at % SUNDAY_AGAIN } else { at };
            if let Some(place) = usize::try_from(number).ok().and_then(|n| set.get_mut(n)) {
                *place = true;
            }
            at += step;
        }
    }
    // The crate counts Sunday as 1.
    let shift = usize::from(field.max == SUNDAY_AGAIN);
    let numbers = set.iter().enumerate().filter(|(_, set)| **set).map(|(n, _)| (n + shift).to_string());
    Ok(numbers.collect::<Vec<_>>().join(","))
}

/// First, last and step of `*`, `*/5`, `7`, `7/5`, `1-5`, `1-5/2`.
fn item_of(field: &Field, item: &str) -> Result<(u32, u32, u32), String> {
    let wrong = |what: &str| {
        let names = if field.names.is_empty() { String::new() } else { format!(" or {}", field.names.join(", ")) };
        format!(
            "{what} in the field {}: {item:?}; a field takes {}-{}{names}, as *, lists (1,5), ranges (1-5) and steps (*/5)",
            field.name, field.min, field.max
        )
    };
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
    let step_by = match step {
        None => 1,
        Some(step) => {
            step.parse().ok().filter(|by| (1..=field.max).contains(by)).ok_or_else(|| wrong("a wrong step"))?
        }
    };
    // Sunday is one day, not two: `*` and open steps end on Saturday.
    let last_of_all = if field.max == SUNDAY_AGAIN { SUNDAY_AGAIN - 1 } else { field.max };
    let number = |text: &str| number(field, text).ok_or_else(|| wrong("an unknown value"));
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (field.min, last_of_all),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            // A range may end with Sunday, by whichever of its names.
            (first, if field.max == SUNDAY_AGAIN && last == 0 && first > 0 { SUNDAY_AGAIN } else { last })
        }
        None if step.is_some() => (number(range)?, last_of_all),
        None => (number(range)?, number(range)?),
    };
    if first > last {
        return Err(wrong("a range that ends before it begins"));
    }
    Ok((first, last, step_by))
}

fn number(field: &Field, text: &str) -> Option<u32> {
    let named = field.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let named = named.and_then(|place| u32::try_from(place).ok()).map(|place| place + field.min);
    let digits = text.len() <= 2 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    named.or_else(|| text.parse().ok().filter(|n| digits && (field.min..=field.max).contains(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn first(expression: &str, from: &str) -> String {
        Fields::parse(expression).unwrap().first_from(at(from)).map_or("never".into(), |at| at.to_string())
    }

    #[test]
    fn the_dialect_is_the_common_one() {
        // 2026-11-28 is a Saturday.
        let from = "2026-11-28T10:07:30";
        for (expression, expected) in [
            ("* * * * *", "2026-11-28 10:08:00"),
            ("*/30 * * * * *", "2026-11-28 10:07:30"),
            ("31 7 10 * * *", "2026-11-28 10:07:31"),
            ("0 0 * * 0", "2026-11-29 00:00:00"),
            ("0 0 * * 7", "2026-11-29 00:00:00"),
            ("0 0 * * SUN", "2026-11-29 00:00:00"),
            ("0 0 * * 1-5", "2026-11-30 00:00:00"),
            ("0 0 * * fri-sun", "2026-11-29 00:00:00"),
            ("0 0 * * */2", "2026-11-29 00:00:00"),
            ("5/20 * * * *", "2026-11-28 10:25:00"),
            ("0 0 13 * FRI", "2026-12-04 00:00:00"),
            ("0 0 1 * FRI", "2026-12-01 00:00:00"),
            ("0 0 */31 * MON", "2026-11-30 00:00:00"),
            ("0 12 29 FEB *", "2028-02-29 12:00:00"),
            ("0 0 30 2 *", "never"),
        ] {
            assert_eq!(first(expression, from), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_not_understood_names_its_field() {
        for (expression, part) in [
            ("", "has 0 fields"),
            ("* * * *", "has 4 fields"),
            ("* * * * * * *", "has 7 fields"),
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * L * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * * 8", "weekday"),
            ("* * * * 5#2", "weekday"),
            ("*/0 * * * *", "step"),
            ("5-1 * * * *", "ends before it begins"),
            ("1,,2 * * * *", "unknown value"),
            ("+1 * * * *", "unknown value"),
            ("@daily", "has 1 fields"),
        ] {
            let error = Fields::parse(expression).unwrap_err();
            assert!(error.contains(part), "{expression}: {error}");
        }
    }

    #[test]
    fn hours_with_a_star_float() {
        for (expression, floating) in [("0 * * * *", true), ("0 */2 * * *", true), ("0 1,2 * * *", false)] {
            assert_eq!(Fields::parse(expression).unwrap().is_floating(), floating, "{expression}");
        }
    }
}
