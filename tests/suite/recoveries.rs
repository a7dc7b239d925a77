//! Recoveries: after an outage all that failed in a time is tried again, at a rate, whatever dies meanwhile.

use axum::http::Method;
use engate_model::Timestamp;
use serde_json::{Value, json};

use crate::{
    cluster,
    harness::{
        Api, App, Backend, Setup,
        api::{Answer, id},
        app::INTEGRATOR,
        eventually, run, run_on, run_with,
    },
};

/// Before anything in these tests.
const SINCE: &str = "2020-01-01";

/// Nobody is left alone because it failed.
fn without_breaker() -> Setup {
    Setup::new().set("delivery.breaker_failures", "0")
}

/// An endpoint at a path, and so many of its type's deliveries that failed for good.
async fn failed(app: &App, path: &str, event_type: &str, count: usize) -> String {
    app.receiver.always(path, 500);
    let endpoint = app.endpoint_at(path, &[event_type]).await;
    emit(app, event_type, count).await;
    app.api.settled().await;
    let query = format!("endpoint={endpoint}&state=failed");
    assert_eq!(app.api.delivery_count(&query).await, count as u64);
    endpoint
}

async fn emit(app: &App, event_type: &str, count: usize) {
    let events: Value = (0..count).map(|n| json!({"type": event_type, "payload": {"n": n}})).collect();
    app.api.post("/v1/events", &events).await.expect(202);
}

/// Asks for a recovery since before anything; `fields` are the rest.
async fn asked(api: &Api, fields: Value) -> Answer {
    let mut body = json!({"since": SINCE});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    api.post("/v1/recoveries", &body).await
}

async fn started(api: &Api, fields: Value) -> String {
    let made = asked(api, fields).await.expect(202);
    assert_eq!((&made["state"], &made["finished_at"]), (&json!("running"), &Value::Null), "{made}");
    id(&made)
}

async fn shown(api: &Api, recovery: &str) -> Value {
    api.get(&format!("/v1/recoveries/{recovery}")).await.expect(200)
}

/// A recovery once `is` holds for it.
async fn once(api: &Api, recovery: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let now = shown(api, recovery).await;
        if is(&now) { Ok(now) } else { Err(now.to_string()) }
    })
    .await
}

async fn over(api: &Api, recovery: &str) -> Value {
    once(api, recovery, "it went through all there is", |now| now["state"] == "succeeded").await
}

fn retried(recovery: &Value) -> u64 {
    recovery["retried"].as_u64().unwrap()
}

/// How often each delivery was tried.
async fn tries(api: &Api) -> Vec<u64> {
    api.deliveries("").await.iter().map(|delivery| delivery["attempts"].as_u64().unwrap()).collect()
}

fn instant(of: &Value) -> Timestamp {
    Timestamp::parse(of.as_str().unwrap()).unwrap()
}

