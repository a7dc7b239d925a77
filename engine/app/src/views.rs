//! A tenant's configuration as one revision has it, held in memory: the catalogue for matching, and each
//! endpoint's plugin with its settings, resolved once. A change bumps the revision in the store; the view is
//! read again then. An accept under an old revision is refused by the store, so an old view loses nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use engate_host::{Digest, GrantedSecret, Secrets};
use engate_model::{
    EndpointId, Secret, TenantId,
    breaker::Breaker,
    credential::Credential,
    endpoint::{Auth, Endpoint},
    event::EventType,
    inbound::Inbound,
    integrator::Integrator,
    json,
    plugin::{CallSettings, Grants, Manifest, PluginRef, World},
    routing::Catalog,
    verdict::Failure,
};
use engate_store::{Store, StoreError};
use serde_json::{Map, Value};

use crate::payloads::PayloadSchemas;

/// One tenant at one revision.
pub(crate) struct View {
    /// Integrators, endpoints and who gets what.
    pub(crate) catalog: Catalog,
    /// What plugins see of the catalogue's entries, by key of the event type.
    catalog_labels: HashMap<String, Vec<(String, String)>>,
    /// What payloads have to meet.
    pub(crate) schemas: PayloadSchemas,
    bindings: RwLock<HashMap<EndpointId, Arc<Binding>>>,
    inbounds: HashMap<String, Arc<Inbound>>,
    inbound_bindings: RwLock<HashMap<String, Arc<Binding>>>,
    /// How each plugin version did lately. A change of the configuration (a version, a grant, a setting) makes a new view,
    /// and with it every plugin is tried afresh.
    breakers: Mutex<HashMap<Digest, Breaker>>,
}

/// What shapes an endpoint's requests, or answers an inbound's calls.
pub(crate) enum Binding {
    /// The engine's own behaviour.
    BuiltIn,
    /// A plugin.
    Plugin(Box<PluginBinding>),
    /// A plugin that cannot run now; its deliveries wait, its calls are refused.
    Broken(Failure),
}

impl Binding {
    /// Which component, where it is a plugin.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Plugin(binding) => Some(&binding.digest),
            Self::BuiltIn | Self::Broken(_) => None,
        }
    }
}

/// A plugin with everything a call needs, for one endpoint or inbound.
pub(crate) struct PluginBinding {
    /// `name@version`.
    pub(crate) label: String,
    /// The installed name.
    pub(crate) name: String,
    /// `tenant/name`: instances never cross it.
    pub(crate) installation: String,
    /// Which component.
    pub(crate) digest: Digest,
    /// Whether it is a developer's version.
    pub(crate) development: bool,
    /// What it said of itself.
    pub(crate) manifest: Manifest,
    /// What it may do.
    pub(crate) grants: Grants,
    /// Installation, integrator and endpoint, or installation and inbound, merged.
    pub(crate) config: Arc<Value>,
    /// Granted secrets by name.
    pub(crate) secrets: Secrets,
    /// Granted credential profiles by name, filled; or why one cannot be.
    pub(crate) credentials: BTreeMap<String, Result<Auth, String>>,
    /// How its calls run, as far as the installation says.
    pub(crate) calls: CallSettings,
    /// Size of the component, which tells whether it carries a runtime.
    pub(crate) component_bytes: u64,
}

/// All tenants' views.
#[derive(Default)]
pub(crate) struct Views {
    by_tenant: RwLock<HashMap<TenantId, Arc<View>>>,
}

impl Views {
    /// The tenant's view as held; read from the store where there is none yet.
    pub(crate) async fn get(&self, store: &Store, tenant: TenantId) -> Result<Arc<View>, StoreError> {
        let held = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        match held {
            Some(view) => Ok(view),
            None => self.refresh(store, tenant).await,
        }
    }

    /// Reads the tenant's view again. Two refreshes at once keep the newer revision.
    pub(crate) async fn refresh(&self, store: &Store, tenant: TenantId) -> Result<Arc<View>, StoreError> {
        let held = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        let catalog = store.catalog_load(tenant, held.as_deref().map(|view| &view.catalog)).await?;
        let types = store.event_type_list(tenant).await?;
        let held = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        let schemas = PayloadSchemas::of(&types, held.as_ref().map(|held| &held.schemas));
        let catalog_labels = types.into_iter().map(|entry| (entry.key.clone(), labels_of(&entry))).collect();
        let inbounds = store.inbound_list(tenant).await?;
        let fresh = Arc::new(View {
            catalog,
            catalog_labels,
            schemas,
            bindings: RwLock::default(),
            inbounds: inbounds.into_iter().map(|inbound| (inbound.name.clone(), Arc::new(inbound))).collect(),
            inbound_bindings: RwLock::default(),
            breakers: Mutex::default(),
        });
        let mut by_tenant = self.by_tenant.write().unwrap_or_else(PoisonError::into_inner);
        let held = by_tenant.entry(tenant).or_insert_with(|| Arc::clone(&fresh));
        if held.catalog.revision <= fresh.catalog.revision {
            *held = fresh;
        }
        Ok(Arc::clone(held))
    }

