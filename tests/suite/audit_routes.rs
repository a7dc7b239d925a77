//! Every route that changes something adds one entry to the audit (seed V34). Which routes there are is read from the
//! description: a new one is exercised here, or named with its reason.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    actions::{SCHEDULE_FAR, publish},
    harness::{Api, App, Reply, api::id, eventually, guests, run},
    roles::operations,
};

/// What may be called with another method than GET, and changes nothing that the audit is about.
const WITHOUT: &[(&str, &str)] = &[
    ("event_send", "an event is its own record, and its call's access entry is written in the same commit"),
    ("inbound_call_post", "a partner calls without a token; the events it brings are their own record"),
    ("inbound_call_put", "as the one before"),
    ("inbound_call_patch", "as the one before"),
    ("inbound_call_delete", "as the one before"),
    ("inbound_call_options", "as the one before"),
    ("job_preview", "computes instants and keeps nothing"),
    ("plugin_try", "runs a plugin on what it is given, and neither sends nor keeps anything"),
    ("plugin_diff_start", "compares in memory what was recorded, and keeps nothing"),
    ("plugin_diff_cancel", "stops such a comparison"),
];

/// What takes a world of its own: the test that shows its entries, and where.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "checkpoint_approve checkpoint_epoch checkpoint_rewind quarantine_discard quarantine_replay",
        "v34_what_is_done_to_streams_and_records_by_hand_adds_one_entry_each",
        include_str!("sync_jobs.rs"),
    ),
    (
        "wizard_create wizard_welcome wizard_provisioning wizard_requirements wizard_companies wizard_credentials \
         wizard_preflight wizard_entities wizard_jobs wizard_delete job_start",
        "v34_every_step_of_a_wizard_adds_one_entry_of_its_own",
        include_str!("wizard.rs"),
    ),
];

async fn audited(api: &Api) -> (u64, Value) {
    let page = api.get("/v1/audit?limit=1").await.expect(200);
    (page["total"].as_u64().unwrap(), page["items"][0].clone())
}

/// What was exercised so far.
struct Changes<'a> {
    app: &'a App,
    operations: BTreeMap<String, (Method, String)>,
    done: BTreeSet<String>,
}

impl Changes<'_> {
    /// Makes a call that is to add one entry of the caller's; `places` fill the braces of its path, in their order.
    async fn one(&mut self, name: &str, places: &[&str], body: Value) -> Value {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.call(name, places, "application/json", body).await
    }

    async fn call(&mut self, name: &str, places: &[&str], media: &str, body: Bytes) -> Value {
        let api = self.app.api.clone();
        self.by(&api, "first-admin", name, places, (media, body)).await
    }

    async fn by(
        &mut self,
        api: &Api,
        client: &str,
        name: &str,
        places: &[&str],
        (media, body): (&str, Bytes),
    ) -> Value {
        let (method, template) = self.operations.get(name).unwrap_or_else(|| panic!("no operation {name}")).clone();
        let mut places = places.iter();
        let mut fill = |part: &str| match part.starts_with('{') {
            true => (*places.next().unwrap()).to_owned(),
            false => part.to_owned(),
        };
        let path = template.split('/').map(&mut fill).collect::<Vec<_>>().join("/");
        let (before, _) = audited(&self.app.api).await;
        let answer = api.send(method, &path, &[("content-type", media)], body).await.expect_any();
        let (after, last) = audited(&self.app.api).await;
        assert_eq!(after, before + 1, "{name}: {last}");
        assert_eq!(last["client"], client, "{name}: {last}");
        self.done.insert(name.to_owned());
        answer
    }
}

#[test]
fn v34_every_route_that_changes_something_adds_one_entry() {
    run(async |app| {
        let operations = operations(app).await;
        let expected: BTreeSet<String> =
            operations.iter().filter(|(_, (method, _))| *method != Method::GET).map(|(name, _)| name.clone()).collect();
        let mut changes = Changes { app, operations, done: BTreeSet::new() };
        catalogue(&mut changes).await;
        endpoints(&mut changes).await;
        deliveries(&mut changes).await;
        keys(&mut changes).await;
        plugins(&mut changes).await;
        jobs(&mut changes).await;

        let (before, _) = audited(&app.api).await;
        app.api.event(json!({"type": "nobody.hears", "payload": {}})).await;
        let schedule = json!({"schedule": {"kind": "every", "interval_ms": 60_000}});
        app.api.post("/v1/jobs/preview", &schedule).await.expect(200);
        app.api.post("/v1/integrators", &json!({"slug": "!"})).await.expect(422);
        assert_eq!(audited(&app.api).await.0, before, "what changes nothing adds nothing");

        let mut shown = changes.done;
        shown.extend(WITHOUT.iter().map(|(name, _)| (*name).to_owned()));
        for (names, test, source) in ELSEWHERE {
            assert!(source.contains(&format!("fn {test}()")), "{test} is not there");
            shown.extend(names.split_whitespace().map(str::to_owned));
        }
        assert_eq!(shown, expected, "each is exercised, or named with its reason");
    });
}

