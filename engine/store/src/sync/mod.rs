//! Where sync jobs are: a checkpoint per track, changed only by the run that holds it, in one transaction with what its
//! target acknowledged.
//!
//! A run claims its tracks under its fence, a number that grows with every run of the job. Whatever it writes names fence
//! and version; a run that was overtaken finds another and writes nothing.

mod commit;
mod feeds;
mod quarantine;
mod rows;

use engate_model::{
    JobId, TenantId, Timestamp, TrackId,
    sync::{Checkpoint, Partition},
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::StoreError,
    value::{Row, args, json as as_json},
};

pub use commit::{PageChange, PluginWrites, SyncCommit};
pub use quarantine::{QuarantinePage, QuarantineState, Quarantined, Refused};
pub use rows::{LEDGER_PAGE_MAX, Sent, SentState};

/// Entries of a track's history that are kept.
const HISTORY_KEPT: i64 = 200;

/// One stream in one partition of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Its id: what it is, hashed.
    pub id: TrackId,
    /// Whose.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// The stream's name.
    pub stream: String,
    /// The partition.
    pub partition: Partition,
}

/// A track as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackState {
    /// Which.
    pub track: Track,
    /// The number of the run that may change it.
    pub fence: u64,
    /// Counts its changes.
    pub version: u64,
    /// Where it is.
    pub checkpoint: Checkpoint,
    /// The page in hand, packed.
    pub page: Option<Vec<u8>>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A checkpoint as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its version.
    pub version: u64,
    /// When it was left.
    pub at: Timestamp,
    /// Why it was kept: `pass`, `rewind`, `epoch`, `approve`.
    pub reason: String,
    /// What it said.
    pub checkpoint: Checkpoint,
}

macro_rules! columns {
    () => {
        "track, tenant_id, job_id, stream, part, fence, version, state, page, updated_at"
    };
}

