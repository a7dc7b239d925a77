//! Installed plugins: versions, channels, grants, settings, and trying one out. Nothing here sends anything.

pub(crate) mod bundled;
mod compile;
mod exposure;
mod fit;
mod grants;
mod limits;
mod push;
mod trial;

use engate_model::{
    Invalid, TenantId,
    plugin::{CHANNEL_DEFAULT, Manifest, Pin, PluginRef, check_plugin_name},
    token::Principal,
};
use engate_store::{PluginChannel, PluginSettings, PluginVersion, StoreError};

use self::fit::{Planned, told};
pub(crate) use self::{
    compile::{ABANDONED_AFTER, Compilations},
    grants::Granted,
    limits::PluginLimits,
    push::{COMPONENT_BYTES_MAX, PushedPlugin},
    trial::{Judged, Shaped, Trial, TrialEvent, TrialNew},
};
use super::VerbError;
use crate::engine::Engine;

/// An installed plugin with all its versions.
#[derive(Debug, Clone)]
pub(crate) struct InstalledPlugin {
    /// The version that production binds to: the channel `stable`, else the newest that is no developer's.
    pub(crate) current: PluginVersion,
    /// Every version, the newest first.
    pub(crate) versions: Vec<PluginVersion>,
    /// What the channels mean.
    pub(crate) channels: Vec<PluginChannel>,
    /// What it may do and how it is set.
    pub(crate) settings: PluginSettings,
    /// Granted secrets that are not there yet.
    pub(crate) secrets_missing: Vec<String>,
    /// Where its requests go and may carry secrets, though that was not granted.
    pub(crate) addresses_not_granted: Vec<String>,
}

impl Engine {
    /// The newest version of each plugin, by name.
    pub(crate) async fn plugin_list(&self, principal: &Principal) -> Result<Vec<PluginVersion>, VerbError> {
        let mut plugins = self.store.plugin_list(principal.tenant).await?;
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(plugins)
    }

    /// One plugin.
    pub(crate) async fn plugin_get(&self, principal: &Principal, name: &str) -> Result<InstalledPlugin, VerbError> {
        let versions = self.plugin_versions(principal, name).await?;
        let channels = self.store.plugin_channels(principal.tenant, name).await?;
        let stable = channels.iter().find(|channel| channel.channel == CHANNEL_DEFAULT);
        let current = versions.iter().find(|version| stable.is_some_and(|stable| stable.version == version.version));
        let newest = versions.iter().find(|version| !version.development).or(versions.first());
        let current = current.or(newest).cloned().ok_or(VerbError::NotFound("plugin"))?;
        let settings = self.store.plugin_settings_get(principal.tenant, name).await?;
        let secrets_missing = self.secrets_missing(principal.tenant, &settings.grants).await?;
        let addresses_not_granted = self.addresses_not_granted(principal.tenant, name, &settings.grants).await?;
        Ok(InstalledPlugin { current, versions, channels, settings, secrets_missing, addresses_not_granted })
    }

