//! Statements in the making, and rows of any of the three databases.
//!
//! The only module that composes SQL. What it joins are static texts and identifiers that came out of the database's own
//! catalogue, quoted; every value is bound.

use std::fmt::Write as _;

use sqlx::{
    AssertSqlSafe, Column as _, Decode, MySql, Postgres, Row as _, SqlSafeStr as _, SqlStr, Sqlite, TypeInfo as _,
    ValueRef as _, error::BoxDynError, mysql::MySqlRow, postgres::PgRow, sqlite::SqliteRow,
};

use crate::error::SourceError;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

impl Dialect {
    /// An identifier of the catalogue, quoted.
    pub(crate) fn quote(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::Postgres | Self::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }
}

/// A value to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bind {
    Text(String),
    Int(i64),
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    dialect: Dialect,
    sql: String,
    binds: Vec<Bind>,
    /// Whether it is worth keeping prepared.
    pub(crate) kept: bool,
}

impl Query {
    pub(crate) fn new(dialect: Dialect, head: impl Into<String>) -> Self {
        Self { dialect, sql: head.into(), binds: Vec::new(), kept: true }
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.sql.push_str(text);
        self
    }

    /// Puts a value where the statement stands.
    pub(crate) fn bind(&mut self, value: Bind) -> &mut Self {
        self.binds.push(value);
        match self.dialect {
            Dialect::Postgres => {
                let _ = write!(self.sql, "${}", self.binds.len());
            }
            Dialect::MySql | Dialect::Sqlite => self.sql.push('?'),
        }
        self
    }

    /// Puts a value between `before` and `behind`, which make it one of the column's type.
    pub(crate) fn bind_as(&mut self, (before, behind): (&str, &str), value: Bind) -> &mut Self {
        self.push(before).bind(value).push(behind)
    }

    pub(crate) fn text(&self) -> SqlStr {
        AssertSqlSafe(self.sql.clone()).into_sql_str()
    }

    pub(crate) fn postgres(&self) -> sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments> {
        let query = sqlx::query(self.text()).persistent(self.kept);
        self.binds.iter().fold(query, |query, bind| match bind {
            Bind::Text(text) => query.bind(text.as_str()),
            Bind::Int(number) => query.bind(*number),
        })
    }

    pub(crate) fn mysql(&self) -> sqlx::query::Query<'_, MySql, sqlx::mysql::MySqlArguments> {
        let query = sqlx::query(self.text()).persistent(self.kept);
        self.binds.iter().fold(query, |query, bind| match bind {
            Bind::Text(text) => query.bind(text.as_str()),
            Bind::Int(number) => query.bind(*number),
        })
    }

    pub(crate) fn sqlite(&self) -> sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments> {
        let query = sqlx::query(self.text()).persistent(self.kept);
        self.binds.iter().fold(query, |query, bind| match bind {
            Bind::Text(text) => query.bind(text.clone()),
            Bind::Int(number) => query.bind(*number),
        })
    }
}

/// A row of any of them.
pub(crate) enum Row<'r> {
    Postgres(&'r PgRow),
    MySql(&'r MySqlRow),
    Sqlite(&'r SqliteRow),
}

/// A value of a row. PostgreSQL and MySQL are asked for text; SQLite gives what each row holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'r str),
    Blob(&'r [u8]),
}

impl<'r> Row<'r> {
    /// A column that the statement made text, or any of SQLite.
    pub(crate) fn cell(&self, at: usize) -> Result<Cell<'r>, SourceError> {
        let text = |text: Option<&'r str>| text.map_or(Cell::Null, Cell::Text);
        Ok(match self {
            Self::Postgres(row) => text(row.try_get_unchecked(at).map_err(|_| self.unreadable(at))?),
            Self::MySql(row) => text(row.try_get_unchecked(at).map_err(|_| self.unreadable(at))?),
            Self::Sqlite(row) => {
                let raw = row.try_get_raw(at)?;
                if raw.is_null() {
                    return Ok(Cell::Null);
                }
                let read: fn(_) -> Result<Cell<'r>, BoxDynError> = match raw.type_info().name() {
                    "INTEGER" => |raw| Decode::<Sqlite>::decode(raw).map(Cell::Int),
                    "REAL" => |raw| Decode::<Sqlite>::decode(raw).map(Cell::Real),
                    "BLOB" => |raw| Decode::<Sqlite>::decode(raw).map(Cell::Blob),
                    _ => |raw| Decode::<Sqlite>::decode(raw).map(Cell::Text),
                };
                read(raw).map_err(|_| self.unreadable(at))?
            }
        })
    }

    /// A column that the statement made text, as text of its own.
    pub(crate) fn text(&self, at: usize) -> Result<Option<String>, SourceError> {
        Ok(match self.cell(at)? {
            Cell::Null => None,
            Cell::Int(number) => Some(number.to_string()),
            Cell::Real(number) => Some(number.to_string()),
            Cell::Text(text) => Some(text.to_owned()),
            Cell::Blob(bytes) => Some(bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })),
        })
    }

    /// A whole number.
    pub(crate) fn int(&self, at: usize) -> Result<Option<i64>, SourceError> {
        Ok(match self {
            Self::Postgres(row) => row.try_get_unchecked(at)?,
            Self::MySql(row) => row.try_get_unchecked(at)?,
            Self::Sqlite(row) => row.try_get_unchecked(at)?,
        })
    }

    fn unreadable(&self, at: usize) -> SourceError {
        let name = match self {
            Self::Postgres(row) => row.columns().get(at).map(|column| column.name().to_owned()),
            Self::MySql(row) => row.columns().get(at).map(|column| column.name().to_owned()),
            Self::Sqlite(row) => row.columns().get(at).map(|column| column.name().to_owned()),
        };
        SourceError::Row(format!("column {} of a row holds what is no text", name.unwrap_or_default()))
    }
}
