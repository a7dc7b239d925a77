//! What is old is forgotten by itself, and what never is stays.

use std::time::Duration;

use engate::clock::SystemClock;
use engate_model::{Clock as _, EventId, TypedId as _};
use serde_json::json;

use crate::harness::{api::id, database::meddle, eventually, run};

/// Longer than payloads are kept where nobody says otherwise.
const LONG_AGO: Duration = Duration::from_secs(45 * 24 * 3_600);

#[test]
fn old_payloads_go_by_themselves_but_the_newest_of_each_subject() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["P1"]).await;
        let mut events = Vec::new();
        for n in 0..3 {
            let subject = if n == 2 { "other" } else { "one" };
            events.push(id(&app.api.event(json!({"type": "P1", "subject": subject, "payload": n})).await));
        }
        app.api.settled().await;
        let deliveries = app.api.deliveries("").await;
        let attempts = |event: &str| {
            let of_event = deliveries.iter().find(|one| one["event"] == event).unwrap();
            format!("/v1/deliveries/{}/attempts", id(of_event))
        };
        let replaced = app.api.get(&attempts(&events[0])).await.expect(200);
        assert_eq!(replaced["items"][0]["request"]["body_kept"], true);
        let url = app.engine.database_url().to_owned();
        app.engine.terminate().await;
        // All of it happened long ago; an event's id carries the time.
        let mut old = Vec::new();
        for (n, event) in events.iter().enumerate() {
            let aged = EventId::new(SystemClock.now().before(LONG_AGO), (n as u128) << 40);
            let (was, is) = (event.strip_prefix("evt_").unwrap(), aged.uuid().simple());
            meddle(&url, &format!("UPDATE events SET id = X'{is}' WHERE id = X'{was}'")).await;
            meddle(&url, &format!("UPDATE deliveries SET event_id = X'{is}' WHERE event_id = X'{was}'")).await;
            old.push(aged.to_string());
        }
        app.engine.start_again().await;
        eventually("the event that has a newer one is forgotten", async || {
            let left = app.api.get(&format!("/v1/events/{}", old[0])).await.status;
            if left == 404 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
        for stays in &old[1..] {
            app.api.get(&format!("/v1/events/{stays}")).await.expect(200);
        }
        // What was sent is known still, but for the payload.
        let request = &app.api.get(&attempts(&events[0])).await.expect(200)["items"][0]["request"];
        assert_eq!((request["body_kept"].as_bool(), request["body"].as_str()), (Some(false), Some("")), "{request}");
        assert_eq!(app.api.deliveries("").await.len(), 3, "deliveries are kept for longer");
        eventually("it is audited and counted", async || {
            let audit = app.api.get("/v1/audit?action=history.purge").await.expect(200);
            let metrics = String::from_utf8(app.api.get("/metrics").await.body.to_vec()).unwrap();
            let counted = metrics.contains("engate_history_purged_total{kind=\"events\"} 1");
            let audited = audit["items"][0]["detail"]["events"] == 1;
            if counted && audited { Ok(()) } else { Err(format!("{audit}")) }
        })
        .await;
    });
}
