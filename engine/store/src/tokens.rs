//! Clients' tokens: kept as a SHA-256, never as a value.

use engate_model::{
    TenantId, TokenId,
    token::{Role, Token},
};
use serde_json::json;

use crate::{
    Store,
    audit::Actor,
    db::Session,
    error::{StoreError, conflict},
    tenants::found,
    value::{Row, args},
};

macro_rules! columns {
    () => {
        "id, tenant_id, client, role, integrator_id, expires_at, revoked_at, created_at"
    };
}

impl Store {
    /// Enters a token whose value has this SHA-256. An expired one of the same client makes room for it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the client holds a live one, or when the database gives no answer.
    pub async fn token_create(&self, actor: &Actor, token: &Token, hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        self.enter(&mut session, actor, token, hash).await?;
        session.commit().await
    }

    /// Revokes `old` and enters `token` in its place, in one transaction: there is no moment without either.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no `old`; else as [`Store::token_create`].
    pub async fn token_replace(
        &self,
        actor: &Actor,
        old: TokenId,
        token: &Token,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $3) WHERE id = $1 AND tenant_id = $2";
        found(session.execute(sql, args![old, token.tenant, actor.now]).await?, "token")?;
        self.enter(&mut session, actor, token, hash).await?;
        session.commit().await
    }

    async fn enter(
        &self,
        session: &mut Session,
        actor: &Actor,
        token: &Token,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let sql = "UPDATE tokens SET revoked_at = $3 WHERE tenant_id = $1 AND client = $2 AND revoked_at IS NULL \
                   AND expires_at <= $3";
        session.execute(sql, args![token.tenant, &token.client, actor.now]).await?;
        let sql = concat!("INSERT INTO tokens (", columns!(), ", hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
        let values = args![
            token.id,
            token.tenant,
            &token.client,
            token.role.code(),
            token.integrator,
            token.expires_at,
            token.revoked_at,
            token.created_at,
            hash.as_slice(),
        ];
        session.execute(sql, values).await.map_err(conflict("a live token of this client"))?;
        let detail = json!({ "client": token.client, "role": token.role });
        self.audit(session, actor, token.tenant, "token.create", &token.id.to_string(), &detail).await
    }

    /// The token whose value has this SHA-256; revoked and expired ones too, the caller judges.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM tokens WHERE hash = $1");
        self.db().row(sql, args![hash.as_slice()]).await?.as_ref().map(token).transpose()
    }

    /// A token.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn token_get(&self, tenant: TenantId, id: TokenId) -> Result<Option<Token>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM tokens WHERE id = $1 AND tenant_id = $2");
        self.db().row(sql, args![id, tenant]).await?.as_ref().map(token).transpose()
    }

    /// A tenant's tokens, revoked ones too, the oldest first.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn token_list(&self, tenant: TenantId) -> Result<Vec<Token>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM tokens WHERE tenant_id = $1 ORDER BY id");
        self.db().rows(sql, args![tenant]).await?.iter().map(token).collect()
    }

    /// Revokes a token; one that was revoked stays so since then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database gives no answer.
    pub async fn token_revoke(&self, actor: &Actor, tenant: TenantId, id: TokenId) -> Result<Token, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = concat!(
            "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $3) WHERE id = $1 AND tenant_id = $2 RETURNING ",
            columns!()
        );
        let row = session.row(sql, args![id, tenant, actor.now]).await?;
        let token = token(&row.ok_or(StoreError::NotFound { what: "token" })?)?;
        let detail = json!({ "client": token.client });
        self.audit(&mut session, actor, tenant, "token.revoke", &id.to_string(), &detail).await?;
        session.commit().await?;
        Ok(token)
    }
}

fn token(row: &Row) -> Result<Token, StoreError> {
    let mut cells = row.cells();
    Ok(Token {
        id: cells.id()?,
        tenant: cells.id()?,
        client: cells.text()?,
        role: cells.code(Role::from_code)?,
        integrator: cells.id_opt()?,
        expires_at: cells.time_opt()?,
        revoked_at: cells.time_opt()?,
        created_at: cells.time()?,
    })
}
