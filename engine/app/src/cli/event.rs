//! `engate event`: hands events in, and shows those that were taken.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    client::read,
    delivery::Delivery,
    failure::Failure,
    given,
    present::{Field, plain, plain_lines, short_time, size},
    remote::Remote,
};

/// `engate event`
#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// Hand in one event; when this returns, the event is on the engine's disk
    ///
    /// A repeat with the same --id is recognised and changes nothing, so a script may safely run again.
    #[command(after_help = "\
Examples:
  engate event send order.created --payload '{\"number\": 7}' --subject order-7 --id order-7-created
  engate event send client-transaction --payload transactions.json --label source=gsan
  producer | engate event send order.created --payload -")]
    Send(SendArgs),
    /// List events, the newest first, without their payloads
    List(ListArgs),
    /// Show one event with its payload
    Show {
        /// The event's id (evt_...)
        id: String,
    },
    /// Tell why an endpoint did or did not get an event
    Explain {
        /// The event's id (evt_...)
        id: String,

        /// The endpoint's id (ep_...), as `engate endpoint list` prints it
        #[arg(long, value_name = "ID")]
        endpoint: String,
    },
}

/// One event.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Key of its type, as in the catalogue (order.created)
    #[arg(value_name = "TYPE")]
    event_type: String,

    /// What happened, as JSON: a file, - for standard input, or the JSON itself; numbers and key order are kept
    #[arg(long, value_name = "FILE|-|JSON")]
    payload: String,

    /// What the event is about (a customer, a product); orders and versions go by it
    #[arg(long)]
    subject: Option<String>,

    /// Your own id of the event, under which a repeat is recognised
    #[arg(long)]
    id: Option<String>,

    /// A label that plugins and filters see; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = given::pair)]
    labels: Vec<(String, String)>,

    /// When it happened, such as 2026-01-31T12:00:00Z; without it: now
    #[arg(long, value_name = "TIME")]
    occurred_at: Option<String>,

    /// Do not deliver it before, such as 2026-01-31T12:00:00Z, at most 366 days ahead; without it: at once
    #[arg(long, value_name = "TIME")]
    deliver_at: Option<String>,

    /// Ties the event to what caused it
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
}

/// Which events.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of this type
    #[arg(long, value_name = "KEY")]
    event_type: Option<String>,

    /// Taken at this time or later, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Taken before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,

    /// Rows at most
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

#[derive(Serialize)]
struct NewEvent<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Taken {
    id: String,
    deliveries: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    reason: Option<String>,
}

