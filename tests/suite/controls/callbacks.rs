//! The engine's own facts: who hears of them, and that none is lost.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{App, Backend, Received, Reply, Setup, api::id, eventually, run, run_on};

/// Answers a challenge with its value, anything else with `status`.
fn answering(received: &Received, status: u16) -> Reply {
    let body = received.json();
    match body["type"].as_str() {
        Some("endpoint.verification") => Reply::status(200).json(&json!({"challenge": body["challenge"]})),
        _ => Reply::status(status),
    }
}

/// What a monitor got, challenges left out.
fn told(app: &App, path: &str) -> Vec<Value> {
    let bodies = app.receiver.seen(path).into_iter().map(|received| received.json());
    bodies.filter(|body| body["type"] != "endpoint.verification").collect()
}

async fn monitor(app: &App, path: &str, event_types: &[&str], more: Value) -> String {
    let mut fields = json!({"url": app.receiver.url(path), "event_types": event_types});
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    id(&app.endpoint(fields).await)
}

async fn verify(app: &App, endpoint: &str) -> Value {
    app.api.post(&format!("/v1/endpoints/{endpoint}/verify"), &json!({})).await.expect(200)
}

async fn events_of(app: &App, event_type: &str) -> u64 {
    app.api.get(&format!("/v1/events?event_type={event_type}")).await.expect(200)["total"].as_u64().unwrap()
}

fn known() -> Value {
    json!({"auth": {"type": "authorization", "value": "known"}})
}

