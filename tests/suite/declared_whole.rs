//! A whole tenant as one file: every field that the API takes comes back on another engine, plugins and jobs included, and
//! what does not is named.

use std::{collections::BTreeSet, path::Path, process::Output};

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{
    App, Backend, Database, Engine, Setup,
    api::{Api, id},
    guests::{Guest, guest, receiver},
    run, run_with,
};

/// A signing key of the right form.
const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Nobody is there, and no name has to be resolved.
const URL: &str = "http://127.0.0.1:9/hook";

/// The guest in another version than its own `0.1.0`.
fn version(guest: Guest, version: &str) -> Guest {
    assert_eq!(version.len(), 5);
    guest.swap("(i32.const 2064) \"0.1.0\"", &format!("(i32.const 2064) \"{version}\""))
}

async fn push(api: &Api, channel: &str, component: Guest) {
    let path = format!("/v1/plugins?channel={channel}");
    let headers = [("content-type", "application/wasm")];
    let pushed = api.send(Method::POST, &path, &headers, component.build().into()).await;
    assert_eq!(pushed.status, 201, "{}", String::from_utf8_lossy(&pushed.body));
}

/// Checks that `body` gives every field that the route takes, so that a field that is new is not forgotten here either.
fn assert_whole(description: &Value, method: &str, path: &str, body: &Value, left_out: &[&str]) {
    let schema = &description["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"];
    let schema =
        schema["$ref"].as_str().and_then(|to| description.pointer(to.trim_start_matches('#'))).unwrap_or(schema);
    let taken: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let given: BTreeSet<_> =
        body.as_object().unwrap().keys().map(String::as_str).chain(left_out.iter().copied()).collect();
    assert_eq!(given, taken, "{method} {path}");
}

/// Everything that there is to set, none of it as it would be anyway, with what a file could misread.
async fn set_up(api: &Api) {
    let description = api.get("/openapi.json").await.expect(200);
    let whole = |path: &str, body: &Value, left_out: &[&str]| assert_whole(&description, "post", path, body, left_out);
    let settings = json!({"use_webhooks": false, "billing.use_webhooks": false, "locale.timezone": "America/Manaus",
        "locale.language": "en", "jobs.paused": true});
    api.put("/v1/settings", &settings).await.expect(200);
    // Two that would have one name, one that would be the shell's, and one that is the engine's.
    for name in ["a.b", "a-b", "path", "key"] {
        api.put(&format!("/v1/secrets/{name}"), &json!({"value": name})).await.expect_any();
    }
    let event_type = json!({"key": "day.closed", "title": "Day", "macro_process": "A", "process": "B", "enabled": false,
        "schema": {"type": ["object", "null"], "enum": [null, {}]}});
    whole("/v1/event-types", &event_type, &["system"]);
    api.post("/v1/event-types", &event_type).await.expect(201);
    api.patch("/v1/event-types/delivery.failed", &json!({"enabled": false})).await.expect(200);
    plugins(api, &description).await;

    let integrator = json!({"slug": "ons", "name": "Operador", "active": false, "services": ["a", "b"],
        "plugin": "guest@next", "config": {"file": "/etc/hostname", "z": {"y": null}, "list": [null, 1]}});
    whole("/v1/integrators", &integrator, &[]);
    api.post("/v1/integrators", &integrator).await.expect(201);
    let endpoint = json!({"url": URL, "integrator": "ons", "description": "Boletins", "plugin": "guest@0.0.9",
        "auth": {"type": "basic", "username": "u", "password": "p"}, "config": {"env": "PATH"},
        "event_types": ["day.closed", "order.*"], "enabled": false, "ordering": "fifo", "max_in_flight": 3,
        "timeout_ms": 1234, "retry": {"schedule_ms": [0, 7]}, "headers": {"env": "PATH"},
        "signing": {"enabled": true, "secret": KEY}, "rate_limit": {"per_second": 2, "burst": 5},
        "filter": {"all": [{"path": "/a", "in": [null, 1]}, {"path": "/b", "eq": null}]}, "callbacks": "integrator"});
    whole("/v1/endpoints", &endpoint, &[]);
    let endpoint = id(&api.post("/v1/endpoints", &endpoint).await.expect(201));
    for (description, auth) in [
        ("a value", json!({"type": "authorization", "value": "v"})),
        ("a.value", json!({"type": "header", "name": "x-key", "value": "w"})),
        ("tokens", json!({"type": "oauth2", "token_url": URL, "client_id": "c", "client_secret": "s", "scope": "all"})),
    ] {
        let signing = json!({"enabled": description == "tokens"});
        let body =
            json!({"url": URL, "integrator": "ons", "description": description, "auth": auth, "signing": signing});
        api.post("/v1/endpoints", &body).await.expect(201);
    }
    let inbound = json!({"name": "bank", "description": "Payments", "plugin": "calls", "config": {"a": {"env": "PATH"}},
        "enabled": false, "max_body_bytes": 77, "rate_limit": {"per_second": 2, "burst": 5}});
    whole("/v1/inbounds", &inbound, &[]);
    api.post("/v1/inbounds", &inbound).await.expect(201);
    jobs(api, &description, &endpoint).await;
}

