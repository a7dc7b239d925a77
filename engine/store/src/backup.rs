//! Copies of a SQLite file: taken while engines write to it, and looked at before one takes its place. PostgreSQL has its
//! own tools for both.

use std::path::Path;

use sqlx::{ConnectOptions as _, Connection as _, Row as _, sqlite::SqliteConnectOptions};

use crate::{db::create_private, error::StoreError};

/// Writes a copy of the database at `from`, as of one instant, to `to`, which must not be there; engines may go on writing
/// meanwhile. The copy is for its owner alone, whole and without a log beside it.
///
/// # Errors
/// [`StoreError::Unavailable`] where either cannot be opened or written.
pub async fn sqlite_copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    // Made here, so that nobody else can read it at any moment; VACUUM INTO takes an empty file.
    create_private(to)?;
    let mut connection = SqliteConnectOptions::new().filename(from).create_if_missing(false).connect().await?;
    let copied = sqlx::query("VACUUM INTO ?").bind(to.display().to_string()).execute(&mut connection).await;
    let closed = connection.close().await;
    copied.map(drop).and(closed).map_err(StoreError::from)?;
    let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::Unavailable(format!("{}: {error}", to.display())))
}

/// Whether a file is a sound SQLite database; says what is wrong with it where it is not.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Unavailable`].
pub async fn sqlite_check(file: &Path) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false).immutable(true).read_only(true);
    let mut connection = options.connect().await?;
    let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
    let said: String = row.try_get(0)?;
    let tables = "SELECT count(*) FROM sqlite_master WHERE name IN ('deliveries', 'events', 'meta')";
    let tables: i64 = sqlx::query(tables).fetch_one(&mut connection).await?.try_get(0)?;
    connection.close().await?;
    match (said.as_str(), tables) {
        ("ok", 3) => Ok(()),
        ("ok", _) => Err(StoreError::Corrupt("a database that is not Engate's".to_owned())),
        _ => Err(StoreError::Corrupt(said)),
    }
}

/// Whether nobody has the database open. Where that is so its log is folded in, so that the file alone is all of it.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Unavailable`] where it cannot be opened at all.
pub async fn sqlite_is_free(file: &Path) -> Result<bool, StoreError> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false);
    let mut connection = options.busy_timeout(std::time::Duration::ZERO).connect().await?;
    // Leaving WAL needs the file for itself: with any other connection open it is refused.
    let left = sqlx::query("PRAGMA journal_mode = DELETE").fetch_one(&mut connection).await;
    let closed = connection.close().await;
    let mode = match left {
        Ok(row) => row.try_get::<String, _>(0)?,
        Err(error) => match StoreError::from(error) {
            StoreError::Unavailable(_) => return Ok(false),
            other => return Err(other),
        },
    };
    closed?;
    Ok(mode == "delete")
}
