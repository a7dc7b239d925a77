//! The catalogue of MySQL and MariaDB.

use engate_model::{sync::ColumnShape, wizard::requirements::WATERMARK_BEGUN};

use super::{Form, Found, FoundKey, Name, SourceColumn, TABLES_MAX, read_names, small};
use crate::{
    connection::Connection,
    error::SourceError,
    query::{Bind, Dialect, Query},
};

/// Names of the tables, one more than are listed at most.
pub(super) async fn names(connection: &Connection, prefix: &str) -> Result<Vec<Name>, SourceError> {
    let mut query = Query::new(
        Dialect::MySql,
        "SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema NOT \
         IN ('mysql', 'sys', 'information_schema', 'performance_schema') AND (DATABASE() IS NULL OR table_schema = \
         DATABASE()) AND lower(left(table_name, char_length(",
    );
    query.bind(Bind::Text(prefix.to_owned())).push("))) = lower(").bind(Bind::Text(prefix.to_owned()));
    query.push(&format!(") ORDER BY 1, 2 LIMIT {}", TABLES_MAX + 1));
    read_names(connection, &query).await
}

/// Tables of that name, in any spelling; without a schema those of the connection's own database.
pub(super) async fn find(connection: &Connection, schema: Option<&str>, table: &str) -> Result<Vec<Name>, SourceError> {
    let mut query = Query::new(
        Dialect::MySql,
        "SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR) FROM information_schema.tables WHERE \
         lower(table_name) = lower(",
    );
    query.bind(Bind::Text(table.to_owned())).push(") AND ");
    match schema {
        Some(schema) => query.push("lower(table_schema) = lower(").bind(Bind::Text(schema.to_owned())).push(")"),
        None => query.push("table_schema = DATABASE()"),
    };
    read_names(connection, &query).await
}

fn among(query: &mut Query, names: &[Name]) {
    query.push("(");
    for (n, (schema, table)) in names.iter().enumerate() {
        query.push(if n == 0 { "(table_schema = " } else { " OR (table_schema = " });
        query.bind(Bind::Text(schema.clone().unwrap_or_default())).push(" AND table_name = ");
        query.bind(Bind::Text(table.clone())).push(")");
    }
    query.push(")");
}

pub(super) async fn read_columns(
    connection: &Connection,
    names: &[Name],
    into: &mut Vec<Found>,
) -> Result<(), SourceError> {
    let mut query = Query::new(
        Dialect::MySql,
        "SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR), CAST(column_name AS CHAR), CAST(column_type AS \
         CHAR), CAST(data_type AS CHAR), CAST(is_nullable AS CHAR), CAST(character_maximum_length AS SIGNED), \
         CAST(numeric_precision AS SIGNED), CAST(numeric_scale AS SIGNED), CAST(column_comment AS CHAR) FROM \
         information_schema.columns WHERE ",
    );
    query.kept = false;
    among(&mut query, names);
    query.push(" ORDER BY table_schema, table_name, ordinal_position");
    connection
        .each(&query, |row| {
            let text = |at: usize| row.text(at).map(Option::unwrap_or_default);
            let declared = text(3)?;
            let form = form(&text(4)?, &declared);
            let size = match form {
                Form::Text | Form::Binary => small(row.int(6)?),
                Form::Integer | Form::Unsigned | Form::Decimal => small(row.int(7)?),
                _ => None,
            };
            let scale = if form == Form::Decimal { small(row.int(8)?) } else { None };
            let shape = ColumnShape { name: text(2)?, kind: form.kind(), nullable: text(5)? != "NO", size, scale };
            let column = SourceColumn { shape, declared, form, unkept: text(9)? == WATERMARK_BEGUN };
            into.push(Found { schema: row.text(0)?, table: text(1)?, column });
            Ok(true)
        })
        .await
}

pub(super) async fn read_keys(
    connection: &Connection,
    names: &[Name],
    into: &mut Vec<FoundKey>,
) -> Result<(), SourceError> {
    // A key over the beginning of a column alone tells rows of one beginning apart, not all rows.
    let mut query = Query::new(
        Dialect::MySql,
        "SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR), CAST(index_name AS CHAR), CAST(column_name AS CHAR), \
         CAST(sub_part AS SIGNED) FROM information_schema.statistics WHERE non_unique = 0 AND ",
    );
    query.kept = false;
    among(&mut query, names);
    query.push(" ORDER BY table_schema, table_name, index_name, seq_in_index");
    let mut found: Vec<(String, FoundKey, bool)> = Vec::new();
    connection
        .each(&query, |row| {
            let text = |at: usize| row.text(at).map(Option::unwrap_or_default);
            let (schema, table, index) = (row.text(0)?, text(1)?, text(2)?);
            let goes_on =
                found.last().is_some_and(|(last, key, _)| *last == index && key.schema == schema && key.table == table);
            if !goes_on {
                let primary = index == "PRIMARY";
                found.push((index, FoundKey { schema, table, primary, columns: Vec::new() }, true));
            }
            if let Some((_, key, whole)) = found.last_mut() {
                key.columns.push(text(3)?);
                *whole &= row.int(4)?.is_none();
            }
            Ok(true)
        })
        .await?;
    into.extend(found.into_iter().filter(|(.., whole)| *whole).map(|(_, key, _)| key));
    Ok(())
}

fn form(name: &str, declared: &str) -> Form {
    match name.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" if declared.contains("unsigned") => Form::Unsigned,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Form::Integer,
        "decimal" => Form::Decimal,
        "float" | "double" => Form::Float,
        "date" => Form::Date,
        "datetime" => Form::Local,
        "timestamp" => Form::Instant,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Form::Binary,
        "bit" => Form::Bits,
        "json" => Form::Json,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Form::Text,
        _ => Form::Other,
    }
}
