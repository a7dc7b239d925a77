//! Tokens as requests and answers spell them.

use engate_model::{
    IntegratorId, Invalid, Secret, Timestamp, TokenId,
    invalid::Complaints,
    token::{Role, Token, TokenLimits},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    api::{conditional::Shown, contract::contract, extract::present, idempotency::ToldOnce, rate::CallRate},
    verbs::tokens::{TokenChange, TokenMade, TokenNew},
};

/// A route: `GET /v1/deliveries/{id}`.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 255, example = "POST /v1/events")]
#[allow(dead_code, reason = "a description only")]
pub(super) struct RouteText(String);

/// A scope: `deliveries:read`.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, example = "deliveries:read")]
#[allow(dead_code, reason = "a description only")]
pub(super) struct ScopeText(String);

/// A web origin, an address or a network.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 255, example = "10.1.0.0/16")]
#[allow(dead_code, reason = "a description only")]
pub(super) struct OriginText(String);

/// A field's name or a JSON pointer.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 255, example = "cpf")]
#[allow(dead_code, reason = "a description only")]
pub(super) struct RedactText(String);

/// What a token's holder may do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenRole {
    /// Everything in the tenant.
    Admin,
    /// Everything but tokens, secrets and settings.
    Operator,
    /// What belongs to one integrator.
    Integrator,
    /// Reads everything, changes nothing.
    Auditor,
    /// Posts events, reads nothing.
    Producer,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Admin => Self::Admin,
            TokenRole::Operator => Self::Operator,
            TokenRole::Integrator => Self::Integrator,
            TokenRole::Auditor => Self::Auditor,
            TokenRole::Producer => Self::Producer,
        }
    }
}

impl From<Role> for TokenRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Operator => Self::Operator,
            Role::Integrator => Self::Integrator,
            Role::Auditor => Self::Auditor,
            Role::Producer => Self::Producer,
        }
    }
}

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenNew, example = json!({"client": "billing", "role": "producer", "routes": ["POST /v1/events"]}))]
pub(super) struct TokenNewBody {
    /// Who will hold it; a client holds one live token.
    #[schema(min_length = 1, max_length = 255)]
    client: String,
    /// What they may do.
    role: TokenRole,
    /// Slug or id of the integrator it is bound to, for the role `integrator`.
    #[schema(min_length = 1, max_length = 64)]
    integrator: Option<String>,
    /// The only routes it may call, as `METHOD /v1/route/{template}`; none: all that its role may.
    #[schema(value_type = Option<Vec<RouteText>>, max_items = 256)]
    routes: Option<Vec<String>>,
    /// The only scopes it has, `noun:read` or `noun:write`; none: all of its role's. Each operation names its own.
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// How many calls each node takes of it; none: as many as come.
    rate_limit: Option<CallRate>,
    /// Where its calls may come from: web origins (`https://app.example.com`, compared with the `Origin` header), addresses
    /// and networks (compared with the connection's). Of one kind any one will do, of two kinds both must fit.
    #[schema(value_type = Option<Vec<OriginText>>, max_items = 64)]
    origins: Option<Vec<String>>,
    /// What its holder is not shown in any answer: names of fields (`cpf`), or JSON pointers (`/cliente/cpf`) into the
    /// answer, a list's items, payloads and bodies.
    #[schema(value_type = Option<Vec<RedactText>>, max_items = 64)]
    redact: Option<Vec<String>>,
    /// When it stops working; left out: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// A value that the client brings along: at least 32 visible ASCII characters that are hard to guess. Left out:
    /// one is made.
    #[schema(max_length = 512, write_only)]
    value: Option<String>,
}

/// What to change of a token; what is left out stays. An empty list narrows nothing; a null `rate_limit` or `expires_at`
/// takes it away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenChange, example = json!({"scopes": ["deliveries:read"], "rate_limit": {"per_second": 5, "burst": 10}}))]
pub(super) struct TokenChangeBody {
    /// The only routes it may call, as `METHOD /v1/route/{template}`; none: all that its role may.
    #[schema(value_type = Option<Vec<RouteText>>, max_items = 256)]
    routes: Option<Vec<String>>,
    /// The only scopes it has, `noun:read` or `noun:write`; none: all of its role's. Each operation names its own.
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// How many calls each node takes of it; none: as many as come.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<CallRate>)]
    rate_limit: Option<Option<CallRate>>,
    /// Where its calls may come from: web origins (`https://app.example.com`, compared with the `Origin` header), addresses
    /// and networks (compared with the connection's). Of one kind any one will do, of two kinds both must fit.
    #[schema(value_type = Option<Vec<OriginText>>, max_items = 64)]
    origins: Option<Vec<String>>,
    /// What its holder is not shown in any answer: names of fields (`cpf`), or JSON pointers (`/cliente/cpf`) into the
    /// answer, a list's items, payloads and bodies.
    #[schema(value_type = Option<Vec<RedactText>>, max_items = 64)]
    redact: Option<Vec<String>>,
    /// When it stops working.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Timestamp>>,
}

/// How to make a token anew.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRegenerate, example = json!({}))]
pub(super) struct TokenRegenerateBody {
    /// A value that the client brings along; left out: one is made.
    #[schema(max_length = 512, write_only)]
    pub(super) value: Option<String>,
    /// How long the old value works on, in ms, up to seven days; left out: not at all.
    #[schema(minimum = 0, maximum = 604_800_000)]
    pub(super) grace_ms: Option<u64>,
}

