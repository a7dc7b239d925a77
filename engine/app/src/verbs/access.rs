//! Who a token's holder is. The one place, with token creation, that sees a token's value.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use engate_model::{
    TokenId,
    token::{Principal, Token},
};
use engate_store::StoreError;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use crate::engine::Engine;

/// How long a token read from the database is taken for true. A token revoked on another node works there no
/// longer than this.
const HELD_FOR: Duration = Duration::from_secs(1);
/// Tokens held at most; beyond it the held ones are forgotten.
const HELD_MAX: usize = 4_096;
/// Longest token value that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// Tokens seen a moment ago, by the hash of their value, so that a producer's every call does not read the
/// database.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    held: Mutex<HashMap<[u8; 32], (Instant, Token)>>,
}

impl TokenCache {
    fn get(&self, hash: &[u8; 32]) -> Option<Token> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(hash).filter(|(at, _)| at.elapsed() < HELD_FOR).map(|(_, token)| token.clone())
    }

    fn put(&self, hash: [u8; 32], read_at: Instant, token: Token) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD_MAX {
            held.clear();
        }
        held.insert(hash, (read_at, token));
    }

    /// Forgets a token; called after it was revoked or changed.
    pub(crate) fn forget(&self, id: TokenId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, token)| token.id != id);
    }
}

/// What the store knows a token by. A hash of a long random value needs no salt, and looking a hash up leaks
/// nothing through timing about the value.
pub(crate) fn token_hash(value: &str) -> [u8; 32] {
    let mut hash = [0_u8; 32];
    hash.iter_mut().zip(digest(&SHA256, value.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

impl Engine {
    /// Who holds the token `value`; none where it is unknown, revoked or expired.
    pub(crate) async fn authenticate(&self, value: &str) -> Result<Option<Principal>, StoreError> {
        if value.is_empty() || value.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let hash = token_hash(value);
        let token = match self.tokens.get(&hash) {
            Some(token) => token,
            None => {
                let read_at = Instant::now();
                let Some(token) = self.store.token_by_hash(&hash).await? else { return Ok(None) };
                self.tokens.put(hash, read_at, token.clone());
                token
            }
        };
        let now = self.now();
        let live = token.revoked_at.is_none() && token.expires_at.is_none_or(|at| now < at);
        Ok(live.then_some(Principal {
            token: token.id,
            tenant: token.tenant,
            client: token.client,
            role: token.role,
            integrator: token.integrator,
        }))
    }
}
