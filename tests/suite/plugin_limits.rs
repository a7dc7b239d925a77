//! What an operator sets for one plugin's calls, seen in its deliveries.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{
    App, Reply, Setup,
    api::id,
    guests::{Guest, guest},
    run, run_with,
};

/// The guest under a name of five letters and a version of five characters, sending to `url`.
fn named(name: &str, version: &str, url: &str) -> Guest {
    assert_eq!((name.len(), version.len()), (5, 5));
    let length = u8::try_from(url.len()).unwrap();
    guest()
        .swap("(i32.const 2048) \"guest\"", &format!("(i32.const 2048) \"{name}\""))
        .swap("(i32.const 2064) \"0.1.0\"", &format!("(i32.const 2064) \"{version}\""))
        .swap("\\50\\08\\00\\00\\14\\00\\00\\00", &format!("\\00\\0c\\00\\00\\{length:02x}\\00\\00\\00"))
        .at("data", &format!("(data (i32.const 3072) \"{url}\")"))
}

/// Sends as many bytes as its instance served calls before.
const COUNTS: &str = "(i32.store (i32.const 1240) (global.get $calls)) (i32.store (i32.const 1232) (i32.const 2))";
const LOOP: &str = "(loop $l (br $l))";

async fn push(app: &App, name: &str, guest: Guest) {
    let path = format!("/v1/plugins?name={name}&channel=stable");
    let headers = [("content-type", "application/wasm")];
    let pushed = app.api.send(Method::POST, &path, &headers, guest.build().into()).await;
    assert_eq!(pushed.status, 201, "{}", String::from_utf8_lossy(&pushed.body));
}

/// An endpoint that takes one delivery at a time.
async fn one_by_one(app: &App, plugin: &str, path: &str) -> String {
    let fields = json!({
        "url": app.receiver.url(path), "event_types": ["P1"], "plugin": plugin, "max_in_flight": 1,
        "timeout_ms": 60_000,
    });
    id(&app.endpoint(fields).await)
}

/// Emits `count` events and gives the lengths of the bodies that came of them.
async fn lengths(app: &App, path: &str, count: usize) -> Vec<usize> {
    let before = app.receiver.seen(path).len();
    for n in 0..count {
        app.api.emit("P1", json!(n)).await;
        app.receiver.wait(path, before + n + 1).await;
        app.api.settled().await;
    }
    app.receiver.seen(path)[before..].iter().map(|received| received.body.len()).collect()
}

#[test]
fn isolation_15_instances_are_kept_only_where_the_operator_says_so() {
    run(async |app| {
        app.receiver.always("/in", 200);
        push(app, "count", named("count", "0.1.0", &app.receiver.url("/in")).at("transform", COUNTS)).await;
        one_by_one(app, "count", "/in").await;
        let limits = app.api.get("/v1/plugins/count/limits").await.expect(200);
        assert_eq!((&limits["instances"], &limits["applies"]["instances"]), (&Value::Null, &json!("fresh")));
        assert_eq!(lengths(app, "/in", 3).await, [0, 0, 0], "a compiled guest remembers nothing");

        let set = app.api.put("/v1/plugins/count/limits", &json!({"instances": "warm"})).await.expect(200);
        assert_eq!(set["applies"]["instances"], "warm");
        assert_eq!(lengths(app, "/in", 4).await, [0, 1, 2, 3]);

        // Another version never gets the instance of the one before.
        push(app, "count", named("count", "0.1.1", &app.receiver.url("/in")).at("transform", COUNTS)).await;
        assert_eq!(lengths(app, "/in", 2).await, [0, 1]);

        app.api.put("/v1/plugins/count/limits", &json!({})).await.expect(200);
        assert_eq!(lengths(app, "/in", 2).await, [0, 0], "what is left out follows the engine again");
    });
}

