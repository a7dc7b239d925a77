//! The audit's chain: every tenant's entries in one order, each with its predecessor's hash, so that an entry that was
//! edited, taken out, put in or moved shows.
//!
//! Who acts here: changes write their entries without a place, each with a MAC under the engine's key; the sealer takes
//! what is there, checks the MACs, and links the entries. It holds the chain's head, so that two nodes never link to the
//! same predecessor. The head is sealed with the engine's key: whoever can write the tables but has no key can make up
//! neither an entry nor an end. What only shows by comparing with a copy kept elsewhere is the whole database set back.

use engate_model::{AuditId, TenantId, Timestamp, TypedId as _};
use ring::digest::{Context, SHA256};
use serde_json::json;

use crate::{
    Store,
    audit::{Actor, AuditEntry, audit_columns, entry, linked},
    compose::Bulk,
    db::Session,
    error::StoreError,
    seal::Sealer,
    sql::twins,
    value::{Kind, args},
};

/// Entries that are linked, checked or forgotten in one step.
const STEP: u32 = 500;
/// Faults that one check lists at most.
const FAULTS_MAX: usize = 20;
/// What a chain's hashes begin with.
const DOMAIN: &[u8] = b"engate audit chain 1";

static LINK: Bulk = Bulk::new(
    "UPDATE audit SET seq = v.new_seq, previous = v.new_previous, hash = v.new_hash FROM (",
    &[("entry_id", Kind::Id), ("new_seq", Kind::Int), ("new_previous", Kind::Blob), ("new_hash", Kind::Blob)],
    ") AS v WHERE audit.id = v.entry_id",
);

/// A chain's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// The first entry that is kept.
    first_seq: u64,
    /// The hash of the one before it.
    before_first: [u8; 32],
    /// The last entry; one less than the first where there is none.
    seq: u64,
    /// Its hash.
    hash: [u8; 32],
}

impl Head {
    const BYTES: usize = 80;

    /// The head of a chain without entries. The hash that its first entry follows names the tenant.
    fn new(tenant: TenantId) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(DOMAIN);
        context.update(tenant.uuid().as_bytes());
        let start = finished(context);
        Self { first_seq: 1, before_first: start, seq: 0, hash: start }
    }

    fn seal(&self, sealer: &Sealer, tenant: TenantId) -> Result<Vec<u8>, StoreError> {
        let mut plain = Vec::with_capacity(Self::BYTES);
        plain.extend_from_slice(&self.first_seq.to_be_bytes());
        plain.extend_from_slice(&self.before_first);
        plain.extend_from_slice(&self.seq.to_be_bytes());
        plain.extend_from_slice(&self.hash);
        sealer.seal(&head_place(tenant), &plain)
    }

    fn open(sealer: &Sealer, tenant: TenantId, sealed: &[u8]) -> Result<Self, StoreError> {
        let plain = sealer.open(&head_place(tenant), sealed)?;
        let unreadable = || StoreError::Corrupt(format!("the head of the audit of {tenant}"));
        let (first_seq, rest) = plain.split_first_chunk::<8>().ok_or_else(unreadable)?;
        let (before_first, rest) = rest.split_first_chunk::<32>().ok_or_else(unreadable)?;
        let (seq, rest) = rest.split_first_chunk::<8>().ok_or_else(unreadable)?;
        let hash = <[u8; 32]>::try_from(rest).map_err(|_| unreadable())?;
        let (first_seq, seq) = (u64::from_be_bytes(*first_seq), u64::from_be_bytes(*seq));
        Ok(Self { first_seq, before_first: *before_first, seq, hash })
    }
}

/// Where a head is kept, for the sealer.
pub(crate) fn head_place(tenant: TenantId) -> String {
    format!("audit_heads/{tenant}")
}

/// The hash of an entry at a place: SHA-256 over a fixed text, the predecessor's hash, the place as 8 bytes, and the
/// entry's parts (id and tenant as 16 bytes, time as 8 bytes of microseconds, token as 16 or no bytes, client, action, object,
/// detail as spelled), each after its length as 8 bytes; numbers big-endian.
pub fn entry_hash(entry: &AuditEntry, seq: u64, previous: &[u8; 32]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(DOMAIN);
    context.update(previous);
    context.update(&seq.to_be_bytes());
    context.update(&entry.content());
    finished(context)
}

