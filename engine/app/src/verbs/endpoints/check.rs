//! What an endpoint's fields must be like.

use std::{collections::HashSet, time::Duration};

use engate_egress::{certificate_facts, check_auth, check_headers, check_signing_secret};
use engate_model::{
    FieldError, Invalid, Secret, Timestamp,
    callback::CallbackScope,
    endpoint::{Auth, Endpoint, MAX_IN_FLIGHT_CEILING, TIMEOUT_MS_CEILING},
    event::check_key,
    filter::Filter,
    invalid::Complaints,
    plugin::PluginRef,
    retry::RetryPolicy,
    token::Principal,
};
use serde_json::Value;
use url::Url;

use crate::{
    engine::Engine,
    verbs::{Scope, VerbError, integrators::check_config},
};

/// Subscriptions one endpoint may have.
pub(crate) const EVENT_TYPES_MAX: usize = 1_000;
/// Headers one endpoint may set.
pub(crate) const HEADERS_MAX: usize = 64;
/// Longest description, in bytes.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// How long a registration waits for a name to be resolved before it goes on without: the check is made again at
/// every send.
const RESOLVE_WAIT: Duration = Duration::from_secs(3);

impl Engine {
    /// Judges a URL and the addresses its host has now. A complaint of the field is made in `complaints`; the code of the
    /// denial comes back, to be the refusal's.
    pub(in crate::verbs) async fn check_url_of(
        &self,
        field: &str,
        url: &str,
        complaints: &mut Complaints,
    ) -> Option<&'static str> {
        let judged = match self.egress.check_url(url) {
            Err(denied) => Err(denied),
            // A name that does not resolve now may well do so when it is needed.
            Ok(_) => match tokio::time::timeout(RESOLVE_WAIT, self.egress.check_resolved(url)).await {
                Ok(Err(denied)) => Err(denied),
                Ok(Ok(_)) | Err(_) => Ok(()),
            },
        };
        let denied = judged.err()?;
        complaints.add(field, denied.to_string());
        Some(denied.code())
    }

    /// The same of the URL where tokens are fetched, where the engine fetches some; one that is missing was complained of.
    pub(super) async fn check_token_url(&self, auth: &Auth, complaints: &mut Complaints) -> Option<&'static str> {
        match auth {
            Auth::Oauth2(client) if !client.token_url.is_empty() => {
                self.check_url_of("auth.token_url", &client.token_url, complaints).await
            }
            _ => None,
        }
    }
}

/// Every rule that needs nothing but the endpoint itself.
pub(super) fn endpoint(endpoint: &Endpoint, complaints: &mut Complaints) {
    if endpoint.description.len() > DESCRIPTION_BYTES_MAX {
        complaints.add("description", format!("at most {DESCRIPTION_BYTES_MAX} bytes"));
    }
    if endpoint.description.chars().any(|c| c.is_control() && c != '\n') {
        complaints.add("description", "must not hold control characters");
    }
    complaints.take(check_auth(&endpoint.auth));
    // One that cannot be read is complained of elsewhere.
    let plain = || Url::parse(&endpoint.url).is_ok_and(|url| url.scheme() != "https");
    if matches!(endpoint.auth, Auth::Mtls(_)) && plain() {
        complaints.add("url", "must begin with https:// where auth is mtls: a client certificate is shown in TLS only");
    }
    complaints.take(check_config(endpoint.config.as_ref()));
    if !(1..=MAX_IN_FLIGHT_CEILING).contains(&endpoint.max_in_flight) {
        complaints.add("max_in_flight", format!("must be a whole number from 1 to {MAX_IN_FLIGHT_CEILING}"));
    }
    if !(Duration::from_millis(1)..=Duration::from_millis(TIMEOUT_MS_CEILING)).contains(&endpoint.timeout) {
        complaints.add("timeout_ms", format!("must be a whole number from 1 to {TIMEOUT_MS_CEILING}"));
    }
    if let Some(limit) = endpoint.rate_limit {
        limit.check("rate_limit", complaints);
    }
    if endpoint.headers.len() > HEADERS_MAX {
        complaints.add("headers", format!("at most {HEADERS_MAX} headers"));
    }
    complaints.take(check_headers(&endpoint.headers));
}

/// Whether the client certificate is still good, where there is one that can be read. Asked when it is given: one that ran out
/// since must not keep the rest of its endpoint from being changed. One that is good from tomorrow on is the caller's business.
pub(super) fn certificate(auth: &Auth, now: Timestamp, complaints: &mut Complaints) {
    if let Auth::Mtls(identity) = auth
        && let Ok(facts) = certificate_facts(&identity.certificate)
        && facts.not_after <= now
    {
        complaints.add("auth.certificate", format!("ran out at {}; give its successor", facts.not_after));
    }
}