/// A token, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token, example = json!({
    "id": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "billing", "role": "producer", "integrator": null,
    "routes": ["POST /v1/events"], "scopes": [], "rate_limit": {"per_second": 20, "burst": 40}, "origins": ["10.1.0.0/16"],
    "redact": [], "expires_at": null, "revoked_at": null, "created_at": "2026-01-31T12:00:00.000000Z", "last_used_at": null
}))]
pub(crate) struct TokenView {
    /// Its id.
    #[schema(value_type = String)]
    id: TokenId,
    /// Who holds it.
    client: String,
    /// What they may do.
    role: TokenRole,
    /// Id of the integrator it is bound to.
    #[schema(value_type = Option<String>)]
    integrator: Option<IntegratorId>,
    /// The only routes it may call; empty: all that its role may.
    routes: Vec<String>,
    /// The only scopes it has; empty: all of its role's.
    scopes: Vec<String>,
    /// How many calls each node takes of it; null: as many as come.
    rate_limit: Option<CallRate>,
    /// Where its calls may come from; empty: anywhere.
    origins: Vec<String>,
    /// What its holder is not shown.
    redact: Vec<String>,
    /// When it stops working; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked; null: it was not. A value that was replaced with a grace works until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, within some seconds; null: it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl Shown for TokenView {
    fn content(&self) -> Value {
        let mut content = serde_json::to_value(self).unwrap_or_default();
        // Every call with it changes that, and no edit is decided on it.
        content.as_object_mut().map(|fields| fields.remove("last_used_at"));
        content
    }
}

/// A token just made, with its value.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenMade, example = json!({
    "id": "tok_0192f0c1a2b37c4d8e5f60718293a4b5", "client": "billing", "role": "producer", "integrator": null,
    "routes": ["POST /v1/events"], "scopes": [], "rate_limit": {"per_second": 20, "burst": 40}, "origins": ["10.1.0.0/16"],
    "redact": [], "expires_at": null, "revoked_at": null, "created_at": "2026-01-31T12:00:00.000000Z", "last_used_at": null,
    "token": "engate_q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"
}))]
pub(crate) struct TokenMadeView {
    /// The token.
    #[serde(flatten)]
    made: TokenView,
    /// Its value, this once: nobody can ask for it again. Null in the answer to a repeat under the same `Idempotency-Key`;
    /// where the first answer was lost, regenerate the token.
    token: Option<String>,
}

impl ToldOnce for TokenMadeView {
    fn untold(self) -> Self {
        Self { token: None, ..self }
    }
}

impl TokenView {
    pub(super) fn of(token: Token) -> Self {
        let TokenLimits { routes, scopes, rate_limit, origins, redact } = token.limits;
        Self {
            id: token.id,
            client: token.client,
            role: token.role.into(),
            integrator: token.integrator,
            routes,
            scopes,
            rate_limit: rate_limit.map(CallRate::from),
            origins,
            redact,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            created_at: token.created_at,
            last_used_at: token.last_used_at,
        }
    }
}

impl TokenMadeView {
    pub(crate) fn of(made: TokenMade) -> Self {
        Self { made: TokenView::of(made.token), token: Some(made.value.expose().to_owned()) }
    }
}

/// Checks that routes and scopes exist: a misspelt one would lock its holder out without a word.
fn check_known(routes: &[String], scopes: &[String]) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    for (n, route) in routes.iter().enumerate() {
        let known = route.split_once(' ').is_some_and(|(method, path)| contract().has_route(method, path));
        if !known {
            let message =
                "there is no such route; write METHOD and path as /openapi.json has them (GET /v1/deliveries/{id})";
            complaints.add(format!("routes[{n}]"), message);
        }
    }
    let all = contract().scopes();
    for (n, scope) in scopes.iter().enumerate().filter(|(_, scope)| !all.contains(scope.as_str())) {
        let some = all.iter().copied().collect::<Vec<_>>().join(", ");
        complaints.add(format!("scopes[{n}]"), format!("there is no scope {scope}; there are {some}"));
    }
    complaints.finish(())
}

impl TokenNewBody {
    /// The token to make.
    pub(super) fn checked(self) -> Result<TokenNew, Invalid> {
        let (routes, scopes) = (self.routes.unwrap_or_default(), self.scopes.unwrap_or_default());
        check_known(&routes, &scopes)?;
        let limits = TokenLimits {
            routes,
            scopes,
            rate_limit: self.rate_limit.map(Into::into),
            origins: self.origins.unwrap_or_default(),
            redact: self.redact.unwrap_or_default(),
        };
        Ok(TokenNew {
            client: self.client,
            role: self.role.into(),
            integrator: self.integrator,
            limits,
            expires_at: self.expires_at,
            value: self.value.map(Secret::from),
        })
    }
}

impl TokenChangeBody {
    /// What is to change.
    pub(super) fn checked(self) -> Result<TokenChange, Invalid> {
        check_known(self.routes.as_deref().unwrap_or_default(), self.scopes.as_deref().unwrap_or_default())?;
        Ok(TokenChange {
            routes: self.routes,
            scopes: self.scopes,
            rate_limit: self.rate_limit.map(|rate| rate.map(Into::into)),
            origins: self.origins,
            redact: self.redact,
            expires_at: self.expires_at,
        })
    }
}
