//! Questions about the whole: does it answer, is anything lost.

use engate_model::{DeliveryId, EventId};

use crate::{Store, error::StoreError, sql::Sql, value::args};

/// Orphans that the doctor lists at most.
const ORPHANS_MAX: u32 = 100;

/// An event or delivery that nothing will ever move on. There must be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// The event.
    pub event: EventId,
    /// The delivery; none where the event has no delivery and no reason for that.
    pub delivery: Option<DeliveryId>,
    /// For people.
    pub what: &'static str,
}

impl Store {
    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db().row("SELECT 1", args![]).await.map(|_| ())
    }

    /// What a commit waits for, as the connection that commits has it set: two settings with their values.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn durability(&self) -> Result<String, StoreError> {
        let sql = Sql::Twins {
            sqlite: "SELECT 'journal_mode=' || j.journal_mode || ' synchronous=' || CAST(s.synchronous AS TEXT) \
                     FROM pragma_journal_mode j, pragma_synchronous s",
            postgres: "SELECT 'fsync=' || current_setting('fsync') || ' synchronous_commit=' || \
                       current_setting('synchronous_commit')",
        };
        let mut session = self.db().begin().await?;
        let row = session.row(sql, args![]).await?;
        session.rollback().await?;
        let settings = row.map(|row| row.cells().text()).transpose()?.unwrap_or_default();
        Ok(format!("{} {settings}", self.backend()))
    }

    /// What is accepted, but neither finished nor scheduled nor in a living node's hands. It reads every event:
    /// for `engate doctor`, not for a hot path.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn doctor_orphans(&self) -> Result<Vec<Orphan>, StoreError> {
        let mut session = self.db().snapshot().await?;
        // What waits behind another one of its line is scheduled by it, if that one moves.
        let sql = "SELECT event_id, id FROM deliveries WHERE state IN ('pending', 'delivering') AND due_at IS NULL AND \
                   (owner IS NULL OR owner NOT IN (SELECT serial FROM nodes)) AND NOT (waits_behind IS NOT NULL AND EXISTS \
                   (SELECT 1 FROM deliveries m WHERE m.endpoint_id = deliveries.endpoint_id AND m.line = deliveries.line \
                   AND m.waits_behind IS NULL AND m.state IN ('pending', 'delivering', 'parked'))) ORDER BY code LIMIT $1";
        let mut orphans = Vec::new();
        for row in session.rows(sql, args![ORPHANS_MAX]).await? {
            let mut cells = row.cells();
            let (event, delivery) = (cells.id()?, Some(cells.id()?));
            orphans.push(Orphan {
                event,
                delivery,
                what: "the delivery is neither finished nor scheduled nor in hand",
            });
        }
        // What retention has passed may have outlived its deliveries.
        let sql = "SELECT e.id FROM events e WHERE e.reason IS NULL AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE \
                   d.event_id = e.id) AND NOT EXISTS (SELECT 1 FROM event_marks m WHERE m.tenant_id = e.tenant_id AND \
                   m.event_id >= e.id) ORDER BY e.tenant_id, e.id LIMIT $1";
        for row in session.rows(sql, args![ORPHANS_MAX]).await? {
            let event = row.cells().id()?;
            orphans.push(Orphan { event, delivery: None, what: "the event has neither a delivery nor a reason" });
        }
        session.rollback().await?;
        Ok(orphans)
    }
}
