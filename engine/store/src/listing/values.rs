//! Orders by a column in which many rows are alike: from value to value, each a listing of its own.

use engate_model::{
    EndpointId, TypedId as _,
    delivery::{Delivery, DeliveryState},
    listing::{Column, SortKey, SortValue},
};
use uuid::Uuid;

use super::{
    access::Scope,
    filter::{DeliveryFilter, SuccessFilter},
    lister::Lister,
    names::Names,
};
use crate::{
    compose::{Range, Scan, distinct},
    error::StoreError,
    value::{Row, args},
};

/// Different values that are gone through at most; a listing's time ends sooner.
const VALUES_MAX: u64 = 100_000;

impl Lister {
    pub(super) async fn value_by_value(
        &mut self,
        scope: &Scope,
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let Some((first, rest)) = keys.split_first() else { return Ok(Vec::new()) };
        let mut values = self.values(scope, first.column).await?;
        values.sort_by(|a, b| first.compare(a, b));
        values.dedup();
        let after = after.and_then(<[_]>::split_first);
        let mut rows = Vec::new();
        for value in values {
            let place = match after.map(|(last, place)| (first.compare(&value, last), place)) {
                Some((order, _)) if order.is_lt() => continue,
                Some((order, place)) if order.is_eq() => Some(place),
                _ => None,
            };
            let Some(narrow) = scope.narrowed(first.column, &value, &self.names) else { continue };
            rows.append(&mut self.rows(&narrow, rest, place, limit.saturating_sub(rows.len())).await?);
            if rows.len() >= limit {
                break;
            }
        }
        Ok(rows)
    }

    /// Every value that the column may have in this scope.
    pub(super) async fn values(&mut self, scope: &Scope, column: Column) -> Result<Vec<SortValue>, StoreError> {
        Ok(match column {
            Column::State => DeliveryState::ALL.map(|state| SortValue::Text(state.code().to_owned())).to_vec(),
            Column::Success => [-1, 0, 1].map(SortValue::Int).to_vec(),
            Column::Endpoint => {
                let ids = self.endpoints(&scope.filter, usize::try_from(VALUES_MAX).unwrap_or(usize::MAX)).await?;
                ids.into_iter().map(|id| SortValue::Id(id.uuid().as_u128())).collect()
            }
            Column::Integrator => self.names.by_name.keys().cloned().map(SortValue::Text).collect(),
            Column::EventType => self.texts("deliveries_type", "tenant_id = $1", "event_type").await?,
            Column::Reason => {
                let condition = "tenant_id = $1 AND owner IS NULL AND reason IS NOT NULL";
                let mut reasons = self.texts("deliveries_reason", condition, "reason").await?;
                for row in self.held("reason").await? {
                    reasons.extend(row.cells().text_opt()?.map(SortValue::Text));
                }
                reasons.push(SortValue::Null);
                reasons
            }
            Column::Attempts => {
                let mut numbers = self.unusual_attempts().await?;
                for row in self.held("attempts").await? {
                    numbers.push(row.cells().int()?);
                }
                numbers.into_iter().chain([1]).map(SortValue::Int).collect()
            }
            _ => Vec::new(),
        })
    }

    /// The different texts of an index's column.
    async fn texts(
        &mut self,
        index: &'static str,
        condition: &str,
        column: &str,
    ) -> Result<Vec<SortValue>, StoreError> {
        let rows = self.distinct(index, condition, column).await?;
        rows.iter().map(|row| row.cells().text().map(SortValue::Text)).collect()
    }

    /// The different values of an index's column, in their order.
    pub(super) async fn distinct(
        &mut self,
        index: &'static str,
        condition: &str,
        column: &str,
    ) -> Result<Vec<Row>, StoreError> {
        self.reader.check().await?;
        let sql = distinct(self.dialect, "deliveries", index, condition, column, 2);
        self.reader.session.rows(sql, args![self.tenant, VALUES_MAX]).await
    }

    /// The different values of a column among what is in hand.
    async fn held(&mut self, column: &str) -> Result<Vec<Row>, StoreError> {
        let condition = "tenant_id = $1 AND owner IS NOT NULL".to_owned();
        let range = Range::of(Some("deliveries_owner"), condition);
        let scan = Scan { table: "deliveries", ranges: &[range], everywhere: "" };
        let sql = scan.aggregate(self.dialect, &format!("DISTINCT {column}"), column);
        self.reader.session.rows(sql, args![self.tenant]).await
    }
}

impl Scope {
    /// The same where the column has that value; none where that takes nothing.
    fn narrowed(&self, column: Column, value: &SortValue, names: &Names) -> Option<Self> {
        let mut scope = self.clone();
        let filter = &mut scope.filter;
        match (column, value) {
            (Column::State, SortValue::Text(code)) => {
                filter.states = narrowed(&filter.states, DeliveryState::from_code(code)?)?;
            }
            (Column::Success, SortValue::Int(number)) => {
                let success = match number {
                    0 => SuccessFilter::No,
                    1 => SuccessFilter::Yes,
                    _ => SuccessFilter::Pending,
                };
                filter.success = narrowed(&filter.success, success)?;
            }
            (Column::Integrator, SortValue::Text(name)) => {
                let mut ids = names.by_name.get(name)?.clone();
                ids.retain(|id| filter.integrators.is_empty() || filter.integrators.contains(id));
                filter.integrators = (!ids.is_empty()).then_some(ids)?;
            }
            (Column::Endpoint, SortValue::Id(bits)) => {
                let id = EndpointId::from_uuid(Uuid::from_u128(*bits));
                filter.endpoints = narrowed(&filter.endpoints, id)?;
            }
            (Column::EventType, SortValue::Text(key)) => {
                filter.event_types = narrowed(&filter.event_types, key.clone())?;
            }
            (Column::Attempts, SortValue::Int(number)) => narrow_attempts(filter, u32::try_from(*number).ok()?)?,
            (Column::Reason, SortValue::Text(_) | SortValue::Null) => {
                let wanted = if let SortValue::Text(reason) = value { Some(reason.clone()) } else { None };
                if scope.reason.as_ref().is_some_and(|given| *given != wanted) {
                    return None;
                }
                scope.reason = Some(wanted);
            }
            _ => return None,
        }
        Some(scope)
    }
}

/// Those of `to` that `given` has too, if it has any; none where that is nothing.
pub(super) fn narrowed_to<T: PartialEq + Clone>(given: &[T], to: &[T]) -> Option<Vec<T>> {
    let kept: Vec<T> = to.iter().filter(|one| given.is_empty() || given.contains(one)).cloned().collect();
    (!kept.is_empty()).then_some(kept)
}

fn narrowed<T: PartialEq>(given: &[T], to: T) -> Option<Vec<T>> {
    (given.is_empty() || given.contains(&to)).then(|| vec![to])
}

pub(super) fn narrow_attempts(filter: &mut DeliveryFilter, to: u32) -> Option<()> {
    let taken = filter.attempts_min.is_none_or(|min| min <= to) && filter.attempts_max.is_none_or(|max| to <= max);
    (filter.attempts_min, filter.attempts_max) = (Some(to), Some(to));
    taken.then_some(())
}
