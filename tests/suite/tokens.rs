//! Clients' tokens: what each may call, from where, how often, and how it ends (seeds G2 to G9).

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{
    App, Setup,
    api::{Answer, Api, id},
    database::meddle,
    eventually,
    raw::raw_status,
    run, run_with,
};

/// A value that a client could bring along.
const BROUGHT: &str = "N2Y4ZTBkM2ItYzQ5MS00NmY3LWE1ZTItOWQ4Y2IxNzA=";

/// Makes a token; gives its id, value and client.
async fn made(app: &App, body: Value) -> (String, String, Api) {
    let made = app.api.post("/v1/tokens", &body).await.expect(201);
    let value = made["token"].as_str().unwrap().to_owned();
    (id(&made), value.clone(), app.api.with_token(&value))
}

#[test]
fn g2_what_is_not_listed_is_forbidden() {
    run(async |app| {
        let body = json!({"client": "bi", "role": "auditor", "routes": ["GET /v1/deliveries"]});
        let (_, _, bi) = made(app, body).await;
        bi.get("/v1/deliveries").await.expect(200);
        for path in ["/v1/events", "/v1/audit", "/v1/tokens", "/metrics", "/openapi.json"] {
            bi.get(path).await.expect_problem(403, "forbidden");
        }
    });
}

#[test]
fn g4_a_client_holds_one_live_token() {
    run(async |app| {
        let body = json!({"client": "erp", "role": "producer"});
        let (first, _, _) = made(app, body.clone()).await;
        app.api.post("/v1/tokens", &body).await.expect_problem(409, "client_has_token");
        app.api.post(&format!("/v1/tokens/{first}/regenerate"), &json!({})).await.expect(200);
        app.api.post("/v1/tokens", &body).await.expect_problem(409, "client_has_token");
        let live = app.api.get("/v1/tokens").await.expect(200);
        let of_erp = live["items"].as_array().unwrap().iter().filter(|token| token["client"] == "erp").count();
        assert_eq!(of_erp, 1);
        made(app, json!({"client": "erp-2", "role": "producer"})).await;
    });
}

#[test]
fn g5_only_listed_routes_and_no_way_around() {
    run(async |app| {
        let routes = ["GET /v1/deliveries", "GET /v1/deliveries/{id}", "POST /v1/events"];
        let (_, value, client) = made(app, json!({"client": "app", "role": "operator", "routes": routes})).await;
        client.get("/v1/deliveries").await.expect(200);
        let none = format!("/v1/deliveries/dlv_{}", "0".repeat(32));
        client.get(&none).await.expect_problem(404, "not_found");
        client.get(&format!("{none}/attempts")).await.expect_problem(403, "forbidden");
        client.get("/v1/events").await.expect_problem(403, "forbidden");
        assert_eq!(client.send(Method::HEAD, "/v1/deliveries", &[], Bytes::new()).await.status, 200);
        client.get("/v1/nothing").await.expect_problem(404, "not_found");
        client.delete("/v1/deliveries").await.expect_problem(405, "method_not_allowed");
        let status = async |path: &str| raw_status(&app.api, "GET", path, &value, &[]).await;
        for path in [
            "/v1/x/../deliveries",
            "/v1//deliveries",
            "/v1/./deliveries",
            "/v1/%64eliveries",
            "/v1/a/%2e%2e/deliveries",
        ] {
            assert_eq!(status(path).await, 200, "{path} is the listed route");
        }
        for path in [
            "/v1/deliveries/../endpoints",
            "/v1/deliveries/..//endpoints",
            "/v1/deliveries/%2E%2e/endpoints",
            "/v1/%65ndpoints",
            "//v1/endpoints",
            "/v1/endpoints/./",
        ] {
            assert!(matches!(status(path).await, 403 | 404), "{path}");
        }
        assert_eq!(status("/v1/deliveries/../endpoints").await, 403, "what it means is looked at, not how it looks");
        assert_eq!(status("/v1/deliveries/..%2fendpoints").await, 404, "an escaped slash is no slash");
        assert_eq!(raw_status(&app.api, "GET", "/v1/deliveries/../endpoints", "", &[]).await, 401);
    });
}

