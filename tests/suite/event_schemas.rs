//! Schemas of event types: what meets them is taken, whoever brings it; what does not is refused where it can be seen.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{
        App, Backend, Setup,
        api::{Answer, id},
        eventually, run, run_on,
    },
    sync_world::with_world,
};

fn order() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["order"],
        "properties": {
            "order": {"type": "string", "pattern": "^[A-Z]-[0-9]+$"},
            "items": {"type": "array", "items": {"properties": {"qty": {"$ref": "#/$defs/count"}}}}
        },
        "$defs": {"count": {"type": "integer", "minimum": 1}}
    })
}

/// Enters a type with a schema.
async fn enter(app: &App, key: &str, schema: Value) {
    let made = app.api.post("/v1/event-types", &json!({"key": key, "schema": schema})).await.expect(201);
    assert_eq!(made["schema"], schema, "{made}");
}

async fn taken(app: &App) -> u64 {
    app.api.get("/v1/events").await.expect(200)["total"].as_u64().unwrap()
}

/// The fields and messages of a refusal.
fn refused(answer: Answer) -> Vec<(String, String)> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &body["code"]), (422, &json!("schema_mismatch")), "{body}");
    let text = |error: &Value, field: &str| error[field].as_str().unwrap().to_owned();
    body["errors"].as_array().unwrap().iter().map(|one| (text(one, "field"), text(one, "message"))).collect()
}

fn fields(answer: Answer) -> Vec<String> {
    refused(answer).into_iter().map(|(field, _)| field).collect()
}

