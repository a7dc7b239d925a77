//! Reading deliveries, and what people do to them.

use engate_model::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::{Delivery, DeliveryState},
    line::Ordering,
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    events::event_hold,
    lines,
    parking::PLUGIN_FAULTY,
    value::{Cells, args},
};

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
    /// Its event is kept no longer, and with it what was to be sent.
    EventForgotten,
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

    /// The newest delivery of an event to an endpoint.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_of(
        &self,
        tenant: TenantId,
        event: EventId,
        endpoint: EndpointId,
    ) -> Result<Option<Delivery>, StoreError> {
        let sql = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM deliveries WHERE event_id = $1 AND endpoint_id = $2 AND tenant_id = $3 ORDER BY code DESC LIMIT 1"
        );
        let row = self.db().row(sql, args![event, endpoint, tenant]).await?;
        row.map(|row| delivery(&mut row.cells())).transpose()
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
        let retried = retry(&mut session, actor.now, &wanted).await?;
        if retried == Retried::Scheduled {
            self.audit(&mut session, actor, tenant, "delivery.retry", &id.to_string(), &json!({})).await?;
            session.commit().await?;
        } else {
            session.rollback().await?;
        }
        Ok(retried)
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

/// Makes `wanted` due at `now`, where that may be; otherwise nothing is changed.
pub(crate) async fn retry(session: &mut Session, now: Timestamp, wanted: &Delivery) -> Result<Retried, StoreError> {
    let held = lines::lock(session, [wanted.endpoint]).await?;
    let event = event_hold(session, wanted.tenant, wanted.event).await?;
    // A trial goes beside every line, as when it was made: in one it would supersede, or hold up, what really happened.
    let ordering = match event {
        Some(true) => Ordering::Parallel,
        _ => held.get(&wanted.endpoint).copied().unwrap_or_default(),
    };
    let line = ordering.line(&wanted.event_type, wanted.subject.as_deref());
    if ordering == Ordering::Latest
        && let Some(newer) = lines::newer(session, wanted).await?
    {
        return Ok(Retried::Outdated(newer));
    }
    if event.is_none() {
        return Ok(Retried::EventForgotten);
    }
    // In a line it joins those that wait; whether it may go follows from who is there.
    let sql = "UPDATE deliveries SET state = 'pending', due_at = CASE WHEN $5 IS NULL THEN $3 END, next_trigger = 'manual', \
               line = $5, waits_behind = CASE WHEN $5 IS NOT NULL THEN $3 END WHERE id = $1 AND tenant_id = $2 \
               AND (state IN ('failed', 'pending') OR (state = 'parked' AND reason = $4)) \
               AND endpoint_id IN (SELECT id FROM endpoints WHERE deleted_at IS NULL)";
    let values = args![wanted.id, wanted.tenant, now, PLUGIN_FAULTY, line.as_deref()];
    if session.execute(sql, values).await? == 1 {
        let lines = line.map(|line| (wanted.endpoint, line.into())).into_iter().collect();
        lines::settle_lines(session, &held, lines).await?;
        return Ok(Retried::Scheduled);
    }
    let found = delivery_in(session, wanted.tenant, wanted.id).await?;
    Ok(match found.ok_or(StoreError::NotFound { what: "delivery" })?.state {
        DeliveryState::Delivering => Retried::InProgress,
        DeliveryState::Failed | DeliveryState::Pending => Retried::EndpointDeleted,
        state => Retried::NotAllowed(state),
    })
}

/// A delivery as the transaction finds it.
pub(crate) async fn delivery_in(
    session: &mut Session,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Option<Delivery>, StoreError> {
    let sql = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE id = $1 AND tenant_id = $2");
    let row = session.row(sql, args![id, tenant]).await?;
    row.map(|row| delivery(&mut row.cells())).transpose()
}
