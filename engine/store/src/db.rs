//! Pools and sessions: the one place that knows which database is behind a statement.
//!
//! On SQLite one connection writes and several read; a transaction that writes takes the writer from its first
//! statement on (`BEGIN IMMEDIATE`), so it never finds out half-way that another has it.

use std::{
    path::PathBuf,
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use sqlx::{
    ConnectOptions as _, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    query_with,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    error::StoreError,
    sql::{Dialect, Sql},
    value::{Row, Value, postgres_arguments, sqlite_arguments},
};

/// How long a statement waits for another process that writes to the same SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a verb waits for a free connection before it answers that the database is not available.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// Statements kept prepared per connection: every static one and every size of the bulk ones.
const STATEMENTS_CACHED: usize = 400;
/// Pages (of 4 KiB) that SQLite's log may hold before a commit folds it into the file: 32 MiB. More than the
/// default of 1,000, since that commit and those behind it wait; measured, folding in from another connection
/// beside the writer shortened no wait.
const WAL_PAGES: &str = "8000";

/// Where the data is.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// One file, created when it is not there.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

impl Database {
    /// Reads `postgres://..`, `postgresql://..`, `sqlite:path`, `sqlite://path` or a bare path.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text.to_owned());
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        Self::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            // The URL may hold a password.
            Self::Postgres(_) => f.write_str("postgres://***"),
        }
    }
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub readers: u32,
    pub connections: u32,
}

/// The pools of one database.
pub(crate) enum Db {
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    Postgres(PgPool),
}

impl Db {
    pub(crate) async fn open(database: &Database, sizes: Sizes) -> Result<Self, StoreError> {
        match database {
            Database::Sqlite(path) => {
                create_private(path)?;
                let options = sqlite_options(path);
                let pool = || {
                    SqlitePoolOptions::new()
                        .acquire_timeout(ACQUIRE_TIMEOUT)
                        .test_before_acquire(false)
                        .idle_timeout(None)
                        .max_lifetime(None)
                };
                let writer = pool().max_connections(1).connect_with(options.clone()).await?;
                let readers = pool().max_connections(sizes.readers.max(1)).connect_with(options).await?;
                Ok(Self::Sqlite { writer, readers })
            }
            Database::Postgres(url) => {
                let pool = PgPoolOptions::new()
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .max_connections(sizes.connections.max(2))
                    .connect_with(postgres_options(url)?)
                    .await?;
                Ok(Self::Postgres(pool))
            }
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A session for single statements that read.
    pub(crate) async fn reader(&self) -> Result<Session, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Session::Sqlite(readers.acquire().await?),
            Self::Postgres(pool) => Session::Postgres(pool.acquire().await?),
        })
    }

    /// A session whose statements all see the same instant of the database.
    pub(crate) async fn snapshot(&self) -> Result<Session, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Session::SqliteTransaction(readers.begin().await?),
            Self::Postgres(pool) => Session::PostgresTransaction(
                pool.begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
            ),
        })
    }

    /// As [`Db::snapshot`]; its statements give up, with [`StoreError::TooBroad`], once `time` is over.
    pub(crate) async fn snapshot_within(&self, time: Duration) -> Result<Bounded, StoreError> {
        let mut session = self.snapshot().await?;
        let bound = TimeBound(Arc::new(Mutex::new(Some(Instant::now() + time))));
        match &mut session {
            Session::SqliteTransaction(transaction) => {
                let bound = bound.clone();
                transaction.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, move || bound.is_open());
            }
            Session::PostgresTransaction(transaction) => {
                // Which index is read is thought out by whoever asks, as on SQLite: a table is never read from end to end, and
                // compiling a statement over many partitions, starting other processes for it, or planning it again for
                // every value takes longer than running it.
                let sql = "SELECT set_config('statement_timeout', $1, true), set_config('jit', 'off', true), \
                           set_config('max_parallel_workers_per_gather', '0', true), \
                           set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)";
                let millis = Value::from(time.as_millis().to_string());
                query_with(sql, postgres_arguments(vec![millis])?).execute(&mut **transaction).await?;
            }
            Session::Sqlite(_) | Session::Postgres(_) => {}
        }
        Ok(Bounded { session, bound, told: Instant::now() })
    }

    /// A transaction that writes; dropped without [`Session::commit`], it is rolled back.
    pub(crate) async fn begin(&self) -> Result<Session, StoreError> {
        Ok(match self {
            Self::Sqlite { writer, .. } => Session::SqliteTransaction(writer.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Session::PostgresTransaction(pool.begin().await?),
        })
    }

    /// Reads all rows of one statement.
    pub(crate) async fn rows(&self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.reader().await?.rows(sql, args).await
    }

    /// Reads at most one row.
    pub(crate) async fn row(&self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Option<Row>, StoreError> {
        self.reader().await?.row(sql, args).await
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Options with which the migrations connect.
pub(crate) fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)?;
    Ok(options.statement_cache_capacity(STATEMENTS_CACHED).application_name("engate").disable_statement_logging())
}

fn sqlite_options(path: &std::path::Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("cache_size", "-32000")
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(STATEMENTS_CACHED)
        .disable_statement_logging()
}

/// Creates the file for its owner alone before SQLite opens it; SQLite gives its side files the same mode.
pub(crate) fn create_private(path: &std::path::Path) -> Result<(), StoreError> {
    use std::fs::OpenOptions;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("cannot create {}: {error}", path.display()))),
    }
}

