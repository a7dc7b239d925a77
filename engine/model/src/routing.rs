//! Which endpoints get an event.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    endpoint::{Endpoint, subscribes},
    event::NoDelivery,
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
}

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
    /// Indexes one revision.
    pub fn new(
        revision: i64,
        use_webhooks: bool,
        integrators: impl IntoIterator<Item = Integrator>,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Self {
        let mut catalog = Self { revision, use_webhooks, ..Self::default() };
        catalog.integrators = integrators.into_iter().map(|i| (i.id, Arc::new(i))).collect();
        for endpoint in endpoints {
            for subscription in &endpoint.event_types {
                if subscription.ends_with('*') {
                    catalog.by_pattern.push((subscription.clone(), endpoint.id));
                } else {
                    catalog.by_key.entry(subscription.clone()).or_default().push(endpoint.id);
                }
            }
            catalog.endpoints.insert(endpoint.id, Arc::new(endpoint));
        }
        catalog
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

    /// Which endpoints get an event of type `key`. A disabled endpoint of an active integrator has a row that
    /// says `endpoint_disabled`; an inactive integrator's endpoints have none.
    pub fn route(&self, key: &str) -> Routes {
        let module = key.split('.').next().unwrap_or(key);
        if !self.use_webhooks || self.modules_off.contains(module) {
            return Routes { to: Vec::new(), reason: Some(NoDelivery::WebhooksDisabled) };
        }
        if self.types_off.contains(key) {
            return Routes { to: Vec::new(), reason: Some(NoDelivery::EventTypeDisabled) };
        }
        let exact = self.by_key.get(key).into_iter().flatten();
        let patterns = self.by_pattern.iter().filter(|(p, _)| subscribes(p, key)).map(|(_, id)| id);
        let mut matched: Vec<_> = exact.chain(patterns).copied().collect();
        matched.sort_unstable();
        matched.dedup();
        let to: Vec<_> = matched.iter().filter_map(|id| self.route_to(*id)).collect();
        let reason = match (matched.is_empty(), to.is_empty()) {
            (true, _) => Some(NoDelivery::NoMatch),
            (false, true) => Some(NoDelivery::IntegratorInactive),
            (false, false) => None,
        };
        Routes { to, reason }
    }

    fn route_to(&self, id: EndpointId) -> Option<Route> {
        let endpoint = self.endpoints.get(&id)?;
        self.integrators.get(&endpoint.integrator).filter(|integrator| integrator.active)?;
        let skipped = (!endpoint.enabled).then_some("endpoint_disabled");
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
            revision: 1,
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn o1_each_subscribed_endpoint_gets_one_row_and_others_none() {
        let i = integrator(1, true);
        let a = endpoint(1, &i, &["P1", "P*", "*"], true);
        let b = endpoint(2, &i, &["P2"], true);
        let (a_id, integrator_id) = (a.id, i.id);
        let catalog = Catalog::new(1, true, [i], [a, b]);
        let expected = Route { endpoint: a_id, integrator: integrator_id, skipped: None };
        assert_eq!(catalog.route("P1"), Routes { to: vec![expected], reason: None });
    }

    #[test]
    fn an_event_without_delivery_says_why() {
        let (on, off) = (integrator(1, true), integrator(2, false));
        let disabled = endpoint(1, &on, &["P1"], false);
        let inactive = endpoint(2, &off, &["P2"], true);
        let catalog = Catalog::new(1, true, [on.clone(), off], [disabled, inactive]);
        assert_eq!(catalog.route("P1").to.first().unwrap().skipped, Some("endpoint_disabled"));
        assert_eq!(catalog.route("P2").reason, Some(NoDelivery::IntegratorInactive));
        assert_eq!(catalog.route("P3").reason, Some(NoDelivery::NoMatch));
        let switched_off = Catalog::new(2, false, [on.clone()], []);
        assert_eq!(switched_off.route("P1").reason, Some(NoDelivery::WebhooksDisabled));
        let mut module_off = Catalog::new(2, true, [on], []);
        module_off.modules_off.insert("billing".into());
        for (key, off) in [("billing.paid", true), ("billing", true), ("billings.paid", false), ("a.billing", false)] {
            assert_eq!(module_off.route(key).reason == Some(NoDelivery::WebhooksDisabled), off, "{key}");
        }
    }
}
