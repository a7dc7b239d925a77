//! Plugins: versions that never change, their components, and the channels that point at versions.

use engate_model::{
    TenantId, Timestamp,
    plugin::{Manifest, Pin, PluginRef},
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::{StoreError, conflict},
    tenants::found,
    value::{Row, args, json_opt},
};

/// One installed version.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginVersion {
    /// Whose installation.
    pub tenant: TenantId,
    /// The installed name.
    pub name: String,
    /// SemVer.
    pub version: String,
    /// sha256 of the component, hexadecimal.
    pub digest: String,
    /// What it says of itself; none where it could not be asked.
    pub manifest: Option<Manifest>,
    /// Whether it can run.
    pub state: PluginState,
    /// Why it cannot, where that is so.
    pub message: Option<String>,
    /// Size of the component.
    pub size_bytes: u64,
    /// When it was pushed.
    pub created_at: Timestamp,
    /// Whether it is one of a developer's, which go by themselves.
    pub development: bool,
    /// The channel that will point at it once it can run.
    pub pending_channel: Option<String>,
}

impl PluginVersion {
    /// Why it cannot run now, where that is so.
    pub fn obstacle(&self) -> Option<String> {
        match self.state {
            PluginState::Ready => None,
            PluginState::Compiling => Some("it is still being compiled; wait until its state is ready".to_owned()),
            PluginState::Failed => Some(self.message.clone().unwrap_or_else(|| "it was refused".to_owned())),
        }
    }
}

/// Whether a version can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginState {
    /// It will, once it is compiled.
    Compiling,
    /// It can.
    Ready,
    /// It was refused.
    Failed,
}

impl PluginState {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Compiling => "compiling",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Compiling, Self::Ready, Self::Failed].into_iter().find(|state| state.code() == code)
    }
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// A new version.
    Created,
    /// The same component was there under this name and version.
    Unchanged,
    /// Another component was: a version never changes.
    VersionTaken {
        /// The digest that is there.
        digest: String,
    },
}

/// What became of a wish to delete a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginDeleted {
    /// It is gone.
    Deleted,
    /// This channel points or pointed at it.
    InUse(String),
}

/// One setting of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginChannel {
    /// Its name (`stable`).
    pub channel: String,
    /// The version it points at.
    pub version: String,
    /// Since when.
    pub set_at: Timestamp,
}

macro_rules! columns {
    () => {
        "p.tenant_id, p.name, p.version, p.digest, p.manifest, p.state, p.message, p.size_bytes, p.created_at, \
         p.development, p.pending_channel"
    };
}

