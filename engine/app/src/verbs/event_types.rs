//! The catalogue of event types: what producers name and endpoints subscribe to.

use engate_model::{
    EndpointId, IntegratorId, Invalid, TenantId, Timestamp,
    endpoint::subscribes,
    event::{EventType, check_key, check_name},
    invalid::Complaints,
    schema::{Schema, check_dialect},
    token::Principal,
};
use engate_store::EndpointFilter;
use serde_json::Value;

use super::{Scope, VerbError, demand::Demand, on_conflict};
use crate::{
    accept::{DEPTH_MAX, depth},
    engine::Engine,
};

/// Largest schema of an event type, in bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;

/// A type to enter.
#[derive(Debug, Clone)]
pub(crate) struct EventTypeNew {
    /// What it is named by.
    pub(crate) key: String,
    /// What people read; none: the key.
    pub(crate) title: Option<String>,
    /// First level of the tree.
    pub(crate) macro_process: String,
    /// Second level of the tree.
    pub(crate) process: String,
    /// Whether its events go anywhere.
    pub(crate) enabled: bool,
    /// What payloads have to meet.
    pub(crate) schema: Option<Value>,
}

/// An endpoint that hears of a type.
#[derive(Debug)]
pub(crate) struct Usage {
    /// The endpoint.
    pub(crate) endpoint: EndpointId,
    /// What it is described by.
    pub(crate) description: String,
    /// Whose endpoint.
    pub(crate) integrator: IntegratorId,
    /// Slug of that integrator.
    pub(crate) slug: String,
    /// Whether the endpoint is enabled.
    pub(crate) enabled: bool,
    /// The subscription by which it hears: the key, or a pattern such as `order.*`.
    pub(crate) subscription: String,
}

/// What to change of a type; none: as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventTypeChange {
    /// What people read.
    pub(crate) title: Option<String>,
    /// First level of the tree.
    pub(crate) macro_process: Option<String>,
    /// Second level of the tree.
    pub(crate) process: Option<String>,
    /// Whether its events go anywhere; all that may change of the engine's own types.
    pub(crate) enabled: Option<bool>,
    /// What payloads have to meet; an inner none: any payload is taken.
    pub(crate) schema: Option<Option<Value>>,
}

impl Engine {
    /// The whole catalogue, by key.
    pub(crate) async fn event_type_list(&self, principal: &Principal) -> Result<Vec<EventType>, VerbError> {
        let mut types = self.store.event_type_list(principal.tenant).await?;
        types.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(types)
    }

    /// One type.
    pub(crate) async fn event_type_get(&self, principal: &Principal, key: &str) -> Result<EventType, VerbError> {
        let found = self.store.event_type_get(principal.tenant, key).await?;
        found.ok_or(VerbError::NotFound("event type"))
    }

    /// Enters a type.
    pub(crate) async fn event_type_create(
        &self,
        principal: &Principal,
        new: EventTypeNew,
    ) -> Result<EventType, VerbError> {
        let event_type = EventType {
            tenant: principal.tenant,
            title: new.title.filter(|title| !title.is_empty()).unwrap_or_else(|| new.key.clone()),
            key: new.key,
            macro_process: new.macro_process,
            process: new.process,
            system: false,
            enabled: new.enabled,
            schema: new.schema,
            created_at: self.now(),
        };
        check(&event_type)?;
        let taken = format!("event type {} exists already; change it with PATCH", event_type.key);
        let stored = self.store.event_type_create(&self.actor(principal), &event_type).await;
        stored.map_err(on_conflict("already_exists", taken))?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(event_type)
    }

    /// Changes what is given.
    pub(crate) async fn event_type_update(
        &self,
        principal: &Principal,
        key: &str,
        change: EventTypeChange,
        demand: &Demand<EventType>,
    ) -> Result<EventType, VerbError> {
        demand.settle(|| Box::pin(self.event_type_change(principal, key, change.clone(), demand))).await
    }

    async fn event_type_change(
        &self,
        principal: &Principal,
        key: &str,
        change: EventTypeChange,
        demand: &Demand<EventType>,
    ) -> Result<EventType, VerbError> {
        let before = self.event_type_get(principal, key).await?;
        demand.check(&before)?;
        let mut event_type = before.clone();
        let described = change.title.is_some()
            || change.macro_process.is_some()
            || change.process.is_some()
            || change.schema.is_some();
        if event_type.system && described {
            return Err(system_record(key));
        }
        event_type.enabled = change.enabled.unwrap_or(event_type.enabled);
        if let Some(title) = change.title {
            event_type.title = if title.is_empty() { event_type.key.clone() } else { title };
        }
        event_type.macro_process = change.macro_process.unwrap_or(event_type.macro_process);
        event_type.process = change.process.unwrap_or(event_type.process);
        event_type.schema = change.schema.unwrap_or(event_type.schema);
        check(&event_type)?;
        if event_type == before {
            return Ok(before);
        }
        self.store.event_type_update(&self.actor(principal), &before, &event_type).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(event_type)
    }

