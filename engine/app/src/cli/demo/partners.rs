//! Partners on this machine: HTTP servers that answer in their own ways and keep book of what they got.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::Secret;
use ring::hmac;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::super::failure::Failure;

/// The whole `Authorization` header that one partner wants; SINtegre's own Node.js sample asks for this word.
pub(super) const KEY: &str = "ninguemsabe";
/// Times that the unavailable partner says 503 to one delivery.
pub(super) const UNAVAILABLE_TIMES: u32 = 2;
/// Deadline of the endpoint that hangs. Everyone else must have been served before it is over.
pub(super) const HANG_TIMEOUT: Duration = Duration::from_millis(2_000);
/// How long the partner that hangs would take; the engine gives up long before.
const HANG: Duration = Duration::from_secs(600);
/// Where partners are called.
const PATH: &str = "/api/webhook";

/// How a partner answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Takes everything, then fetches the file behind the link.
    Accepts,
    /// Wants [`KEY`] in `Authorization`, without a scheme.
    WantsKey,
    /// Says 200, and that it failed.
    ErrorInside,
    /// Says 503 [`UNAVAILABLE_TIMES`] times, then takes it.
    UnavailableTwice,
    /// Never answers.
    Hangs,
}

/// A partner company as it is registered.
#[derive(Debug)]
pub(super) struct Profile {
    /// Its slug.
    pub(super) slug: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// How it answers.
    pub(super) manner: Manner,
    /// The same in words.
    pub(super) answers: &'static str,
    /// The same in few words.
    pub(super) in_short: &'static str,
    /// The plugin that couples it.
    pub(super) plugin: Option<&'static str>,
}

/// Everyone in the demo.
pub(super) const PROFILES: [Profile; 5] = [
    Profile {
        slug: "aurora-energia",
        name: "Aurora Energia",
        manner: Manner::Accepts,
        answers: "accepts, then fetches the file behind the link",
        in_short: "accepts",
        plugin: Some("sintegre"),
    },
    Profile {
        slug: "vale-comercio",
        name: "Vale Comércio",
        manner: Manner::WantsKey,
        answers: "wants exactly `ninguemsabe` in Authorization, else 401",
        in_short: "wants `ninguemsabe`",
        plugin: Some("sintegre"),
    },
    Profile {
        slug: "aguas-do-sertao",
        name: "Águas do Sertão",
        manner: Manner::ErrorInside,
        answers: "200, with an error inside",
        in_short: "200, error inside",
        plugin: Some("gsan"),
    },
    Profile {
        slug: "banco-horizonte",
        name: "Banco Horizonte",
        manner: Manner::UnavailableTwice,
        answers: "503 twice, then accepts",
        in_short: "503, 503, accepts",
        plugin: None,
    },
    Profile {
        slug: "usina-serra-alta",
        name: "Usina Serra Alta",
        manner: Manner::Hangs,
        answers: "hangs: takes the request and never answers",
        in_short: "hangs",
        plugin: Some("sintegre"),
    },
];

/// What a partner knows of one delivery, by its `webhook-id`.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// When it came for the first time.
    pub(super) first_at: Instant,
    /// How often it came.
    pub(super) receipts: u32,
    /// How often it was taken; more than once is a duplicate.
    pub(super) taken: u32,
    /// Whether every one of them carried a signature that is right.
    pub(super) signed: bool,
    /// The `Authorization` header of the last one.
    pub(super) authorization: Option<String>,
    /// The body of the last one.
    pub(super) body: Bytes,
}

/// A file fetched through a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Download {
    /// HTTP status; 0: no answer.
    pub(super) status: u16,
    /// How many bytes came.
    pub(super) bytes: usize,
}

/// What a partner wrote down.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By `webhook-id`.
    pub(super) seen: HashMap<String, Seen>,
    /// In the order fetched.
    pub(super) downloads: Vec<Download>,
}

/// A partner's server.
#[derive(Debug)]
pub(super) struct Partner {
    /// Who it is.
    pub(super) profile: &'static Profile,
    address: SocketAddr,
    desk: Arc<Desk>,
    server: JoinHandle<()>,
}

/// What the server's handler works with.
#[derive(Debug)]
struct Desk {
    manner: Manner,
    signing_secret: OnceLock<Secret>,
    book: Mutex<Book>,
    http: reqwest::Client,
}

