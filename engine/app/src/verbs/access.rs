//! Who a token's holder is, and what that token may do. The one place, with token creation, that sees a token's value.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engate_model::{
    Invalid, TenantId, Timestamp, TokenId,
    redaction::Redaction,
    token::{Principal, Token},
};
use engate_store::{HashedToken, StoreError};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::tokens::pins::Pins;
use crate::engine::Engine;

/// How long a token read from the database is taken for true. A token revoked on another node works there no
/// longer than this.
const HELD_FOR: Duration = Duration::from_secs(1);
/// Tokens held at most; beyond it the held ones are forgotten.
const HELD_MAX: usize = 4_096;
/// Longest token value that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// A token with its limits read.
#[derive(Debug)]
pub(crate) struct Grant {
    /// The token, without its value.
    pub(crate) token: Token,
    /// Where its calls may come from.
    pub(crate) pins: Pins,
    /// What its holder is not shown; none: everything is shown.
    pub(crate) redaction: Option<Redaction>,
}

impl Grant {
    fn of(token: Token) -> Result<Self, StoreError> {
        // They were checked when the token was made; a token whose limits cannot be read must not work without them.
        let unreadable = |invalid: Invalid| StoreError::Corrupt(format!("the limits of token {}: {invalid}", token.id));
        let pins = Pins::parse(&token.limits.origins).map_err(unreadable)?;
        let redact = &token.limits.redact;
        let redaction = (!redact.is_empty()).then(|| Redaction::parse(redact)).transpose().map_err(unreadable)?;
        Ok(Self { token, pins, redaction })
    }

    /// Its holder, as every layer behind authentication sees them.
    pub(crate) fn principal(&self) -> Principal {
        Principal {
            token: self.token.id,
            tenant: self.token.tenant,
            client: self.token.client.clone(),
            role: self.token.role,
            integrator: self.token.integrator,
            manages_secrets: self.token.manages_secrets(),
        }
    }
}

/// Tokens seen a moment ago, so that a producer's every call does not read the database, and when each was last used.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    held: Mutex<HeldTokens>,
    used: Mutex<HashMap<TokenId, Timestamp>>,
}

#[derive(Debug, Default)]
struct HeldTokens {
    /// By the beginning of the hash of their value: where to look, not whether it is the one.
    by_head: HashMap<[u8; 8], Held>,
    /// How often something was forgotten. What was read before the last time may be what was to be forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Held {
    hash: [u8; 32],
    read_at: Instant,
    grant: Arc<Grant>,
}

/// How often something had been forgotten when the database was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forgotten(u64);

impl TokenCache {
    fn get(&self, hash: &[u8; 32]) -> Option<Arc<Grant>> {
        let held = self.held();
        let held = held.by_head.get(&head(hash)).filter(|held| same(&held.hash, hash))?;
        (held.read_at.elapsed() < HELD_FOR).then(|| Arc::clone(&held.grant))
    }

    /// To be asked before the database is, for [`TokenCache::put`].
    fn forgotten(&self) -> Forgotten {
        Forgotten(self.held().forgotten)
    }

    /// Holds what was read, unless something was forgotten since `before`: then it may have been read before that was changed,
    /// and the next call reads it again.
    fn put(&self, hash: [u8; 32], read_at: Instant, before: Forgotten, grant: Arc<Grant>) {
        let mut held = self.held();
        if Forgotten(held.forgotten) != before {
            return;
        }
        if held.by_head.len() >= HELD_MAX {
            held.by_head.clear();
        }
        held.by_head.insert(head(&hash), Held { hash, read_at, grant });
    }

    /// Forgets a token; called after it was revoked or changed.
    pub(crate) fn forget(&self, id: TokenId) {
        self.forget_where(|token| token.id == id);
    }

