//! The host: what lives as long as the engine does.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
    code::{Code, Effort},
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
const WARM_IDLE: Duration = Duration::from_secs(60);

/// Installs, loads and calls plugins. Clones are the same host; its thread ends with the last of them.
#[derive(Clone)]
pub struct Host(pub(crate) Arc<Shared>);

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

    /// Checks a component, compiles it in a child with at least that effort and asks it for its manifest. Its code stays
    /// in the cache; the component itself is the caller's to keep.
    ///
    /// # Errors
    /// The first check that failed.
    pub async fn install(&self, component: &[u8], least: Effort) -> Result<Installed, InstallError> {
        install::install(&self.0, component, least).await
    }

    /// Whether the component's code, made with all effort, is in the cache.
    pub fn is_compiled(&self, digest: &Digest) -> bool {
        self.0.cache.has(&Code::new(*digest, Effort::Full))
    }

    /// The plugin in memory: as it is, or from compiled code, or compiled again from what `fetch` brings; made with at
    /// least that effort.
    ///
    /// # Errors
    /// `load_failed`.
    pub async fn load<F, Fut>(&self, digest: &Digest, least: Effort, fetch: F) -> Result<Arc<LoadedPlugin>, Fault>
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<Vec<u8>, String>> + Send,
    {
        if let Some(plugin) = self.0.loaded_already(digest, least) {
            return Ok(plugin);
        }
        let turn = Arc::clone(lock(&self.0.loading).entry(*digest).or_default());
        let plugin = {
            let _mine = turn.lock().await;
            match self.0.loaded_already(digest, least) {
                Some(plugin) => Ok(plugin),
                None => self.0.load_now(digest, least, fetch).await,
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
        self.0
            .shelf
            .retain(|code, since| now.since(since) < WARM_IDLE && !unloaded.iter().any(|plugin| plugin.code() == code));
        unloaded.len()
    }

    /// Lets go of a plugin and of its compiled code.
    pub fn forget(&self, digest: &Digest) {
        lock(&self.0.loaded).remove(digest);
        self.0.shelf.retain(|idle, _| idle.digest != *digest);
        for effort in [Effort::Quick, Effort::Full] {
            self.0.cache.remove(&Code::new(*digest, effort));
        }
    }

    /// Components whose code has been in the cache for at least `age`.
    ///
    /// # Errors
    /// What the system says.
    pub fn cached(&self, age: Duration) -> std::io::Result<BTreeSet<Digest>> {
        self.0.cache.digests(age)
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
    /// Lets go of code that took less effort than there is now.
    pub(crate) fn forget_less_than(&self, digest: &Digest, effort: Effort) {
        if effort > Effort::Quick {
            let quick = Code::new(*digest, Effort::Quick);
            lock(&self.loaded).retain(|_, plugin| *plugin.code() != quick);
            self.shelf.retain(|idle, _| *idle != quick);
            self.cache.remove(&quick);
        }
    }

    fn loaded_already(&self, digest: &Digest, least: Effort) -> Option<Arc<LoadedPlugin>> {
        let plugin = lock(&self.loaded).get(digest).filter(|plugin| plugin.code().effort >= least).map(Arc::clone)?;
        plugin.used_at(self.config.clock.now());
        Some(plugin)
    }

    async fn load_now<F, Fut>(&self, digest: &Digest, least: Effort, fetch: F) -> Result<Arc<LoadedPlugin>, String>
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<Vec<u8>, String>> + Send,
    {
        let plugin = match self.cached(digest, least).await.map_err(|error| error.to_string())? {
            Some(plugin) => plugin,
            None => {
                let component = fetch().await?;
                if Digest::of(&component) != *digest {
                    return Err(format!("what is stored under {digest} is another component; install it again"));
                }
                self.compile(Code::new(*digest, least), &component).await.map_err(|error| error.to_string())?
            }
        };
        let plugin = Arc::new(plugin);
        lock(&self.loaded).insert(*digest, Arc::clone(&plugin));
        self.forget_less_than(digest, plugin.code().effort);
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

/// What cannot happen: the answer of another function.
pub(crate) fn another_answer() -> Fault {
    Fault::new(FaultCode::BadAbi, "the plugin answered another question")
}
