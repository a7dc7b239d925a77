//! `engate endpoint`: the registered URLs of partners, and what is done with them.

mod auth;
mod fields;

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use self::fields::{CreateArgs, OPTIONS, UpdateArgs};
use super::{
    client::{Client, read},
    failure::{Exit, Failure},
    object,
    present::{Field, Screen, Tone, plain, short_time},
    remote::{Guard, Remote},
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
    /// Register a URL of a partner; its signing secret is printed this once
    #[command(after_help = CREATE_HELP)]
    Create(Box<CreateArgs>),
    /// Change what is given of an endpoint; the rest stays, and attempts that have not begun run under the new settings
    #[command(after_help = UPDATE_HELP)]
    Update(Box<UpdateArgs>),
    /// Delete an endpoint; its deliveries that have not finished are called off
    Delete {
        /// The endpoint's id (ep_...)
        id: String,

        #[command(flatten)]
        guard: Guard,
    },
    /// Make a new signing secret, printed this once; the old one signs beside it for 24 hours
    RotateSecret {
        /// The endpoint's id (ep_...)
        id: String,
    },
    /// Challenge one endpoint; one that passes may hear of the engine's own facts (`delivery.failed`)
    ///
    /// It is sent a random value and passes by answering with it. Ends with exit code 1 where it does not.
    Verify {
        /// The endpoint's id (ep_...)
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

/// What `engate endpoint create --help` adds.
const CREATE_HELP: &str = "\
Here --url is the partner's; the engine's own is ENGATE_URL, --engine-url, or --url before the command.

Examples:
  engate endpoint create --integrator acme --url https://acme.example/hook --event-type 'order.*'
  engate endpoint create --integrator ons --url https://ons.example/in --event-type boletim.diario \\
    --description Boletins --plugin sintegre --auth basic --auth-user ons --auth-secret-file ons.password
  pass show acme/key | engate endpoint create --integrator acme --event-type '*' \\
    --url https://acme.example/hook --auth header --auth-header x-api-key --auth-secret-file -";

/// What `engate endpoint update --help` adds.
const UPDATE_HELP: &str = "\
Here --url is the partner's; the engine's own is ENGATE_URL, --engine-url, or --url before the command.
An authentication of the same type keeps its secret where none is given.

Examples:
  engate endpoint update ep_... --url https://acme.example/new-hook
  engate endpoint update ep_... --subscribe boletim.mensal --unsubscribe boletim.diario
  engate endpoint update ep_... --auth mtls --auth-certificate client.pem --auth-secret-file client.key
  engate endpoint update ep_... --retry 0,5s,1m,1h --rate-limit 20/40 --clear filter";

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
    /// The signing key, only in the answers to a registration and a rotation.
    #[serde(default)]
    signing_secret: Option<String>,
    #[serde(default)]
    signing: Signing,
}

/// How an endpoint's requests are signed.
#[derive(Default, Deserialize)]
struct Signing {
    /// Until when the key before signs as well.
    #[serde(default)]
    previous_until: Option<String>,
}

/// Runs `engate endpoint`.
pub(super) async fn run(command: EndpointCommand, remote: &Remote) -> Result<Exit, Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    let post =
        async |id: &str, action: &[&str]| client.act(Method::POST, &[&["v1", "endpoints", id], action].concat()).await;
    match command {
        EndpointCommand::List { integrator } => list(integrator, &client, screen).await.map(|()| Exit::Done),
        EndpointCommand::Show { id } => {
            object::show(&client, &["v1", "endpoints", &id], screen).await.map(|()| Exit::Done)
        }
        EndpointCommand::Create(args) => {
            let body = args.body()?;
            let made = client.send(Method::POST, &["v1", "endpoints"], &body).await;
            told_once(&made.map_err(|failure| failure.naming_options(OPTIONS))?, screen).map(|()| Exit::Done)
        }
        EndpointCommand::Update(args) => update(&args, &client, screen).await.map(|()| Exit::Done),
        EndpointCommand::Delete { id, guard } => {
            let sentence = format!("{} is deleted; what had not finished is called off.", plain(&id));
            let path = ["v1", "endpoints", id.as_str()];
            object::delete(&client, &path, &guard, &sentence, screen).await.map(|()| Exit::Done)
        }
        EndpointCommand::RotateSecret { id } => {
            told_once(&post(&id, &["rotate-secret"]).await?, screen).map(|()| Exit::Done)
        }
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
        EndpointCommand::Verify { id } => verify(&id, &client, screen).await.map(|()| Exit::Done),
    }
}

async fn update(args: &UpdateArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let path = ["v1", "endpoints", args.id.as_str()];
    let (mut body, mut tag) = (args.body()?, args.guard.tag().map(str::to_owned));
    if args.is_relative() {
        // Whoever edits it between the two calls must not lose what they ticked.
        let (answer, present) = client.get_tagged(&path).await?;
        let event_types = args.event_types(read::<Endpoint>(&answer)?.event_types)?;
        body.insert("event_types".to_owned(), json!(event_types));
        tag = tag.or(present);
    }
    let changed = object::update(client, &path, body, tag.as_deref(), "endpoint update").await;
    object::print(&changed.map_err(|failure| failure.naming_options(OPTIONS))?, None, screen)
}

/// Shows an endpoint whose signing key is told this once.
fn told_once(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let endpoint: Endpoint = read(answer)?;
    let mut facts = vec![
        ("id", Field::new(&endpoint.id)),
        ("partner", Field::new(&endpoint.integrator)),
        ("description", Field::new(&endpoint.description)),
        ("url", Field::new(&endpoint.url)),
        ("event types", Field::new(endpoint.event_types.join(", "))),
        ("signing secret", Field::new(endpoint.signing_secret.as_deref().unwrap_or("not in the answer"))),
    ];
    let until = endpoint.signing.previous_until.as_deref();
    facts.extend(until.map(|until| ("old one signs until", Field::new(format!("{} (UTC)", short_time(until))))));
    screen.facts(&facts)?;
    screen.line("Keep the signing secret now: it is shown only this once.")
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
        vec![
            Field::new(&endpoint.id),
            Field::new(&endpoint.integrator),
            Field::new(&endpoint.description),
            Field::new(&endpoint.url),
            Field::new(endpoint.plugin.as_deref().unwrap_or("-")),
            Field::yes_or_no(endpoint.enabled),
            Field::new(endpoint.event_types.join(", ")),
        ]
    });
    let header = ["ID", "PARTNER", "DESCRIPTION", "URL", "PLUGIN", "ENABLED", "EVENT TYPES"];
    screen.table(&header, rows.collect(), "No endpoint yet; `engate endpoint create` registers one.")
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
