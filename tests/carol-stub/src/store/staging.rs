//! Staging tables, their rows, and the batches that rows came in.

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use sqlx::{Row as _, Sqlite, Transaction};

use super::Store;
use crate::{answers::Refusal, now_ms};

/// What a request of the intake brings, checked against its table.
pub(crate) struct Page {
    pub(crate) connector: String,
    pub(crate) table: String,
    pub(crate) batch: String,
    pub(crate) sequence: i64,
    /// SHA-256 of the body, gzip taken off.
    pub(crate) digest: String,
    pub(crate) records: Vec<Record>,
}

/// A record, by its crosswalk key.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    /// The values of the keys, a JSON array as text.
    pub(crate) key: String,
    /// The record as it came, digits as spelled.
    pub(crate) data: Box<RawValue>,
    pub(crate) deleted: bool,
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Its rows are stored.
    Now,
    /// The very same page was stored before; nothing was done.
    Before,
}

/// What a summary tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) records: i64,
    pub(crate) requests: i64,
}

/// A row of a staging table, for the oracle.
#[derive(Debug, Serialize)]
pub(crate) struct StagedRow {
    pub(crate) connector: String,
    /// The values of the crosswalk's keys, a JSON array as text.
    pub(crate) key: String,
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) deleted: bool,
    #[serde(rename = "mdmId")]
    pub(crate) mdm_id: String,
    #[serde(rename = "mdmCounterForEntity")]
    pub(crate) counter: i64,
    #[serde(rename = "mdmCreated")]
    pub(crate) created_at: i64,
    #[serde(rename = "mdmLastUpdated")]
    pub(crate) updated_at: i64,
    pub(crate) batch: String,
    pub(crate) sequence: i64,
}

impl Store {
    pub(crate) async fn table_find(&self, connector: &str, name: &str) -> Result<Option<Value>, sqlx::Error> {
        let query = sqlx::query("SELECT definition FROM staging_tables WHERE connector = ? AND name = ?");
        let row = query.bind(connector.to_owned()).bind(name.to_owned()).fetch_optional(&self.readers).await?;
        let text: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps a definition; rows that are there stay. Whether there was none before.
    pub(crate) async fn table_put(&self, connector: &str, name: &str, definition: &Value) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO staging_tables (connector, name, definition) VALUES (?, ?, ?) \
                   ON CONFLICT DO UPDATE SET definition = excluded.definition";
        let query = sqlx::query(sql).bind(connector.to_owned()).bind(name.to_owned()).bind(definition.to_string());
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// Takes a table and its rows away; whether it was there.
    pub(crate) async fn table_drop(&self, connector: &str, name: &str) -> Result<bool, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query("DELETE FROM staging_rows WHERE connector = ? AND staging = ?");
        rows.bind(connector.to_owned()).bind(name.to_owned()).execute(&mut *transaction).await?;
        let table = sqlx::query("DELETE FROM staging_tables WHERE connector = ? AND name = ?");
        let table = table.bind(connector.to_owned()).bind(name.to_owned()).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(table.rows_affected() > 0)
    }

    /// Stores a page: numbers without a gap, a repeat only when it is the same, nothing after the summary.
    pub(crate) async fn page_take(&self, page: &Page) -> Result<Taken, Refusal> {
        let mut transaction = self.begin().await?;
        let pages = "SELECT digest, (SELECT coalesce(max(sequence), 0) FROM pages p WHERE p.connector = b.connector \
                     AND p.batch = b.id), b.summary IS NOT NULL FROM batches b \
                     LEFT JOIN pages q ON q.connector = b.connector AND q.batch = b.id AND q.sequence = ? \
                     WHERE b.connector = ? AND b.id = ?";
        let query = sqlx::query(pages).bind(page.sequence).bind(page.connector.clone()).bind(page.batch.clone());
        let batch = query.fetch_optional(&mut *transaction).await?;
        let (digest, last, is_closed): (Option<String>, i64, bool) = match &batch {
            Some(row) => (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?),
            None => (None, 0, false),
        };
        match digest {
            Some(digest) if digest == page.digest => {
                page_repeated(&mut transaction, page).await?;
                transaction.commit().await?;
                return Ok(Taken::Before);
            }
            Some(_) => {
                let message = format!("sequence {} of this batch was sent before with another body", page.sequence);
                return Err(Refusal::bad("sequence_repeated", message).about("batchIdSequence"));
            }
            None => {}
        }
        if is_closed {
            let message = "the batch has its summary already; nothing can be added to it";
            return Err(Refusal::bad("batch_closed", message).about("batchId"));
        }
        if page.sequence != last + 1 {
            let message = format!("sequence {} is missing before {}", last + 1, page.sequence);
            return Err(Refusal::bad("sequence_gap", message).about("batchIdSequence"));
        }
        page_insert(&mut transaction, page, batch.is_none()).await?;
        transaction.commit().await?;
        Ok(Taken::Now)
    }