fn finished(context: Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// What a check of a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainCheck {
    /// Entries looked at.
    pub entries: u64,
    /// Place of the first entry that is kept; the ones before were forgotten by the rules of retention.
    pub first_seq: u64,
    /// Place of the last entry, by the sealed head.
    pub last_seq: u64,
    /// Hash of the last entry, by the sealed head: to be kept elsewhere and compared.
    pub hash: [u8; 32],
    /// What is wrong; nothing: the chain is whole.
    pub faults: Vec<ChainFault>,
}

/// One thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFault {
    /// `edited`, `missing`, `moved`, `cut_off`, `added`, `forged`, or `head_missing`, `head_forged`.
    pub code: &'static str,
    /// The place concerned, where there is one.
    pub seq: Option<u64>,
    /// The entry concerned, where there is one.
    pub entry: Option<AuditId>,
}

impl Store {
    /// Links a tenant's entries that have no place yet; gives how many it linked.
    ///
    /// # Errors
    /// When the database gives no answer, or the head was not sealed by this engine's key.
    pub async fn audit_seal(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let open = "SELECT id FROM audit WHERE tenant_id = $1 AND seq IS NULL AND id > $2 ORDER BY id LIMIT 1";
        let (mut linked, mut after) = (0, AuditId::MIN);
        while self.db().row(open, args![tenant, after]).await?.is_some() {
            let mut session = self.db().begin().await?;
            let mut head = self.head_hold(&mut session, tenant).await?;
            let sql = concat!(
                "SELECT ",
                audit_columns!(),
                ", hash FROM audit WHERE tenant_id = $1 AND seq IS NULL AND id > $2 ORDER BY id LIMIT $3"
            );
            let rows = session.rows(sql, args![tenant, after, STEP]).await?;
            let mut cells = Vec::with_capacity(rows.len() * 4);
            for row in &rows {
                let mut row = row.cells();
                let entry = entry(&mut row)?;
                after = entry.id;
                if !self.sealer().is_mac_of(&entry.content(), &row.blob()?) {
                    // It stays without a place, and every check tells of it.
                    tracing::error!(entry = %entry.id, "an audit entry was not written by this engine, or was edited");
                    continue;
                }
                let (seq, previous) = (head.seq + 1, head.hash);
                let hash = entry_hash(&entry, seq, &previous);
                cells.extend(args![entry.id, seq, previous.as_slice(), hash.as_slice()]);
                head = Head { seq, hash, ..head };
                linked += 1;
            }
            LINK.execute(&mut session, cells).await?;
            self.head_put(&mut session, tenant, &head).await?;
            session.commit().await?;
        }
        Ok(linked)
    }

