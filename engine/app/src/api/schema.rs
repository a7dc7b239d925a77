//! Requests against their schemas in the API's description, so that what `/openapi.json` says and what the
//! engine takes cannot differ. Every complaint names its field and the cure.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use engate_model::{FieldError, Invalid};
use jsonschema::{
    JsonType, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::{Location, LocationSegment},
};
use serde_json::{Value, json};

use super::contract::contract;

/// What to blame where the whole value is wrong.
const WHOLE: &str = "body";
/// Complaints that one answer lists at most.
const COMPLAINTS_MAX: usize = 50;
/// What is said of a name that nobody knows.
pub(crate) const UNKNOWN: &str = "is not known here; leave it out or correct its name";

/// A compiled schema by the name of its type.
type Compiled = HashMap<String, Arc<Validator>>;

/// Checks `value` against the component schema `name`.
///
/// # Errors
/// Every field to blame.
pub(crate) fn check_component(name: &str, value: &Value) -> Result<(), Invalid> {
    let validator = compiled(name, || json!({ "$ref": format!("#/components/schemas/{name}") }))?;
    judge(&validator, value)
}

/// Checks `value` against a schema that is no component; `key` names it for the cache.
///
/// # Errors
/// Every field to blame.
pub(crate) fn check_inline(key: &str, schema: impl FnOnce() -> Value, value: &Value) -> Result<(), Invalid> {
    judge(&compiled(key, schema)?.clone(), value)
}

fn compiled(key: &str, schema: impl FnOnce() -> Value) -> Result<Arc<Validator>, Invalid> {
    static COMPILED: OnceLock<Mutex<Compiled>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(Mutex::default);
    let held = compiled.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    if let Some(validator) = held {
        return Ok(validator);
    }
    let mut schema = schema();
    if let Some(root) = schema.as_object_mut() {
        root.insert("components".to_owned(), contract().value.get("components").cloned().unwrap_or_default());
    }
    let built = jsonschema::draft202012::options().should_validate_formats(true).build(&schema);
    let validator = Arc::new(built.map_err(|error| {
        // A test compiles every schema of the description; this cannot be a client's doing.
        tracing::error!(schema = key, %error, "a schema of the description does not compile");
        Invalid::field(WHOLE, "cannot be checked by this engine")
    })?);
    compiled.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), Arc::clone(&validator));
    Ok(validator)
}

fn judge(validator: &Validator, value: &Value) -> Result<(), Invalid> {
    let mut complaints = Vec::new();
    for error in validator.iter_errors(value) {
        complain(&error, &mut complaints);
    }
    zero_characters(value, &mut String::new(), &mut complaints);
    complaints.truncate(COMPLAINTS_MAX);
    if complaints.is_empty() { Ok(()) } else { Err(Invalid(complaints)) }
}

/// The path of a place in a request: `auth.type`, `event_types[2]`.
fn path(location: &Location) -> String {
    let mut path = String::new();
    for segment in location.segments() {
        match segment {
            LocationSegment::Property(name) => push(&mut path, &name),
            LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn below(parent: &str, name: &str) -> String {
    let mut path = parent.to_owned();
    push(&mut path, name);
    path
}

fn whole(path: String) -> String {
    if path.is_empty() { WHOLE.to_owned() } else { path }
}

fn complain(error: &ValidationError<'_>, complaints: &mut Vec<FieldError>) {
    let at = path(error.instance_path());
    let mut add = |field: String, message: String| complaints.push(FieldError { field: whole(field), message });
    match error.kind() {
        Kind::Required { property } => add(below(&at, property.as_str().unwrap_or_default()), "is required".to_owned()),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                add(below(&at, name), UNKNOWN.to_owned());
            }
        }
        Kind::OneOfNotValid { context } | Kind::AnyOf { context } => choose(&at, context, complaints),
        Kind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default().to_owned();
            add(below(&at, &name), format!("the name {}", message(error.kind())));
        }
        kind => add(at, message(kind)),
    }
}

/// Of the alternatives that all failed, complains of the one that was meant: the one whose tag fits, or the
/// one of the right JSON type.
fn choose(at: &str, context: &[Vec<ValidationError<'static>>], complaints: &mut Vec<FieldError>) {
    let is_tag = |error: &ValidationError<'_>| {
        path(error.instance_path()) != at && matches!(error.kind(), Kind::Enum { .. } | Kind::Constant { .. })
    };
    let is_type =
        |error: &ValidationError<'_>| path(error.instance_path()) == at && matches!(error.kind(), Kind::Type { .. });
    let typed: Vec<_> = context.iter().filter(|errors| !errors.iter().any(is_type)).collect();
    if let Some(meant) = typed.iter().find(|errors| !errors.iter().any(|e| is_tag(e) || lacks_tag(e))) {
        meant.iter().for_each(|error| complain(error, complaints));
        return;
    }
    // No alternative has this tag: the tag is to blame, and its values are the cure.
    let tags = typed.iter().filter_map(|errors| errors.iter().find(|error| is_tag(error)));
    let tags: Vec<_> = tags.collect();
    if let Some(first) = tags.first() {
        let values: Vec<_> = tags.iter().flat_map(|error| values_of(error.kind())).collect();
        let field = path(first.instance_path());
        complaints.push(FieldError { field, message: format!("must be one of {}", values.join(", ")) });
        return;
    }
    match typed.first().or(context.iter().collect::<Vec<_>>().last()) {
        Some(errors) => errors.iter().for_each(|error| complain(error, complaints)),
        None => complaints.push(FieldError { field: whole(at.to_owned()), message: "cannot be taken".to_owned() }),
    }
}