    /// Reads the tenant's view again after a change that is committed. The change stands whether that works or not, so nobody
    /// is told that it failed: where it does not, the poller reads the view within moments, as it does for what other nodes
    /// change, and what leans on the old one until then the store refuses.
    pub(crate) async fn follow_change(&self, store: &Store, tenant: TenantId) -> Option<Arc<View>> {
        let read = self.refresh(store, tenant).await;
        read.inspect_err(|error| tracing::warn!(%tenant, %error, "a change is made and not followed yet; trying again"))
            .ok()
    }

    /// The inbound of that name with its tenant's view, whoever the tenant is. A name that no view held has is looked for
    /// in the store: its tenant may not have been asked for yet, or another node may have entered it just now.
    pub(crate) async fn inbound(
        &self,
        store: &Store,
        name: &str,
    ) -> Result<Option<(Arc<View>, Arc<Inbound>)>, StoreError> {
        let with_it = |view: &Arc<View>| view.inbounds.get(name).map(|inbound| (Arc::clone(view), Arc::clone(inbound)));
        let held = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).values().find_map(with_it);
        if held.is_some() {
            return Ok(held);
        }
        match store.inbound_tenant(name).await? {
            Some(tenant) => Ok(with_it(&self.refresh(store, tenant).await?)),
            None => Ok(None),
        }
    }

    /// The revisions held, to compare with the store's.
    pub(crate) fn revisions(&self) -> HashMap<TenantId, i64> {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        by_tenant.iter().map(|(tenant, view)| (*tenant, view.catalog.revision)).collect()
    }
}

/// How a catalogue entry reaches a plugin; what it does not have is left out.
fn labels_of(entry: &EventType) -> Vec<(String, String)> {
    let labels = [
        ("event-type.title", &entry.title),
        ("event-type.process", &entry.process),
        ("event-type.macro-process", &entry.macro_process),
    ];
    labels
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text.clone()))
        .collect()
}

/// The producer's labels, then the catalogue's; of one name the producer's wins.
pub(crate) fn with_catalog_labels(own: &[(String, String)], catalog: &[(String, String)]) -> Vec<(String, String)> {
    let added = catalog.iter().filter(|(name, _)| !own.iter().any(|(n, _)| n == name));
    own.iter().chain(added).cloned().collect()
}

impl View {
    /// The labels of the event type's catalogue entry.
    pub(crate) fn catalog_labels(&self, event_type: &str) -> &[(String, String)] {
        self.catalog_labels.get(event_type).map_or(&[], Vec::as_slice)
    }

    /// Whether the catalogue has the event type.
    pub(crate) fn knows(&self, event_type: &str) -> bool {
        self.catalog_labels.contains_key(event_type)
    }

    /// Whether the plugin's deliveries are to be parked.
    pub(crate) fn is_out_of_order(&self, plugin: &Digest) -> bool {
        self.breakers().get(plugin).is_some_and(|breaker| breaker.is_open())
    }

    /// Takes note of how a plugin did in an attempt; true where that put it out of order.
    pub(crate) fn note(&self, plugin: Digest, faulty: bool) -> bool {
        let mut breakers = self.breakers();
        // Nothing is kept of a plugin that never failed.
        if !faulty && !breakers.contains_key(&plugin) {
            return false;
        }
        breakers.entry(plugin).or_default().note(faulty)
    }

    fn breakers(&self) -> MutexGuard<'_, HashMap<Digest, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What shapes `endpoint`'s requests; resolved at the first call and kept.
    pub(crate) async fn binding(&self, store: &Store, endpoint: &Endpoint) -> Result<Arc<Binding>, StoreError> {
        let held = self.bindings.read().unwrap_or_else(PoisonError::into_inner).get(&endpoint.id).cloned();
        if let Some(binding) = held {
            return Ok(binding);
        }
        let integrator = self.catalog.integrator(endpoint.integrator).cloned();
        let binding = Arc::new(resolve(store, endpoint, integrator.as_deref()).await?);
        let mut bindings = self.bindings.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(bindings.entry(endpoint.id).or_insert(binding)))
    }

    /// What answers `inbound`'s calls; resolved at the first call and kept.
    pub(crate) async fn inbound_binding(&self, store: &Store, inbound: &Inbound) -> Result<Arc<Binding>, StoreError> {
        let held = self.inbound_bindings.read().unwrap_or_else(PoisonError::into_inner).get(&inbound.name).cloned();
        if let Some(binding) = held {
            return Ok(binding);
        }
        let binding = Arc::new(
            resolve_plugin(store, inbound.tenant, World::Receiver, &inbound.plugin, &[inbound.config.as_ref()]).await?,
        );
        let mut bindings = self.inbound_bindings.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(bindings.entry(inbound.name.clone()).or_insert(binding)))
    }
}

