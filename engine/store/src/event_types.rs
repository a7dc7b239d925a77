//! The catalogue of event types.

use engate_model::{TenantId, event::EventType};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::{StoreError, conflict},
    tenants::{found, unchanged},
    value::{Row, Value, args, json_opt},
};

macro_rules! columns {
    () => {
        "tenant_id, key, title, macro_process, process, system, enabled, created_at, schema"
    };
}

macro_rules! insert {
    () => {
        concat!("INSERT INTO event_types (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
    };
}

impl Store {
    /// Enters an event type.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the key is taken, or when the database gives no answer.
    pub async fn event_type_create(&self, actor: &Actor, entry: &EventType) -> Result<(), StoreError> {
        let EventType { tenant, key, title, .. } = entry;
        let mut session = self.change(*tenant).await?;
        session.execute(insert!(), values(entry)?).await.map_err(conflict("an event type of this key"))?;
        self.audit(&mut session, actor, *tenant, "event_type.create", key, &json!({ "title": title })).await?;
        session.commit().await
    }

    /// Changes an event type's title, its place in the tree, its schema and whether it is enabled, where it still is as `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn event_type_update(
        &self,
        actor: &Actor,
        before: &EventType,
        entry: &EventType,
    ) -> Result<(), StoreError> {
        let mut session = self.change(entry.tenant).await?;
        require_unchanged(&mut session, before).await?;
        let sql = "UPDATE event_types SET title = $3, macro_process = $4, process = $5, enabled = $6, schema = $7 WHERE tenant_id = $1 AND key = $2";
        let EventType { tenant, key, title, macro_process, process, enabled, schema, .. } = entry;
        let values = args![*tenant, key, title, macro_process, process, *enabled, json_opt(schema.as_ref())?];
        found(session.execute(sql, values).await?, "event type")?;
        self.audit(
            &mut session,
            actor,
            *tenant,
            "event_type.update",
            key,
            &json!({ "title": title, "enabled": enabled, "schema": schema.is_some() }),
        )
        .await?;
        session.commit().await
    }

    /// Deletes an event type that the engine does not define itself, where it still is as `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Conflict`] for one of the engine's own, or when
    /// the database gives no answer.
    pub async fn event_type_delete(&self, actor: &Actor, before: &EventType) -> Result<(), StoreError> {
        let (tenant, key) = (before.tenant, before.key.as_str());
        let mut session = self.change(tenant).await?;
        require_unchanged(&mut session, before).await?;
        if before.system {
            return Err(StoreError::Conflict { what: "an event type of the engine itself" });
        }
        let sql = "DELETE FROM event_types WHERE tenant_id = $1 AND key = $2";
        session.execute(sql, args![tenant, key]).await?;
        self.audit(&mut session, actor, tenant, "event_type.delete", key, &json!({})).await?;
        session.commit().await
    }

    /// An event type.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_type_get(&self, tenant: TenantId, key: &str) -> Result<Option<EventType>, StoreError> {
        event_type_find(&mut self.db().reader().await?, tenant, key).await
    }

    /// A tenant's event types by their place in the tree.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_type_list(&self, tenant: TenantId) -> Result<Vec<EventType>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM event_types WHERE tenant_id = $1 ORDER BY macro_process, process, key"
        );
        self.db().rows(sql, args![tenant]).await?.iter().map(event_type).collect()
    }
}

/// Enters those of `entries` that are not there; gives their keys.
pub(crate) async fn event_types_enter(session: &mut Session, entries: &[EventType]) -> Result<Vec<String>, StoreError> {
    let sql = concat!(insert!(), " ON CONFLICT (tenant_id, key) DO NOTHING");
    let mut entered = Vec::new();
    for entry in entries {
        if session.execute(sql, values(entry)?).await? > 0 {
            entered.push(entry.key.clone());
        }
    }
    Ok(entered)
}

fn values(entry: &EventType) -> Result<Vec<Value>, StoreError> {
    let EventType { tenant, key, title, macro_process, process, system, enabled, schema, created_at } = entry;
    let schema = json_opt(schema.as_ref())?;
    Ok(args![*tenant, key, title, macro_process, process, *system, *enabled, *created_at, schema])
}

async fn event_type_find(session: &mut Session, tenant: TenantId, key: &str) -> Result<Option<EventType>, StoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM event_types WHERE tenant_id = $1 AND key = $2");
    session.row(sql, args![tenant, key]).await?.as_ref().map(event_type).transpose()
}

async fn require_unchanged(session: &mut Session, before: &EventType) -> Result<(), StoreError> {
    let now = event_type_find(session, before.tenant, &before.key).await?;
    unchanged(now.as_ref(), before, "event type")
}

fn event_type(row: &Row) -> Result<EventType, StoreError> {
    let mut cells = row.cells();
    Ok(EventType {
        tenant: cells.id()?,
        key: cells.text()?,
        title: cells.text()?,
        macro_process: cells.text()?,
        process: cells.text()?,
        system: cells.flag()?,
        enabled: cells.flag()?,
        created_at: cells.time()?,
        schema: cells.json_opt()?,
    })
}
