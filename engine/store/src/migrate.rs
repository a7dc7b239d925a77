//! Migrations: applied by sqlx's migrator, recorded with a checksum, safe when several nodes start at once.
//!
//! A migration that has been released is never edited; a change is a new file at the end of [`LIST`], written
//! so that the version before still works on it (expand first, contract a release later).

use std::borrow::Cow;

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{
    db::{Database, Db, postgres_options},
    error::StoreError,
    sql::Dialect,
};

/// Number, name, text.
const LIST: &[(i64, &str, &str)] = &[
    (1, "base", include_str!("../migrations/0001_base.sql")),
    (2, "jobs", include_str!("../migrations/0002_jobs.sql")),
    (3, "sync", include_str!("../migrations/0003_sync.sql")),
    (4, "wizards", include_str!("../migrations/0004_wizards.sql")),
    (5, "history", include_str!("../migrations/0005_history.sql")),
    (6, "feeds", include_str!("../migrations/0006_feeds.sql")),
    (7, "taken before", include_str!("../migrations/0007_taken_before.sql")),
    (8, "event schemas", include_str!("../migrations/0008_event_schemas.sql")),
    (9, "recoveries", include_str!("../migrations/0009_recoveries.sql")),
];

/// Brings the database to this version's schema.
pub(crate) async fn migrate(database: &Database, db: &Db) -> Result<(), StoreError> {
    run(database, db, i64::MAX).await
}

/// Applies every migration up to `last`.
pub(crate) async fn run(database: &Database, db: &Db, last: i64) -> Result<(), StoreError> {
    let dialect = db.dialect();
    let migrator = Migrator::with_migrations(LIST.iter().map(|entry| migration(dialect, *entry)).collect());
    match (database, db) {
        (_, Db::Sqlite { writer, .. }) => {
            let mut conn = writer.acquire().await?;
            migrator.run_to(last, &mut *conn).await.map_err(failed)
        }
        (Database::Postgres(url), Db::Postgres(_)) => {
            // A connection of its own: the migrator's advisory lock belongs to the session, and one that fails
            // half-way must take the lock with it instead of going back to the pool with it.
            let mut conn = postgres_options(url)?.connect().await?;
            let result = migrator.run_to(last, &mut conn).await.map_err(failed);
            conn.close().await?;
            result
        }
        (Database::Sqlite(_), Db::Postgres(_)) => Ok(()),
    }
}

fn migration(dialect: Dialect, (version, name, text): (i64, &'static str, &str)) -> Migration {
    let sql = AssertSqlSafe(expand(dialect, text)).into_sql_str();
    Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
}

/// Puts a dialect's column types and lines in place.
fn expand(dialect: Dialect, text: &str) -> String {
    // In PostgreSQL's "C" collation text compares by its bytes, as in SQLite.
    let column = dialect.pick("TEXT", "TEXT COLLATE \"C\"");
    let (mine, other) = dialect.pick(("[sqlite]", "[postgres]"), ("[postgres]", "[sqlite]"));
    let lines = text.lines().filter(|line| !line.starts_with(other));
    let lines = lines.map(|line| line.strip_prefix(mine).unwrap_or(line));
    let joined = lines.collect::<Vec<_>>().join("\n");
    joined
        .replace("{text}", column)
        .replace("{blob}", dialect.pick("BLOB", "BYTEA"))
        .replace("{id}", dialect.pick("BLOB", "UUID"))
}

fn failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) => StoreError::from(error),
        MigrateError::VersionMissing(version) => StoreError::Migration(format!(
            "it was written by a newer version of Engate (migration {version}); start that version or newer"
        )),
        other => StoreError::Migration(other.to_string()),
    }
}

/// The texts of all migrations.
#[cfg(test)]
pub(crate) fn texts() -> impl Iterator<Item = &'static str> {
    LIST.iter().map(|(_, _, text)| *text)
}