/// Steps of SQLite's machine between two looks at the clock: some tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 4_000;

/// How old the bound may be that PostgreSQL was told: so much later than it should may a listing end.
const TOLD_AGAIN: Duration = Duration::from_millis(100);

/// When a reader's patience ends; none once it is no longer of interest.
#[derive(Clone)]
struct TimeBound(Arc<Mutex<Option<Instant>>>);

impl TimeBound {
    fn is_open(&self) -> bool {
        self.left().is_some()
    }

    /// How much time is left; none: it is over.
    fn left(&self) -> Option<Duration> {
        let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = end else { return Some(Duration::MAX) };
        end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// A session whose statements have a common bound on their time. However it is dropped, the connection goes back
/// without the bound.
pub(crate) struct Bounded {
    pub(crate) session: Session,
    bound: TimeBound,
    /// When PostgreSQL was last told how much time is left.
    told: Instant,
}

impl Bounded {
    /// From now on the statements give up once `time` is over.
    pub(crate) async fn bound_to(&mut self, time: Duration) -> Result<(), StoreError> {
        *self.bound.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
        self.tell(time).await
    }

    /// Fails where the time is over. To be asked before each statement: PostgreSQL bounds them one by one, and is told from
    /// time to time how much is left for the next.
    pub(crate) async fn check(&mut self) -> Result<(), StoreError> {
        let left = self.bound.left().ok_or(StoreError::TooBroad)?;
        if self.told.elapsed() > TOLD_AGAIN {
            self.tell(left).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, left: Duration) -> Result<(), StoreError> {
        if let Session::PostgresTransaction(_) = &self.session {
            let millis = left.as_millis().max(1).to_string();
            let sql = "SELECT set_config('statement_timeout', $1, true)";
            self.session.row(sql, vec![Value::from(millis)]).await?;
            self.told = Instant::now();
        }
        Ok(())
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        *self.bound.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A connection, or a transaction on one.
pub(crate) enum Session {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTransaction(Transaction<'static, Postgres>),
}

enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Session {
    fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            Self::SqliteTransaction(transaction) => Conn::Sqlite(transaction),
            Self::Postgres(conn) => Conn::Postgres(conn),
            Self::PostgresTransaction(transaction) => Conn::Postgres(transaction),
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) | Self::SqliteTransaction(_) => Dialect::Sqlite,
            Self::Postgres(_) | Self::PostgresTransaction(_) => Dialect::Postgres,
        }
    }

    /// Runs one statement; gives the number of rows it touched.
    pub(crate) async fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<u64, StoreError> {
        let sql = sql.into().into_sql_str(self.dialect());
        Ok(match self.conn() {
            Conn::Sqlite(conn) => query_with(sql, sqlite_arguments(args)?).execute(conn).await?.rows_affected(),
            Conn::Postgres(conn) => query_with(sql, postgres_arguments(args)?).execute(conn).await?.rows_affected(),
        })
    }

    /// Runs one statement and reads all its rows.
    pub(crate) async fn rows(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let sql = sql.into().into_sql_str(self.dialect());
        Ok(match self.conn() {
            Conn::Sqlite(conn) => {
                query_with(sql, sqlite_arguments(args)?).fetch(conn).map_ok(Row::Sqlite).try_collect().await?
            }
            Conn::Postgres(conn) => {
                query_with(sql, postgres_arguments(args)?).fetch(conn).map_ok(Row::Postgres).try_collect().await?
            }
        })
    }

    /// Runs one statement that gives at most one row, to its end.
    pub(crate) async fn row(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::SqliteTransaction(transaction) => Ok(transaction.commit().await?),
            Self::PostgresTransaction(transaction) => Ok(transaction.commit().await?),
            Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::SqliteTransaction(transaction) => Ok(transaction.rollback().await?),
            Self::PostgresTransaction(transaction) => Ok(transaction.rollback().await?),
            Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
        }
    }
}
