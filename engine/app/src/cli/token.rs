//! `engate token`: keys to the API.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use engate_model::token::Role;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, Tone, plain, short_time},
    remote::Remote,
};

/// `engate token`
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; its value is printed this once and kept nowhere
    #[command(after_help = "\
Roles:
  admin       everything
  operator    everything but tokens, secrets and settings
  integrator  what belongs to one partner (--integrator)
  auditor     reads everything, changes nothing
  producer    hands events in, reads nothing")]
    Create(CreateArgs),
    /// List tokens, never their values
    List {
        /// Revoked tokens too
        #[arg(long)]
        revoked: bool,
    },
    /// Show one token with what narrows it, never its value
    Show {
        /// The token's id (tok_...)
        id: String,
    },
    /// Change what a token may do and when it ends; its value stays
    Update(UpdateArgs),
    /// Give a client a new token; the old one stops working at once, and the new one has another id
    Regenerate {
        /// The token's id (tok_...)
        id: String,
        /// Let the old value work on for so long, in milliseconds, up to seven days
        #[arg(long, value_name = "MS")]
        grace_ms: Option<u64>,
        /// A file with a value that the client brings along; without it one is made
        #[arg(long, value_name = "FILE")]
        value_file: Option<PathBuf>,
    },
    /// Withdraw a token for good
    Revoke {
        /// The token's id (tok_...), or self for the one that the command is run with
        id: String,
    },
}

/// A new token.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Who will hold it; each client has one live token
    #[arg(long, value_name = "NAME")]
    client: String,

    /// What its holder may do
    #[arg(long, value_parser = PossibleValuesParser::new(Role::ALL.map(Role::code)))]
    role: String,

    /// The partner it is bound to (slug or id), for the role integrator
    #[arg(long, value_name = "SLUG|ID", required_if_eq("role", "integrator"))]
    integrator: Option<String>,

    /// When it stops working, such as 2027-01-31T00:00:00Z; without it: never
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,

    /// A file with a value that the client brings along; without it one is made
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,

    #[command(flatten)]
    limits: LimitArgs,
}

/// What narrows a token; each may be given several times.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// A route it may call, such as "GET /v1/deliveries/{id}"; without any, all that its role may
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<String>,

    /// A scope it has, such as deliveries:read; without any, all of its role's
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Where its calls may come from: a web origin, an address, a network
    #[arg(long = "origin", value_name = "ORIGIN|NETWORK")]
    origins: Vec<String>,

    /// A field that its holder is not shown: a name, or a JSON pointer
    #[arg(long = "redact", value_name = "FIELD|POINTER")]
    redact: Vec<String>,

    /// Calls a second that each node takes of it, over time
    #[arg(long, value_name = "NUMBER", requires = "burst")]
    per_second: Option<u32>,

    /// Calls at once that each node takes of it, after a pause
    #[arg(long, value_name = "NUMBER", requires = "per_second")]
    burst: Option<u32>,
}

/// Changes of a token.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// The token's id (tok_...)
    id: String,

    #[command(flatten)]
    limits: LimitArgs,

    /// When it stops working
    #[arg(long, value_name = "TIME", conflicts_with = "never_expires")]
    expires_at: Option<String>,

    /// Take its end away
    #[arg(long)]
    never_expires: bool,

    /// Take one of its limits away
    #[arg(long = "clear", value_name = "LIMIT")]
    #[arg(value_parser = PossibleValuesParser::new(["routes", "scopes", "origins", "redact", "rate-limit"]))]
    cleared: Vec<String>,
}

impl LimitArgs {
    /// What was given, as the API takes it.
    fn body(&self) -> Map<String, Value> {
        let lists =
            [("routes", &self.routes), ("scopes", &self.scopes), ("origins", &self.origins), ("redact", &self.redact)];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let mut body: Map<_, _> = given.map(|(name, list)| (name.to_owned(), json!(list))).collect();
        if let Some((per_second, burst)) = self.per_second.zip(self.burst) {
            body.insert("rate_limit".to_owned(), json!({ "per_second": per_second, "burst": burst }));
        }
        body
    }
}

impl UpdateArgs {
    fn body(&self) -> Map<String, Value> {
        let mut body = self.limits.body();
        for limit in &self.cleared {
            let cleared = if limit == "rate-limit" { Value::Null } else { json!([]) };
            body.entry(limit.replace('-', "_")).or_insert(cleared);
        }
        if self.never_expires {
            body.insert("expires_at".to_owned(), Value::Null);
        }
        if let Some(at) = &self.expires_at {
            body.insert("expires_at".to_owned(), json!(at));
        }
        body
    }
}

