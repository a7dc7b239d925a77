//! What does not go along when an endpoint's address changes. Whoever may change an endpoint and may not see what is kept of
//! it could have that sent to a place of their own; so it is given anew there, or stays behind.

use engate_model::{
    endpoint::{Auth, Endpoint},
    invalid::Complaints,
    token::Principal,
};

use super::{AuthFields, AuthKind, EndpointChange};
use crate::own_origin::is_elsewhere;

/// The cure, whatever stays behind.
const ANEW: &str = "is kept for the address that the endpoint has now (scheme, host and port); give it again for the new one, \
                    or have somebody change the url who may manage secrets";

/// What a change gives anew of what requests carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anew {
    secret: bool,
    headers: bool,
}

impl Anew {
    /// As the change says.
    pub(super) fn of(change: &EndpointChange) -> Self {
        let given = |(_, fields): &(AuthKind, AuthFields)| {
            fields.password.is_some() || fields.value.is_some() || fields.client_secret.is_some()
        };
        Self { secret: change.auth.as_ref().is_some_and(given), headers: change.headers.is_some() }
    }
}

/// Complains of what would go to another address without having been given for it.
/// Headers are told to whoever may read the endpoint, unless its token hides them: those it would tell too.
pub(super) fn check(
    principal: &Principal,
    before: &Endpoint,
    after: &Endpoint,
    anew: Anew,
    complaints: &mut Complaints,
) {
    if principal.manages_secrets || !is_elsewhere(&before.url, &after.url) {
        return;
    }
    if goes_out(&after.auth) && !anew.secret {
        complaints.add("auth", ANEW);
    }
    if !after.headers.is_empty() && !anew.headers {
        complaints.add("headers", ANEW);
    }
}

/// Whether the partner is sent the secret itself, or a token got with it. The key of a certificate never leaves.
const fn goes_out(auth: &Auth) -> bool {
    match auth {
        Auth::None | Auth::Mtls(_) => false,
        Auth::Basic { .. }
        | Auth::Authorization { .. }
        | Auth::Header { .. }
        | Auth::Oauth2(_)
        | Auth::Headers { .. } => true,
    }
}
