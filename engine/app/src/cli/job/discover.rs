//! `engate job connections` and `discover`: what a job may read, and its tables as their database describes them.

use serde::Deserialize;

use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen},
};

/// Tables of a connection as the API tells them.
#[derive(Deserialize)]
struct Found {
    items: Vec<Table>,
    #[serde(default)]
    total_estimated: bool,
}

#[derive(Deserialize)]
struct Table {
    table: String,
    columns: Vec<serde_json::Value>,
    primary_key: Vec<String>,
    unique_keys: Vec<Vec<String>>,
    watermarks: Vec<String>,
    soft_deletes: Vec<String>,
}

/// Lists the connections.
pub(super) async fn connections(client: &Client, screen: Screen) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Connection {
        name: String,
    }
    let listing = client.list_all(&["v1", "connections"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Connection>()?.into_iter().map(|connection| vec![Field::new(connection.name)]);
    let nothing = "No connection; `engate config show` says how the engine's configuration names them.";
    screen.table(&["CONNECTION"], rows.collect(), nothing)
}

/// Lists tables with their keys, watermarks and marks.
pub(super) async fn discover(
    client: &Client,
    screen: Screen,
    connection: &str,
    prefix: Option<String>,
) -> Result<(), Failure> {
    let query: Vec<_> = prefix.map(|prefix| ("prefix", prefix)).into_iter().collect();
    let answer = client.get(&["v1", "connections", connection, "tables"], &query).await?;
    if screen.json {
        return screen.line(answer);
    }
    let found: Found = read(&answer)?;
    let or_none = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let rows = found.items.iter().map(|table| {
        let key = if table.primary_key.is_empty() { table.unique_keys.first() } else { Some(&table.primary_key) };
        vec![
            Field::new(&table.table),
            Field::number(table.columns.len() as u64),
            Field::new(key.map_or_else(|| "-".to_owned(), |key| or_none(key))),
            Field::new(table.watermarks.first().map_or("-", String::as_str)),
            Field::new(or_none(&table.soft_deletes)),
        ]
    });
    let header = ["TABLE", "COLUMNS", "KEY", "WATERMARK", "DELETED BY"];
    screen.table(&header, rows.collect(), "No such table can be read.")?;
    if found.total_estimated {
        screen.line("There are more; give the beginning of their names.")?;
    }
    Ok(())
}
