//! Clients' tokens (seeds G4, G7, G8, G9). A value is seen here once, when it is made or brought along; what is
//! kept is its hash.

pub(crate) mod pins;
mod strength;

use std::time::Duration;

use engate_model::{
    IntegratorId, Invalid, Secret, TokenId,
    event::check_name,
    invalid::Complaints,
    redaction::Redaction,
    time::Timestamp,
    token::{Principal, Role, Token, TokenLimits},
};
use serde_json::{Map, Value};

use self::{pins::Pins, strength::check_value};
use super::{VerbError, access::token_hash, demand::Demand, on_conflict};
use crate::engine::Engine;

/// A token to make.
#[derive(Debug, Clone)]
pub(crate) struct TokenNew {
    /// Who will hold it.
    pub(crate) client: String,
    /// What they may do.
    pub(crate) role: Role,
    /// Slug or id of the integrator it is bound to, for the role `integrator`.
    pub(crate) integrator: Option<String>,
    /// What it may do less than its role; routes and scopes are known to exist.
    pub(crate) limits: TokenLimits,
    /// When it stops working.
    pub(crate) expires_at: Option<Timestamp>,
    /// The value the client brings along; none: one is made.
    pub(crate) value: Option<Secret>,
}

/// What to change of a token; what is none stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenChange {
    /// The only routes; empty: all of the role's.
    pub(crate) routes: Option<Vec<String>>,
    /// The only scopes; empty: all of the role's.
    pub(crate) scopes: Option<Vec<String>>,
    /// How many calls; none within: as many as come.
    pub(crate) rate_limit: Option<Option<engate_model::rate::RateLimit>>,
    /// Where calls may come from; empty: anywhere.
    pub(crate) origins: Option<Vec<String>>,
    /// What its holder is not shown.
    pub(crate) redact: Option<Vec<String>>,
    /// When it stops working; none within: never.
    pub(crate) expires_at: Option<Option<Timestamp>>,
}

/// A token just made, with its value; nobody can ask for the value again.
#[derive(Debug)]
pub(crate) struct TokenMade {
    /// The token.
    pub(crate) token: Token,
    /// Its value.
    pub(crate) value: Secret,
}

impl TokenMade {
    /// What the store knows it by.
    pub(crate) fn hash(&self) -> [u8; 32] {
        token_hash(self.value.expose())
    }
}

impl Engine {
    /// The tenant's tokens, the oldest first; revoked ones where asked for.
    pub(crate) async fn token_list(&self, principal: &Principal, revoked: bool) -> Result<Vec<Token>, VerbError> {
        let mut tokens = self.store.token_list(principal.tenant).await?;
        let now = self.now();
        tokens.retain(|token| revoked || token.revoked_at.is_none_or(|at| now < at));
        Ok(tokens.into_iter().map(|token| self.with_use(token)).collect())
    }

    /// One token, revoked or not.
    pub(crate) async fn token_get(&self, principal: &Principal, id: TokenId) -> Result<Token, VerbError> {
        let token = self.store.token_get(principal.tenant, id).await?;
        token.map(|token| self.with_use(token)).ok_or(VerbError::NotFound("token"))
    }

    /// With its last use on this node, which is written down some seconds later.
    fn with_use(&self, token: Token) -> Token {
        let last_used_at = token.last_used_at.max(self.tokens.used_at(token.id));
        Token { last_used_at, ..token }
    }

    /// Makes a token for a client that holds none.
    pub(crate) async fn token_create(&self, principal: &Principal, new: TokenNew) -> Result<TokenMade, VerbError> {
        let now = self.now();
        let mut complaints = Complaints::default();
        complaints.take(check_name("client", &new.client));
        if new.expires_at.is_some_and(|at| at <= now) {
            complaints.add("expires_at", "is past already; give a later time, or leave it out");
        }
        check_limits(&new.limits, &mut complaints);
        let value = self.value_of(new.value, &mut complaints);
        let integrator = self.bound_to(principal, new.role, new.integrator.as_deref(), &mut complaints).await?;
        complaints.finish(())?;
        let token = Token {
            id: TokenId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            client: new.client,
            role: new.role,
            integrator,
            limits: new.limits,
            expires_at: new.expires_at,
            revoked_at: None,
            created_at: now,
            last_used_at: None,
        };
        self.require_unused(&value).await?;
        let made = TokenMade { token, value };
        let stored = self.store.token_create(&self.actor(principal), &made.token, &made.hash()).await;
        let held = format!("{} holds a live token; regenerate that one, or revoke it first", made.token.client);
        stored.map_err(on_conflict("client_has_token", held))?;
        Ok(made)
    }

