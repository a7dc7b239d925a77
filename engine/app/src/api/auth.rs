//! Who may pass: the token becomes a [`Principal`] here and goes no further. Handlers, verbs, plugins, logs and
//! the database see the principal only. What partners send to an inbound is no token of ours: it is its plugin's to check.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::{Invalid, Secret, token::Principal};

use super::{
    extract::unknown_query,
    idempotency::{self, IDEMPOTENCY_KEY, Repeats},
    permission::Permission,
    problem::Problem,
    routes::{Rule, Rules},
};
use crate::engine::Engine;

const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"engate\"");
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"engate\", charset=\"UTF-8\"");

/// What the middleware decides by.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) engine: Arc<Engine>,
    pub(crate) rules: Arc<Rules>,
}

/// Lets a call through to its handler, or answers why not.
pub(crate) async fn admit(gate: &Gate, mut request: Request, next: Next) -> Response {
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
    let principal = match identify(&gate.engine, token, for_browsers).await {
        Ok(principal) => principal,
        Err(problem) => return refused(problem, for_browsers),
    };
    tracing::Span::current().record("client", tracing::field::display(principal.token));
    let Some(methods) = methods else {
        return Problem::of("not_found", "there is no such path").into_response();
    };
    let Some(rule) = rule else {
        return wrong_method(methods.keys());
    };
    if let Err(problem) = check(rule, &principal, request.uri().query().unwrap_or_default()) {
        return problem.into_response();
    }
    if request.headers().contains_key(IDEMPOTENCY_KEY) {
        match rule.repeats {
            Repeats::ByKey => {
                request.extensions_mut().insert(principal.clone());
                return idempotency::once(&gate.engine, &principal, request, next).await;
            }
            Repeats::ById => {
                let cure = "is not taken here; give each event an `id`, which does the same for each";
                return Problem::from(Invalid::field("Idempotency-Key", cure)).into_response();
            }
            Repeats::Free => {}
        }
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// A GET handler answers HEAD too.
fn effective(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}

fn check(rule: &Rule, principal: &Principal, query: &str) -> Result<(), Problem> {
    if !rule.permission.allows(principal.role) {
        let roles = rule.permission.roles_text();
        let detail = format!("a token of role {} may not do this; roles that may: {roles}", principal.role.code());
        return Err(Problem::of("forbidden", detail));
    }
    let unknown = if rule.takes_query { Vec::new() } else { unknown_query(query) };
    if unknown.is_empty() { Ok(()) } else { Err(Invalid(unknown).into()) }
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

async fn identify(engine: &Engine, credential: Credential, basic_too: bool) -> Result<Principal, Problem> {
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
        Some(principal) => Ok(principal),
        // Unknown, revoked and expired look alike from outside.
        None => refuse("the token is unknown, revoked or expired"),
    }
}

fn refused(problem: Problem, for_browsers: bool) -> Response {
    let unauthorized = problem.status() == StatusCode::UNAUTHORIZED;
    let mut response = problem.into_response();
    if unauthorized {
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
