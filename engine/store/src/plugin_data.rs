//! What belongs to an installed plugin beside its versions: grants, configuration, and the state it keeps per
//! endpoint (written with the try that changed it, see [`crate::FinishItem::with_state_writes`]).

use engate_model::{
    EndpointId, TenantId,
    plugin::{CallSettings, Grants},
};
use serde_json::{Value as Json, json};

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    tenants::unchanged,
    value::{args, json, json_opt},
};

/// What the operator sets for an installation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PluginSettings {
    /// What it is allowed.
    pub grants: Grants,
    /// Its configuration, below the integrator's and the endpoint's.
    pub config: Option<Json>,
    /// How its calls run and what they may cost.
    pub calls: CallSettings,
}

impl Store {
    /// An installation's settings; the default where none were put.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_settings_get(&self, tenant: TenantId, name: &str) -> Result<PluginSettings, StoreError> {
        settings_find(&mut self.db().reader().await?, tenant, name).await
    }

    /// Puts an installation's settings, where they still are as `before`; they may be put before the plugin is pushed. Audited
    /// with what they were: they name secrets and hold none.
    ///
    /// # Errors
    /// [`StoreError::Stale`], or when the database gives no answer.
    pub async fn plugin_settings_put(
        &self,
        actor: &Actor,
        tenant: TenantId,
        name: &str,
        before: &PluginSettings,
        settings: &PluginSettings,
    ) -> Result<(), StoreError> {
        let mut session = self.change(tenant).await?;
        let now = settings_find(&mut session, tenant, name).await?;
        unchanged(Some(&now), before, "plugin's settings")?;
        let sql = "INSERT INTO plugin_settings (tenant_id, name, grants, config, calls) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (tenant_id, name) DO UPDATE SET grants = excluded.grants, config = excluded.config, \
                   calls = excluded.calls";
        let (grants, config) = (json(&settings.grants)?, json_opt(settings.config.as_ref())?);
        let values = args![tenant, name, grants, config, json(&settings.calls)?];
        session.execute(sql, values).await?;
        let told = |settings: &PluginSettings| json!({ "grants": settings.grants, "config": settings.config, "calls": settings.calls });
        let detail = json!({ "old": told(&now), "new": told(settings) });
        self.audit(&mut session, actor, tenant, "plugin.settings_put", name, &detail).await?;
        session.commit().await
    }

    /// What a plugin keeps for an endpoint, by key.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_state_get(
        &self,
        tenant: TenantId,
        plugin: &str,
        endpoint: EndpointId,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let sql = "SELECT key, value FROM plugin_state WHERE tenant_id = $1 AND plugin = $2 AND endpoint_id = $3 \
                   ORDER BY key";
        let rows = self.db().rows(sql, args![tenant, plugin, endpoint]).await?;
        rows.iter().map(|row| row.cells()).map(|mut cells| Ok((cells.text()?, cells.blob()?))).collect()
    }

    /// Forgets what a plugin keeps for an endpoint; gives how many keys that were.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_state_clear(
        &self,
        actor: &Actor,
        tenant: TenantId,
        plugin: &str,
        endpoint: EndpointId,
    ) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM plugin_state WHERE tenant_id = $1 AND plugin = $2 AND endpoint_id = $3";
        let cleared = session.execute(sql, args![tenant, plugin, endpoint]).await?;
        let detail = json!({ "endpoint": endpoint, "keys": cleared });
        self.audit(&mut session, actor, tenant, "plugin.state_clear", plugin, &detail).await?;
        session.commit().await?;
        Ok(cleared)
    }
}

async fn settings_find(session: &mut Session, tenant: TenantId, name: &str) -> Result<PluginSettings, StoreError> {
    let sql = "SELECT grants, config, calls FROM plugin_settings WHERE tenant_id = $1 AND name = $2";
    let Some(row) = session.row(sql, args![tenant, name]).await? else { return Ok(PluginSettings::default()) };
    let mut cells = row.cells();
    Ok(PluginSettings { grants: cells.json()?, config: cells.json_opt()?, calls: cells.json()? })
}
