//! What every start makes sure of: a tenant, a way in, the bundled plugins.

use engate_model::{
    Secret, TenantId, TokenId,
    integrator::Tenant,
    token::{Role, Token, TokenLimits},
};

use crate::{
    engine::Engine,
    start_error::StartError,
    verbs::{
        VerbError, access::token_hash, plugins::bundled::install_bundled, tenants::FIRST_TENANT, tokens::generate_token,
    },
};

/// Who holds the first admin token.
const FIRST_CLIENT: &str = "first-admin";

/// Makes sure of tenant, token and plugins; answers the admin token where it had to make one up.
pub(crate) async fn first_start(engine: &Engine) -> Result<Option<Secret>, StartError> {
    let tenant = first_tenant(engine).await?;
    let token = first_token(engine, tenant).await?;
    for tenant in engine.store.tenant_list().await? {
        install_bundled(engine, tenant.id).await.map_err(not_installed)?;
    }
    Ok(token)
}

fn not_installed(error: VerbError) -> StartError {
    match error {
        VerbError::Store(error) => StartError::Store(error),
        other => StartError::Setting(other.to_string()),
    }
}

async fn first_tenant(engine: &Engine) -> Result<TenantId, StartError> {
    if let Some(tenant) = engine.store.tenant_by_slug(FIRST_TENANT).await? {
        return Ok(tenant.id);
    }
    let now = engine.now();
    let id = TenantId::new(now, engine.chance.bits());
    let tenant = Tenant { id, slug: FIRST_TENANT.to_owned(), name: "Default".to_owned(), created_at: now };
    engine.store.tenant_create(&engine.system_actor(), &tenant, None).await?;
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
