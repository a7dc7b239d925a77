//! What endpoints look like in requests and answers.

use std::collections::BTreeMap;

use engate_model::{
    EndpointId, IntegratorId, Secret, Timestamp,
    callback::CallbackScope,
    endpoint::{Endpoint, MAX_IN_FLIGHT_DEFAULT, Signing, TIMEOUT_MS_DEFAULT},
    line,
    plugin::PluginRef,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::{EndpointAuth, EndpointAuthNew};
use crate::{
    api::{
        conditional::Shown,
        rate::CallRate,
        text::{NameText, ValueText, WaitMs},
    },
    verbs::{
        VerbError,
        endpoints::{EndpointChange, EndpointNew, Registered, Verification},
    },
};

/// In which order an endpoint's deliveries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ordering {
    /// As they come, several at once.
    Parallel,
    /// Per subject one after the other: the next waits until the one before has finished, its retries included.
    Fifo,
    /// Per event type and subject the newest only: it supersedes what waits, and nothing older is sent after it.
    Latest,
}

/// Whose facts an endpoint hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CallbackScope)]
pub(super) enum CallbackScopeName {
    /// Its own integrator's.
    Integrator,
    /// The whole tenant's.
    Tenant,
}

impl From<CallbackScopeName> for CallbackScope {
    fn from(name: CallbackScopeName) -> Self {
        match name {
            CallbackScopeName::Integrator => Self::Integrator,
            CallbackScopeName::Tenant => Self::Tenant,
        }
    }
}

impl From<CallbackScope> for CallbackScopeName {
    fn from(scope: CallbackScope) -> Self {
        match scope {
            CallbackScope::Integrator => Self::Integrator,
            CallbackScope::Tenant => Self::Tenant,
        }
    }
}

impl Ordering {
    const fn of(ordering: line::Ordering) -> Self {
        match ordering {
            line::Ordering::Parallel => Self::Parallel,
            line::Ordering::Fifo => Self::Fifo,
            line::Ordering::Latest => Self::Latest,
        }
    }

    const fn ordering(self) -> line::Ordering {
        match self {
            Self::Parallel => line::Ordering::Parallel,
            Self::Fifo => line::Ordering::Fifo,
            Self::Latest => line::Ordering::Latest,
        }
    }
}

/// When to try again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"schedule_ms": [0, 5000, 300_000]}))]
pub(super) struct RetrySchedule {
    /// The wait before each try in milliseconds, the first try's (usually 0) included.
    #[schema(min_items = 1, max_items = 50, value_type = Vec<WaitMs>)]
    schedule_ms: Vec<u64>,
}

/// Standard Webhooks signing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": true}))]
pub(super) struct EndpointSigningNew {
    /// Whether requests carry `webhook-signature`; true where it is left out.
    enabled: Option<bool>,
    /// A key of your own: `whsec_` and base64 of 24 to 64 bytes. In a change it takes the place of the present
    /// one, which still signs beside it for 24 hours.
    #[schema(max_length = 255, write_only)]
    secret: Option<String>,
}

/// Standard Webhooks signing; keys are only said to be there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"enabled": true, "secret_set": true, "previous_until": null}))]
pub(super) struct EndpointSigning {
    /// Whether requests carry `webhook-signature`.
    enabled: bool,
    /// Always true: every endpoint has a key.
    secret_set: bool,
    /// Until when the key before the last rotation signs too.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_until: Option<Timestamp>,
}

