//! History through a component again: the same bytes and verdicts whatever was changed since, and a planted change is
//! found, and nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{App, PATIENCE, Reply, api::id, eventually, run},
    sintegre,
};

/// The event type of gsan.
pub(crate) const GSAN: &str = "client-transaction";
const EVENTS: u64 = 150;
/// Events whose way is timed, one every [`PACE`].
const PACED: usize = 150;
const PACE: Duration = Duration::from_millis(10);
/// How much later they may be (p99) with comparisons under way: nobody queues behind them.
const P99_MORE: Duration = Duration::from_millis(750);

/// Exit code and report of a command.
async fn engate(app: &App, args: &[&str]) -> (i32, Value) {
    engate_within(app, args, 2 * PATIENCE).await
}

/// The same for a command that may take long.
pub(crate) async fn engate_within(app: &App, args: &[&str], patience: Duration) -> (i32, Value) {
    let output = app.engine.client_within(&[args, &["--json"]].concat(), patience).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {text} {errors}"));
    (output.status.code().unwrap(), report)
}

/// A partner that takes most, refuses some in the body of a 200, and is busy now and then.
pub(crate) fn mixed_answers(app: &App, path: &str) {
    let count = AtomicU64::new(0);
    app.receiver.on(path, move |_| match count.fetch_add(1, Ordering::SeqCst) % 7 {
        3 => Reply::status(200).json(&json!({"error": {"message": "cliente inexistente"}})),
        5 => Reply::status(503).body("busy"),
        _ => Reply::status(200).json(&json!({"ok": true})),
    });
}

/// Deliveries by a plugin that signs links with the time, and by one that reads answers.
async fn history(app: &App) -> (String, String) {
    sintegre::prepare(app).await;
    mixed_answers(app, "/gsan");
    mixed_answers(app, "/sintegre");
    let retry = json!({"schedule_ms": [0, 10, 10]});
    let fields = json!({
        "url": app.receiver.url("/gsan"), "event_types": [GSAN], "plugin": "gsan", "retry": retry,
        "headers": {"x-plant": "recife"},
    });
    let gsan = id(&app.endpoint(fields).await);
    let links = sintegre::endpoint(app, "/sintegre", "P1", json!({"retry": retry})).await;
    let transaction = |n: u64| json!([{"idtransaction": n, "idcliente": "01400-2", "valorpago": 10}]);
    let events: Vec<_> = (0..EVENTS).map(|n| json!({"type": GSAN, "payload": transaction(n)})).collect();
    app.api.post("/v1/events", &Value::Array(events)).await.expect(202);
    for n in 0..20 {
        app.api.emit("P1", sintegre::daily(&format!("ipdo/{n}.pdf"))).await;
    }
    app.api.settled().await;
    (gsan, links)
}

#[test]
fn recorded_attempts_replay_to_the_byte_after_a_rotation_and_an_edit() {
    run(async |app| {
        let (_, links) = history(app).await;
        app.api.put("/v1/secrets/sintegre-link", &json!({"value": "another key, at least as long as that"})).await;
        let edit = json!({"config": {"names": "pascal", "link": {"base": app.api.url("/v1/files"), "ttl_s": 60}}});
        app.api.patch(&format!("/v1/endpoints/{links}"), &edit).await.expect(200);
        let (code, report) = engate(app, &["plugin", "replay"]).await;
        assert_eq!((code, &report["differing"]), (0, &json!([])), "{report}");
        assert!(report["attempts"].as_u64().unwrap() > EVENTS + 20, "retries are among them: {report}");

        let delivery = app.api.deliveries(&format!("endpoint={links}")).await.remove(0);
        let (code, report) = engate(app, &["plugin", "replay", delivery["id"].as_str().unwrap()]).await;
        assert_eq!((code, &report["differing"]), (0, &json!([])), "{report}");
        assert_eq!(report["attempts"], delivery["attempts"]);
    });
}

