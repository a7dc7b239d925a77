//! Runs in the hands of nodes: taken up, kept, ended, and taken back from those that fell silent.

use engate_model::{
    JobId, RunId, TenantId, Timestamp,
    job::{Job, JobState, Pause, Run, RunState},
    run::RunCounts,
    schedule::Schedule,
};
use serde_json::json;

use super::{
    COLUMNS, columns, run,
    tick::{active, hold_job},
};
use crate::{
    Store,
    audit::Actor,
    commit::accept::{AcceptEvent, write_facts},
    db::Session,
    error::StoreError,
    jobs::job_in,
    nodes::NodeSerial,
    value::{args, json as json_value},
};

/// A run whose nodes fell silent so often is not taken up again.
pub const SILENCES_MAX: u32 = 5;
/// It did not start in time.
const START_DEADLINE: &str = "start_deadline";
/// Who pauses a job of itself.
pub const PAUSED_BY: &str = "engine";
/// And why.
pub const PAUSED_FOR_FAILURES: &str = "too many runs in a row failed";

/// A run taken up.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedRun {
    /// The run.
    pub run: Run,
    /// Its job, as it is now.
    pub job: Job,
    /// The number that what it writes carries; a later run of the job has a larger one.
    pub fence: i64,
}

/// What the holder of a run hears when it lengthens its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which run.
    pub run: RunId,
    /// Someone wants it stopped, since then.
    pub cancel_at: Option<Timestamp>,
    /// The job's revision now.
    pub revision: u64,
}

/// What is known of a run under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunProgress {
    /// Tries begun.
    pub attempts: u32,
    /// What was moved.
    pub counts: RunCounts,
    /// Lines of its log, bounded by whoever writes them.
    pub log: String,
}

/// How a run is to end.
#[derive(Debug, Clone)]
pub struct RunFinish {
    /// Which run, and the number it was taken up with.
    pub run: RunId,
    /// The number it was taken up with.
    pub fence: i64,
    /// Succeeded, failed or cancelled; queued gives it back.
    pub state: RunState,
    /// Why it was cancelled.
    pub reason: Option<String>,
    /// Why it failed: code and sentence.
    pub error: Option<(String, String)>,
    /// What it came to.
    pub progress: RunProgress,
    /// The job's next instant where it has none of its own (`always`).
    pub again_at: Option<Timestamp>,
    /// What listeners are told.
    pub facts: Vec<AcceptEvent>,
    /// What they are told where the job is paused because of it.
    pub facts_of_pause: Vec<AcceptEvent>,
}

/// What became of the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnded {
    /// It is written down.
    Ended {
        /// Whether the job was paused, since too many of its runs failed in a row.
        paused: bool,
    },
    /// Someone else has the run.
    Lost,
}

impl Store {
    /// Takes up runs whose time has come, at most `limit`, each where its job lets it start; those that come too late
    /// are left out. Gives what was taken up, and when the next one's time comes.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_claim(
        &self,
        serial: NodeSerial,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<(Vec<ClaimedRun>, Option<Timestamp>), StoreError> {
        // The first that waits of each job, and those that may run beside others.
        let sql = "SELECT id, tenant_id, job_id FROM runs r WHERE state = 'queued' AND start_at <= $1 AND \
                   (SELECT count(*) FROM runs o WHERE o.job_id = r.job_id AND o.state = 'running') < r.side_by_side \
                   ORDER BY start_at, id LIMIT $2";
        let rows = self.db().rows(sql, args![now, limit]).await?;
        let mut taken = Vec::new();
        for row in &rows {
            let mut cells = row.cells();
            let (id, tenant, job) = (cells.id()?, cells.id()?, cells.id()?);
            let mut session = self.db().begin().await?;
            match hold_job(&mut session, tenant, job).await {
                Err(StoreError::NotFound { .. }) => continue,
                other => other?,
            }
            let Some(job) = job_in(&mut session, tenant, job).await? else { continue };
            if let Some(claimed) = take(&mut session, serial, job, id, (now, lease_until)).await? {
                taken.push(claimed);
            }
            session.commit().await?;
        }
        let row = self
            .db()
            .row("SELECT min(start_at) FROM runs WHERE state = 'queued' AND start_at > $1", args![now])
            .await?;
        Ok((taken, row.map_or(Ok(None), |row| row.cells().time_opt())?))
    }

