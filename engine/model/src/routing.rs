//! Which endpoints get an event.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    callback::{self, CallbackScope, Fact, SYSTEM_TYPES},
    endpoint::{Endpoint, subscribes},
    event::{Event, NoDelivery},
    filter::Subject,
    id::{EndpointId, IntegratorId},
    integrator::Integrator,
};

/// A tenant's integrators and endpoints as one revision of its configuration has them, indexed for matching.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Which revision this is; the store checks it again in the transaction that accepts an event.
    pub revision: i64,
    /// The switch `use_webhooks`.
    pub use_webhooks: bool,
    /// Modules whose own switch is off: an event type's module is what its key has before the first dot.
    pub modules_off: HashSet<String>,
    /// Event types that are disabled in the catalogue.
    pub types_off: HashSet<String>,
    integrators: HashMap<IntegratorId, Arc<Integrator>>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    by_key: HashMap<String, Vec<EndpointId>>,
    by_pattern: Vec<(String, EndpointId)>,
    /// Who hears the engine's own facts, by system type; a type that nobody hears is left out.
    listeners: HashMap<&'static str, Vec<EndpointId>>,
}

/// Why an event is not sent to an endpoint that subscribes to its type.
pub const FILTERED: &str = "filtered";

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// Each endpoint that gets a delivery row, in a stable order.
    pub to: Vec<Route>,
    /// Why there is none.
    pub reason: Option<NoDelivery>,
}

/// One endpoint that gets a delivery row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where.
    pub endpoint: EndpointId,
    /// Whose endpoint.
    pub integrator: IntegratorId,
    /// Why it is skipped, where it is.
    pub skipped: Option<&'static str>,
}