/// An endpoint to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "url": "https://partner.example/hook", "integrator": "ons", "description": "Boletins",
    "auth": {"type": "authorization", "value": "ninguemsabe"}, "event_types": ["boletim.diario", "order.*"],
    "rate_limit": {"per_second": 20, "burst": 40}, "filter": {"path": "/region", "eq": "SE"}
}))]
pub(super) struct EndpointNewBody {
    /// Absolute http:// or https:// URL.
    #[schema(min_length = 1, max_length = 2048)]
    url: String,
    /// Slug or id of its integrator; a token of the role `integrator` may leave it out.
    #[schema(min_length = 1, max_length = 64)]
    integrator: Option<String>,
    /// What people call it.
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// How the engine shows who it is; none where it is left out.
    auth: Option<EndpointAuthNew>,
    /// The plugin that shapes its requests: `name`, `name@1.2.0` or `name@channel`; left out: the integrator's, else
    /// the engine's own behaviour. A token of one integrator names no other than the integrator's.
    #[schema(max_length = 128)]
    plugin: Option<String>,
    /// Settings for the plugin, over those of integrator and installation.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Keys it subscribes to; `order.*` takes every key below `order.`, `*` takes all but the
    /// engine's own (`delivery.failed`), which are named or taken by prefix. Keys that the catalogue lacks
    /// are entered; a token of one integrator may name those that are there.
    #[schema(max_items = 1000, value_type = Option<Vec<NameText>>)]
    event_types: Option<Vec<String>>,
    /// Whether deliveries go out; true where it is left out.
    enabled: Option<bool>,
    /// In which order deliveries go; `parallel` where it is left out.
    ordering: Option<Ordering>,
    /// Requests under way at once; 16 where it is left out.
    #[schema(minimum = 1, maximum = 1024)]
    max_in_flight: Option<u32>,
    /// One deadline for connect, TLS, headers and body in milliseconds; 15,000 where it is left out.
    #[schema(minimum = 1, maximum = 120_000)]
    timeout_ms: Option<u64>,
    /// When to try again; left out: ten tries over three and a half days.
    retry: Option<RetrySchedule>,
    /// Headers set on every request to the origin of `url`, name and value; they win over the plugin's.
    #[schema(value_type = Option<BTreeMap<String, ValueText>>)]
    headers: Option<BTreeMap<String, String>>,
    /// Signing.
    signing: Option<EndpointSigningNew>,
    /// Requests that each node begins at most; left out: as many as go.
    rate_limit: Option<CallRate>,
    /// Which events of its types it wants, as clauses such as `{"path": "/amount", "gte": 100}` or
    /// `{"label": "region", "in": ["br"]}` below `all`, `any` and `not`; left out: all. See docs/delivery-controls.md.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Whose facts it hears where it subscribes to the engine's own (`delivery.failed`): its `integrator`'s or the whole
    /// `tenant`'s; left out: as far as the caller sees.
    callbacks: Option<CallbackScopeName>,
}

/// What to change of an endpoint; what is left out stays, null takes away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://partner.example/new-hook", "enabled": true}))]
pub(super) struct EndpointChangeBody {
    /// Absolute http:// or https:// URL. With another scheme, host or port the secrets of `auth` and `headers` are given again,
    /// unless the caller may set secrets.
    #[schema(min_length = 1, max_length = 2048)]
    url: Option<String>,
    /// Cannot change: its own integrator, at most.
    #[schema(min_length = 1, max_length = 64)]
    integrator: Option<String>,
    /// What people call it.
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// How the engine shows who it is.
    auth: Option<EndpointAuthNew>,
    /// The plugin that shapes its requests. A token of one integrator does not choose it.
    #[serde(default, deserialize_with = "crate::api::extract::present")]
    #[schema(value_type = Option<String>, max_length = 128)]
    plugin: Option<Option<String>>,
    /// Settings for the plugin, all of them.
    #[serde(default, deserialize_with = "crate::api::extract::present")]
    #[schema(value_type = Option<Object>)]
    config: Option<Option<Value>>,
    /// Keys and patterns it subscribes to, all of them.
    #[schema(max_items = 1000, value_type = Option<Vec<NameText>>)]
    event_types: Option<Vec<String>>,
    /// Whether deliveries go out; true also takes back what the engine disabled.
    enabled: Option<bool>,
    /// In which order deliveries go.
    ordering: Option<Ordering>,
    /// Requests under way at once.
    #[schema(minimum = 1, maximum = 1024)]
    max_in_flight: Option<u32>,
    /// One deadline for the whole exchange, in milliseconds.
    #[schema(minimum = 1, maximum = 120_000)]
    timeout_ms: Option<u64>,
    /// When to try again; null: the default.
    #[serde(default, deserialize_with = "crate::api::extract::present")]
    #[schema(value_type = Option<RetrySchedule>)]
    retry: Option<Option<RetrySchedule>>,
    /// Headers set on every request, all of them.
    #[schema(value_type = Option<BTreeMap<String, ValueText>>)]
    headers: Option<BTreeMap<String, String>>,
    /// Signing.
    signing: Option<EndpointSigningNew>,
    /// Requests that each node begins at most; null: as many as go.
    #[serde(default, deserialize_with = "crate::api::extract::present")]
    #[schema(value_type = Option<CallRate>)]
    rate_limit: Option<Option<CallRate>>,
    /// Which events of its types it wants, all of the filter; null: all events.
    #[serde(default, deserialize_with = "crate::api::extract::present")]
    #[schema(value_type = Option<Object>)]
    filter: Option<Option<Value>>,
    /// Whose facts it hears. A change by a token of one integrator sets it to `integrator`.
    callbacks: Option<CallbackScopeName>,
}

