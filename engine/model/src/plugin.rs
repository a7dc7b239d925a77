//! Plugins as the engine speaks of them: references, manifests, grants, limits, faults.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::{Timestamp, credential::Credential, verdict::Failure};

/// What `name` alone means: the channel that production binds to.
pub const CHANNEL_DEFAULT: &str = "stable";
/// The channel of development versions, unless the developer names another.
pub const CHANNEL_DEVELOPMENT: &str = "dev";

/// How an endpoint or integrator names its plugin: `name`, `name@1.2.0` or `name@channel`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PluginRef {
    /// The installed name.
    pub name: String,
    /// Version or channel.
    pub pin: Pin,
}

/// Which of a plugin's versions is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pin {
    /// Whatever the channel points at.
    Channel(String),
    /// Exactly this SemVer version.
    Version(String),
}

impl FromStr for PluginRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pin) = text.split_once('@').unwrap_or((text, CHANNEL_DEFAULT));
        check_plugin_name(name)?;
        let pin = match pin {
            pin if pin.starts_with(|c: char| c.is_ascii_digit()) => Pin::Version(pin.to_owned()),
            pin if is_kebab(pin) => Pin::Channel(pin.to_owned()),
            _ => return Err("after @ comes a version (1.2.0) or a channel (stable, next)".to_owned()),
        };
        Ok(Self { name: name.to_owned(), pin })
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pin {
            Pin::Channel(channel) if channel == CHANNEL_DEFAULT => f.write_str(&self.name),
            Pin::Channel(pin) | Pin::Version(pin) => write!(f, "{}@{pin}", self.name),
        }
    }
}

impl Serialize for PluginRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PluginRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A plugin's name: kebab-case, optionally `vendor.name`, at most 64 bytes.
///
/// # Errors
/// A sentence for people.
pub fn check_plugin_name(name: &str) -> Result<(), String> {
    if name.len() <= 64 && !name.is_empty() && name.split('.').count() <= 2 && name.split('.').all(is_kebab) {
        return Ok(());
    }
    Err("a plugin's name is kebab-case, optionally vendor.name, at most 64 bytes".to_owned())
}

fn is_kebab(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && !text.contains("--")
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// When a plugin wants to be asked about a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpretWhen {
    /// 2xx is success; the engine's table decides the rest.
    Never,
    /// 2xx is success; the plugin judges every other status.
    #[serde(rename = "non_2xx")]
    Non2xx,
    /// The plugin judges every response.
    Always,
}

impl InterpretWhen {
    /// Whether the plugin judges a response of that status.
    pub const fn asks(self, status: u16) -> bool {
        match self {
            Self::Never => false,
            Self::Non2xx => !matches!(status, 200..=299),
            Self::Always => true,
        }
    }
}

/// A secret or credential that a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Its name.
    pub name: String,
    /// What for, in the plugin author's words.
    pub purpose: String,
}

/// What a plugin is made for, told by what its component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum World {
    /// Delivers events to a partner.
    Integrator,
    /// Answers a partner's calls.
    Receiver,
    /// Takes the pages of a sync job.
    #[serde(rename = "sync-target")]
    SyncTarget,
    /// Feeds a sync or polling job.
    #[serde(rename = "sync-source")]
    SyncSource,
}

impl World {
    /// The contract's name of it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Integrator => "integrator",
            Self::Receiver => "receiver",
            Self::SyncTarget => "sync-target",
            Self::SyncSource => "sync-source",
        }
    }
}

/// What a plugin says of itself when it is installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is made for, one or more; read from its exports, not from its words.
    pub worlds: Vec<World>,
    /// Must equal the installed name.
    pub id: String,
    /// SemVer.
    pub version: String,
    /// What people read.
    pub title: String,
    /// JSON Schema 2020-12 of its configuration.
    pub config_schema: Value,
    /// Event types it is made for, `order.*` allowed; empty: any.
    pub event_types: Vec<String>,
    /// When it wants to be asked about a response.
    pub interpret: InterpretWhen,
    /// Hosts it asks for; a grant gives them.
    pub hosts: Vec<String>,
    /// Credential profiles it asks for.
    pub credentials: Vec<Need>,
    /// Secrets it asks for.
    pub secrets: Vec<Need>,
}

