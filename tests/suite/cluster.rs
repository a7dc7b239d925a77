//! Several engines on one PostgreSQL: they share the work, and when one dies the others take its part.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    App, Backend, Engine, Reply, Setup,
    api::{Api, id},
    eventually, run_on,
};

/// Both nodes must be able to read each other's secrets.
const SECRET_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub(crate) fn node(name: &str) -> Setup {
    Setup::new()
        .set("delivery.breaker_failures", "0")
        .named(name)
        .set("node", name)
        .set("secret_key", SECRET_KEY)
        .set("delivery.lease_ms", "2000")
}

/// Runs `test` with a second engine beside the app's, on the same database.
pub(crate) fn run_with_two(test: impl AsyncFnOnce(&mut App, &mut Engine, &Api)) {
    run_on(Backend::Postgres, node("one"), async |app| {
        let mut second = Engine::start_beside(&app.engine, node("two")).await;
        let api = Api::admin(second.url());
        test(app, &mut second, &api).await;
        if !second.is_stopped() {
            assert!(second.is_alive());
            second.kill().await;
        }
        assert!(!second.log().contains("panicked at"), "{}", second.log());
    });
}

/// Tries that a node has made, by its own count.
async fn tries(api: &Api) -> u64 {
    let text = api.get("/metrics").await.expect(200);
    let lines = text.as_str().unwrap().lines().filter(|line| line.starts_with("engate_attempts_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn events(count: usize) -> Value {
    (0..count).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect()
}

#[test]
fn two_engines_share_what_one_of_them_took_in() {
    run_with_two(async |app, _, second| {
        const EVENTS: usize = 1_000;
        app.receiver.script("/slow", [Reply::status(200).after(Duration::from_millis(25))]);
        app.endpoint_at("/slow", &["P1"]).await;
        app.api.post("/v1/events", &events(EVENTS)).await.expect(202);
        app.receiver.wait("/slow", EVENTS).await;
        app.api.settled().await;
        let (first, second) = (tries(&app.api).await, tries(second).await);
        println!("{first} tries by the node that took the events in, {second} by the other");
        assert!(first > 0 && second > 0, "{first} and {second}");
        assert_eq!(app.receiver.seen("/slow").len(), EVENTS, "nothing was sent twice");
    });
}

#[test]
fn when_one_is_killed_the_other_takes_over() {
    run_with_two(async |app, _, second| {
        const EVENTS: usize = 200;
        app.receiver.script("/slow", [Reply::status(200).after(Duration::from_millis(150))]);
        let url = app.receiver.url("/slow");
        app.endpoint(json!({"url": url, "event_types": ["P1"], "max_in_flight": 4})).await;
        app.api.post("/v1/events", &events(EVENTS)).await.expect(202);
        app.receiver.wait("/slow", 8).await;
        app.engine.kill().await;
        let before = app.receiver.seen("/slow").len();
        assert!(before < EVENTS / 2, "most of it was in the memory of the node that died");
        eventually("the other node delivers the rest", async || {
            let done = second.delivery_count("state=succeeded").await;
            if done == EVENTS as u64 { Ok(()) } else { Err(format!("{done}")) }
        })
        .await;
        let seen = app.receiver.seen("/slow");
        let mut numbers: Vec<_> = seen.iter().map(|received| received.json()["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), EVENTS, "every event reached the partner");
        assert!(seen.len() <= EVENTS + 8, "only what was under way at the death may go twice: {}", seen.len());
    });
}

#[test]
fn what_is_registered_at_one_counts_at_the_other_at_once() {
    run_with_two(async |app, _, second| {
        app.receiver.always("/hook", 200);
        for n in 0..20 {
            let event_type = format!("P{n}");
            let endpoint = app.endpoint_at("/hook", &[&event_type]).await;
            let taken = second.event(json!({"type": event_type, "payload": {}})).await;
            assert_eq!(taken["deliveries"], json!(1), "the endpoint registered just before at the other node");
            app.api.delivery_in(&endpoint, "succeeded").await;
        }
        let off = json!({"use_webhooks": false});
        app.api.put("/v1/settings", &off).await.expect(200);
        let taken = second.event(json!({"type": "P1", "payload": {}})).await;
        assert_eq!(taken["reason"], "webhooks_disabled");
    });
}

#[test]
fn both_take_the_same_id_once() {
    run_with_two(async |app, _, second| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["P1"]).await;
        for n in 0..20 {
            let event = json!({"type": "P1", "id": format!("id-{n}"), "payload": {"n": n}});
            let (one, other) = tokio::join!(app.api.post("/v1/events", &event), second.post("/v1/events", &event));
            let mut statuses = [one.status, other.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 202]);
            assert_eq!(id(&one.expect_any()), id(&other.expect_any()));
        }
        app.api.settled().await;
        assert_eq!(app.receiver.seen("/hook").len(), 20);
    });
}