fn in_every_form(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.always("/hook", 200);
        app.endpoint_at("/hook", &["order.created", "other"]).await;
        let entered = json!({ "schema": order() });
        app.api.patch("/v1/event-types/order.created", &entered).await.expect(200);
        let event = |payload: Value| json!({"type": "order.created", "payload": payload});
        let post = async |body: Value| app.api.post("/v1/events", &body).await;

        let one = refused(post(event(json!({"order": "hush-4711"}))).await);
        let [(field, message)] = one.as_slice() else { panic!("{one:?}") };
        assert_eq!(field, "payload/order");
        assert!(message.contains("rule /properties/order/pattern") && !message.contains("4711"), "{message}");
        assert_eq!(fields(post(event(json!({"items": [{"qty": 1}, {"qty": 0}]}))).await).len(), 2);
        assert_eq!(fields(post(event(json!(7))).await), ["payload"]);
        // All or nothing, and each is named.
        let good = event(json!({"order": "A-1"}));
        let other = json!({"type": "other", "payload": 7});
        let many = json!([good, event(json!({"order": 1})), other, event(json!({}))]);
        assert_eq!(fields(post(many).await), ["[1].payload/order", "[3].payload"]);

        let send = async |headers: &[(&str, &str)], body: String| {
            app.api.send(Method::POST, "/v1/events", headers, body.into()).await
        };
        let cloud = |n: u32, data: Value| json!({"specversion": "1.0", "id": n.to_string(), "source": "/s", "type": "order.created", "data": data});
        let structured = [("content-type", "application/cloudevents+json")];
        let batch = [("content-type", "application/cloudevents-batch+json")];
        let wrong = json!({"order": "A-1", "items": [{"qty": 1.5}]});
        assert_eq!(fields(send(&structured, cloud(1, wrong.clone()).to_string()).await), ["payload/items/0/qty"]);
        let both = json!([cloud(1, json!({"order": "A-1"})), cloud(2, wrong.clone())]).to_string();
        assert_eq!(fields(send(&batch, both).await), ["[1].payload/items/0/qty"]);
        let binary = |media_type| {
            [
                ("ce-specversion", "1.0"),
                ("ce-id", "binary"),
                ("ce-source", "/s"),
                ("ce-type", "order.created"),
                ("content-type", media_type),
            ]
        };
        assert_eq!(fields(send(&binary("application/json"), wrong.to_string()).await), ["payload/items/0/qty"]);
        assert_eq!(fields(send(&binary("text/plain"), r#"{"order":"A-1"}"#.to_owned()).await), ["payload"]);
        assert_eq!(taken(app).await, 0, "nothing of all that was taken");

        post(good.clone()).await.expect(202);
        post(json!([good, other])).await.expect(202);
        send(&structured, cloud(1, json!({"order": "A-2"})).to_string()).await.expect(202);
        send(&binary("application/json"), r#"{"order":"A-3"}"#.to_owned()).await.expect(202);
        app.receiver.wait("/hook", 5).await;
    });
}

#[test]
fn payloads_are_checked_in_every_form_on_sqlite() {
    in_every_form(Backend::Sqlite);
}

#[test]
fn payloads_are_checked_in_every_form_on_postgres() {
    in_every_form(Backend::Postgres);
}

fn a_change_looks_forward(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        app.receiver.always("/hook", 200);
        enter(app, "order.created", order()).await;
        let at = "/v1/event-types/order.created";
        let endpoint = app.endpoint_at("/hook", &["order.created"]).await;
        let event = json!({"type": "order.created", "payload": {"order": "A-1"}, "id": "first"});
        app.api.post("/v1/events", &event).await.expect(202);
        app.api.settled().await;
        // Stricter: what is stored is sent all the same.
        let stricter = json!({"required": ["order", "total"], "properties": {"total": {"type": "number"}}});
        let shown = app.api.patch(at, &json!({ "schema": stricter })).await.expect(200);
        assert_eq!(shown["schema"], stricter);
        let sent = app.api.post(&format!("/v1/endpoints/{endpoint}/event-types/order.created/send"), &json!({})).await;
        assert_eq!(sent.expect(200)["outcome"], "success");
        // What was taken before is a repeat, whatever its schema became; what comes with it is judged.
        let repeat = app.api.post("/v1/events", &event).await.expect(200);
        assert_eq!(repeat["duplicate"], true, "{repeat}");
        let other_body = json!({"type": "order.created", "payload": {"order": "B-1"}, "id": "first"});
        app.api.post("/v1/events", &other_body).await.expect_problem(409, "id_conflict");
        let with_new = json!([event, {"type": "order.created", "payload": {"order": "A-1"}, "id": "second"}]);
        assert_eq!(fields(app.api.post("/v1/events", &with_new).await), ["[1].payload"]);
        let tried = json!({"event_type": "order.created", "payload": {}});
        app.api.post(&format!("/v1/endpoints/{endpoint}/test"), &tried).await.expect(200);
        // A title leaves it, null takes it away, and so does a PUT without it.
        let titled = app.api.patch(at, &json!({"title": "Pedido"})).await.expect(200);
        assert_eq!(titled["schema"], stricter);
        let other = json!({"type": "order.created", "payload": {"order": "A-2"}});
        assert_eq!(fields(app.api.post("/v1/events", &other).await), ["payload"]);
        assert_eq!(app.api.patch(at, &json!({"schema": null})).await.expect(200)["schema"], Value::Null);
        app.api.post("/v1/events", &other).await.expect(202);
        app.api.put(at, &json!({"title": "Pedido", "schema": order()})).await.expect(200);
        assert_eq!(
            fields(app.api.post("/v1/events", &json!({"type": "order.created", "payload": []})).await),
            ["payload"]
        );
        assert_eq!(app.api.put(at, &json!({"title": "Pedido"})).await.expect(200)["schema"], Value::Null);
        app.api.post("/v1/events", &json!({"type": "order.created", "payload": []})).await.expect(202);
        app.api.settled().await;
        let audit = app.api.get("/v1/audit?limit=100").await.expect(200).to_string();
        assert!(audit.contains(r#""schema":true"#) && audit.contains(r#""schema":false"#), "{audit}");
    });
}

#[test]
fn a_change_of_a_schema_looks_forward_on_sqlite() {
    a_change_looks_forward(Backend::Sqlite);
}

#[test]
fn a_change_of_a_schema_looks_forward_on_postgres() {
    a_change_looks_forward(Backend::Postgres);
}

#[test]
fn what_is_no_schema_is_refused_when_it_is_written() {
    run(async |app| {
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "not": deep });
        }
        let wrong = [
            json!({"type": "objekt"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"properties": {"a": {"$ref": "other.json#/a"}}}),
            json!({"$ref": "#/$defs/nothing"}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            json!({"pattern": "(a{1000}){1000}"}),
            json!({"pattern": "(?=a)b"}),
            json!({"description": "x".repeat(65 * 1024)}),
        ];
        enter(app, "there", json!({})).await;
        for schema in wrong {
            let new = app.api.post("/v1/event-types", &json!({"key": "wrong", "schema": schema})).await;
            assert_eq!(new.expect_problem(422, "invalid"), ["schema"], "{schema}");
            let change = app.api.patch("/v1/event-types/there", &json!({ "schema": schema })).await;
            assert_eq!(change.expect_problem(422, "invalid"), ["schema"], "{schema}");
        }
        for schema in [json!("text"), json!(7), json!([]), json!(true)] {
            let new = app.api.post("/v1/event-types", &json!({"key": "wrong", "schema": schema})).await;
            assert_eq!(new.expect_problem(422, "invalid"), ["schema"], "{schema}");
        }
        app.api.post("/v1/event-types", &json!({"key": "deep", "schema": deep})).await.expect(201);
        app.api.get("/v1/event-types/wrong").await.expect_problem(404, "not_found");
        let own = app.api.patch("/v1/event-types/delivery.failed", &json!({"schema": {}})).await;
        own.expect_problem(409, "system_record");
        let told = app
            .api
            .send(
                Method::POST,
                "/v1/event-types",
                &[("content-type", "application/json"), ("accept-language", "pt-BR")],
                json!({"key": "wrong", "schema": {"type": "objekt"}}).to_string().into(),
            )
            .await;
        assert!(String::from_utf8_lossy(&told.body).contains("não é um JSON Schema 2020-12 válido"));
    });
}

