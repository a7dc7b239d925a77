//! Whether configurations fit the plugins they are for. The contract promises a plugin settings that are valid
//! against its schema, so every change that could break the promise is checked before it is made: of an endpoint,
//! an inbound, an integrator, an installation, and of the version that a channel means. So is whether the plugin is made
//! for what it is bound to.

use std::collections::{BTreeMap, HashMap};

use engate_host::validate_config;
use engate_model::{
    FieldError, IntegratorId, Invalid, TenantId,
    integrator::Integrator,
    plugin::{Manifest, Pin, PluginRef, World},
};
use engate_store::{EndpointFilter, PluginVersion, StoreError};
use serde_json::Value;

use crate::{engine::Engine, verbs::VerbError, views::merged};

/// Misfits that a refusal tells of; the rest would fill a screen and say the same.
const MISFITS_TOLD_MAX: usize = 10;

/// A change that is about to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Planned<'a> {
    /// An installation gets this configuration.
    Installation(&'a str, Option<&'a Value>),
    /// An integrator becomes this.
    Integrator(&'a Integrator),
    /// A reference (a channel) is to mean a version with this manifest.
    Channel(&'a PluginRef, &'a Manifest),
}

/// What would no longer fit after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// `endpoint ep_...`, `inbound bank`.
    bound: String,
    /// What would be wrong.
    error: FieldError,
}

/// Who has a plugin, and the layers of settings above the installation's.
struct Bound<'a> {
    name: String,
    world: World,
    plugin: &'a PluginRef,
    integrator: Option<&'a Integrator>,
    config: Option<&'a Value>,
}

impl Engine {
    /// The version that `reference` means, if it can run.
    pub(crate) async fn plugin_usable(
        &self,
        tenant: TenantId,
        reference: &PluginRef,
    ) -> Result<(PluginVersion, Manifest), VerbError> {
        let Some(version) = self.store.plugin_resolve(tenant, reference).await? else {
            let waiting = self.plugin_awaited(tenant, reference).await?;
            let message = match waiting {
                Some(version) => format!(
                    "{reference} will mean version {version} once that is compiled; wait until its state is ready"
                ),
                None => {
                    format!("{reference} is not installed; push the plugin first, or name a version or channel it has")
                }
            };
            return Err(VerbError::field("plugin", message));
        };
        match (version.obstacle(), version.manifest.clone()) {
            (None, Some(manifest)) => Ok((version, manifest)),
            (obstacle, _) => {
                let why = obstacle.unwrap_or_else(|| "it has no manifest; push it again".to_owned());
                Err(VerbError::field("plugin", format!("{reference} cannot run: {why}")))
            }
        }
    }

    /// The version for which a channel that means none yet is waiting.
    async fn plugin_awaited(&self, tenant: TenantId, reference: &PluginRef) -> Result<Option<String>, StoreError> {
        let Pin::Channel(channel) = &reference.pin else { return Ok(None) };
        let versions = self.store.plugin_versions(tenant, &reference.name).await?;
        let awaited = versions.into_iter().find(|version| version.pending_channel.as_ref() == Some(channel));
        Ok(awaited.map(|version| version.version))
    }

    /// The version that `reference` means, if it can run and is made for that.
    pub(crate) async fn plugin_made_for(
        &self,
        tenant: TenantId,
        reference: &PluginRef,
        world: World,
    ) -> Result<Manifest, VerbError> {
        let (_, manifest) = self.plugin_usable(tenant, reference).await?;
        if manifest.fills(world) {
            return Ok(manifest);
        }
        let what = match manifest.worlds.first() {
            Some(World::Receiver) => "is a receiver: it answers a partner's calls, and belongs to an inbound",
            Some(World::SyncTarget) => "is a sync target: it takes the pages of a sync job",
            Some(World::SyncSource) => "is a sync source: it feeds a sync or polling job",
            Some(World::Integrator) | None => "delivers events",
        };
        let needed = match world {
            World::Integrator => "an endpoint takes a plugin of the world integrator",
            World::Receiver => "an inbound takes a plugin of the world receiver",
            World::SyncTarget => "the sink of a sync job takes a plugin of the world sync-target",
            World::SyncSource => "the source of a job takes a plugin of the world sync-source",
        };
        Err(VerbError::field("plugin", format!("{reference} {what}; {needed}")))
    }