impl Manifest {
    /// Whether the plugin is made for that.
    pub fn fills(&self, world: World) -> bool {
        self.worlds.contains(&world)
    }
}

/// What the operator allows a plugin, and the settings of its installation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Origins beside the endpoint's own to which its requests may go: `https://api.example.com`, or
    /// `https://*.example.com` for any host below.
    pub hosts: Vec<String>,
    /// Secrets it may have an HMAC computed with.
    pub secrets: Vec<String>,
    /// Secrets it may read whole; that it does is audited.
    pub reveal: Vec<String>,
    /// Credential profiles it may have applied to its requests, without seeing them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// When `reveal` last gained a name: what ran before was not looked at with that in mind. None of a grant from before
    /// this was written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reveal_since: Option<Timestamp>,
}

impl Grants {
    /// When `reveal` last gained a name, of these in the place of `before`.
    #[must_use]
    pub fn revealing_since(&self, before: &Self, now: Timestamp) -> Option<Timestamp> {
        if self.reveal.iter().any(|name| !before.reveal.contains(name)) {
            return Some(now);
        }
        before.reveal_since.filter(|_| !self.reveal.is_empty())
    }
}

/// What one call may cost. Defaults are those of the plugin contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processor time of one call.
    pub cpu: Duration,
    /// Wall time of one call.
    pub wall: Duration,
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Payload and body, in and out.
    pub body_bytes: usize,
    /// Log text kept of one call.
    pub log_bytes: usize,
    /// Host calls of one call.
    pub host_calls: u32,
    /// Private state of one installation and endpoint, names and values together.
    pub state_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(50),
            wall: Duration::from_secs(2),
            memory_bytes: 64 << 20,
            body_bytes: 1 << 20,
            log_bytes: 8 << 10,
            host_calls: 1_000,
            state_bytes: 64 << 10,
        }
    }
}

/// Components larger than this carry their language's runtime along: a Rust or C guest has 10 to 400 KiB, the smallest
/// script guest 1.5 MiB.
const SCRIPT_COMPONENT_BYTES: u64 = 1 << 20;
/// Memory that a guest with a runtime may have unless something else is set (the contract's script class).
const SCRIPT_MEMORY_BYTES: usize = 256 << 20;

/// Processor time of one call of a sync, whose page is a thousand records rather than one event.
const SYNC_CPU: Duration = Duration::from_millis(500);
/// Wall time of such a call; what a source waits for HTTP is counted apart.
const SYNC_WALL: Duration = Duration::from_secs(10);
/// A page, in or out.
const SYNC_BODY_BYTES: usize = 16 << 20;

const fn carries_runtime(component_bytes: u64) -> bool {
    component_bytes > SCRIPT_COMPONENT_BYTES
}

impl Limits {
    /// These limits for a component of that size: one that carries a runtime may have more memory.
    #[must_use]
    pub fn for_component(&self, component_bytes: u64) -> Self {
        let least = if carries_runtime(component_bytes) { SCRIPT_MEMORY_BYTES } else { 0 };
        Self { memory_bytes: self.memory_bytes.max(least), ..*self }
    }

    /// These limits for the calls of a sync, which handle pages.
    #[must_use]
    pub fn for_sync(&self) -> Self {
        Self {
            cpu: self.cpu.max(SYNC_CPU),
            wall: self.wall.max(SYNC_WALL),
            body_bytes: self.body_bytes.max(SYNC_BODY_BYTES),
            ..*self
        }
    }
}

/// Whether a plugin's instances serve more than one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instances {
    /// A fresh one for each call: nothing survives it.
    Fresh,
    /// Kept for later calls of the same installation, one call at a time; retired after 128 calls, any error, some idle
    /// time, or when they have grown.
    Warm,
}

/// What an operator sets for one installation's calls; what is none follows the engine's settings and the guest's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallSettings {
    /// Whether instances are kept.
    pub instances: Option<Instances>,
    /// Processor time of one call, in ms.
    pub cpu_ms: Option<u64>,
    /// Wall time of one call, in ms.
    pub wall_ms: Option<u64>,
    /// Linear memory of one instance, in MiB.
    pub memory_mib: Option<u64>,
}

