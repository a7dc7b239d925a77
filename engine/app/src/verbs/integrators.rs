//! Partner companies.

use engate_model::{
    IntegratorId, Invalid, TenantId, event::check_name, integrator::Integrator, invalid::Complaints, plugin::PluginRef,
    token::Principal,
};
use serde_json::Value;

use super::{Scope, VerbError, demand::Demand, on_conflict};
use crate::engine::Engine;

/// Longest slug, in bytes.
pub(crate) const SLUG_BYTES_MAX: usize = 64;
/// Services one integrator may list.
pub(crate) const SERVICES_MAX: usize = 100;

/// An integrator to enter.
#[derive(Debug, Clone)]
pub(crate) struct IntegratorNew {
    /// What it is named by.
    pub(crate) slug: String,
    /// What people read; none: the slug.
    pub(crate) name: Option<String>,
    /// Whether its endpoints get events.
    pub(crate) active: bool,
    /// What it offers.
    pub(crate) services: Vec<String>,
    /// The plugin of its endpoints that name none.
    pub(crate) plugin: Option<String>,
    /// Settings of its endpoints' plugins.
    pub(crate) config: Option<Value>,
}

/// What to change of an integrator; none: as it is. An inner none takes the value away.
#[derive(Debug, Clone, Default)]
pub(crate) struct IntegratorChange {
    /// What it is named by.
    pub(crate) slug: Option<String>,
    /// What people read.
    pub(crate) name: Option<String>,
    /// Whether its endpoints get events.
    pub(crate) active: Option<bool>,
    /// What it offers.
    pub(crate) services: Option<Vec<String>>,
    /// The plugin of its endpoints that name none.
    pub(crate) plugin: Option<Option<String>>,
    /// Settings of its endpoints' plugins.
    pub(crate) config: Option<Option<Value>>,
}

impl Engine {
    /// The integrators that `principal` sees, by slug.
    pub(crate) async fn integrator_list(&self, principal: &Principal) -> Result<Vec<Integrator>, VerbError> {
        let scope = Scope::of(principal);
        let mut integrators = self.store.integrator_list(principal.tenant).await?;
        integrators.retain(|integrator| scope.covers(integrator.id));
        integrators.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(integrators)
    }

    /// The integrator of that id or slug.
    pub(crate) async fn integrator_get(&self, principal: &Principal, name: &str) -> Result<Integrator, VerbError> {
        let found = match name.parse::<IntegratorId>() {
            Ok(id) => self.store.integrator_get(principal.tenant, id).await?,
            Err(_) => self.store.integrator_by_slug(principal.tenant, name).await?,
        };
        let integrator = found.ok_or(VerbError::NotFound("integrator"))?;
        Scope::of(principal).require(integrator.id, "integrator")?;
        Ok(integrator)
    }

    /// Enters an integrator.
    pub(crate) async fn integrator_create(
        &self,
        principal: &Principal,
        new: IntegratorNew,
    ) -> Result<Integrator, VerbError> {
        let now = self.now();
        let mut complaints = Complaints::default();
        let plugin = complaints.take(plugin_ref(new.plugin.as_deref())).flatten();
        let integrator = Integrator {
            id: IntegratorId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            name: new.name.filter(|name| !name.is_empty()).unwrap_or_else(|| new.slug.clone()),
            slug: new.slug,
            active: new.active,
            services: new.services,
            plugin,
            config: new.config,
            created_at: now,
            updated_at: now,
        };
        check(&integrator, &mut complaints);
        complaints.finish(())?;
        self.check_layer(&integrator).await?;
        self.check_plugin_of_integrator(principal, None, &integrator).await?;
        let stored = self.store.integrator_create(&self.actor(principal), &integrator).await;
        stored.map_err(on_conflict("already_exists", slug_taken(&integrator.slug)))?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(integrator)
    }

    /// Changes what is given.
    pub(crate) async fn integrator_update(
        &self,
        principal: &Principal,
        name: &str,
        change: IntegratorChange,
        demand: &Demand<Integrator>,
    ) -> Result<Integrator, VerbError> {
        demand.settle(|| Box::pin(self.integrator_change(principal, name, change.clone(), demand))).await
    }

