//! The edge of the API: connections that say nothing, too many of them, headers and bodies without end, pages of other
//! origins, and refusals in the reader's language.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    App, PATIENCE, Setup,
    api::{Answer, Api},
    run, run_with,
};

async fn connect(app: &App) -> TcpStream {
    let url = app.engine.url();
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// What the engine says before it closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is a close too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the connection stays open");
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_connection_that_says_nothing_or_never_ends_its_headers_is_closed() {
    run_with(Setup::new().set("server.idle_ms", "400"), async |app| {
        let mut silent = connect(app).await;
        let mut slow = connect(app).await;
        slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: ").await.unwrap();
        let mut served = connect(app).await;
        served.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(until_closed(&mut silent).await, "");
        let said = until_closed(&mut slow).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        // A connection that was served is closed when it says nothing more.
        assert!(until_closed(&mut served).await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn more_connections_than_may_be_wait_for_one_to_end() {
    run_with(Setup::new().set("server.connections_max", "6"), async |app| {
        // Whatever the tests' own client keeps open is given up first.
        app.engine.kill().await;
        app.engine.start_again().await;
        let mut held = Vec::new();
        for _ in 0..6 {
            let mut one = connect(app).await;
            one.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut first = [0; 12];
            tokio::time::timeout(PATIENCE, one.read_exact(&mut first)).await.unwrap().unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            held.push(one);
        }
        let mut late = connect(app).await;
        late.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut byte = [0; 1];
        let early = tokio::time::timeout(Duration::from_millis(300), late.read_exact(&mut byte)).await;
        assert!(early.is_err(), "a seventh connection was served: {early:?}");
        drop(held);
        assert!(until_closed(&mut late).await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn headers_and_nesting_have_bounds() {
    run(async |app| {
        for headers in [
            (0..101).map(|n| format!("x-{n}: a\r\n")).collect::<String>(),
            format!("x-long: {}\r\n", "a".repeat(70 << 10)),
        ] {
            let mut stream = connect(app).await;
            let request = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
            let _ = stream.write_all(request.as_bytes()).await;
            let said = until_closed(&mut stream).await;
            assert!(said.starts_with("HTTP/1.1 431"), "{said:.100}");
        }
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let description = app.api.get("/openapi.json").await.expect(200);
        let mut tried = 0;
        for (path, operations) in description["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if operation.pointer("/requestBody/content/application~1json").is_none() {
                    continue;
                }
                tried += 1;
                let path = path.replace(['{', '}'], "");
                let method = method.to_uppercase().parse::<Method>().unwrap();
                let headers = [("content-type", "application/json")];
                let answer = app.api.send(method.clone(), &path, &headers, deep.clone().into()).await;
                // A path that names nothing may say so first.
                assert!(matches!(answer.status, 400 | 404 | 422), "{method} {path}: {}", answer.status);
            }
        }
        assert!(tried > 12, "{tried}");
    });
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

async fn preflight(app: &App, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization, content-type, if-match"),
    ];
    app.api.anonymous().send(Method::OPTIONS, path, &headers, Bytes::new()).await
}

#[test]
fn pages_of_other_origins_are_kept_out_unless_named() {
    run(async |app| {
        let answer = preflight(app, "/v1/integrators/partner", "https://app.example.com").await;
        assert_eq!(allowed(&answer), None);
        answer.expect_problem(401, "unauthorized");
        let headers = [("origin", "https://app.example.com")];
        let answer = app.api.send(Method::GET, "/v1/integrators", &headers, Bytes::new()).await;
        assert_eq!((answer.status, allowed(&answer)), (200, None));
    });
    let named = Setup::new().set("cors.origins", "https://app.example.com,http://localhost:3000");
    run_with(named, async |app| {
        let limited = json!({"client": "page", "role": "operator", "rate_limit": {"per_second": 50, "burst": 100}});
        let limited = app.api.post("/v1/tokens", &limited).await.expect(201);
        let limited = app.api.with_token(limited["token"].as_str().unwrap());
        for origin in ["https://app.example.com", "http://localhost:3000"] {
            let answer = preflight(app, "/v1/integrators/partner", origin).await;
            assert_eq!((answer.status, allowed(&answer)), (204, Some(origin)));
            assert_eq!(answer.headers["access-control-allow-methods"], "DELETE, GET, PATCH, PUT");
            let may_send = answer.headers["access-control-allow-headers"].to_str().unwrap();
            assert!(["authorization", "if-match", "idempotency-key"].iter().all(|name| may_send.contains(name)));
            let answer = app.api.send(Method::GET, "/v1/integrators", &[("origin", origin)], Bytes::new()).await;
            assert_eq!((answer.status, allowed(&answer)), (200, Some(origin)));
            assert_eq!(answer.headers["vary"], "Origin");
            let answer = limited.send(Method::GET, "/v1/integrators", &[("origin", origin)], Bytes::new()).await;
            let may_read = answer.headers["access-control-expose-headers"].to_str().unwrap().split(", ");
            let may_read: Vec<_> = may_read.collect();
            let told = answer.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("ratelimit"));
            let told: Vec<_> = told.chain(["retry-after", "etag", "x-request-id"]).collect();
            assert!(told.contains(&"ratelimit") && told.contains(&"ratelimit-policy"), "{told:?}");
            assert!(told.iter().all(|name| may_read.contains(name)), "{told:?} of {may_read:?}");
            // A page must be able to read why it was refused.
            let stranger = app.api.anonymous();
            let answer = stranger.send(Method::GET, "/v1/integrators", &[("origin", origin)], Bytes::new()).await;
            assert_eq!((answer.status, allowed(&answer)), (401, Some(origin)));
        }
        for origin in ["https://evil.example.com", "https://app.example.com.evil.com", "null"] {
            let answer = preflight(app, "/v1/integrators/partner", origin).await;
            assert_eq!(allowed(&answer), None, "{origin}");
            let answer = app.api.send(Method::GET, "/v1/integrators", &[("origin", origin)], Bytes::new()).await;
            assert_eq!((answer.status, allowed(&answer)), (200, None), "{origin}");
        }
    });
}

#[test]
fn pages_are_guarded_against_other_pages() {
    run(async |app| {
        for path in ["/docs", "/docs/problems"] {
            let answer = app.api.get(path).await;
            let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            assert!(header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{path}");
            assert_eq!(header("x-frame-options").as_deref(), Some("DENY"), "{path}");
            assert_eq!(header("cross-origin-opener-policy").as_deref(), Some("same-origin"), "{path}");
            assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        }
    });
}

async fn in_language(app: &App, language: &str, method: Method, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("accept-language", language)];
    app.api.send(method, path, &headers, body.to_string().into()).await
}

#[test]
fn p31_refusals_are_told_in_portuguese_to_who_reads_it() {
    run(async |app| {
        let bad = json!({"slug": "", "surprise": 1});
        let answer = in_language(app, "pt-BR, en;q=0.5", Method::POST, "/v1/integrators", &bad).await;
        assert_eq!(answer.headers["content-language"], "pt-BR");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.expect(422);
        assert_eq!((&problem["code"], &problem["title"]), (&json!("invalid"), &json!("Campos não podem ser aceitos")));
        let errors = problem["errors"].as_array().unwrap();
        let told = |field: &str| errors.iter().find(|error| error["field"] == field).unwrap()["message"].clone();
        assert_eq!(told("slug"), "não pode ficar vazio");
        assert_eq!(told("surprise"), "não é conhecido aqui; retire-o ou corrija o nome");
        assert!(problem["detail"].as_str().unwrap().contains("slug: não pode ficar vazio"), "{problem}");

        let answer = in_language(app, "pt", Method::GET, "/v1/integrators/nobody", &json!({})).await;
        let problem = answer.expect(404);
        assert_eq!((&problem["code"], &problem["title"]), (&json!("not_found"), &json!("Não existe")));
        for language in ["en", "en-GB, pt;q=0.9", "fr"] {
            let problem =
                in_language(app, language, Method::GET, "/v1/integrators/nobody", &json!({})).await.expect(404);
            assert_eq!(problem["title"], "There is no such thing", "{language}");
        }
        // What verbs say of this time, too, with the names it is about.
        let missing = json!({"client": "a", "role": "integrator"});
        let answer = in_language(app, "pt-BR", Method::POST, "/v1/tokens", &missing).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains("falta; o papel integrator vê só as coisas de um integrador"), "{text}");
        let answer = in_language(app, "pt-BR", Method::DELETE, "/v1/event-types/delivery.failed", &json!({})).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains("delivery.failed pertence ao motor") && !text.contains("belongs"), "{text}");
        let headers = [("accept-language", "pt-BR")];
        let problem = app.api.anonymous().send(Method::GET, "/v1/events", &headers, Bytes::new()).await.expect(401);
        assert_eq!(problem["title"], "Sem token válido");
        let page = app.api.send(Method::GET, "/docs/problems", &headers, Bytes::new()).await;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains("id=\"not_found\"") && page.contains("Não existe"), "{page:.200}");
    });
}

#[test]
fn p31_a_new_tenant_reads_portuguese_and_lives_in_sao_paulo() {
    run(async |app| {
        let settings = app.api.get("/v1/settings").await.expect(200);
        assert_eq!(settings["locale.timezone"], "America/Sao_Paulo");
        assert_eq!(settings["locale.language"], "pt-BR");
        let changed = json!({"locale.timezone": "America/Manaus", "locale.language": "en"});
        app.api.put("/v1/settings", &changed).await.expect(200);
        let settings = app.api.get("/v1/settings").await.expect(200);
        assert_eq!(
            (&settings["locale.timezone"], &settings["locale.language"]),
            (&json!("America/Manaus"), &json!("en"))
        );
        let refused = app.api.put("/v1/settings", &json!({"locale.timezone": "Brasília"})).await;
        assert_eq!(refused.expect_problem(422, "invalid"), ["locale.timezone"]);
    });
}

/// Every `type` leads to the documentation of its code, on this engine.
#[test]
fn the_type_of_a_problem_leads_to_its_documentation() {
    run(async |app| {
        let problem = app.api.get("/v1/integrators/nobody").await.expect(404);
        let (path, code) = problem["type"].as_str().unwrap().split_once('#').unwrap();
        let page = app.api.get(path).await;
        assert_eq!(page.status, 200);
        assert!(String::from_utf8_lossy(&page.body).contains(&format!("id=\"{code}\"")));
    });
}

/// A caller's way over a proxy that the tests play: it comes from this machine, and says so in a header.
async fn over_proxy(api: &Api, header: &str, hops: &str) -> Answer {
    api.send(Method::GET, "/v1/deliveries", &[(header, hops)], Bytes::new()).await
}

#[test]
fn behind_a_trusted_proxy_the_callers_own_address_counts() {
    for (header, prefix) in [("x-forwarded-for", ""), ("forwarded", "for=")] {
        let setup = Setup::new().set("server.trusted_proxies", "127.0.0.1,10.0.0.0/8");
        run_with(setup.set("server.forwarded_header", header), async |app| {
            let hops = |all: &[&str]| all.iter().map(|one| format!("{prefix}{one}")).collect::<Vec<_>>().join(", ");
            let pinned = json!({"client": "pinned", "role": "operator", "origins": ["203.0.113.0/24"]});
            let made = app.api.post("/v1/tokens", &pinned).await.expect(201);
            let pinned = app.api.with_token(made["token"].as_str().unwrap());
            over_proxy(&pinned, header, &hops(&["203.0.113.9"])).await.expect(200);
            over_proxy(&pinned, header, &hops(&["198.51.100.7", "203.0.113.9", "10.1.1.1"])).await.expect(200);
            for forged in
                [&["203.0.113.9", "198.51.100.7"][..], &["203.0.113.9", "198.51.100.7", "10.1.1.1"], &["unknown"]]
            {
                over_proxy(&pinned, header, &hops(forged)).await.expect_problem(403, "origin_not_allowed");
            }
            let other =
                if prefix.is_empty() { ("forwarded", "for=203.0.113.9") } else { ("x-forwarded-for", "203.0.113.9") };
            over_proxy(&pinned, other.0, other.1).await.expect_problem(403, "origin_not_allowed");

            let path = format!("/v1/audit/access?token={}", made["id"].as_str().unwrap());
            let entries = app.api.get(&path).await.expect(200);
            let sources = |answer: &Value| {
                let items = answer["items"].as_array().unwrap().iter();
                let mut all: Vec<_> = items.map(|item| item["source"].as_str().unwrap().to_owned()).collect();
                all.sort_unstable();
                all
            };
            let expected = ["127.0.0.1", "127.0.0.1", "198.51.100.7", "198.51.100.7", "203.0.113.9", "203.0.113.9"];
            assert_eq!(sources(&entries), expected);

            let anonymous = app.api.anonymous();
            over_proxy(&anonymous, header, &hops(&["203.0.113.9", "198.51.100.8"])).await.expect(401);
            over_proxy(&anonymous, header, &hops(&["198.51.100.9"])).await.expect(401);
            let refused = app.api.get("/v1/audit/refused").await.expect(200);
            assert_eq!(sources(&refused), ["198.51.100.8", "198.51.100.9"]);
        });
    }
}
