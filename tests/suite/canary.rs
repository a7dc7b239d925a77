//! Seeds G10 and G11: a token's value is seen by the authentication layer and by nothing else. Canaries go in by every
//! route and every way of going wrong, a plugin sends out its whole memory, and then everything that the engine wrote,
//! answered, logged or sent is searched.

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engate_model::{TenantId, Timestamp};
use engate_store::{CallBegun, CallKey, Database as Stored, SecretKey, Store, StoreOptions};
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use crate::{
    auth::{everything_below, find},
    harness::{
        App, Setup,
        api::{Answer, Api, id},
        guests::guest,
        raw::raw_status,
        run_with,
    },
};

const TOKEN: &str = "tok_CANARY-9f86d081884c7d659a2feaa0c55ad015";
const ENDPOINT_SECRET: &str = "CANARY-endpoint-key-4711";
const PLUGIN_SECRET: &str = "CANARY-plugin-secret-0815";
/// What is found where everything is searched, so that finding nothing means something.
const CONTROL: &str = "control-of-the-search";

/// Sends the whole memory of its instance, arguments included.
const DUMP: &str = "(i32.store (i32.const 1232) (i32.const 2)) (i32.store (i32.const 1236) (i32.const 0)) \
                    (i32.store (i32.const 1240) (i32.mul (memory.size) (i32.const 65536)))";

/// Everything that was answered, as text.
#[derive(Default)]
struct Told(String);

impl Told {
    fn note(&mut self, answer: Answer) {
        for (name, value) in &answer.headers {
            self.0 += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
        }
        self.0 += &String::from_utf8_lossy(&answer.body);
    }
}

/// A path that fits a template: things that are there where it is only read, ids of nothing otherwise.
fn filled(template: &str, there: &[(&str, String)], read: bool) -> String {
    let zeros = "0".repeat(32);
    let mut filled: Vec<String> = Vec::new();
    for part in template.split('/') {
        let before = filled.last().map(String::as_str).unwrap_or_default().to_owned();
        let known = there.iter().find(|(noun, _)| *noun == before).map(|(_, id)| id.clone()).filter(|_| read);
        filled.push(match (part.starts_with('{'), before.as_str()) {
            (false, _) => part.to_owned(),
            (true, _) if known.is_some() => known.unwrap_or_default(),
            (true, "endpoints" | "queues") => format!("ep_{zeros}"),
            (true, "deliveries") => format!("dlv_{zeros}"),
            (true, "events") => format!("evt_{zeros}"),
            (true, "tokens") => format!("tok_{zeros}"),
            (true, _) => "nobody".to_owned(),
        });
    }
    filled.join("/")
}

/// A call; once more where the engine closed the connection on a body that it did not take.
async fn call(api: &Api, method: &Method, path: &str, body: Bytes) -> Answer {
    let json = [("content-type", "application/json")];
    match api.try_send(method.clone(), path, &json, body.clone()).await {
        Ok(answer) => answer,
        Err(_) => api.send(method.clone(), path, &json, body).await,
    }
}

/// Calls every route in every way that may go wrong.
async fn exercise(app: &App, canary: &Api, there: &[(&str, String)], told: &mut Told) -> usize {
    let document = app.api.get("/openapi.json").await.expect(200);
    let mut calls = 0;
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            if operation["operationId"] == "token_revoke_self" {
                continue;
            }
            let path = filled(template, there, method == Method::GET);
            let mut bodies = vec![Bytes::new()];
            if !operation["requestBody"].is_null() {
                bodies.extend([
                    Bytes::from("{\"broken\":"),
                    Bytes::from(format!("{{\"unknown\":\"{}\"}}", "x".repeat(64))),
                    Bytes::from(vec![b' '; (1 << 20) + 1]),
                ]);
            }
            for body in bodies {
                told.note(call(canary, &method, &path, body).await);
                calls += 1;
            }
            told.note(call(canary, &method, &format!("{path}?surprise=1"), Bytes::new()).await);
            let other = if method == Method::DELETE { Method::PATCH } else { Method::DELETE };
            if methods.get(other.as_str().to_lowercase()).is_none() {
                told.note(call(canary, &other, &path, Bytes::new()).await);
            }
            calls += 2;
        }
    }
    calls
}

/// The token in all the wrong forms.
async fn spoilt(app: &App, told: &mut Told) {
    let nobody = app.api.anonymous();
    let basic = STANDARD.encode(format!("user:{TOKEN}"));
    let forms = [
        TOKEN.to_owned(),
        format!("Token {TOKEN}"),
        format!("Bearer {TOKEN} {TOKEN}"),
        format!("Bearer {TOKEN}x"),
        format!("Basic {basic}"),
        format!("Basic {TOKEN}"),
    ];
    for form in &forms {
        for path in ["/v1/deliveries", "/openapi.json", "/v1/nothing", "/v1/files", "/healthz"] {
            let headers = [("authorization", form.as_str()), ("proxy-authorization", form.as_str())];
            told.note(nobody.send(Method::GET, path, &headers, Bytes::new()).await);
        }
    }
    let twice = [("authorization", forms[1].as_str())];
    raw_status(&app.api, "GET", "/v1/deliveries", TOKEN, &twice).await;
    raw_status(&app.api, "GET", "/v1/x/../deliveries", TOKEN, &[]).await;
    raw_status(&app.api, "BREW", "/v1/deliveries", TOKEN, &[]).await;
}

