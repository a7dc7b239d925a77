//! `engate-carol-stub`: the stand-in as a process of its own.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use engate_carol_stub::{Error, Options, Stub};
use tracing_subscriber::EnvFilter;

/// A local stand-in for Carol, RAC, SmartLink and TOTVS provisioning, for tests of what sends to them.
///
/// It listens, prints one line of JSON with its address and the credentials it knows, and serves until it is told to
/// end (Ctrl-C, SIGTERM). Every accepted record is on disk in DIR/carol-stub.db before its answer leaves; starting again
/// on the same DIR goes on with what is there.
///
/// The services: /api/v2|v3/staging/..., /api/v5/oauth2/token, /api/v2/apiKey/..., /totvs.rac/connect/token,
/// /api/v1/services, /api/carol-definitions/v1/..., /api/v1/link/..., /api/v1/ingestion. Ask what arrived at
/// /_stub/tables, /_stub/tables/TABLE/rows, /_stub/counts, /_stub/requests, /_stub/batches; order failures at
/// /_stub/faults, such as {"match": {"path": "/api/v3/staging/intake/*"}, "action": {"do": "answer", "status": 429},
/// "rate": 0.2, "seed": 7}. It protects nothing: give it no real credential and no address that strangers reach.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder of its store, made when it is not there.
    #[arg(long)]
    data: PathBuf,
    /// The client that RAC knows from the start; more with POST /_stub/clients.
    #[arg(long, default_value = "protheus")]
    client_id: String,
    /// Its secret.
    #[arg(long, default_value = "protheus-secret")]
    client_secret: String,
    /// Seconds that a token lives.
    #[arg(long, default_value_t = engate_carol_stub::TOKEN_TTL_S)]
    token_ttl_s: u32,
    /// Milliseconds after which a SmartLink message that nobody acknowledged is offered again.
    #[arg(long, default_value_t = engate_carol_stub::MESSAGE_HOLD_MS)]
    message_hold_ms: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let options = Options {
        listen: arguments.listen,
        client_id: arguments.client_id,
        client_secret: arguments.client_secret,
        token_ttl_s: arguments.token_ttl_s,
        message_hold_ms: arguments.message_hold_ms,
        ..Options::new(arguments.data)
    };
    let stub = Stub::start(options).await?;
    println!("{}", serde_json::to_string(stub.ready()).unwrap_or_default());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    stub.stop().await;
    Ok(())
}