#[test]
fn a_dry_run_says_how_much_it_would_be_and_changes_nothing() {
    run(async |app| {
        let a = failed(app, "/a", "P1", 3).await;
        let b = failed(app, "/b", "P2", 2).await;
        app.receiver.always("/ok", 200);
        let ok = app.endpoint_at("/ok", &["P3"]).await;
        emit(app, "P3", 1).await;
        app.api.settled().await;
        let before = app.api.deliveries("").await;

        let dry = async |fields: Value| {
            let mut fields = fields;
            fields["dry_run"] = json!(true);
            asked(&app.api, fields).await.expect(200)
        };
        let all = dry(json!({})).await;
        assert_eq!(
            (&all["matched"], &all["matched_estimated"], &all["dry_run"]),
            (&json!(5), &json!(false), &json!(true))
        );
        let by_endpoint = all["by_endpoint"].as_array().unwrap();
        let of: Vec<_> = by_endpoint.iter().map(|one| (one["endpoint"].as_str().unwrap(), &one["matched"])).collect();
        assert_eq!(of, [(a.as_str(), &json!(3)), (b.as_str(), &json!(2))], "the most first");
        let by_reason = all["by_reason"].as_array().unwrap();
        assert_eq!(by_reason.iter().map(|one| one["matched"].as_u64().unwrap()).sum::<u64>(), 5, "{all}");
        assert!(by_reason.iter().all(|one| one["reason"].is_string()), "{all}");
        assert_eq!(all["skipped"], json!({}));
        assert_eq!(dry(json!({"filter": {"endpoint": b}})).await["matched"], 2);
        assert_eq!(dry(json!({"filter": {"event_type": ["P1", "P3"]}})).await["matched"], 3);
        assert_eq!(dry(json!({"filter": {"attempts_gte": 2}})).await["matched"], 0);
        assert_eq!(dry(json!({"until": "2020-01-31"})).await["matched"], 0);
        let succeeded = dry(json!({"filter": {"success": "yes"}})).await;
        assert_eq!((&succeeded["matched"], &succeeded["skipped"]), (&json!(1), &json!({"succeeded": 1})));
        assert_eq!(succeeded["by_endpoint"][0]["endpoint"], json!(ok));

        assert_eq!(app.api.deliveries("").await, before);
        assert_eq!(app.api.get("/v1/recoveries").await.expect(200)["total"], 0);
        assert_eq!(app.receiver.seen_total(), 6);
        assert_eq!(app.api.get("/v1/audit?action=recovery.").await.expect(200)["total"], 0);
    });
}

#[test]
fn what_matches_is_tried_again_and_nothing_else() {
    run(async |app| {
        let a = failed(app, "/a", "P1", 3).await;
        let b = failed(app, "/b", "P2", 2).await;
        app.receiver.always("/a", 200);
        app.receiver.always("/b", 200);
        let first = over(&app.api, &started(&app.api, json!({"filter": {"endpoint": [b]}, "rate": 100})).await).await;
        assert_eq!(
            (&first["matched"], &first["retried"], &first["skipped"]),
            (&json!(2), &json!(2), &json!({})),
            "{first}"
        );
        assert_eq!((&first["created_by"].is_string(), &first["filter"]["state"]), (&true, &json!(["failed"])));
        app.api.settled().await;
        let succeeded = app.api.deliveries("state=succeeded").await;
        assert!(succeeded.len() == 2 && succeeded.iter().all(|one| one["endpoint"] == json!(b)), "{succeeded:?}");
        let attempts = app.api.attempts(&succeeded[0]).await;
        assert_eq!((attempts.len(), &attempts[1]["trigger"]), (2, &json!("manual")));
        let ids: Vec<_> = app.receiver.seen("/b").iter().map(|one| one.webhook_id().to_owned()).collect();
        assert!(ids.len() == 4 && ids[2..].iter().all(|one| ids[..2].contains(one)), "the same deliveries: {ids:?}");
        let left = app.api.deliveries(&format!("endpoint={a}")).await;
        assert!(left.iter().all(|one| one["state"] == "failed" && one["attempts"] == 1), "{left:?}");

        let none = over(&app.api, &started(&app.api, json!({"until": "2020-01-31"})).await).await;
        assert_eq!((retried(&none), &none["position"]), (0, &json!(0)), "{none}");
        let rest = started(&app.api, json!({})).await;
        assert_eq!(retried(&over(&app.api, &rest).await), 3);
        app.api.settled().await;
        assert_eq!(app.api.delivery_count("state=succeeded").await, 5);

        let listed = app.api.get("/v1/recoveries?limit=2").await.expect(200);
        assert_eq!((&listed["total"], id(&listed["items"][0])), (&json!(3), rest), "the newest first");
        let next = listed["next"].as_str().unwrap();
        let last = app.api.get(&format!("/v1/recoveries?cursor={next}")).await.expect(200);
        assert_eq!((id(&last["items"][0]), last["items"].as_array().unwrap().len()), (id(&first), 1));
        let audit = |action: &str| format!("/v1/audit?action={action}");
        assert_eq!(app.api.get(&audit("recovery.create")).await.expect(200)["total"], 3);
        assert_eq!(app.api.get(&audit("delivery.retry")).await.expect(200)["total"], 0, "the recovery stands for them");
        let metrics = app.api.get("/metrics").await.expect(200);
        let counted = "engate_recovery_deliveries_total{outcome=\"retried\"} 5";
        assert!(metrics.as_str().unwrap().contains(counted), "{metrics}");
    });
}

