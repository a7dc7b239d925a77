//! What can go wrong in the store, by stable code.

use sqlx::error::ErrorKind;

/// Why a verb of the store gave no answer. Texts never hold a secret, a payload or a connection's password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The row named does not exist (in this tenant).
    #[error("{what} not found")]
    NotFound {
        /// The noun.
        what: &'static str,
    },
    /// The change collides with what is there.
    #[error("{what} already exists or is in use")]
    Conflict {
        /// What collides.
        what: &'static str,
    },
    /// What the change was decided on is no longer what is there.
    #[error("the {what} was changed meanwhile")]
    Stale {
        /// The noun.
        what: &'static str,
    },
    /// The database was sealed with another key.
    #[error(
        "the secrets in this database were sealed with another key; start with the key that created it, or restore \
         the key's backup"
    )]
    WrongKey,
    /// The database cannot be reached, is busy or out of space; trying again may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database holds what this version cannot read.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// The database refuses the values given; trying again will not help.
    #[error("the database refuses the values given: {0}")]
    Data(String),
    /// Looking through all that may match would take longer than a reader may wait.
    #[error("looking through all that may match takes too long; narrow the range")]
    TooBroad,
    /// The database could not be brought to this version's schema.
    #[error("the database could not be migrated: {0}")]
    Migration(String),
}

impl StoreError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::Stale { .. } => "stale",
            Self::WrongKey => "wrong_key",
            Self::Unavailable(_) => "store_unavailable",
            Self::Corrupt(_) => "store_corrupt",
            Self::Data(_) => "store_data",
            Self::TooBroad => "narrow_the_range",
            Self::Migration(_) => "store_migration",
        }
    }

    /// Whether the values given are to blame, so that the same without them may pass.
    pub(crate) const fn blames_values(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Conflict { .. } | Self::NotFound { .. })
    }
}

/// Gives a violated constraint the name of what collides.
pub(crate) fn conflict(what: &'static str) -> impl Fn(StoreError) -> StoreError {
    move |error| match error {
        StoreError::Conflict { .. } => StoreError::Conflict { what },
        other => other,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::Database(inner) => from_database(inner.as_ref()),
            E::ColumnDecode { .. } | E::Decode(_) | E::ColumnNotFound(_) | E::ColumnIndexOutOfBounds { .. } => {
                Self::Corrupt(error.to_string())
            }
            E::Encode(_) | E::InvalidArgument(_) => Self::Data(error.to_string()),
            // The text of a configuration error may repeat the URL, and with it a password.
            E::Configuration(_) => Self::Unavailable("the database's address cannot be read".to_owned()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

fn from_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let message = error.message().to_owned();
    if matches!(error.kind(), ErrorKind::UniqueViolation) {
        return StoreError::Conflict { what: "a row of the same key" };
    }
    if matches!(error.kind(), ErrorKind::ForeignKeyViolation) {
        return StoreError::Conflict { what: "a row that others refer to, or a reference to none," };
    }
    if !matches!(error.kind(), ErrorKind::Other) {
        return StoreError::Data(message);
    }
    let code = error.code().unwrap_or_default();
    let sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if sqlite { from_sqlite(&code, message) } else { from_postgres(&code, message) }
}

/// Primary result codes of SQLite (sqlite.org/rescode.html); extended ones carry them in the low byte.
fn from_sqlite(code: &str, message: String) -> StoreError {
    match code.parse::<i32>().unwrap_or_default() & 0xff {
        9 => StoreError::TooBroad,
        11 | 26 => StoreError::Corrupt(message),
        18..=20 | 25 => StoreError::Data(message),
        _ => StoreError::Unavailable(message),
    }
}

/// Classes of SQLSTATE (PostgreSQL manual, appendix A): 22 data exception, 23 constraint, XX corruption. 57014 is
/// a statement that was called off: only listings have a bound on their time.
fn from_postgres(code: &str, message: String) -> StoreError {
    if code == "57014" {
        return StoreError::TooBroad;
    }
    match code.get(..2) {
        Some("22" | "23" | "54") => StoreError::Data(message),
        Some("XX") => StoreError::Corrupt(message),
        _ => StoreError::Unavailable(message),
    }
}