/// A registered URL of an integrator.
#[derive(Serialize, ToSchema)]
#[schema(as = Endpoint, example = json!({
    "id": "ep_0192f0c1a2b37c4d8e5f60718293a4b5", "integrator": "ons",
    "integrator_id": "int_0192f0c1a2b37c4d8e5f60718293a4b5", "description": "Boletins",
    "url": "https://partner.example/hook", "auth": {"type": "authorization", "secret_set": true}, "plugin": "sintegre",
    "config": {"names": "camel"}, "event_types": ["boletim.diario"], "enabled": true, "disabled_reason": null,
    "ordering": "parallel", "max_in_flight": 16, "timeout_ms": 15000, "retry": {"schedule_ms": [0, 5000]}, "headers": {},
    "signing": {"enabled": true, "secret_set": true, "previous_until": null}, "rate_limit": null,
    "filter": {"path": "/region", "eq": "SE"}, "paused_at": null, "verified": true, "verified_at": null,
    "callbacks": "tenant", "revision": 1,
    "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"
}))]
pub(super) struct EndpointView {
    /// Its id.
    #[schema(value_type = String)]
    id: EndpointId,
    /// Slug of its integrator.
    integrator: String,
    /// Id of its integrator.
    #[schema(value_type = String)]
    integrator_id: IntegratorId,
    /// What people call it.
    description: String,
    /// Where requests go.
    url: String,
    /// How the engine shows who it is.
    auth: EndpointAuth,
    /// The plugin that shapes its requests; null: the integrator's, else the engine's own behaviour.
    #[schema(value_type = Option<String>)]
    plugin: Option<PluginRef>,
    /// Settings for the plugin.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Keys and patterns it subscribes to.
    event_types: Vec<String>,
    /// Whether deliveries go out.
    enabled: bool,
    /// Why the engine itself disabled it (`gone`), where it did.
    disabled_reason: Option<String>,
    /// In which order deliveries go.
    ordering: Ordering,
    /// Requests under way at once.
    max_in_flight: u32,
    /// One deadline for the whole exchange, in milliseconds.
    timeout_ms: u64,
    /// When to try again.
    retry: RetrySchedule,
    /// Headers set on every request.
    headers: BTreeMap<String, String>,
    /// Signing.
    signing: EndpointSigning,
    /// Requests that each node begins at most; null: as many as go.
    rate_limit: Option<CallRate>,
    /// Which events of its types it wants; null: all.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Since when its queue is paused, where it is.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// Whether it may hear of the engine's own facts: it has authentication set, or passed a challenge.
    verified: bool,
    /// When it last passed a challenge under its present URL and authentication.
    #[schema(value_type = Option<String>, format = DateTime)]
    verified_at: Option<Timestamp>,
    /// Whose facts it hears.
    callbacks: CallbackScopeName,
    /// Counts its edits; an attempt records the one it ran under.
    revision: u64,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The signing key, in the answer to a registration or rotation only; nobody can ask for it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    signing_secret: Option<String>,
}

impl EndpointNewBody {
    pub(super) fn into_new(self) -> Result<EndpointNew, VerbError> {
        let (signing_enabled, signing_secret) = self.signing.map_or((None, None), |s| (s.enabled, s.secret));
        Ok(EndpointNew {
            integrator: self.integrator,
            description: self.description.unwrap_or_default(),
            url: self.url,
            auth: self.auth.map(EndpointAuthNew::fields).unwrap_or_default(),
            plugin: self.plugin,
            config: self.config,
            event_types: self.event_types.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            ordering: self.ordering.map(Ordering::ordering).unwrap_or_default(),
            max_in_flight: self.max_in_flight.unwrap_or(MAX_IN_FLIGHT_DEFAULT),
            timeout_ms: self.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
            retry_schedule_ms: self.retry.map(|retry| retry.schedule_ms),
            headers: self.headers.unwrap_or_default().into_iter().collect(),
            signing_enabled: signing_enabled.unwrap_or(true),
            signing_secret: signing_secret.map(Secret::from),
            rate_limit: self.rate_limit.map(Into::into),
            filter: self.filter,
            callbacks: self.callbacks.map(Into::into),
        })
    }
}

