//! Jobs as operators have them: what comes when, what is done by hand, what listeners hear, and that no instant is lost
//! or had twice whatever dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::harness::{Api, App, Backend, Reply, Setup, api::id, eventually, run, run_on, run_with, within};

/// A job that publishes `day.closed`.
fn emitting(name: &str, schedule: Value) -> Value {
    json!({"name": name, "schedule": schedule, "run": {"kind": "emit", "event": {
        "type": "day.closed", "subject": name, "payload": {"job": name}, "labels": {"by": "schedule"}
    }}})
}

/// A job that resends what failed at `/gone`.
async fn failing(app: &App, name: &str, schedule: Value) -> Value {
    let endpoint = app.endpoint_at("/gone", &["P1"]).await;
    let body = json!({"name": name, "schedule": schedule, "retry": {"attempts": 1}, "pause_after_failures": 2,
        "run": {"kind": "engine", "task": "resend_pending", "endpoint": endpoint}});
    app.api.post("/v1/jobs", &body).await.expect(201)
}

async fn runs(api: &Api, job: &Value) -> Vec<Value> {
    let listed = api.get(&format!("/v1/jobs/{}/runs?limit=500", id(job))).await.expect(200);
    listed["items"].as_array().unwrap().clone()
}

async fn run_in(api: &Api, job: &Value, state: &str) -> Value {
    runs_until(api, job, state, |runs| runs.iter().find(|run| run["state"] == state).cloned()).await
}

/// Looks at a job's runs until `found` finds what it looks for.
async fn runs_until<T>(api: &Api, job: &Value, what: &str, found: impl Fn(&[Value]) -> Option<T>) -> T {
    within(Duration::from_secs(90), what, async || {
        let runs = runs(api, job).await;
        found(&runs).ok_or_else(|| json!(runs).to_string())
    })
    .await
}

fn emits(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["day.closed"]).await;
        let job = app.api.post("/v1/jobs", &emitting("close", json!({"kind": "manual"}))).await.expect(201);
        assert_eq!((&job["state"], &job["next_at"]), (&json!("active"), &Value::Null));
        let made = app.api.post(&format!("/v1/jobs/{}/run", id(&job)), &json!(null)).await.expect(202);
        assert_eq!((&made["trigger"], &made["state"]), (&json!("manual"), &json!("queued")));
        let run = run_in(&app.api, &job, "succeeded").await;
        assert_eq!((&run["id"], &run["rows"], &run["attempts"]), (&made["id"], &json!(1), &json!(1)));
        let received = app.receiver.wait("/hook", 1).await.remove(0);
        assert_eq!(received.json()["job"], "close");
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(delivery["correlation_id"], run["id"], "one id from the tick to the attempt");
        let event = app.api.get(&format!("/v1/events/{}", delivery["event"].as_str().unwrap())).await.expect(200);
        assert_eq!(event["occurred_at"], run["scheduled_at"]);
    });
}

#[test]
fn v33_a_job_publishes_an_event_and_its_run_is_in_the_history() {
    emits(Backend::Sqlite);
}

#[test]
fn v33_a_job_publishes_an_event_on_postgres() {
    emits(Backend::Postgres);
}

#[test]
fn p21_a_schedule_is_changed_while_it_runs() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["day.closed"]).await;
        let every = json!({"kind": "every", "interval_ms": 1_000});
        let job = app.api.post("/v1/jobs", &emitting("often", every)).await.expect(201);
        let path = format!("/v1/jobs/{}", id(&job));
        app.receiver.wait("/hook", 2).await;
        let cron = json!({"schedule": {"kind": "cron", "expression": "*/5 * * * *", "timezone": "UTC"}});
        let changed = app.api.patch(&path, &cron).await.expect(200);
        let minute: u32 = changed["next_at"].as_str().unwrap()[14..16].parse().unwrap();
        assert!(minute.is_multiple_of(5) && changed["next_at"].as_str().unwrap().ends_with(":00.000000Z"));
        let before = runs(&app.api, &job).await.len();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert!(runs(&app.api, &job).await.len() <= before, "the old schedule makes no more runs");
        let always = app.api.patch(&path, &json!({"schedule": {"kind": "manual"}})).await.expect(200);
        assert_eq!(always["next_at"], Value::Null);
    });
}

