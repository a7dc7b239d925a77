//! JSON rules that more than one room needs.

use serde_json::Value;

/// Lays `over` upon `base`: objects are merged key by key, anything else replaces (RFC 7396, but `null` is a
/// value here). Configuration of installation, integrator and endpoint is merged this way, in that order.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn later_layers_win_and_objects_merge() {
        let mut base = json!({"link": {"base": "a", "ttl_s": 1}, "names": "camel"});
        merge(&mut base, &json!({"link": {"ttl_s": 2}, "names": null}));
        assert_eq!(base, json!({"link": {"base": "a", "ttl_s": 2}, "names": null}));
    }
}
