//! Retention: what is older than it is kept is forgotten, in steps that are short enough for whoever writes meanwhile.
//!
//! Who acts here: `upkeep`'s retention calls these verbs again and again until each says that it is done. Three kinds of
//! history go: events with their payloads (`events`), attempts, and deliveries (`deliveries`). On SQLite by rows; on
//! PostgreSQL by weekly partitions, dropped whole where little of them has to stay (`whole`), else by rows too.
//!
//! Never forgotten: the newest event of each type and subject, an event with a delivery that is not finished, and the
//! last delivery of each type that an endpoint was tried with, its attempts included. So *Enviar Tudo* works for what is
//! published once a year. That one thing stays is found out among what is old: the one before it goes once its successor is
//! old too, without an index of subjects that every event would have to pay for.

mod deliveries;
mod events;
mod whole;

use std::collections::BTreeMap;

use engate_model::{TenantId, Timestamp};

use crate::{Store, error::StoreError, partitions::week_floor, sql::Dialect, value::args};

pub use deliveries::Sweep;

/// What is forgotten, each kind by an age of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum History {
    /// Events with their payloads.
    Events,
    /// Attempts: requests and answers.
    Attempts,
    /// Deliveries, with whatever is left of their attempts.
    Deliveries,
}

impl History {
    /// Every kind, in the order in which they are forgotten.
    pub const ALL: [Self; 3] = [Self::Events, Self::Attempts, Self::Deliveries];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Attempts => "attempts",
            Self::Deliveries => "deliveries",
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Rows that went, by whose they were.
    pub rows: BTreeMap<TenantId, u64>,
    /// Whether there is nothing more to do for now.
    pub done: bool,
}

impl Forgotten {
    fn add(&mut self, tenant: TenantId, rows: u64) {
        if rows > 0 {
            *self.rows.entry(tenant).or_default() += rows;
        }
    }
}

impl Store {
    /// Every tenant that may have history, deleted ones too.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn history_tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let rows = self.db().rows("SELECT id FROM tenants ORDER BY id", args![]).await?;
        rows.iter().map(|row| row.cells().id()).collect()
    }

    /// Writes down in each tenant's audit what was forgotten.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn history_purge_audit(
        &self,
        actor: &crate::Actor,
        tenant: TenantId,
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let mut session = self.db().begin().await?;
        self.audit(&mut session, actor, tenant, "history.purge", &tenant.to_string(), detail).await?;
        session.commit().await
    }

    /// From when on history is kept: on PostgreSQL whole weeks go, so that their partitions can.
    fn kept_from(&self, before: Timestamp) -> Timestamp {
        match self.db().dialect() {
            Dialect::Sqlite => before,
            Dialect::Postgres => week_floor(before),
        }
    }
}
