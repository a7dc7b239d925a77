//! What a token's holder is not shown (seed G2: a restricted field is absent).

use serde_json::{Value, json};

use crate::harness::{
    App, Reply,
    api::{Api, id},
    run,
};

async fn reader(app: &App, redact: &[&str]) -> Api {
    let body = json!({"client": format!("bi-{}", redact.join("-")), "role": "auditor", "redact": redact});
    let made = app.api.post("/v1/tokens", &body).await.expect(201);
    app.api.with_token(made["token"].as_str().unwrap())
}

#[test]
fn g2_a_restricted_field_is_absent_wherever_it_would_be_shown() {
    run(async |app| {
        let echo = json!({"cpf": "123.456.789-09", "status": "ok"});
        app.receiver.script("/hook", [Reply::status(200).json(&echo)]);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let payload = r#"{"type":"P1","payload":{"cpf":"123.456.789-09","valor":10.50,"filhos":[{"cpf":"987"}]}}"#;
        let event = id(&app.api.post_text("/v1/events", payload).await.expect(202));
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let paths = [
            format!("/v1/events/{event}"),
            format!("/v1/deliveries/{}/attempts", id(&delivery)),
            "/v1/deliveries".to_owned(),
            "/v1/events".to_owned(),
            "/v1/replays".to_owned(),
        ];
        let bi = reader(app, &["cpf"]).await;
        for path in &paths {
            let whole = app.api.get(path).await.expect(200);
            let text = String::from_utf8(bi.get(path).await.body.to_vec()).unwrap();
            assert!(!text.contains("123.456") && !text.contains("987\""), "{path}: {text}");
            let shown: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(shown.as_object().unwrap().len(), whole.as_object().unwrap().len(), "{path} keeps its form");
        }
        let text = String::from_utf8(bi.get(&paths[0]).await.body.to_vec()).unwrap();
        assert!(text.contains(r#""payload":{"valor":10.50,"filhos":[{}]}"#), "the rest stays as spelled: {text}");
        let attempts = bi.get(&paths[1]).await.expect(200);
        let request: Value = serde_json::from_str(attempts["items"][0]["request"]["body"].as_str().unwrap()).unwrap();
        assert!(request.to_string().contains("10.5") && !request.to_string().contains("cpf"), "{request}");
        assert_eq!(attempts["items"][0]["response"]["body"], r#"{"status":"ok"}"#);
        // By its place, too, and only there.
        let by_place = reader(app, &["/cpf"]).await;
        let shown = by_place.get(&paths[0]).await.expect(200);
        assert_eq!(shown["payload"], json!({"valor": 10.5, "filhos": [{"cpf": "987"}]}));
        let whole = reader(app, &["payload", "request", "response"]).await;
        assert!(whole.get(&paths[0]).await.expect(200).get("payload").is_none());
        assert!(whole.get(&paths[1]).await.expect(200)["items"][0].get("request").is_none());
    });
}

#[test]
fn g2_what_is_hidden_is_not_asked_about_either() {
    run(async |app| {
        app.receiver.always("/hook", 200);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.api.event(json!({"type": "P1", "subject": "123.456.789-09", "payload": 1})).await;
        app.api.delivery_in(&endpoint, "succeeded").await;
        let bi = reader(app, &["subject", "/state", "integrator_name", "attempts", "created_at"]).await;
        for (query, field) in [
            ("sort=-subject", "sort"),
            ("sort=code,subject", "sort"),
            ("sort=integrator", "sort"),
            ("q=123.456", "q"),
            ("state=succeeded", "state"),
            ("attempts_gte=1", "attempts_gte"),
            ("created_from=2026-01-01", "created_from"),
        ] {
            for path in ["/v1/deliveries", "/v1/deliveries.ndjson"] {
                let refused = bi.get(&format!("{path}?{query}")).await;
                assert_eq!(refused.expect_problem(403, "redacted"), [field], "{path}?{query}");
            }
        }
        for query in ["", "sort=-code", "success=yes", "event_type=P1", "limit=1", "sort=event_type,code"] {
            assert_eq!(bi.get(&format!("/v1/deliveries?{query}")).await.expect(200)["total"], 1, "{query}");
        }
    });
}

#[test]
fn g2_what_cannot_be_looked_through_is_not_shown_at_all() {
    run(async |app| {
        app.receiver.script("/hook", [Reply::status(200).body("cpf=123.456.789-09")]);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let headers = [
            ("content-type", "text/plain"),
            ("ce-id", "1"),
            ("ce-source", "/x"),
            ("ce-type", "P1"),
            ("ce-specversion", "1.0"),
        ];
        let sent = app.api.send(axum::http::Method::POST, "/v1/events", &headers, "cpf 123.456.789-09".into()).await;
        let event = id(&sent.expect(202));
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let bi = reader(app, &["cpf"]).await;
        assert_eq!(bi.get(&format!("/v1/events/{event}")).await.expect(200)["payload"], "***");
        let attempts = bi.get(&format!("/v1/deliveries/{}/attempts", id(&delivery))).await.expect(200);
        assert_eq!(attempts["items"][0]["response"]["body"], "***", "{attempts}");
        let exports = reader(app, &["subject"]).await;
        for path in ["/v1/deliveries.csv", "/v1/deliveries.pdf", "/v1/deliveries/print"] {
            assert_eq!(app.api.get(path).await.status, 200, "{path}");
            exports.get(path).await.expect_problem(403, "redacted");
        }
        let lines = |answer: &crate::harness::api::Answer| String::from_utf8(answer.body.to_vec()).unwrap();
        let (whole, redacted) =
            (app.api.get("/v1/deliveries.ndjson").await, exports.get("/v1/deliveries.ndjson").await);
        assert!(lines(&whole).contains("\"subject\"") && !lines(&redacted).contains("\"subject\""));
        assert_eq!(lines(&whole).lines().count(), lines(&redacted).lines().count());
        let component = app.api.get("/v1/plugins/gsan").await.expect(200)["version"].as_str().map(str::to_owned);
        if let Some(version) = component {
            let path = format!("/v1/plugins/gsan/versions/{version}/component");
            assert_eq!(app.api.get(&path).await.status, 200);
            bi.get(&path).await.expect_problem(403, "redacted");
        }
        let export = bi.get("/v1/audit.ndjson").await;
        assert!(export.status == 200 && export.body.ends_with(b"\n"), "lines of JSON are looked through one by one");
    });
}

#[test]
fn g2_what_lies_too_deep_to_be_looked_into_is_not_shown_and_harms_nobody() {
    run(async |app| {
        let deep = format!(r#"{}{{"cpf":"123.456.789-09"}}{}"#, "[".repeat(8_000), "]".repeat(8_000));
        app.receiver
            .script("/hook", [Reply::status(200).header("content-type", "application/json").body(deep.clone())]);
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        let event = json!({"type": "P1", "payload": {"x": deep, "v": 1}});
        let event = id(&app.api.post("/v1/events", &event).await.expect(202));
        let delivery = app.api.delivery_in(&endpoint, "succeeded").await;
        let bi = reader(app, &["cpf"]).await;
        let paths = [format!("/v1/deliveries/{}/attempts", id(&delivery)), format!("/v1/events/{event}")];
        let texts = ["/items/0/response/body", "/payload/x"];
        for (path, text) in paths.iter().zip(texts) {
            let shown = bi.get(path).await.expect(200);
            assert!(!shown.to_string().contains("123.456"), "{path}: {shown}");
            let text = shown.pointer(text).and_then(Value::as_str).unwrap();
            assert!(text.starts_with("[[[[") && text.contains(r#"["***"]"#) && text.len() < 300, "{path}: {text}");
            let whole = app.api.get(path).await.expect(200).to_string();
            assert!(whole.contains("123.456.789-09"), "{path} shows others all of it");
        }
        assert_eq!(bi.get(&paths[1]).await.expect(200)["payload"]["v"], 1);
    });
}

#[test]
fn g2_what_a_sending_by_hand_answers_is_redacted_too() {
    run(async |app| {
        let replies = [
            Reply::status(200).body("cpf=123.456.789-09"),
            Reply::status(200).body(&b"\xff123.456.789-09"[..]),
            Reply::status(200).json(&json!({"cpf": "123.456.789-09", "status": "ok"})),
        ];
        let endpoint = app.endpoint_at("/hook", &["P1"]).await;
        app.receiver.always("/hook", 200);
        app.api.emit("P1", json!({"v": 1})).await;
        app.api.delivery_in(&endpoint, "succeeded").await;
        let body = json!({"client": "by-hand", "role": "operator", "redact": ["cpf"]});
        let made = app.api.post("/v1/tokens", &body).await.expect(201);
        let operator = app.api.with_token(made["token"].as_str().unwrap());
        let base = format!("/v1/endpoints/{endpoint}");
        for (reply, shown) in replies.into_iter().zip(["***", "***", r#"{"status":"ok"}"#]) {
            app.receiver.script("/hook", [reply]);
            let sent = operator.post(&format!("{base}/event-types/P1/send"), &json!({})).await.expect(200);
            assert_eq!(sent["response_body"], shown, "{sent}");
            let all = operator.post(&format!("{base}/send-all"), &json!({})).await.expect(200);
            assert_eq!(all["sent"][0]["response_body"], shown, "{all}");
            let tried = operator.post(&format!("{base}/test"), &json!({"event_type": "P1"})).await.expect(200);
            assert_eq!(tried["response_body"], shown, "{tried}");
        }
    });
}
