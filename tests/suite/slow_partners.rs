//! A partner who is slow or hangs costs nobody but himself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Reply, api::id, run};

/// Events for each of the two partners.
const EVENTS: usize = 200;
/// Requests under way at once that an endpoint gets by default.
const IN_FLIGHT_DEFAULT: usize = 16;
/// Within this the partner who answers has everything, though the other hangs for a minute.
const BOUND: Duration = Duration::from_secs(10);

#[test]
fn a_partner_who_hangs_delays_nobody_else() {
    run(async |app| {
        app.receiver.script("/hangs", [Reply::hang()]);
        app.receiver.always("/answers", 200);
        let url = app.receiver.url("/hangs");
        let hangs = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "timeout_ms": 60_000})).await);
        let answers = app.endpoint_at("/answers", &["P1"]).await;
        let start = Instant::now();
        let events: Value = (0..EVENTS).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        let seen = app.receiver.wait("/answers", EVENTS).await;
        let took = seen.iter().map(|received| received.at - start).max().unwrap();
        assert!(took < BOUND, "the other partner had to wait {took:?}");
        app.receiver.wait("/hangs", IN_FLIGHT_DEFAULT).await;
        assert_eq!(app.receiver.seen("/hangs").len(), IN_FLIGHT_DEFAULT, "no more than its share is under way");
        crate::harness::eventually("the other partner's deliveries are written down", async || {
            let done = app.api.delivery_count(&format!("endpoint={answers}&state=succeeded")).await;
            if done == EVENTS as u64 { Ok(()) } else { Err(format!("{done}")) }
        })
        .await;
        assert_eq!(app.api.delivery_count(&format!("endpoint={hangs}&state=succeeded")).await, 0);
    });
}

#[test]
fn an_endpoint_gets_no_more_at_once_than_it_asks_for() {
    run(async |app| {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, highest) = (Arc::clone(&now), Arc::clone(&most));
        app.receiver.on_async("/two", move |_| {
            let (now, most) = (Arc::clone(&counted), Arc::clone(&highest));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Reply::status(200)
            }
        });
        let url = app.receiver.url("/two");
        app.endpoint(json!({"url": url, "event_types": ["P1"], "max_in_flight": 2})).await;
        let events: Value = (0..40).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        app.api.settled().await;
        assert_eq!((app.receiver.seen("/two").len(), most.load(Ordering::SeqCst)), (40, 2));
    });
}
