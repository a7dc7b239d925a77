//! Settings against the schema of a manifest.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use engate_model::{FieldError, Invalid, schema::Schema};
use serde_json::Value;

use crate::digest::Digest;

/// Compiled schemas kept; one takes a few KiB.
const COMPILED_MAX: usize = 256;

/// Schemas are asked for at every registration and edit, and compile in up to a millisecond.
static COMPILED: LazyLock<Mutex<HashMap<Digest, Arc<Schema>>>> = LazyLock::new(Mutex::default);

/// Checks settings against a manifest's `config_schema`. Fields are named by their path (`link.ttl_s`, `names[2]`).
///
/// # Errors
/// Names every field to blame; the empty path is the whole document.
pub fn validate_config(schema: &Value, config: &Value) -> Result<(), Invalid> {
    let schema = compiled(schema).map_err(|message| Invalid::field("", message))?;
    let complaints: Vec<FieldError> = schema
        .violations(config)
        .into_iter()
        .map(|violation| FieldError { field: field_path(&violation.pointer, config), message: violation.message })
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(Invalid(complaints)) }
}

/// Compiles the schema of a manifest's settings.
///
/// # Errors
/// A sentence for people.
pub(crate) fn compile(schema: &Value) -> Result<Schema, String> {
    Schema::compile(schema).map_err(|why| format!("the schema of the settings {why}"))
}

fn compiled(schema: &Value) -> Result<Arc<Schema>, String> {
    let key = Digest::of(schema.to_string().as_bytes());
    if let Some(compiled) = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(compiled));
    }
    let compiled = Arc::new(compile(schema)?);
    let mut cache = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= COMPILED_MAX {
        cache.clear();
    }
    cache.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}

/// `/names/2/x` -> `names[2].x`; a number is an index only where the settings hold an array.
fn field_path(pointer: &str, config: &Value) -> String {
    let mut path = String::new();
    let mut place = Some(config);
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        if place.is_some_and(Value::is_array) {
            path.push('[');
            path.push_str(&name);
            path.push(']');
            place = place.and_then(|value| name.parse::<usize>().ok().and_then(|index| value.get(index)));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&name);
            place = place.and_then(|value| value.get(&name));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_wrong_field_is_named_by_its_path() {
        let schema = json!({
            "type": "object",
            "required": ["base"],
            "properties": {
                "base": {"type": "string"},
                "names": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
                "2": {"type": "object", "properties": {"a/b": {"type": "boolean"}}}
            },
            "additionalProperties": false
        });
        assert_eq!(validate_config(&schema, &json!({"base": "b"})), Ok(()));
        let config = json!({"base": 1, "names": [{"x": 1}, {"x": "two"}], "2": {"a/b": 3}});
        let mut fields: Vec<String> =
            validate_config(&schema, &config).unwrap_err().0.into_iter().map(|error| error.field).collect();
        fields.sort();
        assert_eq!(fields, ["2.a/b", "base", "names[1].x"]);
        let missing = validate_config(&schema, &json!({})).unwrap_err();
        assert!(missing.to_string().contains("base"), "{missing}");
    }

    #[test]
    fn a_wrong_value_is_not_repeated_in_the_message() {
        let schema = json!({"properties": {"mode": {"enum": ["a", "b"]}, "n": {"type": "integer"}}});
        let error = validate_config(&schema, &json!({"mode": "hunter2", "n": "hunter2"})).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn isolation_20_parts_of_a_schema_from_elsewhere_are_not_fetched() {
        for schema in [json!({"$ref": "https://example.com/schema.json"}), json!({"$ref": "file:///etc/passwd"})] {
            assert!(compile(&schema).is_err(), "{schema}");
        }
    }
}