    /// Lengthens the lease on a run and writes its progress down. None: someone else has it, or it is gone.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_renew(
        &self,
        id: RunId,
        fence: i64,
        lease_until: Timestamp,
        progress: &RunProgress,
    ) -> Result<Option<Held>, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE runs SET lease_until = $3, attempts = $4, counts = $5, log = $6 \
                   WHERE id = $1 AND fence = $2 AND state = 'running' \
                   RETURNING cancel_at, (SELECT revision FROM jobs WHERE jobs.id = runs.job_id)";
        let counts = json_value(&progress.counts)?;
        let values = args![id, fence, lease_until, progress.attempts, counts, &progress.log];
        let row = session.row(sql, values).await?;
        session.commit().await?;
        let held = |row: crate::value::Row| {
            let mut cells = row.cells();
            let cancel_at = cells.time_opt()?;
            Ok(cells.int_opt()?.map(|revision| Held { run: id, cancel_at, revision: revision.unsigned_abs() }))
        };
        row.map_or(Ok(None), held)
    }

    /// Ends a run: its row, its job's failures in a row, the pause that follows from them, and what listeners are told,
    /// in one transaction.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_finish(&self, actor: &Actor, job: &Job, finish: &RunFinish) -> Result<RunEnded, StoreError> {
        let mut session = self.db().begin().await?;
        match hold_job(&mut session, job.tenant, job.id).await {
            Err(StoreError::NotFound { .. }) => return Ok(RunEnded::Lost),
            other => other?,
        }
        let (code, message) = finish.error.clone().unzip();
        let over = finish.state.is_over();
        let sql = "UPDATE runs SET state = $3, reason = COALESCE($4, reason), finished_at = $5, error_code = $6, \
                   error_message = $7, attempts = $8, counts = $9, log = $10, owner = NULL, lease_until = NULL, \
                   start_at = CASE WHEN $3 = 'queued' THEN $11 ELSE start_at END \
                   WHERE id = $1 AND fence = $2 AND state = 'running'";
        let values = args![
            finish.run,
            finish.fence,
            finish.state,
            finish.reason.clone(),
            over.then_some(actor.now),
            code,
            message,
            finish.progress.attempts,
            json_value(&finish.progress.counts)?,
            &finish.progress.log,
            actor.now,
        ];
        if session.execute(sql, values).await? == 0 {
            return Ok(RunEnded::Lost);
        }
        let paused = self.settle_job(&mut session, actor, job, finish).await?;
        write_facts(&mut session, &finish.facts).await?;
        session.commit().await?;
        Ok(RunEnded::Ended { paused })
    }

    /// Counts failures in a row and pauses the job where they are too many; sets its next instant.
    async fn settle_job(
        &self,
        session: &mut Session,
        actor: &Actor,
        job: &Job,
        finish: &RunFinish,
    ) -> Result<bool, StoreError> {
        let failed = match finish.state {
            RunState::Failed | RunState::Abandoned => true,
            RunState::Succeeded => false,
            _ => {
                if let Some(at) = finish.again_at {
                    again(session, job.id, at).await?;
                }
                return Ok(false);
            }
        };
        let sql = "UPDATE jobs SET failures = CASE WHEN $2 = 1 THEN failures + 1 ELSE 0 END WHERE id = $1 \
                   RETURNING failures, paused_at";
        let row = session.row(sql, args![job.id, failed]).await?;
        let Some(row) = row else { return Ok(false) };
        let mut cells = row.cells();
        let (failures, paused_at) = (cells.small()?, cells.time_opt()?);
        let limit = job.settings.pause_after_failures;
        if failed && limit > 0 && failures >= limit && paused_at.is_none() {
            let reason = PAUSED_FOR_FAILURES.to_owned();
            let pause = Pause { at: actor.now, by: PAUSED_BY.to_owned(), reason };
            let sql = "UPDATE jobs SET paused_at = $2, paused_by = $3, paused_reason = $4, next_at = NULL, \
                       revision = revision + 1 WHERE id = $1";
            session.execute(sql, args![job.id, pause.at, &pause.by, &pause.reason]).await?;
            let detail = json!({ "paused_because": pause.reason });
            self.audit(session, actor, job.tenant, "job.pause", &job.id.to_string(), &detail).await?;
            write_facts(session, &finish.facts_of_pause).await?;
            return Ok(true);
        }
        if let Some(at) = finish.again_at {
            again(session, job.id, at).await?;
        }
        Ok(false)
    }

    /// Takes runs back from nodes that fell silent: they are queued again, or given up after [`SILENCES_MAX`]. Gives how
    /// many there were.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_reclaim(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE runs SET abandoned = abandoned + 1, owner = NULL, lease_until = NULL, \
                   state = CASE WHEN cancel_at IS NOT NULL THEN 'cancelled' WHEN abandoned + 1 >= $2 THEN 'abandoned' \
                   ELSE 'queued' END, \
                   finished_at = CASE WHEN cancel_at IS NOT NULL OR abandoned + 1 >= $2 THEN $1 END, \
                   start_at = $1 \
                   WHERE state = 'running' AND (lease_until <= $1 OR owner NOT IN (SELECT serial FROM nodes)) \
                   RETURNING job_id, state";
        let rows = session.rows(sql, args![now, SILENCES_MAX]).await?;
        for row in &rows {
            let mut cells = row.cells();
            let job: JobId = cells.id()?;
            if cells.text()? != RunState::Queued.as_str() {
                again(&mut session, job, now).await?;
            }
        }
        session.commit().await?;
        Ok(rows.len() as u64)
    }

    /// Stops a run: one that waits is over at once, one under way is told. None: it is over already or not there.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_cancel(&self, actor: &Actor, tenant: TenantId, id: RunId) -> Result<Option<RunState>, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE runs SET cancel_at = $3, reason = $4, \
                   finished_at = CASE WHEN state = 'queued' THEN CAST($3 AS BIGINT) END, \
                   state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END \
                   WHERE id = $1 AND tenant_id = $2 AND state IN ('queued', 'running') RETURNING state, job_id";
        let reason = format!("cancelled by {}", actor.client);
        let Some(row) = session.row(sql, args![id, tenant, actor.now, reason]).await? else { return Ok(None) };
        let mut cells = row.cells();
        let state = cells.code(RunState::from_label)?;
        let job: JobId = cells.id()?;
        if state.is_over() {
            again(&mut session, job, actor.now).await?;
        }
        let detail = json!({ "run": id });
        self.audit(&mut session, actor, tenant, "run.cancel", &job.to_string(), &detail).await?;
        session.commit().await?;
        Ok(Some(state))
    }
}

