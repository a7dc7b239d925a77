//! The one transaction of a page: checkpoint, what the target has, what it refuses, what its plugin keeps.

use std::sync::Arc;

use engate_model::{Timestamp, sync::Checkpoint};

use super::{Refused, Sent, TrackState, quarantine, remember, rows};
use crate::{
    Store,
    commit::{
        finish::{STATE_DELETE, STATE_PUT},
        kept::{KeptWrite, write_kept},
    },
    error::StoreError,
    sql::twins,
    value::{Value, args, json},
};

/// What a plugin wants kept for its job: its name, keys, and values or none to delete.
pub type PluginWrites = (String, Vec<(String, Option<Vec<u8>>)>);

/// What becomes of the page in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageChange {
    /// It stays as it is.
    Keep,
    /// This one, packed, takes its place.
    Put(Vec<u8>),
    /// There is none.
    Clear,
}

/// A step of a track.
#[derive(Debug, Clone)]
pub struct SyncCommit<'a> {
    /// The track as this run last left it.
    pub from: &'a TrackState,
    /// Where it is now.
    pub checkpoint: &'a Checkpoint,
    /// The page in hand.
    pub page: PageChange,
    /// What the target has now.
    pub sent: Vec<Sent>,
    /// Keys of records that are gone from source and target alike.
    pub gone: Vec<String>,
    /// What it refuses.
    pub refused: Vec<Refused>,
    /// Rows stamped before this are forgotten: no pass reads them again.
    pub forget_before: Option<Timestamp>,
    /// What plugins keep: those of the source and of the sink.
    pub plugins: Vec<PluginWrites>,
    /// Whether the checkpoint goes into the history.
    pub remember: bool,
    /// The present instant.
    pub now: Timestamp,
}

impl Store {
    /// Writes a step down, whole or not at all; gives the track's version.
    ///
    /// # Errors
    /// [`StoreError::Stale`] where another run, or somebody by hand, has changed the track since; or when the database does
    /// not take it.
    pub async fn sync_commit(&self, step: SyncCommit<'_>) -> Result<u64, StoreError> {
        let track = &step.from.track;
        let mut session = self.db().begin().await?;
        let (keeps, page) = match step.page {
            PageChange::Keep => (true, None),
            PageChange::Put(page) => (false, Some(page)),
            PageChange::Clear => (false, None),
        };
        let sql = twins!(
            "UPDATE sync_checkpoints SET version = version + 1, state = $4, updated_at = $5, page = CASE WHEN $6 = 1 THEN page \
             ELSE ",
            sqlite: "$7",
            postgres: "$7::bytea",
            " END WHERE track = $1 AND fence = $2 AND version = $3"
        );
        let state = json(step.checkpoint)?;
        let values = args![track.id, step.from.fence, step.from.version, state, step.now, keeps, page];
        if session.execute(sql, values).await? == 0 {
            return Err(StoreError::Stale { what: "track" });
        }
        if step.remember {
            let version = step.from.version + 1;
            remember(&mut session, track.id, version, step.checkpoint, "pass", step.now).await?;
        }
        rows::put(&mut session, track.id, step.checkpoint.epoch, &step.sent, &step.refused).await?;
        rows::delete(&mut session, track.id, &step.gone).await?;
        let settled = step.sent.iter().map(|sent| sent.key.as_str()).chain(step.gone.iter().map(String::as_str));
        quarantine::resolve(&mut session, track.id, settled).await?;
        quarantine::put(&mut session, track, &step.refused, step.now).await?;
        if let Some(before) = step.forget_before {
            rows::forget(&mut session, track.id, before).await?;
        }
        for (plugin, writes) in &step.plugins {
            let writes: Vec<KeptWrite<&String>> =
                writes.iter().map(|(key, value)| (key, value.as_deref().map(Arc::from))).collect();
            // A job's values stand where an endpoint's do, under the job's id.
            let place = |key: &&String| args![track.tenant, plugin, track.job, *key];
            let cells = |key: &&String| -> Vec<Value> { place(key) };
            write_kept(&mut session, [&STATE_PUT, &STATE_DELETE], writes.iter(), cells).await?;
        }
        session.commit().await?;
        Ok(step.from.version + 1)
    }
}