#[test]
fn limits_beyond_the_operators_ceiling_are_refused_and_lower_ones_count() {
    let setup = Setup::new().set("plugins.cpu_max_ms", "200").set("plugins.memory_max_mib", "96");
    run_with(setup, async |app| {
        push(app, "loops", named("loops", "0.1.0", &app.receiver.url("/in")).at("transform", LOOP)).await;
        let endpoint = one_by_one(app, "loops", "/in").await;
        let refused = app.api.put("/v1/plugins/loops/limits", &json!({"cpu_ms": 201, "memory_mib": 97})).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["cpu_ms", "memory_mib"]);
        let set = app.api.put("/v1/plugins/loops/limits", &json!({"cpu_ms": 200, "wall_ms": 10_000})).await.expect(200);
        assert_eq!(set["applies"], json!({"instances": "fresh", "cpu_ms": 200, "wall_ms": 10_000, "memory_mib": 64}));
        let took = async || {
            app.api.emit("P1", json!({})).await;
            let delivery = app.api.delivery_in(&endpoint, "failed").await;
            assert_eq!(delivery["reason"], "cpu_limit");
            let attempt = app.api.attempt(&delivery).await;
            app.api.post("/v1/plugins/loops/promote", &json!({"version": "0.1.0"})).await.expect(200);
            attempt["duration_ms"].as_f64().unwrap()
        };
        let long = took().await;
        assert!(long >= 190.0, "it ran for the time it was given: {long} ms");
    });
}

/// The delivery's state when the engine is killed, and what its first version does at that point.
async fn killed_while(app: &mut App, hostile: Guest, until: impl AsyncFn(&App, &str), sent_before: usize) {
    app.receiver.always("/in", 200);
    push(app, "waits", hostile).await;
    let limits = json!({"cpu_ms": 10_000, "wall_ms": 60_000});
    app.api.put("/v1/plugins/waits/limits", &limits).await.expect(200);
    let endpoint = one_by_one(app, "waits", "/in").await;
    app.api.emit("P1", json!({"n": 1})).await;
    until(app, &endpoint).await;
    // The call under way goes on in the version it began with; the next start finds a better one.
    push(app, "waits", named("waits", "0.1.1", &app.receiver.url("/in"))).await;
    app.engine.kill().await;
    app.engine.start_again().await;
    let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
    let seen = app.receiver.seen("/in");
    assert_eq!(seen.len(), sent_before + 1, "it went out again where it may have gone out before, and else once");
    assert!(seen.iter().all(|received| received.webhook_id() == id(&delivery)), "always under the same id");
    assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}")).await, 1);
}

fn patient() -> Setup {
    Setup::new().set("plugins.cpu_max_ms", "10000").set("plugins.wall_max_ms", "60000")
}

#[test]
fn isolation_24_killed_in_transform_the_delivery_goes_out_once() {
    run_with(patient(), async |app| {
        let hostile = named("waits", "0.1.0", &app.receiver.url("/in")).at("transform", LOOP);
        let in_hand = async |app: &App, endpoint: &str| {
            drop(app.api.delivery_in(endpoint, "delivering").await);
        };
        killed_while(app, hostile, in_hand, 0).await;
    });
}

#[test]
fn isolation_24_killed_while_the_request_is_out_it_goes_out_again_under_its_id() {
    run_with(patient(), async |app| {
        let hostile = named("waits", "0.1.0", &app.receiver.url("/hang"));
        app.receiver.script("/hang", [Reply::hang()]);
        let out = async |app: &App, _: &str| drop(app.receiver.wait("/hang", 1).await);
        killed_while(app, hostile, out, 0).await;
        let (first, second) = (app.receiver.only("/hang").await, app.receiver.only("/in").await);
        assert_eq!(first.webhook_id(), second.webhook_id());
    });
}

#[test]
fn isolation_24_killed_in_interpret_it_goes_out_again_under_its_id() {
    run_with(patient(), async |app| {
        let hostile = named("waits", "0.1.0", &app.receiver.url("/in")).at("interpret", LOOP);
        let answered = async |app: &App, _: &str| drop(app.receiver.wait("/in", 1).await);
        killed_while(app, hostile, answered, 1).await;
    });
}

#[test]
fn isolation_15_a_kept_instance_that_fails_is_not_kept() {
    run(async |app| {
        app.receiver.always("/in", 200);
        // The third call of an instance traps; what it sends next would show that it was used again.
        let trap = "(if (i32.eq (global.get $calls) (i32.const 2)) (then (unreachable)))";
        let guest = named("count", "0.1.0", &app.receiver.url("/in")).at("transform", COUNTS).at("transform", trap);
        push(app, "count", guest).await;
        let endpoint = one_by_one(app, "count", "/in").await;
        app.api.put("/v1/plugins/count/limits", &json!({"instances": "warm"})).await.expect(200);
        assert_eq!(lengths(app, "/in", 2).await, [0, 1]);
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        assert_eq!(app.api.delivery_count(&format!("endpoint={endpoint}&state=failed")).await, 1);
        assert_eq!(lengths(app, "/in", 2).await, [0, 1], "a new instance counts from the beginning");
    });
}
