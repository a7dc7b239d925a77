//! Clients' keys. The value itself is known to the authentication layer alone; everything behind it sees a
//! [`Principal`].

use serde::{Deserialize, Serialize};

use crate::{
    id::{TenantId, TokenId},
    rate::RateLimit,
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
    /// What it may do less than its role.
    pub limits: TokenLimits,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; later than now: until then the value before a regeneration still works.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, within some seconds.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// Whether a call with it passes at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none_or(|at| now < at) && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether its holder can mend everything in the tenant: an admin whose routes and scopes are not narrowed.
    pub fn is_full_admin(&self) -> bool {
        self.role == Role::Admin && self.limits.routes.is_empty() && self.limits.scopes.is_empty()
    }
}

/// How a token is narrowed. What is empty narrows nothing; every part only takes away from what the role allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenLimits {
    /// The only routes it may call, as `METHOD /v1/route/{template}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The only scopes it has, as `noun:read` or `noun:write`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// How many calls each node takes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Where its calls may come from: web origins, addresses, networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// What its holder is not shown (see [`redaction`](crate::redaction)).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_until_it_is_revoked_or_expires() {
        let at = Timestamp::from_millis;
        let token = |expires: Option<i64>, revoked: Option<i64>| Token {
            id: TokenId::MIN,
            tenant: TenantId::MIN,
            client: "c".into(),
            role: Role::Admin,
            integrator: None,
            limits: TokenLimits::default(),
            expires_at: expires.map(at),
            revoked_at: revoked.map(at),
            created_at: at(0),
            last_used_at: None,
        };
        assert!(token(None, None).is_live(at(5)) && token(Some(6), Some(7)).is_live(at(5)));
        assert!(!token(Some(5), None).is_live(at(5)) && !token(None, Some(5)).is_live(at(5)));
        assert!(token(None, None).is_full_admin());
        let narrowed = TokenLimits { scopes: vec!["audit:read".into()], ..TokenLimits::default() };
        assert!(!Token { limits: narrowed, ..token(None, None) }.is_full_admin());
    }
}