    /// Which endpoints hear of a type, in the order they were registered (*Uso de gatilhos*). Of other integrators' an
    /// integrator sees none.
    pub(crate) async fn event_type_usage(&self, principal: &Principal, key: &str) -> Result<Vec<Usage>, VerbError> {
        self.event_type_get(principal, key).await?;
        let integrators = self.store.integrator_list(principal.tenant).await?;
        let mut endpoints = self.store.endpoint_list(principal.tenant, &EndpointFilter::default()).await?;
        endpoints.retain(|endpoint| Scope::of(principal).covers(endpoint.integrator));
        endpoints.sort_by_key(|endpoint| endpoint.id);
        let usage = endpoints.into_iter().filter_map(|endpoint| {
            // The key itself says more than a pattern that also takes it.
            let exact = endpoint.event_types.iter().find(|named| *named == key);
            let subscription = exact.or_else(|| endpoint.event_types.iter().find(|named| subscribes(named, key)))?;
            let integrator = integrators.iter().find(|integrator| integrator.id == endpoint.integrator);
            Some(Usage {
                subscription: subscription.clone(),
                endpoint: endpoint.id,
                integrator: endpoint.integrator,
                slug: integrator.map(|integrator| integrator.slug.clone()).unwrap_or_default(),
                enabled: endpoint.enabled,
                description: endpoint.description,
            })
        });
        Ok(usage.collect())
    }

    /// Removes a type that no endpoint names. Patterns such as `order.*` do not hold it.
    pub(crate) async fn event_type_delete(
        &self,
        principal: &Principal,
        key: &str,
        demand: &Demand<EventType>,
    ) -> Result<(), VerbError> {
        demand.settle(|| Box::pin(self.event_type_remove(principal, key, demand))).await
    }

    async fn event_type_remove(
        &self,
        principal: &Principal,
        key: &str,
        demand: &Demand<EventType>,
    ) -> Result<(), VerbError> {
        let event_type = self.event_type_get(principal, key).await?;
        demand.check(&event_type)?;
        if event_type.system {
            return Err(system_record(key));
        }
        let endpoints = self.store.endpoint_list(principal.tenant, &EndpointFilter::default()).await?;
        let users = endpoints.iter().filter(|endpoint| endpoint.event_types.iter().any(|named| named == key)).count();
        if users > 0 {
            let message = format!("{users} endpoint(s) subscribe to {key}; untick it there first");
            return Err(VerbError::conflict("in_use", message));
        }
        let deleted = self.store.event_type_delete(&self.actor(principal), &event_type).await;
        deleted.map_err(on_conflict("in_use", format!("{key} is in use")))?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(())
    }

    /// The types that `subscriptions` name, to be entered where the catalogue lacks them: under their keys as titles;
    /// patterns name no type. Who may not change the catalogue subscribes to what is there: a complaint is made of
    /// each other one, unless `before` has it.
    pub(super) async fn event_types_named(
        &self,
        principal: &Principal,
        subscriptions: &[String],
        before: &[String],
        complaints: &mut Complaints,
    ) -> Result<Vec<EventType>, VerbError> {
        let named = subscriptions.iter().enumerate().filter(|(_, key)| !key.ends_with('*'));
        if Scope::of(principal) == Scope::Tenant {
            return Ok(named.map(|(_, key)| unplaced(principal.tenant, key.clone(), self.now())).collect());
        }
        for (n, key) in named.filter(|(_, key)| !before.contains(key)) {
            if self.store.event_type_get(principal.tenant, key).await?.is_none() {
                let message = format!(
                    "the catalogue has no {key}, and a token of one integrator enters no types; have it entered, or \
                     subscribe by a pattern"
                );
                complaints.add(format!("event_types[{n}]"), message);
            }
        }
        Ok(Vec::new())
    }
}

/// A type that has no place in the tree, under its key as title.
pub(super) fn unplaced(tenant: TenantId, key: String, created_at: Timestamp) -> EventType {
    EventType {
        tenant,
        title: key.clone(),
        key,
        macro_process: String::new(),
        process: String::new(),
        system: false,
        enabled: true,
        schema: None,
        created_at,
    }
}

fn system_record(key: &str) -> VerbError {
    VerbError::conflict(
        "system_record",
        format!("{key} belongs to the engine and can be neither described anew nor deleted; set enabled to false"),
    )
}

fn check(event_type: &EventType) -> Result<(), VerbError> {
    let mut complaints = Complaints::default();
    complaints.take(check_key("key", &event_type.key));
    complaints.take(check_name("title", &event_type.title));
    for (field, text) in [("macro_process", &event_type.macro_process), ("process", &event_type.process)] {
        // Empty means: not placed in the tree.
        if !text.is_empty() {
            complaints.take(check_name(field, text));
        }
    }
    if let Some(schema) = &event_type.schema {
        complaints.take(check_schema(schema).map_err(|why| Invalid::field("schema", why)));
    }
    Ok(complaints.finish(())?)
}

fn check_schema(schema: &Value) -> Result<(), String> {
    if !schema.is_object() {
        return Err("must be a JSON object: a JSON Schema; null takes it away".to_owned());
    }
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(format!("must have at most {SCHEMA_BYTES_MAX} bytes"));
    }
    if depth(schema.to_string().as_bytes()) > DEPTH_MAX {
        return Err(format!("must not be nested deeper than {DEPTH_MAX}"));
    }
    check_dialect(schema)?;
    Schema::compile(schema).map(drop)
}
