//! `engate inbound`: where partners call us.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    client::{Client, read},
    failure::Failure,
    given, object,
    present::{Field, Screen, plain},
    remote::{Guard, Remote},
};

/// `engate inbound`
#[derive(Debug, Subcommand)]
pub(super) enum InboundCommand {
    /// List inbounds
    List,
    /// Let a plugin answer a partner's calls at /v1/inbound/NAME
    Create(CreateArgs),
    /// Change what is given of an inbound; its name and the rest stay
    Update(UpdateArgs),
    /// Show one inbound
    Show {
        /// Its name, as `engate inbound list` prints it
        name: String,
    },
    /// Delete an inbound and what its plugin kept for it; the events that came by it stay
    Delete {
        /// Its name, as `engate inbound list` prints it
        name: String,

        #[command(flatten)]
        guard: Guard,
    },
}

/// A new inbound.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What it is called by, in the path
    name: String,

    /// The plugin that checks and answers the calls, of the world receiver
    #[arg(long, value_name = "NAME|NAME@VERSION|NAME@CHANNEL")]
    plugin: String,

    /// What people call it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Settings for the plugin, a JSON object: a file, - for standard input, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON")]
    config: Option<String>,

    /// Largest body it takes; without it 1048576
    #[arg(long, value_name = "BYTES")]
    max_body_bytes: Option<u32>,

    /// Calls a second that it takes, over time
    #[arg(long, value_name = "NUMBER", requires = "burst")]
    per_second: Option<u32>,

    /// Calls at once that it takes, after a pause
    #[arg(long, value_name = "NUMBER", requires = "per_second")]
    burst: Option<u32>,
}

/// Changes of an inbound.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Its name, as `engate inbound list` prints it
    name: String,

    /// The plugin that checks and answers the calls
    #[arg(long, value_name = "NAME|NAME@VERSION|NAME@CHANNEL")]
    plugin: Option<String>,

    /// What people call it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Settings for the plugin, all of them, a JSON object: a file, - for standard input, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON")]
    config: Option<String>,

    /// Take the plugin's settings away
    #[arg(long, conflicts_with = "config")]
    no_config: bool,

    /// Whether it answers; one that does not is as if it were not there
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    enabled: Option<bool>,

    /// Largest body it takes
    #[arg(long, value_name = "BYTES")]
    max_body_bytes: Option<u32>,

    /// Calls a second that it takes, over time
    #[arg(long, value_name = "NUMBER", requires = "burst")]
    per_second: Option<u32>,

    /// Calls at once that it takes, after a pause
    #[arg(long, value_name = "NUMBER", requires = "per_second")]
    burst: Option<u32>,

    #[command(flatten)]
    guard: Guard,
}

impl UpdateArgs {
    /// What was given, as the API takes it.
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let config = self.config.as_deref().map(|source| given::json("--config", source)).transpose()?;
        let rate = self.per_second.zip(self.burst);
        let rate = rate.map(|(per_second, burst)| json!({ "per_second": per_second, "burst": burst }));
        Ok(given::fields([
            ("plugin", self.plugin.clone().map(Value::from)),
            ("description", self.description.clone().map(Value::from)),
            ("config", if self.no_config { Some(Value::Null) } else { config }),
            ("enabled", self.enabled.map(Value::from)),
            ("max_body_bytes", self.max_body_bytes.map(Value::from)),
            ("rate_limit", rate),
        ]))
    }
}

#[derive(Serialize)]
struct NewInbound<'a> {
    name: &'a str,
    plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_body_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Rate>,
}

#[derive(Serialize, Deserialize)]
struct Rate {
    per_second: u32,
    burst: u32,
}

#[derive(Deserialize)]
struct Inbound {
    name: String,
    path: String,
    #[serde(default)]
    description: String,
    plugin: String,
    enabled: bool,
    max_body_bytes: u32,
    rate_limit: Rate,
}

/// Runs `engate inbound`.
pub(super) async fn run(command: InboundCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        InboundCommand::List => list(&client, screen).await,
        InboundCommand::Create(args) => create(&args, &client, screen).await,
        InboundCommand::Update(args) => {
            let (path, tag) = (["v1", "inbounds", args.name.as_str()], args.guard.tag());
            show(&object::update(&client, &path, args.body()?, tag, "inbound update").await?, None, screen)
        }
        InboundCommand::Show { name } => {
            let (answer, tag) = client.get_tagged(&["v1", "inbounds", &name]).await?;
            show(&answer, tag.as_deref(), screen)
        }
        InboundCommand::Delete { name, guard } => {
            let sentence = format!("{} is deleted; its next call finds nothing.", plain(&name));
            object::delete(&client, &["v1", "inbounds", &name], &guard, &sentence, screen).await
        }
    }
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "inbounds"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Inbound>()?.into_iter().map(|inbound| {
        vec![
            Field::new(&inbound.name),
            Field::new(&inbound.description),
            Field::new(&inbound.path),
            Field::new(&inbound.plugin),
            Field::yes_or_no(inbound.enabled),
        ]
    });
    let header = ["NAME", "DESCRIPTION", "PATH", "PLUGIN", "ENABLED"];
    screen.table(&header, rows.collect(), "No inbound yet; `engate inbound create` makes one.")
}

async fn create(args: &CreateArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let body = NewInbound {
        name: &args.name,
        plugin: &args.plugin,
        description: args.description.as_deref(),
        config: args.config.as_deref().map(|source| given::json("--config", source)).transpose()?,
        max_body_bytes: args.max_body_bytes,
        rate_limit: args.per_second.zip(args.burst).map(|(per_second, burst)| Rate { per_second, burst }),
    };
    show(&client.send(Method::POST, &["v1", "inbounds"], &body).await?, None, screen)
}

fn show(answer: &str, tag: Option<&str>, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let inbound: Inbound = read(answer)?;
    let Rate { per_second, burst } = inbound.rate_limit;
    let mut facts = vec![
        ("name", Field::new(&inbound.name)),
        ("path", Field::new(&inbound.path)),
        ("description", Field::new(&inbound.description)),
        ("plugin", Field::new(&inbound.plugin)),
        ("enabled", Field::yes_or_no(inbound.enabled)),
        ("max body bytes", Field::number(inbound.max_body_bytes)),
        ("calls", Field::new(format!("{per_second} a second, {burst} at once"))),
    ];
    facts.extend(tag.map(|tag| ("etag", Field::new(tag))));
    screen.facts(&facts)
}
