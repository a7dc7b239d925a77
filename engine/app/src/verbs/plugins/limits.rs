//! What the calls of one installation may cost, and whether its instances are kept.

use engate_model::{
    Invalid,
    invalid::Complaints,
    plugin::{CallSettings, Instances, Limits},
    token::Principal,
};
use engate_store::PluginSettings;

use crate::{
    engine::Engine,
    verbs::{VerbError, demand::Demand},
};

/// Shortest processor and wall time that may be set, in ms: one tick of the clock that counts it, and two.
const CPU_MS_MIN: u64 = 5;
const WALL_MS_MIN: u64 = 10;

/// What is set for an installation, and what its current version's calls get.
#[derive(Debug, Clone)]
pub(crate) struct PluginLimits {
    /// What is set.
    pub(crate) set: CallSettings,
    /// What applies.
    pub(crate) instances: Instances,
    /// What applies.
    pub(crate) limits: Limits,
}

impl Engine {
    /// What an installation's calls may cost.
    pub(crate) async fn plugin_limits_get(&self, principal: &Principal, name: &str) -> Result<PluginLimits, VerbError> {
        let plugin = self.plugin_get(principal, name).await?;
        let (instances, limits) = self.call_limits(&plugin.settings.calls, plugin.current.size_bytes);
        Ok(PluginLimits { set: plugin.settings.calls, instances, limits })
    }

    /// Sets what an installation's calls may cost, all of it; what is left out follows the engine's settings again.
    pub(crate) async fn plugin_limits_put(
        &self,
        principal: &Principal,
        name: &str,
        calls: CallSettings,
        demand: &Demand<PluginLimits>,
    ) -> Result<PluginLimits, VerbError> {
        check(&calls, &self.config.limits.plugin_ceiling)?;
        demand.settle(|| Box::pin(self.limits_change(principal, name, calls, demand))).await
    }

    async fn limits_change(
        &self,
        principal: &Principal,
        name: &str,
        calls: CallSettings,
        demand: &Demand<PluginLimits>,
    ) -> Result<PluginLimits, VerbError> {
        let plugin = self.plugin_get(principal, name).await?;
        let (instances, limits) = self.call_limits(&plugin.settings.calls, plugin.current.size_bytes);
        demand.check(&PluginLimits { set: plugin.settings.calls, instances, limits })?;
        let settings = PluginSettings { calls, ..plugin.settings.clone() };
        self.settings_store(principal, name, &plugin.settings, &settings).await?;
        let (instances, limits) = self.call_limits(&calls, plugin.current.size_bytes);
        Ok(PluginLimits { set: calls, instances, limits })
    }
}

fn check(calls: &CallSettings, ceiling: &Limits) -> Result<(), Invalid> {
    let mut complaints = Complaints::default();
    let ms = |limit: std::time::Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let memory_max = u64::try_from(ceiling.memory_bytes >> 20).unwrap_or(u64::MAX);
    let bounds = [
        ("cpu_ms", calls.cpu_ms, CPU_MS_MIN, ms(ceiling.cpu), "plugins.cpu_max_ms"),
        ("wall_ms", calls.wall_ms, WALL_MS_MIN, ms(ceiling.wall), "plugins.wall_max_ms"),
        ("memory_mib", calls.memory_mib, 1, memory_max, "plugins.memory_max_mib"),
    ];
    for (field, value, least, most, setting) in bounds {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            complaints.add(field, format!("must lie between {least} and {most}, which the setting {setting} says"));
        }
    }
    complaints.finish(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_limit_beyond_the_ceiling_is_refused_by_name() {
        let ceiling = Limits { cpu: Duration::from_millis(100), memory_bytes: 64 << 20, ..Limits::default() };
        let fine = CallSettings { cpu_ms: Some(100), memory_mib: Some(64), ..CallSettings::default() };
        assert!(check(&fine, &ceiling).is_ok());
        let beyond = CallSettings { cpu_ms: Some(101), wall_ms: Some(9), memory_mib: Some(65), ..fine };
        let errors = check(&beyond, &ceiling).unwrap_err().0;
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["cpu_ms", "wall_ms", "memory_mib"]);
        assert!(errors[0].message.contains("plugins.cpu_max_ms"));
    }
}
