//! Another system's database, with a table that is written to: on each of the kinds that a sync reads.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Map, Value, json};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, MySqlConnection, PgConnection, Row, SqliteConnection, TypeInfo as _,
    ValueRef as _, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;

use super::block_on;

/// Which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file; always there.
    Sqlite,
    /// A server that may not be there.
    Postgres,
    /// A server that may not be there.
    MariaDb,
}

/// A database of a test's own.
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// As the engine takes it.
    pub(crate) url: String,
    /// The server's own database, and the name of this one.
    server: Option<(String, String)>,
    _folder: TempDir,
}

/// A session that writes, with a transaction of its own.
pub(crate) enum Session {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Session {
    /// # Errors
    /// What the database says: it may have chosen this one to end a deadlock.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(session) => sqlx::raw_sql(sql).execute(session).await.map(drop),
            Self::Postgres(session) => sqlx::raw_sql(sql).execute(session).await.map(drop),
            Self::MariaDb(session) => sqlx::raw_sql(sql).execute(session).await.map(drop),
        }
    }
}

impl Source {
    /// Makes an empty one; none where no server answers.
    pub(crate) async fn create(kind: Kind) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::Builder::new().prefix("engate-source-").tempdir().unwrap();
        let name = format!("engate_source_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (url, server) = match kind {
            Kind::Sqlite => {
                let file = folder.path().join("source.db");
                let options = SqliteConnectOptions::new()
                    .filename(&file)
                    .create_if_missing(true)
                    .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
                SqliteConnection::connect_with(&options).await.unwrap().close().await.unwrap();
                (format!("sqlite:{}", file.display()), None)
            }
            Kind::Postgres | Kind::MariaDb => {
                let server = Self::server(kind).await?;
                session(kind, &server).await.ok()?.run(&format!("CREATE DATABASE {name}")).await.unwrap();
                let mut url = url::Url::parse(&server).unwrap();
                url.set_path(&name);
                (url.to_string(), Some((server, name)))
            }
        };
        Some(Self { kind, url, server, _folder: folder })
    }

    /// A server's address that lets somebody in.
    async fn server(kind: Kind) -> Option<String> {
        let (variable, usual) = match kind {
            Kind::MariaDb => ("ENGATE_TEST_MARIADB", vec!["mysql://root@127.0.0.1:3306/mysql".to_owned()]),
            _ => {
                let users = ["root", "postgres"];
                let usual = users.map(|user| format!("postgres://{user}@127.0.0.1:5432/postgres"));
                ("ENGATE_TEST_POSTGRES", usual.to_vec())
            }
        };
        let candidates = std::env::var(variable).map_or(usual, |url| vec![url]);
        for url in candidates {
            if session(kind, &url).await.is_ok() {
                return Some(url);
            }
        }
        None
    }

    /// The name under which a test says that it needs it.
    pub(crate) const fn need(kind: Kind) -> &'static str {
        match kind {
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
            Kind::MariaDb => "mariadb",
        }
    }

    /// The type of a column of times without a zone.
    pub(crate) const fn times(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite | Kind::Postgres => "TIMESTAMP",
            Kind::MariaDb => "DATETIME(6)",
        }
    }

    /// The database's own present as it stamps rows.
    pub(crate) const fn now(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now')",
            Kind::Postgres => "(clock_timestamp() AT TIME ZONE 'UTC')",
            Kind::MariaDb => "UTC_TIMESTAMP(6)",
        }
    }

    /// Begins a transaction that writes.
    pub(crate) const fn begin(&self) -> &'static str {
        match self.kind {
            // One writer at a time: it waits for its turn here rather than in the middle.
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres | Kind::MariaDb => "BEGIN",
        }
    }

    /// A session that writes.
    pub(crate) async fn session(&self) -> Session {
        session(self.kind, &self.url).await.unwrap()
    }

    /// Writes, and commits.
    pub(crate) async fn execute(&self, sql: &str) {
        self.session().await.run(sql).await.unwrap();
    }

    /// The rows that a query gives, as whole numbers and texts.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Value> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.session().await {
            Session::Sqlite(mut session) => {
                let rows = sqlx::query(sql).fetch_all(&mut session).await.unwrap();
                rows.iter().map(|row| record(row, |n| row.try_get(n).ok(), |n| row.try_get(n).ok())).collect()
            }
            Session::Postgres(mut session) => {
                let rows = sqlx::query(sql).fetch_all(&mut session).await.unwrap();
                let number = |row: &sqlx::postgres::PgRow, n| row.try_get::<i32, _>(n).ok().map(i64::from);
                rows.iter().map(|row| record(row, |n| number(row, n), |n| row.try_get(n).ok())).collect()
            }
            Session::MariaDb(mut session) => {
                let rows = sqlx::query(sql).fetch_all(&mut session).await.unwrap();
                let number = |row: &sqlx::mysql::MySqlRow, n| row.try_get::<i32, _>(n).ok().map(i64::from);
                rows.iter().map(|row| record(row, |n| number(row, n), |n| row.try_get(n).ok())).collect()
            }
        }
    }
}

/// A row as JSON, its columns in small letters.
fn record<R: Row>(row: &R, number: impl Fn(usize) -> Option<i64>, text: impl Fn(usize) -> Option<String>) -> Value
where
    usize: sqlx::ColumnIndex<R>,
{
    let mut fields = Map::new();
    for (n, column) in row.columns().iter().enumerate() {
        let value = row.try_get_raw(n).unwrap();
        let name = column.name().to_lowercase();
        let whole = value.type_info().name().contains("INT");
        let value = match (value.is_null(), whole) {
            (true, _) => Value::Null,
            (false, true) => json!(number(n).unwrap()),
            (false, false) => json!(text(n).unwrap()),
        };
        fields.insert(name, value);
    }
    Value::Object(fields)
}

async fn session(kind: Kind, url: &str) -> Result<Session, sqlx::Error> {
    Ok(match kind {
        Kind::Sqlite => {
            let options: SqliteConnectOptions = url.parse()?;
            let options = options.busy_timeout(Duration::from_secs(60));
            Session::Sqlite(SqliteConnection::connect_with(&options).await?)
        }
        Kind::Postgres => Session::Postgres(PgConnection::connect(url).await?),
        Kind::MariaDb => Session::MariaDb(MySqlConnection::connect(url).await?),
    })
}

impl Drop for Source {
    fn drop(&mut self) {
        let Some((server, name)) = self.server.take() else { return };
        let kind = self.kind;
        let force = if kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        // A runtime of its own: a test may end in the middle of one.
        let dropped = std::thread::spawn(move || {
            block_on(async {
                if let Ok(mut session) = session(kind, &server).await {
                    let _ = session.run(&format!("DROP DATABASE IF EXISTS {name}{force}")).await;
                }
            });
        });
        let _ = dropped.join();
    }
}
