//! Deliveries that stand still: parked while their endpoint is disabled or its queue paused, while their plugin fails, or
//! set aside by the node that holds them.

use engate_model::{DeliveryId, EndpointId, TenantId, Timestamp, delivery::DeliveryState};

use crate::{
    Store,
    commit::finish::Finished,
    compose::Bulk,
    db::Session,
    error::StoreError,
    lines,
    nodes::NodeSerial,
    sql::twins,
    value::{Kind, args},
};

/// Why a delivery is parked that waits for its endpoint to be enabled.
pub const ENDPOINT_DISABLED: &str = "endpoint_disabled";

/// Why a delivery is parked that waits for its queue to be resumed.
pub const PAUSED: &str = "paused";

/// Why a delivery is parked whose plugin fails again and again.
pub const PLUGIN_FAULTY: &str = "plugin_faulty";

/// Deliveries in hand are put aside as their endpoint is now: parked with the reason, due at once where there is none.
static ASIDE: Bulk = Bulk::new(
    "UPDATE deliveries SET state = v.state, reason = COALESCE(v.reason, deliveries.reason), due_at = v.due_at, \
     owner = NULL FROM (",
    &[
        ("delivery_id", Kind::Id),
        ("held_by", Kind::Int),
        ("state", Kind::Text),
        ("reason", Kind::Text),
        ("due_at", Kind::Int),
    ],
    ") AS v WHERE deliveries.id = v.delivery_id AND deliveries.owner = v.held_by",
);

/// What an endpoint's deliveries have to stand still for.
async fn reason(session: &mut Session, endpoint: EndpointId) -> Result<Option<&'static str>, StoreError> {
    // On PostgreSQL held until the commit, so that who enables or resumes sees what is parked here.
    let sql = twins!(
        "SELECT enabled, paused_at FROM endpoints WHERE id = $1 AND deleted_at IS NULL",
        sqlite: "",
        postgres: " FOR SHARE"
    );
    let Some(row) = session.row(sql, args![endpoint]).await? else { return Ok(None) };
    let mut cells = row.cells();
    let (enabled, paused_at) = (cells.flag()?, cells.int_opt()?);
    Ok(if !enabled { Some(ENDPOINT_DISABLED) } else { paused_at.map(|_| PAUSED) })
}

/// Brings what waits for an endpoint in line with it, after it was enabled, disabled, paused or resumed: all of it is
/// parked, or what was parked for that is due now, though not before its event says.
pub(crate) async fn settle(session: &mut Session, endpoint: EndpointId, now: Timestamp) -> Result<u64, StoreError> {
    match reason(session, endpoint).await? {
        Some(reason) => {
            let sql = "UPDATE deliveries SET state = 'parked', reason = $2, due_at = NULL \
                       WHERE endpoint_id = $1 AND due_at IS NOT NULL";
            let parked = session.execute(sql, args![endpoint, reason]).await?;
            let sql = "UPDATE deliveries SET reason = $2 WHERE endpoint_id = $1 AND state = 'parked' AND \
                       owner IS NULL AND reason IN ($3, $4) AND reason <> $2";
            session.execute(sql, args![endpoint, reason, ENDPOINT_DISABLED, PAUSED]).await?;
            Ok(parked)
        }
        None => {
            let sql = "UPDATE deliveries SET state = 'pending', reason = NULL, due_at = COALESCE((SELECT e.deliver_at \
                       FROM events e WHERE e.tenant_id = deliveries.tenant_id AND e.id = deliveries.event_id AND \
                       e.deliver_at > $4), $4) \
                       WHERE endpoint_id = $1 AND state = 'parked' AND owner IS NULL AND reason IN ($2, $3)";
            session.execute(sql, args![endpoint, ENDPOINT_DISABLED, PAUSED, now]).await
        }
    }
}

impl Store {
    /// Lets what was parked for `reason` go on, due now; says how many.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_unpark(&self, tenant: TenantId, reason: &str, now: Timestamp) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE deliveries SET state = 'pending', reason = NULL, due_at = $3 \
                   WHERE tenant_id = $1 AND state = 'parked' AND owner IS NULL AND reason = $2";
        let changed = session.execute(sql, args![tenant, reason, now]).await?;
        session.commit().await?;
        Ok(changed)
    }

    /// Ends or parks a delivery in hand without an attempt.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_set_aside(
        &self,
        serial: NodeSerial,
        id: DeliveryId,
        state: DeliveryState,
        reason: &str,
    ) -> Result<Finished, StoreError> {
        let mut session = self.db().begin().await?;
        let lines = lines::lines_of(&mut session, [id]).await?;
        let held = lines::lock_of(&mut session, &lines).await?;
        let sql = "UPDATE deliveries SET state = $3, reason = $4, owner = NULL, due_at = NULL, \
                   line = CASE WHEN $5 = 1 THEN NULL ELSE line END WHERE id = $1 AND owner = $2";
        let changed = session.execute(sql, args![id, serial, state, reason, state.is_finished()]).await?;
        let released = lines::settle_lines(&mut session, &held, lines).await? > 0;
        session.commit().await?;
        Ok(match (changed, released) {
            (1, true) => Finished::Released,
            (1, false) => Finished::Finished,
            _ => Finished::LeaseLost,
        })
    }

    /// Puts deliveries of one endpoint aside that were in hand under these serials, without an attempt: parked where the
    /// endpoint is disabled or its queue paused, else due now. The endpoint's row decides, not what the caller knows of
    /// it: someone may have let it go on just now. `waits_for` is kept as the reason of those that are due.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_put_back(
        &self,
        endpoint: EndpointId,
        held: &[(NodeSerial, DeliveryId)],
        waits_for: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let lines = lines::lines_of(&mut session, held.iter().map(|(_, id)| *id)).await?;
        let locked = lines::lock_of(&mut session, &lines).await?;
        let (state, reason, due_at) = match reason(&mut session, endpoint).await? {
            Some(reason) => (DeliveryState::Parked, Some(reason), None),
            None => (DeliveryState::Pending, waits_for, Some(now)),
        };
        let cells = held.iter().flat_map(|(serial, id)| args![*id, *serial, state, reason, due_at]).collect();
        let changed = ASIDE.execute(&mut session, cells).await?;
        lines::settle_lines(&mut session, &locked, lines).await?;
        session.commit().await?;
        Ok(changed)
    }
}