#[test]
fn what_cannot_be_tried_again_is_counted_by_why() {
    run(async |app| {
        app.receiver.always("/ok", 200);
        app.endpoint_at("/ok", &["ok"]).await;
        emit(app, "ok", 1).await;
        let gone = failed(app, "/gone", "gone", 1).await;
        app.receiver.always("/latest", 500);
        let url = app.receiver.url("/latest");
        let latest = json!({"url": url, "event_types": ["latest"], "ordering": "latest"});
        app.endpoint(latest).await;
        for n in 0..2 {
            app.api.event(json!({"type": "latest", "subject": "7", "payload": {"n": n}})).await;
            app.api.settled().await;
        }
        app.receiver.always("/far", 500);
        let far = app.endpoint_retrying("/far", "far", &[0, 3_600_000]).await;
        emit(app, "far", 2).await;
        let waiting = eventually("both wait for their second try", async || {
            let found = app.api.deliveries(&format!("endpoint={far}&state=pending&attempts_eq=1")).await;
            if found.len() == 2 { Ok(found) } else { Err(format!("{found:?}")) }
        })
        .await;
        app.api.post(&format!("/v1/deliveries/{}/cancel", id(&waiting[0])), &json!({})).await.expect(200);
        assert_eq!(app.api.delete(&format!("/v1/endpoints/{gone}")).await.status, 204);
        for path in ["/latest", "/far"] {
            app.receiver.always(path, 200);
        }

        let filter = json!({"state": ["succeeded", "cancelled", "failed", "pending"]});
        let foreseen = asked(&app.api, json!({"filter": filter, "dry_run": true})).await.expect(200);
        assert_eq!(foreseen["skipped"], json!({"succeeded": 1, "cancelled": 1, "endpoint_deleted": 1}), "{foreseen}");
        let recovery = over(&app.api, &started(&app.api, json!({"filter": filter})).await).await;
        let skipped = json!({"succeeded": 1, "cancelled": 1, "endpoint_deleted": 1, "newer_version": 1});
        assert_eq!((&recovery["matched"], &recovery["skipped"]), (&json!(6), &skipped), "{recovery}");
        assert_eq!(retried(&recovery), 2);
        app.api.settled().await;
        let numbers: Vec<_> = app.receiver.seen("/latest").iter().map(|one| one.json()["n"].clone()).collect();
        assert_eq!(numbers, [json!(0), json!(1), json!(1)], "the newest version only");
        assert_eq!(app.receiver.seen("/far").len(), 3, "what waited for an hour went now");
        assert_eq!(app.receiver.seen("/gone").len(), 1);
    });
}

#[test]
fn the_rate_is_a_bound() {
    run_with(without_breaker(), async |app| {
        failed(app, "/hook", "P1", 12).await;
        let recovery = over(&app.api, &started(&app.api, json!({"rate": 4})).await).await;
        assert_eq!(retried(&recovery), 12);
        // By the engine's own clock: the first at once, each other a quarter of a second after the one before.
        let took = instant(&recovery["finished_at"]).since(instant(&recovery["started_at"]));
        assert!(took.as_millis() >= 11 * 250, "{took:?}");
        app.api.settled().await;
        let deliveries = app.api.deliveries("").await;
        let mut tried: Vec<_> =
            deliveries.iter().map(|one| (one["code"].as_i64(), instant(&one["last_attempt_at"]))).collect();
        tried.sort();
        for (n, (code, at)) in (0_u32..).zip(&tried) {
            let earliest = instant(&recovery["started_at"]).after(std::time::Duration::from_millis(250) * n);
            assert!(*at >= earliest, "{code:?} was tried before its turn");
        }
    });
}

