//! Jobs: what is to run, and when it comes next.

use engate_model::{
    JobId, TenantId, Timestamp,
    job::{Debugging, Job, JobSettings, Pause},
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    commit::accept::{AcceptEvent, write_facts},
    db::Session,
    error::{StoreError, conflict},
    tenants::{found, require_live},
    value::{Row, Value, args, json as json_value},
};

/// Jobs of one tenant at most.
pub const JOBS_MAX: u64 = 10_000;

/// Columns in the order of [`job`].
macro_rules! columns {
    () => {
        "id, tenant_id, settings, needs_configuration, paused_at, paused_by, paused_reason, next_at, failures, missed, \
         debug_until, debug_bytes_max, revision, created_at, updated_at"
    };
}
pub(crate) use columns;

/// What a change by people writes, in the order of the columns after id and tenant.
fn changed(job: &Job) -> Result<Vec<Value>, StoreError> {
    let pause = job.pause.as_ref();
    Ok(args![
        job.id,
        job.tenant,
        &job.settings.name,
        json_value(&job.settings)?,
        job.needs_configuration,
        pause.map(|pause| pause.at),
        pause.map(|pause| pause.by.clone()),
        pause.map(|pause| pause.reason.clone()),
        job.next_at,
        job.debug.map(|debug| debug.until),
        job.debug.map(|debug| debug.bytes_max),
        job.updated_at,
    ])
}

fn detail(job: &Job) -> serde_json::Value {
    json!({
        "name": job.settings.name,
        "runs": job.settings.work.kind(),
        "schedule": job.settings.schedule,
        "state": job.state(),
        "paused_because": job.pause.as_ref().map(|pause| &pause.reason),
        "debug_until": job.debug.map(|debug| debug.until),
    })
}

