//! Tables of other systems, read and never written: PostgreSQL, MariaDB and MySQL, SQLite.
//!
//! Who acts here: sync jobs, through [`Connection`]. A connection only reads (the session is told so, and no statement
//! of it writes; what an administrator confirms runs in a session of its own, by [`administer`]). It tells the source's clock, what tables there are, and gives the rows of a [`Plan`] page by page: by the
//! key, or by `(stamp, key)`. Orders and comparisons are the database's own, so that no collation, time zone or rounding
//! of ours decides what comes next; identifiers come from its catalogue alone, values are always bound.
//!
//! # How values are spelled
//! A row becomes one JSON object, its columns in the order of the table. Numbers keep the digits that the database
//! shows; what JSON has no number for (`NaN`) is text. Times are RFC 3339 in UTC: a time without a zone counts as UTC, as
//! Protheus writes `S_T_A_M_P_`. Dates are `YYYY-MM-DD`, MySQL's `0000-00-00` is null. Bytes are base64. A `CHAR(n)` is
//! given without the blanks that fill it up, since to the database they are no part of the value; other text is given
//! to the last blank.
//!
//! # Times in SQLite
//! SQLite has no type for times. A stamp may be text that its date functions read (`YYYY-MM-DD HH:MM:SS.fff`, with `T`,
//! with an offset) and is compared by what it means, in milliseconds; or a whole number, in seconds, milliseconds or
//! microseconds since 1970 by its size.

mod administer;
mod catalog;
mod connection;
mod error;
mod plan;
mod query;
mod read;
mod record;

pub use administer::administer;
pub use catalog::{SourceColumn, TABLES_MAX, Table, Tables};
pub use connection::{Connection, ConnectionOptions};
pub use error::SourceError;
pub use plan::Plan;
pub use read::{RowPage, Scan, SourceRow};
