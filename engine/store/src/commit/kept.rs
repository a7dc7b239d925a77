//! Values that plugins keep, written with what made them: for an endpoint with its try, for an inbound with its events.

use std::{collections::BTreeMap, sync::Arc};

use crate::{compose::Bulk, db::Session, error::StoreError, value::Value};

/// Where a value is kept, and the value; none deletes.
pub(crate) type KeptWrite<P> = (P, Option<Arc<[u8]>>);

/// Writes with `put` and removes with `delete`, whose cells but the value are those of a place; of several writes to one
/// place the last counts.
pub(crate) async fn write_kept<'a, P: Ord + 'a>(
    session: &mut Session,
    [put, delete]: [&Bulk; 2],
    writes: impl Iterator<Item = &'a KeptWrite<P>>,
    cells: impl Fn(&P) -> Vec<Value>,
) -> Result<(), StoreError> {
    // In one order in every transaction, so that two that meet wait instead of deadlocking.
    let last: BTreeMap<_, _> = writes.map(|(place, value)| (place, value)).collect();
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for (place, value) in last {
        let cells = cells(place);
        match value {
            Some(value) => kept.extend(cells.into_iter().chain([Value::Blob(Some(Arc::clone(value)))])),
            None => removed.extend(cells),
        }
    }
    put.execute(session, kept).await?;
    delete.execute(session, removed).await?;
    Ok(())
}
