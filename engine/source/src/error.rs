//! What can go wrong at a source, by stable code. No text holds a credential: what a driver says of its configuration is
//! never passed on.

/// Why a source gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The address cannot be read.
    #[error("{0}")]
    Address(String),
    /// The source lets nobody in with these credentials.
    #[error("the source refuses the user name or the password of the connection")]
    Denied,
    /// It cannot be reached, is busy, or takes too long; trying again may help.
    #[error("the source is not available: {0}")]
    Unavailable(String),
    /// It does not carry out a statement.
    #[error("the source refuses to be read: {0}")]
    Refused(String),
    /// The table is not there, or cannot be seen by this user.
    #[error("the source has no table {0} that this user can read; `engate job discover` lists those there are")]
    NoTable(String),
    /// More than one table is meant.
    #[error("more than one table is called {0}; put the schema before it, as in schema.table")]
    Ambiguous(String),
    /// The table has no such column.
    #[error("table {table} has no column {column}")]
    NoColumn {
        /// The table.
        table: String,
        /// What was asked for.
        column: String,
    },
    /// The stream cannot be read without the danger of losing rows: one sentence with the cure.
    #[error("{0}")]
    Unfit(String),
    /// A row cannot be carried: one sentence that names it.
    #[error("{0}")]
    Row(String),
}

impl SourceError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "source_address",
            Self::Denied => "source_denied",
            Self::Unavailable(_) => "source_unavailable",
            Self::Refused(_) => "source_refused",
            Self::NoTable(_) => "source_no_table",
            Self::Ambiguous(_) => "source_ambiguous_table",
            Self::NoColumn { .. } => "source_no_column",
            Self::Unfit(_) => "source_unfit",
            Self::Row(_) => "source_row",
        }
    }

    /// Whether the same may go well later, without anybody changing the job.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Refused(_))
    }
}

impl From<sqlx::Error> for SourceError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::Configuration(_) => Self::Address("the connection's url cannot be read".to_owned()),
            E::Database(inner) => from_database(inner.as_ref()),
            E::PoolTimedOut => Self::Unavailable("no connection was to be had in time".to_owned()),
            E::Io(error) => Self::Unavailable(error.kind().to_string()),
            E::Tls(_) => Self::Unavailable("TLS with the source failed".to_owned()),
            E::ColumnDecode { .. } | E::Decode(_) => Self::Row("a value of a row cannot be read".to_owned()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// SQLSTATE class 28 is authorization (PostgreSQL, MySQL 1045); 57, 53 and 40 pass. SQLite has codes of its own.
fn from_database(error: &dyn sqlx::error::DatabaseError) -> SourceError {
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        let primary = code.parse::<i32>().unwrap_or_default() & 0xff;
        let message = error.message().to_owned();
        return if matches!(primary, 5 | 6 | 9 | 10 | 14) {
            SourceError::Unavailable(message)
        } else {
            SourceError::Refused(message)
        };
    }
    match code.get(..2) {
        Some("28") => SourceError::Denied,
        Some("08" | "40" | "53" | "57" | "58") => SourceError::Unavailable(error.message().to_owned()),
        _ => SourceError::Refused(error.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_says_of_its_configuration_is_not_passed_on() {
        let error = sqlx::Error::Configuration("postgres://ana:senha@host/db".into());
        let told = SourceError::from(error);
        assert_eq!(told.code(), "source_address");
        assert!(!told.to_string().contains("senha"));
    }
}
