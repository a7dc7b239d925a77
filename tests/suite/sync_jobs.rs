//! What operators see of sync jobs beside their rows: how far behind they are, what they send, and where it is written.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Reply, api::id, eventually, run},
    languages::{is_there, passes},
    sync_world::with_world,
};

#[test]
fn p22_the_lag_grows_while_a_job_stands_still_and_falls_when_it_goes_on() {
    with_world(50, async |app, world| {
        let job = world.job(app).await;
        world.equal().await;
        let path = format!("/v1/jobs/{}", id(&job));
        let lag = async || -> i64 {
            let metrics = app.api.get("/metrics").await.expect(200);
            let text = metrics.as_str().unwrap().to_owned();
            let line = text.lines().find(|line| line.starts_with("engate_sync_lag_seconds{")).unwrap_or("x -1");
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        app.api.post(&format!("{path}/pause"), &json!({"reason": "to see it fall behind"})).await.expect(200);
        eventually("it falls behind", async || {
            let lag = lag().await;
            if lag >= 8 { Ok(()) } else { Err(lag.to_string()) }
        })
        .await;
        app.api.post(&format!("{path}/resume"), &json!(null)).await.expect(200);
        eventually("it catches up", async || {
            let lag = lag().await;
            if (0..8).contains(&lag) { Ok(()) } else { Err(lag.to_string()) }
        })
        .await;
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn what_is_set_aside_and_where_streams_are_is_seen_and_settled_at_the_command_line() {
    with_world(40, async |app, world| {
        let fault = json!({"match": {"method": "POST", "path": "*/staging/intake/*", "body_contains": "\"v7\""},
            "action": {"do": "answer", "status": 400}});
        world.stub(Method::POST, "faults", fault).await;
        world.job(app).await;
        let told = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        let aside = eventually("a record is set aside", async || {
            let listing = told(&["job", "quarantine", "carol"]).await;
            if listing.contains("qua_") { Ok(listing) } else { Err(listing) }
        })
        .await;
        let line = aside.lines().find(|line| line.starts_with("qua_")).unwrap();
        assert!(line.contains("customers") && line.contains("carol_rejected"), "{aside}");
        let record = line.split_whitespace().next().unwrap();
        world.stub(Method::DELETE, "faults", Value::Null).await;
        assert!(told(&["job", "replay", "carol", record]).await.contains("next run"));
        world.equal().await;
        let streams = told(&["job", "streams", "carol"]).await;
        assert!(streams.contains("customers") && streams.contains("delta"), "{streams}");
        // Set back by a day it finds what it has sent, and sends nothing of it again that is the same.
        let back = told(&["job", "rewind", "carol", "customers", "--to", "2020-01-01T00:00:00Z"]).await;
        assert_eq!(back, "customers is set back\n");
        let history = told(&["job", "history", "carol", "customers"]).await;
        assert!(history.contains("customers") && history.contains("VERSION"), "{history}");
        let none = app.engine.client(&["job", "discard", "carol", record]).await;
        assert!(!none.status.success(), "it is gone: {}", text(&none.stdout));
        world.equal().await;
    });
}

#[test]
fn v34_what_is_done_to_streams_and_records_by_hand_adds_one_entry_each() {
    with_world(40, async |app, world| {
        let fault = json!({"match": {"method": "POST", "path": "*/staging/intake/*", "body_contains": "\"v7\""},
            "action": {"do": "answer", "status": 400}});
        world.stub(Method::POST, "faults", fault).await;
        let at = format!("/v1/jobs/{}", id(&world.job(app).await));
        let record = eventually("a record is set aside", async || {
            let aside = app.api.get(&format!("{at}/quarantine")).await.expect(200);
            aside["items"].as_array().unwrap().first().map(id).ok_or_else(|| aside.to_string())
        })
        .await;
        // Nothing moves by itself meanwhile.
        app.api.post(&format!("{at}/pause"), &json!({"reason": "to count"})).await.expect(200);
        eventually("what was under way has ended", async || {
            let runs = app.api.get(&format!("{at}/runs?state=running")).await.expect(200);
            if runs["total"] == 0 { Ok(()) } else { Err(runs.to_string()) }
        })
        .await;
        let streams = app.api.get(&format!("{at}/checkpoints")).await.expect(200);
        let stream = format!("{at}/checkpoints/{}", id(&streams["items"][0]));
        let total = async || {
            let page = app.api.get("/v1/audit?limit=1").await.expect(200);
            (page["total"].as_u64().unwrap(), page["items"][0]["action"].as_str().unwrap().to_owned())
        };
        let back = json!({"to": "2020-01-01T00:00:00Z"});
        for (method, path, body, action) in [
            (Method::POST, format!("{at}/quarantine/{record}/replay"), Value::Null, "sync.quarantine_replay"),
            (Method::DELETE, format!("{at}/quarantine/{record}"), Value::Null, "sync.quarantine_discard"),
            (Method::POST, format!("{stream}/rewind"), back, "sync.rewind"),
            (Method::POST, format!("{stream}/approve"), Value::Null, "sync.approve"),
            (Method::POST, format!("{stream}/epoch"), Value::Null, "sync.epoch"),
        ] {
            let (before, _) = total().await;
            let body = if body.is_null() { bytes::Bytes::new() } else { body.to_string().into() };
            app.api.send(method, &path, &[("content-type", "application/json")], body).await.expect_any();
            assert_eq!(total().await, (before + 1, action.to_owned()), "{path}");
        }
    });
}

#[test]
fn all_partitions_of_a_stream_are_meant_where_none_is_named() {
    // More than one page of the API has.
    const PARTITIONS: usize = 120;
    with_world(PARTITIONS as u32, async |app, world| {
        let partitions: Vec<_> = (0..PARTITIONS).map(|n| json!({"n": n.to_string()})).collect();
        let stream = json!({"partition_columns": {"n": "id"}});
        world.job_with(app, stream, json!({"partitions": partitions, "page_rows": 50})).await;
        let told = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        eventually("every partition is loaded", async || {
            let streams = told(&["job", "streams", "carol"]).await;
            if streams.matches("delta").count() == PARTITIONS { Ok(()) } else { Err(streams) }
        })
        .await;
        let one = told(&["job", "epoch", "carol", "customers", "--partition", "n=7"]).await;
        assert_eq!(one, "customers (n=7) begins anew: everything is sent again\n");
        assert_eq!(told(&["job", "approve", "carol", "customers"]).await.lines().count(), PARTITIONS);
        let none = app.engine.client(&["job", "approve", "carol", "customers", "--partition", "n=x"]).await;
        assert!(!none.status.success() && text(&none.stderr).contains("no such partition"), "{}", text(&none.stderr));
    });
}

#[test]
fn another_target_stops_a_stream_until_somebody_says_what_is_to_be_done() {
    with_world(30, async |app, world| {
        let job = world.job(app).await;
        world.equal().await;
        let path = format!("/v1/jobs/{}", id(&job));
        let aim = async |target: &str| {
            let mut run = job["run"].clone();
            run["streams"][0]["target"] = json!(target);
            app.api.patch(&path, &json!({ "run": run })).await.expect(200);
        };
        let stops = async |told: &str| {
            eventually("the run fails and says why", async || {
                let runs = app.api.get(&format!("{path}/runs?limit=1")).await.expect(200);
                let error = runs["items"][0]["error"].to_string();
                if error.contains("ends_changed") && error.contains(told) { Ok(()) } else { Err(runs.to_string()) }
            })
            .await;
        };
        let by_hand = async |args: &[&str]| app.engine.client(args).await;
        aim("clients").await;
        stops("customers, and is plugin carol").await;
        assert!(world.records("clients").await.is_empty(), "changes alone would leave the rest behind for good");
        let wrong = by_hand(&["job", "epoch", "carol", "clients"]).await;
        assert!(!wrong.status.success() && text(&wrong.stderr).contains("it has customers"), "{}", text(&wrong.stderr));
        let begun = by_hand(&["job", "epoch", "carol", "customers"]).await;
        assert_eq!(text(&begun.stdout), "customers begins anew: everything is sent again\n");
        eventually("a new epoch sends everything", async || {
            let there = world.records("clients").await.len();
            if there == world.alive().await.len() { Ok(()) } else { Err(there.to_string()) }
        })
        .await;
        // Back to the first, which has all but what changed meanwhile: approved, it goes on.
        aim("customers").await;
        stops("clients, and is plugin carol").await;
        let approved = by_hand(&["job", "approve", "carol", "customers"]).await;
        assert_eq!(text(&approved.stdout), "customers is taken as it is now\n");
        world.source.execute(&format!("UPDATE t SET v = 'x', S_T_A_M_P_ = {} WHERE id = 3", world.source.now())).await;
        world.equal().await;
    });
}

#[test]
fn p27_p28_payloads_are_logged_while_it_is_switched_on_and_never_a_secret() {
    with_world(20, async |app, world| {
        let job = world.job(app).await;
        world.equal().await;
        let path = format!("/v1/jobs/{}", id(&job));
        let logged = async || -> String {
            let files = app.api.get(&format!("{path}/debug")).await.expect(200);
            let mut all = String::new();
            for file in files["items"].as_array().unwrap() {
                let lines = app.api.get(&format!("{path}/debug/{}", file["run"].as_str().unwrap())).await.expect(200);
                all.push_str(lines.as_str().unwrap_or(&lines.to_string()));
            }
            all
        };
        let change = async |value: &str| {
            let sql = format!("UPDATE t SET v = '{value}', S_T_A_M_P_ = {} WHERE id = 7", world.source.now());
            world.source.execute(&sql).await;
            world.equal().await;
        };
        change("before").await;
        assert_eq!(logged().await, "", "off: not a line");
        let on = app.api.put(&format!("{path}/debug"), &json!({"ttl_s": 60})).await.expect(200);
        assert!(on["debug"]["until"].is_string());
        change("while-on").await;
        let lines = eventually("the page is logged", async || {
            let lines = logged().await;
            let told = async |args: &[&str]| text(&app.engine.client(args).await.stdout);
            let runs = told(&["job", "debug-log", "carol"]).await;
            let run = runs.split_whitespace().find(|word| word.starts_with("run_")).unwrap_or_else(|| panic!("{runs}"));
            assert!(told(&["job", "debug-log", "carol", run]).await.contains("\"status\""), "{runs}");
            if lines.contains("while-on") && lines.contains("\"status\":200") { Ok(lines) } else { Err(lines) }
        })
        .await;
        assert!(lines.contains("/staging/intake/") && !lines.contains(&world.connector.1), "masked: {lines}");
        assert_eq!(app.api.delete(&format!("{path}/debug")).await.expect(200)["debug"], Value::Null);
        // The slice that was being looked into ends first.
        tokio::time::sleep(Duration::from_millis(500)).await;
        change("after").await;
        assert!(!logged().await.contains("\"after\""), "off again");
        app.api.put(&format!("{path}/debug"), &json!({"ttl_s": 1})).await.expect(200);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        change("too-late").await;
        assert!(!logged().await.contains("too-late"), "it ended of itself");
    });
}

#[test]
fn p23_the_page_on_scheduling_names_what_the_description_has() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scheduling.md")).unwrap();
    crate::harness::run(async |app| {
        let description = app.api.get("/openapi.json").await.expect(200);
        let schemas = &description["components"]["schemas"];
        let names = |schema: &str| -> Vec<String> {
            schemas[schema]["properties"].as_object().unwrap().keys().cloned().collect()
        };
        let fields = ["JobNew", "Schedule", "JobCatchup", "ScheduleDst"];
        let plain = ["name", "enabled"];
        for field in fields.iter().flat_map(|schema| names(schema)).filter(|field| !plain.contains(&field.as_str())) {
            assert!(page.contains(&field), "docs/scheduling.md does not name {field}");
        }
        let paths = description["paths"].as_object().unwrap();
        for verb in ["pause", "resume", "run", "backfill"] {
            assert!(
                paths.contains_key(&format!("/v1/jobs/{{id}}/{verb}")) && page.contains(&format!("/{verb}")),
                "{verb}"
            );
        }
    });
}

#[test]
fn changes_of_a_table_become_events_for_whoever_subscribes() {
    with_world(30, async |app, world| {
        for path in ["/one", "/other"] {
            app.receiver.always(path, 200);
            app.endpoint_at(path, &["row.customers"]).await;
        }
        let body = json!({"name": "events", "schedule": {"kind": "always"}, "run": {
            "kind": "sync", "source": {"kind": "table", "connection": "erp"},
            "sink": {"event_type": "row.{target}", "subject": "/id"},
            "streams": [{"name": "customers", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_",
                "soft_delete": {"column": "d", "value": "*"}, "target": "customers"}]
        }});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        for path in ["/one", "/other"] {
            app.receiver.wait(path, 30).await;
        }
        app.engine.kill().await;
        let change = format!("UPDATE t SET v = 'new', d = '*', S_T_A_M_P_ = {} WHERE id = 7", world.source.now());
        world.source.execute(&change).await;
        app.engine.start_again().await;
        eventually("the whole row arrives", async || {
            let seen = app.receiver.seen("/one");
            let came =
                seen.iter().any(|one| one.json()["id"] == 7 && one.json()["v"] == "new" && one.json()["d"] == "*");
            if came { Ok(()) } else { Err(format!("{} came", seen.len())) }
        })
        .await;
        app.api.settled().await;
        // What was under way at the kill may have come twice, under the same id.
        let ids: std::collections::BTreeSet<_> =
            app.receiver.seen("/one").iter().map(|one| one.webhook_id().to_owned()).collect();
        assert_eq!(ids.len(), 31, "each change is one event");
        let path = format!("/v1/jobs/{}", id(&job));
        app.api.post(&format!("{path}/pause"), &json!({"reason": "done"})).await.expect(200);
    });
}

#[test]
fn a_feed_is_polled_into_events_and_a_page_that_comes_again_makes_none() {
    if !is_there(&["cargo"]) {
        return;
    }
    run(async |app| {
        let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/feed-paged");
        passes(&project, &["plugin", "build"]);
        let component = project.join("plugin.wasm");
        let pushed = app.engine.client(&["plugin", "push", component.to_str().unwrap()]).await;
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
        app.receiver.on("/orders", |received| {
            let page = received.query.split('&').find_map(|pair| pair.strip_prefix("page=")).unwrap_or("1");
            let page: u32 = page.parse().unwrap();
            if received.before == 2 {
                return Reply::status(503);
            }
            let items: Vec<_> = (0..100).map(|n| json!({"id": (page - 1) * 100 + n})).collect();
            Reply::status(200).json(&json!({"items": items, "pages": 5}))
        });
        app.receiver.always("/hook", 200);
        let hook = app.endpoint_at("/hook", &["order.seen"]).await;
        let body = json!({"name": "orders", "schedule": {"kind": "manual"}, "run": {"kind": "poll", "plugin": "feed-paged",
            "config": {"url": app.receiver.url("/orders")}, "stream": "orders", "event_type": "order.seen", "endpoint": hook}});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        let path = format!("/v1/jobs/{}", id(&job));
        for round in 1..=2 {
            app.api.post(&format!("{path}/run"), &json!(null)).await.expect(202);
            eventually("the run is over", async || {
                let runs = app.api.get(&format!("{path}/runs?state=succeeded")).await.expect(200);
                if runs["total"] == json!(round) {
                    Ok(())
                } else {
                    Err(app.api.get(&format!("{path}/runs")).await.expect(200).to_string())
                }
            })
            .await;
        }
        app.receiver.wait("/hook", 500).await;
        app.api.settled().await;
        assert_eq!(app.api.delivery_count("state=succeeded").await, 500, "the second pass found nothing new");
    });
}

#[test]
fn a_feeds_page_that_does_not_meet_the_schema_fails_the_run_and_comes_again() {
    if !is_there(&["cargo"]) {
        return;
    }
    run(async |app| {
        let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/feed-paged");
        passes(&project, &["plugin", "build"]);
        let component = project.join("plugin.wasm");
        let pushed = app.engine.client(&["plugin", "push", component.to_str().unwrap()]).await;
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
        let page = json!({"items": [{"id": 1}, {"id": 2, "wrong": true}, {"id": 3}], "pages": 1});
        app.receiver.on("/orders", move |_| Reply::status(200).json(&page));
        app.receiver.always("/hook", 200);
        let hook = app.endpoint_at("/hook", &["order.seen"]).await;
        let strict = json!({"schema": {"properties": {"wrong": false}}});
        app.api.patch("/v1/event-types/order.seen", &strict).await.expect(200);
        let body = json!({"name": "orders", "schedule": {"kind": "manual"}, "retry": {"attempts": 1}, "run": {"kind": "poll",
            "plugin": "feed-paged", "config": {"url": app.receiver.url("/orders")}, "stream": "orders",
            "event_type": "order.seen", "endpoint": hook}});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        let path = format!("/v1/jobs/{}", id(&job));
        for (state, told) in [("failed", "schema_mismatch"), ("succeeded", "")] {
            app.api.post(&format!("{path}/run"), &json!(null)).await.expect(202);
            eventually("the run is over", async || {
                let runs = app.api.get(&format!("{path}/runs?state={state}")).await.expect(200);
                if runs["total"] == 1 && runs.to_string().contains(told) {
                    Ok(())
                } else {
                    Err(app.api.get(&format!("{path}/runs")).await.expect(200).to_string())
                }
            })
            .await;
            let came = app.api.get("/v1/events").await.expect(200)["total"].clone();
            assert_eq!(came, if state == "failed" { 0 } else { 3 }, "all of the page or nothing");
            app.api.patch("/v1/event-types/order.seen", &json!({"schema": null})).await.expect(200);
        }
        app.receiver.wait("/hook", 3).await;
    });
}
