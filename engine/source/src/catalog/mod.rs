//! What tables there are, as the database itself describes them.

mod mysql;
mod postgres;
mod sqlite;

use engate_model::{sink::ColumnKind, sync::ColumnShape};
use serde::Serialize;

use crate::{
    connection::Connection,
    error::SourceError,
    query::{Dialect, Query},
};

/// Tables that one discovery lists at most.
pub const TABLES_MAX: usize = 2_000;
/// Names of one statement at most.
const NAMES_AT_ONCE: usize = 500;
/// Names of columns that hold the time of a row's last change, the surest first.
const WATERMARKS: [&str; 6] = ["s_t_a_m_p_", "updated_at", "last_updated", "modified_at", "changed_at", "update_time"];
/// Names of columns that mark a deleted row.
const MARKS: [&str; 3] = ["d_e_l_e_t_", "deleted", "is_deleted"];

/// Schema, where there is one, and name.
type Name = (Option<String>, String);

/// How a column's values are asked for and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Integer,
    Unsigned,
    Decimal,
    Float,
    Boolean,
    Date,
    /// A time without a zone.
    Local,
    /// An instant.
    Instant,
    Binary,
    Bits,
    Json,
    Other,
}

impl Form {
    const fn kind(self) -> ColumnKind {
        match self {
            Self::Text | Self::Other => ColumnKind::Text,
            Self::Integer | Self::Unsigned | Self::Bits => ColumnKind::Integer,
            Self::Decimal | Self::Float => ColumnKind::Decimal,
            Self::Boolean => ColumnKind::Boolean,
            Self::Date => ColumnKind::Date,
            Self::Local | Self::Instant => ColumnKind::Timestamp,
            Self::Binary => ColumnKind::Binary,
            Self::Json => ColumnKind::Json,
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceColumn {
    /// Its name and what it holds.
    #[serde(flatten)]
    pub shape: ColumnShape,
    /// Its type as the database declares it.
    pub declared: String,
    /// Whether it is a watermark that somebody began to add: what keeps it is not there yet.
    #[serde(skip)]
    pub unkept: bool,
    #[serde(skip)]
    pub(crate) form: Form,
}

/// A table that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its schema; none in SQLite.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Its columns, in its order.
    pub columns: Vec<SourceColumn>,
    /// The primary key; empty where it has none.
    pub primary_key: Vec<String>,
    /// Other keys that no two rows share.
    pub unique_keys: Vec<Vec<String>>,
    /// Columns that may tell when a row was last changed, the most likely first.
    pub watermarks: Vec<String>,
    /// Columns that may mark a row as deleted.
    pub soft_deletes: Vec<String>,
}

/// What a discovery found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tables {
    /// The tables, by schema and name.
    pub items: Vec<Table>,
    /// Whether there are more than [`TABLES_MAX`].
    pub truncated: bool,
}

impl Table {
    /// As it is written in a job: with its schema, where it has one.
    pub fn full_name(&self) -> String {
        self.schema.as_ref().map_or_else(|| self.name.clone(), |schema| format!("{schema}.{}", self.name))
    }

    /// The column of this name: spelled exactly so, else the only one that differs in large and small letters.
    ///
    /// # Errors
    /// [`SourceError::NoColumn`].
    pub fn column(&self, name: &str) -> Result<&SourceColumn, SourceError> {
        if let Some(column) = self.columns.iter().find(|column| column.shape.name == name) {
            return Ok(column);
        }
        let mut alike = self.columns.iter().filter(|column| column.shape.name.eq_ignore_ascii_case(name));
        match (alike.next(), alike.next()) {
            (Some(column), None) => Ok(column),
            _ => Err(SourceError::NoColumn { table: self.full_name(), column: name.to_owned() }),
        }
    }

    pub(crate) fn quoted(&self, dialect: Dialect) -> String {
        let name = dialect.quote(&self.name);
        self.schema.as_ref().map_or_else(|| name.clone(), |schema| format!("{}.{name}", dialect.quote(schema)))
    }

    /// Whether no two rows share these columns' values, and all of them have some.
    pub(crate) fn is_key(&self, columns: &[String]) -> bool {
        let among = |key: &[String]| !key.is_empty() && key.iter().all(|column| columns.contains(column));
        let filled =
            |key: &[String]| key.iter().all(|name| self.column(name).is_ok_and(|column| !column.shape.nullable));
        among(&self.primary_key) || self.unique_keys.iter().any(|key| among(key) && filled(key))
    }
}

/// A column as a dialect's catalogue tells it.
struct Found {
    schema: Option<String>,
    table: String,
    column: SourceColumn,
}

/// A key as a dialect's catalogue tells it.
struct FoundKey {
    schema: Option<String>,
    table: String,
    primary: bool,
    columns: Vec<String>,
}

impl Connection {
    /// The tables there are, with their columns and keys; those whose names begin with `prefix` alone, if it is not empty.
    ///
    /// # Errors
    /// When the source gives no answer.
    pub async fn discover(&self, prefix: &str) -> Result<Tables, SourceError> {
        let names = match self.dialect() {
            Dialect::Postgres => postgres::names(self, prefix).await?,
            Dialect::MySql => mysql::names(self, prefix).await?,
            Dialect::Sqlite => sqlite::names(self, prefix).await?,
        };
        let truncated = names.len() > TABLES_MAX;
        let names: Vec<_> = names.into_iter().take(TABLES_MAX).collect();
        Ok(Tables { items: self.tables(&names).await?, truncated })
    }

