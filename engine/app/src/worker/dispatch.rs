//! Takes turns over the lanes; one task carries one delivery through one attempt.

use std::{sync::Arc, time::Duration};

use engate_model::{
    EndpointId,
    delivery::{DeliveryState, Trigger},
    lanes::Pace,
};
use engate_store::{ENDPOINT_DISABLED, FinishItem, Finished, PLUGIN_FAULTY, StoreError};

use super::{
    Job,
    attempt::{self, Done},
};
use crate::engine::Engine;

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
    pub(crate) fn hand_over_first(self: &Arc<Self>, job: Job, max_in_flight: u32) {
        let bytes = job.bytes();
        self.worker.lanes().enter_first(job.delivery.endpoint, max_in_flight, job, bytes);
        self.start_ready();
    }

    /// Starts an attempt for every lane whose turn it is, as far as bounds allow.
    pub(super) fn start_ready(self: &Arc<Self>) {
        while let Some((endpoint, job)) = self.worker.next() {
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
        if !endpoint.enabled {
            return self.set_aside(&job, DeliveryState::Parked, ENDPOINT_DISABLED).await;
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
        self.write_down(job, done).await
    }

    /// Writes the attempt and what follows from it.
    async fn write_down(self: &Arc<Self>, mut job: Job, done: Done) -> Pace {
        let Done { attempt, transition, pace, plugin_state, .. } = done;
        self.metrics.attempt(transition.outcome, attempt.duration);
        let answer = job.answer.take();
        let build = || {
            let item = FinishItem::new(&job.delivery, &job.event, job.serial, &attempt, &transition);
            let item = item.in_line(job.in_line);
            match &plugin_state {
                Some((plugin, writes)) => item.with_state_writes(&job.delivery, plugin, writes.clone()),
                None => item,
            }
        };
        let mut wait = FINISH_WAIT;
        for _ in 0..FINISH_TRIES_MAX {
            match self.store.delivery_finish(build()).await {
                Ok(finished @ (Finished::Finished | Finished::Released)) => {
                    if finished == Finished::Released {
                        self.worker.wake();
                    }
                    // Whoever waits for it may be gone by now.
                    let _ = answer.map(|answer| answer.send(attempt));
                    self.follow_up(&job, &transition).await;
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

    async fn follow_up(self: &Arc<Self>, job: &Job, transition: &engate_model::transition::Transition) {
        if transition.next_attempt_at.is_some_and(|at| at <= self.now().after(super::poller::INTERVAL)) {
            self.worker.wake();
        }
        let Some(reason) = &transition.disable_endpoint else { return };
        let (tenant, endpoint) = (job.delivery.tenant, job.delivery.endpoint);
        match self.store.endpoint_disable(&self.system_actor(), tenant, endpoint, reason).await {
            Ok(_) => tracing::warn!(%endpoint, reason, "endpoint disabled by its partner's answer"),
            Err(error) => tracing::error!(%endpoint, %error, "endpoint could not be disabled"),
        }
        if let Err(error) = self.views.refresh(&self.store, tenant).await {
            tracing::warn!(%tenant, %error, "configuration could not be read again");
        }
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
        self.engine.worker.finished(self.endpoint, self.pace.unwrap_or(Pace::Steady));
        self.engine.start_ready();
    }
}