async fn catalogue(changes: &mut Changes<'_>) {
    let new = json!({"key": "T.new", "title": "T", "macro_process": "M", "process": "P"});
    changes.one("event_type_create", &[], new).await;
    changes.one("event_type_update", &["T.new"], json!({"title": "Other"})).await;
    changes.one("event_type_replace", &["T.new"], json!({"title": "Third"})).await;
    changes.one("event_type_delete", &["T.new"], Value::Null).await;
    let acme = json!({"slug": "acme", "name": "Acme", "services": ["x"]});
    changes.one("integrator_create", &[], acme).await;
    changes.one("integrator_update", &["acme"], json!({"name": "Acme 2"})).await;
    changes.one("integrator_replace", &["acme"], json!({"slug": "acme", "name": "Acme 3"})).await;
    changes.one("integrator_delete", &["acme"], Value::Null).await;
    changes.one("setting_put", &[], json!({"use_webhooks": false})).await;
    changes.one("setting_put", &[], json!({"use_webhooks": true})).await;
    changes.one("secret_put", &["s"], json!({"value": "hush"})).await;
    changes.one("secret_delete", &["s"], Value::Null).await;
}

async fn endpoints(changes: &mut Changes<'_>) {
    let app = changes.app;
    app.receiver.on("/hook", |received| match received.json()["challenge"].clone() {
        Value::Null => Reply::status(200),
        challenge => Reply::status(200).json(&json!({"challenge": challenge})),
    });
    // The types that come with an endpoint are part of its entry.
    let new = json!({"url": app.receiver.url("/hook"), "event_types": ["E1", "E2", "E3"]});
    let made = changes.one("endpoint_create", &[], crate::harness::app::endpoint(new)).await;
    let hook = id(&made);
    let (_, last) = audited(&app.api).await;
    assert_eq!(last["detail"]["event_types_entered"], json!(["E1", "E2", "E3"]), "{last}");
    changes.one("endpoint_update", &[&hook], json!({"event_types": ["E1", "E4"]})).await;
    changes.one("endpoint_verify", &[&hook], json!({})).await;
    changes.one("endpoint_rotate_secret", &[&hook], json!({})).await;
    publish(app, "E1", 1).await;
    app.api.settled().await;
    changes.one("endpoint_send", &[&hook, "E1"], json!({})).await;
    // One entry for each version that is sent: E4 was never published.
    changes.one("endpoint_send_all", &[&hook], json!({})).await;
    changes.one("endpoint_test", &[&hook], json!({"event_type": "E4", "payload": {"version": 4}})).await;
    let (_, last) = audited(&app.api).await;
    assert_eq!((&last["action"], &last["object"]), (&json!("endpoint.test"), &json!(hook)), "{last}");
    changes.one("queue_pause", &[&hook], json!({})).await;
    changes.one("queue_resume", &[&hook], json!({})).await;
    changes.one("endpoint_delete", &[&hook], Value::Null).await;
}

async fn deliveries(changes: &mut Changes<'_>) {
    let app = changes.app;
    app.receiver.always("/down", 500);
    let down = json!({"url": app.receiver.url("/down"), "event_types": ["D1"], "retry": {"schedule_ms": SCHEDULE_FAR}});
    let down = id(&app.endpoint(down).await);
    publish(app, "D1", 1).await;
    let delivery = id(&app.api.delivery_in(&down, "pending").await);
    changes.one("delivery_retry", &[&delivery], Value::Null).await;
    app.api.delivery(&down, |one| one["attempts"] == 2 && one["state"] != "delivering").await;
    changes.one("endpoint_resend_pending", &[&down], json!({})).await;
    publish(app, "D1", 2).await;
    let waits = app.api.deliveries(&format!("endpoint={down}&state=pending")).await;
    changes.one("delivery_cancel", &[&id(&waits[0])], Value::Null).await;
    // At one a second it is not through with all of these before it is called off.
    let states = json!(["pending", "failed", "succeeded", "cancelled", "skipped"]);
    let all = json!({"since": "2020-01-01", "rate": 1, "filter": {"state": states}});
    let recovery = id(&changes.one("recovery_start", &[], all).await);
    changes.one("recovery_cancel", &[&recovery], Value::Null).await;
}

