//! Plugins that mean harm: each fails its own deliveries or its own installation, with a code that says what it
//! did, and nobody else notices.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{
    App, Setup,
    api::Answer,
    api::id,
    guests::{Guest, guest},
    run, run_with, within,
};

/// Events that the well-behaved endpoint gets in a measured run, one every [`PACE`].
const EVENTS: usize = 150;
const PACE: Duration = Duration::from_millis(10);
/// How much later the other endpoint's deliveries may be (p99) with a hostile plugin at work beside them. Looping
/// guests are busy for 50 ms each on both cores; what is asked here is that nobody queues behind them.
const P99_MORE: Duration = Duration::from_millis(750);
/// How long the hostile plugin's own backlog may take to end: a guest's budget for each of its attempts.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(60);

const LOOP: &str = "(loop $l (br $l))";
const GROW: &str = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
const TRAP: &str = "(unreachable)";

/// The guest under a name of five letters, as the template has it.
fn named(name: &str) -> Guest {
    assert_eq!(name.len(), 5);
    guest().swap("(i32.const 2048) \"guest\"", &format!("(i32.const 2048) \"{name}\""))
}

/// The guest with another URL in the request it makes.
fn sending_to(guest: Guest, url: &str) -> Guest {
    let (from, length) = ("\\50\\08\\00\\00\\14\\00\\00\\00", u8::try_from(url.len()).unwrap());
    guest
        .swap(from, &format!("\\00\\0c\\00\\00\\{length:02x}\\00\\00\\00"))
        .at("data", &format!("(data (i32.const 3072) \"{url}\")"))
}

async fn push(app: &App, name: &str, component: Vec<u8>) -> Answer {
    let path = format!("/v1/plugins?name={name}&channel=stable");
    app.api.send(Method::POST, &path, &[("content-type", "application/wasm")], component.into()).await
}

/// Installs a hostile guest and binds an endpoint to it that subscribes to `event_type`.
async fn hostile_endpoint(app: &App, name: &str, guest: Guest, event_type: &str) -> String {
    let pushed = push(app, name, guest.build()).await;
    assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
    app.receiver.always("/never", 200);
    let url = app.receiver.url("/never");
    id(&app.endpoint(json!({"url": url, "event_types": [event_type], "plugin": name})).await)
}

/// Closes the plugin's breaker, as an operator would who does not know better.
async fn insist(app: &App, plugin: &str) {
    app.api.post(&format!("/v1/plugins/{plugin}/promote"), &json!({"version": "0.1.0"})).await.expect(200);
}

