//! What passes between a sync job and the plugin of its far side: the records of the contract's `sink`, as the engine
//! knows them.
//!
//! A *pass* carries one stream's changes of one range to the target, as *pages* numbered without a gap. The engine owns
//! the loop, the clock and the checkpoint; the plugin only says what to send and what an answer means.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What is done to a record at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Put it there whole, whether it was there or not.
    Upsert,
    /// Take it away, or mark it as gone.
    Delete,
}

/// One record of a table or feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What identifies the record within its stream and partition.
    pub key: String,
    /// What is done to it.
    pub operation: Operation,
    /// The whole record as compact JSON, an object; never a patch.
    pub data: String,
}

/// What a column holds, as far as a target needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Text of any length.
    Text,
    /// A whole number.
    Integer,
    /// A number with a fraction; JSON carries its digits as spelled.
    Decimal,
    /// True or false.
    Boolean,
    /// `YYYY-MM-DD`.
    Date,
    /// RFC 3339, UTC.
    Timestamp,
    /// Bytes, in base64.
    Binary,
    /// Any JSON value.
    Json,
}

/// A column of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as the source spells it.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A stream as its target sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its name within the job.
    pub name: String,
    /// What the target calls it.
    pub target: String,
    /// Names of the columns that identify a record.
    pub key: Vec<String>,
    /// All columns, in the order of the source.
    pub columns: Vec<Column>,
}

/// One pass over a stream's partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The same through the whole pass, also after a restart.
    pub id: String,
    /// The stream.
    pub stream: StreamInfo,
    /// The partition, as pairs such as (`company`, `01`).
    pub partition: Vec<(String, String)>,
    /// Where the range that this pass covers begins.
    pub range_start: Timestamp,
    /// When the pass began, by the engine's clock.
    pub started_at: Timestamp,
}

/// One page of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The same whenever the page is sent: a hash of what it covers.
    pub id: String,
    /// 1, 2, 3 ... within the pass, without a gap; a repeated page keeps its number.
    pub sequence: u32,
    /// What it carries.
    pub changes: Vec<Change>,
}

/// A plugin's refusal: code (snake_case), what to tell people, and whether trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable label.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Whether the same may be accepted later.
    pub retryable: bool,
}

/// A change that the target did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which of the page's changes, from 0.
    pub index: u32,
    /// Why.
    pub refusal: Refusal,
}

/// What an answer of the target means for the page that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// All taken but these, which go to quarantine.
    Accepted(Vec<Rejection>),
    /// Send the same page again, after this many milliseconds or after the engine's own schedule.
    Retry {
        /// Milliseconds; none: the engine's schedule.
        after_ms: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Too large, or one of the changes is bad: halve it and send the halves.
    Split(String),
    /// Stops the stream; the checkpoint stays.
    Fail(Refusal),
}

/// What a pass came to, told to the target when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records that were acknowledged.
    pub records: u64,
    /// Requests that carried them.
    pub requests: u64,
    /// When the pass began.
    pub started_at: Timestamp,
    /// When its last page was acknowledged.
    pub ended_at: Timestamp,
}

/// A page of a feed: what a `source` plugin pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// What came.
    pub changes: Vec<Change>,
    /// Where to go on once these are accepted; opaque, at most 4 KiB.
    pub next: Vec<u8>,
    /// Whether more can be pulled at once.
    pub more: bool,
}
