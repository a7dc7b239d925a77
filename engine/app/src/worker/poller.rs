//! Fetches due work from the store: retries, what a full lane left there, what a dead node held.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use engate_model::{
    EndpointId, TenantId, Timestamp,
    lanes::{LANE_ITEMS_MAX, LaneRules},
};
use engate_store::{Head, NodeSerial, PLUGIN_FAULTY, StoreError};

use super::Job;
use crate::{engine::Engine, health::Part, verbs::plugins::ABANDONED_AFTER};

/// How often the store is asked when nothing wakes the poller.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// Pause between two rounds while there is more to fetch.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Every how many rounds dead nodes' work is looked for.
const RECLAIM_ROUNDS: u32 = 8;
/// Every how many rounds answers kept for repeats are forgotten, and how many at once.
const FORGET_ROUNDS: u32 = 1 << 9;
const FORGET_ROWS: u32 = 1_000;
/// Every how many rounds compiled code that belongs to nothing is let go of: half an hour.
const TIDY_ROUNDS: u32 = 1 << 12;
/// Every how many rounds PostgreSQL's partitions are made ahead; they reach weeks ahead, so hours do not matter.
const PARTITION_ROUNDS: u32 = 1 << 16;

/// What the poller remembers from round to round.
#[derive(Default)]
struct Memory {
    round: u32,
    /// The revision under which faulty plugins were last tried again.
    tried_under: HashMap<TenantId, i64>,
    /// When other nodes' findings about endpoints were last taken up.
    failures_at: Timestamp,
    /// See [`Engine::take_up_failures`].
    missing: HashSet<EndpointId>,
}

impl Engine {
    /// Fetches due work until the engine stops.
    pub(crate) async fn poll(self: Arc<Self>) {
        let mut memory = Memory::default();
        while !self.health.is_stopping() {
            let pause = self.poll_round(&mut memory).await.unwrap_or_else(|error| {
                tracing::error!(%error, "due work could not be fetched; trying again");
                INTERVAL
            });
            memory.round = memory.round.wrapping_add(1);
            if pause == BUSY_PAUSE {
                tokio::time::sleep(pause).await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.worker.wake.notified() => {}
            }
        }
    }

    /// One look at the store; answers how long to wait before the next.
    async fn poll_round(self: &Arc<Self>, memory: &mut Memory) -> Result<Duration, StoreError> {
        let (now, round) = (self.now(), memory.round);
        let revisions = self.store.revision_list().await?;
        self.refresh_views(&revisions).await?;
        self.retry_faulty_plugins(&revisions, &mut memory.tried_under).await?;
        if now.since(memory.failures_at) >= INTERVAL {
            self.take_up_failures(&mut memory.missing).await?;
            memory.failures_at = now;
        }
        if round.is_multiple_of(RECLAIM_ROUNDS) {
            let reclaimed = self.store.delivery_reclaim(now).await?;
            if reclaimed > 0 {
                tracing::warn!(reclaimed, "took over the deliveries of a node that died");
            }
            self.host.unload_idle(now);
            self.extend_spans();
            self.plugin_compile_resume(now.before(ABANDONED_AFTER)).await?;
        }
        if round.is_multiple_of(TIDY_ROUNDS) {
            self.plugin_code_tidy().await?;
        }
        if round.is_multiple_of(FORGET_ROUNDS) {
            while self.store.call_purge(now, FORGET_ROWS).await? == u64::from(FORGET_ROWS) {}
        }
        if round.is_multiple_of(PARTITION_ROUNDS) {
            self.store.partitions_maintain(now).await?;
        }
        let (due, later): (Vec<_>, Vec<_>) =
            self.store.delivery_heads().await?.into_iter().partition(|head| head.due_at <= now);
        let fetched = self.claim(&due).await?;
        self.health.alive(Part::Poller, now);
        if fetched > 0 {
            return Ok(BUSY_PAUSE);
        }
        // What is due and was not fetched has no room in its lane, which wakes the poller once it has some again.
        let probes = self.worker.failing().into_values().filter_map(|failing| failing.probe_at.filter(|at| *at > now));
        let next = later.iter().map(|head| head.due_at).chain(probes).min();
        Ok(next.map_or(INTERVAL, |at| at.since(self.now()).clamp(BUSY_PAUSE, INTERVAL)))
    }

