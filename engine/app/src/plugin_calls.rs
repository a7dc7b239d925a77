//! What every call of a plugin needs, whoever makes it: the component in memory, how its calls run, and a word in the audit
//! where it read secrets whole.

use std::sync::Arc;

use engate_host::{Digest, Effort, LoadedPlugin, Reuse};
use engate_model::{
    TenantId,
    plugin::{CallSettings, Fault, Instances, Limits},
};
use engate_store::StoreError;
use serde_json::json;

use crate::{engine::Engine, views::PluginBinding};

/// Idle instances that one installation keeps: calls hold a core while they run, so more than a few per core are
/// never needed at once.
const WARM_IDLE_MAX: u32 = 16;

/// The audit's word for a secret that was read whole.
pub(crate) const REVEALED: &str = "secret.reveal";

impl Engine {
    /// The component in memory; read from the store where neither it nor its compiled code is at hand. What a developer
    /// works on may be code that was made quickly.
    ///
    /// # Errors
    /// `load_failed`.
    pub(crate) async fn plugin_load(&self, digest: &Digest, development: bool) -> Result<Arc<LoadedPlugin>, Fault> {
        let fetch = || async {
            let component = self.store.plugin_component(&digest.to_string()).await;
            let component = component.map_err(|error| error.to_string())?;
            component.ok_or_else(|| "its component is not in the store".to_owned())
        };
        let least = if development { Effort::Quick } else { Effort::Full };
        self.host.load(digest, least, fetch).await
    }

    /// Whether an installation's instances are kept and what a call may cost: what was set for it, else the engine's
    /// settings, by the component's size.
    pub(crate) fn call_limits(&self, set: &CallSettings, component_bytes: u64) -> (Instances, Limits) {
        set.resolve(component_bytes, &self.config.limits.plugin, &self.config.limits.plugin_ceiling)
    }

    /// The same as the host takes it.
    pub(crate) fn call_rules(&self, set: &CallSettings, component_bytes: u64) -> (Reuse, Limits) {
        let (instances, limits) = self.call_limits(set, component_bytes);
        let reuse = match instances {
            Instances::Fresh => Reuse::Fresh,
            Instances::Warm => Reuse::warm(WARM_IDLE_MAX),
        };
        (reuse, limits)
    }

    /// Writes down, once, that a plugin's version read secrets whole for a place: `endpoint`, `job` and its id.
    ///
    /// # Errors
    /// When the database gives no answer; it is tried again with the next such read then.
    pub(crate) async fn tell_revealed(
        &self,
        tenant: TenantId,
        binding: &PluginBinding,
        (noun, id): (&str, &str),
        secrets: &[String],
    ) -> Result<(), StoreError> {
        for secret in secrets {
            let read = (tenant, binding.digest, id.to_owned(), secret.clone());
            if self.revealed.has(&read) {
                continue;
            }
            let detail = json!({ "plugin": binding.label, "digest": binding.digest.to_string(), noun: id });
            self.store.audit_append(&self.system_actor(), tenant, REVEALED, secret, &detail).await?;
            self.revealed.add(read);
        }
        Ok(())
    }
}
