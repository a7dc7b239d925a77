//! Who may call: RAC's clients, Carol's connectors, and the tokens of both.

use sqlx::Row as _;

use super::Store;
use crate::now_ms;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Given out by RAC; good for SmartLink and provisioning.
    Rac,
    /// Given out by Carol to a user; good for Carol.
    User,
    /// Renews a user's token.
    Refresh,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Rac => "rac",
            Self::User => "user",
            Self::Refresh => "refresh",
        }
    }
}

/// A token that was found.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) owner: String,
    pub(crate) tenant: String,
    pub(crate) is_expired: bool,
}

impl Store {
    pub(crate) async fn client_put(&self, id: &str, secret: &str, tenant: &str) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO clients (client_id, secret, tenant) VALUES (?, ?, ?) \
                   ON CONFLICT DO UPDATE SET secret = excluded.secret, tenant = excluded.tenant";
        let query = sqlx::query(sql).bind(id.to_owned()).bind(secret.to_owned()).bind(tenant.to_owned());
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// The tenant of the client, when the secret is right.
    pub(crate) async fn client_tenant(&self, id: &str, secret: &str) -> Result<Option<String>, sqlx::Error> {
        let query = sqlx::query("SELECT tenant FROM clients WHERE client_id = ? AND secret = ?");
        let row = query.bind(id.to_owned()).bind(secret.to_owned()).fetch_optional(&self.readers).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    pub(crate) async fn connector_put(&self, id: &str, key: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query("INSERT INTO connectors (id, key) VALUES (?, ?) ON CONFLICT DO NOTHING");
        query.bind(id.to_owned()).bind(key.to_owned()).execute(&self.writer).await?;
        Ok(())
    }

    pub(crate) async fn connector_has(&self, id: &str, key: &str) -> Result<bool, sqlx::Error> {
        let query = sqlx::query("SELECT 1 FROM connectors WHERE id = ? AND key = ?");
        Ok(query.bind(id.to_owned()).bind(key.to_owned()).fetch_optional(&self.readers).await?.is_some())
    }

    /// Whether a key was there to be revoked.
    pub(crate) async fn connector_revoke(&self, id: &str, key: &str) -> Result<bool, sqlx::Error> {
        let query = sqlx::query("DELETE FROM connectors WHERE id = ? AND key = ?");
        Ok(query.bind(id.to_owned()).bind(key.to_owned()).execute(&self.writer).await?.rows_affected() > 0)
    }

    pub(crate) async fn token_issue(
        &self,
        kind: Kind,
        owner: &str,
        tenant: &str,
        ttl_s: u32,
    ) -> Result<String, sqlx::Error> {
        let token = format!("{}{}", crate::fresh_id(), crate::fresh_id());
        let now = now_ms();
        let sql = "INSERT INTO tokens (token, kind, owner, tenant, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(token.clone()).bind(kind.name()).bind(owner.to_owned());
        let query = query.bind(tenant.to_owned()).bind(now).bind(now + i64::from(ttl_s) * 1_000);
        query.execute(&self.writer).await?;
        Ok(token)
    }

    pub(crate) async fn token_find(&self, kind: Kind, token: &str) -> Result<Option<Token>, sqlx::Error> {
        let query = sqlx::query("SELECT owner, tenant, expires_at FROM tokens WHERE token = ? AND kind = ?");
        let row = query.bind(token.to_owned()).bind(kind.name()).fetch_optional(&self.readers).await?;
        let Some(row) = row else { return Ok(None) };
        let expires_at: i64 = row.try_get(2)?;
        Ok(Some(Token { owner: row.try_get(0)?, tenant: row.try_get(1)?, is_expired: expires_at <= now_ms() }))
    }

    /// Ends every token now, as a restart of the identity server does.
    pub(crate) async fn tokens_expire(&self) -> Result<u64, sqlx::Error> {
        let now = now_ms();
        let query = sqlx::query("UPDATE tokens SET expires_at = ? WHERE expires_at > ?").bind(now).bind(now);
        Ok(query.execute(&self.writer).await?.rows_affected())
    }

    /// How many tokens of each kind were given out.
    pub(crate) async fn token_counts(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let query = sqlx::query("SELECT kind, count(*) FROM tokens GROUP BY kind ORDER BY kind");
        let rows = query.fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}
