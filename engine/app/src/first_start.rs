//! What every start makes sure of: a tenant, a way in, the bundled plugins.

use engate_bundled::{BundledPlugin, PLUGINS};
use engate_host::{Digest, Effort};
use engate_model::{
    Secret, TenantId, TokenId,
    integrator::Tenant,
    plugin::CHANNEL_DEFAULT,
    token::{Role, Token, TokenLimits},
};
use engate_store::{PluginState, PluginVersion, Pushed};

use crate::{
    engine::Engine,
    serve::StartError,
    verbs::{access::token_hash, tokens::generate_token},
};

/// The tenant that exists from the start.
pub(crate) const FIRST_TENANT: &str = "default";
/// Who holds the first admin token.
const FIRST_CLIENT: &str = "first-admin";

/// Makes sure of tenant, token and plugins; answers the admin token where it had to make one up.
pub(crate) async fn first_start(engine: &Engine) -> Result<Option<Secret>, StartError> {
    let tenant = first_tenant(engine).await?;
    let token = first_token(engine, tenant).await?;
    for tenant in engine.store.tenant_list().await? {
        install_bundled(engine, tenant.id).await?;
    }
    Ok(token)
}

async fn first_tenant(engine: &Engine) -> Result<TenantId, StartError> {
    if let Some(tenant) = engine.store.tenant_by_slug(FIRST_TENANT).await? {
        return Ok(tenant.id);
    }
    let now = engine.now();
    let id = TenantId::new(now, engine.chance.bits());
    let tenant = Tenant { id, slug: FIRST_TENANT.to_owned(), name: "Default".to_owned(), created_at: now };
    engine.store.tenant_create(&engine.system_actor(), &tenant).await?;
    Ok(id)
}

/// `ENGATE_ADMIN_TOKEN` is the first admin's token, also when it was another one before. Without it, and with no
/// token at all yet, one is made up.
async fn first_token(engine: &Engine, tenant: TenantId) -> Result<Option<Secret>, StartError> {
    let tokens = engine.store.token_list(tenant).await?;
    let (value, made_up) = match &engine.config.admin_token {
        Some(value) => (value.clone(), false),
        None if tokens.is_empty() => (generate_token(engine), true),
        None => return Ok(None),
    };
    let hash = token_hash(value.expose());
    if engine.store.token_by_hash(&hash).await?.is_some() {
        return Ok(None);
    }
    let token = Token {
        id: TokenId::new(engine.now(), engine.chance.bits()),
        tenant,
        client: FIRST_CLIENT.to_owned(),
        role: Role::Admin,
        integrator: None,
        limits: TokenLimits::default(),
        expires_at: None,
        revoked_at: None,
        created_at: engine.now(),
        last_used_at: None,
    };
    let actor = engine.system_actor();
    match tokens.iter().find(|token| token.client == FIRST_CLIENT && token.revoked_at.is_none()) {
        Some(old) => engine.store.token_replace(&actor, old.id, engine.now(), &token, &hash).await?,
        None => engine.store.token_create(&actor, &token, &hash).await?,
    }
    Ok(made_up.then_some(value))
}

/// Installs the plugins that come with the engine into one tenant, where they are not there yet.
pub(crate) async fn install_bundled(engine: &Engine, tenant: TenantId) -> Result<(), StartError> {
    for plugin in PLUGINS {
        let digest = Digest::of(plugin.wasm).to_string();
        let versions = engine.store.plugin_versions(tenant, plugin.name).await?;
        if !versions.iter().any(|version| version.digest == digest) {
            install_one(engine, tenant, plugin).await?;
        }
    }
    Ok(())
}

async fn install_one(engine: &Engine, tenant: TenantId, plugin: &BundledPlugin) -> Result<(), StartError> {
    let installed = engine.host.install(plugin.wasm, Effort::Full).await.map_err(|error| {
        StartError::Setting(format!("the bundled plugin {} cannot be installed: {}", plugin.name, error.message))
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
