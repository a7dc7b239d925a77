//! One text of SQL for both databases: a statement is a static text, or twins where the dialects differ.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// The fragment that fits.
    pub(crate) const fn pick<T: Copy>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }
}

/// A statement.
#[derive(Clone)]
pub(crate) enum Sql {
    /// The same text for both.
    Same(&'static str),
    /// Texts that differ in a fragment.
    Twins { sqlite: &'static str, postgres: &'static str },
    /// Made by [`crate::compose`], the only module that composes SQL.
    Composed(Arc<str>),
}

impl Sql {
    pub(crate) fn into_sql_str(self, dialect: Dialect) -> SqlStr {
        match self {
            Self::Same(text) => text.into_sql_str(),
            Self::Twins { sqlite, postgres } => dialect.pick(sqlite, postgres).into_sql_str(),
            Self::Composed(text) => AssertSqlSafe(text).into_sql_str(),
        }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::Same(text)
    }
}

/// `twins!("SELECT ..", sqlite: "", postgres: " FOR UPDATE", "..")`: the fragments stand beside each other.
macro_rules! twins {
    ($head:expr, sqlite: $sqlite:literal, postgres: $postgres:literal $(, $tail:expr)?) => {
        $crate::sql::Sql::Twins {
            sqlite: concat!($head, $sqlite $(, $tail)?),
            postgres: concat!($head, $postgres $(, $tail)?),
        }
    };
}
pub(crate) use twins;
