//! Partners that call us: the example bank against a real engine, and receivers that mean harm.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use axum::http::Method;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    harness::{
        App, Backend, Setup,
        api::{Answer, id},
        eventually,
        guests::{Guest, receiver},
        run, run_on,
    },
    languages::{is_there, passes},
};

const KEY: &str = "the bank's key, long enough for anyone";
const LOT: &str = r#"{"lote":"L-1","pagamentos":[{"id":1,"cliente":"01400-2","valor":"1.234,50"},{"id":2,"cliente":"01400-3","valor":"0,05"}]}"#;
/// What GSAN gets of it, byte for byte.
const SENT: &str = r#"{"client-transaction":[{"idtransaction":1,"idcliente":"01400-2","valorpago":1234.50},{"idtransaction":2,"idcliente":"01400-3","valorpago":0.05}]}"#;
const LOOP: &str = "(loop $l (br $l))";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bank-receiver")
}

/// The example, built once; none where there is no cargo.
fn component() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        is_there(&["cargo"]).then(|| {
            passes(&folder(), &["plugin", "build"]);
            folder().join("plugin.wasm")
        })
    };
    BUILT.get_or_init(build).as_deref()
}

fn signature(body: &[u8]) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), body);
    mac.as_ref().iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// A call as the bank makes it: without a token, with its signature.
async fn bank_calls(app: &App, body: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("x-bank-signature", &signature(body.as_bytes()))];
    app.api.anonymous().send(Method::POST, "/v1/inbound/bank", &headers, Bytes::from(body.to_owned())).await
}

/// Installs the example and lets it answer at `bank`.
async fn open_bank(app: &App, component: &Path) {
    let pushed = app.engine.client(&["plugin", "push", component.to_str().unwrap()]).await;
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    app.api.put("/v1/secrets/bank-inbound", &json!({"value": KEY})).await.expect_any();
    let grants = json!({"hosts": [], "secrets": ["bank-inbound"], "reveal": []});
    app.api.put("/v1/plugins/bank-receiver/grants", &grants).await.expect(200);
    let fields = ["inbound", "create", "bank", "--plugin", "bank-receiver", "--description", "Payments", "--json"];
    let created = app.engine.client(&fields).await;
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let created: Value = serde_json::from_slice(&created.stdout).unwrap();
    assert_eq!((&created["path"], &created["enabled"]), (&json!("/v1/inbound/bank"), &json!(true)), "{created}");
}

/// A subscriber behind the bundled plugin `gsan`.
async fn gsan(app: &App) -> String {
    let url = app.receiver.url("/gsan");
    let retry = json!({"schedule_ms": [0, 200, 200, 200, 200]});
    id(&app
        .endpoint(json!({"url": url, "event_types": ["client-transaction"], "plugin": "gsan", "retry": retry}))
        .await)
}

async fn events(app: &App) -> Vec<Value> {
    app.api.get("/v1/events").await.expect(200)["items"].as_array().unwrap().clone()
}

/// What the engine counted of inbound calls with that outcome.
async fn counted(app: &App, outcome: &str) -> u64 {
    let text = app.api.get("/metrics").await.expect(200);
    let name = format!("engate_inbound_calls_total{{outcome=\"{outcome}\"}} ");
    let line = text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
    line.map_or(0, |count| count.parse().unwrap())
}

fn a_payment_reaches_gsan(backend: Backend) {
    let Some(component) = component() else { return };
    run_on(backend, Setup::new(), async |app| {
        open_bank(app, component).await;
        app.receiver.always("/gsan", 200);
        let endpoint = gsan(app).await;
        let answer = bank_calls(app, LOT).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.expect(200), json!({"protocolo": "L-1", "recebidos": 2}));
        // The event was there before the answer was.
        let [event] = &events(app).await[..] else { panic!() };
        assert_eq!(
            (&event["type"], &event["correlation_id"]),
            (&json!("client-transaction"), &json!("L-1")),
            "{event}"
        );
        assert_eq!(app.receiver.only("/gsan").await.text(), SENT);
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!(delivery["correlation_id"], "L-1");

        // The bank did not hear the answer and sends the lot again.
        assert_eq!(bank_calls(app, LOT).await.expect(200), json!({"protocolo": "L-1", "recebidos": 2}));
        assert_eq!((events(app).await.len(), app.api.delivery_count("").await), (1, 1));
        // Another content under the same number is no repeat.
        bank_calls(app, &LOT.replace("1.234,50", "1.234,51")).await.expect_problem(409, "id_conflict");
        assert_eq!(events(app).await.len(), 1);

        let headers = [("x-bank-signature", &*signature(LOT.as_bytes()))];
        let forged = Bytes::from(LOT.replace("1.234,50", "9.999,99").replace("L-1", "L-2"));
        let forged = app.api.anonymous().send(Method::POST, "/v1/inbound/bank", &headers, forged).await;
        assert_eq!(forged.expect(401)["codigo"], "assinatura_invalida");
        assert_eq!((events(app).await.len(), app.receiver.seen("/gsan").len()), (1, 1), "nothing of it was kept");
        assert_eq!((counted(app, "answered").await, counted(app, "id_conflict").await), (3, 1));
        let log = app.engine.log();
        assert!(log.contains("inbound call") && !log.contains("01400-2"), "the body is in the log");
    });
}

