//! SQLite's catalogue.

use engate_model::sync::ColumnShape;

use super::{Form, Found, FoundKey, Name, SourceColumn, TABLES_MAX, small};
use crate::{
    connection::Connection,
    error::SourceError,
    query::{Bind, Dialect, Query},
};

/// Names of the tables, one more than are listed at most.
pub(super) async fn names(connection: &Connection, prefix: &str) -> Result<Vec<Name>, SourceError> {
    let mut query = Query::new(
        Dialect::Sqlite,
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND \
         lower(substr(name, 1, length(",
    );
    query.bind(Bind::Text(prefix.to_owned())).push("))) = lower(").bind(Bind::Text(prefix.to_owned()));
    query.push(&format!(") ORDER BY name LIMIT {}", TABLES_MAX + 1));
    read_names(connection, &query).await
}

/// Tables of that name, in any spelling.
pub(super) async fn find(connection: &Connection, table: &str) -> Result<Vec<Name>, SourceError> {
    let mut query = Query::new(
        Dialect::Sqlite,
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(",
    );
    query.bind(Bind::Text(table.to_owned())).push(")");
    read_names(connection, &query).await
}

async fn read_names(connection: &Connection, query: &Query) -> Result<Vec<Name>, SourceError> {
    let mut names = Vec::new();
    connection
        .each(query, |row| {
            names.push((None, row.text(0)?.unwrap_or_default()));
            Ok(true)
        })
        .await?;
    Ok(names)
}

pub(super) async fn read(
    connection: &Connection,
    names: &[Name],
    columns: &mut Vec<Found>,
    keys: &mut Vec<FoundKey>,
) -> Result<(), SourceError> {
    for (_, table) in names {
        read_columns(connection, table, columns, keys).await?;
        read_keys(connection, table, keys).await?;
    }
    Ok(())
}

async fn read_columns(
    connection: &Connection,
    table: &str,
    columns: &mut Vec<Found>,
    keys: &mut Vec<FoundKey>,
) -> Result<(), SourceError> {
    let mut query = Query::new(Dialect::Sqlite, "SELECT name, type, \"notnull\", pk FROM pragma_table_info(");
    query.bind(Bind::Text(table.to_owned())).push(") ORDER BY cid");
    let mut primary = Vec::new();
    connection
        .each(&query, |row| {
            let (name, declared) = (row.text(0)?.unwrap_or_default(), row.text(1)?.unwrap_or_default());
            let place = row.int(3)?.unwrap_or_default();
            if place > 0 {
                primary.push((place, name.clone()));
            }
            let form = form(&declared);
            let (size, scale) = size(form, &declared);
            let nullable = row.int(2)? == Some(0) && !(place > 0 && form == Form::Integer);
            let shape = ColumnShape { name, kind: form.kind(), nullable, size, scale };
            let column = SourceColumn { shape, declared, form, unkept: false };
            columns.push(Found { schema: None, table: table.to_owned(), column });
            Ok(true)
        })
        .await?;
    if !primary.is_empty() {
        primary.sort();
        let columns = primary.into_iter().map(|(_, name)| name).collect();
        keys.push(FoundKey { schema: None, table: table.to_owned(), primary: true, columns });
    }
    Ok(())
}

async fn read_keys(connection: &Connection, table: &str, keys: &mut Vec<FoundKey>) -> Result<(), SourceError> {
    let mut query = Query::new(Dialect::Sqlite, "SELECT l.name, i.name FROM pragma_index_list(");
    query.bind(Bind::Text(table.to_owned()));
    query.push(
        ") AS l JOIN pragma_index_info(l.name) AS i WHERE l.\"unique\" = 1 AND l.partial = 0 AND l.origin <> 'pk' AND NOT \
         EXISTS (SELECT 1 FROM pragma_index_info(l.name) AS e WHERE e.name IS NULL) ORDER BY l.seq, i.seqno",
    );
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    connection
        .each(&query, |row| {
            let (index, column) = (row.text(0)?.unwrap_or_default(), row.text(1)?.unwrap_or_default());
            match found.last_mut() {
                Some((last, columns)) if *last == index => columns.push(column),
                _ => found.push((index, vec![column])),
            }
            Ok(true)
        })
        .await?;
    let all = found.into_iter();
    keys.extend(all.map(|(_, columns)| FoundKey { schema: None, table: table.to_owned(), primary: false, columns }));
    Ok(())
}

/// What a declared type says its values are meant to be; SQLite itself lets them be anything.
fn form(declared: &str) -> Form {
    let name = declared.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
    let has = |part: &str| name.contains(part);
    match name.as_str() {
        "date" => Form::Date,
        "datetime" | "timestamp" | "timestamptz" | "timestamp with time zone" | "timestamp without time zone" => {
            Form::Local
        }
        "bool" | "boolean" => Form::Boolean,
        "json" | "jsonb" => Form::Json,
        _ if has("int") => Form::Integer,
        _ if has("char") || has("clob") || has("text") || has("uuid") => Form::Text,
        _ if has("blob") || has("bytea") || has("binary") => Form::Binary,
        _ if has("real") || has("floa") || has("doub") => Form::Float,
        _ if has("dec") || has("num") => Form::Decimal,
        _ => Form::Other,
    }
}

/// The numbers behind a declared type: `VARCHAR(40)`, `NUMERIC(15,2)`.
fn size(form: Form, declared: &str) -> (Option<u32>, Option<u32>) {
    if !matches!(form, Form::Text | Form::Decimal | Form::Binary) {
        return (None, None);
    }
    let inside = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
    let mut numbers = inside.split(',').map(|number| number.trim().parse::<i64>().ok());
    let size = small(numbers.next().flatten());
    let scale = small(numbers.next().flatten());
    (size, scale.or(size.filter(|_| form == Form::Decimal).map(|_| 0)))
}