/// What is kept, unsealed, of the admin's `POST /v1/tokens` with this body under this key.
async fn kept(app: &App, key: &str, body: &str) -> String {
    let file = std::fs::read_to_string(app.engine.data().join("secret.key")).unwrap();
    let secret = SecretKey::new(STANDARD.decode(file.trim()).unwrap().try_into().unwrap());
    let now = Timestamp::from(chrono::Utc::now());
    let database = Stored::parse(app.engine.database_url());
    let store = Store::open(&database, &secret, StoreOptions::default(), now).await.unwrap();
    let tenant: TenantId = store.tenant_by_slug("default").await.unwrap().unwrap().id;
    let mut context = Context::new(&SHA256);
    for part in ["POST", "/v1/tokens", "application/json", body] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest: [u8; 32] = context.finish().as_ref().try_into().unwrap();
    let key = CallKey { tenant, client: "first-admin".to_owned(), key: key.to_owned() };
    let begun = store.call_begin(&key, digest, now).await.unwrap();
    store.close().await;
    let CallBegun::Ended(answer) = begun else { panic!("{begun:?}") };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let body = STANDARD.decode(answer["body"].as_str().unwrap()).unwrap();
    format!("{answer}\n{}", String::from_utf8(body).unwrap())
}

#[test]
fn g10_g11_a_tokens_value_stays_in_the_authentication_layer() {
    run_with(Setup::new().set("log.level", "trace"), async |app| {
        let body = json!({"client": "canary", "role": "admin", "value": TOKEN}).to_string();
        let keyed = [("content-type", "application/json"), ("idempotency-key", "canary")];
        let made = app.api.send(Method::POST, "/v1/tokens", &keyed, body.clone().into()).await;
        let token = id(&made.expect(201));
        let canary = app.api.with_token(TOKEN);
        let mut told = Told::default();
        app.receiver.always("/dump", 200);
        app.receiver.always("/key", 200);
        let url = app.receiver.url("/dump");
        let length = u8::try_from(url.len()).unwrap();
        let dumper = guest()
            .swap("(i32.const 2048) \"guest\"", "(i32.const 2048) \"dumps\"")
            .swap("\\50\\08\\00\\00\\14\\00\\00\\00", &format!("\\00\\0c\\00\\00\\{length:02x}\\00\\00\\00"))
            .at("data", &format!("(data (i32.const 3072) \"{url}\")"))
            .at("transform", DUMP);
        let wasm = [("content-type", "application/wasm")];
        let pushed = canary.send(Method::POST, "/v1/plugins?name=dumps", &wasm, dumper.build().into()).await;
        assert_eq!(pushed.status, 201, "{}", String::from_utf8_lossy(&pushed.body));
        told.note(pushed);
        told.note(canary.put("/v1/secrets/canary", &json!({"value": PLUGIN_SECRET})).await);
        let with = |path: &str, plugin: Value, auth: Value| {
            let url = app.receiver.url(path);
            crate::harness::app::endpoint(json!({"url": url, "event_types": ["P1"], "plugin": plugin, "auth": auth}))
        };
        let dump =
            canary.post("/v1/endpoints", &with("/dump", json!("dumps"), json!({"type": "none"}))).await.expect(201);
        let auth = json!({"type": "authorization", "value": ENDPOINT_SECRET});
        let keyed = canary.post("/v1/endpoints", &with("/key", Value::Null, auth)).await;
        told.note(keyed);
        let taken =
            canary.post("/v1/events", &json!({"type": "P1", "payload": {"control": CONTROL}})).await.expect(202);
        let delivery = canary.delivery_in(&id(&dump), "succeeded").await;
        let there = [
            ("endpoints", id(&dump)),
            ("deliveries", id(&delivery)),
            ("events", id(&taken)),
            ("tokens", token.clone()),
            ("plugins", "dumps".to_owned()),
        ];
        let calls = exercise(app, &canary, &there, &mut told).await;
        assert!(calls > 250, "only {calls} calls");
        spoilt(app, &mut told).await;
        for path in
            ["/metrics", "/v1/audit?limit=500", "/v1/audit/access?limit=500", "/v1/audit/refused", "/v1/audit.ndjson"]
        {
            told.note(app.api.get(path).await);
        }
        app.api.settled().await;
        told.note(canary.delete("/v1/tokens/self").await);
        let log = app.engine.log();
        app.engine.terminate().await;
        let kept = kept(app, "canary", &body).await;
        assert!(kept.contains(&token), "the answer to the call under a key is what was unsealed: {kept}");

        // What left the engine: only the endpoint that has the key shows it, in its header.
        let dumped = app.receiver.seen("/dump");
        assert!(dumped.iter().all(|seen| seen.body.len() >= 1 << 16), "its whole memory");
        assert!(dumped.iter().any(|seen| find(&[seen.body.to_vec()], CONTROL.as_bytes())), "arguments included");
        assert_eq!(app.receiver.seen("/key")[0].header("authorization"), ENDPOINT_SECRET);
        let mut sent = String::new();
        for seen in dumped.iter().chain(&app.receiver.seen("/key")) {
            for (name, value) in seen.headers.iter().filter(|(name, _)| *name != "authorization") {
                sent += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
            sent += &String::from_utf8_lossy(&seen.body);
        }
        let files = everything_below(app.engine.data().parent().unwrap());
        assert!(find(&files, CONTROL.as_bytes()) && told.0.contains(CONTROL) && sent.contains(CONTROL));
        assert!(log.contains("TRACE"), "the log tells all it can");
        for secret in [TOKEN, ENDPOINT_SECRET, PLUGIN_SECRET] {
            let forms = [secret.to_owned(), STANDARD.encode(secret), STANDARD.encode(format!("user:{secret}"))];
            for form in forms {
                assert!(!told.0.contains(&form), "an answer has {form}");
                assert!(!log.contains(&form), "the log has {form}");
                assert!(!sent.contains(&form), "a partner or plugin has {form}");
                assert!(!kept.contains(&form), "what is sealed has {form}");
                assert!(!find(&files, form.as_bytes()), "a file has {form}");
            }
        }
    });
}
