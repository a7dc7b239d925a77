//! A tenant's settings: a JSON value by key.

use engate_model::TenantId;
use serde_json::{Value as Json, json};

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    value::{args, json},
};

/// The switch that stops all deliveries of a tenant's new events; on unless set to false.
pub const USE_WEBHOOKS: &str = "service_desk.use_webhooks";

impl Store {
    /// A setting, if it was ever put.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn setting_get(&self, tenant: TenantId, key: &str) -> Result<Option<Json>, StoreError> {
        setting_value(&mut self.db().reader().await?, tenant, key).await
    }

    /// Every setting that was put, by key.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn setting_list(&self, tenant: TenantId) -> Result<Vec<(String, Json)>, StoreError> {
        let sql = "SELECT key, value FROM settings WHERE tenant_id = $1 ORDER BY key";
        let rows = self.db().rows(sql, args![tenant]).await?;
        rows.iter().map(|row| row.cells()).map(|mut cells| Ok((cells.text()?, cells.json()?))).collect()
    }

    /// Puts a setting.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn setting_put(
        &self,
        actor: &Actor,
        tenant: TenantId,
        key: &str,
        value: &Json,
    ) -> Result<(), StoreError> {
        let mut session = self.change(tenant).await?;
        let sql = "INSERT INTO settings (tenant_id, key, value) VALUES ($1, $2, $3) \
                   ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value";
        session.execute(sql, args![tenant, key, json(value)?]).await?;
        self.audit(&mut session, actor, tenant, "setting.put", key, &json!({ "value": value })).await?;
        session.commit().await
    }
}

pub(crate) async fn setting_value(
    session: &mut Session,
    tenant: TenantId,
    key: &str,
) -> Result<Option<Json>, StoreError> {
    let sql = "SELECT value FROM settings WHERE tenant_id = $1 AND key = $2";
    session.row(sql, args![tenant, key]).await?.map(|row| row.cells().json()).transpose()
}
