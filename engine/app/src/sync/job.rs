//! A run of a sync job in the scheduler's hands: its connection, its sink, and what it tells.

use std::sync::Arc;

use engate_model::{
    Timestamp,
    run::{RunCounts, RunEnd, RunFailure},
    sync::{Partition, Rules, SyncJob, SyncSource},
};

use super::{Report, SyncRun, part_of, sink::SinkTarget};
use crate::{
    metrics::StreamLabels,
    scheduler::HeldRun,
    views::{Binding, sink_binding},
};

impl HeldRun {
    /// Carries what a table has changed to its target.
    pub(crate) async fn sync(&self, settings: &SyncJob) -> RunEnd {
        let connection = match &settings.source {
            SyncSource::Table { connection } => self.engine.sources.get(connection),
            SyncSource::Plugin { .. } => {
                Err(failure("not_built", "this version syncs tables, not feeds".to_owned(), false))
            }
        };
        let (source, target) = match (connection, self.sink(settings).await) {
            (Ok(source), Ok(target)) => (source, target),
            (Err(failure), _) | (_, Err(failure)) => return RunEnd::Failed(failure),
        };
        let run = SyncRun {
            store: &self.engine.store,
            clock: self.engine.clock.as_ref(),
            chance: &self.engine.chance,
            tenant: self.job.tenant,
            job: self.job.id,
            fence: self.fence.unsigned_abs(),
            settings,
            rules: Rules::of(settings),
            source: &source,
            target: &target,
            plugin: target.plugin(),
            stop: self.stopped(),
            report: self,
        };
        run.run().await
    }

    async fn sink(&self, settings: &SyncJob) -> Result<SinkTarget, RunFailure> {
        let stored = |error: engate_store::StoreError| failure(error.code(), error.to_string(), true);
        let view = self.engine.views.get(&self.engine.store, self.job.tenant).await.map_err(stored)?;
        let id = settings.sink.endpoint;
        let Some(endpoint) = view.catalog.endpoint(id) else {
            return Err(failure("endpoint_not_found", format!("{id} of the sink is not there"), false));
        };
        if !endpoint.enabled || endpoint.paused_at.is_some() {
            return Err(failure("endpoint_disabled", format!("{id} of the sink is disabled or paused"), true));
        }
        let binding = match sink_binding(&self.engine.store, &view, endpoint, &settings.sink).await.map_err(stored)? {
            Binding::Plugin(binding) => *binding,
            Binding::Broken(broken) => return Err(failure(&broken.code, broken.message, broken.retryable)),
            Binding::BuiltIn => return Err(failure("load_failed", "a sink is a plugin".to_owned(), false)),
        };
        let target = SinkTarget::new(&self.engine, Arc::clone(endpoint), binding, self.job.id).await;
        target.map_err(|broken| failure(&broken.code, broken.message, broken.retryable))
    }
}

impl Report for HeldRun {
    fn count(&self, counts: RunCounts) {
        HeldRun::count(self, counts);
    }

    fn note(&self, level: &'static str, message: String) {
        HeldRun::note(self, level, message);
    }

    fn covered(&self, stream: &str, partition: &Partition, at: Timestamp) {
        let part = part_of(partition).trim().to_owned();
        let labels = StreamLabels { job: self.job.settings.name.clone(), stream: stream.to_owned(), part };
        self.engine.sources.cover(labels, at);
    }
}

fn failure(code: &str, message: String, retryable: bool) -> RunFailure {
    RunFailure { code: code.to_owned(), message, retryable }
}