#[test]
fn one_that_is_called_off_goes_no_further() {
    run_with(without_breaker(), async |app| {
        failed(app, "/hook", "P1", 30).await;
        app.receiver.always("/hook", 200);
        let recovery = started(&app.api, json!({"rate": 1})).await;
        once(&app.api, &recovery, "it began", |now| retried(now) > 0).await;
        let path = format!("/v1/recoveries/{recovery}/cancel");
        let cancelled = app.api.post(&path, &json!({})).await.expect(200);
        assert_eq!(cancelled["state"], "cancelled");
        assert!(cancelled["finished_at"].is_string() && retried(&cancelled) < 30, "{cancelled}");
        app.api.post(&path, &json!({})).await.expect_problem(409, "not_allowed_in_state");
        app.api.settled().await;
        // Another one ends after it would have gone on: it did not.
        let other = over(&app.api, &started(&app.api, json!({"filter": {"state": "pending"}})).await).await;
        assert_eq!(retried(&other), 0);
        assert_eq!(shown(&app.api, &recovery).await, cancelled);
        assert_eq!(app.api.delivery_count("state=succeeded").await, retried(&cancelled), "what was set due went");
        assert_eq!(app.api.get("/v1/audit?action=recovery.cancel").await.expect(200)["total"], 1);
    });
}

#[test]
fn so_many_run_at_once_and_a_repeat_under_its_key_is_none_of_them() {
    run_with(without_breaker(), async |app| {
        failed(app, "/hook", "P1", 30).await;
        let slow = json!({"since": SINCE, "rate": 1}).to_string();
        let keyed = async |key: &str| {
            let headers = [("content-type", "application/json"), ("idempotency-key", key)];
            app.api.send(Method::POST, "/v1/recoveries", &headers, slow.clone().into()).await
        };
        let first = keyed("outage-7").await.expect(202);
        assert_eq!(keyed("outage-7").await.expect(202), first);
        assert_eq!(app.api.get("/v1/recoveries").await.expect(200)["total"], 1);
        for n in 1..5 {
            keyed(&format!("more-{n}")).await.expect(202);
        }
        asked(&app.api, json!({})).await.expect_problem(429, "too_many_recoveries");
        asked(&app.api, json!({"dry_run": true})).await.expect(200);
        app.api.post(&format!("/v1/recoveries/{}/cancel", id(&first)), &json!({})).await.expect(200);
        asked(&app.api, json!({"rate": 1})).await.expect(202);
    });
}

#[test]
fn bad_input_is_named_by_its_field() {
    run(async |app| {
        let refused = async |fields: Value| asked(&app.api, fields).await.expect_problem(422, "invalid");
        let cases = [
            (json!({"since": "yesterday"}), "since"),
            (json!({"since": "2999-01-01"}), "since"),
            (json!({"since": null}), "since"),
            (json!({"until": "2019-01-01"}), "until"),
            (json!({"until": 7}), "until"),
            (json!({"rate": 0}), "rate"),
            (json!({"rate": 501}), "rate"),
            (json!({"plugin_version": "gsan@1.2.0"}), "plugin_version"),
            (json!({"dry_run": "yes"}), "dry_run"),
            (json!({"filter": {"state": "lost"}}), "filter.state"),
            (json!({"filter": {"success": ["perhaps"]}}), "filter.success[0]"),
            (json!({"filter": {"endpoint": "ep_7"}}), "filter.endpoint"),
            (json!({"filter": {"integrator": "nobody"}}), "filter.integrator"),
            (json!({"filter": {"attempts_gte": 3, "attempts_lte": 2}}), "filter.attempts_lte"),
            (json!({"filter": {"q": "words"}}), "filter.q"),
            (json!({"window": 1}), "window"),
        ];
        for (fields, field) in cases {
            assert_eq!(refused(fields.clone()).await, [field], "{fields}");
        }
        app.api.post("/v1/recoveries", &json!({})).await.expect_problem(422, "invalid");
        assert_eq!(app.api.get("/v1/recoveries").await.expect(200)["total"], 0, "nothing was started");
        let unknown = format!("/v1/recoveries/rec_{}", "0".repeat(32));
        app.api.get(&unknown).await.expect_problem(404, "not_found");
        app.api.post(&format!("{unknown}/cancel"), &json!({})).await.expect_problem(404, "not_found");
    });
}

