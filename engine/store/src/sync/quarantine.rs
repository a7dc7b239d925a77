//! Records that a target refuses: kept, listed, tried again when somebody asks, or given up.

use engate_model::{
    JobId, QuarantineId, TenantId, Timestamp, TrackId,
    sink::Operation,
    sync::{Partition, RowHash},
};
use serde_json::json;

use super::Track;
use crate::{
    Store,
    audit::Actor,
    compose::Bulk,
    db::Session,
    error::StoreError,
    value::{Kind, args, json as as_json},
};

/// What a record in quarantine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineState {
    /// For somebody, or for the record to change.
    Held,
    /// To be sent again by the next run.
    Replay,
}

impl QuarantineState {
    /// Its stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Replay => "replay",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        [Self::Held, Self::Replay].into_iter().find(|state| state.code() == code)
    }
}

/// A record that was refused just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it is called in quarantine.
    pub id: QuarantineId,
    /// The record's key.
    pub key: String,
    /// Which version of it.
    pub hash: RowHash,
    /// Its stamp.
    pub stamp: Option<Timestamp>,
    /// What was to be done.
    pub operation: Operation,
    /// The record.
    pub data: String,
    /// Why: a stable label.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The pass.
    pub pass: String,
}

/// A record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its id there.
    pub id: QuarantineId,
    /// Whose.
    pub track: TrackId,
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: Partition,
    /// The record's key.
    pub key: String,
    /// What was to be done.
    pub operation: Operation,
    /// The record.
    pub data: String,
    /// Why: a stable label.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The pass in which it was refused.
    pub pass: String,
    /// What it waits for.
    pub state: QuarantineState,
    /// When it was refused.
    pub created_at: Timestamp,
}

/// A page of a job's quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinePage {
    /// The records, oldest first.
    pub items: Vec<Quarantined>,
    /// How many there are in all.
    pub total: u64,
    /// Whether there are more behind these.
    pub more: bool,
}

macro_rules! columns {
    () => {
        "id, track, stream, part, key, operation, data, code, message, pass, state, created_at"
    };
}

static PUT: Bulk = Bulk::new(
    "INSERT INTO sync_quarantine (id, tenant_id, job_id, track, stream, part, key, operation, data, code, message, pass, \
     state, created_at) ",
    &[
        ("id", Kind::Id),
        ("tenant_id", Kind::Id),
        ("job_id", Kind::Id),
        ("track", Kind::Id),
        ("stream", Kind::Text),
        ("part", Kind::Text),
        ("key", Kind::Text),
        ("operation", Kind::Text),
        ("data", Kind::Text),
        ("code", Kind::Text),
        ("message", Kind::Text),
        ("pass", Kind::Text),
        ("state", Kind::Text),
        ("created_at", Kind::Int),
    ],
    " ON CONFLICT (track, key) DO UPDATE SET operation = excluded.operation, data = excluded.data, code = excluded.code, \
     message = excluded.message, pass = excluded.pass, state = excluded.state, created_at = excluded.created_at",
);

static RESOLVE: Bulk =
    Bulk::new("DELETE FROM sync_quarantine WHERE (track, key) IN (", &[("track", Kind::Id), ("key", Kind::Text)], ")");

pub(super) async fn put(
    session: &mut Session,
    track: &Track,
    refused: &[Refused],
    now: Timestamp,
) -> Result<(), StoreError> {
    let part = as_json(&track.partition)?;
    for one in refused {
        let operation = if one.operation == Operation::Delete { "delete" } else { "upsert" };
        let cells = args![
            one.id,
            track.tenant,
            track.job,
            track.id,
            &track.stream,
            part.clone(),
            &one.key,
            operation,
            &one.data,
            &one.code,
            &one.message,
            &one.pass,
            QuarantineState::Held.code(),
            now
        ];
        PUT.execute(session, cells).await?;
    }
    Ok(())
}

