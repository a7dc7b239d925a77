//! Where jobs that poll feeds go on.

use std::sync::Arc;

use engate_model::{JobId, TenantId, Timestamp};

use super::commit::PluginWrites;
use crate::{
    Store,
    commit::{
        finish::{STATE_DELETE, STATE_PUT},
        kept::{KeptWrite, write_kept},
    },
    error::StoreError,
    value::args,
};

impl Store {
    /// Takes a job's feed up for the run of this fence; gives where it goes on, none for its beginning.
    ///
    /// # Errors
    /// [`StoreError::Stale`] where a later run has it, or when the database gives no answer.
    pub async fn feed_claim(
        &self,
        tenant: TenantId,
        job: JobId,
        fence: i64,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "INSERT INTO feeds (job_id, tenant_id, fence, resume, updated_at) VALUES ($1, $2, $3, NULL, $4) \
                   ON CONFLICT (job_id) DO NOTHING";
        session.execute(sql, args![job, tenant, fence, now]).await?;
        let sql = "UPDATE feeds SET fence = $2 WHERE job_id = $1 AND fence <= $2 RETURNING resume";
        let row = session.row(sql, args![job, fence]).await?.ok_or(StoreError::Stale { what: "feed" })?;
        let resume = row.cells().blob_opt()?;
        session.commit().await?;
        Ok(resume)
    }

    /// Moves a job's feed on, with what its plugin keeps, once what came is committed.
    ///
    /// # Errors
    /// [`StoreError::Stale`] where a later run has it, or when the database gives no answer.
    pub async fn feed_commit(
        &self,
        tenant: TenantId,
        job: JobId,
        fence: i64,
        resume: &[u8],
        (plugin, writes): PluginWrites,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE feeds SET resume = $3, updated_at = $4 WHERE job_id = $1 AND fence = $2";
        if session.execute(sql, args![job, fence, resume, now]).await? == 0 {
            return Err(StoreError::Stale { what: "feed" });
        }
        let writes: Vec<KeptWrite<&String>> =
            writes.iter().map(|(key, value)| (key, value.as_deref().map(Arc::from))).collect();
        let cells = |key: &&String| args![tenant, &plugin, job, *key];
        write_kept(&mut session, [&STATE_PUT, &STATE_DELETE], writes.iter(), cells).await?;
        session.commit().await
    }
}
