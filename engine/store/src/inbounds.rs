//! Inbounds, and what their plugins keep for each. A name is unique over all tenants: it is all that a caller gives.

use std::sync::Arc;

use engate_model::{TenantId, inbound::Inbound, rate::RateLimit};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    commit::kept::{KeptWrite, write_kept},
    compose::Bulk,
    db::Session,
    error::{StoreError, conflict},
    tenants::{found, unchanged},
    value::{Kind, Row, Value, args, json_opt},
};

/// Columns in the order of [`inbound`].
macro_rules! columns {
    () => {
        "name, tenant_id, description, plugin, config, enabled, body_bytes_max, rate_per_second, rate_burst, \
         created_at, updated_at"
    };
}

fn values(inbound: &Inbound) -> Result<Vec<Value>, StoreError> {
    Ok(args![
        &inbound.name,
        inbound.tenant,
        &inbound.description,
        inbound.plugin.to_string(),
        json_opt(inbound.config.as_ref())?,
        inbound.enabled,
        inbound.body_bytes_max,
        inbound.rate_limit.per_second,
        inbound.rate_limit.burst,
        inbound.created_at,
        inbound.updated_at,
    ])
}

fn detail(inbound: &Inbound) -> serde_json::Value {
    json!({ "plugin": inbound.plugin.to_string(), "enabled": inbound.enabled })
}

impl Store {
    /// Enters an inbound.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the name is taken, by whichever tenant, or when the database gives no answer.
    pub async fn inbound_create(&self, actor: &Actor, inbound: &Inbound) -> Result<(), StoreError> {
        let mut session = self.change(inbound.tenant).await?;
        let sql =
            concat!("INSERT INTO inbounds (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
        session.execute(sql, values(inbound)?).await.map_err(conflict("an inbound of this name"))?;
        self.audit(&mut session, actor, inbound.tenant, "inbound.create", &inbound.name, &detail(inbound)).await?;
        session.commit().await
    }

    /// Writes everything of an inbound but its name and tenant, where it still is as `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn inbound_update(&self, actor: &Actor, before: &Inbound, inbound: &Inbound) -> Result<(), StoreError> {
        let mut session = self.change(inbound.tenant).await?;
        require_unchanged(&mut session, before).await?;
        let sql = "UPDATE inbounds SET description = $3, plugin = $4, config = $5, enabled = $6, body_bytes_max = $7, \
                   rate_per_second = $8, rate_burst = $9, created_at = $10, updated_at = $11 \
                   WHERE name = $1 AND tenant_id = $2";
        found(session.execute(sql, values(inbound)?).await?, "inbound")?;
        self.audit(&mut session, actor, inbound.tenant, "inbound.update", &inbound.name, &detail(inbound)).await?;
        session.commit().await
    }

    /// Deletes an inbound and what plugins kept for it, where it still is as `before`. Its events stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn inbound_delete(&self, actor: &Actor, before: &Inbound) -> Result<(), StoreError> {
        let (tenant, name) = (before.tenant, before.name.as_str());
        let mut session = self.change(tenant).await?;
        require_unchanged(&mut session, before).await?;
        let sql = "DELETE FROM inbounds WHERE name = $1 AND tenant_id = $2";
        found(session.execute(sql, args![name, tenant]).await?, "inbound")?;
        let sql = "DELETE FROM inbound_state WHERE tenant_id = $1 AND inbound = $2";
        session.execute(sql, args![tenant, name]).await?;
        self.audit(&mut session, actor, tenant, "inbound.delete", name, &json!({})).await?;
        session.commit().await
    }

    /// An inbound.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn inbound_get(&self, tenant: TenantId, name: &str) -> Result<Option<Inbound>, StoreError> {
        inbound_find(&mut self.db().reader().await?, tenant, name).await
    }

    /// A tenant's inbounds by name.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn inbound_list(&self, tenant: TenantId) -> Result<Vec<Inbound>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM inbounds WHERE tenant_id = $1 ORDER BY name");
        self.db().rows(sql, args![tenant]).await?.iter().map(inbound).collect()
    }

    /// Whose inbound has that name.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn inbound_tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let row = self.db().row("SELECT tenant_id FROM inbounds WHERE name = $1", args![name]).await?;
        row.map(|row| row.cells().id()).transpose()
    }

    /// What a plugin keeps for an inbound, by key.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn inbound_state_get(
        &self,
        tenant: TenantId,
        plugin: &str,
        inbound: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let sql = "SELECT key, value FROM inbound_state WHERE tenant_id = $1 AND plugin = $2 AND inbound = $3 \
                   ORDER BY key";
        let rows = self.db().rows(sql, args![tenant, plugin, inbound]).await?;
        rows.iter().map(|row| row.cells()).map(|mut cells| Ok((cells.text()?, cells.blob()?))).collect()
    }
}

