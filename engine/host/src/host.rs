//! The host: what lives as long as the engine does.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use engate_model::{
    Timestamp,
    plugin::{Fault, FaultCode},
};
use tokio::sync::Semaphore;
use wasmtime::{Engine, component::Linker};

use crate::{
    cache::Cache,
    call::{CallFailed, InterpretCall, InterpretDone, TransformCall, TransformDone},
    config::HostConfig,
    digest::Digest,
    engine,
    error::{HostError, InstallError},
    install::{self, Installed},
    instance::{CallState, Settings},
    loaded::LoadedPlugin,
    reception::{ReceiveCall, ReceiveDone},
    run::{Caller, run},
    ticker::Ticker,
    v0_1::{self, Answer, Invocation},
    warm::Shelf,
    wasi,
};

/// Part of the pool that one plugin may hold.
const SHARE_DIVISOR: u32 = 4;
/// How long a warm instance stays idle.
const WARM_IDLE: std::time::Duration = std::time::Duration::from_secs(60);

/// Installs, loads and calls plugins. Clones are the same host; its thread ends with the last of them.
#[derive(Clone)]
pub struct Host(Arc<Shared>);

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) config: HostConfig,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<CallState>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) ticker: Ticker,
    pub(crate) pool: Arc<Semaphore>,
    /// Instances in the pool, and how many of them one plugin may hold.
    pub(crate) instances: u32,
    pub(crate) share: u32,
    pub(crate) shelf: Shelf,
    loaded: Mutex<HashMap<Digest, Arc<LoadedPlugin>>>,
    /// Plugins being loaded: who comes second waits for the first.
    loading: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

/// What the host holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostStats {
    /// Plugins in memory.
    pub loaded: usize,
    /// Instances the pool has room for.
    pub instances_max: usize,
    /// Places in the pool that are taken, by calls and by idle instances.
    pub instances_taken: usize,
    /// Idle warm instances.
    pub instances_idle: usize,
}