#[test]
fn a_change_in_a_plugin_is_found_and_nothing_else_is() {
    run(async |app| {
        history(app).await;
        let plugin = app.api.get("/v1/plugins/gsan").await.expect(200);
        let version = plugin["version"].as_str().unwrap();
        let component = app.api.get(&format!("/v1/plugins/gsan/versions/{version}/component")).await;
        assert_eq!(component.status, 200);
        let same = app.engine.data().join("same.wasm");
        std::fs::write(&same, &component.body).unwrap();
        let (code, report) = engate(app, &["plugin", "diff", same.to_str().unwrap(), "--since", "1h"]).await;
        assert_eq!((code, &report["differing"]), (0, &json!([])), "{report}");

        // The word for a refusal that the partner tells in its body, changed in the component's data.
        let changed = replaced(&component.body, b"business_error", b"busyness_error");
        let other = app.engine.data().join("other.wasm");
        std::fs::write(&other, changed).unwrap();
        let (code, report) = engate(app, &["plugin", "diff", other.to_str().unwrap(), "--since", "1h"]).await;
        assert_eq!(code, 1, "{report}");
        let refused = app.api.get("/v1/replays?plugin=gsan&limit=500").await.expect(200);
        let refused = refused["items"].as_array().unwrap();
        let expected = refused.iter().filter(|attempt| attempt["outcome_code"] == "business_error").count();
        let found = report["differing"].as_array().unwrap();
        assert!(expected > 0 && found.len() == expected, "{expected} expected: {report}");
        for one in found {
            let change = json!([{"what": "verdict.code", "before": "business_error", "after": "busyness_error"}]);
            assert_eq!(one["changes"], change);
        }
    });
}

/// Pushes a component as a development version; gives that version.
async fn develop(app: &App, component: Vec<u8>) -> String {
    let wasm = [("content-type", "application/wasm")];
    let pushed = app.api.send(Method::POST, "/v1/plugins?development=true", &wasm, component.into()).await;
    pushed.expect_any()["version"].as_str().unwrap().to_owned()
}

/// A comparison once it has ended.
async fn ended(app: &App, diff: &Value) -> Value {
    eventually("the comparison ends", async || {
        let now = app.api.get(&format!("/v1/plugins/gsan/diffs/{}?limit=500", id(diff))).await.expect(200);
        if now["state"] == "running" { Err(now.to_string()) } else { Ok(now) }
    })
    .await
}

#[test]
fn the_engine_finds_a_change_by_itself_and_nothing_else() {
    run(async |app| {
        history(app).await;
        let version = app.api.get("/v1/plugins/gsan").await.expect(200)["version"].as_str().unwrap().to_owned();
        let component = app.api.get(&format!("/v1/plugins/gsan/versions/{version}/component")).await.body;
        let changed = develop(app, replaced(&component, b"business_error", b"busyness_error")).await;
        let all = json!({"base": "stable", "candidate": "dev", "since": "2020-01-01T00:00:00Z"});
        let started = app.api.post("/v1/plugins/gsan/diffs", &all).await.expect(202);
        assert_eq!(
            (&started["base"], &started["candidate"]),
            (&json!(format!("gsan@{version}")), &json!(format!("gsan@{changed}")))
        );
        let diff = ended(app, &started).await;
        assert_eq!((&diff["state"], &diff["message"]), (&json!("done"), &Value::Null), "{diff}");

        let recorded = app.api.get("/v1/replays?plugin=gsan&limit=500").await.expect(200);
        let recorded = recorded["items"].as_array().unwrap();
        let refused: Vec<_> = recorded.iter().filter(|one| one["outcome_code"] == "business_error").collect();
        let found = diff["differences"]["items"].as_array().unwrap();
        assert!(!refused.is_empty());
        let place = |one: &Value, number: &str| (one["delivery"].to_string(), one[number].as_u64());
        let expected: Vec<_> = refused.iter().map(|one| place(one, "number")).collect();
        assert_eq!(found.iter().map(|one| place(one, "attempt")).collect::<Vec<_>>(), expected);
        for one in found {
            let change = json!([{"what": "verdict.code", "before": "business_error", "after": "busyness_error"}]);
            assert_eq!(one["changes"], change);
        }
        let (attempts, differing) = (recorded.len(), refused.len());
        let counts =
            json!({"attempts": attempts, "same": attempts - differing, "differing": differing, "kept": differing});
        assert_eq!(diff["counts"], counts);
        // All deliveries of the time, those of the other plugin too.
        let deliveries = json!({"done": EVENTS + 20, "total": EVENTS + 20, "total_estimated": false});
        assert_eq!(diff["progress"], deliveries);

        let same = json!({"base": version, "candidate": "stable", "since": "2020-01-01T00:00:00Z", "limit": 7});
        let same = ended(app, &app.api.post("/v1/plugins/gsan/diffs", &same).await.expect(202)).await;
        assert_eq!(same["counts"], json!({"attempts": 7, "same": 7, "differing": 0, "kept": 0}));
        let path = format!("/v1/plugins/gsan/diffs/{}", id(&diff));
        let pages = app.api.get(&format!("{path}?limit=2")).await.expect(200);
        let next = pages["differences"]["next"].as_str().unwrap();
        let second = app.api.get(&format!("{path}?limit=2&cursor={next}")).await.expect(200);
        assert_eq!(second["differences"]["items"], json!(found[2..4]));

        let (code, report) = engate(app, &["plugin", "diff", "gsan@dev", "--remote", "--since", "1h"]).await;
        assert_eq!((code, &report["attempts"]), (1, &json!(attempts)), "{report}");
        assert_eq!(report["differing"], json!(found));
    });
}

