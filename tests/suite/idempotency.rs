//! `Idempotency-Key` on actions: a repeat gets the first answer, nothing is done twice, whichever node is asked.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    auth::{everything_below, find},
    harness::{
        Api, App, Backend, Engine, Reply, Setup,
        api::{Answer, id},
        database::meddle,
        run, run_on,
    },
};

async fn keyed(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    api.send(Method::POST, path, &headers, body.to_string().into()).await
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[test]
fn a_repeat_gets_the_first_answer_and_does_nothing() {
    run(async |app| {
        let body = json!({"client": "erp", "role": "producer"});
        let first = keyed(&app.api, "/v1/tokens", "k-1", &body).await;
        assert!(!is_replay(&first));
        let made = first.expect(201);
        let mut told_again = made.clone();
        told_again["token"] = Value::Null;
        let again = keyed(&app.api, "/v1/tokens", "k-1", &body).await;
        assert!(is_replay(&again));
        assert_eq!(again.expect(201), told_again, "the same but for what is told once and kept nowhere");
        keyed(&app.api, "/v1/tokens", "k-2", &body).await.expect_problem(409, "client_has_token");
        // Another body, another path, a refusal: what was answered first counts.
        let other = json!({"client": "erp-2", "role": "producer"});
        keyed(&app.api, "/v1/tokens", "k-1", &other).await.expect_problem(422, "idempotency_key_reused");
        keyed(&app.api, "/v1/integrators", "k-1", &body).await.expect_problem(422, "idempotency_key_reused");
        let refused = keyed(&app.api, "/v1/integrators", "k-3", &json!({"slug": "partner"})).await;
        refused.expect_problem(409, "already_exists");
        let refused = keyed(&app.api, "/v1/integrators", "k-3", &json!({"slug": "partner"})).await;
        assert!(is_replay(&refused));
        refused.expect_problem(409, "already_exists");
        // Another client's key is another key.
        let crm = app.api.post("/v1/tokens", &json!({"client": "crm", "role": "admin"})).await.expect(201);
        let crm = app.api.with_token(crm["token"].as_str().unwrap());
        let theirs = keyed(&crm, "/v1/integrators", "k-1", &json!({"slug": "theirs"})).await;
        assert!(!is_replay(&theirs));
        theirs.expect(201);
        // It outlives the process.
        app.engine.kill().await;
        let files = everything_below(app.engine.data().parent().unwrap());
        assert!(find(&files, b"k-1"), "the database is among what is searched");
        assert!(!find(&files, made["token"].as_str().unwrap().as_bytes()));
        app.engine.start_again().await;
        let again = keyed(&app.api, "/v1/tokens", "k-1", &body).await;
        assert!(is_replay(&again));
        assert_eq!(again.expect(201), told_again);
    });
}

#[test]
fn g8_no_repeat_tells_a_tokens_value_again() {
    run(async |app| {
        let made = app.api.post("/v1/tokens", &json!({"client": "erp", "role": "producer"})).await.expect(201);
        let path = format!("/v1/tokens/{}/regenerate", id(&made));
        let body = json!({"grace_ms": 60_000});
        let mut first = keyed(&app.api, &path, "anew", &body).await.expect(200);
        assert!(first["token"].is_string());
        let repeat = keyed(&app.api, &path, "anew", &body).await;
        assert!(is_replay(&repeat));
        first["token"] = Value::Null;
        assert_eq!(repeat.expect(200), first);
        // The way out for whoever lost the first answer.
        let cure = format!("/v1/tokens/{}/regenerate", id(&first));
        assert!(keyed(&app.api, &cure, "anew 2", &json!({})).await.expect(200)["token"].is_string());

        let tenant = json!({"slug": "saae", "name": "SAAE"});
        let mut first = keyed(&app.api, "/v1/tenants", "tenant", &tenant).await.expect(201);
        let theirs = app.api.with_token(first["admin_token"]["token"].as_str().unwrap());
        let repeat = keyed(&app.api, "/v1/tenants", "tenant", &tenant).await;
        assert!(is_replay(&repeat));
        first["admin_token"]["token"] = Value::Null;
        assert_eq!(repeat.expect(201), first);
        theirs.get("/v1/tokens").await.expect(200);
    });
}

#[test]
fn a_change_that_is_made_is_told_so_though_the_engine_cannot_follow_it_yet() {
    run(async |app| {
        let database = app.engine.database_url().to_owned();
        let hook = crate::harness::app::endpoint(json!({"url": app.receiver.url("/in"), "event_types": ["t"]}));
        let key = json!({"key": "t", "title": "T", "macro_process": "M", "process": "P"});
        app.api.post("/v1/event-types", &key).await.expect(201);
        // The view has the inbounds too; that of an endpoint needs them for nothing else.
        meddle(&database, "ALTER TABLE inbounds RENAME TO inbounds_away").await;
        let first = keyed(&app.api, "/v1/endpoints", "k", &hook).await;
        meddle(&database, "ALTER TABLE inbounds_away RENAME TO inbounds").await;
        let first = first.expect(201);
        let repeat = keyed(&app.api, "/v1/endpoints", "k", &hook).await;
        assert!(is_replay(&repeat));
        assert_eq!(repeat.expect(201), first);
        assert_eq!(app.api.get("/v1/endpoints").await.expect(200)["items"].as_array().unwrap().len(), 1);
        app.receiver.always("/in", 200);
        app.api.emit("t", json!({})).await;
        app.receiver.wait("/in", 1).await;
    });
}

#[test]
fn after_a_failure_on_the_way_a_repeat_is_told_that_the_outcome_is_unknown() {
    run(async |app| {
        let database = app.engine.database_url().to_owned();
        let body = json!({"slug": "maybe"});
        meddle(&database, "ALTER TABLE integrators RENAME TO integrators_away").await;
        let failed = keyed(&app.api, "/v1/integrators", "k", &body).await;
        meddle(&database, "ALTER TABLE integrators_away RENAME TO integrators").await;
        assert!(failed.status >= 500, "{}", failed.status);
        keyed(&app.api, "/v1/integrators", "k", &body).await.expect_problem(409, "outcome_unknown");
        keyed(&app.api, "/v1/integrators", "k", &json!({"slug": "other"}))
            .await
            .expect_problem(422, "idempotency_key_reused");
        keyed(&app.api, "/v1/integrators", "k 2", &body).await.expect(201);
    });
}

#[test]
fn a_retry_asked_for_twice_is_made_once() {
    run(async |app| {
        let endpoint = app.endpoint_at("/in", &["t"]).await;
        app.receiver.script("/in", [Reply::status(500), Reply::status(500), Reply::status(200)]);
        app.api.emit("t", json!({})).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        let path = format!("/v1/deliveries/{}/retry", id(&delivery));
        let first = keyed(&app.api, &path, "again", &json!({})).await;
        assert_eq!(first.status, 202);
        app.receiver.wait("/in", 2).await;
        app.api.delivery_in(&endpoint, "failed").await;
        let repeat = keyed(&app.api, &path, "again", &json!({})).await;
        assert!(is_replay(&repeat));
        assert_eq!((repeat.status, &repeat.body), (202, &first.body));
        app.api.settled().await;
        assert_eq!(app.api.attempts(&delivery).await.len(), 2, "the repeat made no third try");
    });
}

#[test]
fn events_have_ids_instead_and_bad_keys_are_named() {
    run(async |app| {
        let event = json!({"type": "t", "payload": {}});
        assert_eq!(
            keyed(&app.api, "/v1/events", "k", &event).await.expect_problem(422, "invalid"),
            ["Idempotency-Key"]
        );
        let body = json!({"slug": "a"});
        let long = "x".repeat(256);
        for key in ["", "é", long.as_str()] {
            let fields = keyed(&app.api, "/v1/integrators", key, &body).await.expect_problem(422, "invalid");
            assert_eq!(fields, ["Idempotency-Key"], "{key}");
        }
        let large = json!({"slug": "a", "name": "x".repeat(2 << 20)});
        keyed(&app.api, "/v1/integrators", "large", &large).await.expect_problem(413, "payload_too_large");
        keyed(&app.api, "/v1/integrators", "large", &body).await.expect(201);
    });
}

/// The same call at two nodes at once, by many: one is made.
fn two_nodes(app: &App, other: &Api) -> impl Future<Output = ()> {
    let apis = [app.api.clone(), other.clone()];
    async move {
        let calls = (0..12).map(|n| {
            let api = apis[n % 2].clone();
            tokio::spawn(async move { keyed(&api, "/v1/integrators", "once", &json!({"slug": "once"})).await })
        });
        let (mut made, mut under_way) = (Vec::new(), 0);
        for call in calls.collect::<Vec<_>>() {
            let answer = call.await.unwrap();
            match answer.status {
                201 => made.push((is_replay(&answer), answer.expect(201))),
                _ => {
                    answer.expect_problem(409, "in_progress");
                    under_way += 1;
                }
            }
        }
        assert_eq!(made.iter().filter(|(replay, _)| !replay).count(), 1, "{made:?} {under_way}");
        assert!(made.iter().all(|(_, integrator)| *integrator == made[0].1));
        for api in &apis {
            let repeat = keyed(api, "/v1/integrators", "once", &json!({"slug": "once"})).await;
            assert!(is_replay(&repeat));
            assert_eq!(repeat.expect(201), made[0].1);
        }
    }
}

#[test]
fn two_nodes_make_a_call_once() {
    run_on(Backend::Postgres, Setup::new(), async |app| {
        let key = std::fs::read_to_string(app.engine.data().join("secret.key")).unwrap();
        let setup = Setup::new().named("other").set("secret_key", key.trim());
        let mut other = Engine::start_beside(&app.engine, setup).await;
        two_nodes(app, &Api::admin(other.url())).await;
        other.terminate().await;
    });
}
