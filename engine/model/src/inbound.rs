//! Inbounds: the addresses at which partners call us, each with the plugin that checks and answers.

use serde_json::Value;

use crate::{id::TenantId, plugin::PluginRef, rate::RateLimit, time::Timestamp};

/// Largest body that an inbound may be set to take, in bytes: what the plugin contract lets into a call.
pub const BODY_BYTES_CEILING: u32 = 1 << 20;

/// An address at which a partner calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    /// What it is called by, in the path; unique over all tenants.
    pub name: String,
    /// Whose events come of it.
    pub tenant: TenantId,
    /// What people call it.
    pub description: String,
    /// The plugin that checks and answers its calls.
    pub plugin: PluginRef,
    /// Settings for the plugin, above the installation's.
    pub config: Option<Value>,
    /// Whether it answers; one that does not is as if it were not there.
    pub enabled: bool,
    /// Largest body it takes, before and after it is inflated.
    pub body_bytes_max: u32,
    /// How many calls it takes.
    pub rate_limit: RateLimit,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
