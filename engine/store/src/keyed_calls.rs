//! Calls made under a client's `Idempotency-Key`, so that a repeat of one gets the first one's answer and nothing is
//! done twice, whichever node it reaches. What is kept is sealed: an answer may tell a secret once, and the digest of a
//! request would let a short one be guessed.

use std::time::Duration;

use engate_model::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    error::StoreError,
    value::{Value, args},
};

/// How long a key means the call that it was used for.
pub const CALL_KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Whose key it is: one client of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKey {
    /// The tenant.
    pub tenant: TenantId,
    /// Who makes the call.
    pub client: String,
    /// What the client chose.
    pub key: String,
}

impl CallKey {
    pub(crate) fn place(&self) -> String {
        format!("keyed_calls/{}/{}/{}", self.tenant, self.client, self.key)
    }

    fn args(&self) -> Vec<Value> {
        args![self.tenant, &self.client, &self.key]
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallBegun {
    /// Nothing: the call is now the caller's to make and to end.
    New,
    /// Somebody makes the same call since then, or began to and is gone.
    UnderWay(Timestamp),
    /// The same call was made; what its maker kept of the answer.
    Ended(Vec<u8>),
    /// It was used for another call.
    Another,
    /// It was used, and what is kept of it cannot be read with this engine's key.
    Unreadable,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    request: [u8; 32],
    answer: Option<Vec<u8>>,
}

impl Store {
    /// Begins a call whose request has this digest, unless the key was used within [`CALL_KEPT_FOR`].
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn call_begin(&self, key: &CallKey, request: [u8; 32], now: Timestamp) -> Result<CallBegun, StoreError> {
        let sealed = self.seal_call(key, &Kept { request, answer: None })?;
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM keyed_calls WHERE tenant_id = $1 AND client = $2 AND key = $3 AND created_at < $4";
        session.execute(sql, args![key.tenant, &key.client, &key.key, now.before(CALL_KEPT_FOR)]).await?;
        let sql = "INSERT INTO keyed_calls (tenant_id, client, key, sealed, created_at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (tenant_id, client, key) DO NOTHING";
        let entered = session.execute(sql, args![key.tenant, &key.client, &key.key, sealed, now]).await?;
        if entered > 0 {
            session.commit().await?;
            return Ok(CallBegun::New);
        }
        let sql = "SELECT sealed, created_at FROM keyed_calls WHERE tenant_id = $1 AND client = $2 AND key = $3";
        let row = session.row(sql, key.args()).await?;
        session.rollback().await?;
        // Gone between the two statements: its maker gave it back, and the repeat may come again.
        let Some(row) = row else { return Ok(CallBegun::UnderWay(now)) };
        let mut cells = row.cells();
        let (sealed, since) = (cells.blob()?, cells.time()?);
        let kept = match self.sealer().open(&key.place(), &sealed) {
            Ok(plain) => serde_json::from_slice::<Kept>(&plain).ok(),
            Err(StoreError::WrongKey | StoreError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(match kept {
            None => CallBegun::Unreadable,
            Some(kept) if kept.request != request => CallBegun::Another,
            Some(Kept { answer: Some(answer), .. }) => CallBegun::Ended(answer),
            Some(_) => CallBegun::UnderWay(since),
        })
    }

    /// Keeps the answer of a call begun at `begun`.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn call_end(
        &self,
        key: &CallKey,
        request: [u8; 32],
        begun: Timestamp,
        answer: Vec<u8>,
    ) -> Result<(), StoreError> {
        let sealed = self.seal_call(key, &Kept { request, answer: Some(answer) })?;
        let mut session = self.db().begin().await?;
        let sql = "UPDATE keyed_calls SET sealed = $4 WHERE tenant_id = $1 AND client = $2 AND key = $3 AND \
                   created_at = $5";
        session.execute(sql, args![key.tenant, &key.client, &key.key, sealed, begun]).await?;
        session.commit().await
    }

    /// Forgets a call begun at `begun` that did nothing, so that a repeat is made anew.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn call_forget(&self, key: &CallKey, begun: Timestamp) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM keyed_calls WHERE tenant_id = $1 AND client = $2 AND key = $3 AND created_at = $4";
        session.execute(sql, args![key.tenant, &key.client, &key.key, begun]).await?;
        session.commit().await
    }

    /// Forgets at most `limit` calls that were kept for long enough; gives how many.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn call_purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "DELETE FROM keyed_calls WHERE (tenant_id, client, key) IN \
                   (SELECT tenant_id, client, key FROM keyed_calls WHERE created_at < $1 ORDER BY created_at LIMIT $2)";
        let purged = session.execute(sql, args![now.before(CALL_KEPT_FOR), limit]).await?;
        session.commit().await?;
        Ok(purged)
    }

    fn seal_call(&self, key: &CallKey, kept: &Kept) -> Result<Vec<u8>, StoreError> {
        let plain = serde_json::to_vec(kept).map_err(|error| StoreError::Data(error.to_string()))?;
        self.sealer().seal(&key.place(), &plain)
    }
}