#[test]
fn g12_a_monitor_hears_once_of_each_delivery_that_fails_for_good() {
    run(async |app| {
        app.receiver.always("/down", 500);
        app.receiver.always("/monitor", 200);
        monitor(app, "/monitor", &["delivery.failed"], known()).await;
        let endpoint = app.endpoint_retrying("/down", "P1", &[0, 50]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        app.api.delivery_in(&endpoint, "failed").await;
        app.receiver.wait("/monitor", 1).await;
        app.api.settled().await;
        assert_eq!(app.receiver.seen("/down").len(), 2);
        assert_eq!(told(app, "/monitor").len(), 1, "one for the end, none for each try");
    });
}

#[test]
fn g13_only_who_is_subscribed_and_verified_hears() {
    run(async |app| {
        for path in ["/unverified", "/challenged", "/unsubscribed", "/with-key"] {
            app.receiver.on(path, |received| answering(received, 200));
        }
        app.receiver.always("/works", 200);
        let unverified = monitor(app, "/unverified", &["delivery.succeeded"], json!({})).await;
        let challenged = monitor(app, "/challenged", &["delivery.succeeded"], json!({})).await;
        let unsubscribed = monitor(app, "/unsubscribed", &["other.*"], known()).await;
        monitor(app, "/with-key", &["delivery.*"], known()).await;
        app.endpoint_at("/works", &["P1"]).await;
        let passed = verify(app, &challenged).await;
        assert_eq!((&passed["verified"], &passed["code"]), (&json!(true), &json!(null)), "{passed}");
        verify(app, &unsubscribed).await;
        let shown = async |endpoint: &str| app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        assert_eq!(
            (&shown(&challenged).await["verified"], &shown(&unverified).await["verified"]),
            (&json!(true), &json!(false))
        );

        app.api.emit("P1", json!({"n": 1})).await;
        app.receiver.wait("/with-key", 1).await;
        // The challenge was the first.
        app.receiver.wait("/challenged", 2).await;
        app.api.settled().await;
        let counts = ["/unverified", "/challenged", "/unsubscribed", "/with-key"].map(|path| told(app, path).len());
        assert_eq!(counts, [0, 1, 0, 1]);
        let fact = app.api.get("/v1/events?event_type=delivery.succeeded").await.expect(200)["items"][0].clone();
        let why = app.api.get(&format!("/v1/events/{}/explain?endpoint={unverified}", id(&fact))).await.expect(200);
        assert_eq!(why["code"], "unverified", "{why}");

        // Who answers at another address has answered nothing yet.
        app.receiver.always("/elsewhere", 200);
        let change = json!({"url": app.receiver.url("/elsewhere")});
        let changed = app.api.patch(&format!("/v1/endpoints/{challenged}"), &change).await.expect(200);
        assert_eq!((&changed["verified"], &changed["verified_at"]), (&json!(false), &json!(null)), "{changed}");
        app.api.emit("P1", json!({"n": 2})).await;
        app.receiver.wait("/with-key", 2).await;
        app.api.settled().await;
        assert!(app.receiver.seen("/elsewhere").is_empty());
        let failed = verify(app, &challenged).await;
        assert_eq!((&failed["verified"], &failed["code"]), (&json!(false), &json!("challenge_mismatch")), "{failed}");
        let output = app.engine.client(&["endpoint", "verify", &challenged]).await;
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        app.receiver.on("/elsewhere", |received| answering(received, 200));
        let output = app.engine.client(&["endpoint", "verify", &challenged]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn what_the_engine_tells_is_not_sent_by_hand() {
    run(async |app| {
        app.receiver.always("/works", 200);
        app.receiver.always("/monitor", 200);
        let monitor = monitor(app, "/monitor", &["delivery.succeeded"], known()).await;
        app.endpoint_at("/works", &["P1"]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        app.receiver.wait("/monitor", 1).await;
        app.api.settled().await;
        let send = format!("/v1/endpoints/{monitor}/event-types/delivery.succeeded/send");
        app.api.post(&send, &json!({})).await.expect_problem(403, "forbidden");
        let all = app.api.post(&format!("/v1/endpoints/{monitor}/send-all"), &json!({})).await.expect(200);
        assert_eq!(all["sent"], json!([]), "{all}");
        assert_eq!(app.receiver.seen("/monitor").len(), 1);
        // A trial is no fact: it tells of nobody's event.
        app.api.post(&format!("/v1/endpoints/{monitor}/test"), &json!({})).await.expect(200);
        let trial = app.receiver.wait("/monitor", 2).await.remove(1).json();
        assert_eq!(trial, json!({"event_type": "delivery.succeeded", "test": true}));
    });
}

#[test]
fn g14_a_callback_carries_the_event_its_outcome_and_the_correlation_id() {
    run(async |app| {
        app.receiver.always("/works", 204);
        app.receiver.always("/refuses", 400);
        app.receiver.always("/monitor", 200);
        monitor(app, "/monitor", &["delivery.*"], known()).await;
        let works = app.endpoint_at("/works", &["P1"]).await;
        let refuses = app.endpoint_at("/refuses", &["P1"]).await;
        let event = json!({"type": "P1", "subject": "s-1", "payload": {}, "correlation_id": "order-7"});
        let event = id(&app.api.event(event).await);
        app.receiver.wait("/monitor", 2).await;
        app.api.settled().await;
        let facts = told(app, "/monitor");
        for (endpoint, outcome, reason, status) in
            [(&works, "succeeded", json!(null), 204), (&refuses, "failed", json!("client_error"), 400)]
        {
            let fact = facts.iter().find(|fact| fact["endpoint"] == **endpoint).unwrap();
            let expected = json!({
                "event": event, "event_type": "P1", "subject": "s-1", "correlation_id": "order-7", "outcome": outcome,
                "reason": reason, "status": status, "attempts": 1,
            });
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&fact[name], value, "{name} of {fact}");
            }
            let delivery = app.api.deliveries(&format!("endpoint={endpoint}")).await.remove(0);
            assert_eq!((&fact["delivery"], &fact["code"]), (&delivery["id"], &delivery["code"]));
        }
        let taken = app.api.get("/v1/events?event_type=delivery.failed").await.expect(200)["items"][0].clone();
        assert_eq!(taken["correlation_id"], "order-7");
    });
}

#[test]
fn callbacks_cause_no_callbacks_and_nothing_is_made_where_nobody_listens() {
    run(async |app| {
        app.receiver.always("/works", 200);
        monitor(app, "/works", &["*"], known()).await;
        app.api.emit("P1", json!({"n": 1})).await;
        app.api.settled().await;
        assert_eq!(events_of(app, "delivery.succeeded").await, 0, "nobody listens: a star alone does not");

        // Two monitors that fail at everything, and hear of everything.
        for path in ["/one", "/two"] {
            app.receiver.always(path, 500);
            monitor(app, path, &["delivery.*", "endpoint.*"], known()).await;
        }
        app.api.emit("P1", json!({"n": 2})).await;
        app.receiver.wait("/one", 1).await;
        app.receiver.wait("/two", 1).await;
        app.api.settled().await;
        assert_eq!((events_of(app, "delivery.succeeded").await, events_of(app, "delivery.failed").await), (1, 0));
        assert_eq!((app.receiver.seen("/one").len(), app.receiver.seen("/two").len()), (1, 1));
        let forged = json!({"type": "delivery.failed", "payload": {}});
        assert_eq!(app.api.post("/v1/events", &forged).await.expect_problem(422, "invalid"), ["type"]);
        app.api.delete("/v1/event-types/delivery.failed").await.expect_problem(409, "system_record");
    });
}

#[test]
fn a_token_of_one_integrator_hears_of_that_integrator_only() {
    run(async |app| {
        let other = json!({"slug": "other", "name": "Other", "active": true, "services": ["billing"]});
        app.api.post("/v1/integrators", &other).await.expect(201);
        let token = json!({"client": "other", "role": "integrator", "integrator": "other"});
        let token = app.api.post("/v1/tokens", &token).await.expect(201);
        let own = app.api.with_token(token["token"].as_str().unwrap());
        for path in ["/works", "/own", "/theirs", "/all"] {
            app.receiver.always(path, 200);
        }
        let body = |path: &str, types: &[&str]| {
            json!({
                "integrator": "other", "url": app.receiver.url(path), "event_types": types, "retry": {"schedule_ms": [0]},
                "auth": {"type": "authorization", "value": "known"},
            })
        };
        let listener = own.post("/v1/endpoints", &body("/own", &["delivery.*"])).await.expect(201);
        assert_eq!(listener["callbacks"], "integrator");
        let mut greedy = body("/own", &["delivery.*"]);
        greedy["callbacks"] = json!("tenant");
        assert_eq!(own.post("/v1/endpoints", &greedy).await.expect_problem(422, "invalid"), ["callbacks"]);
        let all = app.api.post("/v1/endpoints", &body("/all", &["delivery.*"])).await.expect(201);
        assert_eq!(all["callbacks"], "tenant");
        app.api.post("/v1/event-types", &json!({"key": "P2"})).await.expect(201);
        own.post("/v1/endpoints", &body("/theirs", &["P2"])).await.expect(201);
        app.endpoint_at("/works", &["P1"]).await;
        app.api.emit("P1", json!({})).await;
        app.receiver.wait("/all", 1).await;
        app.api.emit("P2", json!({})).await;
        app.receiver.wait("/own", 1).await;
        app.receiver.wait("/all", 2).await;
        app.api.settled().await;
        assert_eq!((told(app, "/own").len(), told(app, "/all").len()), (1, 2));
        assert_eq!(told(app, "/own")[0]["event_type"], "P2");
        // Whoever may not see all may not send all of it elsewhere.
        let path = format!("/v1/endpoints/{}", id(&all));
        let moved = own.patch(&path, &json!({"url": app.receiver.url("/own")})).await.expect(200);
        assert_eq!(moved["callbacks"], "integrator");
    });
}

fn none_is_lost(backend: Backend) {
    const EVENTS: usize = 150;
    run_on(backend, Setup::new(), async |app| {
        app.receiver.script("/works", [Reply::status(200).after(Duration::from_millis(5))]);
        app.receiver.always("/monitor", 200);
        monitor(app, "/monitor", &["delivery.succeeded"], known()).await;
        let endpoint = app.endpoint_at("/works", &["P1"]).await;
        let events: Value = (0..EVENTS).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        app.receiver.wait("/works", EVENTS / 3).await;
        app.engine.kill().await;
        app.engine.start_again().await;
        app.receiver.wait("/works", EVENTS * 2 / 3).await;
        app.engine.kill().await;
        app.engine.start_again().await;
        let heard = eventually("the monitor has heard of every delivery", async || {
            let mut heard: Vec<_> = told(app, "/monitor").iter().map(|fact| fact["delivery"].to_string()).collect();
            heard.sort();
            heard.dedup();
            if heard.len() == EVENTS { Ok(heard) } else { Err(heard.len().to_string()) }
        })
        .await;
        app.api.settled().await;
        let succeeded = app.api.deliveries(&format!("endpoint={endpoint}&state=succeeded")).await;
        let mut succeeded: Vec<_> = succeeded.iter().map(|delivery| delivery["id"].to_string()).collect();
        succeeded.sort();
        assert_eq!(heard, succeeded);
        assert_eq!(events_of(app, "delivery.succeeded").await, EVENTS as u64, "each success was told exactly once");
    });
}

#[test]
fn no_fact_is_lost_or_told_twice_when_the_engine_is_killed() {
    none_is_lost(Backend::Sqlite);
}

#[test]
fn no_fact_is_lost_or_told_twice_when_the_engine_is_killed_on_postgres() {
    none_is_lost(Backend::Postgres);
}
