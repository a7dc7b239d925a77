//! JSON Schemas (draft 2020-12) that a payload or a plugin's settings have to meet. What a schema refers to lies within
//! it: nothing is ever fetched. Patterns are matched in linear time.

mod effort;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

/// Violations told at once.
pub const VIOLATIONS_MAX: usize = 20;
/// What `$schema` may say.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Compiled size of one regular expression, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Longest text of one violation, characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    source: Value,
}

/// Where something does not meet a schema, and which of its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) into what was checked; empty: all of it.
    pub pointer: String,
    /// JSON Pointer into the schema: `/properties/amount/minimum`; empty where it is not known.
    pub rule: String,
    /// For people. Values are masked: one may be a secret that someone put in the wrong place.
    pub message: String,
}

impl Schema {
    /// Compiles a schema, read as draft 2020-12 whatever its `$schema` says.
    ///
    /// # Errors
    /// A sentence for people: no valid schema, a reference that leads out of it, a pattern that is too large or that takes more
    /// than linear time.
    pub fn compile(source: &Value) -> Result<Self, String> {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(
                PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX),
            )
            .build(source)
            .map(|validator| Self { validator, source: source.clone() })
            .map_err(|error| format!("is not valid JSON Schema 2020-12: {}", bounded(&error.to_string())))
    }

    /// Where `instance` does not meet it, at most [`VIOLATIONS_MAX`]. Where its parts refer to each other so often that the
    /// place cannot be looked for in bounded time, all of it is named, without a rule.
    pub fn violations(&self, instance: &Value) -> Vec<Violation> {
        if self.validator.is_valid(instance) {
            return Vec::new();
        }
        if !effort::is_bounded(&self.source, instance) {
            let message = "the place is not told: the schema's parts refer to each other too often to look for it";
            return vec![Violation { pointer: String::new(), rule: String::new(), message: message.to_owned() }];
        }
        let told = self.validator.iter_errors(instance).take(VIOLATIONS_MAX).map(|error| Violation {
            pointer: error.instance_path().as_str().to_owned(),
            rule: error.schema_path().as_str().to_owned(),
            message: bounded(&error.masked().to_string()),
        });
        told.collect()
    }
}

/// Whether a schema says that it is of another draft, under which it would mean something else.
///
/// # Errors
/// A sentence for people.
pub fn check_dialect(source: &Value) -> Result<(), String> {
    match source.get("$schema") {
        None => Ok(()),
        Some(Value::String(dialect)) if dialect.trim_end_matches('#') == DIALECT => Ok(()),
        Some(_) => Err(format!("$schema must be {DIALECT}, the one draft that is understood, or left out")),
    }
}

fn bounded(text: &str) -> String {
    let mut chars = text.chars();
    let mut kept: String = chars.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if chars.next().is_some() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_violation_names_the_place_and_the_rule_and_no_value() {
        let schema = Schema::compile(&json!({
            "$schema": DIALECT,
            "type": "object",
            "required": ["id"],
            "properties": {"items": {"type": "array", "items": {"properties": {"a/b": {"minimum": 1}}}}},
        }))
        .unwrap();
        assert_eq!(schema.violations(&json!({"id": 1, "items": [{"a/b": 1}]})), []);
        let found = schema.violations(&json!({"items": [{"a/b": 1}, {"a/b": -4711}]}));
        let places: Vec<_> = found.iter().map(|one| (one.pointer.as_str(), one.rule.as_str())).collect();
        assert!(places.contains(&("", "/required")), "{found:?}");
        assert!(places.contains(&("/items/1/a~1b", "/properties/items/items/properties/a~1b/minimum")), "{found:?}");
        assert!(found.iter().all(|one| !one.message.contains("4711")), "{found:?}");
    }

    #[test]
    fn parts_of_a_schema_from_elsewhere_are_not_fetched() {
        for elsewhere in ["https://example.com/schema.json", "file:///etc/passwd", "other.json", "#/$defs/none"] {
            assert!(Schema::compile(&json!({ "$ref": elsewhere })).is_err(), "{elsewhere}");
        }
        assert!(Schema::compile(&json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"})).is_ok());
        assert!(
            Schema::compile(&json!({"$id": "https://a.example/x", "$ref": "https://a.example/x#/$defs/a",
            "$defs": {"a": {"type": "string"}}}))
            .is_ok(),
            "it leads into itself"
        );
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for wrong in [json!({"type": 1}), json!({"pattern": "(a{1000}){1000}"}), json!({"pattern": "(?=a)b"})] {
            assert!(Schema::compile(&wrong).is_err(), "{wrong}");
        }
        for wrong in [json!("http://json-schema.org/draft-07/schema#"), json!(7)] {
            assert!(check_dialect(&json!({ "$schema": wrong })).is_err(), "{wrong}");
        }
        assert!([json!({}), json!({ "$schema": DIALECT })].iter().all(|right| check_dialect(right).is_ok()));
    }

    /// A schema that refers to itself without end, and ones whose work would double at every step.
    #[test]
    fn a_schema_cannot_make_the_check_endless() {
        let endless = [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
            json!({"$dynamicAnchor": "x", "oneOf": [{"$dynamicRef": "#x"}, {"type": "string"}]}),
        ];
        let mut nested = json!(1);
        for _ in 0..100 {
            nested = json!({ "x": nested });
        }
        for schema in endless {
            let Ok(compiled) = Schema::compile(&schema) else { continue };
            drop(compiled.violations(&nested));
        }
        let mut defs = serde_json::Map::new();
        for n in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            defs.insert(format!("d{n}"), json!({"allOf": [next.clone(), next]}));
        }
        defs.insert("d40".to_owned(), json!({"type": "string"}));
        let both = json!({"properties": {"x": {"$ref": "#"}}});
        let doubling = [
            json!({"oneOf": [both, both], "minProperties": 2}),
            json!({"allOf": [both, both, {"additionalProperties": {"$ref": "#"}}], "type": "object"}),
            json!({"$ref": "#/$defs/d0", "$defs": defs}),
            json!({"anyOf": [{"properties": {"x": {"$ref": "#"}}, "minProperties": 2},
                {"properties": {"x": {"$ref": "#"}}, "minProperties": 3}], "type": "object"}),
            json!({"allOf": [{"properties": {"x": {"$ref": "#"}}}, {"additionalProperties": {"$ref": "#"}}], "type": "object"}),
        ];
        for schema in doubling {
            let Ok(compiled) = Schema::compile(&schema) else { continue };
            assert!(compiled.violations(&nested).len() <= VIOLATIONS_MAX);
        }
    }
}