#[test]
fn a_banks_call_becomes_gsans_event_once_and_a_forged_one_nothing() {
    a_payment_reaches_gsan(Backend::Sqlite);
}

#[test]
fn a_banks_call_becomes_gsans_event_once_and_a_forged_one_nothing_on_postgres() {
    a_payment_reaches_gsan(Backend::Postgres);
}

#[test]
fn the_banks_golden_files_hold_in_the_component_and_a_change_is_seen() {
    if component().is_none() {
        return;
    }
    let tested = passes(&folder(), &["plugin", "test", "--json"]);
    let report: Value = serde_json::from_str(&tested).unwrap();
    assert_eq!((&report["passed"], report["files"].as_array().map(Vec::len)), (&json!(true), Some(6)), "{report}");
    let checked = passes(&folder(), &["plugin", "check", "plugin.wasm", "--json"]);
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked["manifest"]["worlds"], json!(["receiver"]), "{checked}");
    let fixtures = tempfile::tempdir().unwrap();
    let golden = std::fs::read_to_string(folder().join("fixtures/paid.json")).unwrap();
    std::fs::write(fixtures.path().join("paid.json"), golden.replace("1234.50", "1234.5")).unwrap();
    let args = ["plugin", "test", "--fixtures", fixtures.path().to_str().unwrap()];
    let differs = std::process::Command::new(env!("CARGO_BIN_EXE_engate")).args(args).current_dir(folder()).output();
    let differs = differs.unwrap();
    let said = String::from_utf8_lossy(&differs.stdout).into_owned();
    assert_eq!(differs.status.code(), Some(1), "{said}");
    assert!(said.contains("answer") && said.contains("1234.50") && said.contains("1234.5}"), "{said}");
}

#[test]
fn an_answered_call_survives_a_kill_right_after_the_answer() {
    let Some(component) = component() else { return };
    run(async |app| {
        open_bank(app, component).await;
        // Nobody takes anything before the kills are over.
        app.receiver.always("/gsan", 503);
        gsan(app).await;
        for n in 0..6 {
            bank_calls(app, &LOT.replace("L-1", &format!("L-{n}"))).await.expect(200);
            app.engine.kill().await;
            app.engine.start_again().await;
        }
        assert_eq!(events(app).await.len(), 6);
        app.receiver.always("/gsan", 200);
        eventually("all of it is delivered", async || {
            for delivery in app.api.deliveries("success=no").await {
                drop(app.api.post(&format!("/v1/deliveries/{}/retry", id(&delivery)), &json!({})).await);
            }
            let done = app.api.delivery_count("state=succeeded").await;
            if done == 6 { Ok(()) } else { Err(format!("{done} of 6")) }
        })
        .await;
        app.doctor().await;
    });
}

fn compressed(body: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(body).unwrap();
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::best());
    deflate.write_all(body).unwrap();
    [("gzip", gzip.finish().unwrap()), ("deflate", deflate.finish().unwrap())]
}

#[test]
fn bodies_come_inflated_and_none_is_larger_than_allowed() {
    let Some(component) = component() else { return };
    run(async |app| {
        open_bank(app, component).await;
        app.receiver.always("/gsan", 200);
        gsan(app).await;
        let anonymous = app.api.anonymous();
        let send = async |coding: &str, signed: &[u8], body: Vec<u8>| {
            let headers = [("content-encoding", coding), ("x-bank-signature", &*signature(signed))];
            anonymous.send(Method::POST, "/v1/inbound/bank", &headers, body.into()).await
        };
        for (n, (coding, body)) in compressed(LOT.as_bytes()).into_iter().enumerate() {
            assert_eq!(send(coding, LOT.as_bytes(), body).await.expect(200)["protocolo"], "L-1", "{n}");
        }
        send("br", b"", vec![1]).await.expect_problem(415, "unsupported_media_type");
        send("gzip", b"", b"not gzip".to_vec()).await.expect_problem(400, "invalid_body");

        app.api.patch("/v1/inbounds/bank", &json!({"max_body_bytes": 200})).await.expect(200);
        bank_calls(app, LOT).await.expect(200);
        let large = "x".repeat(100_000);
        bank_calls(app, &large).await.expect_problem(413, "payload_too_large");
        for (coding, body) in compressed(large.as_bytes()) {
            assert!(body.len() <= 200, "{} bytes do not show the bound on what is inflated", body.len());
            send(coding, b"", body).await.expect_problem(413, "payload_too_large");
        }
        assert_eq!((events(app).await.len(), counted(app, "too_large").await), (1, 3));
    });
}

