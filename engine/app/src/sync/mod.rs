//! Sync jobs at work: tables and feeds read page by page, sent through their sink, written down as acknowledged.
//!
//! Who acts here: [`SyncRun::run`], one per run of a job. It goes through the tracks (a stream in a partition each), a few at
//! a time, each failing alone. A track ([`track`]) goes on where its checkpoint is: it takes a page in hand and writes it
//! down, sends it ([`sending`]) while it reads the next one ([`reading`]), and writes down in one transaction what was
//! acknowledged. What is decided of all this is `engate_model::sync`'s; here it is carried out.
//!
//! What is read comes from an [`origin`]: a table, reached through [`Tables`], or what a plugin pulls ([`feed`]). A target is
//! reached through [`Target`]. Tests put their own in between, the engine a connection of `engate-source`, a `source`
//! plugin, and a `sink` plugin with the endpoint's credentials ([`sink`]).

mod connections;
mod events;
mod feed;
mod job;
mod origin;
mod packed;
mod reading;
mod sending;
mod sink;
mod tables;
mod target;
#[cfg(test)]
mod tests;
mod track;
mod work;

use engate_model::{
    Clock, JobId, TenantId, Timestamp,
    run::{RunCounts, RunEnd, RunFailure},
    sync::{PageSize, Partition, Rules, StreamSpec, SyncJob},
};
use engate_store::Store;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use tokio_util::sync::CancellationToken;

pub(crate) use connections::Sources;
use origin::Origin;
#[cfg(test)]
use tables::Tables;
pub(crate) use target::{Asked, Sendable, Target, Writes};

use crate::clock::Chance;

/// Tracks of one run at work at once.
const TRACKS_AT_ONCE: usize = 4;

/// Who hears of what a run does.
pub(crate) trait Report: Send + Sync {
    /// Something was moved.
    fn count(&self, counts: RunCounts);
    /// Something is worth a line in the run's log.
    fn note(&self, level: &'static str, message: String);
    /// All that the source had at `at`, by the engine's clock, is at the target.
    fn covered(&self, stream: &str, partition: &Partition, at: Timestamp);
}

/// One run of a sync job.
pub(crate) struct SyncRun<'a, S, T> {
    pub(crate) store: &'a Store,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) chance: &'a Chance,
    pub(crate) tenant: TenantId,
    pub(crate) job: JobId,
    /// Grows with every run of the job.
    pub(crate) fence: u64,
    pub(crate) settings: &'a SyncJob,
    pub(crate) rules: Rules,
    pub(crate) source: &'a S,
    pub(crate) target: &'a T,
    /// Whose state the target's calls keep; the source says itself whose its calls do.
    pub(crate) plugin: &'a str,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) report: &'a dyn Report,
}

/// How the work on a track ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrackEnd {
    /// There is nothing left to do.
    Idle,
    /// It was told to stop.
    Stopped,
}

impl<S: Origin, T: Target> SyncRun<'_, S, T> {
    /// Does what there is to do. What was acknowledged is written down, however it ends.
    pub(crate) async fn run(&self) -> RunEnd {
        let whole = [Partition::new()];
        let partitions = if self.settings.partitions.is_empty() { &whole } else { self.settings.partitions.as_slice() };
        let streams = &self.settings.streams;
        let tracks = streams.iter().flat_map(|stream| partitions.iter().map(move |partition| (stream, partition)));
        let work: Vec<BoxFuture<'_, _>> =
            tracks.map(|(stream, partition)| self.one(stream, partition).boxed()).collect();
        let ends: Vec<_> = futures_util::stream::iter(work).buffer_unordered(TRACKS_AT_ONCE).collect().await;
        let mut failures = ends.iter().filter_map(|end| end.as_ref().err());
        let more = failures.clone().count().saturating_sub(1);
        if let Some(first) = failures.next() {
            let others = if more == 0 { String::new() } else { format!(" (and {more} more streams failed)") };
            let message = format!("{}{others}", first.message);
            let retryable = first.retryable || failures.any(|failure| failure.retryable);
            return RunEnd::Failed(RunFailure { code: first.code.clone(), message, retryable });
        }
        if ends.contains(&Ok(TrackEnd::Stopped)) { RunEnd::Stopped } else { RunEnd::Idle }
    }

    /// What a page holds at most.
    const fn page_size(&self) -> PageSize {
        PageSize { rows: self.settings.page_rows, bytes: self.settings.page_bytes }
    }

    async fn one(&self, stream: &StreamSpec, partition: &Partition) -> Result<TrackEnd, RunFailure> {
        if self.stop.is_cancelled() {
            return Ok(TrackEnd::Stopped);
        }
        let end = track::work(self, stream, partition).await;
        end.map_err(|failure| {
            let message = format!("stream {}{}: {}", stream.name, part_of(partition), failure.message);
            self.report.note("error", message.clone());
            RunFailure { message, ..failure }
        })
    }
}

/// A partition as people read it.
fn part_of(partition: &Partition) -> String {
    if partition.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = partition.iter().map(|(dimension, value)| format!("{dimension} {value}")).collect();
    format!(" ({})", pairs.join(", "))
}
