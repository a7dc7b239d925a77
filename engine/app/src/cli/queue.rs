//! `engate queue`: what waits for each endpoint, and whether it is to go.

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, plain, short_time},
    remote::Remote,
};

/// `engate queue`
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List the queues that hold anything, are paused, or whose endpoint is down
    List,
    /// Pause an endpoint's queue on every node: nothing of it goes until it is resumed, no try is spent
    Pause {
        /// The endpoint's id (ep_...), as `engate endpoint list` prints it
        endpoint: String,
    },
    /// Resume an endpoint's queue: all that waited is due now
    Resume {
        /// The endpoint's id (ep_...)
        endpoint: String,
    },
}

/// A queue as the API tells it.
#[derive(Deserialize)]
struct Queue {
    endpoint: String,
    depth: u64,
    #[serde(default)]
    oldest_age_ms: Option<u64>,
    in_flight: u32,
    #[serde(default)]
    next_attempt_at: Option<String>,
    #[serde(default)]
    held: Option<String>,
}

/// Runs `engate queue`.
pub(super) async fn run(command: QueueCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        QueueCommand::List => list(&client, screen).await,
        QueueCommand::Pause { endpoint } => set(&endpoint, "pause", &client, screen).await,
        QueueCommand::Resume { endpoint } => set(&endpoint, "resume", &client, screen).await,
    }
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "queues"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Queue>()?.into_iter().map(|queue| {
        let age = queue.oldest_age_ms.map(|age| format!("{} s", age / 1_000));
        vec![
            Field::new(&queue.endpoint),
            Field::number(queue.depth),
            Field::number(queue.in_flight),
            Field::new(age.as_deref().unwrap_or("-")),
            Field::new(queue.next_attempt_at.as_deref().map_or_else(|| "-".to_owned(), short_time)),
            Field::code(queue.held.as_deref().unwrap_or("-")),
        ]
    });
    let header = ["ENDPOINT", "DEPTH", "IN FLIGHT", "OLDEST", "NEXT (UTC)", "HELD"];
    screen.table(&header, rows.collect(), "Nothing waits.")
}

async fn set(endpoint: &str, verb: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.act(Method::POST, &["v1", "queues", endpoint, verb]).await?;
    if screen.json {
        return screen.line(answer);
    }
    let queue: Queue = read(&answer)?;
    let (name, depth) = (plain(endpoint), queue.depth);
    screen.line(match queue.held.as_deref() {
        Some("paused") => format!("{name} is paused; {depth} wait"),
        Some(held) => format!("{name} is not paused, but held: {}; {depth} wait", plain(held)),
        None => format!("{name} goes on; {depth} wait"),
    })
}
