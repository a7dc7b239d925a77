//! The plugins that come with the engine, in every tenant.

use engate_bundled::{BundledPlugin, PLUGINS};
use engate_host::{Digest, Effort};
use engate_model::{TenantId, plugin::CHANNEL_DEFAULT};
use engate_store::{PluginState, PluginVersion, Pushed};

use crate::{engine::Engine, verbs::VerbError};

/// Installs the plugins that come with the engine into one tenant, where they are not there yet.
pub(crate) async fn install_bundled(engine: &Engine, tenant: TenantId) -> Result<(), VerbError> {
    for plugin in PLUGINS {
        let digest = Digest::of(plugin.wasm).to_string();
        let versions = engine.store.plugin_versions(tenant, plugin.name).await?;
        if !versions.iter().any(|version| version.digest == digest) {
            install_one(engine, tenant, plugin).await?;
        }
    }
    Ok(())
}

async fn install_one(engine: &Engine, tenant: TenantId, plugin: &BundledPlugin) -> Result<(), VerbError> {
    let installed = engine.host.install(plugin.wasm, Effort::Full).await.map_err(|error| {
        VerbError::Internal(format!("the bundled plugin {} cannot be installed: {}", plugin.name, error.message))
    })?;
    let version = PluginVersion {
        tenant,
        name: plugin.name.to_owned(),
        version: installed.manifest.version.clone(),
        digest: installed.digest.to_string(),
        manifest: Some(installed.manifest),
        state: PluginState::Ready,
        message: None,
        size_bytes: installed.size_bytes,
        created_at: engine.now(),
        development: false,
        pending_channel: None,
    };
    let pushed = engine.store.plugin_push(&engine.system_actor(), &version, plugin.wasm, Some(CHANNEL_DEFAULT)).await?;
    if let Pushed::VersionTaken { .. } = pushed {
        tracing::warn!(
            plugin = plugin.name,
            version = version.version,
            "the bundled plugin differs from the installed one of that version; the installed one stays"
        );
    }
    Ok(())
}
