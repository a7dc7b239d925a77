//! The only module that composes SQL. What it joins are static texts, numbers of placeholders and, for
//! PostgreSQL's partitions, names, times and ids; a value from outside never becomes part of a statement.

mod scan;

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use crate::{
    db::Session,
    error::StoreError,
    sql::{Dialect, Sql},
    value::{Kind, Row, Value},
};

pub(crate) use scan::{OrderTerm, Range, Scan, bounded, distinct, explain, joined, letters_index};

/// Rows that one bulk statement takes at most; more are split.
pub(crate) const BULK_ROWS_MAX: usize = 256;
/// Bytes of values that one bulk statement sends to PostgreSQL at most, unless one row alone has more: what fits
/// into one record of TLS. sqlx 0.9.0 leaves Nagle's algorithm on, and of a statement sent in two writes the
/// second waits some 40 ms for the acknowledgement of the first (fixed after that release, sqlx issue 4335).
const POSTGRES_BYTES_MAX: usize = 14_000;
/// Bytes that an element of an array has before its value.
const CELL_BYTES: usize = 4;
/// Bulk statements exist for these numbers of rows, so that each is prepared once, and at most a third of what is
/// bound is filling.
const SIZES: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, BULK_ROWS_MAX];

/// A statement over many rows of values: `head`, a source of rows, `tail`.
///
/// SQLite gets `VALUES` with a placeholder per cell, filled up to the next size with rows of NULL that the
/// source leaves out (the first column is never NULL). PostgreSQL gets one array per column, which it plans
/// once for any number of rows.
pub(crate) struct Bulk {
    head: &'static str,
    columns: &'static [(&'static str, Kind)],
    sqlite_tail: &'static str,
    postgres_tail: &'static str,
    sqlite: [OnceLock<Arc<str>>; SIZES.len()],
    postgres: OnceLock<Arc<str>>,
}

impl Bulk {
    pub(crate) const fn new(head: &'static str, columns: &'static [(&'static str, Kind)], tail: &'static str) -> Self {
        Self::with_twin_tails(head, columns, tail, tail)
    }

    pub(crate) const fn with_twin_tails(
        head: &'static str,
        columns: &'static [(&'static str, Kind)],
        sqlite_tail: &'static str,
        postgres_tail: &'static str,
    ) -> Self {
        Self {
            head,
            columns,
            sqlite_tail,
            postgres_tail,
            sqlite: [const { OnceLock::new() }; SIZES.len()],
            postgres: OnceLock::new(),
        }
    }

    /// Runs it over `cells`, row after row; gives the number of rows touched.
    pub(crate) async fn execute(&self, session: &mut Session, cells: Vec<Value>) -> Result<u64, StoreError> {
        let mut touched = 0;
        for (sql, args) in self.statements(session.dialect(), cells) {
            touched += session.execute(sql, args).await?;
        }
        Ok(touched)
    }

    /// Runs it over `cells` and reads what it gives.
    pub(crate) async fn rows(&self, session: &mut Session, cells: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for (sql, args) in self.statements(session.dialect(), cells) {
            rows.append(&mut session.rows(sql, args).await?);
        }
        Ok(rows)
    }

    fn statements(&self, dialect: Dialect, mut cells: Vec<Value>) -> Vec<(Sql, Vec<Value>)> {
        let width = self.columns.len();
        let mut out = Vec::with_capacity(cells.len() / (width * BULK_ROWS_MAX) + 1);
        while !cells.is_empty() {
            let rows = match dialect {
                Dialect::Sqlite => BULK_ROWS_MAX,
                Dialect::Postgres => rows_that_fit(cells.chunks(width)),
            };
            let rest = cells.split_off(cells.len().min(width * rows));
            out.push(match dialect {
                Dialect::Sqlite => self.sqlite_statement(cells),
                Dialect::Postgres => self.postgres_statement(cells),
            });
            cells = rest;
        }
        out
    }

    fn sqlite_statement(&self, mut cells: Vec<Value>) -> (Sql, Vec<Value>) {
        let given = cells.len() / self.columns.len();
        let fitting = SIZES.iter().zip(&self.sqlite).find(|(size, _)| **size >= given);
        let (rows, text) = match fitting {
            Some((size, cell)) => (*size, Arc::clone(cell.get_or_init(|| self.sqlite_text(*size)))),
            None => (given, self.sqlite_text(given)),
        };
        let filling = self.columns.iter().cycle().take(rows * self.columns.len() - cells.len());
        cells.extend(filling.map(|(_, kind)| Value::null(*kind)));
        (Sql::Composed(text), cells)
    }

    /// Whoever runs a bulk statement that fails gives up its transaction. Told so by `OR FAIL`, SQLite does not keep
    /// a copy of every page in case it had to undo the statement alone.
    fn sqlite_text(&self, rows: usize) -> Arc<str> {
        let head =
            self.head.replacen("INSERT INTO", "INSERT OR FAIL INTO", 1).replacen("UPDATE ", "UPDATE OR FAIL ", 1);
        format!("{head}{}{}", self.sqlite_source(rows), self.sqlite_tail).into()
    }