impl Store {
    /// Enters a job.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the name is taken or there are [`JOBS_MAX`], [`StoreError::NotFound`] where the tenant is
    /// deleted, or when the database gives no answer.
    pub async fn job_create(&self, actor: &Actor, job: &Job) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        require_live(&mut session, job.tenant).await?;
        let count = session.row("SELECT count(*) FROM jobs WHERE tenant_id = $1", args![job.tenant]).await?;
        if count.map_or(Ok(0), |row| row.cells().count())? >= JOBS_MAX {
            return Err(StoreError::Conflict { what: "the largest number of jobs" });
        }
        let sql = "INSERT INTO jobs (id, tenant_id, name, settings, needs_configuration, paused_at, paused_by, \
                   paused_reason, next_at, debug_until, debug_bytes_max, updated_at, created_at, failures, missed, fence, \
                   revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, 0, 0, 0, 1)";
        session.execute(sql, changed(job)?).await.map_err(conflict("a job of this name"))?;
        let id = job.id.to_string();
        self.audit(&mut session, actor, job.tenant, "job.create", &id, &detail(job)).await?;
        session.commit().await
    }

    /// Writes what people change of a job, where its revision still is the one of `job`; gives the next one. `action` is
    /// what the audit calls it (`job.update`, `job.pause`), `facts` what listeners are told.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Conflict`] where the name is taken, or when the
    /// database gives no answer.
    pub async fn job_update(
        &self,
        actor: &Actor,
        action: &str,
        job: &Job,
        facts: &[AcceptEvent],
    ) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let row = session
            .row("SELECT revision FROM jobs WHERE id = $1 AND tenant_id = $2", args![job.id, job.tenant])
            .await?;
        if row.ok_or(StoreError::NotFound { what: "job" })?.cells().count()? != job.revision {
            return Err(StoreError::Stale { what: "job" });
        }
        let sql = "UPDATE jobs SET name = $3, settings = $4, needs_configuration = $5, paused_at = $6, paused_by = $7, \
                   paused_reason = $8, next_at = $9, debug_until = $10, debug_bytes_max = $11, updated_at = $12, \
                   failures = CASE WHEN CAST($6 AS BIGINT) IS NULL THEN 0 ELSE failures END, revision = revision + 1 \
                   WHERE id = $1 AND tenant_id = $2 AND revision = $13 RETURNING revision";
        let mut values = changed(job)?;
        values.push(Value::from(job.revision));
        let row = session.row(sql, values).await.map_err(conflict("a job of this name"))?;
        let revision = row.ok_or(StoreError::Stale { what: "job" })?.cells().count()?;
        let id = job.id.to_string();
        write_facts(&mut session, facts).await?;
        self.audit(&mut session, actor, job.tenant, action, &id, &detail(job)).await?;
        session.commit().await?;
        Ok(revision)
    }

    /// Deletes a job with its runs. What it sent stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], or when the database gives no answer.
    pub async fn job_delete(&self, actor: &Actor, job: &Job) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        if job_in(&mut session, job.tenant, job.id).await?.is_some_and(|now| now.revision != job.revision) {
            return Err(StoreError::Stale { what: "job" });
        }
        let sql = "DELETE FROM jobs WHERE id = $1 AND tenant_id = $2";
        found(session.execute(sql, args![job.id, job.tenant]).await?, "job")?;
        session.execute("DELETE FROM runs WHERE job_id = $1", args![job.id]).await?;
        session.execute("DELETE FROM feeds WHERE job_id = $1", args![job.id]).await?;
        self.audit(&mut session, actor, job.tenant, "job.delete", &job.id.to_string(), &detail(job)).await?;
        session.commit().await
    }

    /// A job.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn job_get(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>, StoreError> {
        job_in(&mut self.db().reader().await?, tenant, id).await
    }

    /// The job of that name.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn job_find(&self, tenant: TenantId, name: &str) -> Result<Option<Job>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM jobs WHERE tenant_id = $1 AND name = $2");
        self.db().row(sql, args![tenant, name]).await?.as_ref().map(job).transpose()
    }

    /// A tenant's jobs by name.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn job_list(&self, tenant: TenantId) -> Result<Vec<Job>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM jobs WHERE tenant_id = $1 ORDER BY name");
        self.db().rows(sql, args![tenant]).await?.iter().map(job).collect()
    }

    /// Jobs of all tenants whose instant has come, the longest due first, and when the next one's comes.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn job_due(&self, now: Timestamp, limit: u32) -> Result<(Vec<Job>, Option<Timestamp>), StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM jobs WHERE next_at <= $1 ORDER BY next_at LIMIT $2");
        let mut session = self.db().snapshot().await?;
        let due = session.rows(sql, args![now, limit]).await?.iter().map(job).collect::<Result<_, _>>()?;
        let row = session.row("SELECT min(next_at) FROM jobs WHERE next_at > $1", args![now]).await?;
        Ok((due, row.map_or(Ok(None), |row| row.cells().time_opt())?))
    }
}

/// A job within a transaction.
pub(crate) async fn job_in(session: &mut Session, tenant: TenantId, id: JobId) -> Result<Option<Job>, StoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1 AND tenant_id = $2");
    session.row(sql, args![id, tenant]).await?.as_ref().map(job).transpose()
}

/// Reads [`columns`].
pub(crate) fn job(row: &Row) -> Result<Job, StoreError> {
    let mut cells = row.cells();
    let (id, tenant) = (cells.id()?, cells.id()?);
    let settings: JobSettings = cells.json()?;
    let needs_configuration = cells.flag()?;
    let (at, by, reason) = (cells.time_opt()?, cells.text_opt()?, cells.text_opt()?);
    let pause = at.map(|at| Pause { at, by: by.unwrap_or_default(), reason: reason.unwrap_or_default() });
    let (next_at, failures, missed) = (cells.time_opt()?, cells.small()?, cells.count()?);
    let debug = match (cells.time_opt()?, cells.int_opt()?) {
        (Some(until), Some(bytes)) => Some(Debugging { until, bytes_max: bytes.unsigned_abs() }),
        _ => None,
    };
    let revision = cells.count()?;
    Ok(Job {
        id,
        tenant,
        settings,
        needs_configuration,
        pause,
        next_at,
        failures,
        missed,
        debug,
        revision,
        created_at: cells.time()?,
        updated_at: cells.time()?,
    })
}
