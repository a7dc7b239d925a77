//! What tables there are, as the wizard needs to know it.

use engate_model::{Invalid, wizard::requirements::Dialect};
use engate_source::Table;

use super::VerbError;
use crate::engine::Engine;

/// A table with its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableFacts {
    /// Its name, as the database spells it.
    pub(super) name: String,
    /// Names of its columns.
    pub(super) columns: Vec<String>,
}

impl TableFacts {
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
    /// The tables of a connection.
    pub(super) async fn wizard_tables(&self, connection: &str) -> Result<Found, VerbError> {
        let Some(dialect) = self.sources.dialect(connection) else {
            let names = self.sources.names();
            let known = if names.is_empty() { "none is".to_owned() } else { format!("there is {}", names.join(", ")) };
            let message = format!(
                "no connection of this name is set ({known}); set [connections.{connection}] of engate.toml, or \
                 ENGATE_CONNECTIONS_{}_URL, and start the engine again",
                connection.to_uppercase()
            );
            return Err(VerbError::field("connection", message));
        };
        let unusable = |message: String| VerbError::Refused {
            code: "source_unusable",
            invalid: Invalid::field("connection", message),
        };
        let source = self.sources.get(connection).map_err(|failure| unusable(failure.message))?;
        let found = source.discover("").await.map_err(|error| unusable(error.to_string()))?;
        let facts = |table: Table| TableFacts {
            name: table.name,
            columns: table.columns.into_iter().map(|column| column.shape.name).collect(),
        };
        Ok(Found { dialect, tables: found.items.into_iter().map(facts).collect() })
    }
}