#[test]
fn another_tenant_sees_nothing_and_a_hidden_field_is_not_asked_about() {
    run(async |app| {
        failed(app, "/hook", "P1", 2).await;
        let made = app.api.post("/v1/tenants", &json!({"slug": "saae", "name": "SAAE"})).await.expect(201);
        let theirs = app.api.with_token(made["admin_token"]["token"].as_str().unwrap());
        let ours = started(&app.api, json!({"rate": 1})).await;
        assert_eq!(theirs.get("/v1/recoveries").await.expect(200)["total"], 0);
        theirs.get(&format!("/v1/recoveries/{ours}")).await.expect_problem(404, "not_found");
        let cancel = format!("/v1/recoveries/{ours}/cancel");
        theirs.post(&cancel, &json!({})).await.expect_problem(404, "not_found");
        let all = json!({"filter": {"state": ["failed", "pending", "succeeded"]}});
        let dry = json!({"filter": all["filter"], "dry_run": true});
        assert_eq!(asked(&theirs, dry.clone()).await.expect(200)["matched"], 0);
        assert_eq!(retried(&over(&theirs, &started(&theirs, all).await).await), 0);
        assert_eq!(retried(&over(&app.api, &ours).await), 2, "ours goes on");

        let token = json!({"client": "narrow", "role": "operator", "redact": ["state", "endpoint"]});
        let token = app.api.post("/v1/tokens", &token).await.expect(201);
        let narrow = app.api.with_token(token["token"].as_str().unwrap());
        for fields in [json!({"dry_run": true}), dry, json!({"filter": {"success": "no", "endpoint": []}})] {
            let answer = asked(&narrow, fields).await;
            assert!(matches!(answer.status, 403 | 422), "{}", answer.status);
        }
        // What cannot be tried again is counted by state, whatever is asked for.
        app.receiver.always("/ok", 200);
        app.endpoint_at("/ok", &["ok"]).await;
        emit(app, "ok", 1).await;
        app.api.settled().await;
        for dry_run in [true, false] {
            let by_state = json!({"filter": {"success": "yes", "event_type": "ok"}, "dry_run": dry_run});
            assert_eq!(asked(&narrow, by_state).await.expect_problem(403, "redacted"), ["state"]);
        }
        let succeeded = started(&app.api, json!({"filter": {"success": "yes"}})).await;
        assert_eq!(over(&app.api, &succeeded).await["skipped"], json!({"succeeded": 1}));
        let listed = narrow.get("/v1/recoveries").await.expect(200);
        for seen in [&shown(&narrow, &succeeded).await, &listed["items"][0]] {
            assert_eq!((&seen["skipped"], seen.get("state")), (&json!({}), None), "{seen}");
        }

        let token = json!({"client": "partly", "role": "operator", "redact": ["endpoint"]});
        let token = app.api.post("/v1/tokens", &token).await.expect(201);
        let partly = app.api.with_token(token["token"].as_str().unwrap());
        let seen = asked(&partly, json!({"filter": {"success": "no"}, "dry_run": true})).await.expect(200);
        assert_eq!((&seen["matched"], &seen["by_endpoint"][0].get("endpoint")), (&json!(2), &None), "{seen}");
    });
}

/// The partner stays down, so that a delivery set due twice would be tried three times.
fn killed_in_the_middle(backend: Backend) {
    run_on(backend, without_breaker(), async |app| {
        const DELIVERIES: usize = 120;
        failed(app, "/hook", "P1", DELIVERIES).await;
        let recovery = started(&app.api, json!({"rate": 20})).await;
        // A start makes up for a second: twenty at once.
        for enough in [5, 40, 80] {
            once(&app.api, &recovery, "it goes on", |now| retried(now) >= enough).await;
            app.engine.kill().await;
            app.engine.start_again().await;
        }
        let over = over(&app.api, &recovery).await;
        assert_eq!((retried(&over), &over["skipped"]), (DELIVERIES as u64, &json!({})), "{over}");
        app.api.settled().await;
        assert_eq!(tries(&app.api).await, [2; DELIVERIES], "each was set due once");
        app.doctor().await;
    });
}

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was() {
    killed_in_the_middle(Backend::Sqlite);
}

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was_on_postgres() {
    killed_in_the_middle(Backend::Postgres);
}

