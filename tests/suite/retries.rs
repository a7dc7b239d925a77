//! What follows from an answer: success, another try, the end.

use std::time::Duration;

use serde_json::json;

use crate::harness::{App, Reply, api::id, run};

/// A second try in an hour: a test sees it scheduled, never made.
const SCHEDULE_FAR: [u64; 2] = [0, 3_600_000];

/// Delivers one event to a partner that answers `reply`; gives the delivery after its first try.
async fn after_first_try(app: &App, name: &str, reply: Reply) -> serde_json::Value {
    let path = format!("/{name}");
    app.receiver.script(&path, [reply]);
    let url = app.receiver.url(&path);
    let retry = json!({"schedule_ms": SCHEDULE_FAR});
    let fields = json!({"url": url, "event_types": [name], "retry": retry, "timeout_ms": 400});
    let endpoint = id(&app.endpoint(fields).await);
    app.api.emit(name, json!({})).await;
    app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1 && delivery["state"] != "delivering").await
}

#[test]
fn o28_any_20x_is_success() {
    run(async |app| {
        for status in [200, 201, 202, 204] {
            let delivery = after_first_try(app, &format!("s{status}"), Reply::status(status)).await;
            assert_eq!((&delivery["state"], &delivery["success"]), (&json!("succeeded"), &json!(true)), "{delivery}");
            assert!(delivery["next_attempt_at"].is_null() && delivery["integrated_at"].is_string(), "{delivery}");
        }
    });
}

#[test]
fn o28_any_other_answer_is_an_error_and_sent_again() {
    run(async |app| {
        let elsewhere = app.receiver.url("/must-not-be-followed");
        let redirect = |status| Reply::status(status).header("location", elsewhere.clone());
        let cases = [
            ("301", redirect(301), "redirect_refused"),
            ("302", redirect(302), "redirect_refused"),
            ("400", Reply::status(400), "client_error"),
            ("401", Reply::status(401), "auth_rejected"),
            ("404", Reply::status(404), "not_found"),
            ("409", Reply::status(409), "conflict"),
            ("500", Reply::status(500), "server_error"),
            ("timeout", Reply::hang(), "timeout"),
        ];
        for (name, reply, reason) in cases {
            let delivery = after_first_try(app, name, reply).await;
            assert_eq!((&delivery["state"], &delivery["success"]), (&json!("pending"), &json!(false)), "{delivery}");
            assert_eq!(delivery["reason"], reason, "{delivery}");
            assert!(delivery["next_attempt_at"].is_string() && delivery["integrated_at"].is_null(), "{delivery}");
        }
        assert_eq!(app.api.delivery_count("success=no").await, 8);
    });
}

#[test]
fn a_retry_carries_the_same_id_and_ends_with_the_first_success() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(500), Reply::status(503), Reply::status(200)]);
        let endpoint = app.endpoint_retrying("/hook", "P1", &[0, 20, 20, 20, 20]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let seen = app.receiver.seen("/hook");
        assert_eq!((seen.len(), &delivery["attempts"]), (3, &json!(3)), "{delivery}");
        assert!(seen.iter().all(|received| received.webhook_id() == id(&delivery) && received.text() == r#"{"n":1}"#));
        let attempts = app.api.attempts(&delivery).await;
        let told: Vec<_> =
            attempts.iter().map(|one| (&one["number"], &one["trigger"], &one["response"]["status"])).collect();
        let [one, two, three] = [json!(1), json!(2), json!(3)];
        let (event, retry) = (json!("event"), json!("retry"));
        assert_eq!(told, [(&one, &event, &json!(500)), (&two, &retry, &json!(503)), (&three, &retry, &json!(200))]);
    });
}

#[test]
fn the_last_try_is_the_last() {
    run(async |app| {
        app.receiver.always("/hook", 500);
        let endpoint = app.endpoint_retrying("/hook", "P1", &[0, 10, 10]).await;
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!((&delivery["attempts"], &delivery["reason"]), (&json!(3), &json!("server_error")), "{delivery}");
        assert!(delivery["next_attempt_at"].is_null());
        assert_eq!(app.receiver.seen("/hook").len(), 3);
    });
}

#[test]
fn retry_after_is_honoured_over_the_schedule() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(503).header("retry-after", "2"), Reply::status(200)]);
        app.endpoint_retrying("/hook", "P1", &[0, 20]).await;
        app.api.emit("P1", json!({})).await;
        let seen = app.receiver.wait("/hook", 2).await;
        let waited = seen[1].at - seen[0].at;
        assert!(waited >= Duration::from_millis(1_950), "waited only {waited:?}");
    });
}

#[test]
fn gone_disables_the_endpoint_and_later_events_say_so() {
    run(async |app| {
        app.receiver.always("/hook", 410);
        let endpoint = app.endpoint_retrying("/hook", "P1", &[0, 10, 10]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!((&delivery["attempts"], &delivery["reason"]), (&json!(1), &json!("gone")), "{delivery}");
        let shown = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        assert_eq!(shown["enabled"], json!(false), "{shown}");
        app.api.emit("P1", json!({"n": 2})).await;
        let skipped = app.api.deliveries(&format!("endpoint={endpoint}&state=skipped")).await;
        assert_eq!(skipped.len(), 1);
        assert_eq!((&skipped[0]["reason"], &skipped[0]["attempts"]), (&json!("endpoint_disabled"), &json!(0)));
        assert_eq!(app.receiver.seen("/hook").len(), 1);
    });
}

#[test]
fn o19_an_edit_applies_to_the_next_try() {
    run(async |app| {
        app.receiver.always("/old", 500);
        app.receiver.always("/new", 200);
        let endpoint = app.endpoint_retrying("/old", "P1", &[0, 1_500]).await;
        app.api.emit("P1", json!({})).await;
        app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        let change = json!({
            "url": app.receiver.url("/new"), "auth": {"type": "authorization", "value": "new-key"},
        });
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &change).await.expect(200);
        let received = app.receiver.only("/new").await;
        assert_eq!(received.header("authorization"), "new-key");
        app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(app.receiver.seen("/old").len(), 1);
    });
}

#[test]
fn a_delivery_is_retried_and_cancelled_by_hand() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(500), Reply::status(200)]);
        let endpoint = app.endpoint_retrying("/hook", "P1", &SCHEDULE_FAR).await;
        app.api.emit("P1", json!({"n": 1})).await;
        let waiting = app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        let answer = app.api.post(&format!("/v1/deliveries/{}/retry", id(&waiting)), &json!({})).await;
        assert!(matches!(answer.status, 200 | 202), "{}", answer.status);
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(app.api.attempts(&delivery).await[1]["trigger"], "manual");

        app.receiver.always("/other", 500);
        let other = app.endpoint_retrying("/other", "P2", &SCHEDULE_FAR).await;
        app.api.emit("P2", json!({"n": 2})).await;
        let waiting = app.api.delivery(&other, |delivery| delivery["attempts"] == 1).await;
        app.api.post(&format!("/v1/deliveries/{}/cancel", id(&waiting)), &json!({})).await.expect(200);
        assert_eq!(app.api.delivery(&other, |_| true).await["state"], "cancelled");
    });
}

#[test]
fn nobody_listening_is_an_error_like_any_other() {
    run(async |app| {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        drop(free);
        let retry = json!({"schedule_ms": SCHEDULE_FAR});
        let endpoint = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "retry": retry})).await);
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        assert_eq!((&delivery["state"], &delivery["reason"]), (&json!("pending"), &json!("connect_refused")));
        assert!(app.api.attempt(&delivery).await["response"].is_null());
    });
}
