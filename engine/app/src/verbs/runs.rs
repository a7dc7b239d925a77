//! Runs of jobs: run one now, have a job run for times past, look at runs and stop them.

use engate_model::{
    BackfillId, JobId, RunId, Timestamp,
    invalid::Complaints,
    job::{Run, RunState, RunTrigger, Work},
    schedule::{Schedule, Timetable, due::SIDE_BY_SIDE_MAX},
    token::Principal,
};
use engate_store::{NewRun, Order, RunFilter, RunPage};

use super::VerbError;
use crate::engine::Engine;

/// Runs of one backfill at most.
pub(crate) const BACKFILL_RUNS_MAX: usize = 10_000;

/// A backfill that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backfilled {
    /// Its runs carry this.
    pub(crate) id: BackfillId,
    /// How many runs it has.
    pub(crate) runs: u64,
}

impl Engine {
    /// Runs a job now, as its rule for overlaps allows. An `always` job that rests looks for work at once.
    pub(crate) async fn job_run(&self, principal: &Principal, id: JobId) -> Result<Run, VerbError> {
        let job = self.job_get(principal, id).await?;
        if job.needs_configuration {
            let detail = "it was made by a wizard and not started; finish its schedule and start it first";
            return Err(VerbError::conflict("needs_configuration", detail));
        }
        if job.settings.schedule == Schedule::Always {
            let active = RunFilter { job: Some(id), state: Some(RunState::Running), ..RunFilter::default() };
            let page = self.store.run_list(principal.tenant, &active, None, Order::Descending, 1).await?;
            if let Some(run) = page.items.into_iter().next() {
                self.scheduler.poke(id);
                return Ok(run);
            }
        }
        let now = self.now();
        let new = NewRun {
            id: RunId::new(now, self.chance.bits()),
            scheduled_at: now,
            trigger: RunTrigger::Manual,
            backfill: None,
            start_at: now,
        };
        match self.store.run_order(&self.actor(principal), &job, &new).await? {
            Err(why) => {
                let detail = format!("a run of it is not over ({}); wait for it, or cancel it", why.as_str());
                Err(VerbError::conflict("run_in_progress", detail))
            }
            Ok(_) => {
                self.scheduler.wake();
                Ok(self.run_get(principal, new.id).await?.0)
            }
        }
    }

    /// Has a job run for every instant of its schedule in [start, end), `side_by_side` at a time.
    pub(crate) async fn job_backfill(
        &self,
        principal: &Principal,
        id: JobId,
        (start, end): (Timestamp, Timestamp),
        side_by_side: u32,
    ) -> Result<Backfilled, VerbError> {
        let job = self.job_get(principal, id).await?;
        let mut complaints = Complaints::default();
        if end <= start {
            complaints.add("end", "must be later than `start`");
        }
        if end > self.now() {
            complaints.add("end", "must not be in the future: a backfill is for times past");
        }
        let most = if matches!(job.settings.work, Work::Sync(_) | Work::Poll(_)) { 1 } else { SIDE_BY_SIDE_MAX };
        if !(1..=most).contains(&side_by_side) {
            complaints.add("max", format!("must be 1 to {most} for this job"));
        }
        let timetable = Timetable::new(&job.settings.schedule)?;
        if !timetable.is_timed() {
            complaints.add("start", "this job has no instants of its own: its schedule is neither cron nor every");
        }
        complaints.finish(())?;
        let (now, backfill) = (self.now(), BackfillId::new(self.now(), self.chance.bits()));
        let mut runs = Vec::new();
        let mut last = Timestamp::from_micros(start.as_micros() - 1);
        while let Some(at) = timetable.next(last).filter(|at| *at < end) {
            if runs.len() == BACKFILL_RUNS_MAX {
                let message = format!("more than {BACKFILL_RUNS_MAX} instants lie between; narrow the range");
                return Err(VerbError::field("end", message));
            }
            let id = RunId::new(now, self.chance.bits());
            let trigger = RunTrigger::Backfill;
            runs.push(NewRun { id, scheduled_at: at, trigger, backfill: Some(backfill), start_at: now });
            last = at;
        }
        if runs.is_empty() {
            return Err(VerbError::field("start", "no instant of the schedule lies between `start` and `end`"));
        }
        let made = self.store.run_backfill(&self.actor(principal), &job, side_by_side, &runs).await?;
        self.scheduler.wake();
        Ok(Backfilled { id: backfill, runs: made })
    }

    /// Runs, of one job or of all.
    pub(crate) async fn run_list(
        &self,
        principal: &Principal,
        filter: &RunFilter,
        after: Option<RunId>,
        order: Order,
        limit: u32,
    ) -> Result<RunPage, VerbError> {
        Ok(self.store.run_list(principal.tenant, filter, after, order, limit).await?)
    }

    /// A run with its log.
    pub(crate) async fn run_get(&self, principal: &Principal, id: RunId) -> Result<(Run, String), VerbError> {
        self.store.run_get(principal.tenant, id).await?.ok_or(VerbError::NotFound("run"))
    }

    /// Stops a run.
    pub(crate) async fn run_cancel(&self, principal: &Principal, id: RunId) -> Result<Run, VerbError> {
        let (run, _) = self.run_get(principal, id).await?;
        let stopped = self.store.run_cancel(&self.actor(principal), principal.tenant, id).await?;
        if stopped.is_none() {
            return Err(VerbError::conflict("run_over", "the run is over already; there is nothing to stop"));
        }
        self.scheduler.poke(run.job);
        Ok(self.run_get(principal, id).await?.0)
    }
}