impl Catalog {
    /// Indexes one revision. Endpoints may be shared with the revision before.
    pub fn new<E: Into<Arc<Endpoint>>>(
        revision: i64,
        use_webhooks: bool,
        integrators: impl IntoIterator<Item = Integrator>,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Self {
        let mut catalog = Self { revision, use_webhooks, ..Self::default() };
        catalog.integrators = integrators.into_iter().map(|i| (i.id, Arc::new(i))).collect();
        for endpoint in endpoints {
            let endpoint: Arc<Endpoint> = endpoint.into();
            // Events of system types only the engine makes, and it asks for listeners.
            for subscription in endpoint.event_types.iter().filter(|key| !callback::is_system(key)) {
                if subscription.ends_with('*') {
                    catalog.by_pattern.push((subscription.clone(), endpoint.id));
                } else {
                    catalog.by_key.entry(subscription.clone()).or_default().push(endpoint.id);
                }
            }
            catalog.listen(&endpoint);
            catalog.endpoints.insert(endpoint.id, endpoint);
        }
        catalog
    }

    /// Enters an endpoint as a listener of the system types that it hears: it has to be verified for that.
    fn listen(&mut self, endpoint: &Endpoint) {
        let active = self.integrators.get(&endpoint.integrator).is_some_and(|integrator| integrator.active);
        if !(self.use_webhooks && active && endpoint.enabled && endpoint.is_verified()) {
            return;
        }
        for (key, _) in SYSTEM_TYPES {
            if endpoint.event_types.iter().any(|subscription| callback::subscribes(subscription, key)) {
                self.listeners.entry(key).or_default().push(endpoint.id);
            }
        }
    }

    /// Whether anyone hears facts of that type; asked before a fact is put together.
    pub fn is_heard(&self, key: &str) -> bool {
        !self.listeners.is_empty() && self.listeners.contains_key(key) && !self.types_off.contains(key)
    }

    /// Who hears a fact, as `event`: listeners of its type, where they may hear of that integrator. Nobody hears of
    /// themselves; of jobs hears who hears of the whole tenant.
    pub fn route_fact(&self, fact: &Fact, event: &Event) -> Vec<Route> {
        let subject = Subject::new(event);
        let listeners = self.listeners.get(fact.key).into_iter().flatten();
        let heard = listeners.filter_map(|id| self.endpoints.get(id)).filter(|endpoint| {
            Some(endpoint.id) != fact.endpoint
                && (endpoint.callbacks == CallbackScope::Tenant || Some(endpoint.integrator) == fact.integrator)
        });
        heard.filter_map(|endpoint| self.route_to(endpoint.id, &subject)).collect()
    }

    /// An endpoint of this revision.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    /// An integrator of this revision.
    pub fn integrator(&self, id: IntegratorId) -> Option<&Arc<Integrator>> {
        self.integrators.get(&id)
    }

    /// Every endpoint of this revision, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// Which endpoints get an event. A disabled endpoint of an active integrator has a row that says
    /// `endpoint_disabled`, one whose filter says no a row that says [`FILTERED`]; an inactive integrator's endpoints
    /// have none.
    pub fn route(&self, event: &Event) -> Routes {
        let (key, subject) = (event.event_type.as_str(), Subject::new(event));
        if let Some(reason) = self.switched_off(key) {
            return Routes { to: Vec::new(), reason: Some(reason) };
        }
        let exact = self.by_key.get(key).into_iter().flatten();
        let patterns = self.by_pattern.iter().filter(|(p, _)| subscribes(p, key)).map(|(_, id)| id);
        let mut matched: Vec<_> = exact.chain(patterns).copied().collect();
        matched.sort_unstable();
        matched.dedup();
        let to: Vec<_> = matched.iter().filter_map(|id| self.route_to(*id, &subject)).collect();
        let reason = match (matched.is_empty(), to.is_empty()) {
            (true, _) => Some(NoDelivery::NoMatch),
            (false, true) => Some(NoDelivery::IntegratorInactive),
            (false, false) => None,
        };
        Routes { to, reason }
    }

    /// Why nothing of type `key` goes to anybody, where it is switched off: as a whole, by its module, or by itself.
    pub fn switched_off(&self, key: &str) -> Option<NoDelivery> {
        let module = key.split('.').next().unwrap_or(key);
        if !self.use_webhooks || self.modules_off.contains(module) {
            return Some(NoDelivery::WebhooksDisabled);
        }
        self.types_off.contains(key).then_some(NoDelivery::EventTypeDisabled)
    }

    fn route_to(&self, id: EndpointId, subject: &Subject<'_>) -> Option<Route> {
        let endpoint = self.endpoints.get(&id)?;
        self.integrators.get(&endpoint.integrator).filter(|integrator| integrator.active)?;
        let skipped = match &endpoint.filter {
            _ if !endpoint.enabled => Some("endpoint_disabled"),
            Some(filter) if !filter.takes(subject) => Some(FILTERED),
            _ => None,
        };
        Some(Route { endpoint: id, integrator: endpoint.integrator, skipped })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        endpoint::{Auth, Signing},
        id::TenantId,
        retry::RetryPolicy,
        time::Timestamp,
    };
    use std::time::Duration;

    fn tenant() -> TenantId {
        TenantId::new(Timestamp::from_millis(1), 1)
    }

    fn integrator(n: u128, active: bool) -> Integrator {
        let at = Timestamp::from_millis(1);
        Integrator {
            id: IntegratorId::new(at, n),
            tenant: tenant(),
            slug: format!("i{n}"),
            name: String::new(),
            active,
            services: vec![],
            plugin: None,
            config: None,
            created_at: at,
            updated_at: at,
        }
    }

    fn endpoint(n: u128, of: &Integrator, event_types: &[&str], enabled: bool) -> Endpoint {
        let at = Timestamp::from_millis(1);
        Endpoint {
            id: EndpointId::new(at, n),
            tenant: tenant(),
            integrator: of.id,
            description: String::new(),
            url: "http://example.com".into(),
            auth: Auth::None,
            plugin: None,
            config: None,
            event_types: event_types.iter().map(|t| (*t).to_owned()).collect(),
            enabled,
            disabled_reason: None,
            ordering: crate::line::Ordering::Parallel,
            max_in_flight: 1,
            timeout: Duration::from_secs(1),
            retry: RetryPolicy::default(),
            headers: vec![],
            signing: Signing { enabled: true, secret: crate::Secret::new("whsec_"), previous: None },
            rate_limit: None,
            filter: None,
            paused_at: None,
            verified_at: None,
            callbacks: CallbackScope::Integrator,
            revision: 1,
            created_at: at,
            updated_at: at,
        }
    }

    fn event(key: &str) -> Event {
        let at = Timestamp::from_millis(1);
        Event {
            id: crate::EventId::new(at, 1),
            tenant: tenant(),
            event_type: key.into(),
            subject: None,
            payload: br#"{"amount":5}"#.to_vec(),
            content_type: "application/json".into(),
            occurred_at: at,
            accepted_at: at,
            deliver_at: None,
            labels: vec![],
            correlation_id: None,
            idempotency_key: None,
            reason: None,
        }
    }

    #[test]
    fn a_filter_that_says_no_leaves_a_row_that_says_so() {
        let i = integrator(1, true);
        let filtered = |n, filter| {
            let filter = Some(crate::filter::Filter::read(filter).unwrap());
            Endpoint { filter, ..endpoint(n, &i, &["P1"], n < 3) }
        };
        let wants = |bound: i32| serde_json::json!({"path": "/amount", "gte": bound});
        let catalog =
            Catalog::new(1, true, [i.clone()], [filtered(1, wants(5)), filtered(2, wants(6)), filtered(3, wants(6))]);
        let skipped: Vec<_> = catalog.route(&event("P1")).to.iter().map(|route| route.skipped).collect();
        assert_eq!(skipped, [None, Some(FILTERED), Some("endpoint_disabled")]);
    }

    fn fact(key: &'static str, about: &Endpoint) -> Fact {
        Fact {
            key,
            endpoint: Some(about.id),
            integrator: Some(about.integrator),
            subject: String::new(),
            payload: serde_json::Value::Null,
            correlation_id: None,
        }
    }

    #[test]
    fn facts_reach_who_is_subscribed_verified_and_may_hear_of_that_integrator() {
        let (one, two, off) = (integrator(1, true), integrator(2, true), integrator(3, false));
        let at = Some(Timestamp::from_millis(5));
        let listens = |n, of: &Integrator, types: &[&str]| Endpoint { verified_at: at, ..endpoint(n, of, types, true) };
        let basic = Auth::Authorization { value: crate::Secret::new("k") };
        let source = listens(1, &one, &["*", "delivery.*"]);
        let endpoints = vec![
            source.clone(),
            listens(2, &one, &["delivery.failed"]),
            Endpoint { verified_at: None, auth: basic, ..listens(3, &one, &["delivery.*"]) },
            Endpoint { verified_at: None, ..listens(4, &one, &["delivery.failed"]) },
            listens(5, &one, &["*", "endpoint.*"]),
            listens(6, &two, &["delivery.failed"]),
            Endpoint { callbacks: CallbackScope::Tenant, ..listens(7, &two, &["delivery.failed"]) },
            Endpoint { enabled: false, ..listens(8, &one, &["delivery.failed"]) },
            Endpoint { callbacks: CallbackScope::Tenant, ..listens(9, &off, &["delivery.failed"]) },
        ];
        let catalog = Catalog::new(1, true, [one, two, off], endpoints.clone());
        let heard = catalog.route_fact(&fact(callback::DELIVERY_FAILED, &source), &event("delivery.failed"));
        let expected: Vec<_> = [2, 3, 7].map(|n| EndpointId::new(Timestamp::from_millis(1), n)).into();
        assert_eq!(heard.iter().map(|route| route.endpoint).collect::<Vec<_>>(), expected);
        assert!(catalog.is_heard(callback::ENDPOINT_FAILING) && !catalog.is_heard("P1"));
        // A producer's event of such a type is refused before; by routing alone it reaches nobody who named it.
        assert!(Catalog::new(1, false, [integrator(1, true)], endpoints).listeners.is_empty());
    }

    #[test]
    fn o1_each_subscribed_endpoint_gets_one_row_and_others_none() {
        let i = integrator(1, true);
        let a = endpoint(1, &i, &["P1", "P*", "*"], true);
        let b = endpoint(2, &i, &["P2"], true);
        let (a_id, integrator_id) = (a.id, i.id);
        let catalog = Catalog::new(1, true, [i], [a, b]);
        let expected = Route { endpoint: a_id, integrator: integrator_id, skipped: None };
        assert_eq!(catalog.route(&event("P1")), Routes { to: vec![expected], reason: None });
    }

    #[test]
    fn an_event_without_delivery_says_why() {
        let (on, off) = (integrator(1, true), integrator(2, false));
        let disabled = endpoint(1, &on, &["P1"], false);
        let inactive = endpoint(2, &off, &["P2"], true);
        let catalog = Catalog::new(1, true, [on.clone(), off], [disabled, inactive]);
        assert_eq!(catalog.route(&event("P1")).to.first().unwrap().skipped, Some("endpoint_disabled"));
        assert_eq!(catalog.route(&event("P2")).reason, Some(NoDelivery::IntegratorInactive));
        assert_eq!(catalog.route(&event("P3")).reason, Some(NoDelivery::NoMatch));
        let switched_off = Catalog::new(2, false, [on.clone()], Vec::<Endpoint>::new());
        assert_eq!(switched_off.route(&event("P1")).reason, Some(NoDelivery::WebhooksDisabled));
        let mut module_off = Catalog::new(2, true, [on], Vec::<Endpoint>::new());
        module_off.modules_off.insert("billing".into());
        for (key, off) in [("billing.paid", true), ("billing", true), ("billings.paid", false), ("a.billing", false)] {
            assert_eq!(module_off.route(&event(key)).reason == Some(NoDelivery::WebhooksDisabled), off, "{key}");
        }
    }
}
