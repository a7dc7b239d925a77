//! Pages of rows, in an order that the next page goes on with.

use engate_model::{
    Timestamp,
    sync::{Expected, PageSize, Position, RowHash},
};

use crate::{
    connection::Connection,
    error::SourceError,
    plan::{KeyPart, Plan, key_text, key_values},
    query::{Bind, Dialect, Query, Row},
    record,
};

/// Keys that one statement asks for at most.
const KEYS_AT_ONCE: usize = 100;
/// Rows that share an identity which is none of a unique key, per key asked for, at most.
const ROWS_PER_KEY_MAX: usize = 50;

/// Where a page begins and up to where it may go.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// By the stamp and the key, or by the key alone: then rows without a stamp are read too.
    pub by_stamp: bool,
    /// Where it goes on.
    pub position: &'a Position,
    /// By the stamp: the largest stamp that is read.
    pub reach: Timestamp,
}

/// A row as it is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// What identifies the record: the key's value, or a JSON array of several.
    pub key: String,
    /// By what rows are put in order, column by column.
    pub order: Vec<String>,
    /// When it was last changed; none where the source does not say.
    pub stamp: Option<Timestamp>,
    /// Whether it is marked as deleted.
    pub deleted: bool,
    /// The record, as a compact JSON object.
    pub data: String,
    /// What tells it from another version of itself.
    pub hash: RowHash,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPage {
    /// The rows, in the order of the scan.
    pub rows: Vec<SourceRow>,
    /// Whether there may be more behind them.
    pub more: bool,
}

impl Connection {
    /// Reads a page: at most so many rows, and no row more once their records have so many bytes.
    ///
    /// # Errors
    /// [`SourceError::Row`] for a row that cannot be carried, or when the source gives no answer.
    pub async fn page(&self, plan: &Plan, scan: Scan<'_>, size: PageSize) -> Result<RowPage, SourceError> {
        let rows_max = size.rows.max(1);
        let mut query = plan.select();
        plan.push_conditions(&mut query);
        if scan.by_stamp {
            plan.push_stamps(&mut query, scan)?;
        } else if let Position::Row { key, .. } = scan.position {
            plan.check_order(key)?;
            query.push(" AND ");
            plan.push_behind(&mut query, None, key);
        }
        query.push(" ORDER BY ");
        if scan.by_stamp {
            query.push(&plan.stamp_compared()).push(", ");
        }
        let order: Vec<_> = plan.scan.iter().map(|part| part.quoted.as_str()).collect();
        query.push(&order.join(", ")).push(" LIMIT ").bind(Bind::Int(i64::from(rows_max)));
        let (mut rows, mut bytes, mut full) = (Vec::new(), 0_usize, false);
        self.each(&query, |row| {
            let row = plan.row(&row)?;
            bytes = bytes.saturating_add(row.data.len());
            if !rows.is_empty() && bytes > size.bytes as usize {
                full = true;
                return Ok(false);
            }
            rows.push(row);
            Ok(true)
        })
        .await?;
        let more = full || rows.len() >= rows_max as usize;
        Ok(RowPage { rows, more })
    }

