//! Which deliveries are listed.

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, Timestamp,
    delivery::DeliveryState,
    listing::{Column, alike},
};

use super::conditions::Conditions;
use crate::{commit::finish::success_number, sql::Dialect, value::Value};

/// Which deliveries are listed; empty and none mean any. All of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// One of these.
    pub ids: Vec<DeliveryId>,
    /// In one of these states.
    pub states: Vec<DeliveryState>,
    /// By how the last attempt ended: one of these.
    pub success: Vec<SuccessFilter>,
    /// Of one of these integrators.
    pub integrators: Vec<IntegratorId>,
    /// To one of these endpoints.
    pub endpoints: Vec<EndpointId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// Of one of these types.
    pub event_types: Vec<String>,
    /// Of events taken at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Of events taken before this instant.
    pub created_before: Option<Timestamp>,
    /// That succeeded at this instant or later.
    pub integrated_from: Option<Timestamp>,
    /// That succeeded before this instant.
    pub integrated_before: Option<Timestamp>,
    /// Tried that often or more.
    pub attempts_min: Option<u32>,
    /// Tried that often or less.
    pub attempts_max: Option<u32>,
    /// For each word that people search, what it may mean: one of its meanings must hold.
    pub words: Vec<Vec<Meaning>>,
}

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuccessFilter {
    /// It succeeded.
    Yes,
    /// It failed.
    No,
    /// There was none yet.
    Pending,
}

impl SuccessFilter {
    /// As a delivery has it.
    pub const fn success(self) -> Option<bool> {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Pending => None,
        }
    }
}

/// Something that a word people search may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The folded word stands somewhere in the subject, the type's key, the reason or the correlation id.
    Text(String),
    /// A code from the first to the second, both included.
    Codes(i64, i64),
    /// So many attempts.
    Attempts(u32),
    /// A time of that column at the first instant or later, before the second.
    Time(Column, Timestamp, Timestamp),
    /// One of these integrators.
    Integrators(Vec<IntegratorId>),
    /// One of these event types.
    EventTypes(Vec<String>),
    /// One of these states.
    States(Vec<DeliveryState>),
    /// That end of the last attempt.
    Success(SuccessFilter),
    /// That delivery.
    Delivery(DeliveryId),
    /// That event.
    Event(EventId),
    /// That endpoint.
    Endpoint(EndpointId),
}

impl DeliveryFilter {
    /// Every condition, whatever index is read.
    pub(crate) fn conditions(&self, dialect: Dialect, on: &mut Conditions) {
        on.one_of("id", self.ids.iter().copied());
        on.one_of("state", self.states.iter().copied());
        on.one_of("success", self.success.iter().map(|success| success_number(success.success())));
        on.one_of("integrator_id", self.integrators.iter().copied());
        on.one_of("endpoint_id", self.endpoints.iter().copied());
        on.one_of("event_id", self.event);
        on.one_of("event_type", self.event_types.iter());
        let bounds = [
            ("created_at >=", self.created_from.map(Value::from)),
            ("created_at <", self.created_before.map(Value::from)),
            ("integrated_at >=", self.integrated_from.map(Value::from)),
            ("integrated_at <", self.integrated_before.map(Value::from)),
            ("attempts >=", self.attempts_min.map(Value::from)),
            ("attempts <=", self.attempts_max.map(Value::from)),
        ];
        for (comparison, value) in bounds {
            on.extend(value.map(|value| (comparison, value)));
        }
        for word in &self.words {
            let meanings = word.iter().map(|meaning| meaning.condition(dialect, on)).collect::<Vec<_>>();
            on.and(&if meanings.is_empty() { "1 = 0".to_owned() } else { format!("({})", meanings.join(" OR ")) });
        }
    }
}

impl Meaning {
    fn condition(&self, dialect: Dialect, on: &mut Conditions) -> String {
        match self {
            Self::Text(word) => holds(dialect, &["subject", "event_type", "reason", "correlation_id"], word, on),
            Self::Codes(first, last) => {
                format!("code BETWEEN ${} AND ${}", on.bind((*first).into()), on.bind((*last).into()))
            }
            Self::Attempts(number) => format!("attempts = ${}", on.bind((*number).into())),
            Self::Time(column, from, before) => {
                let (column, from) = (column_of(*column), on.bind((*from).into()));
                format!("({column} >= ${from} AND {column} < ${})", on.bind((*before).into()))
            }
            Self::Integrators(ids) => on.list("integrator_id", ids.iter().copied()),
            Self::EventTypes(keys) => on.list("event_type", keys.iter()),
            Self::States(states) => on.list("state", states.iter().copied()),
            Self::Success(success) => on.list("success", [success_number(success.success())]),
            Self::Delivery(id) => on.list("id", [*id]),
            Self::Event(id) => on.list("event_id", [*id]),
            Self::Endpoint(id) => on.list("endpoint_id", [*id]),
        }
    }
}

/// That one of the columns holds a folded word.
pub(super) fn holds(dialect: Dialect, columns: &[&str], word: &str, on: &mut Conditions) -> String {
    let pattern = dialect.pick::<fn(&str) -> String>(glob, regex)(word);
    let (at, like) = (on.bind(pattern.into()), dialect.pick("GLOB", "~"));
    columns.iter().map(|column| format!("{column} {like} ${at}")).collect::<Vec<_>>().join(" OR ")
}

/// The database's column.
pub(crate) const fn column_of(column: Column) -> &'static str {
    match column {
        Column::Id => "id",
        Column::Code => "code",
        Column::Event => "event_id",
        Column::EventType => "event_type",
        Column::Subject => "subject",
        Column::Endpoint => "endpoint_id",
        // Its column is the id; what people see, and so what an order goes by, is the name.
        Column::Integrator => "(SELECT i.name FROM integrators i WHERE i.id = integrator_id)",
        Column::State => "state",
        Column::Success => "success",
        Column::Reason => "reason",
        Column::Attempts => "attempts",
        Column::CreatedAt => "created_at",
        Column::LastAttemptAt => "last_attempt_at",
        Column::IntegratedAt => "integrated_at",
        Column::NextAttemptAt => "due_at",
        Column::CorrelationId => "correlation_id",
    }
}

/// A folded word anywhere in a text, as SQLite's GLOB has it: each letter is any of those that look alike.
fn glob(word: &str) -> String {
    let letters = word.chars().map(|c| match alike(c).as_slice() {
        [one] if matches!(one, '*' | '?' | '[') => format!("[{one}]"),
        [one] => one.to_string(),
        several => format!("[{}]", several.iter().collect::<String>()),
    });
    format!("*{}*", letters.collect::<String>())
}

/// The same as a regular expression of PostgreSQL.
fn regex(word: &str) -> String {
    let letters = word.chars().map(|c| match alike(c).as_slice() {
        [one] if one.is_alphanumeric() || *one == ' ' || !one.is_ascii() => one.to_string(),
        [one] => format!("\\{one}"),
        several => format!("[{}]", several.iter().collect::<String>()),
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_pattern_is_only_a_character() {
        assert_eq!(glob("1*?["), "*1[*][?][[]*");
        assert_eq!(regex("1.*(["), "1\\.\\*\\(\\[");
        assert!(glob("ç").starts_with("*[") && regex("c").contains('Ç'));
    }
}