/// Installs a receiver that the template makes, and lets it answer at `calls`.
async fn open(app: &App, guest: Guest, fields: Value) {
    let path = "/v1/plugins?channel=stable";
    let pushed = app.api.send(Method::POST, path, &[("content-type", "application/wasm")], guest.build().into()).await;
    assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
    let mut inbound = json!({"name": "calls", "plugin": "calls"});
    inbound.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    app.api.post("/v1/inbounds", &inbound).await.expect(201);
}

async fn call(app: &App, headers: &[(&str, &str)]) -> Answer {
    app.api.anonymous().send(Method::POST, "/v1/inbound/calls", headers, Bytes::from("{}")).await
}

#[test]
fn more_calls_than_allowed_are_told_when_to_come_again() {
    run(async |app| {
        open(app, receiver(), json!({"rate_limit": {"per_second": 1, "burst": 3}})).await;
        let began = std::time::Instant::now();
        let (mut taken, mut refused) = (0_u64, 0_u64);
        for _ in 0..20 {
            let answer = call(app, &[]).await;
            if answer.status == 200 {
                taken += 1;
                continue;
            }
            let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert_eq!(wait, 1);
            answer.expect_problem(429, "rate_limited");
            refused += 1;
        }
        let allowed = 3 + began.elapsed().as_secs() + 1;
        assert!((3..=allowed).contains(&taken) && refused > 0, "{taken} taken, {refused} refused, {allowed} allowed");
        assert_eq!(counted(app, "rate_limited").await, refused);
        // It comes back by itself.
        eventually("a call is taken again", async || match call(app, &[]).await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        })
        .await;
    });
}

#[test]
fn a_receiver_that_loops_fails_its_caller_and_nobody_else() {
    run(async |app| {
        open(app, receiver().at("receive", LOOP), json!({})).await;
        for _ in 0..12 {
            let answer = call(app, &[]).await;
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            answer.expect_problem(502, "plugin_fault");
            assert!(!told.contains("cpu_limit") && !told.contains("calls@"), "a stranger is told too much: {told}");
        }
        assert_eq!(counted(app, "plugin_fault").await, 12);
        assert!(app.engine.log().contains("cpu_limit"), "whoever runs the engine is told why");
        app.receiver.always("/good", 200);
        let good = app.endpoint_at("/good", &["order.paid"]).await;
        app.api.emit("order.paid", json!({})).await;
        app.api.delivery_in(&good, "succeeded").await;
        assert_eq!(app.api.get("/healthz").await.status, 200);
        // A version that works is in use from the next call on.
        let better = receiver().swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"").build();
        let headers = [("content-type", "application/wasm")];
        let pushed = app.api.send(Method::POST, "/v1/plugins?channel=stable", &headers, better.into()).await;
        assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        assert_eq!(call(app, &[]).await.status, 200);
    });
}

#[test]
fn a_refusal_is_told_by_whether_another_try_is_of_use() {
    let problem = |retryable: u32| {
        let words = [(1200, 1), (1204, 2112), (1208, 3), (1212, 2080), (1216, 5), (1220, retryable)];
        words.map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).concat()
    };
    run(async |app| {
        open(app, receiver().at("receive", &problem(0)), json!({})).await;
        let answer = call(app, &[]).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("Calls"), "the plugin's words are the operator's");
        answer.expect_problem(400, "inbound_refused");
        let later = receiver().at("receive", &problem(1));
        let later = later.swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.1.1\"").build();
        let headers = [("content-type", "application/wasm")];
        app.api.send(Method::POST, "/v1/plugins?channel=stable", &headers, later.into()).await.expect_any();
        let answer = call(app, &[]).await;
        assert_eq!(answer.headers["retry-after"], "2");
        answer.expect_problem(503, "inbound_unavailable");
        assert_eq!(counted(app, "refused").await, 2);
    });
}

