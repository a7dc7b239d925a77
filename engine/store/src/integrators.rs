//! Integrators.

use engate_model::{IntegratorId, TenantId, integrator::Integrator};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::{StoreError, conflict},
    tenants::{found, unchanged},
    value::{Row, Value, args, json, json_opt},
};

/// Columns in the order of [`integrator`].
macro_rules! integrator_columns {
    () => {
        "id, tenant_id, slug, name, active, services, plugin, config, created_at, updated_at"
    };
}
pub(crate) use integrator_columns;

fn values(entry: &Integrator) -> Result<Vec<Value>, StoreError> {
    Ok(args![
        entry.id,
        entry.tenant,
        &entry.slug,
        &entry.name,
        entry.active,
        json(&entry.services)?,
        entry.plugin.as_ref().map(ToString::to_string),
        json_opt(entry.config.as_ref())?,
        entry.created_at,
        entry.updated_at,
    ])
}

impl Store {
    /// Enters an integrator.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the slug is taken, or when the database gives no answer.
    pub async fn integrator_create(&self, actor: &Actor, entry: &Integrator) -> Result<(), StoreError> {
        let mut session = self.change(entry.tenant).await?;
        let sql = concat!(
            "INSERT INTO integrators (",
            integrator_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        );
        session.execute(sql, values(entry)?).await.map_err(conflict("an integrator of this slug"))?;
        let detail = json!({ "slug": entry.slug, "active": entry.active });
        self.audit(&mut session, actor, entry.tenant, "integrator.create", &entry.id.to_string(), &detail).await?;
        session.commit().await
    }

    /// Writes everything of an integrator but its id and tenant, where it still is as `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Conflict`], or when the database gives no answer.
    pub async fn integrator_update(
        &self,
        actor: &Actor,
        before: &Integrator,
        entry: &Integrator,
    ) -> Result<(), StoreError> {
        let mut session = self.change(entry.tenant).await?;
        require_unchanged(&mut session, before).await?;
        let sql = "UPDATE integrators SET slug = $3, name = $4, active = $5, services = $6, plugin = $7, config = $8, \
                   created_at = $9, updated_at = $10 WHERE id = $1 AND tenant_id = $2";
        let touched = session.execute(sql, values(entry)?).await.map_err(conflict("an integrator of this slug"))?;
        found(touched, "integrator")?;
        let detail = json!({ "slug": entry.slug, "active": entry.active });
        self.audit(&mut session, actor, entry.tenant, "integrator.update", &entry.id.to_string(), &detail).await?;
        session.commit().await
    }

    /// Deletes an integrator that never had an endpoint, where it still is as `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Conflict`] where it has endpoints, or when the
    /// database gives no answer.
    pub async fn integrator_delete(&self, actor: &Actor, before: &Integrator) -> Result<(), StoreError> {
        let Integrator { tenant, id, .. } = *before;
        let mut session = self.change(tenant).await?;
        require_unchanged(&mut session, before).await?;
        let sql = "DELETE FROM integrators WHERE id = $1 AND tenant_id = $2";
        let touched =
            session.execute(sql, args![id, tenant]).await.map_err(conflict("an integrator with endpoints"))?;
        found(touched, "integrator")?;
        self.audit(&mut session, actor, tenant, "integrator.delete", &id.to_string(), &json!({})).await?;
        session.commit().await
    }

    /// An integrator.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn integrator_get(&self, tenant: TenantId, id: IntegratorId) -> Result<Option<Integrator>, StoreError> {
        integrator_find(&mut self.db().reader().await?, tenant, id).await
    }

    /// An integrator by what it is named by.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn integrator_by_slug(&self, tenant: TenantId, slug: &str) -> Result<Option<Integrator>, StoreError> {
        let sql = concat!("SELECT ", integrator_columns!(), " FROM integrators WHERE tenant_id = $1 AND slug = $2");
        self.db().row(sql, args![tenant, slug]).await?.as_ref().map(integrator).transpose()
    }

    /// A tenant's integrators by slug.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn integrator_list(&self, tenant: TenantId) -> Result<Vec<Integrator>, StoreError> {
        let sql = concat!("SELECT ", integrator_columns!(), " FROM integrators WHERE tenant_id = $1 ORDER BY slug");
        self.db().rows(sql, args![tenant]).await?.iter().map(integrator).collect()
    }
}

async fn integrator_find(
    session: &mut Session,
    tenant: TenantId,
    id: IntegratorId,
) -> Result<Option<Integrator>, StoreError> {
    let sql = concat!("SELECT ", integrator_columns!(), " FROM integrators WHERE id = $1 AND tenant_id = $2");
    session.row(sql, args![id, tenant]).await?.as_ref().map(integrator).transpose()
}

async fn require_unchanged(session: &mut Session, before: &Integrator) -> Result<(), StoreError> {
    let now = integrator_find(session, before.tenant, before.id).await?;
    unchanged(now.as_ref(), before, "integrator")
}

/// Reads [`integrator_columns`].
pub(crate) fn integrator(row: &Row) -> Result<Integrator, StoreError> {
    let mut cells = row.cells();
    Ok(Integrator {
        id: cells.id()?,
        tenant: cells.id()?,
        slug: cells.text()?,
        name: cells.text()?,
        active: cells.flag()?,
        services: cells.json()?,
        plugin: cells.parse_opt()?,
        config: cells.json_opt()?,
        created_at: cells.time()?,
        updated_at: cells.time()?,
    })
}
