//! Endpoints: where events go. A token of one integrator sees and changes that integrator's own only; others' are
//! as if they were not there (seed O4).

pub(crate) mod actions;
mod auth;
pub(crate) mod catalog;
mod check;
mod moves;
pub(crate) mod trial;
mod verify;

use engate_model::{
    EndpointId, Secret, Timestamp,
    callback::{self, CallbackScope, Fact},
    endpoint::{Endpoint, Signing},
    event::EventType,
    integrator::Integrator,
    invalid::Complaints,
    line::Ordering,
    rate::RateLimit,
    token::Principal,
};
use engate_store::{AcceptEvent, EndpointFilter};
use serde_json::Value;
use std::{collections::HashMap, time::Duration};

use self::auth::auth_of;
pub(crate) use self::auth::{AuthFields, AuthKind};
pub(crate) use self::verify::Verification;
use super::{Scope, VerbError, demand::Demand, integrators::plugin_ref};
use crate::engine::Engine;

/// How long the key before a rotation still signs beside the new one.
pub(crate) const ROTATION_OVERLAP: Duration = Duration::from_secs(24 * 3_600);

/// Why an endpoint is disabled that someone disables.
const DISABLED_BY_HAND: &str = "by_hand";

/// An endpoint with the name of its integrator.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    /// The endpoint.
    pub(crate) endpoint: Endpoint,
    /// Slug of the integrator it belongs to.
    pub(crate) integrator: String,
}

/// An endpoint to register.
#[derive(Debug, Clone)]
pub(crate) struct EndpointNew {
    /// Slug or id of its integrator; none: the caller's own.
    pub(crate) integrator: Option<String>,
    /// What people call it.
    pub(crate) description: String,
    /// Where requests go.
    pub(crate) url: String,
    /// How the engine shows who it is.
    pub(crate) auth: (AuthKind, AuthFields),
    /// The plugin that shapes its requests.
    pub(crate) plugin: Option<String>,
    /// Settings for the plugin.
    pub(crate) config: Option<Value>,
    /// What it subscribes to.
    pub(crate) event_types: Vec<String>,
    /// Whether deliveries go out.
    pub(crate) enabled: bool,
    /// In which order deliveries go.
    pub(crate) ordering: Ordering,
    /// Requests under way at once.
    pub(crate) max_in_flight: u32,
    /// One deadline for the whole exchange.
    pub(crate) timeout_ms: u64,
    /// The wait before each try; none: the default schedule.
    pub(crate) retry_schedule_ms: Option<Vec<u64>>,
    /// Headers set on every request.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether requests are signed.
    pub(crate) signing_enabled: bool,
    /// The signing key; none: a new one.
    pub(crate) signing_secret: Option<Secret>,
    /// Requests that begin in a second at most.
    pub(crate) rate_limit: Option<RateLimit>,
    /// Which events of its types it wants.
    pub(crate) filter: Option<Value>,
    /// Whose facts it hears; none: as the caller may.
    pub(crate) callbacks: Option<CallbackScope>,
}

/// What to change of an endpoint; none: as it is. An inner none takes the value away.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndpointChange {
    /// Slug or id of its integrator, which cannot change.
    pub(crate) integrator: Option<String>,
    /// What people call it.
    pub(crate) description: Option<String>,
    /// Where requests go.
    pub(crate) url: Option<String>,
    /// How the engine shows who it is; a secret not given is kept where the type stays.
    pub(crate) auth: Option<(AuthKind, AuthFields)>,
    /// The plugin that shapes its requests.
    pub(crate) plugin: Option<Option<String>>,
    /// Settings for the plugin.
    pub(crate) config: Option<Option<Value>>,
    /// What it subscribes to.
    pub(crate) event_types: Option<Vec<String>>,
    /// Whether deliveries go out.
    pub(crate) enabled: Option<bool>,
    /// In which order deliveries go.
    pub(crate) ordering: Option<Ordering>,
    /// Requests under way at once.
    pub(crate) max_in_flight: Option<u32>,
    /// One deadline for the whole exchange.
    pub(crate) timeout_ms: Option<u64>,
    /// The wait before each try; an inner none: the default schedule.
    pub(crate) retry_schedule_ms: Option<Option<Vec<u64>>>,
    /// Headers set on every request.
    pub(crate) headers: Option<Vec<(String, String)>>,
    /// Whether requests are signed.
    pub(crate) signing_enabled: Option<bool>,
    /// Another signing key; the present one still signs for [`ROTATION_OVERLAP`].
    pub(crate) signing_secret: Option<Secret>,
    /// Requests that begin in a second at most; an inner none: as many as go.
    pub(crate) rate_limit: Option<Option<RateLimit>>,
    /// Which events of its types it wants; an inner none: all.
    pub(crate) filter: Option<Option<Value>>,
    /// Whose facts it hears.
    pub(crate) callbacks: Option<CallbackScope>,
}

