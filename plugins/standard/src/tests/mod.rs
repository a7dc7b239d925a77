#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod answers;
mod chats;
mod cloudevents;

use engate_sdk::testing::{self, Host};
use engate_sdk::{Event, Integrator, InterpretWhen, Request};
use serde_json::{Value, json};

use crate::Standard;

fn request(config: Value, event: &Event) -> Request {
    testing::sent(Host::new().config(config).transform::<Standard>(event, &testing::context())).request
}

fn body(config: Value, event: &Event) -> Value {
    serde_json::from_str(request(config, event).text().unwrap()).unwrap()
}

fn order() -> Event {
    let payload =
        json!({"order": {"id": "A-7", "total": 10, "note": null, "a/b": [1, {"~": true}]}, "<who>": "<!channel> & co"});
    testing::event("order.paid").with_json(payload)
}

#[test]
fn golden_requests_and_verdicts() {
    testing::run_fixtures::<Standard>(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
}

#[test]
fn the_manifest_takes_any_event_type_and_its_schema_is_sound() {
    let manifest = Standard::describe();
    assert_eq!((manifest.id.as_str(), manifest.interpret), ("standard", InterpretWhen::Always));
    assert!(manifest.event_types.is_empty());
    let schema: Value = serde_json::from_str(&manifest.config_schema).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for good in [
        json!({}),
        json!({"format": "cloudevents", "source": "urn:erp:orders"}),
        json!({"format": "cloudevents-binary"}),
        json!({"format": "slack", "text": "<!here> {{title}}: {{/order/a~1b/1/~0}} { {{payload}} }"}),
        json!({"format": "teams", "title": "{{type}}", "text": "línea\n{{time}} {{id}} {{subject}} {"}),
    ] {
        assert!(schema.is_valid(&good), "{good}");
    }
    for bad in [
        json!({"format": "CloudEvents"}),
        json!({"format": null}),
        json!({"source": "a b"}),
        json!({"source": ""}),
        json!({"text": ""}),
        json!({"text": "{{order/id}}"}),
        json!({"text": "{{ title }}"}),
        json!({"text": "{{/order/id}"}),
        json!({"text": "{{/a~2}}"}),
        json!({"text": "{{}}"}),
        json!({"title": "{{titel}}"}),
        json!({"template": "x"}),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}
