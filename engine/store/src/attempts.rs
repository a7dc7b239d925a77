//! Reading attempts.

use std::time::Duration;

use engate_model::{
    DeliveryId, TenantId,
    delivery::{Attempt, Request, Response, Trigger},
};

use crate::{
    Store,
    commit::finish::{StoredRequest, StoredResponse},
    error::StoreError,
    value::{Row, args},
};

impl Store {
    /// A delivery's attempts from the first to the last, request bodies as they were sent.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn attempt_list(&self, tenant: TenantId, delivery: DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        let sql = "SELECT a.number, a.at, a.trigger_code, a.plugin, a.plugin_digest, a.request, \
                   CASE WHEN a.body_is_payload = 1 THEN e.payload ELSE a.request_body END, a.response, \
                   a.response_body, a.outcome, a.code, a.message, a.duration_us, a.replay, \
                   CAST(CASE WHEN a.body_is_payload = 1 AND e.id IS NULL THEN 0 ELSE 1 END AS BIGINT) \
                   FROM deliveries d JOIN attempts a ON a.delivery_id = d.id AND a.place BETWEEN d.code * 65536 AND \
                   d.code * 65536 + 65535 LEFT JOIN events e ON e.tenant_id = d.tenant_id AND e.id = d.event_id \
                   WHERE d.id = $1 AND d.tenant_id = $2 ORDER BY a.number";
        let rows = self.db().rows(sql, args![delivery, tenant]).await?;
        rows.iter().map(attempt).collect()
    }
}

fn attempt(row: &Row) -> Result<Attempt, StoreError> {
    let mut cells = row.cells();
    let mut attempt = Attempt {
        number: cells.small()?,
        at: cells.time()?,
        trigger: cells.code(Trigger::from_code)?,
        plugin: cells.text_opt()?,
        plugin_digest: cells.text_opt()?,
        request: {
            let request: Option<StoredRequest> = cells.json_opt()?;
            let body = cells.blob_opt()?.unwrap_or_default();
            request.map(|StoredRequest { method, url, headers }| Request {
                method,
                url,
                headers,
                body,
                body_kept: true,
            })
        },
        response: {
            let response: Option<StoredResponse> = cells.json_opt()?;
            let body = cells.blob_opt()?.unwrap_or_default();
            response.map(|StoredResponse { status, headers, truncated }| Response { status, headers, body, truncated })
        },
        outcome: cells.text()?,
        code: cells.text_opt()?,
        message: cells.text_opt()?,
        duration: Duration::from_micros(cells.count()?),
        replay: cells.json_opt()?,
    };
    let body_kept = cells.flag()?;
    attempt.request.iter_mut().for_each(|request| request.body_kept = body_kept);
    Ok(attempt)
}
