//! Secrets that plugins may be granted: sealed, written and never listed with their value.

use engate_model::{Secret, TenantId, Timestamp};
use serde_json::json;

use crate::{Store, audit::Actor, error::StoreError, tenants::found, value::args};

/// A secret as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEntry {
    /// Its name.
    pub name: String,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When its value was last put.
    pub updated_at: Timestamp,
}

pub(crate) fn place(tenant: TenantId, name: &str) -> String {
    format!("secrets/{tenant}/{name}")
}

impl Store {
    /// Puts a secret's value.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn secret_put(
        &self,
        actor: &Actor,
        tenant: TenantId,
        name: &str,
        value: &Secret,
    ) -> Result<(), StoreError> {
        let sealed = self.sealer().seal_secret(&place(tenant, name), value)?;
        let mut session = self.change(tenant).await?;
        let sql = "INSERT INTO secrets (tenant_id, name, sealed, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) \
                   ON CONFLICT (tenant_id, name) DO UPDATE SET sealed = excluded.sealed, \
                   updated_at = excluded.updated_at";
        session.execute(sql, args![tenant, name, sealed, actor.now]).await?;
        self.audit(&mut session, actor, tenant, "secret.put", name, &json!({})).await?;
        session.commit().await
    }

    /// A tenant's secrets by name, without their values.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn secret_list(&self, tenant: TenantId) -> Result<Vec<SecretEntry>, StoreError> {
        let sql = "SELECT name, created_at, updated_at FROM secrets WHERE tenant_id = $1 ORDER BY name";
        let rows = self.db().rows(sql, args![tenant]).await?;
        let cells = rows.iter().map(|row| row.cells());
        cells
            .map(|mut cells| {
                Ok(SecretEntry { name: cells.text()?, created_at: cells.time()?, updated_at: cells.time()? })
            })
            .collect()
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn secret_delete(&self, actor: &Actor, tenant: TenantId, name: &str) -> Result<(), StoreError> {
        let mut session = self.change(tenant).await?;
        let sql = "DELETE FROM secrets WHERE tenant_id = $1 AND name = $2";
        found(session.execute(sql, args![tenant, name]).await?, "secret")?;
        self.audit(&mut session, actor, tenant, "secret.delete", name, &json!({})).await?;
        session.commit().await
    }

    /// A secret's value, for the engine's own use.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn secret_get_for_engine(&self, tenant: TenantId, name: &str) -> Result<Option<Secret>, StoreError> {
        let sql = "SELECT sealed FROM secrets WHERE tenant_id = $1 AND name = $2";
        let Some(row) = self.db().row(sql, args![tenant, name]).await? else { return Ok(None) };
        self.sealer().open_secret(&place(tenant, name), &row.cells().blob()?).map(Some)
    }

    /// All of a tenant's secrets with their values, for the engine's own use.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn secret_all_for_engine(&self, tenant: TenantId) -> Result<Vec<(String, Secret)>, StoreError> {
        let sql = "SELECT name, sealed FROM secrets WHERE tenant_id = $1 ORDER BY name";
        let rows = self.db().rows(sql, args![tenant]).await?;
        let open = |row: &crate::value::Row| {
            let mut cells = row.cells();
            let name = cells.text()?;
            let secret = self.sealer().open_secret(&place(tenant, &name), &cells.blob()?)?;
            Ok((name, secret))
        };
        rows.iter().map(open).collect()
    }
}
