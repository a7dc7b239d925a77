//! Seed S4's partner: transactions out, and an answer whose body counts more than its status.

use serde_json::{Value, json};

use crate::harness::{App, Reply, api::id, run};

const EVENT_TYPE: &str = "client-transaction";

async fn endpoint(app: &App, path: &str) -> String {
    let url = app.receiver.url(path);
    let retry = json!({"schedule_ms": [0, 3_600_000]});
    let fields = json!({"url": url, "event_types": [EVENT_TYPE], "plugin": "gsan", "retry": retry});
    id(&app.endpoint(fields).await)
}

#[test]
fn g15_transactions_arrive_in_their_object_with_names_types_and_spelling() {
    run(async |app| {
        app.receiver.always("/gsan", 200);
        endpoint(app, "/gsan").await;
        let payload = r#"[{"idtransaction":1,"idcliente":"01400-2","valorpago":10}]"#;
        let event = |payload: &str| format!(r#"{{"type":"{EVENT_TYPE}","payload":{payload}}}"#);
        app.api.post_text("/v1/events", &event(payload)).await.expect(202);
        let received = app.receiver.only("/gsan").await;
        let documented = json!({"client-transaction": [{"idtransaction": 1, "idcliente": "01400-2", "valorpago": 10}]});
        assert_eq!(received.json(), documented);
        assert!(received.header("content-type").starts_with("application/json"));

        let decimal = r#"[{"idtransaction":2,"idcliente":"01400-2","valorpago":10.50}]"#;
        app.api.post_text("/v1/events", &event(decimal)).await.expect(202);
        let second = app.receiver.wait("/gsan", 2).await.remove(1);
        assert!(second.text().contains(r#""valorpago":10.50"#), "{}", second.text());
    });
}

#[test]
fn v12_an_error_in_a_200_is_no_success() {
    run(async |app| {
        let refusal = json!({"error": {"message": "cliente inexistente"}});
        app.receiver.script("/gsan", [Reply::status(200).json(&refusal)]);
        let endpoint = endpoint(app, "/gsan").await;
        app.api.emit(EVENT_TYPE, json!([{"idtransaction": 1, "idcliente": "01400-2", "valorpago": 10}])).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!((&delivery["success"], &delivery["reason"]), (&json!(false), &json!("business_error")));
        assert!(delivery["integrated_at"].is_null(), "{delivery}");
        let attempt = app.api.attempt(&delivery).await;
        assert_eq!((&attempt["response"]["status"], &attempt["verdict"]["outcome"]), (&json!(200), &json!("fail")));
        assert_eq!(attempt["verdict"]["code"], "business_error");
        assert!(attempt["verdict"]["message"].as_str().unwrap().contains("cliente inexistente"), "{attempt}");
        assert!(attempt["plugin"].as_str().unwrap().starts_with("gsan@"), "{attempt}");
        assert_eq!(app.api.delivery_count("success=no").await, 1);
        assert_eq!(app.api.delivery_count("success=yes").await, 0);
    });
}

#[test]
fn what_counts_as_an_error_is_a_setting() {
    run(async |app| {
        app.receiver.script("/gsan", [Reply::status(201).json(&json!({"resultado": {"erro": ""}}))]);
        let config = json!({"success": {"status": [201], "error_pointer": "/resultado/erro"}});
        let url = app.receiver.url("/gsan");
        let fields = json!({"url": url, "event_types": [EVENT_TYPE], "plugin": "gsan", "config": config});
        let endpoint = id(&app.endpoint(fields).await);
        app.api.emit(EVENT_TYPE, json!([{"idtransaction": 1, "idcliente": "1", "valorpago": 1}])).await;
        app.api.delivery_in(&endpoint, "succeeded").await;
        let bad: Value = json!({"success": {"status": "200"}});
        let refused = crate::harness::app::endpoint(
            json!({"url": url, "event_types": [EVENT_TYPE], "plugin": "gsan", "config": bad}),
        );
        let blamed = app.api.post("/v1/endpoints", &refused).await.expect_problem(422, "invalid");
        assert!(blamed.iter().all(|field| field.starts_with("config")) && !blamed.is_empty(), "{blamed:?}");
    });
}