#[test]
fn g5_routes_and_scopes_that_are_none_are_named() {
    run(async |app| {
        let body = json!({"client": "x", "role": "auditor",
            "routes": ["GET /v1/deliveries", "GET /v1/nothing", "get /v1/events", "/v1/events"], "scopes": ["audit:read"]});
        let fields = app.api.post("/v1/tokens", &body).await.expect_problem(422, "invalid");
        assert_eq!(fields, ["routes[1]", "routes[2]", "routes[3]"]);
        let body = json!({"client": "x", "role": "auditor", "scopes": ["audit:read", "audit:all"]});
        let answer = app.api.post("/v1/tokens", &body).await.expect(422);
        assert_eq!(answer["errors"][0]["field"], "scopes[1]");
        assert!(
            answer["detail"].as_str().unwrap().contains("deliveries:read"),
            "the cure names those there are: {answer}"
        );
        let body = json!({"client": "x", "role": "auditor", "origins": ["10.0.0.0/99"], "redact": ["/a~b"]});
        let fields = app.api.post("/v1/tokens", &body).await.expect_problem(422, "invalid");
        assert_eq!(fields, ["origins[0]", "redact[0]"]);
    });
}

#[test]
fn g6_scopes_only_take_away() {
    run(async |app| {
        let (_, _, reader) = made(app, json!({"client": "r", "role": "operator", "scopes": ["deliveries:read"]})).await;
        reader.get("/v1/deliveries").await.expect(200);
        reader.get("/v1/endpoints").await.expect_problem(403, "forbidden");
        reader.post("/v1/events", &json!({"type": "P1", "payload": {}})).await.expect_problem(403, "forbidden");
        // A scope beyond the role gives nothing.
        let body = json!({"client": "p", "role": "producer", "scopes": ["events:write", "tokens:write"]});
        let (_, _, producer) = made(app, body).await;
        producer.post("/v1/events", &json!({"type": "P1", "payload": {}})).await.expect(202);
        let admin = json!({"client": "evil", "role": "admin"});
        producer.post("/v1/tokens", &admin).await.expect_problem(403, "forbidden");
    });
}

