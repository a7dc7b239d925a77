//! Inbounds: where partners call, and which plugin answers them there.

use engate_model::{
    Invalid,
    inbound::{BODY_BYTES_CEILING, Inbound},
    invalid::Complaints,
    plugin::{PluginRef, World},
    rate::RateLimit,
    token::Principal,
};
use serde_json::Value;

use super::{
    VerbError,
    demand::Demand,
    integrators::{check_config, check_slug, plugin_ref},
    on_conflict,
};
use crate::engine::Engine;

/// Longest description, in bytes.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 1_024;

/// An inbound to make.
#[derive(Debug, Clone)]
pub(crate) struct InboundNew {
    /// What it is called by.
    pub(crate) name: String,
    /// What people call it.
    pub(crate) description: String,
    /// The plugin that answers.
    pub(crate) plugin: String,
    /// Settings for the plugin.
    pub(crate) config: Option<Value>,
    /// Whether it answers.
    pub(crate) enabled: bool,
    /// Largest body it takes.
    pub(crate) body_bytes_max: u32,
    /// How many calls it takes.
    pub(crate) rate_limit: RateLimit,
}

/// What to change of an inbound; none: as it is. An inner none takes the value away.
#[derive(Debug, Clone, Default)]
pub(crate) struct InboundChange {
    /// What people call it.
    pub(crate) description: Option<String>,
    /// The plugin that answers.
    pub(crate) plugin: Option<String>,
    /// Settings for the plugin.
    pub(crate) config: Option<Option<Value>>,
    /// Whether it answers.
    pub(crate) enabled: Option<bool>,
    /// Largest body it takes.
    pub(crate) body_bytes_max: Option<u32>,
    /// How many calls it takes.
    pub(crate) rate_limit: Option<RateLimit>,
}

impl Engine {
    /// The tenant's inbounds by name.
    pub(crate) async fn inbound_list(&self, principal: &Principal) -> Result<Vec<Inbound>, VerbError> {
        Ok(self.store.inbound_list(principal.tenant).await?)
    }

    /// One inbound.
    pub(crate) async fn inbound_get(&self, principal: &Principal, name: &str) -> Result<Inbound, VerbError> {
        self.store.inbound_get(principal.tenant, name).await?.ok_or(VerbError::NotFound("inbound"))
    }

    /// Makes an inbound. Its plugin must be there and take the configuration.
    pub(crate) async fn inbound_create(&self, principal: &Principal, new: InboundNew) -> Result<Inbound, VerbError> {
        let mut complaints = Complaints::default();
        complaints.take(check_slug("name", &new.name));
        let plugin = complaints.take(required_plugin(&new.plugin));
        let now = self.now();
        check(&new.description, new.config.as_ref(), new.body_bytes_max, new.rate_limit, &mut complaints);
        complaints.finish(())?;
        let Some(plugin) = plugin else { return Err(no_plugin().into()) };
        let inbound = Inbound {
            name: new.name,
            tenant: principal.tenant,
            description: new.description,
            plugin,
            config: new.config,
            enabled: new.enabled,
            body_bytes_max: new.body_bytes_max,
            rate_limit: new.rate_limit,
            created_at: now,
            updated_at: now,
        };
        let config = inbound.config.as_ref();
        self.check_own_config(principal.tenant, &inbound.plugin, config, World::Receiver).await?;
        self.check_version_named(principal, &inbound.plugin, "plugin").await?;
        let stored = self.store.inbound_create(&self.actor(principal), &inbound).await;
        let taken =
            format!("there is an inbound {} already, of this tenant or another; choose another name", inbound.name);
        stored.map_err(on_conflict("already_exists", taken))?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(inbound)
    }

    /// Changes what is given; calls that have not begun run under the new settings.
    pub(crate) async fn inbound_update(
        &self,
        principal: &Principal,
        name: &str,
        change: InboundChange,
        demand: &Demand<Inbound>,
    ) -> Result<Inbound, VerbError> {
        demand.settle(|| Box::pin(self.inbound_change(principal, name, change.clone(), demand))).await
    }

