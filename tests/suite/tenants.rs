//! Tenants: nobody sees or touches what is another's.

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engate_model::{TenantId, Timestamp, job::RunState};
use engate_store::{Database as Stored, Order, RunFilter, SecretKey, Store, StoreOptions};
use serde_json::{Value, json};

use crate::harness::{
    App, Backend, Setup,
    api::{Api, id},
    block_on, eventually, run, run_on, run_with,
    source::{Kind, Source},
};

/// A second tenant with something of everything; gives its admin's client.
async fn second(app: &App) -> (String, Api) {
    let made = app.api.post("/v1/tenants", &json!({"slug": "saae", "name": "SAAE"})).await.expect(201);
    (id(&made), app.api.with_token(made["admin_token"]["token"].as_str().unwrap()))
}

#[test]
fn tenants_are_entered_changed_and_deleted_by_the_first_ones_admin_alone() {
    run(async |app| {
        let (tenant, admin) = second(app).await;
        for method in [Method::GET, Method::POST] {
            let headers = [("content-type", "application/json")];
            let body = Bytes::from(r#"{"slug":"x"}"#);
            admin.send(method, "/v1/tenants", &headers, body).await.expect_problem(403, "forbidden");
        }
        admin.get(&format!("/v1/tenants/{tenant}")).await.expect_problem(403, "forbidden");
        admin.delete("/v1/tenants/default").await.expect_problem(403, "forbidden");
        app.api.post("/v1/tenants", &json!({"slug": "saae"})).await.expect_problem(409, "already_exists");
        let changed =
            app.api.patch("/v1/tenants/saae", &json!({"name": "SAAE Sul", "slug": "saae-sul"})).await.expect(200);
        assert_eq!((&changed["name"], &changed["slug"]), (&json!("SAAE Sul"), &json!("saae-sul")));
        app.api.get("/v1/tenants/saae").await.expect_problem(404, "not_found");
        app.api.delete("/v1/tenants/default").await.expect_problem(409, "system_record");
        app.api.patch("/v1/tenants/default", &json!({"slug": "other"})).await.expect_problem(409, "system_record");
        admin.get("/v1/deliveries").await.expect(200);
        assert_eq!(app.api.delete("/v1/tenants/saae-sul").await.status, 204);
        admin.get("/v1/deliveries").await.expect_problem(401, "unauthorized");
        app.api.get(&format!("/v1/tenants/{tenant}")).await.expect_problem(404, "not_found");
        app.api.post("/v1/tenants", &json!({"slug": "saae-sul"})).await.expect(201);
        let audit = app.api.get("/v1/audit?action=tenant.").await.expect(200);
        assert_eq!(audit["total"], 5, "the first tenant, and each change of another, stand in its own audit: {audit}");
        assert_eq!(app.api.get("/v1/audit/verify").await.expect(200)["valid"], true);
    });
}

/// An endpoint at `path` and a job that sends it something every second; both in the tenant of `api`.
async fn every_second(app: &App, api: &Api, integrator: &str, path: &str) {
    app.receiver.always(path, 200);
    let hook = json!({"integrator": integrator, "description": "d", "url": app.receiver.url(path),
        "auth": {"type": "none"}, "event_types": ["day.closed"]});
    api.post("/v1/endpoints", &hook).await.expect(201);
    let job = json!({"name": "often", "schedule": {"kind": "every", "interval_ms": 1_000}, "run": {"kind": "emit", "event": {
        "type": "day.closed", "subject": "often", "payload": {"job": "often"}, "labels": {"by": "schedule"}
    }}});
    api.post("/v1/jobs", &job).await.expect(201);
}

fn nothing_runs_on(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        let (tenant, theirs) = second(app).await;
        let partner = json!({"slug": "theirs", "name": "Theirs", "services": ["x"]});
        theirs.post("/v1/integrators", &partner).await.expect(201);
        every_second(app, &theirs, "theirs", "/theirs").await;
        app.receiver.wait("/theirs", 2).await;
        assert_eq!(app.api.delete("/v1/tenants/saae").await.status, 204);
        // Jobs go on as such, and what theirs had begun is through by the time the first of ours is.
        every_second(app, &app.api, "partner", "/ours").await;
        app.receiver.wait("/ours", 1).await;
        let before = app.receiver.seen("/theirs").len();
        app.receiver.wait("/ours", 4).await;
        assert_eq!(app.receiver.seen("/theirs").len(), before, "nobody could stop it any more");

        let key = std::fs::read_to_string(app.engine.data().join("secret.key")).unwrap();
        let key = SecretKey::new(STANDARD.decode(key.trim()).unwrap().try_into().unwrap());
        let now = Timestamp::from(chrono::Utc::now());
        let database = Stored::parse(app.engine.database_url());
        let store = Store::open(&database, &key, StoreOptions::default(), now).await.unwrap();
        let tenant: TenantId = tenant.parse().unwrap();
        assert_eq!(store.job_list(tenant).await.unwrap(), []);
        let runs = store.run_list(tenant, &RunFilter::default(), None, Order::Descending, 500).await.unwrap().items;
        assert!(runs.len() >= 2, "its history stays");
        let over = |state| !matches!(state, RunState::Queued | RunState::Running);
        assert!(runs.iter().all(|run| over(run.state)), "{runs:?}");
        store.close().await;
    });
}

