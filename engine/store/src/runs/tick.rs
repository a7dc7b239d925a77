//! The moment at which runs are made.

use engate_model::{
    BackfillId, JobId, RunId, TenantId, Timestamp,
    job::{Job, RunState, RunTrigger},
    run::RunCounts,
    schedule::due::{Admission, LeftOut, Overlap, admit},
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    sql::twins,
    value::{args, json as json_value},
};

/// Left out since a newer one took its place.
const REPLACED: &str = "replaced";

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// Its nominal time.
    pub scheduled_at: Timestamp,
    /// What makes it.
    pub trigger: RunTrigger,
    /// The order it belongs to.
    pub backfill: Option<BackfillId>,
    /// It does not start before.
    pub start_at: Timestamp,
}

impl NewRun {
    /// What sets it apart from the schedule's run of the same instant.
    fn occasion(&self) -> String {
        match (self.trigger, self.backfill) {
            (RunTrigger::Schedule | RunTrigger::Catchup, _) => String::new(),
            (_, Some(backfill)) => backfill.to_string(),
            (_, None) => self.id.to_string(),
        }
    }
}

/// What a tick does to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// The instants that run.
    pub runs: Vec<NewRun>,
    /// The instant after that.
    pub next_at: Option<Timestamp>,
    /// Instants that do not run, since nobody was there.
    pub missed: u64,
    /// Whether `missed` is only the least.
    pub missed_more: bool,
}

/// What became of a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ticked {
    /// These runs were made; the state says whether one is queued or left out.
    Made(Vec<(RunId, RunState)>),
    /// Another node did it, or someone changed the job.
    Raced,
}

impl Store {
    /// Makes the runs of a job whose instant has come and moves it on to the next, in one transaction; `job` is as
    /// [`Store::job_due`] gave it.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn job_tick(&self, actor: &Actor, job: &Job, firing: &Firing) -> Result<Ticked, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE jobs SET next_at = $3, missed = missed + $5 WHERE id = $1 AND next_at = $2 AND revision = $4";
        let values = args![job.id, job.next_at, firing.next_at, job.revision, firing.missed];
        if session.execute(sql, values).await? == 0 {
            return Ok(Ticked::Raced);
        }
        let mut made = Vec::with_capacity(firing.runs.len());
        for new in &firing.runs {
            made.extend(
                make(&mut session, job, job.settings.overlap, new, actor.now).await?.map(|state| (new.id, state)),
            );
        }
        if firing.missed > 0 {
            let detail = json!({ "missed": firing.missed, "at_least": firing.missed_more, "due_since": job.next_at });
            self.audit(&mut session, actor, job.tenant, "job.missed", &job.id.to_string(), &detail).await?;
        }
        session.commit().await?;
        Ok(Ticked::Made(made))
    }

    /// Makes one run that someone asks for. Gives its state, or why it is left out; then there is no row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the job, or when the database gives no answer.
    pub async fn run_order(
        &self,
        actor: &Actor,
        job: &Job,
        new: &NewRun,
    ) -> Result<Result<RunState, LeftOut>, StoreError> {
        let mut session = self.db().begin().await?;
        hold_job(&mut session, job.tenant, job.id).await?;
        let (running, waiting) = active(&mut session, job.id).await?;
        if let Admission::LeaveOut(why) = admit(job.settings.overlap, running, waiting) {
            return Ok(Err(why));
        }
        let state = make(&mut session, job, job.settings.overlap, new, actor.now).await?.unwrap_or(RunState::Queued);
        let detail = json!({ "run": new.id });
        self.audit(&mut session, actor, job.tenant, "job.run", &job.id.to_string(), &detail).await?;
        session.commit().await?;
        Ok(Ok(state))
    }

    /// Makes the runs of a backfill: they wait for each other, `side_by_side` at a time, whatever the job's overlap.
    /// Gives how many there are.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the job, or when the database gives no answer.
    pub async fn run_backfill(
        &self,
        actor: &Actor,
        job: &Job,
        side_by_side: u32,
        runs: &[NewRun],
    ) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        hold_job(&mut session, job.tenant, job.id).await?;
        let mut made = 0;
        for new in runs {
            made += insert(&mut session, job, new, RunState::Queued, None, side_by_side, actor.now).await?;
        }
        let ends = (runs.first().map(|run| run.scheduled_at), runs.last().map(|run| run.scheduled_at));
        let detail = json!({ "backfill": runs.first().and_then(|run| run.backfill), "runs": made, "first": ends.0, "last": ends.1 });
        self.audit(&mut session, actor, job.tenant, "job.backfill", &job.id.to_string(), &detail).await?;
        session.commit().await?;
        Ok(made)
    }
}