/// Whether a tagged alternative misses its tag; then any alternative will do to say so.
fn lacks_tag(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Required { property } if property == "type" || property == "kind")
}

fn values_of(kind: &Kind) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match kind {
        Kind::Enum { options } => options.as_array().map(|all| all.iter().map(shown).collect()).unwrap_or_default(),
        Kind::Constant { expected_value } => vec![shown(expected_value)],
        _ => Vec::new(),
    }
}

fn message(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::Enum { .. } | Kind::Constant { .. } => format!("must be one of {}", values_of(kind).join(", ")),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} entries"),
        Kind::MinProperties { limit } => format!("must have at least {limit} entries"),
        Kind::UniqueItems => "must not name anything twice".to_owned(),
        Kind::Pattern { pattern } => format!("must match {pattern}"),
        Kind::Format { format } if format == "date-time" => {
            "must be an RFC 3339 time such as 2026-01-31T12:00:00Z".to_owned()
        }
        Kind::Format { format } => format!("must be written as {format}"),
        Kind::FalseSchema => "is not taken here".to_owned(),
        Kind::OneOfMultipleValid { .. } => "fits several forms at once; keep to one".to_owned(),
        other => format!("breaks the rule {}", other.keyword()),
    }
}

fn types(kind: &TypeKind) -> String {
    let name = |kind: JsonType| match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a text",
    };
    match kind {
        TypeKind::Single(kind) => name(*kind).to_owned(),
        TypeKind::Multiple(kinds) => {
            // What is wanted comes first, and that there may be nothing last.
            let mut kinds: Vec<_> = kinds.iter().collect();
            kinds.sort_by_key(|kind| *kind == JsonType::Null);
            kinds.into_iter().map(name).collect::<Vec<_>>().join(" or ")
        }
    }
}

/// PostgreSQL cannot hold U+0000 in a text, so no text of a request may.
fn zero_characters(value: &Value, at: &mut String, complaints: &mut Vec<FieldError>) {
    const MESSAGE: &str = "must not hold the character U+0000";
    let mut add =
        |field: &str| complaints.push(FieldError { field: whole(field.to_owned()), message: MESSAGE.to_owned() });
    let length = at.len();
    match value {
        Value::String(text) if text.contains('\0') => add(at),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push_str(&format!("[{index}]"));
                zero_characters(item, at, complaints);
                at.truncate(length);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                push(at, name);
                if name.contains('\0') {
                    complaints.push(FieldError { field: at.replace('\0', "\u{fffd}"), message: MESSAGE.to_owned() });
                }
                zero_characters(item, at, complaints);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(schema: Value, value: Value) -> Vec<String> {
        let key = format!("test {schema}");
        let judged = check_inline(&key, || schema, &value);
        judged
            .err()
            .map(|invalid| invalid.0)
            .unwrap_or_default()
            .into_iter()
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect()
    }

    fn auth() -> Value {
        let form = |tag: &str, field: &str| {
            json!({ "type": "object", "additionalProperties": false, "required": ["type", field],
                    "properties": { "type": { "type": "string", "enum": [tag] }, field: { "type": "string", "maxLength": 3 } } })
        };
        json!({ "type": "object", "properties": { "auth": { "oneOf": [
            { "type": "null" }, { "oneOf": [form("basic", "password"), form("header", "value")] } ] } } })
    }

    #[test]
    fn of_several_forms_the_one_meant_is_judged() {
        let of = |auth_value: Value| complaints(auth(), json!({ "auth": auth_value }));
        assert_eq!(of(json!({ "type": "basic", "password": "abc" })), Vec::<String>::new());
        assert_eq!(of(Value::Null), Vec::<String>::new());
        assert_eq!(
            of(json!({ "type": "basic", "password": "abcd" })),
            ["auth.password: must have at most 3 characters"]
        );
        assert_eq!(of(json!({ "type": "header" })), ["auth.value: is required"]);
        assert_eq!(of(json!({ "type": "mtls" })), ["auth.type: must be one of basic, header"]);
        assert_eq!(of(json!({ "password": "a" })), ["auth.type: is required"]);
        let both = of(json!({ "type": "basic", "password": "a", "value": "b" }));
        assert_eq!(both, ["auth.value: is not known here; leave it out or correct its name"]);
        assert_eq!(of(json!(7)), ["auth: must be an object"]);
    }

    #[test]
    fn every_fault_is_named_by_its_path_at_once() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["url"],
            "properties": {
                "url": { "type": "string" }, "n": { "type": ["integer", "null"], "minimum": 1, "maximum": 9 },
                "list": { "type": "array", "items": { "type": "string", "minLength": 1 } },
                "at": { "type": "string", "format": "date-time" },
            },
        });
        let found = complaints(schema.clone(), json!({ "n": 10, "list": ["a", "", 3], "at": "today", "x": 1 }));
        let expected = [
            "url: is required",
            "n: must be at most 9",
            "list[1]: must not be empty",
            "list[2]: must be a text",
            "at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
            "x: is not known here; leave it out or correct its name",
        ];
        let sorted = |mut texts: Vec<String>| {
            texts.sort();
            texts
        };
        assert_eq!(sorted(found), sorted(expected.map(str::to_owned).to_vec()));
        assert_eq!(complaints(schema.clone(), json!([])), ["body: must be an object"]);
        let of_two = complaints(schema.clone(), json!({ "url": "a", "n": "1" }));
        assert_eq!(of_two, ["n: must be a whole number or null"]);
        let zero = complaints(schema, json!({ "url": "a\u{0}", "list": ["b\u{0}"] }));
        assert_eq!(zero.len(), 2, "{zero:?}");
    }
}
