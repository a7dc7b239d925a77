//! Queues that are paused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{App, Backend, Reply, Setup, api::id, eventually, run, run_on};

async fn queue(app: &App, endpoint: &str) -> Value {
    let list = app.api.get("/v1/queues").await.expect(200);
    let found = list["items"].as_array().unwrap().iter().find(|queue| queue["endpoint"] == endpoint).cloned();
    found.unwrap_or(Value::Null)
}

fn events(count: usize) -> Value {
    (0..count).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect()
}

async fn set(app: &App, endpoint: &str, verb: &str) -> Value {
    app.api.post(&format!("/v1/queues/{endpoint}/{verb}"), &json!({})).await.expect(200)
}

#[test]
fn v35_the_queue_of_a_partner_who_is_down_is_seen_paused_and_drained() {
    run(async |app| {
        app.receiver.always("/down", 500);
        let endpoint = app.endpoint_retrying("/down", "P1", &[0, 3_600_000]).await;
        let integrator = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200)["integrator_id"].clone();
        app.api.post("/v1/events", &events(10)).await.expect(202);
        app.receiver.wait("/down", 10).await;
        let first = eventually("all ten wait for their second try", async || {
            let queue = queue(app, &endpoint).await;
            if queue["depth"] == 10 && queue["in_flight"] == 0 { Ok(queue) } else { Err(queue.to_string()) }
        })
        .await;
        assert_eq!(first["integrator"], integrator);
        assert!(first["next_attempt_at"].is_string() && first["paused_at"].is_null(), "{first}");
        let age = |queue: &Value| queue["oldest_age_ms"].as_u64().unwrap();
        eventually("the oldest gets older", async || {
            let now = queue(app, &endpoint).await;
            if age(&now) > age(&first) { Ok(()) } else { Err(now.to_string()) }
        })
        .await;

        let paused = set(app, &endpoint, "pause").await;
        assert_eq!((&paused["depth"], &paused["held"]), (&json!(10), &json!("paused")), "{paused}");
        assert!(paused["paused_at"].is_string() && paused["next_attempt_at"].is_null(), "{paused}");
        assert_eq!(
            set(app, &endpoint, "pause").await["paused_at"],
            paused["paused_at"],
            "a second pause changes nothing"
        );
        app.api.emit("P1", json!({"n": 10})).await;
        let parked = app.api.deliveries(&format!("endpoint={endpoint}&state=parked")).await;
        assert!(parked.iter().all(|one| one["reason"] == "paused"), "{parked:?}");
        assert_eq!(parked.iter().filter(|one| one["attempts"] == 1).count(), 10, "tries are kept");
        assert_eq!((parked.len(), queue(app, &endpoint).await["depth"].as_u64()), (11, Some(11)));

        app.receiver.always("/down", 200);
        let resumed = set(app, &endpoint, "resume").await;
        assert!(resumed["paused_at"].is_null() && resumed["held"].is_null(), "{resumed}");
        app.api.settled().await;
        assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}&state=succeeded")).await, 11);
        assert_eq!(queue(app, &endpoint).await, Value::Null, "drained");
        let audit = app.api.get("/v1/audit?limit=100").await.expect(200);
        let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|one| one["action"].clone()).collect();
        let count = |action: &str| actions.iter().filter(|one| *one == action).count();
        assert_eq!((count("queue.pause"), count("queue.resume")), (1, 1), "{actions:?}");
    });
}

fn what_is_in_memory_goes_back(backend: Backend) {
    const EVENTS: usize = 40;
    run_on(backend, Setup::new(), async |app| {
        app.receiver.script("/slow", [Reply::status(200).after(Duration::from_millis(150))]);
        let url = app.receiver.url("/slow");
        let endpoint = id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "max_in_flight": 1})).await);
        app.api.post("/v1/events", &events(EVENTS)).await.expect(202);
        app.receiver.wait("/slow", 1).await;
        set(app, &endpoint, "pause").await;
        eventually("what was under way ends and nothing else begins", async || {
            let left = app.api.delivery_count(&format!("endpoint={endpoint}&state=delivering,pending")).await;
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
        let sent = app.receiver.seen("/slow").len();
        assert!(sent < EVENTS / 2, "{sent}");
        let parked = app.api.deliveries(&format!("endpoint={endpoint}&state=parked")).await;
        assert_eq!(parked.len(), EVENTS - sent);
        assert!(parked.iter().all(|one| one["attempts"] == 0 && one["reason"] == "paused"), "{parked:?}");

        app.engine.kill().await;
        app.engine.start_again().await;
        app.api.emit("P1", json!({"n": EVENTS})).await;
        assert_eq!(queue(app, &endpoint).await["depth"], json!(EVENTS - sent + 1), "still paused after a start");
        // Disabled and enabled again it is paused as before; by hand nothing of it goes either.
        for enabled in [false, true] {
            app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"enabled": enabled})).await.expect(200);
        }
        assert_eq!(app.api.delivery_count("state=parked").await, (EVENTS - sent + 1) as u64);
        let retry = format!("/v1/deliveries/{}/retry", id(&parked[0]));
        app.api.post(&retry, &json!({})).await.expect_problem(409, "not_allowed_in_state");
        assert_eq!(app.receiver.seen("/slow").len(), sent);
        let output = app.engine.client(&["queue", "resume", &endpoint]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        app.api.settled().await;
        let seen = app.receiver.seen("/slow");
        let mut all: Vec<_> = seen.iter().map(|one| one.webhook_id().to_owned()).collect();
        all.sort();
        all.dedup();
        assert_eq!((seen.len(), all.len()), (EVENTS + 1, EVENTS + 1), "each went once");
    });
}

#[test]
fn a_pause_takes_back_what_is_in_memory_and_outlives_a_kill() {
    what_is_in_memory_goes_back(Backend::Sqlite);
}

#[test]
fn a_pause_takes_back_what_is_in_memory_and_outlives_a_kill_on_postgres() {
    what_is_in_memory_goes_back(Backend::Postgres);
}

#[test]
fn the_command_line_lists_pauses_and_resumes() {
    run(async |app| {
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let said = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(said(&["queue", "list"]).await.contains("Nothing waits"));
        assert!(said(&["queue", "pause", &endpoint]).await.contains("paused"));
        app.api.emit("P1", json!({})).await;
        let list = said(&["queue", "list"]).await;
        assert!(list.contains(&endpoint) && list.contains("paused"), "{list}");
        let unknown = app.engine.client(&["queue", "pause", &format!("ep_{}", "0".repeat(32))]).await;
        assert!(!unknown.status.success());
        app.receiver.always("/hook", 200);
        said(&["queue", "resume", &endpoint]).await;
        app.api.delivery_in(&endpoint, "succeeded").await;
    });
}
