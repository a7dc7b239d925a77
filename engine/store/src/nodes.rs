//! Nodes and their leases. A node that works holds one lease; what it has in hand names the node's serial,
//! which is never used twice and so fences off a node that comes back too late.

use std::time::Duration;

use engate_model::{DeliveryId, Timestamp};

use crate::{
    Store,
    compose::Bulk,
    db::Session,
    error::StoreError,
    lines,
    sql::twins,
    value::{Kind, args},
};

/// One incarnation of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeSerial(i64);

impl NodeSerial {
    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It runs on.
    Renewed,
    /// It ended and others may have taken the node's work: stop, and register anew.
    Lost,
}

static RELEASE: Bulk = Bulk::new(
    "UPDATE deliveries SET state = 'pending', owner = NULL, due_at = v.due_at FROM (",
    &[("delivery_id", Kind::Id), ("held_by", Kind::Int), ("due_at", Kind::Int)],
    ") AS v WHERE deliveries.id = v.delivery_id AND deliveries.owner = v.held_by",
);

impl Store {
    /// Registers a node until `now + lease`. The work of earlier incarnations of that name is free at once, so
    /// that a restart resumes at once; a SQLite file has no other nodes, so there all earlier work is.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn node_register(&self, name: &str, lease: Duration, now: Timestamp) -> Result<NodeSerial, StoreError> {
        let mut session = self.db().begin().await?;
        let forget = twins!("DELETE FROM nodes WHERE name = $1", sqlite: " OR 1 = 1", postgres: "");
        session.execute(forget, args![name]).await?;
        free_orphans(&mut session, now).await?;
        let sql = "INSERT INTO nodes (name, lease_until) VALUES ($1, $2) RETURNING serial";
        let row = session.row(sql, args![name, now.after(lease)]).await?;
        let serial = row.ok_or_else(|| StoreError::Corrupt("no serial for a node".to_owned()))?.cells().int()?;
        session.commit().await?;
        Ok(NodeSerial(serial))
    }

    /// Lengthens a node's lease until `now + lease`.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn node_renew(&self, serial: NodeSerial, lease: Duration, now: Timestamp) -> Result<Renewal, StoreError> {
        let mut session = self.db().begin().await?;
        let sql = "UPDATE nodes SET lease_until = $2 WHERE serial = $1";
        let renewed = session.execute(sql, args![serial, now.after(lease)]).await?;
        session.commit().await?;
        // A lease that is over holds until someone ends it: only then may others have its work.
        Ok(if renewed == 1 { Renewal::Renewed } else { Renewal::Lost })
    }

    /// Gives back what a node has in hand and forgets it; gives how much that was.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn node_leave(&self, serial: NodeSerial, now: Timestamp) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        session.execute("DELETE FROM nodes WHERE serial = $1", args![serial]).await?;
        let freed = free_orphans(&mut session, now).await?;
        session.commit().await?;
        Ok(freed)
    }

    /// Ends leases that are over and makes what dead nodes had in hand due at once; gives how much that was.
    /// What waits for an endpoint deleted meanwhile is cancelled.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_reclaim(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        session.execute("DELETE FROM nodes WHERE lease_until <= $1", args![now]).await?;
        let freed = free_orphans(&mut session, now).await?;
        let sql = "UPDATE deliveries SET state = 'cancelled', reason = 'endpoint_deleted', due_at = NULL, line = NULL \
                   WHERE due_at IS NOT NULL AND endpoint_id IN (SELECT id FROM endpoints WHERE deleted_at IS NOT NULL)";
        session.execute(sql, args![]).await?;
        session.commit().await?;
        Ok(freed)
    }

    /// Gives back deliveries that a node has in hand and will not finish: due at once. Gives how many it had.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn delivery_release(
        &self,
        serial: NodeSerial,
        ids: &[DeliveryId],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut session = self.db().begin().await?;
        let lines = lines::lines_of(&mut session, ids.iter().copied()).await?;
        let held = lines::lock_of(&mut session, &lines).await?;
        let cells = ids.iter().flat_map(|id| args![*id, serial, now]).collect();
        let released = RELEASE.execute(&mut session, cells).await?;
        lines::settle_lines(&mut session, &held, lines).await?;
        session.commit().await?;
        Ok(released)
    }
}

/// Makes what is in the hands of no living node due at once, or what is newer in its line.
async fn free_orphans(session: &mut Session, now: Timestamp) -> Result<u64, StoreError> {
    let sql = "SELECT DISTINCT endpoint_id, line FROM deliveries WHERE owner IS NOT NULL AND owner NOT IN (SELECT serial \
               FROM nodes) AND line IS NOT NULL";
    let lines = lines::keys(&session.rows(sql, args![]).await?)?;
    let held = lines::lock_of(session, &lines).await?;
    let sql = "UPDATE deliveries SET state = 'pending', owner = NULL, due_at = $1 \
               WHERE owner IS NOT NULL AND owner NOT IN (SELECT serial FROM nodes)";
    let freed = session.execute(sql, args![now]).await?;
    lines::settle_lines(session, &held, lines).await?;
    Ok(freed)
}