/// Subscriptions without repeats: keys, `order.*` or `*`.
pub(super) fn event_types(subscriptions: Vec<String>, complaints: &mut Complaints) -> Vec<String> {
    if subscriptions.len() > EVENT_TYPES_MAX {
        complaints
            .add("event_types", format!("at most {EVENT_TYPES_MAX}; a pattern such as order.* takes many at once"));
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(subscriptions.len());
    for (n, subscription) in subscriptions.into_iter().enumerate() {
        let stem = match subscription.strip_suffix(".*") {
            _ if subscription == "*" => None,
            Some(stem) => Some(stem),
            None => Some(subscription.as_str()),
        };
        if let Some(stem) = stem {
            complaints.take(check_key(&format!("event_types[{n}]"), stem));
        }
        if seen.insert(subscription.clone()) {
            kept.push(subscription);
        }
    }
    kept
}

/// The schedule of tries; none: the default.
pub(super) fn retry(schedule_ms: Option<&[u64]>, complaints: &mut Complaints) -> RetryPolicy {
    let Some(schedule_ms) = schedule_ms else { return RetryPolicy::default() };
    let policy = RetryPolicy::new(schedule_ms).map_err(|message| Invalid::field("retry.schedule_ms", message));
    complaints.take(policy).unwrap_or_default()
}

/// A filter; none takes every event.
pub(super) fn filter(source: Option<Value>, complaints: &mut Complaints) -> Option<Filter> {
    complaints.take(source.map(Filter::read).transpose()).flatten()
}

/// Which plugin shapes an endpoint's requests decides which of the tenant's secrets are used for them, and how: one who is of
/// an integrator takes what the endpoint had, or what was chosen for that integrator, and takes off nothing that could not be
/// put back.
pub(super) fn plugin(
    principal: &Principal,
    had: Option<&PluginRef>,
    wanted: Option<&PluginRef>,
    inherited: Option<&PluginRef>,
    complaints: &mut Complaints,
) {
    if Scope::of(principal) == Scope::Tenant {
        return;
    }
    if wanted.is_some() && wanted != had && wanted != inherited {
        let message = "a token of one integrator does not choose it: leave it out, or ask the operator to set it on the \
                       endpoint or for the integrator";
        complaints.add("plugin", message);
    }
    if wanted.is_none() && had.is_some() && inherited.is_none() {
        let message = "a token of one integrator does not take it off, and could not put it back: leave it out, or ask the \
                       operator to take it off";
        complaints.add("plugin", message);
    }
}

/// Whose facts an endpoint hears that the caller sets up: one who is of an integrator hears that one's only.
pub(super) fn callbacks(
    principal: &Principal,
    wanted: Option<CallbackScope>,
    complaints: &mut Complaints,
) -> CallbackScope {
    match (Scope::of(principal), wanted) {
        (Scope::Tenant, wanted) => wanted.unwrap_or(CallbackScope::Tenant),
        (_, Some(CallbackScope::Tenant)) => {
            complaints.add("callbacks", "must be integrator: a token of one integrator hears of that one only");
            CallbackScope::Integrator
        }
        _ => CallbackScope::Integrator,
    }
}

/// A signing key that the caller brings along.
pub(super) fn signing_secret(secret: Secret, complaints: &mut Complaints) -> Secret {
    let checked = check_signing_secret(secret.expose()).map_err(|message| Invalid::field("signing.secret", message));
    complaints.take(checked);
    secret
}

/// All complaints, under the code of the URL's denial where there was one.
pub(super) fn finish(denied: Option<&'static str>, complaints: Complaints) -> Result<(), VerbError> {
    match (complaints.finish(()), denied) {
        (Ok(()), _) => Ok(()),
        (Err(invalid), Some(code)) => Err(VerbError::Refused { code, invalid }),
        (Err(invalid), None) => Err(invalid.into()),
    }
}

/// As [`finish`], where it is known that something is wrong.
pub(super) fn refusal(denied: Option<&'static str>, complaints: Complaints) -> VerbError {
    let nothing = || FieldError { field: "integrator".to_owned(), message: "there is no such integrator".to_owned() };
    finish(denied, complaints).err().unwrap_or_else(|| Invalid(vec![nothing()]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(subscriptions: &[&str]) -> Vec<String> {
        let mut complaints = Complaints::default();
        event_types(subscriptions.iter().map(|s| (*s).to_owned()).collect(), &mut complaints);
        complaints.finish(()).err().map_or_else(Vec::new, |invalid| invalid.0.into_iter().map(|e| e.field).collect())
    }

    #[test]
    fn subscriptions_are_keys_or_dotted_patterns() {
        assert!(blamed(&["order.created", "order.*", "*", "Boletim/ONS", "ação"]).is_empty());
        assert_eq!(
            blamed(&["a", "order*", "", ".*", "a b"]),
            ["event_types[1]", "event_types[2]", "event_types[3]", "event_types[4]"]
        );
    }

    #[test]
    fn repeats_are_kept_once_and_in_order() {
        let mut complaints = Complaints::default();
        let kept = event_types(vec!["b".into(), "a".into(), "b".into()], &mut complaints);
        assert_eq!(kept, ["b", "a"]);
    }

    #[test]
    fn a_denied_url_gives_the_refusal_its_code() {
        let mut complaints = Complaints::default();
        complaints.add("url", "no");
        let Err(VerbError::Refused { code, .. }) = finish(Some("egress_denied"), complaints) else {
            panic!("not refused")
        };
        assert_eq!(code, "egress_denied");
    }
}
