//! Endpoints that keep an order: `fifo` and `latest`, and `parallel` beside them.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use serde_json::{Value, json};

use crate::{
    cluster::run_with_two,
    harness::{App, Backend, Reply, Setup, api::id, eventually, run, run_on, within},
};

/// A second try in an hour: a test sees it scheduled, never made.
const SCHEDULE_FAR: [u64; 2] = [0, 3_600_000];

async fn endpoint(app: &App, path: &str, ordering: &str, schedule_ms: &[u64]) -> String {
    let fields = json!({
        "url": app.receiver.url(path), "event_types": ["P1", "P2"], "ordering": ordering,
        "retry": {"schedule_ms": schedule_ms},
    });
    let made = app.endpoint(fields).await;
    assert_eq!(made["ordering"], ordering, "{made}");
    id(&made)
}

/// The endpoint's deliveries, the oldest first, as state and reason.
async fn states(app: &App, endpoint: &str) -> Vec<(String, String)> {
    let found = app.api.deliveries(&format!("endpoint={endpoint}&sort=code")).await;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    found.iter().map(|delivery| (text(&delivery["state"]), text(&delivery["reason"]))).collect()
}

async fn until(app: &App, endpoint: &str, expected: &[&str]) {
    eventually("the deliveries get there", async || {
        let found = states(app, endpoint).await;
        let same = found.iter().map(|(state, _)| state.as_str()).eq(expected.iter().copied());
        if same { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

fn numbers(app: &App, path: &str) -> Vec<u64> {
    app.receiver.seen(path).iter().map(|received| received.json()["n"].as_u64().unwrap()).collect()
}

#[test]
fn o21_a_newer_version_supersedes_the_one_that_waits_for_its_retry() {
    run(async |app| {
        app.receiver.on("/hook", |got| Reply::status(if got.json()["n"] == 1 { 500 } else { 200 }));
        let endpoint = endpoint(app, "/hook", "latest", &[0, 700]).await;
        app.api.emit("P1", json!({"n": 1})).await;
        app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        app.api.emit("P1", json!({"n": 2})).await;
        until(app, &endpoint, &["superseded", "succeeded"]).await;
        assert_eq!(states(app, &endpoint).await[0].1, "newer_version");
        // Another type, its retry due after the one of v1 would have been: v1 is not sent any more.
        app.api.event(json!({"type": "P2", "payload": {"n": 1}})).await;
        app.receiver.wait("/hook", 4).await;
        assert_eq!(numbers(app, "/hook"), [1, 2, 1, 1]);
        let old = &app.api.deliveries(&format!("endpoint={endpoint}&state=superseded")).await[0];
        let retry = app.api.post(&format!("/v1/deliveries/{}/retry", id(old)), &json!({})).await;
        retry.expect_problem(409, "newer_version");
    });
}

#[test]
fn o21_nothing_newer_starts_while_an_older_one_hangs() {
    run(async |app| {
        app.receiver.on("/hook", |got| match got.before {
            0 => Reply::status(200).after(Duration::from_millis(800)),
            _ => Reply::status(200),
        });
        let endpoint = endpoint(app, "/hook", "latest", &SCHEDULE_FAR).await;
        app.api.emit("P1", json!({"n": 1})).await;
        app.receiver.wait("/hook", 1).await;
        for n in 2..=4 {
            app.api.emit("P1", json!({"n": n})).await;
        }
        assert_eq!(states(app, &endpoint).await[3], ("pending".to_owned(), "waits_behind".to_owned()));
        app.doctor().await;
        until(app, &endpoint, &["succeeded", "superseded", "superseded", "succeeded"]).await;
        let seen = app.receiver.seen("/hook");
        assert_eq!(numbers(app, "/hook"), [1, 4]);
        assert!(seen[1].at - seen[0].at >= Duration::from_millis(790), "the newer one waited for the answer");
    });
}

#[test]
fn v14_under_parallel_each_firing_is_a_row_of_its_own_and_none_supersedes_another() {
    run(async |app| {
        let down = Arc::new(Mutex::new(true));
        let is_down = Arc::clone(&down);
        app.receiver.on("/hook", move |_| Reply::status(if *is_down.lock().unwrap() { 500 } else { 200 }));
        let schedule: Vec<u64> = [0].into_iter().chain([400; 40]).collect();
        let endpoint = endpoint(app, "/hook", "parallel", &schedule).await;
        let fire = async || drop(app.api.event(json!({"type": "P1", "subject": "7", "payload": {"n": 7}})).await);
        fire().await;
        fire().await;
        let rows = async || app.api.deliveries(&format!("endpoint={endpoint}")).await;
        eventually("both were tried", async || {
            let rows = rows().await;
            let tried = rows.iter().all(|row| row["attempts"].as_u64().unwrap() >= 2);
            if tried { Ok(()) } else { Err(format!("{rows:?}")) }
        })
        .await;
        assert_eq!(rows().await.len(), 2, "a retry never adds a row");
        fire().await;
        assert_eq!(rows().await.len(), 3, "while the older ones still fail");
        *down.lock().unwrap() = false;
        until(app, &endpoint, &["succeeded"; 3]).await;
        assert!(rows().await.iter().all(|row| row["integrated_at"].is_string()));
    });
}

#[test]
fn in_a_fifo_line_the_next_one_waits_for_the_retries_of_the_one_before() {
    run(async |app| {
        // Of each number the first two tries fail; subjects do not wait for each other.
        let tries: Mutex<HashMap<u64, u32>> = Mutex::default();
        app.receiver.on("/hook", move |got| {
            let mut tries = tries.lock().unwrap();
            let count = tries.entry(got.json()["n"].as_u64().unwrap()).or_default();
            *count += 1;
            Reply::status(if *count < 3 { 500 } else { 200 })
        });
        let endpoint = endpoint(app, "/hook", "fifo", &[0, 30, 30, 30]).await;
        for n in 0..6 {
            let (event_type, subject) = (["P1", "P2"][n / 2 % 2], ["a", "b"][n % 2]);
            app.api.event(json!({"type": event_type, "subject": subject, "payload": {"n": n}})).await;
        }
        until(app, &endpoint, &["succeeded"; 6]).await;
        let of = |parity| numbers(app, "/hook").into_iter().filter(|n| n % 2 == parity).collect::<Vec<_>>();
        assert_eq!(of(0), [0, 0, 0, 2, 2, 2, 4, 4, 4], "whatever their types");
        assert_eq!(of(1), [1, 1, 1, 3, 3, 3, 5, 5, 5]);
    });
}

#[test]
fn one_that_gives_up_or_is_cancelled_lets_the_next_one_go() {
    run(async |app| {
        app.receiver.on("/hook", |got| Reply::status(if got.json()["n"] == 3 { 200 } else { 500 }));
        let endpoint = endpoint(app, "/hook", "fifo", &[0, 20]).await;
        let slow = json!({"retry": {"schedule_ms": SCHEDULE_FAR}});
        app.api.emit("P1", json!({"n": 1})).await;
        until(app, &endpoint, &["failed"]).await;
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &slow).await.expect(200);
        app.api.emit("P1", json!({"n": 2})).await;
        eventually("the second was tried", async || {
            let found = app.api.deliveries(&format!("endpoint={endpoint}&state=pending")).await;
            if found.iter().any(|one| one["attempts"] == 1) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        app.api.emit("P1", json!({"n": 3})).await;
        until(app, &endpoint, &["failed", "pending", "pending"]).await;
        let queues = app.api.get("/v1/queues").await.expect(200);
        assert_eq!(queues["items"][0]["depth"], 2, "{queues}");
        let second = &app.api.deliveries(&format!("endpoint={endpoint}&sort=code")).await[1];
        app.api.post(&format!("/v1/deliveries/{}/cancel", id(second)), &json!({})).await.expect(200);
        until(app, &endpoint, &["failed", "cancelled", "succeeded"]).await;
        let first = &app.api.deliveries(&format!("endpoint={endpoint}&sort=code")).await[0];
        app.api.post(&format!("/v1/deliveries/{}/retry", id(first)), &json!({})).await.expect(202);
        eventually("someone's wish is carried out", async || {
            let seen = numbers(app, "/hook");
            if seen == [1, 1, 2, 3, 1] { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    });
}

#[test]
fn an_ordering_is_changed_with_what_is_there() {
    run(async |app| {
        app.receiver.always("/hook", 500);
        let endpoint = endpoint(app, "/hook", "parallel", &SCHEDULE_FAR).await;
        for n in 1..=3 {
            app.api.emit("P1", json!({"n": n})).await;
        }
        eventually("all were tried", async || {
            let seen = app.receiver.seen("/hook").len();
            let left = app.api.delivery_count(&format!("endpoint={endpoint}&state=delivering")).await;
            if (seen, left) == (3, 0) { Ok(()) } else { Err(format!("{seen}, {left}")) }
        })
        .await;
        let change = async |ordering: &str| {
            let changed = app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"ordering": ordering})).await;
            assert_eq!(changed.expect(200)["ordering"], ordering);
        };
        change("fifo").await;
        app.doctor().await;
        until(app, &endpoint, &["pending"; 3]).await;
        change("latest").await;
        until(app, &endpoint, &["superseded", "superseded", "pending"]).await;
        app.receiver.always("/hook", 200);
        app.api.emit("P1", json!({"n": 4})).await;
        until(app, &endpoint, &["superseded", "superseded", "superseded", "succeeded"]).await;
        let wrong = app.api.patch(&format!("/v1/endpoints/{endpoint}"), &json!({"ordering": "lifo"})).await;
        assert_eq!(wrong.expect_problem(422, "invalid"), ["ordering"]);
    });
}

/// What reached a partner: per line the numbers in the order they came, and how many were there at once.
#[derive(Default)]
struct Tally {
    lines: HashMap<String, Vec<u64>>,
    under_way: HashMap<String, u32>,
    at_once: u32,
}

/// A partner who takes a moment over each request, refuses some, and keeps count.
fn count(app: &App, path: &str) -> Arc<Mutex<Tally>> {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let kept = Arc::clone(&tally);
    app.receiver.on_async(path, move |got| {
        let kept = Arc::clone(&kept);
        async move {
            let (line, n) = (got.json()["line"].as_str().unwrap().to_owned(), got.json()["n"].as_u64().unwrap());
            {
                let mut tally = kept.lock().unwrap();
                tally.lines.entry(line.clone()).or_default().push(n);
                let under_way = tally.under_way.entry(line.clone()).or_default();
                *under_way += 1;
                let under_way = *under_way;
                tally.at_once = tally.at_once.max(under_way);
            }
            // However the request ends, also when its sender dies: then it is no longer under way.
            let _left = Left { tally: Arc::clone(&kept), line };
            tokio::time::sleep(Duration::from_millis(15)).await;
            Reply::status(if (n + got.before as u64).is_multiple_of(3) { 500 } else { 200 })
        }
    });
    tally
}

struct Left {
    tally: Arc<Mutex<Tally>>,
    line: String,
}

impl Drop for Left {
    fn drop(&mut self) {
        *self.tally.lock().unwrap().under_way.get_mut(&self.line).unwrap() -= 1;
    }
}

/// Producers, one per line, hand in numbered events while `torment` does its part; then everything settles, and the
/// partners saw every line in order.
async fn keeps_order(app: &mut App, more: usize, torment: impl AsyncFnOnce(&mut App)) {
    const LINES: usize = 4;
    const EVENTS: u64 = 60;
    let schedule: Vec<u64> = [0].into_iter().chain([25; 30]).collect();
    let tallies = [count(app, "/latest"), count(app, "/fifo")];
    for (path, ordering) in [("/latest", "latest"), ("/fifo", "fifo")] {
        endpoint(app, path, ordering, &schedule).await;
    }
    let mut producers = tokio::task::JoinSet::new();
    for line in 0..LINES {
        let api = app.api.clone();
        producers.spawn(async move {
            for n in 0..EVENTS {
                let event = json!({
                    "type": "P1", "subject": format!("s{line}"), "id": format!("{line}-{n}"),
                    "payload": {"line": line.to_string(), "n": n},
                });
                let body = bytes::Bytes::from(event.to_string());
                loop {
                    let headers = [("content-type", "application/json")];
                    let sent = api.try_send(axum::http::Method::POST, "/v1/events", &headers, body.clone()).await;
                    if sent.is_ok_and(|answer| matches!(answer.status, 200 | 202)) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    torment(app).await;
    producers.join_all().await;
    within(Duration::from_secs(90), "everything is delivered", async || {
        let left = app.api.delivery_count("state=pending,delivering").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
    app.doctor().await;
    for (tally, ordering) in tallies.iter().zip(["latest", "fifo"]) {
        let tally = tally.lock().unwrap();
        assert_eq!(tally.lines.len(), LINES + more);
        assert_eq!(tally.at_once, 1, "{ordering}: at most one of a line is under way");
        for (line, seen) in &tally.lines {
            assert!(seen.is_sorted(), "{ordering}, line {line}: {seen:?}");
            assert_eq!(seen.last(), Some(&(EVENTS - 1)), "{ordering}: the newest came last");
            if ordering == "fifo" {
                let mut all = seen.clone();
                all.dedup();
                assert_eq!(all.len() as u64, EVENTS, "every one of them came");
            }
        }
    }
}

fn survives_kills(backend: Backend) {
    // A third of the tries fails, and what is left alone for that is not what this is about.
    let setup = Setup::new().set("delivery.lease_ms", "2000").set("delivery.breaker_failures", "0");
    run_on(backend, setup, async |app| {
        keeps_order(app, 0, async |app| {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(rand::random_range(50..350))).await;
                app.engine.kill().await;
                app.engine.start_again().await;
            }
        })
        .await;
    });
}

#[test]
fn o21_lines_keep_their_order_across_kill_9() {
    survives_kills(Backend::Sqlite);
}

#[test]
fn o21_lines_keep_their_order_across_kill_9_on_postgres() {
    survives_kills(Backend::Postgres);
}

#[test]
fn o21_lines_keep_their_order_over_two_nodes() {
    run_with_two(async |app, second, other| {
        let other = other.clone();
        keeps_order(app, 1, async |app| {
            // One line more comes in at the second node, which dies in the middle.
            for n in 0..30_u64 {
                let payload = json!({"line": "two", "n": n});
                let event = json!({"type": "P1", "subject": "two", "id": format!("two-{n}"), "payload": payload});
                other.post("/v1/events", &event).await.expect_any();
            }
            second.kill().await;
            for n in 30..60_u64 {
                let payload = json!({"line": "two", "n": n});
                let event = json!({"type": "P1", "subject": "two", "id": format!("two-{n}"), "payload": payload});
                app.api.post("/v1/events", &event).await.expect_any();
            }
        })
        .await;
    });
}
