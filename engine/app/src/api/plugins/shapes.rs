//! What plugins look like in requests and answers.

use engate_model::{
    Timestamp,
    plugin::{CallSettings, Grants, Instances, Manifest, Need},
};
use engate_store::{PluginChannel, PluginVersion};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::credentials::CredentialProfile;
use crate::api::conditional::Shown;
use crate::verbs::plugins::{Granted, InstalledPlugin, PluginLimits, PushedPlugin};

/// A secret or credential that a plugin asks for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"name": "sintegre-link", "purpose": "signs download links"}))]
pub(super) struct PluginNeed {
    /// Its name.
    name: String,
    /// What for, in the plugin author's words.
    purpose: String,
}

/// What a plugin asks for; only a grant gives it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct PluginAsks {
    /// Hosts beside the endpoint's own.
    hosts: Vec<String>,
    /// Secrets.
    secrets: Vec<PluginNeed>,
    /// Credential profiles.
    credentials: Vec<PluginNeed>,
}

impl PluginAsks {
    fn of(manifest: Option<&Manifest>) -> Self {
        let Some(manifest) = manifest else { return Self::default() };
        let needs = |needs: &[Need]| {
            needs.iter().map(|n| PluginNeed { name: n.name.clone(), purpose: n.purpose.clone() }).collect()
        };
        Self {
            hosts: manifest.hosts.clone(),
            secrets: needs(&manifest.secrets),
            credentials: needs(&manifest.credentials),
        }
    }
}

/// One installed version of a plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginVersion)]
pub(super) struct PluginVersionView {
    /// The installed name.
    name: String,
    /// SemVer.
    version: String,
    /// sha256 of the component, hexadecimal.
    digest: String,
    /// `ready`; `compiling` where it will be in a moment; `failed` where it cannot run and another may be pushed in its place.
    state: &'static str,
    /// Why it cannot run, or why the channel that waited for it was not moved, where that is so.
    message: Option<String>,
    /// Whether it is a development version.
    development: bool,
    /// The channel that will mean it once it is compiled.
    pending_channel: Option<String>,
    /// Size of the component.
    size_bytes: u64,
    /// When it was installed.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// What it says of itself.
    #[schema(value_type = Option<Object>)]
    manifest: Option<Value>,
    /// What it asks for.
    asks: PluginAsks,
}

impl PluginVersionView {
    pub(super) fn of(version: PluginVersion) -> Self {
        Self {
            state: version.state.code(),
            asks: PluginAsks::of(version.manifest.as_ref()),
            manifest: version.manifest.and_then(|manifest| serde_json::to_value(manifest).ok()),
            name: version.name,
            version: version.version,
            digest: version.digest,
            message: version.message,
            size_bytes: version.size_bytes,
            created_at: version.created_at,
            development: version.development,
            pending_channel: version.pending_channel,
        }
    }
}

/// A component as it is installed now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginPushed)]
pub(super) struct PluginPushedView {
    /// The version.
    #[serde(flatten)]
    version: PluginVersionView,
    /// The channel that means it now, or will once it is compiled.
    channel: String,
}

impl PluginPushedView {
    pub(super) fn of(pushed: PushedPlugin) -> Self {
        Self { version: PluginVersionView::of(pushed.version), channel: pushed.channel }
    }
}

/// What a channel means.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginChannel, example = json!({
    "channel": "stable", "version": "1.2.0", "set_at": "2026-01-31T12:00:00.000000Z"
}))]
pub(super) struct ChannelView {
    /// Its name.
    channel: String,
    /// The version it means.
    version: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    set_at: Timestamp,
}

impl ChannelView {
    pub(super) fn of(channel: PluginChannel) -> Self {
        Self { channel: channel.channel, version: channel.version, set_at: channel.set_at }
    }
}

/// What a plugin is to be allowed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PluginGrantsNew, example = json!({"hosts": ["https://api.example.com"], "secrets": ["sintegre-link"], "reveal": []}))]
pub(super) struct GrantsBody {
    /// Origins beside the endpoint's own: `https://api.example.com`, or `https://*.example.com` for any host below.
    #[schema(max_items = 64, value_type = Option<Vec<crate::api::text::NameText>>)]
    hosts: Option<Vec<String>>,
    /// Secrets it may have an HMAC computed with.
    #[schema(max_items = 64, value_type = Option<Vec<crate::api::text::NameText>>)]
    secrets: Option<Vec<String>>,
    /// Secrets it may read whole; each such read is audited.
    #[schema(max_items = 64, value_type = Option<Vec<crate::api::text::NameText>>)]
    reveal: Option<Vec<String>>,
    /// Credential profiles that the engine applies where the plugin asks for one by name. The plugin sees none of it.
    #[schema(max_items = 16)]
    credentials: Option<Vec<CredentialProfile>>,
}

impl From<GrantsBody> for Grants {
    fn from(body: GrantsBody) -> Self {
        Self {
            hosts: body.hosts.unwrap_or_default(),
            secrets: body.secrets.unwrap_or_default(),
            reveal: body.reveal.unwrap_or_default(),
            credentials: body.credentials.into_iter().flatten().map(CredentialProfile::credential).collect(),
            reveal_since: None,
        }
    }
}

