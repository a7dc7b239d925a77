//! PostgreSQL's catalogue.

use engate_model::sync::ColumnShape;

use super::{Form, Found, FoundKey, Name, SourceColumn, TABLES_MAX, read_names, small};
use crate::{
    connection::Connection,
    error::SourceError,
    query::{Bind, Dialect, Query},
};

/// Ordinary and partitioned tables, views, materialised views, foreign tables.
const KINDS: &str = "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND n.nspname NOT IN \
                     ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%' AND \
                     n.nspname NOT LIKE 'pg\\_temp%' AND has_schema_privilege(n.oid, 'USAGE') AND \
                     has_table_privilege(c.oid, 'SELECT')";

/// Names of the tables, one more than are listed at most.
pub(super) async fn names(connection: &Connection, prefix: &str) -> Result<Vec<Name>, SourceError> {
    let head = format!(
        "SELECT CAST(n.nspname AS text), CAST(c.relname AS text) FROM pg_class c JOIN pg_namespace n ON n.oid = \
         c.relnamespace WHERE {KINDS} AND starts_with(lower(CAST(c.relname AS text)), lower(CAST("
    );
    let mut query = Query::new(Dialect::Postgres, head);
    query.bind(Bind::Text(prefix.to_owned()));
    query.push(&format!(" AS text))) ORDER BY 1, 2 LIMIT {}", TABLES_MAX + 1));
    read_names(connection, &query).await
}

/// Tables of that name, in any spelling. Without a schema those that need none come alone.
pub(super) async fn find(connection: &Connection, schema: Option<&str>, table: &str) -> Result<Vec<Name>, SourceError> {
    let head = format!(
        "SELECT CAST(n.nspname AS text), CAST(c.relname AS text), CAST(pg_table_is_visible(c.oid) AS text) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {KINDS} AND lower(CAST(c.relname AS text)) = lower(CAST("
    );
    let mut query = Query::new(Dialect::Postgres, head);
    query.bind(Bind::Text(table.to_owned())).push(" AS text))");
    if let Some(schema) = schema {
        query.push(" AND lower(CAST(n.nspname AS text)) = lower(CAST(").bind(Bind::Text(schema.to_owned()));
        query.push(" AS text))");
    }
    let mut found = Vec::new();
    connection
        .each(&query, |row| {
            found.push((row.text(0)?, row.text(1)?.unwrap_or_default(), row.text(2)?.as_deref() == Some("true")));
            Ok(true)
        })
        .await?;
    let visible = schema.is_none() && found.iter().any(|(.., visible)| *visible);
    let kept = found.into_iter().filter(|(.., is)| !visible || *is);
    Ok(kept.map(|(schema, name, _)| (schema, name)).collect())
}

/// A list of names as one text, for a comparison with each: no catalogue name holds a NUL, and text holds none either.
fn among(query: &mut Query, names: &[Name]) {
    query.push("(");
    for (n, (schema, table)) in names.iter().enumerate() {
        let or = if n == 0 { "(n.nspname = CAST(" } else { " OR (n.nspname = CAST(" };
        query.push(or).bind(Bind::Text(schema.clone().unwrap_or_default()));
        query.push(" AS text) AND c.relname = CAST(").bind(Bind::Text(table.clone())).push(" AS text))");
    }
    query.push(")");
}

pub(super) async fn read_columns(
    connection: &Connection,
    names: &[Name],
    into: &mut Vec<Found>,
) -> Result<(), SourceError> {
    // A domain counts as what it is made of.
    let mut query = Query::new(
        Dialect::Postgres,
        "SELECT CAST(n.nspname AS text), CAST(c.relname AS text), CAST(a.attname AS text), format_type(a.atttypid, \
         a.atttypmod), CAST(t.typname AS text), CAST(a.attnotnull AS text), CAST(CASE WHEN b.typbasetype <> 0 THEN \
         b.typtypmod ELSE a.atttypmod END AS bigint) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN \
         pg_namespace n ON n.oid = c.relnamespace JOIN pg_type b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = \
         CASE WHEN b.typbasetype <> 0 THEN b.typbasetype ELSE b.oid END WHERE a.attnum > 0 AND NOT a.attisdropped AND ",
    );
    query.kept = false;
    among(&mut query, names);
    query.push(" ORDER BY n.nspname, c.relname, a.attnum");
    connection
        .each(&query, |row| {
            let text = |at: usize| row.text(at).map(Option::unwrap_or_default);
            let modifier = row.int(6)?.filter(|modifier| *modifier >= 0);
            let form = form(&text(4)?);
            let (size, scale) = size(form, &text(4)?, modifier);
            let shape = ColumnShape { name: text(2)?, kind: form.kind(), nullable: text(5)? != "true", size, scale };
            let column = SourceColumn { shape, declared: text(3)?, form, unkept: false };
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
    let mut query = Query::new(
        Dialect::Postgres,
        "SELECT CAST(n.nspname AS text), CAST(c.relname AS text), CAST(i.indisprimary AS text), CAST((SELECT \
         json_agg(a.attname ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place) JOIN \
         pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number WHERE k.place <= i.indnkeyatts) AS text) FROM \
         pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE \
         i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND ",
    );
    query.kept = false;
    among(&mut query, names);
    query.push(" ORDER BY i.indexrelid");
    connection
        .each(&query, |row| {
            let columns = row.text(3)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
            let primary = row.text(2)?.as_deref() == Some("true");
            into.push(FoundKey { schema: row.text(0)?, table: row.text(1)?.unwrap_or_default(), primary, columns });
            Ok(true)
        })
        .await
}

fn form(name: &str) -> Form {
    match name {
        "int2" | "int4" | "int8" | "oid" => Form::Integer,
        "numeric" => Form::Decimal,
        "float4" | "float8" => Form::Float,
        "bool" => Form::Boolean,
        "date" => Form::Date,
        "timestamp" => Form::Local,
        "timestamptz" => Form::Instant,
        "bytea" => Form::Binary,
        "json" | "jsonb" => Form::Json,
        "text" | "varchar" | "bpchar" | "name" | "citext" | "char" => Form::Text,
        _ => Form::Other,
    }
}

/// A type's modifier: letters and four, or digits and scale in two halves and four.
fn size(form: Form, name: &str, modifier: Option<i64>) -> (Option<u32>, Option<u32>) {
    match (form, name, modifier) {
        (Form::Text, _, Some(modifier)) => (small(Some(modifier - 4)), None),
        (Form::Decimal, _, Some(modifier)) => {
            let modifier = modifier - 4;
            (small(Some(modifier >> 16 & 0xffff)), small(Some(modifier & 0x7ff)))
        }
        (_, "int2", _) => (Some(5), None),
        (_, "int4", _) => (Some(10), None),
        (_, "int8", _) => (Some(19), None),
        (_, "float4", _) => (Some(6), None),
        (_, "float8", _) => (Some(15), None),
        _ => (None, None),
    }
}
