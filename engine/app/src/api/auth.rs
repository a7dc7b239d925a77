//! Who may pass: the token becomes a [`Principal`](engate_model::token::Principal) here and goes no further. Handlers, verbs, plugins, logs and
//! the database see the principal only. What partners send to an inbound is no token of ours: it is its plugin's to check.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::{
    Invalid, Secret,
    token::{Token, TokenLimits},
};

use super::{
    calls::{Call, route_text},
    extract::unknown_query,
    idempotency::{self, IDEMPOTENCY_KEY, Repeats},
    linger::read_on,
    permission::Permission,
    problem::Problem,
    redact::{check_query, redacted},
    routes::{Rule, Rules},
};
use crate::{engine::Engine, rates::Allowance, verbs::access::Grant};

const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"engate\"");
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"engate\", charset=\"UTF-8\"");

/// What the middleware decides by.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) engine: Arc<Engine>,
    pub(crate) rules: Arc<Rules>,
}

/// Lets a call through to its handler, or answers why not.
pub(crate) async fn admit(gate: &Gate, mut request: Request, call: Arc<Call>, next: Next) -> Response {
    let methods = request.extensions().get::<MatchedPath>().and_then(|path| gate.rules.get(path.as_str()));
    let rule = methods.and_then(|methods| methods.get(effective(request.method())));
    if let Some(Rule { permission: Permission::CheckedByPlugin, .. }) = rule {
        return next.run(request).await;
    }
    let token = take_token(request.headers_mut());
    if let Some(Rule { permission: Permission::Public, .. }) = rule {
        return next.run(request).await;
    }
    // A browser that opens the documentation can only be asked for Basic; the token is the password then.
    let for_browsers = rule.is_some_and(|rule| rule.permission == Permission::ReadDocs);
    let grant = match identify(&gate.engine, token, for_browsers).await {
        Ok(grant) => grant,
        Err(problem) => {
            read_on(request);
            return refused(gate, &call, problem, for_browsers);
        }
    };
    tracing::Span::current().record("client", tracing::field::display(grant.token.id));
    let matched = request.extensions().get::<MatchedPath>();
    let route = rule.map_or_else(|| route_text(request.method(), matched), |rule| Arc::clone(&rule.route));
    call.is_by(&grant.token, route);
    let allowance = allowance(&gate.engine, &grant);
    let mut response = match pass(methods, rule, &grant, allowance, &call, &request) {
        Ok(rule) => {
            if rule.permission == Permission::SendEvents {
                request.extensions_mut().insert(call);
            }
            let principal = grant.principal();
            request.extensions_mut().insert(principal.clone());
            if grant.redaction.is_some() {
                // Who asks about fields in a body is to know which of them are hidden.
                request.extensions_mut().insert(Arc::clone(&grant));
            }
            let response = if rule.repeats == Repeats::ByKey && request.headers().contains_key(IDEMPOTENCY_KEY) {
                idempotency::once(&gate.engine, &principal, request, next).await
            } else {
                next.run(request).await
            };
            let plain = grant.redaction.is_none() || rule.permission.is_about_the_engine();
            if plain { response } else { redacted(Arc::clone(&grant), response).await }
        }
        Err(refusal) => {
            read_on(request);
            *refusal
        }
    };
    if let Some(allowance) = allowance {
        tell_allowance(response.headers_mut(), allowance);
    }
    response
}

/// The rule of a call that may pass; else the answer that says why not.
fn pass<'r>(
    methods: Option<&'r HashMap<Method, Rule>>,
    rule: Option<&'r Rule>,
    grant: &Grant,
    allowance: Option<Allowance>,
    call: &Call,
    request: &Request,
) -> Result<&'r Rule, Box<Response>> {
    let refuse = |problem: Problem| Box::new(problem.into_response());
    if allowance.is_some_and(|allowance| allowance.wait.is_some()) {
        let detail = "more calls than this token may make; try again after the seconds in `Retry-After`";
        return Err(refuse(Problem::of("rate_limited", detail)));
    }
    let origin = request.headers().get(header::ORIGIN).and_then(|value| value.to_str().ok());
    if !grant.pins.allow(origin, call.source) {
        let detail = "this token works from the origins and addresses it is pinned to only";
        return Err(refuse(Problem::of("origin_not_allowed", detail)));
    }
    let methods = methods.ok_or_else(|| refuse(Problem::of("not_found", "there is no such path")))?;
    let rule = rule.ok_or_else(|| Box::new(wrong_method(methods.keys())))?;
    let query = request.uri().query().unwrap_or_default();
    check(rule, &grant.token, query).map_err(refuse)?;
    if let Some(redaction) = &grant.redaction {
        check_query(redaction, query).map_err(refuse)?;
    }
    if rule.repeats == Repeats::ById && request.headers().contains_key(IDEMPOTENCY_KEY) {
        let cure = "is not taken here; give each event an `id`, which does the same for each";
        return Err(refuse(Invalid::field("Idempotency-Key", cure).into()));
    }
    Ok(rule)
}

/// A GET handler answers HEAD too.
fn effective(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}

