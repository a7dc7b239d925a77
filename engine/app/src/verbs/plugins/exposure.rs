//! What a plugin's grants show to whoever says where its requests go and which code makes them. A credential profile is
//! applied on the way to an endpoint, and a secret that is read whole may be put into any request; whoever may not manage
//! secrets would get both by an address of their own, or by a version of their own. So they name an address for such a plugin
//! only where it was granted, and have no version run that those who granted never let run.

use std::collections::{BTreeSet, HashSet};

use engate_host::host_granted;
use engate_model::{
    EndpointId, TenantId, Timestamp,
    endpoint::Endpoint,
    integrator::Integrator,
    job::Work,
    plugin::{CHANNEL_DEFAULT, Grants, Pin, PluginRef},
    sync::{SyncSink, SyncSource},
    token::Principal,
};
use engate_store::{EndpointFilter, PluginChannel, StoreError};
use url::Url;

use crate::{engine::Engine, own_origin::is_elsewhere, verbs::VerbError};

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
        let denied = urls.iter().find(|url| host_granted(url, "", &grants.hosts).is_err());
        let Some(url) = denied.filter(|_| carries_secrets(&grants)) else { return Ok(()) };
        let origin = origin_of(url);
        let message = format!(
            "{} may send secrets along (its grants have credentials or reveal), and {origin} is not among its granted \
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
    /// new one) that the channel meant since that was granted.
    pub(super) async fn require_oversight(
        &self,
        principal: &Principal,
        name: &str,
        channel: &str,
        version: Option<&str>,
    ) -> Result<(), VerbError> {
        let tenant = principal.tenant;
        if principal.manages_secrets {
            return Ok(());
        }
        let grants = self.store.plugin_settings_get(tenant, name).await?.grants;
        if grants.reveal.is_empty() {
            return Ok(());
        }
        if let Some(version) = version {
            let history = self.store.plugin_channel_history(tenant, name, channel).await?;
            if overseen(&history, grants.reveal_since).any(|meant| meant == version) {
                return Ok(());
            }
        }
        // What is not named by anybody now is what a name alone means, and may be by the next call.
        if channel != CHANNEL_DEFAULT && !self.channel_is_used(tenant, name, channel).await? {
            return Ok(());
        }
        Err(VerbError::Forbidden(format!(
            "{name} may read secrets whole (its grants have reveal), so that a version which the channel {channel} did not \
             mean since then is let run by those who may manage secrets: push a new one to a channel that nothing uses (next), \
             and have one of them promote it"
        )))
    }

    /// Origins of the endpoints whose own or lent address a plugin sends to, where its requests may carry secrets and the host
    /// was not granted to it: set up before, or by those who may manage secrets.
    pub(super) async fn addresses_not_granted(
        &self,
        tenant: TenantId,
        name: &str,
        grants: &Grants,
    ) -> Result<Vec<String>, StoreError> {
        if !carries_secrets(grants) {
            return Ok(Vec::new());
        }
        let its = |plugin: &PluginRef| plugin.name == name;
        let integrators = self.store.integrator_list(tenant).await?;
        let of_integrators = integrators.iter().filter(|integrator| integrator.plugin.as_ref().is_some_and(its));
        let inherited: HashSet<_> = of_integrators.map(|integrator| integrator.id).collect();
        let jobs = self.store.job_list(tenant).await?;
        let of_jobs = jobs.iter().flat_map(|job| plugins_of(&job.settings.work));
        let lent: HashSet<_> = of_jobs.filter_map(|(_, plugin, lent)| lent.filter(|_| its(plugin))).collect();
        let endpoints = self.store.endpoint_list(tenant, &EndpointFilter::default()).await?;
        let sends = |endpoint: &&Endpoint| {
            let shaped = endpoint.plugin.as_ref().map_or_else(|| inherited.contains(&endpoint.integrator), its);
            shaped || lent.contains(&endpoint.id)
        };
        let urls = endpoints.iter().filter(sends).map(|endpoint| endpoint.url.as_str());
        let denied = urls.filter(|url| host_granted(url, "", &grants.hosts).is_err());
        Ok(denied.map(origin_of).collect::<BTreeSet<_>>().into_iter().collect())
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

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// The versions that a channel meant since secrets may be read whole, and the one that it meant when that was granted.
/// `history` has the newest first; where it is not known when that was, only the present one counts.
fn overseen(history: &[PluginChannel], since: Option<Timestamp>) -> impl Iterator<Item = &str> {
    let after = since.map_or(0, |since| history.iter().take_while(|meant| meant.set_at > since).count());
    history.iter().take(after.saturating_add(1)).map(|meant| meant.version.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_meant_before_secrets_could_be_read_whole_was_seen_by_nobody() {
        let at = Timestamp::from_millis;
        let meant = |version: &str, millis| PluginChannel {
            channel: CHANNEL_DEFAULT.to_owned(),
            version: version.to_owned(),
            set_at: at(millis),
        };
        let history = [meant("0.3.0", 30), meant("0.2.0", 20), meant("0.1.0", 10)];
        let seen = |since| overseen(&history, since).collect::<Vec<_>>();
        assert_eq!(seen(None), ["0.3.0"]);
        assert_eq!(seen(Some(at(35))), ["0.3.0"]);
        assert_eq!(seen(Some(at(25))), ["0.3.0", "0.2.0"]);
        assert_eq!(seen(Some(at(20))), ["0.3.0", "0.2.0"], "one that was meant at that moment was there");
        assert_eq!(seen(Some(at(5))), ["0.3.0", "0.2.0", "0.1.0"]);
        assert_eq!(overseen(&[], Some(at(5))).count(), 0);
    }
}
