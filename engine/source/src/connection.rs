//! A connection that only reads: a bounded pool, its sessions told so, every statement with a bound on its time.

use std::{str::FromStr as _, time::Duration};

use engate_model::Timestamp;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{
    ConnectOptions as _, MySqlPool, PgPool, SqlitePool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::{
    error::SourceError,
    query::{Dialect, Query, Row},
};

/// How long a connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a statement may take: a page of a table without a fitting index is a sort of the table.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a statement may take before the engine gives up on the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
/// How long a reader of SQLite waits for whoever writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Statements kept prepared per connection.
const STATEMENTS_CACHED: usize = 64;

/// How a connection is opened.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// Sessions at once at most.
    pub sessions: u32,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self { sessions: 4 }
    }
}

#[derive(Clone)]
enum Pool {
    Postgres(PgPool),
    MySql(MySqlPool),
    Sqlite(SqlitePool),
}

/// A source. Cheap to clone; every clone is the same pool.
#[derive(Clone)]
pub struct Connection {
    pool: Pool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens `postgres://`, `mysql://`, `mariadb://` or `sqlite:` to be read. Nothing is dialled before the first question.
    ///
    /// # Errors
    /// [`SourceError::Address`] where the URL is none of these.
    pub fn open(url: &str, options: ConnectionOptions) -> Result<Self, SourceError> {
        let sessions = options.sessions.max(1);
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let unreadable = |_| SourceError::Address("the connection's url cannot be read".to_owned());
        let pool = match scheme {
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(url).map_err(unreadable)?;
                Pool::Postgres(postgres_pool(options, sessions))
            }
            "mysql" | "mariadb" => {
                let rest = url.split_once(':').map_or("", |(_, rest)| rest);
                let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}")).map_err(unreadable)?;
                Pool::MySql(mysql_pool(options, sessions))
            }
            "sqlite" => {
                let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
                // How it is opened is not for the address to say.
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                Pool::Sqlite(sqlite_pool(path, sessions))
            }
            _ => {
                let message = "a connection's url begins with postgres://, mysql://, mariadb:// or sqlite:";
                return Err(SourceError::Address(message.to_owned()));
            }
        };
        Ok(Self { pool })
    }

    /// The source's clock.
    ///
    /// # Errors
    /// When the source gives no answer.
    pub async fn clock(&self) -> Result<Timestamp, SourceError> {
        let sql = match self.dialect() {
            Dialect::Postgres => "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
            Dialect::MySql => "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
            Dialect::Sqlite => "SELECT CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000",
        };
        let mut micros = None;
        self.each(&Query::new(self.dialect(), sql), |row| {
            micros = row.int(0)?;
            Ok(true)
        })
        .await?;
        micros.map(Timestamp::from_micros).ok_or_else(|| SourceError::Refused("it does not tell the time".to_owned()))
    }

    /// Runs a statement of somebody else's on a session of this pool, to show that sessions only read.
    ///
    /// # Errors
    /// Whatever the source says to it.
    #[doc(hidden)]
    pub async fn probe(&self, sql: &str) -> Result<(), SourceError> {
        self.each(&Query::new(self.dialect(), sql), |_| Ok(true)).await
    }

    /// Closes every session.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Postgres(pool) => pool.close().await,
            Pool::MySql(pool) => pool.close().await,
            Pool::Sqlite(pool) => pool.close().await,
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match &self.pool {
            Pool::Postgres(_) => Dialect::Postgres,
            Pool::MySql(_) => Dialect::MySql,
            Pool::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs a query and hands each row to `take`, until that says false.
    pub(crate) async fn each(
        &self,
        query: &Query,
        mut take: impl FnMut(Row<'_>) -> Result<bool, SourceError>,
    ) -> Result<(), SourceError> {
        let run = async {
            match &self.pool {
                Pool::Postgres(pool) => {
                    let mut rows = query.postgres().fetch(pool).boxed();
                    while let Some(row) = rows.try_next().await? {
                        if !take(Row::Postgres(&row))? {
                            break;
                        }
                    }
                }
                Pool::MySql(pool) => {
                    let mut rows = query.mysql().fetch(pool).boxed();
                    while let Some(row) = rows.try_next().await? {
                        if !take(Row::MySql(&row))? {
                            break;
                        }
                    }
                }
                Pool::Sqlite(pool) => {
                    let mut rows = query.sqlite().fetch(pool).boxed();
                    while let Some(row) = rows.try_next().await? {
                        if !take(Row::Sqlite(&row))? {
                            break;
                        }
                    }
                }
            }
            Ok(())
        };
        let late = || SourceError::Unavailable(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
        tokio::time::timeout(ANSWER_TIMEOUT, run).await.map_err(|_| late())?
    }
}

fn postgres_pool(options: PgConnectOptions, sessions: u32) -> PgPool {
    let options = options
        .application_name("engate-source")
        .statement_cache_capacity(STATEMENTS_CACHED)
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(sessions)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .after_connect(|session, _| {
            Box::pin(async move {
                // Not as options of the connection: poolers in between refuse those. A page is read through an index that
                // has its order, where there is one: without statistics, as after a mass load, the planner takes all that
                // is left of the table for a few rows and sorts it, for every page again.
                let millis = STATEMENT_TIMEOUT.as_millis();
                let sql = format!(
                    "SET default_transaction_read_only = on; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
                     SET extra_float_digits = 1; SET bytea_output = 'hex'; SET statement_timeout = {millis}; \
                     SET enable_sort = off"
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(session).await.map(drop)
            })
        })
        .connect_lazy_with(options)
}

fn mysql_pool(options: MySqlConnectOptions, sessions: u32) -> MySqlPool {
    let options = options.statement_cache_capacity(STATEMENTS_CACHED).disable_statement_logging();
    MySqlPoolOptions::new()
        .max_connections(sessions)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .after_connect(|session, _| {
            Box::pin(async move {
                let sql = "SET SESSION TRANSACTION READ ONLY; SET SESSION time_zone = '+00:00'; \
                           SET SESSION group_concat_max_len = 65536";
                sqlx::raw_sql(sql).execute(&mut *session).await?;
                // MariaDB knows the one, MySQL the other.
                let seconds = STATEMENT_TIMEOUT.as_secs();
                for sql in [
                    format!("SET SESSION max_statement_time = {seconds}"),
                    format!("SET SESSION max_execution_time = {}", seconds * 1_000),
                ] {
                    let _ = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *session).await;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

fn sqlite_pool(path: &str, sessions: u32) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "on")
        .statement_cache_capacity(STATEMENTS_CACHED)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(sessions)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .connect_lazy_with(options)
}
