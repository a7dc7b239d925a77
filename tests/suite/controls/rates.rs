//! Endpoints with a rate.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{api::id, run};

const EVENTS: usize = 22;

fn events() -> Value {
    (0..EVENTS).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect()
}

#[test]
fn an_endpoint_gets_no_more_a_second_than_its_rate_and_everything_in_the_end() {
    run(async |app| {
        app.receiver.always("/slowly", 200);
        app.receiver.always("/at-once", 200);
        let limit = json!({"per_second": 10, "burst": 2});
        let url = app.receiver.url("/slowly");
        let slowly = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "rate_limit": limit})).await);
        let shown = app.api.get(&format!("/v1/endpoints/{slowly}")).await.expect(200);
        assert_eq!(shown["rate_limit"], limit);
        app.endpoint_at("/at-once", &["P1"]).await;
        app.api.post("/v1/events", &events()).await.expect(202);
        app.receiver.wait("/at-once", EVENTS).await;
        let seen = app.receiver.wait("/slowly", EVENTS).await;
        app.api.settled().await;
        let order: Vec<_> = seen.iter().map(|one| one.json()["n"].as_u64().unwrap()).collect();
        assert_eq!(
            order[2..],
            (2..EVENTS as u64).collect::<Vec<_>>(),
            "in their order, after the two that went at once"
        );
        // What the engine began may arrive late, but never early: of any stretch, the burst and what the rate brings.
        let slack = Duration::from_millis(250);
        for (n, one) in seen.iter().enumerate() {
            let least = Duration::from_millis(100 * u64::try_from(n.saturating_sub(1)).unwrap());
            let since = one.at - seen[0].at;
            assert!(since + slack >= least, "number {n} came after {since:?}");
        }
        let deliveries = app.api.deliveries(&format!("endpoint={slowly}")).await;
        assert!(deliveries.iter().all(|one| one["state"] == "succeeded" && one["attempts"] == 1), "none failed for it");
        let other = app.receiver.seen("/at-once");
        assert!(other.last().unwrap().at < seen.last().unwrap().at, "the other endpoint waited for nobody");
    });
}

#[test]
fn taking_the_rate_away_lets_all_go() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let limit = json!({"per_second": 1, "burst": 1});
        let url = app.receiver.url("/hook");
        let endpoint = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "rate_limit": limit})).await);
        app.api.post("/v1/events", &events()).await.expect(202);
        app.receiver.wait("/hook", 1).await;
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"rate_limit": null})).await.expect(200);
        let seen = app.receiver.wait("/hook", EVENTS).await;
        let took = seen.last().unwrap().at - seen[0].at;
        assert!(took < Duration::from_secs(EVENTS as u64 - 2), "they still went one a second: {took:?}");
        app.api.settled().await;
    });
}