impl Store {
    /// Installs a version; with `channel`, that channel points at it from now on, or from when it can run. A version that
    /// was refused was never to be had, so that another may take its place.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_push(
        &self,
        actor: &Actor,
        plugin: &PluginVersion,
        component: &[u8],
        channel: Option<&str>,
    ) -> Result<Pushed, StoreError> {
        let PluginVersion { tenant, name, version, digest, .. } = plugin;
        let mut session = self.change(*tenant).await?;
        let sql = "SELECT digest, state FROM plugins WHERE tenant_id = $1 AND name = $2 AND version = $3";
        if let Some(row) = session.row(sql, args![*tenant, name, version]).await? {
            let mut cells = row.cells();
            let (there, state) = (cells.text()?, cells.code(PluginState::from_code)?);
            if state != PluginState::Failed {
                session.rollback().await?;
                return Ok(if there == *digest { Pushed::Unchanged } else { Pushed::VersionTaken { digest: there } });
            }
            let sql = "DELETE FROM plugins WHERE tenant_id = $1 AND name = $2 AND version = $3";
            session.execute(sql, args![*tenant, name, version]).await?;
            component_remove(&mut session, &there).await?;
        }
        let waits = plugin.state != PluginState::Ready;
        let pending_channel = channel.filter(|_| waits).map(str::to_owned);
        plugin_insert(&mut session, &PluginVersion { pending_channel, ..plugin.clone() }, component).await?;
        if let Some(channel) = channel.filter(|_| !waits) {
            channel_put(&mut session, actor, plugin.tenant, name, channel, version).await?;
        }
        let object = format!("{name}@{version}");
        let detail = json!({ "digest": digest, "state": plugin.state.code(), "channel": channel });
        self.audit(&mut session, actor, *tenant, "plugin.push", &object, &detail).await?;
        session.commit().await?;
        Ok(Pushed::Created)
    }

    /// Writes down how the compilation of a version ended; with `channel`, that channel points at it from now on. Gives
    /// whether it was under way: another node may have ended it, or another component may have taken its place.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_compiled(
        &self,
        actor: &Actor,
        plugin: &PluginVersion,
        state: PluginState,
        message: Option<&str>,
        channel: Option<&str>,
    ) -> Result<bool, StoreError> {
        let PluginVersion { tenant, name, version, digest, .. } = plugin;
        let mut session = self.revise(*tenant).await?;
        let sql = "UPDATE plugins SET state = $5, message = $6, pending_channel = NULL WHERE tenant_id = $1 AND name = $2 \
                   AND version = $3 AND digest = $4 AND state = 'compiling'";
        let values = args![*tenant, name, version, digest, state.code(), message];
        if session.execute(sql, values).await? == 0 {
            session.rollback().await?;
            return Ok(false);
        }
        if let Some(channel) = channel {
            channel_put(&mut session, actor, *tenant, name, channel, version).await?;
        }
        let detail = json!({ "digest": digest, "state": state.code(), "message": message, "channel": channel });
        self.audit(&mut session, actor, *tenant, "plugin.compiled", &format!("{name}@{version}"), &detail).await?;
        session.commit().await?;
        Ok(true)
    }

    /// Says which channel is to point at a version that is being compiled; gives whether another one was.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_pending_channel(
        &self,
        actor: &Actor,
        plugin: &PluginVersion,
        channel: &str,
    ) -> Result<bool, StoreError> {
        let PluginVersion { tenant, name, version, pending_channel, .. } = plugin;
        let sql = "UPDATE plugins SET pending_channel = $4 WHERE tenant_id = $1 AND name = $2 AND version = $3 AND state = \
                   'compiling' AND COALESCE(pending_channel, '') <> $4";
        let mut session = self.db().begin().await?;
        if session.execute(sql, args![*tenant, name, version, channel]).await? == 0 {
            session.rollback().await?;
            return Ok(false);
        }
        let object = format!("{name}@{channel}");
        let detail = json!({ "version": version, "before": pending_channel });
        self.audit(&mut session, actor, *tenant, "plugin.channel_pending", &object, &detail).await?;
        session.commit().await?;
        Ok(true)
    }

    /// Versions of all tenants that are being compiled and were pushed at `until` or before.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_compiling(&self, until: Timestamp) -> Result<Vec<PluginVersion>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM plugins p WHERE p.state = 'compiling' AND p.created_at <= $1 ORDER BY p.created_at"
        );
        self.db().rows(sql, args![until]).await?.iter().map(version).collect()
    }

    /// Digests of all components.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_digests(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.db().rows("SELECT digest FROM plugin_components", args![]).await?;
        rows.iter().map(|row| row.cells().text()).collect()
    }

    /// The version of each name that was pushed last; a development version only where there is no other.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_list(&self, tenant: TenantId) -> Result<Vec<PluginVersion>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM plugins p WHERE p.tenant_id = $1 AND NOT EXISTS (SELECT 1 FROM plugins later WHERE later.tenant_id \
             = p.tenant_id AND later.name = p.name AND (later.development < p.development OR (later.development = \
             p.development AND (later.created_at > p.created_at OR (later.created_at = p.created_at AND later.version \
             > p.version))))) ORDER BY p.name"
        );
        self.db().rows(sql, args![tenant]).await?.iter().map(version).collect()
    }

    /// A plugin's versions, the one pushed last first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_versions(&self, tenant: TenantId, name: &str) -> Result<Vec<PluginVersion>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM plugins p WHERE p.tenant_id = $1 AND p.name = $2 ORDER BY p.created_at DESC, p.version DESC"
        );
        self.db().rows(sql, args![tenant, name]).await?.iter().map(version).collect()
    }

    /// One version.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_version_get(
        &self,
        tenant: TenantId,
        name: &str,
        wanted: &str,
    ) -> Result<Option<PluginVersion>, StoreError> {
        let sql =
            concat!("SELECT ", columns!(), " FROM plugins p WHERE p.tenant_id = $1 AND p.name = $2 AND p.version = $3");
        self.db().row(sql, args![tenant, name, wanted]).await?.as_ref().map(version).transpose()
    }

    /// What a reference means at this moment.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_resolve(
        &self,
        tenant: TenantId,
        wanted: &PluginRef,
    ) -> Result<Option<PluginVersion>, StoreError> {
        let channel = match &wanted.pin {
            Pin::Version(pinned) => return self.plugin_version_get(tenant, &wanted.name, pinned).await,
            Pin::Channel(channel) => channel,
        };
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM plugin_channels c JOIN plugins p ON p.tenant_id = c.tenant_id AND p.name = c.name AND p.version = \
             c.version WHERE c.tenant_id = $1 AND c.name = $2 AND c.channel = $3 ORDER BY c.number DESC LIMIT 1"
        );
        self.db().row(sql, args![tenant, &wanted.name, channel]).await?.as_ref().map(version).transpose()
    }

    /// A component by its digest.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_component(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.db().row("SELECT component FROM plugin_components WHERE digest = $1", args![digest]).await?;
        row.map(|row| row.cells().blob()).transpose()
    }

    /// Points a channel at a version; gives the version it pointed at before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no such version, or when the database gives no answer.
    pub async fn plugin_channel_set(
        &self,
        actor: &Actor,
        tenant: TenantId,
        name: &str,
        channel: &str,
        version: &str,
    ) -> Result<Option<String>, StoreError> {
        let mut session = self.change(tenant).await?;
        let sql = "SELECT state FROM plugins WHERE tenant_id = $1 AND name = $2 AND version = $3";
        let there = session.row(sql, args![tenant, name, version]).await?;
        there.ok_or(StoreError::NotFound { what: "plugin version" })?;
        let before = channel_put(&mut session, actor, tenant, name, channel, version).await?;
        let object = format!("{name}@{channel}");
        let detail = json!({ "version": version, "before": before });
        self.audit(&mut session, actor, tenant, "plugin.channel_set", &object, &detail).await?;
        session.commit().await?;
        Ok(before)
    }

    /// Where each channel of a plugin points.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_channels(&self, tenant: TenantId, name: &str) -> Result<Vec<PluginChannel>, StoreError> {
        let sql = "SELECT c.channel, c.version, c.set_at FROM plugin_channels c WHERE c.tenant_id = $1 AND c.name = $2 \
                   AND c.number = (SELECT max(l.number) FROM plugin_channels l WHERE l.tenant_id = c.tenant_id AND \
                   l.name = c.name AND l.channel = c.channel) ORDER BY c.channel";
        self.db().rows(sql, args![tenant, name]).await?.iter().map(channel_row).collect()
    }

    /// Where a channel pointed over time, the present first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_channel_history(
        &self,
        tenant: TenantId,
        name: &str,
        channel: &str,
    ) -> Result<Vec<PluginChannel>, StoreError> {
        let sql = "SELECT channel, version, set_at FROM plugin_channels WHERE tenant_id = $1 AND name = $2 \
                   AND channel = $3 ORDER BY number DESC";
        self.db().rows(sql, args![tenant, name, channel]).await?.iter().map(channel_row).collect()
    }

    /// Deletes a version at which no channel ever pointed, and its component where nothing else has it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn plugin_delete(
        &self,
        actor: &Actor,
        tenant: TenantId,
        name: &str,
        version: &str,
    ) -> Result<PluginDeleted, StoreError> {
        let mut session = self.change(tenant).await?;
        let sql = "SELECT channel FROM plugin_channels WHERE tenant_id = $1 AND name = $2 AND version = $3 LIMIT 1";
        if let Some(row) = session.row(sql, args![tenant, name, version]).await? {
            let channel = row.cells().text()?;
            session.rollback().await?;
            return Ok(PluginDeleted::InUse(channel));
        }
        let sql = "DELETE FROM plugins WHERE tenant_id = $1 AND name = $2 AND version = $3";
        found(session.execute(sql, args![tenant, name, version]).await?, "plugin version")?;
        let sql = "DELETE FROM plugin_components WHERE digest NOT IN (SELECT digest FROM plugins)";
        session.execute(sql, args![]).await?;
        let object = format!("{name}@{version}");
        self.audit(&mut session, actor, tenant, "plugin.delete", &object, &json!({})).await?;
        session.commit().await?;
        Ok(PluginDeleted::Deleted)
    }
}