    fn sqlite_source(&self, rows: usize) -> String {
        let mut source = String::from("SELECT ");
        for (n, (name, _)) in self.columns.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let _ = write!(source, "{comma}column{} AS {name}", n + 1);
        }
        let row = format!("({})", vec!["?"; self.columns.len()].join(","));
        let _ = write!(source, " FROM (VALUES {}) WHERE column1 IS NOT NULL", vec![row.as_str(); rows].join(","));
        source
    }

    fn postgres_statement(&self, cells: Vec<Value>) -> (Sql, Vec<Value>) {
        let text = self
            .postgres
            .get_or_init(|| format!("{}{}{}", self.head, self.postgres_source(), self.postgres_tail).into());
        let mut arrays: Vec<Value> = self.columns.iter().map(|(_, kind)| Value::array(*kind)).collect();
        let mut cells = cells.into_iter();
        while !cells.as_slice().is_empty() {
            arrays.iter_mut().zip(cells.by_ref()).for_each(|(array, cell)| array.push(cell));
        }
        (Sql::Composed(Arc::clone(text)), arrays)
    }

    fn postgres_source(&self) -> String {
        let names = self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let mut source = format!("SELECT {names} FROM unnest(");
        for (n, (_, kind)) in self.columns.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let array = match kind {
                Kind::Int => "bigint[]",
                Kind::Text => "text[]",
                Kind::Blob => "bytea[]",
                Kind::Id => "uuid[]",
            };
            let _ = write!(source, "{comma}${}::{array}", n + 1);
        }
        let _ = write!(source, ") AS source ({names}) WHERE true");
        source
    }
}

/// How many of the rows, at least one, one statement to PostgreSQL takes.
fn rows_that_fit<'a>(rows: impl Iterator<Item = &'a [Value]>) -> usize {
    let mut bytes = 0;
    let fitting = rows.take_while(|row| {
        bytes += row.iter().map(|cell| cell.size() + CELL_BYTES).sum::<usize>();
        bytes <= POSTGRES_BYTES_MAX
    });
    fitting.count().clamp(1, BULK_ROWS_MAX)
}

/// The statements that give a partitioned table the partition `[from, to)`, named `name`, and move what the
/// default partition holds of it.
pub(crate) fn partition_create(table: &str, column: &str, name: &str, from: &str, to: &str) -> Vec<Sql> {
    let texts = [
        format!("CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
        format!(
            "WITH moved AS (DELETE FROM {table}_default WHERE {column} >= '{from}' AND {column} < '{to}' RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved"
        ),
        format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}')"),
    ];
    texts.into_iter().map(|text| Sql::Composed(text.into())).collect()
}

/// A statement about one partition: `{w}` stands for its name, `{before}` for a time in microseconds.
pub(crate) fn in_partition(text: &str, partition: &str, before: i64) -> Sql {
    Sql::Composed(text.replace("{w}", partition).replace("{before}", &before.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    static BULK: Bulk = Bulk::new("INSERT INTO t (a, b) ", &[("a", Kind::Text), ("b", Kind::Int)], " ON CONFLICT");

    fn cells(rows: usize) -> Vec<Value> {
        (0..rows).flat_map(|n| [Value::from("a"), Value::from(i64::try_from(n).unwrap())]).collect()
    }

    fn text(sql: &Sql) -> &str {
        match sql {
            Sql::Composed(text) => text,
            _ => panic!("not composed"),
        }
    }

    #[test]
    fn sqlite_rows_are_filled_up_to_a_size_whose_statement_is_prepared_once() {
        let statements = BULK.statements(Dialect::Sqlite, cells(5));
        let [(sql, args)] = statements.as_slice() else { panic!("one statement") };
        assert_eq!(
            text(sql),
            "INSERT OR FAIL INTO t (a, b) SELECT column1 AS a, column2 AS b FROM (VALUES (?,?),(?,?),(?,?),(?,?),(?,?),(?,?)) \
             WHERE column1 IS NOT NULL ON CONFLICT"
        );
        assert_eq!(args.len(), 12);
        assert!(matches!(args.get(10), Some(Value::Text(None))));
        assert_eq!(BULK.statements(Dialect::Sqlite, cells(BULK_ROWS_MAX + 1)).len(), 2);
        assert!(BULK.statements(Dialect::Sqlite, Vec::new()).is_empty());
    }

    #[test]
    fn postgres_rows_are_arrays() {
        let statements = BULK.statements(Dialect::Postgres, cells(3));
        let [(sql, args)] = statements.as_slice() else { panic!("one statement") };
        assert_eq!(
            text(sql),
            "INSERT INTO t (a, b) SELECT a, b FROM unnest($1::text[], $2::bigint[]) AS source (a, b) WHERE true \
             ON CONFLICT"
        );
        assert!(
            matches!(args.as_slice(), [Value::Texts(texts), Value::Ints(ints)] if texts.len() == 3 && ints.len() == 3)
        );
    }
}
