//! Tokens by OAuth 2 client credentials: fetched once for whoever waits, kept until shortly before they end.
//!
//! Time is read of a clock that only goes forward: a machine whose wall clock is set, or a midnight, changes nothing.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use engate_model::{
    Secret,
    endpoint::{Auth, Oauth2},
    verdict::Failure,
};
use http::HeaderValue;
use ring::digest::{Context, SHA256};
use tokio::time::Instant;

use crate::{
    headers::check_value,
    request::Outbound,
    send::{Egress, Received},
};

/// Clients whose tokens are kept. Beyond it the one that was used longest ago goes, and fetches its token anew.
const CLIENTS_MAX: usize = 4_096;
/// Longest time for one token request; the request that waits for it may have less.
const FETCH_TIMEOUT_MAX: Duration = Duration::from_secs(15);
/// Most bytes of a token response.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// What is taken for a token's life where the server does not say (RFC 6749 leaves it open).
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// The longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A token is not used in its last minute, or its last tenth where it lives for less than ten.
const MARGIN_MAX: Duration = Duration::from_secs(60);
const MARGIN_DIVISOR: u32 = 10;
/// Longest text of the server that a failure quotes, characters.
const QUOTED_CHARS_MAX: usize = 300;

/// The tokens of all clients.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Key, Kept>>);

/// Who asks, where, and for what: a digest, so that no secret is kept twice.
type Key = [u8; 32];

struct Kept {
    slot: Arc<Slot>,
    used: Instant,
}

/// One client's token. Whoever holds the lock fetches; the others wait for it and find what it found.
type Slot = tokio::sync::Mutex<Found>;

#[derive(Default)]
struct Found {
    token: Option<Token>,
    /// The last failure, for those who were waiting when it happened.
    failed: Option<(Instant, Failure)>,
}

#[derive(Clone)]
struct Token {
    value: Secret,
    stale_at: Instant,
}

impl Tokens {
    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = Instant::now();
        if !kept.contains_key(&key) && kept.len() >= CLIENTS_MAX {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key);
            oldest.map(|oldest| kept.remove(&oldest));
        }
        let kept = kept.entry(key).or_insert_with(|| Kept { slot: Arc::default(), used });
        kept.used = used;
        Arc::clone(&kept.slot)
    }
}

impl Egress {
    /// The client's token: a kept one, or a new one. One that was `refused` is given up, unless it was replaced already.
    ///
    /// # Errors
    /// `oauth2_refused` where the server gave none, `oauth2_failed` where it could not be asked, or what the guard says.
    pub(crate) async fn token(
        &self,
        client: &Oauth2,
        refused: Option<&Secret>,
        deadline: Duration,
    ) -> Result<Secret, Failure> {
        let asked = Instant::now();
        let slot = self.tokens.slot(key(client));
        let mut found = slot.lock().await;
        let usable = |token: &&Token| token.stale_at > Instant::now() && refused != Some(&token.value);
        if let Some(token) = found.token.as_ref().filter(usable) {
            return Ok(token.value.clone());
        }
        if let Some((_, failure)) = found.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(failure.clone());
        }
        found.token = None;
        match self.fetch_token(client, deadline.min(FETCH_TIMEOUT_MAX)).await {
            Ok((value, life)) => {
                let margin = MARGIN_MAX.min(life / MARGIN_DIVISOR);
                let stale_at = asked.checked_add(life.saturating_sub(margin)).unwrap_or(asked);
                found.token = Some(Token { value: value.clone(), stale_at });
                found.failed = None;
                Ok(value)
            }
            Err(failure) => {
                found.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn fetch_token(&self, client: &Oauth2, deadline: Duration) -> Result<(Secret, Duration), Failure> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let outbound = Outbound {
            method: "POST",
            url: &client.token_url,
            headers: vec![
                header("content-type", "application/x-www-form-urlencoded"),
                header("accept", "application/json"),
            ],
            body: Bytes::from(form(client)),
            compress: false,
            auth: &Auth::None,
            sign: None,
            deadline,
            response_bytes_max: RESPONSE_BYTES_MAX,
            http1_title_case: false,
        };
        match self.dispatch(outbound, None).await {
            Ok(received) => read(client, &received),
            Err(failed) if failed.failure.code == "timeout" || failed.failure.retryable => {
                let message = format!("no token of {}: {}", place(client), failed.failure.message);
                Err(Failure { code: "oauth2_failed".to_owned(), message, retryable: true })
            }
            Err(failed) => Err(failed.failure),
        }
    }
}

/// The body of a token request.
fn form(client: &Oauth2) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &client.client_id)
        .append_pair("client_secret", client.client_secret.expose());
    if let Some(scope) = &client.scope {
        form.append_pair("scope", scope);
    }
    form.finish()
}

fn key(client: &Oauth2) -> Key {
    let mut context = Context::new(&SHA256);
    let scope = client.scope.as_deref().unwrap_or_default();
    for part in [client.token_url.as_str(), &client.client_id, client.client_secret.expose(), scope] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// The token and its life, of a server's answer.
fn read(client: &Oauth2, received: &Received) -> Result<(Secret, Duration), Failure> {
    let (status, body) = (received.response.status, received.response.body.as_slice());
    // As a 401 of a partner: wrong credentials do not become right by waiting.
    let final_one = matches!(status, 400..=407 | 409..=428 | 430..=499);
    let refused = |what: String| {
        let message = format!("{} gave no token: {}", place(client), masked(&what, client));
        Failure { code: "oauth2_refused".to_owned(), message, retryable: !final_one }
    };
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let text = |field: &str| answer.as_ref().and_then(|answer| answer.get(field)?.as_str().map(str::to_owned));
    if !(200..300).contains(&status) {
        let told: Vec<_> = ["error", "error_description"].into_iter().filter_map(text).collect();
        let told = if told.is_empty() { "without a reason that can be read".to_owned() } else { told.join(": ") };
        return Err(refused(format!("HTTP status {status}, {told}")));
    }
    let token = text("access_token").filter(|token| !token.is_empty());
    let Some(token) = token else { return Err(refused("its answer has no access_token".to_owned())) };
    if check_value(&token).is_err() || HeaderValue::from_str(&token).is_err() {
        return Err(refused("its access_token cannot stand in a header".to_owned()));
    }
    let seconds = answer.as_ref().and_then(|answer| match answer.get("expires_in")? {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        number => number.as_f64(),
    });
    let life = seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    Ok((Secret::new(token), life.unwrap_or(LIFE_DEFAULT).min(LIFE_MAX)))
}

/// The token endpoint without its query.
fn place(client: &Oauth2) -> &str {
    client.token_url.split('?').next().unwrap_or_default()
}

/// What the server said, safe to be shown: short, printable, and without the secret, should it repeat it.
fn masked(text: &str, client: &Oauth2) -> String {
    let secret = client.client_secret.expose();
    let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "***") };
    let mut shown = String::new();
    for c in text.chars().take(QUOTED_CHARS_MAX) {
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
