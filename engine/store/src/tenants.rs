//! Tenants, and the revision of their configuration.

use engate_model::{
    JobId, TenantId,
    callback::{MACRO_PROCESS, SYSTEM_TYPES},
    integrator::Tenant,
    token::Token,
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::{StoreError, conflict},
    sql::twins,
    value::{Row, args},
};

macro_rules! columns {
    () => {
        "id, slug, name, created_at"
    };
}

/// Why runs of a deleted tenant ended.
const TENANT_DELETED: &str = "tenant_deleted";

impl Store {
    /// Enters a tenant, with the event types that the engine itself defines and, where there is one, its first token with
    /// the SHA-256 of its value.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the slug is taken, or when the database gives no answer.
    pub async fn tenant_create(
        &self,
        actor: &Actor,
        tenant: &Tenant,
        first: Option<(&Token, &[u8; 32])>,
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = concat!("INSERT INTO tenants (", columns!(), ") VALUES ($1, $2, $3, $4)");
        let values = args![tenant.id, &tenant.slug, &tenant.name, tenant.created_at];
        session.execute(sql, values).await.map_err(conflict("a tenant of this slug"))?;
        session.execute("INSERT INTO revisions (tenant_id, revision) VALUES ($1, 1)", args![tenant.id]).await?;
        let sql = "INSERT INTO event_types (tenant_id, key, title, macro_process, process, system, created_at) VALUES \
                   ($1, $2, $3, $4, '', 1, $5)";
        for (key, title) in SYSTEM_TYPES {
            session.execute(sql, args![tenant.id, key, title, MACRO_PROCESS, tenant.created_at]).await?;
        }
        self.audit_tenant(&mut session, actor, tenant.id, "tenant.create", &json!({ "slug": tenant.slug })).await?;
        if let Some((token, hash)) = first {
            self.token_enter(&mut session, actor, token, hash).await?;
        }
        session.commit().await
    }

    /// Changes a tenant's slug and name, where it still is as `seen`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Conflict`], or when the database gives no answer.
    pub async fn tenant_update(&self, actor: &Actor, seen: &Tenant, tenant: &Tenant) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        require_unchanged(&mut session, seen).await?;
        let sql = "UPDATE tenants SET slug = $2, name = $3 WHERE id = $1 AND deleted_at IS NULL";
        let values = args![tenant.id, &tenant.slug, &tenant.name];
        let touched = session.execute(sql, values).await.map_err(conflict("a tenant of this slug"))?;
        found(touched, "tenant")?;
        let detail = json!({ "slug": tenant.slug, "name": tenant.name });
        self.audit_tenant(&mut session, actor, tenant.id, "tenant.update", &detail).await?;
        session.commit().await
    }

    /// Deletes a tenant: its tokens, secrets, inbounds, wizards and jobs go, its endpoints as [`Store::endpoint_delete`] has
    /// it; what waits for them is called off, and so are recoveries and runs: one under way is no longer its holder's. Its
    /// history stays as long as any history does. The slug is free again. Gives the jobs that there were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`] where it is no longer as `seen`, or when the database gives no answer.
    pub async fn tenant_delete(&self, actor: &Actor, seen: &Tenant) -> Result<Vec<JobId>, StoreError> {
        let id = seen.id;
        let mut session = self.revise(id).await?;
        require_unchanged(&mut session, seen).await?;
        let sql = "UPDATE tenants SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL";
        found(session.execute(sql, args![id, actor.now]).await?, "tenant")?;
        // Jobs before endpoints, as the end of a run holds them; and before runs, so that none is made behind this.
        let jobs = session.rows("DELETE FROM jobs WHERE tenant_id = $1 RETURNING id", args![id]).await?;
        let jobs = jobs.iter().map(|row| row.cells().id()).collect::<Result<_, _>>()?;
        let sql = "UPDATE runs SET state = 'cancelled', reason = $3, cancel_at = COALESCE(cancel_at, $2), finished_at = $2, \
                   owner = NULL, lease_until = NULL WHERE tenant_id = $1 AND state IN ('queued', 'running')";
        session.execute(sql, args![id, actor.now, TENANT_DELETED]).await?;
        let at = [
            // Before its endpoints: whoever goes on with one holds the recovery's row first.
            "UPDATE recoveries SET state = 'cancelled', finished_at = $2, due_at = NULL WHERE tenant_id = $1 \
             AND state = 'running'",
            "UPDATE tokens SET revoked_at = $2 WHERE tenant_id = $1 AND (revoked_at IS NULL OR revoked_at > $2)",
            "UPDATE endpoints SET deleted_at = $2, updated_at = $2, enabled = 0, sealed = NULL \
             WHERE tenant_id = $1 AND deleted_at IS NULL",
        ];
        for sql in at {
            session.execute(sql, args![id, actor.now]).await?;
        }
        let gone = [
            "UPDATE deliveries SET state = 'cancelled', reason = 'endpoint_deleted', due_at = NULL, line = NULL, \
             waits_behind = NULL WHERE tenant_id = $1 AND owner IS NULL AND state IN ('pending', 'parked')",
            "DELETE FROM endpoint_failures WHERE endpoint_id IN (SELECT id FROM endpoints WHERE tenant_id = $1)",
            "DELETE FROM feeds WHERE tenant_id = $1",
            "DELETE FROM secrets WHERE tenant_id = $1",
            "DELETE FROM inbounds WHERE tenant_id = $1",
            "DELETE FROM inbound_state WHERE tenant_id = $1",
            "DELETE FROM plugin_state WHERE tenant_id = $1",
            "DELETE FROM wizards WHERE tenant_id = $1",
        ];
        for sql in gone {
            session.execute(sql, args![id]).await?;
        }
        self.audit_tenant(&mut session, actor, id, "tenant.delete", &json!({ "slug": seen.slug })).await?;
        session.commit().await?;
        Ok(jobs)
    }

    /// Every tenant, the oldest first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn tenant_list(&self) -> Result<Vec<Tenant>, StoreError> {
        let rows = self
            .db()
            .rows(concat!("SELECT ", columns!(), " FROM tenants WHERE deleted_at IS NULL ORDER BY id"), args![])
            .await?;
        rows.iter().map(tenant).collect()
    }

    /// A tenant.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn tenant_get(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let row = self
            .db()
            .row(concat!("SELECT ", columns!(), " FROM tenants WHERE id = $1 AND deleted_at IS NULL"), args![id])
            .await?;
        row.as_ref().map(tenant).transpose()
    }

    /// A tenant by what it is named by.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM tenants WHERE slug = $1 AND deleted_at IS NULL");
        let row = self.db().row(sql, args![slug]).await?;
        row.as_ref().map(tenant).transpose()
    }

    /// The revision of a tenant's configuration.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn revision_get(&self, tenant: TenantId) -> Result<i64, StoreError> {
        let row = self.db().row("SELECT revision FROM revisions WHERE tenant_id = $1", args![tenant]).await?;
        row.ok_or(StoreError::NotFound { what: "tenant" })?.cells().int()
    }

    /// Every tenant's revision.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn revision_list(&self) -> Result<Vec<(TenantId, i64)>, StoreError> {
        let rows = self.db().rows("SELECT tenant_id, revision FROM revisions ORDER BY tenant_id", args![]).await?;
        rows.iter().map(|row| row.cells()).map(|mut cells| Ok((cells.id()?, cells.int()?))).collect()
    }

    /// Begins a change that matters for routing or delivery, of a tenant that is not deleted.
    pub(crate) async fn change(&self, tenant: TenantId) -> Result<Session, StoreError> {
        let mut session = self.revise(tenant).await?;
        require_live(&mut session, tenant).await?;
        Ok(session)
    }

    /// The same, whether the tenant is deleted or not. The revision comes first: on PostgreSQL that makes changes of one
    /// tenant, and the accepts that lean on its revision, wait for each other here and nowhere else.
    pub(crate) async fn revise(&self, tenant: TenantId) -> Result<Session, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE revisions SET revision = revision + 1 WHERE tenant_id = $1";
        found(session.execute(sql, args![tenant]).await?, "tenant")?;
        Ok(session)
    }
}

