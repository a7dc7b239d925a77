//! Forgets what is older than it is kept, in steps after each of which others get to write. Every step may be done twice
//! or on several nodes at once; what a round did to a tenant's history stands in its audit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use engate_model::{TenantId, Timestamp};
use engate_store::{Forgotten, History, StoreError, Sweep};
use serde_json::{Map, json};
use tokio::sync::watch;

use crate::{engine::Engine, metrics::HistoryLabels};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(1_800);
/// Before the first one.
const FIRST: Duration = Duration::from_secs(1);
/// Rows of one step.
const STEP: u32 = 500;
/// Pause after each step.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// Steps of one kind in one round, at most.
const STEPS_MAX: u32 = 100_000;

/// Runs of one job that are kept at most.
const RUNS_KEPT: u32 = 1_000;

/// What a round did.
#[derive(Debug, Default)]
struct Round {
    /// Rows that went, by tenant and kind.
    rows: BTreeMap<TenantId, BTreeMap<&'static str, u64>>,
    steps: u32,
}

impl Engine {
    /// Does it all until told to stop.
    pub(crate) async fn retain(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut wait = FIRST;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            tokio::select! {
                () = self.retention_round() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            wait = EVERY;
        }
    }

    /// One round over everything that is old.
    pub(crate) async fn retention_round(&self) {
        let kept = self.config.retention;
        let ages = [kept.events, kept.attempts, kept.deliveries];
        let mut round = Round::default();
        for (history, age) in History::ALL.into_iter().zip(ages) {
            let Some(before) = age.map(|age| self.now().before(age)) else { continue };
            round.steps = 0;
            if let Err(error) = self.forget_history(history, before, &mut round).await {
                tracing::warn!(%error, kind = history.name(), "old history could not be forgotten; trying again");
            }
        }
        let small = [
            ("idempotency_keys", kept.idempotency_keys),
            ("access", self.config.audit.access),
            ("runs", kept.runs),
            ("recoveries", kept.runs),
        ];
        for (kind, age) in small {
            let Some(before) = age.map(|age| self.now().before(age)) else { continue };
            if let Err(error) = self.forget_entries(kind, before).await {
                tracing::warn!(%error, kind, "old entries could not be forgotten; trying again");
            }
        }
        for (tenant, kinds) in round.rows {
            let detail = kinds.iter().map(|(kind, rows)| ((*kind).to_owned(), json!(rows))).collect::<Map<_, _>>();
            if let Err(error) = self.store.history_purge_audit(&self.system_actor(), tenant, &detail.into()).await {
                tracing::warn!(%error, %tenant, "what was forgotten could not be audited");
            }
        }
    }

    async fn forget_history(&self, history: History, before: Timestamp, round: &mut Round) -> Result<(), StoreError> {
        let dropped = self.store.history_drop(history, before).await;
        match dropped {
            Ok(forgotten) => self.note(history, &forgotten, round),
            // Somebody held the table: the rows may go one by one, or all of them next time.
            Err(error) => tracing::info!(%error, kind = history.name(), "no partition was dropped this time"),
        }
        match history {
            History::Events => self.forget_events(before, round).await,
            History::Attempts | History::Deliveries => {
                let mut sweep = Sweep::new(history);
                loop {
                    let forgotten = self.store.history_sweep(&mut sweep, before, STEP).await?;
                    self.note(history, &forgotten, round);
                    if forgotten.done || round.is_over() {
                        return Ok(());
                    }
                    tokio::time::sleep(STEP_PAUSE).await;
                }
            }
        }
    }

    async fn forget_events(&self, before: Timestamp, round: &mut Round) -> Result<(), StoreError> {
        for tenant in self.store.history_tenants().await? {
            loop {
                let forgotten = self.store.event_purge(tenant, before, STEP).await?;
                self.note(History::Events, &forgotten, round);
                if forgotten.done || round.is_over() {
                    break;
                }
                tokio::time::sleep(STEP_PAUSE).await;
            }
            let mut after = None;
            loop {
                let (forgotten, next) = self.store.event_purge_left(tenant, after, STEP).await?;
                self.note(History::Events, &forgotten, round);
                after = next;
                if forgotten.done || round.is_over() {
                    break;
                }
                tokio::time::sleep(STEP_PAUSE).await;
            }
        }
        Ok(())
    }

    async fn forget_entries(&self, kind: &'static str, before: Timestamp) -> Result<(), StoreError> {
        for _ in 0..STEPS_MAX {
            let rows = match kind {
                "access" => self.store.access_purge(before, STEP).await?,
                "runs" => self.store.run_purge(before, RUNS_KEPT, STEP).await?,
                "recoveries" => self.store.recovery_purge(before, STEP).await?,
                _ => self.store.idempotency_purge(before, STEP).await?,
            };
            self.metrics.history_purged.get_or_create(&HistoryLabels { kind }).inc_by(rows);
            if rows < u64::from(STEP) {
                break;
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
        Ok(())
    }

    fn note(&self, history: History, forgotten: &Forgotten, round: &mut Round) {
        let kind = history.name();
        round.steps += 1;
        for (tenant, rows) in &forgotten.rows {
            self.metrics.history_purged.get_or_create(&HistoryLabels { kind }).inc_by(*rows);
            *round.rows.entry(*tenant).or_default().entry(kind).or_default() += rows;
        }
    }
}

impl Round {
    fn is_over(&self) -> bool {
        self.steps >= STEPS_MAX
    }
}
