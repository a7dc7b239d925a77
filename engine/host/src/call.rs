//! What goes into a call and what comes back, in the engine's words.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use engate_model::{
    Timestamp,
    delivery::Response,
    plugin::{Fault, Limits},
    verdict::{Failure, Verdict},
};
use serde_json::Value;

use crate::secrets::{MAC_BYTES, Secrets};

/// Calls after which a warm instance is retired, unless the installation says otherwise.
const WARM_CALLS_MAX_DEFAULT: u32 = 128;

/// Whether an instance may serve more than one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// A fresh instance for each call: nothing survives it.
    #[default]
    Fresh,
    /// Instances are kept for later calls of the same installation, one call at a time; any error ends one.
    Warm {
        /// Idle instances kept at most.
        max_idle: u32,
        /// Calls after which an instance is retired.
        max_calls: u32,
    },
}

impl Reuse {
    /// Warm with at most `max_idle` idle instances and the contract's number of calls.
    pub const fn warm(max_idle: u32) -> Self {
        Self::Warm { max_idle, max_calls: WARM_CALLS_MAX_DEFAULT }
    }
}

/// What every call gets beside its own arguments.
#[derive(Debug, Clone)]
pub struct CallContext<'a> {
    /// The installation, by any key of the caller's. Warm instances are never shared beyond it.
    pub installation: &'a str,
    /// What the call may cost.
    pub limits: Limits,
    /// Whether its instance may be kept.
    pub reuse: Reuse,
    /// The merged settings, valid against the manifest's schema.
    pub config: Arc<Value>,
    /// The secrets it may use.
    pub secrets: Secrets,
    /// Its private state as it stands.
    pub state: Arc<BTreeMap<String, Vec<u8>>>,
    /// The delivery.
    pub delivery: DeliveryView<'a>,
    /// Where it goes.
    pub endpoint: EndpointView<'a>,
    /// Which try.
    pub attempt: AttemptView,
}

/// An id as a plugin sees it: a text, written where it is needed.
#[derive(Clone, Copy)]
pub struct IdText<'a>(&'a (dyn fmt::Display + Sync));

impl<'a> IdText<'a> {
    /// The text of `id`.
    pub fn of(id: &'a (impl fmt::Display + Sync)) -> Self {
        Self(id)
    }
}

impl fmt::Display for IdText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IdText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A delivery as a plugin sees it.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryView<'a> {
    /// What goes out as `webhook-id`.
    pub id: IdText<'a>,
    /// The running number people see.
    pub code: i64,
    /// When the engine took the event.
    pub created_at: Timestamp,
    /// Whose delivery.
    pub tenant: IdText<'a>,
    /// The producer's, handed through.
    pub correlation_id: Option<&'a str>,
}

/// An endpoint as a plugin sees it.
#[derive(Debug, Clone, Copy)]
pub struct EndpointView<'a> {
    /// Its id.
    pub id: IdText<'a>,
    /// The registered URL.
    pub url: &'a str,
    /// Slug of the integrator.
    pub integrator: &'a str,
    /// The operator's labels.
    pub labels: &'a [(String, String)],
}

/// A try as a plugin sees it.
#[derive(Debug, Clone, Copy)]
pub struct AttemptView {
    /// 1 for the first.
    pub number: u32,
    /// When the first try was made.
    pub first_at: Timestamp,
    /// The only clock the plugin has; milliseconds of it reach the plugin.
    pub now: Timestamp,
}

/// An event as a plugin sees it.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// Its id.
    pub id: IdText<'a>,
    /// Key of its type.
    pub event_type: &'a str,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Media type of `data`.
    pub content_type: &'a str,
    /// The payload's bytes as they were given.
    pub data: &'a [u8],
    /// The producer's labels and those of the catalogue.
    pub labels: &'a [(String, String)],
}

/// Event in, request out.
#[derive(Debug, Clone)]
pub struct TransformCall<'a> {
    /// What every call gets.
    pub context: CallContext<'a>,
    /// The event.
    pub event: EventView<'a>,
}

/// Response in, verdict out.
#[derive(Debug, Clone)]
pub struct InterpretCall<'a> {
    /// What every call gets.
    pub context: CallContext<'a>,
    /// The event's id.
    pub event_id: IdText<'a>,
    /// Key of its type.
    pub event_type: &'a str,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// What `transform` left.
    pub memo: Option<&'a str>,
    /// The answer.
    pub response: &'a Response,
    /// From the start of the request to the end of the body.
    pub elapsed_ms: u32,
}

/// A request that passed every check but that of its host ([`host_granted`](crate::host_granted)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// HTTP method, a token.
    pub method: String,
    /// Absolute http or https URL, normalised, without user information.
    pub url: String,
    /// Name in lower case and value, in the plugin's order, without what is the engine's to set.
    pub headers: Vec<(String, String)>,
    /// Body bytes before compression.
    pub body: Vec<u8>,
    /// Whether the engine compresses the body.
    pub compress: bool,
    /// The credential profile to apply; none: the endpoint's own.
    pub credential: Option<String>,
}

/// What `transform` decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Send this.
    Send {
        /// What to send.
        request: OutgoingRequest,
        /// What `interpret` gets of it.
        memo: Option<String>,
    },
    /// Send nothing, for this reason.
    Skip(String),
    /// The plugin refused: its own code and words.
    Refused(Failure),
}

/// A finished `transform`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformDone {
    /// What it decided.
    pub plan: Plan,
    /// What it cost and touched.
    pub record: CallRecord,
}

/// A finished `interpret`.
#[derive(Debug, Clone, PartialEq)]
pub struct InterpretDone {
    /// What it decided.
    pub verdict: Verdict,
    /// What it cost and touched.
    pub record: CallRecord,
}

/// A call that ended in a fault of the plugin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct CallFailed {
    /// Which limit or rule.
    pub fault: Fault,
    /// What it cost and touched until then; no state is to be written.
    pub record: Box<CallRecord>,
}

/// What a call cost and touched: every input a replay needs beside the arguments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallRecord {
    /// What the plugin wrote, safe to print; cut at the limit with one notice.
    pub log: String,
    /// HMAC answers in order: the secret's name and the MAC, never the key.
    pub hmacs: Vec<(String, [u8; MAC_BYTES])>,
    /// Names of secrets that were read whole, for the audit.
    pub revealed: Vec<String>,
    /// State read, in order: key and value.
    pub state_reads: Vec<(String, Option<Vec<u8>>)>,
    /// State to write together with the outcome; none: remove the key.
    pub state_writes: BTreeMap<String, Option<Vec<u8>>>,
    /// Calls into the engine.
    pub host_calls: u32,
    /// Ticks of 5 ms that the guest itself ran; 0 for nearly every call.
    pub cpu_ticks: u32,
    /// From the permit to the answer.
    pub elapsed: Duration,
    /// The most memory held at once, in bytes.
    pub memory_peak_bytes: usize,
    /// HTTP requests that a source had sent.
    pub http_requests: u32,
    /// Bytes of their bodies, out and in.
    pub http_bytes: usize,
    /// What the guest ran, the making of a fresh instance included, in wasmtime's fuel: about one for each instruction.
    /// None where the host is not [metered](crate::HostConfig::metered).
    pub fuel: Option<u64>,
}
