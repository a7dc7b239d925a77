//! Seed G3: nobody gets anywhere without a token.

use axum::http::Method;
use bytes::Bytes;
use serde_json::Value;

use crate::harness::{App, run};

/// Routes that ask for no token: health, and what is checked by something else than a token.
const PUBLIC: [&str; 5] = ["/healthz", "/readyz", "/v1/files", "/v1/inbound/{name}", "/console/login"];
/// Routes that must be described; a sweep over an empty description proves nothing.
const EXPECTED: [&str; 25] = [
    "/metrics",
    "/openapi.json",
    "/docs",
    "/v1/events",
    "/v1/events/{id}",
    "/v1/event-types",
    "/v1/integrators",
    "/v1/endpoints",
    "/v1/endpoints/{id}/rotate-secret",
    "/v1/deliveries",
    "/v1/deliveries/{id}/attempts",
    "/v1/recoveries",
    "/v1/inbounds",
    "/v1/inbounds/{name}",
    "/v1/inbound/{name}",
    "/v1/plugins",
    "/v1/wizards/carol",
    "/v1/wizards/{id}",
    "/v1/tokens",
    "/v1/secrets",
    "/v1/settings",
    "/v1/audit",
    "/v1/audit.ndjson",
    "/v1/audit/access",
    "/v1/audit/verify",
];

/// Every route that the engine describes: method and path template.
async fn described(app: &App) -> Vec<(Method, String)> {
    let description = app.api.get("/openapi.json").await.expect(200);
    let paths = description["paths"].as_object().unwrap();
    let methods = |operations: &Value| -> Vec<_> { operations.as_object().unwrap().keys().cloned().collect() };
    let routes = paths.iter().flat_map(|(path, operations)| {
        let to_route =
            |method: String| method.to_uppercase().parse::<Method>().ok().map(|method| (method, path.clone()));
        methods(operations).into_iter().filter(|name| *name != "parameters").filter_map(to_route).collect::<Vec<_>>()
    });
    routes.collect()
}

/// A path that fits a template.
fn filled(template: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn g3_every_route_asks_for_a_token() {
    run(async |app| {
        let routes = described(app).await;
        for expected in EXPECTED {
            assert!(routes.iter().any(|(_, path)| path == expected), "{expected} is not described");
        }
        let anonymous = app.api.anonymous();
        let headers = [("content-type", "application/json")];
        for (method, template) in &routes {
            if PUBLIC.contains(&template.as_str()) {
                continue;
            }
            let path = filled(template);
            let answer = anonymous.send(method.clone(), &path, &headers, Bytes::from("{}")).await;
            answer.expect_problem(401, "unauthorized");
            let wrong =
                [("content-type", "application/json"), ("authorization", "Bearer engate-wrong-token-0123456789abcdef")];
            anonymous.send(method.clone(), &path, &wrong, Bytes::from("{}")).await.expect_problem(401, "unauthorized");
        }
    });
}

#[test]
fn g3_paths_and_methods_that_are_not_there_tell_strangers_nothing() {
    run(async |app| {
        let anonymous = app.api.anonymous();
        for path in ["/v1/nothing", "/v1/../v1/events", "/v1//events", "/v1/events/", "/", "/V1/EVENTS"] {
            anonymous.get(path).await.expect_problem(401, "unauthorized");
        }
        anonymous.delete("/v1/events").await.expect_problem(401, "unauthorized");
        app.api.get("/v1/nothing").await.expect_problem(404, "not_found");
        app.api.delete("/v1/events").await.expect_problem(405, "method_not_allowed");
    });
}

#[test]
fn g3_public_routes_answer_strangers() {
    run(async |app| {
        let anonymous = app.api.anonymous();
        assert_eq!(anonymous.get("/healthz").await.status, 200);
        assert_eq!(anonymous.get("/readyz").await.status, 200);
        let files = anonymous.get("/v1/files?token=x").await;
        assert!(matches!(files.status, 403 | 404), "{}", files.status);
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let answer = anonymous.send(method, "/v1/inbound/nobody", &[], Bytes::from("x")).await;
            answer.expect_problem(404, "not_found");
        }
        assert_eq!(anonymous.send(Method::HEAD, "/v1/inbound/nobody", &[], Bytes::new()).await.status, 404);
    });
}
