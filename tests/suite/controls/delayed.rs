//! Events that are not to be delivered before a time.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::harness::{App, Backend, Setup, run, run_on};

fn text(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Micros, true)
}

async fn waits(app: &App, endpoint: &str, deliver_at: &str) -> Value {
    let delivery = app.api.delivery(endpoint, |_| true).await;
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("pending"), &json!(0)), "{delivery}");
    assert_eq!(delivery["next_attempt_at"], deliver_at);
    delivery
}

fn goes_at_its_time(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let at = SystemTime::now() + Duration::from_secs(4);
        let deliver_at = text(at);
        let event = json!({"type": "P1", "id": "once", "payload": {}, "deliver_at": deliver_at});
        let taken = app.api.event(event.clone()).await;
        waits(app, &endpoint, &deliver_at).await;
        app.engine.kill().await;
        app.engine.start_again().await;
        let before = waits(app, &endpoint, &deliver_at).await;
        // A pause that ends before the time does not bring it forward.
        for verb in ["pause", "resume"] {
            app.api.post(&format!("/v1/queues/{endpoint}/{verb}"), &json!({})).await.expect(200);
        }
        waits(app, &endpoint, &deliver_at).await;
        let shown = app.api.get(&format!("/v1/events/{}", taken["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(shown["deliver_at"], deliver_at);
        let received = app.receiver.only("/hook").await;
        assert!(received.wall >= at, "it came before its time");
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(delivery["id"], before["id"]);
        assert_eq!(app.api.post("/v1/events", &event).await.expect(200)["duplicate"], true);
        let sooner = json!({"type": "P1", "id": "once", "payload": {}});
        app.api.post("/v1/events", &sooner).await.expect_problem(409, "id_conflict");
    });
}

#[test]
fn an_event_with_a_time_goes_then_and_not_before_whatever_happens_between() {
    goes_at_its_time(Backend::Sqlite);
}

#[test]
fn an_event_with_a_time_goes_then_and_not_before_whatever_happens_between_on_postgres() {
    goes_at_its_time(Backend::Postgres);
}

#[test]
fn a_time_that_is_past_means_now_and_one_beyond_a_year_is_refused() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["P1"]).await;
        app.api.event(json!({"type": "P1", "payload": {}, "deliver_at": "2001-01-01T00:00:00Z"})).await;
        app.receiver.only("/hook").await;
        let far = text(SystemTime::now() + Duration::from_secs(367 * 86_400));
        let events = json!([{"type": "P1", "payload": {}}, {"type": "P1", "payload": {}, "deliver_at": far}]);
        assert_eq!(app.api.post("/v1/events", &events).await.expect_problem(422, "invalid"), ["[1].deliver_at"]);
        app.api.settled().await;
        assert_eq!(app.receiver.seen("/hook").len(), 1, "all or none");
    });
}
