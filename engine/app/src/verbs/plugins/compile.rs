//! Compiling behind a push. A large component is checked, described and answered for at once, by code that is made
//! quickly; what production runs is compiled with all effort after that, and channels move when it is done. Whoever is
//! restarted in between, or finds that another node was, takes it up again: the row says what is to be done.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engate_host::{Effort, InstallCode};
use engate_model::{TenantId, Timestamp};
use engate_store::{PluginState, PluginVersion, StoreError};
use tokio::{sync::Semaphore, time::Instant};

use super::{channel_ref, fit::Planned, told};
use crate::engine::Engine;

/// After this time a compilation that is not this process' own is taken up: its node is gone. A compilation has less.
pub(crate) const ABANDONED_AFTER: Duration = Duration::from_secs(300);
/// How long compiled code that belongs to nothing is left alone: its push may still be under way.
const LEFT_ALONE: Duration = Duration::from_secs(3_600);
/// How often the row is read by who waits for its end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

type Key = (TenantId, String, String);

/// Compilations of this process.
pub(crate) struct Compilations {
    under_way: Mutex<BTreeSet<Key>>,
    /// Half of the cores: deliveries keep the rest.
    turns: Semaphore,
}

impl Default for Compilations {
    fn default() -> Self {
        let turns = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        Self { under_way: Mutex::default(), turns: Semaphore::new(turns) }
    }
}

impl Compilations {
    fn under_way(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A compilation that is under way until this goes.
struct UnderWay {
    engine: Arc<Engine>,
    key: Key,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.engine.compilations.under_way().remove(&self.key);
    }
}

impl Engine {
    /// Compiles a version in the background, unless that is under way.
    pub(super) fn plugin_compile(self: &Arc<Self>, version: PluginVersion) {
        let key = (version.tenant, version.name.clone(), version.version.clone());
        if !self.compilations.under_way().insert(key.clone()) {
            return;
        }
        let mine = UnderWay { engine: Arc::clone(self), key };
        tokio::spawn(async move {
            let label = format!("{}@{}", version.name, version.version);
            match mine.engine.plugin_compile_now(&version).await {
                Ok(Some(state)) => tracing::info!(plugin = label, state = state.code(), "compiled"),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(plugin = label, %error, "a compilation did not end; it is taken up again")
                }
            }
        });
    }

    /// Takes up what was being compiled and pushed at `until` or before, where nobody in this process is at it.
    pub(crate) async fn plugin_compile_resume(self: &Arc<Self>, until: Timestamp) -> Result<(), StoreError> {
        for version in self.store.plugin_compiling(until).await? {
            let key = (version.tenant, version.name.clone(), version.version.clone());
            if !self.compilations.under_way().contains(&key) {
                tracing::warn!(plugin = format!("{}@{}", key.1, key.2), "taking up a compilation that did not end");
                self.plugin_compile(version);
            }
        }
        Ok(())
    }

    /// The version once it is no longer being compiled, or as it is when `patience` is over.
    pub(super) async fn plugin_settled(
        &self,
        version: PluginVersion,
        patience: Duration,
    ) -> Result<PluginVersion, StoreError> {
        let end = Instant::now() + patience;
        let mut now = version;
        while now.state == PluginState::Compiling && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(read) = self.store.plugin_version_get(now.tenant, &now.name, &now.version).await? else { break };
            now = read;
        }
        Ok(now)
    }

    /// Lets go of compiled code that belongs to no component any more: versions that another node let go of, and what
    /// was never installed after it had been compiled.
    pub(crate) async fn plugin_code_tidy(&self) -> Result<(), StoreError> {
        let host = self.host.clone();
        let Ok(Ok(kept)) = tokio::task::spawn_blocking(move || host.cached(LEFT_ALONE)).await else { return Ok(()) };
        if kept.is_empty() {
            return Ok(());
        }
        let installed: HashSet<String> = self.store.plugin_digests().await?.into_iter().collect();
        for digest in kept.iter().filter(|digest| !installed.contains(&digest.to_string())) {
            self.host.forget(digest);
        }
        Ok(())
    }

    /// How the compilation ended; none where it is to be tried again or is no longer to be made.
    async fn plugin_compile_now(&self, version: &PluginVersion) -> Result<Option<PluginState>, StoreError> {
        let Ok(_turn) = self.compilations.turns.acquire().await else { return Ok(None) };
        let Some(component) = self.store.plugin_component(&version.digest).await? else { return Ok(None) };
        let (state, message, channel) = match self.host.install(&component, Effort::Full).await {
            Ok(_) => {
                let (channel, message) = self.plugin_channel_due(version).await?;
                (PluginState::Ready, message, channel)
            }
            Err(error) if error.code == InstallCode::Unavailable => {
                tracing::error!(plugin = version.name, %error, "a plugin could not be compiled here; trying again later");
                return Ok(None);
            }
            Err(error) => (PluginState::Failed, Some(error.to_string()), None),
        };
        let actor = self.system_actor();
        let ended = self.store.plugin_compiled(&actor, version, state, message.as_deref(), channel.as_deref()).await?;
        self.views.follow_change(&self.store, version.tenant).await;
        Ok(ended.then_some(state))
    }

    /// The channel that is to mean a version now; else why none is, where one was waiting: what is bound to the channel
    /// may have changed since the push.
    async fn plugin_channel_due(
        &self,
        version: &PluginVersion,
    ) -> Result<(Option<String>, Option<String>), StoreError> {
        let PluginVersion { tenant, name, version, .. } = version;
        let now = self.store.plugin_version_get(*tenant, name, version).await?;
        let Some((channel, manifest)) = now.and_then(|now| now.pending_channel.zip(now.manifest)) else {
            return Ok((None, None));
        };
        let Ok(reference) = channel_ref(name, &channel) else { return Ok((None, None)) };
        let misfits = self.misfits(*tenant, Planned::Channel(&reference, &manifest)).await?;
        if misfits.is_empty() {
            return Ok((Some(channel), None));
        }
        let why = format!("the channel {channel} was not moved: {}", told(&misfits).join("; "));
        Ok((None, Some(why)))
    }
}
