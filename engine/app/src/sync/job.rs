//! A run of a sync job in the scheduler's hands: its source, its sink, and what it tells.

use std::sync::Arc;

use engate_model::{
    Timestamp,
    run::{RunCounts, RunEnd, RunFailure},
    sync::{Partition, PluginSink, Rules, SyncJob, SyncSink, SyncSource},
};
use engate_source::Connection;

use super::{
    Report, SyncRun, Target, events::EventTarget, feed::FeedOrigin, origin::Origin, part_of, sink::SinkTarget,
};
use crate::{
    metrics::StreamLabels,
    pulling::{Feed, FeedOf},
    scheduler::HeldRun,
    views::{Binding, sink_binding},
};

/// Stands for the plugin where there is none: events keep no state.
const EVENTS: &str = "events";

impl HeldRun {
    /// Carries what a table, or a plugin's feed, has changed to its target.
    pub(crate) async fn sync(&self, settings: &SyncJob) -> RunEnd {
        match &settings.source {
            SyncSource::Table { connection } => match self.connection(connection).await {
                Ok(source) => self.carry_from(settings, &source).await,
                Err(failure) => RunEnd::Failed(failure),
            },
            SyncSource::Plugin { plugin, config } => {
                let (tenant, job) = (self.job.tenant, self.job.id);
                let config = config.as_ref();
                let of = FeedOf { tenant, job, plugin, config, endpoint: None, debug: &self.debug };
                match Feed::open(&self.engine, of).await {
                    Ok(pulls) => {
                        let source = FeedOrigin { pulls, clock: self.engine.clock.as_ref() };
                        self.carry_from(settings, &source).await
                    }
                    Err(failure) => RunEnd::Failed(failure),
                }
            }
        }
    }

    /// A connection, where the job's tenant may use it now.
    async fn connection(&self, name: &str) -> Result<Connection, RunFailure> {
        let tenant = self.engine.tenant_slug(self.job.tenant).await;
        let tenant = tenant.map_err(|error| failure(error.code(), error.to_string(), true))?;
        self.engine.sources.get(name, &tenant)
    }

    async fn carry_from<S: Origin>(&self, settings: &SyncJob, source: &S) -> RunEnd {
        match &settings.sink {
            SyncSink::Events(sink) => {
                let target = EventTarget::new(&self.engine, self.job.tenant, sink);
                self.carry(settings, source, &target, EVENTS).await
            }
            SyncSink::Plugin(sink) => match self.sink(sink).await {
                Ok(target) => self.carry(settings, source, &target, target.plugin()).await,
                Err(failure) => RunEnd::Failed(failure),
            },
        }
    }

    async fn carry<S: Origin, T: Target>(&self, settings: &SyncJob, source: &S, target: &T, plugin: &str) -> RunEnd {
        let run = SyncRun {
            store: &self.engine.store,
            clock: self.engine.clock.as_ref(),
            chance: &self.engine.chance,
            tenant: self.job.tenant,
            job: self.job.id,
            fence: self.fence.unsigned_abs(),
            settings,
            rules: Rules::of(settings),
            source,
            target,
            plugin,
            stop: self.stopped(),
            report: self,
        };
        run.run().await
    }

    async fn sink(&self, sink: &PluginSink) -> Result<SinkTarget, RunFailure> {
        let stored = |error: engate_store::StoreError| failure(error.code(), error.to_string(), true);
        let view = self.engine.views.get(&self.engine.store, self.job.tenant).await.map_err(stored)?;
        let id = sink.endpoint;
        let Some(endpoint) = view.catalog.endpoint(id) else {
            return Err(failure("endpoint_not_found", format!("{id} of the sink is not there"), false));
        };
        if !endpoint.enabled || endpoint.paused_at.is_some() {
            return Err(failure("endpoint_disabled", format!("{id} of the sink is disabled or paused"), true));
        }
        let binding = match sink_binding(&self.engine.store, &view, endpoint, sink).await.map_err(stored)? {
            Binding::Plugin(binding) => *binding,
            Binding::Broken(broken) => return Err(failure(&broken.code, broken.message, broken.retryable)),
            Binding::BuiltIn => return Err(failure("load_failed", "a sink is a plugin".to_owned(), false)),
        };
        let target = SinkTarget::new(&self.engine, Arc::clone(endpoint), binding, self.job.id, &self.debug).await;
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