    /// One table: spelled exactly so, else the only one whose name differs in large and small letters.
    ///
    /// # Errors
    /// [`SourceError::NoTable`], [`SourceError::Ambiguous`], or when the source gives no answer.
    pub async fn describe(&self, name: &str) -> Result<Table, SourceError> {
        let (schema, table) = match name.split_once('.') {
            Some((schema, table)) if self.dialect() != Dialect::Sqlite => (Some(schema), table),
            _ => (None, name),
        };
        let found = match self.dialect() {
            Dialect::Postgres => postgres::find(self, schema, table).await?,
            Dialect::MySql => mysql::find(self, schema, table).await?,
            Dialect::Sqlite => sqlite::find(self, table).await?,
        };
        let exact: Vec<_> = found.iter().filter(|(_, found)| found == table).cloned().collect();
        let best = if exact.is_empty() { found } else { exact };
        match best.as_slice() {
            [] => Err(SourceError::NoTable(name.to_owned())),
            [one] => {
                let tables = self.tables(std::slice::from_ref(one)).await?;
                tables.into_iter().next().ok_or_else(|| SourceError::NoTable(name.to_owned()))
            }
            _ => Err(SourceError::Ambiguous(name.to_owned())),
        }
    }

    async fn tables(&self, names: &[Name]) -> Result<Vec<Table>, SourceError> {
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        for names in names.chunks(NAMES_AT_ONCE) {
            match self.dialect() {
                Dialect::Postgres => {
                    postgres::read_columns(self, names, &mut columns).await?;
                    postgres::read_keys(self, names, &mut keys).await?;
                }
                Dialect::MySql => {
                    mysql::read_columns(self, names, &mut columns).await?;
                    mysql::read_keys(self, names, &mut keys).await?;
                }
                Dialect::Sqlite => sqlite::read(self, names, &mut columns, &mut keys).await?,
            }
        }
        Ok(assemble(columns, keys))
    }
}

/// Schemas and names.
async fn read_names(connection: &Connection, query: &Query) -> Result<Vec<Name>, SourceError> {
    let mut names = Vec::new();
    connection
        .each(query, |row| {
            names.push((row.text(0)?, row.text(1)?.unwrap_or_default()));
            Ok(true)
        })
        .await?;
    Ok(names)
}

/// Puts columns, in the order of their tables, and keys together.
fn assemble(columns: Vec<Found>, keys: Vec<FoundKey>) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for found in columns {
        let is_last = |table: &Table| table.schema == found.schema && table.name == found.table;
        if tables.last().is_none_or(|table| !is_last(table)) {
            tables.push(Table {
                schema: found.schema,
                name: found.table,
                columns: Vec::new(),
                primary_key: Vec::new(),
                unique_keys: Vec::new(),
                watermarks: Vec::new(),
                soft_deletes: Vec::new(),
            });
        }
        if let Some(table) = tables.last_mut() {
            table.columns.push(found.column);
        }
    }
    let mut places = std::collections::HashMap::new();
    for (n, table) in tables.iter().enumerate() {
        places.insert((table.schema.clone(), table.name.clone()), n);
    }
    for key in keys {
        let place = places.get(&(key.schema, key.table)).and_then(|n| tables.get_mut(*n));
        match place {
            Some(table) if key.primary => table.primary_key = key.columns,
            Some(table) => table.unique_keys.push(key.columns),
            None => {}
        }
    }
    for table in &mut tables {
        table.watermarks = watermarks(&table.columns);
        table.soft_deletes = soft_deletes(&table.columns);
    }
    tables
}

fn watermarks(columns: &[SourceColumn]) -> Vec<String> {
    let fits = |column: &&SourceColumn| {
        let named = WATERMARKS.iter().any(|name| column.shape.name.eq_ignore_ascii_case(name));
        column.shape.kind == ColumnKind::Timestamp
            || named && matches!(column.shape.kind, ColumnKind::Text | ColumnKind::Integer)
    };
    let mut candidates: Vec<_> = columns.iter().filter(fits).map(|column| column.shape.name.clone()).collect();
    let place = |name: &String| WATERMARKS.iter().position(|known| name.eq_ignore_ascii_case(known));
    candidates.sort_by_key(|name| place(name).unwrap_or(usize::MAX));
    candidates
}

fn soft_deletes(columns: &[SourceColumn]) -> Vec<String> {
    let names = columns.iter().map(|column| column.shape.name.clone());
    let mut candidates: Vec<_> =
        names.filter(|name| MARKS.iter().any(|mark| name.eq_ignore_ascii_case(mark))).collect();
    candidates.sort_by_key(|name| MARKS.iter().position(|mark| name.eq_ignore_ascii_case(mark)));
    candidates
}

/// A size or scale of the catalogue; what is no small number has no bound.
fn small(number: Option<i64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}
