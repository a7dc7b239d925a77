//! Events and the catalogue of their types.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{EventId, TenantId},
    invalid::Invalid,
    time::Timestamp,
};

/// Longest event type key, subject, idempotency key, label name and correlation id, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Labels one event may carry.
pub const LABELS_MAX: usize = 64;
/// Longest label value, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 1_024;

/// How far ahead a delivery may be put off.
pub const DELIVER_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// An entry of the catalogue, placed in a two-level tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// Whose catalogue.
    pub tenant: TenantId,
    /// What producers and endpoints name it by (`client-transaction`, `order.created`).
    pub key: String,
    /// What people read.
    pub title: String,
    /// First level of the tree; empty: none.
    pub macro_process: String,
    /// Second level of the tree; empty: none.
    pub process: String,
    /// Defined by the engine: cannot be deleted.
    pub system: bool,
    /// Whether its events go anywhere.
    pub enabled: bool,
    /// The JSON Schema that payloads have to meet to be accepted; none: any payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// When it was entered.
    pub created_at: Timestamp,
}

/// One fact, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Whose fact.
    pub tenant: TenantId,
    /// Key of its type.
    pub event_type: String,
    /// What it is about: a customer, a product.
    pub subject: Option<String>,
    /// The payload's bytes as they were given.
    pub payload: Vec<u8>,
    /// Media type of the payload.
    pub content_type: String,
    /// When it happened, by the producer's word.
    pub occurred_at: Timestamp,
    /// When the engine took it.
    pub accepted_at: Timestamp,
    /// Before when it is not to be delivered.
    pub deliver_at: Option<Timestamp>,
    /// Name and value, in the order given.
    pub labels: Vec<(String, String)>,
    /// Ties this event to what caused it.
    pub correlation_id: Option<String>,
    /// The producer's own id, under which a repeat is recognised.
    pub idempotency_key: Option<String>,
    /// Why it went to nobody, or to one endpoint only, where that is so.
    pub reason: Option<NoDelivery>,
}

/// Why an event goes to nobody, or to nobody but whom it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDelivery {
    /// The switch `use_webhooks` is off.
    WebhooksDisabled,
    /// Every endpoint that would have got it belongs to an integrator that is not active.
    IntegratorInactive,
    /// No endpoint subscribes to the type.
    NoMatch,
    /// Somebody tried one endpoint with it: it goes there once, and is no version of anything.
    Test,
    /// The type is disabled in the catalogue.
    EventTypeDisabled,
}

impl NoDelivery {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::WebhooksDisabled => "webhooks_disabled",
            Self::IntegratorInactive => "integrator_inactive",
            Self::NoMatch => "no_match",
            Self::Test => "test",
            Self::EventTypeDisabled => "event_type_disabled",
        }
    }

    /// Reads a stored code.
    pub fn from_code(code: &str) -> Option<Self> {
        let all =
            [Self::WebhooksDisabled, Self::IntegratorInactive, Self::NoMatch, Self::Test, Self::EventTypeDisabled];
        all.into_iter().find(|reason| reason.code() == code)
    }
}

/// Checks a key of an event type: letters, digits, `.`, `-`, `_`, `/`, `:`, 1 to [`NAME_BYTES_MAX`] bytes.
///
/// # Errors
/// Names `field`.
pub fn check_key(field: &str, key: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    if key.is_empty() || key.len() > NAME_BYTES_MAX {
        return Err(Invalid::field(field, format!("must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    if !key.chars().all(allowed) {
        return Err(Invalid::field(field, "may hold letters, digits and . - _ / : only"));
    }
    Ok(())
}

/// Checks a text that people or systems name something by: no control characters, at most
/// [`NAME_BYTES_MAX`] bytes, not empty.
///
/// # Errors
/// Names `field`.
pub fn check_name(field: &str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(Invalid::field(field, format!("must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::field(field, "must not hold control characters"));
    }
    Ok(())
}

/// Checks how far ahead a delivery is put off; what is past is due at once.
///
/// # Errors
/// Names `field`.
pub fn check_deliver_at(field: &str, deliver_at: Timestamp, now: Timestamp) -> Result<(), Invalid> {
    if deliver_at.since(now) > DELIVER_AHEAD_MAX {
        let days = DELIVER_AHEAD_MAX.as_secs() / 86_400;
        return Err(Invalid::field(field, format!("must be at most {days} days ahead")));
    }
    Ok(())
}

/// Checks labels: count, names and values.
///
/// # Errors
/// Names the label to blame, below `labels`.
pub fn check_labels(labels: &[(String, String)]) -> Result<(), Invalid> {
    if labels.len() > LABELS_MAX {
        return Err(Invalid::field("labels", format!("at most {LABELS_MAX} labels")));
    }
    for (name, value) in labels {
        check_name(&format!("labels.{name}"), name)?;
        if value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(Invalid::field(format!("labels.{name}"), format!("at most {LABEL_VALUE_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}
