//! Events as producers post them, from bytes to checked [`NewEvent`]s. This is the hot path: bytes are read
//! once, straight into their places, and payloads are kept as spelled. Only what cannot be read that way goes
//! through the schema, to name every field that is to blame.

use std::fmt;

use engate_model::{
    FieldError, Invalid, Timestamp,
    event::{LABEL_VALUE_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, check_deliver_at},
    invalid::Complaints,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, Type,
        schema::{AdditionalProperties, SchemaType},
    },
};

use super::{extract::parse, problem::Problem, schema};
use crate::accept::NewEvent;
use crate::media_type::JSON;

/// Events of one call at most.
pub(crate) const EVENTS_MAX: usize = 1_000;

/// One event, or several that are taken all or none: a description of what [`read`] takes.
pub(crate) struct EventsNew;

impl ToSchema for EventsNew {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((EventNew::name().into_owned(), EventNew::schema()));
        EventNew::schemas(schemas);
    }
}

impl PartialSchema for EventsNew {
    fn schema() -> RefOr<Schema> {
        let one = || Ref::from_schema_name(EventNew::name());
        let many = ArrayBuilder::new().items(one()).min_items(Some(1)).max_items(Some(EVENTS_MAX));
        Schema::from(OneOfBuilder::new().item(one()).item(many)).into()
    }
}

/// An object of at most [`LABELS_MAX`] texts.
fn labels_schema() -> Schema {
    let mut object = Object::new();
    object.schema_type = SchemaType::from_iter([Type::Object, Type::Null]);
    object.description = Some("Names and values, handed to plugins.".to_owned());
    object.max_properties = Some(LABELS_MAX);
    object.property_names = Some(Box::new(text(1, NAME_BYTES_MAX)));
    object.additional_properties =
        Some(Box::new(AdditionalProperties::RefOr(RefOr::T(text(0, LABEL_VALUE_BYTES_MAX)))));
    Schema::Object(object)
}

fn text(least: usize, most: usize) -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(most));
    if least > 0 { text.min_length(Some(least)).into() } else { text.into() }
}

/// A fact to be taken in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "type": "client-transaction", "subject": "01400-2", "id": "payment-1",
    "payload": [{"idtransaction": 1, "idcliente": "01400-2", "valorpago": 10.50}]
}))]
#[allow(dead_code, reason = "describes what `Incoming` takes")]
pub(crate) struct EventNew {
    /// Key of its type: letters, digits and `. - _ / :`.
    #[schema(min_length = 1, max_length = 255)]
    r#type: String,
    /// What it is about: a customer, a product.
    #[schema(min_length = 1, max_length = 255)]
    subject: Option<String>,
    /// Any JSON; its spelling (key order, digits) is kept.
    payload: Value,
    /// Idempotency key: the same id again answers the first one's ids, with another body it is refused.
    #[schema(min_length = 1, max_length = 255)]
    id: Option<String>,
    /// When it happened; none: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// Before when it is not to be delivered, at most 366 days ahead; none: at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    deliver_at: Option<Timestamp>,
    /// Names and values, handed to plugins and looked at by filters.
    #[schema(schema_with = labels_schema, required = false)]
    labels: Option<Labels>,
    /// Ties it to what caused it.
    #[schema(min_length = 1, max_length = 255)]
    correlation_id: Option<String>,
}

/// [`EventNew`] as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming<'a> {
    r#type: String,
    subject: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    id: Option<String>,
    occurred_at: Option<Timestamp>,
    deliver_at: Option<Timestamp>,
    #[serde(default)]
    labels: Option<Labels>,
    correlation_id: Option<String>,
}

/// Labels in the order given, none twice.
struct Labels(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if pairs.len() > LABELS_MAX || pairs.iter().any(|(n, _)| *n == name) {
                        return Err(serde::de::Error::custom(format!("label {name} is one too many or comes twice")));
                    }
                    pairs.push((name, value));
                }
                Ok(Labels(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// What a call brought, and how it wants to be answered.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) events: Vec<NewEvent>,
    /// Whether they came as a list, and are answered as one.
    pub(crate) many: bool,
}

/// Reads the native form: one event or an array of them.
pub(crate) fn read(bytes: &[u8], payload_bytes_max: usize) -> Result<Intake, Problem> {
    let many = bytes.trim_ascii_start().first() == Some(&b'[');
    let incoming = if many {
        serde_json::from_slice::<Vec<Incoming<'_>>>(bytes)
    } else {
        serde_json::from_slice::<Incoming<'_>>(bytes).map(|one| vec![one])
    };
    let incoming = incoming.map_err(|error| explain(bytes, many, &error))?;
    require_count(many, incoming.len())?;
    let events = incoming.into_iter().map(|event| NewEvent {
        event_type: event.r#type,
        subject: event.subject,
        payload: event.payload.get().as_bytes().to_vec(),
        content_type: JSON.to_owned(),
        idempotency_key: event.id,
        occurred_at: event.occurred_at,
        deliver_at: event.deliver_at,
        labels: event.labels.map(|labels| labels.0).unwrap_or_default(),
        correlation_id: event.correlation_id,
    });
    let events: Vec<_> = events.collect();
    check_all(&events, many, payload_bytes_max)?;
    Ok(Intake { events, many })
}

/// Refuses an empty list and one that is too long.
pub(crate) fn require_count(many: bool, count: usize) -> Result<(), Invalid> {
    if many && !(1..=EVENTS_MAX).contains(&count) {
        return Err(Invalid::field("body", format!("must have 1 to {EVENTS_MAX} events")));
    }
    Ok(())
}

/// Checks what no schema can, or what came past it.
pub(crate) fn check_all(events: &[NewEvent], many: bool, payload_bytes_max: usize) -> Result<(), Problem> {
    let mut complaints = Complaints::default();
    let mut too_large = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let place = |error: FieldError| FieldError { field: placed(many, index, &error.field), ..error };
        if let Err(Invalid(errors)) = event.check() {
            complaints.take::<()>(Err(Invalid(errors.into_iter().map(place).collect())));
        }
        if event.payload.len() > payload_bytes_max {
            let message = format!("must have at most {payload_bytes_max} bytes");
            too_large.push(FieldError { field: placed(many, index, "payload"), message });
        }
    }
    complaints.finish(())?;
    if too_large.is_empty() {
        return Ok(());
    }
    let detail = format!("a payload may have at most {payload_bytes_max} bytes");
    Err(Problem::of("payload_too_large", detail).with_errors(too_large))
}

