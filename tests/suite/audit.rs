//! Who called what, and who changed what (seeds G1, V2, V34).

use std::collections::BTreeSet;

use engate_model::{CallId, TypedId as _};
use serde_json::{Value, json};

use crate::harness::{
    Backend, Engine, Setup,
    api::{Api, id},
    database::meddle,
    eventually, run, run_on, run_with,
};

async fn accesses(api: &Api, query: &str) -> Vec<Value> {
    let page = api.get(&format!("/v1/audit/access?limit=500&{query}")).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn verified(api: &Api) -> Value {
    api.get("/v1/audit/verify").await.expect(200)
}

/// Each call leaves one entry, whatever became of it; an edited row of the audit is detected.
fn g1(backend: Backend) {
    run_on(backend, Setup::new(), async |app| {
        let made = app.api.post("/v1/tokens", &json!({"client": "caller", "role": "operator"})).await.expect(201);
        let caller = app.api.with_token(made["token"].as_str().unwrap());
        let token = id(&made);
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let event = json!({"type": "P1", "payload": {}, "id": "once"});
        let none = format!("/v1/deliveries/dlv_{}", "0".repeat(32));
        let mut expected = Vec::new();
        for round in 0..2 {
            caller.post("/v1/events", &event).await.expect(if round == 0 { 202 } else { 200 });
            caller.post("/v1/events", &json!({"type": "P1", "payload": 1, "id": "once"})).await.expect(409);
            caller.post("/v1/events", &json!({"nothing": 1})).await.expect(422);
            caller.get("/v1/deliveries").await.expect(200);
            caller.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
            caller.get(&none).await.expect(404);
            caller.get("/v1/audit").await.expect(403);
            caller.delete("/v1/deliveries").await.expect(405);
            caller.get("/v1/nothing/tok_CANARY").await.expect(404);
            caller.post_text("/v1/integrators", "{").await.expect(400);
            expected.extend([
                ("POST /v1/events", if round == 0 { 202 } else { 200 }),
                ("POST /v1/events", 409),
                ("POST /v1/events", 422),
                ("GET /v1/deliveries", 200),
                ("GET /v1/endpoints/{id}", 200),
                ("GET /v1/deliveries/{id}", 404),
                ("GET /v1/audit", 403),
                ("DELETE /v1/deliveries", 405),
                ("unmatched", 404),
                ("POST /v1/integrators", 400),
            ]);
        }
        let entries = accesses(&app.api, &format!("token={token}")).await;
        assert_eq!(entries.len(), 20, "20 calls, 20 entries");
        let mut found: Vec<_> =
            entries.iter().map(|entry| (entry["route"].as_str().unwrap(), entry["status"].as_i64().unwrap())).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        for entry in &entries {
            assert_eq!((&entry["client"], &entry["source"]), (&json!("caller"), &json!("127.0.0.1")), "{entry}");
            assert!(entry["duration_ms"].as_f64().unwrap() > 0.0 && entry["at"].is_string());
        }
        assert_eq!(entries.iter().map(id).collect::<BTreeSet<_>>().len(), 20);
        let answered = caller.get("/v1/queues").await;
        let call = answered.headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(accesses(&app.api, "route=GET+/v1/queues").await.iter().any(|entry| id(entry) == call));
        assert_eq!(accesses(&app.api, &format!("token={token}&status_gte=500")).await.len(), 0);
        assert_eq!(accesses(&app.api, &format!("token={token}&status_gte=404&status_lte=405")).await.len(), 6);

        assert_eq!(verified(&app.api).await["valid"], true);
        let statement = "UPDATE audit SET client = 'somebody-else' WHERE action = 'endpoint.create'";
        meddle(app.engine.database_url(), statement).await;
        let check = verified(&app.api).await;
        assert_eq!((&check["valid"], &check["faults"][0]["code"]), (&json!(false), &json!("edited")), "{check}");
    });
}

#[test]
fn g1_every_call_is_recorded_and_an_edited_row_is_detected() {
    g1(Backend::Sqlite);
}

#[test]
fn g1_every_call_is_recorded_on_postgres_too() {
    g1(Backend::Postgres);
}

#[test]
fn g1_the_entry_of_a_call_with_events_is_on_disk_with_them() {
    run(async |app| {
        app.api.event(json!({"type": "P1", "payload": {}})).await;
        app.engine.kill().await;
        app.engine.start_again().await;
        let entries = accesses(&app.api, "route=POST+/v1/events").await;
        assert_eq!(entries.len(), 1, "kill -9 right after the 202 loses neither the event nor its entry");
        assert_eq!(entries[0]["status"], 202);
    });
}

#[test]
fn g1_what_waits_is_written_at_an_orderly_stop_and_a_caller_who_hangs_up_is_recorded() {
    run(async |app| {
        for _ in 0..30 {
            app.api.get("/v1/queues").await.expect(200);
        }
        // A body that never comes: the caller goes away in the middle of its call.
        let url = app.api.url("");
        let address = url.strip_prefix("http://").unwrap();
        let head = format!(
            "POST /v1/integrators HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: 10\r\n\r\n",
            crate::harness::engine::ADMIN_TOKEN
        );
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut asked).await.unwrap();
        drop(stream);
        eventually("the call of whoever hung up is recorded", async || {
            let found = accesses(&app.api, "route=POST+/v1/integrators&status_gte=400").await;
            if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        app.engine.terminate().await;
        app.engine.start_again().await;
        assert_eq!(accesses(&app.api, "route=GET+/v1/queues").await.len(), 30);
    });
}

#[test]
fn g1_calls_without_a_valid_token_are_counted_by_source_and_minute() {
    run(async |app| {
        let anonymous = app.api.anonymous();
        for path in ["/v1/events", "/v1/nothing", "/openapi.json"] {
            anonymous.get(path).await.expect_problem(401, "unauthorized");
        }
        app.api.with_token("engate_wrong-0123456789-0123456789-abc").get("/v1/audit").await.expect(401);
        let refused = app.api.get("/v1/audit/refused").await.expect(200);
        let items = refused["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["source"] == "127.0.0.1"), "{refused}");
        assert_eq!(items.iter().map(|item| item["calls"].as_u64().unwrap()).sum::<u64>(), 4);
        assert!(!refused.to_string().contains("wrong"), "nothing of what they brought is kept");
        assert_eq!(accesses(&app.api, "status_gte=401&status_lte=401").await.len(), 0);
    });
}

async fn audited(api: &Api) -> u64 {
    api.get("/v1/audit?limit=1").await.expect(200)["total"].as_u64().unwrap()
}

#[test]
fn v34_an_export_has_every_entry_and_tampering_shows() {
    run(async |app| {
        app.endpoint_at("/hook", &["P1"]).await;
        app.api.put("/v1/secrets/s", &json!({"value": "hush"})).await.expect(200);
        let count = audited(&app.api).await;
        let check = verified(&app.api).await;
        assert_eq!((&check["valid"], check["entries"].as_u64()), (&json!(true), Some(count)));
        let witness = format!("/v1/audit/verify?seq={}&hash={}", check["last_seq"], check["hash"].as_str().unwrap());
        assert_eq!(app.api.get(&witness).await.expect(200)["valid"], true);

        let export = app.api.get("/v1/audit.ndjson").await;
        assert_eq!(export.headers["content-type"], "application/x-ndjson");
        let lines: Vec<Value> = String::from_utf8(export.body.to_vec())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len() as u64, count);
        assert!(lines.iter().enumerate().all(|(n, line)| line["seq"] == n as u64 + 1 && line["hash"].is_string()));
        assert!(lines.windows(2).all(|pair| pair[1]["previous"] == pair[0]["hash"]));

        // The last entry goes, and whoever did it hopes that nobody counts.
        let url = app.engine.database_url().to_owned();
        meddle(&url, "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)").await;
        let check = verified(&app.api).await;
        assert_eq!((&check["valid"], &check["faults"][0]["code"]), (&json!(false), &json!("cut_off")), "{check}");
        assert_eq!(app.api.get(&witness).await.expect(200)["valid"], false);
    });
}

#[test]
fn v34_an_export_is_checked_without_an_engine() {
    run(async |app| {
        app.api.put("/v1/settings", &json!({"use_webhooks": false})).await.expect(200);
        let said = |output: &std::process::Output| {
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        let output = app.engine.client(&["audit", "verify"]).await;
        assert!(output.status.success(), "{}", said(&output));
        let file = app.engine.data().join("audit.ndjson");
        let output = app.engine.client(&["audit", "export", "--file", file.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", said(&output));
        let output = app.engine.client(&["audit", "verify", "--file", file.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", said(&output));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("setting.put", "setting.get")).unwrap();
        let output = app.engine.client(&["audit", "verify", "--file", file.to_str().unwrap()]).await;
        assert!(!output.status.success() && said(&output).contains("edited"), "{}", said(&output));
        meddle(app.engine.database_url(), "UPDATE audit SET object = 'x' WHERE action = 'setting.put'").await;
        let output = app.engine.client(&["audit", "verify"]).await;
        assert!(!output.status.success() && said(&output).contains("edited"), "{}", said(&output));
        let output = app.engine.client(&["audit", "list", "--action", "setting."]).await;
        assert!(output.status.success() && said(&output).contains("setting.put"), "{}", said(&output));
    });
}

#[test]
fn v34_two_engines_make_one_chain() {
    let node = |name: &str| {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        Setup::new().named(name).set("node", name).set("secret_key", key)
    };
    run_on(Backend::Postgres, node("one"), async |app| {
        let mut second = Engine::start_beside(&app.engine, node("two")).await;
        let other = Api::admin(second.url());
        let put = async |api: &Api, n: i32| {
            api.put(&format!("/v1/secrets/s{n}"), &json!({"value": "hush"})).await.expect(200);
            assert_eq!(verified(api).await["valid"], true);
        };
        for n in 0..25 {
            tokio::join!(put(&app.api, n), put(&other, 100 + n));
        }
        let (one, two) = (verified(&app.api).await, verified(&other).await);
        assert_eq!((&one["valid"], &one["hash"], &one["entries"]), (&json!(true), &two["hash"], &two["entries"]));
        second.kill().await;
    });
}

#[test]
fn v34_old_entries_go_by_the_days_they_are_kept_and_the_rest_can_be_checked() {
    run_with(Setup::new().set("audit.keep_days", "30").set("audit.access_keep_days", "30"), async |app| {
        app.api.get("/v1/queues").await.expect(200);
        let before = verified(&app.api).await["entries"].as_u64().unwrap();
        let url = app.engine.database_url().to_owned();
        assert!(before > 3 && accesses(&app.api, "").await.len() > 1);
        app.engine.terminate().await;
        // A call of long ago; its id carries the time.
        let old = CallId::new(engate_model::Timestamp::from_millis(1_000_000), 7).uuid().simple();
        let insert = format!(
            "INSERT INTO access SELECT tenant_id, X'{old}', token_id, route, status, duration_us, source FROM access LIMIT 1"
        );
        meddle(&url, &insert).await;
        app.engine.start_again().await;
        eventually("what is older than 30 days is forgotten", async || {
            let left = accesses(&app.api, "to=2000-01-01T00:00:00Z").await.len();
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
        assert_eq!(verified(&app.api).await["valid"], true, "what is younger stays as it is");
    });
}
