//! Who did what. An entry is written in the transaction of the change it tells of; its place in the tenant's chain it
//! gets a moment later (see [`chain`](crate::chain)), so that changes do not wait for each other.

use engate_model::{AuditId, TenantId, Timestamp, TokenId, TypedId as _, token::Principal};
use serde_json::Value as Json;

use crate::{
    Store,
    db::Session,
    error::StoreError,
    events::{Order, PAGE_MAX},
    listing::{TOTAL_EXACT_MAX, Total},
    value::{Cells, Value, args},
};

/// Who changes something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The token used, where one was.
    pub token: Option<TokenId>,
    /// Who holds it; `system` for the engine itself.
    pub client: String,
    /// Whose they are; none for the engine itself.
    pub tenant: Option<TenantId>,
    /// The present.
    pub now: Timestamp,
    /// Makes the ids of audit entries of one millisecond differ.
    pub random: u128,
}

impl Actor {
    /// The engine itself.
    pub fn system(now: Timestamp, random: u128) -> Self {
        Self { token: None, client: "system".to_owned(), tenant: None, now, random }
    }

    /// A caller of the API, or a job, which has no token ([`TokenId::MIN`]).
    pub fn of(principal: &Principal, now: Timestamp, random: u128) -> Self {
        let token = Some(principal.token).filter(|token| *token != TokenId::MIN);
        Self { token, client: principal.client.clone(), tenant: Some(principal.tenant), now, random }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// More, never a secret: JSON as it was written, since its spelling is part of the chain.
    pub detail: String,
    /// Its place in the chain; none until it is sealed.
    pub sealed: Option<Link>,
}

/// An entry's place in its tenant's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// 1, 2, 3 ... without a gap.
    pub seq: u64,
    /// The predecessor's hash.
    pub previous: [u8; 32],
    /// SHA-256 over `seq`, `previous` and the entry (see [`entry_hash`](crate::entry_hash)).
    pub hash: [u8; 32],
}

impl AuditEntry {
    /// The entry as it is hashed: each part after its length, so that nothing can move from one part to the next.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(160 + self.detail.len());
        let mut part = |bytes: &[u8]| {
            content.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            content.extend_from_slice(bytes);
        };
        part(self.id.uuid().as_bytes());
        part(self.tenant.uuid().as_bytes());
        part(&self.at.as_micros().to_be_bytes());
        part(self.token.map(|token| token.uuid().into_bytes()).as_ref().map_or(&[], |bytes| bytes.as_slice()));
        for text in [&self.client, &self.action, &self.object, &self.detail] {
            part(text.as_bytes());
        }
        content
    }
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this action only; one that ends in a dot means all that begin so.
    pub action: Option<String>,
    /// By this client only.
    pub client: Option<String>,
    /// With this token only.
    pub token: Option<TokenId>,
    /// Of this object only.
    pub object: Option<String>,
    /// From then or later.
    pub from: Option<Timestamp>,
    /// From before.
    pub before: Option<Timestamp>,
}

/// One page of entries.
#[derive(Debug)]
pub struct AuditPage {
    /// The entries.
    pub items: Vec<AuditEntry>,
    /// The last one's id where there are more.
    pub next: Option<AuditId>,
    /// How many there are on all pages.
    pub total: Total,
}

macro_rules! columns {
    () => {
        "id, tenant_id, at, token_id, client, action, object, detail"
    };
}
pub(crate) use columns as audit_columns;

