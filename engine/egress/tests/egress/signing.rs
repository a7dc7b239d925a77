//! Signatures, judged by the standard's own library.

use std::{io::Read as _, time::SystemTime};

use engate_egress::{Outbound, SignInput, generate_signing_secret};
use engate_model::{Secret, Timestamp};
use standardwebhooks::Webhook;

use crate::loopback::{Partner, Seen, egress, post};

pub(crate) fn inflate(body: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut inflated).unwrap();
    inflated
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

async fn signed(keys: Vec<&Secret>, compress: bool) -> Seen {
    let mut partner = Partner::obliging().await;
    let url = partner.url("/");
    let sign = Some(SignInput { webhook_id: "dlv_018f", timestamp: now(), keys });
    egress().send(Outbound { sign, compress, body: "{\"é\": 1.50}".into(), ..post(&url) }).await.unwrap();
    partner.seen.recv().await.unwrap()
}

fn verify(key: &Secret, seen: &Seen, body: &[u8]) -> bool {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &seen.headers {
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
    }
    Webhook::new(key.expose()).unwrap().verify(body, &headers).is_ok()
}

#[tokio::test]
async fn signatures_verify_with_both_keys_during_a_rotation() {
    let (new, old, other) =
        (generate_signing_secret([1; 32]), generate_signing_secret([2; 32]), generate_signing_secret([3; 32]));
    let seen = signed(vec![&new, &old], false).await;
    assert!(verify(&new, &seen, &seen.body));
    assert!(verify(&old, &seen, &seen.body));
    assert!(!verify(&other, &seen, &seen.body));
    assert!(!verify(&new, &seen, b"{}"));
    assert_eq!(seen.header("webhook-id").as_deref(), Some("dlv_018f"));
    assert_eq!(seen.header("webhook-signature").unwrap().split(' ').count(), 2);
}

#[tokio::test]
async fn the_signature_covers_the_body_before_compression() {
    let key = generate_signing_secret([1; 32]);
    let seen = signed(vec![&key], true).await;
    assert_eq!(seen.header("content-encoding").as_deref(), Some("gzip"));
    assert!(verify(&key, &seen, &inflate(&seen.body)));
}

#[tokio::test]
async fn without_keys_id_and_time_go_out_unsigned() {
    let seen = signed(vec![], false).await;
    assert!(seen.header("webhook-id").is_some() && seen.header("webhook-timestamp").is_some());
    assert_eq!(seen.header("webhook-signature"), None);
}

#[tokio::test]
async fn a_malformed_key_fails_without_being_shown() {
    let key = Secret::new("hush");
    let sign = Some(SignInput { webhook_id: "dlv_1", timestamp: Timestamp::from_millis(0), keys: vec![&key] });
    let failed = egress().send(Outbound { sign, ..post("http://127.0.0.1:1/") }).await.unwrap_err();
    assert_eq!(failed.failure.code, "invalid_request");
    assert!(!format!("{failed:?}").contains("hush"));
}