/// Whether the one row named was there.
pub(crate) fn found(touched: u64, what: &'static str) -> Result<(), StoreError> {
    if touched == 0 { Err(StoreError::NotFound { what }) } else { Ok(()) }
}

/// Holds the tenant until the commit, and fails where it is deleted: a call that was let in a moment before must not leave
/// behind what nobody could stop any more.
pub(crate) async fn require_live(session: &mut Session, tenant: TenantId) -> Result<(), StoreError> {
    let sql = twins!(
        "SELECT 1 FROM tenants WHERE id = $1 AND deleted_at IS NULL",
        sqlite: "",
        postgres: " FOR SHARE"
    );
    session.row(sql, args![tenant]).await?.map(|_| ()).ok_or(StoreError::NotFound { what: "tenant" })
}

/// The same, and nobody else holds it so: for whoever counts what the tenant has before adding to it.
pub(crate) async fn hold_live(session: &mut Session, tenant: TenantId) -> Result<(), StoreError> {
    let sql = twins!(
        "SELECT 1 FROM tenants WHERE id = $1 AND deleted_at IS NULL",
        sqlite: "",
        postgres: " FOR NO KEY UPDATE"
    );
    session.row(sql, args![tenant]).await?.map(|_| ()).ok_or(StoreError::NotFound { what: "tenant" })
}

/// Whether what a change was decided on is what the transaction finds. Changes of one tenant wait for each other
/// (see [`Store::change`]), so what is read after it began stays until it ends.
pub(crate) fn unchanged<T: PartialEq + ?Sized>(
    now: Option<&T>,
    before: &T,
    what: &'static str,
) -> Result<(), StoreError> {
    match now {
        None => Err(StoreError::NotFound { what }),
        Some(now) if now == before => Ok(()),
        Some(_) => Err(StoreError::Stale { what }),
    }
}

/// Holds the tenant until the commit, and fails where it is no longer what was seen.
async fn require_unchanged(session: &mut Session, seen: &Tenant) -> Result<(), StoreError> {
    let sql = twins!(
        concat!("SELECT ", columns!(), " FROM tenants WHERE id = $1 AND deleted_at IS NULL"),
        sqlite: "",
        postgres: " FOR UPDATE"
    );
    let row = session.row(sql, args![seen.id]).await?;
    let now = tenant(&row.ok_or(StoreError::NotFound { what: "tenant" })?)?;
    if now == *seen { Ok(()) } else { Err(StoreError::Stale { what: "tenant" }) }
}

fn tenant(row: &Row) -> Result<Tenant, StoreError> {
    let mut cells = row.cells();
    Ok(Tenant { id: cells.id()?, slug: cells.text()?, name: cells.text()?, created_at: cells.time()? })
}
