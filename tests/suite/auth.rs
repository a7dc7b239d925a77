//! How the engine shows partners who it is, and how little of it is ever seen elsewhere.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{
    App, Reply, Setup,
    api::id,
    app,
    engine::ADMIN_TOKEN,
    guests::{guest, store},
    run, run_with,
};

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

#[test]
fn p14_an_endpoint_with_oauth2_is_shown_one_token_until_it_says_401() {
    run(async |app| {
        let token =
            |n: u32| Reply::status(200).json(&json!({"access_token": format!("secret-token-{n}"), "expires_in": 3600}));
        app.receiver.script("/token", [token(1), token(2)]);
        app.receiver.always("/hook", 200);
        let auth = json!({
            "type": "oauth2", "token_url": app.receiver.url("/token"), "client_id": "engate",
            "client_secret": PASSWORD, "scope": "authorization_api",
        });
        let endpoint = endpoint_with(app, "/hook", auth).await;
        for _ in 0..20 {
            app.api.emit("P1", json!({})).await;
        }
        let received = app.receiver.wait("/hook", 20).await;
        assert!(received.iter().all(|received| received.header("authorization") == "Bearer secret-token-1"));
        assert!(
            app.receiver.only("/token").await.text().starts_with("grant_type=client_credentials&client_id=engate&")
        );
        // The partner takes it no more: another is fetched, and the delivery does not fail.
        app.receiver.on("/hook", |received| match received.header("authorization") {
            "Bearer secret-token-1" => Reply::status(401),
            _ => Reply::status(200),
        });
        app.api.emit("P1", json!({})).await;
        app.api.settled().await;
        let delivered = app.api.deliveries(&format!("endpoint={endpoint}&state=succeeded")).await;
        assert_eq!((delivered.len(), app.receiver.seen("/token").len()), (21, 2));
        let shown = app.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        let expected = json!({
            "type": "oauth2", "token_url": app.receiver.url("/token"), "client_id": "engate",
            "scope": "authorization_api", "secret_set": true,
        });
        assert_eq!(shown["auth"], expected);
        let attempt = app.api.attempt(&delivered[0]).await;
        assert!(!format!("{attempt}{}", app.engine.log()).contains("secret-token"), "{attempt}");
    });
}

#[test]
fn p14_a_token_url_is_guarded_and_a_refusal_is_told_without_the_secret() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let auth =
            |url: &str| json!({"type": "oauth2", "token_url": url, "client_id": "engate", "client_secret": PASSWORD});
        let fields =
            json!({"url": app.receiver.url("/hook"), "event_types": ["P1"], "auth": auth("http://169.254.169.254/t")});
        let refused = app.api.post("/v1/endpoints", &app::endpoint(fields)).await;
        assert_eq!(refused.expect_problem(422, "egress_denied"), ["auth.token_url"]);
        let told = json!({"error": "invalid_client", "error_description": format!("{PASSWORD} is wrong")});
        app.receiver.script("/token", [Reply::status(400).json(&told)]);
        let endpoint = endpoint_with(app, "/hook", auth(&app.receiver.url("/token"))).await;
        app.api.emit("P1", json!({})).await;
        let failed = app.api.delivery_in(&endpoint, "failed").await;
        let attempt = app.api.attempt(&failed).await;
        assert!(
            attempt.to_string().contains("oauth2_refused") && attempt.to_string().contains("invalid_client"),
            "{attempt}"
        );
        assert!(!attempt.to_string().contains(PASSWORD), "{attempt}");
        assert_eq!(app.receiver.seen("/hook").len(), 0, "nothing was sent without a token");
    });
}

#[test]
fn a_plugin_names_a_credential_and_the_engine_shows_it() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let url = app.receiver.url("/hook");
        // Its request names the credential `key`.
        let length = u32::try_from(url.len()).unwrap();
        let request = [(1216, 3000), (1220, length), (1248, 1), (1252, 2256), (1256, 3)];
        let guest = guest()
            .at("data", &format!("(data (i32.const 3000) {url:?})"))
            .at("transform", &request.map(|(address, value)| store(address, value)).concat());
        let headers = [("content-type", "application/wasm")];
        let path = "/v1/plugins?channel=stable";
        let pushed = app.api.send(reqwest::Method::POST, path, &headers, guest.build().into()).await;
        assert!(matches!(pushed.status, 200..=202), "{}", String::from_utf8_lossy(&pushed.body));
        let retry = json!({"schedule_ms": [0]});
        let fields = json!({"url": url, "event_types": ["P1"], "plugin": "guest", "retry": retry});
        let endpoint = id(&app.endpoint(fields).await);
        app.api.emit("P1", json!({})).await;
        let failed = app.api.delivery_in(&endpoint, "failed").await;
        assert!(app.api.attempt(&failed).await.to_string().contains("credential profile `key` is not granted"));
        app.api.put("/v1/secrets/partner-key", &json!({"value": NAMED})).await.expect_any();
        let profile = json!({"name": "key", "type": "headers", "headers": [
            {"name": "x-auth-key", "secret": "partner-key"}, {"name": "x-auth-connectorid", "value": "c-1"},
        ]});
        let grants = json!({"credentials": [profile]});
        let granted = app.api.put("/v1/plugins/guest/grants", &grants).await.expect(200);
        assert_eq!((&granted["credentials"][0], &granted["secrets_missing"]), (&profile, &json!([])));
        app.api.emit("P1", json!({})).await;
        let received = app.receiver.only("/hook").await;
        assert_eq!((received.header("x-auth-key"), received.header("x-auth-connectorid")), (NAMED, "c-1"));
        app.api.settled().await;
        let delivered = app.api.deliveries(&format!("endpoint={endpoint}&state=succeeded")).await;
        let attempt = app.api.attempt(&delivered[0]).await.to_string();
        assert!(!attempt.contains(NAMED) && attempt.contains("x-auth-key"), "{attempt}");
        let wrong =
            json!({"credentials": [{"name": "key", "type": "headers", "headers": [{"name": "host", "value": "x"}]}]});
        let refused = app.api.put("/v1/plugins/guest/grants", &wrong).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["credentials[0].headers.host"]);
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
