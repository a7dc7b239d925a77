//! Development versions: what a developer pushes again and again under the one version its manifest has. Each gets a
//! number of its own behind that version, so that `name@version` still never changes; only the last ones are kept.

use serde_json::json;

use crate::{
    PluginVersion, Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    plugins::{channel_put, component_remove, plugin_insert},
    value::args,
};

/// Development versions that one channel keeps: the present one and those that calls under way, or a rollback, may want.
pub const DEVELOPMENT_KEPT: usize = 5;

/// What became of the push of a development version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Developed {
    /// The version that the channel means now.
    pub version: String,
    /// Whether it was not there before.
    pub created: bool,
    /// Digests of components that were removed with their versions and that nothing has any more.
    pub removed: Vec<String>,
}

impl Store {
    /// Installs `plugin` under the next development version of its own version, lets `channel` mean that, and removes
    /// what is older than the last [`DEVELOPMENT_KEPT`] of the channel and that nothing else names. The same component as
    /// one of those that are there is that one.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn plugin_push_development(
        &self,
        actor: &Actor,
        plugin: &PluginVersion,
        component: &[u8],
        channel: &str,
    ) -> Result<Developed, StoreError> {
        let PluginVersion { tenant, name, digest, .. } = plugin;
        // Also makes pushes of one tenant wait for each other, so that a number is given once.
        let mut session = self.change(*tenant).await?;
        let sql = "SELECT version, digest FROM plugins WHERE tenant_id = $1 AND name = $2";
        let mut there = None;
        let mut number = 0;
        for row in session.rows(sql, args![*tenant, name]).await? {
            let mut cells = row.cells();
            let (version, its_digest) = (cells.text()?, cells.text()?);
            if let Some(taken) = number_of(&plugin.version, &version) {
                number = number.max(taken);
                if its_digest == *digest {
                    there = Some(version);
                }
            }
        }
        let created = there.is_none();
        let version = there.unwrap_or_else(|| format!("{}{}", stem(&plugin.version), number.saturating_add(1)));
        if created {
            let plugin = PluginVersion { version: version.clone(), development: true, ..plugin.clone() };
            plugin_insert(&mut session, &plugin, component).await?;
        }
        let before = channel_put(&mut session, actor, *tenant, name, channel, &version).await?;
        if !created && before.as_deref() == Some(version.as_str()) {
            session.rollback().await?;
            return Ok(Developed { version, created, removed: Vec::new() });
        }
        let removed = remove_old(&mut session, plugin, channel).await?;
        let object = format!("{name}@{version}");
        let detail = json!({ "digest": digest, "channel": channel, "before": before, "development": true });
        self.audit(&mut session, actor, *tenant, "plugin.push", &object, &detail).await?;
        session.commit().await?;
        Ok(Developed { version, created, removed })
    }
}

/// Removes the channel's development versions but the last ones; gives the digests that nothing has any more.
async fn remove_old(session: &mut Session, plugin: &PluginVersion, channel: &str) -> Result<Vec<String>, StoreError> {
    let (tenant, name) = (plugin.tenant, &plugin.name);
    // Of each version that the channel meant, when it did so last. What another channel means or meant, and what an
    // endpoint or integrator names, stays.
    let sql = "SELECT p.version, p.digest FROM plugins p JOIN (SELECT version, max(number) AS number FROM \
               plugin_channels WHERE tenant_id = $1 AND name = $2 AND channel = $3 GROUP BY version) c ON c.version = \
               p.version WHERE p.tenant_id = $1 AND p.name = $2 AND p.development = 1 AND NOT EXISTS (SELECT 1 FROM plugin_channels o WHERE \
               o.tenant_id = p.tenant_id AND o.name = p.name AND o.version = p.version AND o.channel <> $3) AND NOT \
               EXISTS (SELECT 1 FROM endpoints e WHERE e.tenant_id = p.tenant_id AND e.deleted_at IS NULL AND e.plugin \
               = p.name || '@' || p.version) AND NOT EXISTS (SELECT 1 FROM integrators i WHERE i.tenant_id = \
               p.tenant_id AND i.plugin = p.name || '@' || p.version) ORDER BY c.number DESC";
    let mut old = Vec::new();
    for row in session.rows(sql, args![tenant, name, channel]).await? {
        let mut cells = row.cells();
        old.push((cells.text()?, cells.text()?));
    }
    let mut removed = Vec::new();
    for (version, digest) in old.into_iter().skip(DEVELOPMENT_KEPT) {
        let sql = "DELETE FROM plugin_channels WHERE tenant_id = $1 AND name = $2 AND channel = $3 AND version = $4";
        session.execute(sql, args![tenant, name, channel, &version]).await?;
        let sql = "DELETE FROM plugins WHERE tenant_id = $1 AND name = $2 AND version = $3";
        session.execute(sql, args![tenant, name, &version]).await?;
        if component_remove(session, &digest).await? {
            removed.push(digest);
        }
    }
    Ok(removed)
}

/// What the development versions of `version` begin with. SemVer sorts them below `version` itself, where that is no
/// pre-release already, and takes no number behind build metadata, which is left out.
fn stem(version: &str) -> String {
    let release = version.split('+').next().unwrap_or(version);
    let mark = if release.contains('-') { '.' } else { '-' };
    format!("{release}{mark}dev.")
}

/// The number of a development version of `base`.
fn number_of(base: &str, version: &str) -> Option<u64> {
    version.strip_prefix(&stem(base))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_version_is_a_pre_release_of_its_own_version() {
        assert_eq!(stem("1.2.0"), "1.2.0-dev.");
        assert_eq!(stem("1.2.0+build.7"), "1.2.0-dev.");
        assert_eq!(stem("1.2.0-rc.1"), "1.2.0-rc.1.dev.");
        assert_eq!(number_of("1.2.0", "1.2.0-dev.12"), Some(12));
        for other in ["1.2.0", "1.2.0-dev.", "1.2.0-dev.x", "1.2.1-dev.1", "1.2.0-rc.1.dev.1"] {
            assert_eq!(number_of("1.2.0", other), None, "{other}");
        }
    }
}