/// Writes a version that is not there, and its component unless another has it.
pub(crate) async fn plugin_insert(
    session: &mut Session,
    plugin: &PluginVersion,
    component: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO plugin_components (digest, component) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";
    session.execute(sql, args![&plugin.digest, component]).await?;
    let sql = "INSERT INTO plugins (tenant_id, name, version, digest, manifest, state, message, size_bytes, created_at, \
               development, pending_channel) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let values = args![
        plugin.tenant,
        &plugin.name,
        &plugin.version,
        &plugin.digest,
        json_opt(plugin.manifest.as_ref())?,
        plugin.state.code(),
        plugin.message.as_deref(),
        plugin.size_bytes,
        plugin.created_at,
        plugin.development,
        plugin.pending_channel.as_deref(),
    ];
    session.execute(sql, values).await.map_err(conflict("this version of the plugin"))?;
    Ok(())
}

/// Removes a component that no version has any more; gives whether it did.
pub(crate) async fn component_remove(session: &mut Session, digest: &str) -> Result<bool, StoreError> {
    let sql =
        "DELETE FROM plugin_components WHERE digest = $1 AND NOT EXISTS (SELECT 1 FROM plugins WHERE digest = $1)";
    Ok(session.execute(sql, args![digest]).await? > 0)
}

