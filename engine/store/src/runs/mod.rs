//! Runs: one row for each firing of a job.
//!
//! A run's identity is (job, nominal time, occasion). Its row and the job's next instant move in one transaction that
//! holds the job's row (`tick`), so two nodes can never make two runs of one instant, and a crash between them loses
//! none. A node takes runs up under a lease and a fence (`hold`): a number that counts up with every run of the job, so
//! that what a silent node writes too late is refused.

mod hold;
mod list;
mod tick;

use engate_model::{
    BackfillId, JobId, RunId, TenantId, Timestamp,
    job::{Run, RunState, RunTrigger},
};

use crate::{error::StoreError, value::Row};

pub use hold::{ClaimedRun, Held, PAUSED_BY, PAUSED_FOR_FAILURES, RunEnded, RunFinish, RunProgress, SILENCES_MAX};
pub use list::{RunFilter, RunPage};
pub use tick::{Firing, NewRun, Ticked};

/// Columns in the order of [`run`].
macro_rules! columns {
    () => {
        "r.id, r.tenant_id, r.job_id, r.scheduled_at, r.run_trigger, r.backfill_id, r.state, r.reason, r.started_at, \
         r.finished_at, r.attempts, r.abandoned, r.counts, r.error_code, r.error_message"
    };
}
use columns;
/// How many those are.
const COLUMNS: usize = 15;

/// Reads [`columns`].
fn run(row: &Row) -> Result<Run, StoreError> {
    let mut cells = row.cells();
    let (id, tenant, job): (RunId, TenantId, JobId) = (cells.id()?, cells.id()?, cells.id()?);
    let scheduled_at: Timestamp = cells.time()?;
    let trigger = cells.code(RunTrigger::from_label)?;
    let backfill: Option<BackfillId> = cells.id_opt()?;
    let state = cells.code(RunState::from_label)?;
    let (reason, started_at, finished_at) = (cells.text_opt()?, cells.time_opt()?, cells.time_opt()?);
    let (attempts, abandoned) = (cells.small()?, cells.small()?);
    let counts = cells.json()?;
    let error = cells.text_opt()?.zip(cells.text_opt()?);
    Ok(Run {
        id,
        tenant,
        job,
        scheduled_at,
        trigger,
        backfill,
        state,
        reason,
        started_at,
        finished_at,
        attempts,
        abandoned,
        counts,
        error,
    })
}