    /// The rows of these keys that are there, marked as deleted or not. Where the key is none of a unique one there may be
    /// several of a key.
    ///
    /// # Errors
    /// [`SourceError::Row`] for what is no key of the plan, or when the source gives no answer.
    pub async fn rows_of(&self, plan: &Plan, keys: &[String]) -> Result<Vec<SourceRow>, SourceError> {
        let mut rows = Vec::new();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let mut query = plan.select();
            query.kept = false;
            plan.push_conditions(&mut query);
            query.push(" AND (");
            for (n, key) in keys.iter().enumerate() {
                query.push(if n == 0 { "(" } else { " OR (" });
                let values = key_values(key, plan.identity.len())?;
                for (n, (part, value)) in plan.identity.iter().zip(values).enumerate() {
                    query.push(if n == 0 { "" } else { " AND " }).push(&part.quoted).push(" = ");
                    query.bind_as(part.bound(), Bind::Text(value));
                }
                query.push(")");
            }
            query.push(&format!(") LIMIT {}", keys.len() * ROWS_PER_KEY_MAX));
            self.each(&query, |row| {
                rows.push(plan.row(&row)?);
                Ok(true)
            })
            .await?;
        }
        Ok(rows)
    }

    /// How many rows a stream has, for people: SQLite counts, the others say what their statistics do. None where they have
    /// none, or know nothing of the part of a table that is read.
    ///
    /// # Errors
    /// When the source gives no answer.
    pub async fn expected(&self, plan: &Plan) -> Result<Option<Expected>, SourceError> {
        let counted = plan.dialect == Dialect::Sqlite;
        let (head, conditions) = match plan.dialect {
            Dialect::Sqlite => (format!("SELECT count(*) FROM {} WHERE 1 = 1", plan.from), true),
            Dialect::Postgres => (format!("EXPLAIN (FORMAT JSON) SELECT 1 FROM {} WHERE 1 = 1", plan.from), true),
            Dialect::MySql if plan.conditions.is_empty() => {
                let sql = "SELECT CAST(table_rows AS CHAR) FROM information_schema.tables WHERE CONCAT(table_schema, '.', \
                           table_name) = ";
                (sql.to_owned(), false)
            }
            Dialect::MySql => return Ok(None),
        };
        let mut query = Query::new(plan.dialect, head);
        if conditions {
            plan.push_conditions(&mut query);
        } else {
            query.bind(Bind::Text(plan.table().to_owned()));
        }
        query.kept = false;
        let mut told = None;
        self.each(&query, |row| {
            told = row.text(0)?;
            Ok(false)
        })
        .await?;
        let rows = told.as_deref().and_then(|told| match plan.dialect {
            Dialect::Postgres => planned(told),
            Dialect::MySql | Dialect::Sqlite => told.parse().ok(),
        });
        Ok(rows.map(|rows| Expected { rows, counted }))
    }

    /// The largest stamp there is. Nothing is decided by it: it is read in another snapshot than the rows.
    ///
    /// # Errors
    /// When the source gives no answer.
    pub async fn largest_stamp(&self, plan: &Plan) -> Result<Option<Timestamp>, SourceError> {
        let mut query = Query::new(plan.dialect, format!("SELECT max({}) FROM {}", plan.stamp_micros(), plan.from));
        query.push(" WHERE 1 = 1");
        plan.push_conditions(&mut query);
        let mut largest = None;
        self.each(&query, |row| {
            largest = row.int(0)?.map(Timestamp::from_micros);
            Ok(true)
        })
        .await?;
        Ok(largest)
    }
}

/// The rows that PostgreSQL's planner reckons with.
fn planned(told: &str) -> Option<u64> {
    let plans: serde_json::Value = serde_json::from_str(told).ok()?;
    plans.pointer("/0/Plan/Plan Rows")?.as_f64().map(|rows| rows as u64)
}

impl Plan {
    /// What is told of a record that is gone: its key.
    ///
    /// # Errors
    /// [`SourceError::Row`] for what is no key of the plan.
    pub fn gone(&self, key: &str) -> Result<String, SourceError> {
        let values = key_values(key, self.identity.len())?;
        Ok(record::key_object(&self.shape().columns, &self.shape().key, &values))
    }

    fn select(&self) -> Query {
        Query::new(self.dialect, format!("SELECT {} FROM {} WHERE 1 = 1", self.asked.list, self.from))
    }

    fn row(&self, row: &Row<'_>) -> Result<SourceRow, SourceError> {
        let asked = &self.asked;
        let stamp = row.int(0)?.map(Timestamp::from_micros);
        let deleted = match self.mark.as_ref().zip(asked.mark) {
            Some((mark, place)) => mark.is_set(row.cell(place)?),
            None => false,
        };
        let value = |part: &KeyPart, at: usize| {
            let null = || SourceError::Row(format!("table {}: a row has no {}", self.table, part.name));
            row.text(at)?.ok_or_else(null)
        };
        let values = |parts: &[KeyPart], places: &[usize]| {
            parts.iter().zip(places).map(|(part, at)| value(part, *at)).collect::<Result<Vec<_>, _>>()
        };
        let order = values(&self.scan, &asked.scan)?;
        let key = if self.identity_is_unique() {
            key_text(&order)
        } else {
            key_text(&values(&self.identity, &asked.identity)?)
        };
        let data = record::object(&self.columns, row, &asked.columns)?;
        let hash = RowHash::of(data.as_bytes(), deleted);
        Ok(SourceRow { key, order, stamp, deleted, data, hash })
    }

