//! A tenant's settings: a JSON value by key.

use std::collections::HashSet;

use engate_model::TenantId;
use serde_json::{Value as Json, json};

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    tenants::unchanged,
    value::{args, json},
};

/// The switch that stops all deliveries of a tenant's new events; on unless set to false.
pub const USE_WEBHOOKS: &str = "service_desk.use_webhooks";

/// What a module's name is followed by in the key of its own switch: `billing.use_webhooks`.
pub const MODULE_SWITCH: &str = ".use_webhooks";

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
        setting_all(&mut self.db().reader().await?, tenant).await
    }

    /// Puts settings, all or none, where all that were put still are as `before`; each that changes is audited with what it
    /// was.
    ///
    /// # Errors
    /// [`StoreError::Stale`], or when the database gives no answer.
    pub async fn setting_put(
        &self,
        actor: &Actor,
        tenant: TenantId,
        before: &[(String, Json)],
        settings: &[(String, Json)],
    ) -> Result<(), StoreError> {
        let mut session = self.change(tenant).await?;
        unchanged(Some(setting_all(&mut session, tenant).await?.as_slice()), before, "settings")?;
        for (key, value) in settings {
            let old = setting_value(&mut session, tenant, key).await?;
            let sql = "INSERT INTO settings (tenant_id, key, value) VALUES ($1, $2, $3) \
                       ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value";
            session.execute(sql, args![tenant, key, json(value)?]).await?;
            let detail = json!({ "old": old, "new": value });
            self.audit(&mut session, actor, tenant, "setting.put", key, &detail).await?;
        }
        session.commit().await
    }
}

/// The modules whose switch is off.
pub(crate) async fn modules_off(session: &mut Session, tenant: TenantId) -> Result<HashSet<String>, StoreError> {
    let sql = "SELECT key FROM settings WHERE tenant_id = $1 AND value = 'false'";
    let mut off = HashSet::new();
    for row in session.rows(sql, args![tenant]).await? {
        off.extend(row.cells().text()?.strip_suffix(MODULE_SWITCH).map(str::to_owned));
    }
    Ok(off)
}

async fn setting_all(session: &mut Session, tenant: TenantId) -> Result<Vec<(String, Json)>, StoreError> {
    let sql = "SELECT key, value FROM settings WHERE tenant_id = $1 ORDER BY key";
    let rows = session.rows(sql, args![tenant]).await?;
    rows.iter().map(|row| row.cells()).map(|mut cells| Ok((cells.text()?, cells.json()?))).collect()
}

pub(crate) async fn setting_value(
    session: &mut Session,
    tenant: TenantId,
    key: &str,
) -> Result<Option<Json>, StoreError> {
    let sql = "SELECT value FROM settings WHERE tenant_id = $1 AND key = $2";
    session.row(sql, args![tenant, key]).await?.map(|row| row.cells().json()).transpose()
}