    /// Ends a batch: the counts must be true. A repeat must tell the same.
    pub(crate) async fn batch_close(
        &self,
        connector: &str,
        batch: &str,
        told: Counts,
        text: &str,
    ) -> Result<(), Refusal> {
        let mut transaction = self.begin().await?;
        let sql = "SELECT b.summary, count(p.sequence), coalesce(sum(p.records), 0) FROM batches b \
                   LEFT JOIN pages p ON p.connector = b.connector AND p.batch = b.id \
                   WHERE b.connector = ? AND b.id = ? GROUP BY b.connector, b.id";
        let query = sqlx::query(sql).bind(connector.to_owned()).bind(batch.to_owned());
        let Some(row) = query.fetch_optional(&mut *transaction).await? else {
            let message = "nothing was sent in this batch; a summary comes last";
            return Err(Refusal::new(http::StatusCode::NOT_FOUND, "batch_unknown", message).about("batchId"));
        };
        let summary: Option<String> = row.try_get(0)?;
        let stored = Counts { requests: row.try_get(1)?, records: row.try_get(2)? };
        if told.records != stored.records {
            let message = format!("totalRecords is {}, but {} came", told.records, stored.records);
            return Err(Refusal::bad("wrong_count", message).about("totalRecords"));
        }
        if told.requests != stored.requests {
            let message = format!("totalRequests is {}, but {} came", told.requests, stored.requests);
            return Err(Refusal::bad("wrong_count", message).about("totalRequests"));
        }
        if summary.is_none() {
            let query = sqlx::query("UPDATE batches SET summary = ? WHERE connector = ? AND id = ?");
            let query = query.bind(text.to_owned()).bind(connector.to_owned()).bind(batch.to_owned());
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Rows of a table behind the key `after`, in the order of their keys.
    pub(crate) async fn rows_list(&self, table: &str, after: &Place, most: i64) -> Result<Vec<StagedRow>, sqlx::Error> {
        let sql = "SELECT connector, key, data, deleted, mdm_id, counter, created_at, updated_at, batch, sequence \
                   FROM staging_rows WHERE staging = ? AND (connector, key) > (?, ?) ORDER BY connector, key LIMIT ?";
        let query = sqlx::query(sql).bind(table.to_owned()).bind(after.connector.clone()).bind(after.key.clone());
        let rows = query.bind(most).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let data: String = row.try_get(2)?;
                Ok(StagedRow {
                    connector: row.try_get(0)?,
                    key: row.try_get(1)?,
                    data: RawValue::from_string(data).ok(),
                    deleted: row.try_get(3)?,
                    mdm_id: row.try_get(4)?,
                    counter: row.try_get(5)?,
                    created_at: row.try_get(6)?,
                    updated_at: row.try_get(7)?,
                    batch: row.try_get(8)?,
                    sequence: row.try_get(9)?,
                })
            })
            .collect()
    }

