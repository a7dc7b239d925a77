//! A tenant's configuration as one revision has it, ready for routing.

use std::sync::Arc;

use engate_model::{EndpointId, TenantId, endpoint::Endpoint, routing::Catalog};

use crate::{
    Store,
    db::Session,
    endpoints::{endpoint, endpoint_columns},
    error::StoreError,
    integrators::{integrator, integrator_columns},
    settings::{USE_WEBHOOKS, modules_off, setting_value},
    value::args,
};

/// Endpoints that are read one by one at most; where more have changed, all are read at once.
const READ_SINGLY_MAX: usize = 64;

impl Store {
    /// Loads a tenant's catalog, all of it as of one instant. Endpoints that `held` has at the revision that they still
    /// are at are taken from it: of ten thousand endpoints one change reads one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn catalog_load(&self, tenant: TenantId, held: Option<&Catalog>) -> Result<Catalog, StoreError> {
        let mut session = self.db().snapshot().await?;
        let sql = "SELECT revision FROM revisions WHERE tenant_id = $1";
        let row = session.row(sql, args![tenant]).await?.ok_or(StoreError::NotFound { what: "tenant" })?;
        let revision = row.cells().int()?;
        let switch = setting_value(&mut session, tenant, USE_WEBHOOKS).await?;
        let use_webhooks = switch.and_then(|value| value.as_bool()).unwrap_or(true);
        let modules_off = modules_off(&mut session, tenant).await?;
        let sql = "SELECT key FROM event_types WHERE tenant_id = $1 AND enabled = 0";
        let types_off = session.rows(sql, args![tenant]).await?;
        let sql = concat!("SELECT ", integrator_columns!(), " FROM integrators WHERE tenant_id = $1");
        let integrators = session.rows(sql, args![tenant]).await?;
        let known = match held {
            Some(held) => self.endpoints_since(&mut session, tenant, held).await?,
            None => None,
        };
        let endpoints = match known {
            Some(endpoints) => endpoints,
            None => self.endpoints_all(&mut session, tenant).await?,
        };
        session.rollback().await?;
        let integrators = integrators.iter().map(integrator).collect::<Result<Vec<_>, _>>()?;
        let mut catalog = Catalog::new(revision, use_webhooks, integrators, endpoints);
        catalog.modules_off = modules_off;
        catalog.types_off = types_off.iter().map(|row| row.cells().text()).collect::<Result<_, _>>()?;
        Ok(catalog)
    }

    async fn endpoints_all(&self, session: &mut Session, tenant: TenantId) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        let sql =
            concat!("SELECT ", endpoint_columns!(), " FROM endpoints WHERE tenant_id = $1 AND deleted_at IS NULL");
        let rows = session.rows(sql, args![tenant]).await?;
        rows.iter().map(|row| endpoint(self.sealer(), row).map(Arc::new)).collect()
    }

    /// The endpoints that there are, those that did not change since as `held` has them; none where too many did.
    async fn endpoints_since(
        &self,
        session: &mut Session,
        tenant: TenantId,
        held: &Catalog,
    ) -> Result<Option<Vec<Arc<Endpoint>>>, StoreError> {
        let sql = "SELECT id, revision FROM endpoints WHERE tenant_id = $1 AND deleted_at IS NULL";
        let rows = session.rows(sql, args![tenant]).await?;
        let (mut endpoints, mut changed) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in &rows {
            let mut cells = row.cells();
            let (id, revision): (EndpointId, u64) = (cells.id()?, cells.count()?);
            match held.endpoint(id).filter(|endpoint| endpoint.revision == revision) {
                Some(endpoint) => endpoints.push(Arc::clone(endpoint)),
                None => changed.push(id),
            }
        }
        if changed.len() > READ_SINGLY_MAX {
            return Ok(None);
        }
        for id in changed {
            let sql = concat!("SELECT ", endpoint_columns!(), " FROM endpoints WHERE id = $1 AND tenant_id = $2");
            if let Some(row) = session.row(sql, args![id, tenant]).await? {
                endpoints.push(Arc::new(endpoint(self.sealer(), &row)?));
            }
        }
        Ok(Some(endpoints))
    }
}