impl Engine {
    /// The endpoints that `principal` sees, of one integrator or of all, in the order they were registered.
    pub(crate) async fn endpoint_list(
        &self,
        principal: &Principal,
        integrator: Option<&str>,
    ) -> Result<Vec<Registered>, VerbError> {
        let only = match (Scope::of(principal), integrator) {
            (Scope::Nothing, _) => return Ok(Vec::new()),
            (_, Some(name)) => match self.integrator_get(principal, name).await {
                Ok(integrator) => Some(integrator.id),
                Err(VerbError::NotFound(_)) => {
                    return Err(VerbError::field("integrator", "there is no such integrator"));
                }
                Err(error) => return Err(error),
            },
            (Scope::Integrator(own), None) => Some(own),
            (Scope::Tenant, None) => None,
        };
        let slugs: HashMap<_, _> = {
            let integrators = self.store.integrator_list(principal.tenant).await?;
            integrators.into_iter().map(|integrator| (integrator.id, integrator.slug)).collect()
        };
        let mut endpoints = self.store.endpoint_list(principal.tenant, &EndpointFilter { integrator: only }).await?;
        endpoints.sort_by_key(|endpoint| endpoint.id);
        let with_slug = |endpoint: Endpoint| {
            let integrator = slugs.get(&endpoint.integrator).cloned().unwrap_or_default();
            Registered { endpoint, integrator }
        };
        Ok(endpoints.into_iter().map(with_slug).collect())
    }

    /// One endpoint.
    pub(crate) async fn endpoint_get(&self, principal: &Principal, id: EndpointId) -> Result<Registered, VerbError> {
        let (endpoint, integrator) = self.endpoint_find(principal, id).await?;
        Ok(Registered { endpoint, integrator: integrator.slug })
    }

