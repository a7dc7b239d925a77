//! Payloads against the schemas of their event types. A schema is compiled once for each version of its type, by whoever
//! asks for it first; a type without one costs a look into a map.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use engate_model::{
    FieldError,
    event::{Event, EventType},
    schema::Schema,
};
use serde_json::Value;

#[cfg(test)]
use crate::media_type::JSON;
use crate::media_type::is_json;

/// Complaints told of one call at most.
const MISMATCHES_MAX: usize = 20;
/// Payloads of more bytes than this are checked on a thread of their own.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// The schemas of a tenant's event types, by key; a type without one is not in it.
#[derive(Default)]
pub(crate) struct PayloadSchemas(HashMap<String, Arc<PayloadSchema>>);

struct PayloadSchema {
    source: Value,
    compiled: OnceLock<Result<Schema, String>>,
}

/// Payloads that do not meet the schemas of their types: none of the events that came with them was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatches(Vec<Mismatch>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mismatch {
    /// Place of the event among those that came together.
    index: usize,
    /// JSON Pointer into its payload; empty: all of it.
    pointer: String,
    message: String,
}

impl PayloadSchemas {
    /// Those of `types`; what `held` has compiled of the same schema is used again.
    pub(crate) fn of(types: &[EventType], held: Option<&Self>) -> Self {
        let with_schema = types.iter().filter_map(|entry| Some((entry.key.clone(), entry.schema.clone()?)));
        let each = with_schema.map(|(key, source)| {
            let same = held.and_then(|held| held.0.get(&key)).filter(|held| held.source == source).cloned();
            let schema = same.unwrap_or_else(|| Arc::new(PayloadSchema { source, compiled: OnceLock::new() }));
            (key, schema)
        });
        Self(each.collect())
    }

    /// Checks the payload of each event, given with its place among those that came together, where its type has a schema.
    ///
    /// # Errors
    /// Where the payloads do not meet it, and which rule says so.
    pub(crate) async fn check(&self, events: impl IntoIterator<Item = (usize, &Arc<Event>)>) -> Result<(), Mismatches> {
        if self.0.is_empty() {
            return Ok(());
        }
        let with_schema =
            events.into_iter().filter_map(|(index, event)| Some((index, event, self.0.get(&event.event_type)?)));
        let asked: Vec<_> =
            with_schema.map(|(index, event, schema)| (index, Arc::clone(event), Arc::clone(schema))).collect();
        let bytes: usize = asked.iter().map(|(_, event, _)| event.payload.len()).sum();
        if bytes <= INLINE_BYTES_MAX {
            return check_all(&asked);
        }
        let checked = tokio::task::spawn_blocking(move || check_all(&asked)).await;
        checked.unwrap_or_else(|_| {
            let message = "could not be checked against the schema; try again".to_owned();
            Err(Mismatches(vec![Mismatch { index: 0, pointer: String::new(), message }]))
        })
    }
}

fn check_all(asked: &[(usize, Arc<Event>, Arc<PayloadSchema>)]) -> Result<(), Mismatches> {
    let mut found = Vec::new();
    for (index, event, schema) in asked {
        found.extend(schema.mismatches(*index, event));
        if found.len() >= MISMATCHES_MAX {
            found.truncate(MISMATCHES_MAX);
            break;
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Mismatches(found)) }
}

impl PayloadSchema {
    fn mismatches(&self, index: usize, event: &Event) -> Vec<Mismatch> {
        let whole = |message: String| vec![Mismatch { index, pointer: String::new(), message }];
        let media_type = event.content_type.split(';').next().unwrap_or_default().trim();
        if !is_json(&media_type.to_ascii_lowercase()) {
            return whole(format!("must be JSON: {} has a schema, and {media_type} cannot meet one", event.event_type));
        }
        let payload: Value = match serde_json::from_slice(&event.payload) {
            Ok(payload) => payload,
            Err(error) => return whole(format!("cannot be read, to be checked against the schema: {error}")),
        };
        match self.compiled.get_or_init(|| Schema::compile(&self.source)) {
            Err(why) => whole(format!("cannot be checked: the schema of {} {why}", event.event_type)),
            Ok(schema) => {
                let violations = schema.violations(&payload).into_iter().map(|violation| Mismatch {
                    index,
                    pointer: violation.pointer,
                    message: if violation.rule.is_empty() {
                        format!("does not meet the schema: {}", violation.message)
                    } else {
                        format!("does not meet the schema: {} (rule {})", violation.message, violation.rule)
                    },
                });
                violations.collect()
            }
        }
    }
}