#[test]
fn p20_a_job_that_is_always_active_rests_and_is_woken() {
    run(async |app| {
        let body = json!({"name": "always", "schedule": {"kind": "always"},
            "run": {"kind": "engine", "task": "resend_pending"}});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        let run = run_in(&app.api, &job, "running").await;
        let again = app.api.post(&format!("/v1/jobs/{}/run", id(&job)), &json!(null)).await.expect(202);
        assert_eq!(again["id"], run["id"], "one at a time: it is told to look for work");
        // A change takes effect at once: the slice ends and the next begins under the new settings.
        let path = format!("/v1/jobs/{}", id(&job));
        app.api.patch(&path, &json!({"timeout_ms": 60_000})).await.expect(200);
        let ended = run_in(&app.api, &job, "succeeded").await;
        assert_eq!(ended["id"], run["id"]);
        let next = run_in(&app.api, &job, "running").await;
        assert_ne!(next["id"], run["id"]);
        app.api.post(&format!("{path}/pause"), &json!({"reason": "enough"})).await.expect(200);
        let over = |runs: &[Value]| runs.iter().all(|run| run["state"] != "running").then_some(());
        runs_until(&app.api, &job, "all are over", over).await;
    });
}

#[test]
fn a_schedule_is_shown_before_it_is_stored() {
    run(async |app| {
        let schedule = json!({"kind": "cron", "expression": "30 2 * * *", "timezone": "America/New_York"});
        let body = json!({"schedule": schedule, "from": "2025-03-08T00:00:00Z", "n": 3});
        let shown = app.api.post("/v1/jobs/preview", &body).await.expect(200);
        let expected = json!([
            {"utc": "2025-03-08T07:30:00.000000Z", "local": "2025-03-08T02:30:00", "offset": "-05:00"},
            {"utc": "2025-03-09T07:00:00.000000Z", "local": "2025-03-09T03:00:00", "offset": "-04:00", "note": "after_gap"},
            {"utc": "2025-03-10T06:30:00.000000Z", "local": "2025-03-10T02:30:00", "offset": "-04:00"}
        ]);
        assert_eq!(shown["items"], expected);
        let job = app.api.post("/v1/jobs", &emitting("shown", schedule)).await.expect(201);
        let next = app.api.get(&format!("/v1/jobs/{}/next?n=1&from=2025-03-09T00:00:00Z", id(&job))).await.expect(200);
        assert_eq!(next["items"][0], expected[1]);
    });
}

#[test]
fn what_is_wrong_with_a_job_is_named() {
    run(async |app| {
        let wrong = async |change: Value, field: &str| {
            let mut body = emitting("wrong", json!({"kind": "manual"}));
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let fields = app.api.post("/v1/jobs", &body).await.expect_problem(422, "invalid");
            assert!(fields.iter().any(|named| named == field), "{change}: {fields:?}");
        };
        let cron = |expression: &str| json!({"schedule": {"kind": "cron", "expression": expression}});
        wrong(cron("0 0 30 2 *"), "schedule.expression").await;
        wrong(cron("61 * * * *"), "schedule.expression").await;
        wrong(
            json!({"schedule": {"kind": "cron", "expression": "* * * * *", "timezone": "Brazil"}}),
            "schedule.timezone",
        )
        .await;
        wrong(json!({"schedule": {"kind": "every", "interval_ms": 10}}), "schedule.interval_ms").await;
        wrong(json!({"schedule": {"kind": "sometimes"}}), "schedule.kind").await;
        wrong(json!({"overlap": {"policy": "allow"}}), "overlap.max").await;
        wrong(json!({"overlap": "never"}), "overlap").await;
        wrong(json!({"run": {"kind": "emit", "event": {"type": "no spaces", "payload": 1}}}), "run.event.type").await;
        wrong(json!({"run": {"kind": "emit"}}), "run").await;
        wrong(json!({"run": {"kind": "cook"}}), "run.kind").await;
        wrong(json!({"run": {"kind": "engine", "task": "resend_pending", "endpoint": "ep_0192f0c1a2b37c4d8e5f60718293a4b5"}}), "run.endpoint").await;
        wrong(json!({"catchup": {"mode": "all", "max": 0}}), "catchup.max").await;
        wrong(json!({"timeout_ms": 1}), "timeout_ms").await;
        let body = emitting("twice", json!({"kind": "manual"}));
        app.api.post("/v1/jobs", &body).await.expect(201);
        app.api.post("/v1/jobs", &body).await.expect_problem(409, "already_exists");
    });
}