    /// Every version of a plugin, the newest first.
    pub(crate) async fn plugin_versions(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<Vec<PluginVersion>, VerbError> {
        let mut versions = self.store.plugin_versions(principal.tenant, name).await?;
        if versions.is_empty() {
            return Err(VerbError::NotFound("plugin"));
        }
        versions.sort_by(|a, b| (b.created_at, &b.version).cmp(&(a.created_at, &a.version)));
        Ok(versions)
    }

    /// One version of a plugin.
    pub(crate) async fn plugin_version(
        &self,
        principal: &Principal,
        name: &str,
        version: &str,
    ) -> Result<PluginVersion, VerbError> {
        let found = self.store.plugin_version_get(principal.tenant, name, version).await?;
        found.ok_or(VerbError::NotFound("version of that plugin"))
    }

    /// What each channel of a plugin means.
    pub(crate) async fn plugin_channels(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<Vec<PluginChannel>, VerbError> {
        self.plugin_versions(principal, name).await?;
        Ok(self.store.plugin_channels(principal.tenant, name).await?)
    }

    /// Lets a channel mean a version from the next attempt on; answers the version it meant before. Calls under
    /// way finish on that one.
    pub(crate) async fn plugin_channel_bind(
        &self,
        principal: &Principal,
        name: &str,
        channel: &str,
        version: &str,
    ) -> Result<Option<String>, VerbError> {
        let reference = channel_ref(name, channel)?;
        let exact = PluginRef { name: name.to_owned(), pin: Pin::Version(version.to_owned()) };
        self.plugin_versions(principal, name).await?;
        let usable = self.plugin_usable(principal.tenant, &exact).await;
        let (bound, manifest) = usable.map_err(|error| blame(error, "version"))?;
        if channel == CHANNEL_DEFAULT && bound.development {
            let cure = "is a development version, which goes by itself after a while; push the component to keep it";
            return Err(VerbError::field("version", format!("{version} {cure}")));
        }
        self.require_fit(principal.tenant, &reference, &manifest).await?;
        self.require_oversight(principal, name, channel, Some(version)).await?;
        let set = self.store.plugin_channel_set(&self.actor(principal), principal.tenant, name, channel, version).await;
        let before = set.map_err(|error| match error {
            StoreError::NotFound { .. } => VerbError::field("version", format!("{name} has no version {version}")),
            other => other.into(),
        })?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(before)
    }

    /// Lets a channel mean the version before the present one; answers both, the new one first.
    pub(crate) async fn plugin_rollback(
        &self,
        principal: &Principal,
        name: &str,
        channel: &str,
    ) -> Result<(String, Option<String>), VerbError> {
        channel_ref(name, channel)?;
        self.plugin_versions(principal, name).await?;
        let history = self.store.plugin_channel_history(principal.tenant, name, channel).await?;
        let versions = history.into_iter().rev().map(|entry| entry.version);
        let Some(before) = before_the_last(versions) else {
            let detail = format!("the channel {channel} of {name} never meant another version");
            return Err(VerbError::conflict("not_allowed_in_state", detail));
        };
        let previous = self.plugin_channel_bind(principal, name, channel, &before).await?;
        Ok((before, previous))
    }

    /// Refuses to let a channel mean a version that some endpoint or inbound does not fit.
    async fn require_fit(&self, tenant: TenantId, channel: &PluginRef, manifest: &Manifest) -> Result<(), VerbError> {
        let misfits = self.misfits(tenant, Planned::Channel(channel, manifest)).await?;
        if misfits.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "version {} does not fit {} endpoint(s) or inbound(s) of this channel; {}",
            manifest.version,
            misfits.len(),
            told(&misfits).join("; ")
        );
        Err(VerbError::conflict("config_mismatch", detail))
    }
}

/// The version below the last one, where going back to an earlier one takes away what came after it.
fn before_the_last(versions: impl Iterator<Item = String>) -> Option<String> {
    let mut path: Vec<String> = Vec::new();
    for version in versions {
        match path.iter().position(|earlier| *earlier == version) {
            Some(at) => path.truncate(at + 1),
            None => path.push(version),
        }
    }
    path.pop()?;
    path.pop()
}

/// The reference that means a channel of a plugin.
///
/// # Errors
/// Names `name` or `channel`.
fn channel_ref(name: &str, channel: &str) -> Result<PluginRef, Invalid> {
    check_plugin_name(name).map_err(|message| Invalid::field("name", message))?;
    let cure = "a channel is kebab-case and begins with a letter (stable, next)";
    let reference = format!("{name}@{channel}").parse::<PluginRef>();
    let reference = reference.map_err(|_| Invalid::field("channel", cure))?;
    match reference.pin {
        Pin::Channel(_) if channel.len() <= 64 => Ok(reference),
        _ => Err(Invalid::field("channel", cure)),
    }
}

/// Puts the blame on the field that this verb was given instead of `plugin`.
pub(super) fn blame(error: VerbError, field: &str) -> VerbError {
    match error {
        VerbError::Invalid(mut invalid) => {
            invalid
                .0
                .iter_mut()
                .filter(|error| error.field == "plugin")
                .for_each(|error| field.clone_into(&mut error.field));
            VerbError::Invalid(invalid)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_word_and_no_version() {
        assert_eq!(channel_ref("gsan", "next").unwrap().to_string(), "gsan@next");
        assert_eq!(channel_ref("gsan", "stable").unwrap().to_string(), "gsan");
        for channel in ["", "1.2.0", "Next", "a b"] {
            assert_eq!(channel_ref("gsan", channel).unwrap_err().0.first().unwrap().field, "channel");
        }
        assert_eq!(channel_ref("G", "next").unwrap_err().0.first().unwrap().field, "name");
    }
}