/// Delivers paced events to the well-behaved endpoint and gives their p99 from acceptance to arrival. All the while the
/// hostile plugin is let loose again and again.
async fn p99_of_the_good(app: &App, event_type: &str, hostile: Option<&str>) -> Duration {
    let before = app.receiver.seen("/good").len();
    for n in 0..EVENTS {
        if let Some(plugin) = hostile.filter(|_| n % 10 == 0) {
            insist(app, plugin).await;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let payload = json!({"n": n, "sent_us": u64::try_from(now.as_micros()).unwrap()});
        app.api.event(json!({"type": event_type, "payload": payload})).await;
        tokio::time::sleep(PACE).await;
    }
    let seen = app.receiver.wait("/good", before + EVENTS).await;
    let mut delays: Vec<_> = seen[before..].iter().map(|received| received.delay_of("sent_us")).collect();
    delays.sort();
    delays[EVENTS * 99 / 100]
}

/// Every delivery of the hostile endpoint has failed with `code`; every one of the good endpoint has succeeded.
async fn each_got_what_it_deserves(app: &App, good: &str, (plugin, bad): (&str, &str), code: &str) {
    let count = async |query: String| app.api.delivery_count(&query).await;
    within(BACKLOG_PATIENCE, "the hostile plugin's deliveries end", async || {
        insist(app, plugin).await;
        let failed = count(format!("endpoint={bad}&state=failed")).await;
        if failed == EVENTS as u64 { Ok(()) } else { Err(format!("{failed} of {EVENTS}")) }
    })
    .await;
    let reasons = app.api.deliveries(&format!("endpoint={bad}")).await;
    assert!(reasons.iter().all(|delivery| delivery["reason"] == code), "{:?}", reasons.first());
    assert_eq!(count(format!("endpoint={good}&success=no")).await, 0);
    assert!(app.receiver.seen("/never").is_empty(), "nothing of the hostile plugin's went out");
}

fn beside_a_good_endpoint(name: &'static str, code: &'static str, body: &'static str) {
    run(async |app| {
        app.receiver.always("/good", 200);
        let good = app.endpoint_at("/good", &["calm", "storm"]).await;
        let calm = p99_of_the_good(app, "calm", None).await;
        let bad = hostile_endpoint(app, name, named(name).at("transform", body), "storm").await;
        let storm = p99_of_the_good(app, "storm", Some(name)).await;
        println!("{name}: p99 {calm:?} alone, {storm:?} beside the hostile plugin");
        assert!(storm < calm + P99_MORE, "p99 {calm:?} alone, {storm:?} beside the hostile plugin");
        each_got_what_it_deserves(app, &good, (name, &bad), code).await;
        let attempt = app.api.attempt(&app.api.deliveries(&format!("endpoint={bad}")).await[0]).await;
        assert_eq!(
            (&attempt["verdict"]["outcome"], &attempt["verdict"]["code"]),
            (&json!("plugin_fault"), &json!(code))
        );
        assert!(attempt["request"].is_null(), "{attempt}");
    });
}

#[test]
fn a_guest_that_loops_hits_its_cpu_limit_and_nobody_else_waits() {
    beside_a_good_endpoint("loops", "cpu_limit", LOOP);
}

#[test]
fn a_guest_that_grows_without_end_hits_its_memory_limit_and_nobody_else_waits() {
    beside_a_good_endpoint("grows", "memory_limit", GROW);
}

#[test]
fn a_guest_that_traps_is_a_plugin_panic_and_nobody_else_waits() {
    beside_a_good_endpoint("traps", "plugin_panic", TRAP);
}

#[test]
fn a_fault_in_interpret_is_that_attempts_fault_and_the_request_is_recorded() {
    run(async |app| {
        app.receiver.always("/in", 200);
        let at_partner = app.receiver.url("/in");
        let with_url = sending_to(named("judge"), &at_partner).at("interpret", TRAP);
        let pushed = push(app, "judge", with_url.build()).await;
        assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        let endpoint = id(&app.endpoint(json!({"url": at_partner, "event_types": ["P1"], "plugin": "judge"})).await);
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!(delivery["reason"], "plugin_panic", "{delivery}");
        let attempt = app.api.attempt(&delivery).await;
        assert_eq!((&attempt["response"]["status"], &attempt["request"]["method"]), (&json!(200), &json!("POST")));
        assert_eq!(app.receiver.only("/in").await.webhook_id(), id(&delivery));
    });
}

#[test]
fn a_plugin_may_not_send_elsewhere() {
    run(async |app| {
        let bad = hostile_endpoint(app, "stray", named("stray"), "P1").await;
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery_in(&bad, "failed").await;
        assert_eq!(delivery["reason"], "host_denied", "the template sends to a.example: {delivery}");
    });
}

#[test]
fn isolation_14_a_plugin_that_always_fails_has_its_deliveries_parked_until_a_new_version_comes() {
    run(async |app| {
        let at_partner = app.receiver.url("/in");
        app.receiver.always("/in", 200);
        push(app, "break", named("break").at("transform", TRAP).build()).await;
        let hour = 3_600_000;
        let fields = json!({
            "url": at_partner, "event_types": ["P1"], "plugin": "break", "max_in_flight": 4,
            "retry": {"schedule_ms": [0, hour, hour]},
        });
        let endpoint = id(&app.endpoint(fields).await);
        let events: Vec<_> = (0..60).map(|n| json!({"type": "P1", "payload": n})).collect();
        app.api.post("/v1/events", &Value::Array(events)).await.expect(202);
        let query = |state: &str| format!("endpoint={endpoint}&state={state}");
        within(SETTLED, "deliveries are parked", async || {
            let parked = app.api.delivery_count(&query("parked")).await;
            // Those under way when the tenth fault came had their try.
            if (44..=50).contains(&parked) { Ok(()) } else { Err(format!("{parked} parked")) }
        })
        .await;
        let parked = app.api.deliveries(&query("parked")).await.remove(0);
        assert_eq!((&parked["reason"], &parked["attempts"]), (&json!("plugin_faulty"), &json!(0)));
        let by_hand = format!("/v1/deliveries/{}/retry", parked["id"].as_str().unwrap());
        app.api.post(&by_hand, &Value::Null).await.expect_any();
        within(SETTLED, "a try by hand is made", async || {
            let delivery = app.api.get(&format!("/v1/deliveries/{}", parked["id"].as_str().unwrap())).await.expect(200);
            if delivery["attempts"] == 1 { Ok(()) } else { Err(delivery.to_string()) }
        })
        .await;

        let cured = named("break").swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"");
        push(app, "break", sending_to(cured, &at_partner).build()).await;
        within(SETTLED, "what was parked goes out", async || {
            let succeeded = app.api.delivery_count(&query("succeeded")).await;
            if succeeded >= 43 { Ok(()) } else { Err(format!("{succeeded} succeeded")) }
        })
        .await;
        assert_eq!(app.api.delivery_count(&query("parked")).await, 0, "none is lost or left behind");
        assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}")).await, 60);
    });
}

