//! The narrowest ranges of indexes that hold everything a filter takes.

use engate_model::{EndpointId, Timestamp, listing::Column};

use super::{
    conditions::Conditions,
    filter::{DeliveryFilter, SuccessFilter, column_of, holds},
    lister::Lister,
    near::late_index,
    ranges::{beside, in_hand, states, successes},
};
use crate::{compose::Range, error::StoreError, value::Value};

/// SQLite's own index of the ids.
pub(crate) const BY_ID: &str = "sqlite_autoindex_deliveries_1";
/// Endpoints whose deliveries are read as ranges of their own; of more, the tenant's are read and those of others
/// passed over.
const ENDPOINT_RANGES_MAX: usize = 8;
/// The same for event types.
const TYPE_RANGES_MAX: usize = 32;
/// Rows of ranges that are rather read to their end than walked through.
const READ_WHOLE_MAX: u64 = 5_000;
/// Rows up to which ranges are compared by how many they hold.
const COMPARED_MAX: u64 = 20_001;

/// A filter, and what the lister narrows it by while it goes from value to value.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub filter: DeliveryFilter,
    /// Of this reason, or of none.
    pub reason: Option<Option<String>>,
    /// Columns in which there is nothing.
    pub absent: Vec<Column>,
    /// Columns with a text.
    pub equal: Vec<(Column, String)>,
    /// Holding that in subject or correlation id, folded.
    pub text: Option<String>,
    /// With a code from the first to the second.
    pub codes: Option<(i64, i64)>,
    /// Tried last at the first instant or later, before the second.
    pub attempted: Option<(Timestamp, Timestamp)>,
    /// Due at the first instant or later, before the second.
    pub due: Option<(Timestamp, Timestamp)>,
}

/// Ranges and the conditions on all of them.
#[derive(Clone)]
pub(crate) struct Access {
    pub ranges: Vec<Range>,
    pub on: Conditions,
}

/// The narrowest ranges known.
pub(super) struct Narrowest {
    /// The ranges alone, where something is left to check on their rows and they hold many.
    pub bare: Option<Access>,
    /// With what is left to check.
    pub access: Access,
    /// Whether the last of its ranges is of what came late, and may have any code.
    pub late: bool,
}

impl From<Access> for Narrowest {
    fn from(access: Access) -> Self {
        Self { bare: None, access, late: false }
    }
}

impl Scope {
    pub(crate) fn of(filter: &DeliveryFilter) -> Self {
        let mut filter = filter.clone();
        // Named twice, a type would be read twice.
        filter.event_types.sort_unstable();
        filter.event_types.dedup();
        Self {
            filter,
            reason: None,
            absent: Vec::new(),
            equal: Vec::new(),
            text: None,
            codes: None,
            attempted: None,
            due: None,
        }
    }

    /// The same where `column` has nothing.
    pub(crate) fn without(&self, column: Column) -> Self {
        let mut scope = self.clone();
        scope.absent.push(column);
        match column {
            // What was never tried has no success either way.
            Column::LastAttemptAt => scope.narrow_success(&[SuccessFilter::Pending]),
            Column::IntegratedAt => scope.narrow_success(&[SuccessFilter::Pending, SuccessFilter::No]),
            _ => {}
        }
        scope
    }

    /// The same where `column` has that text.
    pub(super) fn of_text(&self, column: Column, text: &str) -> Self {
        let mut scope = self.clone();
        scope.equal.push((column, text.to_owned()));
        scope
    }

    fn narrow_success(&mut self, to: &[SuccessFilter]) {
        let given = std::mem::take(&mut self.filter.success);
        let kept = to.iter().copied().filter(|success| given.is_empty() || given.contains(success));
        self.filter.success = kept.collect();
        if self.filter.success.is_empty() {
            self.filter.words.push(Vec::new());
        }
    }
}

/// One way to get at the rows: its ranges, and what of the filter they leave to be checked.
pub(super) struct Way {
    pub ranges: Vec<Range>,
    pub on: Conditions,
    pub left: Scope,
}

impl Lister {
    /// One range over all rows of the tenant, every condition checked row by row.
    pub(super) fn everything(&self, scope: &Scope, index: Option<&'static str>) -> Access {
        let mut on = Conditions::default();
        let tenant = on.bind(self.tenant.into());
        self.check_rest(scope, &mut on);
        Access { ranges: vec![Range::of(index, format!("tenant_id = ${tenant}"))], on }
    }

    /// The narrowest ranges known; each is in the order of the code where the index is.
    pub(super) async fn access(&mut self, scope: &Scope) -> Result<Access, StoreError> {
        Ok(self.narrowest(scope).await?.access)
    }