#[test]
fn nothing_runs_on_for_a_deleted_tenant() {
    nothing_runs_on(Backend::Sqlite);
}

#[test]
fn nothing_runs_on_for_a_deleted_tenant_on_postgres() {
    nothing_runs_on(Backend::Postgres);
}

fn isolation(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.always("/theirs", 200);
        let (_, theirs) = second(app).await;
        let partner = json!({"slug": "theirs", "name": "Theirs", "services": ["x"]});
        let integrator = id(&theirs.post("/v1/integrators", &partner).await.expect(201));
        let key = json!({"key": "Their.Type", "title": "T", "macro_process": "M", "process": "P"});
        theirs.post("/v1/event-types", &key).await.expect(201);
        let hook = json!({"integrator": "theirs", "description": "d", "url": app.receiver.url("/theirs"),
            "auth": {"type": "none"}, "event_types": ["*"]});
        let endpoint = id(&theirs.post("/v1/endpoints", &hook).await.expect(201));
        theirs.put("/v1/secrets/their-secret", &json!({"value": "CANARY-of-saae"})).await.expect(200);
        let event = id(&theirs
            .post("/v1/events", &json!({"type": "Their.Type", "payload": {"x": "CANARY"}}))
            .await
            .expect(202));
        let delivery = id(&theirs.delivery_in(&endpoint, "succeeded").await);
        let token = id(&theirs.post("/v1/tokens", &json!({"client": "theirs", "role": "auditor"})).await.expect(201));

        // Every route with an id in it, under each of the ids of theirs, by the admin of the first tenant.
        let names = [&integrator, &endpoint, &event, &delivery, &token, "theirs", "Their.Type", "their-secret"];
        let document = app.api.get("/openapi.json").await.expect(200);
        let mut walked = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            if !path.contains('{') || path.starts_with("/v1/inbound/") || path.starts_with("/docs") {
                continue;
            }
            for (method, operation) in methods.as_object().unwrap() {
                let media_types = operation["requestBody"]["content"].as_object();
                let example = media_types.and_then(|content| content.get("application/json"));
                let example = example.map(|content| resolved(&document, &content["schema"])["example"].clone());
                for name in names {
                    // One that makes what it names is no reading of another's; it must not reach theirs all the same.
                    let target = filled(path, name);
                    let method: Method = method.to_uppercase().parse().unwrap();
                    if method == Method::PUT && (path.ends_with("/secrets/{name}") || path.ends_with("/{key}")) {
                        continue;
                    }
                    let body = example.clone().filter(|e| !e.is_null()).map_or(Bytes::new(), |e| e.to_string().into());
                    let headers = [("content-type", "application/json")];
                    let answer = app.api.send(method.clone(), &target, &headers, body).await;
                    walked += 1;
                    let told = String::from_utf8_lossy(&answer.body).into_owned();
                    assert!(
                        matches!(answer.status, 400 | 404 | 405 | 415 | 422),
                        "{method} {target}: {} {told}",
                        answer.status
                    );
                    assert!(!told.contains("CANARY"), "{method} {target}: {told}");
                }
            }
        }
        assert!(walked > 200, "only {walked} calls");
        for path in [
            "/v1/integrators",
            "/v1/endpoints",
            "/v1/events",
            "/v1/deliveries",
            "/v1/secrets",
            "/v1/tokens",
            "/v1/event-types",
            "/v1/queues",
            "/v1/audit",
            "/v1/audit.ndjson",
            "/v1/replays",
        ] {
            let told = app.api.get(path).await.expect(200).to_string();
            for name in names {
                assert!(!told.contains(name), "{path} shows {name}: {told}");
            }
        }
        for (path, count) in [("/v1/endpoints", 1), ("/v1/integrators", 1), ("/v1/deliveries", 1), ("/v1/secrets", 1)] {
            assert_eq!(
                theirs.get(path).await.expect(200)["items"].as_array().unwrap().len(),
                count,
                "{path} is untouched"
            );
        }
        theirs.get(&format!("/v1/tokens/{token}")).await.expect(200);
        assert_eq!(app.receiver.seen("/theirs").len(), 1);
    });
}

