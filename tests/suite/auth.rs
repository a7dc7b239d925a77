//! How the engine shows partners who it is, and how little of it is ever seen elsewhere.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{App, Setup, api::id, engine::ADMIN_TOKEN, run, run_with};

async fn endpoint_with(app: &App, path: &str, auth: Value) -> String {
    let url = app.receiver.url(path);
    id(&app.endpoint(json!({"url": url, "event_types": ["P1"], "auth": auth})).await)
}

#[test]
fn o09_basic_auth_is_utf8_and_401_is_auth_rejected() {
    run(async |app| {
        app.receiver.always("/hook", 401);
        let auth = json!({"type": "basic", "username": "ons", "password": "a:b ç"});
        let endpoint = endpoint_with(app, "/hook", auth).await;
        app.api.emit("P1", json!({})).await;
        let received = app.receiver.only("/hook").await;
        let encoded = received.header("authorization").strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), "ons:a:b ç".as_bytes());
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!((&delivery["success"], &delivery["reason"]), (&json!(false), &json!("auth_rejected")));
    });
}

#[test]
fn o10_a_key_goes_out_as_it_was_given() {
    run(async |app| {
        for (path, key) in [("/bare", "ninguemsabe"), ("/bearer", "Bearer x")] {
            app.receiver.always(path, 200);
            endpoint_with(app, path, json!({"type": "authorization", "value": key})).await;
        }
        app.api.emit("P1", json!({})).await;
        for (path, key) in [("/bare", "ninguemsabe"), ("/bearer", "Bearer x")] {
            let received = app.receiver.only(path).await;
            let values: Vec<_> = received.headers.get_all("authorization").iter().collect();
            assert_eq!(values, [key]);
        }
    });
}

#[test]
fn o11_none_means_no_header_at_all() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        endpoint_with(app, "/hook", json!({"type": "none"})).await;
        app.api.emit("P1", json!({})).await;
        let received = app.receiver.only("/hook").await;
        assert!(!received.headers.contains_key("authorization"), "{:?}", received.headers);
    });
}

#[test]
fn a_header_of_another_name_carries_the_key() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        endpoint_with(app, "/hook", json!({"type": "header", "name": "X-Api-Key", "value": "k-1"})).await;
        app.api.emit("P1", json!({})).await;
        assert_eq!(app.receiver.only("/hook").await.header("x-api-key"), "k-1");
    });
}

/// Texts that must be nowhere but in the partner's request.
const PASSWORD: &str = "canary-password-4711";
const KEY: &str = "canary-key-0815";
const NAMED: &str = "canary-named-secret-1234567890123";

#[test]
fn o12_secrets_go_in_and_never_come_out() {
    run_with(Setup::new().set("log.level", "debug"), async |app| {
        app.receiver.always("/basic", 401);
        app.receiver.always("/key", 200);
        let basic = json!({"type": "basic", "username": "ons", "password": PASSWORD});
        let endpoints = [
            endpoint_with(app, "/basic", basic).await,
            endpoint_with(app, "/key", json!({"type": "authorization", "value": KEY})).await,
        ];
        app.api.put("/v1/secrets/sintegre-link", &json!({"value": NAMED})).await;
        app.api.emit("P1", json!({"visible": "canary-payload"})).await;
        app.api.settled().await;
        let mut answers = String::new();
        for endpoint in &endpoints {
            let shown = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
            assert_eq!(shown["auth"]["secret_set"], json!(true), "{shown}");
            let delivery = app.api.delivery(endpoint, |_| true).await;
            let attempt = app.api.attempt(&delivery).await;
            assert!(attempt["request"]["headers"].to_string().contains("***"), "masked, not left out: {attempt}");
            answers += &format!("{shown}{delivery}{attempt}");
        }
        for path in ["/v1/endpoints", "/v1/secrets", "/v1/audit", "/v1/tokens", "/metrics", "/v1/events"] {
            answers += &app.api.get(path).await.expect(200).to_string();
        }
        let log = app.engine.log();
        app.engine.kill().await;
        let files = everything_below(app.engine.data().parent().unwrap());
        assert!(find(&files, b"under test"), "the search finds what is not encrypted");
        let basic = STANDARD.encode(format!("ons:{PASSWORD}"));
        for secret in [PASSWORD, KEY, NAMED, &basic, ADMIN_TOKEN] {
            assert!(!answers.contains(secret), "the API shows {secret}");
            assert!(!log.contains(secret), "the log shows {secret}");
            assert!(!find(&files, secret.as_bytes()), "a file holds {secret}");
        }
        assert_eq!(app.receiver.seen("/key")[0].header("authorization"), KEY, "the partner got it");
    });
}

/// The bytes of every file of the test: database, its log, the data folder, captured output.
pub(crate) fn everything_below(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { everything_below(&path) } else { vec![std::fs::read(path).unwrap()] })
        .collect()
}

pub(crate) fn find(files: &[Vec<u8>], needle: &[u8]) -> bool {
    files.iter().any(|file| file.windows(needle.len()).any(|window| window == needle))
}