    async fn integrator_change(
        &self,
        principal: &Principal,
        name: &str,
        change: IntegratorChange,
        demand: &Demand<Integrator>,
    ) -> Result<Integrator, VerbError> {
        let before = self.integrator_get(principal, name).await?;
        demand.check(&before)?;
        let mut integrator = before.clone();
        let shapes_requests = change.plugin.is_some() || change.config.is_some();
        let mut complaints = Complaints::default();
        if let Some(plugin) = change.plugin {
            integrator.plugin = complaints.take(plugin_ref(plugin.as_deref())).flatten();
        }
        integrator.slug = change.slug.unwrap_or(integrator.slug);
        if let Some(name) = change.name {
            integrator.name = if name.is_empty() { integrator.slug.clone() } else { name };
        }
        integrator.active = change.active.unwrap_or(integrator.active);
        integrator.services = change.services.unwrap_or(integrator.services);
        integrator.config = change.config.unwrap_or(integrator.config);
        check(&integrator, &mut complaints);
        complaints.finish(())?;
        if integrator == before {
            return Ok(before);
        }
        integrator.updated_at = self.now();
        if shapes_requests {
            self.check_layer(&integrator).await?;
            self.check_endpoints_of(&integrator).await?;
            self.check_plugin_of_integrator(principal, before.plugin.as_ref(), &integrator).await?;
        }
        let stored = self.store.integrator_update(&self.actor(principal), &before, &integrator).await;
        stored.map_err(on_conflict("already_exists", slug_taken(&integrator.slug)))?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(integrator)
    }

    /// Removes an integrator that never had an endpoint.
    pub(crate) async fn integrator_delete(
        &self,
        principal: &Principal,
        name: &str,
        demand: &Demand<Integrator>,
    ) -> Result<(), VerbError> {
        demand.settle(|| Box::pin(self.integrator_remove(principal, name, demand))).await
    }

    async fn integrator_remove(
        &self,
        principal: &Principal,
        name: &str,
        demand: &Demand<Integrator>,
    ) -> Result<(), VerbError> {
        let integrator = self.integrator_get(principal, name).await?;
        demand.check(&integrator)?;
        let deleted = self.store.integrator_delete(&self.actor(principal), &integrator).await;
        let message =
            format!("{} has or had endpoints, whose deliveries are kept; set active to false instead", integrator.slug);
        deleted.map_err(on_conflict("in_use", message))?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(())
    }
}

/// Reads `plugin` as a reference; empty text names none.
///
/// # Errors
/// Names `plugin`.
pub(crate) fn plugin_ref(text: Option<&str>) -> Result<Option<PluginRef>, Invalid> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|message: String| Invalid::field("plugin", message))
}

fn slug_taken(slug: &str) -> String {
    format!("there is an integrator {slug} already; choose another slug")
}

fn check(integrator: &Integrator, complaints: &mut Complaints) {
    complaints.take(check_slug("slug", &integrator.slug));
    complaints.take(check_name("name", &integrator.name));
    if integrator.services.len() > SERVICES_MAX {
        complaints.add("services", format!("at most {SERVICES_MAX} services"));
    }
    for (n, service) in integrator.services.iter().enumerate() {
        complaints.take(check_name(&format!("services[{n}]"), service));
    }
    complaints.take(check_config(integrator.config.as_ref()));
}

/// Largest configuration, in bytes of compact JSON (the plugin contract's `config 64 KiB`).
const CONFIG_BYTES_MAX: usize = 64 << 10;

/// Checks one layer of configuration by itself.
///
/// # Errors
/// Names `config`.
pub(crate) fn check_config(config: Option<&Value>) -> Result<(), Invalid> {
    let Some(config) = config else { return Ok(()) };
    if !config.is_object() {
        return Err(Invalid::field("config", "must be a JSON object"));
    }
    if config.to_string().len() > CONFIG_BYTES_MAX {
        return Err(Invalid::field("config", format!("at most {CONFIG_BYTES_MAX} bytes of compact JSON")));
    }
    Ok(())
}

/// Checks a slug: lower-case letters, digits and `.`, `-`, `_`, a letter or digit first, and not an id.
///
/// # Errors
/// Names `field`.
pub(crate) fn check_slug(field: &str, slug: &str) -> Result<(), Invalid> {
    let first = slug.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
    if !first || !rest || slug.len() > SLUG_BYTES_MAX {
        let message =
            format!("must be 1 to {SLUG_BYTES_MAX} lower-case letters, digits and . - _, a letter or digit first");
        return Err(Invalid::field(field, message));
    }
    if slug.parse::<IntegratorId>().is_ok() || slug.parse::<TenantId>().is_ok() {
        return Err(Invalid::field(field, "looks like an id; choose a word"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain_enough_for_a_path_and_are_no_ids() {
        for slug in ["ons", "acme-billing", "9.b_c"] {
            assert_eq!(check_slug("slug", slug), Ok(()));
        }
        for slug in [
            "",
            "..",
            "-a",
            "Ons",
            "a/b",
            "a b",
            "int_00000000000000000000000000000000",
            "ten_00000000000000000000000000000000",
        ] {
            assert!(check_slug("slug", slug).is_err(), "{slug}");
        }
    }

    #[test]
    fn a_layer_of_configuration_is_an_object_of_bounded_size() {
        assert_eq!(check_config(None), Ok(()));
        assert_eq!(check_config(Some(&serde_json::json!({"a": 1}))), Ok(()));
        assert!(check_config(Some(&serde_json::json!([1]))).is_err());
        assert!(check_config(Some(&serde_json::json!({"a": "x".repeat(CONFIG_BYTES_MAX)}))).is_err());
    }
}