/// An event as the API tells it.
#[derive(Deserialize)]
struct Told {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    payload_encoding: Option<String>,
    payload_bytes: u64,
    content_type: String,
    occurred_at: String,
    accepted_at: String,
    #[serde(default)]
    deliver_at: Option<String>,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// Why an endpoint did or did not get an event, as the API tells it.
#[derive(Deserialize)]
struct Explained {
    code: String,
    message: String,
    basis: String,
    #[serde(default)]
    clause: Option<Clause>,
    #[serde(default)]
    delivery: Option<Delivery>,
}

/// A filter's clause that says no.
#[derive(Deserialize)]
struct Clause {
    place: String,
    #[serde(default)]
    clause: Option<Value>,
}

/// Runs `engate event`.
pub(super) async fn run(command: EventCommand, remote: &Remote) -> Result<(), Failure> {
    match command {
        EventCommand::Send(args) => send(&args, remote).await,
        EventCommand::List(args) => list(args, remote).await,
        EventCommand::Show { id } => show(&id, remote).await,
        EventCommand::Explain { id, endpoint } => explain(&id, endpoint, remote).await,
    }
}

async fn list(args: ListArgs, remote: &Remote) -> Result<(), Failure> {
    let ListArgs { event_type, from, to, limit } = args;
    let filters = [("event_type", event_type), ("accepted_from", from), ("accepted_to", to)].into_iter();
    let mut query: Vec<_> = filters.filter_map(|(name, value)| Some((name, value?))).collect();
    query.push(("limit", limit.to_string()));
    let listing = remote.client()?.list(&["v1", "events"], &query).await?;
    let screen = remote.screen();
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let rows = listing.rows::<Told>()?.into_iter().map(|event| {
        vec![
            Field::new(short_time(&event.accepted_at)),
            Field::new(&event.event_type),
            Field::new(event.subject.as_deref().unwrap_or("-")),
            Field::new(size(event.payload_bytes)),
            Field::new(event.reason.as_deref().unwrap_or("-")),
            Field::new(&event.id),
        ]
    });
    let header = ["TAKEN (UTC)", "TYPE", "SUBJECT", "PAYLOAD", "WENT TO NOBODY", "ID"];
    screen.table(&header, rows.collect(), "No such event.")
}

async fn show(id: &str, remote: &Remote) -> Result<(), Failure> {
    let answer = remote.client()?.get(&["v1", "events", id], &[]).await?;
    let screen = remote.screen();
    if screen.json {
        return screen.line(answer);
    }
    let event: Told = read(&answer)?;
    let or_dash = |text: &Option<String>| Field::new(text.as_deref().unwrap_or("-"));
    let labels: Vec<_> = event.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    screen.facts(&[
        ("id", Field::new(&event.id)),
        ("type", Field::new(&event.event_type)),
        ("subject", or_dash(&event.subject)),
        ("occurred", Field::new(&event.occurred_at)),
        ("taken", Field::new(&event.accepted_at)),
        ("not before", or_dash(&event.deliver_at)),
        ("labels", Field::new(if labels.is_empty() { "-".to_owned() } else { labels.join(", ") })),
        ("correlation", or_dash(&event.correlation_id)),
        ("producer's id", or_dash(&event.idempotency_key)),
        ("went to nobody", or_dash(&event.reason)),
        ("payload", Field::new(format!("{}, {}", size(event.payload_bytes), event.content_type))),
    ])?;
    let Some(payload) = &event.payload else { return Ok(()) };
    screen.line("")?;
    if event.payload_encoding.as_deref() == Some("base64") {
        screen.line("  (no JSON; base64:)")?;
    }
    plain_lines(payload.get()).lines().try_for_each(|line| screen.line(format!("  {line}")))
}

async fn explain(id: &str, endpoint: String, remote: &Remote) -> Result<(), Failure> {
    let answer = remote.client()?.get(&["v1", "events", id, "explain"], &[("endpoint", endpoint)]).await?;
    let screen = remote.screen();
    if screen.json {
        return screen.line(answer);
    }
    let explained: Explained = read(&answer)?;
    let basis = match explained.basis.as_str() {
        "record" => "what was written down then",
        "unchanged_configuration" => "the configuration, not edited since",
        _ => "the configuration of today, edited since",
    };
    let clause = explained.clause.map(|clause| {
        let said = clause.clause.map(|said| said.to_string()).unwrap_or_default();
        format!("{} {said}", clause.place)
    });
    let delivery = explained.delivery;
    screen.facts(&[
        ("why", Field::code(&explained.code)),
        ("that is", Field::new(&explained.message)),
        ("by", Field::new(basis)),
        ("clause", Field::new(clause.as_deref().unwrap_or("-"))),
        ("delivery", Field::new(delivery.as_ref().map_or("-", |delivery| delivery.id.as_str()))),
        ("state", Field::code(delivery.as_ref().map_or("-", |delivery| delivery.state.as_str()))),
    ])
}

async fn send(args: &SendArgs, remote: &Remote) -> Result<(), Failure> {
    let payload = given::json::<Box<RawValue>>("--payload", &args.payload)?;
    let event = NewEvent {
        event_type: &args.event_type,
        subject: args.subject.as_deref(),
        payload: &payload,
        id: args.id.as_deref(),
        occurred_at: args.occurred_at.as_deref(),
        deliver_at: args.deliver_at.as_deref(),
        labels: args.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        correlation_id: args.correlation_id.as_deref(),
    };
    let answer = remote.client()?.send(Method::POST, &["v1", "events"], &event).await?;
    let screen = remote.screen();
    if screen.json {
        return screen.line(answer);
    }
    let taken: Taken = read(&answer)?;
    let endpoints = if taken.deliveries == 1 { "endpoint" } else { "endpoints" };
    screen.line(match (taken.duplicate, &taken.reason) {
        (true, _) => {
            format!("{} was there already; nothing changed ({} {endpoints})", plain(&taken.id), taken.deliveries)
        }
        (false, Some(reason)) => format!("{} taken, but it goes to nobody: {}", plain(&taken.id), plain(reason)),
        (false, None) => format!("{} taken; it goes to {} {endpoints}", plain(&taken.id), taken.deliveries),
    })
}