/// How long parked deliveries may take to move.
const SETTLED: Duration = Duration::from_secs(30);

/// Versions that are promoted one after the other while events come in.
const UPGRADES: usize = 8;
const EVENTS_PER_UPGRADE: usize = 60;

#[test]
fn isolation_26_upgrades_under_load_lose_nothing_and_fail_nothing() {
    run(async |app| {
        let at_partner = app.receiver.url("/in");
        app.receiver.always("/in", 200);
        for version in ["0.1.0", "0.1.1"] {
            let swapped = format!("(i32.const 2064) \"{version}\"");
            let guest = named("swaps").swap("(i32.const 2064) \"0.1.0\"", &swapped);
            let pushed = push(app, "swaps", sending_to(guest, &at_partner).build()).await;
            assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        }
        let fields = json!({"url": at_partner, "event_types": ["P1"], "plugin": "swaps", "max_in_flight": 32});
        let endpoint = id(&app.endpoint(fields).await);
        for turn in 0..UPGRADES {
            let version = if turn % 2 == 0 { "0.1.0" } else { "0.1.1" };
            let events: Vec<_> = (0..EVENTS_PER_UPGRADE).map(|n| json!({"type": "P1", "payload": n})).collect();
            app.api.post("/v1/events", &Value::Array(events)).await.expect(202);
            app.api.post("/v1/plugins/swaps/promote", &json!({"version": version})).await.expect(200);
        }
        app.api.settled().await;
        let all = UPGRADES * EVENTS_PER_UPGRADE;
        assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}&state=succeeded")).await, all as u64);
        let deliveries = app.api.deliveries(&format!("endpoint={endpoint}")).await;
        assert!(deliveries.iter().all(|delivery| delivery["attempts"] == 1), "no attempt failed for an upgrade");
        let mut versions = std::collections::BTreeSet::new();
        for delivery in deliveries.iter().step_by(7) {
            versions.insert(app.api.attempt(delivery).await["plugin"].as_str().unwrap().to_owned());
        }
        assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["swaps@0.1.0", "swaps@0.1.1"]);
    });
}

#[test]
fn isolation_25_a_success_with_a_500_is_honoured_and_recorded() {
    run(async |app| {
        let at_partner = app.receiver.url("/in");
        app.receiver.always("/in", 500);
        let pushed = push(app, "yeses", sending_to(named("yeses"), &at_partner).build()).await;
        assert_eq!(pushed.status, 201, "{}", String::from_utf8_lossy(&pushed.body));
        let fields = json!({"url": at_partner, "event_types": ["P1"], "plugin": "yeses"});
        let endpoint = id(&app.endpoint(fields).await);
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(delivery["success"], true);
        let attempt = app.api.attempt(&delivery).await;
        let said = (&attempt["response"]["status"], &attempt["verdict"]["outcome"]);
        assert_eq!(said, (&json!(500), &json!("success")), "{attempt}");
    });
}

