//! Installing a component: compile it elsewhere, ask it what it is, believe nothing unchecked.

use std::{
    sync::Arc,
    time::{Duration, Instant as Stopwatch},
};

use engate_model::plugin::{Fault, FaultCode, Manifest};

use crate::{
    cache::{Library, Mapped, Miss},
    call::Reuse,
    code::{Code, Effort},
    compile::{self, Compiled},
    digest::Digest,
    error::{InstallCode, InstallError},
    host::Shared,
    instance::Settings,
    loaded::LoadedPlugin,
    log::printable,
    manifest,
    run::{Caller, run},
    v0_1::{self, Answer, Invocation},
};

/// A component that passed every check; its code is in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// What it is stored by.
    pub digest: Digest,
    /// What it says of itself, checked.
    pub manifest: Manifest,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// Wall time of the compilation; zero where its code was in the cache.
    pub compile_time: Duration,
}

/// Checks and compiles `component`, and asks it for its manifest.
///
/// # Errors
/// The first check that failed.
pub(crate) async fn install(shared: &Shared, component: &[u8], effort: Effort) -> Result<Installed, InstallError> {
    let digest = Digest::of(component);
    let started = Stopwatch::now();
    let (plugin, compile_time) = match shared.cached(&digest, effort).await? {
        Some(plugin) => (plugin, Duration::ZERO),
        None => (shared.compile(Code::new(digest, effort), component).await?, started.elapsed()),
    };
    let manifest = describe(shared, &plugin).await?;
    manifest::check(&manifest)?;
    shared.forget_less_than(&digest, plugin.code().effort);
    Ok(Installed { digest, manifest, size_bytes: component.len() as u64, compile_time })
}

/// Asks a throw-away instance without grants what it is.
async fn describe(shared: &Shared, plugin: &LoadedPlugin) -> Result<Manifest, InstallError> {
    let settings = Settings::without_grants(shared.config.limits_describe);
    let caller = Caller { installation: "", reuse: Reuse::Fresh };
    let (answer, _) = run(shared, plugin, &settings, caller, Invocation::Describe, |answer, _, _| match answer {
        Answer::Describe(manifest) => Ok(manifest),
        _ => Err(Fault::new(FaultCode::BadAbi, "describe answered something else")),
    })
    .await
    .map_err(|failed| {
        let message = format!("describe did not answer: {}", failed.fault);
        InstallError::new(InstallCode::DescribeFailed, message)
    })?;
    v0_1::manifest(answer, plugin.worlds())
}

impl Shared {
    /// Compiles `component` in a child, keeps its code and looks up its functions.
    ///
    /// # Errors
    /// What is wrong with it, or `unavailable`.
    pub(crate) async fn compile(&self, code: Code, component: &[u8]) -> Result<LoadedPlugin, InstallError> {
        let not_kept = |why: String| compile::unavailable(format!("the compiled code cannot be kept: {why}"));
        // They stay in memory until they are needed.
        let there = if compile::may_reuse(component.len()) { self.libraries_there(code.effort).await? } else { vec![] };
        let Compiled { code: compiled, libraries, parts } =
            compile::in_child(&self.config, &self.cache, code.effort, component, &there).await?;
        let cache = Arc::clone(&self.cache);
        tokio::task::spawn_blocking(move || cache.store(&code, &compiled, libraries.as_ref()))
            .await
            .map_err(|error| not_kept(error.to_string()))?
            .map_err(|error| not_kept(error.to_string()))?;
        if let Some(parts) = parts {
            let cache = Arc::clone(&self.cache);
            // Nobody waits for it.
            tokio::task::spawn_blocking(move || {
                if let Err(error) = cache.add_parts(&parts) {
                    tracing::warn!(%error, "parts of compiled plugin code cannot be kept; the next quick compilation takes longer");
                }
            });
        }
        match self.read_cache(code).await? {
            Ok(mapped) => self.prepare(code, mapped),
            Err(Miss::Absent) => Err(compile::unavailable("the compiled code cannot be read back".to_owned())),
            Err(Miss::Refused(why)) => Err(InstallError::new(InstallCode::TooManyResources, printable(&why, 1_000))),
        }
    }

    /// The component's code from the cache, where it is there, fit, and made with at least that effort.
    ///
    /// # Errors
    /// `unavailable`, or it does not fit the contract.
    pub(crate) async fn cached(&self, digest: &Digest, least: Effort) -> Result<Option<LoadedPlugin>, InstallError> {
        for effort in [Effort::Full, Effort::Quick].into_iter().filter(|effort| *effort >= least) {
            let code = Code::new(*digest, effort);
            if let Ok(mapped) = self.read_cache(code).await? {
                return self.prepare(code, mapped).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads and maps files: not on a thread that others wait for.
    async fn read_cache(&self, code: Code) -> Result<Result<Mapped, Miss>, InstallError> {
        let (cache, engine) = (Arc::clone(&self.cache), self.engine.clone());
        tokio::task::spawn_blocking(move || cache.load(&engine, &code)).await.map_err(not_read)
    }

    /// The libraries whose code is in the cache, made with at least that effort.
    async fn libraries_there(&self, least: Effort) -> Result<Vec<Arc<Library>>, InstallError> {
        let (cache, engine) = (Arc::clone(&self.cache), self.engine.clone());
        tokio::task::spawn_blocking(move || cache.libraries(&engine, least)).await.map_err(not_read)
    }

    /// Looks up the functions of compiled code.
    fn prepare(&self, code: Code, mapped: Mapped) -> Result<LoadedPlugin, InstallError> {
        LoadedPlugin::new(code, mapped, &self.linker, self.share, self.config.clock.now())
    }
}

fn not_read(error: tokio::task::JoinError) -> InstallError {
    compile::unavailable(format!("the cache cannot be read: {error}"))
}
