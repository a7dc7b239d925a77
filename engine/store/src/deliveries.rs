//! Reading deliveries, and what people do to them.

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState},
    line::Ordering,
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    commit::finish::success_number,
    compose::{Merged, Range},
    error::StoreError,
    events::{Order, PAGE_MAX},
    lines,
    parking::PLUGIN_FAULTY,
    value::{Cells, Value, args},
};

/// Up to here a listing's total is counted; beyond, it is at least that many.
pub const TOTAL_EXACT_MAX: u64 = 10_000;
/// Endpoints of one integrator that are read as ranges of their own; of more, the tenant's deliveries are read
/// and those of others passed over.
const ENDPOINT_RANGES_MAX: i64 = 8;

/// Which deliveries are listed; empty and none mean any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// In one of these states.
    pub states: Vec<DeliveryState>,
    /// By how the last attempt ended.
    pub success: Option<SuccessFilter>,
    /// Of this integrator.
    pub integrator: Option<IntegratorId>,
    /// To this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// Of this type.
    pub event_type: Option<String>,
    /// Of events taken at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Of events taken before this instant.
    pub created_before: Option<Timestamp>,
}

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuccessFilter {
    /// It succeeded.
    Yes,
    /// It failed.
    No,
    /// There was none yet.
    Pending,
}

impl SuccessFilter {
    const fn success(self) -> Option<bool> {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Pending => None,
        }
    }
}

/// Which part of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Code of the last row seen.
    pub after: Option<i64>,
    /// Rows at most, up to [`PAGE_MAX`].
    pub limit: u32,
    /// Which end comes first.
    pub order: Order,
}

/// One page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The deliveries.
    pub items: Vec<Delivery>,
    /// Where the next page begins, where there is one.
    pub next: Option<i64>,
    /// How many there are on all pages.
    pub total: Total,
}

/// How many rows a listing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The number, or [`TOTAL_EXACT_MAX`].
    pub count: u64,
    /// Whether that is all.
    pub exact: bool,
}

/// What became of a wish to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It is due now.
    Scheduled,
    /// A try is under way.
    InProgress,
    /// Its endpoint is gone.
    EndpointDeleted,
    /// Nothing of this state is tried again.
    NotAllowed(DeliveryState),
    /// Its endpoint takes the newest version only, and the delivery of this code is newer.
    Outdated(i64),
}

/// What became of a wish to call off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It will not go.
    Cancelled,
    /// A try is under way.
    InProgress,
    /// It had ended.
    AlreadyFinished(DeliveryState),
}

/// Columns in the order of [`delivery`].
macro_rules! delivery_columns {
    () => {
        "id, code, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, success, reason, \
         attempts, created_at, first_attempt_at, last_attempt_at, integrated_at, due_at, correlation_id"
    };
}
pub(crate) use delivery_columns;

/// Reads [`delivery_columns`].
pub(crate) fn delivery(cells: &mut Cells<'_>) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: cells.id()?,
        code: cells.int()?,
        tenant: cells.id()?,
        event: cells.id()?,
        event_type: cells.text()?,
        subject: cells.text_opt()?,
        endpoint: cells.id()?,
        integrator: cells.id()?,
        state: cells.code(DeliveryState::from_code)?,
        success: match cells.int()? {
            -1 => None,
            success => Some(success == 1),
        },
        reason: cells.text_opt()?,
        attempts: cells.small()?,
        created_at: cells.time()?,
        first_attempt_at: cells.time_opt()?,
        last_attempt_at: cells.time_opt()?,
        integrated_at: cells.time_opt()?,
        next_attempt_at: cells.time_opt()?,
        correlation_id: cells.text_opt()?,
    })
}

