//! What tables there are, as the wizard needs to know it.

use engate_model::wizard::requirements::Dialect;

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
        let _ = connection;
        Err(VerbError::field("connection", "not merged yet"))
    }
}
