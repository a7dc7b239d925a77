//! Seed O27: the eight public sample receivers of SINtegre, each behaving as its source code does (wire-formats,
//! 2.1b), traps included. The engine's default profile must get along with all of them, and where a receiver
//! cannot be pleased, its answer must be there to be read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    harness::{App, Received, Reply, Setup, run_with},
    sintegre,
};

/// What the C# and Flask samples are configured with.
const USER: &str = "teste";
const PASSWORD: &str = "senha123";
/// What the Node.js sample compares the whole header with.
const NODE_KEY: &str = "ninguemsabe";

/// ASP.NET Core, no authentication: 200 before any work; a body that is no JSON is the framework's 400.
fn csharp_anonymous(received: &Received) -> Reply {
    match serde_json::from_slice::<Value>(&received.body) {
        Ok(_) => Reply::status(200),
        Err(_) => Reply::status(400).json(&json!({"title": "One or more validation errors occurred.", "status": 400})),
    }
}

/// ASP.NET Core, Basic: splits at every colon and takes the first two parts, so a password with a colon never
/// matches; the user name is compared without regard to case.
fn csharp_basic(received: &Received, password: &str) -> Reply {
    let header = received.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let decoded = header.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let text = String::from_utf8(decoded).unwrap_or_default();
    let parts: Vec<_> = text.split(':').collect();
    let known = parts.len() > 1 && parts[0].eq_ignore_ascii_case(USER) && parts[1] == password;
    if known { csharp_anonymous(received) } else { Reply::status(401) }
}

/// JAX-RS `void post`: 204, and 415 for anything that is not JSON.
fn java(received: &Received) -> Reply {
    let media_type = received.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = media_type.split(';').next().unwrap_or_default().trim() == "application/json";
    Reply::status(if is_json { 204 } else { 415 })
}

/// Express: compares the whole header, then `require('http').get(url)` throws on an https link before it answers.
fn node(received: &Received) -> Reply {
    let key = received.headers.get("authorization").map(|value| value.as_bytes());
    if key != Some(NODE_KEY.as_bytes()) {
        return Reply::status(401);
    }
    match received.json()["url"].as_str() {
        Some(url) if url.starts_with("http:") => Reply::status(200).body("OK"),
        _ => Reply::status(500).body("TypeError [ERR_INVALID_PROTOCOL]: Protocol \"https:\" not supported"),
    }
}

/// Django: downloads first, 201 only when it has the file.
async fn django(received: Received) -> Reply {
    let url = received.json()["url"].as_str().unwrap_or_default().to_owned();
    let fetched = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await;
    match fetched {
        Ok(response) if response.status().is_success() => Reply::status(201).body("Ok"),
        _ => Reply::status(500).body("Erro ao recuperar arquivo"),
    }
}

/// Node-RED: always the same JSON.
fn node_red(_: &Received) -> Reply {
    Reply::status(200).json(&json!({"codigo": "200", "msg": "Ok"}))
}

/// Flask: Basic, then `pendulum.from_format(dataProduto, 'DD/MM/YYYY')`, which throws on a month.
fn flask(received: &Received) -> Reply {
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if received.headers.get("authorization").map(|value| value.as_bytes()) != Some(expected.as_bytes()) {
        return Reply::status(401).header("www-authenticate", "Basic realm=\"Authentication Required\"");
    }
    let body = received.json();
    let date = body["dataProduto"].as_str().unwrap_or_default();
    let lengths: Vec<_> = date.split('/').map(str::len).collect();
    if lengths == [2, 2, 4] {
        Reply::status(200)
    } else {
        Reply::status(500).body(format!("ValueError: String does not match format DD/MM/YYYY: {date}"))
    }
}

/// NestJS: answers the stored entity; takes and stores unknown fields too, but needs those it knows.
fn nest(received: &Received) -> Reply {
    let Ok(Value::Object(mut entity)) = serde_json::from_slice(&received.body) else { return Reply::status(400) };
    let needed = ["nome", "processo", "dataProduto", "macroProcesso", "periodicidade", "periodicidadeFinal", "url"];
    if needed.iter().any(|name| !entity.get(*name).is_some_and(Value::is_string)) {
        return Reply::status(400).json(&json!({"statusCode": 400, "message": "Bad Request"}));
    }
    entity.insert("_id".to_owned(), json!("65f0c0ffee"));
    Reply::status(201).json(&Value::Object(entity))
}

/// An engine that serves one file, and the folder it lies in.
fn serving_a_file() -> (tempfile::TempDir, Setup) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("product.pdf"), "%PDF").unwrap();
    let setup = Setup::new().set("files.root", folder.path().to_str().unwrap());
    (folder, setup)
}

fn basic(password: &str) -> Value {
    json!({"auth": {"type": "basic", "username": "Teste", "password": password}})
}

