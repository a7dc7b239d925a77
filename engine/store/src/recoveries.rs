//! Recoveries: what is to be tried again, and how far that is.
//!
//! Who acts here: an operator, who starts one and may call it off; and whichever node looks when the next delivery may go.
//! There is no lease. A step holds the recovery's row, goes through *one* delivery as a retry by hand does, and moves the
//! row's place behind it, all in one transaction that begins by comparing that place. So a second node finds that it was
//! overtaken, a death between two steps loses nothing, and none sets a delivery due twice.

use engate_model::{
    RecoveryId, TenantId, Timestamp,
    delivery::Delivery,
    recovery::{
        CHANGED, ENDPOINT_DELETED, EVENT_NOT_KEPT, IN_PROGRESS, NEWER_VERSION, NOT_KEPT, RUNNING_MAX, Recovery,
        RecoveryState, TEST,
    },
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    deliveries::{Retried, delivery_in, retry},
    error::StoreError,
    events::{PAGE_MAX, event_is_test},
    listing::Total,
    sql::twins,
    tenants::hold_live,
    value::{Row, args, json as json_value},
};

/// One page of recoveries.
#[derive(Debug)]
pub struct RecoveryPage {
    /// The recoveries, the newest first.
    pub items: Vec<Recovery>,
    /// The last one's id where there are more.
    pub next: Option<RecoveryId>,
    /// How many there are on all pages.
    pub total: Total,
}

/// What became of one delivery's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It is due now.
    Retried,
    /// It cannot be tried again; a stable code says why.
    Skipped(&'static str),
    /// Another node went on, or the recovery is over: nothing was done.
    Overtaken,
}

/// What became of a wish to call one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryCancelled {
    /// It goes no further.
    Cancelled,
    /// It had ended.
    AlreadyOver(RecoveryState),
}

/// Columns in the order of [`recovery`].
macro_rules! columns {
    () => {
        "id, tenant_id, filter, since_at, until_at, rate, state, matched, matched_estimated, at_code, retried, skipped, \
         trouble, created_by, started_at, finished_at, due_at"
    };
}

impl Store {
    /// Enters a recovery; whoever looks next goes on with it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant is deleted, [`StoreError::Conflict`] where [`RUNNING_MAX`] of the tenant are
    /// under way, or when the database gives no answer.
    pub async fn recovery_create(&self, actor: &Actor, made: &Recovery) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        // Held alone: two that start at once would each count without the other.
        hold_live(&mut session, made.tenant).await?;
        let sql = "SELECT count(*) FROM recoveries WHERE tenant_id = $1 AND state = 'running'";
        let count = session.row(sql, args![made.tenant]).await?;
        if count.map_or(Ok(0), |row| row.cells().count())? >= RUNNING_MAX {
            return Err(StoreError::Conflict { what: "the largest number of recoveries" });
        }
        let sql = concat!(
            "INSERT INTO recoveries (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        );
        let values = args![
            made.id,
            made.tenant,
            json_value(&made.filter)?,
            made.since,
            made.until,
            made.rate,
            made.state.code(),
            made.matched,
            made.matched_estimated,
            made.position,
            made.retried,
            json_value(&made.skipped)?,
            made.trouble.as_deref(),
            &made.created_by,
            made.started_at,
            made.finished_at,
            made.next_at,
        ];
        session.execute(sql, values).await?;
        let detail = json!({
            "filter": made.filter, "since": made.since, "until": made.until, "rate": made.rate, "matched": made.matched,
        });
        self.audit(&mut session, actor, made.tenant, "recovery.create", &made.id.to_string(), &detail).await?;
        session.commit().await
    }

