//! A stand-in for the services that a Protheus talks to when its tables go to Carol: Carol's staging intake, RAC's
//! tokens, the registry of services, provisioning, SmartLink.
//!
//! Who acts here: [`Stub`] listens and owns the [`store`], one SQLite file in which every accepted row is on disk before
//! its answer leaves. `staging`, `rac`, `registry`, `provisioning` and `smartlink` are the services, one module each;
//! they refuse what the real ones are known to refuse, and say nothing that is not known of them without the README
//! marking it as assumed. `faults` spoils answers on command. `oracle` is what tests ask: `/_stub/...`, never a part of
//! the services, never spoiled. Nothing in here knows Engate.

mod answers;
mod auth;
mod faults;
mod journal;
mod oracle;
mod provisioning;
mod rac;
mod registry;
mod server;
mod smartlink;
mod staging;
mod store;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{faults::Faults, journal::Journal, store::Store};

/// How long a token lives unless told otherwise: the default of the identity server that RAC is built on.
pub const TOKEN_TTL_S: u32 = 3_600;
/// How long a SmartLink message stays with the reader who took it before it is offered again.
pub const MESSAGE_HOLD_MS: u32 = 30_000;

/// What ends a stub before it serves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or the file in it cannot be used.
    #[error("the stub's store cannot be used: {0}")]
    Store(#[from] sqlx::Error),
    /// The folder cannot be made, or the address not be listened on.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// How a stub is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the store; made when it is not there.
    pub data: PathBuf,
    /// The client that RAC knows from the start.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The tenant of that client.
    pub tenant: String,
    /// The connector that Carol knows from the start.
    pub connector_id: String,
    /// Its key (`X-Auth-Key`).
    pub connector_key: String,
    /// Life of the tokens that are given out, in seconds.
    pub token_ttl_s: u32,
    /// How long a SmartLink message stays with its reader, in milliseconds.
    pub message_hold_ms: u32,
}

impl Options {
    /// A free loopback port, everything else as the command line has it when nothing is said.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data,
            client_id: "protheus".to_owned(),
            client_secret: "protheus-secret".to_owned(),
            tenant: "0f6c1f1e-5b0c-4c83-9f0e-2d4a6f1f7a10".to_owned(),
            connector_id: "c0ffee00c0ffee00c0ffee00c0ffee00".to_owned(),
            connector_key: "stub-connector-key".to_owned(),
            token_ttl_s: TOKEN_TTL_S,
            message_hold_ms: MESSAGE_HOLD_MS,
        }
    }
}

/// What a stub says when it is ready, as one line of JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// `http://host:port`, the base of every service.
    pub address: String,
    /// The client that RAC knows.
    pub client_id: String,
    /// Its secret: a stub has nothing to protect.
    pub client_secret: String,
    /// The client's tenant.
    pub tenant: String,
    /// The connector that Carol knows.
    pub connector_id: String,
    /// Its key.
    pub connector_key: String,
}

/// What the services share.
struct Shared {
    store: Store,
    faults: Faults,
    journal: Journal,
    options: Options,
    /// `http://host:port`: the registry names it.
    address: String,
}

type State = axum::extract::State<Arc<Shared>>;

/// A stub that listens.
pub struct Stub {
    ready: Ready,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Stub {
    /// Opens the store and listens.
    ///
    /// # Errors
    /// When the folder cannot be used or the address is taken.
    pub async fn start(options: Options) -> Result<Self, Error> {
        std::fs::create_dir_all(&options.data)?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let store = Store::open(&options).await?;
        let ready = Ready {
            address: address.clone(),
            client_id: options.client_id.clone(),
            client_secret: options.client_secret.clone(),
            tenant: options.tenant.clone(),
            connector_id: options.connector_id.clone(),
            connector_key: options.connector_key.clone(),
        };
        let shared =
            Arc::new(Shared { store, faults: Faults::default(), journal: Journal::default(), options, address });
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, router(&shared), stopped));
        Ok(Self { ready, stop, server })
    }

    /// Where it listens and whom it knows.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// `http://host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.ready.address
    }

    /// Finishes the calls under way and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        // A server that panicked has said so on its own.
        let _ = self.server.await;
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let services = Router::new()
        .merge(staging::routes())
        .merge(auth::routes())
        .merge(rac::routes())
        .merge(registry::routes())
        .merge(provisioning::routes())
        .merge(smartlink::routes())
        .fallback(answers::unknown_path)
        // `faults::spoil` bounds the body; each service refuses what is too large for it in its own words.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(shared), faults::spoil))
        .with_state(Arc::clone(shared));
    Router::new().nest("/_stub", oracle::routes().with_state(Arc::clone(shared))).fallback_service(services)
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// A random name of 32 hexadecimal digits, as Carol's ids are.
fn fresh_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
