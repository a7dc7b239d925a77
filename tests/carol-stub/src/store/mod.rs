//! The stub's SQLite file. One connection writes, under full durability: what was answered with success is on disk.
//!
//! Who acts here: `staging` holds tables, rows and batches; `clients` who may call and with which token; `queues` the
//! SmartLink messages; this file the settings that an operator changes.

pub(crate) mod clients;
pub(crate) mod queues;
pub(crate) mod staging;

use std::time::Duration;

use serde_json::Value;
use sqlx::{
    Row as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use crate::Options;

/// Connections that read at once.
const READERS_MAX: u32 = 4;
/// How long a call waits for the writer.
const WRITER_WAIT_MAX: Duration = Duration::from_secs(30);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clients (
    client_id TEXT PRIMARY KEY, secret TEXT NOT NULL, tenant TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS connectors (id TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (id, key));
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, tenant TEXT NOT NULL,
    issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS staging_tables (
    connector TEXT NOT NULL, name TEXT NOT NULL, definition TEXT NOT NULL, PRIMARY KEY (connector, name));
CREATE TABLE IF NOT EXISTS staging_rows (
    connector TEXT NOT NULL, staging TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, deleted INTEGER NOT NULL,
    mdm_id TEXT NOT NULL, counter INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    batch TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (connector, staging, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    connector TEXT NOT NULL, id TEXT NOT NULL, opened_at INTEGER NOT NULL, summary TEXT, PRIMARY KEY (connector, id));
CREATE TABLE IF NOT EXISTS pages (
    connector TEXT NOT NULL, batch TEXT NOT NULL, sequence INTEGER NOT NULL, staging TEXT NOT NULL,
    records INTEGER NOT NULL, digest TEXT NOT NULL, repeats INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL,
    PRIMARY KEY (connector, batch, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS provisionings (
    id TEXT PRIMARY KEY, contract TEXT NOT NULL UNIQUE, asked INTEGER NOT NULL DEFAULT 0, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS queues (tenant TEXT NOT NULL, audience TEXT NOT NULL, PRIMARY KEY (tenant, audience));
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, audience TEXT NOT NULL, type TEXT NOT NULL,
    body TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', receipt TEXT, held_until INTEGER,
    taken INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS messages_by_queue ON messages (tenant, audience, state, id);
";

pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    pub(crate) async fn open(options: &Options) -> Result<Self, sqlx::Error> {
        let file = SqliteConnectOptions::new()
            .filename(options.data.join("carol-stub.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(WRITER_WAIT_MAX);
        let pool = || SqlitePoolOptions::new().acquire_timeout(WRITER_WAIT_MAX);
        let writer = pool().max_connections(1).connect_with(file.clone()).await?;
        sqlx::raw_sql(TABLES).execute(&writer).await?;
        let readers = pool().max_connections(READERS_MAX).connect_with(file).await?;
        let store = Self { writer, readers };
        store.client_put(&options.client_id, &options.client_secret, &options.tenant).await?;
        store.connector_put(&options.connector_id, &options.connector_key).await?;
        Ok(store)
    }

    /// A transaction that has the writer to itself.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    pub(crate) async fn setting(&self, name: &str) -> Result<Option<Value>, sqlx::Error> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = ?").bind(name.to_owned());
        let row = row.fetch_optional(&self.readers).await?;
        let text: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(crate) async fn setting_put(&self, name: &str, value: &Value) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
        sqlx::query(sql).bind(name.to_owned()).bind(value.to_string()).execute(&self.writer).await?;
        Ok(())
    }

    /// The id of a contract's provisioning, which is made when there is none.
    pub(crate) async fn provisioning_request(&self, contract: &str, plan: &Value) -> Result<String, sqlx::Error> {
        let sql = "INSERT INTO provisionings (id, contract, plan) VALUES (?, ?, ?) \
                   ON CONFLICT (contract) DO UPDATE SET contract = excluded.contract RETURNING id";
        let query = sqlx::query(sql).bind(crate::fresh_id()).bind(contract.to_owned()).bind(plan.to_string());
        query.fetch_one(&self.writer).await?.try_get(0)
    }

    /// Starts a provisioning that failed from the beginning, under the plan of now.
    pub(crate) async fn provisioning_restart(&self, id: &str, plan: &Value) -> Result<(), sqlx::Error> {
        let query = sqlx::query("UPDATE provisionings SET asked = 0, plan = ? WHERE id = ?");
        query.bind(plan.to_string()).bind(id.to_owned()).execute(&self.writer).await?;
        Ok(())
    }

    /// How often a provisioning was asked about, and its plan.
    pub(crate) async fn provisioning_find(&self, id: &str) -> Result<Option<(i64, Value)>, sqlx::Error> {
        let query = sqlx::query("SELECT asked, plan FROM provisionings WHERE id = ?").bind(id.to_owned());
        query.fetch_optional(&self.readers).await?.as_ref().map(asked_and_plan).transpose()
    }

    /// As [`Store::provisioning_find`], this question counted.
    pub(crate) async fn provisioning_ask(&self, id: &str) -> Result<Option<(i64, Value)>, sqlx::Error> {
        let sql = "UPDATE provisionings SET asked = asked + 1 WHERE id = ? RETURNING asked, plan";
        let query = sqlx::query(sql).bind(id.to_owned());
        query.fetch_optional(&self.writer).await?.as_ref().map(asked_and_plan).transpose()
    }
}

fn asked_and_plan(row: &SqliteRow) -> Result<(i64, Value), sqlx::Error> {
    let plan: String = row.try_get(1)?;
    Ok((row.try_get(0)?, serde_json::from_str(&plan).unwrap_or_default()))
}
