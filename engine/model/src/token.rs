//! Clients' keys. The value itself is known to the authentication layer alone; everything behind it sees a
//! [`Principal`].

use serde::{Deserialize, Serialize};

use crate::{
    id::{TenantId, TokenId},
    rate::RateLimit,
    time::Timestamp,
};

/// The scope of those who set secrets.
const SECRETS_SCOPE: &str = "secrets:write";
/// The route by which secrets are set.
const SECRETS_ROUTE: &str = "PUT /v1/secrets/{name}";

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

    /// Whether its holder may set secrets: an admin from whom neither the scope nor the route for it was taken.
    pub fn manages_secrets(&self) -> bool {
        let TokenLimits { routes, scopes, .. } = &self.limits;
        let has = |all: &[String], one: &str| all.is_empty() || all.iter().any(|held| held == one);
        self.role == Role::Admin && has(scopes, SECRETS_SCOPE) && has(routes, SECRETS_ROUTE)
    }

    /// Whether its holder can mend everything in the tenant, from anywhere and for good: an admin whose routes, scopes,
    /// origins and time are not narrowed.
    pub fn is_full_admin(&self) -> bool {
        self.mends_everything() && self.limits.origins.is_empty() && self.expires_at.is_none()
    }

    /// The same, but perhaps from some places only and until some day.
    fn mends_everything(&self) -> bool {
        self.role == Role::Admin && self.limits.routes.is_empty() && self.limits.scopes.is_empty()
    }

    /// The fields by which `changed`, the same token after a change, is narrower as an admin's than this one.
    pub fn narrowed_by(&self, changed: &Self) -> Vec<&'static str> {
        let lists =
            |limits: &TokenLimits| [limits.routes.is_empty(), limits.scopes.is_empty(), limits.origins.is_empty()];
        let names = ["routes", "scopes", "origins"].into_iter();
        let were_and_are = lists(&self.limits).into_iter().zip(lists(&changed.limits));
        let narrower = names.zip(were_and_are).filter(|(_, (was_empty, is_empty))| *was_empty && !is_empty);
        let ends_sooner = changed.expires_at.is_some_and(|end| self.expires_at.is_none_or(|was| end < was));
        narrower.map(|(name, _)| name).chain(ends_sooner.then_some("expires_at")).collect()
    }
}