impl EndpointChangeBody {
    pub(super) fn into_change(self) -> Result<EndpointChange, VerbError> {
        let (signing_enabled, signing_secret) = self.signing.map_or((None, None), |s| (s.enabled, s.secret));
        Ok(EndpointChange {
            integrator: self.integrator,
            description: self.description,
            url: self.url,
            auth: self.auth.map(EndpointAuthNew::fields),
            plugin: self.plugin,
            config: self.config,
            event_types: self.event_types,
            enabled: self.enabled,
            ordering: self.ordering.map(Ordering::ordering),
            max_in_flight: self.max_in_flight,
            timeout_ms: self.timeout_ms,
            retry_schedule_ms: self.retry.map(|retry| retry.map(|retry| retry.schedule_ms)),
            headers: self.headers.map(|headers| headers.into_iter().collect()),
            signing_enabled,
            signing_secret: signing_secret.map(Secret::from),
            rate_limit: self.rate_limit.map(|limit| limit.map(Into::into)),
            filter: self.filter,
            callbacks: self.callbacks.map(Into::into),
        })
    }
}

impl Shown for EndpointView {
    fn content(&self) -> Value {
        let mut content = serde_json::to_value(self).unwrap_or_default();
        // The one answer that tells the key stands for the same endpoint as the others.
        content.as_object_mut().map(|fields| fields.remove("signing_secret"));
        content
    }
}

impl EndpointView {
    /// Without the signing key.
    pub(super) fn of(registered: Registered) -> Self {
        let endpoint: Endpoint = registered.endpoint;
        let verified = endpoint.is_verified();
        let Signing { enabled, previous, .. } = endpoint.signing;
        Self {
            id: endpoint.id,
            integrator: registered.integrator,
            integrator_id: endpoint.integrator,
            description: endpoint.description,
            url: endpoint.url,
            auth: EndpointAuth::of(endpoint.auth),
            plugin: endpoint.plugin,
            config: endpoint.config,
            event_types: endpoint.event_types,
            enabled: endpoint.enabled,
            disabled_reason: endpoint.disabled_reason,
            ordering: Ordering::of(endpoint.ordering),
            max_in_flight: endpoint.max_in_flight,
            timeout_ms: u64::try_from(endpoint.timeout.as_millis()).unwrap_or(u64::MAX),
            retry: RetrySchedule { schedule_ms: endpoint.retry.schedule_ms() },
            headers: endpoint.headers.into_iter().collect(),
            signing: EndpointSigning { enabled, secret_set: true, previous_until: previous.map(|(_, until)| until) },
            rate_limit: endpoint.rate_limit.map(Into::into),
            filter: endpoint.filter.map(|filter| filter.source().clone()),
            paused_at: endpoint.paused_at,
            verified,
            verified_at: endpoint.verified_at,
            callbacks: endpoint.callbacks.into(),
            revision: endpoint.revision,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            signing_secret: None,
        }
    }

    /// With the signing key, for the one answer that tells it.
    pub(super) fn with_secret(registered: Registered) -> Self {
        let signing_secret = Some(registered.endpoint.signing.secret.expose().to_owned());
        Self { signing_secret, ..Self::of(registered) }
    }
}

/// How a challenge ended.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "verified": false, "verified_at": null, "code": "challenge_mismatch", "status": 200,
    "message": "the answer does not hold the challenge's value; answer {\"challenge\": \"...\"} or the value alone"
}))]
pub(super) struct EndpointVerification {
    /// Whether it passed.
    verified: bool,
    /// When it last passed a challenge.
    #[schema(value_type = Option<String>, format = DateTime)]
    verified_at: Option<Timestamp>,
    /// Stable code of what went wrong: `status_refused`, `challenge_mismatch`, or as in deliveries (`connect_refused`).
    code: Option<String>,
    /// For people.
    message: Option<String>,
    /// Status of the answer; null where none came.
    status: Option<u16>,
}

impl EndpointVerification {
    pub(super) fn of(verification: Verification) -> Self {
        let Verification { registered, passed, code, message, status } = verification;
        Self { verified: passed, verified_at: registered.endpoint.verified_at, code, message, status }
    }
}
