//! Days on which a schedule does not run.

use chrono::{Datelike as _, Days, NaiveDate};

use crate::invalid::{Complaints, Invalid};

/// Lists may hold this many entries.
const ENTRIES_MAX: usize = 500;
/// A leap year, in which every day of a year can be named.
const LEAP_YEAR: i32 = 2024;

#[derive(Debug, Clone, Default)]
pub(super) struct Excluded(Vec<Entry>);

#[derive(Debug, Clone, Copy)]
enum Entry {
    /// From the first to the last day, both included.
    Range(NaiveDate, NaiveDate),
    /// A month and day of every year.
    Yearly(u32, u32),
}

impl Excluded {
    pub(super) fn parse(entries: &[String]) -> Result<Self, Invalid> {
        let mut complaints = Complaints::default();
        if entries.len() > ENTRIES_MAX {
            complaints.add("exclude", format!("holds at most {ENTRIES_MAX} entries; write ranges"));
        }
        let parsed = entries.iter().enumerate().filter_map(|(n, entry)| {
            let wrong = || {
                let cure = "must be a day (2026-12-25), a day of every year (12-25) or a range (2026-12-24/2027-01-02)";
                Invalid::field(format!("exclude[{n}]"), cure)
            };
            complaints.take(read(entry).ok_or_else(wrong))
        });
        let parsed = parsed.collect();
        complaints.finish(Self(parsed))
    }

    /// Where `day` is excluded: the first day behind whatever excludes it. That day may be excluded by another entry.
    pub(super) fn free_after(&self, day: NaiveDate) -> Option<NaiveDate> {
        let next = day.checked_add_days(Days::new(1));
        let behind = self.0.iter().filter_map(|entry| match *entry {
            Entry::Range(first, last) => {
                (first..=last).contains(&day).then(|| last.checked_add_days(Days::new(1))).flatten()
            }
            Entry::Yearly(month, of_month) => ((day.month(), day.day()) == (month, of_month)).then_some(next).flatten(),
        });
        behind.max()
    }
}

fn read(entry: &str) -> Option<Entry> {
    if let Some((first, last)) = entry.split_once('/') {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        return (first <= last).then_some(Entry::Range(first, last));
    }
    if let Ok(day) = entry.parse::<NaiveDate>() {
        return Some(Entry::Range(day, day));
    }
    let (month, day) = entry.split_once('-')?;
    let day = NaiveDate::from_ymd_opt(LEAP_YEAR, month.parse().ok()?, day.parse().ok()?)?;
    Some(Entry::Yearly(day.month(), day.day()))
}
