//! Installing a component.

use engate_host::{InstallCode, InstallError, Installed};
use engate_model::{
    Invalid,
    plugin::{CHANNEL_DEFAULT, CHANNEL_DEVELOPMENT, Manifest},
    token::Principal,
};
use engate_store::{Developed, PluginState, PluginVersion, Pushed};

use super::channel_ref;
use crate::{engine::Engine, verbs::VerbError};

/// Largest component, in bytes (the plugin contract's limit).
pub(crate) const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// A component as it is installed now.
#[derive(Debug, Clone)]
pub(crate) struct PushedPlugin {
    /// The version.
    pub(crate) version: PluginVersion,
    /// Whether it was not there before.
    pub(crate) created: bool,
    /// The channel that means it now.
    pub(crate) channel: String,
}

impl Engine {
    /// Installs a component and lets a channel mean it. The same bytes again change nothing but the channel;
    /// other bytes under a version that is there are refused: a version never changes.
    pub(crate) async fn plugin_push(
        &self,
        principal: &Principal,
        component: &[u8],
        name: Option<&str>,
        channel: Option<&str>,
    ) -> Result<PushedPlugin, VerbError> {
        let channel = channel.unwrap_or(CHANNEL_DEFAULT);
        let version = self.plugin_install(principal, component, name, channel).await?;
        let pushed = self.store.plugin_push(&self.actor(principal), &version, component, Some(channel)).await?;
        let created = match pushed {
            Pushed::Created => true,
            Pushed::Unchanged => {
                self.channel_move(principal, &version.name, channel, &version.version).await?;
                false
            }
            Pushed::VersionTaken { digest } => {
                let (name, number) = (&version.name, &version.version);
                let detail = format!(
                    "{name}@{number} is installed with the digest {digest} and never changes; raise the version in the manifest"
                );
                return Err(VerbError::conflict("version_taken", detail));
            }
        };
        self.views.refresh(&self.store, principal.tenant).await?;
        let stored = self.store.plugin_version_get(principal.tenant, &version.name, &version.version).await?;
        Ok(PushedPlugin { version: stored.unwrap_or(version), created, channel: channel.to_owned() })
    }

    /// Installs a component under a development version of its own version and lets a channel mean that, so that a
    /// developer need not raise the version at every change. Those that are no longer in use go by themselves.
    pub(crate) async fn plugin_push_development(
        &self,
        principal: &Principal,
        component: &[u8],
        name: Option<&str>,
        channel: Option<&str>,
    ) -> Result<PushedPlugin, VerbError> {
        let channel = channel.unwrap_or(CHANNEL_DEVELOPMENT);
        if channel == CHANNEL_DEFAULT {
            let cure =
                "a development version goes to a channel of its own, such as dev; stable is for versions that stay";
            return Err(VerbError::field("channel", cure));
        }
        let mut version = self.plugin_install(principal, component, name, channel).await?;
        let actor = self.actor(principal);
        let pushed = self.store.plugin_push_development(&actor, &version, component, channel).await?;
        self.views.refresh(&self.store, principal.tenant).await?;
        for digest in pushed.removed.iter().filter_map(|digest| digest.parse().ok()) {
            self.host.forget(&digest);
        }
        let Developed { version: number, created, .. } = pushed;
        version.version = number;
        let stored = self.store.plugin_version_get(principal.tenant, &version.name, &version.version).await?;
        Ok(PushedPlugin { version: stored.unwrap_or(version), created, channel: channel.to_owned() })
    }

    /// Checks and compiles a component, and that it fits the endpoints of its channel to be.
    async fn plugin_install(
        &self,
        principal: &Principal,
        component: &[u8],
        name: Option<&str>,
        channel: &str,
    ) -> Result<PluginVersion, VerbError> {
        // Before the component is compiled: a bad name would waste seconds of it.
        channel_ref(name.unwrap_or("name"), channel)?;
        let Installed { digest, manifest, size_bytes, .. } = self.host.install(component).await.map_err(refused)?;
        if name.is_some_and(|name| name != manifest.id) {
            let message = format!("the component's manifest says `{}`; push it under that name", manifest.id);
            return Err(VerbError::Refused { code: "bad_manifest", invalid: Invalid::field("name", message) });
        }
        self.require_fit(principal, &channel_ref(&manifest.id, channel)?, &manifest).await?;
        let Manifest { id, version, .. } = &manifest;
        Ok(PluginVersion {
            tenant: principal.tenant,
            name: id.clone(),
            version: version.clone(),
            digest: digest.to_string(),
            manifest: Some(manifest),
            state: PluginState::Ready,
            message: None,
            size_bytes,
            created_at: self.now(),
        })
    }

    /// Lets a channel mean a version that was there already, unless it does.
    async fn channel_move(
        &self,
        principal: &Principal,
        name: &str,
        channel: &str,
        version: &str,
    ) -> Result<(), VerbError> {
        let channels = self.store.plugin_channels(principal.tenant, name).await?;
        if !channels.iter().any(|now| now.channel == channel && now.version == version) {
            self.store.plugin_channel_set(&self.actor(principal), principal.tenant, name, channel, version).await?;
        }
        Ok(())
    }
}

/// The host's refusal under its own code; what the engine itself could not do is no fault of the component.
fn refused(error: InstallError) -> VerbError {
    if error.code == InstallCode::Unavailable {
        return VerbError::Internal(error.to_string());
    }
    VerbError::Refused { code: error.code.code(), invalid: Invalid::field("body", error.message) }
}
