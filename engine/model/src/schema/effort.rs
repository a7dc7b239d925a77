//! Whether the place where a schema is not met can be looked for. The library answers yes or no in bounded time, since it
//! remembers what it saw; telling all violations it does not, and goes through a part as often as others refer to it: a
//! schema of a few lines could keep a processor busy for good.

use serde_json::{Map, Value};

/// Steps that are taken at most, each a part of the schema held against a part of what is checked.
const STEPS_MAX: u32 = 50_000;
/// How deep parts may lie within each other: what is checked nests at most 128 deep, with some parts for each.
const DEPTH_MAX: u32 = 600;
/// Keywords whose schema is for the same place, as one or as a list.
const HERE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords whose schema is for members or items, as one or as a list.
const BELOW: [&str; 7] = [
    "items",
    "prefixItems",
    "contains",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
];

/// Whether going through all of `schema` for `instance`, remembering nothing, ends within bounds. Where it cannot be
/// known (a reference by name), it counts as if it did not.
pub(super) fn is_bounded(schema: &Value, instance: &Value) -> bool {
    Walk { root: schema, steps: STEPS_MAX }.part(schema, instance, 0).is_some()
}

struct Walk<'s> {
    root: &'s Value,
    steps: u32,
}

impl<'s> Walk<'s> {
    /// None where it goes too far.
    fn part(&mut self, schema: &'s Value, instance: &Value, depth: u32) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        let Value::Object(schema) = schema else { return Some(()) };
        if depth > DEPTH_MAX || schema.contains_key("$dynamicRef") || schema.contains_key("$recursiveRef") {
            return None;
        }
        // These look a second time at what the parts beside them took.
        let looks_again = schema.contains_key("unevaluatedProperties") || schema.contains_key("unevaluatedItems");
        for _ in 0..=u8::from(looks_again) {
            self.here(schema, instance, depth + 1)?;
        }
        self.below(schema, instance, depth + 1)
    }

    fn here(&mut self, schema: &'s Map<String, Value>, instance: &Value, depth: u32) -> Option<()> {
        if let Some(reference) = schema.get("$ref") {
            let target = self.root.pointer(reference.as_str()?.strip_prefix('#').filter(|at| !at.contains('%'))?)?;
            self.part(target, instance, depth)?;
        }
        let dependent = schema.get("dependentSchemas").and_then(Value::as_object);
        let parts = HERE.iter().filter_map(|keyword| schema.get(*keyword)).flat_map(one_or_many);
        for part in parts.chain(dependent.into_iter().flat_map(Map::values)) {
            self.part(part, instance, depth)?;
        }
        Some(())
    }

    fn below(&mut self, schema: &'s Map<String, Value>, instance: &Value, depth: u32) -> Option<()> {
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let for_each = BELOW.iter().filter_map(|keyword| schema.get(*keyword)).flat_map(one_or_many);
        let for_each: Vec<_> = for_each.chain(patterns.into_iter().flat_map(Map::values)).collect();
        match instance {
            Value::Object(members) => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, member) in members {
                    let own = named.and_then(|named| named.get(name));
                    for part in for_each.iter().copied().chain(own) {
                        self.part(part, member, depth)?;
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    for part in &for_each {
                        self.part(part, item, depth)?;
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(parts) => parts,
        one => std::slice::from_ref(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_refers_to_itself_is_bounded_by_what_is_checked() {
        let tree = json!({"properties": {"name": {"type": "string"}, "children": {"items": {"$ref": "#"}}}});
        let mut nested = json!({"name": "leaf"});
        for _ in 0..50 {
            nested = json!({"name": "n", "children": [nested, {"name": 1}]});
        }
        assert!(is_bounded(&tree, &nested));
        assert!(!is_bounded(&json!({"$ref": "#"}), &json!(1)));
        let twice = json!({"allOf": [tree, {"properties": {"children": {"items": {"$ref": "#"}}}}]});
        assert!(!is_bounded(&twice, &nested), "each level doubles the work");
        assert!(is_bounded(&twice, &json!({"children": [{"name": 1}]})), "of a small thing it is little");
        assert!(!is_bounded(&json!({"$ref": "#name"}), &json!(1)), "a name is not followed");
    }
}