/// Whether a change of a tenant's tokens leaves it with an admin who can mend everything: one from anywhere and for good,
/// where there was such a one. A tenant whose admins' tokens all have an end, or work from some places only, must keep one
/// that is no narrower than before; it may change whatever else it likes. One that had none loses nothing.
pub fn keeps_an_admin(before: &[Token], after: &[Token], now: Timestamp) -> bool {
    let live = |token: &&Token| token.is_live(now) && token.mends_everything();
    if before.iter().filter(live).any(Token::is_full_admin) {
        return after.iter().filter(live).any(Token::is_full_admin);
    }
    let narrower_than = |was: &Token, is: &Token| !was.narrowed_by(is).is_empty();
    let is_kept = |is: &Token| before.iter().filter(live).any(|was| was.id == is.id && !narrower_than(was, is));
    !before.iter().any(|token| live(&token)) || after.iter().filter(live).any(is_kept)
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
    /// Whether they may set secrets (see [`Token::manages_secrets`]), and so may have those that are kept used elsewhere.
    pub manages_secrets: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn admin(id: u128, expires: Option<i64>) -> Token {
        Token {
            id: TokenId::new(at(0), id),
            tenant: TenantId::MIN,
            client: "c".into(),
            role: Role::Admin,
            integrator: None,
            limits: TokenLimits::default(),
            expires_at: expires.map(at),
            revoked_at: None,
            created_at: at(0),
            last_used_at: None,
        }
    }

    fn pinned(token: Token) -> Token {
        Token { limits: TokenLimits { origins: vec!["10.0.0.0/8".into()], ..TokenLimits::default() }, ..token }
    }

    fn scoped(token: Token) -> Token {
        Token { limits: TokenLimits { scopes: vec!["audit:read".into()], ..TokenLimits::default() }, ..token }
    }

    fn revoked(token: Token) -> Token {
        Token { revoked_at: Some(at(5)), ..token }
    }

    #[test]
    fn a_token_lives_until_it_is_revoked_or_expires() {
        let token = |expires, revoked: Option<i64>| Token { revoked_at: revoked.map(at), ..admin(1, expires) };
        assert!(token(None, None).is_live(at(5)) && token(Some(6), Some(7)).is_live(at(5)));
        assert!(!token(Some(5), None).is_live(at(5)) && !token(None, Some(5)).is_live(at(5)));
    }

    #[test]
    fn a_full_admin_is_one_from_anywhere_and_for_good() {
        assert!(admin(1, None).is_full_admin());
        let narrowed = [
            scoped(admin(1, None)),
            pinned(admin(1, None)),
            admin(1, Some(i64::MAX)),
            Token { role: Role::Operator, ..admin(1, None) },
        ];
        assert!(narrowed.iter().all(|token| !token.is_full_admin()));
        let redacted = TokenLimits { redact: vec!["cpf".into()], ..TokenLimits::default() };
        assert!(Token { limits: redacted, ..admin(1, None) }.is_full_admin());
    }

    #[test]
    fn what_narrows_an_admin_is_named() {
        let (lasting, ending) = (admin(1, None), admin(1, Some(50)));
        assert_eq!(lasting.narrowed_by(&scoped(pinned(admin(1, None)))), ["scopes"]);
        assert_eq!(lasting.narrowed_by(&pinned(admin(1, Some(9)))), ["origins", "expires_at"]);
        assert_eq!(ending.narrowed_by(&admin(1, Some(49))), ["expires_at"]);
        for wider in [admin(1, Some(50)), admin(1, Some(51)), lasting] {
            assert!(ending.narrowed_by(&wider).is_empty());
        }
        let elsewhere = TokenLimits { origins: vec!["192.0.2.1".into()], ..TokenLimits::default() };
        assert!(pinned(admin(1, None)).narrowed_by(&Token { limits: elsewhere, ..admin(1, None) }).is_empty());
    }

    fn keeps(before: &[&Token], after: &[&Token]) -> bool {
        let owned = |tokens: &[&Token]| tokens.iter().map(|token| (*token).clone()).collect::<Vec<_>>();
        keeps_an_admin(&owned(before), &owned(after), at(5))
    }

    #[test]
    fn one_from_anywhere_and_for_good_stays() {
        let (one, two, ending) = (admin(1, None), admin(2, None), admin(3, Some(99)));
        assert!(keeps(&[&one, &two], &[&revoked(one.clone()), &two]));
        let narrowed =
            [revoked(one.clone()), scoped(one.clone()), pinned(one.clone()), admin(1, Some(6)), admin(1, Some(9_999))];
        for narrowed in &narrowed {
            assert!(!keeps(&[&one], &[narrowed]), "{narrowed:?}");
            assert!(!keeps(&[&one, &ending], &[narrowed, &ending]), "{narrowed:?}: one with an end does not do");
            assert!(keeps(&[&one, &two], &[narrowed, &two]));
        }
        // Who had none has none to lose.
        assert!(keeps(&[&scoped(one.clone()), &admin(2, Some(5))], &[&revoked(one)]));
        assert!(keeps(&[], &[]));
    }

    #[test]
    fn where_all_admins_have_an_end_one_stays_as_it_was_and_may_change_otherwise() {
        let (wide, second) = (admin(1, None), pinned(admin(2, Some(60))));
        for old in &[admin(1, Some(50)), pinned(admin(1, None)), pinned(admin(1, Some(50)))] {
            let redacted = TokenLimits { redact: vec!["cpf".into()], ..old.limits.clone() };
            for edited in [old, &wide, &Token { limits: redacted, ..old.clone() }] {
                assert!(keeps(&[old], &[edited]), "{old:?} to {edited:?}");
            }
            let sooner = Token { expires_at: Some(at(49)), ..old.clone() };
            for narrowed in [&revoked(old.clone()), &scoped(old.clone()), &sooner] {
                assert!(!keeps(&[old], &[narrowed]), "{old:?} to {narrowed:?}");
                assert!(keeps(&[old, &second], &[narrowed, &second]), "another is left as it was");
            }
        }
        assert!(!keeps(&[&admin(1, Some(50))], &[&pinned(admin(1, Some(50)))]));
    }

    #[test]
    fn secrets_are_managed_by_an_admin_from_whom_that_was_not_taken() {
        let manages = |role: Role, routes: &[&str], scopes: &[&str]| {
            let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
            let limits = TokenLimits { routes: texts(routes), scopes: texts(scopes), ..TokenLimits::default() };
            Token { role, limits, ..admin(1, None) }.manages_secrets()
        };
        assert!(
            manages(Role::Admin, &[], &[]) && manages(Role::Admin, &["PUT /v1/secrets/{name}"], &["secrets:write"])
        );
        for role in [Role::Operator, Role::Integrator, Role::Auditor, Role::Producer] {
            assert!(!manages(role, &[], &[]), "{role:?}");
        }
        assert!(!manages(Role::Admin, &[], &["endpoints:write", "secrets:read"]));
        assert!(!manages(Role::Admin, &["PATCH /v1/endpoints/{id}"], &[]));
    }
}
