//! What tables there are, as the wizard needs to know it.

use engate_model::{
    Invalid,
    run::RunFailure,
    token::Principal,
    wizard::{
        WATERMARK,
        requirements::{Dialect, Watermark},
    },
};
use engate_source::{SourceError, Table};

use super::VerbError;
use crate::engine::Engine;

/// A table with its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableFacts {
    /// Its name, as the database spells it.
    pub(super) name: String,
    /// Names of its columns.
    pub(super) columns: Vec<String>,
    /// How far its watermark is.
    pub(super) watermark: Watermark,
}

impl TableFacts {
    fn of(table: Table) -> Self {
        let stamp = table.columns.iter().find(|column| column.shape.name.eq_ignore_ascii_case(WATERMARK));
        let watermark = match stamp {
            Some(column) if column.unkept => Watermark::Begun,
            Some(_) => Watermark::There,
            None => Watermark::Missing,
        };
        let columns = table.columns.into_iter().map(|column| column.shape.name).collect();
        Self { name: table.name, columns, watermark }
    }

    /// The column of that name, as the database spells it.
    pub(super) fn column(&self, name: &str) -> Option<&str> {
        self.columns.iter().map(String::as_str).find(|column| column.eq_ignore_ascii_case(name))
    }
}

/// All tables that a connection shows.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Which database it is.
    pub(super) dialect: Dialect,
    /// The tables.
    pub(super) tables: Vec<TableFacts>,
}

impl Found {
    /// The table of that name, in whichever case.
    pub(super) fn table(&self, name: &str) -> Option<&TableFacts> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }
}

impl Engine {
    /// The tables of a connection: all that one discovery lists, and those of `names` where there are more.
    pub(super) async fn wizard_tables(
        &self,
        principal: &Principal,
        connection: &str,
        names: &[String],
    ) -> Result<Found, VerbError> {
        let tenant = self.tenant_slug(principal.tenant).await?;
        let unknown = |failure: RunFailure| VerbError::field("connection", failure.message);
        let source = self.sources.get(connection, &tenant).map_err(unknown)?;
        let listed = source.discover("").await.map_err(unusable)?;
        let dialect = dialect(self.sources.configured(connection, &tenant).map_err(unknown)?.url.expose());
        let mut found = Found { dialect, tables: listed.items.into_iter().map(TableFacts::of).collect() };
        for name in names.iter().filter(|_| listed.truncated) {
            if found.table(name).is_none() {
                match source.describe(name).await {
                    Ok(table) => found.tables.push(TableFacts::of(table)),
                    Err(SourceError::NoTable(_) | SourceError::Ambiguous(_)) => {}
                    Err(error) => return Err(unusable(error)),
                }
            }
        }
        Ok(found)
    }
}

fn unusable(error: SourceError) -> VerbError {
    VerbError::Refused { code: "source_unusable", invalid: Invalid::field("connection", error.to_string()) }
}

fn dialect(url: &str) -> Dialect {
    match url.split_once(':').map_or("", |(scheme, _)| scheme) {
        "sqlite" => Dialect::Sqlite,
        "mysql" | "mariadb" => Dialect::Mysql,
        _ => Dialect::Postgres,
    }
}
