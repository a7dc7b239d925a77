//! Sync jobs: the changes of a table, or of a plugin's feed, carried to a target so that no row is lost.
//!
//! A *track* is one stream in one partition of a job. It goes on in *passes*: the initial load goes through the table
//! by its key, a delta through what changed by `(stamp, key)`, a reconciliation compares all keys with what was sent.
//! Of a feed a pass pulls on from the plugin's cursor until the plugin says that there is no more. Each pass reads pages
//! and sends them, one after the other; what has been acknowledged is a [`Checkpoint`], and nothing else decides where to
//! go on.
//!
//! [`job`] and [`stream`] are what an operator writes, [`window`] which range a pass covers, [`checkpoint`] how a pass moves
//! on, [`page`] what a page is called and how it is cut and halved, [`pace`] how large the next one is and when to try
//! again, [`drift`] what a changed table means, [`ends`] between what a track runs.

pub mod checkpoint;
pub mod drift;
pub mod ends;
pub mod job;
pub mod pace;
pub mod page;
pub mod planted;
pub mod progress;
pub mod stream;
pub mod window;

pub use checkpoint::{Checkpoint, Cursor, PageInHand, PassKind, PassState, Phase, Position, Read, Stage};
pub use drift::{ColumnShape, Drift, Shape};
pub use ends::Ends;
pub use job::{EventSink, Partition, PluginSink, SyncJob, SyncSink, SyncSource};
pub use pace::{PageSize, Sizer};
pub use page::{Checksum, Piece, RowHash};
pub use planted::Planted;
pub use progress::{Expected, Progress};
pub use stream::{ColumnSpec, SoftDelete, StreamSpec, TypedColumn};
pub use window::Rules;
