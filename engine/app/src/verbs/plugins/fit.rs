//! Whether configurations fit the plugins they are for. The contract promises a plugin settings that are valid
//! against its schema, so every change that could break the promise is checked before it is made: of an endpoint,
//! an integrator, an installation, and of the version that a channel means.

use std::collections::{BTreeMap, HashMap};

use engate_host::validate_config;
use engate_model::{
    EndpointId, FieldError, IntegratorId, Invalid, TenantId,
    endpoint::Endpoint,
    integrator::Integrator,
    plugin::{Manifest, PluginRef},
};
use engate_store::{EndpointFilter, PluginState, PluginVersion, StoreError};
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

impl Engine {
    /// The version that `reference` means, if it can run.
    pub(crate) async fn plugin_usable(
        &self,
        tenant: TenantId,
        reference: &PluginRef,
    ) -> Result<(PluginVersion, Manifest), VerbError> {
        let Some(version) = self.store.plugin_resolve(tenant, reference).await? else {
            let message =
                format!("{reference} is not installed; push the plugin first, or name a version or channel it has");
            return Err(VerbError::field("plugin", message));
        };
        match (&version.state, version.manifest.clone()) {
            (PluginState::Ready, Some(manifest)) => Ok((version, manifest)),
            _ => {
                let why = version.message.unwrap_or_default();
                Err(VerbError::field("plugin", format!("{reference} cannot run: {why}")))
            }
        }
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
        let (_, manifest) = self.plugin_usable(integrator.tenant, reference).await?;
        let settings = self.store.plugin_settings_get(integrator.tenant, &reference.name).await?;
        let layers = [settings.config.as_ref(), integrator.config.as_ref(), config];
        validate_config(&manifest.config_schema, &merged(layers)).map_err(below_config)?;
        Ok(())
    }

    /// Checks an integrator's own layer: its plugin can run, and nothing in it contradicts the plugin's schema.
    /// What is missing may still come from the endpoints.
    pub(crate) async fn check_layer(&self, integrator: &Integrator) -> Result<(), VerbError> {
        let Some(reference) = &integrator.plugin else { return Ok(()) };
        let (_, manifest) = self.plugin_usable(integrator.tenant, reference).await?;
        let Some(config) = &integrator.config else { return Ok(()) };
        Ok(check_part(&manifest.config_schema, config)?)
    }

    /// Checks that the configurations of an integrator's endpoints still fit after a change of it.
    pub(crate) async fn check_endpoints_of(&self, integrator: &Integrator) -> Result<(), VerbError> {
        let misfits = self.misfits(integrator.tenant, Planned::Integrator(integrator)).await?;
        refuse("config", &misfits)
    }

    /// The endpoints whose configuration would no longer fit, with what would be wrong.
    pub(crate) async fn misfits(
        &self,
        tenant: TenantId,
        planned: Planned<'_>,
    ) -> Result<Vec<(EndpointId, FieldError)>, StoreError> {
        let stored = self.store.integrator_list(tenant).await?.into_iter();
        let mut integrators: HashMap<IntegratorId, Integrator> = stored.map(|i| (i.id, i)).collect();
        if let Planned::Integrator(changed) = planned {
            integrators.insert(changed.id, changed.clone());
        }
        let mut known = Known { engine: self, tenant, planned, manifests: HashMap::new(), configs: BTreeMap::new() };
        let mut misfits = Vec::new();
        for endpoint in self.store.endpoint_list(tenant, &EndpointFilter::default()).await? {
            let Some(integrator) = integrators.get(&endpoint.integrator) else { continue };
            if let Some(error) = known.misfit(&endpoint, integrator).await? {
                misfits.push((endpoint.id, error));
            }
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
    async fn misfit(&mut self, endpoint: &Endpoint, integrator: &Integrator) -> Result<Option<FieldError>, StoreError> {
        let Some(reference) = endpoint.plugin.as_ref().or(integrator.plugin.as_ref()) else { return Ok(None) };
        let concerned = match self.planned {
            Planned::Installation(name, _) => reference.name == name,
            Planned::Integrator(changed) => integrator.id == changed.id,
            Planned::Channel(channel, _) => reference == channel,
        };
        if !concerned {
            return Ok(None);
        }
        self.read(reference).await?;
        // A reference to nothing is broken already; this change does not make it worse.
        let Some(Some(manifest)) = self.manifests.get(reference) else { return Ok(None) };
        let installation = self.configs.get(&reference.name).and_then(Option::as_ref);
        let config = merged([installation, integrator.config.as_ref(), endpoint.config.as_ref()]);
        let result = validate_config(&manifest.config_schema, &config).map_err(below_config);
        Ok(result.err().and_then(|invalid| invalid.0.into_iter().next()))
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

/// Refuses a change of `field` after which endpoints would no longer fit.
///
/// # Errors
/// Names `field` once for each misfit told.
pub(crate) fn refuse(field: &str, misfits: &[(EndpointId, FieldError)]) -> Result<(), VerbError> {
    if misfits.is_empty() {
        return Ok(());
    }
    let told = told(misfits).into_iter().map(|message| FieldError { field: field.to_owned(), message });
    Err(Invalid(told.collect()).into())
}

/// Misfits in words, one sentence each.
pub(crate) fn told(misfits: &[(EndpointId, FieldError)]) -> Vec<String> {
    let tell = |(endpoint, error): &(EndpointId, FieldError)| {
        format!("{} of endpoint {endpoint} would no longer fit: {}", error.field, error.message)
    };
    misfits.iter().take(MISFITS_TOLD_MAX).map(tell).collect()
}

/// Checks one layer by itself: what is there must fit, what is missing may come from another layer.
///
/// # Errors
/// Names fields below `config`.
pub(crate) fn check_part(schema: &Value, layer: &Value) -> Result<(), Invalid> {
    validate_config(&without_required(schema), layer).map_err(below_config)
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

/// Puts fields of a configuration below `config`, where the caller wrote them.
pub(super) fn below_config(invalid: Invalid) -> Invalid {
    let field = |field: String| match field.as_str() {
        "" => "config".to_owned(),
        path if path.starts_with('[') => format!("config{path}"),
        path => format!("config.{path}"),
    };
    Invalid(invalid.0.into_iter().map(|e| FieldError { field: field(e.field), message: e.message }).collect())
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

    #[test]
    fn the_whole_document_is_called_config() {
        let invalid = below_config(Invalid(vec![
            FieldError { field: String::new(), message: String::new() },
            FieldError { field: "a.b[0]".into(), message: String::new() },
        ]));
        let fields: Vec<_> = invalid.0.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["config", "config.a.b[0]"]);
    }
}
