//! Clients' tokens: kept as a SHA-256, never as a value.

use engate_model::{
    TenantId, Timestamp, TokenId,
    token::{Role, Token, keeps_an_admin},
};
use serde_json::{Value as Json, json};

use crate::{
    Store,
    audit::Actor,
    compose::Bulk,
    db::Session,
    error::{StoreError, conflict},
    sql::twins,
    tenants::{found, require_live},
    value::{Cells, Kind, Row, args, json},
};

macro_rules! columns {
    () => {
        "id, tenant_id, client, role, integrator_id, limits, expires_at, revoked_at, created_at, last_used_at"
    };
}

/// What a tenant must not be left without.
const LAST_ADMIN: &str = "the last admin token of the tenant";

static TOUCH: Bulk = Bulk::new(
    "UPDATE tokens SET last_used_at = v.used_at FROM (",
    &[("token_id", Kind::Id), ("used_at", Kind::Int)],
    ") AS v WHERE tokens.id = v.token_id AND (tokens.last_used_at IS NULL OR tokens.last_used_at < v.used_at)",
);

/// A token as it takes part in a look-up: with the SHA-256 of its value, to be compared by whoever asked.
#[derive(Debug, Clone)]
pub struct HashedToken {
    /// The token.
    pub token: Token,
    /// SHA-256 of its value.
    pub hash: Vec<u8>,
}

impl Store {
    /// Enters a token whose value has this SHA-256. An expired one of the same client makes room for it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the client holds a live one, [`StoreError::NotFound`] where the tenant is deleted, or when
    /// the database gives no answer.
    pub async fn token_create(&self, actor: &Actor, token: &Token, hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        require_live(&mut session, token.tenant).await?;
        self.token_enter(&mut session, actor, token, hash).await?;
        session.commit().await
    }

    /// The same within `session`, which holds the tenant.
    pub(crate) async fn token_enter(
        &self,
        session: &mut Session,
        actor: &Actor,
        token: &Token,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        self.enter(session, actor, token, hash).await?;
        let detail = json!({ "client": token.client, "role": token.role, "limits": token.limits });
        self.audit(session, actor, token.tenant, "token.create", &token.id.to_string(), &detail).await
    }

    /// Lets `old` end at `until` and enters `token` in its place, in one transaction: there is no moment without either.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no `old`; else as [`Store::token_create`].
    pub async fn token_replace(
        &self,
        actor: &Actor,
        old: TokenId,
        until: Timestamp,
        token: &Token,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        require_live(&mut session, token.tenant).await?;
        let sql = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $3) WHERE id = $1 AND tenant_id = $2";
        found(session.execute(sql, args![old, token.tenant, until]).await?, "token")?;
        self.enter(&mut session, actor, token, hash).await?;
        let detail = json!({ "client": token.client, "replaces": old, "old_works_until": until });
        self.audit(&mut session, actor, token.tenant, "token.regenerate", &token.id.to_string(), &detail).await?;
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
        let sql = concat!(
            "INSERT INTO tokens (",
            columns!(),
            ", hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        );
        let values = args![
            token.id,
            token.tenant,
            &token.client,
            token.role.code(),
            token.integrator,
            json(&token.limits)?,
            token.expires_at,
            token.revoked_at,
            token.created_at,
            token.last_used_at,
            hash.as_slice(),
        ];
        session.execute(sql, values).await.map_err(conflict("a live token of this client"))?;
        Ok(())
    }

    /// Changes a token's limits and its end, where it still is as `seen` but for its last use; the value stays. `changes`
    /// is what the audit is told.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no such token that was not revoked, [`StoreError::Stale`],
    /// [`StoreError::Conflict`] where it would leave the tenant without an admin, or when the database gives no answer.
    pub async fn token_update(
        &self,
        actor: &Actor,
        seen: &Token,
        token: &Token,
        changes: &Json,
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let before = self.admins(&mut session, token.tenant).await?;
        require_unchanged(&mut session, seen).await?;
        let sql =
            "UPDATE tokens SET limits = $3, expires_at = $4 WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
        let values = args![token.id, token.tenant, json(&token.limits)?, token.expires_at];
        found(session.execute(sql, values).await?, "token")?;
        self.require_an_admin(&mut session, token.tenant, actor.now, &before).await?;
        self.audit(&mut session, actor, token.tenant, "token.update", &token.id.to_string(), changes).await?;
        session.commit().await
    }

