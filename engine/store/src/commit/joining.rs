//! Deliveries that join a line of an endpoint that keeps an order: which line, and how they are written.

use std::sync::Arc;

use engate_model::Timestamp;

use super::accept::{AcceptEvent, DELIVERY_COLUMNS, Item, Start};
use crate::{
    compose::Bulk,
    db::Session,
    error::StoreError,
    lines::{Joined, Joining, LineKey},
    value::{Kind, Value, args},
};

/// A delivery that joins a line.
pub(super) struct Join {
    /// Its place among the event's deliveries.
    pub(super) n: usize,
    pub(super) line: LineKey,
    /// When it may go.
    pub(super) from: Timestamp,
}

/// Where [`DELIVERY_COLUMNS`] have what the line decides.
const STATE: usize = 8;
const REASON: usize = 9;
const DUE_AT: usize = 11;
const OWNER: usize = 12;

static LINE_DELIVERIES: Bulk = Bulk::new(
    "INSERT INTO deliveries (id, code, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, state, \
     reason, created_at, due_at, owner, correlation_id, line, waits_behind) ",
    &LINE_DELIVERY_COLUMNS,
    "",
);

const LINE_DELIVERY_COLUMNS: [(&str, Kind); DELIVERY_COLUMNS.len() + 2] = {
    let mut columns = [("line", Kind::Text); DELIVERY_COLUMNS.len() + 2];
    let (own, more) = columns.split_at_mut(DELIVERY_COLUMNS.len());
    own.copy_from_slice(DELIVERY_COLUMNS);
    if let [_, last] = more {
        *last = ("waits_behind", Kind::Int);
    }
    columns
};

/// The lines that an event's deliveries join.
pub(super) fn joins(accept: &AcceptEvent) -> Vec<Join> {
    let event = &*accept.event;
    let joins = accept.deliveries.iter().enumerate().filter_map(|(n, new)| {
        let line = new.ordering.line(&event.event_type, event.subject.as_deref())?;
        let from = match new.start {
            Start::HandedOver(_) => event.accepted_at,
            Start::Pending(from) | Start::Held(from, _) => from,
            Start::Parked(_) => event.deliver_at.unwrap_or(event.accepted_at),
            Start::Skipped(_) => return None,
        };
        Some(Join { n, line: (new.endpoint, line.into()), from })
    });
    joins.collect()
}

/// The lines that new deliveries join, with their codes; `codes` are those of `new` in its order.
pub(super) fn joining<'a>(new: impl Iterator<Item = &'a Item>, codes: &[i64]) -> Joining {
    let mut joining = Joining::new();
    let mut first = 0;
    for item in new {
        for join in &item.joins {
            joining.entry(join.line.clone()).or_default().extend(codes.get(first + join.n));
        }
        first += item.deliveries.len();
    }
    joining
}

/// The row of a delivery that joins a line; `joined` says how, where it is not to go as was asked for.
pub(super) fn line_row(row: &[Value], code: i64, join: &Join, joined: Option<Joined>) -> Vec<Value> {
    let mut cells = row.to_vec();
    let mut set = |at: usize, value: Value| {
        if let Some(cell) = cells.get_mut(at) {
            *cell = value;
        }
    };
    set(1, Value::from(code));
    let (mut line, mut waits_behind) = (Some(Arc::clone(&join.line.1)), None);
    if let Some(joined) = joined {
        if joined.state.is_finished() {
            line = None;
        }
        waits_behind = joined.waits_behind;
        set(STATE, joined.state.into());
        set(REASON, joined.reason.into());
        set(DUE_AT, Value::Int(None));
        set(OWNER, Value::Int(None));
    }
    cells.extend(args![line, waits_behind]);
    cells
}

/// Writes rows of [`line_row`].
pub(super) async fn write_line_rows(session: &mut Session, cells: Vec<Value>) -> Result<(), StoreError> {
    LINE_DELIVERIES.execute(session, cells).await.map(|_| ())
}