async fn plugins(api: &Api, description: &Value) {
    // Three versions: one that only an endpoint names, one in production, and one that comes next.
    for (channel, number) in [("stable", "0.0.9"), ("stable", "0.1.0"), ("next", "0.2.0")] {
        push(api, channel, version(guest(), number)).await;
    }
    push(api, "stable", receiver()).await;
    let grants = json!({"hosts": ["https://api.example.com"], "secrets": ["a.b"], "reveal": ["path"], "credentials": [
        {"name": "c", "type": "headers", "headers": [{"name": "x-key", "secret": "a-b"}]}
    ]});
    let limits = json!({"instances": "warm", "cpu_ms": 20, "wall_ms": 40, "memory_mib": 32});
    for (field, body) in [("grants", grants), ("limits", limits)] {
        assert_whole(description, "put", &format!("/v1/plugins/{{name}}/{field}"), &body, &[]);
        api.put(&format!("/v1/plugins/guest/{field}"), &body).await.expect(200);
    }
    api.put("/v1/plugins/guest/config", &json!({"deep": {"null": null}})).await.expect(200);
}

async fn jobs(api: &Api, description: &Value, endpoint: &str) {
    let run = json!({"kind": "emit", "event": {"type": "day.over", "subject": "s", "payload": {"a": [null]},
        "labels": {"file": "/etc/hostname"}, "correlation_id": "c"}});
    let schedule = json!({"kind": "cron", "expression": "0 2 1 1 *", "timezone": "America/Manaus",
        "dst": {"gap": "skip", "fold": "last"}, "exclude": ["12-25"], "start": "2020-01-01T00:00:00Z",
        "end": "2900-01-01T00:00:00Z"});
    let emit = json!({"name": "over", "schedule": schedule, "run": run, "jitter_ms": 5, "timeout_ms": 60_000,
        "overlap": {"policy": "cancel_other", "grace_ms": 1_000}, "start_deadline_ms": 70_000, "retry": {"attempts": 2},
        "catchup": {"mode": "all", "window_ms": 60_000, "max": 5}, "pause_after_failures": 3, "enabled": false});
    assert_whole(description, "post", "/v1/jobs", &emit, &[]);
    let stream = json!({"name": "customers", "table": "SA1{company}0", "key": ["id"], "watermark": "at", "target": "c",
        "columns": ["id", "v"], "soft_delete": "D_E_L_E_T_", "reconcile_ms": 60_000});
    let sync = json!({"kind": "sync", "source": {"kind": "table", "connection": "erp"}, "streams": [stream],
        "sink": {"plugin": "carol", "endpoint": endpoint, "config": {"connector_id": "x"}},
        "partitions": [{"company": "01"}], "safety_lag_ms": 1_000, "lookback_ms": 20_000, "page_rows": 7,
        "page_bytes": 20_000, "quarantine_max": 9});
    let manual = json!({"kind": "manual"});
    let resend = json!({"kind": "engine", "task": "resend_pending", "endpoint": endpoint});
    for job in [
        emit,
        json!({"name": "tables", "schedule": manual, "run": sync}),
        json!({"name": "resend", "schedule": {"kind": "every", "interval_ms": 3_600_000}, "run": resend}),
        // Nothing is its payload.
        json!({"name": "bare", "schedule": manual, "run": {"kind": "emit", "event": {"type": "day.over"}}}),
    ] {
        api.post("/v1/jobs", &job).await.expect(201);
    }
}

/// What the API shows, without what is another in each engine.
async fn shown(api: &Api) -> Value {
    const OTHER: [&str; 9] =
        ["id", "integrator_id", "created_at", "updated_at", "set_at", "revision", "next_at", "missed", "failures"];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                OTHER.iter().for_each(|name| drop(fields.remove(*name)));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let endpoints = api.get("/v1/endpoints").await.expect(200);
    let names: Vec<_> =
        endpoints["items"].as_array().unwrap().iter().map(|one| (id(one), one["description"].clone())).collect();
    let mut all = serde_json::Map::new();
    for path in [
        "settings",
        "secrets",
        "event-types",
        "integrators",
        "endpoints",
        "inbounds",
        "jobs",
        "plugins/guest/channels",
        "plugins/guest/grants",
        "plugins/guest/config",
        "plugins/guest/limits",
        "plugins/calls/channels",
    ] {
        let mut answer = api.get(&format!("/v1/{path}")).await.expect(200);
        strip(&mut answer);
        if let Some(items) = answer["items"].as_array_mut() {
            items.sort_by_key(ToString::to_string);
        }
        let mut text = answer.to_string();
        names.iter().for_each(|(id, name)| text = text.replace(id, name.as_str().unwrap()));
        all.insert(path.to_owned(), serde_json::from_str(&text).unwrap());
    }
    Value::Object(all)
}

