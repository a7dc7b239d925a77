//! Everything Engate keeps, on SQLite or PostgreSQL.
//!
//! Who acts here: callers, through the verbs of [`Store`], each named noun first (`delivery_claim`); and the
//! committers of `commit`, which own the writing of accepted events and finished tries and put what waits at
//! the same moment into one transaction. This is the only crate that knows SQL. It reads no clock and decides
//! nothing about deliveries: what follows from a try comes in as a transition, time comes in as an argument.
//! One text of SQL serves both databases ([`sql`](crate)'s twins where a fragment differs), and one conformance
//! suite runs on both.

mod access;
mod attempts;
mod audit;
mod backup;
mod catalog;
mod chain;
mod claims;
mod commit;
mod compose;
mod db;
mod deliveries;
mod development;
mod endpoints;
mod error;
mod event_types;
mod events;
mod failures;
mod health;
mod inbounds;
mod integrators;
mod jobs;
mod keyed_calls;
mod lines;
mod listing;
mod migrate;
mod nodes;
mod parking;
mod partitions;
mod plugin_data;
mod plugins;
mod queues;
mod recoveries;
mod retention;
mod rotation;
mod runs;
mod seal;
mod secrets;
mod settings;
mod sql;
mod sync;
mod tenants;
mod tokens;
mod value;
mod versions;
mod wizards;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use engate_model::Timestamp;

pub use access::{AccessEntry, AccessFilter, AccessOfAccept, AccessPage, RefusedCalls, SOURCES_MAX};
pub use audit::{Actor, AuditEntry, AuditFilter, AuditPage, Link};
pub use backup::{sqlite_check, sqlite_copy, sqlite_is_free};
pub use chain::{ChainCheck, ChainFault, ExportCheck, entry_hash};
pub use claims::{ClaimedDelivery, Head};
pub use commit::{
    Acknowledge,
    accept::{AcceptEvent, AcceptRequest, Accepted, AcceptedEvent, NewDelivery, Start},
    finish::{FinishItem, Finished},
};
pub use db::Database;
pub use deliveries::{Cancelled, Retried};
pub use development::{DEVELOPMENT_KEPT, Developed};
pub use endpoints::EndpointFilter;
pub use error::StoreError;
pub use events::{EventFilter, EventPage, Order, PAGE_MAX};
pub use health::Orphan;
pub use inbounds::InboundState;
pub use jobs::JOBS_MAX;
pub use keyed_calls::{CALL_KEPT_FOR, CallBegun, CallKey};
pub use lines::{NEWER_VERSION, WAITS_BEHIND};
pub use listing::{
    DeliveryFilter, DeliveryPage, DeliveryStretch, Meaning, Page, StretchTime, SuccessFilter, TOTAL_EXACT_MAX, Total,
};
pub use nodes::{NodeSerial, Renewal};
pub use parking::{ENDPOINT_DISABLED, PAUSED, PLUGIN_FAULTY};
pub use plugin_data::PluginSettings;
pub use plugins::{PluginChannel, PluginDeleted, PluginState, PluginVersion, Pushed};
pub use queues::QueueDepth;
pub use recoveries::{RecoveryCancelled, RecoveryPage, Stepped};
pub use retention::{Forgotten, History, Sweep};
pub use rotation::Rotated;
pub use runs::{
    ClaimedRun, Firing, Held, NewRun, PAUSED_BY, PAUSED_FOR_FAILURES, RunEnded, RunFilter, RunFinish, RunPage,
    RunProgress, SILENCES_MAX, Ticked,
};
pub use seal::SecretKey;
pub use secrets::SecretEntry;
pub use settings::{MODULE_SWITCH, USE_WEBHOOKS};
pub use sync::{
    HistoryEntry, LEDGER_PAGE_MAX, PageChange, PluginWrites, QuarantinePage, QuarantineState, Quarantined, Refused,
    Sent, SentState, SyncCommit, Track, TrackState,
};
pub use tokens::HashedToken;
pub use versions::{Taken, Version, WantedNow};

use commit::Committers;
use db::{Db, Sizes};
use listing::SpanWatch;
use seal::Sealer;

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// SQLite: connections that read.
    pub readers: u32,
    /// PostgreSQL: connections in all.
    pub connections: u32,
    /// Rows of a listing that are rather sorted than read in an index's order.
    #[doc(hidden)]
    pub sorted_max: u64,
    /// Codes of one span; none: the usual number.
    #[doc(hidden)]
    pub span_codes: Option<u32>,
    /// How long a page of a listing may take to find.
    #[doc(hidden)]
    pub page_time_max: std::time::Duration,
    /// When a producer is answered.
    #[doc(hidden)]
    pub acknowledge: Acknowledge,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            connections: 16,
            sorted_max: listing::SORTED_MAX,
            span_codes: None,
            page_time_max: listing::PAGE_TIME_MAX,
            acknowledge: Acknowledge::AfterCommit,
        }
    }
}

/// Everything that is kept. Cheap to clone; every clone is the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Arc<Db>,
    sealer: Sealer,
    committers: Committers,
    spans: SpanWatch,
    searchable: bool,
    sorted_max: u64,
    span_codes: Option<u32>,
    page_time_max: std::time::Duration,
    count: AtomicU64,
}

impl Store {
    /// Opens the database, brings it to this version's schema and checks that `key` is the one its secrets were
    /// sealed with. A SQLite file that is not there is created, readable for its owner alone.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`], [`StoreError::Rotating`], [`StoreError::Migration`], or [`StoreError::Unavailable`].
    pub async fn open(
        database: &Database,
        key: &SecretKey,
        options: StoreOptions,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let sizes = Sizes { readers: options.readers, connections: options.connections };
        let db = Arc::new(Db::open(database, sizes).await?);
        migrate::migrate(database, &db).await?;
        let sealer = Sealer::new(key)?;
        rotation::check_key(&db, &sealer).await?;
        partitions::maintain(&db, now).await?;
        let searchable = listing::searchable(&db).await?;
        let committers = Committers::start(&db, options.acknowledge);
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                sealer,
                committers,
                spans: SpanWatch::default(),
                searchable,
                sorted_max: options.sorted_max,
                span_codes: options.span_codes,
                page_time_max: options.page_time_max,
                count: AtomicU64::new(0),
            }),
        })
    }

    /// Answers what is queued, takes no more, and closes.
    pub async fn close(&self) {
        self.inner.committers.close().await;
        self.inner.db.close().await;
    }

    /// `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        self.inner.db.dialect().name()
    }

    /// What has to be done from time to time (once a day is enough): partitions made ahead.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn partitions_maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        partitions::maintain(&self.inner.db, now).await
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    pub(crate) fn committers(&self) -> &Committers {
        &self.inner.committers
    }

    pub(crate) fn span_watch(&self) -> &SpanWatch {
        &self.inner.spans
    }

    /// Whether free text can be searched by an index.
    pub(crate) fn searchable(&self) -> bool {
        self.inner.searchable
    }

    pub(crate) fn span_codes(&self) -> Option<i64> {
        self.inner.span_codes.map(i64::from)
    }

    pub(crate) fn page_time_max(&self) -> std::time::Duration {
        self.inner.page_time_max
    }

    pub(crate) fn sorted_max(&self) -> u64 {
        self.inner.sorted_max
    }

    /// Counts up, for what must differ within this process.
    pub(crate) fn next_count(&self) -> u64 {
        self.inner.count.fetch_add(1, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).finish_non_exhaustive()
    }
}