/// Refuses deliveries put off for too long.
pub(crate) fn check_ahead(events: &[NewEvent], many: bool, now: Timestamp) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    for (index, event) in events.iter().enumerate() {
        if let Some(at) = event.deliver_at {
            complaints.take(check_deliver_at(&placed(many, index, "deliver_at"), at, now));
        }
    }
    complaints.finish(())
}

/// A field's path in a call of one or many events.
pub(crate) fn placed(many: bool, index: usize, field: &str) -> String {
    if many { format!("[{index}].{field}") } else { field.to_owned() }
}

/// The slow path: why the bytes could not be read, by field where that can be said.
fn explain(bytes: &[u8], many: bool, error: &serde_json::Error) -> Problem {
    let mut value = match parse(bytes) {
        Ok(value) => value,
        Err(problem) => return problem,
    };
    // A payload may hold anything.
    let events = match &mut value {
        Value::Array(events) => events.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    for event in events {
        if let Some(payload) = event.get_mut("payload") {
            *payload = Value::Null;
        }
    }
    let checked = if many {
        let list = || {
            json!({ "type": "array", "minItems": 1, "maxItems": EVENTS_MAX,
                    "items": { "$ref": "#/components/schemas/EventNew" } })
        };
        schema::check_inline("events", list, &value)
    } else {
        schema::check_component("EventNew", &value)
    };
    match checked {
        Err(invalid) => invalid.into(),
        // Well-formed by the schema and still unreadable: a name that comes twice, or a time out of range.
        Ok(()) => Invalid::field("body", error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_keeps_its_spelling() {
        let body = br#" {"type":"t","payload": {"b":10.50,"a":1e2, "z":"\u00e7"} ,"labels":{"x":"1","a":"2"}}"#;
        let intake = read(body, 100).unwrap();
        let event = intake.events.first().unwrap();
        assert_eq!(event.payload, br#"{"b":10.50,"a":1e2, "z":"\u00e7"}"#);
        assert_eq!(event.labels, [("x".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())]);
        assert!(!intake.many);
    }

    #[test]
    fn fields_of_many_events_are_named_by_their_place() {
        let body = format!(r#"[{{"type":"t","payload":1}},{{"type":"a b","id":"","payload":"{}"}}]"#, "x".repeat(9));
        let problem = read(body.as_bytes(), 100).unwrap_err();
        assert_eq!(problem.fields(), ["[1].type", "[1].id"]);
        let body = br#"[{"type":"t","payload":"123456789"},{"type":"t","payload":1}]"#;
        let problem = read(body, 10).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.fields()), (413, vec!["[0].payload".to_owned()]));
    }

    #[test]
    fn what_cannot_be_read_names_every_field() {
        let body = br#"{"type":7,"payload":1,"deliver_at":"x","labels":{"a":1},"occurred_at":"yesterday","zzz":1}"#;
        let mut fields = read(body, 100).unwrap_err().fields();
        fields.sort();
        assert_eq!(fields, ["deliver_at", "labels.a", "occurred_at", "type", "zzz"]);
        assert_eq!(read(br#"[{"type":"t"}]"#, 9).unwrap_err().fields(), ["[0].payload"]);
        assert_eq!(read(b"[]", 9).unwrap_err().fields(), ["body"]);
        assert_eq!(read(b"3", 9).unwrap_err().fields(), ["body"]);
        assert_eq!(read(b"{", 9).unwrap_err().status().as_u16(), 400);
        let twice = br#"{"type":"t","type":"u","payload":1}"#;
        assert_eq!(read(twice, 9).unwrap_err().status().as_u16(), 422);
    }

    #[test]
    fn a_delivery_is_put_off_for_a_year_at_most() {
        let event = |at: &str| format!(r#"{{"type":"t","payload":1,"deliver_at":"{at}"}}"#);
        let body = format!("[{},{}]", event("2027-02-01T12:00:00Z"), event("2027-02-01T12:00:00.000001Z"));
        let events = read(body.as_bytes(), 9).unwrap().events;
        let now = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        let fields: Vec<_> = check_ahead(&events, true, now).unwrap_err().0.into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["[1].deliver_at"]);
        let past = read(event("1999-01-01T00:00:00Z").as_bytes(), 9).unwrap().events;
        assert_eq!(check_ahead(&past, false, now), Ok(()));
    }

    #[test]
    fn types_of_the_engine_itself_are_refused() {
        assert_eq!(read(br#"{"type":"delivery.failed","payload":1}"#, 9).unwrap_err().fields(), ["type"]);
        assert!(read(br#"{"type":"delivery.created","payload":1}"#, 9).is_ok());
    }

    #[test]
    fn a_payload_that_is_nested_too_deep_is_named() {
        let deep = format!(r#"{{"type":"t","payload":{}{}}}"#, "[".repeat(129), "]".repeat(129));
        assert_eq!(read(deep.as_bytes(), 1_000).unwrap_err().fields(), ["payload"]);
    }
}