/// Writes an entry that has no place in the chain yet.
pub(crate) const INSERT: &str =
    concat!("INSERT INTO audit (", columns!(), ", hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");

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

    /// A page of a tenant's entries beyond `after`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn audit_list(
        &self,
        tenant: TenantId,
        filter: &AuditFilter,
        after: Option<AuditId>,
        order: Order,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        macro_rules! conditions {
            () => {
                "tenant_id = $1 AND id > $2 AND id < $3 AND ($4 IS NULL OR (action >= $4 AND action < $5)) AND \
                 ($6 IS NULL OR client = $6) AND ($7 IS NULL OR token_id = $7) AND ($8 IS NULL OR object = $8)"
            };
        }
        macro_rules! listing {
            ($order:literal) => {
                concat!(
                    "SELECT ",
                    columns!(),
                    ", seq, previous, hash FROM audit WHERE ",
                    conditions!(),
                    " ORDER BY id",
                    $order,
                    " LIMIT $9"
                )
            };
        }
        let from = filter.from.map_or(AuditId::MIN, AuditId::floor);
        let before = filter.before.map_or(AuditId::MAX, AuditId::floor);
        let limit = limit.clamp(1, PAGE_MAX);
        // Between a text and the one next to it lies nothing but itself; between `endpoint.` and `endpoint/`, what begins so.
        let actions = filter.action.as_deref().map(|action| match action.strip_suffix('.') {
            Some(stem) => (action.to_owned(), format!("{stem}/")),
            None => (action.to_owned(), format!("{action}\u{1}")),
        });
        let values = |from: AuditId, before: AuditId, limit: u64| {
            let (least, beyond) = actions.clone().unzip();
            args![
                tenant,
                from,
                before,
                least,
                beyond,
                filter.client.as_deref(),
                filter.token,
                filter.object.as_deref(),
                limit
            ]
        };
        let (sql, low, high) = match order {
            Order::Ascending => (listing!(""), after.unwrap_or(from).max(from), before),
            Order::Descending => (listing!(" DESC"), from, after.unwrap_or(before).min(before)),
        };
        let rows = self.db().rows(sql, values(low, high, u64::from(limit) + 1)).await?;
        let mut items = rows.iter().map(|row| linked(&mut row.cells())).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|entry| entry.id);
        let sql =
            concat!("SELECT count(*) FROM (SELECT 1 AS one FROM audit WHERE ", conditions!(), " LIMIT $9) AS counted");
        let row = self.db().row(sql, values(from, before, TOTAL_EXACT_MAX + 1)).await?;
        let count = row.map_or(Ok(0), |row| row.cells().count())?;
        let total = Total { count: count.min(TOTAL_EXACT_MAX), exact: count <= TOTAL_EXACT_MAX };
        Ok(AuditPage { items, next, total })
    }

    /// Writes an entry about a tenant within `session`: into its own chain, and into that of whoever did it where that is
    /// another's.
    pub(crate) async fn audit_tenant(
        &self,
        session: &mut Session,
        actor: &Actor,
        tenant: TenantId,
        action: &str,
        detail: &Json,
    ) -> Result<(), StoreError> {
        let id = tenant.to_string();
        self.audit(session, actor, tenant, action, &id, detail).await?;
        match actor.tenant.filter(|home| *home != tenant) {
            Some(home) => self.audit(session, actor, home, action, &id, detail).await,
            None => Ok(()),
        }
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
        session.execute(INSERT, self.audit_row(actor, tenant, action, object, detail)?).await?;
        Ok(())
    }

    /// An entry as [`INSERT`] takes it.
    pub(crate) fn audit_row(
        &self,
        actor: &Actor,
        tenant: TenantId,
        action: &str,
        object: &str,
        detail: &Json,
    ) -> Result<Vec<Value>, StoreError> {
        let entry = AuditEntry {
            // One actor may make several changes: the count keeps their ids apart. It goes where an id keeps all bits.
            id: AuditId::new(actor.now, actor.random ^ (u128::from(self.next_count()) << 32)),
            tenant,
            at: actor.now,
            token: actor.token,
            client: actor.client.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            detail: serde_json::to_string(detail).map_err(|error| StoreError::Data(error.to_string()))?,
            sealed: None,
        };
        let mac = self.sealer().mac(&entry.content());
        let AuditEntry { id, tenant, at, token, client, action, object, detail, sealed: _ } = entry;
        Ok(args![id, tenant, at, token, client, action, object, detail, mac])
    }
}

/// Reads the columns of an entry without its place.
pub(crate) fn entry(cells: &mut Cells<'_>) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        id: cells.id()?,
        tenant: cells.id()?,
        at: cells.time()?,
        token: cells.id_opt()?,
        client: cells.text()?,
        action: cells.text()?,
        object: cells.text()?,
        detail: cells.text()?,
        sealed: None,
    })
}

/// Reads an entry and, where it has one, its place.
pub(crate) fn linked(cells: &mut Cells<'_>) -> Result<AuditEntry, StoreError> {
    let entry = entry(cells)?;
    let (seq, previous, hash) = (cells.int_opt()?, cells.blob_opt()?, cells.blob()?);
    let sealed = seq.map(|seq| Link {
        seq: u64::try_from(seq).unwrap_or_default(),
        previous: hash_of(previous.as_deref().unwrap_or_default()),
        hash: hash_of(&hash),
    });
    Ok(AuditEntry { sealed, ..entry })
}

/// Bytes as a hash; what is no hash becomes one that fits nothing.
fn hash_of(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap_or_default()
}
