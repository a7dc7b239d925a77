//! SmartLink's queues: a message stays until it is acknowledged, and comes again when it is not.

use serde_json::Value;
use sqlx::Row as _;

use super::Store;
use crate::now_ms;

/// A message as it is handed to its reader.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) receipt: String,
    pub(crate) kind: String,
    pub(crate) body: Value,
    /// How often it was handed out, this time included.
    pub(crate) taken: i64,
}

impl Store {
    pub(crate) async fn queue_setup(&self, tenant: &str, audience: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query("INSERT INTO queues (tenant, audience) VALUES (?, ?) ON CONFLICT DO NOTHING");
        query.bind(tenant.to_owned()).bind(audience.to_owned()).execute(&self.writer).await?;
        Ok(())
    }

    /// Puts a message into a queue; whether there was one: without, the message is lost and nobody hears of it.
    pub(crate) async fn message_send(
        &self,
        tenant: &str,
        audience: &str,
        kind: &str,
        body: &str,
    ) -> Result<bool, sqlx::Error> {
        let sql = "INSERT INTO messages (tenant, audience, type, body) \
                   SELECT tenant, audience, ?, ? FROM queues WHERE tenant = ? AND audience = ?";
        let query = sqlx::query(sql).bind(kind.to_owned()).bind(body.to_owned());
        let query = query.bind(tenant.to_owned()).bind(audience.to_owned());
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Hands out messages that wait, or that nobody acknowledged in time, oldest first.
    pub(crate) async fn messages_take(
        &self,
        tenant: &str,
        audience: &str,
        most: i64,
        hold_ms: i64,
    ) -> Result<Vec<Message>, sqlx::Error> {
        let now = now_ms();
        let sql = "UPDATE messages SET state = 'held', held_until = ?, receipt = lower(hex(randomblob(16))), \
                   taken = taken + 1 WHERE id IN (SELECT id FROM messages WHERE tenant = ? AND audience = ? \
                   AND (state = 'waiting' OR state = 'held' AND held_until <= ?) ORDER BY id LIMIT ?) \
                   RETURNING id, receipt, type, body, taken";
        let query = sqlx::query(sql).bind(now + hold_ms).bind(tenant.to_owned()).bind(audience.to_owned());
        let rows = query.bind(now).bind(most).fetch_all(&self.writer).await?;
        let mut messages = Vec::with_capacity(rows.len());
        for row in &rows {
            let body: String = row.try_get(3)?;
            let body = serde_json::from_str(&body).unwrap_or_default();
            let id: i64 = row.try_get(0)?;
            messages
                .push((id, Message { receipt: row.try_get(1)?, kind: row.try_get(2)?, body, taken: row.try_get(4)? }));
        }
        messages.sort_by_key(|(id, _)| *id);
        Ok(messages.into_iter().map(|(_, message)| message).collect())
    }

    /// Ends a message (`done`), or sets it aside (`dead`); false when the receipt is none, or not the latest.
    pub(crate) async fn message_end(&self, tenant: &str, receipt: &str, state: &str) -> Result<bool, sqlx::Error> {
        let sql = "UPDATE messages SET state = ? WHERE tenant = ? AND receipt = ? AND (state = 'held' OR state = ?)";
        let query = sqlx::query(sql).bind(state.to_owned()).bind(tenant.to_owned());
        let query = query.bind(receipt.to_owned()).bind(state.to_owned());
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Messages by queue and state.
    pub(crate) async fn message_counts(&self) -> Result<Vec<Value>, sqlx::Error> {
        let sql = "SELECT tenant, audience, state, count(*) FROM messages GROUP BY tenant, audience, state";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                Ok(serde_json::json!({
                    "tenant": row.try_get::<String, _>(0)?, "audience": row.try_get::<String, _>(1)?,
                    "state": row.try_get::<String, _>(2)?, "messages": row.try_get::<i64, _>(3)?,
                }))
            })
            .collect()
    }

    /// Messages with their bodies, oldest first.
    pub(crate) async fn messages_list(&self, after: i64, most: i64) -> Result<Vec<Value>, sqlx::Error> {
        let sql =
            "SELECT id, tenant, audience, type, body, state, taken FROM messages WHERE id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query(sql).bind(after).bind(most).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let body: String = row.try_get(4)?;
                let body: Value = serde_json::from_str(&body).unwrap_or_default();
                Ok(serde_json::json!({
                    "id": row.try_get::<i64, _>(0)?, "tenant": row.try_get::<String, _>(1)?,
                    "audience": row.try_get::<String, _>(2)?, "type": row.try_get::<String, _>(3)?, "body": body,
                    "state": row.try_get::<String, _>(5)?, "taken": row.try_get::<i64, _>(6)?,
                }))
            })
            .collect()
    }
}
