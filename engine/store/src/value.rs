//! Values on their way into a statement and out of a row. Four kinds are all that both databases are asked
//! for: TEXT, BIGINT (numbers, microseconds, 0 and 1), BLOB/BYTEA, and ids: 16 bytes that sort by time, UUID on
//! PostgreSQL and BLOB on SQLite.

use std::{str::FromStr, sync::Arc};

use engate_model::{
    AuditId, BackfillId, CallId, DeliveryId, EndpointId, EventId, IntegratorId, JobId, QuarantineId, RecoveryId, RunId,
    TenantId, Timestamp, TokenId, TrackId, TypedId, WizardId,
    delivery::{DeliveryState, Trigger},
    job::{RunState, RunTrigger},
};
use serde::de::DeserializeOwned;
use sqlx::{Arguments as _, Row as _, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{error::StoreError, nodes::NodeSerial};

/// The kind of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Blob,
    Id,
}

/// A value for a placeholder; without `Debug`, since it may be a payload.
#[derive(Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<Arc<str>>),
    Blob(Option<Arc<[u8]>>),
    Id(Option<Uuid>),
    /// A column of a bulk statement; PostgreSQL only.
    Ints(Vec<Option<i64>>),
    /// A column of a bulk statement; PostgreSQL only.
    Texts(Vec<Option<Arc<str>>>),
    /// A column of a bulk statement; PostgreSQL only.
    Blobs(Vec<Option<Arc<[u8]>>>),
    /// A column of a bulk statement; PostgreSQL only.
    Ids(Vec<Option<Uuid>>),
}

impl Value {
    pub(crate) const fn null(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Int(None),
            Kind::Text => Self::Text(None),
            Kind::Blob => Self::Blob(None),
            Kind::Id => Self::Id(None),
        }
    }

    /// An empty column of that kind.
    pub(crate) const fn array(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Ints(Vec::new()),
            Kind::Text => Self::Texts(Vec::new()),
            Kind::Blob => Self::Blobs(Vec::new()),
            Kind::Id => Self::Ids(Vec::new()),
        }
    }

    /// Adds a cell to a column of its kind.
    pub(crate) fn push(&mut self, cell: Self) {
        match (self, cell) {
            (Self::Ints(column), Self::Int(cell)) => column.push(cell),
            (Self::Texts(column), Self::Text(cell)) => column.push(cell),
            (Self::Blobs(column), Self::Blob(cell)) => column.push(cell),
            (Self::Ids(column), Self::Id(cell)) => column.push(cell),
            // A cell of another kind would be a mistake in a constant list of columns; as NULL it is refused.
            (Self::Ints(column), _) => column.push(None),
            (Self::Texts(column), _) => column.push(None),
            (Self::Blobs(column), _) => column.push(None),
            (Self::Ids(column), _) => column.push(None),
            (Self::Int(_) | Self::Text(_) | Self::Blob(_) | Self::Id(_), _) => {}
        }
    }

    /// Bytes that binding it copies, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(Some(text)) => text.len(),
            Self::Blob(Some(bytes)) => bytes.len(),
            Self::Int(Some(_)) => 8,
            Self::Id(Some(_)) => 16,
            _ => 0,
        }
    }
}

macro_rules! into_value {
    ($kind:ident, $($from:ty, $name:ident => $value:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($name: $from) -> Self {
                Self::$kind(Some($value))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                value.map_or(Self::$kind(None), Self::from)
            }
        }
    )*};
}

into_value! { Int,
    i64, n => n;
    u32, n => i64::from(n);
    u64, n => i64::try_from(n).unwrap_or(i64::MAX);
    bool, flag => i64::from(flag);
    Timestamp, at => at.as_micros();
    NodeSerial, serial => serial.get();
}
into_value! { Text,
    &str, text => Arc::from(text);
    String, text => Arc::from(text);
    &String, text => Arc::from(text.as_str());
    Arc<str>, text => text;
    DeliveryState, state => Arc::from(state.code());
    Trigger, trigger => Arc::from(trigger.code());
    RunState, state => Arc::from(state.as_str());
    RunTrigger, trigger => Arc::from(trigger.as_str());
}
into_value! { Id,
    TenantId, id => id.uuid();
    IntegratorId, id => id.uuid();
    EndpointId, id => id.uuid();
    EventId, id => id.uuid();
    DeliveryId, id => id.uuid();
    TokenId, id => id.uuid();
    AuditId, id => id.uuid();
    CallId, id => id.uuid();
    JobId, id => id.uuid();
    TrackId, id => id.uuid();
    QuarantineId, id => id.uuid();
    RunId, id => id.uuid();
    BackfillId, id => id.uuid();
    WizardId, id => id.uuid();
    RecoveryId, id => id.uuid();
}
into_value! { Blob,
    &[u8], bytes => Arc::from(bytes);
    Vec<u8>, bytes => Arc::from(bytes);
}

/// JSON as text.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_string(value).map(Value::from).map_err(|error| StoreError::Data(error.to_string()))
}