    /// Forgets every token of a tenant.
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        self.forget_where(|token| token.tenant == tenant);
    }

    fn forget_where(&self, is_it: impl Fn(&Token) -> bool) {
        let mut held = self.held();
        held.forgotten += 1;
        held.by_head.retain(|_, held| !is_it(&held.grant.token));
    }

    fn held(&self) -> MutexGuard<'_, HeldTokens> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self, id: TokenId, at: Timestamp) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(id, at);
    }

    /// When each token was used since the last time this was asked.
    pub(crate) fn take_used(&self) -> Vec<(TokenId, Timestamp)> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// When a token was used, where that is not written down yet.
    pub(crate) fn used_at(&self, id: TokenId) -> Option<Timestamp> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

fn head(hash: &[u8; 32]) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

/// Whether two hashes are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
    one.len() == other.len() && differing == 0
}

/// What the store knows a token by. A hash of a long random value needs no salt.
pub(crate) fn token_hash(value: &str) -> [u8; 32] {
    let mut hash = [0_u8; 32];
    hash.iter_mut().zip(digest(&SHA256, value.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

impl Engine {
    /// What the token `value` grants; none where it is unknown, revoked or expired.
    pub(crate) async fn authenticate(&self, value: &str) -> Result<Option<Arc<Grant>>, StoreError> {
        if value.is_empty() || value.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let hash = token_hash(value);
        let grant = match self.tokens.get(&hash) {
            Some(grant) => grant,
            None => {
                let (read_at, before) = (Instant::now(), self.tokens.forgotten());
                let found = self.store.token_by_hash(&hash).await?;
                let Some(HashedToken { token, .. }) = found.filter(|found| same(&found.hash, &hash)) else {
                    return Ok(None);
                };
                let grant = Arc::new(Grant::of(token)?);
                self.tokens.put(hash, read_at, before, Arc::clone(&grant));
                grant
            }
        };
        let now = self.now();
        if !grant.token.is_live(now) {
            return Ok(None);
        }
        self.tokens.used(grant.token.id, now);
        Ok(Some(grant))
    }
}

#[cfg(test)]
mod tests {
    use engate_model::token::{Role, TokenLimits};

    use super::*;

    fn grant(of: u128, tenant: u128) -> Arc<Grant> {
        let at = Timestamp::from_millis(0);
        let token = Token {
            id: TokenId::new(at, of),
            tenant: TenantId::new(at, tenant),
            client: "c".into(),
            role: Role::Admin,
            integrator: None,
            limits: TokenLimits::default(),
            expires_at: None,
            revoked_at: None,
            created_at: at,
            last_used_at: None,
        };
        Arc::new(Grant::of(token).unwrap())
    }

    #[test]
    fn what_was_read_before_something_was_forgotten_is_not_held() {
        let (cache, [one, other]) = (TokenCache::default(), [grant(1, 1), grant(2, 2)]);
        let hash = token_hash("one");
        let put = |before, grant: &Arc<Grant>| cache.put(hash, Instant::now(), before, Arc::clone(grant));
        // A call reads the row; it is revoked and forgotten; the call comes to hold what it read.
        let before = cache.forgotten();
        cache.forget(one.token.id);
        put(before, &one);
        assert!(cache.get(&hash).is_none());
        // What is read after that is held.
        put(cache.forgotten(), &one);
        assert!(cache.get(&hash).is_some());
        // Forgetting others leaves it there, and keeps out what is under way.
        let before = cache.forgotten();
        cache.forget_tenant(other.token.tenant);
        assert!(cache.get(&hash).is_some());
        cache.forget_tenant(one.token.tenant);
        assert!(cache.get(&hash).is_none());
        put(before, &one);
        assert!(cache.get(&hash).is_none());
    }

    #[test]
    fn hashes_are_the_same_or_not() {
        let hash = token_hash("a");
        assert!(same(&hash, &token_hash("a")));
        assert!(!same(&hash, &token_hash("b")) && !same(&hash, hash.get(..31).unwrap()));
    }
}
