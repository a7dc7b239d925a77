//! CloudEvents 1.0 in, in their three forms.

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{App, api::Answer, api::id, run};

async fn post(app: &App, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Answer {
    app.api.send(Method::POST, "/v1/events", headers, body.into()).await
}

async fn shown(app: &App, taken: &Value) -> Value {
    app.api.get(&format!("/v1/events/{}", id(taken))).await.expect(200)
}

#[test]
fn a_structured_event_goes_out_as_its_data() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["order.created"]).await;
        let event = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.created","subject":"order-7",
            "time":"2026-01-31T12:00:00Z","correlationid":"c-1","data":{"b":10.50,"a":"\u00e7"}}"#;
        let headers = [("content-type", "application/cloudevents+json")];
        let taken = post(app, &headers, event).await.expect(202);
        let received = app.receiver.only("/hook").await;
        assert_eq!(received.text(), r#"{"b":10.50,"a":"\u00e7"}"#);
        let event_shown = shown(app, &taken).await;
        assert_eq!((&event_shown["type"], &event_shown["subject"]), (&json!("order.created"), &json!("order-7")));
        assert_eq!(event_shown["correlation_id"], "c-1", "{event_shown}");
        assert!(event_shown["occurred_at"].as_str().unwrap().starts_with("2026-01-31T12:00:00"), "{event_shown}");
        let again = post(app, &headers, event).await.expect(200);
        assert_eq!((&again["duplicate"], &again["id"]), (&json!(true), &taken["id"]));
        let elsewhere = event.replace("/shop", "/other-shop");
        assert_eq!(post(app, &headers, elsewhere).await.expect(202)["duplicate"], json!(false), "another source");
    });
}

#[test]
fn a_batch_is_answered_in_order() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["a", "b"]).await;
        let event = |n: u32, kind: &str| json!({"specversion": "1.0", "id": n.to_string(), "source": "s", "type": kind, "data": n});
        let batch = json!([event(1, "a"), event(2, "b"), event(3, "a")]);
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let taken = post(app, &headers, batch.to_string()).await.expect(202);
        let mut kinds = Vec::new();
        for item in taken["items"].as_array().unwrap() {
            kinds.push(shown(app, item).await["type"].as_str().unwrap().to_owned());
        }
        assert_eq!(kinds, ["a", "b", "a"]);
        let mut bodies: Vec<_> = app.receiver.wait("/hook", 3).await.iter().map(|one| one.text().to_owned()).collect();
        bodies.sort();
        assert_eq!(bodies, ["1", "2", "3"]);
    });
}

#[test]
fn a_binary_event_keeps_its_bytes_and_media_type() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["photo.taken"]).await;
        let bytes: Vec<u8> = (0..=255).collect();
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/camera"),
            ("ce-type", "photo.taken"),
            ("ce-subject", "pra%C3%A7a"),
            ("content-type", "image/x-test"),
        ];
        let taken = post(app, &headers, bytes.clone()).await.expect(202);
        let received = app.receiver.only("/hook").await;
        assert_eq!(received.body, bytes);
        assert_eq!(received.header("content-type"), "image/x-test");
        assert_eq!(shown(app, &taken).await["subject"], "praça");
    });
}

#[test]
fn base64_data_goes_out_as_the_bytes_it_means() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["blob"]).await;
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "s", "type": "blob",
            "datacontenttype": "application/octet-stream", "data_base64": STANDARD.encode([0_u8, 159, 146, 150]),
        });
        post(app, &[("content-type", "application/cloudevents+json")], event.to_string()).await.expect(202);
        let received = app.receiver.only("/hook").await;
        assert_eq!(&received.body[..], [0, 159, 146, 150]);
        assert_eq!(received.header("content-type"), "application/octet-stream");
    });
}

#[test]
fn what_is_missing_is_named() {
    run(async |app| {
        let event = json!({"specversion": "0.3", "source": "s", "type": "t"});
        let answer = post(app, &[("content-type", "application/cloudevents+json")], event.to_string()).await;
        assert_eq!(answer.expect_problem(422, "invalid"), ["specversion", "id"]);
        let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("content-type", "application/json")];
        let answer = post(app, &headers, "{}").await;
        assert_eq!(answer.expect_problem(422, "invalid"), ["source", "type"]);
    });
}
