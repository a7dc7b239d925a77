//! What a sync asks of a source of tables.

use std::future::Future;

use engate_model::{
    Timestamp,
    sync::{Expected, PageSize, Partition, StreamSpec},
};
use engate_source::{Connection, Plan, RowPage, Scan, SourceError, SourceRow};

/// A source of tables: a connection, or a test's own in front of one.
pub(crate) trait Tables: Send + Sync {
    /// The source's clock.
    fn clock(&self) -> impl Future<Output = Result<Timestamp, SourceError>> + Send;
    /// Makes a stream ready to be read.
    fn plan(
        &self,
        stream: &StreamSpec,
        partition: &Partition,
    ) -> impl Future<Output = Result<Plan, SourceError>> + Send;
    /// A page of rows.
    fn page(
        &self,
        plan: &Plan,
        scan: Scan<'_>,
        size: PageSize,
    ) -> impl Future<Output = Result<RowPage, SourceError>> + Send;
    /// The rows of these keys.
    fn rows_of(&self, plan: &Plan, keys: &[String])
    -> impl Future<Output = Result<Vec<SourceRow>, SourceError>> + Send;
    /// How many rows a stream has; none where the source does not say. Only told, never decided by.
    fn expected(&self, _: &Plan) -> impl Future<Output = Result<Option<Expected>, SourceError>> + Send {
        std::future::ready(Ok(None))
    }
    /// The largest stamp; only a planted mistake asks.
    fn largest_stamp(&self, plan: &Plan) -> impl Future<Output = Result<Option<Timestamp>, SourceError>> + Send;
}

impl Tables for Connection {
    async fn clock(&self) -> Result<Timestamp, SourceError> {
        self.clock().await
    }

    async fn plan(&self, stream: &StreamSpec, partition: &Partition) -> Result<Plan, SourceError> {
        self.plan(stream, partition).await
    }

    async fn page(&self, plan: &Plan, scan: Scan<'_>, size: PageSize) -> Result<RowPage, SourceError> {
        self.page(plan, scan, size).await
    }

    async fn rows_of(&self, plan: &Plan, keys: &[String]) -> Result<Vec<SourceRow>, SourceError> {
        self.rows_of(plan, keys).await
    }

    async fn expected(&self, plan: &Plan) -> Result<Option<Expected>, SourceError> {
        self.expected(plan).await
    }

    async fn largest_stamp(&self, plan: &Plan) -> Result<Option<Timestamp>, SourceError> {
        self.largest_stamp(plan).await
    }
}
