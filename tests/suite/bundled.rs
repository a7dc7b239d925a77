//! The bundled plugins that many partners share: `voalle` and `standard`.

use serde_json::{Value, json};

use crate::harness::{App, Reply, api::id, run};

async fn endpoint(app: &App, path: &str, plugin: &str, config: Value) -> String {
    let fields = json!({
        "url": app.receiver.url(path), "event_types": ["order.paid"], "plugin": plugin, "config": config,
        "retry": {"schedule_ms": [0, 3_600_000]},
    });
    id(&app.endpoint(fields).await)
}

const EVENT: &str = r#"{"type":"order.paid","subject":"A-7","payload":{"order":{"id":"A-7","total":10.50}}}"#;

#[test]
fn voalle_sends_a_trigger_and_reads_the_answers_body() {
    run(async |app| {
        let refused = json!({"sucesso": false, "mensagem": "contrato inexistente"});
        app.receiver
            .script("/v", [Reply::status(200).json(&json!({"sucesso": true})), Reply::status(200).json(&refused)]);
        let config = json!({"success_pointer": "/sucesso", "message_pointer": "/mensagem"});
        let endpoint = endpoint(app, "/v", "voalle", config).await;
        app.api.post_text("/v1/events", EVENT).await.expect(202);
        let received = app.receiver.only("/v").await;
        let body = received.json();
        assert_eq!(body["gatilho"], "order.paid");
        assert!(received.text().contains(r#""dados":{"order":{"id":"A-7","total":10.50}}"#), "{}", received.text());
        let taken = app.api.delivery_in(&endpoint, "succeeded").await;
        assert_eq!((&body["codigo"], body["criado_em"].is_string()), (&taken["code"], true));
        app.api.post_text("/v1/events", EVENT).await.expect(202);
        app.receiver.wait("/v", 2).await;
        app.api.settled().await;
        let failed = app.api.deliveries(&format!("endpoint={endpoint}&state=failed")).await;
        let attempt = app.api.attempt(&failed[0]).await;
        assert_eq!(attempt["verdict"]["code"], "business_error");
        assert!(attempt["verdict"]["message"].as_str().unwrap().contains("contrato inexistente"), "{attempt}");
    });
}

#[test]
fn standard_speaks_to_slack_and_hears_a_no_in_a_200() {
    run(async |app| {
        app.receiver.script("/s", [Reply::status(200).body("ok"), Reply::status(200).body("no_text")]);
        let config = json!({"format": "slack", "text": "Order {{/order/id}} was paid: {{/order/total}}"});
        let endpoint = endpoint(app, "/s", "standard", config).await;
        app.api.post_text("/v1/events", EVENT).await.expect(202);
        assert_eq!(app.receiver.only("/s").await.json(), json!({"text": "Order A-7 was paid: 10.50"}));
        app.api.delivery_in(&endpoint, "succeeded").await;
        app.api.post_text("/v1/events", EVENT).await.expect(202);
        app.receiver.wait("/s", 2).await;
        app.api.settled().await;
        let failed = app.api.deliveries(&format!("endpoint={endpoint}&state=failed")).await;
        assert_eq!((failed.len(), &failed[0]["reason"]), (1, &json!("refused")));
    });
}

#[test]
fn standard_sends_cloudevents_that_an_engate_takes_back() {
    run(async |app| {
        app.receiver.always("/c", 200);
        endpoint(app, "/c", "standard", json!({})).await;
        app.api.post_text("/v1/events", EVENT).await.expect(202);
        let sent = app.receiver.only("/c").await;
        let body = sent.json();
        assert_eq!(
            (&body["specversion"], &body["type"], &body["subject"]),
            (&json!("1.0"), &json!("order.paid"), &json!("A-7"))
        );
        assert!(sent.text().contains(r#""data":{"order":{"id":"A-7","total":10.50}}"#), "{}", sent.text());
        let headers = [("content-type", sent.header("content-type"))];
        let body = bytes::Bytes::from(sent.text().to_owned());
        let again = app.api.send(reqwest::Method::POST, "/v1/events", &headers, body).await;
        again.expect(202);
        app.receiver.wait("/c", 2).await;
        app.api.settled().await;
    });
}
