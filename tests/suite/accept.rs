//! Taking events in: once each, all of an array or none.

use serde_json::{Value, json};

use crate::harness::{api::id, run};

/// Most events of one call.
const EVENTS_MAX: usize = 1_000;

#[test]
fn a_repeat_is_recognised_and_answers_the_first_ones_ids() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let event = json!({"type": "P1", "id": "order-7", "subject": "7", "payload": {"total": 10.5}});
        let first = app.api.event(event.clone()).await;
        let again = app.api.post("/v1/events", &event).await.expect(200);
        assert_eq!((&again["id"], &again["duplicate"], &again["deliveries"]), (&first["id"], &json!(true), &json!(1)));
        app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(app.receiver.seen("/hook").len(), 1);
    });
}

#[test]
fn the_same_id_with_another_body_is_refused() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.event(json!({"type": "P1", "id": "order-7", "payload": {"total": 10.5}})).await;
        let others = [
            json!({"type": "P1", "id": "order-7", "payload": {"total": 10.50001}}),
            json!({"type": "P2", "id": "order-7", "payload": {"total": 10.5}}),
            json!({"type": "P1", "id": "order-7", "payload": {"total": 10.5}, "subject": "8"}),
        ];
        for other in others {
            app.api.post("/v1/events", &other).await.expect_problem(409, "id_conflict");
        }
        app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(app.receiver.only("/hook").await.text(), r#"{"total":10.5}"#);
    });
}

#[test]
fn concurrent_repeats_make_one_event() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let event = json!({"type": "P1", "id": "once", "payload": {"n": 1}});
        let calls = (0..20).map(|_| app.api.post("/v1/events", &event));
        let answers = futures_util::future::join_all(calls).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 202)), "{statuses:?}");
        app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(app.receiver.seen("/hook").len(), 1);
    });
}

#[test]
fn an_array_is_taken_whole_and_answered_in_order() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["P1"]).await;
        app.api.event(json!({"type": "P1", "id": "b", "payload": {"n": 1}})).await;
        let array = json!([
            {"type": "P1", "id": "a", "payload": {"n": 0}},
            {"type": "P1", "id": "b", "payload": {"n": 1}},
            {"type": "P2", "id": "c", "payload": {"n": 2}},
        ]);
        let answer = app.api.post("/v1/events", &array).await.expect(202);
        let items = answer["items"].as_array().unwrap();
        let told: Vec<_> = items.iter().map(|item| (&item["duplicate"], &item["deliveries"])).collect();
        let (yes, no, zero, one) = (json!(true), json!(false), json!(0), json!(1));
        assert_eq!(told, [(&no, &one), (&yes, &one), (&no, &zero)]);
        for (item, wanted) in items.iter().zip(["P1", "P1", "P2"]) {
            let event = app.api.get(&format!("/v1/events/{}", id(item))).await.expect(200);
            assert_eq!(event["type"], wanted, "{event}");
        }
        app.receiver.wait("/hook", 2).await;
    });
}

#[test]
fn one_bad_event_refuses_the_whole_array() {
    run(async |app| {
        app.api.event(json!({"type": "P1", "id": "used", "payload": {"n": 1}})).await;
        let bad = [
            (json!({"type": "no spaces", "payload": {}}), 422),
            (json!({"payload": {}}), 422),
            (json!({"type": "P1", "id": "used", "payload": {"n": 2}}), 409),
        ];
        for (bad, status) in bad {
            let array = json!([{"type": "P1", "id": "fine", "payload": {}}, bad]);
            app.api.post("/v1/events", &array).await.expect(status);
        }
        let listed = app.api.get("/v1/events").await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
        let first = app.api.event(json!({"type": "P1", "id": "fine", "payload": {}})).await;
        assert_eq!(first["duplicate"], json!(false));
    });
}

#[test]
fn a_thousand_events_are_taken_at_once_and_not_one_more() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["P1"]).await;
        let events =
            |count: usize| -> Value { (0..count).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect() };
        let answer = app.api.post("/v1/events", &events(EVENTS_MAX + 1)).await;
        assert!(matches!(answer.status, 413 | 422), "{}", answer.status);
        let taken = app.api.post("/v1/events", &events(EVENTS_MAX)).await.expect(202);
        assert_eq!(taken["items"].as_array().unwrap().len(), EVENTS_MAX);
        app.api.settled().await;
        assert_eq!(app.receiver.seen("/hook").len(), EVENTS_MAX);
        assert_eq!(app.api.delivery_count("state=succeeded").await, EVENTS_MAX as u64);
    });
}

#[test]
fn what_is_wrong_with_an_event_is_named() {
    run(async |app| {
        let cases = [
            (json!({"type": "", "payload": {}}), "type"),
            (json!({"type": "P1"}), "payload"),
            (json!({"type": "P1", "payload": {}, "id": ""}), "id"),
            (json!({"type": "P1", "payload": {}, "subject": "a\u{0}b"}), "subject"),
            (json!({"type": "P1", "payload": {}, "occurred_at": "yesterday"}), "occurred_at"),
            (json!({"type": "P1", "payload": {}, "labels": {"": "x"}}), "labels."),
            (json!({"type": "P1", "payload": {}, "typo": 1}), "typo"),
        ];
        for (event, field) in cases {
            let blamed = app.api.post("/v1/events", &event).await.expect_problem(422, "invalid");
            assert_eq!(blamed, [field], "{event}");
        }
        app.api.post_text("/v1/events", "{\"type\": \"P1\", ").await.expect_problem(400, "invalid_json");
    });
}