/// Takes one run up, where it still waits and its job lets it start.
async fn take(
    session: &mut Session,
    serial: NodeSerial,
    job: Job,
    id: RunId,
    (now, lease_until): (Timestamp, Timestamp),
) -> Result<Option<ClaimedRun>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        ", r.side_by_side, r.start_at FROM runs r WHERE r.id = $1 AND r.state = 'queued'"
    );
    let Some(row) = session.row(sql, args![id]).await? else { return Ok(None) };
    let mut claimed = run(&row)?;
    let mut cells = row.cells().skip(COLUMNS);
    let (side_by_side, start_at) = (cells.small()?, cells.time()?);
    let (running, _) = active(session, job.id).await?;
    if running >= side_by_side {
        return Ok(None);
    }
    let deadline = std::time::Duration::from_millis(job.settings.start_deadline_ms);
    if claimed.backfill.is_none() && now.since(start_at) > deadline {
        let sql = "UPDATE runs SET state = 'skipped', reason = $2, finished_at = $3 WHERE id = $1";
        session.execute(sql, args![id, START_DEADLINE, now]).await?;
        again(session, job.id, now).await?;
        return Ok(None);
    }
    let sql = "UPDATE jobs SET fence = fence + 1 WHERE id = $1 RETURNING fence";
    let row = session.row(sql, args![job.id]).await?.ok_or(StoreError::NotFound { what: "job" })?;
    let fence = row.cells().int()?;
    let sql =
        "UPDATE runs SET state = 'running', started_at = $2, owner = $3, lease_until = $4, fence = $5 WHERE id = $1";
    session.execute(sql, args![id, now, serial, lease_until, fence]).await?;
    claimed.state = RunState::Running;
    claimed.started_at = Some(now);
    Ok(Some(ClaimedRun { run: claimed, job, fence }))
}

/// An `always` job comes again at `at`: as it is now, whatever it was when the run was taken up.
async fn again(session: &mut Session, id: JobId, at: Timestamp) -> Result<(), StoreError> {
    let sql = concat!("SELECT ", crate::jobs::columns!(), " FROM jobs WHERE id = $1");
    let Some(row) = session.row(sql, args![id]).await? else { return Ok(()) };
    let job = crate::jobs::job(&row)?;
    if job.settings.schedule == Schedule::Always && job.state() == JobState::Active {
        session.execute("UPDATE jobs SET next_at = $2 WHERE id = $1 AND next_at IS NULL", args![id, at]).await?;
    }
    Ok(())
}
