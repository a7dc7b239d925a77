//! Who did what. An entry is written in the transaction of the change it tells of.

use engate_model::{AuditId, TenantId, Timestamp, TokenId, token::Principal};
use serde_json::Value as Json;

use crate::{
    Store,
    db::Session,
    error::StoreError,
    events::Order,
    value::{Row, args, json},
};

/// Who changes something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The token used, where one was.
    pub token: Option<TokenId>,
    /// Who holds it; `system` for the engine itself.
    pub client: String,
    /// The present.
    pub now: Timestamp,
    /// Makes the ids of audit entries of one millisecond differ.
    pub random: u128,
}

impl Actor {
    /// The engine itself.
    pub fn system(now: Timestamp, random: u128) -> Self {
        Self { token: None, client: "system".to_owned(), now, random }
    }

    /// A caller of the API.
    pub fn of(principal: &Principal, now: Timestamp, random: u128) -> Self {
        Self { token: Some(principal.token), client: principal.client.clone(), now, random }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// Whose data was changed.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// The token used, where one was.
    pub token: Option<TokenId>,
    /// Who held it.
    pub client: String,
    /// What was done (`endpoint.create`).
    pub action: String,
    /// To what: an id or a name.
    pub object: String,
    /// More, never a secret.
    pub detail: Json,
}

macro_rules! columns {
    () => {
        "id, tenant_id, at, token_id, client, action, object, detail"
    };
}

impl Store {
    /// Writes an entry of its own, for what changes no row (a secret was revealed).
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn audit_append(
        &self,
        actor: &Actor,
        tenant: TenantId,
        action: &str,
        object: &str,
        detail: &Json,
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        self.audit(&mut session, actor, tenant, action, object, detail).await?;
        session.commit().await
    }

    /// Entries of a tenant beyond `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn audit_list(
        &self,
        tenant: TenantId,
        after: Option<AuditId>,
        order: Order,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let (open_end, sql) = match order {
            Order::Ascending => (
                AuditId::MIN,
                concat!("SELECT ", columns!(), " FROM audit WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"),
            ),
            Order::Descending => (
                AuditId::MAX,
                concat!(
                    "SELECT ",
                    columns!(),
                    " FROM audit WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
                ),
            ),
        };
        let after = after.unwrap_or(open_end);
        let rows = self.db().rows(sql, args![tenant, after, limit]).await?;
        rows.iter().map(entry).collect()
    }

    /// Writes an entry within `session`.
    pub(crate) async fn audit(
        &self,
        session: &mut Session,
        actor: &Actor,
        tenant: TenantId,
        action: &str,
        object: &str,
        detail: &Json,
    ) -> Result<(), StoreError> {
        // One actor may make several changes: the count keeps their ids apart. It goes where an id keeps all bits.
        let id = AuditId::new(actor.now, actor.random ^ (u128::from(self.next_count()) << 32));
        let sql = concat!("INSERT INTO audit (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
        let token = actor.token;
        session
            .execute(sql, args![id, tenant, actor.now, token, actor.client.as_str(), action, object, json(detail)?])
            .await?;
        Ok(())
    }
}

fn entry(row: &Row) -> Result<AuditEntry, StoreError> {
    let mut cells = row.cells();
    Ok(AuditEntry {
        id: cells.id()?,
        tenant: cells.id()?,
        at: cells.time()?,
        token: cells.id_opt()?,
        client: cells.text()?,
        action: cells.text()?,
        object: cells.text()?,
        detail: cells.json()?,
    })
}