impl Partner {
    /// Opens a partner on a free port.
    pub(super) async fn open(profile: &'static Profile) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("no local partner: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        let desk =
            Arc::new(Desk { manner: profile.manner, signing_secret: OnceLock::new(), book: Mutex::default(), http });
        let app = Router::new().route(PATH, post(receive)).with_state(Arc::clone(&desk));
        let server = tokio::spawn(async move {
            // Ends with the demo; an error of one connection is that connection's.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { profile, address, desk, server })
    }

    /// Where it is called.
    pub(super) fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Hands over what signatures are checked with.
    pub(super) fn set_signing_secret(&self, secret: Secret) {
        // Set once, when the endpoint is registered.
        let _ = self.desk.signing_secret.set(secret);
    }

    /// What it wrote down so far.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.desk.book()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a receipt down; gives how often this delivery came by now.
    fn enter(&self, id: &str, headers: &HeaderMap, body: &Bytes) -> u32 {
        let signed = self.signature_is_right(id, headers, body);
        let mut book = self.book();
        let seen = book.seen.entry(id.to_owned()).or_insert_with(|| Seen {
            first_at: Instant::now(),
            receipts: 0,
            taken: 0,
            signed: true,
            authorization: None,
            body: Bytes::new(),
        });
        seen.receipts += 1;
        seen.signed &= signed;
        seen.authorization = text(headers, "authorization").map(str::to_owned);
        seen.body = body.clone();
        seen.receipts
    }

    fn take(&self, id: &str) {
        if let Some(seen) = self.book().seen.get_mut(id) {
            seen.taken += 1;
        }
    }

    /// Standard Webhooks: `v1,` and base64 of the HMAC-SHA256 over `{id}.{timestamp}.{body}`.
    fn signature_is_right(&self, id: &str, headers: &HeaderMap, body: &[u8]) -> bool {
        let key =
            self.signing_secret.get().and_then(|secret| STANDARD.decode(secret.expose().strip_prefix("whsec_")?).ok());
        let (Some(key), Some(timestamp), Some(signatures)) =
            (key, text(headers, "webhook-timestamp"), text(headers, "webhook-signature"))
        else {
            return false;
        };
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        signatures
            .split(' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .any(|signature| hmac::verify(&key, &signed, &signature).is_ok())
    }

    /// Fetches the file behind a link as a stranger would: no `Authorization`.
    async fn download(&self, link: String) {
        let fetched = match self.http.get(link).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                Download { status, bytes: response.bytes().await.map_or(0, |bytes| bytes.len()) }
            }
            Err(_) => Download { status: 0, bytes: 0 },
        };
        self.book().downloads.push(fetched);
    }
}

async fn receive(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(id) = text(&headers, "webhook-id").map(str::to_owned) else {
        return (StatusCode::BAD_REQUEST, "no webhook-id").into_response();
    };
    let times = desk.enter(&id, &headers, &body);
    match desk.manner {
        Manner::Accepts => {
            desk.take(&id);
            if let Some(link) = link(&body) {
                // Answers first and works afterwards, like most of SINtegre's receivers.
                tokio::spawn(async move { desk.download(link).await });
            }
            "OK".into_response()
        }
        Manner::WantsKey if text(&headers, "authorization") == Some(KEY) => {
            desk.take(&id);
            "OK".into_response()
        }
        Manner::WantsKey => (StatusCode::UNAUTHORIZED, "Chave inválida").into_response(),
        Manner::ErrorInside => {
            Json(json!({ "error": { "codigo": 17, "motivo": "cliente sem contrato ativo" } })).into_response()
        }
        Manner::UnavailableTwice if times <= UNAVAILABLE_TIMES => {
            (StatusCode::SERVICE_UNAVAILABLE, "Em manutenção").into_response()
        }
        Manner::UnavailableTwice => {
            desk.take(&id);
            Json(json!({ "codigo": "200", "msg": "Ok" })).into_response()
        }
        Manner::Hangs => {
            tokio::time::sleep(HANG).await;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The download link of a SINtegre notification.
fn link(body: &[u8]) -> Option<String> {
    let notification: Value = serde_json::from_slice(body).ok()?;
    notification.get("url")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(partner: &Partner, id: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request = reqwest::Client::new().post(partner.url()).header("webhook-id", id).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn partner(manner: Manner) -> Partner {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Partner::open(PROFILES.iter().find(|profile| profile.manner == manner).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn o10_the_key_is_compared_whole() {
        let partner = partner(Manner::WantsKey).await;
        assert_eq!(call(&partner, "a", &[("authorization", "Bearer ninguemsabe")], "{}").await.0, 401);
        assert_eq!(call(&partner, "a", &[("authorization", KEY)], "{}").await.0, 200);
        assert_eq!(partner.book().seen["a"].taken, 1);
    }

    #[tokio::test]
    async fn unavailable_counts_each_delivery_by_itself() {
        let partner = partner(Manner::UnavailableTwice).await;
        let mut statuses = Vec::new();
        for id in ["a", "b", "a", "a", "b"] {
            statuses.push(call(&partner, id, &[], "[]").await.0);
        }
        assert_eq!(statuses, [503, 503, 503, 200, 503]);
        let seen = partner.book().seen["a"].clone();
        assert_eq!((seen.receipts, seen.taken), (3, 1));
    }

    #[tokio::test]
    async fn v12_an_error_comes_inside_a_200() {
        let partner = partner(Manner::ErrorInside).await;
        let (status, body) = call(&partner, "a", &[], "{}").await;
        assert!(status == 200 && body.contains("\"error\""), "{body}");
        assert_eq!(partner.book().seen["a"].taken, 0);
    }

    #[tokio::test]
    async fn only_a_right_signature_counts() {
        let partner = partner(Manner::Accepts).await;
        // Key, message and signature of the Standard Webhooks specification's reference tests.
        partner.set_signing_secret(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = "{\"test\": 2432232314}";
        let headers = [("webhook-timestamp", "1614265330"), ("webhook-signature", signature)];
        call(&partner, id, &headers, body).await;
        assert!(partner.book().seen[id].signed);
        call(&partner, "other", &headers, body).await;
        assert!(!partner.book().seen["other"].signed);
    }
}