    /// Has listings know of what came in lately; beside the poller, which waits for nothing that it does.
    fn extend_spans(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let extended = async {
                engine.store.delivery_span_extend().await?;
                engine.store.delivery_texts_lag().await
            };
            match extended.await {
                Ok(lag) => drop(engine.metrics.texts_lag.set(i64::try_from(lag).unwrap_or(i64::MAX))),
                Err(error) if !engine.health.is_stopping() => {
                    tracing::warn!(%error, "listings by time and text are slower until this works again");
                }
                Err(_) => {}
            }
        });
    }

    async fn claim(self: &Arc<Self>, due: &[Head]) -> Result<usize, StoreError> {
        let mut wanted = Vec::new();
        let mut under = None;
        for head in due {
            let view = self.views.get(&self.store, head.tenant).await?;
            let deleted = LaneRules { in_flight_max: 1, rate: None };
            let rules = view.catalog.endpoint(head.endpoint).map_or(deleted, |endpoint| endpoint.lane_rules());
            let reserved = self.worker.reserve(head.endpoint, rules, LANE_ITEMS_MAX, self.now());
            self.worker.wake_when_short(head.endpoint);
            if let Some((serial, places)) = reserved {
                // A change of serial in between would put places under two; the rest waits for the next round.
                if *under.get_or_insert(serial) != serial {
                    self.worker.leave(head.endpoint, places, self.now());
                    break;
                }
                wanted.push((head.endpoint, u32::try_from(places).unwrap_or(u32::MAX)));
            }
        }
        let Some(serial) = under else { return Ok(0) };
        self.claim_into(serial, &wanted).await
    }

    async fn claim_into(
        self: &Arc<Self>,
        serial: NodeSerial,
        wanted: &[(EndpointId, u32)],
    ) -> Result<usize, StoreError> {
        let mut places: HashMap<_, _> = wanted.iter().map(|(endpoint, n)| (*endpoint, *n)).collect();
        let claimed =
            self.store.delivery_claim(serial, wanted, self.now()).await.inspect_err(|_| self.worker.suspect());
        let fetched = claimed.as_ref().map_or(0, Vec::len);
        let mut jobs = Vec::with_capacity(fetched);
        for claim in claimed.iter().flatten() {
            places.entry(claim.delivery.endpoint).and_modify(|n| *n = n.saturating_sub(1));
        }
        for (endpoint, unused) in places {
            self.worker.leave(endpoint, usize::try_from(unused).unwrap_or_default(), self.now());
        }
        jobs.extend(claimed?.into_iter().map(|claim| Job::of_claim(claim, serial)));
        self.hand_over(jobs);
        Ok(fetched)
    }

    /// What was parked because its plugin failed goes on under every new configuration, of which one may be the cure.
    async fn retry_faulty_plugins(
        &self,
        revisions: &[(TenantId, i64)],
        tried_under: &mut HashMap<TenantId, i64>,
    ) -> Result<(), StoreError> {
        for (tenant, revision) in revisions {
            if tried_under.get(tenant) != Some(revision) {
                self.store.delivery_unpark(*tenant, PLUGIN_FAULTY, self.now()).await?;
                tried_under.insert(*tenant, *revision);
            }
        }
        Ok(())
    }

    /// Reads the views again whose revision another node (or an operator's command) has moved.
    async fn refresh_views(&self, revisions: &[(TenantId, i64)]) -> Result<(), StoreError> {
        let held = self.views.revisions();
        for (tenant, revision) in revisions {
            if held.get(tenant).is_some_and(|held| held != revision) {
                let view = self.views.refresh(&self.store, *tenant).await?;
                self.follow(&view.catalog).await;
            }
        }
        Ok(())
    }
}
