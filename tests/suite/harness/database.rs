//! A database of a test's own.

use std::{
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// Which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A file; always there.
    Sqlite,
    /// A server that may not be there.
    Postgres,
}

/// An empty database, and the folder for an engine's files beside it.
pub(crate) struct Database {
    /// As `engate serve --database` takes it.
    pub(crate) url: String,
    folder: TempDir,
    server: Option<Server>,
}

/// Where the PostgreSQL database came from.
struct Server {
    url: String,
    name: String,
}

impl Database {
    /// Makes one; none where no server answers.
    pub(crate) async fn create(backend: Backend) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("engate-test-").tempdir().unwrap();
        match backend {
            Backend::Sqlite => {
                let url = format!("sqlite:{}", folder.path().join("engate.db").display());
                Some(Self { url, folder, server: None })
            }
            Backend::Postgres => {
                let server = Server::create().await?;
                Some(Self { url: server.database_url(), folder, server: Some(server) })
            }
        }
    }

    /// Where the database file is (SQLite), and engines may put theirs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Drops it; connections that engines left open are closed.
    pub(crate) async fn remove(self) {
        if let Some(server) = self.server {
            let dropped = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", server.name);
            execute(&server.url, &dropped).await.unwrap();
        }
    }
}

impl Server {
    async fn create() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("engate_test_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let candidates = match std::env::var("ENGATE_TEST_POSTGRES") {
            Ok(url) => vec![url],
            Err(_) => ["root", "postgres"].map(|user| format!("postgres://{user}@127.0.0.1:5432/postgres")).to_vec(),
        };
        for url in candidates {
            if execute(&url, &format!("CREATE DATABASE {name}")).await.is_ok() {
                return Some(Self { url, name });
            }
        }
        None
    }

    fn database_url(&self) -> String {
        let mut url = url::Url::parse(&self.url).unwrap();
        url.set_path(&self.name);
        url.to_string()
    }
}

async fn execute(url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

/// Runs SQL behind the engine's back, as someone does who has got at the database.
pub(crate) async fn meddle(url: &str, statement: &str) {
    if url.starts_with("postgres") {
        return execute(url, statement).await.unwrap();
    }
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