/// JSON as text, NULL for none.
pub(crate) fn json_opt<T: serde::Serialize>(value: Option<&T>) -> Result<Value, StoreError> {
    value.map_or(Ok(Value::Text(None)), json)
}

/// Arguments of a statement: `args![tenant, key, now]`.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Value::from($value)),*] };
}
pub(crate) use args;

pub(crate) fn sqlite_arguments(values: Vec<Value>) -> Result<sqlx::sqlite::SqliteArguments, StoreError> {
    let mut arguments = sqlx::sqlite::SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        let added = match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Blob(value) => arguments.add(value),
            Value::Id(value) => arguments.add(value),
            Value::Ints(_) | Value::Texts(_) | Value::Blobs(_) | Value::Ids(_) => Err("SQLite has no arrays".into()),
        };
        added.map_err(|error| StoreError::Data(error.to_string()))?;
    }
    Ok(arguments)
}

pub(crate) fn postgres_arguments(values: Vec<Value>) -> Result<sqlx::postgres::PgArguments, StoreError> {
    let mut arguments = sqlx::postgres::PgArguments::default();
    arguments.reserve(values.len(), values.iter().map(Value::size).sum());
    for value in values {
        let added = match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value.as_deref()),
            Value::Blob(value) => arguments.add(value.as_deref()),
            Value::Id(value) => arguments.add(value),
            Value::Ids(values) => arguments.add(values),
            Value::Ints(values) => arguments.add(values),
            Value::Texts(values) => arguments.add(values.iter().map(Option::as_deref).collect::<Vec<_>>()),
            Value::Blobs(values) => arguments.add(values.iter().map(Option::as_deref).collect::<Vec<_>>()),
        };
        added.map_err(|error| StoreError::Data(error.to_string()))?;
    }
    Ok(arguments)
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The cells from left to right.
    pub(crate) fn cells(&self) -> Cells<'_> {
        Cells { row: self, next: 0 }
    }
}

/// Reads a row's cells from left to right, in the order of the statement's columns.
pub(crate) struct Cells<'r> {
    row: &'r Row,
    next: usize,
}

macro_rules! read {
    ($self:ident, $kind:ty) => {{
        let at = $self.next;
        $self.next += 1;
        Ok(match $self.row {
            Row::Sqlite(row) => row.try_get::<$kind, _>(at)?,
            Row::Postgres(row) => row.try_get::<$kind, _>(at)?,
        })
    }};
}

impl<'r> Cells<'r> {
    /// Leaves out the next `cells`.
    pub(crate) const fn skip(mut self, cells: usize) -> Self {
        self.next += cells;
        self
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        read!(self, i64)
    }

    pub(crate) fn int_opt(&mut self) -> Result<Option<i64>, StoreError> {
        read!(self, Option<i64>)
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        read!(self, String)
    }

    pub(crate) fn text_opt(&mut self) -> Result<Option<String>, StoreError> {
        read!(self, Option<String>)
    }

    pub(crate) fn blob(&mut self) -> Result<Vec<u8>, StoreError> {
        read!(self, Vec<u8>)
    }

    pub(crate) fn blob_opt(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        read!(self, Option<Vec<u8>>)
    }

    fn str(&mut self) -> Result<&'r str, StoreError> {
        read!(self, &'r str)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn count(&mut self) -> Result<u64, StoreError> {
        let value = self.int()?;
        u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} where a count was expected")))
    }

    pub(crate) fn small(&mut self) -> Result<u32, StoreError> {
        let value = self.int()?;
        u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} where a small number was expected")))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.int().map(Timestamp::from_micros)
    }

    pub(crate) fn time_opt(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.int_opt()?.map(Timestamp::from_micros))
    }

    pub(crate) fn id<T: TypedId>(&mut self) -> Result<T, StoreError> {
        self.uuid().map(T::from_uuid)
    }

    pub(crate) fn id_opt<T: TypedId>(&mut self) -> Result<Option<T>, StoreError> {
        Ok(self.uuid_opt()?.map(T::from_uuid))
    }

    fn uuid(&mut self) -> Result<Uuid, StoreError> {
        read!(self, Uuid)
    }

    fn uuid_opt(&mut self) -> Result<Option<Uuid>, StoreError> {
        read!(self, Option<Uuid>)
    }

    /// Anything with a text form.
    pub(crate) fn parse<T: FromStr>(&mut self) -> Result<T, StoreError> {
        let text = self.str()?;
        text.parse().map_err(|_| StoreError::Corrupt(format!("{text:?} where another text form was expected")))
    }

    pub(crate) fn parse_opt<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        let Some(text) = self.text_opt()? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(StoreError::Corrupt(format!("{text:?} where another text form was expected"))),
        }
    }

    /// A stable code, read by the type's `from_code`.
    pub(crate) fn code<T>(&mut self, from_code: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.str()?;
        from_code(text).ok_or_else(|| StoreError::Corrupt(format!("the unknown code {text:?}")))
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        serde_json::from_str(self.str()?).map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    pub(crate) fn json_opt<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        let Some(text) = self.text_opt()? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}