    fn push_conditions(&self, query: &mut Query) {
        for (part, value) in &self.conditions {
            query.push(" AND ").push(&part.quoted).push(" = ").bind_as(part.bound(), Bind::Text(value.clone()));
        }
    }

    fn push_stamps(&self, query: &mut Query, scan: Scan<'_>) -> Result<(), SourceError> {
        let stamp = self.stamp_compared();
        query.push(" AND ").push(&stamp).push(" <= ");
        self.bind_stamp(query, scan.reach.as_micros(), false);
        match scan.position {
            Position::Start | Position::Sent(_) | Position::Cursor(_) => {
                query.push(" AND ").push(&stamp).push(" IS NOT NULL");
            }
            Position::Stamp(from) => self.push_from(query, *from),
            Position::Row { stamp: None, .. } => {
                return Err(SourceError::Row("a place in the order of stamps has no stamp".to_owned()));
            }
            Position::Row { stamp: Some(at), key } => {
                self.check_order(key)?;
                self.push_from(query, *at);
                query.push(" AND ");
                self.push_behind(query, Some(*at), key);
            }
        }
        Ok(())
    }

    /// From an instant on; said of the bare column where an index serves that.
    fn push_from(&self, query: &mut Query, from: Timestamp) {
        if let Some(day) = self.day_before(from.as_micros()) {
            query.push(" AND ").push(&self.stamp).push(" >= ").bind(Bind::Text(day));
        }
        query.push(" AND ").push(&self.stamp_compared()).push(" >= ");
        self.bind_stamp(query, from.as_micros(), true);
    }

    fn check_order(&self, key: &[String]) -> Result<(), SourceError> {
        if key.len() == self.scan.len() {
            return Ok(());
        }
        let message = "the key by which the table is read has another number of columns than when the pass began";
        Err(SourceError::Unfit(format!("table {}: {message}; begin a new epoch", self.table)))
    }

    /// Strictly behind a row, in the database's own order.
    fn push_behind(&self, query: &mut Query, stamp: Option<Timestamp>, key: &[String]) {
        if self.dialect == Dialect::MySql {
            return self.push_behind_spelled_out(query, stamp, key);
        }
        let columns = self.scan.iter().map(|part| part.quoted.clone());
        let columns: Vec<_> = stamp.map(|_| self.stamp_compared()).into_iter().chain(columns).collect();
        query.push("(").push(&columns.join(", ")).push(") > (");
        if let Some(stamp) = stamp {
            self.bind_stamp(query, stamp.as_micros(), false);
        }
        for (n, (part, value)) in self.scan.iter().zip(key).enumerate() {
            query.push(if n == 0 && stamp.is_none() { "" } else { ", " });
            query.bind_as(part.bound(), Bind::Text(value.clone()));
        }
        query.push(")");
    }

    /// MySQL reads a comparison of rows without any index.
    fn push_behind_spelled_out(&self, query: &mut Query, stamp: Option<Timestamp>, key: &[String]) {
        let mut depth = 0;
        if let Some(stamp) = stamp {
            query.push("(").push(&self.stamp).push(" > ");
            self.bind_stamp(query, stamp.as_micros(), false);
            query.push(" OR (").push(&self.stamp).push(" = ");
            self.bind_stamp(query, stamp.as_micros(), false);
            query.push(" AND ");
            depth += 1;
        } else if let (Some(part), Some(value)) = (self.scan.first(), key.first()) {
            query.push(&part.quoted).push(" >= ").bind_as(part.bound(), Bind::Text(value.clone())).push(" AND ");
        }
        let last = self.scan.len().saturating_sub(1);
        for (n, (part, value)) in self.scan.iter().zip(key).enumerate() {
            query.push("(").push(&part.quoted).push(" > ").bind_as(part.bound(), Bind::Text(value.clone()));
            if n == last {
                query.push(")");
            } else {
                query.push(" OR (").push(&part.quoted).push(" = ");
                query.bind_as(part.bound(), Bind::Text(value.clone())).push(" AND ");
                depth += 1;
            }
        }
        query.push(&"))".repeat(depth));
    }
}
