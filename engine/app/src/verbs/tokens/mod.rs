//! Clients' tokens (seeds G4, G7, G8, G9). A value is seen here once, when it is made or brought along; what is
//! kept is its hash.

mod strength;

use engate_model::{
    IntegratorId, Invalid, Secret, TokenId,
    event::check_name,
    invalid::Complaints,
    time::Timestamp,
    token::{Principal, Role, Token},
};

use self::strength::check_value;
use super::{VerbError, access::token_hash, on_conflict};
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
    /// When it stops working.
    pub(crate) expires_at: Option<Timestamp>,
    /// The value the client brings along; none: one is made.
    pub(crate) value: Option<Secret>,
}

/// A token just made, with its value; nobody can ask for the value again.
#[derive(Debug)]
pub(crate) struct TokenMade {
    /// The token.
    pub(crate) token: Token,
    /// Its value.
    pub(crate) value: Secret,
}

impl Engine {
    /// The tenant's tokens, the oldest first; revoked ones where asked for.
    pub(crate) async fn token_list(&self, principal: &Principal, revoked: bool) -> Result<Vec<Token>, VerbError> {
        let mut tokens = self.store.token_list(principal.tenant).await?;
        tokens.retain(|token| revoked || token.revoked_at.is_none());
        Ok(tokens)
    }

    /// One token, revoked or not.
    pub(crate) async fn token_get(&self, principal: &Principal, id: TokenId) -> Result<Token, VerbError> {
        self.store.token_get(principal.tenant, id).await?.ok_or(VerbError::NotFound("token"))
    }

    /// Makes a token for a client that holds none.
    pub(crate) async fn token_create(&self, principal: &Principal, new: TokenNew) -> Result<TokenMade, VerbError> {
        let now = self.now();
        let mut complaints = Complaints::default();
        complaints.take(check_name("client", &new.client));
        if new.expires_at.is_some_and(|at| at <= now) {
            complaints.add("expires_at", "is past already; give a later time, or leave it out");
        }
        let value = self.value_of(new.value, &mut complaints);
        let integrator = self.bound_to(principal, new.role, new.integrator.as_deref(), &mut complaints).await?;
        complaints.finish(())?;
        let token = Token {
            id: TokenId::new(now, self.chance.bits()),
            tenant: principal.tenant,
            client: new.client,
            role: new.role,
            integrator,
            expires_at: new.expires_at,
            revoked_at: None,
            created_at: now,
        };
        self.require_unused(&value).await?;
        self.token_store(principal, token, value).await
    }

    /// Gives a client another value; the old one is dead at once. The token gets a new id with it.
    pub(crate) async fn token_regenerate(
        &self,
        principal: &Principal,
        id: TokenId,
        value: Option<Secret>,
    ) -> Result<TokenMade, VerbError> {
        let now = self.now();
        let old = self.token_get(principal, id).await?;
        if old.revoked_at.is_some() {
            let detail = format!("it was revoked; make a new one for {}", old.client);
            return Err(VerbError::conflict("not_allowed_in_state", detail));
        }
        if old.expires_at.is_some_and(|at| at <= now) {
            let detail = format!("it has expired; make a new one for {}", old.client);
            return Err(VerbError::conflict("not_allowed_in_state", detail));
        }
        let mut complaints = Complaints::default();
        let value = self.value_of(value, &mut complaints);
        complaints.finish(())?;
        self.require_unused(&value).await?;
        let token = Token { id: TokenId::new(now, self.chance.bits()), revoked_at: None, created_at: now, ..old };
        let hash = token_hash(value.expose());
        self.store.token_replace(&self.actor(principal), id, &token, &hash).await?;
        self.tokens.forget(id);
        Ok(TokenMade { token, value })
    }

    /// Ends a token; the next call with it is refused. One that was revoked stays so.
    pub(crate) async fn token_revoke(&self, principal: &Principal, id: TokenId) -> Result<(), VerbError> {
        self.store.token_revoke(&self.actor(principal), principal.tenant, id).await?;
        self.tokens.forget(id);
        Ok(())
    }

    pub(super) async fn token_store(
        &self,
        principal: &Principal,
        token: Token,
        value: Secret,
    ) -> Result<TokenMade, VerbError> {
        let hash = token_hash(value.expose());
        let stored = self.store.token_create(&self.actor(principal), &token, &hash).await;
        let held = format!("{} holds a live token; regenerate that one, or revoke it first", token.client);
        stored.map_err(on_conflict("client_has_token", held))?;
        Ok(TokenMade { token, value })
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

/// A new token's value: `engate_` and 256 random bits.
pub(crate) fn generate_token(engine: &Engine) -> Secret {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    Secret::new(format!("engate_{}", URL_SAFE_NO_PAD.encode(engine.chance.key())))
}
