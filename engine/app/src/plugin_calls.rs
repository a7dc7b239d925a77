//! What every call of a plugin needs, whoever makes it: the component in memory, and how its calls run.

use std::sync::Arc;

use engate_host::{Digest, Effort, LoadedPlugin, Reuse};
use engate_model::plugin::{CallSettings, Fault, Instances, Limits};

use crate::engine::Engine;

/// Idle instances that one installation keeps: calls hold a core while they run, so more than a few per core are
/// never needed at once.
const WARM_IDLE_MAX: u32 = 16;

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
}
