//! What a sync asks of a source of tables, and how their rows are its records.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
};

use engate_model::{
    Timestamp,
    run::RunFailure,
    sink::Operation,
    sync::{Expected, PageSize, Partition, RowHash, Shape, StreamSpec, checkpoint::position_after},
};
use engate_source::{Connection, Plan, RowPage, Scan, SourceError, SourceRow};
use engate_store::Quarantined;

use super::{
    Writes,
    origin::{Ask, Origin, Portion},
    packed::Entry,
};

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

impl<S: Tables> Origin for S {
    const BY_CURSOR: bool = false;
    type Plan = Plan;

    async fn plan(&self, stream: &StreamSpec, partition: &Partition) -> Result<Plan, RunFailure> {
        Tables::plan(self, stream, partition).await.map_err(of_source)
    }

    fn shape(plan: &Plan) -> &Shape {
        plan.shape()
    }

    fn called(plan: &Plan) -> String {
        format!("table {}", plan.table())
    }

    async fn clock(&self) -> Result<Timestamp, RunFailure> {
        Tables::clock(self).await.map_err(of_source)
    }

    async fn page(&self, plan: &Plan, ask: Ask<'_>) -> Result<Portion, RunFailure> {
        let by_stamp = ask.pass.by_stamp(ask.rules);
        let scan = Scan { by_stamp, position: ask.position, reach: ask.pass.reach };
        let page = Tables::page(self, plan, scan, ask.size).await.map_err(of_source)?;
        let places: Vec<_> = page.rows.iter().map(|row| (row.stamp, row.order.as_slice())).collect();
        let after = position_after(&places, by_stamp, ask.rules);
        let rows = page.rows.len() as u64;
        let entries = living(self, plan, page.rows).await?.into_iter().map(entry).collect();
        Ok(Portion { entries, rows, after, more: page.more, kept: Writes::new(), cut: None })
    }

    async fn there(&self, plan: &Plan, keys: &[String]) -> Result<HashSet<String>, RunFailure> {
        let rows = self.rows_of(plan, keys).await.map_err(of_source)?;
        Ok(rows.into_iter().map(|row| row.key).collect())
    }

    /// As they are now.
    async fn again(&self, plan: &Plan, held: Vec<Quarantined>) -> Result<Vec<Entry>, RunFailure> {
        let keys: Vec<_> = held.into_iter().map(|one| one.key).collect();
        let rows = self.rows_of(plan, &keys).await.map_err(of_source)?;
        let rows = living(self, plan, rows).await?;
        let mut there: HashMap<_, _> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        let entries = keys.into_iter().map(|key| match there.remove(&key) {
            None => self.gone(plan, key),
            Some(row) => Ok(entry(row)),
        });
        entries.collect()
    }

    fn gone(&self, plan: &Plan, key: String) -> Result<Entry, RunFailure> {
        let data = plan.gone(&key).map_err(of_source)?;
        let hash = RowHash::of(data.as_bytes(), true);
        Ok(Entry { key, operation: Operation::Delete, data, hash, stamp: None, gone: true })
    }

    /// That a table cannot tell keeps nobody from reading it.
    async fn expected(&self, plan: &Plan) -> Option<Expected> {
        Tables::expected(self, plan).await.unwrap_or_default()
    }

    async fn largest_stamp(&self, plan: &Plan) -> Result<Option<Timestamp>, RunFailure> {
        Tables::largest_stamp(self, plan).await.map_err(of_source)
    }

    fn plugin(&self) -> Option<&str> {
        None
    }
}

fn entry(row: SourceRow) -> Entry {
    let SourceRow { key, stamp, data, hash, deleted, .. } = row;
    let operation = if deleted { Operation::Delete } else { Operation::Upsert };
    Entry { key, operation, data, hash, stamp, gone: false }
}

/// Where several rows may be one record, those marked as deleted count only while there is no other.
async fn living<S: Tables>(source: &S, plan: &Plan, rows: Vec<SourceRow>) -> Result<Vec<SourceRow>, RunFailure> {
    if plan.identity_is_unique() || rows.iter().all(|row| !row.deleted) {
        return Ok(rows);
    }
    let marked: HashSet<_> = rows.iter().filter(|row| row.deleted).map(|row| row.key.clone()).collect();
    let marked: Vec<_> = marked.into_iter().collect();
    let there = source.rows_of(plan, &marked).await.map_err(of_source)?;
    let living: HashSet<_> = there.into_iter().filter(|row| !row.deleted).map(|row| row.key).collect();
    Ok(rows.into_iter().filter(|row| !row.deleted || !living.contains(&row.key)).collect())
}

fn of_source(error: SourceError) -> RunFailure {
    RunFailure { code: error.code().to_owned(), message: error.to_string(), retryable: error.retryable() }
}
