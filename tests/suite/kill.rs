//! The promise under `kill -9`: what got a 202 reaches its endpoints, however often the engine dies.
//!
//! Producers hand events in without pause, partners refuse every tenth request, and the engine is killed at
//! random moments, half of them right after an answer to a producer, when an event that was answered but not
//! yet written down would be lost. The last test proves that this would be noticed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::Method;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::harness::{Api, App, Backend, Receiver, Reply, Setup, run_on, within};

/// How the engine is tormented.
struct Plan {
    kills: u32,
    accepted_min: usize,
}

/// The short form is always on.
const SHORT: Plan = Plan { kills: 20, accepted_min: 5_000 };
/// `ENGATE_TEST_LONG=1`.
const LONG: Plan = Plan { kills: 200, accepted_min: 50_000 };
/// Enough for a variant that answers too early to be caught.
const PLANTED: Plan = Plan { kills: 10, accepted_min: 0 };

/// Producers at work at once.
const PRODUCERS: usize = 12;
/// Tries of one call, over all the engine's deaths.
const CALL_TRIES_MAX: u32 = 5_000;
/// One request in so many is refused by the partners.
const REFUSED_OF: u32 = 10;
/// Waits between the tries of a delivery: twelve refusals in a row do not happen.
const SCHEDULE_MS: [u64; 12] = [0, 20, 20, 40, 40, 80, 80, 150, 150, 300, 300, 300];
/// Who gets which events: path and types.
const ENDPOINTS: [(&str, &[&str]); 2] = [("/all", &["odd", "even"]), ("/even", &["even"])];
/// How long all deliveries may take after the last start.
const SETTLE: Duration = Duration::from_secs(90);

/// What reached the partners: per path and event, with which ids, and whether it was taken.
#[derive(Default)]
struct Tally {
    ids: HashMap<(String, u64), HashSet<String>>,
    taken: HashMap<(String, u64), u32>,
}

/// What came of it.
#[derive(Debug)]
struct Report {
    accepted: usize,
    /// Accepted and never taken by an endpoint: path and number.
    lost: Vec<(String, u64)>,
    /// Sent to one endpoint under more than one `webhook-id`.
    doubled: Vec<(String, u64)>,
    /// Taken more than once under the same id, which at-least-once allows.
    repeated: usize,
    /// Deliveries that should be there, and those that the engine says succeeded.
    expected: usize,
    succeeded: u64,
}

/// What producers and killer share.
struct Field {
    api: Api,
    accepted: Mutex<HashSet<u64>>,
    answers: watch::Sender<u64>,
    next: AtomicU64,
    stop: AtomicBool,
}

fn event_type(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "even" } else { "odd" }
}

/// Hands events in, one or several a call, each call again and again until it is answered.
async fn produce(field: Arc<Field>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    while !field.stop.load(Ordering::SeqCst) {
        let count = if rng.random_ratio(1, 4) { rng.random_range(2..=15) } else { 1 };
        let first = field.next.fetch_add(count, Ordering::SeqCst);
        let event = |n: u64| json!({"type": event_type(n), "id": format!("k-{n}"), "payload": {"number": n}});
        let body = match count {
            1 => event(first),
            _ => (first..first + count).map(event).collect::<Value>(),
        };
        hand_in(&field.api, &body, &mut rng).await;
        field.accepted.lock().unwrap().extend(first..first + count);
        field.answers.send_modify(|answers| *answers += 1);
    }
}

async fn hand_in(api: &Api, body: &Value, rng: &mut StdRng) {
    let text = bytes::Bytes::from(body.to_string());
    let headers = [("content-type", "application/json")];
    for _ in 0..CALL_TRIES_MAX {
        match api.try_send(Method::POST, "/v1/events", &headers, text.clone()).await {
            Ok(answer) if matches!(answer.status, 200 | 202) => return,
            Ok(answer) => assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body)),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(3..20))).await;
    }
    panic!("a call was never answered");
}

/// Waits for a random moment and kills the engine there.
async fn kill_once(app: &mut App, field: &Field, rng: &mut StdRng) {
    if rng.random() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..400))).await;
    } else {
        let more = rng.random_range(1..80);
        let mut answers = field.answers.subscribe();
        let until = *answers.borrow() + more;
        answers.wait_for(|now| *now >= until).await.unwrap();
    }
    app.engine.kill().await;
    app.engine.start_again().await;
}

/// A partner who refuses every tenth request and keeps count of the rest.
fn refuse_some(receiver: &Receiver, path: &str, tally: &Arc<Mutex<Tally>>, seed: u64) {
    let (tally, rng) = (Arc::clone(tally), Mutex::new(StdRng::seed_from_u64(seed)));
    receiver.on(path, move |received| {
        let key = (received.path.clone(), received.json()["number"].as_u64().unwrap());
        let refused = rng.lock().unwrap().random_ratio(1, REFUSED_OF);
        let mut tally = tally.lock().unwrap();
        tally.ids.entry(key.clone()).or_default().insert(received.webhook_id().to_owned());
        if refused {
            return Reply::status(500);
        }
        *tally.taken.entry(key).or_default() += 1;
        Reply::status(200)
    });
}