#[test]
fn g6_above_its_rate_a_token_waits() {
    run(async |app| {
        let rate = json!({"per_second": 1, "burst": 3});
        let (token, _, client) = made(app, json!({"client": "web", "role": "operator", "rate_limit": rate})).await;
        let mut answers = Vec::new();
        // Three at once, and one more each second: on however slow a machine, some call is one too many.
        while answers.last().is_none_or(|answer: &Answer| answer.status == 200) {
            answers.push(client.get("/v1/deliveries").await);
            assert!(answers.len() < 500, "no call is one too many");
        }
        let header = |answer: &Answer, name: &str| answer.headers[name].to_str().unwrap().to_owned();
        let (first, last) = (&answers[0], answers.last().unwrap());
        assert_eq!(header(first, "ratelimit-policy"), "\"token\";q=3;w=3");
        assert_eq!((header(first, "ratelimit-limit"), header(first, "ratelimit-remaining")), ("3".into(), "2".into()));
        assert!(header(first, "ratelimit").starts_with("\"token\";r=2;t="), "{}", header(first, "ratelimit"));
        assert!(answers.len() > 3);
        assert_eq!((header(last, "ratelimit-remaining"), header(last, "retry-after")), ("0".into(), "1".into()));
        answers.pop().unwrap().expect_problem(429, "rate_limited");
        app.api.get("/v1/deliveries").await.expect(200);
        eventually("after a while it may call again", async || {
            let status = client.get("/v1/deliveries").await.status;
            if status == 200 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        // Without a limit there is nothing to tell.
        app.api.patch(&format!("/v1/tokens/{token}"), &json!({"rate_limit": null})).await.expect(200);
        let free = client.get("/v1/deliveries").await;
        assert!(free.status == 200 && !free.headers.contains_key("ratelimit"));
    });
}

#[test]
fn g6_a_pinned_token_works_from_its_place_only() {
    run(async |app| {
        let call = async |client: &Api, origin: &[(&str, &str)]| {
            client.send(Method::GET, "/v1/deliveries", origin, Bytes::new()).await
        };
        let from = |origin| [("origin", origin)];
        let body = |client: &str, origins: &[&str]| json!({"client": client, "role": "operator", "origins": origins});
        let (_, _, here) = made(app, body("here", &["127.0.0.0/8", "::1"])).await;
        call(&here, &[]).await.expect(200);
        let (_, _, elsewhere) = made(app, body("elsewhere", &["10.0.0.0/8"])).await;
        call(&elsewhere, &[]).await.expect_problem(403, "origin_not_allowed");
        call(&elsewhere, &[("x-forwarded-for", "10.1.1.1")]).await.expect_problem(403, "origin_not_allowed");
        let (_, _, page) = made(app, body("page", &["https://app.example.com"])).await;
        call(&page, &from("https://app.example.com")).await.expect(200);
        for other in ["https://evil.example.com", "http://app.example.com", "null"] {
            call(&page, &from(other)).await.expect_problem(403, "origin_not_allowed");
        }
        call(&page, &[]).await.expect_problem(403, "origin_not_allowed");
        let (_, _, both) = made(app, body("both", &["https://app.example.com", "10.0.0.0/8"])).await;
        call(&both, &from("https://app.example.com")).await.expect_problem(403, "origin_not_allowed");
        app.api.get("/v1/deliveries").await.expect(200);
    });
}

#[test]
fn g6_limits_change_without_a_new_value() {
    run(async |app| {
        let (token, _, client) = made(app, json!({"client": "web", "role": "operator"})).await;
        client.get("/v1/endpoints").await.expect(200);
        let change = json!({"routes": ["GET /v1/deliveries"], "scopes": ["deliveries:read"], "redact": ["cpf"],
            "rate_limit": {"per_second": 50, "burst": 100}, "origins": ["127.0.0.1"], "expires_at": "2999-01-01T00:00:00Z"});
        let shown = app.api.patch(&format!("/v1/tokens/{token}"), &change).await.expect(200);
        for (name, value) in change.as_object().unwrap().iter().filter(|(name, _)| *name != "expires_at") {
            assert_eq!(&shown[name], value, "{name}");
        }
        assert!(shown["expires_at"].as_str().unwrap().starts_with("2999-01-01T00:00:00"));
        client.get("/v1/endpoints").await.expect_problem(403, "forbidden");
        client.get("/v1/deliveries").await.expect(200);
        let back = json!({"routes": [], "scopes": [], "expires_at": null});
        let shown = app.api.patch(&format!("/v1/tokens/{token}"), &back).await.expect(200);
        assert_eq!((&shown["expires_at"], &shown["redact"]), (&Value::Null, &json!(["cpf"])), "what is left out stays");
        client.get("/v1/endpoints").await.expect(200);
        let past = json!({"expires_at": "2001-01-01T00:00:00Z"});
        let fields = app.api.patch(&format!("/v1/tokens/{token}"), &past).await.expect_problem(422, "invalid");
        assert_eq!(fields, ["expires_at"]);
        let audit = app.api.get(&format!("/v1/audit?action=token.update&object={token}")).await.expect(200);
        assert_eq!(audit["total"], 2);
        assert_eq!(audit["items"][0]["detail"]["routes"]["old"], json!(["GET /v1/deliveries"]), "{audit}");
    });
}

#[test]
fn g7_a_regenerated_token_replaces_the_old_at_once() {
    run(async |app| {
        let (old, _, before) =
            made(app, json!({"client": "erp", "role": "auditor", "scopes": ["deliveries:read"]})).await;
        before.get("/v1/deliveries").await.expect(200);
        let made = app.api.post(&format!("/v1/tokens/{old}/regenerate"), &json!({})).await.expect(200);
        before.get("/v1/deliveries").await.expect_problem(401, "unauthorized");
        let after = app.api.with_token(made["token"].as_str().unwrap());
        after.get("/v1/deliveries").await.expect(200);
        after.get("/v1/endpoints").await.expect_problem(403, "forbidden");
        app.api
            .post(&format!("/v1/tokens/{old}/regenerate"), &json!({}))
            .await
            .expect_problem(409, "not_allowed_in_state");
    });
}

#[test]
fn g7_a_grace_lets_the_old_value_work_on_for_a_while() {
    run(async |app| {
        let (old, _, before) = made(app, json!({"client": "erp", "role": "auditor"})).await;
        let grace = json!({"grace_ms": 2_500});
        let made = app.api.post(&format!("/v1/tokens/{old}/regenerate"), &grace).await.expect(200);
        let after = app.api.with_token(made["token"].as_str().unwrap());
        before.get("/v1/deliveries").await.expect(200);
        after.get("/v1/deliveries").await.expect(200);
        eventually("the old value ends with its grace", async || {
            let status = before.get("/v1/deliveries").await.status;
            if status == 401 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        after.get("/v1/deliveries").await.expect(200);
        // A grace can be cut short.
        let long = json!({"grace_ms": 600_000});
        app.api.post(&format!("/v1/tokens/{}/regenerate", id(&made)), &long).await.expect(200);
        after.get("/v1/deliveries").await.expect(200);
        assert_eq!(app.api.delete(&format!("/v1/tokens/{}", id(&made))).await.status, 204);
        after.get("/v1/deliveries").await.expect_problem(401, "unauthorized");
    });
}

#[test]
fn g8_a_client_brings_its_own_value_if_it_is_hard_to_guess() {
    run(async |app| {
        let body = |value: &str| json!({"client": "own", "role": "producer", "value": value});
        for weak in ["abc", "", &"x".repeat(64), &"password".repeat(5)] {
            let fields = app.api.post("/v1/tokens", &body(weak)).await.expect_problem(422, "invalid");
            assert_eq!(fields, ["value"], "{weak}");
        }
        let (_, value, client) = made(app, body(BROUGHT)).await;
        assert_eq!(value, BROUGHT);
        client.post("/v1/events", &json!({"type": "P1", "payload": {}})).await.expect(202);
        let again = json!({"client": "thief", "role": "admin", "value": BROUGHT});
        assert_eq!(app.api.post("/v1/tokens", &again).await.expect_problem(422, "invalid"), ["value"]);
        let listed = app.api.get("/v1/tokens").await.expect(200).to_string();
        assert!(!listed.contains(BROUGHT));
        app.engine.kill().await;
        let file = std::fs::read(app.engine.data().parent().unwrap().join("engate.db")).unwrap();
        let wal = std::fs::read(app.engine.data().parent().unwrap().join("engate.db-wal")).unwrap_or_default();
        let holds = |needle: &[u8]| [&file, &wal].iter().any(|file| file.windows(needle.len()).any(|w| w == needle));
        assert!(holds(b"thief") || holds(b"own"), "the search finds what is there");
        assert!(!holds(BROUGHT.as_bytes()), "only a hash of it is kept");
    });
}

#[test]
fn g9_a_holder_gives_its_token_up_and_what_is_under_way_ends_well() {
    run(async |app| {
        let narrow =
            json!({"client": "c", "role": "producer", "routes": ["POST /v1/events"], "scopes": ["events:write"]});
        let (token, value, client) = made(app, narrow).await;
        let slow = SlowCall::begin(&app.api, &value).await;
        assert_eq!(client.delete("/v1/tokens/self").await.status, 204);
        client.post("/v1/events", &json!({"type": "P1", "payload": {}})).await.expect_problem(401, "unauthorized");
        client.delete("/v1/tokens/self").await.expect_problem(401, "unauthorized");
        assert_eq!(slow.end().await, 202, "the call that was under way is finished");
        let shown = app.api.get(&format!("/v1/tokens/{token}")).await.expect(200);
        assert!(shown["revoked_at"].is_string());
    });
}

/// A `POST /v1/events` whose head was sent and whose body is still to come.
struct SlowCall(tokio::net::TcpStream);

const SLOW_BODY: &str = r#"{"type":"P1","payload":{}}"#;

impl SlowCall {
    async fn begin(api: &Api, token: &str) -> Self {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let url = api.url("");
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            SLOW_BODY.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The engine asks for the body once the call has passed authentication.
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&asked));
        Self(stream)
    }

    async fn end(mut self) -> u16 {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        self.0.write_all(SLOW_BODY.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn the_last_admin_cannot_lock_everyone_out() {
    run(async |app| {
        app.api.delete("/v1/tokens/self").await.expect_problem(409, "last_admin_token");
        let first = app.api.get("/v1/tokens").await.expect(200)["items"][0].clone();
        let path = format!("/v1/tokens/{}", id(&first));
        app.api.delete(&path).await.expect_problem(409, "last_admin_token");
        let soon = (chrono::Utc::now() + Duration::from_secs(60)).to_rfc3339();
        for (narrow, named) in [
            (json!({"scopes": ["audit:read"]}), &["scopes"][..]),
            (json!({"routes": ["GET /v1/tokens"], "redact": ["cpf"]}), &["routes"][..]),
            (json!({"expires_at": soon}), &["expires_at"][..]),
            (json!({"expires_at": "2999-01-01T00:00:00Z"}), &["expires_at"][..]),
            (json!({"origins": ["203.0.113.7"]}), &["origins"][..]),
            (json!({"origins": ["https://app.example.com"], "expires_at": soon}), &["origins", "expires_at"][..]),
        ] {
            let refused = app.api.patch(&path, &narrow).await;
            let said = String::from_utf8(refused.body.to_vec()).unwrap();
            assert_eq!(refused.expect_problem(409, "last_admin_token"), named, "{narrow}");
            assert!(said.contains("make another one first"), "{said}");
        }
        // One with an end does not take its place.
        made(app, json!({"client": "for-a-while", "role": "admin", "expires_at": "2999-01-01T00:00:00Z"})).await;
        app.api.patch(&path, &json!({"expires_at": soon})).await.expect_problem(409, "last_admin_token");
        app.api.patch(&path, &json!({"rate_limit": {"per_second": 50, "burst": 500}})).await.expect(200);
        app.api.get("/v1/tokens").await.expect(200);
        let (_, _, second) = made(app, json!({"client": "second", "role": "admin"})).await;
        assert_eq!(second.delete(&path).await.status, 204);
        second.delete("/v1/tokens/self").await.expect_problem(409, "last_admin_token");
        second.get("/v1/tokens").await.expect(200);
    });
}

#[test]
fn a_last_admin_that_has_an_end_already_keeps_it_and_changes_otherwise() {
    run(async |app| {
        let first = app.api.get("/v1/tokens").await.expect(200)["items"][0].clone();
        let path = format!("/v1/tokens/{}", id(&first));
        // As an engine left it that let the last admin end.
        let set = "UPDATE tokens SET expires_at = 32472144000000000 WHERE role = 'admin'";
        meddle(app.engine.database_url(), set).await;
        let change = json!({"rate_limit": {"per_second": 50, "burst": 500}, "redact": ["senha"]});
        app.api.patch(&path, &change).await.expect(200);
        app.api.patch(&path, &json!({"expires_at": "2999-06-01T00:00:00Z"})).await.expect(200);
        let sooner = app.api.patch(&path, &json!({"expires_at": "2999-01-01T00:00:00Z"})).await;
        assert_eq!(sooner.expect_problem(409, "last_admin_token"), ["expires_at"]);
        let pinned = app.api.patch(&path, &json!({"origins": ["203.0.113.7"]})).await;
        assert_eq!(pinned.expect_problem(409, "last_admin_token"), ["origins"]);
        app.api.delete(&path).await.expect_problem(409, "last_admin_token");
        app.api.patch(&path, &json!({"expires_at": null})).await.expect(200);
        let again = app.api.patch(&path, &json!({"expires_at": "2999-06-01T00:00:00Z"})).await;
        assert_eq!(again.expect_problem(409, "last_admin_token"), ["expires_at"]);
    });
}

#[test]
fn an_expired_token_is_as_good_as_none_and_the_last_use_is_told() {
    run_with(Setup::new(), async |app| {
        let soon = chrono::Utc::now() + Duration::from_millis(2_500);
        let body = json!({"client": "short", "role": "auditor", "expires_at": soon.to_rfc3339()});
        let (token, _, client) = made(app, body).await;
        assert_eq!(app.api.get(&format!("/v1/tokens/{token}")).await.expect(200)["last_used_at"], Value::Null);
        client.get("/v1/deliveries").await.expect(200);
        let used = app.api.get(&format!("/v1/tokens/{token}")).await.expect(200)["last_used_at"].clone();
        assert!(used.is_string());
        eventually("it expires", async || {
            let status = client.get("/v1/deliveries").await.status;
            if status == 401 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        app.engine.terminate().await;
        app.engine.start_again().await;
        let shown = app.api.get(&format!("/v1/tokens/{token}")).await.expect(200);
        assert!(
            shown["last_used_at"].as_str() >= used.as_str(),
            "it was written down at the latest when the engine stopped"
        );
    });
}

#[test]
fn who_is_refused_in_the_middle_of_a_large_upload_gets_the_answer() {
    run(async |app| {
        let (_, _, auditor) = made(app, json!({"client": "looks-only", "role": "auditor"})).await;
        let stranger = app.api.with_token("a-token-that-nobody-was-ever-given-0123456789");
        let upload = Bytes::from(vec![0; 40 << 20]);
        for (caller, status, code) in [(stranger, 401, "unauthorized"), (auditor, 403, "forbidden")] {
            for path in ["/v1/plugins", "/v1/events"] {
                let headers = [("content-type", "application/wasm")];
                let answer = caller.send(Method::POST, path, &headers, upload.clone()).await;
                answer.expect_problem(status, code);
            }
        }
    });
}