/// Registers all eight on their own paths; gives path, endpoint and expected status of each.
async fn all_eight(app: &App, event_type: &str) -> Vec<(&'static str, String, u16)> {
    let receiver = &app.receiver;
    receiver.on("/csharp/api/webhook", csharp_anonymous);
    receiver.on("/csharp-basic/api/webhook", |received| csharp_basic(received, PASSWORD));
    receiver.on("/java/api/webhook", java);
    receiver.on("/node/api/webhook", node);
    receiver.on_async("/django/api/Webhook", django);
    receiver.on("/recebesintegre", node_red);
    receiver.on("/flask/webhook", flask);
    receiver.on("/nest/api/webhooks/sintegre", nest);
    let flask_auth = json!({"auth": {"type": "basic", "username": USER, "password": PASSWORD}});
    let node_auth = json!({"auth": {"type": "authorization", "value": NODE_KEY}});
    let partners = [
        ("/csharp/api/webhook", json!({}), 200),
        ("/csharp-basic/api/webhook", basic(PASSWORD), 200),
        ("/java/api/webhook", json!({}), 204),
        ("/node/api/webhook", node_auth, 200),
        ("/django/api/Webhook", json!({}), 201),
        ("/recebesintegre", json!({}), 200),
        ("/flask/webhook", flask_auth, 200),
        ("/nest/api/webhooks/sintegre", json!({}), 201),
    ];
    let mut registered = Vec::new();
    for (path, fields, status) in partners {
        registered.push((path, sintegre::endpoint(app, path, event_type, fields).await, status));
    }
    registered
}

/// The partner's own answer to the only attempt of an endpoint's only delivery.
async fn stored_answer(app: &App, endpoint: &str, state: &str) -> Value {
    let delivery = app.api.delivery_in(endpoint, state).await;
    app.api.attempt(&delivery).await["response"].clone()
}

#[test]
fn o27_all_eight_samples_take_a_daily_product() {
    let (_folder, setup) = serving_a_file();
    run_with(setup, async |app| {
        sintegre::prepare(app).await;
        let partners = all_eight(app, "ipdo").await;
        app.api.emit("ipdo", sintegre::daily("product.pdf")).await;
        for (path, endpoint, status) in partners {
            let answer = stored_answer(app, &endpoint, "succeeded").await;
            assert_eq!(answer["status"], status, "{path}: {answer}");
        }
    });
}

#[test]
fn o27_a_monthly_product_trips_flask_alone_and_its_answer_is_kept() {
    let (_folder, setup) = serving_a_file();
    run_with(setup, async |app| {
        sintegre::prepare(app).await;
        let partners = all_eight(app, "eolica").await;
        app.api.emit("eolica", sintegre::monthly("2025-09-10", "product.pdf")).await;
        for (path, endpoint, status) in partners {
            if path == "/flask/webhook" {
                let answer = stored_answer(app, &endpoint, "failed").await;
                assert_eq!(answer["status"], 500, "{answer}");
                assert!(answer["body"].as_str().unwrap().contains("DD/MM/YYYY: 09/2025"), "{answer}");
            } else {
                let answer = stored_answer(app, &endpoint, "succeeded").await;
                assert_eq!(answer["status"], status, "{path}: {answer}");
            }
        }
    });
}

#[test]
fn o27_csharp_never_matches_a_password_with_a_colon() {
    let (_folder, setup) = serving_a_file();
    run_with(setup, async |app| {
        sintegre::prepare(app).await;
        app.receiver.on("/api/webhook", |received| csharp_basic(received, "se:nha"));
        let endpoint = sintegre::endpoint(app, "/api/webhook", "ipdo", basic("se:nha")).await;
        app.api.emit("ipdo", sintegre::daily("product.pdf")).await;
        let delivery = app.api.delivery_in(&endpoint, "failed").await;
        assert_eq!(delivery["reason"], "auth_rejected");
        assert_eq!(app.api.attempt(&delivery).await["response"]["status"], 401);
    });
}

#[test]
fn o27_node_throws_on_an_https_link() {
    let (_folder, setup) = serving_a_file();
    run_with(setup, async |app| {
        sintegre::prepare(app).await;
        app.receiver.on("/api/webhook", node);
        let config = json!({"link": {"base": "https://engate.example.com/v1/files"}});
        let fields = json!({"config": config, "auth": {"type": "authorization", "value": NODE_KEY}});
        let endpoint = sintegre::endpoint(app, "/api/webhook", "ipdo", fields).await;
        app.api.emit("ipdo", sintegre::daily("product.pdf")).await;
        let answer = stored_answer(app, &endpoint, "failed").await;
        assert_eq!(answer["status"], 500, "{answer}");
        assert!(answer["body"].as_str().unwrap().contains("ERR_INVALID_PROTOCOL"), "{answer}");
    });
}

#[test]
fn o27_django_says_when_it_could_not_fetch_the_file() {
    let (_folder, setup) = serving_a_file();
    run_with(setup, async |app| {
        sintegre::prepare(app).await;
        app.receiver.on_async("/api/Webhook", django);
        let endpoint = sintegre::endpoint(app, "/api/Webhook", "ipdo", json!({})).await;
        app.api.emit("ipdo", sintegre::daily("withdrawn.pdf")).await;
        let answer = stored_answer(app, &endpoint, "failed").await;
        assert_eq!((&answer["status"], &answer["body"]), (&json!(500), &json!("Erro ao recuperar arquivo")));
    });
}