#[test]
fn g12_a_job_that_fails_is_told_to_who_listens_and_pauses_itself() {
    run(async |app| {
        app.receiver.always("/monitor", 200);
        let monitor = json!({"url": app.receiver.url("/monitor"), "event_types": ["run.failed", "job.*"], "callbacks": "tenant",
            "auth": {"type": "authorization", "value": "ninguemsabe"}});
        app.endpoint(monitor).await;
        let job = failing(app, "failing", json!({"kind": "manual"})).await;
        // A partner that hangs: the run waits for its answer longer than it may take.
        app.receiver.script("/gone", [Reply::status(400)]);
        let path = format!("/v1/jobs/{}", id(&job));
        app.api
            .patch(&path, &json!({"timeout_ms": 1_000, "overlap": {"policy": "cancel_other", "grace_ms": 0}}))
            .await
            .expect(200);
        app.api.emit("P1", json!({"n": 1})).await;
        app.receiver.wait("/gone", 1).await;
        // Until its failure is written there is nothing to send again.
        app.api.settled().await;
        app.receiver.on("/gone", |_| Reply::hang());
        app.api.post(&format!("{path}/run"), &json!(null)).await.expect(202);
        let run = run_in(&app.api, &job, "failed").await;
        assert_eq!(run["error"]["code"], "timed_out");
        let told = app.receiver.wait("/monitor", 1).await.remove(0).json();
        assert_eq!(
            (&told["run"], &told["outcome"], &told["reason"]),
            (&run["id"], &json!("failed"), &json!("timed_out"))
        );
        assert_eq!((&told["name"], &told["correlation_id"]), (&json!("failing"), &run["id"]));
        app.api.post(&format!("{path}/pause"), &json!({"reason": "the ERP is down"})).await.expect(200);
        let heard = app.receiver.wait("/monitor", 2).await.remove(1).json();
        assert_eq!(heard["reason"], "the ERP is down");
        let paused = app.api.get(&path).await.expect(200);
        assert_eq!((&paused["state"], &paused["paused"]["reason"]), (&json!("paused"), &json!("the ERP is down")));
        app.receiver.always("/gone", 200);
        app.api.post(&format!("{path}/resume"), &json!(null)).await.expect(200);
    });
}

#[test]
fn all_jobs_can_be_held_back_and_what_passed_meanwhile_is_not_made_up_for() {
    run(async |app| {
        let every = json!({"kind": "every", "interval_ms": 1_000});
        let job = app.api.post("/v1/jobs", &emitting("often", every)).await.expect(201);
        run_in(&app.api, &job, "succeeded").await;
        app.api.put("/v1/settings", &json!({"jobs.paused": true})).await.expect(200);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let held = runs(&app.api, &job).await.len();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(runs(&app.api, &job).await.len(), held);
        app.api.put("/v1/settings", &json!({"jobs.paused": false})).await.expect(200);
        runs_until(&app.api, &job, "it goes on", |runs| (runs.len() > held).then_some(())).await;
        assert!(runs(&app.api, &job).await.len() <= held + 2);
        assert_eq!(app.api.get(&format!("/v1/jobs/{}", id(&job))).await.expect(200)["missed"], 0);
    });
}

