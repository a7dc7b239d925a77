//! Who reads a listing: which way each order goes, and the statements that read and count rows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engate_model::{
    TenantId,
    delivery::Delivery,
    listing::{Column, Sort, SortKey, SortValue},
};

use super::{
    Asked, DeliveryPage, DeliveryStretch, Page, TOTAL_EXACT_MAX, Total,
    access::{self, Access, Narrowest, Scope},
    filter::column_of,
    names::Names,
    near::Best,
    spans,
};
use crate::{
    Store,
    compose::{OrderTerm, Scan, explain},
    db::Bounded,
    deliveries::{delivery, delivery_columns},
    error::StoreError,
    events::PAGE_MAX,
    sql::{Dialect, Sql},
    value::Value,
};

/// Codes of the first window that is walked through, and of the largest.
const WINDOW_CODES: i64 = 4_096;
const WINDOW_CODES_MAX: i64 = 1 << 20;

/// Reads pages of one tenant's deliveries as of one instant.
pub(crate) struct Lister {
    pub(super) reader: Bounded,
    pub(super) dialect: Dialect,
    pub(super) tenant: TenantId,
    pub(super) sorted_max: u64,
    /// The first code that no span covers.
    pub(super) tail: i64,
    /// The last code that the index of texts has.
    pub(super) texts_to: i64,
    /// Whether free text can be searched by an index.
    pub(super) searchable: bool,
    /// Of integrators, where the order goes by them.
    pub(super) names: Arc<Names>,
    /// What the index of texts has for a word, as of this instant.
    pub(super) found: Option<(String, Option<Value>)>,
    /// How each statement is run, where somebody asks.
    pub(super) plans: Option<Vec<String>>,
}

/// How far somebody walked from window to window.
struct Walk {
    /// The rows that were taken.
    rows: Vec<Delivery>,
    /// Where the last window ended.
    place: Option<Vec<SortValue>>,
    /// That place's code, once there was a window.
    reached: i64,
    /// Codes of the next window.
    window: i64,
}

impl Walk {
    fn beyond(after: Option<&[SortValue]>) -> Self {
        Self { rows: Vec::new(), place: after.map(<[_]>::to_vec), reached: 0, window: WINDOW_CODES }
    }
}

impl Lister {
    pub(super) async fn open(store: &Store, tenant: TenantId, time: Duration) -> Result<Self, StoreError> {
        let mut reader = store.db().snapshot_within(time).await?;
        let dialect = reader.session.dialect();
        let (covered, texts_to) = spans::reached(&mut reader.session).await?;
        Ok(Self {
            reader,
            dialect,
            tenant,
            sorted_max: store.sorted_max(),
            tail: covered.map_or(i64::MIN, |last| last + 1),
            texts_to,
            searchable: store.searchable(),
            names: Arc::default(),
            found: None,
            plans: None,
        })
    }