    /// A recovery.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_get(&self, tenant: TenantId, id: RecoveryId) -> Result<Option<Recovery>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM recoveries WHERE id = $1 AND tenant_id = $2");
        self.db().row(sql, args![id, tenant]).await?.as_ref().map(recovery).transpose()
    }

    /// A page of a tenant's recoveries made before `after`, the newest first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_list(
        &self,
        tenant: TenantId,
        after: Option<RecoveryId>,
        limit: u32,
    ) -> Result<RecoveryPage, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut session = self.db().snapshot().await?;
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM recoveries WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
        );
        let values = args![tenant, after.unwrap_or(RecoveryId::MAX), u64::from(limit) + 1];
        let rows = session.rows(sql, values).await?;
        let mut items = rows.iter().map(recovery).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| last.id);
        let row = session.row("SELECT count(*) FROM recoveries WHERE tenant_id = $1", args![tenant]).await?;
        let count = row.map_or(Ok(0), |row| row.cells().count())?;
        Ok(RecoveryPage { items, next, total: Total { count, exact: true } })
    }

    /// Calls a recovery off. What it set due before stays due.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn recovery_cancel(
        &self,
        actor: &Actor,
        tenant: TenantId,
        id: RecoveryId,
    ) -> Result<RecoveryCancelled, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE recoveries SET state = 'cancelled', finished_at = $3, due_at = NULL WHERE id = $1 AND \
                   tenant_id = $2 AND state = 'running'";
        if session.execute(sql, args![id, tenant, actor.now]).await? == 1 {
            self.audit(&mut session, actor, tenant, "recovery.cancel", &id.to_string(), &json!({})).await?;
            session.commit().await?;
            return Ok(RecoveryCancelled::Cancelled);
        }
        session.rollback().await?;
        let found = self.recovery_get(tenant, id).await?.ok_or(StoreError::NotFound { what: "recovery" })?;
        Ok(RecoveryCancelled::AlreadyOver(found.state))
    }

    /// Recoveries of all tenants whose next delivery may go at `now`, the longest due first, and when the earliest of the
    /// others may.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<Recovery>, Option<Timestamp>), StoreError> {
        let mut session = self.db().reader().await?;
        let sql = concat!("SELECT ", columns!(), " FROM recoveries WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2");
        let rows = session.rows(sql, args![now, limit]).await?;
        let due = rows.iter().map(recovery).collect::<Result<_, _>>()?;
        let row = session.row("SELECT min(due_at) FROM recoveries WHERE due_at > $1", args![now]).await?;
        let next = row.map_or(Ok(None), |row| row.cells().time_opt())?;
        Ok((due, next))
    }

    /// Goes through the next delivery of a recovery: makes it due now under every rule of a retry by hand, or counts why
    /// that cannot be. `seen` is the delivery as its page had it; what became something else since then is left alone, and
    /// so is a trial, which its endpoint's people asked for and saw. Where it was done, `of` is what stands in the database afterwards.
    ///
    /// # Errors
    /// When the database gives no answer; what became of the step then shows when the recovery is read again.
    pub async fn recovery_step(
        &self,
        now: Timestamp,
        of: &mut Recovery,
        seen: &Delivery,
    ) -> Result<Stepped, StoreError> {
        let mut session = self.db().begin().await?;
        let hold = twins!(
            "SELECT id FROM recoveries WHERE id = $1 AND state = 'running' AND at_code = $2",
            sqlite: "",
            postgres: " FOR UPDATE"
        );
        if session.row(hold, args![of.id, of.position]).await?.is_none() {
            session.rollback().await?;
            return Ok(Stepped::Overtaken);
        }
        let skipped = match delivery_in(&mut session, of.tenant, seen.id).await? {
            None => Some(NOT_KEPT),
            Some(found) if (found.state, found.attempts) != (seen.state, seen.attempts) => Some(CHANGED),
            Some(found) => {
                let is_test = event_is_test(&mut session, of.tenant, found.event).await?;
                if is_test { Some(TEST) } else { refusal(retry(&mut session, now, &found).await?) }
            }
        };
        let mut after = of.clone();
        after.went_through(seen.code, skipped, now);
        let sql =
            "UPDATE recoveries SET at_code = $2, retried = $3, skipped = $4, trouble = NULL, due_at = $5 WHERE id = $1";
        let values = args![after.id, after.position, after.retried, json_value(&after.skipped)?, after.next_at];
        session.execute(sql, values).await?;
        session.commit().await?;
        *of = after;
        Ok(skipped.map_or(Stepped::Retried, Stepped::Skipped))
    }

    /// Moves a recovery on to the code `reached` where nothing up to it is left to go through; says whether it was still
    /// where `of` has it.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_pass(&self, of: &Recovery, reached: i64) -> Result<bool, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE recoveries SET at_code = $3, trouble = NULL WHERE id = $1 AND at_code = $2 AND \
                   state = 'running' AND at_code < $3";
        let passed = session.execute(sql, args![of.id, of.position, reached]).await?;
        session.commit().await?;
        Ok(passed == 1)
    }

    /// Ends a recovery that went through all there is; says whether it was still this far.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_end(&self, now: Timestamp, of: &Recovery) -> Result<bool, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE recoveries SET state = 'succeeded', finished_at = $3, due_at = NULL, trouble = NULL \
                   WHERE id = $1 AND at_code = $2 AND state = 'running'";
        let ended = session.execute(sql, args![of.id, of.position, now]).await?;
        session.commit().await?;
        Ok(ended == 1)
    }

    /// Writes down what keeps a recovery from going on, and when it is looked at again.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_trouble(&self, id: RecoveryId, why: &str, again_at: Timestamp) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE recoveries SET trouble = $2, due_at = $3 WHERE id = $1 AND state = 'running'";
        session.execute(sql, args![id, why, again_at]).await?;
        session.commit().await
    }

    /// Forgets at most `limit` recoveries that were over before `before`; gives how many.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn recovery_purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM recoveries WHERE id IN (SELECT id FROM recoveries WHERE finished_at < $1 \
                   ORDER BY finished_at LIMIT $2)";
        let gone = session.execute(sql, args![before, limit]).await?;
        session.commit().await?;
        Ok(gone)
    }
}

/// Why a delivery was not set due; none: it was.
const fn refusal(retried: Retried) -> Option<&'static str> {
    match retried {
        Retried::Scheduled => None,
        Retried::InProgress => Some(IN_PROGRESS),
        Retried::EndpointDeleted => Some(ENDPOINT_DELETED),
        Retried::EventForgotten => Some(EVENT_NOT_KEPT),
        Retried::Outdated(_) => Some(NEWER_VERSION),
        Retried::NotAllowed(state) => Some(state.code()),
    }
}

fn recovery(row: &Row) -> Result<Recovery, StoreError> {
    let mut cells = row.cells();
    Ok(Recovery {
        id: cells.id()?,
        tenant: cells.id()?,
        filter: cells.json()?,
        since: cells.time()?,
        until: cells.time()?,
        rate: cells.small()?,
        state: cells.code(RecoveryState::from_code)?,
        matched: cells.count()?,
        matched_estimated: cells.flag()?,
        position: cells.int()?,
        retried: cells.count()?,
        skipped: cells.json()?,
        trouble: cells.text_opt()?,
        created_by: cells.text()?,
        started_at: cells.time()?,
        finished_at: cells.time_opt()?,
        next_at: cells.time_opt()?,
    })
}
