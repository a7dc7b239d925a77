//! A tenant's configuration as one revision has it, ready for routing.

use engate_model::{TenantId, routing::Catalog};

use crate::{
    Store,
    endpoints::{endpoint, endpoint_columns},
    error::StoreError,
    integrators::{integrator, integrator_columns},
    settings::{USE_WEBHOOKS, modules_off, setting_value},
    value::args,
};

impl Store {
    /// Loads a tenant's catalog, all of it as of one instant.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn catalog_load(&self, tenant: TenantId) -> Result<Catalog, StoreError> {
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
        let sql =
            concat!("SELECT ", endpoint_columns!(), " FROM endpoints WHERE tenant_id = $1 AND deleted_at IS NULL");
        let endpoints = session.rows(sql, args![tenant]).await?;
        session.rollback().await?;
        let integrators = integrators.iter().map(integrator).collect::<Result<Vec<_>, _>>()?;
        let endpoints = endpoints.iter().map(|row| endpoint(self.sealer(), row)).collect::<Result<Vec<_>, _>>()?;
        let mut catalog = Catalog::new(revision, use_webhooks, integrators, endpoints);
        catalog.modules_off = modules_off;
        catalog.types_off = types_off.iter().map(|row| row.cells().text()).collect::<Result<_, _>>()?;
        Ok(catalog)
    }
}