#[test]
fn a_backfill_runs_for_each_instant_of_times_past() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["day.closed"]).await;
        let daily = json!({"kind": "cron", "expression": "0 3 * * *", "timezone": "UTC"});
        let job = app.api.post("/v1/jobs", &emitting("daily", daily)).await.expect(201);
        let path = format!("/v1/jobs/{}/backfill", id(&job));
        let week = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-08T00:00:00Z"});
        let made = app.api.post(&path, &week).await.expect(202);
        assert_eq!(made["runs"], 7);
        app.receiver.wait("/hook", 7).await;
        let of_it = |runs: &[Value]| {
            let all: Vec<_> = runs.iter().filter(|run| run["backfill"] == made["id"]).cloned().collect();
            all.iter().all(|run| run["state"] == "succeeded").then_some(all)
        };
        let runs = runs_until(&app.api, &job, "the backfill is over", of_it).await;
        let times: BTreeSet<_> = runs.iter().map(|run| run["scheduled_at"].as_str().unwrap().to_owned()).collect();
        assert_eq!((times.len(), times.first().unwrap().as_str()), (7, "2026-01-01T03:00:00.000000Z"));
        let wrong = json!({"start": "2026-01-08T00:00:00Z", "end": "2026-01-01T00:00:00Z"});
        assert_eq!(app.api.post(&path, &wrong).await.expect_problem(422, "invalid"), ["end"]);
    });
}

#[test]
fn after_a_stop_of_an_hour_the_last_instant_runs_and_the_others_are_counted() {
    run(async |app| {
        let every = json!({"kind": "cron", "expression": "* * * * *", "timezone": "UTC"});
        let job = app.api.post("/v1/jobs", &emitting("minutes", every)).await.expect(201);
        app.engine.kill().await;
        // As if it had been stopped for longer.
        let sql = "UPDATE jobs SET next_at = next_at - 3600000000";
        crate::harness::database::meddle(app.engine.database_url(), sql).await;
        app.engine.start_again().await;
        run_in(&app.api, &job, "succeeded").await;
        let now = app.api.get(&format!("/v1/jobs/{}", id(&job))).await.expect(200);
        let (missed, made) = (now["missed"].as_u64().unwrap(), runs(&app.api, &job).await.len() as u64);
        assert!((58..=61).contains(&missed) && made <= 2, "missed {missed}, made {made}");
        let audit = app.api.get("/v1/audit?action=job.missed").await.expect(200);
        assert_eq!(audit["total"], 1);
    });
}

/// So often a node that dies again and again is given the time to catch up: what waits beyond 32 side by side is left out by
/// the job's own rule, and a run that was interrupted too often is given up, and neither is what is looked for here.
const BREATH_EVERY: u32 = 4;