    /// Every table with what it holds.
    pub(crate) async fn table_counts(&self) -> Result<Vec<Value>, sqlx::Error> {
        let sql = "SELECT t.connector, t.name, count(r.key), coalesce(sum(r.deleted), 0), coalesce(sum(r.counter), 0) \
                   FROM staging_tables t LEFT JOIN staging_rows r ON r.connector = t.connector AND r.staging = t.name \
                   GROUP BY t.connector, t.name ORDER BY t.connector, t.name";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let (rows, deleted): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
                Ok(json!({
                    "connector": row.try_get::<String, _>(0)?, "table": row.try_get::<String, _>(1)?,
                    "rows": rows, "deleted": deleted, "live": rows - deleted, "writes": row.try_get::<i64, _>(4)?,
                }))
            })
            .collect()
    }

    /// The batches, newest first.
    pub(crate) async fn batch_list(&self, most: i64) -> Result<Vec<Value>, sqlx::Error> {
        let sql = "SELECT b.connector, b.id, b.opened_at, b.summary, count(p.sequence), coalesce(sum(p.records), 0), \
                   coalesce(sum(p.repeats), 0), coalesce(min(p.staging), ''), b.rowid FROM batches b \
                   LEFT JOIN pages p ON p.connector = b.connector AND p.batch = b.id \
                   GROUP BY b.connector, b.id ORDER BY b.rowid DESC LIMIT ?";
        let rows = sqlx::query(sql).bind(most).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let summary: Option<String> = row.try_get(3)?;
                let summary: Option<Value> = summary.and_then(|text| serde_json::from_str(&text).ok());
                Ok(json!({
                    "connector": row.try_get::<String, _>(0)?, "batch": row.try_get::<String, _>(1)?,
                    "opened_at": row.try_get::<i64, _>(2)?, "closed": summary.is_some(), "summary": summary,
                    "requests": row.try_get::<i64, _>(4)?, "records": row.try_get::<i64, _>(5)?,
                    "repeats": row.try_get::<i64, _>(6)?, "table": row.try_get::<String, _>(7)?,
                }))
            })
            .collect()
    }

    /// Pages that were stored, pages that came again, and records of both.
    pub(crate) async fn page_counts(&self) -> Result<Value, sqlx::Error> {
        let sql = "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(repeats), 0), \
                   coalesce(sum(records * repeats), 0) FROM pages";
        let row = sqlx::query(sql).fetch_one(&self.readers).await?;
        Ok(json!({
            "requests": row.try_get::<i64, _>(0)?, "records": row.try_get::<i64, _>(1)?,
            "repeated_requests": row.try_get::<i64, _>(2)?, "repeated_records": row.try_get::<i64, _>(3)?,
        }))
    }
}

/// Where a listing of rows goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) connector: String,
    pub(crate) key: String,
}

async fn page_repeated(transaction: &mut Transaction<'static, Sqlite>, page: &Page) -> Result<(), sqlx::Error> {
    let sql = "UPDATE pages SET repeats = repeats + 1 WHERE connector = ? AND batch = ? AND sequence = ?";
    let query = sqlx::query(sql).bind(page.connector.clone()).bind(page.batch.clone()).bind(page.sequence);
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn page_insert(
    transaction: &mut Transaction<'static, Sqlite>,
    page: &Page,
    is_first: bool,
) -> Result<(), sqlx::Error> {
    let now = now_ms();
    if is_first {
        let query = sqlx::query("INSERT INTO batches (connector, id, opened_at) VALUES (?, ?, ?)");
        let query = query.bind(page.connector.clone()).bind(page.batch.clone()).bind(now);
        query.execute(&mut **transaction).await?;
    }
    let sql =
        "INSERT INTO pages (connector, batch, sequence, staging, records, digest, at) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let query = sqlx::query(sql).bind(page.connector.clone()).bind(page.batch.clone()).bind(page.sequence);
    let records = i64::try_from(page.records.len()).unwrap_or(i64::MAX);
    let query = query.bind(page.table.clone()).bind(records).bind(page.digest.clone()).bind(now);
    query.execute(&mut **transaction).await?;
    // One statement for all records; the last of two with one key wins, as they stand in the page.
    let sql = "INSERT INTO staging_rows (connector, staging, key, data, deleted, mdm_id, counter, created_at, \
               updated_at, batch, sequence) \
               SELECT ?1, ?2, value ->> 'key', value -> 'data', value ->> 'deleted', lower(hex(randomblob(16))), 1, \
               ?3, ?3, ?4, ?5 FROM json_each(?6) WHERE true ORDER BY id \
               ON CONFLICT DO UPDATE SET data = excluded.data, deleted = excluded.deleted, counter = counter + 1, \
               updated_at = excluded.updated_at, batch = excluded.batch, sequence = excluded.sequence";
    let query = sqlx::query(sql).bind(page.connector.clone()).bind(page.table.clone()).bind(now);
    let records = serde_json::to_string(&page.records).unwrap_or_default();
    query.bind(page.batch.clone()).bind(page.sequence).bind(records).execute(&mut **transaction).await?;
    Ok(())
}