#[derive(Deserialize)]
struct Token {
    id: String,
    client: String,
    role: String,
    #[serde(default)]
    integrator: Option<String>,
    #[serde(default)]
    routes: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    redact: Vec<String>,
    #[serde(default)]
    rate_limit: Option<Rate>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    revoked_at: Option<String>,
    created_at: String,
    #[serde(default)]
    last_used_at: Option<String>,
    /// The value, only in the answers to create and regenerate.
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// Runs `engate token`.
pub(super) async fn run(command: TokenCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        TokenCommand::Create(args) => {
            let mut body = args.limits.body();
            let fields = [
                ("client", Some(args.client)),
                ("role", Some(args.role)),
                ("integrator", args.integrator),
                ("expires_at", args.expires_at),
                ("value", brought(args.value_file.as_deref())?),
            ];
            body.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
            print_value(&client.send(Method::POST, &["v1", "tokens"], &body).await?, screen)
        }
        TokenCommand::Show { id } => show(&client.get(&["v1", "tokens", &id], &[]).await?, screen),
        TokenCommand::Update(args) => {
            let body = args.body();
            if body.is_empty() {
                return Err(Failure::usage("nothing to change was given; see `engate token update --help`"));
            }
            show(&client.send(Method::PATCH, &["v1", "tokens", &args.id], &body).await?, screen)
        }
        TokenCommand::Regenerate { id, grace_ms, value_file } => {
            let value = brought(value_file.as_deref())?.map(Value::String);
            let fields = [("grace_ms", grace_ms.map(Value::from)), ("value", value)].into_iter();
            let body: Map<_, _> = fields.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            print_value(&client.send(Method::POST, &["v1", "tokens", &id, "regenerate"], &body).await?, screen)
        }
        TokenCommand::List { revoked } => list(revoked, &client, screen).await,
        TokenCommand::Revoke { id } => {
            let answer = client.act(Method::DELETE, &["v1", "tokens", &id]).await?;
            if screen.json {
                return screen.line(if answer.is_empty() { "{}" } else { &answer });
            }
            screen.line(format!("{} is revoked; its next call is refused.", plain(&id)))
        }
    }
}

/// A value that the client brings along, from a file, since other users can see command lines.
fn brought(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::usage(format!("--value-file {}: {error}", file.display())))?;
    Ok(Some(text.trim().to_owned()))
}

fn show(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let token: Token = read(answer)?;
    let all = |list: &[String], none: &str| Field::new(if list.is_empty() { none.to_owned() } else { list.join(", ") });
    let rate = token.rate_limit.as_ref();
    let rate =
        rate.map_or_else(|| "none".to_owned(), |rate| format!("{} a second, {} at once", rate.per_second, rate.burst));
    screen.facts(&[
        ("id", Field::new(&token.id)),
        ("client", Field::new(&token.client)),
        ("role", Field::new(&token.role)),
        ("integrator", Field::new(token.integrator.as_deref().unwrap_or("none"))),
        ("routes", all(&token.routes, "all of its role")),
        ("scopes", all(&token.scopes, "all of its role")),
        ("origins", all(&token.origins, "any")),
        ("not shown", all(&token.redact, "nothing")),
        ("rate limit", Field::new(rate)),
        ("created", Field::new(short_time(&token.created_at))),
        ("last used", Field::new(token.last_used_at.as_deref().map_or_else(|| "never".to_owned(), short_time))),
        ("expires", Field::new(token.expires_at.as_deref().map_or_else(|| "never".to_owned(), short_time))),
        ("revoked", Field::new(token.revoked_at.as_deref().map_or_else(|| "no".to_owned(), short_time))),
    ])
}

fn print_value(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let token: Token = read(answer)?;
    screen.facts(&[
        ("id", Field::new(&token.id)),
        ("client", Field::new(&token.client)),
        ("role", Field::new(&token.role)),
        ("expires", Field::new(token.expires_at.as_deref().unwrap_or("never"))),
        ("token", Field::new(token.token.as_deref().unwrap_or("not in the answer"))),
    ])?;
    screen.line("Keep the token now: it is shown only this once.")
}

async fn list(revoked: bool, client: &Client, screen: Screen) -> Result<(), Failure> {
    let query: &[_] = if revoked { &[("revoked", "true".to_owned())] } else { &[] };
    let listing = client.list_all(&["v1", "tokens"], query).await?;
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Token>()?.into_iter().map(|token| {
        let state = if token.revoked_at.is_some() {
            Field::new("revoked").tone(Tone::Faint)
        } else {
            Field::new("live").tone(Tone::Good)
        };
        vec![
            Field::new(&token.id),
            Field::new(&token.client),
            Field::new(&token.role),
            state,
            Field::new(short_time(&token.created_at)),
            Field::new(token.last_used_at.as_deref().map_or_else(|| "never".to_owned(), short_time)),
            Field::new(token.expires_at.as_deref().map_or_else(|| "never".to_owned(), short_time)),
        ]
    });
    let header = ["ID", "CLIENT", "ROLE", "STATE", "CREATED (UTC)", "LAST USED (UTC)", "EXPIRES (UTC)"];
    screen.table(&header, rows.collect(), "No token.")
}
