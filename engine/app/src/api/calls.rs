//! Around every call: an id, a span, a count, a bound on its time, 304 for who has it already, and an answer even where
//! a handler panics.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    conditional::{known_to_reader, unless_known},
    portuguese,
    problem::Problem,
};
use crate::{engine::Engine, metrics::CallLabels};

/// How long a handler may take; a plugin's compilation is the longest thing any does.
const CALL_TIME_MAX: Duration = Duration::from_secs(150);
/// Route of calls that match none, for spans and counts: the path itself may hold anything, a token included.
const UNMATCHED: &str = "unmatched";
/// What a page may load and who may frame it, where it does not say so itself.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors 'none'",
);
/// For how long browsers keep to TLS once they saw it: a year.
const SECURE_FOR: HeaderValue = HeaderValue::from_static("max-age=31536000");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Runs a call inside its span; `admit` lets it through to its handler or refuses it.
pub(crate) async fn observe<A: Future<Output = Response>>(
    engine: &Engine,
    request: Request,
    admit: impl FnOnce(Request) -> A,
) -> Response {
    let started = Instant::now();
    let id = format!("req_{:032x}", engine.chance.bits());
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("call", %id, method, route, client = tracing::field::Empty);
    let known = known_to_reader(request.method(), request.headers());
    let in_portuguese = portuguese::is_wanted(request.headers());
    let mut response = unless_known(known, answer(admit(request)).instrument(span.clone()).await);
    if in_portuguese {
        response = portuguese::told(response);
    }
    let status = response.status();
    let took_ms = started.elapsed().as_millis();
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), took_ms, "call failed");
        } else {
            tracing::debug!(status = status.as_u16(), took_ms, "call");
        }
    });
    let labels = CallLabels { method: method.to_owned(), route, status: status.as_u16() };
    engine.metrics.calls.get_or_create(&labels).inc();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if engine.config.tls.is_some() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, SECURE_FOR);
    }
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        guard_page(headers);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What every page says to browsers; a page may have a policy of its own.
fn guard_page(headers: &mut HeaderMap) {
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(PAGE_POLICY);
}

async fn answer(call: impl Future<Output = Response>) -> Response {
    let call = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(CALL_TIME_MAX, call).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = text.unwrap_or("of no text"), "a handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => Problem::of("timeout", "the call took too long; it may have been carried out").into_response(),
    }
}

/// The method as a bounded label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
