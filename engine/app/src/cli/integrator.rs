//! `engate integrator`: partner companies.

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    failure::Failure,
    given, object,
    present::{Field, Screen, plain},
    remote::{Guard, Remote},
};

/// `engate integrator`
#[derive(Debug, Subcommand)]
pub(super) enum IntegratorCommand {
    /// List integrators
    List,
    /// Show one integrator
    Show {
        /// Its slug or id
        integrator: String,
    },
    /// Enter an integrator; its endpoints need at least one service
    #[command(after_help = "\
Example:
  engate integrator create acme --name 'Acme Ltda.' --service orders --service bills")]
    Create {
        /// What it is named by: lower-case letters, digits and . - _
        slug: String,

        #[command(flatten)]
        fields: FieldArgs,
    },
    /// Change what is given of an integrator; the rest stays
    #[command(after_help = "\
Examples:
  engate integrator update acme --active false        its endpoints get no events from now on
  engate integrator update acme --plugin acme-orders@stable --config acme.json")]
    Update(UpdateArgs),
    /// Delete an integrator that never had an endpoint; others are made inactive (update --active false)
    Delete {
        /// Its slug or id
        integrator: String,

        #[command(flatten)]
        guard: Guard,
    },
}

/// What an integrator is.
#[derive(Debug, Args)]
pub(super) struct FieldArgs {
    /// What people read (new: the slug)
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Whether its endpoints get events; a new one's do
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    active: Option<bool>,

    /// A service it offers; may be given several times, and is all of them
    #[arg(long = "service", value_name = "TEXT")]
    services: Vec<String>,

    /// The plugin of its endpoints that name none
    #[arg(long, value_name = "NAME|NAME@VERSION|NAME@CHANNEL")]
    plugin: Option<String>,

    /// Settings of its endpoints' plugins, a JSON object: a file, - for standard input, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON")]
    config: Option<String>,
}

/// Changes of an integrator.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Its slug or id
    integrator: String,

    /// What it is named by from now on
    #[arg(long, value_name = "SLUG")]
    slug: Option<String>,

    #[command(flatten)]
    fields: FieldArgs,

    /// Take one of its fields away
    #[arg(long = "clear", value_name = "FIELD")]
    #[arg(value_parser = PossibleValuesParser::new(["services", "plugin", "config"]))]
    cleared: Vec<String>,

    #[command(flatten)]
    guard: Guard,
}

impl FieldArgs {
    /// What was given, as the API takes it.
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let config = self.config.as_deref().map(|source| given::json("--config", source)).transpose()?;
        Ok(given::fields([
            ("name", self.name.map(Value::from)),
            ("active", self.active.map(Value::from)),
            ("services", (!self.services.is_empty()).then(|| json!(self.services))),
            ("plugin", self.plugin.map(Value::from)),
            ("config", config),
        ]))
    }
}

impl UpdateArgs {
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = self.fields.body()?;
        body.extend(self.slug.map(|slug| ("slug".to_owned(), Value::from(slug))));
        given::clear(&mut body, &self.cleared, |name| if name == "services" { json!([]) } else { Value::Null })?;
        Ok(body)
    }
}

#[derive(Deserialize)]
struct Integrator {
    id: String,
    slug: String,
    name: String,
    active: bool,
    services: Vec<String>,
    #[serde(default)]
    plugin: Option<String>,
}

/// Runs `engate integrator`.
pub(super) async fn run(command: IntegratorCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        IntegratorCommand::List => list(&client, screen).await,
        IntegratorCommand::Show { integrator } => {
            object::show(&client, &["v1", "integrators", &integrator], screen).await
        }
        IntegratorCommand::Create { slug, fields } => {
            let mut body = fields.body()?;
            body.insert("slug".to_owned(), slug.into());
            object::print(&client.send(Method::POST, &["v1", "integrators"], &body).await?, None, screen)
        }
        IntegratorCommand::Update(args) => {
            let (integrator, tag) = (args.integrator.clone(), args.guard.tag().map(str::to_owned));
            let path = ["v1", "integrators", integrator.as_str()];
            let changed = object::update(&client, &path, args.body()?, tag.as_deref(), "integrator update").await?;
            object::print(&changed, None, screen)
        }
        IntegratorCommand::Delete { integrator, guard } => {
            let sentence = format!("{} is deleted.", plain(&integrator));
            object::delete(&client, &["v1", "integrators", &integrator], &guard, &sentence, screen).await
        }
    }
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "integrators"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Integrator>()?.into_iter().map(|integrator| {
        vec![
            Field::new(&integrator.slug),
            Field::new(&integrator.name),
            Field::yes_or_no(integrator.active),
            Field::new(integrator.services.join(", ")),
            Field::new(integrator.plugin.as_deref().unwrap_or("-")),
            Field::new(&integrator.id),
        ]
    });
    let header = ["SLUG", "NAME", "ACTIVE", "SERVICES", "PLUGIN", "ID"];
    screen.table(&header, rows.collect(), "No integrator yet; `engate integrator create` enters one.")
}
