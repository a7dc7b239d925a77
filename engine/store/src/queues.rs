//! Queues: what waits for each endpoint, and whether it is to go.

use engate_model::{EndpointId, TenantId, Timestamp};
use serde_json::json;

use crate::{Store, audit::Actor, error::StoreError, failures, parking, value::args};

/// What waits for one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Whose endpoint.
    pub tenant: TenantId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Deliveries that wait, due or not, or behind others; those that a pause holds included.
    pub waiting: u64,
    /// When the event of the oldest of them was taken.
    pub oldest_at: Timestamp,
    /// When the first of them is due; none where a pause holds all, or all wait behind others of their lines.
    pub due_at: Option<Timestamp>,
}

impl Store {
    /// How much waits for each endpoint that has something waiting.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn queue_depths(&self) -> Result<Vec<QueueDepth>, StoreError> {
        let sql = "SELECT e.tenant_id, w.endpoint_id, w.waiting, w.oldest_at, w.due_at FROM (SELECT endpoint_id, \
                   CAST(sum(waiting) AS BIGINT) AS waiting, min(oldest_at) AS oldest_at, min(due_at) AS due_at FROM \
                   (SELECT endpoint_id, count(*) AS waiting, min(created_at) AS oldest_at, min(due_at) AS due_at FROM \
                   deliveries WHERE due_at IS NOT NULL GROUP BY endpoint_id UNION ALL SELECT endpoint_id, count(*), \
                   min(created_at), min(due_at) FROM deliveries WHERE waits_behind IS NOT NULL GROUP BY endpoint_id \
                   UNION ALL SELECT d.endpoint_id, count(*), \
                   min(d.created_at), min(d.due_at) FROM endpoints p JOIN deliveries d ON d.endpoint_id = p.id AND \
                   d.owner IS NULL AND d.state = 'parked' AND d.reason = $1 WHERE p.paused_at IS NOT NULL GROUP BY \
                   d.endpoint_id) AS each_kind GROUP BY endpoint_id) AS w \
                   JOIN endpoints e ON e.id = w.endpoint_id ORDER BY w.endpoint_id";
        let rows = self.db().rows(sql, args![parking::PAUSED]).await?;
        let cells = rows.iter().map(|row| row.cells());
        cells
            .map(|mut cells| {
                Ok(QueueDepth {
                    tenant: cells.id()?,
                    endpoint: cells.id()?,
                    waiting: cells.count()?,
                    oldest_at: cells.time()?,
                    due_at: cells.time_opt()?,
                })
            })
            .collect()
    }

    /// Pauses an endpoint's queue: what waits for it is parked (`paused`), and so is what comes until it is resumed.
    /// False where it was paused already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn queue_pause(&self, actor: &Actor, tenant: TenantId, endpoint: EndpointId) -> Result<bool, StoreError> {
        self.queue_set(actor, tenant, endpoint, Some(actor.now)).await
    }

    /// Resumes a queue: what was parked for its pause is due now, and its endpoint counts as sound. False where it was
    /// not paused.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn queue_resume(
        &self,
        actor: &Actor,
        tenant: TenantId,
        endpoint: EndpointId,
    ) -> Result<bool, StoreError> {
        self.queue_set(actor, tenant, endpoint, None).await
    }

    async fn queue_set(
        &self,
        actor: &Actor,
        tenant: TenantId,
        endpoint: EndpointId,
        paused_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut session = self.change(tenant).await?;
        let sql = match paused_at {
            Some(_) => {
                "UPDATE endpoints SET paused_at = $3, revision = revision + 1 WHERE id = $1 AND tenant_id = $2 AND \
                 deleted_at IS NULL AND paused_at IS NULL"
            }
            None => {
                "UPDATE endpoints SET paused_at = $3, revision = revision + 1 WHERE id = $1 AND tenant_id = $2 AND \
                 deleted_at IS NULL AND paused_at IS NOT NULL"
            }
        };
        if session.execute(sql, args![endpoint, tenant, paused_at]).await? == 0 {
            session.rollback().await?;
            let there = self.endpoint_get(tenant, endpoint).await?.is_some();
            return if there { Ok(false) } else { Err(StoreError::NotFound { what: "queue" }) };
        }
        let moved = parking::settle(&mut session, endpoint, actor.now).await?;
        if paused_at.is_none() {
            failures::forget(&mut session, endpoint).await?;
        }
        let action = if paused_at.is_some() { "queue.pause" } else { "queue.resume" };
        let detail = json!({ "deliveries": moved });
        self.audit(&mut session, actor, tenant, action, &endpoint.to_string(), &detail).await?;
        session.commit().await?;
        Ok(true)
    }
}
