//! Where a track's records come from: a table ([`super::tables`]) or a plugin's feed ([`super::feed`]).

use std::{collections::HashSet, future::Future};

use engate_model::{
    Timestamp,
    run::RunFailure,
    sync::{Expected, PageSize, Partition, PassState, Position, Rules, Shape, StreamSpec},
};
use engate_store::Quarantined;

use super::{Writes, packed::Entry};

/// What is asked for.
pub(crate) struct Ask<'a> {
    /// The pass.
    pub(crate) pass: &'a PassState,
    pub(crate) rules: &'a Rules,
    /// What lies behind this.
    pub(crate) position: &'a Position,
    /// What the target takes at a time, as things stand.
    pub(crate) size: PageSize,
    /// What it is given at a time at most.
    pub(crate) most: PageSize,
}

/// What was read.
pub(crate) struct Portion {
    /// Records in the order of the source, none of them twice.
    pub(crate) entries: Vec<Entry>,
    /// Rows that were read for it.
    pub(crate) rows: u64,
    /// Where to go on behind it; none: where it began.
    pub(crate) after: Option<Position>,
    /// Whether there is more behind it.
    pub(crate) more: bool,
    /// What the source's plugin wants kept once all of it is settled.
    pub(crate) kept: Writes,
    /// In pieces of which size it is sent; none: as one.
    pub(crate) cut: Option<PageSize>,
}

/// A kind of source.
pub(crate) trait Origin: Send + Sync {
    /// Whether the source itself says where to go on. What lies behind a cursor may be asked for only once all before it is
    /// acknowledged and written down, so nothing is read ahead; what it hands over is not read a second time, so its last
    /// page ends the pass and every place is written down; and it may hand over what it handed over before, so all that
    /// was sent stays in the ledger.
    const BY_CURSOR: bool;

    /// A stream made ready to be read.
    type Plan: Send + Sync;

    /// Makes a stream ready to be read.
    fn plan(
        &self,
        stream: &StreamSpec,
        partition: &Partition,
    ) -> impl Future<Output = Result<Self::Plan, RunFailure>> + Send;
    /// What its records are.
    fn shape(plan: &Self::Plan) -> &Shape;
    /// What it is called in a message.
    fn called(plan: &Self::Plan) -> String;
    /// The source's clock.
    fn clock(&self) -> impl Future<Output = Result<Timestamp, RunFailure>> + Send;
    /// What lies behind a position.
    fn page(&self, plan: &Self::Plan, ask: Ask<'_>) -> impl Future<Output = Result<Portion, RunFailure>> + Send;
    /// Which of these keys there are, whether marked as deleted or not.
    fn there(
        &self,
        plan: &Self::Plan,
        keys: &[String],
    ) -> impl Future<Output = Result<HashSet<String>, RunFailure>> + Send;
    /// Records in quarantine as they are to be sent again.
    fn again(
        &self,
        plan: &Self::Plan,
        held: Vec<Quarantined>,
    ) -> impl Future<Output = Result<Vec<Entry>, RunFailure>> + Send;
    /// The deletion of a record of which there is nothing left.
    fn gone(&self, plan: &Self::Plan, key: String) -> Result<Entry, RunFailure>;
    /// How many records there are; none where nobody says. Only told, never decided by.
    fn expected(&self, plan: &Self::Plan) -> impl Future<Output = Option<Expected>> + Send;
    /// The largest stamp; only a planted mistake asks.
    fn largest_stamp(&self, plan: &Self::Plan) -> impl Future<Output = Result<Option<Timestamp>, RunFailure>> + Send;
    /// The plugin whose state is written down with its pages, where there is one.
    fn plugin(&self) -> Option<&str>;
}