impl Store {
    /// A delivery.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_get(&self, tenant: TenantId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let sql = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE id = $1 AND tenant_id = $2");
        let row = self.db().row(sql, args![id, tenant]).await?;
        row.map(|row| delivery(&mut row.cells())).transpose()
    }

    /// A page of deliveries by their running number.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_list(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<DeliveryPage, StoreError> {
        let endpoints = self.endpoint_ranges(tenant, filter).await?;
        let limit = page.limit.clamp(1, PAGE_MAX);
        let descending = page.order == Order::Descending;
        let after = page.after.unwrap_or(if descending { i64::MAX } else { i64::MIN });
        let (merged, rest) = merged(filter, endpoints.as_deref(), descending);
        if merged.ranges.is_empty() {
            let total = Total { count: 0, exact: true };
            return Ok(DeliveryPage { items: Vec::new(), next: None, total });
        }
        let with = |second: Value, third: Value| {
            let mut values = args![tenant, second, third];
            values.extend(rest.iter().cloned());
            values
        };
        let mut session = self.db().reader().await?;
        let dialect = session.dialect();
        let rows = session.rows(merged.page(dialect, 2, 3), with(after.into(), (limit + 1).into())).await?;
        let mut items = rows.iter().map(|row| delivery(&mut row.cells())).collect::<Result<Vec<_>, _>>()?;
        let bound = Value::from(TOTAL_EXACT_MAX + 1);
        let mut count = 0;
        for row in session.rows(merged.count(dialect, 2), with(bound, Value::Int(None))).await? {
            count += row.cells().count()?;
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|delivery| delivery.code);
        let total = Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX };
        Ok(DeliveryPage { items, next, total })
    }

    /// The endpoints whose ranges make up the listing; none where it goes by the tenant's.
    async fn endpoint_ranges(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
    ) -> Result<Option<Vec<EndpointId>>, StoreError> {
        if filter.event.is_some() {
            return Ok(None);
        }
        if let Some(endpoint) = filter.endpoint {
            // Seen to be the tenant's here, so that its index alone is read and no row for its tenant.
            let sql = "SELECT id FROM endpoints WHERE id = $1 AND tenant_id = $2";
            let rows = self.db().rows(sql, args![endpoint, tenant]).await?;
            return Ok(Some(rows.iter().map(|row| row.cells().id()).collect::<Result<_, _>>()?));
        }
        let Some(integrator) = filter.integrator else { return Ok(None) };
        // Deleted ones too: their deliveries are history.
        let sql = "SELECT id FROM endpoints WHERE integrator_id = $1 AND tenant_id = $2 ORDER BY id LIMIT $3";
        let rows = self.db().rows(sql, args![integrator, tenant, ENDPOINT_RANGES_MAX + 1]).await?;
        let ids: Vec<EndpointId> = rows.iter().map(|row| row.cells().id()).collect::<Result<_, _>>()?;
        Ok((i64::try_from(ids.len()).unwrap_or(i64::MAX) <= ENDPOINT_RANGES_MAX).then_some(ids))
    }

    /// Makes a delivery due now because someone wants it: one that failed for good, that waits, or whose plugin failed
    /// again and again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn delivery_retry(&self, actor: &Actor, tenant: TenantId, id: DeliveryId) -> Result<Retried, StoreError> {
        let missing = StoreError::NotFound { what: "delivery" };
        let wanted = self.delivery_get(tenant, id).await?.ok_or(missing)?;
        let mut session = self.db().begin().await?;
        let held = lines::lock(&mut session, [wanted.endpoint]).await?;
        let ordering = held.get(&wanted.endpoint).copied().unwrap_or_default();
        let line = ordering.line(&wanted.event_type, wanted.subject.as_deref());
        if ordering == Ordering::Latest
            && let Some(newer) = lines::newer(&mut session, &wanted).await?
        {
            session.rollback().await?;
            return Ok(Retried::Outdated(newer));
        }
        // In a line it joins those that wait; whether it may go follows from who is there.
        let sql = "UPDATE deliveries SET state = 'pending', due_at = CASE WHEN $5 IS NULL THEN $3 END, next_trigger = 'manual', \
                   line = $5, waits_behind = CASE WHEN $5 IS NOT NULL THEN $3 END WHERE id = $1 AND tenant_id = $2 \
                   AND (state IN ('failed', 'pending') OR (state = 'parked' AND reason = $4)) \
                   AND endpoint_id IN (SELECT id FROM endpoints WHERE deleted_at IS NULL)";
        let values = args![id, tenant, actor.now, PLUGIN_FAULTY, line.as_deref()];
        if session.execute(sql, values).await? == 1 {
            let lines = line.map(|line| (wanted.endpoint, line.into())).into_iter().collect();
            lines::settle_lines(&mut session, &held, lines).await?;
            self.audit(&mut session, actor, tenant, "delivery.retry", &id.to_string(), &json!({})).await?;
            session.commit().await?;
            return Ok(Retried::Scheduled);
        }
        session.rollback().await?;
        let found = self.delivery_get(tenant, id).await?.ok_or(StoreError::NotFound { what: "delivery" })?;
        Ok(match found.state {
            DeliveryState::Delivering => Retried::InProgress,
            DeliveryState::Failed | DeliveryState::Pending => Retried::EndpointDeleted,
            state => Retried::NotAllowed(state),
        })
    }

    /// Calls off a delivery that waits.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn delivery_cancel(
        &self,
        actor: &Actor,
        tenant: TenantId,
        id: DeliveryId,
        reason: &str,
    ) -> Result<Cancelled, StoreError> {
        let mut session = self.db().begin().await?;
        let lines = lines::lines_of(&mut session, [id]).await?;
        let held = lines::lock_of(&mut session, &lines).await?;
        let sql = "UPDATE deliveries SET state = 'cancelled', reason = $3, due_at = NULL, line = NULL, waits_behind = NULL \
                   WHERE id = $1 AND tenant_id = $2 AND state IN ('pending', 'parked')";
        if session.execute(sql, args![id, tenant, reason]).await? == 1 {
            lines::settle_lines(&mut session, &held, lines).await?;
            let detail = json!({ "reason": reason });
            self.audit(&mut session, actor, tenant, "delivery.cancel", &id.to_string(), &detail).await?;
            session.commit().await?;
            return Ok(Cancelled::Cancelled);
        }
        session.rollback().await?;
        let found = self.delivery_get(tenant, id).await?.ok_or(StoreError::NotFound { what: "delivery" })?;
        Ok(if found.state.is_finished() { Cancelled::AlreadyFinished(found.state) } else { Cancelled::InProgress })
    }
}