/// Holds a job's row until the end of the transaction.
pub(super) async fn hold_job(session: &mut Session, tenant: TenantId, id: JobId) -> Result<(), StoreError> {
    let sql = twins!(
        "SELECT 1 FROM jobs WHERE id = $1 AND tenant_id = $2",
        sqlite: "",
        postgres: " FOR NO KEY UPDATE"
    );
    session.row(sql, args![id, tenant]).await?.map(|_| ()).ok_or(StoreError::NotFound { what: "job" })
}

/// How many runs of a job are under way, and how many wait; those of a backfill have time and hold up no other.
pub(super) async fn active(session: &mut Session, job: JobId) -> Result<(u32, u32), StoreError> {
    let sql = "SELECT COALESCE(sum(CASE WHEN state = 'running' THEN 1 ELSE 0 END), 0), \
               COALESCE(sum(CASE WHEN state = 'queued' AND run_trigger <> 'backfill' THEN 1 ELSE 0 END), 0) FROM runs \
               WHERE job_id = $1 AND state IN ('queued', 'running')";
    let Some(row) = session.row(sql, args![job]).await? else { return Ok((0, 0)) };
    let mut cells = row.cells();
    Ok((cells.small()?, cells.small()?))
}

/// Makes one run as the overlap admits it; none where this instant has one already.
async fn make(
    session: &mut Session,
    job: &Job,
    overlap: Overlap,
    new: &NewRun,
    now: Timestamp,
) -> Result<Option<RunState>, StoreError> {
    let (running, waiting) = active(session, job.id).await?;
    let (state, reason, side_by_side) = match admit(overlap, running, waiting) {
        Admission::Queue(side_by_side) => (RunState::Queued, None, side_by_side),
        Admission::LeaveOut(why) => (RunState::Skipped, Some(why.as_str()), 1),
        Admission::Replace => {
            let sql = "UPDATE runs SET state = 'skipped', reason = $2, finished_at = $3 \
                       WHERE job_id = $1 AND state = 'queued' AND run_trigger <> 'backfill'";
            session.execute(sql, args![job.id, REPLACED, now]).await?;
            let sql = "UPDATE runs SET cancel_at = $2, reason = $3 \
                       WHERE job_id = $1 AND state = 'running' AND cancel_at IS NULL";
            session.execute(sql, args![job.id, now, REPLACED]).await?;
            (RunState::Queued, None, 1)
        }
    };
    let made = insert(session, job, new, state, reason, side_by_side, now).await?;
    Ok((made > 0).then_some(state))
}

async fn insert(
    session: &mut Session,
    job: &Job,
    new: &NewRun,
    state: RunState,
    reason: Option<&str>,
    side_by_side: u32,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let sql = "INSERT INTO runs (id, tenant_id, job_id, scheduled_at, occasion, run_trigger, backfill_id, state, reason, \
               side_by_side, start_at, finished_at, counts, log) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '') \
               ON CONFLICT (job_id, scheduled_at, occasion) DO NOTHING";
    let values = args![
        new.id,
        job.tenant,
        job.id,
        new.scheduled_at,
        new.occasion(),
        new.trigger,
        new.backfill,
        state,
        reason,
        side_by_side,
        new.start_at,
        state.is_over().then_some(now),
        json_value(&RunCounts::default())?,
    ];
    session.execute(sql, values).await
}