    /// The narrowest ranges known with what is left to check on their rows.
    pub(super) async fn narrowest(&mut self, scope: &Scope) -> Result<Narrowest, StoreError> {
        let filter = &scope.filter;
        if !filter.ids.is_empty() {
            return Ok(self.everything(scope, self.dialect.pick(Some(BY_ID), None)).into());
        }
        if filter.event.is_some() {
            return Ok(self.everything(scope, Some("deliveries_event")).into());
        }
        let mut ways = Vec::new();
        // Of all states it is every row, and no other way has more.
        let all = filter.states.is_empty()
            && filter.success.is_empty()
            && filter.integrated_from.is_none()
            && filter.integrated_before.is_none();
        ways.extend((!all).then(|| self.by_state(scope)));
        ways.extend(self.by_endpoint(scope).await?);
        ways.extend(self.by_type(scope));
        ways.extend(self.by_attempts(scope).await?);
        ways.extend(self.by_reason(scope));
        ways.extend(self.by_due(scope));
        ways.extend(self.by_search(scope).await?);
        let narrowed = !ways.is_empty();
        if !narrowed {
            ways.push(self.by_state(scope));
        }
        let window = self.window(scope).await?;
        let mut candidates = Vec::with_capacity(ways.len());
        for way in ways {
            candidates.push(self.in_window(way, scope, &window));
        }
        let several = candidates.len() > 1;
        let read_whole_max = READ_WHOLE_MAX.min(self.sorted_max);
        let (mut best, mut fewest) = (candidates.len().saturating_sub(1), u64::MAX);
        if narrowed && (several || candidates.iter().any(|(bare, access)| bare.on.text() != access.on.text())) {
            fewest = if several { COMPARED_MAX } else { read_whole_max + 1 };
            // From the last, the most special one; of the others it only matters whether they hold fewer.
            for (n, (bare, _)) in candidates.iter().enumerate().rev() {
                let count = self.count(bare, fewest).await?;
                if count < fewest {
                    (best, fewest) = (n, count);
                }
            }
        }
        let Some((bare, access)) = candidates.into_iter().nth(best) else {
            return Ok(self.everything(scope, None).into());
        };
        let checked = fewest > read_whole_max && bare.on.text() != access.on.text();
        Ok(Narrowest { bare: checked.then_some(bare), access, late: window.late.is_some() })
    }

    /// The way with its ranges cut to the window of codes; without and with what is left to check.
    fn in_window(&self, mut way: Way, scope: &Scope, window: &Window) -> (Access, Access) {
        if let Some(codes) = &window.codes {
            let bound: Vec<_> =
                codes.iter().map(|(first, last)| (way.on.bind((*first).into()), way.on.bind((*last).into()))).collect();
            // Those that differ in their codes alone side by side.
            let cut = |range: &Range| {
                bound.iter().map(|codes| Range { codes: Some(*codes), ..range.clone() }).collect::<Vec<_>>()
            };
            let ranges = way.ranges.iter().flat_map(cut).collect();
            way.ranges = ranges;
        }
        let bare = Access { ranges: way.ranges.clone(), on: way.on.clone() };
        self.check_rest(&way.left, &mut way.on);
        let mut access = Access { ranges: way.ranges, on: way.on };
        if let (Some(codes), Some(late)) = (&window.codes, window.late) {
            for beside in beside(codes) {
                access.ranges.push(self.late_range(scope, late, beside, &mut access.on));
            }
        }
        (bare, access)
    }

    /// What was tried or succeeded late, within the wanted time, with these codes: it may have any.
    fn late_range(&self, scope: &Scope, late: Column, (first, last): (i64, i64), on: &mut Conditions) -> Range {
        let mut own = Conditions::default();
        std::mem::swap(&mut own, on);
        // The values so far stay where they are; only this range's text is taken out again.
        let shared = own.text().len();
        let tenant = own.bind(self.tenant.into());
        self.check_rest(scope, &mut own);
        // Each bound by itself, not `NOT BETWEEN`: so the index decides, and no row is read for it.
        own.extend([("code >=", first.into()), ("code <=", last.into())]);
        let (index, late) = late_index(late);
        let rest = own.split_text(shared);
        *on = own;
        Range::of(Some(index), format!("tenant_id = ${tenant} AND {late}{rest}"))
    }