/// Waits until next to nothing waits.
async fn breathe(api: &Api, jobs: &Value) {
    within(Duration::from_secs(90), "it catches up", async || {
        let mut open = 0;
        for job in jobs["items"].as_array().unwrap() {
            for state in ["queued", "running"] {
                let path = format!("/v1/jobs/{}/runs?state={state}&limit=1", id(job));
                open += api.get(&path).await.expect(200)["total"].as_u64().unwrap();
            }
        }
        if open < 8 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;
}

/// Instants are counted by what reached the partner, not by the table of runs.
fn no_instant_is_lost(backend: Backend, kills: u32) {
    let setup = Setup::new().set("delivery.lease_ms", "2000");
    run_on(backend, setup, async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_retrying("/hook", "day.closed", &[0, 50, 50, 100, 100, 200, 200, 400, 400, 800]).await;
        let mut rng = StdRng::seed_from_u64(5);
        for n in 0..4 {
            let mut body = emitting(&format!("job {n}"), json!({"kind": "every", "interval_ms": 1_000}));
            body["overlap"] = json!({"policy": "allow", "max": 32});
            body["catchup"] = json!({"mode": "all", "window_ms": 600_000, "max": 1_000});
            app.api.post("/v1/jobs", &body).await.expect(201);
        }
        let jobs = app.api.get("/v1/jobs").await.expect(200);
        for n in 1..=kills {
            tokio::time::sleep(Duration::from_millis(rng.random_range(50..900))).await;
            app.engine.kill().await;
            app.engine.start_again().await;
            if n.is_multiple_of(BREATH_EVERY) {
                breathe(&app.api, &jobs).await;
            }
        }
        app.api.put("/v1/settings", &json!({"jobs.paused": true})).await.expect(200);
        let listed = app.api.get("/v1/jobs").await.expect(200);
        for job in listed["items"].as_array().unwrap() {
            let over = |runs: &[Value]| runs.iter().all(|run| run["state"] == "succeeded").then_some(());
            runs_until(&app.api, job, "all runs succeed", over).await;
        }
        app.api.settled().await;
        let mut instants: BTreeMap<String, BTreeMap<i64, BTreeSet<String>>> = BTreeMap::new();
        for delivery in all(&app.api, "/v1/deliveries?state=succeeded").await {
            let event = app.api.get(&format!("/v1/events/{}", delivery["event"].as_str().unwrap())).await.expect(200);
            let second =
                chrono::DateTime::parse_from_rfc3339(event["occurred_at"].as_str().unwrap()).unwrap().timestamp();
            let job = event["subject"].as_str().unwrap().to_owned();
            instants
                .entry(job)
                .or_default()
                .entry(second)
                .or_default()
                .insert(delivery["event"].as_str().unwrap().into());
        }
        assert_eq!(instants.len(), 4);
        let mut fires = 0;
        for (job, seconds) in &instants {
            let (first, last) = (*seconds.keys().next().unwrap(), *seconds.keys().next_back().unwrap());
            let missing: Vec<_> = (first..=last).filter(|second| !seconds.contains_key(second)).collect();
            assert!(missing.is_empty(), "{job} missed {missing:?}");
            assert!(seconds.values().all(|events| events.len() == 1), "{job} had an instant twice");
            fires += seconds.len();
        }
        println!("{kills} kills, {fires} fires of 4 jobs, none lost, none twice");
    });
}

/// Every row of a list, over all its pages.
pub(crate) async fn all(api: &Api, path: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}&limit=500{cursor}")).await.expect(200);
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// `ENGATE_TEST_KILLS` says another number.
fn kills() -> u32 {
    if let Some(kills) = std::env::var("ENGATE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()) {
        return kills;
    }
    if std::env::var_os("ENGATE_TEST_LONG").is_some() { 1_000 } else { 12 }
}

#[test]
fn no_instant_is_lost_or_had_twice_across_kill_9() {
    no_instant_is_lost(Backend::Sqlite, kills());
}

#[test]
fn no_instant_is_lost_or_had_twice_across_kill_9_on_postgres() {
    no_instant_is_lost(Backend::Postgres, kills().min(100));
}

#[test]
fn jobs_from_the_command_line() {
    run_with(Setup::new(), async |app| {
        let file = app.engine.data().join("job.json");
        std::fs::write(&file, emitting("close", json!({"kind": "manual"})).to_string()).unwrap();
        let text = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        text(&["job", "create", file.to_str().unwrap()]).await;
        assert!(text(&["job", "list"]).await.contains("close"));
        assert!(
            text(&["job", "edit", "close", "--cron", "0 2 * * 1-5", "--timezone", "UTC"])
                .await
                .contains("0 2 * * 1-5 UTC")
        );
        assert_eq!(text(&["job", "next", "close", "-n", "3"]).await.lines().count(), 4);
        assert!(
            text(&[
                "job",
                "next",
                "--cron",
                "30 2 * * *",
                "--timezone",
                "America/New_York",
                "--from",
                "2025-03-09T00:00:00Z",
                "-n",
                "1"
            ])
            .await
            .contains("after_gap")
        );
        assert!(text(&["job", "run", "close"]).await.starts_with("run_"));
        let log = eventually("the run is over", async || {
            let log = text(&["job", "log", "close"]).await;
            if log.contains("succeeded") { Ok(log) } else { Err(log) }
        })
        .await;
        assert!(log.contains("manual"));
        assert!(text(&["job", "pause", "close", "--reason", "holidays"]).await.contains("holidays"));
        assert!(text(&["job", "resume", "close"]).await.contains("active"));
        assert!(text(&["job", "debug", "close", "--ttl", "60"]).await.contains("close"));
        text(&["job", "delete", "close"]).await;
        assert!(text(&["job", "list"]).await.contains("No job yet"));
    });
}