impl Mismatches {
    /// By field: `payload` and the JSON Pointer into it, as in `payload/items/0/qty`, at the place that `placed` gives it.
    pub(crate) fn into_errors(self, placed: impl Fn(usize, &str) -> String) -> Vec<FieldError> {
        let error = |one: Mismatch| FieldError {
            field: placed(one.index, &format!("payload{}", one.pointer)),
            message: one.message,
        };
        self.0.into_iter().map(error).collect()
    }
}

impl fmt::Display for Mismatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Mismatch { index, pointer, message }) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}event {index}: payload{pointer} {message}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engate_model::{EventId, TenantId, Timestamp};
    use serde_json::json;

    use super::*;

    fn entry(key: &str, schema: Option<Value>) -> EventType {
        let at = Timestamp::from_millis(1);
        EventType {
            tenant: TenantId::new(at, 1),
            key: key.to_owned(),
            title: key.to_owned(),
            macro_process: String::new(),
            process: String::new(),
            system: false,
            enabled: true,
            schema,
            created_at: at,
        }
    }

    fn event(event_type: &str, content_type: &str, payload: &str) -> Arc<Event> {
        let at = Timestamp::from_millis(1);
        Arc::new(Event {
            id: EventId::new(at, 1),
            tenant: TenantId::new(at, 1),
            event_type: event_type.to_owned(),
            subject: None,
            payload: payload.as_bytes().to_vec(),
            content_type: content_type.to_owned(),
            occurred_at: at,
            accepted_at: at,
            deliver_at: None,
            labels: vec![],
            correlation_id: None,
            idempotency_key: None,
            reason: None,
        })
    }

    fn placed(events: &[Arc<Event>]) -> impl Iterator<Item = (usize, &Arc<Event>)> {
        events.iter().enumerate()
    }

    fn fields(checked: Result<(), Mismatches>) -> Vec<String> {
        let errors = checked.err().map(|found| found.into_errors(|index, field| format!("[{index}].{field}")));
        errors.unwrap_or_default().into_iter().map(|error| error.field).collect()
    }

    #[tokio::test]
    async fn each_payload_is_held_against_the_schema_of_its_type() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let schemas = PayloadSchemas::of(&[entry("a", Some(schema)), entry("b", None)], None);
        let events = [
            event("a", JSON, r#"{"n":1}"#),
            event("a", "application/json; charset=utf-8", r#"{"n":"hush"}"#),
            event("b", "text/plain", "anything"),
            event("a", "text/plain", "1"),
            event("a", "application/cloudevents+json", "[]"),
            event("c", JSON, "{}"),
        ];
        let found = schemas.check(placed(&events)).await;
        let told = found.as_ref().unwrap_err().to_string();
        assert!(told.contains("(rule /properties/n/type)") && !told.contains("hush"), "{told}");
        assert_eq!(fields(found), ["[1].payload/n", "[3].payload", "[4].payload"]);
        let large = event("a", JSON, &json!({"n": "x".repeat(INLINE_BYTES_MAX)}).to_string());
        assert_eq!(fields(schemas.check([(0, &large)]).await), ["[0].payload/n"]);
    }

    #[tokio::test]
    async fn what_was_compiled_is_kept_as_long_as_the_schema_stays() {
        let schema = |n: u32| Some(json!({ "minimum": n }));
        let first = PayloadSchemas::of(&[entry("a", schema(1)), entry("b", schema(1))], None);
        first.check([(0, &event("a", JSON, "1"))]).await.unwrap();
        let second = PayloadSchemas::of(&[entry("a", schema(1)), entry("b", schema(2))], Some(&first));
        assert!(Arc::ptr_eq(&first.0["a"], &second.0["a"]) && second.0["a"].compiled.get().is_some());
        assert!(!Arc::ptr_eq(&first.0["b"], &second.0["b"]));
        assert!(PayloadSchemas::of(&[entry("a", None)], Some(&second)).0.is_empty());
    }

    #[tokio::test]
    async fn complaints_are_bounded() {
        let schemas = PayloadSchemas::of(&[entry("a", Some(json!({"items": {"type": "string"}})))], None);
        let many: Vec<_> = (0..30).map(|_| event("a", JSON, "[1,2,3]")).collect();
        assert_eq!(fields(schemas.check(placed(&many)).await).len(), MISMATCHES_MAX);
    }
}
