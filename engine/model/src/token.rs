//! Clients' keys. The value itself is known to the authentication layer alone; everything behind it sees a
//! [`Principal`].

use serde::{Deserialize, Serialize};

use crate::{
    id::{TenantId, TokenId},
    time::Timestamp,
};

/// What a token's holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything in the tenant.
    Admin,
    /// Everything but tokens, secrets and settings.
    Operator,
    /// What belongs to one integrator.
    Integrator,
    /// Reads everything, changes nothing.
    Auditor,
    /// Posts events, reads nothing.
    Producer,
}

impl Role {
    /// All roles, in the order people list them.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Integrator, Self::Auditor, Self::Producer];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Integrator => "integrator",
            Self::Auditor => "auditor",
            Self::Producer => "producer",
        }
    }

    /// Reads a code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

/// A token as it is kept: never its value, only a SHA-256 of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The one tenant it means.
    pub tenant: TenantId,
    /// Who holds it; unique among the tenant's live tokens.
    pub client: String,
    /// What its holder may do.
    pub role: Role,
    /// The integrator it is bound to, for the role `integrator`.
    pub integrator: Option<crate::id::IntegratorId>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who makes a call, as every layer behind authentication sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's id, never its value.
    pub token: TokenId,
    /// The tenant it means.
    pub tenant: TenantId,
    /// Who holds it.
    pub client: String,
    /// What they may do.
    pub role: Role,
    /// The integrator they are bound to.
    pub integrator: Option<crate::id::IntegratorId>,
}
