//! Takes turns over the lanes; one task carries one delivery through one attempt.

use std::{sync::Arc, time::Duration};

use engate_model::{
    EndpointId,
    callback::{self, Fact},
    delivery::{DeliveryState, Trigger},
    endpoint::Endpoint,
    event::NoDelivery,
    lanes::{LaneRules, Pace},
};
use engate_store::{FinishItem, Finished, PLUGIN_FAULTY, StoreError};

use super::{
    Job,
    attempt::{self, Done},
};
use crate::{engine::Engine, views::View};

/// How often a result is offered to a store that does not answer, before the node lets go of the delivery.
const FINISH_TRIES_MAX: u32 = 5;
/// Wait before the first repetition; doubles.
const FINISH_WAIT: Duration = Duration::from_millis(50);

impl Engine {
    /// Queues deliveries in the places reserved for them, and starts what can go.
    pub(crate) fn hand_over(self: &Arc<Self>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        {
            let mut lanes = self.worker.lanes();
            for job in jobs {
                let bytes = job.bytes();
                lanes.enter(job.delivery.endpoint, job, bytes);
            }
        }
        self.start_ready();
    }

    /// Queues a delivery before all others of its lane, and starts what can go: someone waits for it.
    pub(crate) fn hand_over_first(self: &Arc<Self>, job: Job, rules: LaneRules) {
        let bytes = job.bytes();
        self.worker.lanes().enter_first(job.delivery.endpoint, rules, job, bytes, self.now());
        self.start_ready();
    }

    /// Starts an attempt for every lane whose turn it is, as far as bounds allow.
    pub(super) fn start_ready(self: &Arc<Self>) {
        while let Some((endpoint, job)) = self.worker.next(self.now()) {
            let turn = Turn { engine: Arc::clone(self), endpoint, pace: None };
            self.worker.tasks.spawn(turn.take(job));
        }
    }

    async fn carry_out(self: &Arc<Self>, job: Job) -> Pace {
        if !self.worker.holds(job.serial, self.now()) {
            // The lease lapsed while it was queued: by now another node, or this one anew, has it or will have it.
            self.metrics.leases_lost.inc();
            self.worker.let_lapse(job.serial);
            return Pace::Steady;
        }
        let view = match self.views.get(&self.store, job.delivery.tenant).await {
            Ok(view) => view,
            Err(error) => return self.let_go(&job, &error).await,
        };
        let Some(endpoint) = view.catalog.endpoint(job.delivery.endpoint).cloned() else {
            return self.set_aside(&job, DeliveryState::Cancelled, "endpoint_deleted").await;
        };
        if !endpoint.enabled || endpoint.paused_at.is_some() {
            self.put_back(endpoint.id, &[job], None).await;
            self.recall(endpoint.id, None).await;
            return Pace::Steady;
        }
        let binding = match view.binding(&self.store, &endpoint).await {
            Ok(binding) => binding,
            Err(error) => return self.let_go(&job, &error).await,
        };
        let digest = binding.digest();
        // Someone who asks for a try gets one, and it counts.
        if digest.is_some_and(|digest| view.is_out_of_order(digest)) && job.trigger != Trigger::Manual {
            return self.park_until_something_changes(&job, view.catalog.revision).await;
        }
        let done = if job.in_line {
            let attempt = Box::pin(attempt::run(self, &view, &endpoint, &binding, &job));
            let Some(done) = self.worker.while_held(job.serial, || self.now(), attempt).await else {
                self.metrics.leases_lost.inc();
                self.worker.let_lapse(job.serial);
                return Pace::Steady;
            };
            done
        } else {
            attempt::run(self, &view, &endpoint, &binding, &job).await
        };
        let done = match done {
            Ok(done) => done,
            Err(error) => return self.let_go(&job, &error).await,
        };
        if digest.is_some_and(|digest| view.note(*digest, done.faulty)) {
            let plugin = done.attempt.plugin.as_deref().unwrap_or_default();
            tracing::warn!(plugin, "a plugin fails again and again; its deliveries are parked until something changes");
        }
        // Before the try is written down: a fault in between has it made again, and never forgets that the partner said stop.
        self.stop_if_told(&view, &endpoint, &job, &done).await;
        self.write_down(&view, &endpoint, job, done).await
    }

    /// Disables an endpoint whose partner said that nothing more is wanted.
    async fn stop_if_told(self: &Arc<Self>, view: &View, endpoint: &Endpoint, job: &Job, done: &Done) {
        let Some(reason) = &done.transition.disable_endpoint else { return };
        let heard =
            !callback::is_system(&job.delivery.event_type) && view.catalog.is_heard(callback::ENDPOINT_DISABLED);
        let fact = heard.then(|| Fact::disabled(endpoint, reason, self.now()));
        let facts = fact.map_or_else(Vec::new, |fact| self.told(&view.catalog, endpoint, fact));
        self.disable(endpoint, reason, &facts).await;
    }

