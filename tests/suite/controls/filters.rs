//! Endpoints that want some events of a type only, and why an event went where it went.

use serde_json::{Value, json};

use crate::harness::{App, api::id, run};

async fn filtered(app: &App, path: &str, filter: Value) -> String {
    app.receiver.always(path, 200);
    let url = app.receiver.url(path);
    id(&app.endpoint(json!({"url": url, "event_types": ["order.*"], "filter": filter})).await)
}

async fn explained(app: &App, event: &str, endpoint: &str) -> Value {
    app.api.get(&format!("/v1/events/{event}/explain?endpoint={endpoint}")).await.expect(200)
}

fn filter() -> Value {
    json!({"all": [{"path": "/total", "gte": 100}, {"label": "region", "in": ["se", "co"]}]})
}

#[test]
fn a_filter_keeps_events_away_and_says_which_clause_did() {
    run(async |app| {
        let endpoint = filtered(app, "/large", filter()).await;
        let shown = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        assert_eq!(shown["filter"], filter());
        let order = |total: f64, region: &str| json!({"type": "order.created", "payload": {"total": total}, "labels": {"region": region}});
        let taken = app.api.event(order(100.50, "se")).await;
        let small = app.api.event(order(99.99, "se")).await;
        let far = app.api.event(order(500.0, "ne")).await;
        let received = app.receiver.only("/large").await;
        assert_eq!(received.json(), json!({"total": 100.50}));
        app.api.settled().await;
        for (event, clause) in [(&small, "filter.all[0]"), (&far, "filter.all[1]")] {
            let row = app.api.deliveries(&format!("event={}", id(event))).await.remove(0);
            assert_eq!(
                (&row["state"], &row["reason"], &row["attempts"]),
                (&json!("skipped"), &json!("filtered"), &json!(0))
            );
            let why = explained(app, &id(event), &endpoint).await;
            assert_eq!((&why["code"], &why["basis"]), (&json!("filtered"), &json!("record")), "{why}");
            assert_eq!(
                (&why["clause"]["place"], &why["clause"]["basis"]),
                (&json!(clause), &json!("unchanged_configuration"))
            );
            assert_eq!(why["delivery"]["id"], row["id"]);
        }
        let why = explained(app, &id(&taken), &endpoint).await;
        assert_eq!((&why["code"], &why["delivery"]["state"]), (&json!("delivered"), &json!("succeeded")));

        // Judged by another filter than then, it says so.
        let change = json!({"filter": {"path": "/total", "gt": 10_000}});
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &change).await.expect(200);
        let why = explained(app, &id(&small), &endpoint).await;
        assert_eq!(why["clause"]["basis"], "present_configuration", "{why}");
        assert_eq!(why["clause"]["clause"], json!({"path": "/total", "gt": 10_000}));
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"filter": null})).await.expect(200);
        app.api.event(order(1.0, "xx")).await;
        app.receiver.wait("/large", 2).await;
    });
}

#[test]
fn a_filter_that_cannot_be_read_is_refused_at_the_place_to_blame() {
    run(async |app| {
        let refused = async |filter: Value| {
            let url = app.receiver.url("/x");
            let body = crate::harness::app::endpoint(json!({"url": url, "event_types": ["P1"], "filter": filter}));
            app.api.post("/v1/endpoints", &body).await.expect_problem(422, "invalid")
        };
        assert_eq!(refused(json!({"path": "/a", "matches": "x"})).await, ["filter.matches"]);
        let several = json!({"all": [{"path": "a", "eq": 1}, {"any": [{"label": "l", "exists": 1}]}]});
        assert_eq!(refused(several).await, ["filter.all[0].path", "filter.all[1].any[0].exists"]);
        let deep = (0..9).fold(json!({"path": "", "eq": 1}), |inner, _| json!({"not": inner}));
        assert_eq!(refused(deep).await, [format!("filter{}", ".not".repeat(8))]);
        assert_eq!(refused(json!("x")).await, ["filter"]);
    });
}

#[test]
fn every_reason_why_an_endpoint_did_not_get_an_event_is_told() {
    run(async |app| {
        app.receiver.always("/hook", 500);
        let early = app.api.emit("order.created", json!({})).await;
        let endpoint = app.endpoint_retrying("/hook", "order.created", &[0, 3_600_000]).await;
        let code = async |event: &str| explained(app, event, &endpoint).await["code"].as_str().unwrap().to_owned();
        assert_eq!(code(&early).await, "endpoint_younger");
        let other = app.api.emit("bill.paid", json!({})).await;
        let why = explained(app, &other, &endpoint).await;
        assert_eq!((&why["code"], &why["basis"]), (&json!("not_subscribed"), &json!("record")), "{why}");

        let failing = app.api.emit("order.created", json!({})).await;
        app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1 && delivery["state"] == "pending").await;
        assert_eq!(code(&failing).await, "waiting");
        app.api.post(&format!("/v1/queues/{endpoint}/pause"), &json!({})).await.expect(200);
        assert_eq!(code(&failing).await, "paused");
        app.api.post(&format!("/v1/queues/{endpoint}/resume"), &json!({})).await.expect(200);

        app.api.put("/v1/settings", &json!({"use_webhooks": false})).await.expect(200);
        let off = app.api.emit("order.created", json!({})).await;
        app.api.put("/v1/settings", &json!({"use_webhooks": true})).await.expect(200);
        assert_eq!(code(&off).await, "webhooks_disabled", "and stays so when it is on again");
        app.api.patch("/v1/integrators/partner", &json!({"active": false})).await.expect(200);
        let inactive = app.api.emit("order.created", json!({})).await;
        app.api.patch("/v1/integrators/partner", &json!({"active": true})).await.expect(200);
        assert_eq!(code(&inactive).await, "integrator_inactive");
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"enabled": false})).await.expect(200);
        let disabled = app.api.emit("order.created", json!({})).await;
        assert_eq!(code(&disabled).await, "endpoint_disabled");

        let nobody = format!("ep_{}", "0".repeat(32));
        app.api.get(&format!("/v1/events/{early}/explain?endpoint={nobody}")).await.expect_problem(404, "not_found");
        assert_eq!(
            app.api.get(&format!("/v1/events/{early}/explain")).await.expect_problem(422, "invalid"),
            ["endpoint"]
        );
        let output = app.engine.client(&["event", "explain", &disabled, "--endpoint", &endpoint]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("endpoint_disabled"), "{text}");
    });
}
