//! The databases of other systems that jobs may read, as the settings name them. They are opened when they are first asked,
//! and only ever read.

use std::collections::BTreeMap;

use engate_model::{Secret, wizard::requirements::Dialect};
use engate_source::{Connection, ConnectionOptions};

/// One of them.
pub(crate) struct NamedSource {
    /// Its pool.
    pub(crate) connection: Connection,
    /// Which database it is.
    pub(crate) dialect: Dialect,
}

/// All of them, by name.
pub(crate) struct Sources(BTreeMap<String, NamedSource>);

impl Sources {
    /// Takes what the settings name; nothing is dialled.
    pub(crate) fn open(settings: &[(String, Secret)]) -> Result<Self, String> {
        let open = |(name, url): &(String, Secret)| {
            let connection = Connection::open(url.expose(), ConnectionOptions::default());
            let connection = connection.map_err(|error| format!("connections.{name}.url: {error}"))?;
            Ok((name.clone(), NamedSource { connection, dialect: dialect(url.expose()) }))
        };
        settings.iter().map(open).collect::<Result<_, String>>().map(Self)
    }

    /// The one of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&NamedSource> {
        self.0.get(name)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Closes every session.
    pub(crate) async fn close(&self) {
        for source in self.0.values() {
            source.connection.close().await;
        }
    }
}

fn dialect(url: &str) -> Dialect {
    match url.split_once(':').map_or("", |(scheme, _)| scheme) {
        "sqlite" => Dialect::Sqlite,
        "mysql" | "mariadb" => Dialect::Mysql,
        _ => Dialect::Postgres,
    }
}