impl CallSettings {
    /// What applies to the calls of a component of that size: what is set here, else `defaults`; guests with a runtime
    /// are kept warm and have more memory. Nothing goes beyond `ceiling`.
    pub fn resolve(&self, component_bytes: u64, defaults: &Limits, ceiling: &Limits) -> (Instances, Limits) {
        let kind = if carries_runtime(component_bytes) { Instances::Warm } else { Instances::Fresh };
        let defaults = defaults.for_component(component_bytes);
        let memory = self.memory_mib.map(|mib| usize::try_from(mib << 20).unwrap_or(usize::MAX));
        let limits = Limits {
            cpu: self.cpu_ms.map_or(defaults.cpu, Duration::from_millis).min(ceiling.cpu),
            wall: self.wall_ms.map_or(defaults.wall, Duration::from_millis).min(ceiling.wall),
            memory_bytes: memory.unwrap_or(defaults.memory_bytes).min(ceiling.memory_bytes),
            ..defaults
        };
        (self.instances.unwrap_or(kind), limits)
    }
}

/// What a plugin did wrong in a call; each is one delivery's fault and no one else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// Out of processor time.
    CpuLimit,
    /// Out of wall time.
    WallLimit,
    /// Memory or table beyond its limit.
    MemoryLimit,
    /// A body, log or list beyond its limit.
    OutputTooLarge,
    /// Too many host calls.
    CallBudget,
    /// Recursion too deep.
    StackOverflow,
    /// It panicked, trapped or exited.
    PluginPanic,
    /// What it returned does not follow the component ABI.
    BadAbi,
    /// The request it made cannot be sent.
    InvalidRequest,
    /// The answer it made for a caller cannot be sent.
    InvalidAnswer,
    /// What it said of a page's answer does not fit the page.
    InvalidSettlement,
    /// The page that it pulled cannot be taken.
    InvalidPage,
    /// It asked for what was not granted.
    HostDenied,
    /// The installed component could not be loaded.
    LoadFailed,
}

impl FaultCode {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CpuLimit => "cpu_limit",
            Self::WallLimit => "wall_limit",
            Self::MemoryLimit => "memory_limit",
            Self::OutputTooLarge => "output_too_large",
            Self::CallBudget => "call_budget",
            Self::StackOverflow => "stack_overflow",
            Self::PluginPanic => "plugin_panic",
            Self::BadAbi => "bad_abi",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidAnswer => "invalid_answer",
            Self::InvalidSettlement => "invalid_settlement",
            Self::InvalidPage => "invalid_page",
            Self::HostDenied => "host_denied",
            Self::LoadFailed => "load_failed",
        }
    }
}

/// A fault with its story: the trap, the last lines on stderr.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.code())]
pub struct Fault {
    /// Which limit or rule.
    pub code: FaultCode,
    /// For the plugin's developer.
    pub message: String,
}

impl Fault {
    /// A fault with its story.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Fault> for Failure {
    /// A plugin's fault is worth another try: a new version may have been installed by then.
    fn from(fault: Fault) -> Self {
        Self { code: fault.code.code().to_owned(), message: fault.message, retryable: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_names_versions_and_channels() {
        for text in ["gsan", "gsan@1.2.0", "acme.billing@next"] {
            assert_eq!(text.parse::<PluginRef>().unwrap().to_string(), text);
        }
        assert_eq!("gsan@stable".parse::<PluginRef>().unwrap().to_string(), "gsan");
        for text in ["", "Gsan", "a.b.c", "gsan@", "gsan@No", "-a", "a--b", "gsan@@1"] {
            assert!(text.parse::<PluginRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_manifest_says_when_the_plugin_is_asked() {
        assert!(!InterpretWhen::Never.asks(500));
        assert!(InterpretWhen::Non2xx.asks(500) && !InterpretWhen::Non2xx.asks(204));
        assert!(InterpretWhen::Always.asks(200));
    }
}