    /// Checks the plugin and configuration of what has no layer but the installation below its own: an inbound, or the
    /// source of a sync.
    pub(crate) async fn check_own_config(
        &self,
        tenant: TenantId,
        plugin: &PluginRef,
        config: Option<&Value>,
        world: World,
    ) -> Result<(), VerbError> {
        let manifest = self.plugin_made_for(tenant, plugin, world).await?;
        let settings = self.store.plugin_settings_get(tenant, &plugin.name).await?;
        validate_config(&manifest.config_schema, &merged([settings.config.as_ref(), config]))
            .map_err(|invalid| invalid.below("config"))?;
        Ok(())
    }

    /// Checks an endpoint's plugin and configuration together with the layers below them.
    pub(crate) async fn check_endpoint_config(
        &self,
        integrator: &Integrator,
        plugin: Option<&PluginRef>,
        config: Option<&Value>,
    ) -> Result<(), VerbError> {
        let Some(reference) = plugin.or(integrator.plugin.as_ref()) else {
            return match config {
                None => Ok(()),
                Some(_) => {
                    Err(VerbError::field("config", "no plugin is there to take it; name one, or leave config out"))
                }
            };
        };
        let manifest = self.plugin_made_for(integrator.tenant, reference, World::Integrator).await?;
        let settings = self.store.plugin_settings_get(integrator.tenant, &reference.name).await?;
        let layers = [settings.config.as_ref(), integrator.config.as_ref(), config];
        validate_config(&manifest.config_schema, &merged(layers)).map_err(|invalid| invalid.below("config"))?;
        Ok(())
    }

    /// Checks an integrator's own layer: its plugin can run, and nothing in it contradicts the plugin's schema.
    /// What is missing may still come from the endpoints.
    pub(crate) async fn check_layer(&self, integrator: &Integrator) -> Result<(), VerbError> {
        let Some(reference) = &integrator.plugin else { return Ok(()) };
        let manifest = self.plugin_made_for(integrator.tenant, reference, World::Integrator).await?;
        let Some(config) = &integrator.config else { return Ok(()) };
        Ok(check_part(&manifest.config_schema, config)?)
    }

    /// Checks that the configurations of an integrator's endpoints still fit after a change of it.
    pub(crate) async fn check_endpoints_of(&self, integrator: &Integrator) -> Result<(), VerbError> {
        let misfits = self.misfits(integrator.tenant, Planned::Integrator(integrator)).await?;
        refuse("config", &misfits)
    }

    /// The endpoints and inbounds that would no longer fit, with what would be wrong.
    pub(crate) async fn misfits(&self, tenant: TenantId, planned: Planned<'_>) -> Result<Vec<Misfit>, StoreError> {
        let stored = self.store.integrator_list(tenant).await?.into_iter();
        let mut integrators: HashMap<IntegratorId, Integrator> = stored.map(|i| (i.id, i)).collect();
        if let Planned::Integrator(changed) = planned {
            integrators.insert(changed.id, changed.clone());
        }
        let mut known = Known { engine: self, tenant, planned, manifests: HashMap::new(), configs: BTreeMap::new() };
        let mut misfits = Vec::new();
        for endpoint in self.store.endpoint_list(tenant, &EndpointFilter::default()).await? {
            let Some(integrator) = integrators.get(&endpoint.integrator) else { continue };
            let Some(plugin) = endpoint.plugin.as_ref().or(integrator.plugin.as_ref()) else { continue };
            let name = format!("endpoint {}", endpoint.id);
            let (integrator, config) = (Some(integrator), endpoint.config.as_ref());
            let bound = Bound { name, world: World::Integrator, plugin, integrator, config };
            misfits.extend(known.misfit(bound).await?);
        }
        for inbound in self.store.inbound_list(tenant).await? {
            let (name, config) = (format!("inbound {}", inbound.name), inbound.config.as_ref());
            let bound = Bound { name, world: World::Receiver, plugin: &inbound.plugin, integrator: None, config };
            misfits.extend(known.misfit(bound).await?);
        }
        Ok(misfits)
    }
}

/// What is read once for all endpoints of a tenant.
struct Known<'a> {
    engine: &'a Engine,
    tenant: TenantId,
    planned: Planned<'a>,
    manifests: HashMap<PluginRef, Option<Manifest>>,
    configs: BTreeMap<String, Option<Value>>,
}

