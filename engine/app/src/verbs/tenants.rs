//! Tenants: whose data it is. Only an admin of the first tenant sees that there are several.

use engate_model::{
    TenantId, TokenId,
    event::check_name,
    integrator::Tenant,
    invalid::Complaints,
    token::{Principal, Role, Token, TokenLimits},
};
use engate_store::StoreError;

use super::{
    VerbError,
    demand::Demand,
    integrators::check_slug,
    on_conflict,
    plugins::bundled::install_bundled,
    tokens::{TokenMade, generate_token},
};
use crate::engine::Engine;

/// The tenant that exists from the start.
pub(crate) const FIRST_TENANT: &str = "default";
/// Who holds a new tenant's first token.
const FIRST_ADMIN: &str = "admin";

impl Engine {
    /// Every tenant, the oldest first.
    pub(crate) async fn tenant_list(&self, principal: &Principal) -> Result<Vec<Tenant>, VerbError> {
        self.require_first_tenant(principal).await?;
        Ok(self.store.tenant_list().await?)
    }

    /// One tenant by id or slug.
    pub(crate) async fn tenant_get(&self, principal: &Principal, name: &str) -> Result<Tenant, VerbError> {
        self.require_first_tenant(principal).await?;
        let found = match name.parse::<TenantId>() {
            Ok(id) => self.store.tenant_get(id).await?,
            Err(_) => self.store.tenant_by_slug(name).await?,
        };
        found.ok_or(VerbError::NotFound("tenant"))
    }

    /// Enters a tenant with the bundled plugins and its first admin token.
    pub(crate) async fn tenant_create(
        &self,
        principal: &Principal,
        slug: String,
        name: Option<String>,
    ) -> Result<(Tenant, TokenMade), VerbError> {
        self.require_first_tenant(principal).await?;
        let now = self.now();
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| slug.clone());
        let mut complaints = Complaints::default();
        complaints.take(check_slug("slug", &slug));
        complaints.take(check_name("name", &name));
        complaints.finish(())?;
        let tenant = Tenant { id: TenantId::new(now, self.chance.bits()), slug, name, created_at: now };
        let token = Token {
            id: TokenId::new(now, self.chance.bits()),
            tenant: tenant.id,
            client: FIRST_ADMIN.to_owned(),
            role: Role::Admin,
            integrator: None,
            limits: TokenLimits::default(),
            expires_at: None,
            revoked_at: None,
            created_at: now,
            last_used_at: None,
        };
        let made = TokenMade { token, value: generate_token(self) };
        let first = (&made.token, &made.hash());
        let stored = self.store.tenant_create(&self.actor(principal), &tenant, Some(first)).await;
        let taken = format!("there is a tenant {} already; choose another slug", tenant.slug);
        stored.map_err(on_conflict("already_exists", taken))?;
        // Every start makes sure of them too: a failure here only delays them.
        if let Err(error) = install_bundled(self, tenant.id).await {
            tracing::warn!(tenant = %tenant.id, %error, "the bundled plugins are not installed yet");
        }
        self.views.follow_change(&self.store, tenant.id).await;
        Ok((tenant, made))
    }

    /// Changes a tenant's slug and name. The first one keeps its slug: the engine looks for it by that.
    pub(crate) async fn tenant_update(
        &self,
        principal: &Principal,
        name: &str,
        slug: Option<String>,
        title: Option<String>,
        demand: &Demand<Tenant>,
    ) -> Result<Tenant, VerbError> {
        let change = || (slug.clone(), title.clone());
        demand.settle(|| Box::pin(self.tenant_change(principal, name, change(), demand))).await
    }

    async fn tenant_change(
        &self,
        principal: &Principal,
        name: &str,
        (slug, title): (Option<String>, Option<String>),
        demand: &Demand<Tenant>,
    ) -> Result<Tenant, VerbError> {
        let old = self.tenant_get(principal, name).await?;
        demand.check(&old)?;
        let tenant = Tenant {
            slug: slug.unwrap_or_else(|| old.slug.clone()),
            name: title.unwrap_or_else(|| old.name.clone()),
            ..old.clone()
        };
        let mut complaints = Complaints::default();
        complaints.take(check_slug("slug", &tenant.slug));
        complaints.take(check_name("name", &tenant.name));
        complaints.finish(())?;
        if old.slug == FIRST_TENANT && tenant.slug != FIRST_TENANT {
            return Err(system_record());
        }
        if tenant == old {
            return Ok(old);
        }
        let taken = format!("there is a tenant {} already; choose another slug", tenant.slug);
        let stored = self.store.tenant_update(&self.actor(principal), &old, &tenant).await;
        stored.map_err(on_conflict("already_exists", taken))?;
        Ok(tenant)
    }

    /// Deletes a tenant: nobody gets in any more, nothing is delivered and no job runs any more, its secrets are gone. Its
    /// history stays as long as any history does.
    pub(crate) async fn tenant_delete(
        &self,
        principal: &Principal,
        name: &str,
        demand: &Demand<Tenant>,
    ) -> Result<(), VerbError> {
        demand.settle(|| Box::pin(self.tenant_remove(principal, name, demand))).await
    }

    async fn tenant_remove(&self, principal: &Principal, name: &str, demand: &Demand<Tenant>) -> Result<(), VerbError> {
        let tenant = self.tenant_get(principal, name).await?;
        demand.check(&tenant)?;
        if tenant.slug == FIRST_TENANT {
            return Err(system_record());
        }
        let jobs = self.store.tenant_delete(&self.actor(principal), &tenant).await?;
        self.tokens.forget_tenant(tenant.id);
        self.views.follow_change(&self.store, tenant.id).await;
        for job in jobs {
            self.job_gone(job).await;
        }
        Ok(())
    }

    /// A tenant's slug, by which the configuration and the folders of files know it; empty where there is no such tenant.
    pub(crate) async fn tenant_slug(&self, tenant: TenantId) -> Result<String, StoreError> {
        Ok(self.store.tenant_get(tenant).await?.map(|tenant| tenant.slug).unwrap_or_default())
    }

    async fn require_first_tenant(&self, principal: &Principal) -> Result<(), VerbError> {
        let own = self.store.tenant_get(principal.tenant).await?;
        if principal.role == Role::Admin && own.is_some_and(|tenant| tenant.slug == FIRST_TENANT) {
            return Ok(());
        }
        Err(VerbError::Forbidden(format!("only an admin of the tenant {FIRST_TENANT} may see and enter tenants")))
    }
}

fn system_record() -> VerbError {
    VerbError::conflict(
        "system_record",
        format!("the tenant {FIRST_TENANT} runs the engine; it keeps its slug and stays"),
    )
}
