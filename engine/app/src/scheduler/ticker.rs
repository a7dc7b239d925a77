//! Looks for jobs whose instant has come, and takes up runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use engate_model::{
    RunId, TenantId, Timestamp, TypedId as _,
    job::{Job, RunTrigger},
    schedule::{
        Timetable,
        due::{Due, ON_TIME, due, jitter},
    },
};
use engate_store::{Firing, NewRun, StoreError, Ticked};

use super::held::{HeldRun, LEASE};
use crate::{engine::Engine, health::Part, verbs::settings::JOBS_PAUSED};

/// How often the store is asked when nothing wakes the ticker: what another node was told shows within this.
const INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Jobs that one look takes on.
const JOBS_AT_ONCE: u32 = 100;
/// Looks between two searches for runs whose node fell silent.
const RECLAIM_LOOKS: u32 = 5;

impl Engine {
    /// Ticks until the engine stops.
    pub(crate) async fn schedule(self: Arc<Self>) {
        let mut look: u32 = 0;
        while !self.scheduler.is_stopping() {
            let pause = self.schedule_look(look).await.unwrap_or_else(|error| {
                tracing::error!(%error, "jobs could not be looked at; trying again");
                INTERVAL
            });
            look = look.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.scheduler.wake.notified() => {}
            }
        }
    }

    /// One look; gives how long to wait before the next.
    async fn schedule_look(self: &Arc<Self>, look: u32) -> Result<Duration, StoreError> {
        if look.is_multiple_of(RECLAIM_LOOKS) {
            let reclaimed = self.store.run_reclaim(self.now()).await?;
            if reclaimed > 0 {
                tracing::warn!(reclaimed, "took back runs whose node fell silent");
            }
        }
        let now = self.now();
        let (jobs, next_due) = self.store.job_due(now, JOBS_AT_ONCE).await?;
        let many = jobs.len() == usize::try_from(JOBS_AT_ONCE).unwrap_or(usize::MAX);
        let mut paused = HashMap::new();
        for job in &jobs {
            // One job that cannot be ticked does not keep the others waiting.
            if let Err(error) = self.tick(job, now, &mut paused).await {
                tracing::error!(%error, job = %job.id, "the job's runs could not be made; trying again");
            }
        }
        let next_start = self.take_up(now).await?;
        self.health.alive(Part::Scheduler, self.now());
        if many {
            return Ok(PAUSE_MIN);
        }
        let next = next_due.into_iter().chain(next_start).min();
        Ok(next.map_or(INTERVAL, |at| at.since(self.now()).clamp(PAUSE_MIN, INTERVAL)))
    }

    /// Makes the runs of one job whose instant has come. `paused` is what this look knows of tenants whose jobs all pause.
    async fn tick(&self, job: &Job, now: Timestamp, paused: &mut HashMap<TenantId, bool>) -> Result<(), StoreError> {
        let Some(next_at) = job.next_at else { return Ok(()) };
        let timetable = Timetable::new(&job.settings.schedule)
            .map_err(|invalid| StoreError::Corrupt(format!("the schedule of {}: {invalid}", job.id)))?;
        let mut fired = if timetable.is_always() {
            Due { fires: vec![now], missed: 0, missed_more: false, next_at: None }
        } else {
            due(&timetable, job.settings.catchup, next_at, now)
        };
        let is_paused = match paused.get(&job.tenant) {
            Some(is_paused) => *is_paused,
            None => {
                let is_paused = self.jobs_paused(job.tenant).await?;
                paused.insert(job.tenant, is_paused);
                is_paused
            }
        };
        if is_paused {
            // What comes while everything is paused is not made up for.
            let next_at = if timetable.is_always() { Some(now.after(INTERVAL)) } else { fired.next_at };
            fired = Due { fires: Vec::new(), missed: 0, missed_more: false, next_at };
        }
        let late = now.before(ON_TIME);
        let jitter_max = Duration::from_millis(job.settings.jitter_ms);
        let new_run = |at: Timestamp| NewRun {
            id: RunId::new(now, self.chance.bits()),
            scheduled_at: at,
            trigger: if at < late { RunTrigger::Catchup } else { RunTrigger::Schedule },
            backfill: None,
            start_at: at.after(jitter(job.id.uuid().as_u128(), at, jitter_max)),
        };
        let firing = Firing {
            runs: fired.fires.into_iter().map(new_run).collect(),
            next_at: fired.next_at,
            missed: fired.missed,
            missed_more: fired.missed_more,
        };
        if firing.missed > 0 {
            tracing::warn!(job = %job.id, missed = firing.missed, "instants of a job passed while nobody was there");
        }
        match self.store.job_tick(&self.system_actor(), job, &firing).await? {
            Ticked::Made(runs) => {
                for (_, state) in runs {
                    self.metrics.run_made(state);
                }
                self.metrics.ticks_missed.inc_by(firing.missed);
            }
            Ticked::Raced => {}
        }
        Ok(())
    }

    async fn jobs_paused(&self, tenant: TenantId) -> Result<bool, StoreError> {
        let stored = self.store.setting_list(tenant).await?;
        Ok(stored.iter().any(|(key, value)| key == JOBS_PAUSED && value.as_bool() == Some(true)))
    }

    /// Takes up what may start; gives when the next run may.
    async fn take_up(self: &Arc<Self>, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let serial = *self.worker.serial();
        let (Some(serial), room) = (serial, self.scheduler.room()) else { return Ok(None) };
        if room == 0 || self.scheduler.is_stopping() {
            return Ok(None);
        }
        let (claimed, next) = self.store.run_claim(serial, now, now.after(LEASE), room).await?;
        for claimed in claimed {
            let held = Arc::new(HeldRun::new(self, claimed));
            self.scheduler.runs().insert(held.run.id, Arc::clone(&held));
            self.scheduler.tasks.spawn(held.carry_out());
        }
        Ok(next)
    }
}