async fn keys(changes: &mut Changes<'_>) {
    let app = changes.app;
    let made = changes.one("token_create", &[], json!({"client": "a", "role": "auditor"})).await;
    changes.one("token_update", &[&id(&made)], json!({"scopes": ["audit:read"]})).await;
    let again = changes.one("token_regenerate", &[&id(&made)], json!({})).await;
    changes.one("token_revoke", &[&id(&again)], Value::Null).await;
    let own = app.api.post("/v1/tokens", &json!({"client": "b", "role": "auditor"})).await.expect(201);
    let own = app.api.with_token(own["token"].as_str().unwrap());
    changes.by(&own, "b", "token_revoke_self", &[], ("application/json", Bytes::new())).await;
    changes.one("tenant_create", &[], json!({"slug": "two"})).await;
    changes.one("tenant_update", &["two"], json!({"name": "Two"})).await;
    changes.one("tenant_delete", &["two"], Value::Null).await;
}

async fn plugins(changes: &mut Changes<'_>) {
    let app = changes.app;
    let wasm = "application/wasm";
    let push = async |path: &str, component: Vec<u8>| {
        app.api.send(Method::POST, path, &[("content-type", wasm)], component.into()).await.expect(201);
    };
    changes.call("plugin_push", &[], wasm, guests::guest().build().into()).await;
    let second = guests::guest().swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"").build();
    push("/v1/plugins?channel=next", second).await;
    changes.one("plugin_channel_bind", &["guest", "next"], json!({"version": "0.1.0"})).await;
    changes.one("plugin_promote", &["guest"], json!({"version": "0.1.1"})).await;
    changes.one("plugin_rollback", &["guest"], json!({})).await;
    changes.one("plugin_limits_put", &["guest"], json!({"memory_mib": 32})).await;
    changes.one("plugin_grants_put", &["guest"], json!({"hosts": ["https://api.example.com"]})).await;
    changes.one("plugin_config_put", &["guest"], json!({"a": 1})).await;
    changes.one("plugin_config_put", &["guest"], json!({"a": 2})).await;
    let (_, last) = audited(&app.api).await;
    let told = ["old", "new"].map(|side| &last["detail"][side]["config"]);
    assert_eq!(told, [&json!({"a": 1}), &json!({"a": 2})], "{last}");
    push("/v1/plugins", guests::receiver().build()).await;
    changes.one("inbound_create", &[], json!({"name": "in", "plugin": "calls"})).await;
    changes.one("inbound_update", &["in"], json!({"description": "other"})).await;
    changes.one("inbound_delete", &["in"], Value::Null).await;
}

async fn jobs(changes: &mut Changes<'_>) {
    let app = changes.app;
    let emitting = |name: &str, schedule: Value| {
        json!({"name": name, "schedule": schedule,
            "run": {"kind": "emit", "event": {"type": "day.closed", "subject": name, "payload": {}}}})
    };
    let by_hand = id(&changes.one("job_create", &[], emitting("by-hand", json!({"kind": "manual"}))).await);
    changes.one("job_update", &[&by_hand], json!({"timeout_ms": 60_000})).await;
    changes.one("job_pause", &[&by_hand], json!({"reason": "a test"})).await;
    changes.one("job_resume", &[&by_hand], Value::Null).await;
    changes.one("job_debug_on", &[&by_hand], json!({"ttl_s": 60})).await;
    changes.one("job_debug_off", &[&by_hand], Value::Null).await;
    changes.one("job_run", &[&by_hand], Value::Null).await;
    let hourly = emitting("hourly", json!({"kind": "every", "interval_ms": 3_600_000}));
    let hourly = id(&app.api.post("/v1/jobs", &hourly).await.expect(201));
    let times = json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T02:00:00Z"});
    changes.one("job_backfill", &[&hourly], times).await;
    // Of an endpoint where nothing failed there is nothing to be sent.
    let quiet = app.endpoint_at("/quiet", &["J1"]).await;
    let always = json!({"name": "always", "schedule": {"kind": "always"},
        "run": {"kind": "engine", "task": "resend_pending", "endpoint": quiet}});
    let always = id(&app.api.post("/v1/jobs", &always).await.expect(201));
    let run = eventually("it is at work", async || {
        let runs = app.api.get(&format!("/v1/jobs/{always}/runs?state=running")).await.expect(200);
        runs["items"].as_array().unwrap().first().map(id).ok_or_else(|| runs.to_string())
    })
    .await;
    changes.one("run_cancel", &[&always, &run], Value::Null).await;
    for job in [&always, &hourly, &by_hand] {
        changes.one("job_delete", &[job], Value::Null).await;
    }
}
