//! Partners that call us: the example bank against a real engine.

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
        eventually, run, run_on,
    },
    languages::{is_there, passes},
};

const KEY: &str = "the bank's key, long enough for anyone";
const LOT: &str = r#"{"lote":"L-1","pagamentos":[{"id":1,"cliente":"01400-2","valor":"1.234,50"},{"id":2,"cliente":"01400-3","valor":"0,05"}]}"#;
/// What GSAN gets of it, byte for byte.
const SENT: &str = r#"{"client-transaction":[{"idtransaction":1,"idcliente":"01400-2","valorpago":1234.50},{"idtransaction":2,"idcliente":"01400-3","valorpago":0.05}]}"#;

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
pub(crate) async fn counted(app: &App, outcome: &str) -> u64 {
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
fn an_event_that_does_not_meet_its_schema_is_refused_and_told_to_the_operator() {
    let Some(component) = component() else { return };
    run(async |app| {
        open_bank(app, component).await;
        app.receiver.always("/gsan", 200);
        gsan(app).await;
        let at = "/v1/event-types/client-transaction";
        app.api.patch(at, &json!({"schema": {"const": "nobody-has-it"}})).await.expect(200);
        let answer = bank_calls(app, LOT).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("nobody-has-it"), "a stranger is told too much");
        answer.expect_problem(500, "inbound_event_refused");
        assert_eq!((events(app).await.len(), counted(app, "event_refused").await), (0, 1));
        let log = app.engine.log();
        assert!(log.contains("events[0].payload") && log.contains("nobody-has-it"), "{log}");
        app.api.patch(at, &json!({"schema": null})).await.expect(200);
        bank_calls(app, LOT).await.expect(200);
        app.receiver.only("/gsan").await;
    });
}