    /// The tenants with entries that have no place yet.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn audit_unsealed(&self) -> Result<Vec<TenantId>, StoreError> {
        let sql = "SELECT DISTINCT tenant_id FROM audit WHERE seq IS NULL ORDER BY tenant_id";
        let rows = self.db().rows(sql, args![]).await?;
        rows.iter().map(|row| row.cells().id()).collect()
    }

    /// Every tenant that has a chain, deleted ones too.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn audit_tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let rows = self.db().rows("SELECT tenant_id FROM audit_heads ORDER BY tenant_id", args![]).await?;
        rows.iter().map(|row| row.cells().id()).collect()
    }

    /// Entries of the chain in its order, beyond `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn audit_chain(&self, tenant: TenantId, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        chain_page(&mut self.db().reader().await?, tenant, after, limit).await
    }

    /// Links what has no place, then reads the whole chain and computes every hash again.
    ///
    /// # Errors
    /// When the database gives no answer. What is wrong with the chain is no error but a finding.
    pub async fn audit_verify(&self, tenant: TenantId) -> Result<ChainCheck, StoreError> {
        match self.audit_seal(tenant).await {
            // A head that does not open is found below.
            Ok(_) | Err(StoreError::Corrupt(_) | StoreError::WrongKey) => {}
            Err(error) => return Err(error),
        }
        // One instant of the database: a chain that grows or is shortened meanwhile looks whole all the same.
        let mut session = self.db().snapshot().await?;
        let mut faults = Faults::default();
        let head = self.head_found(&mut session, tenant, &mut faults).await?;
        let mut walk = Walk { seq: head.first_seq.saturating_sub(1), hash: head.before_first, entries: 0 };
        loop {
            let page = chain_page(&mut session, tenant, walk.seq, STEP).await?;
            let full = page.len() >= usize::try_from(STEP).unwrap_or(usize::MAX);
            for entry in &page {
                walk.step(entry, &mut faults);
            }
            if !full {
                break;
            }
        }
        // What stands before the first place of the head is not of this chain.
        let sql = "SELECT id FROM audit WHERE tenant_id = $1 AND seq < $2 ORDER BY seq LIMIT 1";
        if let Some(row) = session.row(sql, args![tenant, head.first_seq]).await? {
            faults.add("added", None, Some(row.cells().id()?));
        }
        if walk.seq < head.seq {
            faults.add("cut_off", Some(walk.seq + 1), None);
        } else if walk.seq > head.seq {
            faults.add("added", Some(head.seq + 1), None);
        } else if walk.hash != head.hash {
            faults.add("edited", Some(head.seq), None);
        }
        self.forged(&mut session, tenant, &mut faults).await?;
        session.rollback().await?;
        Ok(ChainCheck {
            entries: walk.entries,
            first_seq: head.first_seq,
            last_seq: head.seq,
            hash: head.hash,
            faults: faults.0,
        })
    }

    /// Forgets at most a step of the chain's oldest entries, those from before `before`, and moves its beginning; gives
    /// how many. What remains can be checked as before.
    ///
    /// # Errors
    /// When the database gives no answer, or the head was not sealed by this engine's key.
    pub async fn audit_purge(&self, actor: &Actor, tenant: TenantId, before: Timestamp) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let head = self.head_hold(&mut session, tenant).await?;
        let page = chain_page(&mut session, tenant, head.first_seq.saturating_sub(1), STEP).await?;
        let old: Vec<_> = page.iter().take_while(|entry| entry.at < before).filter_map(|entry| entry.sealed).collect();
        let Some(last) = old.last() else {
            session.rollback().await?;
            return Ok(0);
        };
        let sql = "DELETE FROM audit WHERE tenant_id = $1 AND seq <= $2";
        let gone = session.execute(sql, args![tenant, last.seq]).await?;
        let head = Head { first_seq: last.seq + 1, before_first: last.hash, ..head };
        self.head_put(&mut session, tenant, &head).await?;
        let detail = json!({ "entries": gone, "through": last.seq });
        self.audit(&mut session, actor, tenant, "audit.purge", &tenant.to_string(), &detail).await?;
        session.commit().await?;
        Ok(gone)
    }

    /// The head, held until the commit: on PostgreSQL whoever else links waits here.
    async fn head_hold(&self, session: &mut Session, tenant: TenantId) -> Result<Head, StoreError> {
        let fresh = Head::new(tenant).seal(self.sealer(), tenant)?;
        let sql = "INSERT INTO audit_heads (tenant_id, sealed) VALUES ($1, $2) ON CONFLICT (tenant_id) DO NOTHING";
        session.execute(sql, args![tenant, fresh]).await?;
        let sql = twins!("SELECT sealed FROM audit_heads WHERE tenant_id = $1", sqlite: "", postgres: " FOR UPDATE");
        let row = session.row(sql, args![tenant]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt(format!("no head of the audit of {tenant}")))?;
        Head::open(self.sealer(), tenant, &row.cells().blob()?)
    }

    async fn head_put(&self, session: &mut Session, tenant: TenantId, head: &Head) -> Result<(), StoreError> {
        let sealed = head.seal(self.sealer(), tenant)?;
        let sql = "UPDATE audit_heads SET sealed = $2 WHERE tenant_id = $1";
        session.execute(sql, args![tenant, sealed]).await?;
        Ok(())
    }

    async fn head_found(
        &self,
        session: &mut Session,
        tenant: TenantId,
        faults: &mut Faults,
    ) -> Result<Head, StoreError> {
        let row = session.row("SELECT sealed FROM audit_heads WHERE tenant_id = $1", args![tenant]).await?;
        let Some(row) = row else {
            // Every tenant has an entry from its first moment on.
            faults.add("head_missing", None, None);
            return Ok(Head::new(tenant));
        };
        match Head::open(self.sealer(), tenant, &row.cells().blob()?) {
            Ok(head) => Ok(head),
            Err(StoreError::Corrupt(_) | StoreError::WrongKey) => {
                faults.add("head_forged", None, None);
                Ok(Head::new(tenant))
            }
            Err(error) => Err(error),
        }
    }

    /// Entries without a place whose MAC is not the engine's.
    async fn forged(&self, session: &mut Session, tenant: TenantId, faults: &mut Faults) -> Result<(), StoreError> {
        let sql = concat!(
            "SELECT ",
            audit_columns!(),
            ", hash FROM audit WHERE tenant_id = $1 AND seq IS NULL ORDER BY id LIMIT $2"
        );
        for row in session.rows(sql, args![tenant, STEP]).await? {
            let mut cells = row.cells();
            let entry = entry(&mut cells)?;
            if !self.sealer().is_mac_of(&entry.content(), &cells.blob()?) {
                faults.add("forged", None, Some(entry.id));
            }
        }
        Ok(())
    }
}