    async fn inbound_change(
        &self,
        principal: &Principal,
        name: &str,
        change: InboundChange,
        demand: &Demand<Inbound>,
    ) -> Result<Inbound, VerbError> {
        let before = self.inbound_get(principal, name).await?;
        demand.check(&before)?;
        let mut inbound = before.clone();
        let rebinds = change.plugin.is_some() || change.config.is_some();
        let mut complaints = Complaints::default();
        if let Some(plugin) = change.plugin
            && let Some(plugin) = complaints.take(required_plugin(&plugin))
        {
            inbound.plugin = plugin;
        }
        inbound.description = change.description.unwrap_or(inbound.description);
        inbound.config = change.config.unwrap_or(inbound.config);
        inbound.enabled = change.enabled.unwrap_or(inbound.enabled);
        inbound.body_bytes_max = change.body_bytes_max.unwrap_or(inbound.body_bytes_max);
        inbound.rate_limit = change.rate_limit.unwrap_or(inbound.rate_limit);
        let Inbound { description, config, body_bytes_max, rate_limit, .. } = &inbound;
        check(description, config.as_ref(), *body_bytes_max, *rate_limit, &mut complaints);
        complaints.finish(())?;
        if rebinds {
            let config = inbound.config.as_ref();
            self.check_own_config(principal.tenant, &inbound.plugin, config, World::Receiver).await?;
        }
        if inbound.plugin != before.plugin {
            self.check_version_named(principal, &inbound.plugin, "plugin").await?;
        }
        if inbound == before {
            return Ok(before);
        }
        inbound.updated_at = self.now();
        self.store.inbound_update(&self.actor(principal), &before, &inbound).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(inbound)
    }

    /// Removes an inbound and what its plugin kept for it; the events that came by it stay.
    pub(crate) async fn inbound_delete(
        &self,
        principal: &Principal,
        name: &str,
        demand: &Demand<Inbound>,
    ) -> Result<(), VerbError> {
        demand.settle(|| Box::pin(self.inbound_remove(principal, name, demand))).await
    }

    async fn inbound_remove(
        &self,
        principal: &Principal,
        name: &str,
        demand: &Demand<Inbound>,
    ) -> Result<(), VerbError> {
        let inbound = self.inbound_get(principal, name).await?;
        demand.check(&inbound)?;
        self.store.inbound_delete(&self.actor(principal), &inbound).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(())
    }
}

fn required_plugin(text: &str) -> Result<PluginRef, Invalid> {
    plugin_ref(Some(text))?.ok_or_else(no_plugin)
}

fn no_plugin() -> Invalid {
    Invalid::field("plugin", "is missing; name the plugin that checks and answers the calls")
}

fn check(
    description: &str,
    config: Option<&Value>,
    body_bytes_max: u32,
    rate_limit: RateLimit,
    complaints: &mut Complaints,
) {
    if description.len() > DESCRIPTION_BYTES_MAX {
        complaints.add("description", format!("at most {DESCRIPTION_BYTES_MAX} bytes"));
    }
    if description.chars().any(|c| c.is_control() && c != '\n') {
        complaints.add("description", "must not hold control characters");
    }
    complaints.take(check_config(config));
    if !(1..=BODY_BYTES_CEILING).contains(&body_bytes_max) {
        complaints.add("max_body_bytes", format!("must be a whole number from 1 to {BODY_BYTES_CEILING}"));
    }
    rate_limit.check("rate_limit", complaints);
}

#[cfg(test)]
mod tests {
    use engate_model::rate::RATE_CEILING;

    use super::*;

    #[test]
    fn each_field_out_of_its_bounds_is_named() {
        let fields = |description: &str, bytes: u32, per_second: u32, burst: u32| {
            let mut complaints = Complaints::default();
            check(description, Some(&Value::Null), bytes, RateLimit { per_second, burst }, &mut complaints);
            complaints.finish(()).err().map(|i| i.0.into_iter().map(|e| e.field).collect::<Vec<_>>())
        };
        assert_eq!(fields("a\nb", 1, 1, RATE_CEILING), Some(vec!["config".to_owned()]));
        let all = ["description", "config", "max_body_bytes", "rate_limit.per_second", "rate_limit.burst"];
        let beyond = fields("\0", BODY_BYTES_CEILING + 1, 0, RATE_CEILING + 1);
        assert_eq!(beyond, Some(all.map(ToOwned::to_owned).to_vec()));
    }
}