async fn torment(app: &mut App, plan: &Plan, seed: u64) -> Report {
    let mut rng = StdRng::seed_from_u64(seed);
    let tally = Arc::new(Mutex::new(Tally::default()));
    for (path, types) in ENDPOINTS {
        refuse_some(&app.receiver, path, &tally, rng.random());
        let retry = json!({"schedule_ms": SCHEDULE_MS});
        app.endpoint(json!({"url": app.receiver.url(path), "event_types": types, "retry": retry})).await;
    }
    let field = Arc::new(Field {
        api: app.api.clone(),
        accepted: Mutex::default(),
        answers: watch::channel(0).0,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        producers.spawn(produce(Arc::clone(&field), rng.random()));
    }
    for _ in 0..plan.kills {
        kill_once(app, &field, &mut rng).await;
    }
    let mut answers = field.answers.subscribe();
    let enough = |_: &u64| field.accepted.lock().unwrap().len() >= plan.accepted_min;
    tokio::time::timeout(SETTLE, answers.wait_for(enough)).await.expect("events are accepted").unwrap();
    field.stop.store(true, Ordering::SeqCst);
    producers.join_all().await;
    settle(app).await;
    let accepted = field.accepted.lock().unwrap().clone();
    let succeeded = app.api.delivery_count("state=succeeded").await;
    report(&accepted, &tally.lock().unwrap(), succeeded)
}

/// Waits until the engine itself says that nothing is left to do.
async fn settle(app: &App) {
    within(SETTLE, "everything is delivered", async || {
        let left = app.api.delivery_count("state=pending,delivering").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} deliveries left")) }
    })
    .await;
}

fn report(accepted: &HashSet<u64>, tally: &Tally, succeeded: u64) -> Report {
    let expected: Vec<_> = ENDPOINTS
        .iter()
        .flat_map(|(path, types)| {
            accepted.iter().filter(|n| types.contains(&event_type(**n))).map(|n| ((*path).to_owned(), *n))
        })
        .collect();
    let doubled = tally.ids.iter().filter(|(_, ids)| ids.len() > 1).map(|(key, _)| key.clone()).collect();
    let repeated = tally.taken.values().filter(|times| **times > 1).count();
    let lost = expected.iter().filter(|key| !tally.taken.contains_key(*key)).cloned().collect();
    Report { accepted: accepted.len(), lost, doubled, repeated, expected: expected.len(), succeeded }
}

/// A new seed for each run, or the one to repeat.
fn seed() -> u64 {
    std::env::var("ENGATE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random)
}

fn survives(backend: Backend) {
    let plan = if std::env::var("ENGATE_TEST_LONG").is_ok_and(|long| long == "1") { LONG } else { SHORT };
    let seed = seed();
    println!("ENGATE_TEST_SEED={seed}");
    run_on(backend, Setup::new().set("delivery.lease_ms", "2000"), async |app| {
        let report = torment(app, &plan, seed).await;
        println!(
            "{} kills, {} events accepted, {} deliveries, {} of them more than once under one id",
            plan.kills, report.accepted, report.succeeded, report.repeated
        );
        assert!(report.lost.is_empty(), "{} lost, such as {:?}", report.lost.len(), report.lost.first());
        assert!(report.doubled.is_empty(), "more than one id: {:?}", report.doubled);
        assert!(report.accepted >= plan.accepted_min);
        assert_eq!(report.succeeded, report.expected as u64, "one delivery per event and endpoint");
        app.doctor().await;
    });
}

#[test]
fn what_got_a_202_survives_twenty_kills() {
    survives(Backend::Sqlite);
}

#[test]
fn what_got_a_202_survives_twenty_kills_on_postgres() {
    survives(Backend::Postgres);
}

fn is_caught(backend: Backend) {
    let seed = seed();
    println!("ENGATE_TEST_SEED={seed}");
    let setup = Setup::new().set("delivery.lease_ms", "2000").planted().set("planted", "early_ack");
    run_on(backend, setup, async |app| {
        let report = torment(app, &PLANTED, seed).await;
        println!("{} events accepted, {} deliveries lost", report.accepted, report.lost.len());
        assert!(!report.lost.is_empty(), "the kill test does not notice an answer before the commit: {report:?}");
    });
}

#[test]
fn an_engine_that_answers_before_the_commit_is_caught() {
    is_caught(Backend::Sqlite);
}

#[test]
fn an_engine_that_answers_before_the_commit_is_caught_on_postgres() {
    is_caught(Backend::Postgres);
}
