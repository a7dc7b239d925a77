//! Deliveries that stand still: parked while their endpoint is disabled or their plugin fails, or set aside by the node
//! that holds them.

use engate_model::{DeliveryId, EndpointId, TenantId, Timestamp, delivery::DeliveryState};

use crate::{Store, commit::finish::Finished, db::Session, error::StoreError, lines, nodes::NodeSerial, value::args};

/// Why a delivery is parked that waits for its endpoint to be enabled.
pub const ENDPOINT_DISABLED: &str = "endpoint_disabled";

/// Why a delivery is parked whose plugin fails again and again.
pub const PLUGIN_FAULTY: &str = "plugin_faulty";

/// Parks what waits for an endpoint.
pub(crate) async fn park(session: &mut Session, endpoint: EndpointId) -> Result<u64, StoreError> {
    let sql = "UPDATE deliveries SET state = 'parked', reason = $2, due_at = NULL \
               WHERE endpoint_id = $1 AND due_at IS NOT NULL";
    session.execute(sql, args![endpoint, ENDPOINT_DISABLED]).await
}

/// Lets what was parked with its endpoint go on, due now.
pub(crate) async fn resume(session: &mut Session, endpoint: EndpointId, now: Timestamp) -> Result<u64, StoreError> {
    let sql = "UPDATE deliveries SET state = 'pending', reason = NULL, due_at = $3 \
               WHERE endpoint_id = $1 AND state = 'parked' AND reason = $2";
    session.execute(sql, args![endpoint, ENDPOINT_DISABLED, now]).await
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
}
