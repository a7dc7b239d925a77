//! Calls without a valid token: counted by source and minute, in bounded memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use engate_model::Timestamp;
use engate_store::{RefusedCalls, SOURCES_MAX};

/// Stands for the sources beyond those that are told apart.
const OTHERS: &str = "others";
const MINUTE_US: i64 = 60_000_000;

/// What was counted since it was last written down.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<(i64, Option<IpAddr>), u64>>);

impl Strangers {
    /// Counts a call.
    pub(crate) fn count(&self, now: Timestamp, source: Option<IpAddr>) {
        let minute = now.as_micros().div_euclid(MINUTE_US);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = if counts.len() < SOURCES_MAX || counts.contains_key(&(minute, source)) { source } else { None };
        *counts.entry((minute, source)).or_default() += 1;
    }

    /// What was counted since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<RefusedCalls> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let rows = counts.into_iter().map(|((minute, source), calls)| RefusedCalls {
            minute: Timestamp::from_micros(minute.saturating_mul(MINUTE_US)),
            source: source.map_or_else(|| OTHERS.to_owned(), |address| address.to_string()),
            calls,
        });
        rows.collect()
    }

    /// Counts again what could not be written down.
    pub(crate) fn put_back(&self, rows: Vec<RefusedCalls>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let minute = row.minute.as_micros().div_euclid(MINUTE_US);
            *counts.entry((minute, row.source.parse().ok())).or_default() += row.calls;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_source_and_minute_in_bounded_memory() {
        let strangers = Strangers::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let source = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        for second in [0, 1, 61] {
            strangers.count(at(second), source(1));
        }
        let mut rows = strangers.take();
        rows.sort_by_key(|row| row.minute);
        assert_eq!(rows.iter().map(|row| (row.minute, row.calls)).collect::<Vec<_>>(), [(at(0), 2), (at(60), 1)]);
        strangers.put_back(rows);
        (0..10_000).for_each(|n| strangers.count(at(61), source(n)));
        let rows = strangers.take();
        assert!(rows.len() <= SOURCES_MAX + 1, "{}", rows.len());
        assert_eq!(rows.iter().map(|row| row.calls).sum::<u64>(), 10_003, "none is lost");
        assert!(strangers.take().is_empty());
    }
}
