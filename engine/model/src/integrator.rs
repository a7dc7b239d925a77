//! Partner companies, and the tenants whose partners they are.

use serde_json::Value;

use crate::{
    id::{IntegratorId, TenantId},
    plugin::PluginRef,
    time::Timestamp,
};

/// Whose data it is; every row belongs to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What it is named by (`default`).
    pub slug: String,
    /// What people read.
    pub name: String,
    /// When it was entered.
    pub created_at: Timestamp,
}

/// A partner company, active or not, with the services it offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Integrator {
    /// Its id.
    pub id: IntegratorId,
    /// Whose partner.
    pub tenant: TenantId,
    /// What it is named by; unique per tenant.
    pub slug: String,
    /// What people read.
    pub name: String,
    /// Whether its endpoints get events at all.
    pub active: bool,
    /// The services it offers.
    pub services: Vec<String>,
    /// The plugin of its endpoints that name none.
    pub plugin: Option<PluginRef>,
    /// Settings of its endpoints' plugins, below the endpoint's own.
    pub config: Option<Value>,
    /// When it was entered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