impl Store {
    /// Takes a track up for the run of this fence; one that is not there begins at the beginning.
    ///
    /// # Errors
    /// [`StoreError::Stale`] where a later run has it, or when the database gives no answer.
    pub async fn track_claim(&self, track: &Track, fence: u64, now: Timestamp) -> Result<TrackState, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = concat!(
            "INSERT INTO sync_checkpoints (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, 0, $7, NULL, $8) ON CONFLICT (track) DO NOTHING"
        );
        let (part, state) = (as_json(&track.partition)?, as_json(&Checkpoint::default())?);
        let values = args![track.id, track.tenant, track.job, &track.stream, part, fence, state, now];
        session.execute(sql, values).await?;
        let sql = "UPDATE sync_checkpoints SET fence = $2 WHERE track = $1 AND fence <= $2";
        if session.execute(sql, args![track.id, fence]).await? == 0 {
            return Err(StoreError::Stale { what: "track" });
        }
        let sql = concat!("SELECT ", columns!(), " FROM sync_checkpoints WHERE track = $1");
        let row = session.row(sql, args![track.id]).await?.ok_or(StoreError::NotFound { what: "track" })?;
        let state = read(&row)?;
        session.commit().await?;
        Ok(state)
    }

    /// The tracks of a job, by stream and partition.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn track_list(&self, tenant: TenantId, job: JobId) -> Result<Vec<TrackState>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM sync_checkpoints WHERE tenant_id = $1 AND job_id = $2 ORDER BY stream, part"
        );
        self.db().rows(sql, args![tenant, job]).await?.iter().map(read).collect()
    }

    /// A track's earlier checkpoints, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn track_history(
        &self,
        tenant: TenantId,
        track: TrackId,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let sql = "SELECT h.version, h.at, h.reason, h.state FROM sync_history h JOIN sync_checkpoints c ON c.track = h.track \
                   WHERE c.tenant_id = $1 AND h.track = $2 ORDER BY h.version DESC LIMIT $3";
        let rows = self.db().rows(sql, args![tenant, track, limit]).await?;
        let cells = rows.iter().map(|row| row.cells());
        cells
            .map(|mut cells| {
                Ok(HistoryEntry {
                    version: cells.count()?,
                    at: cells.time()?,
                    reason: cells.text()?,
                    checkpoint: cells.json()?,
                })
            })
            .collect()
    }

    /// Sets a track back, so that everything stamped since `upper` is read and sent again whatever was acknowledged; of a
    /// plugin's feed, which has no stamps, everything. The pass under way is given up; a run that is under way finds the track changed and stops.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn track_rewind(
        &self,
        actor: &Actor,
        tenant: TenantId,
        track: TrackId,
        upper: Timestamp,
    ) -> Result<TrackState, StoreError> {
        let detail = json!({ "upper": upper });
        let mut session = self.db().begin().await?;
        let before = hold(&mut session, tenant, track).await?;
        let mut after = before.checkpoint.clone();
        after.rewind(upper);
        // No hash is this one: what the target has counts as unknown.
        let sql = "UPDATE sync_rows SET epoch = -1 WHERE track = $1 AND (stamp IS NULL OR stamp >= $2)";
        session.execute(sql, args![track, upper]).await?;
        self.track_changed(session, actor, before, after, "rewind", &detail).await
    }

    /// Begins a track anew in its next epoch: everything is read and sent again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn track_begin_epoch(
        &self,
        actor: &Actor,
        tenant: TenantId,
        track: TrackId,
    ) -> Result<TrackState, StoreError> {
        let mut session = self.db().begin().await?;
        let before = hold(&mut session, tenant, track).await?;
        let mut after = before.checkpoint.clone();
        after.begin_epoch();
        let detail = json!({ "epoch": after.epoch });
        self.track_changed(session, actor, before, after, "epoch", &detail).await
    }

    /// Approves that a track's table, or what it runs between, is no longer what it was: its next run prepares the target for
    /// what is there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn track_approve(
        &self,
        actor: &Actor,
        tenant: TenantId,
        track: TrackId,
    ) -> Result<TrackState, StoreError> {
        let mut session = self.db().begin().await?;
        let before = hold(&mut session, tenant, track).await?;
        let mut after = before.checkpoint.clone();
        (after.shape, after.ends) = (None, None);
        self.track_changed(session, actor, before, after, "approve", &json!({})).await
    }

    /// Forgets at most `limit` rows of what the targets of deleted jobs have, then the tracks themselves; gives how many
    /// rows: zero when nothing is left of them.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn tracks_forget_deleted(&self, limit: u32) -> Result<u64, StoreError> {
        let sql = "SELECT c.tenant_id, c.job_id FROM sync_checkpoints c WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = \
                   c.job_id) LIMIT 1";
        let Some(row) = self.db().row(sql, args![]).await? else { return Ok(0) };
        let mut cells = row.cells();
        let (tenant, job) = (cells.id()?, cells.id()?);
        // A step that finds no rows takes the tracks away: there may be another job's.
        Ok(self.tracks_forget(tenant, job, limit).await?.max(1))
    }

    /// Forgets everything of a job's tracks, at most `limit` rows at a time of what its targets have; gives how many
    /// that were: zero when it is done.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn tracks_forget(&self, tenant: TenantId, job: JobId, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM sync_rows WHERE (track, key) IN (SELECT r.track, r.key FROM sync_rows r JOIN sync_checkpoints c \
                   ON c.track = r.track WHERE c.tenant_id = $1 AND c.job_id = $2 LIMIT $3)";
        let forgotten = session.execute(sql, args![tenant, job, limit]).await?;
        if forgotten == 0 {
            let sql = "DELETE FROM sync_quarantine WHERE tenant_id = $1 AND job_id = $2";
            session.execute(sql, args![tenant, job]).await?;
            let sql = "DELETE FROM sync_history WHERE track IN (SELECT track FROM sync_checkpoints WHERE tenant_id = $1 AND \
                       job_id = $2)";
            session.execute(sql, args![tenant, job]).await?;
            let sql = "DELETE FROM sync_checkpoints WHERE tenant_id = $1 AND job_id = $2";
            session.execute(sql, args![tenant, job]).await?;
        }
        session.commit().await?;
        Ok(forgotten)
    }

    async fn track_changed(
        &self,
        mut session: Session,
        actor: &Actor,
        before: TrackState,
        after: Checkpoint,
        reason: &str,
        detail: &serde_json::Value,
    ) -> Result<TrackState, StoreError> {
        let id = before.track.id;
        remember(&mut session, id, before.version, &before.checkpoint, reason, actor.now).await?;
        let sql = "UPDATE sync_checkpoints SET version = version + 1, state = $2, page = CASE WHEN $4 = 1 THEN page END, \
                   updated_at = $3 WHERE track = $1";
        let page_stays = after.pass.is_some();
        session.execute(sql, args![id, as_json(&after)?, actor.now, page_stays]).await?;
        let action = format!("sync.{reason}");
        self.audit(&mut session, actor, before.track.tenant, &action, &id.to_string(), detail).await?;
        session.commit().await?;
        let page = before.page.filter(|_| page_stays);
        Ok(TrackState { version: before.version + 1, checkpoint: after, page, updated_at: actor.now, ..before })
    }
}

/// Reads a track and holds its row against others.
async fn hold(session: &mut Session, tenant: TenantId, track: TrackId) -> Result<TrackState, StoreError> {
    let sql = crate::sql::twins!(
        concat!("SELECT ", columns!(), " FROM sync_checkpoints WHERE tenant_id = $1 AND track = $2"),
        sqlite: "",
        postgres: " FOR UPDATE"
    );
    let row = session.row(sql, args![tenant, track]).await?.ok_or(StoreError::NotFound { what: "track" })?;
    read(&row)
}

/// Keeps a checkpoint in the history, and of that the newest.
async fn remember(
    session: &mut Session,
    track: TrackId,
    version: u64,
    checkpoint: &Checkpoint,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO sync_history (track, version, at, reason, state) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (track, \
               version) DO NOTHING";
    session.execute(sql, args![track, version, now, reason, as_json(checkpoint)?]).await?;
    let sql = "DELETE FROM sync_history WHERE track = $1 AND version <= (SELECT version FROM sync_history WHERE track = $1 \
               ORDER BY version DESC LIMIT 1 OFFSET $2)";
    session.execute(sql, args![track, HISTORY_KEPT]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<TrackState, StoreError> {
    let mut cells = row.cells();
    let track = Track {
        id: cells.id()?,
        tenant: cells.id()?,
        job: cells.id()?,
        stream: cells.text()?,
        partition: cells.json()?,
    };
    Ok(TrackState {
        track,
        fence: cells.count()?,
        version: cells.count()?,
        checkpoint: cells.json()?,
        page: cells.blob_opt()?,
        updated_at: cells.time()?,
    })
}
