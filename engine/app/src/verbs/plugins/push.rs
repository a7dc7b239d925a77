//! Installing a component.

use std::{sync::Arc, time::Duration};

use engate_host::{Digest, Effort, InstallCode, InstallError, Installed};
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
/// Largest component that is compiled before the push is answered, in bytes: a compiled guest of that size takes about
/// a second. What is larger carries a language's runtime along.
const AT_ONCE_BYTES_MAX: usize = 1 << 20;

/// A component as it is installed now.
#[derive(Debug, Clone)]
pub(crate) struct PushedPlugin {
    /// The version.
    pub(crate) version: PluginVersion,
    /// Whether it was not there before.
    pub(crate) created: bool,
    /// The channel that means it now, or will once it is compiled.
    pub(crate) channel: String,
}

impl Engine {
    /// Installs a component and lets a channel mean it. The same bytes again change nothing but the channel;
    /// other bytes under a version that is there are refused: a version never changes. A large component is compiled
    /// afterwards, which is waited for no longer than `patience`.
    pub(crate) async fn plugin_push(
        self: &Arc<Self>,
        principal: &Principal,
        component: &[u8],
        name: Option<&str>,
        channel: Option<&str>,
        patience: Duration,
    ) -> Result<PushedPlugin, VerbError> {
        let channel = channel.unwrap_or(CHANNEL_DEFAULT);
        let at_once = component.len() <= AT_ONCE_BYTES_MAX || self.host.is_compiled(&Digest::of(component));
        let (effort, state) =
            if at_once { (Effort::Full, PluginState::Ready) } else { (Effort::Quick, PluginState::Compiling) };
        let version = self.plugin_install(principal, component, name, channel, effort).await?;
        self.require_oversight(principal, &version.name, channel, Some(&version.version)).await?;
        let version = PluginVersion { state, ..version };
        let pushed = self.store.plugin_push(&self.actor(principal), &version, component, Some(channel)).await?;
        let created = match pushed {
            Pushed::Created => true,
            Pushed::Unchanged => {
                self.channel_aim(principal, &version.name, channel, &version.version).await?;
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
        self.views.follow_change(&self.store, principal.tenant).await;
        let mut stored = self.plugin_version(principal, &version.name, &version.version).await?;
        if stored.state == PluginState::Compiling {
            self.plugin_compile(stored.clone());
            stored = self.plugin_settled(stored, patience).await?;
        }
        Ok(PushedPlugin { version: stored, created, channel: channel.to_owned() })
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
        let mut version = self.plugin_install(principal, component, name, channel, Effort::Quick).await?;
        self.require_oversight(principal, &version.name, channel, None).await?;
        let actor = self.actor(principal);
        let pushed = self.store.plugin_push_development(&actor, &version, component, channel).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
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
        effort: Effort,
    ) -> Result<PluginVersion, VerbError> {
        // Before the component is compiled: a bad name would waste seconds of it.
        channel_ref(name.unwrap_or("name"), channel)?;
        let installed = self.host.install(component, effort).await.map_err(refused)?;
        let Installed { digest, manifest, size_bytes, .. } = installed;
        if name.is_some_and(|name| name != manifest.id) {
            let message = format!("the component's manifest says `{}`; push it under that name", manifest.id);
            return Err(VerbError::Refused { code: "bad_manifest", invalid: Invalid::field("name", message) });
        }
        self.require_fit(principal.tenant, &channel_ref(&manifest.id, channel)?, &manifest).await?;
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
            development: false,
            pending_channel: None,
        })
    }

    /// Lets a channel mean a version that was there already: now, or once it is compiled.
    async fn channel_aim(
        &self,
        principal: &Principal,
        name: &str,
        channel: &str,
        version: &str,
    ) -> Result<(), VerbError> {
        let waits = |there: &PluginVersion| there.state == PluginState::Compiling;
        let there = self.plugin_version(principal, name, version).await?;
        if waits(&there) {
            if self.store.plugin_pending_channel(&self.actor(principal), &there, channel).await? {
                return Ok(());
            }
            // It waits for this channel already, or its compilation ended in between, for the channel it had.
            if waits(&self.plugin_version(principal, name, version).await?) {
                return Ok(());
            }
        }
        self.channel_move(principal, name, channel, version).await
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
