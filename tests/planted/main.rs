//! `engate serve` with a fault planted, by the variable `ENGATE_PLANTED`:
//! - `early_ack`: it answers producers before the commit; the kill test must catch it.
//! - `dies:POINT:N`: it ends itself by SIGKILL when the work of a sync comes by POINT for the N-th time.
//!
//! `ENGATE_PLANTED_CLOCK` sets its clock apart from the machine's, by so many seconds. Without the variables it is the engine
//! as it is.

use std::{process::ExitCode, sync::Arc};

use engate::{
    clock::{Chance, SystemClock},
    config::{Config, load},
    planted::{Death, Planted, Point},
    serve::Server,
    telemetry,
};
use engate_model::{Clock, Timestamp};
use engate_store::{Acknowledge, StoreOptions};

/// The flags that the tests give; everything else comes from the environment.
const FLAGS: [(&str, &str); 3] = [("--listen", "listen"), ("--database", "database"), ("--data", "data")];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("serve") {
        // The compiler of plugins, and what else a test asks of the program.
        return engate::cli::main();
    }
    match tokio::runtime::Runtime::new()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(serve()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), String> {
    let arguments: Vec<_> = std::env::args().skip(2).collect();
    let flag = |name: &str| FLAGS.iter().find(|(flag, _)| *flag == name).map(|(_, key)| *key);
    let flags: Vec<_> = arguments
        .chunks_exact(2)
        .filter_map(|pair| if let [name, value] = pair { Some((flag(name)?, value.clone())) } else { None })
        .collect();
    let loaded = load(None, |name| std::env::var(name).ok(), &flags).map_err(|error| error.to_string())?;
    let loaded = loaded.with_connections(std::env::vars()).map_err(|error| error.to_string())?;
    let config = Config::parse(&loaded).map_err(|error| error.to_string())?;
    telemetry::init(&config.log)?;
    let planted = planted(&std::env::var("ENGATE_PLANTED").unwrap_or_default())?;
    let clock = Apart::read(&std::env::var("ENGATE_PLANTED_CLOCK").unwrap_or_default())?;
    let started = Server::start_with(config, Arc::new(clock), Chance::from_machine(), planted).await;
    let server = started.map_err(|error| error.to_string())?;
    println!("listening on http://{}", server.address());
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|error| error.to_string())?;
    terminate.recv().await;
    server.stop().await;
    Ok(())
}

/// The machine's clock, or one that is apart from it.
#[derive(Debug)]
struct Apart {
    micros: i64,
}

impl Apart {
    fn read(seconds: &str) -> Result<Self, String> {
        if seconds.is_empty() {
            return Ok(Self { micros: 0 });
        }
        let seconds: i64 = seconds.parse().map_err(|_| format!("ENGATE_PLANTED_CLOCK: {seconds} are no seconds"))?;
        Ok(Self { micros: seconds * 1_000_000 })
    }
}

impl Clock for Apart {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().as_micros() + self.micros)
    }
}

fn planted(text: &str) -> Result<Planted, String> {
    let parts: Vec<_> = text.split(':').collect();
    match parts.as_slice() {
        [""] => Ok(Planted::default()),
        ["early_ack"] => {
            let store = StoreOptions { acknowledge: Acknowledge::BeforeCommit, ..StoreOptions::default() };
            Ok(Planted { store, death: None })
        }
        ["dies", point, pass] => match (Point::named(point), pass.parse()) {
            (Some(point), Ok(pass)) => Ok(Planted { death: Some(Death::new(point, pass)), ..Planted::default() }),
            _ => Err(format!("ENGATE_PLANTED: there is no {text}")),
        },
        _ => Err(format!("ENGATE_PLANTED: there is no {text}")),
    }
}
