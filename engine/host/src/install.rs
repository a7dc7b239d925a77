//! Installing a component: compile it elsewhere, ask it what it is, believe nothing unchecked.

use std::{
    sync::Arc,
    time::{Duration, Instant as Stopwatch},
};

use engate_model::plugin::{Fault, FaultCode, Manifest};
use wasmtime::component::Component;

use crate::{
    cache::Miss,
    call::Reuse,
    compile,
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
pub(crate) async fn install(shared: &Shared, component: &[u8]) -> Result<Installed, InstallError> {
    let digest = Digest::of(component);
    let started = Stopwatch::now();
    let cached = shared.cached(&digest).await?;
    let (code, compile_time) = match cached {
        Some(code) => (code, Duration::ZERO),
        None => (shared.compile(&digest, component).await?, started.elapsed()),
    };
    let plugin = shared.prepare(digest, &code)?;
    let manifest = describe(shared, &plugin).await?;
    manifest::check(&manifest)?;
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
    /// Compiles `component` in a child and keeps its code.
    ///
    /// # Errors
    /// What is wrong with it, or `unavailable`.
    pub(crate) async fn compile(&self, digest: &Digest, component: &[u8]) -> Result<Component, InstallError> {
        let compiled = compile::in_child(&self.config, &self.cache, component).await?;
        let (cache, digest_here) = (Arc::clone(&self.cache), *digest);
        tokio::task::spawn_blocking(move || cache.store(&digest_here, &compiled))
            .await
            .map_err(|error| compile::unavailable(format!("the compiled code cannot be kept: {error}")))?
            .map_err(|error| compile::unavailable(format!("the compiled code cannot be kept: {error}")))?;
        self.read_cache(digest).await?.map_err(|miss| match miss {
            Miss::Absent => compile::unavailable("the compiled code cannot be read back".to_owned()),
            Miss::Refused(why) => InstallError::new(InstallCode::TooManyResources, printable(&why, 1_000)),
        })
    }

    /// The component's code from the cache, where it is there and fit.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn cached(&self, digest: &Digest) -> Result<Option<Component>, InstallError> {
        Ok(self.read_cache(digest).await?.ok())
    }

    /// Reads and maps files: not on a thread that others wait for.
    async fn read_cache(&self, digest: &Digest) -> Result<Result<Component, Miss>, InstallError> {
        let (cache, engine, digest) = (Arc::clone(&self.cache), self.engine.clone(), *digest);
        tokio::task::spawn_blocking(move || cache.load(&engine, &digest))
            .await
            .map_err(|error| compile::unavailable(format!("the cache cannot be read: {error}")))
    }

    /// Looks up the functions of compiled code.
    ///
    /// # Errors
    /// It does not fit the contract.
    pub(crate) fn prepare(&self, digest: Digest, code: &Component) -> Result<LoadedPlugin, InstallError> {
        LoadedPlugin::new(digest, code, &self.linker, self.share, self.config.clock.now())
    }
}
