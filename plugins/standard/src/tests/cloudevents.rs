use engate_sdk::testing::{self, Host};
use engate_sdk::{Context, Payload};
use serde_json::json;

use super::{body, order, request};
use crate::Standard;

fn binary() -> serde_json::Value {
    json!({"format": "cloudevents-binary"})
}

#[test]
fn the_envelope_holds_the_data_as_it_is_spelled() {
    for data in [r#"{"z":10.50,"a":1e2}"#, "10.00", "null", "[]", "\"text\""] {
        let request = request(json!({}), &testing::event("order.paid").with_text(data));
        let expected = format!(
            concat!(
                r#"{{"specversion":"1.0","id":"evt_sample","source":"/engate","type":"order.paid","#,
                r#""time":"2025-02-20T12:00:00.000Z","datacontenttype":"application/json","data":{}}}"#
            ),
            data
        );
        assert_eq!(request.text(), Some(expected.as_str()));
        assert_eq!(request.header_value("content-type"), Some("application/cloudevents+json; charset=utf-8"));
    }
}

#[test]
fn data_that_is_no_json_is_a_text_or_base64() {
    let mut event = testing::event("note").with_text("{not json");
    for (content_type, text) in [("text/plain", true), ("application/xml; charset=utf-8", true), ("text/json", false)] {
        event.content_type = content_type.to_owned();
        let plan = Host::new().transform::<Standard>(&event, &testing::context());
        if text {
            assert_eq!(body(json!({}), &event)["data"], "{not json");
        } else {
            assert_eq!(plan.unwrap_err().code, "invalid_payload");
        }
    }
    event.content_type = "application/octet-stream".to_owned();
    event.data = Payload::Bytes(vec![0xff, 0x00]);
    let envelope = body(json!({}), &event);
    assert_eq!((&envelope["data_base64"], envelope.get("data")), (&json!("/wA="), None));
    event.data = Payload::Empty;
    let envelope = body(json!({}), &event);
    assert_eq!((envelope.get("data_base64"), envelope.get("data")), (None, None));
    event.content_type = "Application/vnd.acme+JSON; v=1".to_owned();
    event.data = "{\"a\":1}".into();
    assert_eq!(body(json!({}), &event)["data"], json!({"a": 1}));
}

#[test]
fn the_source_is_the_setting_or_the_producer_s_or_the_engine_s() {
    let event = order().with_label("ce-source", "/erp").with_label("ce-dataschema", "https://erp.example/s");
    let envelope = body(json!({}), &event);
    assert_eq!((&envelope["source"], &envelope["dataschema"]), (&json!("/erp"), &json!("https://erp.example/s")));
    assert_eq!(body(json!({"source": "urn:x"}), &event)["source"], "urn:x");
    assert_eq!(body(json!({}), &order())["source"], "/engate");
}

#[test]
fn headers_are_percent_encoded_and_the_body_is_untouched() {
    let mut event = testing::event("order.paid").with_text(" {\"total\": 10.50}\n");
    event.subject = Some("São \"Paulo\" 100%".to_owned());
    let context = Context {
        delivery: engate_sdk::Delivery { correlation_id: Some("c 1".to_owned()), ..testing::context().delivery },
        ..testing::context()
    };
    let host = Host::new().config(binary());
    let request = testing::sent(host.transform::<Standard>(&event, &context)).request;
    assert_eq!(request.text(), Some(" {\"total\": 10.50}\n"));
    let header = |name: &str| request.header_value(name);
    assert_eq!(header("ce-subject"), Some("S%C3%A3o%20%22Paulo%22%20100%25"));
    assert_eq!(header("ce-correlationid"), Some("c%201"));
    assert_eq!((header("ce-specversion"), header("ce-type")), (Some("1.0"), Some("order.paid")));
    assert_eq!((header("ce-time"), header("ce-dataschema")), (Some("2025-02-20T12:00:00.000Z"), None));
    assert_eq!(header("content-type"), Some("application/json"));
}

#[test]
fn empty_attributes_are_left_out() {
    let mut event = order();
    event.subject = Some(String::new());
    assert_eq!(body(json!({}), &event).get("subject"), None);
    assert_eq!(request(binary(), &event).header_value("ce-subject"), None);
}