#[test]
fn a_fault_is_tried_again_and_a_new_version_cures_it() {
    run(async |app| {
        let at_partner = app.receiver.url("/in");
        app.receiver.always("/in", 200);
        let pushed = push(app, "cures", named("cures").at("transform", TRAP).build()).await;
        assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        let fields = json!({
            "url": at_partner, "event_types": ["P1"], "plugin": "cures", "retry": {"schedule_ms": [0, 1_500, 1_500]},
        });
        let endpoint = id(&app.endpoint(fields).await);
        app.api.emit("P1", json!({})).await;
        let waiting = app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        assert_eq!((&waiting["state"], &waiting["reason"]), (&json!("pending"), &json!("plugin_panic")));
        let cured = named("cures").swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"");
        let cured = sending_to(cured, &at_partner);
        let pushed = push(app, "cures", cured.build()).await;
        assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let plugins: Vec<_> =
            app.api.attempts(&delivery).await.iter().map(|attempt| attempt["plugin"].clone()).collect();
        assert_eq!(plugins.first(), Some(&json!("cures@0.1.0")));
        assert_eq!(plugins.last(), Some(&json!("cures@0.1.1")));
    });
}

/// The refusal of an installation: its code, and what it says.
async fn refused(app: &App, component: Vec<u8>) -> (String, String) {
    let answer = push(app, "guest", component).await;
    assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(&answer.body));
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    (problem["code"].as_str().unwrap().to_owned(), problem.to_string())
}

#[test]
fn a_component_of_the_wrong_world_is_refused_by_name() {
    run(async |app| {
        let (code, said) = refused(app, wat::parse_str("(component)").unwrap()).await;
        assert_eq!(code, "wrong_world", "{said}");
        assert!(said.contains("engate:plugin/plugin@0.1") && said.contains("world integrator"), "{said}");

        let half = guest()
            .contract("import state; export plugin; export delivery; }", "import state; export plugin; }")
            .swap(r#"(export "engate:plugin/delivery@0.1.0#transform")"#, "")
            .swap(r#"(export "engate:plugin/delivery@0.1.0#interpret")"#, "");
        let (code, said) = refused(app, half.build()).await;
        assert_eq!(code, "wrong_world", "{said}");
        assert!(said.contains("engate:plugin/delivery@0.1"), "the interface that is missing: {said}");

        let older = guest().contract("engate:plugin@0.1.0", "engate:plugin@0.9.0");
        let older =
            ["log", "config", "secrets", "state", "plugin", "delivery"].into_iter().fold(older, |guest, name| {
                guest.swap(&format!("engate:plugin/{name}@0.1.0"), &format!("engate:plugin/{name}@0.9.0"))
            });
        let (code, said) = refused(app, older.build()).await;
        assert!(code == "unsupported_version" || code == "wrong_world" || code == "unknown_import", "{code}");
        assert!(said.contains("0.9") && said.contains("0.1"), "the version asked for and those known: {said}");

        let (code, said) = refused(app, guest().module()).await;
        assert_eq!(code, "not_a_component", "{said}");
        let (code, said) = refused(app, b"(component)".to_vec()).await;
        assert_eq!(code, "not_a_component", "{said}");
        let sockets = r#"(component (import "wasi:sockets/tcp@0.2.0" (instance)))"#;
        let (code, said) = refused(app, wat::parse_str(sockets).unwrap()).await;
        assert!(
            matches!(code.as_str(), "unknown_import" | "wrong_world") && said.contains("wasi:sockets"),
            "{code}: {said}"
        );
        let listed = app.api.get("/v1/plugins").await.expect(200);
        assert!(!listed["items"].to_string().contains("\"guest\""), "nothing of it was kept: {listed}");
    });
}

#[test]
fn a_guest_that_loops_when_it_is_described_is_not_installed() {
    run_with(Setup::new(), async |app| {
        let (code, said) = refused(app, guest().at("describe", LOOP).build()).await;
        assert_eq!(code, "describe_failed", "{said}");
        assert!(said.contains("cpu_limit"), "{said}");
        assert_eq!(app.api.get("/healthz").await.status, 200);
    });
}
