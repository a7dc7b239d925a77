//! `/v1/inbound/{name}`: what partners call. No token is asked for: the plugin behind the name checks the call, and gets
//! the credentials that came with it. Nothing of them, nor of the query or the body, is logged.

use std::{io::Read, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use engate_host::InboundAnswer;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use tokio::time::Instant;

use super::{
    auth::whole_seconds,
    extract::{At, read_body},
    permission::Permission,
    problem::Problem,
    routes::Routes,
};
use crate::{
    engine::Engine,
    inbound::{IncomingCall, NotReceived},
    metrics::InboundLabels,
    proxies::Caller,
    verbs::VerbError,
};

/// The answer's origin is that of the whole engine: should a browser show one, nothing in it runs.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

pub(super) fn routes() -> Routes {
    Routes::default().add_any(__path_receive, Permission::CheckedByPlugin, receive)
}

/// Why a call was not answered by its plugin.
enum Refusal {
    /// Its body could not be taken.
    Body(Problem),
    /// Anything later.
    Call(NotReceived),
}

impl From<NotReceived> for Refusal {
    fn from(error: NotReceived) -> Self {
        Self::Call(error)
    }
}

impl Refusal {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Body(problem) if problem.status() == StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            Self::Body(_) => "invalid_body",
            Self::Call(error) => error.outcome(),
        }
    }
}

/// Takes a partner's call, as the plugin of this inbound understands it.
///
/// The plugin gets method, path, query, headers, the inflated body (`Content-Encoding: gzip` or `deflate`) and the
/// caller's address. It answers in the partner's own form, whose status and content type are its own. What it makes of
/// the call is committed before the answer leaves. Refusals of the engine's own are problems.
#[utoipa::path(post, path = "/v1/inbound/{name}", tag = "inbounds", operation_id = "inbound_call",
    params(("name" = String, Path, description = "The inbound's name")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Anything the plugin takes"),
    responses(
        (status = 200, description = "The plugin's answer, whatever its status", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "`inbound_refused`: the plugin takes no such call"),
        (status = 404, description = "There is no such inbound, or it is disabled"),
        (status = 408, description = "The body did not arrive in time"),
        (status = 409, description = "`id_conflict`: a repeat with another content"),
        (status = 413, description = "The body is larger than the inbound takes"),
        (status = 415, description = "The content encoding is not taken"),
        (status = 429, description = "More calls than the inbound takes; `Retry-After` says when"),
        (status = 500, description = "`inbound_event_refused`: what the plugin made of the call cannot be taken"),
        (status = 502, description = "`plugin_fault`: the plugin failed"),
        (status = 503, description = "The plugin or the database is not ready; `Retry-After` says when")))]
async fn receive(State(engine): State<Arc<Engine>>, At(name): At<String>, request: Request) -> Response {
    let started = Instant::now();
    let answered = answer(&engine, &name, request).await;
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let outcome = answered.as_ref().map_or_else(Refusal::outcome, |_| "answered");
    engine.metrics.inbound_calls.get_or_create(&InboundLabels { outcome }).inc();
    match answered {
        Ok(answer) => {
            tracing::info!(inbound = name, outcome, status = answer.status, took_ms, "inbound call");
            respond(answer)
        }
        Err(refusal) => {
            tell(&name, &refusal, took_ms);
            refused(refusal)
        }
    }
}

async fn answer(engine: &Arc<Engine>, name: &str, request: Request) -> Result<InboundAnswer, Refusal> {
    let open = engine.inbound_open(name).await?;
    let (parts, body) = request.into_parts();
    let limit = usize::try_from(open.inbound.body_bytes_max).unwrap_or(usize::MAX);
    let body = read_body(body, limit).await.map_err(Refusal::Body)?;
    let (body, inflated) = match coding(&parts.headers).map_err(Refusal::Body)? {
        Some(coding) => (inflate(coding, &body, limit).map_err(Refusal::Body)?, true),
        None => (body.to_vec(), false),
    };
    let call = IncomingCall {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers(&parts.headers, inflated),
        body,
        remote_address: parts.extensions.get().map(|Caller(address)| address.to_string()).unwrap_or_default(),
    };
    Ok(engine.inbound_receive(&open, &call).await?)
}

/// One line for whoever runs the engine. A name that nothing has is a stranger's text and stays out of it.
fn tell(name: &str, refusal: &Refusal, took_ms: u64) {
    let outcome = refusal.outcome();
    match refusal {
        Refusal::Call(NotReceived::NotFound) => tracing::debug!(outcome, took_ms, "inbound call"),
        Refusal::Call(NotReceived::RateLimited(_)) | Refusal::Body(_) => {
            tracing::info!(inbound = name, outcome, took_ms, "inbound call refused");
        }
        Refusal::Call(NotReceived::Refused(failure)) => {
            let (code, why) = (&failure.code, &failure.message);
            tracing::info!(inbound = name, outcome, code, why, took_ms, "inbound call refused by its plugin");
        }
        Refusal::Call(NotReceived::Fault(failure)) => {
            let (code, why) = (&failure.code, &failure.message);
            tracing::warn!(inbound = name, outcome, code, why, took_ms, "inbound call failed in its plugin");
        }
        Refusal::Call(error) => {
            // As a text that is quoted: it may name what a plugin made up.
            let why = error.to_string();
            tracing::warn!(inbound = name, outcome, why, took_ms, "inbound call not taken");
        }
    }
}