    pub(super) fn check_rest(&self, scope: &Scope, on: &mut Conditions) {
        scope.filter.conditions(self.dialect, on);
        if let Some(text) = &scope.text {
            let condition = holds(self.dialect, &["subject", "correlation_id"], text, on);
            on.and(&format!("({condition})"));
        }
        for (column, text) in &scope.equal {
            on.one_of(column_of(*column), [text]);
        }
        if let Some((first, last)) = scope.codes {
            on.extend([("code >=", first.into()), ("code <=", last.into())]);
        }
        if let Some((from, before)) = scope.attempted {
            on.extend([("last_attempt_at >=", from.into()), ("last_attempt_at <", before.into())]);
        }
        if let Some((from, before)) = scope.due {
            on.extend([("due_at >=", from.into()), ("due_at <", before.into())]);
        }
        match &scope.reason {
            Some(Some(reason)) => on.one_of("reason", [reason]),
            Some(None) => on.and("reason IS NULL"),
            None => {}
        }
        for column in &scope.absent {
            on.and(&format!("{} IS NULL", column_of(*column)));
        }
    }

    /// By state and success: the way that is always there. Where a time of success is wanted, what never succeeded is
    /// passed over whole, and what succeeded once but failed since has an index of its own.
    fn by_state(&self, scope: &Scope) -> Way {
        let mut on = Conditions::default();
        let start = format!("tenant_id = ${}", on.bind(self.tenant.into()));
        let filter = &scope.filter;
        let wants = |success| filter.success.is_empty() || filter.success.contains(&success);
        let mut ranges = Vec::new();
        let mut by_state = |filter: &DeliveryFilter| {
            ranges.extend(states("deliveries_tenant", &format!("{start} AND "), &[], filter));
        };
        if filter.integrated_from.is_none() && filter.integrated_before.is_none() {
            by_state(filter);
        } else {
            if wants(SuccessFilter::Yes) {
                by_state(&DeliveryFilter { success: vec![SuccessFilter::Yes], ..filter.clone() });
            }
            if wants(SuccessFilter::No) || wants(SuccessFilter::Pending) {
                let mut condition = format!(
                    "{start} AND owner IS NULL AND success <> 1 AND integrated_at IS NOT NULL{}",
                    successes(filter)
                );
                if !filter.states.is_empty() {
                    condition.push_str(" AND ");
                    condition.push_str(&on.list("state", filter.states.iter().map(|state| state.code())));
                }
                ranges.push(Range::of(Some("deliveries_taken_before"), condition));
            }
        }
        ranges.extend(in_hand(&start, filter));
        Way { ranges, on, left: without_states(scope) }
    }

    /// By the endpoints meant, their deliveries by state and success.
    async fn by_endpoint(&mut self, scope: &Scope) -> Result<Option<Way>, StoreError> {
        let filter = &scope.filter;
        if filter.endpoints.is_empty() && filter.integrators.is_empty() {
            return Ok(None);
        }
        let endpoints = self.endpoints(filter, ENDPOINT_RANGES_MAX + 1).await?;
        if endpoints.len() > ENDPOINT_RANGES_MAX {
            return Ok(None);
        }
        let mut on = Conditions::default();
        let mut ranges = Vec::new();
        for endpoint in &endpoints {
            let key = ("endpoint_id", format!("${}", on.bind((*endpoint).into())));
            ranges.extend(states("deliveries_endpoint", "", &[key], filter));
        }
        let start = on.list("endpoint_id", endpoints);
        ranges.extend(in_hand(&start, filter));
        let mut left = without_states(scope);
        (left.filter.endpoints, left.filter.integrators) = (Vec::new(), Vec::new());
        Ok(Some(Way { ranges, on, left }))
    }

    /// The tenant's endpoints that the filter means, deleted ones too: their deliveries are history. Seen to be the
    /// tenant's here, so that their index alone is read and no row for its tenant.
    pub(super) async fn endpoints(
        &mut self,
        filter: &DeliveryFilter,
        most: usize,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let mut on = Conditions::default();
        let tenant = on.bind(self.tenant.into());
        on.one_of("id", filter.endpoints.iter().copied());
        on.one_of("integrator_id", filter.integrators.iter().copied());
        let (values, limit) = on.values_with(Value::from(u64::try_from(most).unwrap_or(u64::MAX)));
        let range = Range::of(None, format!("tenant_id = ${tenant}"));
        let scan = crate::compose::Scan { table: "endpoints", ranges: &[range], everywhere: on.text() };
        let order = [crate::compose::OrderTerm { column: "id", descending: false, nulls: false }];
        let rows = self.reader.session.rows(scan.page(self.dialect, "id", &order, limit), values).await?;
        rows.iter().map(|row| row.cells().id()).collect()
    }

    /// By event type.
    fn by_type(&self, scope: &Scope) -> Option<Way> {
        let types = &scope.filter.event_types;
        if types.is_empty() || types.len() > TYPE_RANGES_MAX {
            return None;
        }
        let mut on = Conditions::default();
        let tenant = on.bind(self.tenant.into());
        let range = |key: &String| Range {
            index: Some("deliveries_type"),
            condition: format!("tenant_id = ${tenant}"),
            keys: vec![("event_type", format!("${}", on.bind(key.into())))],
            codes: None,
        };
        let ranges = types.iter().map(range).collect();
        let mut left = scope.clone();
        left.filter.event_types = Vec::new();
        Some(Way { ranges, on, left })
    }

