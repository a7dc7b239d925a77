//! Heeds what attempts say of their endpoints: writes down how one fails, gives back what waits in its lane, disables it
//! in the end, and finds out what other nodes wrote down.

use std::{collections::HashSet, sync::Arc};

use engate_model::{
    EndpointId, Timestamp,
    callback::{self, Cause, Fact},
    circuit::{ENDPOINT_FAILING, Failing, Finding, Impression},
    endpoint::Endpoint,
    routing::Catalog,
    transition::Transition,
};
use engate_store::{AcceptEvent, StoreError};

use super::Job;
use crate::{engine::Engine, views::View};

/// Why an endpoint is disabled whose attempts have all failed for too long.
const FAILING: &str = "failing";

impl Engine {
    /// Takes note of what an attempt of `job` said of its endpoint, and does what follows from it.
    pub(super) async fn heed(
        self: &Arc<Self>,
        view: &View,
        endpoint: &Endpoint,
        job: &Job,
        transition: &Transition,
        impression: Impression,
    ) {
        let now = self.now();
        let Some(finding) = self.worker.lanes().note(endpoint.id, impression, now) else { return };
        let cause = Cause { event: job.delivery.event, reason: transition.code.as_deref(), at: now };
        // Callbacks never cause callbacks.
        let heard = |key| !callback::is_system(&job.delivery.event_type) && view.catalog.is_heard(key);
        let told = |heard: bool, fact: &dyn Fn() -> Fact| {
            if heard { self.told(&view.catalog, endpoint, fact()) } else { Vec::new() }
        };
        match finding {
            Finding::Failing { failing, opened } => {
                let fact = || Fact::failing(endpoint, failing, self.disable_at(failing), &cause);
                let facts = told(heard(callback::ENDPOINT_FAILING), &fact);
                self.endpoint_fails(endpoint, failing, opened, &facts).await;
            }
            Finding::Recovered => {
                let facts = told(heard(callback::ENDPOINT_RECOVERED), &|| Fact::recovered(endpoint, &cause));
                self.endpoint_recovers(endpoint.id, &facts).await;
            }
            Finding::Disable(failing) => {
                tracing::warn!(endpoint = %endpoint.id, since = %failing.since, "every attempt has failed for too long");
                let fact = || Fact::disabled(endpoint, FAILING, now);
                let facts = told(heard(callback::ENDPOINT_DISABLED), &fact);
                self.disable(endpoint, FAILING, &facts).await;
            }
        }
    }

    async fn endpoint_recovers(self: &Arc<Self>, endpoint: EndpointId, facts: &[AcceptEvent]) {
        match self.store.endpoint_recovered(endpoint, facts).await {
            Ok(_) => tracing::info!(%endpoint, "the endpoint takes deliveries again"),
            // What is written down makes for one more probe, which tells it again.
            Err(error) => tracing::warn!(%endpoint, %error, "a recovery was not written down"),
        }
        self.worker.wake();
    }

    async fn endpoint_fails(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        failing: Failing,
        opened: bool,
        facts: &[AcceptEvent],
    ) {
        let id = endpoint.id;
        match self.store.endpoint_failing(endpoint.tenant, id, failing, facts).await {
            Ok(true) => {}
            Ok(false) => self.worker.lanes().forgive(id, self.now()),
            Err(error) => {
                tracing::warn!(endpoint = %id, %error, "how an endpoint fails was not written down");
                self.worker.lanes().forget_record(id);
            }
        }
        if opened {
            if failing.openings == 1 {
                tracing::warn!(endpoint = %id, "the endpoint is down; its deliveries wait, and one goes now and then");
            }
            self.recall(id, Some(ENDPOINT_FAILING)).await;
        }
        // Listeners are told, or what waited for it to answer goes on.
        if !facts.is_empty() || failing.probe_at.is_none() {
            self.worker.wake();
        }
    }

    /// Disables an endpoint in the engine's own name; what waits for it is parked.
    pub(super) async fn disable(self: &Arc<Self>, endpoint: &Endpoint, reason: &str, facts: &[AcceptEvent]) {
        let (tenant, id) = (endpoint.tenant, endpoint.id);
        match self.store.endpoint_disable(&self.system_actor(), tenant, id, reason, facts).await {
            Ok(disabled) => {
                if disabled {
                    tracing::warn!(endpoint = %id, reason, "endpoint disabled");
                }
                self.worker.lanes().forgive(id, self.now());
            }
            Err(error) => tracing::error!(endpoint = %id, %error, "endpoint could not be disabled"),
        }
        match self.views.refresh(&self.store, tenant).await {
            Ok(view) => self.follow(&view.catalog).await,
            Err(error) => tracing::warn!(%tenant, %error, "configuration could not be read again"),
        }
        if !facts.is_empty() {
            self.worker.wake();
        }
    }

    /// Brings the lanes in line with a configuration: their rules, and what waits in them for an endpoint that is
    /// disabled or paused.
    pub(crate) async fn follow(&self, catalog: &Catalog) {
        let lanes: Vec<_> = self.worker.lanes().depths().map(|(endpoint, ..)| endpoint).collect();
        for endpoint in lanes.into_iter().filter_map(|id| catalog.endpoint(id)) {
            self.worker.lanes().set_rules(endpoint.id, endpoint.lane_rules());
            if !endpoint.enabled || endpoint.paused_at.is_some() {
                self.recall(endpoint.id, None).await;
            }
        }
    }

    /// Gives what waits in an endpoint's lane back to the store.
    pub(super) async fn recall(&self, endpoint: EndpointId, waits_for: Option<&str>) {
        let jobs = self.worker.lanes().recall(endpoint);
        self.put_back(endpoint, &jobs, waits_for).await;
    }

    /// Puts deliveries of one endpoint aside without an attempt, as the endpoint is now.
    pub(super) async fn put_back(&self, endpoint: EndpointId, jobs: &[Job], waits_for: Option<&str>) {
        if jobs.is_empty() {
            return;
        }
        let held: Vec<_> = jobs.iter().map(|job| (job.serial, job.delivery.id)).collect();
        if let Err(error) = self.store.delivery_put_back(endpoint, &held, waits_for, self.now()).await {
            tracing::warn!(%endpoint, %error, "deliveries could not be given back; this node takes a new serial");
            self.worker.suspect();
        }
    }

    /// Takes up what is written down of endpoints that fail. `missing` are those that this node holds for failing and
    /// found nothing of the last time: another node saw them recover, or someone edited them.
    pub(super) async fn take_up_failures(&self, missing: &mut HashSet<EndpointId>) -> Result<(), StoreError> {
        let held = self.worker.failing();
        let written = self.store.endpoint_failures().await?;
        if held.is_empty() && written.is_empty() {
            missing.clear();
            return Ok(());
        }
        let gone: HashSet<_> =
            held.keys().copied().filter(|id| !written.iter().any(|(endpoint, _)| endpoint == id)).collect();
        let mut lanes = self.worker.lanes();
        for (endpoint, failing) in written {
            if held.get(&endpoint) != Some(&failing) {
                lanes.adopt(endpoint, failing);
            }
        }
        // Seen twice: what this node found a moment ago may not be written down yet.
        gone.intersection(missing).for_each(|endpoint| lanes.forgive(*endpoint, self.now()));
        *missing = gone;
        Ok(())
    }

    fn disable_at(&self, failing: Failing) -> Option<Timestamp> {
        let after = self.config.limits.circuits.disable_after;
        (!after.is_zero()).then(|| failing.since.after(after))
    }
}
