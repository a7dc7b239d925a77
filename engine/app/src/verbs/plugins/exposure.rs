//! What a plugin's grants show to whoever says where its requests go and which code makes them. A credential profile is
//! applied on the way to an endpoint, and a secret that is read whole may be put into any request; whoever may not manage
//! secrets would get both by an address of their own, or by a version of their own. So they name an address for such a plugin
//! only where it was granted, and have no version run that those who granted never let run.

use engate_host::host_granted;
use engate_model::{
    EndpointId, TenantId,
    endpoint::Endpoint,
    integrator::Integrator,
    job::Work,
    plugin::{CHANNEL_DEFAULT, Grants, Pin, PluginRef},
    sync::{SyncSink, SyncSource},
    token::Principal,
};
use engate_store::{EndpointFilter, StoreError};

use crate::{
    engine::Engine,
    own_origin::is_elsewhere,
    verbs::VerbError,
};

impl Engine {
    /// Refuses to have a plugin that reads secrets whole run in another version than that of the channel `stable`, which
    /// moves as [`Engine::require_oversight`] says.
    ///
    /// # Errors
    /// Names `field`.
    pub(in crate::verbs) async fn check_version_named(
        &self,
        principal: &Principal,
        plugin: &PluginRef,
        field: &str,
    ) -> Result<(), VerbError> {
        let stable = matches!(&plugin.pin, Pin::Channel(channel) if channel == CHANNEL_DEFAULT);
        if principal.manages_secrets || stable {
            return Ok(());
        }
        let name = &plugin.name;
        if self.store.plugin_settings_get(principal.tenant, name).await?.grants.reveal.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{name} may read secrets whole, so that which of its versions runs is for those who may manage secrets: name it \
             without a version or channel, or have one of them make this change"
        );
        Err(VerbError::field(field, message))
    }

    /// Refuses to have a plugin's requests go to `urls` where they may carry what the caller may not see and the host was
    /// not granted to the plugin.
    ///
    /// # Errors
    /// Names `field`.
    pub(in crate::verbs) async fn check_addresses(
        &self,
        principal: &Principal,
        plugin: &PluginRef,
        urls: &[&str],
        field: &str,
    ) -> Result<(), VerbError> {
        if principal.manages_secrets || urls.is_empty() {
            return Ok(());
        }
        let grants = self.store.plugin_settings_get(principal.tenant, &plugin.name).await?.grants;
        // No URL of an endpoint's own: what matters is whether this one was granted.
        let granted = |url: &&str| host_granted(url, "", &grants.hosts).is_ok();
        if !carries_secrets(&grants) || urls.iter().all(granted) {
            return Ok(());
        }
        let message = format!(
            "{} may send secrets along (its grants have credentials or reveal), and this address is not among its granted \
             hosts: have somebody who may manage secrets grant the host to the plugin, or make this change",
            plugin.name
        );
        Err(VerbError::field(field, message))
    }

    /// Checks the plugin of an endpoint against what it was, none where it is new.
    pub(in crate::verbs) async fn check_plugin_of_endpoint(
        &self,
        principal: &Principal,
        integrator: &Integrator,
        before: Option<&Endpoint>,
        after: &Endpoint,
    ) -> Result<(), VerbError> {
        let own = after.plugin.as_ref();
        if let Some(plugin) = own.filter(|_| before.is_none_or(|before| before.plugin != after.plugin)) {
            self.check_version_named(principal, plugin, "plugin").await?;
        }
        let inherited = integrator.plugin.as_ref();
        let moved = before.is_none_or(|before| is_elsewhere(&before.url, &after.url));
        let may_be_lent = before.is_some();
        let before = before.and_then(|before| before.plugin.as_ref().or(inherited));
        if let Some(plugin) = own.or(inherited).filter(|plugin| moved || before != Some(*plugin)) {
            let field = if moved { "url" } else { "plugin" };
            self.check_addresses(principal, plugin, &[after.url.as_str()], field).await?;
        }
        if moved && may_be_lent { self.check_addresses_of_jobs(principal, after).await } else { Ok(()) }
    }

    /// Checks another plugin of an integrator, and what it may have sent to those of its endpoints that name none.
    pub(in crate::verbs) async fn check_plugin_of_integrator(
        &self,
        principal: &Principal,
        before: Option<&PluginRef>,
        integrator: &Integrator,
    ) -> Result<(), VerbError> {
        let Some(plugin) = integrator.plugin.as_ref().filter(|plugin| Some(*plugin) != before) else { return Ok(()) };
        self.check_version_named(principal, plugin, "plugin").await?;
        let of_it = EndpointFilter { integrator: Some(integrator.id) };
        let endpoints = self.store.endpoint_list(principal.tenant, &of_it).await?;
        let inherit = endpoints.iter().filter(|endpoint| endpoint.plugin.is_none());
        let urls: Vec<_> = inherit.map(|endpoint| endpoint.url.as_str()).collect();
        self.check_addresses(principal, plugin, &urls, "plugin").await
    }

    /// Checks what a job would have plugins send, and where to.
    pub(in crate::verbs) async fn check_plugins_of_job(
        &self,
        principal: &Principal,
        work: &Work,
    ) -> Result<(), VerbError> {
        for (field, plugin, lent) in plugins_of(work) {
            self.check_version_named(principal, plugin, field).await?;
            if let Some(id) = lent
                && let Some(endpoint) = self.store.endpoint_get(principal.tenant, id).await?
            {
                self.check_addresses(principal, plugin, &[endpoint.url.as_str()], field).await?;
            }
        }
        Ok(())
    }

    /// Checks another address of an endpoint for the plugins of the jobs to which it is lent.
    async fn check_addresses_of_jobs(&self, principal: &Principal, endpoint: &Endpoint) -> Result<(), VerbError> {
        if principal.manages_secrets {
            return Ok(());
        }
        for job in self.store.job_list(principal.tenant).await? {
            for (_, plugin, lent) in plugins_of(&job.settings.work) {
                if lent == Some(endpoint.id) {
                    self.check_addresses(principal, plugin, &[endpoint.url.as_str()], "url").await?;
                }
            }
        }
        Ok(())
    }

    /// Refuses to let a channel mean a version of a plugin that reads secrets whole, by whoever may not manage secrets: its
    /// code could put them where the caller sees them. Free are a channel that nothing uses, and a version (none: a
    /// new one) that the channel meant before.
    pub(super) async fn require_oversight(
        &self,
        principal: &Principal,
        name: &str,
        channel: &str,
        version: Option<&str>,
    ) -> Result<(), VerbError> {
        let tenant = principal.tenant;
        if principal.manages_secrets || self.store.plugin_settings_get(tenant, name).await?.grants.reveal.is_empty() {
            return Ok(());
        }
        if let Some(version) = version {
            let history = self.store.plugin_channel_history(tenant, name, channel).await?;
            if history.iter().any(|meant| meant.version == version) {
                return Ok(());
            }
        }
        // What is not named by anybody now is what a name alone means, and may be by the next call.
        if channel != CHANNEL_DEFAULT && !self.channel_is_used(tenant, name, channel).await? {
            return Ok(());
        }
        Err(VerbError::Forbidden(format!(
            "{name} may read secrets whole (its grants have reveal), so that a version new to the channel {channel} is let run \
             by those who may manage secrets: push it to a channel that nothing uses (next), and have one of them promote it"
        )))
    }

    /// Whether anything is bound to a channel of a plugin.
    async fn channel_is_used(&self, tenant: TenantId, name: &str, channel: &str) -> Result<bool, StoreError> {
        let reference = PluginRef { name: name.to_owned(), pin: Pin::Channel(channel.to_owned()) };
        let is_it = |plugin: Option<&PluginRef>| plugin == Some(&reference);
        let endpoints = self.store.endpoint_list(tenant, &EndpointFilter::default()).await?;
        if endpoints.iter().any(|endpoint| is_it(endpoint.plugin.as_ref())) {
            return Ok(true);
        }
        let integrators = self.store.integrator_list(tenant).await?;
        if integrators.iter().any(|integrator| is_it(integrator.plugin.as_ref())) {
            return Ok(true);
        }
        if self.store.inbound_list(tenant).await?.iter().any(|inbound| inbound.plugin == reference) {
            return Ok(true);
        }
        let jobs = self.store.job_list(tenant).await?;
        let of_jobs = |work| plugins_of(work).into_iter().any(|(_, plugin, _)| *plugin == reference);
        Ok(jobs.iter().any(|job| of_jobs(&job.settings.work)))
    }
}

/// Whether requests may carry a secret that is not the endpoint's own. An HMAC tells nothing of its key.
const fn carries_secrets(grants: &Grants) -> bool {
    !grants.credentials.is_empty() || !grants.reveal.is_empty()
}

/// The plugins of a job by the field that names them, each with the endpoint whose address it may send to.
fn plugins_of(work: &Work) -> Vec<(&'static str, &PluginRef, Option<EndpointId>)> {
    let mut plugins = Vec::new();
    match work {
        Work::Sync(sync) => {
            if let SyncSource::Plugin { plugin, .. } = &sync.source {
                plugins.push(("run.source.plugin", plugin, None));
            }
            if let SyncSink::Plugin(sink) = &sync.sink {
                plugins.push(("run.sink.plugin", &sink.plugin, Some(sink.endpoint)));
            }
        }
        Work::Poll(poll) => plugins.push(("run.plugin", &poll.plugin, poll.endpoint)),
        Work::Emit { .. } | Work::Engine(_) => {}
    }
    plugins
}
