//! `Idempotency-Key` on actions: a repeat of a call under the same key gets the first one's answer, whichever node it
//! reaches, and nothing is done twice. `POST /v1/events` has each event's `id` for that.
//!
//! What is kept of an answer can be read again by whoever has database and key, so a token's value is left out of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engate_model::{Invalid, Timestamp, token::Principal};
use engate_store::{CallBegun, CallKey};
use http_body_util::BodyExt as _;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{
    extract::{BODY_BYTES_MAX, media_type, read_body},
    problem::Problem,
};
use crate::{carried::Carried, engine::Engine, media_type::is_json, verbs::plugins::COMPONENT_BYTES_MAX};

/// The header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_BYTES_MAX: usize = 255;
/// How long a call may be under way; whoever made one that is older is gone.
const UNDER_WAY_MAX: Duration = Duration::from_secs(180);
/// Largest answer that is kept.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// How a route meets the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// It is an action: a repeat under the same key is answered as the first one was.
    ByKey,
    /// What it takes carries ids of its own.
    ById,
    /// A repeat does nothing more by itself; the header means nothing.
    Free,
}

/// How actions describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "a description only")]
pub(super) struct IdempotencyKeyHeader {
    /// Any text of yours that means this one action, such as a UUID. A repeat within 24 hours gets the same answer with
    /// `Idempotency-Replayed: true`, and nothing is done twice. A token's value is told the first time only and null in a
    /// repeat. After a 5xx nobody knows whether it was carried out: a repeat is answered 409 `outcome_unknown`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    /// Base64; none where it was too large or not of one piece.
    body: Option<String>,
    /// The call failed on its way, and may have been carried out all the same.
    #[serde(default)]
    failed: bool,
}

/// An answer with something that is told once.
pub(super) trait ToldOnce: Serialize {
    /// The same without it.
    fn untold(self) -> Self;
}

/// Answers it whole; a repeat under the same key is answered without what is told once.
pub(super) struct Once<T>(pub(super) T);

/// In a response: the body to keep in the place of its own.
#[derive(Clone)]
struct KeptBody(Bytes);

impl<T: ToldOnce> IntoResponse for Once<T> {
    fn into_response(self) -> Response {
        let mut response = Json(&self.0).into_response();
        let kept = serde_json::to_vec(&self.0.untold()).unwrap_or_default();
        response.extensions_mut().insert(KeptBody(kept.into()));
        response
    }
}

/// Makes a call once for its key.
pub(super) async fn once(engine: &Arc<Engine>, principal: &Principal, request: Request, next: Next) -> Response {
    match begin(engine, principal, request).await {
        Ok(Begun::New(call, request)) => {
            let engine = Arc::clone(engine);
            Carried::new(async move { call.made(&engine, next.run(*request).await).await }).await
        }
        Ok(Begun::Answered(response)) => response,
        Err(problem) => problem.into_response(),
    }
}

enum Begun {
    New(Call, Box<Request>),
    Answered(Response),
}

async fn begin(engine: &Engine, principal: &Principal, request: Request) -> Result<Begun, Problem> {
    let key = read_key(request.headers())?;
    let (parts, body) = request.into_parts();
    let limit = if is_json(&media_type(&parts.headers)) { BODY_BYTES_MAX } else { COMPONENT_BYTES_MAX };
    let body = read_body(body, limit).await?;
    let mut context = Context::new(&SHA256);
    let uri = parts.uri.path_and_query().map_or("", |uri| uri.as_str());
    for part in [parts.method.as_str().as_bytes(), uri.as_bytes(), media_type(&parts.headers).as_bytes(), &body] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    let key = CallKey { tenant: principal.tenant, client: principal.client.clone(), key };
    let begun = engine.now();
    match engine.store.call_begin(&key, digest, begun).await? {
        CallBegun::New => {
            let request = Request::from_parts(parts, Body::from(body));
            Ok(Begun::New(Call { key, digest, begun }, Box::new(request)))
        }
        CallBegun::Ended(answer) => again(&answer).map(Begun::Answered),
        CallBegun::Another => Err(Problem::of(
            "idempotency_key_reused",
            "this Idempotency-Key was used for another request within 24 hours; a new action needs a new key",
        )),
        CallBegun::UnderWay(since) if begun.since(since) < UNDER_WAY_MAX => {
            let mut response = Problem::of(
                "in_progress",
                "the call with this Idempotency-Key is still under way; \
                                                           repeat it in a moment",
            )
            .into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Ok(Begun::Answered(response))
        }
        CallBegun::UnderWay(_) | CallBegun::Unreadable => Err(Problem::of(
            "outcome_unknown",
            "a call with this Idempotency-Key was begun and its answer is lost; see what became of it, then use a new key",
        )),
    }
}

