//! Orders by time, without an index of times: deliveries are created, tried and taken almost in the order of their
//! codes. A span of codes says when its deliveries were created; those tried or taken within [`LATE`] of that are
//! found by it, the others by an index that has only them.

use std::{sync::Arc, time::Duration};

use engate_model::{
    delivery::Delivery,
    listing::{Column, Sort, SortKey, SortValue},
};

use super::{
    access::{Access, Scope},
    filter::column_of,
    lister::Lister,
    names::Names,
};
use crate::error::StoreError;

/// How much later than its creation an ordinary delivery is tried, and has succeeded. The schema repeats the number.
pub(super) const LATE: Duration = Duration::from_secs(2);
const LATE_MICROS: i64 = 2_000_000;
/// Spans read at once at most; it begins with one and doubles.
const SPANS_MAX: u64 = 64;

/// The index of the deliveries that are late in `column`, and its condition.
pub(super) const fn late_index(column: Column) -> (&'static str, &'static str) {
    match column {
        Column::IntegratedAt => {
            ("deliveries_late_success", "integrated_at NOT BETWEEN created_at AND created_at + 2000000")
        }
        _ => ("deliveries_late_attempt", "last_attempt_at NOT BETWEEN created_at AND created_at + 2000000"),
    }
}

impl Lister {
    /// The first rows by a time that they have.
    pub(super) async fn near(
        &mut self,
        scope: &Scope,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let Some(first) = keys.first().copied() else { return Ok(Vec::new()) };
        let slack = if first.column == Column::CreatedAt { 0 } else { LATE_MICROS };
        let sort = Sort::by(keys.iter().copied());
        let mut best = Best { sort, names: Arc::clone(&self.names), limit, rows: Vec::new() };
        if slack > 0 {
            let (index, late) = late_index(first.column);
            let mut access = self.everything(scope, Some(index));
            access.on.and(late);
            best.add(self.in_index_order(access, keys, after, limit).await?);
        }
        let mut access = self.access(scope).await?;
        if slack > 0 {
            access.on.and(&format!("{} BETWEEN created_at AND created_at + 2000000", column_of(first.column)));
        }
        if self.tail < i64::MAX {
            let mut tail = access.clone();
            tail.on.extend([("code >=", self.tail.into())]);
            best.add(self.page(tail, keys, after, limit).await?);
        }
        self.near_in_spans(scope, &access, first, slack, after, &mut best).await?;
        Ok(best.rows)
    }

    async fn near_in_spans(
        &mut self,
        scope: &Scope,
        access: &Access,
        first: SortKey,
        slack: i64,
        after: Option<&[SortValue]>,
        best: &mut Best,
    ) -> Result<(), StoreError> {
        let (mut from, mut to) = wanted(scope, first.column);
        if let Some(SortValue::Int(at)) = after.and_then(<[_]>::first) {
            if first.descending {
                to = to.min(*at)
            } else {
                from = from.max(*at)
            };
        }
        let bounds = (from.saturating_sub(slack), to);
        let keys = best.sort.keys().to_vec();
        let (mut skipped, mut take) = (0, 1);
        loop {
            let mut spans = self.spans(bounds, first.descending, skipped, take + 1).await?;
            let next = (u64::try_from(spans.len()).unwrap_or(u64::MAX) > take).then(|| spans.pop()).flatten();
            let (Some(low), Some(high)) =
                (spans.iter().map(|span| span.first).min(), spans.iter().map(|span| span.last).max())
            else {
                return Ok(());
            };
            let mut window = access.clone();
            window.on.extend([("code >=", low.into()), ("code <=", high.into())]);
            best.add(self.page(window, &keys, after, best.limit).await?);
            let Some(next) = next else { return Ok(()) };
            // Whatever is further on has a time beyond this.
            let beyond = if first.descending { next.created_max.saturating_add(slack) } else { next.created_min };
            if best.ends_before(first, beyond) {
                return Ok(());
            }
            skipped += take;
            take = (take * 2).min(SPANS_MAX);
        }
    }
}

/// The times that the filter takes in that column.
fn wanted(scope: &Scope, column: Column) -> (i64, i64) {
    let (from, before) = match column {
        Column::CreatedAt => (scope.filter.created_from, scope.filter.created_before),
        Column::IntegratedAt => (scope.filter.integrated_from, scope.filter.integrated_before),
        _ => (None, None),
    };
    (from.map_or(i64::MIN, |at| at.as_micros()), before.map_or(i64::MAX, |at| at.as_micros()))
}

/// The first rows of an order, out of what was read so far.
pub(super) struct Best {
    pub(super) sort: Sort,
    pub(super) names: Arc<Names>,
    pub(super) limit: usize,
    pub(super) rows: Vec<Delivery>,
}

impl Best {
    pub(super) fn add(&mut self, rows: Vec<Delivery>) {
        self.rows.extend(rows);
        let (sort, names) = (&self.sort, &self.names);
        self.rows.sort_by_cached_key(|row| Placed(sort, names.place(sort, row)));
        // Windows may overlap where codes and times do not run alike.
        self.rows.dedup_by_key(|row| row.code);
        self.rows.truncate(self.limit);
    }

    /// Whether there are enough, all of them before that time.
    fn ends_before(&self, first: SortKey, beyond: i64) -> bool {
        let last = self.rows.get(self.limit.saturating_sub(1)).map(|row| first.column.of(row, ""));
        last.is_some_and(|last| first.compare(&last, &SortValue::Int(beyond)).is_lt())
    }
}

struct Placed<'s>(&'s Sort, Vec<SortValue>);

impl Ord for Placed<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.compare(&self.1, &other.1)
    }
}

impl PartialOrd for Placed<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Placed<'_> {}
