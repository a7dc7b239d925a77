//! `engate serve` and `engate migrate`: the engine in this process.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{failure::Failure, present::Screen, settings::SettingsArgs};
use crate::{
    clock::{Chance, SystemClock},
    config::Config,
    installation::{self, Key},
    serve::Server,
    telemetry,
};

/// What `engate serve --help` adds.
pub(super) const HELP: &str = "\
Every setting is a line in engate.toml and an ENGATE_... variable; `engate config show` prints them all with what \
they do. Those that a first start asks for:

  ENGATE_ADMIN_TOKEN   the first admin token, 32 characters or more; without it one is made and printed, once
  ENGATE_SECRET_KEY    encrypts stored secrets (openssl rand -base64 32); without it a key file is made in --data
  ENGATE_EGRESS_ALLOW  private networks that partners are in, such as 10.1.0.0/16; nothing private is called otherwise

Once the API answers, standard output says `listening on http://ADDRESS`; the log goes to standard error.
SIGTERM and Ctrl-C drain: no new calls, requests under way are finished, exit code 0. A second one ends it at once; \
nothing is lost by that, unfinished deliveries go on with the next start.";

/// Runs the engine until SIGTERM or SIGINT, then drains it. A second signal ends it at once: what was under way is
/// taken up again by the next start.
pub(super) async fn serve(settings: &SettingsArgs, screen: Screen) -> Result<(), Failure> {
    let server = start(settings.config()?).await?;
    if let Some(token) = server.first_token() {
        screen.line(format!("first admin token, shown only this once: {}", token.expose()))?;
    }
    // The last line of the start: whoever waits for it can call the API.
    screen.line(format!("listening on {}", server.url()))?;
    let mut stop = StopSignals::listen()?;
    stop.next().await;
    tracing::info!("stopping: no new calls, what is under way is finished; a second signal ends it at once");
    tokio::select! {
        () = server.stop() => {}
        () = stop.next() => tracing::warn!("stopped at once; unfinished deliveries go on with the next start"),
    }
    Ok(())
}

/// Brings the database to this version's schema, and nothing else: no worker starts, nothing is delivered.
pub(super) async fn migrate(settings: &SettingsArgs, screen: Screen) -> Result<(), Failure> {
    let config = settings.config()?;
    telemetry::init(&config.log).map_err(Failure::usage)?;
    let key = match installation::key(&config) {
        Key::There(key) => key,
        Key::Absent(path) => {
            let path = path.display();
            return Err(Failure::usage(format!(
                "there is neither secret_key nor {path}, so nothing was started here yet; `engate serve` makes the \
                 database and the key, or set ENGATE_SECRET_KEY"
            )));
        }
        Key::Unusable(path, cause) => return Err(Failure::usage(format!("{}: {cause}", path.display()))),
    };
    let store = installation::open_store(&config, key).await.map_err(Failure::failed)?;
    let backend = store.backend();
    store.close().await;
    screen.line(format!("The {backend} database is of this version's schema."))
}

async fn start(config: Config) -> Result<Server, Failure> {
    telemetry::init(&config.log).map_err(Failure::usage)?;
    Server::start(config, Arc::new(SystemClock), Chance::from_machine()).await.map_err(Failure::failed)
}

/// SIGTERM and SIGINT.
pub(super) struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// From now on these signals no longer end the process.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Ends with the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