/// Every variable that a file refers to, with a value that fits.
fn variables(file: &Path) -> Vec<(String, String)> {
    fn collect(value: &Value, into: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                if let (Some(Value::String(name)), 1) = (fields.get("env"), fields.len()) {
                    let value = if name.ends_with("_SIGNING_SECRET") { KEY.to_owned() } else { format!("of {name}") };
                    into.push((name.clone(), value));
                }
                fields.values().for_each(|field| collect(field, into));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            _ => {}
        }
    }
    let file: Value = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut variables = Vec::new();
    collect(&file, &mut variables);
    variables
}

async fn export(engine: &Engine, file: &Path) -> String {
    let output = engine.client(&["export", "-o", file.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", said(&output));
    std::fs::read_to_string(file).unwrap()
}

async fn apply(engine: &Engine, file: &Path) -> Output {
    let variables = variables(file);
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    engine.client_with(&["apply", "--json", "-f", file.to_str().unwrap()], &variables).await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An engine that knows the connection which a job reads; nobody is there.
fn connected() -> Setup {
    Setup::new().set("connections.erp.url", "postgres://engate@127.0.0.1:9/erp")
}

/// Another engine with nothing in it.
async fn with_another(test: impl AsyncFnOnce(&Engine, &Api)) {
    let database = Database::create(Backend::Sqlite).await.unwrap();
    let mut other = Engine::start(&database, connected()).await;
    let api = Api::admin(other.url());
    test(&other, &api).await;
    other.terminate().await;
    database.remove().await;
}

#[test]
fn everything_that_can_be_set_comes_back_on_another_engine() {
    run_with(connected(), async |app| {
        set_up(&app.api).await;
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = one.path().join("engine.toml");
        let first = export(&app.engine, &file).await;
        let variables = variables(&file);
        let names: BTreeSet<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), variables.len(), "each secret has a variable of its own: {names:?}");
        assert!(names.iter().all(|name| name.starts_with("ENGATE_APPLY_")), "{names:?}");
        assert_eq!(names.len(), 4 + 4 + 2, "secrets, authentication, and keys of those that sign: {names:?}");
        assert!(!first.contains(KEY), "a key is exported: {first}");

        with_another(async |other, api| {
            let applied = read(&apply(other, &file).await);
            assert_eq!(applied["applied"], true, "{applied}");
            assert_eq!(shown(api).await, shown(&app.api).await);
            assert_eq!(export(other, &two.path().join("engine.toml")).await, first);
            for number in ["0.0.9", "0.1.0", "0.2.0"] {
                let component =
                    |folder: &Path| std::fs::read(folder.join(format!("engine.plugins/guest-{number}.wasm"))).unwrap();
                assert_eq!(component(one.path()), component(two.path()), "{number}");
            }
            let again = read(&apply(other, &file).await);
            assert_eq!(again["changed"], 0, "{again}");
        })
        .await;
        // Nor is what it was made of changed by it, but for the secrets, which were others.
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let dry = ["apply", "--dry-run", "--json", "-f", file.to_str().unwrap()];
        let again = read(&app.engine.client_with(&dry, &variables).await);
        let compared = |action: &Value| {
            action["differences"]
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one.as_str().unwrap().contains("compared by the engine"))
        };
        assert!(again["actions"].as_array().unwrap().iter().all(compared), "{again}");
    });
}

#[test]
fn a_file_brings_the_plugin_that_its_integrators_name() {
    run(async |app: &mut App| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("own.wasm"), guest().build()).unwrap();
        let file = folder.path().join("engine.toml");
        let text = "[[integrators]]\nslug = \"ons\"\nservices = [\"a\"]\nplugin = \"guest\"\n\n\
                    [[plugins]]\nname = \"guest\"\ncomponent = \"own.wasm\"\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(read(&apply(&app.engine, &file).await)["changed"], 2);
        assert_eq!(read(&apply(&app.engine, &file).await)["changed"], 0);

        // Without a folder for it the component is named, and who applies is told before anything is done.
        let output = app.engine.client(&["export"]).await;
        assert!(
            output.status.success() && said(&output).contains("guest@0.1.0 needs its component"),
            "{}",
            said(&output)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("# ") && text.contains("guest@0.1.0 needs its component"), "{text}");
        let bare = folder.path().join("bare.toml");
        std::fs::write(&bare, text).unwrap();
        with_another(async |other, api| {
            let refused = apply(other, &bare).await;
            assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
            assert!(said(&refused).contains("guest: is not installed") && said(&refused).contains("component = "));
            assert_eq!(api.get("/v1/integrators").await.expect(200)["total"], 0);
        })
        .await;
    });
}