/// The ranges that make up a listing, and the values of `$4` and on.
///
/// Each pair of state and success is a range of an index that is ordered by code, so a page of what failed is
/// read without passing over millions that did not.
fn merged(filter: &DeliveryFilter, endpoints: Option<&[EndpointId]>, descending: bool) -> (Merged, Vec<Value>) {
    let mut rest: Vec<Value> = Vec::new();
    let mut placeholder = |value: Value| {
        rest.push(value);
        rest.len() + 3
    };
    let mut everywhere = String::new();
    let mut also = |column: &str, comparison: &str, at: usize| {
        everywhere.push_str(&format!(" AND {column} {comparison} ${at}"));
    };
    if let Some(integrator) = filter.integrator {
        also("integrator_id", "=", placeholder(integrator.into()));
    }
    if let Some(from) = filter.created_from {
        also("created_at", ">=", placeholder(from.into()));
    }
    if let Some(before) = filter.created_before {
        also("created_at", "<", placeholder(before.into()));
    }
    let pairs = pairs(filter);
    let chosen = !filter.states.is_empty() || filter.success.is_some();
    let of_tenant = |index, start: &str, pairs: &[Pair]| {
        let range = |pair: &Pair| Range { index, condition: format!("{start} AND {}", pair.condition()) };
        pairs.iter().map(range).collect::<Vec<_>>()
    };
    // What is in hand is in neither of the indexes by state; there is never much of it.
    let by_state = |index, start: &str| {
        let (held, rest): (Vec<_>, Vec<_>) = pairs.iter().partition(|pair| pair.state == DeliveryState::Delivering);
        let mut ranges = of_tenant(index, &format!("{start} AND owner IS NULL"), &rest);
        ranges.extend(of_tenant("deliveries_owner", &format!("{start} AND owner IS NOT NULL"), &held));
        ranges
    };
    let ranges = match (filter.event, endpoints, &filter.event_type) {
        (Some(event), _, _) => {
            let start = format!("tenant_id = $1 AND event_id = ${}", placeholder(event.into()));
            if let Some(endpoint) = filter.endpoint {
                also("endpoint_id", "=", placeholder(endpoint.into()));
            }
            of_tenant("deliveries_event", &start, &pairs)
        }
        (None, Some(endpoints), _) => {
            let starts = endpoints.iter().map(|endpoint| placeholder((*endpoint).into()));
            let starts = starts.map(|at| format!("endpoint_id = ${at}")).collect::<Vec<_>>();
            starts.iter().flat_map(|start| by_state("deliveries_endpoint", start)).collect()
        }
        (None, None, Some(_)) if !chosen => {
            vec![Range { index: "deliveries_type", condition: "tenant_id = $1".to_owned() }]
        }
        (None, None, _) => by_state("deliveries_tenant", "tenant_id = $1"),
    };
    if let Some(event_type) = &filter.event_type {
        also("event_type", "=", placeholder(event_type.into()));
    }
    let merged =
        Merged { columns: delivery_columns!(), table: "deliveries", order_by: "code", descending, ranges, everywhere };
    (merged, rest)
}

/// A state and how the last attempt ended.
#[derive(Clone, Copy)]
struct Pair {
    state: DeliveryState,
    success: Option<bool>,
}

impl Pair {
    fn condition(self) -> String {
        format!("state = '{}' AND success = {}", self.state.code(), success_number(self.success))
    }
}

/// The pairs that the filter takes.
fn pairs(filter: &DeliveryFilter) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for state in DeliveryState::ALL {
        if !filter.states.is_empty() && !filter.states.contains(&state) {
            continue;
        }
        let successes: &[Option<bool>] = match state {
            DeliveryState::Succeeded => &[Some(true)],
            DeliveryState::Failed => &[Some(false)],
            _ => &[None, Some(false), Some(true)],
        };
        let taken =
            successes.iter().filter(|success| filter.success.is_none_or(|wanted| wanted.success() == **success));
        pairs.extend(taken.map(|success| Pair { state, success: *success }));
    }
    pairs
}
