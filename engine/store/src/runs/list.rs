//! The history of runs.

use engate_model::{
    BackfillId, JobId, RunId, TenantId, Timestamp,
    job::{Run, RunState, RunTrigger},
};

use super::{COLUMNS, columns, run};
use crate::{
    Store,
    error::StoreError,
    events::{Order, PAGE_MAX},
    listing::{TOTAL_EXACT_MAX, Total},
    value::args,
};

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this job only.
    pub job: Option<JobId>,
    /// In this state only.
    pub state: Option<RunState>,
    /// Made so only.
    pub trigger: Option<RunTrigger>,
    /// Of this backfill only.
    pub backfill: Option<BackfillId>,
    /// Nominal time from then on.
    pub from: Option<Timestamp>,
    /// Nominal time before then.
    pub before: Option<Timestamp>,
}

/// One page of runs.
#[derive(Debug)]
pub struct RunPage {
    /// The runs.
    pub items: Vec<Run>,
    /// The last one's id where there are more.
    pub next: Option<RunId>,
    /// How many there are on all pages.
    pub total: Total,
}

macro_rules! conditions {
    () => {
        "r.tenant_id = $1 AND r.id > $2 AND r.id < $3 AND ($4 IS NULL OR r.job_id = $4) AND ($5 IS NULL OR r.state = $5) \
         AND ($6 IS NULL OR r.run_trigger = $6) AND ($7 IS NULL OR r.backfill_id = $7) AND \
         ($8 IS NULL OR r.scheduled_at >= $8) AND ($9 IS NULL OR r.scheduled_at < $9)"
    };
}

impl Store {
    /// A page of a tenant's runs beyond `after`, in the order in which they were made.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_list(
        &self,
        tenant: TenantId,
        filter: &RunFilter,
        after: Option<RunId>,
        order: Order,
        limit: u32,
    ) -> Result<RunPage, StoreError> {
        macro_rules! listing {
            ($order:literal) => {
                concat!(
                    "SELECT ",
                    columns!(),
                    " FROM runs r WHERE ",
                    conditions!(),
                    " ORDER BY r.id",
                    $order,
                    " LIMIT $10"
                )
            };
        }
        let limit = limit.clamp(1, PAGE_MAX);
        let values = |low: RunId, high: RunId, limit: u64| {
            args![
                tenant,
                low,
                high,
                filter.job,
                filter.state,
                filter.trigger,
                filter.backfill,
                filter.from,
                filter.before,
                limit
            ]
        };
        let (sql, low, high) = match order {
            Order::Ascending => (listing!(""), after.unwrap_or(RunId::MIN), RunId::MAX),
            Order::Descending => (listing!(" DESC"), RunId::MIN, after.unwrap_or(RunId::MAX)),
        };
        let mut session = self.db().snapshot().await?;
        let rows = session.rows(sql, values(low, high, u64::from(limit) + 1)).await?;
        let mut items = rows.iter().map(run).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|run| run.id);
        let sql = concat!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM runs r WHERE ",
            conditions!(),
            " LIMIT $10) AS counted"
        );
        let row = session.row(sql, values(RunId::MIN, RunId::MAX, TOTAL_EXACT_MAX + 1)).await?;
        let count = row.map_or(Ok(0), |row| row.cells().count())?;
        let total = Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX };
        Ok(RunPage { items, next, total })
    }

    /// A run with its log.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_get(&self, tenant: TenantId, id: RunId) -> Result<Option<(Run, String)>, StoreError> {
        let sql = concat!("SELECT ", columns!(), ", r.log FROM runs r WHERE r.id = $1 AND r.tenant_id = $2");
        let row = self.db().row(sql, args![id, tenant]).await?;
        let read = |row: crate::value::Row| {
            let log = row.cells().skip(COLUMNS).text()?;
            Ok((run(&row)?, log))
        };
        row.map(read).transpose()
    }

    /// Forgets at most `limit` runs that were over before `before`, and of each job those beyond its newest `kept`.
    /// Gives how many.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn run_purge(&self, before: Timestamp, kept: u32, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql =
            "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE finished_at < $1 ORDER BY finished_at LIMIT $2)";
        let mut gone = session.execute(sql, args![before, limit]).await?;
        let sql = "SELECT job_id FROM runs WHERE finished_at IS NOT NULL GROUP BY job_id HAVING count(*) > $1";
        for row in session.rows(sql, args![kept]).await? {
            let job: JobId = row.cells().id()?;
            let sql = "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE job_id = $1 AND finished_at IS NOT NULL \
                       ORDER BY id DESC LIMIT $3 OFFSET $2)";
            gone += session.execute(sql, args![job, kept, limit]).await?;
        }
        session.commit().await?;
        Ok(gone)
    }
}