impl Host {
    /// Starts a host: reserves the pool, opens the cache, starts the ticking thread.
    ///
    /// # Errors
    /// What is missing.
    pub fn start(config: HostConfig) -> Result<Self, HostError> {
        let defect = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let (engine, instances) = engine::runner(config.pool_instances, config.metered)?;
        let cache = Arc::new(Cache::open(&config, &engine)?);
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker).map_err(defect)?;
        v0_1::add_to_linker(&mut linker).map_err(defect)?;
        let ticker = Ticker::start(engine.clone()).map_err(|error| HostError::Engine(error.to_string()))?;
        Ok(Self(Arc::new(Shared {
            pool: Arc::new(Semaphore::new(instances as usize)),
            share: instances / SHARE_DIVISOR,
            instances,
            config,
            engine,
            linker,
            cache,
            ticker,
            shelf: Shelf::default(),
            loaded: Mutex::default(),
            loading: Mutex::default(),
        })))
    }

    /// Checks a component, compiles it in a child and asks it for its manifest. Its code stays in the cache; the
    /// component itself is the caller's to keep.
    ///
    /// # Errors
    /// The first check that failed.
    pub async fn install(&self, component: &[u8]) -> Result<Installed, InstallError> {
        install::install(&self.0, component).await
    }

    /// The plugin in memory: as it is, or from compiled code, or compiled again from what `fetch` brings.
    ///
    /// # Errors
    /// `load_failed`.
    pub async fn load<F, Fut>(&self, digest: &Digest, fetch: F) -> Result<Arc<LoadedPlugin>, Fault>
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<Vec<u8>, String>> + Send,
    {
        if let Some(plugin) = self.0.loaded_already(digest) {
            return Ok(plugin);
        }
        let turn = Arc::clone(lock(&self.0.loading).entry(*digest).or_default());
        let plugin = {
            let _mine = turn.lock().await;
            match self.0.loaded_already(digest) {
                Some(plugin) => Ok(plugin),
                None => self.0.load_now(digest, fetch).await,
            }
        };
        drop(turn);
        lock(&self.0.loading).retain(|_, turn| Arc::strong_count(turn) > 1);
        plugin.map_err(|message| Fault::new(FaultCode::LoadFailed, message))
    }

    /// Event in, request out.
    ///
    /// # Errors
    /// The plugin's fault.
    pub async fn transform(&self, plugin: &LoadedPlugin, call: TransformCall<'_>) -> Result<TransformDone, CallFailed> {
        let settings = Settings::of(&call.context);
        let caller = Caller { installation: call.context.installation, reuse: call.context.reuse };
        let invocation = Invocation::Transform(&call);
        let (plan, record) = run(&self.0, plugin, &settings, caller, invocation, |answer, limits, log| match answer {
            Answer::Transform(plan) => v0_1::plan(plan, limits, log),
            _ => Err(another_answer()),
        })
        .await?;
        Ok(TransformDone { plan, record })
    }

    /// Response in, verdict out.
    ///
    /// # Errors
    /// The plugin's fault.
    pub async fn interpret(&self, plugin: &LoadedPlugin, call: InterpretCall<'_>) -> Result<InterpretDone, CallFailed> {
        let settings = Settings::of(&call.context);
        let caller = Caller { installation: call.context.installation, reuse: call.context.reuse };
        let invocation = Invocation::Interpret(&call);
        let (verdict, record) = run(&self.0, plugin, &settings, caller, invocation, |answer, _, _| match answer {
            Answer::Interpret(verdict) => Ok(v0_1::verdict(verdict)),
            _ => Err(another_answer()),
        })
        .await?;
        Ok(InterpretDone { verdict, record })
    }

    /// Call in, answer and events out.
    ///
    /// # Errors
    /// The plugin's fault.
    pub async fn receive(&self, plugin: &LoadedPlugin, call: ReceiveCall<'_>) -> Result<ReceiveDone, CallFailed> {
        let settings = Settings::of_receive(&call);
        let caller = Caller { installation: call.installation, reuse: call.reuse };
        let invocation = Invocation::Receive(&call);
        let (reception, record) =
            run(&self.0, plugin, &settings, caller, invocation, |answer, limits, log| match answer {
                Answer::Receive(answer) => v0_1::reception(answer, limits, log),
                _ => Err(another_answer()),
            })
            .await?;
        Ok(ReceiveDone { reception, record })
    }

    /// Lets go of plugins and warm instances that were not used for a while; says how many plugins. Calls under way
    /// keep theirs.
    pub fn unload_idle(&self, now: Timestamp) -> usize {
        let idle_after = self.0.config.idle_after;
        let mut unloaded = Vec::new();
        lock(&self.0.loaded).retain(|_, plugin| {
            let keep = now.since(plugin.last_used()) < idle_after;
            if !keep {
                unloaded.push(Arc::clone(plugin));
            }
            keep
        });
        self.0.shelf.retain(|digest, since| {
            now.since(since) < WARM_IDLE && !unloaded.iter().any(|plugin| plugin.digest() == digest)
        });
        unloaded.len()
    }

    /// Lets go of a plugin and of its compiled code.
    pub fn forget(&self, digest: &Digest) {
        lock(&self.0.loaded).remove(digest);
        self.0.shelf.retain(|idle, _| idle != digest);
        self.0.cache.remove(digest);
    }

    /// What the host holds at the moment.
    pub fn stats(&self) -> HostStats {
        let instances_max = self.0.instances as usize;
        HostStats {
            loaded: lock(&self.0.loaded).len(),
            instances_max,
            instances_taken: instances_max.saturating_sub(self.0.pool.available_permits()),
            instances_idle: self.0.shelf.len(),
        }
    }
}

impl Shared {
    fn loaded_already(&self, digest: &Digest) -> Option<Arc<LoadedPlugin>> {
        let plugin = lock(&self.loaded).get(digest).map(Arc::clone)?;
        plugin.used_at(self.config.clock.now());
        Some(plugin)
    }

    async fn load_now<F, Fut>(&self, digest: &Digest, fetch: F) -> Result<Arc<LoadedPlugin>, String>
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<Vec<u8>, String>> + Send,
    {
        let code = match self.cached(digest).await.map_err(|error| error.to_string())? {
            Some(code) => code,
            None => {
                let component = fetch().await?;
                if Digest::of(&component) != *digest {
                    return Err(format!("what is stored under {digest} is another component; install it again"));
                }
                self.compile(digest, &component).await.map_err(|error| error.to_string())?
            }
        };
        let plugin = Arc::new(self.prepare(*digest, &code).map_err(|error| error.to_string())?);
        lock(&self.loaded).insert(*digest, Arc::clone(&plugin));
        Ok(plugin)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.stats()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn another_answer() -> Fault {
    Fault::new(FaultCode::BadAbi, "the plugin answered another question")
}