#[test]
fn two_nodes_share_one_recovery_and_each_delivery_is_set_due_once() {
    cluster::run_with_two(async |app, second, _| {
        const DELIVERIES: usize = 60;
        failed(app, "/hook", "P1", DELIVERIES).await;
        let recovery = started(&app.api, json!({"rate": 30})).await;
        once(&app.api, &recovery, "it goes on", |now| retried(now) >= 20).await;
        second.kill().await;
        let over = over(&app.api, &recovery).await;
        assert_eq!((retried(&over), &over["skipped"]), (DELIVERIES as u64, &json!({})), "{over}");
        app.api.settled().await;
        assert_eq!(tries(&app.api).await, [2; DELIVERIES]);
    });
}

#[test]
fn the_command_line_counts_starts_shows_and_calls_off() {
    run(async |app| {
        let endpoint = failed(app, "/hook", "P1", 2).await;
        app.receiver.always("/hook", 200);
        let said = async |args: &[&str]| {
            let output = app.engine.client(args).await;
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(said(&["recovery", "list"]).await.contains("There was no recovery."));
        let start = ["recovery", "start", "--since", SINCE, "--endpoint", &endpoint];
        let with = |more: &[&'static str]| start.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
        let dry = said(&with(&["--dry-run"])).await;
        assert!(dry.contains("2 deliveries match; nothing was changed") && dry.contains(&endpoint), "{dry}");
        assert!(dry.contains("PARTNER") && dry.contains("DESCRIPTION") && dry.contains(INTEGRATOR), "{dry}");
        let watched = said(&with(&["--rate", "50", "--watch"])).await;
        let mut told = watched.lines().rev();
        let hint = told.next().unwrap();
        assert!(hint.contains("engate delivery list --created-from") && hint.contains(&endpoint), "{watched}");
        assert!(told.next().unwrap().contains("succeeded, 2 of 2 tried again"), "{watched}");
        let list = said(&["recovery", "list", "--json"]).await;
        let recovery = id(&serde_json::from_str::<Value>(&list).unwrap()["items"][0]);
        let shown = said(&["recovery", "show", &recovery]).await;
        assert!(shown.contains("50 a second") && shown.contains("succeeded"), "{shown}");
        assert!(shown.contains(&format!("endpoint {endpoint}")) && shown.contains("started (UTC)"), "{shown}");
        let list = said(&["recovery", "list"]).await;
        assert!(list.contains(&recovery) && list.contains("FILTER") && list.contains(&endpoint), "{list}");

        let json = said(&["recovery", "start", "--since", SINCE, "--success", "yes,no", "--rate", "1", "--json"]).await;
        let second = id(&serde_json::from_str::<Value>(&json).unwrap());
        // Calling off what is over fails; that it is one of the two is all that time decides here.
        app.engine.client(&["recovery", "cancel", &second]).await;
        let ended = said(&["recovery", "show", &second, "--watch", "--json"]).await;
        let ended: Value = serde_json::from_str(ended.lines().last().unwrap()).unwrap();
        assert_ne!(ended["state"], "running", "{ended}");
        let again = app.engine.client(&["recovery", "cancel", &recovery]).await;
        assert_eq!(again.status.code(), Some(1), "it is over");
        let unknown = app.engine.client(&["recovery", "show", &format!("rec_{}", "0".repeat(32))]).await;
        assert_eq!(unknown.status.code(), Some(4));
        let wrong = app.engine.client(&["recovery", "start", "--since", "yesterday"]).await;
        assert_eq!(wrong.status.code(), Some(6));
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("since"));
    });
}