/// What a hostile schema could do to everybody: the engine answers, and goes on.
#[test]
fn a_schema_that_goes_in_circles_does_not_stop_the_engine() {
    run(async |app| {
        let mut payload = json!(1);
        for _ in 0..100 {
            payload = json!({ "x": payload });
        }
        let both = json!({"properties": {"x": {"$ref": "#"}}});
        for (n, schema) in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"allOf": [{"not": {"$ref": "#/$defs/a"}}], "$defs": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/a"}]}}}),
            json!({"allOf": [both, both, {"additionalProperties": {"$ref": "#"}}], "type": "object"}),
            json!({"oneOf": [both, both], "minProperties": 2}),
        ]
        .into_iter()
        .enumerate()
        {
            let key = format!("hostile.{n}");
            let made = app.api.post("/v1/event-types", &json!({"key": key, "schema": schema})).await;
            if made.status == 201 {
                let sent = app.api.post("/v1/events", &json!({"type": key, "payload": payload})).await;
                assert!(matches!(sent.status, 202 | 422), "{schema}: {}", sent.status);
            }
        }
        app.api.get("/healthz").await.expect(200);
    });
}

#[test]
fn a_job_whose_event_does_not_meet_its_schema_is_refused_or_fails_and_says_so() {
    run(async |app| {
        enter(app, "day.closed", json!({"required": ["count"]})).await;
        let with = |payload: Value| {
            json!({"name": "close", "schedule": {"kind": "manual"},
                "run": {"kind": "emit", "event": {"type": "day.closed", "payload": payload}}})
        };
        let refused = app.api.post("/v1/jobs", &with(json!({"total": 1}))).await.expect_problem(422, "invalid");
        assert_eq!(refused, ["run.event.payload"]);
        let job = app.api.post("/v1/jobs", &with(json!({"count": 1}))).await.expect(201);
        let stricter = json!({"schema": {"required": ["total"]}});
        app.api.patch("/v1/event-types/day.closed", &stricter).await.expect(200);
        // What stays as it is is not in the way of another change.
        let path = format!("/v1/jobs/{}", id(&job));
        app.api.patch(&path, &json!({"name": "close the day"})).await.expect(200);
        let change = json!({"run": with(json!({"count": 2}))["run"]});
        assert_eq!(app.api.patch(&path, &change).await.expect_problem(422, "invalid"), ["run.event.payload"]);
        app.api.post(&format!("/v1/jobs/{}/run", id(&job)), &json!(null)).await.expect(202);
        eventually("the run fails", async || {
            let runs = app.api.get(&format!("/v1/jobs/{}/runs", id(&job))).await.expect(200);
            let run = &runs["items"][0];
            if run["state"] == "failed"
                && run.to_string().contains("schema_mismatch")
                && run.to_string().contains("/required")
            {
                Ok(())
            } else {
                Err(runs.to_string())
            }
        })
        .await;
        assert_eq!(taken(app).await, 0);
    });
}