#[test]
fn the_callers_credentials_reach_the_plugin_and_no_log() {
    // Logs every header, and answers with every header.
    let echo = "(call $log (i32.const 3) (i32.const 2080) (i32.const 5) (local.get 6) (local.get 7))
                (i32.store (i32.const 1208) (local.get 6)) (i32.store (i32.const 1212) (local.get 7))";
    run(async |app| {
        open(app, receiver().at("receive", echo), json!({})).await;
        let headers =
            [("authorization", "Basic YmFuazpDQU5BUlkx"), ("cookie", "session=CANARY2"), ("x-own", "visible")];
        let answer = call(app, &headers).await;
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(
            (header("authorization"), header("cookie")),
            (Some("Basic YmFuazpDQU5BUlkx"), Some("session=CANARY2"))
        );
        assert_eq!(header("content-length"), Some("0"), "the engine's own, not what the plugin repeats");
        assert!(header("content-security-policy").unwrap().contains("sandbox"));
        assert_eq!(answer.status, 200);
        let log = app.engine.log();
        assert!(log.contains("x-own=visible"), "what the plugin logs is kept");
        assert!(!log.contains("CANARY") && !log.contains("YmFuazpDQU5BUlkx"), "a credential is in the log");
    });
}

#[test]
fn a_receiver_keeps_its_state_from_call_to_call_and_over_a_restart() {
    // Answers with what it kept, then keeps its title.
    let keep = "(call $state_get (i32.const 2112) (i32.const 3) (i32.const 4096))
                (i32.store (i32.const 1216) (i32.load8_u (i32.const 4100)))
                (i32.store (i32.const 1220) (i32.load (i32.const 4104)))
                (i32.store (i32.const 1224) (i32.load (i32.const 4108)))
                (call $state_put (i32.const 2112) (i32.const 3) (i32.const 2080) (i32.const 5) (i32.const 4128))";
    run(async |app| {
        open(app, receiver().at("receive", keep), json!({})).await;
        assert_eq!(call(app, &[]).await.body, Bytes::new());
        assert_eq!(call(app, &[]).await.body, Bytes::from("Calls"));
        app.engine.kill().await;
        app.engine.start_again().await;
        assert_eq!(call(app, &[]).await.body, Bytes::from("Calls"));
        app.api.delete("/v1/inbounds/calls").await.expect(204);
        app.api.post("/v1/inbounds", &json!({"name": "calls", "plugin": "calls"})).await.expect(201);
        assert_eq!(call(app, &[]).await.body, Bytes::new(), "what was kept went with the inbound");
    });
}

#[test]
fn an_event_of_a_type_that_nobody_entered_is_refused_and_told_to_the_operator() {
    let Some(component) = component() else { return };
    run(async |app| {
        open_bank(app, component).await;
        let answer = bank_calls(app, LOT).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("client-transaction"), "a stranger is told too much");
        answer.expect_problem(500, "inbound_event_refused");
        assert_eq!((events(app).await.len(), counted(app, "event_refused").await), (0, 1));
        let log = app.engine.log();
        assert!(log.contains("events[0].type") && log.contains("client-transaction"), "{log}");
        app.receiver.always("/gsan", 200);
        gsan(app).await;
        bank_calls(app, LOT).await.expect(200);
        app.receiver.only("/gsan").await;
    });
}

#[test]
fn a_name_that_is_disabled_looks_like_one_that_is_not_there() {
    run(async |app| {
        open(app, receiver(), json!({})).await;
        assert_eq!(call(app, &[]).await.status, 200);
        app.api.patch("/v1/inbounds/calls", &json!({"enabled": false})).await.expect(200);
        let disabled = call(app, &[]).await;
        let nobody = app.api.anonymous().send(Method::POST, "/v1/inbound/nobody", &[], Bytes::from("{}")).await;
        assert_eq!(disabled.body, nobody.body);
        disabled.expect_problem(404, "not_found");
        app.api.patch("/v1/inbounds/calls", &json!({"enabled": true})).await.expect(200);
        assert_eq!(call(app, &[]).await.status, 200);
        app.api.delete("/v1/inbounds/calls").await.expect(204);
        call(app, &[]).await.expect_problem(404, "not_found");
        assert_eq!(counted(app, "not_found").await, 3);
    });
}

