//! What operators see and do of sync jobs: where their tracks are, what is in quarantine, which tables there are.

use engate_model::{
    JobId, QuarantineId, Timestamp, TrackId,
    job::{RunState, Work},
    run::RunFailure,
    token::Principal,
};
use engate_source::{SourceError, Tables};
use engate_store::{HistoryEntry, Order, QuarantinePage, RunFilter, TrackState};

use super::VerbError;
use crate::engine::Engine;

/// What is done with a track by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrackAct {
    /// What is stamped since then is read and sent again.
    Rewind(Timestamp),
    /// A changed table, or what the stream runs between now, is taken as it is.
    Approve,
    /// Everything is sent again.
    Epoch,
}

/// Rows of a deleted job's ledgers that one step forgets, and steps of one call.
const FORGET_ROWS: u32 = 5_000;
const FORGET_STEPS: u32 = 40;

impl Engine {
    /// A sync job's tracks.
    pub(crate) async fn track_list(&self, principal: &Principal, job: JobId) -> Result<Vec<TrackState>, VerbError> {
        self.sync_job(principal, job).await?;
        Ok(self.store.track_list(principal.tenant, job).await?)
    }

    /// Whether a run of a job is at work, on any node.
    pub(crate) async fn job_is_at_work(&self, principal: &Principal, job: JobId) -> Result<bool, VerbError> {
        let running = RunFilter { job: Some(job), state: Some(RunState::Running), ..RunFilter::default() };
        Ok(!self.run_list(principal, &running, None, Order::Descending, 1).await?.items.is_empty())
    }

    /// A track's earlier checkpoints.
    pub(crate) async fn track_history(
        &self,
        principal: &Principal,
        job: JobId,
        track: TrackId,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, VerbError> {
        self.track_of(principal, job, track).await?;
        Ok(self.store.track_history(principal.tenant, track, limit).await?)
    }

    /// Does something with a track by hand; a run under way finds it changed and stops, and the next one goes on from there.
    pub(crate) async fn track_act(
        &self,
        principal: &Principal,
        job: JobId,
        track: TrackId,
        act: TrackAct,
    ) -> Result<TrackState, VerbError> {
        self.track_of(principal, job, track).await?;
        let (actor, tenant) = (self.actor(principal), principal.tenant);
        let state = match act {
            TrackAct::Rewind(upper) => self.store.track_rewind(&actor, tenant, track, upper).await,
            TrackAct::Approve => self.store.track_approve(&actor, tenant, track).await,
            TrackAct::Epoch => self.store.track_begin_epoch(&actor, tenant, track).await,
        };
        let state = state?;
        self.scheduler.poke(job);
        Ok(state)
    }

    /// What a sync job has in quarantine.
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

    /// Has a record sent again with the next run.
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

    /// Gives a record up.
    pub(crate) async fn quarantine_discard(
        &self,
        principal: &Principal,
        job: JobId,
        id: QuarantineId,
    ) -> Result<(), VerbError> {
        Ok(self.store.quarantine_discard(&self.actor(principal), principal.tenant, job, id).await?)
    }

    /// Names of the tenant's connections to other systems' tables.
    pub(crate) async fn connection_names(&self, principal: &Principal) -> Result<Vec<String>, VerbError> {
        Ok(self.sources.names(&self.tenant_slug(principal.tenant).await?))
    }

    /// The tables of a connection whose names begin so.
    pub(crate) async fn connection_tables(
        &self,
        principal: &Principal,
        name: &str,
        prefix: &str,
    ) -> Result<Tables, VerbError> {
        let connection = match self.sources.get(name, &self.tenant_slug(principal.tenant).await?) {
            Ok(connection) => connection,
            Err(failure) if failure.code == "no_connection" => {
                if self.store.plugin_versions(principal.tenant, name).await?.is_empty() {
                    return Err(VerbError::NotFound("connection"));
                }
                let detail = format!(
                    "{name} is a plugin, and what a plugin pulls has no catalogue; name streams, key and columns in the job"
                );
                return Err(VerbError::Conflict { code: "no_catalogue", detail });
            }
            Err(failure) => return Err(unreadable(failure)),
        };
        connection.discover(prefix).await.map_err(|error: SourceError| {
            unreadable(RunFailure { code: String::new(), message: error.to_string(), retryable: true })
        })
    }

    /// Forgets what is left of deleted jobs' tracks, some of it at a time.
    pub(crate) async fn tracks_forget(&self) -> Result<(), engate_store::StoreError> {
        for _ in 0..FORGET_STEPS {
            if self.store.tracks_forget_deleted(FORGET_ROWS).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn sync_job(&self, principal: &Principal, job: JobId) -> Result<(), VerbError> {
        match self.job_get(principal, job).await?.settings.work {
            Work::Sync(_) => Ok(()),
            Work::Emit { .. } | Work::Poll(_) | Work::Engine(_) => {
                let detail = "the job is no sync; only those have checkpoints and a quarantine".to_owned();
                Err(VerbError::Conflict { code: "not_a_sync", detail })
            }
        }
    }

    async fn track_of(&self, principal: &Principal, job: JobId, track: TrackId) -> Result<(), VerbError> {
        let tracks = self.track_list(principal, job).await?;
        let is_there = tracks.iter().any(|state| state.track.id == track);
        if is_there { Ok(()) } else { Err(VerbError::NotFound("checkpoint")) }
    }
}

fn unreadable(failure: RunFailure) -> VerbError {
    VerbError::Conflict { code: "source_unreadable", detail: failure.message }
}