fn read_key(headers: &HeaderMap) -> Result<String, Invalid> {
    let wrong = || {
        Invalid::field("Idempotency-Key", format!("give it once, with 1 to {KEY_BYTES_MAX} visible ASCII characters"))
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(wrong()) };
    let text = value.to_str().unwrap_or_default().trim();
    let fits =
        (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if fits { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// A call that this node makes under its key.
struct Call {
    key: CallKey,
    digest: [u8; 32],
    begun: Timestamp,
}

impl Call {
    /// Keeps what was answered, or gives the key back where nothing was done.
    async fn made(self, engine: &Engine, response: Response) -> Response {
        let (response, kept) = match keep(response).await {
            Ok(kept) => kept,
            Err(problem) => return problem.into_response(),
        };
        let Self { key, digest, begun } = &self;
        let done = if was_not_looked_at(response.status()) {
            engine.store.call_forget(key, *begun).await
        } else {
            let answer = serde_json::to_vec(&kept).unwrap_or_default();
            engine.store.call_end(key, *digest, *begun, answer).await
        };
        if let Err(error) = done {
            // The action stands. A repeat is told that its outcome is unknown, which is what a client would find too
            // where this answer never reached it.
            tracing::warn!(%error, "an answer could not be kept under its idempotency key");
        }
        response
    }
}

/// Refusals that say that the call was not looked at, so that a repeat may fare better. A 503 is none of them: what the
/// database did not answer may have been committed.
fn was_not_looked_at(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS)
}

async fn keep(response: Response) -> Result<(Response, Kept), Problem> {
    let (mut parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let instead = parts.extensions.remove::<KeptBody>();
    if parts.status.is_server_error() {
        let kept = Kept { status, headers: Vec::new(), body: None, failed: true };
        return Ok((Response::from_parts(parts, body), kept));
    }
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = parts.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)));
    let mut kept = Kept { status, headers: headers.collect(), body: None, failed: false };
    let size = HttpBody::size_hint(&body).exact();
    if size.is_none_or(|size| size > ANSWER_BYTES_MAX) {
        return Ok((Response::from_parts(parts, body), kept));
    }
    let bytes = body.collect().await.map_err(|_| Problem::internal())?.to_bytes();
    kept.body = Some(STANDARD.encode(instead.map_or_else(|| bytes.clone(), |KeptBody(bytes)| bytes)));
    Ok((Response::from_parts(parts, Body::from(bytes)), kept))
}

/// The answer that was given before.
fn again(answer: &[u8]) -> Result<Response, Problem> {
    let unreadable =
        || Problem::of("outcome_unknown", "the answer that was kept under this Idempotency-Key cannot be read");
    let kept: Kept = serde_json::from_slice(answer).map_err(|_| unreadable())?;
    if kept.failed {
        let detail = format!(
            "the call with this Idempotency-Key was answered {} and may have been carried out; see what became of it, then \
             use a new key",
            kept.status
        );
        return Err(Problem::of("outcome_unknown", detail));
    }
    let Some(body) = kept.body.and_then(|body| STANDARD.decode(body).ok()) else {
        let detail = format!("it was carried out and answered {}; the answer was too large to be kept", kept.status);
        return Err(Problem::of("outcome_unknown", detail));
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(kept.status).map_err(|_| unreadable())?;
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_visible_text() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            read_key(&headers)
        };
        assert_eq!(read(&["a b-1"]), Ok("a b-1".to_owned()));
        let long = "x".repeat(256);
        for wrong in [&[][..], &[""], &["a", "b"], &["é"], &[long.as_str()]] {
            assert_eq!(read(wrong).unwrap_err().0.first().unwrap().field, "Idempotency-Key", "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_comes_back_as_it_was_and_says_that_it_was_given_before() {
        let response = (StatusCode::CREATED, [(header::ETAG, "\"a\"")], "body").into_response();
        let (first, kept) = keep(response).await.unwrap();
        let repeat = again(&serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!((first.status(), repeat.status()), (StatusCode::CREATED, StatusCode::CREATED));
        assert_eq!(repeat.headers()[header::ETAG], "\"a\"");
        assert_eq!(
            (first.headers().get(REPLAYED), &repeat.headers()[REPLAYED]),
            (None, &HeaderValue::from_static("true"))
        );
        assert_eq!(repeat.into_body().collect().await.unwrap().to_bytes(), "body");
    }

    #[derive(Serialize)]
    struct Made {
        id: u8,
        value: Option<&'static str>,
    }

    impl ToldOnce for Made {
        fn untold(self) -> Self {
            Self { value: None, ..self }
        }
    }

    #[tokio::test]
    async fn what_is_told_once_is_answered_and_not_kept() {
        let response = (StatusCode::CREATED, Once(Made { id: 7, value: Some("hush") })).into_response();
        let (first, kept) = keep(response).await.unwrap();
        let kept = serde_json::to_vec(&kept).unwrap();
        assert!(!String::from_utf8(kept.clone()).unwrap().contains(&STANDARD.encode(r#"{"id":7,"value":"hush"}"#)));
        let repeat = again(&kept).unwrap();
        assert_eq!((first.status(), repeat.status()), (StatusCode::CREATED, StatusCode::CREATED));
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), r#"{"id":7,"value":"hush"}"#);
        assert_eq!(repeat.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(repeat.into_body().collect().await.unwrap().to_bytes(), r#"{"id":7,"value":null}"#);
    }

    #[tokio::test]
    async fn after_a_failure_on_the_way_nobody_says_that_nothing_was_done() {
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE] {
            assert!(!was_not_looked_at(status));
            let (first, kept) = keep((status, "why").into_response()).await.unwrap();
            assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "why");
            let repeat = again(&serde_json::to_vec(&kept).unwrap()).unwrap_err();
            assert_eq!(repeat.status(), StatusCode::CONFLICT);
            assert!(format!("{repeat:?}").contains("outcome_unknown"));
        }
        let earlier = br#"{"status":201,"headers":[],"body":"e30="}"#;
        assert_eq!(again(earlier).unwrap().status(), StatusCode::CREATED, "kept by the version before");
    }
}
