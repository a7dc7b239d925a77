//! `engate token`: keys to the API.

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use engate_model::token::Role;
use reqwest::Method;
use serde::{Deserialize, Serialize};

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
    /// Give a client a new token; the old one stops working at once, and the new one has another id
    Regenerate {
        /// The token's id (tok_...)
        id: String,
    },
    /// Withdraw a token for good
    Revoke {
        /// The token's id (tok_...)
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
}

#[derive(Serialize)]
struct NewToken<'a> {
    client: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrator: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
}

#[derive(Deserialize)]
struct Token {
    id: String,
    client: String,
    role: String,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    revoked_at: Option<String>,
    created_at: String,
    /// The value, only in the answers to create and regenerate.
    #[serde(default)]
    token: Option<String>,
}

/// Runs `engate token`.
pub(super) async fn run(command: TokenCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        TokenCommand::Create(args) => {
            let body = NewToken {
                client: &args.client,
                role: &args.role,
                integrator: args.integrator.as_deref(),
                expires_at: args.expires_at.as_deref(),
            };
            print_value(&client.send(Method::POST, &["v1", "tokens"], &body).await?, screen)
        }
        TokenCommand::Regenerate { id } => {
            print_value(&client.act(Method::POST, &["v1", "tokens", &id, "regenerate"]).await?, screen)
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
            Field::new(token.expires_at.as_deref().map_or_else(|| "never".to_owned(), short_time)),
        ]
    });
    screen.table(&["ID", "CLIENT", "ROLE", "STATE", "CREATED (UTC)", "EXPIRES (UTC)"], rows.collect(), "No token.")
}
