//! `engate delivery`: what became of events, partner by partner.

mod export;
mod filter;
mod list;

use std::collections::HashMap;

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use filter::SelectionArgs;

use super::{
    client::{Client, read},
    failure::{Exit, Failure},
    present::{Field, Screen, Tone, plain, plain_lines},
    remote::Remote,
};

/// `engate delivery`
#[derive(Debug, Subcommand)]
pub(super) enum DeliveryCommand {
    /// List deliveries; filters combine
    #[command(after_help = "\
Examples:
  engate delivery list --success no              the last attempt failed, even if a retry is due
  engate delivery list --integrator acme --state pending,parked
  engate delivery list --q 'operacao 21/11' --sort integrator,-attempts
  engate delivery list --watch                   shows what changes, until Ctrl-C
  engate delivery list --all --json | jq -r '.items[].id'")]
    List(list::ListArgs),
    /// Write deliveries to a file or to standard output, as CSV, lines of JSON, PDF or a page to print
    #[command(after_help = "\
Examples:
  engate delivery export --success no > failed.csv
  engate delivery export --excel --lang pt-BR --output entregas.csv
  engate delivery export --format pdf --created-from 2026-11-01 --output november.pdf
  engate delivery export --format html --id dlv_...,dlv_... --output chosen.html
  engate delivery export --format ndjson | jq .reason")]
    Export(export::ExportArgs),
    /// Show one delivery: each attempt with request, answer and verdict, secrets masked
    Show {
        /// The delivery's id (dlv_...), as `engate delivery list` prints it
        id: String,
    },
    /// Call off deliveries that wait; those under way or finished are told and stay
    Cancel {
        /// The deliveries' ids (dlv_...), as `engate delivery list` prints them
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// Try one delivery again now
    Retry {
        /// The delivery's id (dlv_...)
        id: String,
    },
}

/// A delivery as the API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Delivery {
    /// `dlv_...`
    pub(super) id: String,
    /// The running number.
    pub(super) code: i64,
    /// `evt_...`
    pub(super) event: String,
    /// Key of the event's type.
    pub(super) event_type: String,
    /// What the event is about.
    #[serde(default)]
    pub(super) subject: Option<String>,
    /// Where it goes: `ep_...`
    pub(super) endpoint: String,
    /// The partner: `int_...`
    pub(super) integrator: String,
    /// Stable code of where it stands.
    pub(super) state: String,
    /// What last went wrong, or why it was skipped.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// Tries made.
    pub(super) attempts: u32,
    /// When the event was taken.
    pub(super) created_at: String,
    /// When it succeeded.
    #[serde(default)]
    pub(super) integrated_at: Option<String>,
    /// When the next try is due.
    #[serde(default)]
    pub(super) next_attempt_at: Option<String>,
    /// The event's.
    #[serde(default)]
    pub(super) correlation_id: Option<String>,
}

/// An attempt as the API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Attempt {
    /// 1, 2, 3 ...
    pub(super) number: u32,
    /// When it began.
    pub(super) at: String,
    /// `event`, `retry`, `manual`.
    pub(super) trigger: String,
    /// `name@version` of the plugin.
    #[serde(default)]
    pub(super) plugin: Option<String>,
    /// What was sent.
    #[serde(default)]
    pub(super) request: Option<Message>,
    /// What came back.
    #[serde(default)]
    pub(super) response: Option<Message>,
    /// How it was judged.
    pub(super) verdict: Verdict,
    /// From the start of `transform` to the verdict.
    pub(super) duration_ms: f64,
}

/// A request or a response, as on the wire.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    url: Option<String>,
    /// HTTP status of a response.
    #[serde(default)]
    pub(super) status: Option<u16>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_encoding: Option<String>,
    #[serde(default)]
    truncated: bool,
}

/// How an attempt was judged.
#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    /// `success`, `retry`, `fail`, `disable`, `transport_error`, `plugin_fault`, `skipped`.
    pub(super) outcome: String,
    /// Stable code of what went wrong.
    #[serde(default)]
    pub(super) code: Option<String>,
    /// For people.
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// Runs `engate delivery`.
pub(super) async fn run(command: DeliveryCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        DeliveryCommand::List(args) => list::list(&args, &client, screen).await,
        DeliveryCommand::Export(args) => export::export(&args, &client).await,
        DeliveryCommand::Show { id } => show(&id, &client, screen).await,
        DeliveryCommand::Cancel { ids } => cancel(&ids, &client, screen).await,
        DeliveryCommand::Retry { id } => retry(&id, &client, screen).await,
    }
}

/// Slugs of integrators by id. A token that may not read them sees ids instead.
async fn partners(client: &Client) -> HashMap<String, String> {
    #[derive(Deserialize)]
    struct Partner {
        id: String,
        slug: String,
    }
    let partners = client.list_all(&["v1", "integrators"], &[]).await.and_then(|listing| listing.rows::<Partner>());
    partners.unwrap_or_default().into_iter().map(|partner| (partner.id, partner.slug)).collect()
}

