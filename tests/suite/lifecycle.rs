//! Starts, stops and starts again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    App, Backend, Database, Engine, Reply, Setup,
    api::{Api, id},
    block_on, run, run_on, run_with,
};

/// Events under way when the engine is told to stop: more than are under way at once.
const UNDER_WAY: usize = 40;

fn drains(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.script("/slow", [Reply::status(200).after(Duration::from_millis(600))]);
        app.endpoint_at("/slow", &["P1"]).await;
        let events: Value = (0..UNDER_WAY).map(|n| json!({"type": "P1", "payload": {"n": n}})).collect();
        app.api.post("/v1/events", &events).await.expect(202);
        app.receiver.wait("/slow", 1).await;
        let status = app.engine.terminate().await;
        assert_eq!(status.code(), Some(0), "the exit code after SIGTERM");
        let sent_before = app.receiver.seen("/slow").len();
        assert!(sent_before < UNDER_WAY, "there was work left at the stop");
        app.doctor().await;
        app.engine.start_again().await;
        app.receiver.wait("/slow", UNDER_WAY).await;
        app.api.settled().await;
        let mut ids: Vec<_> = app.receiver.seen("/slow").iter().map(|one| one.webhook_id().to_owned()).collect();
        assert_eq!(ids.len(), UNDER_WAY, "what was under way was finished, so nothing went out twice");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), UNDER_WAY);
        assert_eq!(app.api.delivery_count("state=succeeded").await, UNDER_WAY as u64);
    });
}

#[test]
fn sigterm_finishes_what_is_under_way_and_the_next_start_does_the_rest() {
    drains(Backend::Sqlite);
}

#[test]
fn sigterm_finishes_what_is_under_way_on_postgres() {
    drains(Backend::Postgres);
}

fn keeps_retries(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.script("/hook", [Reply::status(500), Reply::status(200)]);
        let endpoint = app.endpoint_retrying("/hook", "P1", &[0, 1_500]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        let waiting = app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        assert_eq!(waiting["state"], "pending");
        app.engine.kill().await;
        app.engine.start_again().await;
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!((&delivery["attempts"], &delivery["id"]), (&json!(2), &waiting["id"]));
        assert_eq!(delivery["created_at"], waiting["created_at"]);
        let seen = app.receiver.seen("/hook");
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|received| received.webhook_id() == id(&delivery)));
    });
}

#[test]
fn a_retry_that_was_due_later_survives_a_kill() {
    keeps_retries(Backend::Sqlite);
}

#[test]
fn a_retry_that_was_due_later_survives_a_kill_on_postgres() {
    keeps_retries(Backend::Postgres);
}

/// What a dead process held waits for no lease to end when the same node starts again.
fn goes_on_at_once(backend: Backend) {
    run_on(backend, Setup::new().set("delivery.lease_ms", "600000"), async |app| {
        app.receiver.script("/hook", [Reply::hang(), Reply::status(200)]);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        app.receiver.wait("/hook", 1).await;
        app.engine.kill().await;
        app.engine.start_again().await;
        let seen = app.receiver.wait("/hook", 2).await;
        assert_eq!(seen[0].webhook_id(), seen[1].webhook_id());
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(delivery["attempts"], json!(1), "a try that nobody saw the end of is no try: {delivery}");
    });
}

#[test]
fn what_was_under_way_at_a_kill_goes_on_at_the_next_start() {
    goes_on_at_once(Backend::Sqlite);
}

#[test]
fn what_was_under_way_at_a_kill_goes_on_at_the_next_start_on_postgres() {
    goes_on_at_once(Backend::Postgres);
}

#[test]
fn a_second_start_finds_everything_as_it_was() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.event(json!({"type": "P1", "id": "once", "payload": {"n": 1}})).await;
        let before = app.api.delivery_in(&endpoint, "succeeded").await;
        let configuration = async |app: &App| {
            let mut all = Vec::new();
            for path in ["/v1/endpoints", "/v1/integrators", "/v1/plugins", "/v1/event-types", "/v1/settings"] {
                all.push(app.api.get(path).await.expect(200));
            }
            all
        };
        let configured = configuration(app).await;
        assert!(app.engine.terminate().await.success());
        app.engine.start_again().await;
        assert_eq!(configuration(app).await, configured);
        assert_eq!(app.api.delivery(&endpoint, |_| true).await, before);
        let again = app.api.post("/v1/events", &json!({"type": "P1", "id": "once", "payload": {"n": 1}})).await;
        assert_eq!(again.expect(200)["duplicate"], json!(true));
        app.api.emit("P1", json!({"n": 2})).await;
        app.receiver.wait("/hook", 2).await;
        app.api.settled().await;
        assert_eq!(app.receiver.seen("/hook").len(), 2);
    });
}

#[test]
fn the_first_start_prints_a_token_once() {
    block_on(async {
        let database = Database::create(Backend::Sqlite).await.unwrap();
        let mut engine = Engine::start(&database, Setup::new().unset("admin_token")).await;
        let printed = |log: &str| log.lines().filter(|line| line.contains("first admin token")).count();
        let log = engine.log();
        assert_eq!(printed(&log), 1, "{log}");
        let token = log.lines().find(|line| line.contains("first admin token")).unwrap().rsplit(' ').next().unwrap();
        let api = Api::admin(engine.url()).with_token(token);
        assert_eq!(api.get("/v1/tokens").await.status, 200);
        assert!(engine.terminate().await.success());
        engine.start_again().await;
        assert_eq!(printed(&engine.log()), 1, "not at the second start");
        assert_eq!(api.get("/v1/tokens").await.status, 200, "and it still works");
        engine.kill().await;
    });
}

#[test]
fn another_key_is_noticed_at_the_start() {
    run(async |app| {
        assert!(app.engine.terminate().await.success());
        let (key, aside) = (app.engine.data().join("secret.key"), app.engine.data().join("aside"));
        std::fs::rename(&key, &aside).unwrap();
        let output = app.engine.command(&["serve", "--listen", "127.0.0.1:0"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("key"), "{said}");
        std::fs::rename(&aside, &key).unwrap();
    });
}

#[test]
fn a_drain_has_an_end() {
    run_with(Setup::new().set("delivery.drain_ms", "300"), async |app| {
        app.receiver.script("/hangs", [Reply::hang(), Reply::status(200)]);
        let endpoint = app.endpoint_at("/hangs", &["P1"]).await;
        app.api.emit("P1", json!({})).await;
        app.receiver.wait("/hangs", 1).await;
        assert_eq!(app.engine.terminate().await.code(), Some(0));
        app.engine.start_again().await;
        app.api.delivery_in(&endpoint, "succeeded").await;
        let seen = app.receiver.seen("/hangs");
        assert_eq!((seen.len(), seen[0].webhook_id()), (2, seen[1].webhook_id()));
    });
}
