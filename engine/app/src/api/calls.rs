//! Around every call: an id, a span, a count, a bound on its time, an access entry, 304 for who has it already, and an
//! answer even where a handler panics.

use std::{
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use engate_model::{CallId, token::Token};
use engate_store::{AccessEntry, AccessOfAccept};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    conditional::{known_to_reader, unless_known},
    portuguese,
    problem::Problem,
};
use crate::{engine::Engine, metrics::CallLabels, proxies::Caller};

/// How long a handler may take; a plugin's compilation is the longest thing any does.
const CALL_TIME_MAX: Duration = Duration::from_secs(150);
/// Route of calls that match none, for spans, counts and access entries: the path itself may hold anything, a token
/// included.
const UNMATCHED: &str = "unmatched";
/// Status of a call whose caller hung up before the answer, as nginx has it.
const CALLER_GONE: u16 = 499;
/// What a page may load and who may frame it, where it does not say so itself.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors 'none'",
);
/// For how long browsers keep to TLS once they saw it: a year.
const SECURE_FOR: HeaderValue = HeaderValue::from_static("max-age=31536000");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A call under way. Dropped before it was answered, it is recorded all the same: its caller hung up.
pub(crate) struct Call {
    engine: Arc<Engine>,
    /// Goes out as `x-request-id`.
    id: CallId,
    started: Instant,
    /// Where it came from.
    pub(crate) source: Option<IpAddr>,
    /// What is known of it once its token was found valid.
    entry: OnceLock<AccessEntry>,
    recorded: AtomicBool,
}

/// In a response: the handler has seen to the call's access entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded;

impl Call {
    fn begin(engine: &Arc<Engine>, request: &Request) -> Self {
        Self {
            engine: Arc::clone(engine),
            id: CallId::new(engine.now(), engine.chance.bits()),
            started: Instant::now(),
            source: request.extensions().get().map(|Caller(address)| *address),
            entry: OnceLock::new(),
            recorded: AtomicBool::new(false),
        }
    }

    /// The call came with a valid token, for this route.
    pub(crate) fn is_by(&self, token: &Token, route: Arc<str>) {
        let source = self.source.map(|address| address.to_string()).unwrap_or_default();
        let _ = self.entry.set(AccessEntry {
            id: self.id,
            tenant: token.tenant,
            token: token.id,
            route,
            status: 0,
            duration: Duration::ZERO,
            source: source.into(),
        });
    }

    /// The entry as it goes with the events of a call, if it is by someone.
    pub(crate) fn of_accept(&self, status: u16, status_repeat: u16) -> Option<AccessOfAccept> {
        let entry = AccessEntry { status, ..self.entry.get()?.clone() };
        Some(AccessOfAccept { entry, status_repeat, started: self.started })
    }

    /// The call is answered: what is to be recorded, if anything is.
    fn answered(&self, response: &Response) -> Option<AccessEntry> {
        self.recorded.store(true, Ordering::Relaxed);
        if response.extensions().get::<Recorded>().is_some() {
            return None;
        }
        self.entry_with(response.status().as_u16())
    }

    fn entry_with(&self, status: u16) -> Option<AccessEntry> {
        let entry = self.entry.get()?.clone();
        Some(AccessEntry { status, duration: self.started.elapsed(), ..entry })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.recorded.load(Ordering::Relaxed)
            && let Some(entry) = self.entry_with(CALLER_GONE)
        {
            self.engine.store.access_record_now(entry);
        }
    }
}

/// Runs a call inside its span; `admit` lets it through to its handler or refuses it.
pub(crate) async fn observe<A: Future<Output = Response>>(
    engine: &Arc<Engine>,
    request: Request,
    admit: impl FnOnce(Request, Arc<Call>) -> A,
) -> Response {
    let call = Arc::new(Call::begin(engine, &request));
    let id = call.id.to_string();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("call", %id, method, route, client = tracing::field::Empty);
    let known = known_to_reader(request.method(), request.headers());
    let in_portuguese = portuguese::is_wanted(request.headers());
    let mut response = unless_known(known, answer(admit(request, Arc::clone(&call))).instrument(span.clone()).await);
    if in_portuguese {
        response = portuguese::told(response);
    }
    let status = response.status();
    let took_ms = call.started.elapsed().as_millis();
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), took_ms, "call failed");
        } else {
            tracing::debug!(status = status.as_u16(), took_ms, "call");
        }
    });
    if let Some(entry) = call.answered(&response) {
        engine.store.access_record(entry).await;
    }
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

/// The route of a call that has no rule: its template with the method, or no path at all.
pub(crate) fn route_text(method: &Method, matched: Option<&MatchedPath>) -> Arc<str> {
    match matched {
        Some(path) => format!("{} {}", known(method), path.as_str()).into(),
        None => UNMATCHED.into(),
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
