//! Who gets an event: each endpoint that subscribes to its type, once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Setup, api::id, run, run_with};

/// Seed O1's bound from the event's acceptance to the partner's door.
const PROMPT: Duration = Duration::from_secs(2);
/// Seed O7's number of endpoints with one product.
const MANY: usize = 100;

#[test]
fn o01_a_new_product_reaches_those_who_selected_it_and_nobody_else() {
    run(async |app| {
        app.receiver.always("/a", 200);
        app.receiver.always("/b", 200);
        let a = app.endpoint_at("/a", &["P1"]).await;
        let b = app.endpoint_at("/b", &["P2"]).await;
        let start = Instant::now();
        let taken = app.api.event(json!({"type": "P1", "payload": {"n": 1}})).await;
        assert_eq!((&taken["deliveries"], &taken["duplicate"]), (&json!(1), &json!(false)), "{taken}");
        let received = app.receiver.only("/a").await;
        assert!(received.at - start < PROMPT, "took {:?}", received.at - start);
        app.api.delivery_in(&a, "succeeded").await;
        assert_eq!(app.receiver.seen("/a").len(), 1);
        assert_eq!(app.api.delivery_count(&format!("endpoint={b}")).await, 0);
        assert!(app.receiver.seen("/b").is_empty());
    });
}

#[test]
fn o03_a_partner_who_never_fetches_the_file_has_received_it_all_the_same() {
    run_with(Setup::new().set("files.root", "."), async |app| {
        crate::sintegre::prepare(app).await;
        app.receiver.always("/only-records", 204);
        let endpoint = crate::sintegre::endpoint(app, "/only-records", "ipdo", json!({})).await;
        app.api.emit("ipdo", crate::sintegre::daily("no-such-file.pdf")).await;
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!((&delivery["success"], &delivery["attempts"]), (&json!(true), &json!(1)), "{delivery}");
    });
}

#[test]
fn o07_one_product_in_a_hundred_webhooks_goes_out_a_hundred_times() {
    run(async |app| {
        for n in 0..MANY {
            let path = format!("/hook-{n}");
            app.receiver.always(&path, 200);
            app.endpoint_at(&path, &["P1"]).await;
        }
        let taken = app.api.event(json!({"type": "P1", "payload": {"n": 1}})).await;
        assert_eq!(taken["deliveries"], json!(MANY));
        let mut ids = HashSet::new();
        for n in 0..MANY {
            let received = app.receiver.only(&format!("/hook-{n}")).await;
            ids.insert(received.webhook_id().to_owned());
        }
        assert_eq!(ids.len(), MANY, "distinct delivery ids");
        app.api.settled().await;
        assert_eq!(app.receiver.seen_total(), MANY);
        let listed: HashSet<_> = app.api.deliveries("event_type=P1").await.iter().map(id).collect();
        assert_eq!(listed, ids);
    });
}

#[test]
fn patterns_subscribe_to_what_lies_below_them_and_one_endpoint_gets_one_delivery() {
    run(async |app| {
        app.receiver.always("/orders", 200);
        let endpoint = app.endpoint_at("/orders", &["order.*", "order.created"]).await;
        app.api.emit("order.created", json!({"n": 1})).await;
        app.api.delivery_in(&endpoint, "succeeded").await;
        let other = app.api.event(json!({"type": "orders.created", "payload": {}})).await;
        assert_eq!((&other["deliveries"], &other["reason"]), (&json!(0), &json!("no_match")), "{other}");
        assert_eq!(app.receiver.seen("/orders").len(), 1);
    });
}

#[test]
fn an_event_that_goes_to_nobody_says_why() {
    run(async |app| {
        let asleep = json!({"slug": "asleep", "name": "Asleep", "active": false, "services": ["billing"]});
        app.api.post("/v1/integrators", &asleep).await.expect(201);
        let url = app.receiver.url("/never");
        app.endpoint(json!({"integrator": "asleep", "url": url, "event_types": ["P1"]})).await;
        let inactive = app.api.event(json!({"type": "P1", "payload": {}})).await;
        assert_eq!((&inactive["deliveries"], &inactive["reason"]), (&json!(0), &json!("integrator_inactive")));
        app.api.put("/v1/settings", &json!({"use_webhooks": false})).await.expect(200);
        let off = app.api.event(json!({"type": "P1", "payload": {}})).await;
        assert_eq!((&off["deliveries"], &off["reason"]), (&json!(0), &json!("webhooks_disabled")));
        assert_eq!(app.api.delivery_count("").await, 0);
    });
}

#[test]
fn v4_the_switch_keeps_events_at_home_and_brings_none_of_them_back() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.put("/v1/settings", &json!({"use_webhooks": false})).await.expect(200);
        let kept = app.api.event(json!({"type": "P1", "payload": {"n": 1}})).await;
        assert_eq!((&kept["deliveries"], &kept["reason"]), (&json!(0), &json!("webhooks_disabled")));
        assert_eq!(app.api.delivery_count("").await, 0);
        app.api.put("/v1/settings", &json!({"use_webhooks": true})).await.expect(200);
        let sent = app.api.event(json!({"type": "P1", "payload": {"n": 2}})).await;
        assert_eq!(sent["deliveries"], json!(1));
        assert_eq!(app.receiver.only("/hook").await.json(), json!({"n": 2}));
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(delivery["event"], sent["id"]);
        let shown = app.api.get(&format!("/v1/events/{}", kept["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(shown["reason"], "webhooks_disabled");
    });
}