#[test]
fn a_comparison_names_what_it_cannot_take_and_can_be_called_off() {
    run(async |app| {
        history(app).await;
        let all = json!({"base": "stable", "candidate": "stable", "since": "2020-01-01T00:00:00Z"});
        for (field, value) in
            [("base", "9.9.9"), ("candidate", "nowhere"), ("integrator", "nobody"), ("until", "2019-01-01T00:00:00Z")]
        {
            let mut wrong = all.clone();
            wrong[field] = json!(value);
            let problem = app.api.post("/v1/plugins/gsan/diffs", &wrong).await;
            assert_eq!(problem.expect_problem(422, "invalid"), [field]);
        }
        app.api.post("/v1/plugins/nothing/diffs", &all).await.expect_problem(404, "not_found");
        // Two at once, whoever asks; a third is told what to do.
        let mut started = Vec::new();
        for _ in 0..20 {
            let answer = app.api.post("/v1/plugins/gsan/diffs", &all).await;
            if answer.status == 429 {
                assert!(String::from_utf8_lossy(&answer.body).contains("cancel one"));
                answer.expect_problem(429, "too_many_diffs");
                break;
            }
            started.push(answer.expect(202));
        }
        assert!((2..20).contains(&started.len()), "{started:?}");
        let last = format!("/v1/plugins/gsan/diffs/{}", id(started.last().unwrap()));
        let cancelled = app.api.delete(&last).await.expect(200);
        assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
        assert!(cancelled["expires_at"].is_string());
        assert_eq!(app.api.get(&last).await.expect(200)["state"], "cancelled");
        app.api.post("/v1/plugins/gsan/diffs", &all).await.expect(202);
        app.api.delete(&last.replace("gsan", "sintegre")).await.expect_problem(404, "not_found");
    });
}

/// From acceptance to arrival of paced events, the slowest but one in a hundred; `each` is done before each of them.
async fn p99(app: &App, each: impl AsyncFn()) -> Duration {
    let before = app.receiver.seen("/paced").len();
    for n in 0..PACED {
        each().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let payload = json!({"n": n, "sent_us": u64::try_from(now.as_micros()).unwrap()});
        app.api.event(json!({"type": "paced", "payload": payload})).await;
        tokio::time::sleep(PACE).await;
    }
    let seen = app.receiver.wait("/paced", before + PACED).await;
    let mut delays: Vec<_> = seen[before..].iter().map(|received| received.delay_of("sent_us")).collect();
    delays.sort();
    delays[PACED * 99 / 100]
}

#[test]
fn comparisons_under_way_do_not_hold_deliveries_up() {
    run(async |app| {
        history(app).await;
        app.receiver.always("/paced", 200);
        let url = app.receiver.url("/paced");
        let config = json!({"format": "cloudevents-binary"});
        app.endpoint(json!({"url": url, "event_types": ["paced"], "plugin": "standard", "config": config})).await;
        let alone = p99(app, async || {}).await;
        let all = json!({"base": "stable", "candidate": "stable", "since": "2020-01-01T00:00:00Z"});
        let started = AtomicU64::new(0);
        let beside = p99(app, async || {
            // As many as may run, all the while.
            while app.api.post("/v1/plugins/gsan/diffs", &all).await.status == 202 {
                started.fetch_add(1, Ordering::SeqCst);
            }
        });
        let beside = beside.await;
        let started = started.into_inner();
        eprintln!("p99 alone {alone:?}, with {started} comparisons beside {beside:?}");
        assert!(started > 2, "{started} comparisons ran");
        assert!(beside < alone + P99_MORE, "alone {alone:?}, with comparisons beside {beside:?}");
    });
}

#[test]
fn a_rollback_goes_back_version_by_version() {
    run(async |app| {
        let problem = app.api.post("/v1/plugins/gsan/rollback", &json!({})).await;
        problem.expect_problem(409, "not_allowed_in_state");
        let plugin = app.api.get("/v1/plugins/gsan").await.expect(200);
        let version = plugin["version"].as_str().unwrap();
        let (code, report) = engate(app, &["plugin", "promote", "gsan", version, "--channel", "next"]).await;
        assert_eq!((code, &report["version"], &report["previous"]), (0, &json!(version), &Value::Null), "{report}");
        let unknown = app.api.post("/v1/plugins/gsan/promote", &json!({"version": "9.9.9"})).await;
        assert_eq!(unknown.expect_problem(422, "invalid"), ["version"]);
    });
}

/// The bytes with every `from` in them changed.
pub(crate) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the word is in the component");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}