#[test]
fn what_a_file_cannot_say_is_named_in_it() {
    run(async |app| {
        let endpoint = id(&app.endpoint(json!({"url": URL, "description": "held\n[secrets]"})).await);
        app.api.post(&format!("/v1/queues/{endpoint}/pause"), &json!({})).await.expect(200);
        let job =
            json!({"name": "nightly", "schedule": {"kind": "manual"}, "run": {"kind": "engine", "task": "retention"}});
        let job = id(&app.api.post("/v1/jobs", &job).await.expect(201));
        app.api.post(&format!("/v1/jobs/{job}/pause"), &json!({"reason": "later"})).await.expect(200);
        let output = app.engine.client(&["export"]).await;
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        for told in ["the queue of partner/held", "the job nightly is paused", "tokens", "wizards", "checkpoints"] {
            assert!(text.lines().any(|line| line.starts_with('#') && line.contains(told)), "{told}: {text}");
        }
        assert!(said(&output).contains("note: the job nightly is paused"), "{}", said(&output));
        let sections: Value = toml::from_str(&text).unwrap();
        assert_eq!(sections["secrets"], Value::Null, "a name became part of the file: {text}");
    });
}

#[test]
fn endpoints_that_a_file_could_not_tell_apart_are_refused() {
    run(async |app| {
        let twins = [0, 1].map(|_| json!({"url": URL, "description": "twin"}));
        let mut ids = Vec::new();
        for twin in twins {
            ids.push(id(&app.endpoint(twin).await));
        }
        let refused = app.engine.client(&["export"]).await;
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{}", said(&refused));
        let names = |text: &str| ids.iter().all(|id| text.contains(id)) && text.contains("partner/twin");
        assert!(names(&said(&refused)), "{}", said(&refused));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engine.toml");
        let text = format!("[[endpoints]]\nintegrator = \"partner\"\ndescription = \"twin\"\nurl = \"{URL}\"\n");
        std::fs::write(&file, text).unwrap();
        let refused = apply(&app.engine, &file).await;
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains("more than one endpoint of this name"), "{}", said(&refused));
    });
}

#[test]
fn a_job_names_its_endpoint_as_a_file_does() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engine.toml");
        let job = |endpoint: &str| {
            format!(
                "[[jobs]]\nname = \"resend\"\nschedule = {{ kind = \"manual\" }}\noverlap = \"skip\"\n\
                 run = {{ kind = \"engine\", task = \"resend_pending\", endpoint = \"{endpoint}\" }}\n"
            )
        };
        std::fs::write(&file, job("partner/nobody")).unwrap();
        let refused = apply(&app.engine, &file).await;
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains("resend: its run names the endpoint partner/nobody"), "{}", said(&refused));

        // The endpoint is made by the same file.
        let endpoint = format!("\n[[endpoints]]\nintegrator = \"partner\"\ndescription = \"new\"\nurl = \"{URL}\"\n");
        std::fs::write(&file, job("partner/new") + &endpoint).unwrap();
        let applied = app.engine.client(&["apply", "-f", file.to_str().unwrap()]).await;
        let told = String::from_utf8_lossy(&applied.stdout).into_owned();
        assert!(applied.status.success(), "{}", said(&applied));
        assert!(
            told.contains("told this once") && told.contains("partner/new (ep_") && told.contains("whsec_"),
            "{told}"
        );
        let made = app.api.get("/v1/endpoints").await.expect(200)["items"][0].clone();
        let jobs = app.api.get("/v1/jobs").await.expect(200);
        assert_eq!(jobs["items"][0]["run"]["endpoint"], made["id"], "{jobs}");
        assert_eq!(read(&apply(&app.engine, &file).await)["changed"], 0);
        // An id says the same, and a job that the file does not have goes where that is asked for.
        std::fs::write(&file, job(&id(&made)) + &endpoint).unwrap();
        assert_eq!(read(&apply(&app.engine, &file).await)["changed"], 0);
        std::fs::write(&file, "jobs = []\n").unwrap();
        let pruned = app.engine.client(&["apply", "--json", "--prune", "-f", file.to_str().unwrap()]).await;
        assert_eq!(read(&pruned)["changed"], 1);
        assert_eq!(app.api.get("/v1/jobs").await.expect(200)["total"], 0);
    });
}