    /// By the number of tries, where the usual one is not among those meant.
    async fn by_attempts(&mut self, scope: &Scope) -> Result<Option<Way>, StoreError> {
        let (min, max) = (scope.filter.attempts_min.unwrap_or(0), scope.filter.attempts_max.unwrap_or(u32::MAX));
        let bounded = scope.filter.attempts_min.is_some() || scope.filter.attempts_max.is_some();
        if !bounded || (min <= 1 && 1 <= max) {
            return Ok(None);
        }
        let numbers =
            self.unusual_attempts().await?.into_iter().filter(|n| (i64::from(min)..=i64::from(max)).contains(n));
        let mut on = Conditions::default();
        let start = format!("tenant_id = ${}", on.bind(self.tenant.into()));
        let range = |number: i64| Range {
            index: Some("deliveries_attempts"),
            condition: format!("{start} AND owner IS NULL AND attempts <> 1"),
            keys: vec![("attempts", number.to_string())],
            codes: None,
        };
        let mut ranges: Vec<_> = numbers.map(range).collect();
        let held = format!("{start} AND attempts BETWEEN {min} AND {max}");
        ranges.extend(in_hand(&held, &DeliveryFilter::default()));
        let mut left = scope.clone();
        (left.filter.attempts_min, left.filter.attempts_max) = (None, None);
        Ok(Some(Way { ranges, on, left }))
    }

    /// By what went wrong.
    fn by_reason(&self, scope: &Scope) -> Option<Way> {
        let reason = scope.reason.as_ref()?.as_ref()?;
        let mut on = Conditions::default();
        let tenant = on.bind(self.tenant.into());
        let start = format!("tenant_id = ${tenant} AND reason = ${}", on.bind(reason.into()));
        let condition = format!("{start} AND owner IS NULL AND reason IS NOT NULL");
        let mut ranges = vec![Range::of(Some("deliveries_reason"), condition)];
        ranges.extend(in_hand(&start, &DeliveryFilter::default()));
        let mut left = scope.clone();
        left.reason = None;
        Some(Way { ranges, on, left })
    }

    /// By when they are due.
    fn by_due(&self, scope: &Scope) -> Option<Way> {
        let (from, before) = scope.due?;
        let mut on = Conditions::default();
        let tenant = on.bind(self.tenant.into());
        let (from, before) = (on.bind(from.into()), on.bind(before.into()));
        let condition =
            format!("tenant_id = ${tenant} AND due_at IS NOT NULL AND due_at >= ${from} AND due_at < ${before}");
        let mut left = scope.clone();
        left.due = None;
        Some(Way { ranges: vec![Range::of(Some("deliveries_waiting"), condition)], on, left })
    }

    /// Which codes may have been created, tried, or have succeeded, in the wanted time.
    async fn window(&mut self, scope: &Scope) -> Result<Window, StoreError> {
        let filter = &scope.filter;
        let created = (filter.created_from, filter.created_before);
        let integrated = (filter.integrated_from, filter.integrated_before);
        let attempted = scope.attempted.map_or((None, None), |(from, before)| (Some(from), Some(before)));
        let mut window = Window { codes: scope.codes.map(|codes| vec![codes]), late: None };
        let nowhere = (None, None);
        let (times, late) = if created != nowhere {
            (created, None)
        } else if integrated != nowhere {
            (integrated, Some(Column::IntegratedAt))
        } else if attempted != nowhere {
            (attempted, Some(Column::LastAttemptAt))
        } else {
            return Ok(window);
        };
        let from = times.0.map(|from| if late.is_some() { from.before(super::near::LATE) } else { from });
        // Codes that are wanted as well are checked on the rows.
        window.codes = Some(self.codes_between((from, times.1)).await?);
        window.late = late;
        Ok(window)
    }

    /// The values that the column of an index takes beside what the index leaves out.
    pub(super) async fn unusual_attempts(&mut self) -> Result<Vec<i64>, StoreError> {
        let condition = "tenant_id = $1 AND owner IS NULL AND attempts <> 1";
        let rows = self.distinct("deliveries_attempts", condition, "attempts").await?;
        rows.iter().map(|row| row.cells().int()).collect()
    }
}

/// Codes to which ranges are cut.
struct Window {
    codes: Option<Vec<(i64, i64)>>,
    /// The time by which what came late is to be looked for beside them.
    late: Option<Column>,
}

fn without_states(scope: &Scope) -> Scope {
    let mut left = scope.clone();
    (left.filter.states, left.filter.success) = (Vec::new(), Vec::new());
    left
}
