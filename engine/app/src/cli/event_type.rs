//! `engate event-type`: the catalogue, and where each type of event is used.

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    client::Client,
    failure::Failure,
    given, object,
    present::{Field, Screen, plain},
    remote::{Guard, Remote},
};

/// `engate event-type`
#[derive(Debug, Subcommand)]
pub(super) enum EventTypeCommand {
    /// List the catalogue
    List,
    /// Show one type of event with its schema
    Show {
        /// Its key (order.created)
        key: String,
    },
    /// Enter a type of event into the catalogue
    #[command(after_help = "\
Example:
  engate event-type create boletim.diario --title 'Boletim diário' --macro-process Operação --process 'Tempo real' \\
    --schema boletim.schema.json")]
    Create {
        /// What producers and endpoints name it by: letters, digits and . - _ / :
        key: String,

        #[command(flatten)]
        fields: FieldArgs,
    },
    /// Change what is given of a type; the rest stays. Of the engine's own types only --enabled may change
    #[command(after_help = "\
Examples:
  engate event-type update order.created --schema order.schema.json
  engate event-type update order.created --enabled false     its events go nowhere from now on")]
    Update(UpdateArgs),
    /// Delete a type that no endpoint names; the engine's own stay
    Delete {
        /// Its key
        key: String,

        #[command(flatten)]
        guard: Guard,
    },
    /// List the endpoints that hear of a type
    Usage {
        /// Its key
        key: String,
    },
}

/// What a type is.
#[derive(Debug, Args)]
pub(super) struct FieldArgs {
    /// What people read (new: the key)
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// First level of the catalogue's tree
    #[arg(long, value_name = "TEXT")]
    macro_process: Option<String>,

    /// Second level of the catalogue's tree
    #[arg(long, value_name = "TEXT")]
    process: Option<String>,

    /// Whether its events go anywhere; a new one's do
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    enabled: Option<bool>,

    /// The JSON Schema that payloads have to meet: a file, - for standard input, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON")]
    schema: Option<String>,
}

/// Changes of a type.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Its key, which cannot change
    key: String,

    #[command(flatten)]
    fields: FieldArgs,

    /// Take one of its fields away; without a schema any payload is taken
    #[arg(long = "clear", value_name = "FIELD")]
    #[arg(value_parser = PossibleValuesParser::new(["title", "macro-process", "process", "schema"]))]
    cleared: Vec<String>,

    #[command(flatten)]
    guard: Guard,
}

impl FieldArgs {
    /// What was given, as the API takes it.
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let schema = self.schema.as_deref().map(|source| given::json("--schema", source)).transpose()?;
        Ok(given::fields([
            ("title", self.title.map(Value::from)),
            ("macro_process", self.macro_process.map(Value::from)),
            ("process", self.process.map(Value::from)),
            ("enabled", self.enabled.map(Value::from)),
            ("schema", schema),
        ]))
    }
}

impl UpdateArgs {
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = self.fields.body()?;
        given::clear(&mut body, &self.cleared, |name| if name == "schema" { Value::Null } else { Value::from("") })?;
        Ok(body)
    }
}

#[derive(Deserialize)]
struct EventType {
    key: String,
    title: String,
    macro_process: String,
    process: String,
    system: bool,
    enabled: bool,
    #[serde(default)]
    schema: Option<Value>,
}

/// An endpoint that hears of a type.
#[derive(Deserialize)]
struct Use {
    endpoint: String,
    description: String,
    integrator_slug: String,
    enabled: bool,
    subscription: String,
}

/// Runs `engate event-type`.
pub(super) async fn run(command: EventTypeCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        EventTypeCommand::List => list(&client, screen).await,
        EventTypeCommand::Show { key } => object::show(&client, &["v1", "event-types", &key], screen).await,
        EventTypeCommand::Create { key, fields } => {
            let mut body = fields.body()?;
            body.insert("key".to_owned(), key.into());
            object::print(&client.send(Method::POST, &["v1", "event-types"], &body).await?, None, screen)
        }
        EventTypeCommand::Update(args) => {
            let (key, tag) = (args.key.clone(), args.guard.tag().map(str::to_owned));
            let path = ["v1", "event-types", key.as_str()];
            let changed = object::update(&client, &path, args.body()?, tag.as_deref(), "event-type update").await?;
            object::print(&changed, None, screen)
        }
        EventTypeCommand::Delete { key, guard } => {
            let sentence = format!("{} is deleted.", plain(&key));
            object::delete(&client, &["v1", "event-types", &key], &guard, &sentence, screen).await
        }
        EventTypeCommand::Usage { key } => usage(&key, &client, screen).await,
    }
}

async fn list(client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "event-types"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<EventType>()?.into_iter().map(|one| {
        vec![
            Field::new(&one.key),
            Field::new(&one.title),
            Field::new(&one.macro_process),
            Field::new(&one.process),
            Field::yes_or_no(one.enabled),
            Field::new(if one.schema.is_some() { "yes" } else { "-" }),
            Field::new(if one.system { "the engine's" } else { "-" }),
        ]
    });
    let header = ["KEY", "TITLE", "MACRO-PROCESS", "PROCESS", "ENABLED", "SCHEMA", "SYSTEM"];
    screen.table(&header, rows.collect(), "The catalogue is empty; `engate event-type create` enters a type.")
}

async fn usage(key: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let listing = client.list_all(&["v1", "event-types", key, "usage"], &[]).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Use>()?.into_iter().map(|one| {
        vec![
            Field::new(&one.endpoint),
            Field::new(&one.integrator_slug),
            Field::new(&one.description),
            Field::yes_or_no(one.enabled),
            Field::new(&one.subscription),
        ]
    });
    let header = ["ENDPOINT", "PARTNER", "DESCRIPTION", "ENABLED", "HEARS BY"];
    screen.table(&header, rows.collect(), "No endpoint hears of it.")
}
