//! Pages of other origins: none may call this API from a browser, but those that the setting `cors.origins` names.

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};

use super::{auth::Gate, permission::Permission};

/// What a page may send.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, accept-language, idempotency-key, if-match, if-none-match, ce-specversion, ce-type, \
     ce-source, ce-id, ce-subject, ce-time, ce-dataschema",
);
/// What a page may read beside the headers that every page may.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "engate-redacted, etag, idempotency-replayed, ratelimit, ratelimit-policy, ratelimit-limit, ratelimit-remaining, ratelimit-reset, \
     retry-after, x-request-id",
);
/// How long a browser may remember what a page may do, in seconds.
const REMEMBERED_S: HeaderValue = HeaderValue::from_static("600");

/// Lets a call through, with the headers that open its answer to a page of an origin that is let in. A preflight is
/// answered here, since no token comes with it.
pub(super) async fn through<A: Future<Output = Response>>(
    gate: &Gate,
    request: Request,
    next: impl FnOnce(Request) -> A,
) -> Response {
    if gate.engine.config.cors_origins.is_empty() || !request.headers().contains_key(header::ORIGIN) {
        return next(request).await;
    }
    let origin = let_in(&gate.engine.config.cors_origins, request.headers());
    let mut response = match &origin {
        Some(_) if is_preflight(&request) && !is_partners(gate, &request) => preflight(gate, &request),
        _ => next(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }
    response
}

/// The call's origin, where it is one of those named.
fn let_in(named: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    let text = origin.to_str().ok()?;
    named.iter().any(|one| one.eq_ignore_ascii_case(text)).then(|| origin.clone())
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What partners call belongs to its plugin, OPTIONS included.
fn is_partners(gate: &Gate, request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    let rules = path.and_then(|path| gate.rules.get(path.as_str()));
    rules.is_some_and(|rules| rules.values().any(|rule| rule.permission == Permission::CheckedByPlugin))
}

fn preflight(gate: &Gate, request: &Request) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let rules = path.and_then(|path| gate.rules.get(path.as_str()));
    let mut methods: Vec<_> = rules.into_iter().flatten().map(|(method, _)| method.as_str()).collect();
    methods.sort_unstable();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED_S);
    response
}