    /// The page that is asked for.
    pub(super) async fn first_rows(
        &mut self,
        asked: &Asked,
        sort: &Sort,
        page: &Page,
    ) -> Result<DeliveryPage, StoreError> {
        let limit = usize::try_from(page.limit.clamp(1, PAGE_MAX)).unwrap_or(usize::MAX);
        let (keys, after) = (sort.keys(), page.after.as_deref());
        let mut items = match &asked.meanings {
            Some(meanings) => self.by_meanings(meanings, keys, after, limit + 1).await?,
            None => self.rows(&asked.scope, keys, after, limit + 1).await?,
        };
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| self.names.place(sort, last));
        Ok(DeliveryPage { items, next, total: None })
    }

    /// The first `limit` rows beyond `after` in the order of `keys`, of which the last is the code.
    pub(super) async fn rows(
        &mut self,
        scope: &Scope,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.reader.check().await?;
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        if scope.filter.words.iter().any(Vec::is_empty) {
            // A word that means nothing is in no row.
            return Ok(Vec::new());
        }
        if first.column == Column::Code {
            return self.by_code(scope, *first, after, limit).await;
        }
        let access = self.access(scope).await?;
        if self.count(&access, self.sorted_max + 1).await? <= self.sorted_max {
            return self.page(access, keys, after, limit).await;
        }
        match first.column {
            Column::State
            | Column::Success
            | Column::Integrator
            | Column::Endpoint
            | Column::EventType
            | Column::Attempts
            | Column::Reason => Box::pin(self.value_by_value(scope, keys, after, limit)).await,
            Column::CreatedAt
            | Column::LastAttemptAt
            | Column::IntegratedAt
            | Column::NextAttemptAt
            | Column::Subject
            | Column::CorrelationId => self.with_absent(scope, keys, after, limit).await,
            Column::Id => self.indexed(scope, self.dialect.pick(access::BY_ID, ""), keys, after, limit).await,
            Column::Event => self.indexed(scope, "deliveries_event", keys, after, limit).await,
            Column::Code => self.page(access, keys, after, limit).await,
        }
    }

    /// The first rows by code.
    async fn by_code(
        &mut self,
        scope: &Scope,
        key: SortKey,
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let Narrowest { bare, mut access, late } = self.narrowest(scope).await?;
        let Some(bare) = bare else { return self.page(access, &[key], after, limit).await };
        let mut best = Best { sort: Sort::by([key]), names: Arc::clone(&self.names), limit, rows: Vec::new() };
        if let Some(range) = late.then(|| access.ranges.pop()).flatten() {
            let late = Access { ranges: vec![range], on: access.on.clone() };
            best.add(self.page(late, &[key], after, limit).await?);
        }
        best.add(self.walk(&bare, &access, key, after, limit).await?);
        Ok(best.rows)
    }

    /// The first rows by code, where not every row of the ranges is taken: from one window of codes to the next, so that
    /// no range is read to its end for rows that another has in plenty. `bare` are the ranges, unchecked.
    async fn walk(
        &mut self,
        bare: &Access,
        access: &Access,
        key: SortKey,
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut walk = Walk::beyond(after);
        while walk.rows.len() < limit && self.walk_window(&mut walk, bare, access, key, limit).await? {}
        Ok(walk.rows)
    }

    /// Walks through the next window of codes; says whether there was one.
    async fn walk_window(
        &mut self,
        walk: &mut Walk,
        bare: &Access,
        access: &Access,
        key: SortKey,
        limit: usize,
    ) -> Result<bool, StoreError> {
        // The next row that may be taken: what is not there is not walked through.
        let next = self.page(bare.clone(), &[key], walk.place.as_deref(), 1).await?;
        let Some(code) = next.first().map(|next| next.code) else { return Ok(false) };
        let (low, high) = if key.descending {
            (code.saturating_sub(walk.window - 1), code)
        } else {
            (code, code.saturating_add(walk.window - 1))
        };
        let mut part = access.clone();
        part.on.extend([("code >=", low.into()), ("code <=", high.into())]);
        walk.rows.append(&mut self.page(part, &[key], None, limit - walk.rows.len()).await?);
        walk.reached = if key.descending { low } else { high };
        walk.place = Some(vec![SortValue::Int(walk.reached)]);
        walk.window = walk.window.saturating_mul(4).min(WINDOW_CODES_MAX);
        Ok(true)
    }

    /// The first rows beyond the code `after`, of as many windows of codes as are begun within `enough`; at least of one.
    pub(super) async fn stretch(
        &mut self,
        scope: &Scope,
        after: i64,
        limit: u32,
        enough: Duration,
    ) -> Result<DeliveryStretch, StoreError> {
        let begun = Instant::now();
        let key = SortKey { column: Column::Code, descending: false };
        let limit = usize::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(usize::MAX);
        let place = [SortValue::Int(after)];
        let mut walk = Walk { reached: after, ..Walk::beyond(Some(&place)) };
        self.reader.check().await?;
        let ended = match self.narrowest(scope).await? {
            Narrowest { bare: Some(bare), access, late: false } => loop {
                match self.walk_window(&mut walk, &bare, &access, key, limit + 1).await {
                    Ok(false) => break true,
                    Ok(true) if walk.rows.len() > limit || begun.elapsed() >= enough => break false,
                    Ok(true) => {}
                    // What was looked through need not be again.
                    Err(StoreError::TooBroad) if walk.reached > after => break false,
                    Err(error) => return Err(error),
                }
            },
            Narrowest { bare: None, access, late: false } => {
                walk.rows = self.page(access, &[key], Some(&place), limit + 1).await?;
                true
            }
            Narrowest { late: true, .. } => {
                walk.rows = self.by_code(scope, key, Some(&place), limit + 1).await?;
                true
            }
        };
        let more = walk.rows.len() > limit;
        walk.rows.truncate(limit);
        let last = walk.rows.last().map(|last| last.code);
        let reached = if more { last.unwrap_or(after) } else { walk.reached.max(last.unwrap_or(after)) };
        Ok(DeliveryStretch { items: walk.rows, reached, ended: ended && !more })
    }

    /// Rows that have the first column, and those that do not, in their order.
    async fn with_absent(
        &mut self,
        scope: &Scope,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let Some((first, rest)) = keys.split_first() else { return Ok(Vec::new()) };
        let after_absent = after.and_then(<[_]>::split_first).filter(|(value, _)| **value == SortValue::Null);
        // Nothing is the smallest: it comes first, or last where the largest comes first.
        let (absent, present) = match (first.descending, after, after_absent) {
            (false, None, _) | (true, None, _) => (Some(None), Some(None)),
            (false, Some(_), Some((_, place))) => (Some(Some(place)), Some(None)),
            (true, Some(_), Some((_, place))) => (Some(Some(place)), None),
            (false, Some(place), None) => (None, Some(Some(place))),
            (true, Some(place), None) => (Some(None), Some(Some(place))),
        };
        let absent = absent.filter(|_| first.column != Column::CreatedAt);
        let mut rows = Vec::new();
        for of_absent in [!first.descending, first.descending] {
            let left = limit.saturating_sub(rows.len());
            if left == 0 {
                break;
            }
            match (of_absent, absent, present) {
                (true, Some(place), _) => rows.append(&mut self.absent(scope, *first, rest, place, left).await?),
                (false, _, Some(place)) => rows.append(&mut match first.column {
                    Column::NextAttemptAt => self.indexed(scope, "deliveries_waiting", keys, place, left).await?,
                    Column::Subject | Column::CorrelationId => self.by_text(scope, keys, place, left).await?,
                    _ => self.near(scope, keys, place, left).await?,
                }),
                _ => {}
            }
        }
        Ok(rows)
    }

    /// The first rows that have nothing in the first column.
    async fn absent(
        &mut self,
        scope: &Scope,
        first: SortKey,
        rest: &[SortKey],
        place: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        match first.column {
            Column::Subject | Column::CorrelationId if self.has_texts() => {
                self.by_absent_text(scope, first.column, rest, place, limit).await
            }
            _ => Box::pin(self.rows(&scope.without(first.column), rest, place, limit)).await,
        }
    }

    /// The first rows of a range that an index has in the wanted order.
    async fn indexed(
        &mut self,
        scope: &Scope,
        index: &'static str,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut access = self.everything(scope, (!index.is_empty()).then_some(index));
        if keys.first().is_some_and(|key| key.column == Column::NextAttemptAt) {
            access.on.and("due_at IS NOT NULL");
        }
        self.in_index_order(access, keys, after, limit).await
    }

    /// The first rows of one range whose index has the first column, never NULL, in order.
    pub(super) async fn in_index_order(
        &mut self,
        mut access: Access,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        if let Some(place) = after {
            access.on.beyond_in_index(keys, place);
        }
        let mut order = order(keys);
        if let Some(first) = order.first_mut() {
            first.nulls = false;
        }
        self.read(&access, &order, limit).await
    }

    /// The first rows of `access` in any order.
    pub(super) async fn page(
        &mut self,
        mut access: Access,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        if let Some(place) = after {
            access.on.beyond(keys, place);
        }
        self.read(&access, &order(keys), limit).await
    }

    pub(super) async fn read(
        &mut self,
        access: &Access,
        order: &[OrderTerm],
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        if access.ranges.is_empty() {
            return Ok(Vec::new());
        }
        self.reader.check().await?;
        let limit = Value::from(u64::try_from(limit).unwrap_or(u64::MAX));
        let (values, at) = access.on.values_with(limit);
        let sql = access.scan().page(self.dialect, delivery_columns!(), order, at);
        self.explain(&sql, &values).await?;
        let rows = self.reader.session.rows(sql, values).await?;
        rows.iter().map(|row| delivery(&mut row.cells())).collect()
    }

    pub(super) async fn explain(&mut self, sql: &Sql, values: &[Value]) -> Result<(), StoreError> {
        let (Some(plans), Some(explained)) = (&mut self.plans, explain(self.dialect, sql)) else { return Ok(()) };
        if let Sql::Composed(text) = sql {
            plans.push(format!("> {text}"));
        }
        for row in self.reader.session.rows(explained, values.to_vec()).await? {
            let mut cells = row.cells();
            if self.dialect == Dialect::Sqlite {
                // Two numbers of the step and one that means nothing come before its text.
                for _ in 0..3 {
                    cells.int()?;
                }
            }
            plans.push(cells.text()?);
        }
        Ok(())
    }

    /// The number of rows of `access`, counted up to `bound`.
    pub(super) async fn count(&mut self, access: &Access, bound: u64) -> Result<u64, StoreError> {
        if access.ranges.is_empty() {
            return Ok(0);
        }
        self.reader.check().await?;
        let (values, at) = access.on.values_with(bound.into());
        let row = self.reader.session.row(access.scan().count(self.dialect, at), values).await?;
        row.map_or(Ok(0), |row| row.cells().count())
    }

    /// How many rows there are, at least `known`.
    pub(super) async fn total(&mut self, asked: &Asked, known: u64) -> Result<Total, StoreError> {
        // A word that means one thing is counted where that is found; of several meanings, which may have rows in common,
        // every row is looked at.
        let scope = match asked.meanings.as_deref() {
            Some([]) => return Ok(Total { count: 0, exact: true }),
            Some([one]) => one,
            _ => &asked.scope,
        };
        match self.counted(scope).await {
            Ok(count) => Ok(Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX }),
            Err(StoreError::TooBroad) => Ok(Total { count: known.saturating_add(1), exact: false }),
            Err(error) => Err(error),
        }
    }

    async fn counted(&mut self, scope: &Scope) -> Result<u64, StoreError> {
        let access = self.access(scope).await?;
        self.count(&access, TOTAL_EXACT_MAX + 1).await
    }
}

impl Access {
    pub(super) fn scan(&self) -> Scan<'_> {
        Scan { table: "deliveries", ranges: &self.ranges, everywhere: self.on.text() }
    }
}

pub(super) fn order(keys: &[SortKey]) -> Vec<OrderTerm> {
    let term = |key: &SortKey| OrderTerm {
        column: column_of(key.column),
        descending: key.descending,
        nulls: key.column.may_be_absent(),
    };
    keys.iter().map(term).collect()
}
