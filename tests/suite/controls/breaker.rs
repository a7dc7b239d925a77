//! Endpoints that are down for a while, and for too long.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{App, Backend, Setup, api::id, eventually, run_on, run_with};

const PROBE: Duration = Duration::from_millis(300);

fn setup() -> Setup {
    Setup::new().set("delivery.breaker_failures", "3").set("delivery.breaker_probe_ms", "300")
}

/// An endpoint that gets one request at a time, with a second try in an hour.
async fn endpoint(app: &App, path: &str) -> String {
    let url = app.receiver.url(path);
    let fields =
        json!({"url": url, "event_types": ["P1"], "max_in_flight": 1, "retry": {"schedule_ms": [0, 3_600_000]}});
    id(&app.endpoint(fields).await)
}

async fn queue(app: &App, endpoint: &str) -> Value {
    let list = app.api.get("/v1/queues").await.expect(200);
    let found = list["items"].as_array().unwrap().iter().find(|queue| queue["endpoint"] == endpoint).cloned();
    found.unwrap_or(Value::Null)
}

fn waits_for_probes(backend: Backend) {
    run_on(backend, setup(), async |app| {
        app.receiver.always("/down", 500);
        let endpoint = endpoint(app, "/down").await;
        let events: Value = (0..10).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        let seen = app.receiver.wait("/down", 5).await;
        for pair in seen[2..].windows(2) {
            let gap = pair[1].at - pair[0].at;
            assert!(gap + Duration::from_millis(50) >= PROBE, "a probe came {gap:?} after the one before");
        }
        let shut = eventually("the queue says why nothing goes", async || {
            let queue = queue(app, &endpoint).await;
            if queue["held"] == "endpoint_failing" { Ok(queue) } else { Err(queue.to_string()) }
        })
        .await;
        assert!(shut["failing_since"].is_string() && shut["depth"].as_u64().unwrap() >= 9, "{shut}");
        let late = app.api.emit("P1", json!({"n": 10})).await;
        let untouched = eventually("what was never tried waits and says why", async || {
            let waiting = app.api.deliveries(&format!("endpoint={endpoint}&state=pending")).await;
            let untouched: Vec<_> = waiting.into_iter().filter(|one| one["attempts"] == 0).collect();
            let said = untouched.iter().all(|one| one["reason"] == "endpoint_failing");
            if said && untouched.len() >= 2 { Ok(untouched) } else { Err(format!("{untouched:?}")) }
        })
        .await;
        let why = app.api.get(&format!("/v1/events/{late}/explain?endpoint={endpoint}")).await.expect(200);
        assert_eq!(why["code"], "endpoint_failing", "{why}");

        // It is known after a start too: no more than one probe at a time.
        let before = app.receiver.seen("/down").len();
        app.engine.kill().await;
        app.engine.start_again().await;
        app.receiver.wait("/down", before + 1).await;
        app.receiver.always("/down", 200);
        eventually("what was never tried is delivered", async || {
            let mut left = Vec::new();
            for one in &untouched {
                let now = app.api.get(&format!("/v1/deliveries/{}", id(one))).await.expect(200);
                if now["state"] != "succeeded" && now["attempts"] == 0 {
                    left.push(now);
                }
            }
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        let all = app.api.deliveries(&format!("endpoint={endpoint}")).await;
        assert_eq!(all.len(), 11);
        let recovered = queue(app, &endpoint).await;
        assert!(recovered.is_null() || recovered["held"].is_null(), "{recovered}");
    });
}

#[test]
fn a_partner_who_is_down_gets_one_probe_at_a_time_and_nothing_is_lost() {
    waits_for_probes(Backend::Sqlite);
}

#[test]
fn a_partner_who_is_down_gets_one_probe_at_a_time_and_nothing_is_lost_on_postgres() {
    waits_for_probes(Backend::Postgres);
}

#[test]
fn a_partner_who_refuses_is_not_down() {
    run_with(setup(), async |app| {
        app.receiver.always("/refuses", 400);
        let endpoint = endpoint(app, "/refuses").await;
        let events: Value = (0..12).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        app.receiver.wait("/refuses", 12).await;
        assert!(queue(app, &endpoint).await["held"].is_null());
    });
}

#[test]
fn someone_who_asks_for_a_try_gets_a_probe_now_and_an_edit_clears_the_breaker() {
    run_with(setup().set("delivery.breaker_probe_ms", "300000"), async |app| {
        app.receiver.always("/down", 500);
        let endpoint = endpoint(app, "/down").await;
        let events: Value = (0..6).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        eventually("it is left alone", async || {
            let queue = queue(app, &endpoint).await;
            if queue["held"] == "endpoint_failing" { Ok(()) } else { Err(queue.to_string()) }
        })
        .await;
        assert_eq!(app.receiver.seen("/down").len(), 3);
        let waiting = app.api.deliveries(&format!("endpoint={endpoint}&state=pending")).await;
        app.api.post(&format!("/v1/deliveries/{}/retry", id(&waiting[0])), &json!({})).await.expect(202);
        app.receiver.wait("/down", 4).await;
        app.receiver.always("/up", 200);
        let change = json!({"url": app.receiver.url("/up")});
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &change).await.expect(200);
        app.receiver.wait("/up", 2).await;
    });
}

#[test]
fn an_endpoint_that_fails_for_too_long_is_disabled_after_warnings() {
    let setup = Setup::new()
        .set("delivery.breaker_failures", "2")
        .set("delivery.breaker_probe_ms", "100")
        .set("delivery.disable_after_ms", "3000");
    run_with(setup, async |app| {
        app.receiver.always("/down", 500);
        app.receiver.always("/monitor", 200);
        let url = app.receiver.url("/monitor");
        let auth = json!({"type": "authorization", "value": "known"});
        app.endpoint(json!({"url": url, "event_types": ["endpoint.*"], "auth": auth})).await;
        let schedule: Vec<u64> = std::iter::once(0).chain(std::iter::repeat_n(50, 49)).collect();
        let endpoint = app.endpoint_retrying("/down", "P1", &schedule).await;
        let events: Value = (0..3).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        let disabled = eventually("it is disabled", async || {
            let shown = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
            if shown["enabled"] == false { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await;
        assert_eq!(disabled["disabled_reason"], "failing");
        let parked = app.api.deliveries(&format!("endpoint={endpoint}&state=parked")).await;
        assert!(!parked.is_empty() && parked.iter().all(|one| one["reason"] == "endpoint_disabled"), "{parked:?}");
        let told = eventually("listeners are told", async || {
            let told: Vec<_> = app.receiver.seen("/monitor").iter().map(|one| one.json()).collect();
            if told.iter().any(|one| one["reason"] == "failing") { Ok(told) } else { Err(format!("{told:?}")) }
        })
        .await;
        let mut warnings: Vec<_> = told.iter().filter_map(|one| one["warning"].as_u64()).collect();
        warnings.sort_unstable();
        assert!(warnings.starts_with(&[0]) && warnings.len() >= 2, "warned before: {told:?}");
        assert!(told.iter().all(|one| one["endpoint"] == endpoint), "{told:?}");
        // Enabled again with a partner who answers, all of it goes.
        app.receiver.always("/down", 200);
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"enabled": true})).await.expect(200);
        app.api.settled().await;
        assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}&state=succeeded")).await, 3);
    });
}
