//! What an endpoint may be.

use serde_json::{Value, json};

use crate::harness::{api::id, app::endpoint, run};

/// The fields that a refused registration blames.
async fn refused(app: &crate::harness::App, fields: Value) -> Vec<String> {
    let answer = app.api.post("/v1/endpoints", &endpoint(fields)).await;
    assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(&answer.body));
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors in {problem}"));
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn o02_http_and_https_are_taken_and_nothing_else() {
    run(async |app| {
        for url in ["http://127.0.0.1:9/hook", "https://127.0.0.1:9/hook", "HTTPS://[::1]:9"] {
            app.endpoint(json!({"url": url, "event_types": ["P1"]})).await;
        }
        for url in
            ["ftp://127.0.0.1/x", "//127.0.0.1/x", "http://", "http:///x", "", "127.0.0.1", "javascript:alert(1)"]
        {
            let blamed = refused(app, json!({"url": url, "event_types": ["P1"]})).await;
            assert_eq!(blamed, ["url"], "{url}");
        }
        assert_eq!(refused(app, json!({"event_types": ["P1"]})).await, ["url"], "none at all");
    });
}

#[test]
fn o02_an_https_endpoint_is_spoken_to_in_tls() {
    run(async |app| {
        let url = app.receiver.url("/plain").replace("http:", "https:");
        let endpoint = id(&app.endpoint(json!({"url": url, "event_types": ["P1"]})).await);
        app.api.emit("P1", json!({})).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!(delivery["reason"], "tls_failed", "{delivery}");
        assert!(app.receiver.seen("/plain").is_empty());
    });
}

#[test]
fn o08_exactly_one_way_of_authentication() {
    run(async |app| {
        let url = "http://127.0.0.1:9/hook";
        let with = |auth: Value| json!({"url": url, "event_types": ["P1"], "auth": auth});
        let each = [
            json!({"type": "none"}),
            json!({"type": "basic", "username": "ons", "password": "p"}),
            json!({"type": "authorization", "value": "ninguemsabe"}),
            json!({"type": "header", "name": "x-api-key", "value": "k"}),
        ];
        for auth in each {
            app.endpoint(with(auth)).await;
        }
        let both = json!({"type": "basic", "username": "ons", "password": "p", "value": "ninguemsabe"});
        assert_eq!(refused(app, with(both)).await, ["auth.value"]);
        let none = json!({"type": "none", "value": "ninguemsabe"});
        assert_eq!(refused(app, with(none)).await, ["auth.value"]);
        let half = json!({"type": "basic", "username": "ons"});
        assert_eq!(refused(app, with(half)).await, ["auth.password"]);
    });
}

#[test]
fn an_address_inside_is_refused_unless_the_operator_allows_it() {
    run(async |app| {
        for url in
            ["http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/", "http://0x0a000001/"]
        {
            let answer = app.api.post("/v1/endpoints", &endpoint(json!({"url": url, "event_types": ["P1"]}))).await;
            assert_eq!(answer.expect_problem(422, "egress_denied"), ["url"], "{url}");
        }
    });
}

#[test]
fn unknown_fields_and_those_not_built_yet_are_named() {
    run(async |app| {
        let misspelt = json!({"url": "http://127.0.0.1:9/", "event_types": ["P1"], "descripton": "x"});
        assert_eq!(refused(app, misspelt).await, ["descripton"]);
    });
}
