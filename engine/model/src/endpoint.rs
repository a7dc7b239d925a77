//! Endpoints: where events go, how the engine shows who it is, and what is allowed at once.

use std::time::Duration;

use serde_json::Value;

use crate::{
    callback::CallbackScope,
    filter::Filter,
    id::{EndpointId, IntegratorId, TenantId},
    lanes::LaneRules,
    line::Ordering,
    plugin::PluginRef,
    rate::RateLimit,
    retry::RetryPolicy,
    secret::Secret,
    time::Timestamp,
};

/// Requests that one endpoint has under way at most, unless it says otherwise.
pub const MAX_IN_FLIGHT_DEFAULT: u32 = 16;
/// Largest `max_in_flight` an endpoint may ask for.
pub const MAX_IN_FLIGHT_CEILING: u32 = 1_024;
/// One deadline for connect, TLS, headers, body and decompression, unless the endpoint says otherwise.
pub const TIMEOUT_MS_DEFAULT: u64 = 15_000;
/// Longest deadline an endpoint may ask for.
pub const TIMEOUT_MS_CEILING: u64 = 120_000;

/// A registered URL of an integrator.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose endpoint.
    pub tenant: TenantId,
    /// The partner it belongs to.
    pub integrator: IntegratorId,
    /// What people call it.
    pub description: String,
    /// Absolute http or https URL.
    pub url: String,
    /// How the engine shows who it is.
    pub auth: Auth,
    /// The plugin that shapes its requests; none: the integrator's, else the built-in behaviour.
    pub plugin: Option<PluginRef>,
    /// Settings for the plugin, over the integrator's and the installation's.
    pub config: Option<Value>,
    /// Keys it subscribes to; `order.*` takes every key below `order.`, `*` takes all.
    pub event_types: Vec<String>,
    /// Whether deliveries go out.
    pub enabled: bool,
    /// Why the engine itself disabled it (`gone`), where it did.
    pub disabled_reason: Option<String>,
    /// In which order deliveries go.
    pub ordering: Ordering,
    /// Requests under way at once at most.
    pub max_in_flight: u32,
    /// One deadline for the whole exchange.
    pub timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Headers set on every request to its own origin, after the plugin's.
    pub headers: Vec<(String, String)>,
    /// Whether, and with which keys, requests are signed.
    pub signing: Signing,
    /// Requests that each node begins in a second at most; none: as many as go.
    pub rate_limit: Option<RateLimit>,
    /// Which events of its types it wants; none: all.
    pub filter: Option<Filter>,
    /// Since when its queue is paused, where it is.
    pub paused_at: Option<Timestamp>,
    /// When it last answered a challenge under its present URL and authentication.
    pub verified_at: Option<Timestamp>,
    /// Whose facts it hears where it subscribes to the engine's own.
    pub callbacks: CallbackScope,
    /// Counts its edits; an attempt records the one it ran under.
    pub revision: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Endpoint {
    /// What it allows its lane.
    pub const fn lane_rules(&self) -> LaneRules {
        LaneRules { in_flight_max: self.max_in_flight, rate: self.rate_limit }
    }

    /// Whether it is known to be who it should be: the engine shows credentials that the partner gave it, or it
    /// answered a challenge.
    pub fn is_verified(&self) -> bool {
        self.auth != Auth::None || self.verified_at.is_some()
    }
}

/// How the engine authenticates itself to an endpoint. Exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// No header at all.
    #[default]
    None,
    /// `Authorization: Basic base64(utf8(username:password))`.
    Basic {
        /// User name, without a colon.
        username: String,
        /// Password, any text.
        password: Secret,
    },
    /// `Authorization` with exactly this value, no scheme added.
    Authorization {
        /// The whole header value.
        value: Secret,
    },
    /// A header of any other name.
    Header {
        /// Header name.
        name: String,
        /// Header value.
        value: Secret,
    },
    /// `Authorization: Bearer` with a token that the engine gets by OAuth 2 client credentials, and keeps.
    Oauth2(Oauth2),
    /// A client certificate, shown in the TLS handshake.
    Mtls(ClientIdentity),
    /// Several headers, as a credential profile of a plugin has them.
    Headers {
        /// Name and value.
        headers: Vec<(String, Secret)>,
    },
}

/// A client of an OAuth 2 server (RFC 6749, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oauth2 {
    /// Where tokens are given out; judged by the address guard as any other URL.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// What shows that it is so.
    pub client_secret: Secret,
    /// What is asked for; none: what the server thinks fit.
    pub scope: Option<String>,
}

/// Who the engine is to a partner that asks for a client certificate (RFC 8446, section 4.4.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientIdentity {
    /// PEM: the engine's certificate, then what leads to its authority.
    pub certificate: String,
    /// PEM: the one private key of the first certificate.
    pub key: Secret,
}

impl Auth {
    /// The `type` that API and store write.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic { .. } => "basic",
            Self::Authorization { .. } => "authorization",
            Self::Header { .. } => "header",
            Self::Oauth2(_) => "oauth2",
            Self::Mtls(_) => "mtls",
            Self::Headers { .. } => "headers",
        }
    }
}

/// Standard Webhooks signing of an endpoint's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Whether the headers are sent.
    pub enabled: bool,
    /// The present key, `whsec_` and base64 of 24 to 64 bytes.
    pub secret: Secret,
    /// The key before the last rotation and until when it signs beside the present one.
    pub previous: Option<(Secret, Timestamp)>,
}

impl Signing {
    /// The keys that sign at `now`, the present one first.
    pub fn keys_at(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(key, _)| key);
        std::iter::once(&self.secret).chain(previous)
    }
}

/// Whether a subscription (`order.created`, `order.*`, `*`) takes an event type's key.
pub fn subscribes(subscription: &str, key: &str) -> bool {
    if subscription == "*" {
        return true;
    }
    match subscription.strip_suffix('*') {
        Some(stem) if stem.ends_with('.') => key.len() > stem.len() && key.starts_with(stem),
        _ => subscription == key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_match_whole_keys_or_a_dotted_stem() {
        assert!(subscribes("order.created", "order.created"));
        assert!(subscribes("order.*", "order.created"));
        assert!(subscribes("*", "anything"));
        assert!(!subscribes("order.*", "order."));
        assert!(!subscribes("order.*", "orders.created"));
        assert!(!subscribes("order*", "order.created"));
    }

    #[test]
    fn a_rotated_key_signs_beside_the_new_one_until_its_time_is_over() {
        let until = Timestamp::from_millis(100);
        let signing =
            Signing { enabled: true, secret: Secret::new("new"), previous: Some((Secret::new("old"), until)) };
        let keys = |now| signing.keys_at(now).map(Secret::expose).collect::<Vec<_>>();
        assert_eq!(keys(Timestamp::from_millis(99)), ["new", "old"]);
        assert_eq!(keys(until), ["new"]);
    }
}
