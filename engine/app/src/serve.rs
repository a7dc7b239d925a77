//! Starts and stops everything.

use std::{io::ErrorKind, net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use engate_egress::{Egress, EgressConfig};
use engate_host::{CompilerCommand, Host, HostConfig};
use engate_model::{Clock, Secret};
use engate_store::{Database, SecretKey, Store};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    api,
    clock::Chance,
    config::Config,
    engine::Engine,
    first_start::first_start,
    health::Health,
    installation::{self, Key},
    listener,
    metrics::Metrics,
    planted::Planted,
    rates::Rates,
    scheduler::Scheduler,
    start_error::StartError,
    strangers::Strangers,
    tls::Tls,
    verbs::{access::TokenCache, diffs::Diffs, plugins::Compilations, wizards::Registries},
    views::Views,
    worker::Worker,
};

/// A running engine: API, workers, and what they share.
pub struct Server {
    engine: Arc<Engine>,
    address: SocketAddr,
    first_token: Option<Secret>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Binds, migrates, installs the bundled plugins, starts workers and the API.
    ///
    /// # Errors
    /// Says what could not be used and what to do about it.
    pub async fn start(config: Config, clock: Arc<dyn Clock>, chance: Chance) -> Result<Self, StartError> {
        Self::start_with(config, clock, chance, Planted::default()).await
    }

    /// As [`Server::start`], with the faults that a test plants.
    ///
    /// # Errors
    /// As [`Server::start`].
    #[doc(hidden)]
    pub async fn start_with(
        config: Config,
        clock: Arc<dyn Clock>,
        chance: Chance,
        planted: Planted,
    ) -> Result<Self, StartError> {
        // An error only says that a provider was set before, by an engine in the same process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        make_private_folder(&config.data)?;
        let key = SecretKey::new(secret_key(&config, &chance)?);
        let database = Database::parse(&config.database);
        let store = Store::open(&database, &key, planted.store, clock.now()).await?;
        let tls = config.tls.clone().map(Tls::read).transpose().map_err(StartError::Setting)?;
        let listener = listen(config.listen).await?;
        let address = listener.local_addr().map_err(|cause| StartError::Listen { address: config.listen, cause })?;
        let engine = Arc::new(Engine {
            host: start_host(&config, Arc::clone(&clock))?,
            egress: start_egress(&config)?,
            views: Views::default(),
            worker: Worker::new(
                config.limits.queued_max,
                config.limits.queued_bytes_max,
                config.limits.in_flight_max,
                config.limits.circuits,
            ),
            scheduler: Scheduler::default(),
            sources: crate::sync::Sources::new(config.sources.clone()),
            metrics: Metrics::new(store.durability().await?),
            health: Health::default(),
            tokens: TokenCache::default(),
            tag_key: crate::tag_key::TagKey::of(&key),
            diffs: Diffs::default(),
            compilations: Compilations::default(),
            inbound_rates: Rates::default(),
            token_rates: Rates::default(),
            strangers: Strangers::default(),
            registries: Registries::default(),
            revealed: crate::revealed::Revealed::default(),
            death: planted.death,
            config: Config { listen: address, ..config },
            clock,
            chance,
            store,
        });
        let first_token = first_start(&engine).await?;
        engine.lease_take().await?;
        engine.plugin_compile_resume(engine.now()).await?;
        for part in [crate::health::Part::Poller, crate::health::Part::Scheduler] {
            engine.health.alive(part, engine.now());
        }
        let (stop, stopped) = watch::channel(false);
        let router = api::router(Arc::clone(&engine));
        let (connections, proxies) = (engine.config.connections, engine.config.proxies.clone());
        let mut tasks = vec![
            tokio::spawn(Arc::clone(&engine).lease_keep()),
            tokio::spawn(Arc::clone(&engine).poll()),
            tokio::spawn(Arc::clone(&engine).pace()),
            tokio::spawn(Arc::clone(&engine).schedule()),
            tokio::spawn(Arc::clone(&engine).upkeep(stopped.clone())),
            tokio::spawn(Arc::clone(&engine).retain(stopped.clone())),
            tokio::spawn(Arc::clone(&engine).wizards_keep(stopped.clone())),
            tokio::spawn(Arc::clone(&engine).recoveries_keep(stopped.clone())),
            tokio::spawn(listener::serve(listener, router, tls.clone(), connections, proxies, stopped.clone())),
        ];
        tasks.extend(tls.map(|tls| tokio::spawn(tls.keep_fresh(stopped))));
        Ok(Self { engine, address, first_token, stop, tasks })
    }

    /// Where the API listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` of the API, or with `https` where it speaks TLS.
    pub fn url(&self) -> String {
        let scheme = if self.engine.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The admin token made at the first start, to be shown once.
    pub const fn first_token(&self) -> Option<&Secret> {
        self.first_token.as_ref()
    }

    /// Drains: takes no more calls, finishes what is under way, gives the rest back to the store.
    pub async fn stop(self) {
        self.engine.health.stop();
        let _ = self.stop.send(true);
        self.engine.worker.wake_for_stop();
        self.engine.scheduler.stop();
        self.engine.diffs.stop();
        for task in self.tasks {
            // A task that died has been logged where it died.
            let _ = task.await;
        }
        self.engine.scheduler.settle().await;
        self.engine.drain().await;
        self.engine.upkeep_end().await;
        self.engine.sources.close().await;
        self.engine.store.close().await;
    }
}

fn make_private_folder(path: &Path) -> Result<(), StartError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| StartError::Files { what: format!("data folder {}", path.display()), cause })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { address, cause })
}

fn start_host(config: &Config, clock: Arc<dyn Clock>) -> Result<Host, StartError> {
    let program = std::env::current_exe().map_err(|cause| StartError::Files {
        what: "this program's own path, needed to compile plugins".into(),
        cause,
    })?;
    let compiler = CompilerCommand { program, args: vec!["compile-plugin".to_owned()] };
    let config = HostConfig::new(installation::plugin_cache(config), compiler, clock);
    Host::start(config).map_err(|error| StartError::Setting(format!("plugin host: {error}")))
}

fn start_egress(config: &Config) -> Result<Egress, StartError> {
    let egress = EgressConfig {
        allow: config.egress.allow.clone(),
        deny_hosts: config.egress.deny_hosts.clone(),
        allow_hosts: config.egress.allow_hosts.clone(),
        ca_file: config.egress.ca_file.clone(),
        proxy: config.egress.proxy.clone(),
        user_agent: concat!("engate/", env!("CARGO_PKG_VERSION")).to_owned(),
        response_bytes_max: config.limits.response_bytes_max,
        ..EgressConfig::default()
    };
    Egress::new(egress).map_err(|error| StartError::Setting(error.to_string()))
}

/// The configured key; else that of the key file, which is made at the first start.
fn secret_key(config: &Config, chance: &Chance) -> Result<[u8; 32], StartError> {
    match installation::key(config) {
        Key::There(key) => Ok(key),
        Key::Unusable(path, why) => Err(StartError::Setting(format!("key file {}: {why}", path.display()))),
        Key::Absent(path) => {
            let key = chance.key();
            let files = |cause| StartError::Files { what: format!("key file {}", path.display()), cause };
            match installation::key_create(&path, key) {
                Ok(()) => Ok(key),
                // Another first start on this folder made it in the meantime: that one is the installation's.
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => match installation::key(config) {
                    Key::There(key) => Ok(key),
                    Key::Absent(_) | Key::Unusable(..) => Err(files(cause)),
                },
                Err(cause) => Err(files(cause)),
            }
        }
    }
}