async fn inbound_find(session: &mut Session, tenant: TenantId, name: &str) -> Result<Option<Inbound>, StoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM inbounds WHERE name = $1 AND tenant_id = $2");
    session.row(sql, args![name, tenant]).await?.as_ref().map(inbound).transpose()
}

async fn require_unchanged(session: &mut Session, before: &Inbound) -> Result<(), StoreError> {
    let now = inbound_find(session, before.tenant, &before.name).await?;
    unchanged(now.as_ref(), before, "inbound")
}

fn inbound(row: &Row) -> Result<Inbound, StoreError> {
    let mut cells = row.cells();
    Ok(Inbound {
        name: cells.text()?,
        tenant: cells.id()?,
        description: cells.text()?,
        plugin: cells.parse()?,
        config: cells.json_opt()?,
        enabled: cells.flag()?,
        body_bytes_max: cells.small()?,
        rate_limit: RateLimit { per_second: cells.small()?, burst: cells.small()? },
        created_at: cells.time()?,
        updated_at: cells.time()?,
    })
}

/// What a receiver wants kept of a call: written with its events, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundState {
    /// The installed name.
    pub plugin: String,
    /// The inbound that was called.
    pub inbound: String,
    /// Key and value; none deletes.
    pub writes: Vec<(String, Option<Vec<u8>>)>,
}

/// Where a value is kept: tenant, plugin, inbound, key.
type Place = (TenantId, Arc<str>, Arc<str>, String);

/// An [`InboundState`] as the committer has it.
pub(crate) struct EncodedState {
    writes: Vec<KeptWrite<Place>>,
}

impl EncodedState {
    pub(crate) fn of(tenant: TenantId, state: InboundState) -> Self {
        let [plugin, inbound] = [state.plugin, state.inbound].map(Arc::<str>::from);
        let encode = |(key, value): (String, Option<Vec<u8>>)| {
            ((tenant, Arc::clone(&plugin), Arc::clone(&inbound), key), value.map(Arc::from))
        };
        Self { writes: state.writes.into_iter().map(encode).collect() }
    }

    /// Bytes that it adds to its batch, about.
    pub(crate) fn bytes(&self) -> usize {
        let size = |(place, value): &KeptWrite<Place>| {
            place.1.len() + place.2.len() + place.3.len() + value.as_ref().map_or(0, |value| value.len())
        };
        self.writes.iter().map(size).sum()
    }
}

const STATE_COLUMNS: &[(&str, Kind)] = &[
    ("tenant_id", Kind::Id),
    ("plugin", Kind::Text),
    ("inbound", Kind::Text),
    ("key", Kind::Text),
    ("value", Kind::Blob),
];

static STATE_PUT: Bulk = Bulk::new(
    "INSERT INTO inbound_state (tenant_id, plugin, inbound, key, value) ",
    STATE_COLUMNS,
    " ON CONFLICT (tenant_id, plugin, inbound, key) DO UPDATE SET value = excluded.value",
);

static STATE_DELETE: Bulk = Bulk::new(
    "DELETE FROM inbound_state WHERE (tenant_id, plugin, inbound, key) IN (",
    STATE_COLUMNS.split_at(4).0,
    ")",
);

/// Writes what receivers keep.
pub(crate) async fn write_state<'a>(
    session: &mut Session,
    states: impl Iterator<Item = &'a EncodedState>,
) -> Result<(), StoreError> {
    let writes = states.flat_map(|state| &state.writes);
    write_kept(session, [&STATE_PUT, &STATE_DELETE], writes, |(tenant, plugin, inbound, key)| {
        args![*tenant, Arc::clone(plugin), Arc::clone(inbound), key]
    })
    .await
}