/// What carries a sync job's pages to `endpoint`.
pub(crate) async fn sink_binding(
    store: &Store,
    view: &View,
    endpoint: &Endpoint,
    sink: &engate_model::sync::PluginSink,
) -> Result<Binding, StoreError> {
    let integrator = view.catalog.integrator(endpoint.integrator);
    let layers = [integrator.and_then(|i| i.config.as_ref()), endpoint.config.as_ref(), sink.config.as_ref()];
    resolve_plugin(store, endpoint.tenant, World::SyncTarget, &sink.plugin, &layers).await
}

/// What a job pulls from; `endpoint` lends its address and settings, where the job names one.
pub(crate) async fn source_binding(
    store: &Store,
    view: &View,
    tenant: TenantId,
    endpoint: Option<&Endpoint>,
    plugin: &PluginRef,
    config: Option<&Value>,
) -> Result<Binding, StoreError> {
    let integrator = endpoint.and_then(|endpoint| view.catalog.integrator(endpoint.integrator));
    let layers = [
        integrator.and_then(|integrator| integrator.config.as_ref()),
        endpoint.and_then(|endpoint| endpoint.config.as_ref()),
        config,
    ];
    resolve_plugin(store, tenant, World::SyncSource, plugin, &layers).await
}

async fn resolve(store: &Store, endpoint: &Endpoint, integrator: Option<&Integrator>) -> Result<Binding, StoreError> {
    let reference = endpoint.plugin.as_ref().or_else(|| integrator.and_then(|i| i.plugin.as_ref()));
    match reference {
        None => Ok(Binding::BuiltIn),
        Some(reference) => {
            let layers = [integrator.and_then(|i| i.config.as_ref()), endpoint.config.as_ref()];
            resolve_plugin(store, endpoint.tenant, World::Integrator, reference, &layers).await
        }
    }
}

/// The plugin of `reference`, made for `world`, with `layers` of settings above its installation's.
async fn resolve_plugin(
    store: &Store,
    tenant: TenantId,
    world: World,
    reference: &PluginRef,
    layers: &[Option<&Value>],
) -> Result<Binding, StoreError> {
    let broken =
        |message: String| Ok(Binding::Broken(Failure { code: "load_failed".into(), message, retryable: true }));
    let Some(version) = store.plugin_resolve(tenant, reference).await? else {
        return broken(format!("plugin {reference} is not installed"));
    };
    if let Some(obstacle) = version.obstacle() {
        return broken(format!("plugin {reference} is not usable: {obstacle}"));
    }
    let (Some(manifest), Ok(digest)) = (version.manifest, version.digest.parse::<Digest>()) else {
        return broken(format!("plugin {reference} is not usable: push it again"));
    };
    if !manifest.fills(world) {
        return broken(format!("plugin {reference} is no {}", world.code()));
    }
    let settings = store.plugin_settings_get(tenant, &reference.name).await?;
    let config = merged([settings.config.as_ref()].into_iter().chain(layers.iter().copied()));
    let secrets = granted(store, tenant, &settings.grants).await?;
    let credentials = credentials(store, tenant, &settings.grants).await?;
    Ok(Binding::Plugin(Box::new(PluginBinding {
        label: format!("{}@{}", version.name, version.version),
        installation: format!("{tenant}/{}", version.name),
        name: version.name,
        digest,
        development: version.development,
        manifest,
        grants: settings.grants,
        config: Arc::new(config),
        secrets,
        credentials,
        calls: settings.calls,
        component_bytes: version.size_bytes,
    })))
}

/// Lays the layers of configuration upon each other, the last one on top.
pub(crate) fn merged<'a>(layers: impl IntoIterator<Item = Option<&'a Value>>) -> Value {
    let mut config = Value::Object(Map::new());
    layers.into_iter().flatten().for_each(|layer| json::merge(&mut config, layer));
    config
}

/// The granted credential profiles with their secrets, which the plugin itself never sees.
pub(crate) async fn credentials(
    store: &Store,
    tenant: TenantId,
    grants: &Grants,
) -> Result<BTreeMap<String, Result<Auth, String>>, StoreError> {
    let mut secrets: BTreeMap<&str, Secret> = BTreeMap::new();
    for name in grants.credentials.iter().flat_map(|credential| credential.secrets()) {
        if let Some(value) = store.secret_get_for_engine(tenant, name).await? {
            secrets.insert(name, value);
        }
    }
    let filled = |credential: &Credential| credential.auth(|name| secrets.get(name).cloned());
    Ok(grants.credentials.iter().map(|credential| (credential.name.clone(), filled(credential))).collect())
}

async fn granted(store: &Store, tenant: TenantId, grants: &Grants) -> Result<Secrets, StoreError> {
    let mut secrets = BTreeMap::new();
    for name in grants.secrets.iter().chain(&grants.reveal) {
        if let Some(value) = store.secret_get_for_engine(tenant, name).await? {
            let reveal = grants.reveal.contains(name);
            secrets.insert(name.clone(), GrantedSecret { value: Ok(value), reveal });
        }
    }
    Ok(if secrets.is_empty() { Secrets::none() } else { Secrets::granted(Arc::new(secrets)) })
}
