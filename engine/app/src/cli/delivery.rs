//! `engate delivery`: what became of events, partner by partner.

use std::collections::HashMap;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use engate_model::delivery::DeliveryState;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    client::{Client, Listing, read},
    failure::Failure,
    present::{Field, Screen, Tone, plain, plain_lines, short_time},
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
  engate delivery list --all --json | jq -r '.items[].id'")]
    List(ListArgs),
    /// Show one delivery: each attempt with request, answer and verdict, secrets masked
    Show {
        /// The delivery's id (dlv_...), as `engate delivery list` prints it
        id: String,
    },
    /// Try one delivery again now
    Retry {
        /// The delivery's id (dlv_...)
        id: String,
    },
}

/// Which deliveries.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Where it stands; several with commas
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::code)))]
    state: Vec<String>,

    /// How the last attempt ended; pending: there was none yet
    #[arg(long, value_parser = ["yes", "no", "pending"])]
    success: Option<String>,

    /// The partner: its slug or id
    #[arg(long, value_name = "SLUG|ID")]
    integrator: Option<String>,

    /// Key of the event's type
    #[arg(long, value_name = "KEY")]
    event_type: Option<String>,

    /// The endpoint's id (ep_...)
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,

    /// Rows at most
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,

    /// Every row, page after page
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl ListArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let state = (!self.state.is_empty()).then(|| self.state.join(","));
        let filters = [
            ("state", &state),
            ("success", &self.success),
            ("integrator", &self.integrator),
            ("event_type", &self.event_type),
            ("endpoint", &self.endpoint),
        ];
        filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
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
        DeliveryCommand::List(args) => list(&args, &client, screen).await,
        DeliveryCommand::Show { id } => show(&id, &client, screen).await,
        DeliveryCommand::Retry { id } => retry(&id, &client, screen).await,
    }
}

async fn list(args: &ListArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let path = ["v1", "deliveries"];
    let mut query = args.query();
    let listing = if args.all {
        client.list_all(&path, &query).await?
    } else {
        query.push(("limit", args.limit.to_string()));
        let answer = client.get(&path, &query).await?;
        if screen.json {
            return screen.line(answer);
        }
        read(&answer)?
    };
    if screen.json {
        return screen.line(serde_json::to_string(&listing).unwrap_or_default());
    }
    let deliveries: Vec<Delivery> = listing.rows()?;
    let partners = partners(client).await;
    let rows = deliveries.iter().map(|delivery| row(delivery, &partners)).collect();
    let header = ["CODE", "CREATED (UTC)", "PARTNER", "EVENT TYPE", "STATE", "TRIES", "REASON", "ID"];
    screen.table(&header, rows, "No delivery matches.")?;
    more(&listing, screen)
}

/// Says that there is more than what is shown.
fn more(listing: &Listing, screen: Screen) -> Result<(), Failure> {
    if listing.next.is_none() {
        return Ok(());
    }
    let shown = listing.items.len();
    let total = match (listing.total, listing.total_estimated) {
        (Some(total), false) => format!("{shown} of {total}"),
        (Some(total), true) => format!("{shown} of about {total}"),
        (None, _) => format!("the first {shown}"),
    };
    screen.line(screen.paint(&format!("{total} shown; --limit or --all shows more"), Tone::Faint))
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

fn row(delivery: &Delivery, partners: &HashMap<String, String>) -> Vec<Field> {
    vec![
        Field::number(delivery.code),
        Field::new(short_time(&delivery.created_at)),
        Field::new(partners.get(&delivery.integrator).unwrap_or(&delivery.integrator)),
        Field::new(&delivery.event_type),
        Field::code(&delivery.state),
        Field::number(delivery.attempts),
        Field::new(delivery.reason.as_deref().unwrap_or("-")),
        Field::new(&delivery.id),
    ]
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

async fn retry(id: &str, client: &Client, screen: Screen) -> Result<(), Failure> {
    let answer = client.act(Method::POST, &["v1", "deliveries", id, "retry"]).await?;
    if screen.json {
        return screen.line(answer);
    }
    screen.line(format!("{} is tried again now; `engate delivery show` tells how it went.", plain(id)))
}
