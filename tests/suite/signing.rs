//! Signatures that any Standard Webhooks library verifies; here that standard's own.

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::{App, Received, api::id, run};

async fn signed_endpoint(app: &App) -> (String, Webhook) {
    let endpoint = app.endpoint(json!({"url": app.receiver.url("/hook"), "event_types": ["P1"]})).await;
    let shown = app.api.get(&format!("/v1/endpoints/{}", id(&endpoint))).await.expect(200);
    let secret = secret_of(&endpoint);
    assert!(!shown.to_string().contains(&secret), "shown a second time: {shown}");
    (id(&endpoint), Webhook::new(&secret).unwrap())
}

fn secret_of(answer: &Value) -> String {
    let secret = answer["signing_secret"].as_str().unwrap_or_else(|| panic!("no signing_secret in {answer}"));
    assert!(secret.starts_with("whsec_"), "{secret}");
    secret.to_owned()
}

fn verifies(key: &Webhook, received: &Received) -> bool {
    key.verify(&received.body, &received.headers).is_ok()
}

#[test]
fn the_standards_own_library_verifies_a_delivery() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let (_, key) = signed_endpoint(app).await;
        app.api.emit("P1", json!({"á": 1})).await;
        let received = app.receiver.only("/hook").await;
        key.verify(&received.body, &received.headers).unwrap();
        let mut tampered = received.clone();
        tampered.body = "{}".into();
        assert!(!verifies(&key, &tampered));
        let other = Webhook::from_bytes(vec![7; 32]).unwrap();
        assert!(!verifies(&other, &received));
    });
}

#[test]
fn every_attempt_is_signed_anew_under_the_same_id() {
    run(async |app| {
        app.receiver.script("/hook", [crate::harness::Reply::status(500), crate::harness::Reply::status(200)]);
        let (endpoint, key) = signed_endpoint(app).await;
        let retry = json!({"retry": {"schedule_ms": [0, 1_200]}});
        app.api.patch(&format!("/v1/endpoints/{endpoint}"), &retry).await.expect(200);
        app.api.emit("P1", json!({})).await;
        let seen = app.receiver.wait("/hook", 2).await;
        assert!(seen.iter().all(|received| verifies(&key, received)));
        assert_eq!(seen[0].webhook_id(), seen[1].webhook_id());
        assert_ne!(seen[0].header("webhook-timestamp"), seen[1].header("webhook-timestamp"));
    });
}

#[test]
fn during_a_rotation_both_keys_verify() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let (endpoint, old) = signed_endpoint(app).await;
        let rotated = app.api.post(&format!("/v1/endpoints/{endpoint}/rotate-secret"), &json!({})).await.expect(200);
        let new = Webhook::new(&secret_of(&rotated)).unwrap();
        app.api.emit("P1", json!({})).await;
        let received = app.receiver.only("/hook").await;
        assert!(verifies(&old, &received) && verifies(&new, &received), "{:?}", received.headers);
    });
}
