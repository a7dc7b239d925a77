//! `engate endpoint`: the registered URLs of partners.

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{Client, read},
    failure::{Exit, Failure},
    present::{Field, Screen, Tone, short_time},
    remote::Remote,
    sendings,
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
    /// Show the catalogue as one endpoint has it: what it subscribes to, and how the last notification of each went
    Catalog {
        /// The endpoint's id (ep_...)
        id: String,
    },
    /// Send the newest version of one event type now, and say how it went (Enviar)
    #[command(after_help = SEND_HELP)]
    Send {
        /// The endpoint's id (ep_...)
        id: String,
        /// Key of the event type, as `engate endpoint catalog` prints it
        event_type: String,
    },
    /// Send the newest version of every event type that the endpoint subscribes to (Enviar Tudo)
    #[command(after_help = SEND_HELP)]
    SendAll {
        /// The endpoint's id (ep_...)
        id: String,
    },
    /// Send the newest version of every subscribed event type whose last attempt failed (Reenviar Pendentes)
    #[command(after_help = SEND_HELP)]
    ResendPending {
        /// The endpoint's id (ep_...)
        id: String,
    },
    /// Try the endpoint with an example event, once; the catalogue's statuses stay as they are
    #[command(after_help = SEND_HELP)]
    Test {
        /// The endpoint's id (ep_...)
        id: String,
        /// Key of an event type; without it the first that the endpoint subscribes to
        #[arg(long, value_name = "KEY")]
        event_type: Option<String>,
        /// The payload, as JSON; without it that of the newest event of the type, else a small example
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
    },
}

/// What sending adds to its help.
const SEND_HELP: &str = "Exit code 0 if the partner took all that was sent, 1 if it did not.";

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
pub(super) async fn run(command: EndpointCommand, remote: &Remote) -> Result<Exit, Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    let post =
        async |id: &str, action: &[&str]| client.act(Method::POST, &[&["v1", "endpoints", id], action].concat()).await;
    match command {
        EndpointCommand::List { integrator } => list(integrator, &client, screen).await.map(|()| Exit::Done),
        EndpointCommand::Show { id } => show(&id, &client, screen).await.map(|()| Exit::Done),
        EndpointCommand::Catalog { id } => catalog(&id, &client, screen).await.map(|()| Exit::Done),
        EndpointCommand::Send { id, event_type } => {
            sendings::one(&post(&id, &["event-types", &event_type, "send"]).await?, screen)
        }
        EndpointCommand::SendAll { id } => sendings::all(&post(&id, &["send-all"]).await?, screen),
        EndpointCommand::ResendPending { id } => sendings::all(&post(&id, &["resend-pending"]).await?, screen),
        EndpointCommand::Test { id, event_type, payload } => {
            let body = sendings::trial(event_type, payload.as_deref())?;
            let path = ["v1", "endpoints", id.as_str(), "test"];
            sendings::one(&client.send(Method::POST, &path, &body).await?, screen)
        }
    }
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

/// An event type as the endpoint's catalogue tells it.
#[derive(Deserialize)]
struct CatalogType {
    key: String,
    title: String,
    subscribed: bool,
    status: String,
    at: Option<String>,
    code: Option<i64>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct CatalogProcess {
    process: String,
    event_types: Vec<CatalogType>,
}

#[derive(Deserialize)]
struct CatalogGroup {
    macro_process: String,
    processes: Vec<CatalogProcess>,
}

#[derive(Deserialize)]
struct Catalog {
    groups: Vec<CatalogGroup>,
}

async fn catalog(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.get(&["v1", "endpoints", id, "catalog"], &[]).await?;
    if screen.json {
        return screen.line(answer);
    }
    let catalog: Catalog = read(&answer)?;
    let mut rows = Vec::new();
    for group in &catalog.groups {
        for process in &group.processes {
            for one in &process.event_types {
                let (mark, tone) = if one.subscribed { ("yes", Tone::Good) } else { ("no", Tone::Faint) };
                rows.push(vec![
                    Field::new(&group.macro_process),
                    Field::new(&process.process),
                    Field::new(&one.key),
                    Field::new(&one.title),
                    Field::new(mark).tone(tone),
                    Field::code(&one.status),
                    Field::new(one.at.as_deref().map_or_else(|| "-".to_owned(), short_time)),
                    Field::new(one.code.map_or_else(|| "-".to_owned(), |code| code.to_string())),
                    Field::new(one.reason.as_deref().unwrap_or("-")),
                ]);
            }
        }
    }
    let header =
        ["MACRO-PROCESS", "PROCESS", "EVENT TYPE", "TITLE", "SUBSCRIBED", "LAST", "AT (UTC)", "CODE", "REASON"];
    screen.table(&header, rows, "The catalogue has no event type yet.")
}

/// A JSON value for people: text without quotes, nothing as a dash.
fn spelled(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
