//! `engate event`: hands events in.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    client::read,
    delivery::Delivery,
    failure::Failure,
    present::{Field, plain},
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
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
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
        EventCommand::Explain { id, endpoint } => explain(&id, endpoint, remote).await,
    }
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
    let payload = payload(&args.payload)?;
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

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// The payload's JSON as it is spelled in a file, on standard input or in the argument.
fn payload(source: &str) -> Result<Box<RawValue>, Failure> {
    let wrong = |what: String| Failure::usage(format!("--payload: {what}"));
    let (text, origin) = if source == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|error| wrong(format!("standard input: {error}")))?;
        (text, "standard input".to_owned())
    } else if Path::new(source).is_file() {
        (std::fs::read_to_string(source).map_err(|error| wrong(format!("{source}: {error}")))?, source.to_owned())
    } else {
        (source.to_owned(), "there is no such file, and the argument itself".to_owned())
    };
    serde_json::from_str(&text).map_err(|error| wrong(format!("{origin} is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::failure::Exit;
    use super::*;

    #[test]
    fn a_payload_is_a_file_or_the_json_itself_and_stays_as_spelled() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"b\": 1.50,\n \"a\": 2}").unwrap();
        assert_eq!(payload(file.path().to_str().unwrap()).unwrap().get(), "{\"b\": 1.50,\n \"a\": 2}");
        assert_eq!(payload(r#"{"valorpago":10.50}"#).unwrap().get(), r#"{"valorpago":10.50}"#);
        let failure = payload("missing.json").unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.message(false).unwrap().contains("no such file"));
    }

    #[test]
    fn a_label_needs_a_name() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("=b").is_err() && label("a").is_err());
    }
}