async fn chain_page(
    session: &mut Session,
    tenant: TenantId,
    after: u64,
    limit: u32,
) -> Result<Vec<AuditEntry>, StoreError> {
    let sql = concat!(
        "SELECT ",
        audit_columns!(),
        ", seq, previous, hash FROM audit WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
    );
    let rows = session.rows(sql, args![tenant, after, limit]).await?;
    rows.iter().map(|row| linked(&mut row.cells())).collect()
}

/// What was found so far.
#[derive(Debug, Default)]
struct Faults(Vec<ChainFault>);

impl Faults {
    fn add(&mut self, code: &'static str, seq: Option<u64>, entry: Option<AuditId>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(ChainFault { code, seq, entry });
        }
    }
}

/// A walk along a chain. After a fault it goes on from what it found, so that each fault is told once.
#[derive(Debug)]
struct Walk {
    seq: u64,
    hash: [u8; 32],
    entries: u64,
}

impl Walk {
    fn step(&mut self, entry: &AuditEntry, faults: &mut Faults) {
        let Some(link) = entry.sealed else { return };
        self.entries += 1;
        let next = self.seq + 1;
        if entry_hash(entry, link.seq, &link.previous) != link.hash {
            faults.add("edited", Some(link.seq), Some(entry.id));
        } else if link.seq == next && link.previous != self.hash {
            faults.add("moved", Some(link.seq), Some(entry.id));
        }
        if link.seq != next {
            faults.add("missing", Some(next), None);
        }
        (self.seq, self.hash) = (link.seq, link.hash);
    }
}

/// Checks entries that were given out, in their order, without a database: that none was edited, moved or taken out
/// between the first and the last. Whether these are the first and the last, the engine's own check shows.
#[derive(Debug, Default)]
pub struct ExportCheck {
    walk: Option<Walk>,
    faults: Faults,
}

impl ExportCheck {
    /// The next entry.
    pub fn step(&mut self, entry: &AuditEntry) {
        let Some(link) = entry.sealed else { return };
        let start = || Walk { seq: link.seq.saturating_sub(1), hash: link.previous, entries: 0 };
        self.walk.get_or_insert_with(start).step(entry, &mut self.faults);
    }

    /// What was found; none where there was no entry.
    pub fn finish(self) -> Option<ChainCheck> {
        let walk = self.walk?;
        let first_seq = (walk.seq + 1).saturating_sub(walk.entries);
        Some(ChainCheck {
            entries: walk.entries,
            first_seq,
            last_seq: walk.seq,
            hash: walk.hash,
            faults: self.faults.0,
        })
    }
}
