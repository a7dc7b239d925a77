//! Idempotency keys of events: each is written once, and a repeat gets what the first one got.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use engate_model::{EventId, TenantId, Timestamp};

use super::{
    Setback,
    accept::{AcceptJob, Accepted, AcceptedEvent},
};
use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    value::{Kind, Row, args},
};

/// An event's key.
pub(super) struct Key {
    pub(super) key: Arc<str>,
    pub(super) hash: [u8; 32],
    pub(super) accepted_at: Timestamp,
}

static KEYS: Bulk = Bulk::new(
    "INSERT INTO idempotency_keys (tenant_id, key, event_id, body_hash, delivery_count, created_at) ",
    &[
        ("tenant_id", Kind::Id),
        ("key", Kind::Text),
        ("event_id", Kind::Id),
        ("body_hash", Kind::Blob),
        ("delivery_count", Kind::Int),
        ("created_at", Kind::Int),
    ],
    " ON CONFLICT (tenant_id, key) DO NOTHING",
);

static KEYS_TAKEN: Bulk = Bulk::new(
    "SELECT k.tenant_id, k.key, k.event_id, k.body_hash, k.delivery_count FROM (",
    &[("tenant_id", Kind::Id), ("key", Kind::Text)],
    ") AS v JOIN idempotency_keys k ON k.tenant_id = v.tenant_id AND k.key = v.key",
);

impl Store {
    /// Those of `keys` under which an event was taken before.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn event_keys_taken(
        &self,
        tenant: TenantId,
        keys: impl IntoIterator<Item = &str>,
    ) -> Result<HashSet<String>, StoreError> {
        let cells: Vec<_> = keys.into_iter().flat_map(|key| args![tenant, key]).collect();
        if cells.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = KEYS_TAKEN.rows(&mut self.db().reader().await?, cells).await?;
        let key = |row: &Row| {
            let mut cells = row.cells();
            let _: TenantId = cells.id()?;
            cells.text()
        };
        rows.iter().map(key).collect()
    }
}

/// Writes idempotency keys and gives the events whose key was taken the outcome of the first.
pub(super) async fn write_keys(session: &mut Session, jobs: &mut [&mut AcceptJob]) -> Result<(), Setback> {
    let live = jobs.iter().filter(|job| job.settled.is_none());
    let keyed = live.flat_map(|job| job.items.iter().filter_map(|item| Some((job.tenant, item.key.as_ref()?, item))));
    let mut keyed: Vec<_> = keyed.collect();
    if keyed.is_empty() {
        return Ok(());
    }
    // In one order in every transaction, so that two that meet wait instead of deadlocking.
    keyed.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    let mut cells = Vec::new();
    let mut names = Vec::new();
    for (tenant, key, item) in &keyed {
        let count = u64::try_from(item.deliveries.len()).unwrap_or(u64::MAX);
        names.extend(args![*tenant, Arc::clone(&key.key)]);
        cells.extend(args![*tenant, Arc::clone(&key.key), item.id, key.hash.as_slice(), count, key.accepted_at]);
    }
    let wanted = u64::try_from(keyed.len()).unwrap_or(u64::MAX);
    if KEYS.execute(session, cells).await? == wanted {
        return Ok(());
    }
    let mut taken = HashMap::new();
    for row in KEYS_TAKEN.rows(session, names).await? {
        let mut cells = row.cells();
        let place = (cells.id()?, cells.text()?);
        taken.insert(place, Taken { event: cells.id()?, hash: cells.blob()?, delivery_count: cells.small()? });
    }
    resolve_keys(jobs, &taken)
}

/// What an idempotency key stands for.
struct Taken {
    event: EventId,
    hash: Vec<u8>,
    delivery_count: u32,
}

/// Matches each key with who has it. A request that holds keys and collides on another is settled and the batch
/// is written again without it, so that it leaves no key behind.
fn resolve_keys(jobs: &mut [&mut AcceptJob], taken: &HashMap<(TenantId, String), Taken>) -> Result<(), Setback> {
    let mut again = false;
    for job in jobs.iter_mut().filter(|job| job.settled.is_none()) {
        let mut holds = false;
        let mut collides = None;
        for (index, item) in job.items.iter_mut().enumerate() {
            let Some(key) = &item.key else { continue };
            let place = (job.tenant, key.key.to_string());
            let Some(first) = taken.get(&place) else {
                return Err(StoreError::Unavailable("an idempotency key expired just now; try again".to_owned()).into());
            };
            if first.event == item.id {
                holds = true;
            } else if first.hash == key.hash {
                item.outcome = Some(AcceptedEvent {
                    id: first.event,
                    duplicate: true,
                    delivery_count: first.delivery_count,
                    codes: Vec::new(),
                    held_back: Vec::new(),
                });
            } else {
                collides = collides.or(Some(index));
            }
        }
        if let Some(index) = collides {
            job.settled = Some(Accepted::Conflict { index });
            again |= holds;
        }
    }
    if again { Err(Setback::Again) } else { Ok(()) }
}