fn check(rule: &Rule, token: &Token, query: &str) -> Result<(), Problem> {
    let forbidden = |detail: String| Err(Problem::of("forbidden", detail));
    // Whoever holds a token may give it up, however it is narrowed.
    let narrowed = rule.permission != Permission::RevokeSelf;
    let TokenLimits { routes, scopes, .. } = &token.limits;
    if narrowed && !routes.is_empty() && !routes.iter().any(|route| **route == *rule.route) {
        return forbidden(format!("`{}` is not among this token's routes", rule.route));
    }
    let scope = rule.permission.scope().filter(|_| narrowed && !scopes.is_empty());
    if let Some(scope) = scope.filter(|scope| !scopes.iter().any(|held| held == scope)) {
        return forbidden(format!("this needs the scope {scope}, which is not among this token's"));
    }
    if !rule.permission.allows(token.role) {
        let roles = rule.permission.roles_text();
        return forbidden(format!("a token of role {} may not do this; roles that may: {roles}", token.role.code()));
    }
    let unknown = if rule.takes_query { Vec::new() } else { unknown_query(query) };
    if unknown.is_empty() { Ok(()) } else { Err(Invalid(unknown).into()) }
}

/// What the token's rate limit leaves it, this call counted; none where it has no limit.
fn allowance(engine: &Engine, grant: &Grant) -> Option<Allowance> {
    let limit = grant.token.limits.rate_limit?;
    Some(engine.token_rates.take(grant.token.id, limit, engine.now()))
}

/// The limit and what is left of it: as the IETF's draft for rate limit headers has it since its eighth edition, and as
/// clients know it from the ones before.
fn tell_allowance(headers: &mut HeaderMap, allowance: Allowance) {
    let Allowance { limit, remaining, reset, wait } = allowance;
    let window = limit.burst.div_ceil(limit.per_second.max(1));
    let reset = whole_seconds(reset);
    let texts = [
        ("ratelimit-policy", format!("\"token\";q={};w={window}", limit.burst)),
        ("ratelimit", format!("\"token\";r={remaining};t={reset}")),
        ("ratelimit-limit", limit.burst.to_string()),
        ("ratelimit-remaining", remaining.to_string()),
        ("ratelimit-reset", reset.to_string()),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(wait) = wait {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
    }
}

/// A wait in seconds, never shorter than it is.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// What came as a token.
enum Credential {
    None,
    Unreadable,
    Bearer(Secret),
    /// The password of Basic authentication.
    Password(Secret),
}

/// Takes the credential out of the headers, so that nothing behind this can see it.
fn take_token(headers: &mut HeaderMap) -> Credential {
    headers.remove(header::PROXY_AUTHORIZATION);
    let several = headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some();
    let value = headers.remove(header::AUTHORIZATION);
    let Some(value) = value else { return Credential::None };
    if several {
        return Credential::Unreadable;
    }
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Credential::Bearer(Secret::new(token.trim())),
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => {
            password(encoded.trim()).map_or(Credential::Unreadable, Credential::Password)
        }
        _ => Credential::Unreadable,
    }
}

fn password(encoded: &str) -> Option<Secret> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| Secret::new(password))
}

async fn identify(engine: &Engine, credential: Credential, basic_too: bool) -> Result<Arc<Grant>, Problem> {
    let refuse = |detail: &str| Err(Problem::of("unauthorized", detail));
    let token = match credential {
        Credential::None => return refuse("this call needs `Authorization: Bearer TOKEN`"),
        Credential::Bearer(token) => token,
        Credential::Password(token) if basic_too => token,
        Credential::Unreadable | Credential::Password(_) => {
            return refuse("the Authorization header is not `Bearer TOKEN`");
        }
    };
    match engine.authenticate(token.expose()).await? {
        Some(grant) => Ok(grant),
        // Unknown, revoked and expired look alike from outside.
        None => refuse("the token is unknown, revoked or expired"),
    }
}

fn refused(gate: &Gate, call: &Call, problem: Problem, for_browsers: bool) -> Response {
    let unauthorized = problem.status() == StatusCode::UNAUTHORIZED;
    let mut response = problem.into_response();
    if unauthorized {
        gate.engine.strangers.count(gate.engine.now(), call.source);
        response.headers_mut().append(header::WWW_AUTHENTICATE, BEARER);
        if for_browsers {
            response.headers_mut().append(header::WWW_AUTHENTICATE, BASIC);
        }
    }
    response
}

fn wrong_method<'a>(methods: impl Iterator<Item = &'a Method>) -> Response {
    let mut allowed: Vec<_> = methods.map(Method::as_str).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.sort_unstable();
    let allowed = allowed.join(", ");
    let mut response = Problem::of("method_not_allowed", format!("this path takes {allowed}")).into_response();
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(values: &[&str]) -> (Credential, HeaderMap) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        (take_token(&mut headers), headers)
    }

    #[test]
    fn g11_the_token_is_taken_out_of_the_headers() {
        for values in [&["Bearer tok_CANARY"][..], &["Bearer a", "Bearer b"], &["tok_CANARY"], &["Basic dTpwOnE="]] {
            assert!(taken(values).1.is_empty());
        }
    }

    #[test]
    fn only_one_bearer_or_basic_credential_counts() {
        assert!(matches!(taken(&[]).0, Credential::None));
        assert!(matches!(taken(&["bearer  abc "]).0, Credential::Bearer(token) if token.expose() == "abc"));
        assert!(matches!(taken(&["Basic dTpwOnE="]).0, Credential::Password(token) if token.expose() == "p:q"));
        assert!(matches!(taken(&["Bearer a", "Bearer a"]).0, Credential::Unreadable));
        assert!(matches!(taken(&["abc"]).0, Credential::Unreadable));
        assert!(matches!(taken(&["Basic %%%"]).0, Credential::Unreadable));
    }
}
