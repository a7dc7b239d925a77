//! One source under test, each test with a database of its own, gone at the end.

use std::sync::atomic::{AtomicU64, Ordering};

use engate_model::{
    Timestamp,
    sync::{PageSize, Partition, Position, StreamSpec},
};
use engate_source::{Connection, ConnectionOptions, Plan, Scan, SourceRow};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};

static COUNT: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    MariaDb,
    Sqlite,
}

pub(crate) struct Subject {
    pub kind: Kind,
    pub source: Connection,
    url: String,
    name: String,
    admin: String,
    _directory: Option<tempfile::TempDir>,
}

fn required(name: &str) -> bool {
    std::env::var("ENGATE_TEST_REQUIRE").is_ok_and(|all| all.contains(name))
}

impl Subject {
    pub(crate) async fn sqlite() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("source.db").display());
        let path = url.strip_prefix("sqlite:").unwrap().to_owned();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.unwrap().close().await.unwrap();
        let source = Connection::open(&url, ConnectionOptions::default()).unwrap();
        let name = String::new();
        Some(Self { kind: Kind::Sqlite, source, url: path, name, admin: String::new(), _directory: Some(directory) })
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let admin = std::env::var("ENGATE_TEST_POSTGRES")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
        let name = format!("engate_source_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut session = match PgConnection::connect(&admin).await {
            Ok(session) => session,
            Err(error) => {
                assert!(!required("postgres"), "PostgreSQL is required and does not answer: {error}");
                println!("skipped: PostgreSQL does not answer ({error}); set ENGATE_TEST_POSTGRES to run this");
                return None;
            }
        };
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut session).await.unwrap();
        let base = admin.rsplit_once('/').unwrap().0;
        let url = format!("{base}/{name}");
        let source = Connection::open(&url, ConnectionOptions::default()).unwrap();
        Some(Self { kind: Kind::Postgres, source, url, name, admin, _directory: None })
    }

    pub(crate) async fn mariadb() -> Option<Self> {
        let admin =
            std::env::var("ENGATE_TEST_MARIADB").unwrap_or_else(|_| "mysql://root@127.0.0.1:3306/mysql".to_owned());
        let name = format!("engate_source_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut session = match MySqlConnection::connect(&admin).await {
            Ok(session) => session,
            Err(error) => {
                assert!(!required("mariadb"), "MariaDB is required and does not answer: {error}");
                println!("skipped: MariaDB does not answer ({error}); set ENGATE_TEST_MARIADB to run this");
                return None;
            }
        };
        let sql = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
        let base = admin.rsplit_once('/').unwrap().0;
        let url = format!("{base}/{name}");
        let source = Connection::open(&url, ConnectionOptions::default()).unwrap();
        Some(Self { kind: Kind::MariaDb, source, url, name, admin, _directory: None })
    }

    /// As the engine takes it.
    pub(crate) fn address(&self) -> String {
        if self.kind == Kind::Sqlite { format!("sqlite:{}", self.url) } else { self.url.clone() }
    }

    /// Writes to the source, as its owner does.
    pub(crate) async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Postgres => {
                let mut session = PgConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
                session.close().await.unwrap();
            }
            Kind::MariaDb => {
                let mut session = MySqlConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
                session.close().await.unwrap();
            }
            Kind::Sqlite => {
                let mut session = SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
                session.close().await.unwrap();
            }
        }
    }

    /// The fragment that fits.
    pub(crate) fn pick<'a>(&self, postgres: &'a str, mariadb: &'a str, sqlite: &'a str) -> &'a str {
        match self.kind {
            Kind::Postgres => postgres,
            Kind::MariaDb => mariadb,
            Kind::Sqlite => sqlite,
        }
    }

    /// The type of a column of times.
    pub(crate) fn times(&self) -> &'static str {
        match self.kind {
            Kind::Postgres => "timestamp",
            Kind::MariaDb => "datetime(6)",
            Kind::Sqlite => "text",
        }
    }

    pub(crate) async fn clean(self) {
        self.source.close().await;
        match self.kind {
            Kind::Postgres => {
                let mut session = PgConnection::connect(&self.admin).await.unwrap();
                let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
            }
            Kind::MariaDb => {
                let mut session = MySqlConnection::connect(&self.admin).await.unwrap();
                let sql = format!("DROP DATABASE {}", self.name);
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
            }
            Kind::Sqlite => {}
        }
    }

    pub(crate) async fn plan(&self, stream: &StreamSpec) -> Plan {
        self.source.plan(stream, &Partition::new()).await.unwrap()
    }

    /// Reads everything of an order, page by page.
    pub(crate) async fn all(&self, plan: &Plan, by_stamp: bool, from: Position, rows: u32) -> Vec<SourceRow> {
        let (mut position, mut all) = (from, Vec::new());
        for _ in 0..10_000 {
            let scan = Scan { by_stamp, position: &position, reach: instant("2100-01-01T00:00:00Z") };
            let page = self.source.page(plan, scan, PageSize { rows, bytes: 8 << 20 }).await.unwrap();
            if let Some(last) = page.rows.last() {
                let stamp = last.stamp.filter(|_| by_stamp);
                position = Position::Row { stamp, key: last.order.clone() };
            }
            all.extend(page.rows);
            if !page.more {
                return all;
            }
        }
        panic!("reading does not come to an end");
    }
}

pub(crate) fn instant(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub(crate) fn stream(table: &str, key: &[&str]) -> StreamSpec {
    StreamSpec {
        name: "s".into(),
        table: table.into(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        watermark: "S_T_A_M_P_".into(),
        columns: None,
        soft_delete: None,
        target: "t".into(),
        partition_columns: std::collections::BTreeMap::new(),
        reconcile_ms: None,
    }
}
