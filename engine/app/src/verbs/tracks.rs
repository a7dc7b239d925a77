//! What operators see and do of a sync job's tables: where each stream is, what its target refuses, and what tables there
//! are to be carried.

use engate_model::{Invalid, JobId, QuarantineId, Timestamp, TrackId, job::Work, token::Principal};
use engate_source::Tables;
use engate_store::{HistoryEntry, QuarantinePage, TrackState};

use super::VerbError;
use crate::engine::Engine;

/// Earlier checkpoints that are shown.
pub(crate) const HISTORY_SHOWN: u32 = 50;

/// Where a stream is.
#[derive(Debug, Clone)]
pub(crate) struct TrackShown {
    /// The track.
    pub(crate) state: TrackState,
    /// Records that its target refuses.
    pub(crate) quarantined: u64,
}

impl Engine {
    /// The tracks of a job that has run.
    pub(crate) async fn track_list(&self, principal: &Principal, job: JobId) -> Result<Vec<TrackShown>, VerbError> {
        self.sync_job(principal, job).await?;
        let mut shown = Vec::new();
        for state in self.store.track_list(principal.tenant, job).await? {
            let quarantined = self.store.quarantine_count(state.track.id).await?;
            shown.push(TrackShown { state, quarantined });
        }
        Ok(shown)
    }

    /// A track's earlier checkpoints.
    pub(crate) async fn track_history(
        &self,
        principal: &Principal,
        job: JobId,
        track: TrackId,
    ) -> Result<Vec<HistoryEntry>, VerbError> {
        self.track_find(principal, job, track).await?;
        Ok(self.store.track_history(principal.tenant, track, HISTORY_SHOWN).await?)
    }

    /// Has a stream read again what was stamped after `upper`, by the source's clock.
    pub(crate) async fn track_rewind(
        &self,
        principal: &Principal,
        job: JobId,
        track: TrackId,
        upper: Timestamp,
    ) -> Result<TrackShown, VerbError> {
        self.track_find(principal, job, track).await?;
        let state = self.store.track_rewind(&self.actor(principal), principal.tenant, track, upper).await?;
        self.track_moved(job, state).await
    }

    /// Has a stream loaded anew, from its first record on.
    pub(crate) async fn track_begin_epoch(
        &self,
        principal: &Principal,
        job: JobId,
        track: TrackId,
    ) -> Result<TrackShown, VerbError> {
        self.track_find(principal, job, track).await?;
        let state = self.store.track_begin_epoch(&self.actor(principal), principal.tenant, track).await?;
        self.track_moved(job, state).await
    }

    /// Lets a stream go on whose table changed in a way that may lose something (`schema_conflict`).
    pub(crate) async fn track_approve(
        &self,
        principal: &Principal,
        job: JobId,
        track: TrackId,
    ) -> Result<TrackShown, VerbError> {
        self.track_find(principal, job, track).await?;
        let state = self.store.track_approve(&self.actor(principal), principal.tenant, track).await?;
        self.track_moved(job, state).await
    }

    async fn track_moved(&self, job: JobId, state: TrackState) -> Result<TrackShown, VerbError> {
        self.scheduler.poke(job);
        let quarantined = self.store.quarantine_count(state.track.id).await?;
        Ok(TrackShown { state, quarantined })
    }

    /// What a job's targets refuse.
    pub(crate) async fn quarantine_list(
        &self,
        principal: &Principal,
        job: JobId,
        after: Option<QuarantineId>,
        limit: u32,
    ) -> Result<QuarantinePage, VerbError> {
        self.sync_job(principal, job).await?;
        Ok(self.store.quarantine_list(principal.tenant, job, after, limit).await?)
    }

    /// Has a refused record sent again, as it is by then, with the next run.
    pub(crate) async fn quarantine_replay(
        &self,
        principal: &Principal,
        job: JobId,
        id: QuarantineId,
    ) -> Result<(), VerbError> {
        self.store.quarantine_replay(&self.actor(principal), principal.tenant, job, id).await?;
        self.scheduler.poke(job);
        Ok(())
    }

    /// Takes a refused record out of the list; it is sent again when it changes.
    pub(crate) async fn quarantine_discard(
        &self,
        principal: &Principal,
        job: JobId,
        id: QuarantineId,
    ) -> Result<(), VerbError> {
        Ok(self.store.quarantine_discard(&self.actor(principal), principal.tenant, job, id).await?)
    }

    /// Names of the connections that jobs may use.
    pub(crate) fn source_list(&self, _: &Principal) -> Vec<String> {
        self.sources.names().into_iter().map(str::to_owned).collect()
    }

    /// The tables behind a connection, with what a stream of each would need to know.
    pub(crate) async fn source_tables(
        &self,
        _: &Principal,
        connection: &str,
        prefix: &str,
    ) -> Result<Tables, VerbError> {
        if self.sources.dialect(connection).is_none() {
            return Err(VerbError::NotFound("connection"));
        }
        let unusable = |message: String| VerbError::Refused {
            code: "source_unusable",
            invalid: Invalid::field("connection", message),
        };
        let source = self.sources.get(connection).map_err(|failure| unusable(failure.message))?;
        source.discover(prefix).await.map_err(|error| unusable(error.to_string()))
    }

    async fn sync_job(&self, principal: &Principal, job: JobId) -> Result<(), VerbError> {
        let job = self.job_get(principal, job).await?;
        if matches!(job.settings.work, Work::Sync(_)) {
            return Ok(());
        }
        Err(VerbError::conflict("not_a_sync", "only jobs of the kind `sync` have checkpoints and a quarantine"))
    }

    async fn track_find(&self, principal: &Principal, job: JobId, track: TrackId) -> Result<(), VerbError> {
        self.sync_job(principal, job).await?;
        let tracks = self.store.track_list(principal.tenant, job).await?;
        let found = tracks.iter().any(|state| state.track.id == track);
        found.then_some(()).ok_or(VerbError::NotFound("track"))
    }
}
