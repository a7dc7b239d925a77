//! Endpoints that fail: what is remembered of them for other nodes and later days.

use engate_model::{EndpointId, TenantId, circuit::Failing};

use crate::{
    Store,
    commit::accept::{AcceptEvent, write_facts},
    db::Session,
    error::StoreError,
    sql::twins,
    value::args,
};

/// Forgets how an endpoint failed; it counts as sound.
pub(crate) async fn forget(session: &mut Session, endpoint: EndpointId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM endpoint_failures WHERE endpoint_id = $1";
    Ok(session.execute(sql, args![endpoint]).await? == 1)
}

impl Store {
    /// Writes down how an endpoint fails, and tells listeners where that is news: the first time, and with each
    /// warning. False where the endpoint is gone or disabled.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_failing(
        &self,
        tenant: TenantId,
        endpoint: EndpointId,
        failing: Failing,
        facts: &[AcceptEvent],
    ) -> Result<bool, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = twins!(
            "SELECT f.warnings FROM endpoints e LEFT JOIN endpoint_failures f ON f.endpoint_id = e.id WHERE e.id = $1 AND \
             e.tenant_id = $2 AND e.deleted_at IS NULL AND e.enabled = 1",
            sqlite: "",
            postgres: " FOR NO KEY UPDATE OF e"
        );
        let Some(row) = session.row(sql, args![endpoint, tenant]).await? else {
            session.rollback().await?;
            return Ok(false);
        };
        let told = row.cells().int_opt()?;
        let sql = "INSERT INTO endpoint_failures (endpoint_id, since, probe_at, openings, warnings) VALUES ($1, $2, $3, \
                   $4, $5) ON CONFLICT (endpoint_id) DO UPDATE SET probe_at = excluded.probe_at, openings = \
                   excluded.openings, warnings = excluded.warnings, since = CASE WHEN excluded.since < \
                   endpoint_failures.since THEN excluded.since ELSE endpoint_failures.since END";
        let warnings = i64::from(failing.warnings).max(told.unwrap_or_default());
        let values = args![endpoint, failing.since, failing.probe_at, failing.openings, warnings];
        session.execute(sql, values).await?;
        if told.is_none_or(|told| told < warnings) {
            write_facts(&mut session, facts).await?;
        }
        session.commit().await?;
        Ok(true)
    }

    /// Writes down that an endpoint takes deliveries again, and tells listeners. False where someone did already.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_recovered(&self, endpoint: EndpointId, facts: &[AcceptEvent]) -> Result<bool, StoreError> {
        let mut session = self.db().begin().await?;
        if !forget(&mut session, endpoint).await? {
            session.rollback().await?;
            return Ok(false);
        }
        write_facts(&mut session, facts).await?;
        session.commit().await?;
        Ok(true)
    }

    /// Every endpoint that fails.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn endpoint_failures(&self) -> Result<Vec<(EndpointId, Failing)>, StoreError> {
        let sql = "SELECT endpoint_id, since, probe_at, openings, warnings FROM endpoint_failures";
        let rows = self.db().rows(sql, args![]).await?;
        rows.iter()
            .map(|row| {
                let mut cells = row.cells();
                let endpoint = cells.id()?;
                let (since, probe_at) = (cells.time()?, cells.time_opt()?);
                Ok((endpoint, Failing { since, probe_at, openings: cells.small()?, warnings: cells.small()? }))
            })
            .collect()
    }
}