#[test]
fn a_row_that_does_not_meet_the_schema_goes_to_quarantine_and_the_others_go_on() {
    with_world(30, async |app, world| {
        app.receiver.always("/rows", 200);
        enter(app, "row.customers", json!({"properties": {"id": {"not": {"enum": [7, 19]}}}})).await;
        app.endpoint_at("/rows", &["row.customers"]).await;
        let body = json!({"name": "events", "schedule": {"kind": "always"}, "run": {
            "kind": "sync", "source": {"kind": "table", "connection": "erp"},
            "sink": {"event_type": "row.{target}", "subject": "/id"},
            "streams": [{"name": "customers", "table": "t", "key": ["id"], "watermark": "S_T_A_M_P_", "target": "customers"}]
        }});
        let job = app.api.post("/v1/jobs", &body).await.expect(201);
        app.receiver.wait("/rows", 28).await;
        eventually("two rows are in quarantine", async || {
            let found = app.api.get(&format!("/v1/jobs/{}/quarantine", id(&job))).await.expect(200);
            let told = found.to_string();
            if found["total"] == 2 && told.contains("schema_mismatch") && told.contains("payload/id") {
                Ok(())
            } else {
                Err(told)
            }
        })
        .await;
        assert_eq!(world.alive().await.len(), 30);
        app.api.post(&format!("/v1/jobs/{}/pause", id(&job)), &json!({"reason": "done"})).await.expect(200);
        app.api.settled().await;
        assert_eq!(app.receiver.seen("/rows").len(), 28);
    });
}

#[test]
fn a_file_declares_a_schema_and_an_export_has_it() {
    run(async |app| {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let with_null = json!({"required": ["b", "a"], "properties": {"a": {"enum": [null, 1, "ç"]}}});
        write("order.json", &serde_json::to_string_pretty(&with_null).unwrap());
        write(
            "engine.toml",
            "[[event_types]]\nkey = \"a\"\nschema = { file = \"order.json\" }\n\n[[event_types]]\nkey = \"b\"\n\
            schema = { type = \"object\" }\n\n[[event_types]]\nkey = \"c\"\n",
        );
        let apply = async |file: &str| {
            let path = folder.path().join(file);
            let output = app.engine.client(&["apply", "--json", "-f", path.to_str().unwrap()]).await;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout), text(&output.stderr))
        };
        let changed = |told: &(bool, String, String)| {
            assert!(told.0, "{told:?}");
            serde_json::from_str::<Value>(&told.1).unwrap()["changed"].clone()
        };
        assert_eq!(changed(&apply("engine.toml").await), 3);
        assert_eq!(changed(&apply("engine.toml").await), 0);
        let shown = app.api.get("/v1/event-types/a").await.expect(200);
        assert_eq!(shown["schema"], with_null);
        let exported = String::from_utf8(app.engine.client(&["export"]).await.stdout).unwrap();
        write("exported.toml", &exported);
        assert_eq!(changed(&apply("exported.toml").await), 0, "{exported}");
        write("order.json", "{");
        let wrong = apply("engine.toml").await;
        assert!(!wrong.0 && wrong.2.contains("event_types[0].schema"), "{wrong:?}");
    });
}