/// Takes out of quarantine what the target has taken after all.
pub(super) async fn resolve(
    session: &mut Session,
    track: TrackId,
    keys: impl Iterator<Item = &str>,
) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM sync_quarantine WHERE track = $1 LIMIT 1";
    if session.row(sql, args![track]).await?.is_some() {
        RESOLVE.execute(session, keys.flat_map(|key| args![track, key]).collect()).await?;
    }
    Ok(())
}

impl Store {
    /// What a job has in quarantine, behind `after`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn quarantine_list(
        &self,
        tenant: TenantId,
        job: JobId,
        after: Option<QuarantineId>,
        limit: u32,
    ) -> Result<QuarantinePage, StoreError> {
        let mut session = self.db().snapshot().await?;
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM sync_quarantine WHERE tenant_id = $1 AND job_id = $2 AND id > $3 ORDER BY id LIMIT $4"
        );
        let values = args![tenant, job, after.unwrap_or(QuarantineId::MIN), u64::from(limit) + 1];
        let rows = session.rows(sql, values).await?;
        let mut items = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let sql = "SELECT count(*) FROM sync_quarantine WHERE tenant_id = $1 AND job_id = $2";
        let total = match session.row(sql, args![tenant, job]).await? {
            Some(row) => row.cells().count()?,
            None => 0,
        };
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Ok(QuarantinePage { items, total, more })
    }

    /// How many records of a track are in quarantine.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn quarantine_count(&self, track: TrackId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM sync_quarantine WHERE track = $1";
        self.db().row(sql, args![track]).await?.map_or(Ok(0), |row| row.cells().count())
    }

    /// Records of a track that somebody wants sent again, at most `limit`, oldest first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn quarantine_to_replay(&self, track: TrackId, limit: u32) -> Result<Vec<Quarantined>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM sync_quarantine WHERE track = $1 AND state = $2 ORDER BY id LIMIT $3"
        );
        let rows = self.db().rows(sql, args![track, QuarantineState::Replay.code(), limit]).await?;
        rows.iter().map(read).collect()
    }

    /// Has a record sent again, as it is by then, with the next run.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn quarantine_replay(
        &self,
        actor: &Actor,
        tenant: TenantId,
        job: JobId,
        id: QuarantineId,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE sync_quarantine SET state = 'replay' WHERE tenant_id = $1 AND job_id = $2 AND id = $3";
        self.quarantine_change(actor, tenant, job, id, sql, "sync.quarantine_replay").await
    }

    /// Gives a record up: this version of it is not sent again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn quarantine_discard(
        &self,
        actor: &Actor,
        tenant: TenantId,
        job: JobId,
        id: QuarantineId,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM sync_quarantine WHERE tenant_id = $1 AND job_id = $2 AND id = $3";
        self.quarantine_change(actor, tenant, job, id, sql, "sync.quarantine_discard").await
    }

    async fn quarantine_change(
        &self,
        actor: &Actor,
        tenant: TenantId,
        job: JobId,
        id: QuarantineId,
        sql: &'static str,
        action: &str,
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        if session.execute(sql, args![tenant, job, id]).await? == 0 {
            return Err(StoreError::NotFound { what: "record in quarantine" });
        }
        let detail = json!({ "job": job });
        self.audit(&mut session, actor, tenant, action, &id.to_string(), &detail).await?;
        session.commit().await
    }
}

fn read(row: &crate::value::Row) -> Result<Quarantined, StoreError> {
    let mut cells = row.cells();
    Ok(Quarantined {
        id: cells.id()?,
        track: cells.id()?,
        stream: cells.text()?,
        partition: cells.json()?,
        key: cells.text()?,
        operation: cells.code(|code| match code {
            "upsert" => Some(Operation::Upsert),
            "delete" => Some(Operation::Delete),
            _ => None,
        })?,
        data: cells.text()?,
        code: cells.text()?,
        message: cells.text()?,
        pass: cells.text()?,
        state: cells.code(QuarantineState::from_code)?,
        created_at: cells.time()?,
    })
}