    /// Registers an endpoint. Event types that it names and the catalogue lacks are entered under their keys, by who may
    /// change the catalogue.
    pub(crate) async fn endpoint_create(
        &self,
        principal: &Principal,
        new: EndpointNew,
    ) -> Result<Registered, VerbError> {
        let mut complaints = Complaints::default();
        let now = self.now();
        let denied = self.check_url_of("url", &new.url, &mut complaints).await;
        let integrator = self.endpoint_integrator(principal, new.integrator.as_deref(), &mut complaints).await?;
        let auth = complaints.take(auth_of(new.auth.0, new.auth.1, None)).unwrap_or_default();
        let denied = denied.or(self.check_token_url(&auth, &mut complaints).await);
        let plugin = complaints.take(plugin_ref(new.plugin.as_deref())).flatten();
        let retry = check::retry(new.retry_schedule_ms.as_deref(), &mut complaints);
        let event_types = check::event_types(new.event_types, &mut complaints);
        let secret = match new.signing_secret {
            Some(secret) => check::signing_secret(secret, &mut complaints),
            None => engate_egress::generate_signing_secret(self.chance.key()),
        };
        let filter = check::filter(new.filter, &mut complaints);
        let callbacks = check::callbacks(principal, new.callbacks, &mut complaints);
        let named = self.event_types_named(principal, &event_types, &[], &mut complaints).await?;
        let Some(integrator) = integrator else { return Err(check::refusal(denied, complaints)) };
        check::plugin(principal, None, plugin.as_ref(), integrator.plugin.as_ref(), &mut complaints);
        let endpoint = Endpoint {
            id: EndpointId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            integrator: integrator.id,
            description: new.description,
            url: new.url,
            auth,
            plugin,
            config: new.config,
            event_types,
            enabled: new.enabled,
            disabled_reason: None,
            ordering: new.ordering,
            max_in_flight: new.max_in_flight,
            timeout: Duration::from_millis(new.timeout_ms),
            retry,
            headers: new.headers,
            signing: Signing { enabled: new.signing_enabled, secret, previous: None },
            rate_limit: new.rate_limit,
            filter,
            paused_at: None,
            verified_at: None,
            callbacks,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        check::endpoint(&endpoint, &mut complaints);
        check::certificate(&endpoint.auth, now, &mut complaints);
        check::finish(denied, complaints)?;
        self.check_endpoint_config(&integrator, endpoint.plugin.as_ref(), endpoint.config.as_ref()).await?;
        self.check_plugin_of_endpoint(principal, &integrator, None, &endpoint).await?;
        self.store.endpoint_create_entering(&self.actor(principal), &endpoint, &named).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(Registered { endpoint, integrator: integrator.slug })
    }

    /// Changes what is given; attempts that have not begun run under the new settings (seed O19).
    pub(crate) async fn endpoint_update(
        &self,
        principal: &Principal,
        id: EndpointId,
        change: EndpointChange,
        demand: &Demand<Registered>,
    ) -> Result<Registered, VerbError> {
        demand.settle(|| Box::pin(self.endpoint_change(principal, id, change.clone(), demand))).await
    }

    async fn endpoint_change(
        &self,
        principal: &Principal,
        id: EndpointId,
        change: EndpointChange,
        demand: &Demand<Registered>,
    ) -> Result<Registered, VerbError> {
        let (before, integrator) = self.endpoint_find(principal, id).await?;
        let before = Registered { endpoint: before, integrator: integrator.slug.clone() };
        demand.check(&before)?;
        let mut endpoint = before.endpoint.clone();
        let mut complaints = Complaints::default();
        let denied = match &change.url {
            Some(url) => self.check_url_of("url", url, &mut complaints).await,
            None => None,
        };
        if change.integrator.as_ref().is_some_and(|name| *name != integrator.slug && *name != integrator.id.to_string())
        {
            complaints.add("integrator", "an endpoint stays with its integrator; register it anew under the other one");
        }
        let shapes_requests = change.plugin.is_some() || change.config.is_some();
        let subscribes = change.event_types.is_some();
        let was_enabled = endpoint.enabled;
        // Where its facts come from is the tenant's business; whoever may not see them all may not send them elsewhere.
        endpoint.callbacks = match check::callbacks(principal, change.callbacks, &mut complaints) {
            CallbackScope::Tenant if change.callbacks.is_none() => endpoint.callbacks,
            scope => scope,
        };
        let now = self.now();
        let anew = moves::Anew::of(&change);
        apply(&mut endpoint, change, now, &mut complaints);
        moves::check(principal, &before.endpoint, &endpoint, anew, &mut complaints);
        let [had, wanted] = [&before.endpoint, &endpoint].map(|endpoint| endpoint.plugin.as_ref());
        check::plugin(principal, had, wanted, integrator.plugin.as_ref(), &mut complaints);
        let denied = match &endpoint.auth {
            auth if *auth != before.endpoint.auth => denied.or(self.check_token_url(auth, &mut complaints).await),
            _ => denied,
        };
        let named = match subscribes {
            true => {
                let had = &before.endpoint.event_types;
                self.event_types_named(principal, &endpoint.event_types, had, &mut complaints).await?
            }
            false => Vec::new(),
        };
        check::endpoint(&endpoint, &mut complaints);
        if endpoint.auth != before.endpoint.auth {
            check::certificate(&endpoint.auth, now, &mut complaints);
        }
        check::finish(denied, complaints)?;
        if endpoint == before.endpoint {
            return Ok(before);
        }
        endpoint.updated_at = now;
        if shapes_requests {
            self.check_endpoint_config(&integrator, endpoint.plugin.as_ref(), endpoint.config.as_ref()).await?;
        }
        self.check_plugin_of_endpoint(principal, &integrator, Some(&before.endpoint), &endpoint).await?;
        let facts = if was_enabled && !endpoint.enabled { self.told_disabled(&endpoint).await? } else { Vec::new() };
        self.endpoint_store(principal, endpoint, integrator, &named, &facts).await
    }

    /// What listeners are told of an endpoint that someone disables.
    async fn told_disabled(&self, endpoint: &Endpoint) -> Result<Vec<AcceptEvent>, VerbError> {
        let view = self.views.get(&self.store, endpoint.tenant).await?;
        if !view.catalog.is_heard(callback::ENDPOINT_DISABLED) {
            return Ok(Vec::new());
        }
        Ok(self.told(&view.catalog, endpoint, Fact::disabled(endpoint, DISABLED_BY_HAND, self.now())))
    }

    /// Removes an endpoint; answers how many of its deliveries were called off.
    pub(crate) async fn endpoint_delete(
        &self,
        principal: &Principal,
        id: EndpointId,
        demand: &Demand<Registered>,
    ) -> Result<u64, VerbError> {
        demand.settle(|| Box::pin(self.endpoint_remove(principal, id, demand))).await
    }

    async fn endpoint_remove(
        &self,
        principal: &Principal,
        id: EndpointId,
        demand: &Demand<Registered>,
    ) -> Result<u64, VerbError> {
        let registered = self.endpoint_get(principal, id).await?;
        demand.check(&registered)?;
        let revision = Some(registered.endpoint.revision);
        let cancelled = self.store.endpoint_delete(&self.actor(principal), principal.tenant, id, revision).await?;
        self.views.follow_change(&self.store, principal.tenant).await;
        Ok(cancelled)
    }

    /// Makes a new signing key; the old one still signs beside it for [`ROTATION_OVERLAP`].
    pub(crate) async fn endpoint_rotate_secret(
        &self,
        principal: &Principal,
        id: EndpointId,
    ) -> Result<Registered, VerbError> {
        Demand::<Registered>::none().settle(|| Box::pin(self.endpoint_rotate(principal, id))).await
    }

    async fn endpoint_rotate(&self, principal: &Principal, id: EndpointId) -> Result<Registered, VerbError> {
        let (mut endpoint, integrator) = self.endpoint_find(principal, id).await?;
        let now = self.now();
        rotate(&mut endpoint.signing, engate_egress::generate_signing_secret(self.chance.key()), now);
        endpoint.updated_at = now;
        self.endpoint_store(principal, endpoint, integrator, &[], &[]).await
    }

    async fn endpoint_store(
        &self,
        principal: &Principal,
        mut endpoint: Endpoint,
        integrator: Integrator,
        named: &[EventType],
        facts: &[AcceptEvent],
    ) -> Result<Registered, VerbError> {
        let actor = self.actor(principal);
        endpoint.revision = self.store.endpoint_update_telling(&actor, &endpoint, named, facts).await?;
        self.worker.edited(endpoint.id, endpoint.lane_rules(), self.now());
        if let Some(view) = self.views.follow_change(&self.store, principal.tenant).await {
            self.follow(&view.catalog).await;
        }
        self.worker.wake();
        Ok(Registered { endpoint, integrator: integrator.slug })
    }

    pub(super) async fn endpoint_find(
        &self,
        principal: &Principal,
        id: EndpointId,
    ) -> Result<(Endpoint, Integrator), VerbError> {
        let endpoint = self.store.endpoint_get(principal.tenant, id).await?;
        let endpoint = endpoint.ok_or(VerbError::NotFound("endpoint"))?;
        Scope::of(principal).require(endpoint.integrator, "endpoint")?;
        let integrator = self.store.integrator_get(principal.tenant, endpoint.integrator).await?;
        Ok((endpoint, integrator.ok_or(VerbError::NotFound("endpoint"))?))
    }

    /// The integrator that a new endpoint names, or the caller's own; none where a complaint was made.
    async fn endpoint_integrator(
        &self,
        principal: &Principal,
        name: Option<&str>,
        complaints: &mut Complaints,
    ) -> Result<Option<Integrator>, VerbError> {
        let own = principal.integrator.map(|id| id.to_string());
        let Some(name) = name.or(own.as_deref()) else {
            complaints.add("integrator", "is missing; give the slug or id of the integrator it belongs to");
            return Ok(None);
        };
        match self.integrator_get(principal, name).await {
            Ok(integrator) if integrator.services.is_empty() => {
                let message = format!("{} offers no service yet; enter its services first", integrator.slug);
                complaints.add("integrator", message);
                Ok(None)
            }
            Ok(integrator) => Ok(Some(integrator)),
            Err(VerbError::NotFound(_)) => {
                complaints.add("integrator", "there is no such integrator; enter it first");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn apply(endpoint: &mut Endpoint, change: EndpointChange, now: Timestamp, complaints: &mut Complaints) {
    let (url, auth) = (endpoint.url.clone(), endpoint.auth.clone());
    if let Some((kind, fields)) = change.auth
        && let Some(auth) = complaints.take(auth_of(kind, fields, Some(&endpoint.auth)))
    {
        endpoint.auth = auth;
    }
    if let Some(plugin) = change.plugin {
        endpoint.plugin = complaints.take(plugin_ref(plugin.as_deref())).flatten();
    }
    if let Some(schedule) = change.retry_schedule_ms {
        endpoint.retry = check::retry(schedule.as_deref(), complaints);
    }
    if let Some(event_types) = change.event_types {
        endpoint.event_types = check::event_types(event_types, complaints);
    }
    if let Some(enabled) = change.enabled {
        endpoint.enabled = enabled;
        // Whether switched on or off by hand: what the engine once found is no longer why.
        endpoint.disabled_reason = None;
    }
    if let Some(secret) = change.signing_secret {
        let secret = check::signing_secret(secret, complaints);
        rotate(&mut endpoint.signing, secret, now);
    }
    if let Some(filter) = change.filter {
        endpoint.filter = check::filter(filter, complaints);
    }
    endpoint.rate_limit = change.rate_limit.unwrap_or(endpoint.rate_limit);
    endpoint.description = change.description.unwrap_or_else(|| std::mem::take(&mut endpoint.description));
    endpoint.url = change.url.unwrap_or_else(|| std::mem::take(&mut endpoint.url));
    endpoint.config = change.config.unwrap_or_else(|| endpoint.config.take());
    endpoint.ordering = change.ordering.unwrap_or(endpoint.ordering);
    endpoint.max_in_flight = change.max_in_flight.unwrap_or(endpoint.max_in_flight);
    endpoint.timeout = change.timeout_ms.map_or(endpoint.timeout, Duration::from_millis);
    endpoint.headers = change.headers.unwrap_or_else(|| std::mem::take(&mut endpoint.headers));
    endpoint.signing.enabled = change.signing_enabled.unwrap_or(endpoint.signing.enabled);
    if endpoint.url != url || endpoint.auth != auth {
        // Whoever answered the challenge may not be who is called from now on.
        endpoint.verified_at = None;
    }
}

fn rotate(signing: &mut Signing, secret: Secret, now: Timestamp) {
    if signing.secret != secret {
        let before = std::mem::replace(&mut signing.secret, secret);
        signing.previous = Some((before, now.after(ROTATION_OVERLAP)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_the_key_before_it_for_a_day() {
        let now = Timestamp::from_millis(1_000);
        let mut signing = Signing { enabled: true, secret: Secret::new("one"), previous: None };
        rotate(&mut signing, Secret::new("two"), now);
        let keys = |signing: &Signing, at| signing.keys_at(at).map(|key| key.expose().to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&signing, now), ["two", "one"]);
        assert_eq!(keys(&signing, now.after(ROTATION_OVERLAP)), ["two"]);
        // The same key again is no rotation.
        let before = signing.clone();
        rotate(&mut signing, Secret::new("two"), now.after(ROTATION_OVERLAP));
        assert_eq!(signing, before);
    }
}