impl Known<'_> {
    async fn misfit(&mut self, bound: Bound<'_>) -> Result<Option<Misfit>, StoreError> {
        let reference = bound.plugin;
        let concerned = match self.planned {
            Planned::Installation(name, _) => reference.name == name,
            Planned::Integrator(changed) => bound.integrator.is_some_and(|integrator| integrator.id == changed.id),
            Planned::Channel(channel, _) => reference == channel,
        };
        if !concerned {
            return Ok(None);
        }
        self.read(reference).await?;
        // A reference to nothing is broken already; this change does not make it worse.
        let Some(Some(manifest)) = self.manifests.get(reference) else { return Ok(None) };
        if !manifest.fills(bound.world) {
            let message = format!("the plugin would be no {} any more", bound.world.code());
            let error = FieldError { field: "plugin".to_owned(), message };
            return Ok(Some(Misfit { bound: bound.name, error }));
        }
        let installation = self.configs.get(&reference.name).and_then(Option::as_ref);
        let config = merged([installation, bound.integrator.and_then(|i| i.config.as_ref()), bound.config]);
        let result = validate_config(&manifest.config_schema, &config).map_err(|invalid| invalid.below("config"));
        let error = result.err().and_then(|invalid| invalid.0.into_iter().next());
        Ok(error.map(|error| Misfit { bound: bound.name, error }))
    }

    async fn read(&mut self, reference: &PluginRef) -> Result<(), StoreError> {
        if !self.manifests.contains_key(reference) {
            let manifest = match self.planned {
                Planned::Channel(channel, manifest) if channel == reference => Some(manifest.clone()),
                _ => self.engine.store.plugin_resolve(self.tenant, reference).await?.and_then(|found| found.manifest),
            };
            self.manifests.insert(reference.clone(), manifest);
        }
        if !self.configs.contains_key(&reference.name) {
            let config = match self.planned {
                Planned::Installation(name, config) if name == reference.name => config.cloned(),
                _ => self.engine.store.plugin_settings_get(self.tenant, &reference.name).await?.config,
            };
            self.configs.insert(reference.name.clone(), config);
        }
        Ok(())
    }
}

/// Refuses a change of `field` after which endpoints or inbounds would no longer fit.
///
/// # Errors
/// Names `field` once for each misfit told.
pub(crate) fn refuse(field: &str, misfits: &[Misfit]) -> Result<(), VerbError> {
    if misfits.is_empty() {
        return Ok(());
    }
    let told = told(misfits).into_iter().map(|message| FieldError { field: field.to_owned(), message });
    Err(Invalid(told.collect()).into())
}

/// Misfits in words, one sentence each.
pub(crate) fn told(misfits: &[Misfit]) -> Vec<String> {
    let tell =
        |Misfit { bound, error }: &Misfit| format!("{} of {bound} would no longer fit: {}", error.field, error.message);
    misfits.iter().take(MISFITS_TOLD_MAX).map(tell).collect()
}

/// Checks one layer by itself: what is there must fit, what is missing may come from another layer.
///
/// # Errors
/// Names fields below `config`.
pub(crate) fn check_part(schema: &Value, layer: &Value) -> Result<(), Invalid> {
    validate_config(&without_required(schema), layer).map_err(|invalid| invalid.below("config"))
}

/// The schema without its demands for presence. A property that is itself called `required` has a schema, not a
/// list, as its value, and stays.
fn without_required(schema: &Value) -> Value {
    match schema {
        Value::Object(entries) => {
            let demand = |key: &str, value: &Value| match key {
                "required" => value.is_array(),
                "minProperties" => value.is_number(),
                "dependentRequired" => value.is_object(),
                _ => false,
            };
            let kept = entries.iter().filter(|(key, value)| !demand(key, value));
            Value::Object(kept.map(|(key, value)| (key.clone(), without_required(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_required).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "names": {"enum": ["camel", "pascal"]},
                "link": {"type": "object", "required": ["base"], "properties": {"base": {"type": "string"}}},
                "required": {"type": "boolean"}
            },
            "required": ["names", "link"],
            "additionalProperties": false
        })
    }

    #[test]
    fn a_layer_may_lack_what_others_give_but_not_contradict() {
        assert_eq!(check_part(&schema(), &json!({"link": {}})), Ok(()));
        assert_eq!(check_part(&schema(), &json!({"required": true})), Ok(()));
        let invalid = check_part(&schema(), &json!({"names": "snake"})).unwrap_err();
        assert_eq!(invalid.0.first().unwrap().field, "config.names");
        assert!(check_part(&schema(), &json!({"required": 1})).is_err());
        assert!(check_part(&schema(), &json!({"unknown": 1})).is_err());
    }
}