/// What a plugin may do, beside what it asks for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginGrants)]
pub(super) struct GrantsView {
    /// Origins beside the endpoint's own.
    hosts: Vec<String>,
    /// Secrets it may have an HMAC computed with.
    secrets: Vec<String>,
    /// Secrets it may read whole.
    reveal: Vec<String>,
    /// Credential profiles that the engine applies for it.
    credentials: Vec<CredentialProfile>,
    /// Granted secrets that are not there yet: set them with `PUT /v1/secrets/{name}`.
    secrets_missing: Vec<String>,
    /// Where endpoints and jobs have its requests sent, and `credentials` or `reveal` with them, though `hosts` lacks that: add
    /// these to `hosts`, or give those endpoints another plugin.
    addresses_not_granted: Vec<String>,
    /// What the current version asks for.
    asks: PluginAsks,
}

impl Shown for GrantsView {}

impl GrantsView {
    pub(super) fn of(granted: Granted) -> Self {
        let Grants { hosts, secrets, reveal, credentials, reveal_since: _ } = granted.grants;
        let credentials = credentials.into_iter().map(CredentialProfile::of).collect();
        let asks = PluginAsks::of(granted.manifest.as_ref());
        let Granted { secrets_missing, addresses_not_granted, .. } = granted;
        Self { hosts, secrets, reveal, credentials, secrets_missing, addresses_not_granted, asks }
    }
}

/// Whether a plugin's instances serve more than one call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum InstancesWord {
    /// A fresh instance for each call.
    Fresh,
    /// Kept for later calls of the same installation.
    Warm,
}

impl From<Instances> for InstancesWord {
    fn from(instances: Instances) -> Self {
        match instances {
            Instances::Fresh => Self::Fresh,
            Instances::Warm => Self::Warm,
        }
    }
}

/// What a plugin's calls are to cost at most; what is left out follows the engine's settings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PluginLimitsNew, example = json!({"instances": "warm", "cpu_ms": 100, "memory_mib": 128}))]
pub(super) struct LimitsBody {
    /// `fresh`: nothing survives a call. `warm`: faster, above all for guests that carry a language's runtime, which are
    /// kept warm unless this says otherwise.
    instances: Option<InstancesWord>,
    /// Processor time of one call, in ms.
    #[schema(minimum = 1, maximum = 60000)]
    cpu_ms: Option<u64>,
    /// Wall time of one call, in ms.
    #[schema(minimum = 1, maximum = 60000)]
    wall_ms: Option<u64>,
    /// Linear memory of one instance, in MiB.
    #[schema(minimum = 1, maximum = 4096)]
    memory_mib: Option<u64>,
}

impl From<LimitsBody> for CallSettings {
    fn from(body: LimitsBody) -> Self {
        let instances = body.instances.map(|word| match word {
            InstancesWord::Fresh => Instances::Fresh,
            InstancesWord::Warm => Instances::Warm,
        });
        Self { instances, cpu_ms: body.cpu_ms, wall_ms: body.wall_ms, memory_mib: body.memory_mib }
    }
}

/// What a plugin's calls may cost: what was set, and what applies to its current version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginLimits)]
pub(super) struct LimitsView {
    /// As set.
    instances: Option<InstancesWord>,
    /// As set.
    cpu_ms: Option<u64>,
    /// As set.
    wall_ms: Option<u64>,
    /// As set.
    memory_mib: Option<u64>,
    /// What applies.
    applies: LimitsApplied,
}

/// What applies to a plugin's calls.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsApplied {
    /// Whether instances are kept.
    instances: InstancesWord,
    /// Processor time of one call, in ms.
    cpu_ms: u64,
    /// Wall time of one call, in ms.
    wall_ms: u64,
    /// Linear memory of one instance, in MiB.
    memory_mib: u64,
}

impl Shown for LimitsView {}

impl LimitsView {
    pub(super) fn of(limits: PluginLimits) -> Self {
        let ms = |limit: std::time::Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let CallSettings { instances, cpu_ms, wall_ms, memory_mib } = limits.set;
        let applies = LimitsApplied {
            instances: limits.instances.into(),
            cpu_ms: ms(limits.limits.cpu),
            wall_ms: ms(limits.limits.wall),
            memory_mib: u64::try_from(limits.limits.memory_bytes >> 20).unwrap_or(u64::MAX),
        };
        Self { instances: instances.map(Into::into), cpu_ms, wall_ms, memory_mib, applies }
    }
}

/// An installed plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
pub(super) struct PluginView {
    /// The version that the channel `stable` means, else the newest.
    #[serde(flatten)]
    current: PluginVersionView,
    /// Every version, the newest first.
    versions: Vec<PluginVersionView>,
    /// What the channels mean.
    channels: Vec<ChannelView>,
    /// What it may do.
    grants: GrantsView,
    /// The configuration of its installation.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
}

impl PluginView {
    pub(super) fn of(plugin: InstalledPlugin) -> Self {
        let granted = Granted {
            grants: plugin.settings.grants,
            manifest: plugin.current.manifest.clone(),
            secrets_missing: plugin.secrets_missing,
            addresses_not_granted: plugin.addresses_not_granted,
        };
        Self {
            current: PluginVersionView::of(plugin.current),
            versions: plugin.versions.into_iter().map(PluginVersionView::of).collect(),
            channels: plugin.channels.into_iter().map(ChannelView::of).collect(),
            grants: GrantsView::of(granted),
            config: plugin.settings.config,
        }
    }
}
