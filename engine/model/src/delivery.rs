//! Deliveries and their attempts.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    id::{DeliveryId, EndpointId, EventId, IntegratorId, TenantId},
    time::Timestamp,
};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its time or its turn.
    Pending,
    /// Held by a node that works on it.
    Delivering,
    /// The partner took it.
    Succeeded,
    /// Rejected, or out of tries.
    Failed,
    /// A newer version went instead.
    Superseded,
    /// The plugin or a filter said that it need not go.
    Skipped,
    /// Someone called it off.
    Cancelled,
    /// Held back by a breaker or a pause.
    Parked,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Delivering,
        Self::Succeeded,
        Self::Failed,
        Self::Superseded,
        Self::Skipped,
        Self::Cancelled,
        Self::Parked,
    ];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivering => "delivering",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Parked => "parked",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Whether nothing more will happen to it by itself.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded | Self::Skipped | Self::Cancelled)
    }
}

/// One event for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Goes out as `webhook-id`.
    pub id: DeliveryId,
    /// The running number people see.
    pub code: i64,
    /// Whose delivery.
    pub tenant: TenantId,
    /// What is delivered.
    pub event: EventId,
    /// Key of the event's type.
    pub event_type: String,
    /// What the event is about.
    pub subject: Option<String>,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Whose endpoint that is.
    pub integrator: IntegratorId,
    /// Where it stands.
    pub state: DeliveryState,
    /// True when the last attempt succeeded, false when it failed, none before the first.
    pub success: Option<bool>,
    /// Stable code of what last went wrong, or why it was skipped.
    pub reason: Option<String>,
    /// Tries made.
    pub attempts: u32,
    /// When the event was taken; never changes.
    pub created_at: Timestamp,
    /// When the first try began.
    pub first_attempt_at: Option<Timestamp>,
    /// When the last try began.
    pub last_attempt_at: Option<Timestamp>,
    /// When it succeeded; never rewritten.
    pub integrated_at: Option<Timestamp>,
    /// When the next try is due.
    pub next_attempt_at: Option<Timestamp>,
    /// The event's.
    pub correlation_id: Option<String>,
}

/// How the last notification of an event type went, for one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationStatus {
    /// There was none, or it ended without a try.
    NeverSent,
    /// The last try succeeded.
    Success,
    /// The last try failed, even if another one is due.
    Failed,
    /// It waits for its first try.
    Pending,
}

impl NotificationStatus {
    /// The status by an endpoint's last delivery of the type.
    pub fn of(last: Option<&Delivery>) -> Self {
        let Some(last) = last else { return Self::NeverSent };
        match last.success {
            Some(true) => Self::Success,
            Some(false) => Self::Failed,
            None if last.state.is_finished() => Self::NeverSent,
            None => Self::Pending,
        }
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NeverSent => "never_sent",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Pending => "pending",
        }
    }
}

/// What made an attempt happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The event came in.
    Event,
    /// The schedule of retries.
    Retry,
    /// Someone asked for it.
    Manual,
}

impl Trigger {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Retry => "retry",
            Self::Manual => "manual",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Event, Self::Retry, Self::Manual].into_iter().find(|trigger| trigger.code() == code)
    }
}

/// A request as it goes to the partner. Bytes of secrets are masked before it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Name and value, in the order sent.
    pub headers: Vec<(String, String)>,
    /// Body bytes before compression.
    pub body: Vec<u8>,
    /// False where they are kept no longer: they were the event's payload, and went with it.
    pub body_kept: bool,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// Body after decompression, up to the cap.
    pub body: Vec<u8>,
    /// Whether the body was longer than the cap.
    pub truncated: bool,
}

impl Response {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// One try: the exact request sent, the response received, the verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// 1, 2, 3 ... within the delivery.
    pub number: u32,
    /// When it began; also the `now` its plugin saw.
    pub at: Timestamp,
    /// What made it happen.
    pub trigger: Trigger,
    /// `name@version` of the plugin that ran, none for the built-in behaviour.
    pub plugin: Option<String>,
    /// sha256 of the plugin's component, hexadecimal.
    pub plugin_digest: Option<String>,
    /// What was sent; none where nothing was.
    pub request: Option<Request>,
    /// What came back; none where nothing did.
    pub response: Option<Response>,
    /// Stable word for how it ended: `success`, `retry`, `fail`, `disable`, `transport_error`, `plugin_fault`,
    /// `skipped`.
    pub outcome: String,
    /// Stable code of what went wrong.
    pub code: Option<String>,
    /// For people; the partner's own id where it succeeded.
    pub message: Option<String>,
    /// From the start of `transform` to the verdict.
    pub duration: Duration,
    /// Every input a replay needs beside event and request: see [`Replay`].
    pub replay: Option<Replay>,
}

/// The inputs of an attempt's plugin calls that are written nowhere else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Replay {
    /// The endpoint's revision.
    pub endpoint_revision: u64,
    /// URL of the endpoint as the plugin saw it.
    pub endpoint_url: String,
    /// The integrator's slug as the plugin saw it.
    pub integrator: String,
    /// The merged configuration the plugin saw.
    pub config: Arc<Value>,
    /// Labels that came from the catalogue's entry, beside the event's own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub catalog_labels: Vec<(String, String)>,
    /// What `transform` was answered.
    #[serde(skip_serializing_if = "HostAnswers::is_empty", default)]
    pub transform: HostAnswers,
    /// What `interpret` was answered.
    #[serde(skip_serializing_if = "HostAnswers::is_empty", default)]
    pub interpret: HostAnswers,
    /// Names of the request's headers that came from the plugin, lower case.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub header_names: Option<Vec<String>>,
    /// What `transform` handed to `interpret`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memo: Option<String>,
    /// The response's elapsed time as the plugin saw it, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elapsed_ms: Option<u32>,
    /// Lines the plugin wrote, up to the cap.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub log: String,
}

/// What one plugin call was answered by the engine, in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostAnswers {
    /// HMAC calls: secret's name, base64 of the MAC. Never keys.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hmacs: Vec<(String, String)>,
    /// State read: key, base64 of the value or none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub state: Vec<(String, Option<String>)>,
}

impl HostAnswers {
    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.hmacs.is_empty() && self.state.is_empty()
    }
}