    /// Writes the attempt and what follows from it.
    async fn write_down(self: &Arc<Self>, view: &View, endpoint: &Endpoint, mut job: Job, done: Done) -> Pace {
        let Done { attempt, transition, pace, plugin_state, impression, .. } = done;
        self.metrics.attempt(transition.outcome, attempt.duration);
        // A trial is nobody's news.
        let facts = match job.event.reason {
            Some(NoDelivery::Test) => Vec::new(),
            _ => self.told_of_end(&view.catalog, &job.delivery, &attempt, &transition),
        };
        let answer = job.answer.take();
        let build = || {
            let item = FinishItem::new(&job.delivery, &job.event, job.serial, &attempt, &transition);
            let item = item.in_line(job.in_line);
            let item = if facts.is_empty() { item } else { item.with_facts(&facts) };
            match &plugin_state {
                Some((plugin, writes)) => item.with_state_writes(&job.delivery, plugin, writes.clone()),
                None => item,
            }
        };
        let mut wait = FINISH_WAIT;
        for _ in 0..FINISH_TRIES_MAX {
            match self.store.delivery_finish(build()).await {
                Ok(finished @ (Finished::Finished | Finished::Released)) => {
                    let soon = self.now().after(super::poller::INTERVAL);
                    let due_soon = transition.next_attempt_at.is_some_and(|at| at <= soon);
                    if finished == Finished::Released || !facts.is_empty() || due_soon {
                        self.worker.wake();
                    }
                    if let Some(answer) = answer {
                        // Whoever waits for it may be gone by now.
                        let _ = answer.send(attempt);
                    }
                    self.heed(view, endpoint, &job, &transition, impression).await;
                    return pace;
                }
                Ok(Finished::LeaseLost) => {
                    self.metrics.leases_lost.inc();
                    tracing::warn!(delivery = %job.delivery.id, "lease lost during an attempt; it will be made again");
                    if self.worker.holds(job.serial, self.now()) {
                        // The store says otherwise than memory; only a new serial makes them agree for certain.
                        self.worker.suspect();
                    }
                    return pace;
                }
                Err(error) => {
                    tracing::warn!(delivery = %job.delivery.id, %error, "an attempt could not be written down; trying again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
            }
        }
        tracing::error!(delivery = %job.delivery.id, "an attempt could not be written down; it will be made again");
        self.worker.suspect();
        pace
    }

    /// Parks a delivery whose plugin fails. A change of the configuration lets the parked ones go on, once; one that was
    /// parked under the configuration before, but after that, has to be let go here.
    async fn park_until_something_changes(&self, job: &Job, revision: i64) -> Pace {
        let pace = self.set_aside(job, DeliveryState::Parked, PLUGIN_FAULTY).await;
        let tenant = job.delivery.tenant;
        if self.views.revisions().get(&tenant).is_some_and(|held| *held != revision)
            && let Err(error) = self.store.delivery_unpark(tenant, PLUGIN_FAULTY, self.now()).await
        {
            tracing::warn!(%tenant, %error, "deliveries parked for their plugin wait for the next change");
        }
        pace
    }

    /// Ends or parks a delivery without an attempt.
    async fn set_aside(&self, job: &Job, state: DeliveryState, reason: &str) -> Pace {
        match self.store.delivery_set_aside(job.serial, job.delivery.id, state, reason).await {
            Ok(Finished::Released) => self.worker.wake(),
            Ok(Finished::Finished | Finished::LeaseLost) => {}
            Err(error) => return self.let_go(job, &error).await,
        }
        Pace::Steady
    }

    /// Gives a delivery back that cannot be tried now.
    async fn let_go(&self, job: &Job, error: &StoreError) -> Pace {
        tracing::warn!(delivery = %job.delivery.id, %error, "a delivery is given back untried");
        if self.store.delivery_release(job.serial, &[job.delivery.id], self.now()).await.is_err() {
            self.worker.suspect();
        }
        Pace::Steady
    }
}

/// One taken turn. However its task ends, the lane gets its place back.
struct Turn {
    engine: Arc<Engine>,
    endpoint: EndpointId,
    /// None until the task ended in an orderly way.
    pace: Option<Pace>,
}

impl Turn {
    async fn take(mut self, job: Job) {
        let pace = self.engine.carry_out(job).await;
        self.pace = Some(pace);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.pace.is_none() {
            self.engine.worker.suspect();
        }
        let now = self.engine.now();
        self.engine.worker.finished(self.endpoint, self.pace.unwrap_or(Pace::Steady), now);
        self.engine.start_ready();
    }
}