async fn show(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let delivery = client.get(&["v1", "deliveries", id], &[]).await?;
    let attempts = client.list_all(&["v1", "deliveries", id, "attempts"], &[]).await?;
    if screen.json {
        let attempts = serde_json::to_string(&attempts.items).unwrap_or_default();
        return screen.line(format!("{{\"delivery\":{delivery},\"attempts\":{attempts}}}"));
    }
    let delivery: Delivery = read(&delivery)?;
    let partners = partners(client).await;
    let or_dash = |text: &Option<String>| Field::new(text.as_deref().unwrap_or("-"));
    screen.facts(&[
        ("delivery", Field::new(format!("{} (code {})", delivery.id, delivery.code))),
        ("event", Field::new(&delivery.event)),
        ("type", Field::new(&delivery.event_type)),
        ("subject", or_dash(&delivery.subject)),
        ("partner", Field::new(partners.get(&delivery.integrator).unwrap_or(&delivery.integrator))),
        ("endpoint", Field::new(&delivery.endpoint)),
        ("state", Field::code(&delivery.state)),
        ("reason", or_dash(&delivery.reason)),
        ("created", Field::new(&delivery.created_at)),
        ("succeeded", or_dash(&delivery.integrated_at)),
        ("next try", or_dash(&delivery.next_attempt_at)),
        ("correlation", or_dash(&delivery.correlation_id)),
    ])?;
    attempts.rows::<Attempt>()?.iter().try_for_each(|attempt| show_attempt(attempt, screen))
}

fn show_attempt(attempt: &Attempt, screen: Screen) -> Result<(), Failure> {
    screen.heading(&format!("Attempt {} at {} ({:.0} ms)", attempt.number, attempt.at, attempt.duration_ms))?;
    let verdict = &attempt.verdict;
    screen.facts(&[
        ("because of", Field::new(&attempt.trigger)),
        ("plugin", Field::new(attempt.plugin.as_deref().unwrap_or("none, the engine's own behaviour"))),
        ("outcome", Field::code(&verdict.outcome)),
        ("code", Field::new(verdict.code.as_deref().unwrap_or("-"))),
        ("message", Field::new(verdict.message.as_deref().unwrap_or("-"))),
    ])?;
    if let Some(request) = &attempt.request {
        let (method, url) = (request.method.as_deref().unwrap_or("?"), request.url.as_deref().unwrap_or("?"));
        show_message(&format!("> {method} {url}"), request, screen)?;
    }
    match &attempt.response {
        Some(response) => show_message(&format!("< {}", response.status.unwrap_or_default()), response, screen),
        None => screen.line("\n  < no answer"),
    }
}

fn show_message(first: &str, message: &Message, screen: Screen) -> Result<(), Failure> {
    screen.line(format!("\n  {}", plain(first)))?;
    for (name, value) in headers(&message.headers) {
        screen.line(screen.paint(&format!("  {}: {}", plain(name), plain(value)), Tone::Faint))?;
    }
    let Some(body) = message.body.as_deref().filter(|body| !body.is_empty()) else { return Ok(()) };
    screen.line("")?;
    if message.body_encoding.as_deref() == Some("base64") {
        screen.line("  (no text; base64:)")?;
    }
    for line in plain_lines(body).lines() {
        screen.line(format!("  {line}"))?;
    }
    if message.truncated { screen.line("  (cut off here: longer than what is kept)") } else { Ok(()) }
}

/// Headers as pairs; a name sent several times has a list of values.
fn headers(headers: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().flat_map(|(name, value)| {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values.iter().filter_map(|value| Some((name.as_str(), value.as_str()?)))
    })
}

/// Calls each off; one that cannot be does not keep the others from it.
async fn cancel(ids: &[String], client: &Client, screen: Screen) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for id in ids {
        match client.act(Method::POST, &["v1", "deliveries", id, "cancel"]).await {
            Ok(answer) => screen.done(&answer, &format!("{} is called off.", plain(id)))?,
            Err(failure @ Failure::Answered(_)) => failures.push(failure.about(id)),
            Err(failure) => return Err(failure),
        }
    }
    let Some(last) = failures.pop() else { return Ok(()) };
    if failures.is_empty() {
        return Err(last);
    }
    failures.push(last);
    Err(uncancelled(&failures, ids.len()))
}

/// Several that could not be called off, of so many; they end alike where all have the same cause.
fn uncancelled(failures: &[Failure], of: usize) -> Failure {
    let exits: Vec<_> = failures.iter().map(Failure::exit).collect();
    let exit = exits.first().filter(|first| exits.iter().all(|exit| exit == *first)).copied().unwrap_or(Exit::Failed);
    let told: Vec<_> = failures.iter().map(Failure::text).collect();
    Failure::Several(exit, format!("{} of {of} stay as they are\n{}", told.len(), told.join("\n")))
}

async fn retry(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.act(Method::POST, &["v1", "deliveries", id, "retry"]).await?;
    if screen.json {
        return screen.line(answer);
    }
    screen.line(format!("{} is tried again now; `engate delivery show` tells how it went.", plain(id)))
}
