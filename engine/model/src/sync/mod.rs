//! Sync jobs: a table's changes, carried to a target so that no row is lost.
//!
//! [`job`] is what an operator writes.

pub mod job;

pub use job::{Partition, SoftDelete, StreamSpec, SyncJob, SyncSink, SyncSource};