    /// The token whose value has this SHA-256; revoked and expired ones too, the caller judges.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<HashedToken>, StoreError> {
        let sql = concat!("SELECT ", columns!(), ", hash FROM tokens WHERE hash = $1");
        let row = self.db().row(sql, args![hash.as_slice()]).await?;
        let hashed = |row: &Row| {
            let mut cells = row.cells();
            Ok(HashedToken { token: read(&mut cells)?, hash: cells.blob()? })
        };
        row.as_ref().map(hashed).transpose()
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

    /// Revokes a token at once, where it still is as `seen`, if anything; one that was revoked stays so since then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Conflict`] where it is the last admin's, or when the
    /// database gives no answer.
    pub async fn token_revoke(
        &self,
        actor: &Actor,
        tenant: TenantId,
        id: TokenId,
        seen: Option<&Token>,
    ) -> Result<Token, StoreError> {
        let mut session = self.db().begin().await?;
        let before = self.admins(&mut session, tenant).await?;
        if let Some(seen) = seen {
            require_unchanged(&mut session, seen).await?;
        }
        // One in its grace ends now too.
        let sql = concat!(
            "UPDATE tokens SET revoked_at = CASE WHEN revoked_at <= $3 THEN revoked_at ELSE $3 END \
             WHERE id = $1 AND tenant_id = $2 RETURNING ",
            columns!()
        );
        let row = session.row(sql, args![id, tenant, actor.now]).await?;
        let token = token(&row.ok_or(StoreError::NotFound { what: "token" })?)?;
        self.require_an_admin(&mut session, tenant, actor.now, &before).await?;
        let detail = json!({ "client": token.client });
        self.audit(&mut session, actor, tenant, "token.revoke", &id.to_string(), &detail).await?;
        session.commit().await?;
        Ok(token)
    }

    /// Notes when tokens were last used; a later time that is there already stays.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn token_touch(&self, used: &[(TokenId, Timestamp)]) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        let cells = used.iter().flat_map(|(token, at)| args![*token, *at]).collect();
        TOUCH.execute(&mut session, cells).await?;
        session.commit().await
    }

    /// The admins' tokens that were not revoked. On PostgreSQL their rows are held until the commit, so that of two that are
    /// taken away at once one sees the other.
    async fn admins(&self, session: &mut Session, tenant: TenantId) -> Result<Vec<Token>, StoreError> {
        let sql = twins!(
            concat!(
                "SELECT ",
                columns!(),
                " FROM tokens WHERE tenant_id = $1 AND role = 'admin' AND revoked_at IS NULL ORDER BY id"
            ),
            sqlite: "",
            postgres: " FOR UPDATE"
        );
        session.rows(sql, args![tenant]).await?.iter().map(token).collect()
    }

    /// Refuses a change that leaves the tenant without an admin; `before` are those from before it.
    async fn require_an_admin(
        &self,
        session: &mut Session,
        tenant: TenantId,
        now: Timestamp,
        before: &[Token],
    ) -> Result<(), StoreError> {
        let after = self.admins(session, tenant).await?;
        if keeps_an_admin(before, &after, now) { Ok(()) } else { Err(StoreError::Conflict { what: LAST_ADMIN }) }
    }
}

/// Holds the token until the commit, and fails where it is no longer what was seen; its uses do not count.
async fn require_unchanged(session: &mut Session, seen: &Token) -> Result<(), StoreError> {
    let sql = twins!(
        concat!("SELECT ", columns!(), " FROM tokens WHERE id = $1 AND tenant_id = $2"),
        sqlite: "",
        postgres: " FOR UPDATE"
    );
    let row = session.row(sql, args![seen.id, seen.tenant]).await?;
    let now = token(&row.ok_or(StoreError::NotFound { what: "token" })?)?;
    let same = Token { last_used_at: seen.last_used_at, ..now } == *seen;
    if same { Ok(()) } else { Err(StoreError::Stale { what: "token" }) }
}

fn token(row: &Row) -> Result<Token, StoreError> {
    read(&mut row.cells())
}

fn read(cells: &mut Cells<'_>) -> Result<Token, StoreError> {
    Ok(Token {
        id: cells.id()?,
        tenant: cells.id()?,
        client: cells.text()?,
        role: cells.code(Role::from_code)?,
        integrator: cells.id_opt()?,
        limits: cells.json()?,
        expires_at: cells.time_opt()?,
        revoked_at: cells.time_opt()?,
        created_at: cells.time()?,
        last_used_at: cells.time_opt()?,
    })
}