/// What a stranger is told.
fn refused(refusal: Refusal) -> Response {
    let error = match refusal {
        Refusal::Body(problem) => return problem.into_response(),
        Refusal::Call(error) => error,
    };
    match error {
        NotReceived::NotFound => Problem::not_found("inbound").into_response(),
        NotReceived::RateLimited(wait) => {
            let detail = "more calls than are taken here; try again after the seconds in `Retry-After`";
            let mut response = Problem::of("rate_limited", detail).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
            response
        }
        NotReceived::Fault(_) => {
            Problem::of("plugin_fault", "the plugin that answers here failed; try again later").into_response()
        }
        // A `problem` is a refusal in the operator's words, its message included. "Not retryable" means that no further
        // attempt would end otherwise, which a caller is told by a 4xx; "retryable" that one may, which is a 503. A
        // plugin that wants to say more to the caller answers instead.
        NotReceived::Refused(failure) if failure.retryable => {
            Problem::of("inbound_unavailable", "the call cannot be taken just now; try it again").into_response()
        }
        NotReceived::Refused(_) => {
            Problem::of("inbound_refused", "the call is not one that is taken here").into_response()
        }
        NotReceived::EventRefused(_) => {
            let detail = "what was made of the call could not be taken; nothing of it was kept";
            Problem::of("inbound_event_refused", detail).into_response()
        }
        NotReceived::IdConflict(_) => {
            let detail = "the same was sent before with another content; nothing of this call was kept";
            Problem::of("id_conflict", detail).into_response()
        }
        NotReceived::Store(error) => Problem::from(VerbError::Store(error)).into_response(),
    }
}

fn respond(answer: InboundAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        // The host has checked them; what could still not be sent is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    response
}

/// Every header as text. What told of the body's coding and length is no longer true of an inflated one.
fn headers(headers: &HeaderMap, inflated: bool) -> Vec<(String, String)> {
    let stale = |name: &HeaderName| inflated && (name == header::CONTENT_ENCODING || name == header::CONTENT_LENGTH);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let kept = headers.iter().filter(|(name, _)| !stale(name));
    kept.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// How a body may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// The body's content coding; none: it is as it is.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let named = values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim);
    let named: Vec<_> = named.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")).collect();
    match named.as_slice() {
        [] => Ok(None),
        [one] if one.eq_ignore_ascii_case("gzip") || one.eq_ignore_ascii_case("x-gzip") => Ok(Some(Coding::Gzip)),
        [one] if one.eq_ignore_ascii_case("deflate") => Ok(Some(Coding::Deflate)),
        _ => Err(Problem::of("unsupported_media_type", "`Content-Encoding` may be gzip or deflate, or be left out")),
    }
}

/// The body inflated to at most `limit` bytes.
fn inflate(coding: Coding, body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let read = |reader: &mut dyn Read| {
        let mut inflated = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        reader.take(most).read_to_end(&mut inflated).map(|_| inflated)
    };
    let inflated = match coding {
        Coding::Gzip => read(&mut MultiGzDecoder::new(body)),
        // RFC 9110 means zlib's format by it; some send the bare stream.
        Coding::Deflate => read(&mut ZlibDecoder::new(body)).or_else(|_| read(&mut DeflateDecoder::new(body))),
    };
    match inflated {
        Ok(inflated) if inflated.len() <= limit => Ok(inflated),
        Ok(_) => Err(Problem::of("payload_too_large", format!("the body may have at most {limit} bytes inflated"))),
        Err(_) => Err(Problem::of("invalid_body", "the body is not compressed as `Content-Encoding` says")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn coded(values: &[&str]) -> Result<Option<Coding>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
        }
        coding(&headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn codings_are_gzip_deflate_or_none() {
        assert_eq!(coded(&[]), Ok(None));
        assert_eq!(coded(&["identity"]), Ok(None));
        assert_eq!(coded(&["GZIP"]), Ok(Some(Coding::Gzip)));
        assert_eq!(coded(&["identity", "deflate"]), Ok(Some(Coding::Deflate)));
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "deflate"]] {
            assert_eq!(coded(other), Err(415), "{other:?}");
        }
    }

    #[test]
    fn a_body_is_inflated_up_to_its_bound_and_no_further() {
        let plain = vec![b'x'; 100_000];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&plain).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(&plain).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::best());
        bare.write_all(&plain).unwrap();
        let bodies = [
            (Coding::Gzip, gzip.finish().unwrap()),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, bare.finish().unwrap()),
        ];
        for (coding, body) in bodies {
            assert!(body.len() < 1_000, "a small body that becomes a large one");
            assert_eq!(inflate(coding, &body, plain.len()).unwrap(), plain);
            assert_eq!(inflate(coding, &body, plain.len() - 1).unwrap_err().status().as_u16(), 413);
            assert_eq!(inflate(coding, b"plain text", 100).unwrap_err().status().as_u16(), 400);
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
        let seconds = [1, 1_000_000, 1_000_001].map(|micros| whole_seconds(std::time::Duration::from_micros(micros)));
        assert_eq!(seconds, [1, 1, 2]);
    }
}
