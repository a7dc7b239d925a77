//! Between what a track runs. Its checkpoint says what of one source is at one target, and nothing of any other.

use serde::{Deserialize, Serialize};

use super::{
    job::{Partition, SyncJob, SyncSink, SyncSource},
    stream::StreamSpec,
};

/// What is read, and where it goes, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// The connection and the table, or the plugin and what it is asked for.
    pub source: String,
    /// The plugin, its endpoint and the stream's name there; or that it becomes events.
    pub target: String,
}

impl Ends {
    /// Those of a track. Versions and settings of plugins are left out: they change with nothing else becoming another.
    pub fn of(job: &SyncJob, stream: &StreamSpec, partition: &Partition) -> Self {
        let from = match &job.source {
            SyncSource::Table { connection } => format!("connection {connection}"),
            SyncSource::Plugin { plugin, .. } => format!("plugin {}", plugin.name),
        };
        let target = match &job.sink {
            SyncSink::Plugin(sink) => {
                format!("plugin {}, endpoint {}, {}", sink.plugin.name, sink.endpoint, stream.target_of(partition))
            }
            SyncSink::Events(_) => "events".to_owned(),
        };
        Self { source: format!("{from}, {}", stream.table_of(partition)), target }
    }

    /// Why a track that ran between `before` cannot go on here; none where it can.
    pub fn departure(&self, before: &Self) -> Option<String> {
        let changed = |what: &str, before: &str, now: &str| format!("its {what} was {before}, and is {now} now");
        let source = (self.source != before.source).then(|| changed("source", &before.source, &self.source));
        let target = (self.target != before.target).then(|| changed("target", &before.target, &self.target));
        let all: Vec<_> = source.into_iter().chain(target).collect();
        (!all.is_empty()).then(|| {
            format!(
                "{}; begin a new epoch, and everything is sent, or approve, and it goes on from where it was",
                all.join("; ")
            )
        })
    }
}