#[test]
fn a_plugin_is_bound_only_to_what_it_is_made_for() {
    run(async |app| {
        open(app, receiver(), json!({})).await;
        let inbound = |plugin: &str| json!({"name": "other", "plugin": plugin});
        let blamed =
            async |plugin: &str| app.api.post("/v1/inbounds", &inbound(plugin)).await.expect_problem(422, "invalid");
        assert_eq!(
            (blamed("gsan").await, blamed("nobody").await),
            (vec!["plugin".to_owned()], vec!["plugin".to_owned()])
        );
        let fields = json!({"url": app.receiver.url("/x"), "event_types": ["a"], "plugin": "calls"});
        let refused = app.api.post("/v1/endpoints", &crate::harness::app::endpoint(fields)).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["plugin"]);
        let config = json!({"name": "other", "plugin": "calls", "config": [1]});
        let refused = app.api.post("/v1/inbounds", &config).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["config"]);
        app.api
            .post("/v1/inbounds", &json!({"name": "calls", "plugin": "calls"}))
            .await
            .expect_problem(409, "already_exists");

        // Nor does a channel move to a version that is made for something else.
        let integrator = crate::harness::guests::guest()
            .swap("(i32.const 2048) \"guest\"", "(i32.const 2048) \"calls\"")
            .swap("(i32.const 2064) \"0.1.0\"", "(i32.const 2064) \"0.2.0\"")
            .build();
        let push = async |channel: &str| {
            let path = format!("/v1/plugins?channel={channel}");
            let headers = [("content-type", "application/wasm")];
            app.api.send(Method::POST, &path, &headers, integrator.clone().into()).await
        };
        let refused = push("stable").await;
        assert!(String::from_utf8_lossy(&refused.body).contains("inbound calls"), "it names who has it");
        refused.expect_problem(409, "config_mismatch");
        push("next").await.expect_any();
        let refused = app.api.post("/v1/plugins/calls/promote", &json!({"version": "0.2.0"})).await;
        refused.expect_problem(409, "config_mismatch");
        assert_eq!(call(app, &[]).await.status, 200);
        let tried = json!({"version": "0.1.0", "event": {"type": "a", "payload": 1}});
        app.api.post("/v1/plugins/calls/try", &tried).await.expect_problem(422, "invalid");
    });
}

#[test]
fn inbounds_are_the_operators_and_each_change_is_audited() {
    run(async |app| {
        open(app, receiver(), json!({"description": "Calls", "max_body_bytes": 77})).await;
        let token = async |role: &str, integrator: Option<&str>| {
            let mut body = json!({"client": role, "role": role});
            if let Some(integrator) = integrator {
                body["integrator"] = json!(integrator);
            }
            let made = app.api.post("/v1/tokens", &body).await.expect(201);
            app.api.with_token(made["token"].as_str().unwrap())
        };
        let (auditor, integrator) = (token("auditor", None).await, token("integrator", Some("partner")).await);
        let shown = auditor.get("/v1/inbounds/calls").await.expect(200);
        assert_eq!((&shown["max_body_bytes"], &shown["rate_limit"]["burst"]), (&json!(77), &json!(40)), "{shown}");
        auditor.patch("/v1/inbounds/calls", &json!({"enabled": false})).await.expect_problem(403, "forbidden");
        auditor.delete("/v1/inbounds/calls").await.expect_problem(403, "forbidden");
        integrator.get("/v1/inbounds").await.expect_problem(403, "forbidden");
        app.api.patch("/v1/inbounds/calls", &json!({"name": "x"})).await.expect_problem(422, "invalid");
        app.api.patch("/v1/inbounds/calls", &json!({"description": "", "config": null})).await.expect(200);
        let listed = app.engine.client(&["inbound", "list"]).await;
        assert!(String::from_utf8_lossy(&listed.stdout).contains("/v1/inbound/calls"));
        let shown = app.engine.client(&["inbound", "show", "calls"]).await;
        assert!(String::from_utf8_lossy(&shown.stdout).contains("20 a second, 40 at once"));
        let deleted = app.engine.client(&["inbound", "delete", "calls"]).await;
        assert!(deleted.status.success());
        app.api.get("/v1/inbounds/calls").await.expect_problem(404, "not_found");
        let audit = app.api.get("/v1/audit?limit=500").await.expect(200);
        let entries = audit["items"].as_array().unwrap().iter().filter(|entry| entry["object"] == "calls");
        let mut actions: Vec<_> = entries.filter_map(|entry| entry["action"].as_str()).collect();
        actions.retain(|action| action.starts_with("inbound."));
        actions.sort_unstable();
        assert_eq!(actions, ["inbound.create", "inbound.delete", "inbound.update"]);
    });
}
