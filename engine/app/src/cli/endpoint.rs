//! `engate endpoint`: the registered URLs of partners.

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, Tone, plain},
    remote::Remote,
};

/// `engate endpoint`
#[derive(Debug, Subcommand)]
pub(super) enum EndpointCommand {
    /// List endpoints
    List {
        /// Only this partner's: its slug or id
        #[arg(long, value_name = "SLUG|ID")]
        integrator: Option<String>,
    },
    /// Show one endpoint; secrets are write-only and never shown
    Show {
        /// The endpoint's id (ep_...), as `engate endpoint list` prints it
        id: String,
    },
    /// Challenge one endpoint; one that passes may hear of the engine's own facts (`delivery.failed`)
    ///
    /// It is sent a random value and passes by answering with it. Ends with exit code 1 where it does not.
    Verify {
        /// The endpoint's id (ep_...)
        id: String,
    },
}

#[derive(Deserialize)]
struct Endpoint {
    id: String,
    integrator: String,
    #[serde(default)]
    description: String,
    url: String,
    #[serde(default)]
    plugin: Option<String>,
    #[serde(default)]
    event_types: Vec<String>,
    enabled: bool,
}

/// Runs `engate endpoint`.
pub(super) async fn run(command: EndpointCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        EndpointCommand::List { integrator } => list(integrator, &client, screen).await,
        EndpointCommand::Show { id } => show(&id, &client, screen).await,
        EndpointCommand::Verify { id } => verify(&id, &client, screen).await,
    }
}

async fn verify(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Verification {
        verified: bool,
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let answer = client.act(Method::POST, &["v1", "endpoints", id, "verify"]).await?;
    let verification: Verification = read(&answer)?;
    if screen.json {
        screen.line(answer)?;
    } else if verification.verified {
        screen.line(format!("{} passed the challenge", plain(id)))?;
    }
    if verification.verified {
        return Ok(());
    }
    let code = verification.code.as_deref().unwrap_or("unknown");
    let message = verification.message.as_deref().unwrap_or_default();
    Err(Failure::failed(format!("{} did not pass the challenge: {}: {}", plain(id), plain(code), plain(message))))
}

async fn list(integrator: Option<String>, client: &Client, screen: Screen) -> Result<(), Failure> {
    let query: Vec<_> = integrator.map(|integrator| ("integrator", integrator)).into_iter().collect();
    let listing = client.list_all(&["v1", "endpoints"], &query).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Endpoint>()?.into_iter().map(|endpoint| {
        let (on, tone) = if endpoint.enabled { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        vec![
            Field::new(&endpoint.id),
            Field::new(&endpoint.integrator),
            Field::new(&endpoint.description),
            Field::new(&endpoint.url),
            Field::new(endpoint.plugin.as_deref().unwrap_or("-")),
            Field::new(on).tone(tone),
            Field::new(endpoint.event_types.join(", ")),
        ]
    });
    let header = ["ID", "PARTNER", "DESCRIPTION", "URL", "PLUGIN", "ENABLED", "EVENT TYPES"];
    screen.table(&header, rows.collect(), "No endpoint yet; `POST /v1/endpoints` registers one.")
}

async fn show(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.get(&["v1", "endpoints", id], &[]).await?;
    if screen.json {
        return screen.line(answer);
    }
    let Value::Object(endpoint) = read(&answer)? else { return screen.line(answer) };
    let facts: Vec<_> = endpoint.iter().map(|(name, value)| (name.as_str(), Field::new(spelled(value)))).collect();
    screen.facts(&facts)
}

/// A JSON value for people: text without quotes, nothing as a dash.
fn spelled(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
