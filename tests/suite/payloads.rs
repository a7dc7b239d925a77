//! Bytes in, the same bytes out; and what is kept of the answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::harness::{Reply, Setup, run, run_with};

/// JSON that no two libraries spell alike.
const SPELLED: &str = concat!(
    r#"{"z":1,"a":10.50,"big":123456789012345678901234567890,"e":1E+5,"minus":-0.0,"#,
    r#""text":"\u00e7\/ç😀\ud83d\ude00","space" : [ 1 ,2, { } ] ,"twice":1,"twice":2}"#
);

#[test]
fn a_payload_arrives_byte_for_byte() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.post_text("/v1/events", &format!("{{\"payload\": {SPELLED} , \"type\":\"P1\"}}")).await.expect(202);
        let received = app.receiver.only("/hook").await;
        assert_eq!((received.method.as_str(), received.text()), ("POST", SPELLED));
        assert_eq!(received.header("content-type"), "application/json");
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let request = &app.api.attempt(&delivery).await["request"];
        assert_eq!((&request["body"], &request["method"]), (&json!(SPELLED), &json!("POST")), "{request}");
    });
}

#[test]
fn a_payload_survives_a_restart_byte_for_byte() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(500), Reply::status(200)]);
        let endpoint = app.endpoint_retrying("/hook", "P1", &[0, 1_000]).await;
        app.api.post_text("/v1/events", &format!("{{\"type\":\"P1\",\"payload\":{SPELLED}}}")).await.expect(202);
        app.api.delivery(&endpoint, |delivery| delivery["attempts"] == 1).await;
        app.engine.kill().await;
        app.engine.start_again().await;
        let seen = app.receiver.wait("/hook", 2).await;
        assert_eq!(seen[1].text(), SPELLED);
    });
}

#[test]
fn an_answer_is_kept_as_it_came() {
    run(async |app| {
        let body = "{\"motivo\":\"não\" }\n";
        app.receiver.script("/text", [Reply::status(422).header("X-Partner", "a").body(body)]);
        app.receiver.script("/bytes", [Reply::status(200).body(vec![0_u8, 159, 146, 150])]);
        let text = app.endpoint_at("/text", &["P1"]).await;
        let bytes = app.endpoint_at("/bytes", &["P1"]).await;
        app.api.emit("P1", json!({})).await;
        let response = &app.api.attempt(&app.api.delivery_in(&text, "failed").await).await["response"];
        assert_eq!((&response["status"], &response["body"]), (&json!(422), &json!(body)), "{response}");
        assert_eq!(response["truncated"], json!(false));
        assert!(response["headers"].to_string().contains("x-partner"), "{response}");
        let response = &app.api.attempt(&app.api.delivery_in(&bytes, "succeeded").await).await["response"];
        assert_eq!(response["body_encoding"], "base64", "{response}");
        assert_eq!(STANDARD.decode(response["body"].as_str().unwrap()).unwrap(), [0, 159, 146, 150]);
    });
}

#[test]
fn an_answer_over_the_cap_is_cut_and_says_so() {
    run_with(Setup::new().set("delivery.response_bytes_max", "4096"), async |app| {
        app.receiver.script("/hook", [Reply::status(200).body(vec![b'x'; 1 << 20])]);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let response = &app.api.attempt(&delivery).await["response"];
        assert_eq!(response["truncated"], json!(true));
        assert_eq!(response["body"].as_str().unwrap().len(), 4096);
    });
}

#[test]
fn a_payload_over_the_bound_is_refused() {
    run_with(Setup::new().set("events.payload_bytes_max", "1000"), async |app| {
        let of_length = |length: usize| json!({"type": "P1", "payload": "x".repeat(length - 2)});
        app.api.post("/v1/events", &of_length(1_000)).await.expect(202);
        app.api.post("/v1/events", &of_length(1_001)).await.expect_problem(413, "payload_too_large");
    });
}

#[test]
fn an_endpoints_own_headers_go_out_and_reserved_ones_are_refused() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let url = app.receiver.url("/hook");
        app.endpoint(json!({"url": url, "event_types": ["P1"], "headers": {"x-source": "engate"}})).await;
        app.api.emit("P1", json!({})).await;
        let received = app.receiver.only("/hook").await;
        assert_eq!(received.header("x-source"), "engate");
        assert!(received.header("user-agent").starts_with("engate/"));
        let reserved =
            crate::harness::app::endpoint(json!({"url": url, "event_types": ["P1"], "headers": {"host": "x"}}));
        app.api.post("/v1/endpoints", &reserved).await.expect_problem(422, "invalid");
    });
}