fn resolved(document: &Value, schema: &Value) -> Value {
    match schema["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    }
}

/// The template with `name` for each of its parts.
fn filled(template: &str, name: &str) -> String {
    template.split('/').map(|part| if part.starts_with('{') { name } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn with_anothers_ids_every_route_finds_nothing() {
    isolation(Backend::Sqlite);
}

#[test]
fn with_anothers_ids_every_route_finds_nothing_on_postgres_either() {
    isolation(Backend::Postgres);
}

#[test]
fn a_connection_is_there_for_the_tenants_that_it_names_and_for_no_other() {
    let source = block_on(Source::create(Kind::Sqlite)).unwrap();
    let setup = Setup::new()
        .set("connections.erp.url", &source.url)
        .set("connections.shared.url", &source.url)
        .set("connections.shared.tenants", "default,saae");
    run_with(setup, async |app| {
        source.execute("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, s TIMESTAMP NULL)").await;
        let (_, theirs) = second(app).await;
        let names = async |api: &Api| {
            let listed = api.get("/v1/connections").await.expect(200);
            let items = listed["items"].as_array().unwrap().iter();
            items.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&app.api).await, names(&theirs).await),
            (vec!["erp".into(), "shared".into()], vec!["shared".into()])
        );
        app.api.get("/v1/connections/erp/tables").await.expect(200);
        theirs.get("/v1/connections/shared/tables").await.expect(200);
        let foreign = theirs.get("/v1/connections/erp/tables").await;
        let nobodys = theirs.get("/v1/connections/nobody/tables").await;
        assert_eq!(foreign.body, nobodys.body, "what is another's is as if it were not there");
        foreign.expect_problem(404, "not_found");

        // No job of theirs reads it, whenever it is named.
        let run = |connection: &str| {
            json!({"kind": "sync", "source": {"kind": "table", "connection": connection}, "sink": {"event_type": "row.{target}"},
                "streams": [{"name": "t", "table": "t", "key": ["id"], "watermark": "s", "target": "t"}]})
        };
        let job = |connection: &str| json!({"name": "rows", "schedule": {"kind": "manual"}, "run": run(connection)});
        for connection in ["erp", "nobody"] {
            let refused = theirs.post("/v1/jobs", &job(connection)).await;
            assert_eq!(refused.expect_problem(422, "invalid"), ["run.source.connection"], "{connection}");
        }
        let made = id(&theirs.post("/v1/jobs", &job("shared")).await.expect(201));
        let path = format!("/v1/jobs/{made}");
        let changed = theirs.patch(&path, &json!({"run": run("erp")})).await;
        assert_eq!(changed.expect_problem(422, "invalid"), ["run.source.connection"]);

        // Nor does a wizard, to read it or to change it.
        let wizard = id(&theirs.send(Method::POST, "/v1/wizards/carol", &[], Bytes::new()).await.expect(201));
        let step = |key: &str| format!("/v1/wizards/{wizard}/steps/{key}");
        let welcome = |connection: &str| json!({"connection": connection, "urls": {}});
        let refused = theirs.post(&step("welcome"), &welcome("erp")).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["connection"]);
        theirs.post(&step("welcome"), &welcome("shared")).await.expect(200);
        theirs.post(&step("provisioning"), &json!({"already_done": true})).await.expect(200);
        let newest = json!({"have": "1.0", "latest": "1.0"});
        let requirements = json!({"release": "12.1.2310", "dbaccess": newest, "appserver": newest, "lib": newest,
            "upddistr": true, "administration": {"connection": "erp", "confirmed": true}});
        let refused = theirs.post(&step("requirements"), &requirements).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["administration.connection"]);

        // What was taken away is not read by a job that was made before.
        app.engine.terminate().await;
        app.engine.set("connections.shared.tenants", "default");
        app.engine.start_again().await;
        theirs.post(&format!("{path}/run"), &json!(null)).await.expect(202);
        eventually("the run finds no connection", async || {
            let runs = theirs.get(&format!("{path}/runs")).await.expect(200).to_string();
            if runs.contains("no_connection") { Ok(()) } else { Err(runs) }
        })
        .await;
    });
}