    /// Changes what a token may do and when it ends; its value stays.
    pub(crate) async fn token_update(
        &self,
        principal: &Principal,
        id: TokenId,
        change: TokenChange,
        demand: &Demand<Token>,
    ) -> Result<Token, VerbError> {
        demand.settle(|| Box::pin(self.token_change(principal, id, change.clone(), demand))).await
    }

    async fn token_change(
        &self,
        principal: &Principal,
        id: TokenId,
        change: TokenChange,
        demand: &Demand<Token>,
    ) -> Result<Token, VerbError> {
        let old = self.token_get(principal, id).await?;
        demand.check(&old)?;
        if old.revoked_at.is_some() {
            return Err(ended("it was revoked", &old));
        }
        let mut complaints = Complaints::default();
        if change.expires_at.flatten().is_some_and(|at| at <= self.now()) {
            complaints.add("expires_at", "is past already; revoke the token to end it now");
        }
        let limits = TokenLimits {
            routes: change.routes.unwrap_or_else(|| old.limits.routes.clone()),
            scopes: change.scopes.unwrap_or_else(|| old.limits.scopes.clone()),
            rate_limit: change.rate_limit.unwrap_or(old.limits.rate_limit),
            origins: change.origins.unwrap_or_else(|| old.limits.origins.clone()),
            redact: change.redact.unwrap_or_else(|| old.limits.redact.clone()),
        };
        check_limits(&limits, &mut complaints);
        complaints.finish(())?;
        let token = Token { limits, expires_at: change.expires_at.unwrap_or(old.expires_at), ..old.clone() };
        let changes = changes(&old, &token);
        let updated = self.store.token_update(&self.actor(principal), &old, &token, &changes).await;
        updated.map_err(|error| would_narrow_the_last_admin(error, &old, &token))?;
        self.tokens.forget(id);
        Ok(token)
    }

    /// Gives a client another value. The old one is dead at once, or after `grace`. The token gets a new id with it.
    pub(crate) async fn token_regenerate(
        &self,
        principal: &Principal,
        id: TokenId,
        value: Option<Secret>,
        grace: Duration,
    ) -> Result<TokenMade, VerbError> {
        let now = self.now();
        let old = self.token_get(principal, id).await?;
        if old.revoked_at.is_some() {
            return Err(ended("it was revoked", &old));
        }
        if old.expires_at.is_some_and(|at| at <= now) {
            return Err(ended("it has expired", &old));
        }
        let mut complaints = Complaints::default();
        let value = self.value_of(value, &mut complaints);
        complaints.finish(())?;
        self.require_unused(&value).await?;
        let token = Token {
            id: TokenId::new(now, self.chance.bits()),
            revoked_at: None,
            created_at: now,
            last_used_at: None,
            ..old
        };
        let made = TokenMade { token, value };
        self.store.token_replace(&self.actor(principal), id, now.after(grace), &made.token, &made.hash()).await?;
        self.tokens.forget(id);
        Ok(made)
    }

    /// Ends a token; the next call with it is refused. One that was revoked stays so.
    pub(crate) async fn token_revoke(
        &self,
        principal: &Principal,
        id: TokenId,
        demand: &Demand<Token>,
    ) -> Result<(), VerbError> {
        demand.settle(|| Box::pin(self.token_end(principal, id, demand))).await
    }

    async fn token_end(&self, principal: &Principal, id: TokenId, demand: &Demand<Token>) -> Result<(), VerbError> {
        let seen = self.token_get(principal, id).await?;
        demand.check(&seen)?;
        let actor = self.actor(principal);
        self.store.token_revoke(&actor, principal.tenant, id, Some(&seen)).await.map_err(last_admin)?;
        self.tokens.forget(id);
        Ok(())
    }