/// Writes the next setting of a channel; gives the version before. Setting what is set changes nothing.
pub(crate) async fn channel_put(
    session: &mut Session,
    actor: &Actor,
    tenant: TenantId,
    name: &str,
    channel: &str,
    version: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT number, version FROM plugin_channels WHERE tenant_id = $1 AND name = $2 AND channel = $3 \
               ORDER BY number DESC LIMIT 1";
    let row = session.row(sql, args![tenant, name, channel]).await?;
    let (number, before) = match row.as_ref().map(Row::cells) {
        Some(mut cells) => (cells.int()? + 1, Some(cells.text()?)),
        None => (1, None),
    };
    if before.as_deref() != Some(version) {
        let sql = "INSERT INTO plugin_channels (tenant_id, name, channel, number, version, set_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        session.execute(sql, args![tenant, name, channel, number, version, actor.now]).await?;
    }
    Ok(before)
}

fn version(row: &Row) -> Result<PluginVersion, StoreError> {
    let mut cells = row.cells();
    Ok(PluginVersion {
        tenant: cells.id()?,
        name: cells.text()?,
        version: cells.text()?,
        digest: cells.text()?,
        manifest: cells.json_opt()?,
        state: cells.code(PluginState::from_code)?,
        message: cells.text_opt()?,
        size_bytes: cells.count()?,
        created_at: cells.time()?,
        development: cells.flag()?,
        pending_channel: cells.text_opt()?,
    })
}

fn channel_row(row: &Row) -> Result<PluginChannel, StoreError> {
    let mut cells = row.cells();
    Ok(PluginChannel { channel: cells.text()?, version: cells.text()?, set_at: cells.time()? })
}