    fn value_of(&self, value: Option<Secret>, complaints: &mut Complaints) -> Secret {
        match value {
            None => generate_token(self),
            Some(value) => {
                let checked = check_value(value.expose()).map_err(|message| Invalid::field("value", message));
                complaints.take(checked);
                value
            }
        }
    }

    /// Refuses a value that is or was some token's: a hash means one token for ever.
    async fn require_unused(&self, value: &Secret) -> Result<(), VerbError> {
        match self.store.token_by_hash(&token_hash(value.expose())).await? {
            None => Ok(()),
            Some(_) => {
                Err(VerbError::field("value", "was used before; bring another, or leave it out to have one made"))
            }
        }
    }

    /// The integrator that a token is bound to: one for the role `integrator`, none for any other.
    async fn bound_to(
        &self,
        principal: &Principal,
        role: Role,
        name: Option<&str>,
        complaints: &mut Complaints,
    ) -> Result<Option<IntegratorId>, VerbError> {
        match (role, name) {
            (Role::Integrator, None) => {
                complaints.add("integrator", "is missing; the role integrator sees one integrator's things only");
                Ok(None)
            }
            (Role::Integrator, Some(name)) => match self.integrator_get(principal, name).await {
                Ok(integrator) => Ok(Some(integrator.id)),
                Err(VerbError::NotFound(_)) => {
                    complaints.add("integrator", "there is no such integrator; enter it first");
                    Ok(None)
                }
                Err(error) => Err(error),
            },
            (_, Some(_)) => {
                complaints
                    .add("integrator", "only the role integrator is bound to one; leave it out, or choose that role");
                Ok(None)
            }
            (_, None) => Ok(None),
        }
    }
}

fn ended(why: &str, token: &Token) -> VerbError {
    VerbError::conflict("not_allowed_in_state", format!("{why}; make a new one for {}", token.client))
}

fn last_admin(error: engate_store::StoreError) -> VerbError {
    let detail = "it is the tenant's last admin token that may do everything; make another one first, without routes, scopes, \
                  origins and an end";
    on_conflict("last_admin_token", detail)(error)
}

/// As [`last_admin`], with the fields that would have done it.
fn would_narrow_the_last_admin(error: engate_store::StoreError, old: &Token, new: &Token) -> VerbError {
    let mut complaints = Complaints::default();
    for field in old.narrowed_by(new) {
        let cure = "would narrow the tenant's last admin token that may do everything; leave it out, or make another one \
                    first, without routes, scopes, origins and an end";
        complaints.add(field, cure);
    }
    match (last_admin(error), complaints.finish(())) {
        (VerbError::Conflict { code, .. }, Err(invalid)) => VerbError::Collides { code, invalid },
        (other, _) => other,
    }
}

/// Checks what needs no list of routes.
fn check_limits(limits: &TokenLimits, complaints: &mut Complaints) {
    complaints.take(Pins::parse(&limits.origins));
    complaints.take(Redaction::parse(&limits.redact));
}

/// What differs, old and new, for the audit.
fn changes(old: &Token, new: &Token) -> Value {
    let shown = |token: &Token| {
        let mut shown = Map::new();
        shown.insert("expires_at".to_owned(), serde_json::to_value(token.expires_at).unwrap_or_default());
        let TokenLimits { routes, scopes, rate_limit, origins, redact } = &token.limits;
        let lists = [("routes", routes), ("scopes", scopes), ("origins", origins), ("redact", redact)];
        for (name, list) in lists {
            shown.insert(name.to_owned(), list.iter().cloned().map(Value::String).collect());
        }
        shown.insert("rate_limit".to_owned(), serde_json::to_value(rate_limit).unwrap_or_default());
        shown
    };
    let (before, after) = (shown(old), shown(new));
    let differs = |(name, value): &(String, Value)| before.get(name) != Some(value);
    let changed = after.clone().into_iter().filter(differs);
    let pairs = changed.map(|(name, value)| {
        let old = before.get(&name).cloned().unwrap_or_default();
        (name, serde_json::json!({ "old": old, "new": value }))
    });
    Value::Object(pairs.collect())
}

/// A new token's value: `engate_` and 256 random bits.
pub(crate) fn generate_token(engine: &Engine) -> Secret {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    Secret::new(format!("engate_{}", URL_SAFE_NO_PAD.encode(engine.chance.key())))
}
